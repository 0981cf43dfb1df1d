/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: the segment of each attached reader, read as hostile bytes; its death, told by its lock.
 *
 * A session ends when its segment's lock is free: nobody maps the segment any more, so nobody holds a
 * span of it. Hang-up and the death of the process only prompt the question. Death, proven by a pidfd,
 * makes its slot words count no more at once; its holds may be inherited by a child and count until
 * the lock is free.
 */
#include "regionmgr/manager/sessions_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/guard.h"
#include "ipc/socket.h"
#include "pool/bitmap.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/dimension.h"
#include "regionmgr/manager/files.h"
#include "regionmgr/manager/reclaim.h"
#include "regionmgr/manager/table.h"

#define SLOTS_DEFAULT 128u
#define HOLDS_DEFAULT 256u

struct sessions *sessions_new(struct rgm_manager *manager)
{
	struct sessions *sessions = calloc(1, sizeof *sessions);
	uint64_t *places = calloc(manager->max_readers / BITMAP_WORD_BITS + 1, sizeof *places);
	if (!sessions || !places) {
		free(sessions);
		free(places);
		return NULL;
	}
	sessions->manager = manager;
	sessions->next_number = 1;
	sessions->places_used = places;
	/* One slot more than a reader gets: see session_create(). */
	if (segments_create(SLOTS_DEFAULT + 1, HOLDS_DEFAULT, &sessions->segments)) {
		free(sessions);
		free(places);
		return NULL;
	}
	pthread_mutex_init(&sessions->lock, NULL);
	return sessions;
}

int sessions_create(
	struct rgm_manager *manager, struct sessions **ret_sessions, struct rgm_error *error)
{
	struct sessions *sessions = sessions_new(manager);
	if (!sessions)
		return pool_fail(error, -ENOMEM, "sessions: no memory");
	int rc = book_create(manager, &sessions->book);
	if (rc) {
		sessions_destroy(sessions);
		return pool_fail(
			error, rc, "shared memory for the book of sessions: %s", strerror(-rc));
	}
	*ret_sessions = sessions;
	return 0;
}

void session_free(struct session *session, bool leave_name)
{
	if (session->segment) {
		guard_remove(session->segment);
		os_unmap(session->segment, session->segment_bytes);
	}
	if (session->file >= 0) {
		close(session->file);
		if (!leave_name)
			os_shm_unlink(session->name);
	}
	if (session->pidfd >= 0)
		close(session->pidfd);
	for (uint32_t i = 0; i < session->mapped_count; i++) {
		atomic_fetch_sub_explicit(&session->mapped[i]->sessions, 1, memory_order_relaxed);
		map_figure_put(session->mapped[i]);
	}
	free(session->mapped);
	free(session);
}

void sessions_destroy(struct sessions *sessions)
{
	if (!sessions)
		return;
	while (sessions->first) {
		struct session *session = sessions->first;
		sessions->first = session->next;
		session_free(session, sessions->manager->leave_names);
	}
	if (sessions->book)
		book_destroy(sessions->manager, sessions->book);
	segments_destroy(sessions->segments);
	pthread_mutex_destroy(&sessions->lock);
	free(sessions->places_used);
	free(sessions);
}

/* --- Attaching -------------------------------------------------------------------------------- */

/* A segment, with its name, guarded; and the reader's description of it, locked. */
static int make_segment(struct session *session, int *ret_reader, struct rgm_error *error)
{
	struct segment segment;
	int reader = -1;
	int rc = segments_take(
		session->manager->sessions->segments, session->slots, session->holds, &segment);
	if (rc == 0) {
		session->segment = segment.base;
		memcpy(session->token, segment.token, sizeof session->token);
		rc = os_shm_link(segment.file, session->name);
		if (rc)
			close(segment.file);
		else
			session->file = segment.file;
	}
	if (rc)
		return pool_fail(error, rc, "shared memory '%s' could not be made: %s",
			session->name, strerror(-rc));
	rc = files_check_reserve(session->file, FILES_RESERVE_SESSION, "another reader", error);
	if (rc)
		return rc;
	rc = guard_add(session->segment, session->segment_bytes, true, false, &session->damage);
	if (rc == 0)
		rc = os_open_anew(session->file, true, &reader);
	if (rc == 0)
		rc = os_lock_exclusive(reader);
	if (rc) {
		if (reader >= 0)
			close(reader);
		return pool_fail(error, rc, "shared memory '%s': %s", session->name, strerror(-rc));
	}
	*ret_reader = reader;
	return 0;
}

