/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How costs grow with what is there: a section with 1 to 512 slots and sessions, all in sections; a commit
 * with 1 to 4,096 dimensions and 1 to 512 attached processes. (The scan before reclaim: bench_reclaim;
 * attaching: bench_attach; looking up: bench_section; scanning: bench_scan.)
 */
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <regionmgr/layers.h>

#include "instance.h"

#define LOOPS   100000u
#define MANY    512u
#define COMMITS 100u

static const uint32_t counts[] = {1, 8, 64, MANY};
#define COUNTS (sizeof(counts) / sizeof(counts[0]))

/* --- sections ----------------------------------------------------------------------------------- */

static double enter_exit(void *context)
{
	struct rgm_slot *slot = context;
	uint64_t begun = bench_now_ns();
	int bad = 0;

	for (uint32_t i = 0; i < LOOPS; i++) {
		bad |= rgm_pin(slot);
		bad |= rgm_unpin(slot);
	}
	return bad == 0 ? (double)(bench_now_ns() - begun) / LOOPS : NAN;
}

struct crowd {
	struct rgm_session *sessions[MANY];
	struct rgm_slot *slots[MANY];
	uint32_t count;
};

/* One more slot, of one more session or of the first, in a section. */
static bool add_slot(
	struct crowd *crowd, const struct bench_instance *instance, bool of_its_own_session)
{
	struct rgm_attach_options options = {
		.size = sizeof(options), .socket = instance->socket, .slots = MANY + 1};
	uint32_t at = crowd->count++;
	struct rgm_error error;

	crowd->sessions[at] = crowd->sessions[0];
	if ((at > 0 && !of_its_own_session) ||
		rgm_session_attach(instance->name, &options, &crowd->sessions[at], &error) == 0)
		if (rgm_slot_open(crowd->sessions[at], &crowd->slots[at], &error) == 0)
			return rgm_pin(crowd->slots[at]) == 0;
	fprintf(stderr, "bench_scale: %s\n", error.message);
	return false;
}

static void close_crowd(struct crowd *crowd)
{
	while (crowd->count > 0) {
		uint32_t at = --crowd->count;

		rgm_slot_close(crowd->slots[at]);
		if (at == 0 || crowd->sessions[at] != crowd->sessions[0])
			rgm_session_detach(crowd->sessions[at]);
	}
}

static bool rows_sections(
	const struct bench *bench, const struct bench_instance *instance, bool sessions)
{
	static struct crowd crowd;
	struct bench_slope slope = {0};
	const char *what = sessions ? "sessions" : "slots";
	bool good = true;
	char row[64];

	crowd = (struct crowd){.count = 0};
	for (size_t i = 0; good && i < COUNTS; i++) {
		struct bench_subject subject = {.name = "regionmgr", .run = enter_exit};

		while (good && crowd.count < counts[i])
			good = add_slot(&crowd, instance, sessions);
		/* the last one of them is measured, the others stay inside */
		subject.context = crowd.slots[crowd.count - 1];
		snprintf(row, sizeof(row), "enter+exit beside %u %s", counts[i], what);
		good = good && rgm_unpin(subject.context) == 0 &&
		       bench_row(bench, row, "ns", BENCH_LOWER, &subject, 1, 40) &&
		       rgm_pin(subject.context) == 0;
		bench_slope_add(&slope, counts[i], 1);
	}
	snprintf(row, sizeof(row), "enter+exit beside %s", what);
	bench_slope_print(bench, row, "ns", what, &slope);
	close_crowd(&crowd);
	return good;
}

/* --- commits ------------------------------------------------------------------------------------ */

/* Shared with the manager's process, which measures its own commits, and with the readers. */
struct board {
	uint64_t dimensions;
	atomic_uint asked, done, end;
	atomic_uint ready;
	double us; /* of sample `done`: the median of COMMITS */
};

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return a < b ? -1 : a > b;
}

static int commit_some(struct rgm_manager *manager, double *ret_us, struct rgm_error *error)
{
	struct rgm_load_options options = {.size = sizeof(options)};
	static double times[COMMITS];
	static uint64_t number;
	struct rgm_writer *writer;
	char layer[16];
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < COMMITS; i++) {
		char data[64] = {0};
		uint64_t begun;

		snprintf(layer, sizeof(layer), "l%02u", (unsigned)(number++ % 64));
		rc = rgm_writer_begin(manager, "d0", &options, &writer, error);
		if (rc != 0)
			break;
		rc = rgm_writer_put(writer, layer, data, sizeof(data), NULL, error);
		if (rc != 0) {
			rgm_writer_abort(writer);
			break;
		}
		begun = bench_now_ns();
		rc = rgm_writer_commit(writer, NULL, error);
		times[i] = (double)(bench_now_ns() - begun) / 1000;
	}
	qsort(times, COMMITS, sizeof(times[0]), by_size);
	*ret_us = times[COMMITS / 2];
	return rc;
}

