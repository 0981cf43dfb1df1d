/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/manager/takeover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/socket.h"
#include "pool/bitmap.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/change.h"
#include "regionmgr/manager/open.h"
#include "regionmgr/manager/sessions.h"

/* --- Table, sessions ------------------------------------------------------------------- */

/* Says nothing about what was left: another start, with more of it, may go on. So does somebody else's lock,
 * as a check of a region has it. */
static bool is_scarcity(int rc)
{
	return rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE || rc == -EAGAIN || rc == -ENOSPC ||
	       rc == -EDQUOT || rc == RGM_ELIMIT || rc == RGM_EINUSE;
}

static void tell_kept(
	struct rgm_manager *manager, const char *option, uint32_t asked, uint32_t kept)
{
	if (asked == kept)
		return;
	manager_log(manager, RGM_LOG_WARNING, "takeover",
		MANAGER_FIELDS({"option", option, 0}, {"asked", NULL, asked}, {"kept", NULL, kept}),
		"%s stays %u, as the readers know it, until a clean stop; %u was asked for", option,
		kept, asked);
}

/* What readers rely on stays as the table says: how many there may be, and who issues the barrier. */
static void take_properties(struct rgm_manager *manager)
{
	const struct ipc_table *header = table_header(manager->table);
	tell_kept(manager, "max_dimensions", manager->max_dimensions, header->max_dimensions);
	tell_kept(manager, "max_readers", manager->max_readers, header->places);
	manager->max_dimensions = header->max_dimensions;
	manager->max_readers = header->places;
	manager->membarrier = header->flags & IPC_TABLE_MEMBARRIER;
	memcpy(manager->incarnation, header->incarnation, sizeof manager->incarnation);
}

int takeover_begin(struct rgm_manager *manager, struct rgm_error *error)
{
	const struct rgm_manager before = *manager;
	struct rgm_error why;
	manager->leave_names = true;
	int rc = table_adopt(manager, &manager->table, &why);
	if (rc == 0) {
		take_properties(manager);
		rc = sessions_adopt(manager, &manager->sessions, &why);
		if (rc == 0)
			return 1;
		table_destroy(manager->table);
		manager->table = NULL;
	}
	if (is_scarcity(rc)) {
		if (error)
			*error = why;
		return rc;
	}
	if (rc != -ENOENT)
		manager_log(manager, RGM_LOG_WARNING, "takeover",
			MANAGER_FIELDS({"reason", why.message, 0}),
			"what the last manager left in shared memory cannot be taken over: %s",
			why.message);
	manager->max_dimensions = before.max_dimensions;
	manager->max_readers = before.max_readers;
	manager->membarrier = before.membarrier;
	memcpy(manager->incarnation, before.incarnation, sizeof manager->incarnation);
	manager->leave_names = false;
	takeover_remove_names(manager);
	return 0;
}

/* --- Dimensions ------------------------------------------------------------------------------- */

struct takeover {
	struct rgm_manager *manager;
	const struct catalog *catalog;
	struct table_change *changes; /* of the version to be published */
	size_t change_count;
	struct retired **unknown; /* batches, of dimensions and of the table */
	size_t unknown_count;
	struct dimension **unmade; /* in the making; with a reference each */
	size_t unmade_count;
	bool *in_catalog;     /* by table index: it is some record's */
	bool dropped;         /* a dimension is gone in that version */
	bool catalog_changes; /* a record is not true any more */
	size_t served;
};

/* The table's entry of an id, and its index; NULL: it was never published. */
static const struct ipc_dimension *find_entry(
	const struct takeover *takeover, uint64_t id, uint32_t *ret_index)
{
	const struct ipc_dimension *entry;
	for (uint32_t i = 0; (entry = table_entry(takeover->manager->table, i)); i++) {
		if (entry->id == id) {
			*ret_index = i;
			return entry;
		}
	}
	return NULL;
}

/* Bits set in `bits` of the pages that are allocated. */
static uint64_t count_allocated(struct pool_region *region, const uint64_t *bits)
{
	uint64_t cursor = 0, page, count, found = 0;
	while (pool_region_next_used(region, &cursor, &page, &count)) {
		for (uint64_t end = page + count; page < end;) {
			uint64_t word = page / BITMAP_WORD_BITS;
			found += (uint64_t)__builtin_popcountll(
				bits[word] & bitmap_mask(word, page, end));
			page = (word + 1) * BITMAP_WORD_BITS;
		}
	}
	return found;
}

