/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region file: superblocks, extents, and the pages in them. Written by one manager alone.
 *
 * Promises
 *  1. A file is served only if its superblocks prove that it was closed cleanly (format.h has the
 *     cases), and every byte of it that can be checked cheaply (superblocks, map) is right.
 *  2. Before the first byte is written after an open, the file is durably marked dirty.
 *  3. Growth is allocated on the disk before anybody hears of it; a full disk changes nothing, and
 *     never stands in the way of a clean end.
 *  4. The file never shrinks while it is open or mapped.
 *  5. pool_region_close_clean() makes content, allocation map and superblock durable, in this order.
 *  6. A sync that failed is not tried again: nothing is written from then on, and the file stays
 *     dirty.
 *
 * Thread-safety: allocate, extend, free and info lock inside; read and write of different pages may
 * run at the same time; open and close are exclusive.
 */
#ifndef POOL_REGION_H
#define POOL_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/format.h"
#include <regionmgr/error.h>

struct pool_region;

/* Where a root stands: what the kind made of it is the kind's business. */
struct pool_root {
	uint64_t offset; /* bytes from the start of the file; 0: none yet */
	uint64_t bytes;
	uint32_t crc32c;     /* of these bytes */
	uint64_t version;    /* of the last change */
	uint64_t generation; /* number of changes so far */
};

struct pool_region_options {
	uint64_t id;
	uint32_t kind;
	uint64_t max_bytes; /* multiple of 2 MB; may differ from the file's; 0 at an open: as
	                              * the file says */
	const uint8_t *instance_id; /* 16 bytes */
	const uint8_t
		*incarnation; /* 16 bytes: this run of the manager, or the one it goes on with */
	/* Shared memory for the live allocation (live.h), made before the first change. NULL: none, and
	 * nobody takes the region over. */
	const char *live_name;
};

/* Create `file` in `folder` (O_EXCL, O_NOFOLLOW, 0600), clean and empty, durable. -EEXIST, -ENOSPC. */
int pool_region_create(int folder, const char *file, const struct pool_region_options *options,
	struct pool_region **ret_region, struct rgm_error *error);

/*
 * Open for serving. `options` says what is expected: RGM_ECORRUPT where the file disagrees (another
 * id, kind or instance), RGM_EDIRTY if it was not closed cleanly, RGM_EFORMAT, RGM_EINUSE if a
 * reader of an earlier manager or another manager still has it.
 */
int pool_region_open(int folder, const char *file, const struct pool_region_options *options,
	struct pool_region **ret_region, struct rgm_error *error);

/*
 * Open a region that a manager left as it was when it died, to go on with it: readers may map it, and its
 * superblocks may say that it was being changed. The allocation is the live one; without one the file has
 * to be clean. `options` is as at an open, with the dead manager's incarnation. RGM_EDIRTY where the live
 * allocation is lost or a sync had failed; else as at an open. *ret_published: whether a version had
 * reached the dimension.
 */
int pool_region_take_over(int folder, const char *file, const struct pool_region_options *options,
	struct pool_region **ret_region, bool *ret_published, struct rgm_error *error);
/* A version reaches the dimension from now on: who takes it over knows that it was not in the making. */
void pool_region_published(struct pool_region *region);
/* From now on the allocation is private, for a clean end: the live one stays as it is, and with it what a
 * manager needs that goes on after a death on the way. Its name is the caller's to remove. */
void pool_region_leave_live(struct pool_region *region);

/* Open read-only to check: also a dirty file, whose root and allocation map are then absent.
 * RGM_EINUSE while a manager serves it; a manager's open fails likewise while the check goes on. */
int pool_region_open_check(
	const char *path, struct pool_region **ret_region, struct rgm_error *error);

/* A new description of the file, read-only, with a shared lock that lives as long as it is open or
 * mapped: what readers are given. */
int pool_region_open_reader(struct pool_region *region, int *ret_file, struct rgm_error *error);

/* As promised in 5. `root` is what the next open returns. A region unchanged since its open is only
 * closed. Frees the region in any case; after a failure the file is dirty, or as it was. */
int pool_region_close_clean(
	struct pool_region *region, const struct pool_root *root, struct rgm_error *error);
/* Close as it is: dirty if it was changed. NULL is allowed. */
void pool_region_close(struct pool_region *region);
/* In a forked child, whose copy of the descriptor was closed by its number: the close to come only frees. */
void pool_region_lose_file(struct pool_region *region);

/* Promise 2; cheap after the first time. pool_region_write() does it, too: call it where a failure
 * would come too late. */
int pool_region_mark_dirty(struct pool_region *region, struct rgm_error *error);

/* A run of exactly `count` pages, growing the file if no free run fits. RGM_ELIMIT at max_bytes,
 * -ENOSPC. */
int pool_region_allocate(
	struct pool_region *region, uint64_t count, uint64_t *ret_page, struct rgm_error *error);
/* A run of between `least` and `most` pages: what is free if that is at least `least`, else grow, by
 * less than `most` where that is all there is. */
int pool_region_allocate_upto(struct pool_region *region, uint64_t least, uint64_t most,
	uint64_t *ret_page, uint64_t *ret_count, struct rgm_error *error);
/* Lengthen a run in place to `count` pages, growing the file if the run ends at its end. -ENOSPC
 * without a sentence when the pages behind it are used. */
int pool_region_extend(struct pool_region *region, uint64_t page, uint64_t old_count,
	uint64_t count, struct rgm_error *error);
/* Free any part of allocated runs, at once: for what nobody can see. What is not allocated is not
 * freed: a bug of the caller, which debug builds stop at. */
void pool_region_free(struct pool_region *region, uint64_t page, uint64_t count);
/* Many of them under one lock, for which an allocation may have to wait: some hundred at a time. */
struct pool_run {
	uint64_t page, count;
};
void pool_region_free_many(
	struct pool_region *region, const struct pool_run *runs, size_t run_count);

/* Whole transfers at a byte offset inside allocated pages. */
int pool_region_write(struct pool_region *region, uint64_t offset, const void *data, size_t bytes,
	struct rgm_error *error);
int pool_region_read(struct pool_region *region, uint64_t offset, void *data, size_t bytes,
	struct rgm_error *error);

struct pool_region_info {
	uint64_t id;
	uint32_t kind;
	bool dirty;     /* changed since it was opened, or found dirty by a check */
	uint64_t bytes; /* size of the file: what is published */
	uint64_t max_bytes;
	uint64_t pages;      /* in extents; header pages are not counted */
	uint64_t used_pages; /* handed out; used + own + free == pages (dirty checks: all 0) */
	uint64_t own_pages;  /* of the allocation map */
	uint64_t free_pages;
	uint64_t free_runs;
	uint64_t largest_free_pages;
	uint32_t damaged_slots; /* superblocks passed over at the open (and since repaired, if the
	                              * region is served) */
	struct pool_root root;  /* as of the open */
};
void pool_region_info(struct pool_region *region, struct pool_region_info *ret_info);
/* st_blocks * 512 and what is in memory, by the kernel's count. */
int pool_region_kernel(struct pool_region *region, uint64_t *ret_block_bytes,
	uint64_t *ret_resident_bytes, struct rgm_error *error);
int pool_region_file(const struct pool_region *region);

/* Step through the allocated runs (of the map on the disk when opened to check; header pages and the
 * map's own pages are not among them). */
bool pool_region_next_used(
	struct pool_region *region, uint64_t *cursor, uint64_t *ret_page, uint64_t *ret_count);

#endif
