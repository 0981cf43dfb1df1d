/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/scan.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "regionmgr/cli/progress.h"

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- cutting ---------------------------------------------------------------------------------- */

static size_t pieces_of(size_t bytes)
{
	return bytes / SCAN_PIECE_BYTES + (bytes % SCAN_PIECE_BYTES != 0);
}

static int count_part(struct scan_part *part, struct rgm_layers *layers)
{
	struct rgm_layer layer;

	while (rgm_layers_next_layer(layers, &layer)) {
		part->layer_count++;
		part->piece_count += pieces_of(layer.data.size);
		part->bytes += layer.data.size;
	}
	part->pieces = calloc(part->piece_count + 1, sizeof *part->pieces);
	part->layers = calloc(part->layer_count + 1, sizeof *part->layers);
	return part->pieces == NULL || part->layers == NULL ? -ENOMEM : 0;
}

static int cut_part(struct scan_part *part, struct rgm_layers *layers)
{
	size_t piece = 0, number = 0;
	struct rgm_layer layer;

	while (rgm_layers_next_layer(layers, &layer) && number < part->layer_count) {
		const char *at = layer.data.data;

		part->layers[number].crc32c = layer.crc32c;
		part->layers[number].name = strdup(layer.name);
		if (part->layers[number].name == NULL)
			return -ENOMEM;
		for (size_t left = layer.data.size; left > 0 && piece < part->piece_count;) {
			size_t bytes = left < SCAN_PIECE_BYTES ? left : SCAN_PIECE_BYTES;

			part->pieces[piece++] = (struct scan_piece){at, bytes, number};
			at += bytes;
			left -= bytes;
		}
		number++;
	}
	return 0;
}

static int prepare_part(
	struct scan_part *part, const struct rgm_hold *hold, struct rgm_error *error)
{
	struct rgm_layers layers;
	int rc = rgm_layers_open_hold(hold, &layers, error);

	if (rc != 0)
		return rc;
	part->version = rgm_hold_version(hold);
	rc = count_part(part, &layers);
	rgm_layers_seek(&layers, NULL);
	if (rc == 0)
		rc = cut_part(part, &layers);
	return rc != 0 ? pool_fail(error, rc, "no memory to scan '%s'", part->name) : 0;
}

static int share(struct scan *scan, struct rgm_error *error)
{
	size_t times = sizeof *scan->shared, sums = times + scan->part_count * sizeof *scan->times;
	char *memory;

	scan->mapped_bytes = sums + scan->pieces * sizeof *scan->sums;
	memory = mmap(NULL, scan->mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);
	if (memory == MAP_FAILED)
		return pool_fail_errno(error, "memory for the checksums of %llu pieces",
			(unsigned long long)scan->pieces);
	scan->shared = (struct scan_shared *)(void *)memory;
	scan->times = (struct scan_times *)(void *)(memory + times);
	scan->sums = (atomic_uint_least64_t *)(void *)(memory + sums);
	for (size_t i = 0; i < scan->pieces; i++)
		atomic_store_explicit(&scan->sums[i], SCAN_NO_SUM, memory_order_relaxed);
	return 0;
}

int scan_prepare(struct scan *scan, const struct reader *reader, const char *const *names,
	struct rgm_error *error)
{
	scan->parts = calloc(reader->hold_count + 1, sizeof *scan->parts);
	if (scan->parts == NULL)
		return pool_fail(error, -ENOMEM, "no memory to scan '%s'", names[0]);
	for (size_t i = 0; i < reader->hold_count; i++) {
		struct scan_part *part = &scan->parts[i];
		int rc;

		scan->part_count = i + 1;
		part->name = names[i];
		rc = prepare_part(part, reader->holds[i], error);
		if (rc != 0)
			return rc;
		part->first_ticket = scan->tickets;
		part->first_sum = scan->pieces;
		if (__builtin_mul_overflow(scan->loops, part->piece_count, &scan->tickets) ||
			__builtin_add_overflow(scan->tickets, part->first_ticket, &scan->tickets))
			return pool_fail(error, CLI_USAGE, "%llu loops are too many",
				(unsigned long long)scan->loops);
		scan->pieces += part->piece_count;
		scan->bytes += part->bytes;
	}
	return share(scan, error);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* When the first of all threads began with a part, and when the last one left it. */
static void note_times(struct scan_times *times, uint64_t begun, uint64_t ended)
{
	uint64_t seen = atomic_load_explicit(&times->begun_ns, memory_order_relaxed);

	while ((seen == 0 || begun < seen) &&
		!atomic_compare_exchange_weak_explicit(
			&times->begun_ns, &seen, begun, memory_order_relaxed, memory_order_relaxed))
		continue;
	seen = atomic_load_explicit(&times->ended_ns, memory_order_relaxed);
	while (seen < ended && !atomic_compare_exchange_weak_explicit(&times->ended_ns, &seen,
				       ended, memory_order_relaxed, memory_order_relaxed))
		continue;
}

static void read_piece(struct scan *scan, const struct scan_part *part, uint64_t number)
{
	const struct scan_piece *piece = &part->pieces[number];
	uint64_t sum = rgm_crc32c(0, piece->data, piece->bytes), seen = SCAN_NO_SUM;

	if (!atomic_compare_exchange_strong_explicit(&scan->sums[part->first_sum + number], &seen,
		    sum, memory_order_relaxed, memory_order_relaxed) &&
		seen != sum)
		atomic_fetch_add_explicit(&scan->shared->unequal, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&scan->shared->done_bytes, piece->bytes, memory_order_relaxed);
}

static void *read_tickets(void *argument)
{
	struct scan *scan = argument;
	size_t at = 0, noted = SIZE_MAX;
	uint64_t begun = 0;

	for (;;) {
		uint64_t ticket =
			atomic_fetch_add_explicit(&scan->shared->next, 1, memory_order_relaxed);
		const struct scan_part *part;

		if (ticket >= scan->tickets)
			break;
		while (at + 1 < scan->part_count && ticket >= scan->parts[at + 1].first_ticket)
			at++;
		if (at != noted) {
			if (noted != SIZE_MAX)
				note_times(&scan->times[noted], begun, now_ns());
			begun = now_ns();
			noted = at;
		}
		part = &scan->parts[at];
		read_piece(scan, part, (ticket - part->first_ticket) % part->piece_count);
	}
	if (noted != SIZE_MAX)
		note_times(&scan->times[noted], begun, now_ns());
	return NULL;
}

/* A forked process: reads through the inherited mapping, under the holds of its parent, and calls
 * nothing of the session. Never returns. */
static void be_worker(struct scan *scan)
{
	pthread_t *threads = calloc(scan->threads, sizeof *threads);
	uint64_t started = 0;

	/* nobody would wait for us, and the holds would last as long as we do */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (threads != NULL && started + 1 < scan->threads &&
		pthread_create(&threads[started], NULL, read_tickets, scan) == 0)
		started++;
	(void)read_tickets(scan);
	while (started > 0)
		(void)pthread_join(threads[--started], NULL);
	_exit(threads != NULL ? 0 : 1);
}

static int wait_for(pid_t child, struct rgm_error *error)
{
	int status = 0;

	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return pool_fail_errno(error, "waiting for process %d", (int)child);
	}
	if (WIFSIGNALED(status))
		return pool_fail(error, CLI_WORKER,
			"process %d died of signal %d (%s) while it read", (int)child,
			WTERMSIG(status), strsignal(WTERMSIG(status)));
	if (WEXITSTATUS(status) != 0)
		return pool_fail(
			error, CLI_WORKER, "process %d could not make its threads", (int)child);
	return 0;
}

