/* SPDX-License-Identifier: Apache-2.0 */
/* What the manager tells of itself: rows by value, made without disturbing anybody. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/change.h"
#include "regionmgr/manager/sessions.h"

/* --- The instance ----------------------------------------------------------------------------- */

static int sum_one(void *context, struct dimension *dimension, const struct dim_state *state)
{
	struct rgm_status *status = context;
	struct pool_region *region = dimension_region(dimension);
	status->dimensions++;
	if (!region) {
		status->refused++;
		return 0;
	}
	struct pool_region_info info;
	pool_region_info(region, &info);
	status->content_bytes += state->summary.bytes;
	status->region_bytes += info.bytes;
	status->allocated_bytes += info.used_pages * POOL_PAGE_BYTES;
	return 0;
}

void info_status(struct rgm_manager *manager, struct rgm_status *ret_status)
{
	struct rgm_status status = {.pid = (uint32_t)manager->pid,
		.uid = geteuid(),
		.started_ns = manager->started_ns,
		.uptime_ns = os_now_ns() - manager->started_monotonic_ns,
		.version = table_current(manager->table),
		.readers = sessions_count(manager->sessions),
		.loads = atomic_load_explicit(&manager->loads, memory_order_relaxed),
		.retired_bytes = reclaim_retired_bytes(manager->reclaim),
		.membarrier = manager->membarrier,
		.max_dimensions = manager->max_dimensions};
	memcpy(status.instance, manager->instance, sizeof manager->instance);
	memcpy(status.folder, manager->folder_path, sizeof status.folder);
	memcpy(status.socket, manager->socket_path, sizeof manager->socket_path);
	memcpy(status.version_text, RGM_VERSION, sizeof RGM_VERSION);
	for (size_t i = 0; i < sizeof manager->instance_id; i++)
		snprintf(&status.instance_id[2 * i], 3, "%02x", manager->instance_id[i]);
	registry_each(manager, sum_one, &status);
	*ret_status = status;
}

/* --- Dimensions ------------------------------------------------------------------------------- */

static void fill_row(const struct dimension *dimension, const struct dim_state *state,
	struct rgm_dimension_row *row)
{
	*row = (struct rgm_dimension_row){.id = dimension->id,
		.generation = state->root.generation,
		.version = state->root.version,
		.changed_ns = state->changed_ns,
		.bytes = state->summary.bytes,
		.layers = state->summary.layers,
		.max_bytes = dimension->max_bytes,
		.live_pages = state->summary.pages,
		.access_count = dimension->access_count};
	strcpy(row->name, state->name);
	strcpy(row->kind, dimension->kind->name);
	strcpy(row->mode, "memory");
	strcpy(row->backing, "file");
	strcpy(row->file, dimension->file);
	memcpy(row->access, dimension->access, sizeof row->access);
	struct pool_region *region = dimension_region(dimension);
	strcpy(row->state, region ? "serving" : "refused");
	if (!region) {
		memcpy(row->reason, dimension->reason, sizeof row->reason);
		return;
	}
	struct pool_region_info info;
	pool_region_info(region, &info);
	row->region_bytes = info.bytes;
	row->allocated_pages = info.used_pages;
	row->free_pages = info.free_pages;
	row->largest_free_pages = info.largest_free_pages;
	row->retired_pages = atomic_load_explicit(&dimension->retired_pages, memory_order_relaxed);
	row->readers = atomic_load_explicit(&dimension->mapped->sessions, memory_order_relaxed);
}

/* The next rows in name order: a small sorted window over an unsorted walk, so that a page of a long
 * list costs one walk and no memory. */
struct page {
	const char *after;
	struct rgm_dimension_row *rows;
	const struct dimension **dimensions;
	const struct dim_state **states;
	size_t count, capacity;
};

static int page_one(void *context, struct dimension *dimension, const struct dim_state *state)
{
	struct page *page = context;
	if (strcmp(state->name, page->after) <= 0)
		return 0;
	if (page->count == page->capacity &&
		strcmp(state->name, page->states[page->count - 1]->name) > 0)
		return 0;
	size_t place = page->count < page->capacity ? page->count++ : page->count - 1;
	for (; place > 0 && strcmp(state->name, page->states[place - 1]->name) < 0; place--) {
		page->states[place] = page->states[place - 1];
		page->dimensions[place] = page->dimensions[place - 1];
	}
	page->states[place] = state;
	page->dimensions[place] = dimension;
	return 0;
}

int info_list(struct rgm_manager *manager, const char *after, struct rgm_dimension_row *rows,
	size_t capacity, size_t *ret_count, struct rgm_error *error)
{
	struct page page = {.after = after, .capacity = capacity};
	page.dimensions = calloc(capacity, sizeof *page.dimensions);
	page.states = calloc(capacity, sizeof *page.states);
	int rc = page.dimensions && page.states ? 0 : -ENOMEM;
	if (rc == 0) {
		urcu_bp_read_lock(); /* nests: the states stay while the rows are filled */
		registry_each(manager, page_one, &page);
		for (size_t i = 0; i < page.count; i++)
			fill_row(page.dimensions[i], page.states[i], &rows[i]);
		urcu_bp_read_unlock();
		*ret_count = page.count;
	}
	free(page.dimensions);
	free(page.states);
	return rc ? pool_fail(error, rc, "list: no memory") : 0;
}

