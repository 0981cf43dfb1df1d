/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions across a restart of the manager. The book names each; its segment, opened anew, says what it
 * sees; the lock on the segment says whether anybody is left. Until a session's process speaks again
 * there is no pidfd: then the lock alone proves its end, for slot words as for holds.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/guard.h"
#include "pool/bitmap.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/sessions_internal.h"
#include "regionmgr/manager/table.h"

static int open_segment(struct session *session, struct rgm_error *error)
{
	void *base = NULL;
	int rc = os_shm_open(session->name, true, &session->file);
	if (rc) {
		session->file = -1;
		return pool_fail(error, rc == -ENOENT ? RGM_EGONE : rc,
			"shared memory '%s' of reader %lu (process %d) %s: %s", session->name,
			session->number, session->pid,
			rc == -ENOENT ? "is lost" : "could not be opened", strerror(-rc));
	}
	/* As large as it was made: what a reader did to it since then is the guard's business. */
	rc = os_map(session->file, session->segment_bytes, false, &base);
	if (rc)
		return pool_fail(error, rc, "shared memory '%s' could not be mapped: %s",
			session->name, strerror(-rc));
	session->segment = base;
	rc = guard_add(base, session->segment_bytes, true, false, &session->damage);
	return rc ? pool_fail(error, rc, "shared memory '%s': %s", session->name, strerror(-rc))
	          : 0;
}

static struct session *from_row(
	struct rgm_manager *manager, const struct book_row *row, uint32_t place)
{
	struct session *session = calloc(1, sizeof *session);
	if (!session)
		return NULL;
	*session = (struct session){.manager = manager,
		.number = row->number,
		.pid = row->pid,
		.uid = row->uid,
		.gid = row->gid,
		.pidfd = -1,
		.file = -1,
		.attached_ns = os_now_ns(),
		.slots = row->slots,
		.holds = row->holds,
		.place = place,
		.revoked = 1,
		.segment_bytes = ipc_segment_bytes(row->slots, row->holds),
		.alive = true};
	memcpy(session->token, row->token, sizeof session->token);
	memcpy(session->label, row->label, sizeof session->label - 1);
	ipc_segment_name(manager->instance_id, session->number, session->name);
	return session;
}

static int adopt_row(struct sessions *sessions, const struct book_row *row, uint32_t place,
	struct rgm_error *error)
{
	if (row->slots == 0 || row->slots > IPC_MAX_SLOTS + 1 || row->holds == 0 ||
		row->holds > IPC_MAX_HOLDS || row->number >= sessions->next_number)
		return pool_fail(error, RGM_ECORRUPT, "the book of sessions is damaged");
	struct session *session = from_row(sessions->manager, row, place);
	if (!session)
		return pool_fail(error, -ENOMEM, "sessions: no memory");
	int rc = open_segment(session, error);
	if (rc) {
		session_free(session, true);
		return rc;
	}
	bitmap_set(sessions->places_used, place, place + 1ull);
	sessions_append(sessions, session);
	return 0;
}

static int compare_rows(const void *left, const void *right)
{
	const struct book_row *const *a = left, *const *b = right;
	return (*a)->number < (*b)->number ? -1 : (*a)->number > (*b)->number;
}

/* In the order of their numbers, as the list has them. */
static int adopt_rows(struct sessions *sessions, struct rgm_error *error)
{
	const struct book *book = sessions->book;
	const struct book_row **rows = calloc(book->places, sizeof *rows);
	size_t count = 0;
	int rc = 0;
	if (!rows)
		return pool_fail(error, -ENOMEM, "sessions: no memory");
	for (uint32_t place = 0; place < book->places; place++)
		if (load64_acquire(&book->rows[place].number))
			rows[count++] = &book->rows[place];
	qsort(rows, count, sizeof *rows, compare_rows);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = adopt_row(sessions, rows[i], (uint32_t)(rows[i] - book->rows), error);
	free(rows);
	return rc;
}

