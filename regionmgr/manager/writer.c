/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A change of one layers dimension: content is written without a lock while others work, the directory
 * and the version are made under the commit lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dimensions/layers.h"
#include "ipc/socket.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/change.h"

struct rgm_writer {
	struct rgm_manager *manager;
	struct dimension *dimension; /* a reference; registered, or made by this writer */
	bool creates;                /* the dimension appears with the commit, */
	struct dimension *replaces;  /*   in place of this refused one; a reference, or NULL */
	char name[RGM_NAME_MAX + 1];
	struct layers_change *change;
};

static void writer_free(struct rgm_writer *writer, bool published)
{
	if (writer->change && published)
		layers_change_published(writer->change);
	else
		layers_change_abort(writer->change);
	if (writer->creates && !published)
		change_unmake(writer->dimension);
	dimension_put(writer->dimension);
	dimension_put(writer->replaces);
	if (!published)
		manager_count(writer->manager, COUNTER_loads_aborted, 1);
	atomic_fetch_sub_explicit(&writer->manager->loads, 1, memory_order_relaxed);
	free(writer);
}

/* A new dimension in place of a refused one, of whose content nothing is kept: with its maximum and its
 * access list, where no others are asked for. */
static int make_in_place(struct rgm_writer *writer, const struct rgm_create_options *options,
	struct rgm_error *error)
{
	struct rgm_create_options own = *options;
	writer->replaces = writer->dimension;
	writer->dimension = NULL;
	if (own.max_bytes == 0)
		own.max_bytes = writer->replaces->max_bytes;
	if (own.access_count == 0) {
		own.access = writer->replaces->access;
		own.access_count = writer->replaces->access_count;
	}
	writer->creates = true;
	return change_make(writer->manager, &own, &writer->dimension, error);
}

/* Find the dimension, or make one that nobody sees yet. */
static int find_or_make(
	struct rgm_writer *writer, const struct rgm_load_options *options, struct rgm_error *error)
{
	struct rgm_manager *manager = writer->manager;
	writer->dimension = dimension_find(manager, writer->name);
	if (writer->dimension && (options->flags & RGM_LOAD_CREATE) &&
		(options->flags & RGM_LOAD_EXCLUSIVE))
		return pool_fail(
			error, RGM_EDIMEXIST, "dimension '%s' exists already", writer->name);
	if (writer->dimension) {
		if (writer->dimension->kind != &dim_layers)
			return pool_fail(error, RGM_EKIND,
				"dimension '%s' is of kind %s, not layers", writer->name,
				writer->dimension->kind->name);
		if (dimension_region(writer->dimension))
			return 0;
		const uint32_t anew = RGM_LOAD_CREATE | RGM_LOAD_REPLACE;
		if ((options->flags & anew) != anew) {
			int rc = pool_fail(error, writer->dimension->refused_code,
				"dimension '%s' is refused: %s", writer->name,
				writer->dimension->reason);
			pool_hint(error, "load it anew, or drop it");
			return rc;
		}
		return make_in_place(writer, &options->create, error);
	}
	if (!(options->flags & RGM_LOAD_CREATE))
		return pool_fail(error, RGM_ENODIM, "there is no dimension '%s'", writer->name);
	writer->creates = true;
	return change_make(manager, &options->create, &writer->dimension, error);
}

int rgm_writer_begin(struct rgm_manager *manager, const char *name,
	const struct rgm_load_options *options, struct rgm_writer **ret_writer,
	struct rgm_error *error)
{
	struct rgm_load_options own = {.size = sizeof own};
	if (manager_forked(manager, getpid()))
		return change_forked(error);
	int rc = ipc_check_name("dimension", name, error);
	if (rc == 0)
		rc = pool_options(&own, sizeof own, options, error);
	if (rc)
		return rc;
	options = &own;
	if (atomic_fetch_add_explicit(&manager->loads, 1, memory_order_relaxed) >=
		manager->max_loads) {
		atomic_fetch_sub_explicit(&manager->loads, 1, memory_order_relaxed);
		return pool_fail(error, RGM_EBUSY,
			"the instance has its limit of %u loads under way (max_loads)",
			manager->max_loads);
	}
	struct rgm_writer *writer = calloc(1, sizeof *writer);
	if (!writer) {
		atomic_fetch_sub_explicit(&manager->loads, 1, memory_order_relaxed);
		return pool_fail(error, -ENOMEM, "load of '%s': no memory", name);
	}
	writer->manager = manager;
	memcpy(writer->name, name, strlen(name));
	rc = find_or_make(writer, options, error);
	if (rc == 0)
		rc = pool_region_mark_dirty(writer->dimension->region, error);
	if (rc == 0)
		rc = layers_change_begin(writer->dimension->region, options->expected_bytes,
			options->flags & RGM_LOAD_REPLACE, &writer->change, error);
	if (rc) {
		if (!writer->dimension)
			writer->creates = false;
		writer_free(writer, false);
		return rc;
	}
	*ret_writer = writer;
	return 0;
}

