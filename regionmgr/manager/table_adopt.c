/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Going on with the region table of a manager that died. Whatever store was its last one:
 *
 *   - `current` is a version that was published whole: all it leads to was written before (M1 of
 *     ipc/slot.h). It is what this manager goes on from.
 *   - Ring entries of other numbers belong to older versions, which somebody may see, or to one that was
 *     never published, which nobody sees. Either way the entry is a block of its version alone: it is
 *     retired at the next number and freed by the first scan that finds no word equal to it. Of an
 *     entry that was half written either half leads to the same: the version that stood there before was
 *     proven unseen, the new one was never current.
 *   - Pages that are marked used and that `current` does not reach belonged to older versions, to drafts,
 *     or to retired blocks. Nobody knows which: they are *unknown*, born at 0 and retired at the version
 *     that is published next, so that any older word keeps them.
 *
 * The bytes are this user's own and still checked: what does not hold together is refused.
 */
#include "regionmgr/manager/table_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ipc/slot.h"
#include "ipc/table.h"
#include "pool/bitmap.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/reclaim.h"

static int fail_damaged(const struct table *table, const char *what, struct rgm_error *error)
{
	return pool_fail(
		error, RGM_ECORRUPT, "shared memory '%s' is damaged: %s", table->name, what);
}

/* --- The object ------------------------------------------------------------------------------- */

static int check_header(const struct table *table, struct rgm_error *error)
{
	const struct ipc_table *header = table->header;
	const struct rgm_manager *manager = table->manager;
	/* It was being made: nothing was published in it, and nobody attached. */
	if (load64_acquire(&header->magic) == 0)
		return -ENOENT;
	if (load64_acquire(&header->magic) != IPC_TABLE_MAGIC ||
		header->layout_version != IPC_LAYOUT_VERSION)
		return pool_fail(error, RGM_EFORMAT,
			"shared memory '%s' is laid out differently, by another version of the "
			"program",
			table->name);
	if (memcmp(header->instance_id, manager->instance_id, sizeof header->instance_id) != 0)
		return fail_damaged(table, "it belongs to another instance", error);
	if (header->table_bytes != TABLE_BYTES || header->ring_offset != RING_PAGE * PAGE ||
		header->ring_entries != IPC_RING_ENTRIES ||
		header->pages_offset != BITMAP_PAGE * PAGE ||
		header->revoked_offset != REVOKED_PAGE * PAGE || header->places == 0 ||
		header->places > TABLE_PLACES_MAX || header->max_dimensions == 0 ||
		header->max_dimensions > IPC_MAX_DIMENSIONS ||
		header->heap_offset != table_heap_page(header->places) * PAGE ||
		header->allocated_bytes % PAGE != 0 || header->allocated_bytes > TABLE_BYTES ||
		header->allocated_bytes < header->heap_offset)
		return fail_damaged(table, "its header makes no sense", error);
	return 0;
}

static int open_object(struct table *table, struct rgm_error *error)
{
	struct stat status;
	void *base = NULL;
	int rc = table_claim(table);
	if (rc == -ENOENT)
		return -ENOENT;
	if (rc == -EAGAIN) {
		pool_fail(error, RGM_EINUSE,
			"another manager uses shared memory '%s': its folder is a copy of this "
			"one, "
			"or the other way round",
			table->name);
		pool_hint(error, "stop it, or remove the file 'catalog' of a copy that is empty");
		return RGM_EINUSE;
	}
	if (rc == 0)
		rc = os_shm_open(table->name, true, &table->file);
	if (rc) {
		table->file = -1;
		return pool_fail(error, rc, "shared memory '%s' could not be opened: %s",
			table->name, strerror(-rc));
	}
	if (fstat(table->file, &status) || (uint64_t)status.st_size != TABLE_BYTES)
		return fail_damaged(table, "its size is wrong", error);
	rc = os_map(table->file, TABLE_BYTES, true, &base);
	if (rc)
		return pool_fail(error, rc, "shared memory '%s' could not be mapped: %s",
			table->name, strerror(-rc));
	table->header = base;
	return check_header(table, error);
}

/* --- The current version ---------------------------------------------------------------------- */

