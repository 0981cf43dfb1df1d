/* SPDX-License-Identifier: Apache-2.0 */
/* All dimensions at once: at the manager's start and at its end. See open.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/socket.h"
#include "pool/error.h"
#include "regionmgr/manager/change.h"
#include "regionmgr/manager/files.h"
#include "regionmgr/manager/open.h"

static struct pool_region_options options_of(
	const struct dimension *dimension, const char live[IPC_SHM_NAME_BYTES])
{
	const struct rgm_manager *manager = dimension->manager;
	return (struct pool_region_options){.id = dimension->id,
		.kind = dimension->kind->number,
		.max_bytes = dimension->max_bytes,
		.instance_id = manager->instance_id,
		.incarnation = manager->incarnation,
		.live_name = live};
}

int dimension_open_clean(struct dimension *dimension, struct pool_region **ret_region,
	struct dim_state *state, struct rgm_error *error)
{
	char live[IPC_SHM_NAME_BYTES];
	ipc_live_name(dimension->manager->instance_id, dimension->id, live);
	struct pool_region_options options = options_of(dimension, live);
	struct pool_region *region;
	int rc = pool_region_open(
		dimension->manager->folder, dimension->file, &options, &region, error);
	if (rc)
		return rc;
	struct pool_region_info info;
	pool_region_info(region, &info);
	rc = files_check_reserve(
		pool_region_file(region), FILES_RESERVE_REGION, "serving it", error);
	if (rc == 0)
		rc = dimension->kind->open(region, &info.root, &state->summary, error);
	if (rc) {
		pool_region_close(region);
		return rc;
	}
	state->root = info.root;
	*ret_region = region;
	return 0;
}

int dimension_open_live(struct dimension *dimension, struct pool_region **ret_region,
	bool *ret_published, struct rgm_error *error)
{
	char live[IPC_SHM_NAME_BYTES];
	ipc_live_name(dimension->manager->instance_id, dimension->id, live);
	struct pool_region_options options = options_of(dimension, live);
	return pool_region_take_over(dimension->manager->folder, dimension->file, &options,
		ret_region, ret_published, error);
}

void dimension_serve(struct dimension *dimension, struct pool_region *region)
{
	files_keep(pool_region_file(region));
	dimension->refused_code = 0;
	__atomic_store_n(&dimension->region, region, __ATOMIC_RELEASE);
}

void dimension_refuse(
	struct dimension *dimension, const char *name, int code, const struct rgm_error *why)
{
	dimension->refused_code = code;
	snprintf(dimension->reason, sizeof dimension->reason, "%.*s",
		(int)sizeof dimension->reason - 1, why->message);
	manager_log(dimension->manager, RGM_LOG_WARNING, "refused",
		MANAGER_FIELDS({"name", name, 0}, {"file", dimension->file, 0},
			{"reason", why->message, 0}),
		"dimension '%s' is not served: %s", name, why->message);
}

struct dimension *dimension_from_record(
	struct rgm_manager *manager, const struct catalog_record *record)
{
	struct dimension *dimension = dimension_create(manager, record->id);
	if (!dimension)
		return NULL;
	dimension->kind = dim_kind_by_number(record->kind);
	dimension->max_bytes = record->max_bytes;
	dimension->access_count = record->access_count;
	memcpy(dimension->access, record->access, sizeof dimension->access);
	catalog_region_name(record->id, dimension->file);
	return dimension;
}

static int open_one(struct rgm_manager *manager, const struct catalog_record *record)
{
	struct dimension *dimension = dimension_from_record(manager, record);
	if (!dimension)
		return -ENOMEM;
	char name[RGM_NAME_MAX + 1] = {0};
	memcpy(name, record->name, record->name_length);
	struct dim_state *state = dim_state_create(dimension, name);
	if (!state) {
		dimension_put(dimension);
		return -ENOMEM;
	}
	struct rgm_error why;
	struct pool_region *region = NULL;
	int rc = dimension_open_clean(dimension, &region, state, &why);
	if (rc) {
		dimension_refuse(dimension, name, rc, &why);
	} else {
		dimension_serve(dimension, region);
		if (state->root.version > manager->start_version)
			manager->start_version = state->root.version;
	}
	registry_add(manager, dimension, state);
	dimension_put(dimension);
	return 0;
}

int dimensions_open(
	struct rgm_manager *manager, const struct catalog *catalog, struct rgm_error *error)
{
	if (catalog->header.count > manager->max_dimensions)
		return pool_fail(error, RGM_ELIMIT,
			"the instance has %u dimensions, more than its limit of %u "
			"(max_dimensions)",
			catalog->header.count, manager->max_dimensions);
	for (uint32_t i = 0; i < catalog->header.count; i++) {
		int rc = open_one(manager, &catalog->records[i]);
		if (rc)
			return pool_fail(error, rc, "opening the dimensions: %s", strerror(-rc));
	}
	return 0;
}

/* --- Publishing ------------------------------------------------------------------------------- */