static int serve_samples(struct rgm_manager *manager, void *context, struct rgm_error *error)
{
	struct board *board = context;
	uint32_t last = 0;
	int rc = 0;

	while (rc == 0 && atomic_load(&board->end) == 0) {
		uint32_t asked = atomic_load(&board->asked);

		if (asked == last) {
			usleep(200);
			continue;
		}
		rc = commit_some(manager, &board->us, error);
		last = asked;
		atomic_store(&board->done, rc == 0 ? asked : UINT32_MAX);
	}
	return rc;
}

static double sample(void *context)
{
	struct board *board = context;
	uint32_t number = atomic_fetch_add(&board->asked, 1) + 1, done;

	while ((done = atomic_load(&board->done)) != number)
		if (done == UINT32_MAX)
			return NAN;
		else
			usleep(200);
	return board->us;
}

static bool start(const struct bench *bench, struct bench_instance *instance, struct board *board,
	uint64_t dimensions)
{
	memset(board, 0, sizeof(*board));
	board->dimensions = dimensions;
	return bench_instance_start_in_memory(
		bench, instance, bench_fill_many, serve_samples, board);
}

static void stop(struct bench_instance *instance, struct board *board)
{
	atomic_store(&board->end, 1);
	bench_instance_stop(instance);
}

static bool rows_dimensions(const struct bench *bench, struct board *board)
{
	static const uint64_t dimensions[] = {1, 64, 1024, 4096};
	struct bench_subject subject = {"regionmgr", sample, board};
	struct bench_slope slope = {0};
	struct bench_instance instance;
	bool good = true;
	char row[64];

	for (size_t i = 0; good && i < sizeof(dimensions) / sizeof(dimensions[0]); i++) {
		good = start(bench, &instance, board, dimensions[i]);
		if (!good)
			break;
		snprintf(
			row, sizeof(row), "commit of 64 B, %u dimensions", (unsigned)dimensions[i]);
		good = bench_row(bench, row, "us", BENCH_LOWER, &subject, 1, 40);
		bench_slope_add(&slope, (double)dimensions[i], 1);
		stop(&instance, board);
	}
	bench_slope_print(bench, "commit of 64 B", "us", "dimensions", &slope);
	return good;
}

_Noreturn static void be_attached(const struct bench_instance *instance, struct board *board)
{
	struct rgm_session *session = bench_attach(instance, RGM_BARRIER_AUTO);
	struct rgm_slot *slot;
	bool good = rgm_map(session, "d0", NULL) == 0 && rgm_slot_open(session, &slot, NULL) == 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	atomic_fetch_add(&board->ready, good ? 1 : MANY + 1);
	for (;;)
		pause();
}

static bool rows_readers(const struct bench *bench, struct board *board)
{
	struct bench_subject subject = {"regionmgr", sample, board};
	struct bench_slope slope = {0};
	struct bench_instance instance;
	pid_t pids[MANY];
	uint32_t readers = 0;
	bool good = start(bench, &instance, board, 1);
	char row[64];

	if (!good)
		return false;
	for (size_t i = 0; good && i < COUNTS; i++) {
		fflush(NULL);
		for (; good && readers < counts[i]; readers++) {
			pids[readers] = fork();
			if (pids[readers] == 0)
				be_attached(&instance, board);
			good = pids[readers] > 0;
		}
		while (good && atomic_load(&board->ready) < readers) {
			good = waitpid(-1, NULL, WNOHANG) == 0;
			usleep(1000);
		}
		snprintf(row, sizeof(row), "commit of 64 B, %u processes attached", counts[i]);
		good = good && atomic_load(&board->ready) == readers &&
		       bench_row(bench, row, "us", BENCH_LOWER, &subject, 1, 40);
		bench_slope_add(&slope, counts[i], 1);
	}
	bench_slope_print(bench, "commit of 64 B", "us", "processes attached", &slope);
	for (uint32_t i = 0; i < readers; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	for (uint32_t i = 0; i < readers; i++)
		if (pids[i] > 0)
			waitpid(pids[i], NULL, 0);
	stop(&instance, board);
	return good;
}

int main(int argc, char **argv)
{
	uint64_t one = 1;
	struct board *board = mmap(
		NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct bench_instance instance;
	struct bench bench;
	bool good;
	int rc = bench_begin(&bench, "scale", argc, argv);

	if (rc != 0)
		return rc;
	if (board == MAP_FAILED)
		return 1;
	good = bench_instance_start(&bench, &instance, bench_fill_many, NULL, &one);
	if (good) {
		good = rows_sections(&bench, &instance, false) &&
		       rows_sections(&bench, &instance, true);
		bench_instance_stop(&instance);
	}
	good = good && rows_dimensions(&bench, board) && rows_readers(&bench, board);
	return good ? 0 : 1;
}
