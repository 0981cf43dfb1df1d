/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a region share: region.c (create, close), region_open.c, region_super.c (superblocks),
 * region_map.c (the allocation map on the disk), region_live.c (the one in shared memory), region_space.c
 * (pages), region_io.c (bytes). */
#ifndef POOL_REGION_INTERNAL_H
#define POOL_REGION_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "pool/live.h"
#include "pool/pages.h"
#include "pool/region.h"

/* Pages that one page of an allocation map tells about. */
#define POOL_MAP_PAGE_BITS (POOL_PAGE_BYTES * 8)

struct pool_region {
	/* set at create or open, constant afterwards */
	int file;
	char *name; /* for sentences */
	bool check; /* opened to check: read-only */
	uint64_t max_bytes;
	uint8_t incarnation[16];
	struct pool_root root;  /* as of the open */
	uint32_t damaged_slots; /* as of the open */

	/* Readable without the lock. dirty is set with release order once the mark is durable, and
	 * read with acquire: who sees it may write. file_bytes is relaxed: who was handed a page has
	 * been told by the one who got it. */
	atomic_bool dirty;
	atomic_uint_least64_t file_bytes;

	pthread_mutex_t lock;         /* guards all below; nothing else is locked under it */
	struct pool_superblock super; /* the newest that was read or written */
	unsigned int super_slot;      /* where it stands */
	struct pages *pages; /* numbered as in the file; NULL in the check of a dirty one */
	uint64_t map_page, map_count; /* set aside for the allocation map; exactly what it fills */
	bool changed;                 /* pages were taken or freed since the open */
	bool marking;                 /* a DIRTY superblock was written, or half of it */
	bool poisoned;                /* a sync failed */
	char *live_name;              /* NULL: no live allocation is to be made */
	bool published;               /* a version reached the dimension, in this run or another */
	struct live *live;            /* where the bits of `pages` stand; NULL: in private memory */
#ifdef POOL_RACE_BUILD
	char *view; /* writable; made at the first access */
#endif
};

static inline uint64_t region_extent_pages(uint64_t file_bytes)
{
	return (file_bytes - POOL_HEADER_BYTES) / POOL_PAGE_BYTES;
}

/* Pages that the allocation map of so many pages of extents fills. */
static inline uint64_t region_map_pages(uint64_t extent_pages)
{
	return (extent_pages + POOL_MAP_PAGE_BITS - 1) / POOL_MAP_PAGE_BITS;
}

static inline bool region_meets_map(const struct pool_region *region, uint64_t page, uint64_t count)
{
	return page < region->map_page + region->map_count &&
	       (page >= region->map_page || count > region->map_page - page);
}

/* --- region.c --------------------------------------------------------------------------------- */

/* Without a file yet. NULL: no memory. */
struct pool_region *region_new(const char *name, struct rgm_error *error);
/* NULL is allowed. */
void region_destroy(struct pool_region *region);
/* A name in the folder, not a way out of it. */
int region_check_name(const char *file, struct rgm_error *error);
int region_check_max_bytes(
	const char *name, uint64_t max_bytes, uint64_t least, struct rgm_error *error);
/* RGM_EINUSE. */
int region_lock_to_serve(struct pool_region *region, struct rgm_error *error);

static inline void region_set_file_bytes(struct pool_region *region, uint64_t bytes)
{
	atomic_store_explicit(&region->file_bytes, bytes, memory_order_relaxed);
}

static inline uint64_t region_file_bytes(const struct pool_region *region)
{
	return atomic_load_explicit(&region->file_bytes, memory_order_relaxed);
}

/* --- region_super.c --------------------------------------------------------------------------- */

/* The superblock that counts, by the cases of format.h: clean, or dirty. */
struct super_choice {
	struct pool_superblock super;
	unsigned int slot;
	uint32_t damaged; /* slots that are not valid */
	bool twin;        /* the other slot says the same */
};
int super_choose(
	int file, const char *name, struct super_choice *ret_choice, struct rgm_error *error);
/* Write `super` with the next number to the slot that does not hold the newest, and sync. */
int super_write(
	struct pool_region *region, const struct pool_superblock *super, struct rgm_error *error);
/* The same to both slots. */
int super_write_both(
	struct pool_region *region, const struct pool_superblock *super, struct rgm_error *error);

/* fdatasync; poisons. */
int region_sync(struct pool_region *region, struct rgm_error *error);

/* --- region_map.c ----------------------------------------------------------------------------- */

/* Make region->pages from the allocation map that region->super names. RGM_ECORRUPT. */
int region_map_load(struct pool_region *region, struct rgm_error *error);
/* Write the map to the pages set aside; fills in the map_ fields of *super. */
int region_map_save(
	struct pool_region *region, struct pool_superblock *super, struct rgm_error *error);

/* --- region_live.c ---------------------------------------------------------------------------- */

/* Without a file yet, for these options. NULL: no memory. */
struct pool_region *region_new_for(
	const char *name, const struct pool_region_options *options, struct rgm_error *error);
/* The following under the lock. Make the live allocation, unless there is one or none is wanted. */
int region_live_begin(struct pool_region *region, struct rgm_error *error);
/* Memory for the bits of the file with these pages. */
int region_live_reserve(struct pool_region *region, uint64_t pages, struct rgm_error *error);
/* Make region->pages from the live allocation that another manager left. -ENOENT, -ESTALE, both without
 * a sentence; RGM_ECORRUPT, RGM_EDIRTY. */
int region_live_load(struct pool_region *region, uint64_t file_bytes, bool *ret_published,
	struct rgm_error *error);

/* --- region_space.c --------------------------------------------------------------------------- */

/* Promise 2, under the lock. */
int region_mark_dirty_locked(struct pool_region *region, struct rgm_error *error);
/* Set pages aside for the allocation map, if those that are do not suffice. Under the lock. */
int region_place_map(struct pool_region *region, struct rgm_error *error);

#endif
