/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reclaim, from the inside (measures: internals): what a scan of slots and holds costs, and how many
 * blocks a second are given back.
 *
 * A manager runs in this process. Sessions are attached by its own function, and their segments are
 * written as a reader would; the busy reader is a process of its own, as in life.
 */
#if !defined(__clang_analyzer__) /* it follows a path in there that does not exist */
#define _LGPL_SOURCE             /* liburcu inlined: its best form */
#endif
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(HAVE_URCU_MEMB)
#include <urcu/urcu-memb.h>
#endif

#include "ipc/slot.h"
#include "pool/os.h"
#include "pool/pages.h"
#include "regionmgr/manager/sessions.h"

#include "inside.h"

#define SCANS        200u
#define GRACES       20u
#define SESSIONS_MAX 512u

/* A session without a process: the words of its segment. */
struct attached {
	struct session *session;
	struct ipc_segment *segment;
	size_t bytes;
	struct ipc_slot *slots;
};

struct bench_state {
	struct inside inside;
	struct attached sessions[SESSIONS_MAX];
	uint32_t session_count;
	struct sessions_view view;
	pid_t busy;      /* the busy reader's process */
	uint64_t *pages; /* BLOCKS of them, in the order in which they are retired */
	struct reclaim_hold hold;
	uint64_t commits;
};

/* --- sessions ----------------------------------------------------------------------------------- */

/* All of its slots were open once; the first `inside` are in a section at the current version. */
static bool attach(struct bench_state *state, uint32_t slots, uint32_t inside)
{
	struct attached *attached = &state->sessions[state->session_count];
	struct peer peer = {.pid = getpid(), .uid = geteuid(), .pidfd = -1};
	const struct ipc_table *table = table_header(state->inside.manager->table);
	struct rgm_error error;
	int files[2];
	void *base;

	if (sessions_attach(state->inside.manager, &peer, "bench", slots, 4, &attached->session,
		    &files[0], &files[1], &error) != 0) {
		fprintf(stderr, "bench_reclaim: %s\n", error.message);
		return false;
	}
	session_settle(attached->session);
	attached->bytes = session_segment_bytes(attached->session);
	if (os_map(files[1], attached->bytes, true, &base) != 0)
		return false;
	close(files[0]);
	close(files[1]);
	attached->segment = base;
	attached->slots = (void *)((char *)base + ipc_slots_offset());
	store32_release(&attached->segment->slots_used, slots + 1);
	for (uint32_t i = 0; i < inside; i++)
		ipc_section_enter(table, &attached->slots[i + 1], false);
	state->session_count++;
	return true;
}

static void detach_all(struct bench_state *state)
{
	while (state->session_count > 0) {
		struct attached *attached = &state->sessions[--state->session_count];

		os_unmap(attached->segment, attached->bytes);
		sessions_hangup(state->inside.manager, attached->session);
	}
	sessions_sweep(state->inside.manager);
}

/* The first session's first slot is entered and left without a pause, by a process that registered. */
static bool start_busy(struct bench_state *state)
{
	const struct ipc_table *table = table_header(state->inside.manager->table);
	struct attached *attached = &state->sessions[0];

	fflush(NULL);
	state->busy = fork();
	if (state->busy != 0)
		return state->busy > 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	bool membarrier = os_membarrier_register() == 0;
	store32_release(&attached->segment->membarrier, membarrier);
	for (;;) {
		ipc_section_enter(table, &attached->slots[1], membarrier);
		ipc_section_exit(&attached->slots[1]);
	}
}

static void stop_busy(struct bench_state *state)
{
	if (state->busy > 0) {
		kill(state->busy, SIGKILL);
		waitpid(state->busy, NULL, 0);
	}
	state->busy = 0;
}

/* --- scans -------------------------------------------------------------------------------------- */

static double scans(struct bench_state *state, bool membarrier)
{
	bool before = state->inside.manager->membarrier;
	uint64_t begun = bench_now_ns();
	int bad = 0;

	/* Only between scans of reclaim's own: nothing is retired here. */
	state->inside.manager->membarrier = membarrier;
	for (uint32_t i = 0; i < SCANS; i++)
		bad |= sessions_scan(state->inside.manager->sessions, &state->view);
	state->inside.manager->membarrier = before;
	return bad == 0 ? (double)(bench_now_ns() - begun) / 1000 / SCANS : NAN;
}

