/* SPDX-License-Identifier: Apache-2.0 */
/* Retired blocks, and the thread that frees them. See reclaim.h, and ipc/slot.h for the argument. */
#include "regionmgr/manager/reclaim.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <urcu/compiler.h>
#include <urcu/wfcqueue.h>

#include "pool/os.h"
#include "regionmgr/manager/lag.h"
#include "regionmgr/manager/open.h"
#include "regionmgr/manager/sessions.h"
#include "regionmgr/manager/table.h"

#define STEP_BLOCKS    8192u /* freed at most between two looks at who else wants the lock */
#define RETRY_LEAST_MS 2u
#define RETRY_MOST_MS  64u
#define LOOK_AROUND_MS 500u

struct retired {
	struct cds_wfcq_node node;
	struct retired *next; /* in reclaim.waiting */
	enum retired_what what;
	struct dimension *dimension; /* with a reference, once pushed */
	uint64_t version;            /* not reachable from this version on */
	uint64_t pushed_ns;          /* CLOCK_MONOTONIC */
	uint64_t born;               /* least of the blocks */
	size_t count;
	struct dim_block blocks[];
};

struct reclaim {
	struct rgm_manager *manager;
	struct cds_wfcq_head head; /* pushed by commits, taken under lock */
	struct cds_wfcq_tail tail;
	atomic_uint_least64_t retired_bytes;

	pthread_mutex_t lock; /* guards the following; order: see manager.h */
	struct retired *waiting;
	struct reclaim_hold *own;
	struct sessions_view view; /* kept for its memory */

	pthread_mutex_t wake_lock; /* guards the following */
	pthread_cond_t wake;
	bool work, stop;
	pthread_t thread;
	bool started;
};

struct retired *retired_create(enum retired_what what, struct dimension *dimension, size_t count)
{
	struct retired *retired = malloc(sizeof *retired + count * sizeof retired->blocks[0]);
	if (!retired)
		return NULL;
	retired->what = what;
	retired->dimension = dimension;
	retired->born = UINT64_MAX;
	retired->count = 0;
	return retired;
}

void retired_add(struct retired *retired, uint64_t page, uint64_t count, uint64_t born)
{
	retired->blocks[retired->count++] = (struct dim_block){page, count, born};
	if (born < retired->born)
		retired->born = born;
}

void retired_free(struct retired *retired)
{
	free(retired);
}

/* Pages of a batch; a ring entry takes none. */
static uint64_t pages_of(const struct retired *retired)
{
	uint64_t pages = 0;
	if (retired->what != RETIRED_RING_ENTRY)
		for (size_t i = 0; i < retired->count; i++)
			pages += retired->blocks[i].count;
	return pages;
}

void reclaim_wake(struct reclaim *reclaim)
{
	pthread_mutex_lock(&reclaim->wake_lock);
	reclaim->work = true;
	pthread_cond_signal(&reclaim->wake);
	pthread_mutex_unlock(&reclaim->wake_lock);
}

void reclaim_push(struct reclaim *reclaim, struct retired *retired, uint64_t version)
{
	if (!retired->count) {
		retired_free(retired);
		return;
	}
	uint64_t pages = pages_of(retired);
	retired->version = version;
	retired->pushed_ns = os_now_ns();
	if (retired->dimension) {
		dimension_get(retired->dimension);
		atomic_fetch_add_explicit(
			&retired->dimension->retired_pages, pages, memory_order_relaxed);
		manager_count(reclaim->manager, COUNTER_blocks_retired, retired->count);
	}
	atomic_fetch_add_explicit(
		&reclaim->retired_bytes, pages * POOL_PAGE_BYTES, memory_order_relaxed);
	cds_wfcq_node_init(&retired->node);
	cds_wfcq_enqueue(&reclaim->head, &reclaim->tail, &retired->node);
	reclaim_wake(reclaim);
}

/* --- Deciding --------------------------------------------------------------------------------- */

/* Is there a hold on the dimension with born <= version < retired? They are sorted. */
static bool held(
	const struct sessions_view *view, uint64_t dimension, uint64_t born, uint64_t retired)
{
	size_t low = 0, high = view->hold_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct ipc_held *hold = &view->holds[middle];
		if (hold->dimension < dimension ||
			(hold->dimension == dimension && hold->version < born))
			low = middle + 1;
		else
			high = middle;
	}
	return low < view->hold_count && view->holds[low].dimension == dimension &&
	       view->holds[low].version < retired;
}

/* The same of the manager's own, which are few. */
static bool held_here(
	const struct reclaim_hold *own, uint64_t dimension, uint64_t born, uint64_t retired)
{
	for (; own; own = own->next)
		if (own->dimension == dimension && own->version >= born && own->version < retired)
			return true;
	return false;
}

/* May somebody see a block born at `born` of this batch? */
static bool in_view(const struct sessions_view *view, const struct reclaim_hold *own,
	const struct retired *batch, uint64_t born)
{
	if (ipc_seen_any(&view->sections, born, batch->version))
		return true;
	return batch->dimension &&
	       (held(view, batch->dimension->id, born, batch->version) ||
		       held_here(own, batch->dimension->id, born, batch->version));
}