/* The pages that a root reaches, as bits, and its summary; RGM_ECORRUPT if one of them is not allocated. */
static int reached_bits(const struct dimension *dimension, struct pool_region *region,
	const struct pool_root *root, struct dim_summary *ret_summary, uint64_t **ret_bits,
	struct rgm_error *error)
{
	struct pool_region_info info;
	struct dim_blocks reached = {0};
	uint64_t wanted = 0, found;
	pool_region_info(region, &info);
	uint64_t pages = info.bytes / POOL_PAGE_BYTES;
	uint64_t *bits = calloc(pages / BITMAP_WORD_BITS + 1, sizeof *bits);
	int rc = bits ? dimension->kind->reach(region, root, &reached, ret_summary, error)
	              : pool_fail(error, -ENOMEM, "taking over '%s': no memory", dimension->file);
	/* The kind has verified that blocks lie inside; of blocks that overlap fewer bits are found. */
	for (size_t i = 0; rc == 0 && i < reached.count; i++) {
		bitmap_set(bits, reached.items[i].page,
			reached.items[i].page + reached.items[i].count);
		wanted += reached.items[i].count;
	}
	found = rc == 0 ? count_allocated(region, bits) : 0;
	if (rc == 0 && found != wanted)
		rc = pool_fail(error, RGM_ECORRUPT,
			"region file '%s': %" PRIu64 " of %" PRIu64
			" pages that are reached are not allocated",
			dimension->file, wanted - found, wanted);
	dim_blocks_free(&reached);
	if (rc)
		free(bits);
	else
		*ret_bits = bits;
	return rc;
}

/* The runs of allocated pages whose bit is not set; counted only where `batch` is NULL. */
static size_t unreached(struct pool_region *region, const uint64_t *bits, struct retired *batch)
{
	uint64_t cursor = 0, page, count;
	size_t runs = 0;
	while (pool_region_next_used(region, &cursor, &page, &count)) {
		uint64_t end = page + count;
		while ((page = bitmap_find(bits, page, end, false)) < end) {
			uint64_t behind = bitmap_find(bits, page, end, true);
			if (batch)
				retired_add(batch, page, behind - page, 0);
			runs++;
			page = behind;
		}
	}
	return runs;
}

/* Verify what the state's root reaches, in one walk, and list what it does not reach. */
static int find_unknown(struct takeover *takeover, struct dimension *dimension,
	struct pool_region *region, struct dim_state *state, struct rgm_error *error)
{
	uint64_t *bits = NULL;
	int rc = reached_bits(dimension, region, &state->root, &state->summary, &bits, error);
	if (rc)
		return rc;
	struct retired *batch =
		retired_create(RETIRED_BLOCKS, dimension, unreached(region, bits, NULL));
	if (batch) {
		unreached(region, bits, batch);
		takeover->unknown[takeover->unknown_count++] = batch;
	} else {
		rc = pool_fail(error, -ENOMEM, "taking over '%s': no memory", dimension->file);
	}
	free(bits);
	return rc;
}

/* Open the region of an entry and find what in it is unknown. */
static int open_entry(struct takeover *takeover, struct dimension *dimension,
	const struct ipc_dimension *entry, struct dim_state *state, struct pool_region **ret_region,
	struct rgm_error *error)
{
	bool published;
	int rc = dimension_open_live(dimension, ret_region, &published, error);
	if (rc)
		return rc;
	/* Being in the table says it: the word may not have been stored any more. */
	pool_region_published(*ret_region);
	struct pool_region_info info;
	pool_region_info(*ret_region, &info);
	state->root = (struct pool_root){.offset = entry->root_offset,
		.version = entry->changed,
		.generation = entry->generation};
	if (info.bytes < entry->region_bytes)
		rc = pool_fail(error, RGM_ECORRUPT, "region file '%s' is shorter than published",
			dimension->file);
	if (rc == 0)
		rc = dimension->kind->find_root(*ret_region, &state->root, error);
	if (rc == 0)
		rc = find_unknown(takeover, dimension, *ret_region, state, error);
	if (rc)
		pool_region_close(*ret_region);
	return rc;
}

static void change(struct takeover *takeover, uint32_t index, const struct ipc_dimension *entry)
{
	takeover->changes[takeover->change_count++] = (struct table_change){
		.index = index, .entry = entry ? *entry : (struct ipc_dimension){0}};
}

