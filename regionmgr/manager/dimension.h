/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dimension in the manager, and the registry that finds it.
 *
 * What changes with a commit stands in an immutable struct dim_state that is replaced as a whole; the
 * state is the registry's node for the name. Whoever looks (event thread, info, maps) does so inside
 * an RCU read section of this process (liburcu-bp) and takes no lock; whoever changes holds the
 * manager's commit lock.
 */
#ifndef MANAGER_DIMENSION_H
#define MANAGER_DIMENSION_H

#include <urcu/urcu-bp.h>
#include <urcu/rculfhash.h>
#include <urcu/ref.h>

#include "ipc/slot.h"
#include "regionmgr/manager/manager.h"

struct dim_state {
	struct cds_lfht_node by_name;
	struct rcu_head rcu;
	struct dimension *dimension;
	char name[RGM_NAME_MAX + 1];
	struct pool_root root;
	struct dim_summary summary;
	uint64_t changed_ns; /* CLOCK_REALTIME; 0: not in this run */
};

/* How many living sessions were given a handle of a dimension. Apart from the dimension, so that a
 * session that stays does not keep a dropped one's region open. */
struct map_figure {
	struct urcu_ref references;
	atomic_uint sessions; /* relaxed: a figure */
	atomic_bool dropped;  /* relaxed: a figure */
};
void map_figure_put(struct map_figure *figure);

struct dimension {
	struct cds_lfht_node by_id;
	struct rcu_head rcu;
	struct urcu_ref references;
	struct rgm_manager *manager;
	/* constant after creation */
	uint64_t id;
	uint32_t index; /* in the region table */
	const struct dim_kind *kind;
	uint64_t max_bytes;
	char file[32]; /* name in the folder */
	struct rgm_principal access[MANAGER_ACCESS_MAX];
	size_t access_count;
	/* NULL: refused, `reason` says why. Set once more when the reason was RGM_EINUSE and is gone:
	 * under commit, store-release; loaded with acquire by dimension_region(). */
	struct pool_region *region;
	int refused_code; /* under commit */
	char reason[256]; /* written before the dimension is found by anybody */
	/* replaced under commit, read under RCU */
	struct dim_state *state;
	bool dropped;                        /* under commit */
	atomic_uint_least64_t retired_pages; /* relaxed: a figure */
	struct map_figure *mapped;           /* constant */
};

int registry_create(struct rgm_manager *manager, struct registry **ret_registry);
void registry_destroy(struct rgm_manager *manager);

/* A dimension with one reference and no state, not found by anybody yet. */
struct dimension *dimension_create(struct rgm_manager *manager, uint64_t id);
/* A state to come; NULL: no memory. */
struct dim_state *dim_state_create(struct dimension *dimension, const char *name);
static inline struct pool_region *dimension_region(const struct dimension *dimension)
{
	return __atomic_load_n(&dimension->region, __ATOMIC_ACQUIRE);
}
void dimension_get(struct dimension *dimension);
/* As it is: dirty if it was changed. NULL is allowed. */
void dimension_close_region(struct pool_region *region);

/* The following under the commit lock; they cannot fail. */
/* Make it found; the registry takes a reference. A state that it had before is freed. */
void registry_add(
	struct rgm_manager *manager, struct dimension *dimension, struct dim_state *state);
/* Replace its state, perhaps under another name. The old one is freed after a grace period. */
void registry_update(struct dimension *dimension, struct dim_state *state);
/* Not found any more; the registry's reference is given back. */
void registry_remove(struct dimension *dimension);

/* Call for each dimension, in no order, inside an RCU read section: until nonzero is returned. */
int registry_each(struct rgm_manager *manager,
	int (*each)(void *context, struct dimension *dimension, const struct dim_state *state),
	void *context);

#endif