static void free_block(
	struct reclaim *reclaim, const struct retired *batch, const struct dim_block *block)
{
	uint64_t bytes = block->count * POOL_PAGE_BYTES;
	switch (batch->what) {
	case RETIRED_RING_ENTRY:
		table_free_ring(reclaim->manager->table, block->page);
		return;
	case RETIRED_TABLE_PAGES:
		table_free_pages(reclaim->manager->table, block->page, block->count);
		break;
	case RETIRED_BLOCKS:
		pool_region_free(batch->dimension->region, block->page, block->count);
		atomic_fetch_sub_explicit(
			&batch->dimension->retired_pages, block->count, memory_order_relaxed);
		manager_count(reclaim->manager, COUNTER_blocks_reclaimed, 1);
		manager_count(reclaim->manager, COUNTER_bytes_reclaimed, bytes);
		break;
	}
	atomic_fetch_sub_explicit(&reclaim->retired_bytes, bytes, memory_order_relaxed);
}

/* Free what nobody sees of a batch, at most `most` blocks; the rest stays. */
static size_t sift(struct reclaim *reclaim, struct retired *batch, size_t most)
{
	const struct sessions_view *view = &reclaim->view;
	/* Often nobody sees anything as old as the oldest block: then no block need be looked at. */
	bool any = in_view(view, reclaim->own, batch, batch->born);
	size_t kept = 0, freed = 0, i = 0;
	uint64_t born = UINT64_MAX;
	for (; i < batch->count && freed < most; i++) {
		struct dim_block *block = &batch->blocks[i];
		if (any && in_view(view, reclaim->own, batch, block->born)) {
			if (block->born < born)
				born = block->born;
			batch->blocks[kept++] = *block;
			continue;
		}
		free_block(reclaim, batch, block);
		freed++;
	}
	for (; i < batch->count; i++) {
		if (batch->blocks[i].born < born)
			born = batch->blocks[i].born;
		batch->blocks[kept++] = batch->blocks[i];
	}
	batch->count = kept;
	batch->born = born;
	return freed;
}

static void take_pushed(struct reclaim *reclaim)
{
	struct cds_wfcq_node *node;
	while ((node = __cds_wfcq_dequeue_blocking(&reclaim->head, &reclaim->tail))) {
		struct retired *batch = caa_container_of(node, struct retired, node);
		batch->next = reclaim->waiting;
		reclaim->waiting = batch;
	}
}

static void forget(struct reclaim *reclaim, struct retired **place)
{
	(void)reclaim;
	struct retired *batch = *place;
	*place = batch->next;
	dimension_put(batch->dimension);
	retired_free(batch);
}

/* Under lock. `current` was read before the scan that filled the view: M2. */
static size_t free_unseen(struct reclaim *reclaim, uint64_t current, size_t most)
{
	size_t freed = 0;
	struct retired **place = &reclaim->waiting;
	while (*place && freed < most) {
		struct retired *batch = *place;
		if (batch->version <= current)
			freed += sift(reclaim, batch, most - freed);
		if (batch->count == 0)
			forget(reclaim, place);
		else
			place = &batch->next;
	}
	return freed;
}

/* One scan and at most `most` frees. Negative: the scan failed. */
static long pass(struct reclaim *reclaim, size_t most)
{
	pthread_mutex_lock(&reclaim->lock);
	take_pushed(reclaim);
	long freed = 0;
	if (reclaim->waiting) {
		uint64_t current = table_current(reclaim->manager->table);
		int rc = sessions_scan(reclaim->manager->sessions, &reclaim->view);
		manager_count(reclaim->manager, COUNTER_scans, 1);
		freed = rc ? rc : (long)free_unseen(reclaim, current, most);
	}
	pthread_mutex_unlock(&reclaim->lock);
	return freed;
}

size_t reclaim_run(struct reclaim *reclaim)
{
	long freed = pass(reclaim, SIZE_MAX);
	return freed > 0 ? (size_t)freed : 0;
}

/* --- The thread ------------------------------------------------------------------------------- */

/* Wait for a push, or for `ms` when blocks are waiting for readers. False: stop. */
static bool wait_for_work(struct reclaim *reclaim, bool waiting, unsigned ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)ms * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&reclaim->wake_lock);
	int rc = 0;
	while (!reclaim->work && !reclaim->stop && rc == 0) {
		if (waiting)
			rc = pthread_cond_timedwait(&reclaim->wake, &reclaim->wake_lock, &until);
		else
			pthread_cond_wait(&reclaim->wake, &reclaim->wake_lock);
	}
	reclaim->work = false;
	bool go_on = !reclaim->stop;
	pthread_mutex_unlock(&reclaim->wake_lock);
	return go_on;
}

/* What else is looked at now and then: nothing that could not wait half a second. */
static void look_around(struct reclaim *reclaim, uint64_t *last_ns)
{
	uint64_t now = os_now_ns();
	if (now - *last_ns < LOOK_AROUND_MS * 1000000ull)
		return;
	*last_ns = now;
	lag_look(reclaim->manager);
	if (atomic_load_explicit(&reclaim->manager->in_use, memory_order_relaxed))
		dimensions_retry(reclaim->manager);
}

