/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done about a session that lags: taking back what it sees, or ending its process.
 *
 * Revocation. The session has a word in the table, at its place, which it can only read. A section or a
 * hold of it at version v is void once that word is above v; its end compares (R6a, R6b of ipc/slot.h).
 *
 *   manager                                     reader
 *   V1  revoked = r, r <= current (release)     … reads at v, past R4 …
 *   V2  full barrier, as M3                     R6a  the reads before the next load
 *   V3  session.revoked = r: scans count        R6b  load revoked
 *       no word or hold of it below r           R6   v < revoked: RGM_EREVOKED, all of it is void
 *   V4  a scan, M2 to M6; blocks that only
 *       these kept are written anew
 *
 * Promise 1. A section or hold whose end returned 0 read nothing that was written anew while it was in
 * force. Suppose it read a byte that was stored after V4. That store comes after V1 and V2: whoever
 * writes got the block from reclaim by the locks of its region, and reclaim saw V3 under sessions.lock.
 * R6a puts the read before R6b, so R6b sees r or more, and r > v, since the claim was left out. (In a
 * process that registered for membarrier R6a need only keep the compiler's order: V2 makes each of its
 * threads pass a full barrier between V1 and V4, and a thread that is to read what is stored after V4
 * has not come to R6b then.)
 *
 * Promise 2. A section that begins later is protected as ever: one whose R3 comes after V2 passes R4 with
 * a `current` of at least r, which it was at V1 already, so its word is not below r. The current version
 * is never void, and a section at it goes on.
 *
 * Promise 3. Nobody else is touched: no other session's word or hold is left out.
 *
 * Holds. One below r was stored in a section below r, or before: it is void by the same argument, also
 * where forked children still read through it. One that is stored later, in a void section, has that
 * section's version and is void from the start.
 *
 * The manager believes its own copy, never the word in shared memory, and stores it only after the
 * barrier: if membarrier(2) fails in front of a session that has the bit, V3 does not happen
 * and everything it sees is kept. V1 cannot be undone; its reader is then told once that something is
 * void which is not.
 *
 * A place is given to another session, and its word set back to 1, when the lock of the old one's
 * segment is free: nobody is left who compares anything with it.
 */
#include <errno.h>
#include <string.h>

#include "pool/os.h"
#include "regionmgr/manager/sessions_internal.h"
#include "regionmgr/manager/table.h"

/* Under sessions.lock; NULL: it is gone. */
static struct session *find(struct sessions *sessions, uint64_t number)
{
	struct session *session = sessions->first;
	while (session && session->number != number)
		session = session->next;
	return session;
}

void sessions_set_warned(struct sessions *sessions, uint64_t number, bool warned)
{
	pthread_mutex_lock(&sessions->lock);
	struct session *session = find(sessions, number);
	if (session)
		session->warned = warned;
	pthread_mutex_unlock(&sessions->lock);
}

static int take_back(struct rgm_manager *manager, struct session *session, uint64_t version)
{
	if (version <= session->revoked)
		return 0;
	table_revoke(manager->table, session->place, version); /* V1 */
	if (ipc_manager_barrier(manager->membarrier) &&        /* V2 */
		load32_acquire(&session->segment->membarrier))
		return -EAGAIN;
	session->revoked = version; /* V3 */
	session->warned = false;
	return 0;
}

int sessions_revoke(struct sessions *sessions, uint64_t number, uint64_t version)
{
	pthread_mutex_lock(&sessions->lock);
	struct session *session = find(sessions, number);
	int rc = session ? take_back(sessions->manager, session, version) : -ENOENT;
	pthread_mutex_unlock(&sessions->lock);
	return rc;
}

/* The process is named by its pidfd alone; a number could be another's by now. */
static int kill_process(struct session *session, const char **ret_why)
{
	if (session->pid == session->manager->pid) {
		*ret_why = "it is the manager's own process";
		return -EPERM;
	}
	if (session->killed_ns) {
		*ret_why = "it was killed, and what it sees is still kept";
		return -ESRCH;
	}
	if (session->pidfd < 0) {
		*ret_why = "no pidfd names its process";
		return -EBADF;
	}
	int rc = os_pidfd_kill(session->pidfd);
	if (rc) {
		*ret_why = rc == -EPERM   ? "killing its process is not permitted"
		           : rc == -ESRCH ? "its process has ended, and a child of it has its holds"
		                          : "its process could not be killed";
		return rc;
	}
	session->killed_ns = os_now_ns();
	return 0;
}

int sessions_kill(struct sessions *sessions, uint64_t number, const char **ret_why)
{
	pthread_mutex_lock(&sessions->lock);
	struct session *session = find(sessions, number);
	int rc = session ? kill_process(session, ret_why) : -ENOENT;
	pthread_mutex_unlock(&sessions->lock);
	return rc;
}
