/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding dimensions in the region table at one version: a few dependent loads, nothing else.
 *
 * The caller is inside a section (or is the manager, under its commit lock) that sees `version`:
 * everything the ring entry leads to stands still meanwhile. Plain order is enough: the acquire load
 * of `current` that gave the version ordered it.
 *
 * But the version may have been taken back from a session (ipc/slot.h), and its blocks be in use anew.
 * What is found then is void, which the caller learns from ipc_section_revoked() before it believes it;
 * until then whatever stands there must not lead outside the table. So each offset and count is loaded
 * once, by an atomic load that the compiler does not repeat, and held against the table's size.
 */
#ifndef IPC_TABLE_H
#define IPC_TABLE_H

#include <stdbool.h>
#include <string.h>

#include "ipc/atomic.h"
#include "ipc/format.h"

/* One version's parts, held against the table's size. It may be kept: at the same version, which is
 * never used for anything else, it is the same again. */
struct ipc_index {
	uint64_t version; /* 0: none */
	const char *base;
	uint64_t last_leaf; /* no leaf begins behind it */
	const uint64_t *leaf_offsets;
	const uint32_t *places;
	uint32_t leaf_count;
	uint32_t bits;
	uint32_t dimension_count;
};

static const struct ipc_top ipc_no_top;
static const uint32_t ipc_no_places[2];

/* `bytes` bytes at an offset of the table, or NULL. */
static inline const void *ipc_table_part(
	const struct ipc_table *table, uint64_t offset, uint64_t bytes)
{
	if (offset % 8 || offset > table->table_bytes || bytes > table->table_bytes - offset)
		return NULL;
	return (const char *)table + offset;
}

/* The top of a version; an empty one if it is not there. */
static inline const struct ipc_top *ipc_table_top(const struct ipc_table *table, uint64_t version)
{
	const struct ipc_ring_entry *ring =
		(const void *)((const char *)table + table->ring_offset);
	const struct ipc_ring_entry *entry = &ring[version & (table->ring_entries - 1)];
	const struct ipc_top *top =
		ipc_table_part(table, load64_relaxed(&entry->top_offset), sizeof(struct ipc_top));
	return top && load64_relaxed(&entry->version) == version ? top : &ipc_no_top;
}

/* What a top leads to; of what would lead outside, nothing. */
static inline struct ipc_index ipc_index_of(
	const struct ipc_table *table, const struct ipc_top *top)
{
	struct ipc_index index = {.version = load64_relaxed(&top->version),
		.base = (const char *)table,
		.last_leaf = table->table_bytes - IPC_LEAF_ENTRIES * sizeof(struct ipc_dimension),
		.leaf_offsets = (const void *)(top + 1),
		.places = ipc_no_places,
		.bits = 1,
		.dimension_count = load32_relaxed(&top->dimension_count)};
	uint64_t top_offset = (uint64_t)((const char *)top - (const char *)table);
	uint32_t leaf_count = load32_relaxed(&top->leaf_count);
	if (leaf_count <= (table->max_dimensions + IPC_LEAF_ENTRIES - 1) / IPC_LEAF_ENTRIES &&
		ipc_table_part(table, top_offset, sizeof *top + leaf_count * sizeof(uint64_t)))
		index.leaf_count = leaf_count;
	uint64_t names_offset = load64_relaxed(&top->names_offset);
	const struct ipc_names *names = ipc_table_part(table, names_offset, sizeof *names);
	uint32_t bits = names ? load32_relaxed(&names->bits) : 0;
	if (bits < 1 || bits > IPC_NAMES_BITS_MAX ||
		!ipc_table_part(table, names_offset, sizeof *names + (sizeof(uint32_t) << bits)))
		return index;
	index.bits = bits;
	index.places = (const void *)(names + 1);
	return index;
}

static inline struct ipc_index ipc_index_open(const struct ipc_table *table, uint64_t version)
{
	struct ipc_index index = ipc_index_of(table, ipc_table_top(table, version));
	index.version = version;
	return index;
}

/* The entry at a place of the index, or NULL beyond the end. An entry with id 0 is free. */
static inline const struct ipc_dimension *ipc_index_at(const struct ipc_index *index, uint32_t at)
{
	if (at / IPC_LEAF_ENTRIES >= index->leaf_count)
		return NULL;
	uint64_t offset = load64_relaxed(&index->leaf_offsets[at / IPC_LEAF_ENTRIES]);
	if (offset > index->last_leaf || offset % 4096)
		return NULL;
	const struct ipc_dimension *leaf = (const void *)(index->base + offset);
	return &leaf[at % IPC_LEAF_ENTRIES];
}

/* Names end with zeros, so words that are the same are the same name, its length being equal. */
static inline bool ipc_name_equal(
	const struct ipc_dimension *entry, const char *name, size_t length)
{
	if (entry->name_length != length)
		return false;
	for (size_t at = 0; at < length; at += 8) {
		uint64_t word;
		memcpy(&word, entry->name + at, sizeof word);
		if (word != ipc_name_word(name + at, length - at))
			return false;
	}
	return true;
}

/* The entry of a name and its place in the index, or NULL. At most RGM_NAME_MAX bytes are a name. */
static inline const struct ipc_dimension *ipc_index_find(
	const struct ipc_index *index, const char *name, size_t length, uint32_t *ret_at)
{
	if (length - 1 >= RGM_NAME_MAX)
		return NULL;
	uint64_t hash = ipc_name_hash(name, length);
	uint32_t mask = (1u << index->bits) - 1;
	uint32_t tag = ipc_name_tag(hash, index->bits);
	uint32_t place = ipc_name_place(hash, index->bits);
	/* The bound is for a block that is something else meanwhile: in a names block a place is free. */
	for (uint32_t n = 0; n <= mask; n++, place = (place + 1) & mask) {
		uint32_t found = load32_relaxed(&index->places[place]);
		if (!found)
			return NULL;
		if (found >> 16 != tag)
			continue;
		const struct ipc_dimension *entry = ipc_index_at(index, found & 0xffffu);
		if (entry && ipc_name_equal(entry, name, length)) {
			*ret_at = found & 0xffffu;
			return entry;
		}
	}
	return NULL;
}

/* The same for who looks once. */
static inline const struct ipc_dimension *ipc_table_at(
	const struct ipc_table *table, const struct ipc_top *top, uint32_t at)
{
	struct ipc_index index = ipc_index_of(table, top);
	return ipc_index_at(&index, at);
}
static inline const struct ipc_dimension *ipc_table_find(const struct ipc_table *table,
	const struct ipc_top *top, const char *name, size_t length, uint32_t *ret_at)
{
	struct ipc_index index = ipc_index_of(table, top);
	return ipc_index_find(&index, name, length, ret_at);
}

#endif
