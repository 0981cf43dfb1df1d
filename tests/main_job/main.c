/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main job: real files of this system loaded as dimensions, many processes scanning all of it in
 * a loop while it is replaced, grown, loaded and dropped under them, killed and stopped at random;
 * each byte they see compared with what its version must have. Public functions of regionmgr alone.
 *
 * Exit status: 0 everything held, 1 something did not, 2 usage.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc.h"
#include "play.h"

static void usage(FILE *to)
{
	fprintf(to,
		"Usage: main_job (--bin DIR | --embedded | --threads-only) [--scale small|full]\n"
		"  --bin DIR        run the regionmgrd of this folder\n"
		"  --embedded       run the manager library in this process\n"
		"  --threads-only   embedded, and readers as threads of this process: for TSan\n"
		"  --scale S        small (default) or full\n"
		"  --seconds N      how long workers scan while everything changes\n"
		"  --processes N    workers; default 4, full 16\n"
		"  --threads N      of each worker; default 2, full 8\n"
		"  --dir DIR        where the temporary folder is made; default $TMPDIR or /tmp\n"
		"  --seed N         repeat a run's choices\n"
		"  --json           the closing figures as one object\n"
		"  --quiet          no progress\n");
}

static bool parse(int argc, char **argv, struct settings *settings)
{
	static const struct option options[] = {{"bin", 1, NULL, 'b'}, {"embedded", 0, NULL, 'e'},
		{"threads-only", 0, NULL, 't'}, {"scale", 1, NULL, 's'}, {"seconds", 1, NULL, 'n'},
		{"processes", 1, NULL, 'p'}, {"threads", 1, NULL, 'h'}, {"dir", 1, NULL, 'd'},
		{"seed", 1, NULL, 'r'}, {"json", 0, NULL, 'j'}, {"quiet", 0, NULL, 'q'},
		{"help", 0, NULL, '?'}, {NULL, 0, NULL, 0}};
	bool embedded = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'b':
			settings->bin = optarg;
			break;
		case 'e':
			embedded = true;
			break;
		case 't':
			embedded = settings->threads_only = true;
			break;
		case 's':
			settings->scale = optarg;
			break;
		case 'n':
			settings->seconds = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			settings->workers = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'h':
			settings->threads = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'd':
			settings->dir = optarg;
			break;
		case 'r':
			settings->seed = strtoull(optarg, NULL, 10);
			break;
		case 'j':
			settings->json = true;
			break;
		case 'q':
			progress_silence();
			break;
		default:
			return false;
		}
	return optind == argc && embedded == (settings->bin == NULL) &&
	       (strcmp(settings->scale, "small") == 0 || strcmp(settings->scale, "full") == 0) &&
	       settings->workers <= JOB_WORKERS_MAX && settings->threads <= JOB_THREADS_MAX;
}

static void set_defaults(struct settings *settings)
{
	bool full = strcmp(settings->scale, "full") == 0;

	if (settings->dir == NULL)
		settings->dir = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
	if (settings->seconds == 0)
		settings->seconds = full ? 40 : 3;
	if (settings->workers == 0)
		settings->workers = full ? 16 : 4;
	if (settings->threads == 0)
		settings->threads = full ? 8 : 2;
	if (settings->seed == 0)
		settings->seed = job_now_ns() ^ (uint64_t)getpid() << 32;
}

static bool set_up(struct run *run)
{
	const struct settings *settings = &run->settings;
	struct job *job = job_create();

	run->job = job;
	if (job == NULL || !crc_prepare()) {
		fprintf(stderr, "main_job: no memory, or a wrong checksum\n");
		return false;
	}
	job->seed = settings->seed;
	job->workers = settings->workers;
	job->threads = settings->threads;
	job->forked = !settings->threads_only;
	run->writers.changes.job = job;
	run->writers.changes.instance = &run->instance;
	pthread_mutex_init(&run->writers.changes.lock, NULL);
	for (uint32_t i = 0; i < BASE_FAMILIES; i++)
		run->writers.dimension[i] = TRUTH_NONE;
	run->writers.pause_ms = strcmp(settings->scale, "full") == 0 ? 10 : 4;
	run->chaos.job = job;
	run->chaos.writers = &run->writers;
	run->chaos.every_ms = strcmp(settings->scale, "full") == 0 ? 300 : 100;
	run->chaos.longest_ms = strcmp(settings->scale, "full") == 0 ? 6000 : 400;
	run->figures.scale = settings->scale;
	run->figures.manager = settings->bin != NULL ? "regionmgrd" : "embedded";
	run->figures.seed = settings->seed;
	run->figures.workers = settings->workers;
	run->figures.threads = settings->threads;
	run->figures.forked = job->forked;
	/* first of all processes, while there is one thread and nothing open */
	run->spawner = spawner_create(job);
	run->chaos.spawner = run->spawner;
	return run->spawner != NULL &&
	       instance_prepare(&run->instance, settings->bin, settings->dir);
}

int main(int argc, char **argv)
{
	static struct run run = {.settings = {.scale = "small"}};
	uint64_t begun = job_now_ns();
	uint32_t failures = 1;

	if (!parse(argc, argv, &run.settings)) {
		usage(stderr);
		return 2;
	}
	set_defaults(&run.settings);
	if (set_up(&run)) {
		play(&run);
		progress_done();
		failures = job_print_failures(run.job);
		if (failures > 0) {
			fprintf(stderr, "main_job: seed %" PRIu64 "\n", run.settings.seed);
			instance_print_log(&run.instance);
		}
		run.figures.failures = failures;
		run.figures.seconds = (double)(job_now_ns() - begun) / 1e9;
		if (run.settings.json)
			figures_print_json(&run.figures);
		else
			figures_print(&run.figures);
	}
	spawner_destroy(run.spawner);
	instance_remove(&run.instance);
	job_destroy(run.job);
	return failures == 0 ? 0 : 1;
}
