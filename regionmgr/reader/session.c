/* SPDX-License-Identifier: Apache-2.0 */
/* Attaching and detaching, and the connection. Waiting for news: wait.c. */
#include <errno.h>
#include <poll.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/guard.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/reader/reader.h"

#define TIMEOUT_MS 5000u

const char *rgm_version(void)
{
	return RGM_VERSION;
}

/* --- Attach ----------------------------------------------------------------------------------- */

static void own_label(const struct rgm_attach_options *options, char label[32])
{
	memset(label, 0, 32);
	const char *text = options->label ? options->label : program_invocation_short_name;
	memcpy(label, text, strnlen(text, 31));
}

/* The first talk on the connection, in two halves: between them the manager makes a segment. */
struct talk {
	int socket;
	uint32_t sequence;
	uint32_t timeout_ms;
	char socket_path[108];
	struct ipc_hello hello;
	struct ipc_attach attach;
};

static struct ipc_call talk_call(struct talk *talk)
{
	return (struct ipc_call){.socket = talk->socket,
		.sequence = &talk->sequence,
		.timeout_ms = talk->timeout_ms,
		.poll_us = READER_POLL_US,
		.socket_name = talk->socket_path};
}

/* Connect, and ask for the handles, before the first answer. */
static int talk_ask(
	struct talk *talk, const struct rgm_attach_options *options, struct rgm_error *error)
{
	int rc = ipc_connect(talk->socket_path, &talk->socket, error);
	if (rc)
		return rc;
	struct ipc_call call = talk_call(talk);
	talk->hello =
		(struct ipc_hello){.protocol_min = IPC_PROTOCOL, .protocol_max = IPC_PROTOCOL};
	ipc_header_init(&talk->hello.header, IPC_HELLO, 0, sizeof talk->hello);
	talk->attach = (struct ipc_attach){.slots = options->slots, .holds = options->holds};
	own_label(options, talk->attach.label);
	ipc_header_init(&talk->attach.header, IPC_ATTACH, 0, sizeof talk->attach);
	return ipc_call_send_both(&call, &talk->hello.header, &talk->attach.header, error);
}

static int talk_hear(struct talk *talk, struct ipc_attach_reply *ret_reply,
	int files[IPC_MESSAGE_MAX_FILES], struct rgm_error *error)
{
	struct ipc_call call = talk_call(talk);
	struct ipc_hello_reply welcome;
	int rc = ipc_call_receive(&call, &talk->hello.header, &welcome, sizeof welcome,
		sizeof welcome, NULL, NULL, error);
	if (rc == 0 && welcome.protocol != IPC_PROTOCOL)
		rc = ipc_call_failed(&call, -EPROTO, error);
	if (rc)
		return rc;
	size_t count = 2;
	rc = ipc_call_receive(&call, &talk->attach.header, ret_reply, sizeof *ret_reply,
		sizeof *ret_reply, files, &count, error);
	if (rc)
		return rc;
	if (count != 2) {
		while (count)
			close(files[--count]);
		return pool_fail(error, RGM_EPROTOCOL, "the manager at '%s' sent no handles",
			talk->socket_path);
	}
	return 0;
}

/* As large as was said: what lies behind the end of an object raises SIGBUS. */
static bool has_bytes(int file, uint64_t bytes)
{
	struct stat status;
	return fstat(file, &status) == 0 && (uint64_t)status.st_size >= bytes;
}

/* Map the two handles and look at what they say. They are closed in any case: the mapping of the
 * segment keeps its lock. */
