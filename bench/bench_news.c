/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sleeping readers cost a commit, and how soon they run: 0 to 512 threads of a second process sleep
 * in rgm_wait() while this one, which has the manager, commits a small layer now and then.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "instance.h"

#define SLEEPERS_MAX 512u
#define COMMITS      100u
#define STACK_BYTES  65536u
#define WAIT_NS      10000000000ull
/* Between two commits, beside the wait until everybody has run: time to fall asleep again. */
#define PAUSE_US 1000u

/* Shared with the sleepers' process. */
struct board {
	atomic_uint ready, stop;
	atomic_uint run;          /* sleepers that saw the newest version */
	_Atomic uint64_t last_ns; /* when the last of them ran */
};

struct news {
	struct rgm_manager *manager;
	struct board *board;
	char dir[256];
	char socket[400];
	uint64_t commits;
	uint32_t sleepers;
	pid_t process;
};

/* --- sleepers ----------------------------------------------------------------------------------- */

struct sleeper {
	struct board *board;
	struct rgm_session *session;
};

static void *sleep_and_tell(void *argument)
{
	const struct sleeper *sleeper = argument;
	struct board *board = sleeper->board;
	uint64_t seen = rgm_current_version(sleeper->session);

	atomic_fetch_add(&board->ready, 1);
	while (atomic_load(&board->stop) == 0) {
		uint64_t now_ns, last_ns;

		if (rgm_wait(sleeper->session, seen, -1, &seen, NULL) != 0)
			exit(1);
		now_ns = bench_now_ns();
		last_ns = atomic_load(&board->last_ns);
		while (last_ns < now_ns &&
			!atomic_compare_exchange_weak(&board->last_ns, &last_ns, now_ns))
			continue;
		atomic_fetch_add(&board->run, 1);
	}
	return NULL;
}