int info_show(struct rgm_manager *manager, const char *name, struct rgm_dimension_row *ret_row,
	struct rgm_error *error)
{
	struct dimension *dimension = dimension_find(manager, name);
	if (!dimension)
		return pool_fail(error, RGM_ENODIM, "there is no dimension '%s'", name);
	struct rgm_dimension_row row;
	urcu_bp_read_lock();
	fill_row(dimension, rcu_dereference(dimension->state), &row);
	urcu_bp_read_unlock();
	row.holds = sessions_holds_on(manager->sessions, dimension->id);
	struct pool_region *region = dimension_region(dimension);
	int rc = 0;
	if (region)
		rc = pool_region_kernel(region, &row.block_bytes, &row.resident_bytes, error);
	dimension_put(dimension);
	if (rc == 0)
		*ret_row = row;
	return rc;
}

/* --- Counters --------------------------------------------------------------------------------- */

static const struct {
	const char *name, *description;
	bool gauge, bytes;
} counters[] = {
#define COUNTER(name, gauge, bytes, description) {#name, description, gauge, bytes},
#include "regionmgr/manager/counters.def"
#undef COUNTER
};

/* Figures that are looked up rather than counted. */
enum figure {
	FIGURE_VERSION,
	FIGURE_DIMENSIONS,
	FIGURE_READERS,
	FIGURE_CLIENTS,
	FIGURE_LOADS,
	FIGURE_CONTENT,
	FIGURE_REGION,
	FIGURE_ALLOCATED,
	FIGURE_RETIRED,
	FIGURE_COUNT
};

static const struct {
	const char *name, *description;
	bool bytes;
} figures[FIGURE_COUNT] = {
	[FIGURE_VERSION] = {"version", "current version", false},
	[FIGURE_DIMENSIONS] = {"dimensions", "dimensions, refused ones included", false},
	[FIGURE_READERS] = {"readers", "sessions attached", false},
	[FIGURE_CLIENTS] = {"clients", "connections open", false},
	[FIGURE_LOADS] = {"loads", "loads under way", false},
	[FIGURE_CONTENT] = {"content_bytes", "content of all dimensions", true},
	[FIGURE_REGION] = {"region_bytes", "size of all region files", true},
	[FIGURE_ALLOCATED] = {"allocated_bytes", "pages in use, retired ones included", true},
	[FIGURE_RETIRED] = {"retired_bytes", "retired, waiting until nobody sees them", true},
};

static uint64_t figure_value(
	struct rgm_manager *manager, const struct rgm_status *status, enum figure figure)
{
	switch (figure) {
	case FIGURE_VERSION:
		return status->version;
	case FIGURE_DIMENSIONS:
		return status->dimensions;
	case FIGURE_READERS:
		return status->readers;
	case FIGURE_CLIENTS:
		return server_clients(manager);
	case FIGURE_LOADS:
		return status->loads;
	case FIGURE_CONTENT:
		return status->content_bytes;
	case FIGURE_REGION:
		return status->region_bytes;
	case FIGURE_ALLOCATED:
		return status->allocated_bytes;
	case FIGURE_RETIRED:
		return status->retired_bytes;
	case FIGURE_COUNT:
		break;
	}
	return 0;
}

size_t info_stats(
	struct rgm_manager *manager, size_t from, struct rgm_counter *rows, size_t capacity)
{
	struct rgm_status status;
	size_t count = 0;
	info_status(manager, &status);
	for (size_t i = from; i < COUNTER_COUNT + FIGURE_COUNT && count < capacity; i++, count++) {
		struct rgm_counter *row = &rows[count];
		*row = (struct rgm_counter){0};
		if (i < FIGURE_COUNT) {
			strcpy(row->name, figures[i].name);
			strcpy(row->description, figures[i].description);
			row->gauge = 1;
			row->bytes = figures[i].bytes;
			row->value = figure_value(manager, &status, (enum figure)i);
		} else {
			size_t counter = i - FIGURE_COUNT;
			strcpy(row->name, counters[counter].name);
			strcpy(row->description, counters[counter].description);
			row->gauge = counters[counter].gauge;
			row->bytes = counters[counter].bytes;
			row->value = atomic_load_explicit(
				&manager->counters[counter], memory_order_relaxed);
		}
	}
	return count;
}

/* --- Check ------------------------------------------------------------------------------------ */

int info_check(struct rgm_manager *manager, const char *name, rgm_progress progress, void *context,
	struct rgm_check_report *ret_report, struct rgm_error *error)
{
	struct dimension *dimension = dimension_find(manager, name);
	if (!dimension)
		return pool_fail(error, RGM_ENODIM, "there is no dimension '%s'", name);
	struct pool_region *region = dimension_region(dimension);
	if (!region) {
		int rc = pool_fail(error, dimension->refused_code, "dimension '%s' is refused: %s",
			name, dimension->reason);
		dimension_put(dimension);
		return rc;
	}
	/* Under the commit lock the version and the root belong together, and no block of it is
	 * retired before the hold stands. */
	struct reclaim_hold hold = {.dimension = dimension->id};
	pthread_mutex_lock(&manager->commit);
	struct pool_root root = dimension->state->root;
	hold.version = table_current(manager->table);
	reclaim_hold_add(manager->reclaim, &hold);
	pthread_mutex_unlock(&manager->commit);
	struct rgm_check_report report = {0};
	int rc = dim_check(region, &root, &dim_unknown, progress, context, &report, error);
	reclaim_hold_remove(manager->reclaim, &hold);
	if (rc == 0 && report.problems)
		rc = pool_fail(
			error, RGM_ECORRUPT, "dimension '%s': %s", name, report.first_problem);
	if (ret_report)
		*ret_report = report;
	dimension_put(dimension);
	return rc;
}
