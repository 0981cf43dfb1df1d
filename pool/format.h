/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Region file, format 1 (not yet frozen). Little endian; every reserved byte is zero.
 *
 *    byte 0        64 Ki        2 Mi           4 Mi           6 Mi
 *    | superblock  | superblock | extent 0     | extent 1     | …
 *    | slot A      | slot B     | 512 pages    | 512 pages    |
 *    `-- 4 KiB     `-- 4 KiB    `-- content, directories, allocation map: runs of 4 KiB pages
 *
 * Pages are numbered from the start of the file: page 512 is the first of extent 0. The rest of the
 * first 2 MiB is a hole.
 *
 * Superblocks
 *   There are two so that one is whole while the other is written. Each write has the next sequence
 *   number and goes to the slot with the lower one, or to the damaged one. A slot is valid if magic,
 *   checksum and fields are right; of two valid ones the higher number counts.
 *
 *   `state` CLEAN: the file was closed in order; root, content and allocation map are durable and
 *   right. DIRTY: a manager changes it or did so when it died; root and map are zero.
 *
 *   Every change of state is written to both slots, one after the other, each synced:
 *     before the first change    DIRTY, sync, DIRTY, sync; then content is written
 *     at the clean end           content and map, sync, CLEAN, sync, CLEAN, sync
 *   Hence the rule that makes a damaged slot harmless: while any slot is CLEAN, no byte that it
 *   stands for has been changed. The cases at an open, n and m being numbers with n < m:
 *
 *     CLEAN n   CLEAN m    m counts
 *     CLEAN n   DIRTY m    died in the first line above: refused as dirty, which is safe
 *     DIRTY n   CLEAN m    died in the second line: m counts, what it stands for was synced before
 *     DIRTY n   DIRTY m    refused as dirty
 *     CLEAN     damaged    CLEAN counts. Had the damaged one been DIRTY and changes followed, this
 *                          one would have been overwritten first. The other is written anew
 *     DIRTY     damaged    refused as corrupt: nothing says where the root is
 *     damaged   damaged    refused as corrupt
 *
 *   A file whose slots have the same number, or belong to different dimensions, is refused.
 *
 * The allocation map is a bitmap, one bit a page of the extents (bit 0 of byte 0 is page 512), set
 * for used pages, the map's own included. It is there in a CLEAN superblock alone. It fills
 * ceil(map_bytes / 4096) pages, which stay set aside for it while the file is changed: a clean end
 * needs no space that a full disk could refuse.
 *
 * Locks, of open file descriptions, on bytes that stand for something (fcntl(2), F_OFD_SETLK):
 *   byte 0     shared: a reader maps the file. The manager locks the description that it passes on,
 *              and the mapping keeps it.
 *   byte 2^62  exclusive: a manager serves the file; shared: a check reads it.
 *
 * Who writes: one manager, which holds the instance's lock. Who reads: managers and checks; readers
 * see the extents only, through the region table. The file may be longer than `file_bytes` (a growth
 * that nothing was written to): what lies behind means nothing, and is cut off before it is served.
 */
#ifndef POOL_FORMAT_H
#define POOL_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <regionmgr/types.h>

#define POOL_FORMAT_VERSION   1u
#define POOL_MAGIC            0x010047455247524dull /* "MRGREG\0\1" in memory */
#define POOL_BYTE_ORDER       0x01020304u
#define POOL_PAGE_BYTES       ((uint64_t)RGM_PAGE_BYTES)
#define POOL_EXTENT_BYTES     ((uint64_t)RGM_EXTENT_BYTES)
#define POOL_EXTENT_PAGES     (POOL_EXTENT_BYTES / POOL_PAGE_BYTES)
#define POOL_HEADER_BYTES     POOL_EXTENT_BYTES /* before extent 0 */
#define POOL_FIRST_PAGE       (POOL_HEADER_BYTES / POOL_PAGE_BYTES)
#define POOL_SLOT_BYTES       4096u
#define POOL_SLOT_DISTANCE    65536u
#define POOL_MAX_REGION_BYTES (1ull << 43) /* descriptors number pages by 32 bits */
#define POOL_LOCK_READERS     0ull
#define POOL_LOCK_SERVED      (1ull << 62)

enum pool_state {
	POOL_CLEAN = 1,
	POOL_DIRTY = 2
};

struct pool_superblock {
	uint64_t magic;           /*    0 */
	uint32_t format_version;  /*    8 */
	uint32_t byte_order;      /*   12 */
	uint32_t page_bytes;      /*   16 */
	uint32_t extent_bytes;    /*   20 */
	uint64_t sequence;        /*   24  number of this superblock, from 1 */
	uint32_t state;           /*   32  enum pool_state */
	uint32_t kind;            /*   36  enum rgm_kind */
	uint64_t dimension_id;    /*   40 */
	uint8_t instance_id[16];  /*   48 */
	uint8_t incarnation[16];  /*   64  the manager's run that wrote this */
	uint64_t file_bytes;      /*   80  header and extents; the file is at least as long */
	uint64_t max_bytes;       /*   88 */
	uint64_t root_offset;     /*   96  0: no content yet; all of root_ is 0 if DIRTY */
	uint64_t root_bytes;      /*  104 */
	uint64_t root_version;    /*  112 */
	uint64_t root_generation; /*  120 */
	uint32_t root_crc32c;     /*  128 */
	uint32_t map_crc32c;      /*  132 */
	uint64_t map_offset;    /*  136  of a page; all of map_ is 0 if DIRTY or without extents */
	uint64_t map_bytes;     /*  144  pages of the extents / 8 */
	uint8_t reserved[3940]; /*  152  zero */
	uint32_t crc32c;        /* 4092  of bytes 0 to 4091 */
};

static_assert(sizeof(struct pool_superblock) == POOL_SLOT_BYTES, "superblock");
static_assert(offsetof(struct pool_superblock, sequence) == 24, "superblock");
static_assert(offsetof(struct pool_superblock, state) == 32, "superblock");
static_assert(offsetof(struct pool_superblock, dimension_id) == 40, "superblock");
static_assert(offsetof(struct pool_superblock, instance_id) == 48, "superblock");
static_assert(offsetof(struct pool_superblock, incarnation) == 64, "superblock");
static_assert(offsetof(struct pool_superblock, file_bytes) == 80, "superblock");
static_assert(offsetof(struct pool_superblock, max_bytes) == 88, "superblock");
static_assert(offsetof(struct pool_superblock, root_offset) == 96, "superblock");
static_assert(offsetof(struct pool_superblock, root_generation) == 120, "superblock");
static_assert(offsetof(struct pool_superblock, root_crc32c) == 128, "superblock");
static_assert(offsetof(struct pool_superblock, map_crc32c) == 132, "superblock");
static_assert(offsetof(struct pool_superblock, map_offset) == 136, "superblock");
static_assert(offsetof(struct pool_superblock, reserved) == 152, "superblock");
static_assert(offsetof(struct pool_superblock, crc32c) == 4092, "superblock");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little endian");
static_assert(POOL_SLOT_DISTANCE + POOL_SLOT_BYTES <= POOL_HEADER_BYTES, "slots fit the header");

#endif