_Noreturn static void be_sleepers(const struct news *news, uint32_t count)
{
	struct rgm_attach_options options = {.size = sizeof(options), .socket = news->socket};
	static pthread_t threads[SLEEPERS_MAX];
	struct sleeper sleeper = {.board = news->board};
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	if (rgm_session_attach(NULL, &options, &sleeper.session, NULL) != 0)
		_exit(1);
	for (uint32_t i = 0; i < count; i++)
		if (pthread_create(&threads[i], &attributes, sleep_and_tell, &sleeper) != 0)
			_exit(1);
	for (uint32_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

static bool sleepers_start(struct news *news, uint32_t count)
{
	memset(news->board, 0, sizeof(*news->board));
	news->sleepers = count;
	if (count == 0)
		return true;
	fflush(NULL);
	news->process = fork();
	if (news->process == 0)
		be_sleepers(news, count);
	if (news->process < 0)
		return false;
	while (atomic_load(&news->board->ready) < count) {
		if (waitpid(news->process, NULL, WNOHANG) != 0)
			return false;
		usleep(500);
	}
	return true;
}

/* --- commits ------------------------------------------------------------------------------------ */

/* One small layer; when the commit call began and how long it took. */
static bool commit(struct news *news, uint64_t *ret_begun_ns, uint64_t *ret_took_ns)
{
	struct rgm_load_options options = {.size = sizeof(options)};
	struct rgm_writer *change;
	struct rgm_error error = {0};
	uint64_t number = news->commits++;
	int rc = rgm_writer_begin(news->manager, "data", &options, &change, &error);

	if (rc == 0) {
		rc = rgm_writer_put(change, "news", &number, sizeof(number), NULL, &error);
		if (rc != 0)
			rgm_writer_abort(change);
	}
	if (rc == 0) {
		atomic_store(&news->board->run, 0);
		*ret_begun_ns = bench_now_ns();
		rc = rgm_writer_commit(change, NULL, &error);
		*ret_took_ns = bench_now_ns() - *ret_begun_ns;
	}
	if (rc != 0)
		fprintf(stderr, "bench_news: %s\n", error.message);
	return rc == 0;
}

/* Until every sleeper has run after the commit. */
static bool all_ran(const struct news *news)
{
	uint64_t begun_ns = bench_now_ns();

	while (atomic_load(&news->board->run) < news->sleepers) {
		if (bench_now_ns() - begun_ns > WAIT_NS)
			return false;
		usleep(50);
	}
	return true;
}

static bool sleepers_stop(struct news *news)
{
	uint64_t begun_ns, took_ns;
	int status;

	if (news->sleepers == 0)
		return true;
	atomic_store(&news->board->stop, 1);
	return commit(news, &begun_ns, &took_ns) && waitpid(news->process, &status, 0) > 0 &&
	       status == 0;
}

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return a < b ? -1 : a > b;
}

struct subject {
	struct news *news;
	uint32_t sleepers;
	uint32_t percent; /* which of the sorted times */
	bool last;        /* not the commit's time but until the last sleeper ran */
};

/* Microseconds. */
static double measure(void *context)
{
	const struct subject *subject = context;
	struct news *news = subject->news;
	static double times[COMMITS];
	uint64_t begun_ns, took_ns;

	if (!sleepers_start(news, subject->sleepers))
		return NAN;
	for (uint32_t i = 0; i < COMMITS; i++) {
		usleep(PAUSE_US);
		if (!commit(news, &begun_ns, &took_ns) || !all_ran(news))
			return NAN;
		if (subject->last)
			took_ns = atomic_load(&news->board->last_ns) - begun_ns;
		times[i] = (double)took_ns / 1000;
	}
	if (!sleepers_stop(news))
		return NAN;
	qsort(times, COMMITS, sizeof(times[0]), by_size);
	return times[COMMITS * subject->percent / 100];
}

/* --- rows --------------------------------------------------------------------------------------- */

static bool rows_commit(const struct bench *bench, struct news *news, uint32_t percent)
{
	static const uint32_t counts[] = {1, 64, SLEEPERS_MAX};
	struct bench_slope slope = {0};
	char row[80];

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct subject some = {news, counts[i], percent, false};
		struct subject none = {news, 0, percent, false};
		struct bench_subject subjects[] = {
			{"regionmgr", measure, &some}, {"the same, nobody asleep", measure, &none}};

		snprintf(row, sizeof(row), "commit of 8 bytes, p%u, %u readers asleep", percent,
			counts[i]);
		if (!bench_row(bench, row, "us", BENCH_LOWER, subjects, 2, 7))
			return false;
		bench_slope_add(&slope, counts[i], 1);
	}
	snprintf(row, sizeof(row), "commit of 8 bytes, p%u", percent);
	bench_slope_print(bench, row, "us", "readers asleep", &slope);
	return true;
}

static bool rows_last(const struct bench *bench, struct news *news)
{
	static const uint32_t counts[] = {1, SLEEPERS_MAX};
	char row[80];

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct subject subject = {news, counts[i], 50, true};
		struct bench_subject ours = {"regionmgr", measure, &subject};

		snprintf(row, sizeof(row), "commit begun to the last of %u asleep runs, p50",
			counts[i]);
		if (!bench_row(bench, row, "us", BENCH_LOWER, &ours, 1, 7))
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	static struct news news;
	struct bench bench;
	struct rgm_error error = {0};
	bool good;
	int rc = bench_begin(&bench, "news", argc, argv);

	if (rc != 0)
		return rc;
	news.board = mmap(NULL, sizeof(*news.board), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (news.board == MAP_FAILED || !bench_folder_make(&bench, news.dir, sizeof(news.dir)))
		return 1;
	snprintf(news.socket, sizeof(news.socket), "%s/control.sock", news.dir);
	struct rgm_manager_options options = {.size = sizeof(options),
		.instance = "bench-news",
		.dir = news.dir,
		.socket = news.socket};
	good = rgm_manager_open(&options, &news.manager, &error) == 0 &&
	       rgm_manager_create(news.manager, "data", NULL, &error) == 0;
	if (!good)
		fprintf(stderr, "bench_news: %s\n", error.message);
	good = good && rows_commit(&bench, &news, 50) && rows_commit(&bench, &news, 99) &&
	       rows_last(&bench, &news);
	if (news.manager != NULL && rgm_manager_close(news.manager, NULL) != 0)
		good = false;
	bench_folder_remove(news.dir);
	return good ? 0 : 1;
}
