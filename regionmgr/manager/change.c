/* SPDX-License-Identifier: Apache-2.0 */
/* Create, drop and rename: each prepares everything that can fail, then publishes one version. */
#include "regionmgr/manager/change.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/socket.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/files.h"
#include "regionmgr/manager/sessions.h"

int change_forked(struct rgm_error *error)
{
	return pool_fail(error, RGM_EFORKED,
		"this process is a fork of the manager's: only the original serves");
}

static uint64_t take_id(struct rgm_manager *manager)
{
	pthread_mutex_lock(&manager->commit);
	uint64_t id = manager->next_dimension_id++;
	pthread_mutex_unlock(&manager->commit);
	return id;
}

static int check_options(struct rgm_manager *manager, const struct rgm_create_options *options,
	uint64_t *ret_max_bytes, const struct dim_kind **ret_kind, struct rgm_error *error)
{
	uint64_t most =
		options && options->max_bytes ? options->max_bytes : manager->default_max_bytes;
	if (most > POOL_MAX_REGION_BYTES)
		return pool_fail(error, RGM_ELIMIT,
			"a dimension of up to %" PRIu64 " bytes is beyond the limit of %llu", most,
			POOL_MAX_REGION_BYTES);
	if (options && options->access_count > MANAGER_ACCESS_MAX)
		return pool_fail(error, RGM_ELIMIT,
			"an access list of %zu entries is beyond the limit of %u",
			options->access_count, MANAGER_ACCESS_MAX);
	uint32_t number = options && options->kind ? options->kind : RGM_KIND_LAYERS;
	*ret_kind = dim_kind_by_number(number);
	if (!*ret_kind)
		return pool_fail(error, RGM_EKIND, "there is no kind of dimension %u", number);
	/* The header and at least one extent. */
	uint64_t rounded = (most + POOL_EXTENT_BYTES - 1) / POOL_EXTENT_BYTES * POOL_EXTENT_BYTES;
	*ret_max_bytes = rounded < POOL_HEADER_BYTES + POOL_EXTENT_BYTES
	                         ? POOL_HEADER_BYTES + POOL_EXTENT_BYTES
	                         : rounded;
	return 0;
}

/* The region file, skipping over files that a crash left behind under ids never recorded. */
static int make_region(
	struct rgm_manager *manager, struct dimension *dimension, struct rgm_error *error)
{
	char live[IPC_SHM_NAME_BYTES];
	/* Asked with a descriptor that is the folder's: no file is made only to be removed. */
	int probe = fcntl(manager->folder, F_DUPFD_CLOEXEC, 0);
	if (probe < 0)
		return pool_fail_errno(error, "making a region file");
	int spare = files_check_reserve(probe, FILES_RESERVE_REGION, "another dimension", error);
	close(probe);
	if (spare)
		return spare;
	for (int tries = 0;; tries++) {
		ipc_live_name(manager->instance_id, dimension->id, live);
		struct pool_region_options options = {.id = dimension->id,
			.kind = dimension->kind->number,
			.max_bytes = dimension->max_bytes,
			.instance_id = manager->instance_id,
			.incarnation = manager->incarnation,
			.live_name = live};
		catalog_region_name(dimension->id, dimension->file);
		int rc = pool_region_create(
			manager->folder, dimension->file, &options, &dimension->region, error);
		if (rc == 0)
			files_keep(pool_region_file(dimension->region));
		if (rc != -EEXIST || tries == 16)
			return rc;
		dimension->id = take_id(manager);
	}
}

int change_make(struct rgm_manager *manager, const struct rgm_create_options *options,
	struct dimension **ret_dimension, struct rgm_error *error)
{
	uint64_t max_bytes = 0;
	const struct dim_kind *kind = NULL;
	int rc = check_options(manager, options, &max_bytes, &kind, error);
	if (rc)
		return rc;
	struct dimension *dimension = dimension_create(manager, take_id(manager));
	if (!dimension)
		return pool_fail(error, -ENOMEM, "create: no memory");
	dimension->kind = kind;
	dimension->max_bytes = max_bytes;
	if (options && options->access_count) {
		dimension->access_count = options->access_count;
		memcpy(dimension->access, options->access,
			options->access_count * sizeof options->access[0]);
	}
	rc = make_region(manager, dimension, error);
	if (rc) {
		dimension_put(dimension);
		return rc;
	}
	dimension->state = dim_state_create(dimension, "");
	if (!dimension->state)
		rc = pool_fail(error, -ENOMEM, "create: no memory");
	if (rc == 0)
		rc = pool_region_mark_dirty(dimension->region, error);
	if (rc == 0)
		rc = kind->create(dimension->region, 0, &dimension->state->root, error);
	if (rc == 0)
		rc = kind->open(dimension->region, &dimension->state->root,
			&dimension->state->summary, error);
	if (rc) {
		change_unmake(dimension);
		dimension_put(dimension);
		return rc;
	}
	*ret_dimension = dimension;
	return 0;
}

