/* SPDX-License-Identifier: Apache-2.0 */
/* Building and publishing versions of the region table. See table.h and ipc/format.h. */
#include "regionmgr/manager/table_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/slot.h"
#include "ipc/table.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/files.h"
#include "regionmgr/manager/lag.h"
#include "regionmgr/manager/news.h"
#include "regionmgr/manager/reclaim.h"

/* A draft: what a version needs that is not published yet. */
struct table_draft {
	uint64_t version;
	const struct table_change *changes;
	size_t change_count;
	bool names_changed;
	uint32_t leaf_count, dimension_count, names_bits;
	uint64_t top_page, top_count, names_page, names_count;
	size_t leaves; /* new leaf pages */
	uint32_t *leaf_index;
	uint64_t *leaf_page;
	struct table_change *owned; /* copy of the changes */
	struct retired *pages;      /* what the version replaces */
	struct retired *ring;
};

static int allocate(struct table *table, uint64_t count, uint64_t *ret_page)
{
	pthread_mutex_lock(&table->lock);
	int rc = pages_allocate(table->pages, count, ret_page);
	if (rc == -ENOSPC) {
		uint64_t more = count > TABLE_STEP_PAGES ? count : TABLE_STEP_PAGES;
		if (table->allocated_pages + more <= TABLE_BYTES / PAGE)
			rc = os_allocate(table->file, table->allocated_pages * PAGE, more * PAGE);
		if (rc == 0)
			rc = pages_grow(table->pages, more, false);
		if (rc == 0) {
			table->allocated_pages += more;
			store64_release(
				&table->header->allocated_bytes, table->allocated_pages * PAGE);
			rc = pages_allocate(table->pages, count, ret_page);
		}
	}
	pthread_mutex_unlock(&table->lock);
	return rc;
}

void table_free_pages(struct table *table, uint64_t page, uint64_t count)
{
	pthread_mutex_lock(&table->lock);
	pages_free(table->pages, page, count);
	pthread_mutex_unlock(&table->lock);
}

void table_free_ring(struct table *table, uint64_t version)
{
	atomic_store_explicit(
		&table->busy[version % IPC_RING_ENTRIES], false, memory_order_release);
}

void table_take_entry(struct table *table, uint64_t version, uint64_t top_page)
{
	struct ipc_ring_entry *ring = table_page(table, RING_PAGE);
	uint32_t place = version % IPC_RING_ENTRIES;
	ring[place] = (struct ipc_ring_entry){version, top_page * PAGE};
	atomic_store_explicit(&table->busy[place], true, memory_order_relaxed);
	atomic_store_explicit(&table->replaced_ns[place], 0, memory_order_relaxed);
	atomic_store_explicit(&table->holder[place], version, memory_order_release);
}

static void write_header(struct table *table, uint64_t version)
{
	struct rgm_manager *manager = table->manager;
	struct ipc_table *header = table->header;
	header->layout_version = IPC_LAYOUT_VERSION;
	header->flags = manager->membarrier ? IPC_TABLE_MEMBARRIER : 0;
	memcpy(header->instance_id, manager->instance_id, sizeof header->instance_id);
	memcpy(header->incarnation, manager->incarnation, sizeof header->incarnation);
	header->table_bytes = TABLE_BYTES;
	header->ring_offset = RING_PAGE * PAGE;
	header->ring_entries = IPC_RING_ENTRIES;
	header->max_dimensions = manager->max_dimensions;
	header->heap_offset = table_heap_page(manager->max_readers) * PAGE;
	header->pages_offset = BITMAP_PAGE * PAGE;
	header->revoked_offset = REVOKED_PAGE * PAGE;
	header->places = manager->max_readers;
	header->allocated_bytes = table->allocated_pages * PAGE;
	for (uint32_t place = 0; place < header->places; place++)
		store64_relaxed(table_revoked_word(table, place), 1);
	table_take_entry(table, version, table->top_page);
	store32_relaxed(&header->state, IPC_SERVING);
	ipc_publish(header, version);
	/* Written last: who finds it finds the rest. */
	store64_release(&header->magic, IPC_TABLE_MAGIC);
}

