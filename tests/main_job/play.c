/* SPDX-License-Identifier: Apache-2.0 */
/* The course of one run; see play.h. */
#include "play.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "finish.h"

struct hash_bar {
	struct truth *truth;
	atomic_uint_least64_t done;
	atomic_uint ended;
};

static void *hash_bar_main(void *context)
{
	struct hash_bar *bar = context;
	uint64_t total = 1;
	char note[64];

	for (uint32_t i = 0; i < bar->truth->contents; i++)
		total += bar->truth->content[i].size;
	while (atomic_load(&bar->ended) == 0) {
		uint64_t done = atomic_load(&bar->done);

		snprintf(note, sizeof(note), "%" PRIu64 " MiB", done >> 20);
		progress("hashing", (double)done / (double)total, note);
		job_sleep_ms(50);
	}
	return NULL;
}

/* Choose the files and compute what is expected of them. */
static bool prepare_input(struct run *run)
{
	struct truth *truth = &run->job->truth;
	struct hash_bar bar = {.truth = truth};
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t thread;
	bool drawn, good;

	progress("choosing", 0, "files of this system");
	if (!sources_choose(truth, run->settings.scale))
		return false;
	drawn = pthread_create(&thread, NULL, hash_bar_main, &bar) == 0;
	good = sources_hash(truth, (uint32_t)(processors > 0 ? processors : 1), &bar.done);
	atomic_store(&bar.ended, 1);
	if (drawn)
		pthread_join(thread, NULL);
	return good;
}

static bool start_instance(struct run *run)
{
	struct rgm_status status;
	struct rgm_error error;
	struct channel channel;
	int rc;

	if (!instance_start(&run->instance)) {
		job_tell(run->job, "the manager did not start");
		return false;
	}
	snprintf(run->job->instance, sizeof(run->job->instance), "%s", run->instance.name);
	snprintf(run->job->socket, sizeof(run->job->socket), "%s", run->instance.socket);
	rc = channel_open(&channel, &run->instance, &error);
	if (rc == 0) {
		rc = rgm_control_status(channel.control, &status, &error);
		channel_close(&channel);
	}
	if (rc != 0)
		job_tell(run->job, "cannot ask for the status: %s", error.message);
	else
		snprintf(run->instance_id, sizeof(run->instance_id), "%s", status.instance_id);
	return rc == 0;
}

static bool stop_instance(struct run *run)
{
	if (!instance_stop(&run->instance))
		job_tell(run->job, "the manager did not stop cleanly");
	finish_no_names(run->job, run->instance_id);
	return !job_failed(run->job);
}

static bool load(struct run *run)
{
	uint64_t begun = job_now_ns();

	progress("loading", 0, "the first content");
	if (!writers_load(&run->writers))
		return false;
	run->figures.load_seconds = (double)(job_now_ns() - begun) / 1e9;
	return finish_blocks(run->job, &run->instance, &run->figures);
}

static void add_marks(struct run *run)
{
	struct figures *figures = &run->figures;

	figures->sections = figures->scanned_bytes = figures->holds = figures->layers_compared =
		figures->maps = figures->news = 0;
	for (uint32_t i = 0; i < run->job->workers; i++)
		for (uint32_t k = 0; k < run->job->threads; k++) {
			const struct mark *mark = &run->job->mark[i][k];

			figures->sections += atomic_load(&mark->sections);
			figures->scanned_bytes += atomic_load(&mark->bytes);
			figures->holds += atomic_load(&mark->holds);
			figures->layers_compared += atomic_load(&mark->layers);
			figures->maps += atomic_load(&mark->maps);
			figures->news += atomic_load(&mark->waits);
		}
}

static void draw_storm(struct run *run, uint64_t begun)
{
	double elapsed = (double)(job_now_ns() - begun) / 1e9;
	char note[160];

	add_marks(run);
	snprintf(note, sizeof(note),
		"%" PRIu64 " sections, %.1f GB scanned, %" PRIu64 " commits, %u kills, %u stops",
		run->figures.sections, (double)run->figures.scanned_bytes / 1e9,
		atomic_load(&run->writers.changes.commits), run->chaos.kills, run->chaos.stops);
	progress("scanning", elapsed / run->settings.seconds, note);
}

static bool start_workers(struct run *run)
{
	for (uint32_t i = 0; i < run->job->workers; i++)
		if (!spawner_start(run->spawner, i))
			return false;
	return true;
}

static bool stop_workers(struct run *run)
{
	bool good;

	atomic_store(&run->job->stop, 1);
	good = spawner_wait_all(run->spawner);
	atomic_store(&run->job->stop, 0);
	return good && !job_failed(run->job);
}

/* Everything happens here: workers scan, writers write, workers are killed and stopped. */
static bool storm(struct run *run)
{
	uint64_t begun = job_now_ns(), duration = (uint64_t)run->settings.seconds * 1000000000u;
	bool good = chaos_open(&run->chaos, &run->instance) && start_workers(run);

	run->writers.started_ns = begun;
	run->writers.duration_ns = duration;
	good = good && writers_start(&run->writers);
	run->chaos.next_ns = begun + duration / 20;
	while (good && job_now_ns() - begun < duration) {
		good = chaos_step(&run->chaos) && !job_failed(run->job);
		draw_storm(run, begun);
		job_sleep_ms(10);
	}
	/* the writers are still at it: what is stopped must not stop them */
	good = good && chaos_end(&run->chaos);
	writers_stop(&run->writers);
	for (uint32_t i = 0; i < run->job->workers; i++)
		if (run->chaos.stopped[i].is)
			spawner_continue(run->spawner, i);
	good = stop_workers(run) && good;
	run->figures.storm_seconds = (double)(job_now_ns() - begun) / 1e9;
	add_marks(run);
	chaos_close(&run->chaos);
	return good && !job_failed(run->job);
}