/* It is in the table: serve it on, under the catalog's name; or refuse it, and take it out. */
static int take_published(struct takeover *takeover, struct dimension *dimension,
	struct dim_state *state, const struct ipc_dimension *entry, uint32_t index,
	struct rgm_error *error)
{
	struct pool_region *region = NULL;
	struct rgm_error why;
	dimension->index = index;
	takeover->in_catalog[index] = true;
	int rc = open_entry(takeover, dimension, entry, state, &region, &why);
	if (is_scarcity(rc)) {
		if (error)
			*error = why;
		return rc;
	}
	if (rc) {
		dimension_refuse(dimension, state->name, rc, &why);
		change(takeover, index, NULL);
		takeover->dropped = true;
		return 0;
	}
	dimension_serve(dimension, region);
	takeover->served++;
	if (strlen(state->name) != entry->name_length ||
		memcmp(state->name, entry->name, entry->name_length) != 0) {
		struct table_change renamed;
		change_entry(dimension, region, state, entry->changed, &renamed);
		takeover->changes[takeover->change_count++] = renamed;
	}
	return 0;
}

/* Was it being made when the manager died? Nobody was told that it exists. */
static bool in_the_making(struct dimension *dimension)
{
	struct pool_region *region;
	bool published;
	if (dimension_open_live(dimension, &region, &published, NULL))
		return false;
	pool_region_close(region);
	return !published;
}

/* An index that no entry has, not even one that goes with this version; false: there is none. */
static bool free_index(const struct takeover *takeover, uint32_t *ret_index)
{
	for (uint32_t index = 0; index < takeover->manager->max_dimensions; index++) {
		const struct ipc_dimension *entry = table_entry(takeover->manager->table, index);
		if (!takeover->in_catalog[index] && (!entry || entry->id == 0)) {
			*ret_index = index;
			return true;
		}
	}
	return false;
}

/* It is in the catalog alone: refused before, waiting for readers of another time, or in the making.
 * False: it is nothing. */
static bool take_unpublished(
	struct takeover *takeover, struct dimension *dimension, struct dim_state *state)
{
	struct pool_region *region = NULL;
	struct rgm_error why;
	int rc = dimension_open_clean(dimension, &region, state, &why);
	if (rc == RGM_EDIRTY && in_the_making(dimension)) {
		manager_log(takeover->manager, RGM_LOG_INFO, "takeover",
			MANAGER_FIELDS({"name", state->name, 0}),
			"dimension '%s' was being made when the manager died: it is removed",
			state->name);
		/* Its files go behind its record: a record without files would be there for ever. */
		dimension_get(dimension);
		takeover->unmade[takeover->unmade_count++] = dimension;
		takeover->catalog_changes = true;
		return false;
	}
	if (rc == 0 && !free_index(takeover, &dimension->index)) {
		rc = pool_fail(&why, RGM_ELIMIT,
			"the instance has its limit of %u dimensions (max_dimensions)",
			takeover->manager->max_dimensions);
		pool_region_close(region);
	}
	if (rc) {
		dimension_refuse(dimension, state->name, rc, &why);
		return true;
	}
	struct table_change added;
	takeover->in_catalog[dimension->index] = true;
	dimension_serve(dimension, region);
	takeover->served++;
	change_entry(dimension, region, state, state->root.version, &added);
	takeover->changes[takeover->change_count++] = added;
	return true;
}

static int take_record(
	struct takeover *takeover, const struct catalog_record *record, struct rgm_error *error)
{
	struct dimension *dimension = dimension_from_record(takeover->manager, record);
	if (!dimension)
		return pool_fail(error, -ENOMEM, "taking over the dimensions: no memory");
	char name[RGM_NAME_MAX + 1] = {0};
	memcpy(name, record->name, record->name_length);
	struct dim_state *state = dim_state_create(dimension, name);
	if (!state) {
		dimension_put(dimension);
		return pool_fail(error, -ENOMEM, "taking over the dimensions: no memory");
	}
	uint32_t index = 0;
	const struct ipc_dimension *entry = find_entry(takeover, record->id, &index);
	bool stays = true;
	int rc = 0;
	if (entry)
		rc = take_published(takeover, dimension, state, entry, index, error);
	else
		stays = take_unpublished(takeover, dimension, state);
	if (rc == 0 && stays)
		registry_add(takeover->manager, dimension, state);
	else
		free(state);
	dimension_put(dimension);
	return rc;
}