void change_unmake(struct dimension *dimension)
{
	change_unlink(dimension);
	os_sync_folder(dimension->manager->folder);
}

void change_unlink(const struct dimension *dimension)
{
	char live[IPC_SHM_NAME_BYTES];
	ipc_live_name(dimension->manager->instance_id, dimension->id, live);
	unlinkat(dimension->manager->folder, dimension->file, 0);
	os_shm_unlink(live);
}

void change_entry(const struct dimension *dimension, struct pool_region *region,
	const struct dim_state *state, uint64_t version, struct table_change *ret_change)
{
	struct pool_region_info info;
	pool_region_info(region, &info);
	struct ipc_dimension entry = {.id = dimension->id,
		.kind = dimension->kind->number,
		.name_length = (uint32_t)strlen(state->name),
		.root_offset = state->root.offset,
		.region_bytes = info.bytes,
		.window_bytes = dimension->max_bytes,
		.generation = state->root.generation,
		.changed = version};
	memcpy(entry.name, state->name, entry.name_length);
	*ret_change = (struct table_change){.index = dimension->index, .entry = entry};
}

/* --- Create ----------------------------------------------------------------------------------- */

static int publish_new(struct rgm_manager *manager, struct dimension *dimension, const char *name,
	struct rgm_error *error)
{
	struct dim_state *state = dim_state_create(dimension, name);
	if (!state)
		return pool_fail(error, -ENOMEM, "create of '%s': no memory", name);
	struct table_draft *draft = NULL;
	uint64_t version;
	int rc = table_next_version(manager->table, &version, error);
	if (rc == 0)
		rc = table_free_index(manager->table, &dimension->index, error);
	if (rc == 0) {
		state->root = dimension->state->root;
		state->root.version = version;
		state->root.generation = 1;
		state->summary = dimension->state->summary;
		state->changed_ns = os_realtime_ns();
		struct table_change change;
		change_entry(dimension, dimension->region, state, version, &change);
		rc = table_draft(manager->table, version, &change, 1, &draft, error);
	}
	if (rc == 0)
		rc = catalog_write(manager, CATALOG_RUNNING,
			&(struct catalog_change){.added = dimension, .added_name = name}, error);
	if (rc) {
		table_discard(manager->table, draft);
		free(state);
		return rc;
	}
	registry_add(manager, dimension, state);
	table_publish(manager->table, draft, false);
	pool_region_published(dimension->region);
	return 0;
}

int rgm_manager_create(struct rgm_manager *manager, const char *name,
	const struct rgm_create_options *options, struct rgm_error *error)
{
	struct rgm_create_options own = {.size = sizeof own};
	if (manager_forked(manager, getpid()))
		return change_forked(error);
	int rc = ipc_check_name("dimension", name, error);
	if (rc == 0)
		rc = pool_options(&own, sizeof own, options, error);
	if (rc)
		return rc;
	options = &own;
	struct dimension *dimension = dimension_find(manager, name);
	if (dimension) {
		dimension_put(dimension);
		return pool_fail(error, RGM_EDIMEXIST, "dimension '%s' exists already", name);
	}
	rc = change_make(manager, options, &dimension, error);
	if (rc)
		return rc;
	pthread_mutex_lock(&manager->commit);
	struct dimension *other = dimension_find(manager, name);
	if (manager->stopping)
		rc = pool_fail(error, RGM_EGONE, "the manager is stopping");
	else if (other)
		rc = pool_fail(error, RGM_EDIMEXIST, "dimension '%s' exists already", name);
	else
		rc = publish_new(manager, dimension, name, error);
	pthread_mutex_unlock(&manager->commit);
	dimension_put(other);
	if (rc == 0)
		table_wake(manager->table);
	if (rc)
		change_unmake(dimension);
	else
		manager_log(manager, RGM_LOG_INFO, "create",
			MANAGER_FIELDS({"name", name, 0}, {"id", NULL, dimension->id}),
			"dimension '%s' created", name);
	dimension_put(dimension);
	return rc;
}

/* --- Drop ------------------------------------------------------------------------------------- */

static void report(struct rgm_manager *manager, const struct dimension *dimension,
	struct rgm_drop_report *ret_report)
{
	urcu_bp_read_lock();
	struct dim_state *state = rcu_dereference(dimension->state);
	*ret_report = (struct rgm_drop_report){
		.bytes = state->summary.bytes, .layers = state->summary.layers};
	urcu_bp_read_unlock();
	ret_report->readers =
		atomic_load_explicit(&dimension->mapped->sessions, memory_order_relaxed);
	ret_report->holds = sessions_holds_on(manager->sessions, dimension->id);
}

