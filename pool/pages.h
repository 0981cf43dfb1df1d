/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page runs: which pages of a region are free, and handing out runs of them.
 *
 * Promises
 *  1. O(1) allocate and free; a freed run is joined with free neighbours at once and exactly.
 *  2. Descriptors are out of band, in memory that the caller of pages_create() need not know about:
 *     data pages are never touched.
 *  3. used + free == pages, at every return.
 *  4. Any part of an allocated run may be freed; freeing what is free is refused (-EINVAL).
 * Not thread-safe: the region's lock is held around every call.
 *
 * Pages are numbered from 0, the start of the file.
 */
#ifndef POOL_PAGES_H
#define POOL_PAGES_H

#include <stdbool.h>
#include <stdint.h>

struct pages;

/* An empty set that can grow to max_pages; pages_grow() brings pages in. NULL: no memory. */
struct pages *pages_create(uint64_t max_pages);
void pages_destroy(struct pages *pages);

/* Append `count` pages after the highest page so far: free, or used. -ENOMEM, -E2BIG. */
int pages_grow(struct pages *pages, uint64_t count, bool used);

/* A free run of exactly `count` pages, the best fitting one that is found in O(1). -ENOSPC. */
int pages_allocate(struct pages *pages, uint64_t count, uint64_t *ret_page);
/* As many pages as there are in one run, between least and most, the longest runs first. -ENOSPC. */
int pages_allocate_upto(struct pages *pages, uint64_t least, uint64_t most, uint64_t *ret_page,
	uint64_t *ret_count);
/* Make exactly these pages used. -EINVAL if one of them is used already or not there. */
int pages_claim(struct pages *pages, uint64_t page, uint64_t count);
/* -EINVAL if one of them is free already or not there; nothing is changed then. */
int pages_free(struct pages *pages, uint64_t page, uint64_t count);
bool pages_is_used(const struct pages *pages, uint64_t page);

struct pages_info {
	uint64_t pages;        /* in all */
	uint64_t used;
	uint64_t free;
	uint64_t free_runs;
	uint64_t largest_free; /* pages */
	uint64_t tail_free;    /* pages of the free run that ends at the highest page */
};
void pages_info(const struct pages *pages, struct pages_info *ret_info);

/* Step through the used runs in order: *cursor starts at 0. False at the end. */
bool pages_next_used(
	const struct pages *pages, uint64_t *cursor, uint64_t *ret_page, uint64_t *ret_count);

/* Recompute everything from the descriptors and compare: the promises, proven. For slow builds. */
bool pages_valid(const struct pages *pages);

#endif