static double scan_membarrier(void *context)
{
	return scans(context, true);
}

static double scan_fence(void *context)
{
	return scans(context, false);
}

/* liburcu's readers, in this process: the first is busy, the others are registered. */
struct readers {
	pthread_t threads[SESSIONS_MAX];
	uint32_t count;
	atomic_uint ready;
	atomic_bool stop;
};

#if defined(HAVE_URCU_MEMB)
#define WITH_MEMB with_busy

static void *be_registered(void *argument)
{
	struct readers *readers = argument;

	urcu_memb_register_thread();
	bool busy = atomic_fetch_add(&readers->ready, 1) == 0;
	while (!atomic_load_explicit(&readers->stop, memory_order_relaxed)) {
		if (!busy) {
			usleep(20000);
			continue;
		}
		urcu_memb_read_lock();
		urcu_memb_read_unlock();
	}
	urcu_memb_unregister_thread();
	return NULL;
}

static bool readers_start(struct readers *readers, uint32_t count)
{
	for (; readers->count < count; readers->count++)
		if (pthread_create(
			    &readers->threads[readers->count], NULL, be_registered, readers) != 0)
			return false;
	while (atomic_load(&readers->ready) < count)
		usleep(1000);
	return true;
}

static void readers_stop(struct readers *readers)
{
	atomic_store(&readers->stop, true);
	while (readers->count > 0)
		pthread_join(readers->threads[--readers->count], NULL);
}

static double memb_grace(void *context)
{
	uint64_t begun = bench_now_ns();

	(void)context;
	for (uint32_t i = 0; i < GRACES; i++)
		urcu_memb_synchronize_rcu();
	return (double)(bench_now_ns() - begun) / 1000 / GRACES;
}
#else
#define WITH_MEMB  NULL
#define memb_grace NULL

static bool readers_start(struct readers *readers, uint32_t count)
{
	(void)readers;
	(void)count;
	return true;
}

static void readers_stop(struct readers *readers)
{
	(void)readers;
}
#endif

/* The readers of each subject run only while it is measured: two processors have room for one. */
struct scanned {
	struct bench_state *state;
	double (*scan)(void *context);
	uint32_t peers; /* threads of liburcu; 0: ours */
};

static double with_busy(void *context)
{
	const struct scanned *scanned = context;
	static struct readers readers;
	double us = NAN;

	if (scanned->peers == 0) {
		if (start_busy(scanned->state)) {
			usleep(2000);
			us = scanned->scan(scanned->state);
		}
		stop_busy(scanned->state);
		return us;
	}
	readers = (struct readers){.count = 0};
	if (readers_start(&readers, scanned->peers)) {
		usleep(2000);
		us = scanned->scan(scanned->state);
	}
	readers_stop(&readers);
	return us;
}

static bool row_scan(struct bench_state *state, const char *row, uint32_t peers)
{
	struct scanned all[] = {
		{state, scan_membarrier, 0}, {state, scan_fence, 0}, {state, memb_grace, peers}};
	struct bench_subject subjects[] = {
		{"regionmgr", with_busy, &all[0]},
		{"regionmgr, fence form", with_busy, &all[1]},
		{"liburcu-memb grace period", WITH_MEMB, &all[2]},
	};

	return bench_row(state->inside.bench, row, "us", BENCH_LOWER, subjects, 3, 40);
}

