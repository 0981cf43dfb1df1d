/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What readers cost a writer: the time of a commit alone, beside one busy reader, and beside many; and how
 * soon the memory that a killed reader saw is free again.
 *
 * The manager is in this process, the readers are forked from it: their copies of it are dead.
 */
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <regionmgr/layers.h>

#include "instance.h"

#define READERS_MAX 128u
#define LAYERS      64u
#define LAYER_BYTES 65536u
#define COMMITS     1000u
#define RATE_NS     1500000000ull
#define WAIT_NS     10000000000ull

enum reader_work {
	READER_BUSY, /* scans everything, again and again */
	READER_STAYS /* inside a section */
};

/* Shared with the readers. */
struct board {
	atomic_uint ready;
	atomic_uint go; /* not before all are attached: they would wait for each other */
	atomic_uint stop;
};

struct writer {
	const struct bench *bench;
	struct rgm_manager *manager;
	struct rgm_control *control; /* of the same, to look */
	struct board *board;
	char dir[256];
	char socket[400];
	char data[LAYER_BYTES];
	uint64_t commits;
	pid_t readers[READERS_MAX];
	uint32_t reader_count;
};

/* --- readers ------------------------------------------------------------------------------------ */

static bool scan(struct rgm_slot *slot)
{
	struct rgm_layers layers;
	struct rgm_span span;
	const char *name;
	uint64_t sum = 0;

	if (rgm_pin(slot) != 0 || rgm_layers_open(slot, "data", &layers, NULL) != 0)
		return false;
	while (rgm_layers_next(&layers, &name, &span))
		sum += bench_sum(span.data, span.size);
	bench_use(sum);
	return rgm_unpin(slot) == 0;
}

_Noreturn static void be_reader(struct writer *writer, enum reader_work work)
{
	struct rgm_attach_options options = {.size = sizeof(options), .socket = writer->socket};
	struct rgm_session *session;
	struct rgm_slot *slot;
	bool good = rgm_session_attach(NULL, &options, &session, NULL) == 0 &&
	            rgm_map(session, "data", NULL) == 0 && rgm_slot_open(session, &slot, NULL) == 0;

	if (good && work == READER_STAYS)
		good = rgm_pin(slot) == 0;
	if (!good)
		_exit(1);
	atomic_fetch_add(&writer->board->ready, 1);
	while (atomic_load(&writer->board->go) == 0)
		usleep(1000);
	while (good && atomic_load(&writer->board->stop) == 0) {
		if (work == READER_BUSY)
			good = scan(slot);
		else
			usleep(20000);
	}
	_exit(good ? 0 : 1);
}

static bool readers_start(struct writer *writer, uint32_t count, enum reader_work work)
{
	memset(writer->board, 0, sizeof(*writer->board));
	fflush(NULL);
	for (uint32_t i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid == 0)
			be_reader(writer, work);
		if (pid < 0)
			return false;
		writer->readers[writer->reader_count++] = pid;
	}
	while (atomic_load(&writer->board->ready) < count) {
		if (waitpid(-1, NULL, WNOHANG) > 0)
			return false;
		usleep(500);
	}
	atomic_store(&writer->board->go, 1);
	return true;
}

static bool readers_stop(struct writer *writer)
{
	bool good = true;
	int status;

	atomic_store(&writer->board->stop, 1);
	while (writer->reader_count > 0)
		good &= waitpid(writer->readers[--writer->reader_count], &status, 0) > 0 &&
		        status == 0;
	return good;
}

/* --- commits ------------------------------------------------------------------------------------ */

static bool commit(struct writer *writer)
{
	struct rgm_load_options options = {.size = sizeof(options)};
	struct rgm_writer *change;
	struct rgm_error error = {0};
	char layer[16];
	uint64_t number = writer->commits++;

	memcpy(writer->data, &number, sizeof(number));
	snprintf(layer, sizeof(layer), "l%02u", (unsigned)(number % LAYERS));
	if (rgm_writer_begin(writer->manager, "data", &options, &change, &error) == 0) {
		if (rgm_writer_put(change, layer, writer->data, LAYER_BYTES, NULL, &error) == 0)
			return rgm_writer_commit(change, NULL, &error) == 0;
		rgm_writer_abort(change);
	}
	fprintf(stderr, "bench_writer: %s\n", error.message);
	return false;
}

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return a < b ? -1 : a > b;
}

/* The p99 of the times of commits, in us; NAN if one failed. */
static double p99(struct writer *writer)
{
	static double times[COMMITS];

	for (uint32_t i = 0; i < COMMITS; i++) {
		uint64_t begun = bench_now_ns();

		if (!commit(writer))
			return NAN;
		times[i] = (double)(bench_now_ns() - begun) / 1000;
	}
	qsort(times, COMMITS, sizeof(times[0]), by_size);
	return times[COMMITS * 99 / 100];
}

