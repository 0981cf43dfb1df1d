/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager with its insides at hand, for benches that measure internals, and blocks for its reclaim: pages
 * of a dimension that nobody loads, taken and retired by hand, a commit's batch at a time.
 */
#ifndef BENCH_INSIDE_H
#define BENCH_INSIDE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "regionmgr/manager/dimension.h"
#include "regionmgr/manager/reclaim.h"
#include "regionmgr/manager/table.h"

#include "instance.h"

#define BLOCKS 500000u
#define BATCH  10000u /* blocks that one commit retires */

struct inside {
	const struct bench *bench;
	struct rgm_manager *manager;
	struct dimension *bulk;
	char dir[256];
	char socket[400];
	uint64_t *pages; /* BLOCKS of them, in the order in which they are retired */
	struct reclaim_hold hold;
};

static inline bool inside_open(const struct bench *bench, struct inside *inside)
{
	struct rgm_manager_options options = {.size = sizeof(options),
		.instance = bench->name,
		.dir = inside->dir,
		.socket = inside->socket};
	struct rgm_error error = {0};
	bool good;

	*inside = (struct inside){.bench = bench};
	if (!bench_folder_make(bench, inside->dir, sizeof(inside->dir)))
		return false;
	snprintf(inside->socket, sizeof(inside->socket), "%s/control.sock", inside->dir);
	good = rgm_manager_open(&options, &inside->manager, &error) == 0 &&
	       rgm_manager_create(inside->manager, "bulk", NULL, &error) == 0 &&
	       rgm_manager_create(inside->manager, "small", NULL, &error) == 0;
	inside->bulk = good ? dimension_find(inside->manager, "bulk") : NULL;
	inside->pages = calloc(BLOCKS, sizeof(*inside->pages));
	good = inside->bulk != NULL && inside->pages != NULL &&
	       pool_region_mark_dirty(inside->bulk->region, &error) == 0;
	if (!good)
		fprintf(stderr, "bench_%s: %s\n", bench->name, error.message);
	return good;
}

static inline bool inside_close(struct inside *inside)
{
	bool good = true;

	dimension_put(inside->bulk);
	free(inside->pages);
	if (inside->manager != NULL)
		good = rgm_manager_close(inside->manager, NULL) == 0;
	bench_folder_remove(inside->dir);
	return good;
}

/* Take the pages of all blocks, one a block, so that no two neighbours come one after the other if they
 * are to be `scattered`. */
static inline bool inside_take(struct inside *inside, bool scattered)
{
	struct rgm_error error;
	uint64_t first, random = inside->bench->seed;

	if (pool_region_allocate(inside->bulk->region, BLOCKS, &first, &error) != 0) {
		fprintf(stderr, "bench_%s: %s\n", inside->bench->name, error.message);
		return false;
	}
	for (uint32_t i = 0; i < BLOCKS; i++) {
		uint64_t other = scattered ? bench_random(&random) % (i + 1) : i;

		inside->pages[i] = inside->pages[other];
		inside->pages[other] = first + i;
	}
	return true;
}

/* Retire all blocks while the manager's own hold sees every second one (`half`) or all of them. */
static inline bool inside_retire(struct inside *inside, bool half)
{
	uint64_t version = table_current(inside->manager->table);

	inside->hold = (struct reclaim_hold){.dimension = inside->bulk->id, .version = version - 1};
	reclaim_hold_add(inside->manager->reclaim, &inside->hold);
	for (uint32_t i = 0; i < BLOCKS; i += BATCH) {
		struct retired *retired = retired_create(RETIRED_BLOCKS, inside->bulk, BATCH);

		if (retired == NULL)
			return false;
		for (uint32_t j = i; j < i + BATCH; j++)
			retired_add(retired, inside->pages[j], 1,
				half && j % 2 == 0 ? version : version - 1);
		reclaim_push(inside->manager->reclaim, retired, version);
	}
	return true;
}

static inline uint64_t inside_waiting(const struct inside *inside)
{
	return atomic_load_explicit(&inside->bulk->retired_pages, memory_order_relaxed);
}

static inline void inside_release(struct inside *inside)
{
	reclaim_hold_remove(inside->manager->reclaim, &inside->hold);
	reclaim_wake(inside->manager->reclaim);
}

#endif