struct gather {
	struct dimension **dimensions;
	size_t count, capacity;
	bool (*wanted)(const struct dimension *dimension);
};

static int gather_one(void *context, struct dimension *dimension, const struct dim_state *state)
{
	struct gather *gather = context;
	(void)state;
	if (gather->wanted && !gather->wanted(dimension))
		return 0;
	if (gather->count == gather->capacity)
		return -ENOMEM;
	dimension_get(dimension);
	gather->dimensions[gather->count++] = dimension;
	return 0;
}

/* References to the dimensions of a sort. The array is freed by let_go(). */
static int gather_all(struct rgm_manager *manager, struct gather *gather,
	bool (*wanted)(const struct dimension *dimension))
{
	*gather = (struct gather){.capacity = manager->max_dimensions + 1u, .wanted = wanted};
	gather->dimensions = calloc(gather->capacity, sizeof *gather->dimensions);
	return gather->dimensions ? registry_each(manager, gather_one, gather) : -ENOMEM;
}

static void let_go(struct gather *gather)
{
	for (size_t i = 0; i < gather->count; i++)
		dimension_put(gather->dimensions[i]);
	free(gather->dimensions);
}

static bool is_served(const struct dimension *dimension)
{
	return dimension->region != NULL;
}

static bool is_in_use(const struct dimension *dimension)
{
	return dimension->region == NULL && dimension->refused_code == RGM_EINUSE;
}

/* Publish the served ones in one version, before anybody else is there. */
static int publish(struct rgm_manager *manager, struct dimension **dimensions, size_t count,
	struct rgm_error *error)
{
	struct table_change *changes = calloc(count + 1, sizeof *changes);
	if (!changes)
		return pool_fail(error, -ENOMEM, "publishing %zu dimensions: no memory", count);
	for (size_t i = 0; i < count; i++) {
		const struct dim_state *dim_state = dimensions[i]->state;
		dimensions[i]->index = (uint32_t)i;
		change_entry(dimensions[i], dimensions[i]->region, dim_state,
			dim_state->root.version, &changes[i]);
	}
	struct table_draft *draft;
	uint64_t version;
	int rc = table_next_version(manager->table, &version, error);
	if (rc == 0)
		rc = table_draft(manager->table, version, changes, count, &draft, error);
	if (rc == 0) {
		table_publish(manager->table, draft, false);
		table_wake(manager->table);
	}
	free(changes);
	return rc;
}

int dimensions_publish(struct rgm_manager *manager, struct rgm_error *error)
{
	struct gather served;
	int rc = gather_all(manager, &served, is_served);
	if (rc)
		rc = pool_fail(error, rc, "publishing the dimensions: %s", strerror(-rc));
	if (rc == 0 && served.count)
		rc = publish(manager, served.dimensions, served.count, error);
	let_go(&served);
	return rc;
}

int dimensions_count_waiting(struct rgm_manager *manager, struct rgm_error *error)
{
	struct gather in_use;
	int rc = gather_all(manager, &in_use, is_in_use);
	if (rc)
		rc = pool_fail(error, rc, "opening the dimensions: %s", strerror(-rc));
	atomic_store_explicit(&manager->in_use, in_use.count, memory_order_relaxed);
	/* Its thread sleeps until there is something to do. */
	if (in_use.count)
		reclaim_wake(manager->reclaim);
	let_go(&in_use);
	return rc;
}

/* Everything that can fail first: until it is published nobody finds the region. */
static int draft_again(struct dimension *dimension, struct pool_region **ret_region,
	struct dim_state *state, struct table_draft **ret_draft)
{
	struct rgm_manager *manager = dimension->manager;
	struct table_change change;
	uint64_t version;
	int rc = dimension_open_clean(dimension, ret_region, state, NULL);
	if (rc)
		return rc;
	rc = table_free_index(manager->table, &dimension->index, NULL);
	if (rc == 0)
		rc = table_next_version(manager->table, &version, NULL);
	if (rc == 0) {
		change_entry(dimension, *ret_region, state, state->root.version, &change);
		rc = table_draft(manager->table, version, &change, 1, ret_draft, NULL);
	}
	if (rc)
		pool_region_close(*ret_region);
	return rc;
}