/* Segments that are in no row: of an attach that did not come to its end, or of a session that had. */
static void remove_strays(const struct sessions *sessions)
{
	char first[IPC_SHM_NAME_BYTES], name[IPC_SHM_NAME_BYTES];
	ipc_segment_name(sessions->manager->instance_id, 0, first);
	size_t prefix = strlen(first) - 1; /* all but the number */
	DIR *folder = opendir("/dev/shm");
	if (!folder)
		return; /* a number that is in the way fails its attach with a sentence */
	for (struct dirent *entry; (entry = readdir(folder));) {
		const struct session *session = sessions->first;
		snprintf(name, sizeof name, "/%.*s", (int)sizeof name - 2, entry->d_name);
		if (strncmp(name, first, prefix) != 0)
			continue;
		while (session && strcmp(session->name, name) != 0)
			session = session->next;
		if (!session)
			os_shm_unlink(name);
	}
	closedir(folder);
}

/* What the dead manager revoked is void here, too. It may have died between the word and the barrier (V1
 * and V2 of sessions_lag.c): the barrier is issued again. Where that fails everything counts. */
static void adopt_revoked(struct sessions *sessions)
{
	struct rgm_manager *manager = sessions->manager;
	bool failed = ipc_manager_barrier(manager->membarrier) != 0;
	for (struct session *session = sessions->first; session; session = session->next)
		if (!failed || !load32_acquire(&session->segment->membarrier))
			session->revoked = table_revoked(manager->table, session->place);
}

int sessions_adopt(
	struct rgm_manager *manager, struct sessions **ret_sessions, struct rgm_error *error)
{
	struct sessions *sessions = sessions_new(manager);
	if (!sessions)
		return pool_fail(error, -ENOMEM, "sessions: no memory");
	int rc = book_open(manager, &sessions->book);
	if (rc == -ENOENT || rc == -ESTALE)
		rc = pool_fail(error, RGM_EGONE, "the book of sessions in shared memory is lost");
	else if (rc)
		pool_fail(error, rc, "the book of sessions: %s", strerror(-rc));
	if (rc == 0) {
		sessions->next_number = load64_acquire(&sessions->book->next_number);
		rc = adopt_rows(sessions, error);
	}
	if (rc) {
		sessions_destroy(sessions);
		return rc;
	}
	adopt_revoked(sessions);
	remove_strays(sessions);
	*ret_sessions = sessions;
	return 0;
}

/* --- A reader speaks again -------------------------------------------------------------------- */

/* Under lock. */
static int check_resume(const struct session *session, const struct peer *peer,
	const uint8_t token[16], uint64_t number, struct rgm_error *error)
{
	/* With another token it is a later manager's reader, which began to count anew. */
	if (!session || !session->alive ||
		memcmp(session->token, token, sizeof session->token) != 0) {
		pool_fail(error, RGM_EGONE,
			"this manager has no reader %lu: it was started anew and could not go on "
			"with the readers of the last one",
			number);
		pool_hint(error, "attach again");
		return RGM_EGONE;
	}
	if (session->uid != peer->uid)
		return pool_fail(error, RGM_EREFUSED, "reader %lu is another process", number);
	if (session->connected)
		return pool_fail(error, RGM_EBUSY, "reader %lu has a connection already", number);
	return 0;
}

int sessions_resume(struct rgm_manager *manager, const struct peer *peer, uint64_t number,
	const uint8_t token[16], struct session **ret_session, struct rgm_error *error)
{
	struct sessions *sessions = manager->sessions;
	pthread_mutex_lock(&sessions->lock);
	struct session *session = sessions->first;
	while (session && session->number != number)
		session = session->next;
	int rc = check_resume(session, peer, token, number, error);
	if (rc == 0) {
		session->connected = true;
		session->pid = peer->pid;
		session->gid = peer->gid;
		session->group_count = peer->group_count;
		memcpy(session->groups, peer->groups, sizeof session->groups);
		if (session->pidfd >= 0)
			close(session->pidfd);
		session->pidfd = peer->pidfd;
		*ret_session = session;
	}
	pthread_mutex_unlock(&sessions->lock);
	if (rc == 0)
		manager_log(manager, RGM_LOG_INFO, "resume",
			MANAGER_FIELDS({"reader", NULL, number}, {"pid", NULL, (uint64_t)peer->pid},
				{"user", NULL, peer->uid}),
			"reader %lu goes on: process %d, user %u", number, peer->pid, peer->uid);
	return rc;
}
