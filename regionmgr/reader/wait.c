/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for news: look, and sleep until the table's word `news` changes.
 *
 * No wake-up is lost: the word is loaded before the look, so a publish after the look changes it, and the
 * kernel then does not let this thread sleep; a publish while it sleeps wakes it. The argument with the
 * manager's side stands in regionmgr/manager/news.h. A look that finds nothing of what is waited for leads
 * back to sleep, and the caller is none the wiser.
 *
 * Dimensions are looked at in the library's own section, whose slot is shared by all threads of the
 * session: session.lock is held while entries are copied, never during the sleep.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/reader/reader.h"

/* A manager that was killed wakes nobody: sleepers look at the connection this often. */
#define LOOK_MS 500

#define EVENTS_ALL                                                                                 \
	((uint32_t)RGM_NEWS_VERSION | RGM_NEWS_CREATED | RGM_NEWS_CHANGED | RGM_NEWS_GROWN |       \
		RGM_NEWS_RENAMED | RGM_NEWS_DROPPED)
#define EVENTS_ANY                                                                                 \
	((uint32_t)RGM_NEWS_VERSION | RGM_NEWS_CREATED | RGM_NEWS_CHANGED | RGM_NEWS_DROPPED)

struct wait {
	struct rgm_session *session;
	const char *name; /* NULL: any dimension */
	uint32_t events;
	bool told; /* `seen` is known; else the first look is */
	struct rgm_news seen, found;
};

uint64_t rgm_current_version(const struct rgm_session *session)
{
	return load64_acquire(&session->table->current);
}

/* --- Sleeping --------------------------------------------------------------------------------- */

/* The one place that asks whether there will be news at all. The connection is looked at when LOOK_MS have
 * passed since it last was, and first of all. */
static int still_served(
	struct rgm_session *session, uint64_t now_ns, uint64_t *looked_ns, struct rgm_error *error)
{
	READER_NOT_CANCELLED;
	bool gone = load32_acquire(&session->table->state) != IPC_SERVING;
	if (!gone && now_ns - *looked_ns >= LOOK_MS * 1000000ull) {
		*looked_ns = now_ns;
		pthread_mutex_lock(&session->lock);
		/* The next manager may have taken over by now. */
		gone = reader_go_on(session, NULL) != 0;
		pthread_mutex_unlock(&session->lock);
	}
	if (!gone)
		return 0;
	return pool_fail(error, RGM_EGONE, "the manager at '%s' has stopped", session->socket_path);
}

/* 1: there is what is waited for; 0: not yet; negative: an error. */
typedef int look(struct wait *wait, struct rgm_error *error);

/* -ETIMEDOUT has no sentence yet: the caller knows what was waited for. */
static int sleep_for(
	struct wait *wait, look *look_once, int64_t timeout_ms, struct rgm_error *error)
{
	struct rgm_session *session = wait->session;
	uint64_t start_ns = os_now_ns(), now_ns = start_ns, looked_ns = 0;
	for (;; now_ns = os_now_ns()) {
		pthread_testcancel();
		uint32_t news = load32_acquire(&session->table->news);
		int rc = look_once(wait, error);
		if (rc)
			return rc < 0 ? rc : 0;
		rc = still_served(session, now_ns, &looked_ns, error);
		if (rc)
			return rc;
		int64_t left_ms = LOOK_MS;
		if (timeout_ms >= 0) {
			int64_t passed_ms = (int64_t)((now_ns - start_ns) / 1000000);
			if (passed_ms >= timeout_ms)
				return -ETIMEDOUT;
			if (timeout_ms - passed_ms < left_ms)
				left_ms = timeout_ms - passed_ms;
		}
		rc = os_futex_wait(&session->table->news, news, ipc_news_bit(news), left_ms);
		if (rc == -EINTR)
			return pool_fail(error, rc, "the wait was interrupted by a signal");
	}
}

/* --- A newer version -------------------------------------------------------------------------- */

