/* SPDX-License-Identifier: Apache-2.0 */
/* The rule: which blocks of a batch nobody sees, and giving them back. */
#include "regionmgr/manager/reclaim_internal.h"

#include "regionmgr/manager/table.h"

#define RUNS_MAX 256u /* freed under one hold of a region's lock, for which commits wait */

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

bool reclaim_in_view(const struct sessions_view *view, const struct reclaim_hold *own,
	const struct retired *batch, uint64_t born)
{
	if (ipc_seen_any(&view->sections, born, batch->version))
		return true;
	return batch->dimension &&
	       (held(view, batch->dimension->id, born, batch->version) ||
		       held_here(own, batch->dimension->id, born, batch->version));
}

/* --- Freeing ---------------------------------------------------------------------------------- */

/* Blocks of one batch on their way to be free: neighbours are joined, and counted together. */
struct freeing {
	struct reclaim *reclaim;
	struct retired *batch;
	struct pool_run runs[RUNS_MAX];
	size_t run_count;
	uint64_t blocks, pages;
};

static void flush(struct freeing *freeing)
{
	struct reclaim *reclaim = freeing->reclaim;
	struct dimension *dimension = freeing->batch->dimension;
	uint64_t bytes = freeing->pages * POOL_PAGE_BYTES;
	if (freeing->run_count == 0)
		return;
	if (freeing->batch->what == RETIRED_TABLE_PAGES) {
		for (size_t i = 0; i < freeing->run_count; i++)
			table_free_pages(reclaim->manager->table, freeing->runs[i].page,
				freeing->runs[i].count);
	} else {
		pool_region_free_many(dimension->region, freeing->runs, freeing->run_count);
		atomic_fetch_sub_explicit(
			&dimension->retired_pages, freeing->pages, memory_order_relaxed);
		manager_count(reclaim->manager, COUNTER_blocks_reclaimed, freeing->blocks);
		manager_count(reclaim->manager, COUNTER_bytes_reclaimed, bytes);
	}
	atomic_fetch_sub_explicit(&reclaim->retired_bytes, bytes, memory_order_relaxed);
	freeing->run_count = freeing->blocks = freeing->pages = 0;
}

static void free_block(struct freeing *freeing, const struct dim_block *block)
{
	if (freeing->batch->what == RETIRED_RING_ENTRY) {
		table_free_ring(freeing->reclaim->manager->table, block->page);
		return;
	}
	struct pool_run *last = &freeing->runs[freeing->run_count ? freeing->run_count - 1 : 0];
	freeing->blocks++;
	freeing->pages += block->count;
	if (freeing->run_count && last->page + last->count == block->page) {
		last->count += block->count;
	} else if (freeing->run_count && block->page + block->count == last->page) {
		last->page = block->page;
		last->count += block->count;
	} else {
		if (freeing->run_count == RUNS_MAX)
			flush(freeing);
		freeing->runs[freeing->run_count++] = (struct pool_run){block->page, block->count};
	}
}

size_t reclaim_sift(struct reclaim *reclaim, struct retired *batch, size_t most)
{
	const struct sessions_view *view = &reclaim->view;
	struct freeing freeing = {.reclaim = reclaim, .batch = batch};
	/* Often nobody sees anything as old as the oldest block: then no block need be looked at. */
	bool any = reclaim_in_view(view, reclaim->own, batch, batch->born);
	size_t seen = 0;
	for (; batch->looked < batch->count && seen < most; seen++) {
		/* The last one takes the place of one that goes, so there is never a hole. */
		struct dim_block *last = &batch->blocks[batch->count - 1];
		struct dim_block *block = any ? &batch->blocks[batch->looked] : last;
		if (any && reclaim_in_view(view, reclaim->own, batch, block->born)) {
			batch->looked++;
			if (block->born < batch->looked_born)
				batch->looked_born = block->born;
			continue;
		}
		free_block(&freeing, block);
		*block = *last;
		batch->count--;
	}
	flush(&freeing);
	return seen;
}
