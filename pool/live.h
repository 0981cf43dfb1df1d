/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live allocation of a region: which of its pages are used, in shared memory that outlives the
 * manager, so that the next one takes over where this one was killed. Layout 1, little endian:
 *
 *    byte 0    header, 4096 bytes
 *    4096 …    bitmap: bit i is page i of the region file, set while it is used; zero beyond `pages`
 *
 * It exists from before a region's first change in a run until the region was closed cleanly. One
 * manager writes it, under the region's lock; the next one reads it once that is dead. At every instant
 *   - a page that any published version reaches is set: set before it is handed out, cleared behind the
 *     gates of reclaim;
 *   - memory for the bits of `pages` pages is allocated, and the file is as long.
 * The pages set aside for the allocation map are those of map_page and map_count; while these change,
 * map_count is 0, and the run that then belongs to nobody is found as used and unreachable.
 *
 * `pages` is 0 until all of it is there. One that a manager left like that was made before the dirty mark,
 * which comes next: the file is clean and says everything.
 */
#ifndef POOL_LIVE_H
#define POOL_LIVE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define LIVE_MAGIC   0x314556494c475200ull /* "\0RGLIVE1", written behind what says whose it is */
#define LIVE_VERSION 1u

struct live {
	uint64_t magic;          /*    0 */
	uint32_t version;        /*    8  of this layout */
	uint32_t published;      /*   12  atomic: 1 once a version reached the dimension */
	uint8_t incarnation[16]; /*   16  as in the dirty mark of the file */
	uint64_t dimension_id;   /*   32 */
	uint64_t max_pages;      /*   40 */
	uint64_t pages;     /*   48  atomic: of the file, its header's included; 0: not made yet */
	uint64_t map_page;  /*   56  atomic */
	uint64_t map_count; /*   64  atomic */
	uint32_t poisoned;  /*   72  atomic: 1 once a sync failed */
	uint8_t reserved[4020]; /*   76 */
};

static_assert(sizeof(struct live) == 4096, "header of a live allocation");
static_assert(offsetof(struct live, incarnation) == 16, "header of a live allocation");
static_assert(offsetof(struct live, pages) == 48, "header of a live allocation");
static_assert(offsetof(struct live, poisoned) == 72, "header of a live allocation");

struct live_identity {
	uint8_t incarnation[16];
	uint64_t dimension_id;
	uint64_t max_pages;
};

/* Make the object `name`, in place of one that is left over. Nothing is set; room for no page. */
int live_create(const char *name, const struct live_identity *identity, struct live **ret_live);
/* Open one that another manager left. -ENOENT; -ESTALE if it is another's, damaged, or was being made. */
int live_open(const char *name, const struct live_identity *identity, struct live **ret_live);
/* Unmap; the name stays. NULL is allowed. */
void live_close(struct live *live);

/* Allocate memory for the bits of so many pages. -ENOSPC. */
int live_reserve(struct live *live, uint64_t pages);
/* They are there: in the file, and in the page set that keeps its bits here. */
void live_set_pages(struct live *live, uint64_t pages);
void live_set_map(struct live *live, uint64_t page, uint64_t count);

static inline uint64_t *live_bits(struct live *live)
{
	return (uint64_t *)(live + 1);
}

#endif
