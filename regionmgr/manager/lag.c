/* SPDX-License-Identifier: Apache-2.0 */
/* See lag.h. No lock of the manager is held while something is logged here but the commit lock. */
#include "regionmgr/manager/lag.h"

#include <errno.h>
#include <stdio.h>

#include "regionmgr/manager/readers.h"
#include "regionmgr/manager/reclaim.h"
#include "regionmgr/manager/table.h"

/* A process that was killed and is still there after this long is stuck in the kernel. */
#define KILL_PATIENCE_NS 5000000000ull

const char *lag_policy_name(enum rgm_lag_policy policy)
{
	switch (policy) {
	case RGM_LAG_LIMIT:
		return "limit";
	case RGM_LAG_KILL:
		return "kill";
	case RGM_LAG_WARN:
		break;
	}
	return "warn";
}

/* What was done, and the rest of the sentence "reader … keeps … bytes: …". */
static void tell(struct rgm_manager *manager, const struct rgm_reader_row *row, const char *event,
	const char *done, const char *because)
{
	manager_log(manager, RGM_LOG_WARNING, event,
		MANAGER_FIELDS({"reader", NULL, row->number}, {"pid", NULL, row->pid},
			{"user", NULL, row->uid}, {"label", row->label, 0},
			{"policy", lag_policy_name(manager->lag_policy), 0},
			{"version", NULL, row->oldest_version},
			{"kept_bytes", NULL, row->kept_bytes},
			{"age_ms", NULL, row->age_ns / 1000000},
			{"revoked_version", NULL, row->revoked_version}),
		"reader %lu (process %u, user %u, '%s') has seen version %lu for %lu ms and keeps "
		"%lu bytes%s%s (policy %s)",
		row->number, row->pid, row->uid, row->label, row->oldest_version,
		row->age_ns / 1000000, row->kept_bytes, done, because,
		lag_policy_name(manager->lag_policy));
}

static void warn(struct rgm_manager *manager, const struct looked *looked, bool lags)
{
	if (lags == looked->warned)
		return;
	sessions_set_warned(manager->sessions, looked->row.number, lags);
	if (!lags)
		return;
	manager_count(manager, COUNTER_readers_warned, 1);
	tell(manager, &looked->row, "lagging", "", "");
}

/* True: it was revoked. `because`: what to add, beginning with a comma, or "". */
static bool take_back(struct rgm_manager *manager, struct looked *looked, const char *because)
{
	struct rgm_reader_row *row = &looked->row;
	uint64_t version = table_current(manager->table);
	int rc = sessions_revoke(manager->sessions, row->number, version);
	if (rc == -ENOENT)
		return false;
	if (rc) {
		/* Nothing is reused, and the next look tries again. */
		warn(manager, looked, true);
		return false;
	}
	row->revoked_version = version;
	manager_count(manager, COUNTER_readers_revoked, 1);
	tell(manager, row, "revoked", ": they are taken back", because);
	reclaim_wake(manager->reclaim);
	return true;
}

static void kill_or_revoke(struct rgm_manager *manager, struct looked *looked, uint64_t now_ns)
{
	const char *why = "";
	char because[96];
	if (looked->killed_ns && looked->row.alive && now_ns < looked->killed_ns + KILL_PATIENCE_NS)
		return;
	int rc = sessions_kill(manager->sessions, looked->row.number, &why);
	if (rc == -ENOENT)
		return;
	if (rc == 0) {
		manager_count(manager, COUNTER_readers_killed, 1);
		tell(manager, &looked->row, "killed", ": its process is killed", "");
		return;
	}
	snprintf(because, sizeof because, ", because %s", why);
	take_back(manager, looked, because);
}

void lag_look(struct rgm_manager *manager)
{
	struct looks looks;
	if (looks_take(manager, 0, sessions_count(manager->sessions), &looks))
		return;
	for (size_t i = 0; i < looks.count; i++) {
		struct looked *looked = &looks.items[i];
		looks_measure(manager, &looks, looked);
		const struct rgm_reader_row *row = &looked->row;
		bool lags = row->kept_bytes && row->age_ns > manager->warn_section_ms * 1000000ull;
		bool much = lags && row->kept_bytes > manager->lag_bytes;
		if (much && manager->lag_policy == RGM_LAG_KILL)
			kill_or_revoke(manager, looked, looks.now_ns);
		else if (much && manager->lag_policy == RGM_LAG_LIMIT)
			take_back(manager, looked, "");
		else
			warn(manager, looked, lags);
	}
	looks_free(&looks);
}

/* --- Room in the ring ------------------------------------------------------------------------- */

/* The oldest version of a session's sections that stands in the ring and is not current; UINT64_MAX:
 * none. Words are hostile: one that was never a version, or is no longer in the ring, keeps no entry. */
static uint64_t oldest_in_ring(const struct table *table, const struct looked *looked)
{
	const struct ipc_seen *sections = &looked->view.sections;
	for (size_t i = 0; i < sections->count; i++)
		if (table_replaced_ns(table, sections->versions[i]))
			return sections->versions[i];
	return UINT64_MAX;
}

bool lag_make_room(struct rgm_manager *manager)
{
	if (manager->lag_policy == RGM_LAG_WARN)
		return false;
	struct looks looks;
	if (looks_take(manager, 0, sessions_count(manager->sessions), &looks))
		return false;
	uint64_t oldest = UINT64_MAX;
	for (size_t i = 0; i < looks.count; i++) {
		uint64_t version = oldest_in_ring(manager->table, &looks.items[i]);
		if (version < oldest)
			oldest = version;
	}
	bool any = false;
	for (size_t i = 0; i < looks.count && oldest != UINT64_MAX; i++) {
		struct looked *looked = &looks.items[i];
		if (!ipc_seen_any(&looked->view.sections, oldest, oldest + 1))
			continue;
		looks_measure(manager, &looks, looked);
		any |= take_back(manager, looked, ", because every entry of the ring is in view");
	}
	looks_free(&looks);
	return any;
}
