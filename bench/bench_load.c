/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading: 280 MB into a new dimension, from memory by a manager in this process and from files
 * through the control socket, beside the same bytes written straight into a file. What is dropped or
 * unlinked after a run is not timed.
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "instance.h"
#include "peers.h"
#include "raw.h"

#define COPY_BYTES (4u << 20)

struct load {
	const struct bench *bench;
	struct rgm_manager *manager; /* in this process */
	char dir[256];               /* its folder */
	char socket[400];
	struct rgm_control *control; /* of a manager in another process */
	char folder[300];            /* raw files, LMDB, sources */
	char path[400];
	const char *values; /* BENCH_BIG_BYTES, or `bytes` of them */
	uint64_t bytes;
	uint32_t files; /* sources "f0" … in the folder */
	uint32_t loads; /* names used so far */
	bool sync;
};

static double milliseconds(uint64_t begun)
{
	return (double)(bench_now_ns() - begun) / 1e6;
}

/* --- from memory -------------------------------------------------------------------------------- */

static bool open_manager(struct load *load)
{
	struct rgm_manager_options options = {.size = sizeof(options),
		.instance = "bench-load",
		.dir = load->dir,
		.socket = load->socket};
	struct rgm_error error = {0};

	if (rgm_manager_open(&options, &load->manager, &error) == 0)
		return true;
	fprintf(stderr, "bench_load: %s\n", error.message);
	load->manager = NULL;
	return false;
}

static int put_all(struct load *load, const char *name, struct rgm_error *error)
{
	struct rgm_load_options options = {
		.size = sizeof(options), .flags = RGM_LOAD_CREATE, .expected_bytes = load->bytes};
	struct rgm_writer *writer;
	char layer[32];
	int rc = rgm_writer_begin(load->manager, name, &options, &writer, error);

	if (rc != 0)
		return rc;
	for (uint64_t i = 0, done = 0; rc == 0 && done < load->bytes; i++) {
		size_t size = bench_value_bytes(i);

		if (size > load->bytes - done)
			size = load->bytes - done;
		snprintf(layer, sizeof(layer), "v%07llu", (unsigned long long)i);
		rc = rgm_writer_put(writer, layer, load->values + done, size, NULL, error);
		done += size;
	}
	if (rc == 0)
		return rgm_writer_commit(writer, NULL, error);
	rgm_writer_abort(writer);
	return rc;
}

/* With sync: until the manager has stopped cleanly, everything durable. */
static double ours_from_memory(void *context)
{
	struct load *load = context;
	struct rgm_error error = {0};
	uint64_t begun;
	double ms;
	char name[32];
	int rc;

	snprintf(name, sizeof(name), "load-%u", load->loads++);
	begun = bench_now_ns();
	rc = put_all(load, name, &error);
	if (rc == 0 && load->sync) {
		rc = rgm_manager_close(load->manager, &error);
		load->manager = NULL;
	}
	ms = milliseconds(begun);
	if (rc == 0 && (load->manager != NULL || open_manager(load)))
		rc = rgm_manager_drop(load->manager, name, false, NULL, &error);
	if (rc == 0)
		return ms;
	fprintf(stderr, "bench_load: %s\n", error.message);
	return NAN;
}

static double raw_from_memory(void *context)
{
	struct load *load = context;
	double seconds = raw_write(load->path, load->values, load->bytes, load->sync);

	unlink(load->path);
	return seconds * 1000;
}

static double lmdb_from_memory(void *context)
{
	struct load *load = context;
	char folder[350], path[400];
	struct lmdb *lmdb;
	uint64_t begun;
	double ms;

	snprintf(folder, sizeof(folder), "%s/lmdb", load->folder);
	mkdir(folder, 0700);
	begun = bench_now_ns();
	lmdb = lmdb_load(folder, load->values, load->bytes, load->sync);
	ms = milliseconds(begun);
	if (lmdb == NULL)
		return NAN;
	lmdb_close(lmdb);
	snprintf(path, sizeof(path), "%s/data.mdb", folder);
	unlink(path);
	return ms;
}

static bool rows_memory(struct load *load)
{
	static const uint64_t sizes[] = {16000000, 64000000, BENCH_BIG_BYTES};
	struct bench_subject subjects[] = {
		{"regionmgr", ours_from_memory, load},
		{"fallocate + 4 MB pwrite", raw_from_memory, load},
		{"lmdb append", lmdb_installed() ? lmdb_from_memory : NULL, load},
	};
	struct bench_slope slope = {0};
	bool good = true;
	char row[80];

	for (int i = 0; good && i < 3; i++) {
		load->bytes = sizes[i];
		snprintf(row, sizeof(row), "load %llu MB from memory",
			(unsigned long long)(sizes[i] / 1000000));
		good = bench_row(load->bench, row, "ms", BENCH_LOWER, subjects, 3, 20);
		bench_slope_add(&slope, (double)sizes[i] / 1e6, (double)sizes[i] / 1e6);
	}
	bench_slope_print(load->bench, "load from memory", "ms per MB", "MB", &slope);
	load->sync = true;
	good = good && bench_row(load->bench, "load 280 MB from memory and make it durable", "ms",
			       BENCH_LOWER, subjects, 3, 12);
	load->sync = false;
	return good;
}

/* --- from files --------------------------------------------------------------------------------- */

static void source_path(const struct load *load, uint32_t index, char *ret_path, size_t bytes)
{
	snprintf(ret_path, bytes, "%s/f%u", load->folder, index);
}

