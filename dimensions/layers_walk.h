/* SPDX-License-Identifier: Apache-2.0 */
/* One way through a whole directory, for all who want to see all of it. */
#ifndef DIMENSIONS_LAYERS_WALK_H
#define DIMENSIONS_LAYERS_WALK_H

#include "dimensions/kind.h"
#include "dimensions/layers_directory.h"

/* What to do on the way; NULL members are passed over. Nonzero from one of them ends the walk. */
struct layers_visitor {
	/* A block of the directory itself. */
	int (*block)(void *context, uint64_t page, uint64_t count, uint64_t born,
		struct rgm_error *error);
	int (*entry)(void *context, const struct layers_leaf *leaf,
		const struct layers_entry *entry, struct rgm_error *error);
	/* A block could not be read or is not sound, as *error says. 0: go on without it. NULL: the
	 * walk ends with that error. */
	int (*damaged)(void *context, struct rgm_error *error);
};

/* Visit everything that a root reaches, each block verified first, and verify the root's totals. */
int layers_walk(struct pool_region *region, const struct pool_root *root,
	const struct layers_visitor *visitor, void *context, struct dim_summary *ret_summary,
	struct rgm_error *error);

#endif
