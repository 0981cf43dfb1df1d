/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an old reader costs: 100 MB of values of 4 to 64 KB, of which 20 MB are overwritten 100 times while
 * one reader stays where it was: it holds the version that it saw at first, or was stopped inside a
 * section. How much does the file grow, and what of it comes back?
 *
 * The manager is in this process, the reader is forked from it. Both subjects overwrite the same keys in
 * the same order, about 1 MB a commit. Bytes do not depend on the machine: a run is enough.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <regionmgr/layers.h>

#include "instance.h"
#include "peers.h"
#include "raw.h"

#define BASE_BYTES   100000000u
#define HOT_BYTES    20000000u
#define ROUNDS       100u
#define COMMIT_BYTES 1000000u
#define KEYS_MAX     2048u
#define WAIT_NS      20000000000ull
#define MB           1e6

/* What a run found, in MB above what it was before. */
enum figure {
	FILE_GROWTH, /* of the file, which never shrinks: its peak */
	PAGES_PEAK,  /* of the pages in use, what waits for readers included */
	PAGES_AFTER, /* the same once the reader has gone */
	FIGURES
};

struct bloat {
	const struct bench *bench;
	struct rgm_manager *manager;
	struct rgm_control *control; /* of the same, to look */
	char dir[256];
	char socket[400];
	uint64_t keys[KEYS_MAX]; /* the hot ones */
	size_t key_count;
	char *values; /* BASE_BYTES of them */
	bool stopped; /* the reader is stopped in a section; else it holds */
	uint64_t random;
};

/* --- the old reader ----------------------------------------------------------------------------- */

struct old_reader {
	pid_t pid;
	int pipe; /* closed: let go */
};

static bool be_ours(const struct bloat *bloat, int ready, int end)
{
	struct rgm_attach_options options = {.size = sizeof(options), .socket = bloat->socket};
	struct rgm_session *session;
	struct rgm_dimension dimension;
	struct rgm_hold *hold = NULL;
	struct rgm_slot *slot;
	char byte = 0;
	bool good = rgm_session_attach(NULL, &options, &session, NULL) == 0 &&
	            rgm_map(session, "big", NULL) == 0 &&
	            rgm_slot_open(session, &slot, NULL) == 0 && rgm_pin(slot) == 0;

	if (good && !bloat->stopped)
		good = rgm_find(slot, "big", &dimension, NULL) == 0 &&
		       rgm_hold_take(slot, &dimension, &hold, NULL) == 0 && rgm_unpin(slot) == 0;
	good = good && write(ready, &byte, 1) == 1;
	if (good && bloat->stopped)
		raise(SIGSTOP);
	good = good && read(end, &byte, 1) == 0;
	if (!good)
		return false;
	good = bloat->stopped ? rgm_unpin(slot) == 0 : rgm_hold_release(hold) == 0;
	rgm_slot_close(slot);
	rgm_session_detach(session);
	return good;
}

static bool be_lmdb(const struct bloat *bloat, int ready, int end)
{
	struct lmdb *lmdb = lmdb_attach(bloat->dir);
	char byte = 0;

	if (lmdb == NULL || write(ready, &byte, 1) != 1)
		return false;
	if (bloat->stopped)
		raise(SIGSTOP);
	if (read(end, &byte, 1) != 0)
		return false;
	lmdb_close(lmdb);
	return true;
}

static bool reader_start(const struct bloat *bloat, struct old_reader *reader,
	bool (*be)(const struct bloat *bloat, int ready, int end))
{
	int up[2], down[2], status;
	char byte;
	bool good;

	if (pipe(up) != 0 || pipe(down) != 0)
		return false;
	fflush(NULL);
	reader->pid = fork();
	if (reader->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(up[0]);
		close(down[1]);
		_exit(be(bloat, up[1], down[0]) ? 0 : 1);
	}
	close(up[1]);
	close(down[0]);
	reader->pipe = down[1];
	good = reader->pid > 0 && read(up[0], &byte, 1) == 1;
	close(up[0]);
	if (good && bloat->stopped)
		good = waitpid(reader->pid, &status, WUNTRACED) == reader->pid &&
		       WIFSTOPPED(status);
	return good;
}

static bool reader_end(struct old_reader *reader)
{
	int status = 1;

	close(reader->pipe);
	if (reader->pid <= 0)
		return false;
	kill(reader->pid, SIGCONT);
	return waitpid(reader->pid, &status, 0) == reader->pid && status == 0;
}

/* --- overwriting -------------------------------------------------------------------------------- */