/* Under commit. A refused dimension is in the catalog and the registry, but not in the table. */
static int drop(struct rgm_manager *manager, struct dimension *dimension, struct rgm_error *error)
{
	struct table_draft *draft = NULL;
	bool served = dimension->region != NULL;
	if (served) {
		uint64_t version;
		struct table_change change = {.index = dimension->index};
		int rc = table_next_version(manager->table, &version, error);
		if (rc == 0)
			rc = table_draft(manager->table, version, &change, 1, &draft, error);
		if (rc)
			return rc;
	}
	int rc = catalog_write(
		manager, CATALOG_RUNNING, &(struct catalog_change){.removed = dimension}, error);
	if (rc) {
		table_discard(manager->table, draft);
		return rc;
	}
	registry_remove(dimension);
	if (served)
		table_publish(manager->table, draft, true);
	change_unlink(dimension);
	return 0;
}

int rgm_manager_drop(struct rgm_manager *manager, const char *name, bool dry_run,
	struct rgm_drop_report *ret_report, struct rgm_error *error)
{
	if (manager_forked(manager, getpid()))
		return change_forked(error);
	int rc = ipc_check_name("dimension", name, error);
	if (rc)
		return rc;
	struct dimension *dimension = dimension_find(manager, name);
	if (!dimension)
		return pool_fail(error, RGM_ENODIM, "there is no dimension '%s'", name);
	struct rgm_drop_report told;
	report(manager, dimension, &told);
	if (!dry_run) {
		pthread_mutex_lock(&manager->commit);
		if (manager->stopping)
			rc = pool_fail(error, RGM_EGONE, "the manager is stopping");
		else if (dimension->dropped)
			rc = pool_fail(error, RGM_ENODIM, "there is no dimension '%s'", name);
		else
			rc = drop(manager, dimension, error);
		pthread_mutex_unlock(&manager->commit);
		if (rc == 0)
			table_wake(manager->table);
		if (rc == 0)
			manager_log(manager, RGM_LOG_INFO, "drop",
				MANAGER_FIELDS({"name", name, 0}, {"bytes", NULL, told.bytes}),
				"dimension '%s' dropped, %" PRIu64 " bytes", name, told.bytes);
	}
	dimension_put(dimension);
	if (rc == 0 && ret_report)
		*ret_report = told;
	return rc;
}

/* --- Rename ----------------------------------------------------------------------------------- */

/* Under commit. */
static int rename_to(struct rgm_manager *manager, struct dimension *dimension, const char *to,
	struct rgm_error *error)
{
	struct dim_state *state = dim_state_create(dimension, to);
	struct table_draft *draft = NULL;
	uint64_t version = 0;
	bool served = dimension->region != NULL;
	int rc = 0;
	if (!state)
		return pool_fail(error, -ENOMEM, "rename to '%s': no memory", to);
	state->root = dimension->state->root;
	state->summary = dimension->state->summary;
	state->changed_ns = dimension->state->changed_ns;
	if (served) {
		rc = table_next_version(manager->table, &version, error);
		if (rc == 0) {
			struct table_change change;
			change_entry(
				dimension, dimension->region, state, state->root.version, &change);
			rc = table_draft(manager->table, version, &change, 1, &draft, error);
		}
	}
	if (rc == 0)
		rc = catalog_write(manager, CATALOG_RUNNING,
			&(struct catalog_change){.added = dimension, .added_name = to}, error);
	if (rc) {
		table_discard(manager->table, draft);
		free(state);
		return rc;
	}
	registry_update(dimension, state);
	if (served)
		table_publish(manager->table, draft, false);
	return 0;
}

int rgm_manager_rename(
	struct rgm_manager *manager, const char *from, const char *to, struct rgm_error *error)
{
	if (manager_forked(manager, getpid()))
		return change_forked(error);
	int rc = ipc_check_name("dimension", from, error);
	if (rc == 0)
		rc = ipc_check_name("dimension", to, error);
	if (rc)
		return rc;
	pthread_mutex_lock(&manager->commit);
	struct dimension *dimension = dimension_find(manager, from);
	struct dimension *other = dimension_find(manager, to);
	if (manager->stopping)
		rc = pool_fail(error, RGM_EGONE, "the manager is stopping");
	else if (!dimension)
		rc = pool_fail(error, RGM_ENODIM, "there is no dimension '%s'", from);
	else if (other && other != dimension)
		rc = pool_fail(error, RGM_EDIMEXIST, "dimension '%s' exists already", to);
	else if (!other)
		rc = rename_to(manager, dimension, to, error);
	pthread_mutex_unlock(&manager->commit);
	if (rc == 0)
		table_wake(manager->table);
	if (rc == 0)
		manager_log(manager, RGM_LOG_INFO, "rename",
			MANAGER_FIELDS({"from", from, 0}, {"to", to, 0}),
			"dimension '%s' renamed to '%s'", from, to);
	dimension_put(dimension);
	dimension_put(other);
	return rc;
}