static void *run(void *argument)
{
	struct reclaim *reclaim = argument;
	unsigned ms = RETRY_LEAST_MS;
	bool waiting = false;
	uint64_t last_ns = os_now_ns();
	while (wait_for_work(reclaim,
		waiting || atomic_load_explicit(&reclaim->manager->in_use, memory_order_relaxed),
		waiting ? ms : LOOK_AROUND_MS)) {
		long freed = pass(reclaim, STEP_BLOCKS);
		while (freed == (long)STEP_BLOCKS)
			freed = pass(reclaim, STEP_BLOCKS);
		pthread_mutex_lock(&reclaim->lock);
		waiting = reclaim->waiting != NULL;
		pthread_mutex_unlock(&reclaim->lock);
		/* A reader that stays costs fewer and fewer looks. */
		ms = freed > 0 ? RETRY_LEAST_MS : ms < RETRY_MOST_MS ? ms * 2 : RETRY_MOST_MS;
		look_around(reclaim, &last_ns);
	}
	return NULL;
}

int reclaim_create(struct rgm_manager *manager, struct reclaim **ret_reclaim)
{
	struct reclaim *reclaim = calloc(1, sizeof *reclaim);
	if (!reclaim)
		return -ENOMEM;
	reclaim->manager = manager;
	cds_wfcq_init(&reclaim->head, &reclaim->tail);
	pthread_mutex_init(&reclaim->lock, NULL);
	pthread_mutex_init(&reclaim->wake_lock, NULL);
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&reclaim->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	int rc = manager_thread(&reclaim->thread, run, reclaim);
	if (rc) {
		reclaim_destroy(reclaim);
		return rc;
	}
	pthread_setname_np(reclaim->thread, "rgm-reclaim");
	reclaim->started = true;
	*ret_reclaim = reclaim;
	return 0;
}

static void stop_thread(struct reclaim *reclaim)
{
	if (!reclaim->started)
		return;
	pthread_mutex_lock(&reclaim->wake_lock);
	reclaim->stop = true;
	pthread_cond_signal(&reclaim->wake);
	pthread_mutex_unlock(&reclaim->wake_lock);
	pthread_join(reclaim->thread, NULL);
	reclaim->started = false;
}

void reclaim_release_all(struct reclaim *reclaim)
{
	stop_thread(reclaim);
	pthread_mutex_lock(&reclaim->lock);
	take_pushed(reclaim);
	sessions_view_free(&reclaim->view);
	reclaim->own = NULL;
	free_unseen(reclaim, UINT64_MAX, SIZE_MAX);
	pthread_mutex_unlock(&reclaim->lock);
}

void reclaim_destroy(struct reclaim *reclaim)
{
	if (!reclaim)
		return;
	stop_thread(reclaim);
	take_pushed(reclaim);
	while (reclaim->waiting)
		forget(reclaim, &reclaim->waiting);
	sessions_view_free(&reclaim->view);
	pthread_cond_destroy(&reclaim->wake);
	pthread_mutex_destroy(&reclaim->wake_lock);
	pthread_mutex_destroy(&reclaim->lock);
	free(reclaim);
}

/* --- Looking ---------------------------------------------------------------------------------- */

void reclaim_hold_add(struct reclaim *reclaim, struct reclaim_hold *hold)
{
	pthread_mutex_lock(&reclaim->lock);
	hold->next = reclaim->own;
	reclaim->own = hold;
	pthread_mutex_unlock(&reclaim->lock);
}

void reclaim_hold_remove(struct reclaim *reclaim, struct reclaim_hold *hold)
{
	pthread_mutex_lock(&reclaim->lock);
	struct reclaim_hold **place = &reclaim->own;
	while (*place && *place != hold)
		place = &(*place)->next;
	if (*place)
		*place = hold->next;
	pthread_mutex_unlock(&reclaim->lock);
}

uint64_t reclaim_kept_bytes(
	struct reclaim *reclaim, const struct sessions_view *view, uint64_t *ret_since_ns)
{
	uint64_t pages = 0, since_ns = 0;
	pthread_mutex_lock(&reclaim->lock);
	take_pushed(reclaim);
	for (const struct retired *batch = reclaim->waiting; batch; batch = batch->next) {
		uint64_t kept = 0;
		if (batch->what == RETIRED_RING_ENTRY)
			continue;
		for (size_t i = 0; i < batch->count; i++)
			if (in_view(view, NULL, batch, batch->blocks[i].born))
				kept += batch->blocks[i].count;
		if (kept && (!since_ns || batch->pushed_ns < since_ns))
			since_ns = batch->pushed_ns;
		pages += kept;
	}
	pthread_mutex_unlock(&reclaim->lock);
	*ret_since_ns = since_ns;
	return pages * POOL_PAGE_BYTES;
}

uint64_t reclaim_retired_bytes(struct reclaim *reclaim)
{
	return atomic_load_explicit(&reclaim->retired_bytes, memory_order_relaxed);
}
