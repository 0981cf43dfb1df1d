/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kinds of dimension: what the bytes of a region mean. A kind is a struct of functions and one line
 * in the table of kind.c. It knows regions (pool/) and nothing of sockets, sessions or versions in
 * view: it writes new blocks, tells which blocks a change made unreachable, and leaves to the manager
 * when these are reused.
 */
#ifndef DIMENSIONS_KIND_H
#define DIMENSIONS_KIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/region.h"
#include <regionmgr/control.h>

/* A run of pages with the version from which it could be reached. */
struct dim_block {
	uint64_t page;
	uint64_t count;
	uint64_t born;
};

/* A growing list of blocks. */
struct dim_blocks {
	struct dim_block *items;
	size_t count;
	size_t capacity;
};
/* -ENOMEM, the list as it was. After a reserve of n blocks the next n additions succeed. */
int dim_blocks_reserve(struct dim_blocks *blocks, size_t more);
int dim_blocks_add(struct dim_blocks *blocks, uint64_t page, uint64_t count, uint64_t born);
void dim_blocks_free(struct dim_blocks *blocks);

/* What every kind can tell of its content at a root. */
struct dim_summary {
	uint64_t layers; /* items of the kind */
	uint64_t bytes;  /* of content */
	uint64_t pages;  /* reachable from the root, the kind's own blocks included */
};

struct dim_kind {
	uint32_t number;  /* enum rgm_kind; part of the format */
	const char *name; /* as in --kind */

	/* Write an empty content: its root block is allocated and written, born at `version`. */
	int (*create)(struct pool_region *region, uint64_t version, struct pool_root *ret_root,
		struct rgm_error *error);

	/* Where a version of a dead manager left no more than root->offset: fill in bytes and checksum from
	 * what stands there, of which open() then proves whether it is right. RGM_ECORRUPT. */
	int (*find_root)(
		struct pool_region *region, struct pool_root *root, struct rgm_error *error);

	/* Read and verify the kind's own blocks at a root (not the content's bytes). RGM_ECORRUPT. */
	int (*open)(struct pool_region *region, const struct pool_root *root,
		struct dim_summary *ret_summary, struct rgm_error *error);

	/* Every block reachable from a root, appended to `blocks`. It verifies what open() does, and tells
	 * what that tells (NULL: is not asked). */
	int (*reach)(struct pool_region *region, const struct pool_root *root,
		struct dim_blocks *blocks, struct dim_summary *ret_summary,
		struct rgm_error *error);

	/* Verify every checksum, content included; *report is zero at the start. Problems are counted
	 * and the first is named in it; only what prevents going on is an error. */
	int (*check)(struct pool_region *region, const struct pool_root *root,
		rgm_progress progress, void *context, struct rgm_check_report *report,
		struct rgm_error *error);
};

/* NULL if there is none. */
const struct dim_kind *dim_kind_by_number(uint32_t number);
const struct dim_kind *dim_kind_by_name(const char *name);
/* The table, for lists and hints. */
const struct dim_kind *dim_kind_at(size_t index);

/*
 * The whole check of a region at a root: kind->check, and the allocation map against what is
 * reachable: each reachable page is used, and reached once; each used page is reachable or in `known`
 * (NULL: nothing else is known). With `known` being &dim_unknown the latter is not asked: for a region
 * that is served, with loads under way whose pages nobody can reach yet. A file found dirty has no
 * allocation map: there nothing is compared with it.
 * Returns 0 with report->problems counted; the caller judges.
 */
extern const struct dim_blocks dim_unknown;
int dim_check(struct pool_region *region, const struct pool_root *root,
	const struct dim_blocks *known, rgm_progress progress, void *context,
	struct rgm_check_report *report, struct rgm_error *error);

#endif
