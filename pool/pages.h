/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page runs: which pages of a region are free, and handing out runs of them.
 *
 * Promises
 *  1. O(1) allocate and free, apart from one bit a page; a freed run is joined with free neighbours
 *     at once and exactly. Only before -ENOSPC one list of runs is searched through: -ENOSPC means
 *     that there is no such run.
 *  2. Descriptors are out of band, in memory that the caller of pages_create() need not know about:
 *     data pages are never touched. They cost memory where runs begin and end, and a bit a page.
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

/* The most pages that a set can have: page numbers are 32 bits wide in a descriptor. */
#define PAGES_MAX ((uint64_t)UINT32_MAX)

/* An empty set that can grow to max_pages; pages_grow() brings pages in. NULL: no memory, or more
 * than PAGES_MAX. */
struct pages *pages_create(uint64_t max_pages);
void pages_destroy(struct pages *pages);

/*
 * Where the bits stand, one a page, set for used ones (bitmap.h). pages_move(): from now on in memory of
 * the caller's, which has room for max_pages + 1 bits, zero so far, and outlives the set or the next
 * move; NULL: in the set's own again. pages_adopt(): an empty set takes `count` pages over as the
 * caller's bits, which stay where they are, tell; -E2BIG beyond max_pages.
 *
 * A process that dies at any instant leaves the bits right: a page is marked before its number is
 * handed out, and freed only by clearing its bit.
 */
void pages_move(struct pages *pages, uint64_t *bits);
int pages_adopt(struct pages *pages, uint64_t *bits, uint64_t count);

/* Append `count` pages after the highest page so far: free, or used. -E2BIG beyond max_pages. */
int pages_grow(struct pages *pages, uint64_t count, bool used);

/* A free run of exactly `count` pages (-EINVAL if 0): from the best fitting of the few runs that are
 * looked at, the lowest of equals. -ENOSPC. */
int pages_allocate(struct pages *pages, uint64_t count, uint64_t *ret_page);
/* As many pages as there are in one run, between least and most (-EINVAL unless 0 < least <= most):
 * `most` if one run has as many, else the whole of a longest one. -ENOSPC. */
int pages_allocate_upto(struct pages *pages, uint64_t least, uint64_t most, uint64_t *ret_page,
	uint64_t *ret_count);
/* Make exactly these pages used. -EINVAL if one of them is used already or not there. */
int pages_claim(struct pages *pages, uint64_t page, uint64_t count);
/* -EINVAL if one of them is free already or not there; nothing is changed then. */
int pages_free(struct pages *pages, uint64_t page, uint64_t count);
/* It will be freed soon: have the memory near that this will touch. */
void pages_expect_free(const struct pages *pages, uint64_t page, uint64_t count);
bool pages_is_used(const struct pages *pages, uint64_t page);

struct pages_info {
	uint64_t pages; /* in all */
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