/* Entries that the catalog does not have: their drop was under way, and is finished. */
static void finish_drops(struct takeover *takeover)
{
	const struct ipc_dimension *entry;
	char file[32];
	for (uint32_t i = 0; (entry = table_entry(takeover->manager->table, i)); i++) {
		if (entry->id == 0 || takeover->in_catalog[i])
			continue;
		change(takeover, i, NULL);
		takeover->dropped = true;
		catalog_region_name(entry->id, file);
		unlinkat(takeover->manager->folder, file, 0);
		manager_log(takeover->manager, RGM_LOG_INFO, "takeover",
			MANAGER_FIELDS({"id", NULL, entry->id}),
			"the drop of dimension '%.*s' is finished", (int)entry->name_length,
			entry->name);
	}
}

/* --- The version at the end ------------------------------------------------------------------- */

static int publish(struct takeover *takeover, struct rgm_error *error)
{
	struct rgm_manager *manager = takeover->manager;
	struct table_draft *draft;
	uint64_t version;
	int rc = table_next_version(manager->table, &version, error);
	if (rc == 0)
		rc = table_draft(manager->table, version, takeover->changes, takeover->change_count,
			&draft, error);
	if (rc)
		return rc;
	if (takeover->catalog_changes) {
		rc = catalog_write(manager, CATALOG_RUNNING, NULL, error);
		if (rc) {
			table_discard(manager->table, draft);
			return rc;
		}
	}
	table_serve(manager->table);
	table_publish(manager->table, draft, takeover->dropped);
	table_wake(manager->table);
	for (size_t i = 0; i < takeover->unknown_count; i++)
		reclaim_push(manager->reclaim, takeover->unknown[i], version);
	takeover->unknown_count = 0;
	for (size_t i = 0; i < takeover->unmade_count; i++)
		change_unmake(takeover->unmade[i]);
	takeover_remove_strays(manager);
	return 0;
}

static int prepare(struct takeover *takeover, struct rgm_error *error)
{
	size_t records = takeover->catalog->header.count;
	/* Each record may change an entry, and each entry that is in no record goes. */
	size_t most = takeover->manager->max_dimensions + IPC_LEAF_ENTRIES + records + 1u;
	takeover->changes = calloc(most, sizeof *takeover->changes);
	takeover->unknown = calloc(records + 1, sizeof *takeover->unknown);
	takeover->unmade = calloc(records + 1, sizeof(struct dimension *));
	takeover->in_catalog = calloc(most, sizeof *takeover->in_catalog);
	int rc = takeover->changes && takeover->unknown && takeover->unmade && takeover->in_catalog
	                 ? 0
	                 : -ENOMEM;
	if (rc == 0)
		rc = table_retire_ring(takeover->manager->table);
	/* Before the version's own pages are there, which nothing reaches yet either. */
	if (rc == 0)
		rc = table_find_unknown(
			takeover->manager->table, &takeover->unknown[takeover->unknown_count]);
	if (rc)
		return pool_fail(error, rc, "taking over: %s", strerror(-rc));
	takeover->unknown_count++;
	return 0;
}

int takeover_finish(
	struct rgm_manager *manager, const struct catalog *catalog, struct rgm_error *error)
{
	struct takeover takeover = {.manager = manager,
		.catalog = catalog,
		/* The last manager may have died behind the end of a clean stop. */
		.catalog_changes = catalog->header.state != CATALOG_RUNNING};
	int rc = prepare(&takeover, error);
	for (uint32_t i = 0; rc == 0 && i < catalog->header.count; i++) {
		rc = take_record(&takeover, &catalog->records[i], error);
	}
	if (rc == 0) {
		finish_drops(&takeover);
		manager->catalog_version = catalog->header.version;
		rc = publish(&takeover, error);
	}
	if (rc == 0)
		manager_log(manager, RGM_LOG_INFO, "takeover",
			MANAGER_FIELDS({"readers", NULL, sessions_count(manager->sessions)},
				{"dimensions", NULL, takeover.served},
				/* since this manager was asked to open */
				{"us", NULL, (os_now_ns() - manager->started_monotonic_ns) / 1000}),
			"what a dead manager left is taken over: %zu dimensions, %u readers",
			takeover.served, sessions_count(manager->sessions));
	for (size_t i = 0; i < takeover.unknown_count; i++)
		retired_free(takeover.unknown[i]);
	for (size_t i = 0; i < takeover.unmade_count; i++)
		dimension_put(takeover.unmade[i]);
	free(takeover.changes);
	free(takeover.unknown);
	free(takeover.unmade);
	free(takeover.in_catalog);
	return rc;
}
