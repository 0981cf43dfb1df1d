/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks in the making: refs or entries gathered with their strings, and then written as a block.
 * String offsets count from the start of the pack's strings until the block is laid out.
 */
#ifndef DIMENSIONS_LAYERS_PACK_H
#define DIMENSIONS_LAYERS_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "dimensions/kind.h"
#include "dimensions/layers_format.h"

struct layers_strings {
	char *bytes;
	size_t count;
	size_t capacity;
};

/* Entries for leaves, oldest names first. */
struct layers_leaf_pack {
	struct layers_entry *entries;
	size_t count;
	size_t capacity;
	struct layers_strings strings;
};

/* Refs for the root. */
struct layers_root_pack {
	struct layers_ref *refs;
	size_t count;
	size_t capacity;
	struct layers_strings strings;
};

/* Append an entry or a ref; the string offsets in it are set here. media NULL: none. -ENOMEM,
 * RGM_ELIMIT when the root would be too large. */
int layers_leaf_pack_add(struct layers_leaf_pack *pack, const struct layers_entry *entry,
	const char *name, const char *media, struct rgm_error *error);
int layers_root_pack_add(struct layers_root_pack *pack, const struct layers_ref *ref,
	const char *name, struct rgm_error *error);
/* Drop the last ref. */
void layers_root_pack_pop(struct layers_root_pack *pack);

/* Bytes of a leaf block of the first `count` entries; 0 for none. */
uint64_t layers_leaf_pack_bytes(const struct layers_leaf_pack *pack, size_t count);

/*
 * Lay out a block, born at `version`, allocate its run, note it in `blocks` and write it. The first
 * `count` entries leave their pack for a leaf, and a ref to it is added to the root's.
 */
int layers_leaf_pack_write(struct layers_leaf_pack *pack, size_t count, uint64_t version,
	struct pool_region *region, struct layers_root_pack *root, struct dim_blocks *blocks,
	struct rgm_error *error);
/* `totals` gives layer_count, content_bytes and content_pages. */
int layers_root_pack_write(const struct layers_root_pack *pack, const struct layers_root *totals,
	uint64_t version, struct pool_region *region, struct pool_root *ret_root,
	struct dim_blocks *blocks, struct rgm_error *error);

void layers_leaf_pack_free(struct layers_leaf_pack *pack);
void layers_root_pack_free(struct layers_root_pack *pack);

#endif