/* The empty version: a top without leaves and an empty names block. */
static int write_empty(struct table *table, uint64_t version)
{
	table->top_count = table_top_pages(0);
	table->names_count = table_names_pages(NAMES_BITS_LEAST);
	table->name_count_bits = NAMES_BITS_LEAST;
	int rc = allocate(table, table->top_count, &table->top_page);
	if (rc == 0)
		rc = allocate(table, table->names_count, &table->names_page);
	if (rc)
		return rc;
	struct ipc_top *top = table_page(table, table->top_page);
	struct ipc_names *names = table_page(table, table->names_page);
	*top = (struct ipc_top){.version = version, .names_offset = table->names_page * PAGE};
	*names = (struct ipc_names){.bits = NAMES_BITS_LEAST};
	table->top_born = table->names_born = version;
	table->current = version;
	write_header(table, version);
	return 0;
}

struct table *table_new(struct rgm_manager *manager, uint32_t max_dimensions)
{
	struct table *table = calloc(1, sizeof *table);
	uint32_t leaves = max_dimensions / IPC_LEAF_ENTRIES + 1;
	if (!table)
		return NULL;
	table->manager = manager;
	table->file = table->claim = -1;
	pthread_mutex_init(&table->lock, NULL);
	ipc_table_name(manager->instance_id, table->name);
	table->pages = pages_create(TABLE_BYTES / PAGE);
	table->entries = calloc((size_t)leaves * IPC_LEAF_ENTRIES, sizeof *table->entries);
	table->leaf_page = calloc(leaves, sizeof *table->leaf_page);
	table->leaf_born = calloc(leaves, sizeof *table->leaf_born);
	if (table->pages && table->entries && table->leaf_page && table->leaf_born)
		return table;
	table_destroy(table);
	return NULL;
}

int table_claim(struct table *table)
{
	int rc = os_shm_open(table->name, true, &table->claim);
	if (rc) {
		table->claim = -1;
		return rc;
	}
	files_keep(table->claim);
	return os_lock_exclusive(table->claim);
}

static int fail_table(const struct table *table, const char *what, int rc, struct rgm_error *error)
{
	return pool_fail(error, rc, "shared memory '%s' could not be %s: %s", table->name, what,
		strerror(-rc));
}

/* The object and its mapping. */
static int make_object(struct table *table, struct rgm_error *error)
{
	uint64_t first = table_heap_page(table->manager->max_readers);
	table->allocated_pages = first + TABLE_STEP_PAGES;
	int rc = os_shm_create(
		table->name, TABLE_BYTES, table->allocated_pages * PAGE, &table->file);
	if (rc) {
		table->file = -1;
		return fail_table(table, "made", rc, error);
	}
	rc = table_claim(table);
	if (rc)
		return fail_table(table, "locked", rc, error);
	void *base = NULL;
	rc = os_map(table->file, TABLE_BYTES, true, &base);
	if (rc)
		return fail_table(table, "mapped", rc, error);
	table->header = base;
	pages_move(table->pages, table_page(table, BITMAP_PAGE));
	rc = pages_grow(table->pages, first, true);
	return rc ? rc : pages_grow(table->pages, TABLE_STEP_PAGES, false);
}

int table_start_news(struct table *table, struct rgm_error *error)
{
	int rc = news_create(table->manager, &table->header->news, &table->news);
	return rc ? pool_fail(error, rc, "the thread that tells news: %s", strerror(-rc)) : 0;
}

int table_create(struct rgm_manager *manager, uint64_t version, struct table **ret_table,
	struct rgm_error *error)
{
	struct table *table = table_new(manager, manager->max_dimensions);
	if (!table)
		return pool_fail(error, -ENOMEM, "region table: no memory");
	int rc = make_object(table, error);
	if (rc == 0) {
		rc = write_empty(table, version);
		if (rc)
			pool_fail(error, rc, "region table: %s", strerror(-rc));
	}
	if (rc == 0)
		rc = table_start_news(table, error);
	if (rc) {
		table_destroy(table);
		return rc;
	}
	*ret_table = table;
	return 0;
}

void table_revoke(struct table *table, uint32_t place, uint64_t version)
{
	store64_release(table_revoked_word(table, place), version);
}

uint64_t table_revoked(const struct table *table, uint32_t place)
{
	return load64_acquire(table_revoked_word(table, place));
}