static uint64_t time_of(const struct rgm_layer_options *options)
{
	return options && options->time_ns ? options->time_ns : os_realtime_ns();
}

static const char *media_of(const struct rgm_layer_options *options)
{
	return options ? options->media_type : NULL;
}

int rgm_writer_put(struct rgm_writer *writer, const char *layer, const void *data,
	size_t data_bytes, const struct rgm_layer_options *options, struct rgm_error *error)
{
	return layers_change_put(writer->change, layer, data, data_bytes, time_of(options),
		media_of(options), error);
}

int rgm_writer_put_file(struct rgm_writer *writer, const char *layer, int file,
	const struct rgm_layer_options *options, struct rgm_error *error)
{
	/* 0: the file's own modification time. */
	return layers_change_put_file(writer->change, layer, file, options ? options->time_ns : 0,
		media_of(options), error);
}

int rgm_writer_stream_begin(struct rgm_writer *writer, const char *layer,
	const struct rgm_layer_options *options, struct rgm_error *error)
{
	return layers_change_stream_begin(
		writer->change, layer, time_of(options), media_of(options), error);
}

int rgm_writer_stream_append(
	struct rgm_writer *writer, const void *data, size_t data_bytes, struct rgm_error *error)
{
	return layers_change_stream_append(writer->change, data, data_bytes, error);
}

int rgm_writer_stream_end(struct rgm_writer *writer, struct rgm_error *error)
{
	return layers_change_stream_end(writer->change, error);
}

int rgm_writer_remove(struct rgm_writer *writer, const char *layer, struct rgm_error *error)
{
	return layers_change_remove(writer->change, layer, error);
}

void rgm_writer_abort(struct rgm_writer *writer)
{
	if (writer)
		writer_free(writer, false);
}

/* --- Commit ----------------------------------------------------------------------------------- */

/* What a commit prepares, each step able to fail, before the one that cannot. */
struct commit {
	uint64_t version;
	struct pool_root root;
	struct dim_summary summary;
	struct dim_blocks blocks;
	struct rgm_load_report report;
	struct dim_state *state;
	struct retired *retired;
	struct table_draft *draft;
};

/* The dimension as it is now, under the commit lock: the one that was found, unless it is gone. */
static int still_there(struct rgm_writer *writer, struct rgm_error *error)
{
	if (writer->manager->stopping)
		return pool_fail(error, RGM_EGONE, "the manager is stopping");
	if (!writer->creates && writer->dimension->dropped)
		return pool_fail(error, RGM_ENODIM, "dimension '%s' was dropped during the load",
			writer->name);
	if (writer->creates) {
		struct dimension *other = dimension_find(writer->manager, writer->name);
		dimension_put(other);
		if (other && (other != writer->replaces || dimension_region(other)))
			return pool_fail(error, RGM_EBUSY,
				"dimension '%s' was created during the load", writer->name);
	}
	return 0;
}

/* The catalog, where it has to know of this commit. */
static int record(struct rgm_writer *writer, uint64_t version, struct rgm_error *error)
{
	struct rgm_manager *manager = writer->manager;
	struct catalog_change change = {.removed = writer->replaces};
	if (writer->creates) {
		change.added = writer->dimension;
		change.added_name = writer->name;
	} else if (version - manager->catalog_version < CATALOG_VERSION_JUMP / 2) {
		return 0;
	}
	/* Not in the making, then: if this manager dies before the version is current, the name stays, refused
	 * as it was. */
	if (writer->replaces)
		pool_region_published(writer->dimension->region);
	return catalog_write(manager, CATALOG_RUNNING, &change, error);
}