static int look_at_version(struct wait *wait, struct rgm_error *error)
{
	(void)error;
	wait->found.version = rgm_current_version(wait->session);
	return wait->found.version > wait->seen.version;
}

int rgm_wait(struct rgm_session *session, uint64_t seen, int64_t timeout_ms, uint64_t *ret_version,
	struct rgm_error *error)
{
	if (reader_forked(session->here))
		return reader_fail_forked(error);
	struct wait wait = {.session = session, .seen = {.version = seen}};
	int rc = sleep_for(&wait, look_at_version, timeout_ms, error);
	if (rc == -ETIMEDOUT)
		return pool_fail(error, rc,
			"no version newer than %" PRIu64 " within %" PRId64 " ms", seen,
			timeout_ms);
	if (rc)
		return rc;
	reader_notice(session);
	*ret_version = wait.found.version;
	return 0;
}

/* --- Dimensions ------------------------------------------------------------------------------- */

static void describe(struct rgm_news *news, const struct ipc_dimension *entry, uint32_t index)
{
	news->present = 1;
	news->dimension =
		(struct rgm_dimension){.id = entry->id, .index = index, .kind = entry->kind};
	memset(news->name, 0, sizeof news->name);
	memcpy(news->name, entry->name, sizeof entry->name);
	news->generation = entry->generation;
	news->changed = entry->changed;
	news->region_bytes = entry->region_bytes;
}

/* Of one dimension, within the section: `found` becomes what has the name, or else what was seen, wherever
 * that is now; if neither is there it keeps what was seen. */
static uint32_t find_one(struct wait *wait, const struct ipc_top *top)
{
	const struct ipc_table *table = wait->session->table;
	const struct rgm_news *seen = &wait->seen;
	const struct ipc_dimension *kept = NULL;
	if (seen->present)
		kept = ipc_table_at(table, top, seen->dimension.index);
	if (kept && kept->id != seen->dimension.id)
		kept = NULL;
	uint32_t index = 0, events = 0;
	const struct ipc_dimension *named =
		ipc_table_find(table, top, wait->name, strlen(wait->name), &index);
	wait->found.present = 0;
	if (named)
		describe(&wait->found, named, index);
	else if (kept)
		describe(&wait->found, kept, seen->dimension.index);
	if (kept && strncmp(kept->name, seen->name, sizeof kept->name) != 0)
		events |= RGM_NEWS_RENAMED;
	if (seen->present && !kept)
		events |= RGM_NEWS_DROPPED;
	return events;
}

static uint32_t compare_one(const struct rgm_news *seen, const struct rgm_news *found)
{
	bool same = seen->present && found->dimension.id == seen->dimension.id;
	uint32_t events = 0;
	if (!found->present)
		return 0;
	if (!same)
		events |= RGM_NEWS_CREATED;
	if (!same || found->generation != seen->generation)
		events |= RGM_NEWS_CHANGED;
	if (found->region_bytes > (same ? seen->region_bytes : 0))
		events |= RGM_NEWS_GROWN;
	return events;
}

/* Of all dimensions, within the section. */
static uint32_t find_any(struct wait *wait, const struct ipc_top *top, uint64_t version)
{
	const struct ipc_table *table = wait->session->table;
	const struct ipc_dimension *entry;
	uint32_t events = 0;
	for (uint32_t index = 0; (entry = ipc_table_at(table, top, index)); index++) {
		if (entry->id == 0)
			continue;
		if (entry->id > wait->found.newest)
			wait->found.newest = entry->id;
		if (entry->changed > wait->seen.version)
			events |= RGM_NEWS_CHANGED;
	}
	/* Ids grow and are never used again. */
	if (wait->found.newest > wait->seen.newest)
		events |= RGM_NEWS_CREATED | RGM_NEWS_CHANGED;
	/* It is stored before the version: of a later one the next look tells. */
	uint64_t dropped = load64_acquire(&table->dropped);
	if (dropped > wait->seen.version && dropped <= version)
		events |= RGM_NEWS_DROPPED;
	return events;
}