/* Commits a second, in thousands, of a while that has room for some hundred beside any crowd. */
static double rate(struct writer *writer)
{
	uint64_t begun = bench_now_ns(), end = begun + RATE_NS;
	uint32_t commits = 0;

	for (; bench_now_ns() < end; commits++)
		if (!commit(writer))
			return NAN;
	return commits * 1e6 / (double)(bench_now_ns() - begun);
}

struct beside {
	struct writer *writer;
	uint32_t readers;
	enum reader_work work;
	double (*figure)(struct writer *writer);
};

static double with_readers(void *context)
{
	const struct beside *beside = context;
	double figure;

	if (!readers_start(beside->writer, beside->readers, beside->work))
		return NAN;
	figure = beside->figure(beside->writer);
	return readers_stop(beside->writer) ? figure : NAN;
}

static bool rows_commits(const struct bench *bench, struct writer *writer)
{
	struct beside one = {writer, 1, READER_BUSY, p99};
	struct beside alone = {writer, 0, READER_BUSY, p99};
	struct beside many = {writer, READERS_MAX, READER_BUSY, rate};
	struct beside quiet = {writer, 0, READER_BUSY, rate};
	struct bench_subject latency[] = {
		{"regionmgr", with_readers, &one}, {"the same, alone", with_readers, &alone}};
	struct bench_subject throughput[] = {
		{"regionmgr", with_readers, &many}, {"the same, alone", with_readers, &quiet}};
	bool good = bench_row(bench, "commit of 64 KB beside one busy reader, p99", "us",
		BENCH_LOWER, latency, 2, 9);

	good = good && bench_row(bench, "commits of 64 KB beside 128 busy readers", "k/s",
			       BENCH_HIGHER, throughput, 2, 3);
	return good;
}

/* --- a killed reader ---------------------------------------------------------------------------- */

static bool retired(struct writer *writer, uint64_t *ret_bytes)
{
	struct rgm_status status;

	if (rgm_control_status(writer->control, &status, NULL) != 0)
		return false;
	*ret_bytes = status.retired_bytes;
	return true;
}

/* Milliseconds from the death, proven by wait(2), until nothing is retired any more. */
static double killed_reader(void *context)
{
	struct writer *writer = context;
	uint64_t bytes, begun;
	bool good = readers_start(writer, 1, READER_STAYS);

	for (uint32_t i = 0; good && i < LAYERS; i++)
		good = commit(writer);
	good = good && retired(writer, &bytes) && bytes > 0;
	if (writer->reader_count == 0)
		return NAN;
	kill(writer->readers[--writer->reader_count], SIGKILL);
	waitpid(writer->readers[writer->reader_count], NULL, 0);
	begun = bench_now_ns();
	do
		good = good && retired(writer, &bytes) && bench_now_ns() - begun < WAIT_NS;
	while (good && bytes > 0);
	return good ? (double)(bench_now_ns() - begun) / 1e6 : NAN;
}

/* --- the bench ---------------------------------------------------------------------------------- */

static bool open_all(struct writer *writer)
{
	struct rgm_manager_options options = {.size = sizeof(options),
		.instance = "bench-writer",
		.dir = writer->dir,
		.socket = writer->socket};
	struct rgm_control_options at = {.size = sizeof(at), .socket = writer->socket};
	struct rgm_error error = {0};
	bool good = rgm_manager_open(&options, &writer->manager, &error) == 0 &&
	            rgm_manager_create(writer->manager, "data", NULL, &error) == 0 &&
	            rgm_control_open(NULL, &at, &writer->control, &error) == 0;

	if (!good)
		fprintf(stderr, "bench_writer: %s\n", error.message);
	for (uint32_t i = 0; good && i < LAYERS; i++)
		good = commit(writer);
	return good;
}

int main(int argc, char **argv)
{
	static struct writer writer;
	static struct bench bench;
	struct bench_subject killed = {"regionmgr", killed_reader, &writer};
	bool good;
	int rc = bench_begin(&bench, "writer", argc, argv);

	if (rc != 0)
		return rc;
	writer.bench = &bench;
	writer.board = mmap(NULL, sizeof(*writer.board), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (writer.board == MAP_FAILED ||
		!bench_folder_make(&bench, writer.dir, sizeof(writer.dir)))
		return 1;
	snprintf(writer.socket, sizeof(writer.socket), "%s/control.sock", writer.dir);
	good = open_all(&writer) && rows_commits(&bench, &writer) &&
	       bench_row(&bench, "killed reader: dead to its memory free", "ms", BENCH_LOWER,
		       &killed, 1, 20);
	rgm_control_close(writer.control);
	if (writer.manager != NULL && rgm_manager_close(writer.manager, NULL) != 0)
		good = false;
	bench_folder_remove(writer.dir);
	return good ? 0 : 1;
}
