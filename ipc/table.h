/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding dimensions in the region table at one version: a few dependent loads, nothing else.
 *
 * The caller is inside a section (or is the manager, under its commit lock) that sees `version`:
 * everything the ring entry leads to stands still meanwhile. Plain loads are enough: the acquire load
 * of `current` that gave the version ordered them.
 */
#ifndef IPC_TABLE_H
#define IPC_TABLE_H

#include <string.h>

#include "ipc/format.h"

static inline const struct ipc_top *ipc_table_top(const struct ipc_table *table, uint64_t version)
{
	const char *base = (const char *)table;
	const struct ipc_ring_entry *ring = (const void *)(base + table->ring_offset);
	return (const void *)(base + ring[version & (table->ring_entries - 1)].top_offset);
}

/* The entry at an index, or NULL beyond the table's end. An entry with id 0 is free. */
static inline const struct ipc_dimension *ipc_table_at(
	const struct ipc_table *table, const struct ipc_top *top, uint32_t index)
{
	if (index / IPC_LEAF_ENTRIES >= top->leaf_count)
		return NULL;
	const uint64_t *leaf_offsets = (const void *)(top + 1);
	const struct ipc_dimension *leaf =
		(const void *)((const char *)table + leaf_offsets[index / IPC_LEAF_ENTRIES]);
	return &leaf[index % IPC_LEAF_ENTRIES];
}

/* The entry of a name and its index, or NULL. */
static inline const struct ipc_dimension *ipc_table_find(const struct ipc_table *table,
	const struct ipc_top *top, const char *name, size_t length, uint32_t *ret_index)
{
	const struct ipc_names *names = (const void *)((const char *)table + top->names_offset);
	const uint32_t *places = (const void *)(names + 1);
	uint32_t mask = (1u << names->bits) - 1;
	uint32_t place = (uint32_t)(ipc_name_hash(name, length) >> (64 - names->bits));
	for (; places[place]; place = (place + 1) & mask) {
		uint32_t index = places[place] - 1;
		const struct ipc_dimension *entry = ipc_table_at(table, top, index);
		if (entry->name_length == length && memcmp(entry->name, name, length) == 0) {
			*ret_index = index;
			return entry;
		}
	}
	return NULL;
}

#endif
