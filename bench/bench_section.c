/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections: what it costs to enter and leave one, to find a dimension in it, and how long news take
 * to reach another process. Loops of calls in one process, peers beside ours in each run.
 */
#if !defined(__clang_analyzer__) /* it follows a path in there that does not exist */
#define _LGPL_SOURCE             /* liburcu inlined: its best form */
#endif
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(HAVE_URCU_MEMB)
#include <urcu/urcu-memb.h>
#endif
#if defined(HAVE_URCU_BP)
#include <urcu/urcu-bp.h>
#endif
#if defined(HAVE_URCU_QSBR)
#include <urcu/urcu-qsbr.h>
#endif

#include <regionmgr/layers.h>

#include "instance.h"
#include "peers.h"

#define LOOPS 200000u
#define NAMES 4096u

struct section {
	struct rgm_slot *slot;
	uint64_t dimensions;
	struct rgm_dimension *handles;
	struct rgm_layers *views; /* opened once, one a dimension */
	char (*names)[24];
	uint32_t *order; /* LOOPS numbers below `dimensions`, in random order */
};

static double per_loop(uint64_t begun)
{
	return (double)(bench_now_ns() - begun) / LOOPS;
}

/* --- enter and exit ----------------------------------------------------------------------------- */

static double ours_enter_exit(void *context)
{
	struct rgm_slot *slot = ((struct section *)context)->slot;
	uint64_t begun = bench_now_ns();
	int bad = 0;

	for (uint32_t i = 0; i < LOOPS; i++) {
		bad |= rgm_pin(slot);
		bad |= rgm_unpin(slot);
	}
	return bad == 0 ? per_loop(begun) : NAN;
}

/* The library's functions, as a program reaches them that was built without the inlined ones. */
static double ours_called(void *context)
{
	int (*volatile pin)(struct rgm_slot *) = rgm_pin;
	int (*volatile unpin)(struct rgm_slot *) = rgm_unpin;
	struct rgm_slot *slot = ((struct section *)context)->slot;
	uint64_t begun = bench_now_ns();
	int bad = 0;

	for (uint32_t i = 0; i < LOOPS; i++) {
		bad |= pin(slot);
		bad |= unpin(slot);
	}
	return bad == 0 ? per_loop(begun) : NAN;
}

static uint64_t *protected_word; /* what a pointer leads to in the peers' loops */

#if defined(HAVE_URCU_MEMB)
static double memb_enter_exit(void *context)
{
	uint64_t begun = bench_now_ns();

	(void)context;
	for (uint32_t i = 0; i < LOOPS; i++) {
		urcu_memb_read_lock();
		urcu_memb_read_unlock();
	}
	return per_loop(begun);
}

static double memb_pointer(void *context)
{
	uint64_t begun = bench_now_ns();

	(void)context;
	for (uint32_t i = 0; i < LOOPS; i++) {
		urcu_memb_read_lock();
		bench_use(*rcu_dereference(protected_word));
		urcu_memb_read_unlock();
	}
	return per_loop(begun);
}
#else
#define memb_enter_exit NULL
#define memb_pointer    NULL
#endif

#if defined(HAVE_URCU_BP)
static double bp_enter_exit(void *context)
{
	uint64_t begun = bench_now_ns();

	(void)context;
	for (uint32_t i = 0; i < LOOPS; i++) {
		urcu_bp_read_lock();
		urcu_bp_read_unlock();
	}
	return per_loop(begun);
}
#else
#define bp_enter_exit NULL
#endif

#if defined(HAVE_URCU_QSBR)
/* Its sections cost nothing; a quiescent state after each is what makes them comparable. */
static double qsbr_quiescent(void *context)
{
	uint64_t begun = bench_now_ns();

	(void)context;
	for (uint32_t i = 0; i < LOOPS; i++) {
		urcu_qsbr_read_lock();
		urcu_qsbr_read_unlock();
		urcu_qsbr_quiescent_state();
	}
	return per_loop(begun);
}
#else
#define qsbr_quiescent NULL
#endif