static uint32_t look_inside(struct wait *wait)
{
	READER_NOT_CANCELLED;
	struct rgm_session *session = wait->session;
	uint64_t version;
	uint32_t events;
	bool void_now;
	pthread_mutex_lock(&session->lock);
	do { /* What was taken back meanwhile says nothing. */
		wait->found = wait->seen;
		wait->found.events = 0;
		version = reader_own_enter(session);
		const struct ipc_top *top = ipc_table_top(session->table, version);
		events = wait->name ? find_one(wait, top) : find_any(wait, top, version);
		void_now = ipc_section_revoked(session->revoked, version);
		reader_own_exit(session);
	} while (void_now);
	pthread_mutex_unlock(&session->lock);
	if (wait->name)
		events |= compare_one(&wait->seen, &wait->found);
	wait->found.version = version;
	if (version > wait->seen.version)
		events |= RGM_NEWS_VERSION;
	return events;
}

static int look_at_dimensions(struct wait *wait, struct rgm_error *error)
{
	uint32_t events = look_inside(wait);
	if (!wait->told) {
		/* All that this look found was there at the call. */
		wait->told = true;
		wait->seen = wait->found;
		events = 0;
	}
	wait->found.events = events & wait->events;
	if (wait->found.events)
		return 1;
	if (wait->name && !wait->found.present &&
		!(wait->events & (RGM_NEWS_VERSION | RGM_NEWS_CREATED))) {
		pool_fail(error, RGM_ENODIM, "there is no dimension '%s' to wait for", wait->name);
		pool_hint(error, "RGM_NEWS_CREATED waits until there is one");
		return RGM_ENODIM;
	}
	return 0;
}

/* The options, checked, as a wait. */
static int prepare(
	struct wait *wait, const struct rgm_wait_options *options, struct rgm_error *error)
{
	if (options->events == 0 || (options->events & ~EVENTS_ALL))
		return pool_fail(error, -EINVAL,
			"the events 0x%x are none, or not all of enum rgm_news_event",
			options->events);
	if (!options->name && (options->events & ~EVENTS_ANY))
		return pool_fail(
			error, -EINVAL, "growth and renames are waited for by a dimension's name");
	wait->name = options->name;
	wait->events = options->events;
	int rc = options->name ? ipc_check_name("dimension", options->name, error) : 0;
	if (rc || !options->seen)
		return rc;
	wait->told = true;
	wait->seen.size = sizeof wait->seen;
	rc = pool_options(&wait->seen, sizeof wait->seen, options->seen, error);
	/* Filled in by hand it need not repeat the name. */
	if (rc == 0 && wait->name && wait->seen.present && !wait->seen.name[0])
		memcpy(wait->seen.name, wait->name, strlen(wait->name));
	return rc;
}

int rgm_wait_for(struct rgm_session *session, const struct rgm_wait_options *options,
	struct rgm_news *ret_news, struct rgm_error *error)
{
	if (reader_forked(session->here))
		return reader_fail_forked(error);
	struct rgm_wait_options own = {.size = sizeof own};
	struct wait wait = {.session = session};
	int rc = pool_options(&own, sizeof own, options, error);
	if (rc == 0)
		rc = prepare(&wait, &own, error);
	if (rc)
		return rc;
	rc = sleep_for(&wait, look_at_dimensions, own.timeout_ms, error);
	if (rc == -ETIMEDOUT && own.name)
		return pool_fail(error, rc, "no news of dimension '%s' within %" PRId64 " ms",
			own.name, own.timeout_ms);
	if (rc == -ETIMEDOUT)
		return pool_fail(error, rc, "no news within %" PRId64 " ms", own.timeout_ms);
	if (rc)
		return rc;
	reader_notice(session);
	return pool_result(ret_news, &wait.found, sizeof wait.found, error);
}