/* A run of pages at a byte offset, in the heap and marked used. */
static bool is_block(const struct table *table, uint64_t offset, uint64_t count)
{
	const uint64_t *bits = table_page(table, BITMAP_PAGE);
	uint64_t page = offset / PAGE;
	return offset % PAGE == 0 && offset >= table->header->heap_offset &&
	       page < table->allocated_pages && count <= table->allocated_pages - page &&
	       bitmap_find(bits, page, page + count, false) == page + count;
}

static int take_leaf(struct table *table, uint32_t leaf, uint64_t offset, struct rgm_error *error)
{
	struct ipc_dimension *entries = &table->entries[(size_t)leaf * IPC_LEAF_ENTRIES];
	if (!is_block(table, offset, 1))
		return fail_damaged(table, "a leaf lies outside", error);
	table->leaf_page[leaf] = offset / PAGE;
	memcpy(entries, table_page(table, offset / PAGE), PAGE);
	for (uint32_t i = 0; i < IPC_LEAF_ENTRIES; i++) {
		if (entries[i].id == 0)
			continue;
		if (entries[i].name_length == 0 || entries[i].name_length > RGM_NAME_MAX ||
			entries[i].changed > table->current)
			return fail_damaged(table, "an entry makes no sense", error);
		table->dimension_count++;
		/* Not before its newest entry: early enough for all who may see it. */
		if (entries[i].changed > table->leaf_born[leaf])
			table->leaf_born[leaf] = entries[i].changed;
	}
	return 0;
}

/* Into private memory, as table_publish() keeps it. */
static int take_current(struct table *table, struct rgm_error *error)
{
	uint64_t heap_page = table->header->heap_offset / PAGE;
	const uint64_t *bits = table_page(table, BITMAP_PAGE);
	if (bitmap_find(bits, 0, heap_page, false) != heap_page)
		return fail_damaged(table, "its own pages are not marked as used", error);
	if (bitmap_find(bits, table->allocated_pages, TABLE_BYTES / PAGE, true) !=
		TABLE_BYTES / PAGE)
		return fail_damaged(table, "pages are used that are not there", error);
	const struct ipc_ring_entry *ring = table_page(table, RING_PAGE);
	table->current = load64_acquire(&table->header->current);
	const struct ipc_ring_entry *entry = &ring[table->current % IPC_RING_ENTRIES];
	if (table->current == 0 || entry->version != table->current ||
		!is_block(table, entry->top_offset, 1))
		return fail_damaged(table, "its current version has no entry", error);
	table->top_page = entry->top_offset / PAGE;
	const struct ipc_top *top = table_page(table, table->top_page);
	if (top->version != table->current ||
		top->leaf_count > table->header->max_dimensions / IPC_LEAF_ENTRIES + 1)
		return fail_damaged(table, "its current version makes no sense", error);
	table->top_count = table_top_pages(top->leaf_count);
	table->top_born = table->current;
	table->leaf_count = top->leaf_count;
	if (!is_block(table, entry->top_offset, table->top_count) ||
		!is_block(table, top->names_offset, 1))
		return fail_damaged(table, "a block lies outside", error);
	table->names_page = top->names_offset / PAGE;
	const struct ipc_names *names = table_page(table, table->names_page);
	if (names->bits < NAMES_BITS_LEAST || names->bits > NAMES_BITS_MOST)
		return fail_damaged(table, "its names make no sense", error);
	/* What stands in it was not looked at: the next version has it anew. */
	table->names_doubtful = true;
	table->names_count = table_names_pages(names->bits);
	table->name_count_bits = names->bits;
	if (!is_block(table, top->names_offset, table->names_count))
		return fail_damaged(table, "a block lies outside", error);
	const uint64_t *leaves = (const void *)(top + 1);
	for (uint32_t leaf = 0; leaf < top->leaf_count; leaf++) {
		int rc = take_leaf(table, leaf, leaves[leaf], error);
		if (rc)
			return rc;
	}
	return 0;
}

static int compare_ids(const void *left, const void *right)
{
	const uint64_t *a = left, *b = right;
	return (*a > *b) - (*a < *b);
}

/* Entries are of different dimensions, and no more than there may be. */
static int check_entries(const struct table *table, struct rgm_error *error)
{
	uint32_t most = table->leaf_count * IPC_LEAF_ENTRIES, count = 0;
	uint64_t *ids = calloc(most + 1u, sizeof *ids);
	bool twice = false;
	if (!ids)
		return pool_fail(error, -ENOMEM, "region table: no memory");
	for (uint32_t i = 0; i < most; i++)
		if (table->entries[i].id)
			ids[count++] = table->entries[i].id;
	qsort(ids, count, sizeof *ids, compare_ids);
	for (uint32_t i = 1; i < count; i++)
		twice |= ids[i] == ids[i - 1];
	free(ids);
	return twice || count > table->header->max_dimensions
	               ? fail_damaged(table, "a dimension has two entries", error)
	               : 0;
}

