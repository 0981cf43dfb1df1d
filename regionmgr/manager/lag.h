/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies for readers that lag (manager.lag_policy).
 *
 * A session lags while it keeps memory and the oldest version that it sees was replaced more than
 * warn_section_ms ago. That is logged, once. The policies `limit` and `kill` act on one that lags and
 * keeps more than lag_bytes: they take back what it sees below the current version (sessions_lag.c), or
 * kill its process and take it back where that cannot be done. A reader that is never old is never
 * touched, whatever it keeps.
 */
#ifndef MANAGER_LAG_H
#define MANAGER_LAG_H

#include "regionmgr/manager/manager.h"

/* The policy's name in the log and on the command line. */
const char *lag_policy_name(enum rgm_lag_policy policy);

/* One look at all sessions. Called by the reclaim thread now and then while something waits. */
void lag_look(struct rgm_manager *manager);

/*
 * Every ring entry is in view, and a commit, whose lock is held, needs one. Unless the policy is `warn`,
 * revoke the sessions that see the oldest version of all, however young it is and little they keep; also
 * under `kill`, since a commit waits for no death. False: nobody was revoked. After true a scan finds
 * that version's entry free, unless readers moved meanwhile; who asks again until it is false comes to
 * an end, since each session can be revoked once below the version that is current.
 */
bool lag_make_room(struct rgm_manager *manager);

#endif