static double lmdb_enter_exit(void *context)
{
	uint64_t begun = bench_now_ns();

	lmdb_sections(context, LOOPS, 0);
	return per_loop(begun);
}

static double rwlock_enter_exit(void *context)
{
	pthread_rwlock_t *lock = context;
	uint64_t begun = bench_now_ns();

	for (uint32_t i = 0; i < LOOPS; i++) {
		pthread_rwlock_rdlock(lock);
		pthread_rwlock_unlock(lock);
	}
	return per_loop(begun);
}

static pthread_rwlock_t *shared_lock(void)
{
	pthread_rwlockattr_t shared;
	pthread_rwlock_t *lock = mmap(
		NULL, sizeof(*lock), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	pthread_rwlockattr_init(&shared);
	pthread_rwlockattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_rwlock_init(lock, &shared);
	pthread_rwlockattr_destroy(&shared);
	return lock;
}

/* --- and find a dimension ----------------------------------------------------------------------- */

static inline double by_handle(const struct section *section, bool one)
{
	struct rgm_slot *slot = section->slot;
	uint64_t begun = bench_now_ns();
	struct rgm_layers layers;
	int bad = 0;

	for (uint32_t i = 0; i < LOOPS; i++) {
		bad |= rgm_pin(slot);
		bad |= rgm_layers_open_dimension(
			slot, &section->handles[one ? 0 : section->order[i]], &layers, NULL);
		bench_use((uintptr_t)&layers);
		bad |= rgm_unpin(slot);
	}
	return bad == 0 ? per_loop(begun) : NAN;
}

static double ours_by_handle(void *context)
{
	return by_handle(context, false);
}

/* The same handle each time: all of it in the first-level cache, as the peers' pointer is. */
static double ours_by_one_handle(void *context)
{
	return by_handle(context, true);
}

/* A view that is used again: nothing was published since it was opened. */
static inline double by_view(const struct section *section, bool one)
{
	struct rgm_slot *slot = section->slot;
	uint64_t begun = bench_now_ns();
	int bad = 0;

	for (uint32_t i = 0; i < LOOPS; i++) {
		struct rgm_layers *view = &section->views[one ? 0 : section->order[i]];

		bad |= rgm_pin(slot);
		bad |= rgm_layers_refresh(slot, view, NULL);
		bench_use((uintptr_t)view);
		bad |= rgm_unpin(slot);
	}
	return bad == 0 ? per_loop(begun) : NAN;
}

static double ours_by_view(void *context)
{
	return by_view(context, false);
}

static double ours_by_one_view(void *context)
{
	return by_view(context, true);
}

static double ours_by_name(void *context)
{
	struct section *section = context;
	struct rgm_slot *slot = section->slot;
	uint64_t begun = bench_now_ns();
	struct rgm_layers layers;
	int bad = 0;

	for (uint32_t i = 0; i < LOOPS; i++) {
		bad |= rgm_pin(slot);
		bad |= rgm_layers_open(slot, section->names[section->order[i]], &layers, NULL);
		bench_use((uintptr_t)&layers);
		bad |= rgm_unpin(slot);
	}
	return bad == 0 ? per_loop(begun) : NAN;
}

struct lmdb_keys {
	struct lmdb *lmdb;
	uint64_t keys;
};

static double lmdb_get(void *context)
{
	struct lmdb_keys *keys = context;
	uint64_t begun = bench_now_ns();

	lmdb_sections(keys->lmdb, LOOPS, keys->keys);
	return per_loop(begun);
}

/* --- the rows about sections -------------------------------------------------------------------- */

static bool open_section(const struct bench *bench, struct section *section,
	struct rgm_session *session, uint64_t dimensions)
{
	uint64_t state = bench->seed;
	struct rgm_error error = {0};
	bool good;

	section->dimensions = dimensions;
	section->handles = calloc(dimensions, sizeof(*section->handles));
	section->views = calloc(dimensions, sizeof(*section->views));
	section->names = calloc(dimensions, sizeof(*section->names));
	section->order = calloc(LOOPS, sizeof(*section->order));
	good = section->handles != NULL && section->views != NULL && section->names != NULL &&
	       section->order != NULL && rgm_map_all(session, &error) == 0 &&
	       rgm_slot_open(session, &section->slot, &error) == 0 && rgm_pin(section->slot) == 0;
	for (uint64_t i = 0; good && i < dimensions; i++) {
		snprintf(
			section->names[i], sizeof(*section->names), "d%llu", (unsigned long long)i);
		good = rgm_find(section->slot, section->names[i], &section->handles[i], &error) ==
		               0 &&
		       rgm_layers_open_dimension(section->slot, &section->handles[i],
			       &section->views[i], &error) == 0;
	}
	if (!good)
		fprintf(stderr, "bench_section: %s\n", error.message);
	else
		rgm_unpin(section->slot);
	for (uint32_t i = 0; good && i < LOOPS; i++)
		section->order[i] = (uint32_t)(bench_random(&state) % dimensions);
	return good;
}

static void close_section(struct section *section)
{
	rgm_slot_close(section->slot);
	free(section->handles);
	free(section->views);
	free(section->names);
	free(section->order);
}

static bool rows_enter_exit(const struct bench *bench, struct section *section,
	struct section *fence, struct lmdb *lmdb)
{
	pthread_rwlock_t *lock = shared_lock();
	struct bench_subject subjects[] = {
		{"regionmgr", ours_enter_exit, section},
		{"liburcu-memb", memb_enter_exit, NULL},
		{"liburcu-bp", bp_enter_exit, NULL},
		{"liburcu-qsbr", qsbr_quiescent, NULL},
		{"lmdb renew+reset", lmdb == NULL ? NULL : lmdb_enter_exit, lmdb},
		{"pshared rwlock", rwlock_enter_exit, lock},
		{"regionmgr, called", ours_called, section},
		{"regionmgr, fence form", ours_enter_exit, fence},
	};

	return bench_row(bench, "enter+exit", "ns", BENCH_LOWER, subjects, 8, 60);
}

/* One way to find a dimension, beside what the peers do. */
static bool row_lookup(const struct bench *bench, const char *way, double (*ours)(void *),
	struct section *section, struct lmdb *lmdb)
{
	struct lmdb_keys keys = {lmdb, section->dimensions};
	struct bench_subject subjects[] = {
		{"regionmgr", ours, section},
		{"liburcu-memb + pointer", memb_pointer, NULL},
		{"lmdb renew+get+reset", lmdb == NULL ? NULL : lmdb_get, &keys},
	};
	char row[96];

	snprintf(row, sizeof(row), "enter+exit+lookup by %s, %llu dimension%s", way,
		(unsigned long long)section->dimensions, section->dimensions == 1 ? "" : "s");
	return bench_row(bench, row, "ns", BENCH_LOWER, subjects, 3, 60);
}

/* The same one each time (all of it in the first-level cache, as the peers' pointer is), or any. */
static bool rows_lookup(const struct bench *bench, struct section *section, struct lmdb *lmdb)
{
	return row_lookup(bench, "one view", ours_by_one_view, section, lmdb) &&
	       row_lookup(bench, "any view", ours_by_view, section, lmdb) &&
	       row_lookup(bench, "one handle", ours_by_one_handle, section, lmdb) &&
	       row_lookup(bench, "any handle", ours_by_handle, section, lmdb);
}

/* One number of dimensions: everything is made anew. */
static bool with_dimensions(
	const struct bench *bench, uint64_t dimensions, struct bench_slope *slope)
{
	struct section section = {0}, fence = {0};
	struct rgm_session *session, *second;
	struct bench_instance instance;
	char folder[300];
	struct lmdb *lmdb = NULL;
	bool good;

	if (!bench_instance_start_in_memory(bench, &instance, bench_fill_many, NULL, &dimensions))
		return false;
	if (lmdb_installed() && bench_folder_make(bench, folder, sizeof(folder)))
		lmdb = lmdb_make_small(folder, dimensions);
	session = bench_attach(&instance, RGM_BARRIER_AUTO);
	second = bench_attach(&instance, RGM_BARRIER_FENCE);
	good = open_section(bench, &section, session, dimensions) &&
	       rgm_slot_open(second, &fence.slot, NULL) == 0;
	if (good && dimensions == NAMES)
		good = rows_enter_exit(bench, &section, &fence, lmdb);
	good = good && rows_lookup(bench, &section, lmdb);
	if (good) {
		good = row_lookup(bench, "name", ours_by_name, &section, lmdb);
		bench_slope_add(slope, (double)dimensions, 1);
	}
	close_section(&section);
	rgm_slot_close(fence.slot);
	rgm_session_detach(second);
	rgm_session_detach(session);
	lmdb_close(lmdb);
	if (lmdb != NULL)
		bench_folder_remove(folder);
	bench_instance_stop(&instance);
	return good;
}

/* --- publish, and another process sees it ------------------------------------------------------- */

/* Shared with the manager's process: one sample at a time. */
struct news {
	atomic_uint asked; /* the reader wants sample number … */
	atomic_uint done;  /* … it was published */
	atomic_uint raw;   /* the sample is a store to this word, not a commit */
	atomic_uint word;
	atomic_uint end;
	uint64_t begun_ns; /* before the commit call or the store */
	uint64_t returned_ns;
};

static void futex_wake(atomic_uint *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static int publish_one(
	struct rgm_manager *manager, struct news *news, uint32_t sample, struct rgm_error *error)
{
	struct rgm_load_options options = {.size = sizeof(options)};
	struct rgm_writer *writer;
	int rc;

	if (atomic_load(&news->raw) != 0) {
		news->begun_ns = bench_now_ns();
		atomic_store_explicit(&news->word, sample, memory_order_release);
		futex_wake(&news->word);
		news->returned_ns = bench_now_ns();
		return 0;
	}
	rc = rgm_writer_begin(manager, "d0", &options, &writer, error);
	if (rc == 0)
		rc = rgm_writer_put(writer, "news", &sample, sizeof(sample), NULL, error);
	if (rc != 0)
		return rc;
	news->begun_ns = bench_now_ns();
	rc = rgm_writer_commit(writer, NULL, error);
	news->returned_ns = bench_now_ns();
	return rc;
}

static int publish_samples(struct rgm_manager *manager, void *context, struct rgm_error *error)
{
	struct news *news = context;
	uint32_t last = 0;
	int rc = 0;

	while (rc == 0 && atomic_load(&news->end) == 0) {
		uint32_t asked = atomic_load(&news->asked);

		/* the reader has time to spin, or to fall asleep */
		usleep(300);
		if (asked == last)
			continue;
		rc = publish_one(manager, news, asked, error);
		last = asked;
		atomic_store(&news->done, asked);
	}
	return rc;
}

static int fill_one(struct rgm_manager *manager, void *context, struct rgm_error *error)
{
	(void)context;
	return rgm_manager_create(manager, "d0", NULL, error);
}

enum news_way {
	NEWS_SPIN,
	NEWS_SLEEP,
	NEWS_WAYS
};

static void see_raw(struct news *news, uint32_t sample, enum news_way way)
{
	uint32_t word;

	while ((word = atomic_load_explicit(&news->word, memory_order_acquire)) != sample)
		if (way == NEWS_SLEEP)
			syscall(SYS_futex, &news->word, FUTEX_WAIT, word, NULL, NULL, 0);
		else
			bench_pause();
}

/* Wait for one sample and say when it was seen. */
static uint64_t see(struct news *news, struct rgm_session *session, enum news_way way, bool raw)
{
	uint64_t before = rgm_current_version(session), now;
	uint32_t sample = atomic_load(&news->asked) + 1;
	uint64_t seen;

	atomic_store(&news->raw, raw);
	atomic_store(&news->asked, sample);
	if (raw)
		see_raw(news, sample, way);
	else if (way == NEWS_SPIN)
		while (rgm_current_version(session) == before)
			bench_pause();
	else if (rgm_wait(session, before, 10000, &now, NULL) != 0)
		return 0;
	seen = bench_now_ns();
	while (atomic_load(&news->done) != sample)
		usleep(50);
	return seen;
}

static bool rows_news_way(const struct bench *bench, struct news *news, struct rgm_session *session,
	enum news_way way)
{
	static double begun[3][BENCH_RUNS_MAX], returned[1][BENCH_RUNS_MAX];
	static const char *const names[] = {"regionmgr", "raw word", "the commit call alone"};
	const char *word = way == NEWS_SPIN ? "spinning" : "sleeping";
	unsigned runs = bench_runs(bench, 200);
	char row[96];

	for (unsigned i = 0; i < runs; i++) {
		uint64_t seen = see(news, session, way, false);

		if (seen == 0)
			return false;
		begun[0][i] = ((double)seen - (double)news->begun_ns) / 1000;
		returned[0][i] = ((double)seen - (double)news->returned_ns) / 1000;
		begun[2][i] = ((double)news->returned_ns - (double)news->begun_ns) / 1000;
		seen = see(news, session, way, true);
		begun[1][i] = ((double)seen - (double)news->begun_ns) / 1000;
	}
	snprintf(row, sizeof(row), "commit begun to seen by another process, %s", word);
	bench_print(bench, row, "us", BENCH_LOWER, names, begun, 3, runs);
	/* negative: seen before the commit call had returned */
	snprintf(row, sizeof(row), "commit returned to seen by another process, %s", word);
	bench_print(bench, row, "us", BENCH_LOWER, names, returned, 1, runs);
	return true;
}

static bool rows_news(const struct bench *bench)
{
	struct news *news = mmap(
		NULL, sizeof(*news), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct bench_instance instance;
	struct rgm_session *session;
	bool good = news != MAP_FAILED &&
	            bench_instance_start(bench, &instance, fill_one, publish_samples, news);

	if (!good)
		return false;
	session = bench_attach(&instance, RGM_BARRIER_AUTO);
	for (enum news_way way = 0; good && way < NEWS_WAYS; way++)
		good = rows_news_way(bench, news, session, way);
	atomic_store(&news->end, 1);
	rgm_session_detach(session);
	bench_instance_stop(&instance);
	return good;
}

int main(int argc, char **argv)
{
	static const uint64_t dimensions[] = {1, 64, NAMES};
	struct bench_slope slope = {0};
	uint64_t word = 1;
	struct bench bench;
	bool good = true;
	int rc = bench_begin(&bench, "section", argc, argv);

	if (rc != 0)
		return rc;
	protected_word = &word;
	good = rows_news(&bench);
#if defined(HAVE_URCU_MEMB)
	urcu_memb_register_thread();
#endif
#if defined(HAVE_URCU_QSBR)
	urcu_qsbr_register_thread();
#endif
	for (int i = 0; good && i < 3; i++)
		good = with_dimensions(&bench, dimensions[i], &slope);
	bench_slope_print(&bench, "enter+exit+lookup by name", "ns", "dimensions", &slope);
#if defined(HAVE_URCU_MEMB)
	urcu_memb_unregister_thread();
#endif
#if defined(HAVE_URCU_QSBR)
	urcu_qsbr_unregister_thread();
#endif
	return good ? 0 : 1;
}
