/* SPDX-License-Identifier: Apache-2.0 */
/* Retired blocks, and the thread that frees them. See reclaim.h, and ipc/slot.h for the argument. */
#include "regionmgr/manager/reclaim_internal.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <urcu/compiler.h>

#include "pool/os.h"
#include "regionmgr/manager/lag.h"
#include "regionmgr/manager/open.h"
#include "regionmgr/manager/sessions.h"
#include "regionmgr/manager/table.h"

#define STEP_BLOCKS    4096u /* looked at under one hold of the lock */
#define RETRY_LEAST_MS 2u
#define RETRY_MOST_MS  64u
#define LOOK_AROUND_MS 500u
#define MS             1000000ull /* in ns */

/* What the thread is woken for. */
enum {
	WORK_PUSHED = 1, /* look at what is new */
	WORK_ALL = 2     /* look at everything: something that kept blocks may be over */
};

struct retired *retired_create(enum retired_what what, struct dimension *dimension, size_t count)
{
	struct retired *retired = malloc(sizeof *retired + count * sizeof retired->blocks[0]);
	if (!retired)
		return NULL;
	retired->what = what;
	retired->dimension = dimension;
	retired->born = retired->looked_born = UINT64_MAX;
	retired->count = retired->looked = 0;
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

/* The thread sleeps while the word is 0: who finds something else there need not wake it. */
static void wake(struct reclaim *reclaim, uint32_t work)
{
	if (__atomic_fetch_or(&reclaim->work, work, __ATOMIC_RELEASE) == 0)
		os_futex_wake(&reclaim->work, OS_FUTEX_ANY, INT_MAX);
}

void reclaim_wake(struct reclaim *reclaim)
{
	wake(reclaim, WORK_ALL);
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
	wake(reclaim, WORK_PUSHED);
}

/* --- Lists ------------------------------------------------------------------------------------ */

static void list_init(struct list *list)
{
	*list = (struct list){.end = &list->first};
}

static void list_append(struct list *list, struct retired *batch)
{
	batch->next = NULL;
	*list->end = batch;
	list->end = &batch->next;
}

static void list_prepend(struct list *list, struct retired *batch)
{
	batch->next = list->first;
	if (!list->first)
		list->end = &batch->next;
	list->first = batch;
}

static struct retired *list_take(struct list *list)
{
	struct retired *batch = list->first;
	if (batch) {
		list->first = batch->next;
		if (!list->first)
			list->end = &list->first;
	}
	return batch;
}

/* Entries of the ring first: they are few, and what a commit may run out of. */
static void take_pushed(struct reclaim *reclaim)
{
	struct cds_wfcq_node *node;
	while ((node = __cds_wfcq_dequeue_blocking(&reclaim->head, &reclaim->tail))) {
		struct retired *batch = caa_container_of(node, struct retired, node);
		if (batch->what == RETIRED_RING_ENTRY)
			list_prepend(&reclaim->waiting, batch);
		else
			list_append(&reclaim->waiting, batch);
	}
}

/* Look at everything once more. */
static void take_kept(struct reclaim *reclaim)
{
	struct retired *batch;
	while ((batch = list_take(&reclaim->kept))) {
		batch->looked = 0;
		batch->looked_born = UINT64_MAX;
		if (batch->what == RETIRED_RING_ENTRY)
			list_prepend(&reclaim->waiting, batch);
		else
			list_append(&reclaim->waiting, batch);
	}
}

static void forget(struct retired *batch)
{
	dimension_put(batch->dimension);
	retired_free(batch);
}

/* Under lock. Look at waiting batches, at most at `most` blocks; each batch counts for one more.
 * `current` was read before the scan that filled the view: M2. Returns blocks freed. */
static size_t free_unseen(struct reclaim *reclaim, uint64_t current, size_t most)
{
	size_t freed = 0, seen = 0;
	while (reclaim->waiting.first && seen < most) {
		struct retired *batch = list_take(&reclaim->waiting);
		size_t before = batch->count;
		if (batch->version <= current)
			seen += reclaim_sift(reclaim, batch, most - seen);
		freed += before - batch->count;
		seen++;
		if (batch->count == 0) {
			forget(batch);
		} else if (batch->version <= current && batch->looked < batch->count) {
			list_prepend(&reclaim->waiting, batch); /* this step is over */
		} else {
			if (batch->looked == batch->count)
				batch->born = batch->looked_born;
			list_append(&reclaim->kept, batch);
		}
	}
	return freed;
}

/* M2 to M5. */
static int scan(struct reclaim *reclaim, uint64_t *ret_current)
{
	*ret_current = table_current(reclaim->manager->table);
	manager_count(reclaim->manager, COUNTER_scans, 1);
	return sessions_scan(reclaim->manager->sessions, &reclaim->view);
}

/* One step: a scan, and at most `most` blocks looked at. Sets *ret_more if that was not all, which a scan
 * that failed leaves for later. */
static size_t step(struct reclaim *reclaim, bool all, size_t most, bool *ret_more)
{
	size_t freed = 0;
	uint64_t current;
	pthread_mutex_lock(&reclaim->lock);
	take_pushed(reclaim);
	if (all)
		take_kept(reclaim);
	*ret_more = false;
	if (reclaim->waiting.first && scan(reclaim, &current) == 0) {
		freed = free_unseen(reclaim, current, most);
		*ret_more = reclaim->waiting.first != NULL;
	}
	pthread_mutex_unlock(&reclaim->lock);
	return freed;
}

size_t reclaim_run(struct reclaim *reclaim)
{
	bool more;
	return step(reclaim, true, SIZE_MAX, &more);
}

/* Of the ring's entries in a list free what no section sees. */
static void free_ring(struct reclaim *reclaim, struct list *list, uint64_t current)
{
	struct list rest;
	struct retired *batch;
	list_init(&rest);
	while ((batch = list_take(list))) {
		if (batch->what == RETIRED_RING_ENTRY && batch->version <= current) {
			batch->looked = 0;
			reclaim_sift(reclaim, batch, SIZE_MAX);
		}
		if (batch->count == 0)
			forget(batch);
		else
			list_append(&rest, batch);
	}
	while ((batch = list_take(&rest)))
		list_append(list, batch);
}

void reclaim_run_ring(struct reclaim *reclaim)
{
	uint64_t current;
	pthread_mutex_lock(&reclaim->lock);
	take_pushed(reclaim);
	if (scan(reclaim, &current) == 0) {
		free_ring(reclaim, &reclaim->waiting, current);
		free_ring(reclaim, &reclaim->kept, current);
	}
	pthread_mutex_unlock(&reclaim->lock);
}

/* --- The thread ------------------------------------------------------------------------------- */

/* Sleep until there is work, or until the time has come to look at everything again. Returns the work. */
static uint32_t wait_for_work(struct reclaim *reclaim, uint64_t due_ns)
{
	uint32_t work;
	while ((work = __atomic_exchange_n(&reclaim->work, 0, __ATOMIC_ACQUIRE)) == 0 &&
		!atomic_load_explicit(&reclaim->stop, memory_order_relaxed)) {
		uint64_t now = os_now_ns();
		if (due_ns <= now)
			return WORK_ALL;
		int64_t ms = due_ns == UINT64_MAX ? -1 : (int64_t)((due_ns - now + MS - 1) / MS);
		os_futex_wait(&reclaim->work, 0, OS_FUTEX_ANY, ms);
	}
	return work;
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

static bool anything_kept(struct reclaim *reclaim)
{
	pthread_mutex_lock(&reclaim->lock);
	bool kept = reclaim->waiting.first || reclaim->kept.first;
	pthread_mutex_unlock(&reclaim->lock);
	return kept;
}

/* Everything, or what is new, in steps. */
static size_t pass(struct reclaim *reclaim, bool all)
{
	bool more;
	size_t freed = step(reclaim, all, STEP_BLOCKS, &more);
	while (more && !atomic_load_explicit(&reclaim->stop, memory_order_relaxed))
		freed += step(reclaim, false, STEP_BLOCKS, &more);
	return freed;
}

/* When to look at what is kept. */
struct pace {
	uint64_t ms;       /* between two looks while nothing happens */
	uint64_t quiet_ns; /* not before this time: a look takes little of a processor */
	uint64_t due_ns;   /* UINT64_MAX: nothing is kept */
};

static void set_pace(struct pace *pace, bool all, size_t freed, uint64_t begun_ns)
{
	uint64_t now = os_now_ns(), due_ns;
	if (all) {
		/* A reader that stays costs fewer and fewer looks. */
		pace->ms = freed                      ? RETRY_LEAST_MS
		           : pace->ms < RETRY_MOST_MS ? pace->ms * 2
		                                      : RETRY_MOST_MS;
		pace->quiet_ns = now + 8 * (now - begun_ns);
		pace->due_ns = UINT64_MAX;
	}
	due_ns = now + (all ? pace->ms : RETRY_LEAST_MS) * MS;
	if (due_ns < pace->quiet_ns)
		due_ns = pace->quiet_ns;
	if (due_ns < pace->due_ns)
		pace->due_ns = due_ns;
}

static void *run(void *argument)
{
	struct reclaim *reclaim = argument;
	struct pace pace = {.ms = RETRY_LEAST_MS, .due_ns = UINT64_MAX};
	uint64_t last_ns = os_now_ns();
	while (!atomic_load_explicit(&reclaim->stop, memory_order_relaxed)) {
		bool in_use = atomic_load_explicit(&reclaim->manager->in_use, memory_order_relaxed);
		uint64_t around_ns = in_use ? last_ns + LOOK_AROUND_MS * MS : UINT64_MAX;
		uint32_t work =
			wait_for_work(reclaim, pace.due_ns < around_ns ? pace.due_ns : around_ns);
		uint64_t begun_ns = os_now_ns();
		bool all = (work & WORK_ALL) || pace.due_ns <= begun_ns;
		set_pace(&pace, all, pass(reclaim, all), begun_ns);
		bool kept = anything_kept(reclaim);
		if (!kept)
			pace.due_ns = UINT64_MAX;
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
	list_init(&reclaim->waiting);
	list_init(&reclaim->kept);
	pthread_mutex_init(&reclaim->lock, NULL);
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
	atomic_store_explicit(&reclaim->stop, true, memory_order_relaxed);
	reclaim_wake(reclaim);
	pthread_join(reclaim->thread, NULL);
	reclaim->started = false;
}

void reclaim_release_all(struct reclaim *reclaim)
{
	stop_thread(reclaim);
	pthread_mutex_lock(&reclaim->lock);
	take_pushed(reclaim);
	take_kept(reclaim);
	/* One may have been left in the middle of a look: its front was kept for readers. */
	for (struct retired *batch = reclaim->waiting.first; batch; batch = batch->next)
		batch->looked = 0;
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
	take_kept(reclaim);
	struct retired *batch;
	while ((batch = list_take(&reclaim->waiting)))
		forget(batch);
	sessions_view_free(&reclaim->view);
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

/* Pages of a list that a view sees. */
static uint64_t pages_in_view(
	const struct list *list, const struct sessions_view *view, uint64_t *since_ns)
{
	uint64_t pages = 0;
	for (const struct retired *batch = list->first; batch; batch = batch->next) {
		uint64_t kept = 0;
		if (batch->what == RETIRED_RING_ENTRY)
			continue;
		for (size_t i = 0; i < batch->count; i++)
			if (reclaim_in_view(view, NULL, batch, batch->blocks[i].born))
				kept += batch->blocks[i].count;
		if (kept && (!*since_ns || batch->pushed_ns < *since_ns))
			*since_ns = batch->pushed_ns;
		pages += kept;
	}
	return pages;
}

uint64_t reclaim_kept_bytes(
	struct reclaim *reclaim, const struct sessions_view *view, uint64_t *ret_since_ns)
{
	uint64_t since_ns = 0;
	pthread_mutex_lock(&reclaim->lock);
	take_pushed(reclaim);
	uint64_t pages = pages_in_view(&reclaim->waiting, view, &since_ns) +
	                 pages_in_view(&reclaim->kept, view, &since_ns);
	pthread_mutex_unlock(&reclaim->lock);
	*ret_since_ns = since_ns;
	return pages * POOL_PAGE_BYTES;
}

uint64_t reclaim_retired_bytes(struct reclaim *reclaim)
{
	return atomic_load_explicit(&reclaim->retired_bytes, memory_order_relaxed);
}
