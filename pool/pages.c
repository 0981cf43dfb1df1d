/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page runs by two-level segregated fit (Masmano et al., "TLSF: a New Dynamic Memory Allocator for
 * Real-Time Systems", 2004) over descriptors that lie apart from the pages.
 *
 *   used bitmap   one bit a page: the truth about which pages are free
 *   descriptors   12 bytes a page, meaningful at the first and the last page of a free run alone:
 *                 the count at both (boundary tags), the links at the first
 *   bins          free runs by size: one bin for each count below 32, then 32 bins for each power
 *                 of two; a list each, and a bit that says whether it is empty
 *
 * A neighbour's bit says whether it is free; then its tag says where its run begins or ends. What a
 * descriptor holds elsewhere is left over from former runs and never looked at.
 *
 * Both arrays are lazily touched anonymous memory: untouched parts cost nothing, and a run of any
 * length costs what its two ends touch.
 */
#include "pool/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/bitmap.h"
#include "pool/os.h"

#define NONE       UINT32_MAX
#define FINE_BITS  5u
#define FINE       (1u << FINE_BITS)
#define COARSE     (32u - FINE_BITS + 1u) /* level 0: counts below FINE; then one a power of two */
#define CANDIDATES 8u                     /* runs of one bin that are compared */

struct descriptor {
	uint32_t count;
	uint32_t next;
	uint32_t previous;
};

struct pages {
	uint64_t max;
	uint64_t count;
	uint64_t used;
	uint64_t free_runs;
	struct descriptor *descriptors; /* [max] */
	uint64_t *bitmap;               /* [max / 64 + 1]; a bit is set for a used page */
	void *memory; /* room for both; bits that the caller keeps stand elsewhere */
	size_t memory_bytes;
	uint32_t coarse_map;         /* level has a bin that is not empty */
	uint32_t fine_map[COARSE];   /* bin of the level is not empty */
	uint32_t bins[COARSE][FINE]; /* first page of the first run, or NONE */
};

/* A bin by its two indexes. */
struct bin {
	uint32_t coarse;
	uint32_t fine;
};

/* The bin where runs of `count` (> 0) pages are. */
static struct bin bin_of(uint32_t count)
{
	uint32_t log;

	if (count < FINE)
		return (struct bin){0, count};
	log = 31u - (uint32_t)__builtin_clz(count);
	return (struct bin){log - FINE_BITS + 1, (count >> (log - FINE_BITS)) - FINE};
}

/* The smallest bin above this one that has a run. False if there is none. */
static bool next_bin(const struct pages *pages, struct bin *bin)
{
	uint32_t map = 0;

	if (bin->fine + 1 < FINE)
		map = pages->fine_map[bin->coarse] & UINT32_MAX << (bin->fine + 1);
	if (map == 0) {
		uint32_t above = pages->coarse_map & (uint32_t)(UINT64_MAX << (bin->coarse + 1));

		if (above == 0)
			return false;
		bin->coarse = (uint32_t)__builtin_ctz(above);
		map = pages->fine_map[bin->coarse];
	}
	bin->fine = (uint32_t)__builtin_ctz(map);
	return true;
}

/* --- the lists -------------------------------------------------------------------------------- */

/* Enter the run [page, page + count), whose bits are clear and which has no free neighbour. */
static void link_run(struct pages *pages, uint32_t page, uint32_t count)
{
	struct bin bin = bin_of(count);
	uint32_t *first = &pages->bins[bin.coarse][bin.fine];

	pages->descriptors[page + count - 1].count = count;
	pages->descriptors[page] =
		(struct descriptor){.count = count, .next = *first, .previous = NONE};
	if (*first != NONE)
		pages->descriptors[*first].previous = page;
	*first = page;
	pages->fine_map[bin.coarse] |= 1u << bin.fine;
	pages->coarse_map |= 1u << bin.coarse;
	pages->free_runs++;
}

static void unlink_run(struct pages *pages, uint32_t page)
{
	const struct descriptor run = pages->descriptors[page];
	struct bin bin = bin_of(run.count);

	if (run.next != NONE)
		pages->descriptors[run.next].previous = run.previous;
	if (run.previous != NONE)
		pages->descriptors[run.previous].next = run.next;
	else
		pages->bins[bin.coarse][bin.fine] = run.next;
	if (pages->bins[bin.coarse][bin.fine] == NONE) {
		pages->fine_map[bin.coarse] &= ~(1u << bin.fine);
		if (pages->fine_map[bin.coarse] == 0)
			pages->coarse_map &= ~(1u << bin.coarse);
	}
	pages->free_runs--;
}

/*
 * The run of a bin that fits `count` best, the lowest of equals, among the first `limit`. NONE if
 * none of them fits.
 */
static uint32_t best_of(const struct pages *pages, struct bin bin, uint32_t count, uint64_t limit)
{
	uint32_t best = NONE, best_count = 0;
	uint32_t page = pages->bins[bin.coarse][bin.fine];

	for (; page != NONE && limit > 0; limit--) {
		const struct descriptor *run = &pages->descriptors[page];

		if (run->count >= count && (best == NONE || run->count < best_count ||
						   (run->count == best_count && page < best))) {
			best = page;
			best_count = run->count;
		}
		page = run->next;
	}
	return best;
}

/* The run from which to take `count` pages. */
static uint32_t find_run(const struct pages *pages, uint32_t count)
{
	const struct bin own = bin_of(count);
	struct bin above = own;
	uint32_t page = best_of(pages, own, count, CANDIDATES);

	if (page != NONE)
		return page;
	/* In any bin above, all runs fit. */
	if (next_bin(pages, &above))
		return best_of(pages, above, count, CANDIDATES);
	return best_of(pages, own, count, UINT64_MAX);
}

/* A longest run; NONE if nothing is free. */
static uint32_t longest_run(const struct pages *pages)
{
	uint32_t coarse, fine, best;

	if (pages->coarse_map == 0)
		return NONE;
	coarse = 31u - (uint32_t)__builtin_clz(pages->coarse_map);
	fine = 31u - (uint32_t)__builtin_clz(pages->fine_map[coarse]);
	best = pages->bins[coarse][fine];
	for (uint32_t page = best; page != NONE; page = pages->descriptors[page].next)
		if (pages->descriptors[page].count > pages->descriptors[best].count)
			best = page;
	return best;
}

/* Make [page, page + count) used: pages of the free run that begins at `run`. */
static void take(struct pages *pages, uint32_t run, uint32_t page, uint32_t count)
{
	uint32_t end = run + pages->descriptors[run].count;

	unlink_run(pages, run);
	if (run < page)
		link_run(pages, run, page - run);
	if (page + count < end)
		link_run(pages, page + count, end - (page + count));
	bitmap_set(pages->bitmap, page, (uint64_t)page + count);
	pages->used += count;
}

/* Enter [page, page + count), whose bits are clear, as free, joined with its neighbours. */
static void join(struct pages *pages, uint32_t page, uint32_t count)
{
	uint64_t end = (uint64_t)page + count;

	if (page > 0 && !bitmap_get(pages->bitmap, page - 1)) {
		uint32_t before = pages->descriptors[page - 1].count;

		page -= before;
		count += before;
		unlink_run(pages, page);
	}
	if (end < pages->count && !bitmap_get(pages->bitmap, end)) {
		count += pages->descriptors[end].count;
		unlink_run(pages, (uint32_t)end);
	}
	link_run(pages, page, count);
}

static bool in_set(const struct pages *pages, uint64_t page, uint64_t count)
{
	return count > 0 && page < pages->count && count <= pages->count - page;
}

/* --- the interface ---------------------------------------------------------------------------- */

struct pages *pages_create(uint64_t max_pages)
{
	struct pages *pages;
	size_t descriptors_bytes, bitmap_bytes;

	if (max_pages > PAGES_MAX)
		return NULL;
	pages = calloc(1, sizeof(*pages));
	if (pages == NULL)
		return NULL;
	bitmap_bytes = ((size_t)max_pages / BITMAP_WORD_BITS + 1) * sizeof(uint64_t);
	descriptors_bytes = (size_t)max_pages * sizeof(struct descriptor);
	pages->memory_bytes = bitmap_bytes + descriptors_bytes;
	if (os_reserve(pages->memory_bytes, &pages->memory) != 0) {
		free(pages);
		return NULL;
	}
	pages->bitmap = pages->memory;
	pages->descriptors = (void *)((char *)pages->memory + bitmap_bytes);
	pages->max = max_pages;
	for (uint32_t coarse = 0; coarse < COARSE; coarse++)
		for (uint32_t fine = 0; fine < FINE; fine++)
			pages->bins[coarse][fine] = NONE;
	return pages;
}

void pages_destroy(struct pages *pages)
{
	if (pages == NULL)
		return;
	os_release(pages->memory, pages->memory_bytes);
	free(pages);
}

void pages_move(struct pages *pages, uint64_t *bits)
{
	size_t words = ((size_t)pages->count + BITMAP_WORD_BITS - 1) / BITMAP_WORD_BITS;

	if (bits == NULL)
		bits = pages->memory;
	if (bits != pages->bitmap)
		memcpy(bits, pages->bitmap, words * sizeof(*bits));
	pages->bitmap = bits;
}

int pages_adopt(struct pages *pages, uint64_t *bits, uint64_t count)
{
	uint64_t page = 0;

	if (count > pages->max)
		return -E2BIG;
	pages->bitmap = bits;
	pages->count = count;
	pages->used = count;
	while ((page = bitmap_find(bits, page, count, false)) < count) {
		uint64_t end = bitmap_find(bits, page, count, true);

		link_run(pages, (uint32_t)page, (uint32_t)(end - page));
		pages->used -= end - page;
		page = end;
	}
	return 0;
}

int pages_grow(struct pages *pages, uint64_t count, bool used)
{
	uint64_t page = pages->count;

	if (count > pages->max - page)
		return -E2BIG;
	if (count == 0)
		return 0;
	pages->count += count;
	if (used) {
		bitmap_set(pages->bitmap, page, page + count);
		pages->used += count;
	} else {
		join(pages, (uint32_t)page, (uint32_t)count);
	}
	return 0;
}

int pages_allocate(struct pages *pages, uint64_t count, uint64_t *ret_page)
{
	uint32_t run;

	if (count == 0)
		return -EINVAL;
	if (count > PAGES_MAX)
		return -ENOSPC;
	run = find_run(pages, (uint32_t)count);
	if (run == NONE)
		return -ENOSPC;
	take(pages, run, run, (uint32_t)count);
	*ret_page = run;
	return 0;
}

int pages_allocate_upto(
	struct pages *pages, uint64_t least, uint64_t most, uint64_t *ret_page, uint64_t *ret_count)
{
	uint32_t run, count;

	if (least == 0 || least > most)
		return -EINVAL;
	if (pages_allocate(pages, most, ret_page) == 0) {
		*ret_count = most;
		return 0;
	}
	run = longest_run(pages);
	if (run == NONE || pages->descriptors[run].count < least)
		return -ENOSPC;
	count = pages->descriptors[run].count;
	take(pages, run, run, count);
	*ret_page = run;
	*ret_count = count;
	return 0;
}

int pages_claim(struct pages *pages, uint64_t page, uint64_t count)
{
	uint64_t run;

	if (!in_set(pages, page, count) ||
		bitmap_find(pages->bitmap, page, page + count, true) != page + count)
		return -EINVAL;
	/* Neighbours are always joined: all of it lies in one run, which begins behind a used page. */
	run = bitmap_find_last(pages->bitmap, page);
	take(pages, (uint32_t)run, (uint32_t)page, (uint32_t)count);
	return 0;
}

int pages_free(struct pages *pages, uint64_t page, uint64_t count)
{
	if (!in_set(pages, page, count) ||
		bitmap_find(pages->bitmap, page, page + count, false) != page + count)
		return -EINVAL;
	bitmap_clear(pages->bitmap, page, page + count);
	pages->used -= count;
	join(pages, (uint32_t)page, (uint32_t)count);
	return 0;
}

void pages_expect_free(const struct pages *pages, uint64_t page, uint64_t count)
{
	if (!in_set(pages, page, count))
		return;
	__builtin_prefetch(&pages->bitmap[page / BITMAP_WORD_BITS], 1);
	__builtin_prefetch(&pages->descriptors[page], 1);
	__builtin_prefetch(&pages->descriptors[page + count - 1], 1);
}

bool pages_is_used(const struct pages *pages, uint64_t page)
{
	return page < pages->count && bitmap_get(pages->bitmap, page);
}

void pages_info(const struct pages *pages, struct pages_info *ret_info)
{
	uint32_t longest = longest_run(pages);

	*ret_info = (struct pages_info){
		.pages = pages->count,
		.used = pages->used,
		.free = pages->count - pages->used,
		.free_runs = pages->free_runs,
		.largest_free = longest == NONE ? 0 : pages->descriptors[longest].count,
	};
	if (pages->count > 0 && !bitmap_get(pages->bitmap, pages->count - 1))
		ret_info->tail_free = pages->descriptors[pages->count - 1].count;
}

bool pages_next_used(
	const struct pages *pages, uint64_t *cursor, uint64_t *ret_page, uint64_t *ret_count)
{
	uint64_t page = bitmap_find(pages->bitmap, *cursor, pages->count, true);

	if (page >= pages->count) {
		*cursor = pages->count;
		return false;
	}
	*cursor = bitmap_find(pages->bitmap, page, pages->count, false);
	*ret_page = page;
	*ret_count = *cursor - page;
	return true;
}

/* --- validation ------------------------------------------------------------------------------- */

/* Every run of a bin belongs there, is linked both ways, and is counted. */
static bool bin_valid(const struct pages *pages, struct bin bin, uint64_t *runs)
{
	uint32_t previous = NONE;
	uint32_t page = pages->bins[bin.coarse][bin.fine];
	bool marked = (pages->fine_map[bin.coarse] >> bin.fine & 1u) != 0;

	if (marked != (page != NONE))
		return false;
	while (page != NONE) {
		struct bin right;

		/* A list that runs in a circle would be counted for ever. */
		if (page >= pages->count || ++*runs > pages->free_runs)
			return false;
		right = bin_of(pages->descriptors[page].count);
		if (right.coarse != bin.coarse || right.fine != bin.fine ||
			pages->descriptors[page].previous != previous ||
			bitmap_get(pages->bitmap, page) ||
			(page > 0 && !bitmap_get(pages->bitmap, page - 1)))
			return false;
		previous = page;
		page = pages->descriptors[page].next;
	}
	return true;
}

/* As many runs in the lists as free_runs says, each of them beginning where a free run begins. */
static bool bins_valid(const struct pages *pages)
{
	uint64_t runs = 0;

	for (uint32_t coarse = 0; coarse < COARSE; coarse++) {
		bool marked = (pages->coarse_map >> coarse & 1u) != 0;

		if (marked != (pages->fine_map[coarse] != 0))
			return false;
		for (uint32_t fine = 0; fine < FINE; fine++)
			if (!bin_valid(pages, (struct bin){coarse, fine}, &runs))
				return false;
	}
	return runs == pages->free_runs;
}

bool pages_valid(const struct pages *pages)
{
	uint64_t free_pages = 0, runs = 0, page = 0;

	if (pages->count > pages->max || pages->used > pages->count || !bins_valid(pages))
		return false;
	/* Each maximal stretch of clear bits is one run, with both its tags. Since there are as many
	 * of them as runs in the lists, and no list has one twice (bin_valid), all are in a list. */
	while ((page = bitmap_find(pages->bitmap, page, pages->count, false)) < pages->count) {
		uint64_t end = bitmap_find(pages->bitmap, page, pages->count, true);

		if (pages->descriptors[page].count != end - page ||
			pages->descriptors[end - 1].count != end - page)
			return false;
		free_pages += end - page;
		runs++;
		page = end;
	}
	return runs == pages->free_runs && free_pages + pages->used == pages->count;
}
