/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scanning: 280 MB in about 8,200 layers, warm, by one thread; then by many processes at once. Every
 * subject adds the same bytes with the same function.
 */
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <regionmgr/layers.h>

#include "instance.h"
#include "peers.h"
#include "raw.h"

#define READ_BYTES (1u << 20)

struct scan {
	struct rgm_slot *slot;
	struct rgm_dimension big;
	struct rgm_span *spans; /* of all layers, gathered once */
	uint64_t count;
	struct rgm_hold *hold; /* keeps the spans */
	const void *memory;    /* the limit */
	const void *map;       /* the raw file */
	char path[400];        /* of the raw file */
	struct lmdb *lmdb;
	struct sqlite *sqlite;
	uint64_t expected;
	bool wrong;
};

/* Milliseconds, and whether the sum is what it must be. */
static double finish(struct scan *scan, uint64_t begun, uint64_t sum)
{
	double ms = (double)(bench_now_ns() - begun) / 1e6;

	if (sum == scan->expected)
		return ms;
	fprintf(stderr, "bench_scan: a sum is wrong\n");
	return NAN;
}

/* --- subjects ----------------------------------------------------------------------------------- */

static double ours(void *context)
{
	struct scan *scan = context;
	uint64_t begun = bench_now_ns(), sum = 0;
	struct rgm_layers layers;
	struct rgm_span span;
	const char *name;

	if (rgm_pin(scan->slot) != 0 ||
		rgm_layers_open_dimension(scan->slot, &scan->big, &layers, NULL) != 0)
		return NAN;
	while (rgm_layers_next(&layers, &name, &span))
		sum += bench_sum(span.data, span.size);
	if (rgm_unpin(scan->slot) != 0)
		return NAN;
	return finish(scan, begun, sum);
}

/* The same pages without the API: pointers and sizes from a table of our own. */
static double same_pages(void *context)
{
	struct scan *scan = context;
	uint64_t begun = bench_now_ns(), sum = 0;

	for (uint64_t i = 0; i < scan->count; i++)
		sum += bench_sum(scan->spans[i].data, scan->spans[i].size);
	return finish(scan, begun, sum);
}

static double raw_loop(const void *from, struct scan *scan)
{
	uint64_t begun = bench_now_ns(), sum = bench_sum(from, BENCH_BIG_BYTES);

	return finish(scan, begun, sum);
}

static double memory_loop(void *context)
{
	struct scan *scan = context;

	return raw_loop(scan->memory, scan);
}

static double file_loop(void *context)
{
	struct scan *scan = context;

	return raw_loop(scan->map, scan);
}

static double lmdb_loop(void *context)
{
	struct scan *scan = context;
	uint64_t begun = bench_now_ns(), sum = lmdb_scan(scan->lmdb);

	return finish(scan, begun, sum);
}

static double sqlite_loop(void *context)
{
	struct scan *scan = context;
	uint64_t begun = bench_now_ns(), sum = sqlite_scan(scan->sqlite);

	return finish(scan, begun, sum);
}