static int map_handles(struct rgm_session *session, const struct ipc_attach_reply *reply,
	const int files[2], struct rgm_error *error)
{
	void *table = NULL, *segment = NULL;
	int rc = RGM_EPROTOCOL;
	if (reply->table_bytes >= sizeof *session->table &&
		reply->segment_bytes >= sizeof *session->segment &&
		has_bytes(files[0], reply->table_bytes) &&
		has_bytes(files[1], reply->segment_bytes))
		rc = os_map(files[0], reply->table_bytes, false, &table);
	if (rc == 0) {
		session->table = table;
		session->table_bytes = reply->table_bytes;
		rc = reader_cells_create(
			files[1], reply->segment_bytes, &session->cells, &session->here, &segment);
	}
	close(files[0]);
	close(files[1]);
	if (rc == RGM_EPROTOCOL)
		return pool_fail(error, rc,
			"the manager at '%s' sent handles of a size that they do not have",
			session->socket_path);
	if (rc)
		return pool_fail(error, rc, "attach to '%s': mapping the handles: %s",
			session->socket_path, strerror(-rc));
	session->segment = segment;
	session->segment_bytes = reply->segment_bytes;
	if (load64_acquire(&session->table->magic) != IPC_TABLE_MAGIC ||
		session->segment->magic != IPC_SEGMENT_MAGIC ||
		session->table->layout_version != IPC_LAYOUT_VERSION ||
		session->segment->layout_version != IPC_LAYOUT_VERSION ||
		session->table->max_dimensions > IPC_MAX_DIMENSIONS ||
		ipc_segment_bytes(reply->slots, reply->holds) > reply->segment_bytes ||
		reply->slots < 2 || reply->slots > IPC_MAX_SLOTS + 1 || reply->holds == 0 ||
		reply->place >= session->table->places ||
		session->table->revoked_offset + sizeof(uint64_t) * session->table->places >
			reply->table_bytes)
		return pool_fail(error, RGM_EPROTOCOL,
			"the manager at '%s' lays its shared memory out differently",
			session->socket_path);
	session->number = reply->session;
	session->slot_capacity = reply->slots;
	session->hold_capacity = reply->holds;
	session->slots = (void *)((char *)segment + ipc_slots_offset());
	session->holds = (void *)((char *)segment + ipc_holds_offset(reply->slots));
	session->revoked = (const void *)((const char *)table + session->table->revoked_offset);
	session->revoked += reply->place;
	/* Whole leaves: no index that a look-up gives is behind it. */
	session->mapping_capacity =
		(session->table->max_dimensions + IPC_LEAF_ENTRIES - 1) & ~(IPC_LEAF_ENTRIES - 1);
	return 0;
}

/* The form of the barrier, once and for all sections of this session. */
static void choose_barrier(struct rgm_session *session, enum rgm_barrier barrier)
{
	bool offered = session->table->flags & IPC_TABLE_MEMBARRIER;
	if (!offered || barrier == RGM_BARRIER_FENCE ||
		(barrier == RGM_BARRIER_AUTO && !__libc_single_threaded) ||
		os_membarrier_register())
		return;
	session->membarrier = true;
	/* Before the first section, and a full barrier in between: where its membarrier(2) fails the
	 * manager reads this bit instead, and a section behind R3 in this form alone would not order it. */
	store32_release(&session->segment->membarrier, 1);
	reader_full_fence();
}

/* Arrays as large as the manager's answer says. */
static int make_arrays(struct rgm_session *session)
{
	session->open_slots = calloc(session->slot_capacity, sizeof *session->open_slots);
	session->hold_used = calloc(session->hold_capacity, sizeof *session->hold_used);
	if (!session->open_slots || !session->hold_used)
		return -ENOMEM;
	*session->here = 1;
	store32_release(&session->segment->slots_used, 1);
	atomic_store_explicit(
		&session->swept, load64_acquire(&session->table->dropped), memory_order_relaxed);
	return 0;
}

/* Undo what is there. The segment goes before the connection: its lock is then free when the
 * manager hears of the hang-up. */
static void dismantle(struct rgm_session *session)
{
	reader_unmap_all(session);
	reader_free_tokens(session);
	if (session->segment)
		os_unmap(session->segment, session->segment_bytes);
	if (session->table)
		os_unmap(session->table, session->table_bytes);
	if (session->socket >= 0)
		close(session->socket);
	if (session->cells) {
		pthread_mutex_lock(&sessions_lock);
		reader_cell_give(session->cells, session->here);
		pthread_mutex_unlock(&sessions_lock);
	}
	free(session->open_slots);
	free(session->hold_used);
	pthread_mutex_destroy(&session->lock);
	free(session);
}

static int find_socket(struct talk *talk, const char *instance,
	const struct rgm_attach_options *options, struct rgm_error *error)
{
	const char *name = ipc_instance_name(instance);
	int rc = ipc_check_name("instance", name, error);
	if (rc)
		return rc;
	if (!options->socket)
		return ipc_socket_path(
			name, NULL, talk->socket_path, sizeof talk->socket_path, error);
	if (strlen(options->socket) >= sizeof talk->socket_path)
		return pool_fail(error, -ENAMETOOLONG, "the socket's path is longer than %zu bytes",
			sizeof talk->socket_path - 1);
	memcpy(talk->socket_path, options->socket, strlen(options->socket) + 1);
	return 0;
}

/* All of a session that does not depend on the manager's answer. Takes over the connection, also when
 * it fails. */