static int prepare(struct rgm_writer *writer, struct commit *commit, struct rgm_error *error)
{
	struct rgm_manager *manager = writer->manager;
	struct dimension *dimension = writer->dimension;
	const struct pool_root *root = &dimension->state->root;
	int rc = table_next_version(manager->table, &commit->version, error);
	if (rc == 0)
		rc = layers_change_build(writer->change, root, commit->version, &commit->root,
			&commit->summary, &commit->blocks, &commit->report, error);
	if (rc)
		return rc;
	commit->root.version = commit->version;
	commit->root.generation = writer->creates ? 1 : root->generation + 1;
	/* It may have been renamed since the load began. */
	const char *name = writer->creates ? writer->name : dimension->state->name;
	commit->state = dim_state_create(dimension, name);
	commit->retired = retired_create(RETIRED_BLOCKS, dimension, commit->blocks.count);
	if (!commit->state || !commit->retired)
		return pool_fail(error, -ENOMEM, "commit of '%s': no memory", name);
	/* Of a dimension that appears with this version nobody sees what was there before. */
	for (size_t i = 0; i < commit->blocks.count; i++)
		retired_add(commit->retired, commit->blocks.items[i].page,
			commit->blocks.items[i].count,
			writer->creates ? commit->version : commit->blocks.items[i].born);
	commit->state->root = commit->root;
	commit->state->summary = commit->summary;
	commit->state->changed_ns = os_realtime_ns();
	if (writer->creates) {
		rc = table_free_index(manager->table, &dimension->index, error);
		if (rc)
			return rc;
	}
	struct table_change change;
	change_entry(dimension, dimension->region, commit->state, commit->version, &change);
	rc = table_draft(manager->table, commit->version, &change, 1, &commit->draft, error);
	if (rc == 0)
		rc = record(writer, commit->version, error);
	return rc;
}

int rgm_writer_commit(
	struct rgm_writer *writer, struct rgm_load_report *ret_report, struct rgm_error *error)
{
	struct rgm_manager *manager = writer->manager;
	struct commit commit = {0};
	int rc = layers_change_flush(writer->change, error);
	if (rc) {
		writer_free(writer, false);
		return rc;
	}
	pthread_mutex_lock(&manager->commit);
	rc = still_there(writer, error);
	if (rc == 0)
		rc = prepare(writer, &commit, error);
	if (rc == 0) {
		if (writer->replaces && !writer->replaces->dropped) {
			registry_remove(writer->replaces);
			change_unlink(writer->replaces);
		}
		if (writer->creates)
			registry_add(manager, writer->dimension, commit.state);
		else
			registry_update(writer->dimension, commit.state);
		table_publish(manager->table, commit.draft, false);
		if (writer->creates)
			pool_region_published(writer->dimension->region);
		reclaim_push(manager->reclaim, commit.retired, commit.version);
	}
	pthread_mutex_unlock(&manager->commit);
	dim_blocks_free(&commit.blocks);
	if (rc) {
		table_discard(manager->table, commit.draft);
		retired_free(commit.retired);
		free(commit.state);
		writer_free(writer, false);
		return rc;
	}
	commit.report.version = commit.version;
	manager_count(manager, COUNTER_layers_put, commit.report.layers_put);
	manager_count(manager, COUNTER_layers_removed, commit.report.layers_removed);
	manager_count(manager, COUNTER_bytes_put, commit.report.bytes);
	manager_log(manager, RGM_LOG_INFO, "commit",
		MANAGER_FIELDS({"name", writer->name, 0}, {"version", NULL, commit.version},
			{"layers", NULL, commit.report.layers_put},
			{"removed", NULL, commit.report.layers_removed},
			{"bytes", NULL, commit.report.bytes}),
		"'%s' changed: %lu layers put, %lu removed, %lu bytes, version %lu", writer->name,
		commit.report.layers_put, commit.report.layers_removed, commit.report.bytes,
		commit.version);
	if (ret_report)
		*ret_report = commit.report;
	writer_free(writer, true);
	table_wake(manager->table);
	return 0;
}