/* Every other entry of the ring is somebody's until a scan says otherwise. */
static void take_ring(struct table *table)
{
	const struct ipc_ring_entry *ring = table_page(table, RING_PAGE);
	uint64_t now = os_now_ns();
	for (uint32_t place = 0; place < IPC_RING_ENTRIES; place++) {
		uint64_t version = ring[place].version;
		if (version == 0 || version > table->current || version % IPC_RING_ENTRIES != place)
			continue;
		atomic_store_explicit(&table->busy[place], true, memory_order_relaxed);
		atomic_store_explicit(&table->holder[place], version, memory_order_relaxed);
		atomic_store_explicit(&table->replaced_ns[place],
			version == table->current ? 0 : now, memory_order_relaxed);
	}
}

int table_adopt(struct rgm_manager *manager, struct table **ret_table, struct rgm_error *error)
{
	struct table *table = table_new(manager, IPC_MAX_DIMENSIONS);
	if (!table)
		return pool_fail(error, -ENOMEM, "region table: no memory");
	int rc = open_object(table, error);
	if (rc == 0) {
		table->allocated_pages = table->header->allocated_bytes / PAGE;
		rc = take_current(table, error);
	}
	if (rc == 0)
		rc = check_entries(table, error);
	if (rc == 0) {
		rc = pages_adopt(
			table->pages, table_page(table, BITMAP_PAGE), table->allocated_pages);
		if (rc)
			pool_fail(error, rc, "region table: %s", strerror(-rc));
	}
	if (rc == 0)
		rc = table_start_news(table, error);
	if (rc) {
		table_destroy(table);
		return rc;
	}
	take_ring(table);
	*ret_table = table;
	return 0;
}

void table_serve(struct table *table)
{
	store32_release(&table->header->state, IPC_SERVING);
}

const struct ipc_dimension *table_entry(const struct table *table, uint32_t index)
{
	return index < table->leaf_count * IPC_LEAF_ENTRIES ? &table->entries[index] : NULL;
}

/* --- What may be free again ------------------------------------------------------------------- */

int table_retire_ring(struct table *table)
{
	struct reclaim *reclaim = table->manager->reclaim;
	for (uint32_t place = 0; place < IPC_RING_ENTRIES; place++) {
		uint64_t version =
			atomic_load_explicit(&table->holder[place], memory_order_relaxed);
		if (version == 0 || version == table->current)
			continue;
		struct retired *batch = retired_create(RETIRED_RING_ENTRY, NULL, 1);
		if (!batch)
			return -ENOMEM;
		retired_add(batch, version, 1, version);
		reclaim_push(reclaim, batch, version + 1);
	}
	return 0;
}

static void mark(uint64_t *bits, uint64_t page, uint64_t count)
{
	bitmap_set(bits, page, page + count);
}

int table_find_unknown(struct table *table, struct retired **ret_batch)
{
	uint64_t *reached = calloc(TABLE_BYTES / PAGE / BITMAP_WORD_BITS, sizeof *reached);
	size_t capacity = 0;
	uint64_t cursor = 0, page, count;
	if (!reached)
		return -ENOMEM;
	mark(reached, 0, table->header->heap_offset / PAGE);
	mark(reached, table->top_page, table->top_count);
	mark(reached, table->names_page, table->names_count);
	for (uint32_t leaf = 0; leaf < table->leaf_count; leaf++)
		mark(reached, table->leaf_page[leaf], 1);
	/* A page each is the most there can be. */
	while (pages_next_used(table->pages, &cursor, &page, &count))
		capacity += count;
	struct retired *batch = retired_create(RETIRED_TABLE_PAGES, NULL, capacity);
	cursor = 0;
	while (batch && pages_next_used(table->pages, &cursor, &page, &count))
		for (uint64_t end = page + count; page < end; page++)
			if (!bitmap_get(reached, page))
				retired_add(batch, page, 1, 0);
	free(reached);
	*ret_batch = batch;
	return batch ? 0 : -ENOMEM;
}