static int begin_session(const struct talk *talk, const struct rgm_attach_options *options,
	struct rgm_session **ret_session, struct rgm_error *error)
{
	struct rgm_session *session = calloc(1, sizeof *session);
	if (!session) {
		close(talk->socket);
		return pool_fail(error, -ENOMEM, "attach: no memory");
	}
	pthread_mutex_init(&session->lock, NULL);
	session->socket = talk->socket;
	session->timeout_ms = talk->timeout_ms;
	memcpy(session->socket_path, talk->socket_path, sizeof session->socket_path);
	int rc = reader_mappings_create(session);
	if (rc == 0)
		rc = rgm_watch_forks();
	if (rc)
		pool_fail(error, rc, "attach: %s", strerror(-rc));
	if (rc == 0 && (options->flags & RGM_ATTACH_GUARD_SIGBUS)) {
		session->guard = true;
		rc = guard_install();
		if (rc)
			pool_fail(error, rc, "SIGBUS handler: %s", strerror(-rc));
	}
	if (rc)
		dismantle(session);
	else
		*ret_session = session;
	return rc;
}

/* What the manager gives, mapped. */
static int finish_session(struct rgm_session *session, struct talk *talk, struct rgm_error *error)
{
	struct ipc_attach_reply reply;
	int files[IPC_MESSAGE_MAX_FILES];
	int rc = talk_hear(talk, &reply, files, error);
	if (rc == 0)
		rc = map_handles(session, &reply, files, error);
	if (rc)
		return rc;
	session->sequence = talk->sequence;
	rc = make_arrays(session);
	return rc ? pool_fail(error, rc, "attach: %s", strerror(-rc)) : 0;
}

int rgm_session_attach(const char *instance, const struct rgm_attach_options *options,
	struct rgm_session **ret_session, struct rgm_error *error)
{
	READER_NOT_CANCELLED;
	struct rgm_attach_options own = {.size = sizeof own};
	int rc = pool_options(&own, sizeof own, options, error);
	if (rc)
		return rc;
	options = &own;
	struct talk talk = {
		.socket = -1, .timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS};
	rc = find_socket(&talk, instance, options, error);
	if (rc == 0)
		rc = talk_ask(&talk, options, error);
	if (rc) {
		if (talk.socket >= 0)
			close(talk.socket);
		return rc;
	}
	/* The manager works meanwhile. */
	struct rgm_session *session = NULL;
	rc = begin_session(&talk, options, &session, error);
	if (!session)
		return rc;
	rc = finish_session(session, &talk, error);
	if (rc) {
		dismantle(session);
		return rc;
	}
	choose_barrier(session, options->barrier);
	reader_add_session(session);
	*ret_session = session;
	return 0;
}

void rgm_session_detach(struct rgm_session *session)
{
	READER_NOT_CANCELLED;
	if (!session)
		return;
	if (reader_forked(session->here)) {
		/* Inherited spans stay readable: only the books are closed. */
		pthread_mutex_lock(&sessions_lock);
		reader_remove_session(session);
		reader_close_slots(session);
		pthread_mutex_unlock(&sessions_lock);
		return;
	}
	pthread_mutex_lock(&sessions_lock);
	reader_remove_session(session);
	pthread_mutex_lock(&session->lock);
	reader_close_slots(session);
	reader_drop_holds(session);
	pthread_mutex_unlock(&session->lock);
	pthread_mutex_unlock(&sessions_lock);
	dismantle(session);
}

int rgm_session_info(
	struct rgm_session *session, struct rgm_session_info *ret_info, struct rgm_error *error)
{
	READER_NOT_CANCELLED;
	if (reader_forked(session->here))
		return reader_fail_forked(error);
	struct rgm_session_info info = {
		.size = sizeof info, .number = session->number, .membarrier = session->membarrier};
	for (size_t i = 0; i < sizeof session->table->instance_id; i++)
		snprintf(&info.instance_id[2 * i], 3, "%02x", session->table->instance_id[i]);
	pthread_mutex_lock(&session->lock);
	bool void_now;
	do { /* What was taken back meanwhile says nothing. */
		info.version = reader_own_enter(session);
		info.dimensions = ipc_table_top(session->table, info.version)->dimension_count;
		void_now = ipc_section_revoked(session->revoked, info.version);
		reader_own_exit(session);
	} while (void_now);
	info.mapped = session->mapped;
	info.manager_alive = reader_go_on(session, NULL) == 0;
	pthread_mutex_unlock(&session->lock);
	return pool_result(ret_info, &info, sizeof info, error);
}