static bool rows_scan(struct bench_state *state)
{
	static const uint32_t counts[] = {1, 8, 64, SESSIONS_MAX};
	struct bench_slope slope = {0}, fence = {0};
	char row[80];
	bool good;

	good = attach(state, 1, 1) && row_scan(state, "scan before reclaim, one busy reader", 1);
	detach_all(state);
	good = good && attach(state, SESSIONS_MAX, SESSIONS_MAX) &&
	       row_scan(state, "scan before reclaim, 512 slots", SESSIONS_MAX);
	detach_all(state);
	for (size_t i = 0; good && i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct bench_subject with = {"regionmgr", scan_membarrier, state};
		struct bench_subject without = {"regionmgr", scan_fence, state};

		while (good && state->session_count < counts[i])
			good = attach(state, 4, 1);
		snprintf(row, sizeof(row), "scan before reclaim, %u sessions", counts[i]);
		good = good && bench_row(state->inside.bench, row, "us", BENCH_LOWER, &with, 1, 40);
		bench_slope_add(&slope, counts[i], 1);
		snprintf(row, sizeof(row), "scan before reclaim, %u sessions, fence form",
			counts[i]);
		good = good &&
		       bench_row(state->inside.bench, row, "us", BENCH_LOWER, &without, 1, 40);
		bench_slope_add(&fence, counts[i], 1);
	}
	detach_all(state);
	bench_slope_print(state->inside.bench, "scan before reclaim", "us", "sessions", &slope);
	bench_slope_print(
		state->inside.bench, "scan before reclaim, fence form", "us", "sessions", &fence);
	return good;
}

/* --- blocks ------------------------------------------------------------------------------------- */

static double millions(uint64_t blocks, uint64_t begun)
{
	return (double)blocks * 1e3 / (double)(bench_now_ns() - begun);
}

/* Blocks a second from the moment at which nobody sees them, by the thread that does it. */
static double reclaimed(struct bench_state *state, bool scattered)
{
	uint64_t begun;

	if (!inside_take(&state->inside, scattered) || !inside_retire(&state->inside, false))
		return NAN;
	/* until it has looked at all of them in vain */
	usleep(50000);
	if (inside_waiting(&state->inside) != BLOCKS)
		return NAN;
	begun = bench_now_ns();
	inside_release(&state->inside);
	while (inside_waiting(&state->inside) > 0)
		bench_pause();
	return millions(BLOCKS, begun);
}

static double reclaim_in_order(void *context)
{
	return reclaimed(context, false);
}

static double reclaim_scattered(void *context)
{
	return reclaimed(context, true);
}

/* The limit: the page set alone, one thread, one block after the other, no locks and no readers. */
static double page_set(struct bench_state *state, bool scattered)
{
	struct pages *pages = pages_create(BLOCKS);
	uint64_t random = state->inside.bench->seed, begun;
	double figure;

	if (pages == NULL || pages_grow(pages, BLOCKS, true) != 0)
		return NAN;
	for (uint32_t i = 0; i < BLOCKS; i++) {
		uint64_t other = scattered ? bench_random(&random) % (i + 1) : i;

		state->inside.pages[i] = state->inside.pages[other];
		state->inside.pages[other] = i;
	}
	begun = bench_now_ns();
	for (uint32_t i = 0; i < BLOCKS; i++)
		pages_free(pages, state->inside.pages[i], 1);
	figure = millions(BLOCKS, begun);
	pages_destroy(pages);
	return figure;
}

static double set_in_order(void *context)
{
	return page_set(context, false);
}

static double set_scattered(void *context)
{
	return page_set(context, true);
}

static bool rows_throughput(struct bench_state *state)
{
	struct bench_subject ordered[] = {
		{"regionmgr", reclaim_in_order, state}, {"page set alone", set_in_order, state}};
	struct bench_subject scattered[] = {
		{"regionmgr", reclaim_scattered, state}, {"page set alone", set_scattered, state}};

	return bench_row(state->inside.bench, "reclaim of 500,000 blocks, neighbours", "M blocks/s",
		       BENCH_HIGHER, ordered, 2, 20) &&
	       bench_row(state->inside.bench, "reclaim of 500,000 blocks, scattered", "M blocks/s",
		       BENCH_HIGHER, scattered, 2, 20);
}

/* --- the bench ---------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
	static struct bench_state state;
	struct bench bench;
	bool good;
	int rc = bench_begin(&bench, "reclaim", argc, argv);

	if (rc != 0)
		return rc;
	good = inside_open(&bench, &state.inside) && rows_scan(&state) && rows_throughput(&state);
	stop_busy(&state);
	detach_all(&state);
	sessions_view_free(&state.view);
	good = inside_close(&state.inside) && good;
	return good ? 0 : 1;
}