int scan_run(struct scan *scan, struct cli *cli, struct rgm_error *error)
{
	pid_t *children = calloc(scan->processes, sizeof *children);
	struct progress progress;
	uint64_t started = 0, begun = now_ns();
	int rc = 0;

	if (children == NULL)
		return pool_fail(error, -ENOMEM, "no memory for %llu processes",
			(unsigned long long)scan->processes);
	while (started < scan->processes) {
		children[started] = fork();
		if (children[started] == 0)
			be_worker(scan);
		if (children[started] < 0) {
			rc = pool_fail_errno(error, "process %llu of %llu cannot be made",
				(unsigned long long)started + 1,
				(unsigned long long)scan->processes);
			/* those that are there read what is left and end */
			break;
		}
		started++;
	}
	progress_begin(
		&progress, cli, "scan", scan->bytes * scan->loops, &scan->shared->done_bytes);
	for (uint64_t i = 0; i < started; i++) {
		struct rgm_error *where = rc == 0 ? error : NULL;
		int ended = wait_for(children[i], where);

		rc = rc == 0 ? ended : rc;
	}
	scan->duration_ns = now_ns() - begun;
	(void)progress_end(&progress);
	free(children);
	return rc;
}

/* --- results ---------------------------------------------------------------------------------- */

static int finish_part(struct scan *scan, struct scan_part *part, struct rgm_error *error)
{
	const struct scan_times *times = &scan->times[part - scan->parts];
	size_t piece = 0;

	for (uint64_t number = 0; number < part->layer_count; number++) {
		const struct scan_layer *layer = &part->layers[number];
		uint64_t bytes = 0;
		uint32_t crc = 0;

		for (; piece < part->piece_count && part->pieces[piece].layer == number; piece++) {
			uint64_t sum = atomic_load_explicit(
				&scan->sums[part->first_sum + piece], memory_order_relaxed);

			if (sum == SCAN_NO_SUM)
				return pool_fail(error, CLI_WORKER,
					"a piece of layer '%s' of '%s' was not read", layer->name,
					part->name);
			crc = rgm_crc32c_combine(crc, (uint32_t)sum, part->pieces[piece].bytes);
			bytes += part->pieces[piece].bytes;
		}
		if (crc != layer->crc32c) {
			pool_fail(error, RGM_ECORRUPT,
				"layer '%s' of '%s' is damaged: its checksum is %08x, not %08x",
				layer->name, part->name, crc, layer->crc32c);
			return cli_hint(error, "regionctl check %s", part->name);
		}
		part->crc32c = rgm_crc32c_combine(part->crc32c, crc, bytes);
	}
	part->duration_ns = atomic_load_explicit(&times->ended_ns, memory_order_relaxed) -
	                    atomic_load_explicit(&times->begun_ns, memory_order_relaxed);
	return 0;
}

int scan_finish(struct scan *scan, struct rgm_error *error)
{
	uint64_t unequal = atomic_load_explicit(&scan->shared->unequal, memory_order_relaxed);

	for (size_t i = 0; i < scan->part_count; i++) {
		int rc = finish_part(scan, &scan->parts[i], error);

		if (rc != 0)
			return rc;
	}
	if (unequal != 0)
		return pool_fail(error, RGM_ECORRUPT,
			"%llu pieces gave another checksum in a later loop: held bytes changed",
			(unsigned long long)unequal);
	return 0;
}

void scan_free(struct scan *scan)
{
	for (size_t i = 0; i < scan->part_count; i++) {
		struct scan_part *part = &scan->parts[i];

		for (uint64_t j = 0; part->layers != NULL && j < part->layer_count; j++)
			free(part->layers[j].name);
		free(part->layers);
		free(part->pieces);
	}
	free(scan->parts);
	if (scan->shared != NULL)
		(void)munmap(scan->shared, scan->mapped_bytes);
}