static bool retry_one(struct rgm_manager *manager, struct dimension *dimension)
{
	struct pool_region *region = NULL;
	struct table_draft *draft = NULL;
	struct dim_state *state = dim_state_create(dimension, dimension->state->name);
	if (!state || draft_again(dimension, &region, state, &draft)) {
		free(state);
		return false;
	}
	registry_update(dimension, state);
	dimension_serve(dimension, region);
	table_publish(manager->table, draft, false);
	manager_log(manager, RGM_LOG_INFO, "served", MANAGER_FIELDS({"name", state->name, 0}),
		"dimension '%s' is served: the readers of the earlier manager are gone",
		state->name);
	return true;
}

void dimensions_retry(struct rgm_manager *manager)
{
	struct gather waiting = {0};
	size_t left = 0;
	pthread_mutex_lock(&manager->commit);
	if (!manager->stopping) {
		if (gather_all(manager, &waiting, is_in_use))
			left = 1; /* no memory now: look again */
		for (size_t i = 0; i < waiting.count; i++)
			left += !retry_one(manager, waiting.dimensions[i]);
		let_go(&waiting);
	}
	atomic_store_explicit(&manager->in_use, left, memory_order_relaxed);
	pthread_mutex_unlock(&manager->commit);
	table_wake(manager->table);
}

/* --- The end ---------------------------------------------------------------------------------- */

/* Could it ever be served again? A load that a crash interrupted leaves a dirty file, or an empty one;
 * anything else was somebody's data, whatever became of the catalog. */
static bool is_worthless(const struct rgm_manager *manager, const char *file)
{
	char path[sizeof manager->folder_path + 64];
	struct pool_region *region;
	struct pool_region_info info;
	snprintf(path, sizeof path, "%s/%s", manager->folder_path, file);
	if (pool_region_open_check(path, &region, NULL))
		return false;
	pool_region_info(region, &info);
	pool_region_close(region);
	return info.dirty || info.root.offset == 0;
}

static void look_at_orphan(struct rgm_manager *manager, const char *file)
{
	if (!is_worthless(manager, file)) {
		manager_log(manager, RGM_LOG_WARNING, "orphan", MANAGER_FIELDS({"file", file, 0}),
			"region file '%s' belongs to no dimension of the catalog: it is left alone",
			file);
	} else if (unlinkat(manager->folder, file, 0) == 0) {
		manager_log(manager, RGM_LOG_INFO, "orphan", MANAGER_FIELDS({"file", file, 0}),
			"region file '%s' of an unfinished load removed", file);
	}
}

size_t dimensions_look_at_orphans(struct rgm_manager *manager, bool count_only)
{
	size_t count = 0;
	int copy = openat(manager->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = copy < 0 ? NULL : fdopendir(copy);
	if (!folder) {
		if (copy >= 0)
			close(copy);
		return 0;
	}
	for (struct dirent *entry; (entry = readdir(folder));) {
		uint64_t id = catalog_region_id(entry->d_name);
		struct dimension *owner = id && !count_only ? dimension_find_id(manager, id) : NULL;
		count += id != 0 && !owner;
		if (id && !owner && !count_only)
			look_at_orphan(manager, entry->d_name);
		dimension_put(owner);
	}
	closedir(folder);
	return count;
}

int dimensions_close(struct rgm_manager *manager, struct rgm_error *error)
{
	struct gather served;
	int rc = gather_all(manager, &served, is_served);
	if (rc) {
		let_go(&served);
		return pool_fail(error, rc, "closing the dimensions: %s", strerror(-rc));
	}
	/* Blocks that readers may still see are freed for the next run; nothing is written over them in
	 * this one, since the allocation maps have pages of their own. What a manager needs that takes over
	 * after a death on the way stays as it is. */
	for (size_t i = 0; i < served.count; i++)
		pool_region_leave_live(served.dimensions[i]->region);
	reclaim_release_all(manager->reclaim);
	for (size_t i = 0; i < served.count; i++) {
		struct dimension *dimension = served.dimensions[i];
		struct rgm_error why;
		files_forget(pool_region_file(dimension->region));
		int failed =
			pool_region_close_clean(dimension->region, &dimension->state->root, &why);
		dimension->region = NULL;
		if (failed) {
			manager_log(manager, RGM_LOG_ERROR, "close",
				MANAGER_FIELDS({"name", dimension->state->name, 0}),
				"dimension '%s' was not saved: %s", dimension->state->name,
				why.message);
			if (rc == 0)
				rc = pool_fail(error, failed, "dimension '%s' was not saved: %s",
					dimension->state->name, why.message);
		}
	}
	let_go(&served);
	return rc;
}
