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
 * Slots of dead processes do not count, nor does what was revoked.
 */
int sessions_scan(struct sessions *sessions, struct sessions_view *view);

uint32_t sessions_count(struct sessions *sessions);
/* Holds on a dimension, over all sessions; void ones are none. */
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
	uint64_t attached_ns;      /* CLOCK_MONOTONIC */
	struct sessions_view view; /* without what is void */
	uint32_t sections;         /* likewise */
	uint32_t voided;           /* sections and holds that are */
	uint64_t revoked;   /* what it sees of versions below is void; 1: nothing was revoked */
	bool warned;        /* that it lags was logged */
	uint64_t killed_ns; /* CLOCK_MONOTONIC, when it was for lagging; 0: it was not */
};
void sessions_each(struct sessions *sessions, uint64_t after, size_t most,
	void (*each)(void *context, struct session_look *look), void *context);

/* --- sessions_lag.c: what is done about a session that lags, if it is still there -------------- */

/* Remember that this was logged, or is over. */
void sessions_set_warned(struct sessions *sessions, uint64_t number, bool warned);
/*
 * Take back what it sees of versions below `version`, which is at most the current one. 0: scans do not
 * count it from now on; -ENOENT: the session is gone; -EAGAIN: the barrier failed, and all of it is
 * kept (its reader may be told that it is void all the same).
 */
int sessions_revoke(struct sessions *sessions, uint64_t number, uint64_t version);
/* SIGKILL to its process, by its pidfd. 0; -ENOENT: the session is gone; else *ret_why says, in words
 * that follow "because", what stood against it. */
int sessions_kill(struct sessions *sessions, uint64_t number, const char **ret_why);

#endif
