/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGKILL of regionmgrd, and the next one: until a status call is answered, until somebody attaches, how
 * much of it the takeover takes inside the manager, and what a reader that scans notices, with 64 readers
 * attached and what was loaded changed in this run, so that it is the live image that is taken over.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <regionmgr/layers.h>

#include "instance.h"

#define READERS   64u
#define LOOK_US   10000u /* a reader looks a hundred times a second */
#define WAIT_NS   60000000000ull
#define SETTLE_US 100000u /* between two kills */

/* Shared with the readers. */
struct board {
	atomic_uint ready, stop;
	_Atomic uint64_t gap_ns; /* the longest between two sections of the one that scans */
};

struct scene {
	char dir[256], socket[400], log[400], daemon[512];
	const char *dimension; /* what readers look at */
	pid_t manager;
	pid_t readers[READERS + 1];
	struct board *board;
	uint64_t dimensions, bytes;
};

/* --- the manager -------------------------------------------------------------------------------- */

static bool find_daemon(struct scene *scene)
{
	char own[256];
	ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);

	if (length <= 0)
		return false;
	own[length] = '\0';
	*strrchr(own, '/') = '\0';
	snprintf(scene->daemon, sizeof(scene->daemon), "%s/../bin/regionmgrd", own);
	return access(scene->daemon, X_OK) == 0;
}

