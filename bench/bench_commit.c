/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a commit notices of reclaim, from the inside (measures: internals): the times of small commits with
 * nothing to give back, while the thread gives back as fast as it can, and while an old hold sees
 * everything that waits. A commit that waited for any of it would stand out among the longest.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"

#define COMMITS_MAX 4096u
#define SMALL_BYTES 64u
#define BUCKETS     16u

struct bench_state {
	struct inside inside;
	uint64_t commits;
};

enum beside {
	BESIDE_RECLAIM, /* the thread gives back half of the blocks as fast as it can, again and again */
	BESIDE_NOTHING,
	BESIDE_HOLD, /* all blocks are seen by somebody */
	BESIDES
};

static const double percents[] = {50, 90, 99, 99.9, 100};
#define PERCENTS (sizeof(percents) / sizeof(percents[0]))

struct latencies {
	double us[COMMITS_MAX];
	size_t count;
	uint64_t buckets[BUCKETS]; /* below 2^(i + 1) us; of all runs */
};

static bool commit_small(struct bench_state *state, struct latencies *latencies)
{
	struct rgm_load_options options = {.size = sizeof(options)};
	struct rgm_writer *writer;
	struct rgm_error error = {0};
	char data[SMALL_BYTES] = {0}, layer[16];
	uint64_t begun;
	double us;
	uint32_t bucket = 0;
	int rc;

	snprintf(layer, sizeof(layer), "l%02u", (unsigned)(state->commits++ % 64));
	rc = rgm_writer_begin(state->inside.manager, "small", &options, &writer, &error);
	if (rc == 0) {
		rc = rgm_writer_put(writer, layer, data, sizeof(data), NULL, &error);
		begun = bench_now_ns();
		if (rc == 0)
			rc = rgm_writer_commit(writer, NULL, &error);
		else
			rgm_writer_abort(writer);
		us = (double)(bench_now_ns() - begun) / 1000;
		if (latencies->count < COMMITS_MAX)
			latencies->us[latencies->count++] = us;
		while (bucket + 1 < BUCKETS && us >= (double)(2u << bucket))
			bucket++;
		latencies->buckets[bucket]++;
	}
	if (rc != 0)
		fprintf(stderr, "bench_commit: %s\n", error.message);
	return rc == 0;
}

/* Commits while half of the blocks are given back, as often as it takes; the preparations are not
 * measured. */
static bool commits_beside_reclaim(
	struct bench_state *state, struct latencies *latencies, size_t count)
{
	bool good = true;

	while (good && latencies->count < count) {
		good = inside_take(&state->inside, true) && inside_retire(&state->inside, true);
		inside_release(&state->inside);
		while (good && inside_waiting(&state->inside) > 0 && latencies->count < count)
			good = commit_small(state, latencies);
		while (inside_waiting(&state->inside) > 0)
			usleep(1000);
	}
	return good;
}

static bool run_beside(
	struct bench_state *state, enum beside beside, struct latencies *latencies, size_t count)
{
	bool good = true;

	latencies->count = 0;
	if (beside == BESIDE_RECLAIM)
		return commits_beside_reclaim(state, latencies, count);
	if (beside == BESIDE_HOLD)
		good = inside_take(&state->inside, true) && inside_retire(&state->inside, false);
	while (good && latencies->count < count)
		good = commit_small(state, latencies);
	if (beside == BESIDE_HOLD) {
		good = good && inside_waiting(&state->inside) == BLOCKS;
		inside_release(&state->inside);
		while (inside_waiting(&state->inside) > 0)
			usleep(1000);
	}
	return good;
}

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return a < b ? -1 : a > b;
}

static void note_buckets(
	const struct bench *bench, const char *name, const struct latencies *latencies)
{
	char row[96], note[400];
	size_t used = 0;

	for (uint32_t i = 0; i < BUCKETS; i++)
		if (latencies->buckets[i] > 0 && used < sizeof(note))
			used += (size_t)snprintf(note + used, sizeof(note) - used,
				"%s%llu below %u us", used > 0 ? ", " : "",
				(unsigned long long)latencies->buckets[i], 2u << i);
	snprintf(row, sizeof(row), "commit of 64 B, histogram, %s", name);
	bench_note(bench, row, note);
}

static bool rows_commits(struct bench_state *state)
{
	static const char *const names[] = {
		"regionmgr", "nothing to reclaim", "an old hold sees it all"};
	static const char *const long_names[] = {
		"beside reclaim", "nothing to reclaim", "an old hold sees it all"};
	static double figures[PERCENTS][BESIDES][BENCH_RUNS_MAX];
	static struct latencies latencies[BESIDES];
	unsigned runs = bench_runs(state->inside.bench, 12);
	size_t count = state->inside.bench->quick ? 1000 : COMMITS_MAX;
	char row[80];

	for (unsigned run = 0; run < runs; run++)
		for (unsigned turn = 0; turn < BESIDES; turn++) {
			enum beside beside = (turn + run) % BESIDES;
			struct latencies *mine = &latencies[beside];

			if (!run_beside(state, beside, mine, count))
				return false;
			qsort(mine->us, mine->count, sizeof(mine->us[0]), by_size);
			for (size_t i = 0; i < PERCENTS; i++) {
				size_t at = (size_t)((double)mine->count * percents[i] / 100);

				figures[i][beside][run] =
					mine->us[at < mine->count ? at : mine->count - 1];
			}
		}
	for (size_t i = 0; i < PERCENTS; i++) {
		if (percents[i] < 100)
			snprintf(row, sizeof(row), "commit of 64 B beside reclaim, p%g",
				percents[i]);
		else
			snprintf(row, sizeof(row), "commit of 64 B beside reclaim, longest");
		bench_print(state->inside.bench, row, "us", BENCH_LOWER, names, figures[i], BESIDES,
			runs);
	}
	for (unsigned i = 0; i < BESIDES; i++)
		note_buckets(state->inside.bench, long_names[i], &latencies[i]);
	return true;
}

/* --- the bench ---------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
	static struct bench_state state;
	static struct latencies unused;
	struct bench bench;
	bool good;
	int rc = bench_begin(&bench, "commit", argc, argv);

	if (rc != 0)
		return rc;
	good = inside_open(&bench, &state.inside);
	for (uint32_t i = 0; good && i < 64; i++)
		good = commit_small(&state, &unused);
	good = good && rows_commits(&state);
	good = inside_close(&state.inside) && good;
	return good ? 0 : 1;
}
