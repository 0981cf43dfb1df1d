/* SPDX-License-Identifier: Apache-2.0 */
/* The list of sessions as reclaim and info see it. The rest of sessions.c stands in manager.h. */
#ifndef MANAGER_SESSIONS_H
#define MANAGER_SESSIONS_H

#include "ipc/slot.h"
#include "regionmgr/manager/manager.h"

int sessions_create(
	struct rgm_manager *manager, struct sessions **ret_sessions, struct rgm_error *error);
/*
 * The sessions that a manager which died has left, by its book: each counts as alive until its lock is
 * free. RGM_EGONE where a name is missing: then somebody may read of whom nothing can be known.
 */
int sessions_adopt(
	struct rgm_manager *manager, struct sessions **ret_sessions, struct rgm_error *error);
/* Forget all sessions: unmap, unlink. The readers keep their mappings. NULL is allowed. */
void sessions_destroy(struct sessions *sessions);

/* Everything in view, as one scan saw it. */
struct sessions_view {
	struct ipc_seen sections; /* sorted */
	struct ipc_held *holds;   /* sorted by dimension, then version */
	size_t hold_count;
	size_t hold_capacity;
};
void sessions_view_free(struct sessions_view *view);

/*
 * One scan, M3 to M5 of ipc/slot.h: barrier, all slot words, then all holds. Negative: the barrier
 * failed while a session with the membarrier bit lives, or no memory; then nothing may be reused.
 * Slots of dead processes do not count.
 */
int sessions_scan(struct sessions *sessions, struct sessions_view *view);

uint32_t sessions_count(struct sessions *sessions);
/* Holds on a dimension, over all sessions. */
uint32_t sessions_holds_on(struct sessions *sessions, uint64_t dimension);
/* What one session sees, for `readers`; rows by number behind `after`. Calls `each` with the session's
 * own view; nothing of it stays valid. */
struct session_look {
	uint64_t number;
	const char *label;
	pid_t pid;
	uid_t uid;
	gid_t gid;
	bool alive;
	bool membarrier;
	uint32_t mapped;
	uint64_t attached_ns; /* CLOCK_MONOTONIC */
	struct sessions_view view;
	uint32_t sections;
	bool warned; /* an old section was logged */
};
void sessions_each(struct sessions *sessions, uint64_t after, size_t most,
	void (*each)(void *context, struct session_look *look), void *context);

/* Remember for a session, if it is still there, that an old section of it was logged or is over. */
void sessions_set_warned(struct sessions *sessions, uint64_t number, bool warned);

#endif