static struct session *session_create(struct rgm_manager *manager, const struct peer *peer,
	const char *label, uint32_t slots, uint32_t holds)
{
	struct session *session = calloc(1, sizeof *session);
	if (!session)
		return NULL;
	session->manager = manager;
	session->pid = peer->pid;
	session->uid = peer->uid;
	session->gid = peer->gid;
	session->group_count = peer->group_count;
	memcpy(session->groups, peer->groups, sizeof session->groups);
	session->pidfd = -1;
	session->file = -1;
	session->connected = session->alive = true;
	session->attached_ns = os_now_ns();
	session->revoked = 1;
	strncpy(session->label, label, sizeof session->label - 1);
	/* One slot more than asked for: the library's own, for its looks outside sections. */
	session->slots = (slots ? slots : SLOTS_DEFAULT) + 1;
	session->holds = holds ? holds : HOLDS_DEFAULT;
	session->segment_bytes = ipc_segment_bytes(session->slots, session->holds);
	return session;
}

/* A number and a place. RGM_ELIMIT. */
static int take_place(struct sessions *sessions, struct session *session, struct rgm_error *error)
{
	uint32_t most = sessions->manager->max_readers;
	pthread_mutex_lock(&sessions->lock);
	uint64_t place = bitmap_find(sessions->places_used, 0, most, false);
	if (place < most) {
		bitmap_set(sessions->places_used, place, place + 1);
		session->place = (uint32_t)place;
		session->number = sessions->next_number++;
		store64_release(&sessions->book->next_number, sessions->next_number);
	}
	pthread_mutex_unlock(&sessions->lock);
	if (place == most)
		return pool_fail(error, RGM_ELIMIT,
			"the instance has its limit of %u readers (max_readers)", most);
	/* What was revoked of the session that had it before is not this one's. */
	table_revoke(sessions->manager->table, session->place, 1);
	return 0;
}

static void give_place_back(struct sessions *sessions, uint32_t place)
{
	pthread_mutex_lock(&sessions->lock);
	bitmap_clear(sessions->places_used, place, place + 1ull);
	pthread_mutex_unlock(&sessions->lock);
}

void sessions_append(struct sessions *sessions, struct session *session)
{
	pthread_mutex_lock(&sessions->lock);
	if (sessions->last)
		sessions->last->next = session;
	else
		sessions->first = session;
	sessions->last = session;
	sessions->count++;
	pthread_mutex_unlock(&sessions->lock);
}

/* Into the book, then into the list: before its handles leave. */
static void session_enter(struct sessions *sessions, struct session *session)
{
	struct book_row row = {.number = session->number,
		.pid = session->pid,
		.uid = session->uid,
		.gid = session->gid,
		.slots = session->slots,
		.holds = session->holds};
	memcpy(row.token, session->token, sizeof row.token);
	memcpy(row.label, session->label, sizeof row.label);
	book_enter(sessions->book, session->place, &row);
	sessions_append(sessions, session);
}