void table_stop(struct table *table)
{
	store32_release(&table->header->state, IPC_STOPPED);
	news_tell_all(table->news);
}

void table_destroy(struct table *table)
{
	if (!table)
		return;
	news_destroy(table->news);
	/* The bits of its pages stand in the object. */
	pages_destroy(table->pages);
	if (table->header)
		os_unmap(table->header, TABLE_BYTES);
	if (table->file >= 0) {
		close(table->file);
		if (!table->manager->leave_names)
			os_shm_unlink(table->name);
	}
	files_close(table->claim);
	free(table->entries);
	free(table->leaf_page);
	free(table->leaf_born);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

const struct ipc_table *table_header(const struct table *table)
{
	return table->header;
}

uint64_t table_bytes(const struct table *table)
{
	(void)table;
	return TABLE_BYTES;
}

int table_open_reader(const struct table *table, int *ret_file)
{
	/* Not by name: in a folder where everybody may write, that may lead elsewhere by now. */
	return os_open_anew(table->file, false, ret_file);
}

uint64_t table_current(const struct table *table)
{
	return load64_acquire(&table->header->current);
}

uint64_t table_replaced_ns(const struct table *table, uint64_t version)
{
	uint32_t place = version % IPC_RING_ENTRIES;
	/* Acquire: pairs with table_take_entry(); of an entry that is taken meanwhile it is 0. */
	if (version == 0 ||
		atomic_load_explicit(&table->holder[place], memory_order_acquire) != version)
		return 0;
	return atomic_load_explicit(&table->replaced_ns[place], memory_order_relaxed);
}

static bool find_unseen(const struct table *table, uint64_t *ret_version)
{
	for (uint64_t next = table->current + 1; next <= table->current + IPC_RING_ENTRIES;
		next++) {
		if (!atomic_load_explicit(
			    &table->busy[next % IPC_RING_ENTRIES], memory_order_acquire)) {
			*ret_version = next;
			return true;
		}
	}
	return false;
}

int table_next_version(struct table *table, uint64_t *ret_version, struct rgm_error *error)
{
	if (find_unseen(table, ret_version))
		return 0;
	manager_count(table->manager, COUNTER_publish_stalls, 1);
	do {
		reclaim_run_ring(table->manager->reclaim);
		if (find_unseen(table, ret_version))
			return 0;
	} while (lag_make_room(table->manager));
	pool_fail(error, RGM_EBUSY,
		"no version can be published: readers see all of the last %u versions",
		IPC_RING_ENTRIES);
	pool_hint(error, "regionctl readers shows whose sections these are; regionmgrd "
			 "--lag-policy limit takes them back");
	return RGM_EBUSY;
}

int table_free_index(const struct table *table, uint32_t *ret_index, struct rgm_error *error)
{
	uint32_t limit = table->manager->max_dimensions;
	for (uint32_t index = 0; index < limit; index++) {
		if (table->entries[index].id == 0) {
			*ret_index = index;
			return 0;
		}
	}
	return pool_fail(error, RGM_ELIMIT,
		"the instance has its limit of %u dimensions (max_dimensions)", limit);
}

/* --- Drafts ----------------------------------------------------------------------------------- */

static void draft_free(struct table_draft *draft)
{
	if (!draft)
		return;
	retired_free(draft->pages);
	retired_free(draft->ring);
	free(draft->owned);
	free(draft->leaf_index);
	free(draft->leaf_page);
	free(draft);
}

void table_discard(struct table *table, struct table_draft *draft)
{
	if (!draft)
		return;
	for (size_t i = 0; i < draft->leaves; i++)
		table_free_pages(table, draft->leaf_page[i], 1);
	if (draft->top_count)
		table_free_pages(table, draft->top_page, draft->top_count);
	if (draft->names_count)
		table_free_pages(table, draft->names_page, draft->names_count);
	draft_free(draft);
}

static bool same_name(const struct ipc_dimension *left, const struct ipc_dimension *right)
{
	return (left->id == 0) == (right->id == 0) &&
	       memcmp(left->name, right->name, sizeof left->name) == 0;
}

/* What the changes mean for the counts, and which leaves they touch (each once, in their order). */
static void draft_plan(struct table *table, struct table_draft *draft)
{
	draft->leaf_count = table->leaf_count;
	draft->dimension_count = table->dimension_count;
	draft->names_changed = table->names_doubtful;
	for (size_t i = 0; i < draft->change_count; i++) {
		const struct table_change *change = &draft->changes[i];
		const struct ipc_dimension *old = &table->entries[change->index];
		draft->names_changed |= !same_name(old, &change->entry);
		draft->dimension_count +=
			(uint32_t)(change->entry.id != 0) - (uint32_t)(old->id != 0);
		uint32_t leaf = change->index / IPC_LEAF_ENTRIES;
		if (leaf >= draft->leaf_count)
			draft->leaf_count = leaf + 1;
		size_t known = 0;
		while (known < draft->leaves && draft->leaf_index[known] != leaf)
			known++;
		if (known == draft->leaves)
			draft->leaf_index[draft->leaves++] = leaf;
	}
	/* Leaves between the old end and the new one have to be there too. */
	for (uint32_t leaf = table->leaf_count; leaf < draft->leaf_count; leaf++) {
		size_t known = 0;
		while (known < draft->leaves && draft->leaf_index[known] != leaf)
			known++;
		if (known == draft->leaves)
			draft->leaf_index[draft->leaves++] = leaf;
	}
	draft->names_bits = NAMES_BITS_LEAST;
	while ((1u << draft->names_bits) < 4 * draft->dimension_count)
		draft->names_bits++;
}

static int draft_allocate(struct table *table, struct table_draft *draft)
{
	size_t wanted = draft->leaves;
	draft->leaves = 0; /* counts what table_discard() has to free */
	for (size_t i = 0; i < wanted; i++) {
		int rc = allocate(table, 1, &draft->leaf_page[i]);
		if (rc)
			return rc;
		draft->leaves++;
	}
	int rc = allocate(table, table_top_pages(draft->leaf_count), &draft->top_page);
	if (rc)
		return rc;
	draft->top_count = table_top_pages(draft->leaf_count);
	if (draft->names_changed) {
		rc = allocate(table, table_names_pages(draft->names_bits), &draft->names_page);
		if (rc)
			return rc;
		draft->names_count = table_names_pages(draft->names_bits);
	}
	draft->pages = retired_create(RETIRED_TABLE_PAGES, NULL, draft->leaves + 2);
	draft->ring = retired_create(RETIRED_RING_ENTRY, NULL, 1);
	return draft->pages && draft->ring ? 0 : -ENOMEM;
}

static void draft_write_names(struct table *table, struct table_draft *draft)
{
	struct ipc_names *names = table_page(table, draft->names_page);
	uint32_t *places = (void *)(names + 1);
	uint32_t mask = (1u << draft->names_bits) - 1;
	memset(names, 0, draft->names_count * PAGE);
	*names = (struct ipc_names){.bits = draft->names_bits, .count = draft->dimension_count};
	for (uint32_t index = 0; index < draft->leaf_count * IPC_LEAF_ENTRIES; index++) {
		const struct ipc_dimension *entry = &table->entries[index];
		for (size_t i = 0; i < draft->change_count; i++)
			if (draft->changes[i].index == index)
				entry = &draft->changes[i].entry;
		if (entry->id == 0)
			continue;
		uint64_t hash = ipc_name_hash(entry->name, entry->name_length);
		uint32_t place = ipc_name_place(hash, draft->names_bits);
		while (places[place])
			place = (place + 1) & mask;
		places[place] = ipc_place_of(hash, draft->names_bits, index);
	}
}

static void draft_write(struct table *table, struct table_draft *draft)
{
	for (size_t i = 0; i < draft->leaves; i++) {
		struct ipc_dimension *leaf = table_page(table, draft->leaf_page[i]);
		uint32_t first = draft->leaf_index[i] * IPC_LEAF_ENTRIES;
		memcpy(leaf, &table->entries[first], PAGE);
		for (size_t c = 0; c < draft->change_count; c++)
			if (draft->changes[c].index / IPC_LEAF_ENTRIES == draft->leaf_index[i])
				leaf[draft->changes[c].index % IPC_LEAF_ENTRIES] =
					draft->changes[c].entry;
	}
	if (draft->names_changed)
		draft_write_names(table, draft);
	uint64_t names_page = draft->names_changed ? draft->names_page : table->names_page;
	struct ipc_top *top = table_page(table, draft->top_page);
	*top = (struct ipc_top){.version = draft->version,
		.names_offset = names_page * PAGE,
		.leaf_count = draft->leaf_count,
		.dimension_count = draft->dimension_count};
	uint64_t *offsets = (void *)(top + 1);
	for (uint32_t leaf = 0; leaf < table->leaf_count; leaf++)
		offsets[leaf] = table->leaf_page[leaf] * PAGE;
	for (size_t i = 0; i < draft->leaves; i++)
		offsets[draft->leaf_index[i]] = draft->leaf_page[i] * PAGE;
}

int table_draft(struct table *table, uint64_t version, const struct table_change *changes,
	size_t change_count, struct table_draft **ret_draft, struct rgm_error *error)
{
	struct table_draft *draft = calloc(1, sizeof *draft);
	if (!draft)
		return pool_fail(error, -ENOMEM, "region table: no memory");
	uint32_t last = table->leaf_count;
	for (size_t i = 0; i < change_count; i++)
		if (changes[i].index / IPC_LEAF_ENTRIES >= last)
			last = changes[i].index / IPC_LEAF_ENTRIES + 1;
	size_t most = change_count + (last - table->leaf_count);
	draft->version = version;
	draft->change_count = change_count;
	draft->owned = calloc(change_count, sizeof *draft->owned);
	draft->leaf_index = calloc(most, sizeof *draft->leaf_index);
	draft->leaf_page = calloc(most, sizeof *draft->leaf_page);
	int rc = -ENOMEM;
	if (draft->owned && draft->leaf_index && draft->leaf_page) {
		memcpy(draft->owned, changes, change_count * sizeof *changes);
		draft->changes = draft->owned;
		draft_plan(table, draft);
		rc = draft_allocate(table, draft);
	}
	if (rc) {
		table_discard(table, draft);
		return pool_fail(error, rc, "region table in shared memory could not grow: %s",
			strerror(-rc));
	}
	draft_write(table, draft);
	*ret_draft = draft;
	return 0;
}

/* --- Publishing ------------------------------------------------------------------------------- */

/* Take the draft over as current, and list what it replaces. */
static void adopt(struct table *table, struct table_draft *draft)
{
	uint64_t version = draft->version;
	retired_add(draft->pages, table->top_page, table->top_count, table->top_born);
	table->top_page = draft->top_page;
	table->top_count = draft->top_count;
	table->top_born = version;
	if (draft->names_changed) {
		retired_add(draft->pages, table->names_page, table->names_count, table->names_born);
		table->names_page = draft->names_page;
		table->names_count = draft->names_count;
		table->names_born = version;
		table->names_doubtful = false;
	}
	for (size_t i = 0; i < draft->leaves; i++) {
		uint32_t leaf = draft->leaf_index[i];
		if (leaf < table->leaf_count)
			retired_add(
				draft->pages, table->leaf_page[leaf], 1, table->leaf_born[leaf]);
		table->leaf_page[leaf] = draft->leaf_page[i];
		table->leaf_born[leaf] = version;
	}
	for (size_t i = 0; i < draft->change_count; i++)
		table->entries[draft->changes[i].index] = draft->changes[i].entry;
	table->leaf_count = draft->leaf_count;
	table->dimension_count = draft->dimension_count;
	retired_add(draft->ring, table->current, 1, table->current);
	atomic_store_explicit(&table->replaced_ns[table->current % IPC_RING_ENTRIES], os_now_ns(),
		memory_order_relaxed);
	table->current = version;
}

void table_publish(struct table *table, struct table_draft *draft, bool dropped)
{
	uint64_t version = draft->version;
	table_take_entry(table, version, draft->top_page);
	adopt(table, draft);
	if (dropped)
		store64_release(&table->header->dropped, version);
	ipc_publish(table->header, version);
	news_change(table->news);
	manager_count(table->manager, COUNTER_commits, 1);
	reclaim_push(table->manager->reclaim, draft->pages, version);
	reclaim_push(table->manager->reclaim, draft->ring, version);
	draft->pages = draft->ring = NULL;
	draft_free(draft);
}

void table_wake(struct table *table)
{
	news_wake(table->news);
}
