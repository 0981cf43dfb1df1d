/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of a layers dimension, format 1 (not yet frozen): two levels of immutable blocks,
 * each a run of whole pages. Little endian; reserved and padding bytes are zero.
 *
 *   root block                        leaf block                          content
 *   +--------------------------+      +-----------------------------+
 *   | header, 64 bytes         |  ,-->| header, 64 bytes            |   ,-> pages of one layer,
 *   +--------------------------+  |   +-----------------------------+   |   the last one's rest zero
 *   | ref 0: page, first name -+--'   | entry 0: name, page, size --+---'
 *   | ref 1 …                  |      | entry 1 …                   |
 *   +--------------------------+      +-----------------------------+
 *   | names, each with a NUL   |      | names and media types, NUL  |
 *   +--------------------------+      +-----------------------------+
 *
 * Refs and entries stand in the byte order (memcmp) of their names; names are unique. Offsets of
 * strings count from the start of their block; every string is followed by a NUL that its length
 * does not count. The strings stand without gaps in the order of their refs or entries, a media type
 * behind its name, and the last one ends the block. A leaf aims at LAYERS_LEAF_BYTES and holds at
 * least one entry. An empty dimension is a root with no refs.
 *
 * `block_bytes` is what crc32c covers (from byte 0, with the field itself as zero); the run holds
 * ceil(block_bytes / 4096) pages. A root's checksum stands in the superblock too, a leaf's in its
 * ref. The rest of a run's last page is zero, in blocks as in content.
 *
 * `born` is the version in which a block could first be reached; content of an entry was born at the
 * entry's `born`, which is not later than its leaf's, nor a leaf's later than its root's.
 *
 * Who writes: the manager, before the blocks are published; never afterwards. Readers follow offsets
 * without checking them: the manager verified every block it found at its start.
 */
#ifndef DIMENSIONS_LAYERS_FORMAT_H
#define DIMENSIONS_LAYERS_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <regionmgr/types.h>

#define LAYERS_ROOT_MAGIC 0x31544f4f524c4752ull /* "RGLROOT1" */
#define LAYERS_LEAF_MAGIC 0x314641454c4c4752ull /* "RGLLEAF1" */
#define LAYERS_LEAF_BYTES 16384u
#define LAYERS_BLOCK_MAX  (1ull << 30) /* bytes of a block */
#define LAYERS_MAX        (1ull << 26) /* layers of a dimension */

struct layers_root {
	uint64_t magic;         /*  0 */
	uint64_t block_bytes;   /*  8 */
	uint64_t born;          /* 16 */
	uint64_t layer_count;   /* 24 */
	uint64_t content_bytes; /* 32  sum of the layers' sizes */
	uint64_t content_pages; /* 40  sum of the layers' pages */
	uint32_t leaf_count;    /* 48 */
	uint32_t crc32c;        /* 52 */
	uint64_t reserved;      /* 56 */
};

struct layers_ref {
	uint64_t page;        /*  0  of the leaf block */
	uint64_t block_bytes; /*  8 */
	uint64_t born;        /* 16 */
	uint32_t crc32c;      /* 24 */
	uint32_t entry_count; /* 28 */
	uint32_t name_offset; /* 32  first name in the leaf, in the root block */
	uint32_t name_length; /* 36 */
};

struct layers_leaf {
	uint64_t magic;       /*  0 */
	uint64_t block_bytes; /*  8 */
	uint64_t born;        /* 16 */
	uint32_t entry_count; /* 24 */
	uint32_t crc32c;      /* 28 */
	uint64_t reserved[4]; /* 32 */
};

struct layers_entry {
	uint64_t page;         /*  0  0 when size is 0 */
	uint64_t size;         /*  8  bytes */
	uint64_t time_ns;      /* 16  since 1970 */
	uint64_t born;         /* 24 */
	uint32_t crc32c;       /* 32  of the size bytes */
	uint32_t name_offset;  /* 36 */
	uint32_t name_length;  /* 40 */
	uint32_t media_offset; /* 44  0: no media type */
	uint32_t media_length; /* 48 */
	uint32_t reserved[3];  /* 52 */
};

static_assert(sizeof(struct layers_root) == 64, "layers root");
static_assert(offsetof(struct layers_root, layer_count) == 24, "layers root");
static_assert(offsetof(struct layers_root, leaf_count) == 48, "layers root");
static_assert(offsetof(struct layers_root, crc32c) == 52, "layers root");
static_assert(sizeof(struct layers_ref) == 40, "layers ref");
static_assert(offsetof(struct layers_ref, crc32c) == 24, "layers ref");
static_assert(offsetof(struct layers_ref, name_offset) == 32, "layers ref");
static_assert(sizeof(struct layers_leaf) == 64, "layers leaf");
static_assert(offsetof(struct layers_leaf, entry_count) == 24, "layers leaf");
static_assert(sizeof(struct layers_entry) == 64, "layers entry");
static_assert(offsetof(struct layers_entry, crc32c) == 32, "layers entry");
static_assert(offsetof(struct layers_entry, media_offset) == 44, "layers entry");

/* Where things stand in a block, and the order of names. */
static inline const struct layers_ref *layers_refs(const struct layers_root *root)
{
	return (const struct layers_ref *)(root + 1);
}

static inline const struct layers_entry *layers_entries(const struct layers_leaf *leaf)
{
	return (const struct layers_entry *)(leaf + 1);
}

static inline const char *layers_string(const void *block, uint32_t offset)
{
	return (const char *)block + offset;
}

static inline uint64_t layers_pages(uint64_t bytes)
{
	return bytes / RGM_PAGE_BYTES + (bytes % RGM_PAGE_BYTES != 0);
}

static inline int layers_compare(const char *a, size_t a_length, const char *b, size_t b_length)
{
	int order = memcmp(a, b, a_length < b_length ? a_length : b_length);

	return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

#endif