int sessions_attach(struct rgm_manager *manager, const struct peer *peer, const char *label,
	uint32_t slots, uint32_t holds, struct session **ret_session, int *ret_table,
	int *ret_segment, struct rgm_error *error)
{
	struct sessions *sessions = manager->sessions;
	if (slots > IPC_MAX_SLOTS || holds > IPC_MAX_HOLDS)
		return pool_fail(error, RGM_ELIMIT,
			"an attach asked for %u slots and %u holds; the limits are %u and %u",
			slots, holds, IPC_MAX_SLOTS, IPC_MAX_HOLDS);
	struct session *session = session_create(manager, peer, label, slots, holds);
	if (!session)
		return pool_fail(error, -ENOMEM, "attach: no memory");
	int table = -1, segment = -1;
	int rc = take_place(sessions, session, error);
	if (rc == 0) {
		ipc_segment_name(manager->instance_id, session->number, session->name);
		rc = make_segment(session, &segment, error);
	}
	if (rc == 0) {
		rc = table_open_reader(manager->table, &table);
		if (rc)
			rc = pool_fail(error, rc, "the region table could not be opened anew: %s",
				strerror(-rc));
	}
	if (rc) {
		if (segment >= 0)
			close(segment);
		if (session->number)
			give_place_back(sessions, session->place);
		session_free(session, false);
		return rc;
	}
	session->pidfd = peer->pidfd;
	session_enter(sessions, session);
	manager_count(manager, COUNTER_attaches, 1);
	*ret_session = session;
	*ret_table = table;
	*ret_segment = segment;
	return 0;
}

void session_settle(const struct session *session)
{
	manager_log(session->manager, RGM_LOG_INFO, "attach",
		MANAGER_FIELDS({"reader", NULL, session->number},
			{"pid", NULL, (uint64_t)session->pid}, {"user", NULL, session->uid},
			{"label", session->label, 0}),
		"reader %lu attached: process %d, user %u, '%s'", session->number, session->pid,
		session->uid, session->label);
	segments_refill(session->manager->sessions->segments);
}

uint64_t session_number(const struct session *session)
{
	return session->number;
}

int session_pidfd(const struct session *session)
{
	return session->pidfd;
}

uint64_t session_table_bytes(const struct rgm_manager *manager)
{
	return table_bytes(manager->table);
}

uint64_t session_segment_bytes(const struct session *session)
{
	return session->segment_bytes;
}

uint32_t session_place(const struct session *session)
{
	return session->place;
}

void session_capacity(const struct session *session, uint32_t *ret_slots, uint32_t *ret_holds)
{
	*ret_slots = session->slots;
	*ret_holds = session->holds;
}

/* Remember what was given, once per dimension. */
static int remember(struct sessions *sessions, struct session *session, struct map_figure *figure)
{
	int rc = 0;
	pthread_mutex_lock(&sessions->lock);
	for (uint32_t i = 0; i < session->mapped_count; i++)
		if (session->mapped[i] == figure)
			goto out;
	if (session->mapped_count == session->mapped_capacity) {
		uint32_t capacity = session->mapped_capacity ? session->mapped_capacity * 2 : 8;
		struct map_figure **mapped =
			reallocarray(session->mapped, capacity, sizeof *mapped);
		if (!mapped) {
			rc = -ENOMEM;
			goto out;
		}
		session->mapped = mapped;
		session->mapped_capacity = capacity;
	}
	urcu_ref_get(&figure->references);
	session->mapped[session->mapped_count++] = figure;
	atomic_fetch_add_explicit(&figure->sessions, 1, memory_order_relaxed);
out:
	pthread_mutex_unlock(&sessions->lock);
	return rc;
}

int sessions_map(struct rgm_manager *manager, struct session *session, uint64_t dimension_id,
	int *ret_region, uint64_t *ret_window_bytes, struct rgm_error *error)
{
	struct dimension *dimension = dimension_find_id(manager, dimension_id);
	if (!dimension)
		return pool_fail(error, RGM_ENODIM, "there is no dimension with id %lu any more",
			dimension_id);
	char name[RGM_NAME_MAX + 1];
	urcu_bp_read_lock();
	strcpy(name, rcu_dereference(dimension->state)->name);
	urcu_bp_read_unlock();
	struct pool_region *region = dimension_region(dimension);
	int rc;
	if (!dimension_permits(manager, dimension, session->uid, session->gid, session->groups,
		    session->group_count)) {
		manager_count(manager, COUNTER_refusals, 1);
		rc = pool_fail(error, RGM_EREFUSED, "user %u may not read dimension '%s'",
			session->uid, name);
	} else if (!region) {
		rc = pool_fail(error, dimension->refused_code, "%s", dimension->reason);
	} else {
		rc = pool_region_open_reader(region, ret_region, error);
	}
	if (rc == 0 && remember(manager->sessions, session, dimension->mapped)) {
		close(*ret_region);
		rc = pool_fail(error, -ENOMEM, "mapping '%s': no memory", name);
	}
	if (rc == 0) {
		*ret_window_bytes = dimension->max_bytes;
		manager_count(manager, COUNTER_maps, 1);
	}
	dimension_put(dimension);
	return rc;
}