/* The storm was one: it did what it is there for. */
static bool compare_storm(struct run *run)
{
	const struct chaos *chaos = &run->chaos;
	struct job *job = run->job;

	if (atomic_load(&run->writers.grown) != GROWTH_STEPS)
		job_tell(job, "libs did not grow to the end");
	if (run->figures.sections == 0 || run->figures.scanned_bytes == 0)
		job_tell(job, "no section was finished");
	if (job->forked &&
		(chaos->kills_inside == 0 || chaos->stops_inside == 0 || chaos->kept_compared == 0))
		job_tell(job, "nobody was killed or stopped inside a section: run it longer");
	return !job_failed(job);
}

static void note_storm(struct run *run)
{
	const struct chaos *chaos = &run->chaos;
	struct figures *figures = &run->figures;
	const struct truth *truth = &run->job->truth;
	uint32_t last = atomic_load(&truth->recorded), libs = run->writers.dimension[0];

	figures->commits = atomic_load(&run->writers.changes.commits);
	figures->put_bytes = atomic_load(&run->writers.changes.bytes);
	figures->aborts = atomic_load(&run->writers.changes.aborts);
	figures->last_version = atomic_load(&truth->version_of[last]);
	figures->kills = chaos->kills;
	figures->kills_inside = chaos->kills_inside;
	figures->stops = chaos->stops;
	figures->stops_inside = chaos->stops_inside;
	figures->fewest_commits = chaos->fewest_commits == UINT64_MAX ? 0 : chaos->fewest_commits;
	figures->largest_kept = chaos->largest_kept;
	figures->kept_compared = chaos->kept_compared;
	for (uint32_t i = 0; libs < TRUTH_DIMENSIONS && i < truth_name_count(truth, libs); i++) {
		uint32_t content = change_current(&run->writers.changes, libs, i);

		if (content != TRUTH_NONE)
			figures->libs_to_bytes += truth->content[content].size;
	}
}

static bool wait_reclaimed(void *context)
{
	struct run *run = context;

	return finish_reclaimed(run->job, &run->instance, &run->figures);
}

static uint64_t counter(struct run *run, const char *name)
{
	struct rgm_counter *counters = NULL;
	struct rgm_error error;
	struct channel channel;
	uint64_t value = 0;
	size_t count = 0;

	if (channel_open(&channel, &run->instance, &error) != 0)
		return 0;
	if (rgm_control_stats(channel.control, &counters, &count, &error) == 0)
		for (size_t i = 0; i < count; i++)
			if (strcmp(counters[i].name, name) == 0)
				value = counters[i].value;
	free(counters);
	channel_close(&channel);
	return value;
}

/* With the readers gone: all is reclaimed, and doing it all twice takes no more than once. */
static bool settle(struct run *run)
{
	struct figures *figures = &run->figures;
	double worst;
	bool good;

	progress("reclaiming", 0, "what nobody sees any more");
	good = finish_readers_gone(run->job, &run->instance) && wait_reclaimed(run);
	worst = figures->worst_ratio;
	for (int i = 0; good && i < 2; i++) {
		progress("cycling", i * 0.5, "load, replace all, twice");
		good = writers_cycle(&run->writers, wait_reclaimed, run) &&
		       finish_region_bytes(run->job, &run->instance, &figures->region_bytes[i]);
		if (figures->worst_ratio > worst)
			worst = figures->worst_ratio;
	}
	figures->worst_ratio = worst;
	if (good && figures->region_bytes[0] != figures->region_bytes[1])
		job_tell(run->job, "the second cycle took the files from %llu to %llu bytes",
			(unsigned long long)figures->region_bytes[0],
			(unsigned long long)figures->region_bytes[1]);
	figures->reclaimed_bytes = counter(run, "bytes_reclaimed");
	return good && !job_failed(run->job);
}

/* A clean stop and a start keep everything. */
static bool restart(struct run *run)
{
	bool good;

	progress("restarting", 0, "a clean stop");
	good = stop_instance(run) && finish_check_files(run->job, &run->instance);
	progress("restarting", 0.4, "a start");
	good = good && start_instance(run);
	run->job->once = true;
	run->job->workers = 1;
	good = good && start_workers(run) && spawner_wait_all(run->spawner);
	progress("restarting", 0.7, "every checksum");
	good = good && finish_check(run->job, &run->instance, &run->figures);
	return good && stop_instance(run) && !job_failed(run->job);
}

void play(struct run *run)
{
	bool good = prepare_input(run) && start_instance(run) && load(run) && storm(run);

	note_storm(run);
	if (good)
		good = compare_storm(run) && settle(run) && restart(run);
	if (!good && !job_failed(run->job))
		job_tell(run->job, "the job could not be done");
}
