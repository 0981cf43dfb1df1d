/* SPDX-License-Identifier: Apache-2.0 */
/* The session and the list of them inside: shared by sessions.c (their lives), sessions_look.c (what
 * they see) and sessions_lag.c (taking it back). */
#ifndef MANAGER_SESSIONS_INTERNAL_H
#define MANAGER_SESSIONS_INTERNAL_H

#include "ipc/socket.h"
#include "regionmgr/manager/book.h"
#include "regionmgr/manager/dimension.h"
#include "regionmgr/manager/segments.h"
#include "regionmgr/manager/sessions.h"

struct session {
	struct session *next;
	struct rgm_manager *manager;
	uint64_t number;
	char label[32];
	pid_t pid;
	uid_t uid;
	gid_t gid;
	gid_t groups[64];
	size_t group_count;
	int pidfd;
	uint64_t attached_ns;
	char name[IPC_SHM_NAME_BYTES];
	int file; /* a description without a lock, to probe the reader's */
	struct ipc_segment *segment;
	uint64_t segment_bytes;
	uint32_t slots, holds;
	uint32_t place; /* in the table's revoked words */
	uint8_t token[16];
	uint64_t damage; /* relaxed, by the SIGBUS guard */
	/* under sessions.lock */
	bool connected;
	bool alive;
	bool warned;
	bool damage_told;
	uint64_t revoked;   /* the manager's own copy of its revoked word, once that is in force */
	uint64_t killed_ns; /* 0: not for lagging */
	/* Figures of the dimensions given to it, with a reference each. */
	struct map_figure **mapped;
	uint32_t mapped_count, mapped_capacity;
};

struct sessions {
	struct rgm_manager *manager;
	struct segments *segments;
	pthread_mutex_t lock; /* guards the list and what is marked above; order: see manager.h */
	struct session *first, *last; /* by number */
	uint32_t count;
	uint64_t next_number;
	uint64_t *places_used; /* bits */
	struct book *book; /* in shared memory, for a manager that takes over; rows under lock or
	                        * of a session that is in no list */
};

/* Without a book. NULL: no memory. */
struct sessions *sessions_new(struct rgm_manager *manager);
/* Put a session behind the others: its number is the highest so far. Takes the lock. */
void sessions_append(struct sessions *sessions, struct session *session);
/* What it has goes, and its name unless that is to be left for another manager. */
void session_free(struct session *session, bool leave_name);

#endif