_Noreturn static void become_daemon(const struct scene *scene)
{
	int log = open(scene->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (log >= 0)
		dup2(log, STDERR_FILENO);
	execl(scene->daemon, "regionmgrd", "--instance", "bench-restart", "--dir", scene->dir,
		"--socket", scene->socket, "--max-dimensions", "8192", "--log-json", (char *)NULL);
	_exit(127);
}

static void start(struct scene *scene)
{
	fflush(NULL);
	scene->manager = fork();
	if (scene->manager == 0)
		become_daemon(scene);
}

static bool ask_status(const struct scene *scene)
{
	struct rgm_control_options options = {.size = sizeof(options), .socket = scene->socket};
	struct rgm_control *control;
	struct rgm_status status;
	int rc = rgm_control_open("bench-restart", &options, &control, NULL);

	if (rc != 0)
		return false;
	rc = rgm_control_status(control, &status, NULL);
	rgm_control_close(control);
	if (rc == 0 && status.refused != 0) {
		fprintf(stderr, "bench_restart: what was there is refused\n");
		exit(1);
	}
	return rc == 0;
}

static bool ask_attach(const struct scene *scene)
{
	struct rgm_attach_options options = {.size = sizeof(options), .socket = scene->socket};
	struct rgm_session *session;

	if (rgm_session_attach("bench-restart", &options, &session, NULL) != 0)
		return false;
	rgm_session_detach(session);
	return true;
}

/* As often as it can be asked; false: it does not serve. */
static bool wait_for(const struct scene *scene, bool (*ask)(const struct scene *scene))
{
	uint64_t until_ns = bench_now_ns() + WAIT_NS;

	while (!ask(scene)) {
		if (bench_now_ns() > until_ns || waitpid(scene->manager, NULL, WNOHANG) != 0) {
			fprintf(stderr, "bench_restart: the manager does not serve\n");
			return false;
		}
		usleep(50);
	}
	return true;
}

static void stop(struct scene *scene)
{
	if (scene->manager > 0) {
		kill(scene->manager, SIGTERM);
		waitpid(scene->manager, NULL, 0);
	}
	bench_folder_remove(scene->dir);
}

/* --- content ------------------------------------------------------------------------------------ */

static bool fill_big(struct rgm_control *control, uint64_t bytes, struct rgm_error *error)
{
	static uint64_t value[65536 / 8];
	struct rgm_load_options options = {
		.size = sizeof(options), .flags = RGM_LOAD_CREATE, .expected_bytes = bytes};
	struct rgm_load *load;
	char name[32];
	int rc = rgm_load_begin(control, "big", &options, &load, error);

	if (rc != 0)
		return false;
	for (uint64_t i = 0, done = 0; rc == 0 && done < bytes; i++) {
		size_t size = bench_value_bytes(i);

		bench_value_fill(i, value, size);
		snprintf(name, sizeof(name), "v%07llu", (unsigned long long)i);
		rc = rgm_load_bytes(load, name, value, size, NULL, error);
		done += size;
	}
	if (rc != 0) {
		rgm_load_abort(load);
		return false;
	}
	return rgm_load_commit(load, NULL, error) == 0;
}

static bool fill(struct scene *scene)
{
	struct rgm_control_options options = {.size = sizeof(options), .socket = scene->socket};
	struct rgm_control *control;
	struct rgm_error error;
	char name[32];
	bool good = rgm_control_open("bench-restart", &options, &control, &error) == 0;

	if (good && scene->bytes > 0) {
		good = fill_big(control, scene->bytes, &error);
	} else {
		for (uint64_t i = 0; good && i < scene->dimensions; i++) {
			snprintf(name, sizeof(name), "d%llu", (unsigned long long)i);
			good = rgm_control_create(control, name, NULL, &error) == 0;
		}
	}
	if (!good)
		fprintf(stderr, "bench_restart: %s\n", error.message);
	return good;
}

/* --- readers ------------------------------------------------------------------------------------ */

static void look(struct rgm_slot *slot, const char *dimension, bool scans)
{
	struct rgm_layers view;
	struct rgm_layer layer;

	if (rgm_layers_open(slot, dimension, &view, NULL) != 0)
		_exit(1);
	while (scans && rgm_layers_next_layer(&view, &layer))
		bench_use(*(const uint64_t *)layer.data.data);
}

/* The one that scans goes from section to section, and notes how long it took to get into the next. */
_Noreturn static void be_reader(const struct scene *scene, bool scans)
{
	struct rgm_attach_options options = {.size = sizeof(options), .socket = scene->socket};
	struct board *board = scene->board;
	struct rgm_session *session;
	struct rgm_slot *slot;
	uint64_t left_ns = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (rgm_session_attach("bench-restart", &options, &session, NULL) != 0 ||
		rgm_map(session, scene->dimension, NULL) != 0 ||
		rgm_slot_open(session, &slot, NULL) != 0)
		_exit(1);
	atomic_fetch_add(&board->ready, 1);
	while (atomic_load(&board->stop) == 0) {
		if (rgm_pin(slot) != 0)
			_exit(1);
		if (scans && left_ns != 0) {
			uint64_t gap_ns = bench_now_ns() - left_ns;

			if (gap_ns > atomic_load(&board->gap_ns))
				atomic_store(&board->gap_ns, gap_ns);
		}
		look(slot, scene->dimension, scans);
		left_ns = bench_now_ns();
		if (rgm_unpin(slot) != 0)
			_exit(1);
		if (!scans)
			usleep(LOOK_US);
	}
	_exit(0);
}

static bool readers_start(struct scene *scene)
{
	memset(scene->board, 0, sizeof(*scene->board));
	fflush(NULL);
	for (uint32_t i = 0; i <= READERS; i++) {
		scene->readers[i] = fork();
		if (scene->readers[i] == 0)
			be_reader(scene, i == READERS);
	}
	while (atomic_load(&scene->board->ready) < READERS + 1) {
		if (waitpid(-1, NULL, WNOHANG) != 0) {
			fprintf(stderr, "bench_restart: a reader ended\n");
			return false;
		}
		usleep(500);
	}
	return true;
}

static bool readers_stop(struct scene *scene)
{
	bool good = true;
	int status;

	atomic_store(&scene->board->stop, 1);
	for (uint32_t i = 0; i <= READERS; i++)
		good &= waitpid(scene->readers[i], &status, 0) == scene->readers[i] && status == 0;
	if (!good)
		fprintf(stderr, "bench_restart: a reader failed\n");
	return good;
}

/* --- what is measured --------------------------------------------------------------------------- */

struct subject {
	struct scene *scene;
	bool (*ask)(const struct scene *scene);
	enum {
		SERVING,  /* milliseconds from the signal to the answer */
		INSIDE,   /* milliseconds inside the manager, by its log */
		GAP,      /* microseconds between two sections, over a kill */
		GAP_CALM, /* and over as long a time without one */
	} what;
};

/* What the manager's log said last. */
static double logged_us(const struct scene *scene)
{
	char line[4096];
	double us = NAN;
	FILE *log = fopen(scene->log, "re");

	while (log != NULL && fgets(line, sizeof(line), log) != NULL) {
		const char *found = strstr(line, "\"us\":");

		if (found != NULL && strstr(line, "\"takeover\"") != NULL)
			us = strtod(found + 5, NULL);
	}
	if (log != NULL)
		fclose(log);
	return us;
}

static double measure(void *context)
{
	const struct subject *subject = context;
	struct scene *scene = subject->scene;
	uint64_t start_ns, took_ns;

	usleep(SETTLE_US);
	atomic_store(&scene->board->gap_ns, 0);
	if (subject->what == GAP_CALM) {
		usleep(2 * SETTLE_US);
		return (double)atomic_load(&scene->board->gap_ns) / 1000;
	}
	start_ns = bench_now_ns();
	kill(scene->manager, SIGKILL);
	waitpid(scene->manager, NULL, 0);
	start(scene);
	if (!wait_for(scene, subject->ask))
		return NAN;
	took_ns = bench_now_ns() - start_ns;
	if (subject->what == SERVING)
		return (double)took_ns / 1e6;
	usleep(SETTLE_US);
	if (subject->what == INSIDE)
		return logged_us(scene) / 1000;
	return (double)atomic_load(&scene->board->gap_ns) / 1000;
}

static bool rows(
	const struct bench *bench, struct scene *scene, const char *what, struct bench_slope *slope)
{
	struct subject status = {scene, ask_status, SERVING};
	struct subject attach = {scene, ask_attach, SERVING};
	struct subject inside = {scene, ask_status, INSIDE};
	struct subject gap = {scene, ask_status, GAP};
	struct subject calm = {scene, ask_status, GAP_CALM};
	struct bench_subject serving[] = {{"regionmgr", measure, &status},
		{"until an attach", measure, &attach}, {"of it the takeover", measure, &inside}};
	struct bench_subject gaps[] = {
		{"regionmgr", measure, &gap}, {"the same, nobody killed", measure, &calm}};
	char row[120];

	snprintf(row, sizeof(row), "SIGKILL to a status answered, %s", what);
	if (!bench_row(bench, row, "ms", BENCH_LOWER, serving, 3, 20))
		return false;
	if (slope != NULL)
		bench_slope_add(slope, (double)scene->dimensions, 1);
	snprintf(row, sizeof(row), "longest gap between two sections over a kill, %s", what);
	return bench_row(bench, row, "us", BENCH_LOWER, gaps, 2, 20);
}

/* One instance with its readers. */
static bool run_scene(const struct bench *bench, uint64_t dimensions, uint64_t bytes,
	const char *what, struct bench_slope *slope)
{
	struct scene scene = {
		.dimension = bytes > 0 ? "big" : "d0", .dimensions = dimensions, .bytes = bytes};
	bool good;

	scene.board = mmap(NULL, sizeof(*scene.board), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (scene.board == MAP_FAILED || !find_daemon(&scene)) {
		fprintf(stderr, "bench_restart: regionmgrd is not beside this program\n");
		return false;
	}
	if (!bench_folder_make(bench, scene.dir, sizeof(scene.dir)))
		return false;
	snprintf(scene.socket, sizeof(scene.socket), "%s/control.sock", scene.dir);
	snprintf(scene.log, sizeof(scene.log), "%s/log", scene.dir);
	start(&scene);
	good = wait_for(&scene, ask_status) && fill(&scene) && readers_start(&scene) &&
	       rows(bench, &scene, what, slope);
	good = readers_stop(&scene) && good;
	stop(&scene);
	munmap(scene.board, sizeof(*scene.board));
	return good;
}

int main(int argc, char **argv)
{
	static const uint64_t counts[] = {1, 64, 1024};
	struct bench_slope slope = {0};
	struct bench bench;
	char what[80];
	bool good;
	int rc = bench_begin(&bench, "restart", argc, argv);

	if (rc != 0)
		return rc;
	snprintf(what, sizeof(what), "280 MB in %llu layers, %u readers",
		(unsigned long long)bench_value_count(BENCH_BIG_BYTES), READERS);
	good = run_scene(&bench, 1, BENCH_BIG_BYTES, what, NULL);
	if (bench.quick)
		bench_note(&bench, "SIGKILL to a status answered, 1 GB", "left out by --quick");
	else
		good = good && run_scene(&bench, 1, 1000000000, "1 GB, 64 readers", NULL);
	for (size_t i = 0; good && i < sizeof(counts) / sizeof(counts[0]); i++) {
		snprintf(what, sizeof(what), "%llu dimensions, %u readers",
			(unsigned long long)counts[i], READERS);
		good = run_scene(&bench, counts[i], 0, what, &slope);
	}
	if (good)
		bench_slope_print(
			&bench, "SIGKILL to a status answered", "ms", "dimensions", &slope);
	return good ? 0 : 1;
}
