/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attaching: what a process pays before it reads its first byte, and what its first scan of
 * everything costs. Each sample is a process of its own, forked for it.
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <regionmgr/layers.h>

#include "instance.h"
#include "peers.h"
#include "raw.h"

struct subject {
	const struct bench_instance *instance;
	const char *folder; /* LMDB's */
	const char *path;   /* the raw file */
	uint64_t bytes;
	double *figure; /* shared with the child */
	bool (*work)(const struct subject *subject);
};

/* Run the subject's work in a child; its time, in microseconds. */
static double in_child(void *context)
{
	const struct subject *subject = context;
	int status;
	pid_t pid;

	fflush(NULL);
	*subject->figure = NAN;
	pid = fork();
	if (pid == 0) {
		uint64_t begun = bench_now_ns();
		bool good = subject->work(subject);

		if (good)
			*subject->figure = (double)(bench_now_ns() - begun) / 1000;
		_exit(good ? 0 : 1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		return NAN;
	return *subject->figure;
}

/* --- subjects ----------------------------------------------------------------------------------- */

static bool ours_attach(const struct subject *subject)
{
	struct rgm_attach_options options = {
		.size = sizeof(options), .socket = subject->instance->socket};
	struct rgm_session *session;

	return rgm_session_attach(subject->instance->name, &options, &session, NULL) == 0;
}

static bool ours_attach_and_scan(const struct subject *subject)
{
	struct rgm_attach_options options = {
		.size = sizeof(options), .socket = subject->instance->socket};
	struct rgm_session *session;
	struct rgm_layers layers;
	struct rgm_slot *slot;
	struct rgm_span span;
	const char *name;
	uint64_t sum = 0;

	if (rgm_session_attach(subject->instance->name, &options, &session, NULL) != 0 ||
		rgm_map(session, "big", NULL) != 0 || rgm_slot_open(session, &slot, NULL) != 0 ||
		rgm_pin(slot) != 0 || rgm_layers_open(slot, "big", &layers, NULL) != 0)
		return false;
	while (rgm_layers_next(&layers, &name, &span))
		sum += bench_sum(span.data, span.size);
	bench_use(sum);
	return rgm_unpin(slot) == 0;
}

static bool lmdb_only(const struct subject *subject)
{
	return lmdb_attach(subject->folder) != NULL;
}

static bool lmdb_and_scan(const struct subject *subject)
{
	struct lmdb *lmdb = lmdb_attach(subject->folder);

	if (lmdb == NULL)
		return false;
	bench_use(lmdb_scan(lmdb));
	return true;
}

static bool plain_map(const struct subject *subject)
{
	int file = open(subject->path, O_RDONLY | O_CLOEXEC);
	const unsigned char *map;

	if (file < 0)
		return false;
	map = mmap(NULL, subject->bytes, PROT_READ, MAP_SHARED, file, 0);
	if (map == MAP_FAILED)
		return false;
	bench_use(map[subject->bytes / 2]);
	return true;
}

static bool raw_and_scan(const struct subject *subject)
{
	const void *map = raw_map(subject->path, subject->bytes);

	if (map == NULL)
		return false;
	bench_use(bench_sum(map, subject->bytes));
	return true;
}

/* --- rows --------------------------------------------------------------------------------------- */

static bool row_attach(const struct bench *bench, const char *row,
	const struct bench_instance *instance, const char *folder, const char *path, uint64_t bytes,
	double *figure)
{
	struct subject subjects[] = {
		{instance, NULL, NULL, bytes, figure, ours_attach},
		{NULL, folder, NULL, bytes, figure, lmdb_only},
		{NULL, NULL, path, bytes, figure, plain_map},
	};
	struct bench_subject named[] = {
		{"regionmgr", in_child, &subjects[0]},
		{"lmdb open + read transaction", lmdb_installed() ? in_child : NULL, &subjects[1]},
		{"open + mmap", in_child, &subjects[2]},
	};

	return bench_row(bench, row, "us", BENCH_LOWER, named, 3, 100);
}

static bool rows_dimensions(
	const struct bench *bench, const char *folder, const char *path, double *figure)
{
	static const uint64_t counts[] = {1, 64, 1024, 4096};
	struct bench_slope slope = {0};
	struct bench_instance instance;
	bool good = true;
	char row[64];

	for (int i = 0; good && i < 4; i++) {
		uint64_t count = counts[i];

		good = bench_instance_start_in_memory(
			bench, &instance, bench_fill_many, NULL, &count);
		if (!good)
			break;
		snprintf(row, sizeof(row), "attach, %llu dimensions", (unsigned long long)count);
		good = row_attach(bench, row, &instance, folder, path, BENCH_BIG_BYTES, figure);
		bench_slope_add(&slope, (double)count, 1);
		bench_instance_stop(&instance);
	}
	bench_slope_print(bench, "attach", "us", "dimensions", &slope);
	return good;
}

static bool row_attach_and_scan(const struct bench *bench, const struct bench_instance *instance,
	const char *folder, const char *path, double *figure)
{
	struct subject subjects[] = {
		{instance, NULL, NULL, BENCH_BIG_BYTES, figure, ours_attach_and_scan},
		{NULL, NULL, path, BENCH_BIG_BYTES, figure, raw_and_scan},
		{NULL, folder, NULL, BENCH_BIG_BYTES, figure, lmdb_and_scan},
	};
	struct bench_subject named[] = {
		{"regionmgr", in_child, &subjects[0]},
		{"open + mmap at 2 MB + raw loop", in_child, &subjects[1]},
		{"lmdb open + cursor", lmdb_installed() ? in_child : NULL, &subjects[2]},
	};

	return bench_row(
		bench, "attach + map + scan of 280 MB once", "us", BENCH_LOWER, named, 3, 40);
}

static bool rows_sizes(
	const struct bench *bench, const char *folder, const char *path, double *figure)
{
	static const uint64_t sizes[] = {16000000, BENCH_BIG_BYTES, 1000000000, 8000000000};
	struct bench_slope slope = {0};
	struct bench_instance instance;
	bool good = true;
	char row[64];

	for (int i = 0; good && i < 4; i++) {
		uint64_t bytes = sizes[i];

		if (bench->quick && bytes > BENCH_BIG_BYTES)
			continue;
		good = bench_instance_start(bench, &instance, bench_fill_big, NULL, &bytes);
		if (!good)
			break;
		snprintf(row, sizeof(row), "attach, one dimension of %llu MB",
			(unsigned long long)(bytes / 1000000));
		good = row_attach(bench, row, &instance, folder, path, BENCH_BIG_BYTES, figure);
		bench_slope_add(&slope, (double)bytes / 1e6, 1);
		if (good && bytes == BENCH_BIG_BYTES)
			good = row_attach_and_scan(bench, &instance, folder, path, figure);
		bench_instance_stop(&instance);
	}
	bench_slope_print(bench, "attach", "us", "MB", &slope);
	return good;
}

int main(int argc, char **argv)
{
	double *figure = mmap(
		NULL, sizeof(*figure), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char folder[300], path[400];
	struct bench bench;
	void *values;
	bool good;
	int rc = bench_begin(&bench, "attach", argc, argv);

	if (rc != 0)
		return rc;
	if (figure == MAP_FAILED || !bench_folder_make(&bench, folder, sizeof(folder)))
		return 1;
	snprintf(path, sizeof(path), "%s/raw", folder);
	values = raw_values(BENCH_BIG_BYTES);
	good = values != NULL && !isnan(raw_write(path, values, BENCH_BIG_BYTES, true));
	if (good && lmdb_installed()) {
		struct lmdb *lmdb = lmdb_load(folder, values, BENCH_BIG_BYTES, true);

		good = lmdb != NULL;
		lmdb_close(lmdb);
	}
	free(values);
	good = good && rows_dimensions(&bench, folder, path, figure) &&
	       rows_sizes(&bench, folder, path, figure);
	bench_folder_remove(folder);
	return good ? 0 : 1;
}