/* The hot keys in another order, and other bytes for them. */
static void shuffle(struct bloat *bloat)
{
	uint64_t word = bench_random(&bloat->random);

	for (size_t i = bloat->key_count - 1; i > 0; i--) {
		size_t other = bench_random(&bloat->random) % (i + 1);
		uint64_t key = bloat->keys[i];

		bloat->keys[i] = bloat->keys[other];
		bloat->keys[other] = key;
	}
	memcpy(bloat->values, &word, sizeof(word));
}

static bool commit_ours(struct bloat *bloat, const uint64_t *keys, size_t count)
{
	struct rgm_load_options options = {.size = sizeof(options)};
	struct rgm_writer *writer;
	struct rgm_error error = {0};
	char name[32];
	int rc = rgm_writer_begin(bloat->manager, "big", &options, &writer, &error);

	for (size_t i = 0; rc == 0 && i < count; i++) {
		snprintf(name, sizeof(name), "v%07llu", (unsigned long long)keys[i]);
		rc = rgm_writer_put(
			writer, name, bloat->values, bench_value_bytes(keys[i]), NULL, &error);
		if (rc != 0)
			rgm_writer_abort(writer);
	}
	if (rc == 0)
		rc = rgm_writer_commit(writer, NULL, &error);
	if (rc != 0)
		fprintf(stderr, "bench_bloat: %s\n", error.message);
	return rc == 0;
}

/* All hot keys once, in commits of about 1 MB. */
static bool overwrite(struct bloat *bloat, struct lmdb *lmdb)
{
	size_t first = 0;
	uint64_t bytes = 0;
	bool good = true;

	shuffle(bloat);
	for (size_t i = 0; good && i < bloat->key_count; i++) {
		bytes += bench_value_bytes(bloat->keys[i]);
		if (bytes < COMMIT_BYTES && i + 1 < bloat->key_count)
			continue;
		good = lmdb == NULL ? commit_ours(bloat, &bloat->keys[first], i + 1 - first)
		                    : lmdb_overwrite(lmdb, &bloat->keys[first], i + 1 - first,
					      bloat->values);
		first = i + 1;
		bytes = 0;
	}
	return good;
}

/* --- a run of each subject ---------------------------------------------------------------------- */

struct look {
	double file, pages, retired; /* MB */
};

static bool look(const struct bloat *bloat, struct look *ret_look)
{
	struct rgm_dimension_row row = {.bytes = 0};
	struct rgm_error error;

	if (rgm_control_show(bloat->control, "big", &row, &error) != 0) {
		fprintf(stderr, "bench_bloat: %s\n", error.message);
		return false;
	}
	*ret_look = (struct look){.file = (double)row.region_bytes / MB,
		.pages = (double)row.allocated_pages * RGM_PAGE_BYTES / MB,
		.retired = (double)row.retired_pages * RGM_PAGE_BYTES / MB};
	return true;
}

static bool wait_for_nothing_retired(const struct bloat *bloat, struct look *ret_look)
{
	uint64_t begun = bench_now_ns();

	do
		if (!look(bloat, ret_look) || bench_now_ns() - begun > WAIT_NS)
			return false;
	while (ret_look->retired > 0);
	return true;
}

static bool run_ours(struct bloat *bloat, double figures[FIGURES])
{
	uint64_t bytes = BASE_BYTES;
	struct rgm_error error = {0};
	struct old_reader reader = {.pid = 0};
	struct look before = {0}, now = {0};
	bool good = bench_fill_big(bloat->manager, &bytes, &error) == 0;

	if (!good) {
		fprintf(stderr, "bench_bloat: %s\n", error.message);
		return false;
	}
	figures[PAGES_PEAK] = 0;
	/* One round by itself, so that the free space that any overwriting needs is there for both. */
	good = overwrite(bloat, NULL) && wait_for_nothing_retired(bloat, &before) &&
	       reader_start(bloat, &reader, be_ours);
	for (uint32_t i = 0; good && i < ROUNDS; i++) {
		good = overwrite(bloat, NULL) && look(bloat, &now);
		if (now.pages - before.pages > figures[PAGES_PEAK])
			figures[PAGES_PEAK] = now.pages - before.pages;
	}
	figures[FILE_GROWTH] = now.file - before.file;
	good = reader_end(&reader) && good && wait_for_nothing_retired(bloat, &now);
	figures[PAGES_AFTER] = now.pages - before.pages;
	return rgm_manager_drop(bloat->manager, "big", false, NULL, NULL) == 0 && good;
}