static double read_loop(void *context)
{
	static uint64_t buffer[READ_BYTES / 8];
	struct scan *scan = context;
	uint64_t begun = bench_now_ns(), sum = 0;
	int file = open(scan->path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (file < 0)
		return NAN;
	while ((got = read(file, buffer, sizeof(buffer))) > 0)
		sum += bench_sum(buffer, (size_t)got);
	close(file);
	return finish(scan, begun, sum);
}

/* --- one reader --------------------------------------------------------------------------------- */

static bool gather(struct scan *scan)
{
	struct rgm_layers layers;
	const char *name;
	bool good;

	if (rgm_pin(scan->slot) != 0)
		return false;
	good = rgm_find(scan->slot, "big", &scan->big, NULL) == 0 &&
	       rgm_hold_take(scan->slot, &scan->big, &scan->hold, NULL) == 0 &&
	       rgm_layers_open_hold(scan->hold, &layers, NULL) == 0;
	rgm_unpin(scan->slot);
	if (!good)
		return false;
	scan->spans = calloc(rgm_layers_count(&layers), sizeof(*scan->spans));
	while (scan->spans != NULL && rgm_layers_next(&layers, &name, &scan->spans[scan->count]))
		scan->count++;
	return scan->spans != NULL;
}

static bool prepare(const struct bench *bench, struct scan *scan, struct rgm_session *session,
	const char *folder, const char **ret_memory_kind)
{
	struct rgm_error error = {0};
	void *values = raw_values(BENCH_BIG_BYTES);

	if (values == NULL)
		return false;
	scan->expected = bench_sum(values, BENCH_BIG_BYTES);
	snprintf(scan->path, sizeof(scan->path), "%s/raw", folder);
	if (isnan(raw_write(scan->path, values, BENCH_BIG_BYTES, true)))
		return false;
	scan->map = raw_map(scan->path, BENCH_BIG_BYTES);
	scan->memory = raw_memory(BENCH_BIG_BYTES, ret_memory_kind);
	scan->lmdb = lmdb_load(folder, values, BENCH_BIG_BYTES, true);
	scan->sqlite = sqlite_load(folder, values, BENCH_BIG_BYTES);
	free(values);
	if (scan->map == NULL || scan->memory == NULL)
		return false;
	if (rgm_map(session, "big", &error) == 0 &&
		rgm_slot_open(session, &scan->slot, &error) == 0 && gather(scan))
		return true;
	fprintf(stderr, "bench_%s: %s\n", bench->name, error.message);
	return false;
}

static bool row_one_reader(
	const struct bench *bench, const struct bench_instance *instance, const char *folder)
{
	struct rgm_session *session = bench_attach(instance, RGM_BARRIER_AUTO);
	const char *memory_kind = "";
	struct scan scan = {0};
	bool good = prepare(bench, &scan, session, folder, &memory_kind);

	if (good) {
		struct bench_subject subjects[] = {
			{"regionmgr", ours, &scan},
			{"raw loop, the same pages", same_pages, &scan},
			{memory_kind, memory_loop, &scan},
			{"raw loop, file mapped", file_loop, &scan},
			{"lmdb cursor", scan.lmdb == NULL ? NULL : lmdb_loop, &scan},
			{"sqlite blobs", scan.sqlite == NULL ? NULL : sqlite_loop, &scan},
			{"read(2)", read_loop, &scan},
		};

		good = bench_row(bench, "scan of 280 MB, warm", "ms", BENCH_LOWER, subjects, 7, 40);
	}
	rgm_hold_release(scan.hold);
	rgm_slot_close(scan.slot);
	free(scan.spans);
	lmdb_close(scan.lmdb);
	sqlite_close(scan.sqlite);
	rgm_session_detach(session);
	return good;
}

/* --- many readers ------------------------------------------------------------------------------- */

#define READERS_MAX 512u

/* Shared with the readers' processes. */
struct crowd {
	atomic_uint ready;
	atomic_uint go;
	atomic_uint stop;
	atomic_uint failed;
	atomic_uint_least64_t bytes[READERS_MAX];
};

struct crowd_of {
	const struct bench_instance *instance; /* NULL: the raw file */
	const char *path;
	uint32_t readers;
	uint32_t ms;
	struct crowd *crowd;
	double slowest; /* bytes of the slowest / of the median reader, of the last run */
};

static bool scan_ours(struct crowd_of *of, struct rgm_slot *slot, uint32_t reader)
{
	struct rgm_layers layers;
	struct rgm_span span;
	const char *name;
	uint64_t sum = 0;

	if (rgm_pin(slot) != 0 || rgm_layers_open(slot, "big", &layers, NULL) != 0)
		return false;
	while (rgm_layers_next(&layers, &name, &span) &&
		atomic_load_explicit(&of->crowd->stop, memory_order_relaxed) == 0) {
		sum += bench_sum(span.data, span.size);
		atomic_fetch_add_explicit(
			&of->crowd->bytes[reader], span.size, memory_order_relaxed);
	}
	bench_use(sum);
	return rgm_unpin(slot) == 0;
}

/* In pieces of 32 KB, so that it ends on time too. */
static void scan_raw(struct crowd_of *of, const unsigned char *map, uint32_t reader)
{
	uint64_t sum = 0;

	for (uint64_t at = 0; at + 32768 <= BENCH_BIG_BYTES &&
			      atomic_load_explicit(&of->crowd->stop, memory_order_relaxed) == 0;
		at += 32768) {
		sum += bench_sum(map + at, 32768);
		atomic_fetch_add_explicit(&of->crowd->bytes[reader], 32768, memory_order_relaxed);
	}
	bench_use(sum);
}

static bool wait_for_go(struct crowd *crowd)
{
	atomic_fetch_add(&crowd->ready, 1);
	while (atomic_load(&crowd->go) == 0)
		usleep(1000);
	return true;
}

_Noreturn static void be_reader(struct crowd_of *of, uint32_t reader)
{
	struct rgm_session *session;
	struct rgm_slot *slot;
	const void *map;
	bool good = true;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (of->instance == NULL) {
		map = raw_map(of->path, BENCH_BIG_BYTES);
		good = map != NULL;
		if (good)
			bench_use(bench_sum(map, BENCH_BIG_BYTES));
		wait_for_go(of->crowd);
		while (good && atomic_load(&of->crowd->stop) == 0)
			scan_raw(of, map, reader);
	} else {
		session = bench_attach(of->instance, RGM_BARRIER_AUTO);
		good = rgm_map(session, "big", NULL) == 0 &&
		       rgm_slot_open(session, &slot, NULL) == 0 && scan_ours(of, slot, reader);
		wait_for_go(of->crowd);
		while (good && atomic_load(&of->crowd->stop) == 0)
			good = scan_ours(of, slot, reader);
		rgm_session_detach(session);
	}
	if (!good)
		atomic_store(&of->crowd->failed, 1);
	_exit(0);
}

static int by_bytes(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return a < b ? -1 : a > b;
}

/* GB/s of all readers together. */
static double crowd_run(void *context)
{
	struct crowd_of *of = context;
	struct crowd *crowd = of->crowd;
	uint64_t each[READERS_MAX], total = 0, median, begun, took;
	pid_t pids[READERS_MAX];
	uint32_t readers = 0;

	memset(crowd, 0, sizeof(*crowd));
	fflush(NULL);
	for (; readers < of->readers; readers++) {
		pids[readers] = fork();
		if (pids[readers] == 0)
			be_reader(of, readers);
		if (pids[readers] < 0)
			break;
	}
	while (atomic_load(&crowd->ready) < readers && atomic_load(&crowd->failed) == 0 &&
		waitpid(-1, NULL, WNOHANG) == 0)
		usleep(1000);
	for (uint32_t i = 0; i < readers; i++)
		atomic_store(&crowd->bytes[i], 0);
	atomic_store(&crowd->go, 1);
	begun = bench_now_ns();
	usleep(of->ms * 1000);
	for (uint32_t i = 0; i < readers; i++)
		total += each[i] = atomic_load(&crowd->bytes[i]);
	took = bench_now_ns() - begun;
	atomic_store(&crowd->stop, 1);
	for (uint32_t i = 0; i < readers; i++)
		waitpid(pids[i], NULL, 0);
	qsort(each, readers, sizeof(*each), by_bytes);
	median = each[readers / 2];
	of->slowest = median > 0 ? (double)each[0] / (double)median : 0;
	if (readers < of->readers || atomic_load(&crowd->failed) != 0)
		return NAN;
	return (double)total / (double)took;
}

static bool row_crowd(const struct bench *bench, const struct bench_instance *instance,
	const char *path, struct crowd *crowd, uint32_t readers)
{
	uint32_t ms = bench->quick ? 150 : 250, few = readers < 2 ? readers : 2;
	/* in a crowd each gets time for a share that is not a matter of luck */
	struct crowd_of many = {instance, path, readers, readers > 8 ? 4 * ms : ms, crowd, 0};
	struct crowd_of raw = {NULL, path, few, ms, crowd, 0};
	struct crowd_of two = {instance, path, 2, ms, crowd, 0};
	struct bench_subject subjects[] = {
		{"regionmgr", crowd_run, &many},
		{few == 1 ? "raw loop, file mapped, 1 process"
			  : "raw loop, file mapped, 2 processes",
			crowd_run, &raw},
		{"regionmgr, 2 processes", crowd_run, &two},
	};
	char row[96], note[96];
	bool good;

	snprintf(row, sizeof(row), "scan by %u processes at once, in total", readers);
	good = bench_row(bench, row, "GB/s", BENCH_HIGHER, subjects, readers > 2 ? 3 : 2,
		readers > 32 ? 3 : 6);
	snprintf(note, sizeof(note), "the slowest reader scanned %.2f of the median's bytes",
		many.slowest);
	bench_note(bench, row, note);
	return good;
}

static bool rows_crowds(
	const struct bench *bench, const struct bench_instance *instance, const char *path)
{
	static const uint32_t all[] = {1, 2, 8, 32, 128, 512, 0}, quick[] = {1, 2, 128, 0};
	const uint32_t *sizes = bench->quick ? quick : all;
	struct crowd *crowd = mmap(
		NULL, sizeof(*crowd), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct bench_slope slope = {0};
	bool good = crowd != MAP_FAILED;

	for (; good && *sizes != 0; sizes++) {
		good = row_crowd(bench, instance, path, crowd, *sizes);
		bench_slope_add(&slope, *sizes, 1);
	}
	bench_slope_print(
		bench, "scan by many processes at once, in total", "GB/s", "processes", &slope);
	return good;
}

int main(int argc, char **argv)
{
	uint64_t bytes = BENCH_BIG_BYTES;
	struct bench_instance instance;
	struct bench bench;
	char folder[300], path[400];
	bool good;
	int rc = bench_begin(&bench, "scan", argc, argv);

	if (rc != 0)
		return rc;
	if (!bench_folder_make(&bench, folder, sizeof(folder)))
		return 1;
	good = bench_instance_start(&bench, &instance, bench_fill_big, NULL, &bytes);
	if (good) {
		snprintf(path, sizeof(path), "%s/raw", folder);
		good = row_one_reader(&bench, &instance, folder) &&
		       rows_crowds(&bench, &instance, path);
		bench_instance_stop(&instance);
	}
	bench_folder_remove(folder);
	return good ? 0 : 1;
}