/* --- Ending ----------------------------------------------------------------------------------- */

void sessions_died(struct rgm_manager *manager, struct session *session)
{
	pthread_mutex_lock(&manager->sessions->lock);
	bool news = session->alive;
	session->alive = false;
	pthread_mutex_unlock(&manager->sessions->lock);
	if (!news)
		return;
	manager_count(manager, COUNTER_deaths, 1);
	reclaim_wake(manager->reclaim); /* what it saw in sections is free now */
	manager_log(manager, RGM_LOG_INFO, "death",
		MANAGER_FIELDS(
			{"reader", NULL, session->number}, {"pid", NULL, (uint64_t)session->pid}),
		"reader %lu: process %d ended without detaching", session->number, session->pid);
}

void sessions_hangup(struct rgm_manager *manager, struct session *session)
{
	pthread_mutex_lock(&manager->sessions->lock);
	session->connected = false;
	pthread_mutex_unlock(&manager->sessions->lock);
}

/* Is the lock that lives as long as the reader's mapping free? An error is no proof. */
static bool lock_free(const struct session *session)
{
	bool held = true;
	return os_lock_held(session->file, &held) == 0 && !held;
}

static bool process_ended(const struct session *session)
{
	struct pollfd look = {.fd = session->pidfd, .events = POLLIN};
	return session->pidfd >= 0 && poll(&look, 1, 0) == 1 && (look.revents & POLLIN);
}

/* A process closes its connection before its death can be proven, and from then on nobody but the sweep
 * looks at its pidfd. It matters where a child keeps the session. Sessions are freed by the sweep alone: the pointer stays good without the lock. */
static void notice_deaths(struct rgm_manager *manager)
{
	struct sessions *sessions = manager->sessions;
	struct session *dead = NULL;
	do {
		uint64_t after = dead ? dead->number : 0;
		pthread_mutex_lock(&sessions->lock);
		for (dead = sessions->first; dead; dead = dead->next)
			if (dead->number > after && dead->alive && !dead->connected &&
				process_ended(dead) && !lock_free(dead))
				break;
		pthread_mutex_unlock(&sessions->lock);
		if (dead)
			sessions_died(manager, dead);
	} while (dead);
}

size_t sessions_sweep(struct rgm_manager *manager)
{
	notice_deaths(manager);
	struct sessions *sessions = manager->sessions;
	struct session *ended = NULL;
	size_t pending = 0;
	pthread_mutex_lock(&sessions->lock);
	struct session **place = &sessions->first, *before = NULL;
	while (*place) {
		struct session *session = *place;
		bool gone = !session->connected;
		if (gone && lock_free(session)) {
			*place = session->next;
			if (sessions->last == session)
				sessions->last = before;
			sessions->count--;
			session->next = ended;
			ended = session;
			continue;
		}
		pending += gone;
		before = session;
		place = &session->next;
	}
	pthread_mutex_unlock(&sessions->lock);
	while (ended) {
		struct session *session = ended;
		ended = session->next;
		manager_count(manager, COUNTER_sessions_ended, 1);
		manager_log(manager, RGM_LOG_INFO, "detach",
			MANAGER_FIELDS({"reader", NULL, session->number}), "reader %lu ended",
			session->number);
		/* Before its name goes: see book.h. The place is free for others behind both. */
		book_clear(sessions->book, session->place);
		uint32_t free_place = session->place;
		session_free(session, false);
		give_place_back(sessions, free_place);
		reclaim_wake(manager->reclaim);
	}
	return pending;
}