static bool run_lmdb(struct bloat *bloat, double figures[FIGURES])
{
	struct lmdb *lmdb = lmdb_load(bloat->dir, bloat->values, BASE_BYTES, false);
	struct old_reader reader = {.pid = 0};
	uint64_t before = 0, after = 0;
	char path[400];
	bool good = lmdb != NULL;

	if (good) {
		lmdb_stop_reading(lmdb);
		good = overwrite(bloat, lmdb);
		before = lmdb_file_bytes(bloat->dir);
		good = good && reader_start(bloat, &reader, be_lmdb);
	}
	for (uint32_t i = 0; good && i < ROUNDS; i++)
		good = overwrite(bloat, lmdb);
	after = lmdb_file_bytes(bloat->dir);
	figures[FILE_GROWTH] = (double)(after - before) / MB;
	figures[PAGES_PEAK] = figures[PAGES_AFTER] = NAN;
	good = reader_end(&reader) && good;
	lmdb_close(lmdb);
	snprintf(path, sizeof(path), "%s/data.mdb", bloat->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/lock.mdb", bloat->dir);
	unlink(path);
	return good;
}

static bool rows(struct bloat *bloat, const char *suffix)
{
	static double ours[FIGURES][BENCH_RUNS_MAX], peer[BENCH_RUNS_MAX];
	static double values[2][BENCH_RUNS_MAX];
	static const char *const names[] = {"regionmgr", "lmdb"};
	unsigned runs = bloat->bench->quick ? 1 : 3;
	double figures[FIGURES];
	char row[64];

	for (unsigned run = 0; run < runs; run++) {
		for (unsigned turn = 0; turn < 2; turn++) {
			bool is_peer = (run + turn) % 2 == 1;

			figures[FILE_GROWTH] = NAN;
			if (is_peer && lmdb_installed() && !run_lmdb(bloat, figures))
				return false;
			if (!is_peer && !run_ours(bloat, figures))
				return false;
			if (is_peer)
				peer[run] = figures[FILE_GROWTH];
			else
				for (int i = 0; i < FIGURES; i++)
					ours[i][run] = figures[i];
		}
	}
	memcpy(values[0], ours[FILE_GROWTH], sizeof(values[0]));
	memcpy(values[1], peer, sizeof(values[1]));
	snprintf(row, sizeof(row), "growth%s", suffix);
	bench_print(bloat->bench, row, "MB", BENCH_LOWER, names, values, 2, runs);
	snprintf(row, sizeof(row), "growth%s: pages in use", suffix);
	bench_print(bloat->bench, row, "MB", BENCH_LOWER, names, &ours[PAGES_PEAK], 1, runs);
	snprintf(row, sizeof(row), "growth%s: pages in use, reader gone", suffix);
	bench_print(bloat->bench, row, "MB", BENCH_LOWER, names, &ours[PAGES_AFTER], 1, runs);
	return true;
}

/* --- the bench ---------------------------------------------------------------------------------- */

static bool open_all(struct bloat *bloat)
{
	struct rgm_manager_options options = {.size = sizeof(options),
		.instance = "bench-bloat",
		.dir = bloat->dir,
		.socket = bloat->socket};
	struct rgm_control_options at = {.size = sizeof(at), .socket = bloat->socket};
	struct rgm_error error = {0};

	if (rgm_manager_open(&options, &bloat->manager, &error) == 0 &&
		rgm_control_open(NULL, &at, &bloat->control, &error) == 0)
		return true;
	fprintf(stderr, "bench_bloat: %s\n", error.message);
	return false;
}

int main(int argc, char **argv)
{
	static struct bloat bloat;
	static struct bench bench;
	bool good;
	int rc = bench_begin(&bench, "bloat", argc, argv);

	if (rc != 0)
		return rc;
	bloat.bench = &bench;
	bloat.random = bench.seed;
	bloat.key_count = bench_value_count(HOT_BYTES);
	bloat.values = raw_values(BASE_BYTES);
	if (bloat.values == NULL || bloat.key_count > KEYS_MAX ||
		!bench_folder_make(&bench, bloat.dir, sizeof(bloat.dir)))
		return 1;
	for (size_t i = 0; i < bloat.key_count; i++)
		bloat.keys[i] = i;
	snprintf(bloat.socket, sizeof(bloat.socket), "%s/control.sock", bloat.dir);
	good = open_all(&bloat) && rows(&bloat, "");
	bloat.stopped = true;
	good = good && rows(&bloat, ", stopped section");
	rgm_control_close(bloat.control);
	if (bloat.manager != NULL && rgm_manager_close(bloat.manager, NULL) != 0)
		good = false;
	bench_folder_remove(bloat.dir);
	free(bloat.values);
	return good ? 0 : 1;
}
