/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions as others are told of them: what each one sees, what that keeps, and for how long. */
#ifndef MANAGER_READERS_H
#define MANAGER_READERS_H

#include "regionmgr/manager/sessions.h"

/* What a session sees, copied out of the sessions' lock: kept bytes are counted under reclaim's,
 * which is taken before it. */
struct looked {
	struct rgm_reader_row row;
	struct sessions_view view;
	bool warned;
	uint64_t killed_ns; /* see struct session_look */
};

struct looks {
	struct looked *items;
	size_t count;
	uint64_t now_ns; /* CLOCK_MONOTONIC */
};

/* Sessions by number behind `after`, `most` of them; age_ns and kept_bytes are 0. -ENOMEM. To be
 * freed on success. */
int looks_take(struct rgm_manager *manager, uint64_t after, size_t most, struct looks *ret_looks);
/* Fill in age_ns and kept_bytes. Takes reclaim.lock. */
void looks_measure(struct rgm_manager *manager, const struct looks *looks, struct looked *looked);
void looks_free(struct looks *looks);

#endif
