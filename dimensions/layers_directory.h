/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a directory back from its file: each block is verified whenever it is read, so that what
 * lies in memory afterwards may be followed without checks.
 */
#ifndef DIMENSIONS_LAYERS_DIRECTORY_H
#define DIMENSIONS_LAYERS_DIRECTORY_H

#include <stddef.h>
#include <stdint.h>

#include "dimensions/layers_format.h"
#include "pool/region.h"

/* A directory being read: its root block, and one leaf at a time. */
struct layers_directory {
	struct pool_region *region;
	uint64_t id;        /* the region's, for sentences */
	uint64_t end_page;  /* the first page behind the region */
	uint64_t root_page; /* 0: no content yet; root is an empty one then */
	struct layers_root *root;
	struct layers_leaf *leaf; /* the one loaded last; NULL before */
	size_t leaf_capacity;     /* bytes */
};

/* Read and verify the root block. RGM_ECORRUPT names region and page. Nothing to close on failure. */
int layers_directory_open(struct layers_directory *directory, struct pool_region *region,
	const struct pool_root *root, struct rgm_error *error);

/* Read leaf `index` into directory->leaf and verify it, and its place among its neighbours. */
int layers_directory_load(
	struct layers_directory *directory, uint32_t index, struct rgm_error *error);

void layers_directory_close(struct layers_directory *directory);

/* The checksum of a block, whose own checksum stands at `crc_offset`. */
uint32_t layers_block_crc32c(const void *block, size_t block_bytes, size_t crc_offset);

#endif