/* Cut the values into `count` files of equal size. */
static bool make_sources(struct load *load, uint32_t count)
{
	size_t size = BENCH_BIG_BYTES / count;
	bool good = true;
	char path[400];

	for (uint32_t i = 0; i < load->files; i++) {
		source_path(load, i, path, sizeof(path));
		unlink(path);
	}
	load->files = count;
	for (uint32_t i = 0; good && i < count; i++) {
		int file;

		source_path(load, i, path, sizeof(path));
		file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		good = file >= 0 && write(file, load->values + i * size, size) == (ssize_t)size;
		if (file >= 0)
			close(file);
	}
	return good;
}

static int load_sources(struct load *load, const char *name, struct rgm_error *error)
{
	struct rgm_load_options options = {.size = sizeof(options),
		.flags = RGM_LOAD_CREATE,
		.expected_bytes = BENCH_BIG_BYTES};
	struct rgm_load *change;
	char path[400];
	int rc = rgm_load_begin(load->control, name, &options, &change, error);

	if (rc != 0)
		return rc;
	for (uint32_t i = 0; rc == 0 && i < load->files; i++) {
		int file;

		source_path(load, i, path, sizeof(path));
		file = open(path, O_RDONLY | O_CLOEXEC);
		rc = rgm_load_file(change, strrchr(path, '/') + 1, file, NULL, error);
		close(file);
	}
	if (rc == 0)
		return rgm_load_commit(change, NULL, error);
	rgm_load_abort(change);
	return rc;
}

static double ours_from_files(void *context)
{
	struct load *load = context;
	struct rgm_error error = {0};
	uint64_t begun;
	double ms;
	char name[32];
	int rc;

	snprintf(name, sizeof(name), "load-%u", load->loads++);
	begun = bench_now_ns();
	rc = load_sources(load, name, &error);
	ms = milliseconds(begun);
	if (rc == 0)
		rc = rgm_control_drop(load->control, name, false, NULL, &error);
	if (rc == 0)
		return ms;
	fprintf(stderr, "bench_load: %s\n", error.message);
	return NAN;
}

/* What a program without a library would do: read each file, write it behind the one before. */
static double raw_from_files(void *context)
{
	static char buffer[COPY_BYTES];
	struct load *load = context;
	uint64_t begun = bench_now_ns();
	int to = open(load->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool good = to >= 0 && posix_fallocate(to, 0, BENCH_BIG_BYTES) == 0;
	size_t held = 0;
	char path[400];
	double ms;

	for (uint32_t i = 0; good && i < load->files; i++) {
		ssize_t got = -1;
		int file;

		source_path(load, i, path, sizeof(path));
		file = open(path, O_RDONLY | O_CLOEXEC);
		while (file >= 0 && (got = read(file, buffer + held, sizeof(buffer) - held)) > 0) {
			held += (size_t)got;
			if (held < sizeof(buffer))
				continue;
			good &= write(to, buffer, held) == (ssize_t)held;
			held = 0;
		}
		good &= got == 0;
		close(file);
	}
	good = good && write(to, buffer, held) == (ssize_t)held;
	ms = milliseconds(begun);
	close(to);
	unlink(load->path);
	return good ? ms : NAN;
}

static bool rows_files(struct load *load)
{
	struct bench_subject subjects[] = {
		{"regionmgr", ours_from_files, load},
		{"fallocate + read + 4 MB write", raw_from_files, load},
	};

	return make_sources(load, 280) &&
	       bench_row(
		       load->bench, "load 280 files of 1 MB", "ms", BENCH_LOWER, subjects, 2, 20) &&
	       make_sources(load, 8000) &&
	       bench_row(
		       load->bench, "load 8000 files of 35 KB", "ms", BENCH_LOWER, subjects, 2, 20);
}

/* --- all ---------------------------------------------------------------------------------------- */

static int fill_nothing(struct rgm_manager *manager, void *context, struct rgm_error *error)
{
	(void)manager;
	(void)context;
	(void)error;
	return 0;
}

static bool all_rows(struct load *load, const struct bench_instance *instance)
{
	struct rgm_control_options options = {
		.size = sizeof(options), .socket = instance->socket, .timeout_ms = 60000};
	struct rgm_error error = {0};
	bool good;

	if (rgm_control_open(instance->name, &options, &load->control, &error) != 0) {
		fprintf(stderr, "bench_load: %s\n", error.message);
		return false;
	}
	good = rows_files(load) && open_manager(load) && rows_memory(load);
	if (load->manager != NULL)
		rgm_manager_close(load->manager, NULL);
	rgm_control_close(load->control);
	return good;
}

int main(int argc, char **argv)
{
	static struct load load;
	static struct bench bench;
	struct bench_instance instance;
	bool good;
	int rc = bench_begin(&bench, "load", argc, argv);

	if (rc != 0)
		return rc;
	load.bench = &bench;
	load.values = raw_values(BENCH_BIG_BYTES);
	if (load.values == NULL || !bench_folder_make(&bench, load.folder, sizeof(load.folder)))
		return 1;
	snprintf(load.path, sizeof(load.path), "%s/raw", load.folder);
	good = bench_folder_make(&bench, load.dir, sizeof(load.dir));
	snprintf(load.socket, sizeof(load.socket), "%s/control.sock", load.dir);
	if (good && bench_instance_start(&bench, &instance, fill_nothing, NULL, NULL)) {
		good = all_rows(&load, &instance);
		bench_instance_stop(&instance);
	} else {
		good = false;
	}
	bench_folder_remove(load.dir);
	bench_folder_remove(load.folder);
	return good ? 0 : 1;
}
