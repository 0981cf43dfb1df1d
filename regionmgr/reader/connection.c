/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session's connection to the manager: needed for handles and for news of the manager's end, and for
 * nothing that a section does. When the manager ends, the session stays: table, regions and segment are
 * mapped, and the next manager goes on with them if it can. The first call that needs a manager then
 * connects anew and says which session it is, by the token in the segment, which no other process maps.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "pool/error.h"
#include "regionmgr/reader/reader.h"

bool reader_hung_up(struct rgm_session *session)
{
	struct pollfd look = {.fd = session->socket, .events = POLLIN | POLLRDHUP};
	if (!session->hung_up && poll(&look, 1, 0) > 0 &&
		(look.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL)))
		session->hung_up = true;
	return session->hung_up;
}

/* The manager that listens now is one that goes on with this instance: then this session is one of its. */
static int resume(struct rgm_session *session, const struct ipc_connection *connection,
	uint32_t *sequence, struct rgm_error *error)
{
	struct ipc_resume resume = {.session = session->number};
	struct ipc_header reply;
	struct ipc_call call = {.socket = connection->socket,
		.sequence = sequence,
		.timeout_ms = session->timeout_ms,
		.socket_name = session->socket_path};
	if (memcmp(connection->hello.instance_id, session->table->instance_id,
		    sizeof session->table->instance_id) != 0)
		return pool_fail(error, RGM_EGONE,
			"the manager at '%s' serves another instance now", session->socket_path);
	memcpy(resume.token, session->segment->token, sizeof resume.token);
	ipc_header_init(&resume.header, IPC_RESUME, 0, sizeof resume);
	return ipc_call(&call, &resume.header, NULL, 0, &reply, sizeof reply, sizeof reply, NULL,
		NULL, error);
}

int reader_go_on(struct rgm_session *session, struct rgm_error *error)
{
	struct ipc_connection connection;
	if (!reader_hung_up(session))
		return 0;
	int rc = ipc_connection_open(
		NULL, session->socket_path, session->timeout_ms, &connection, error);
	if (rc == RGM_ENOMANAGER)
		return pool_fail(
			error, RGM_EGONE, "the manager at '%s' is gone", session->socket_path);
	if (rc)
		return rc;
	uint32_t sequence = connection.sequence;
	rc = resume(session, &connection, &sequence, error);
	if (rc) {
		close(connection.socket);
		return rc;
	}
	close(session->socket);
	session->socket = connection.socket;
	session->sequence = sequence;
	session->hung_up = false;
	return 0;
}

int reader_call(struct rgm_session *session, struct ipc_header *request, void *reply,
	size_t reply_bytes, int *ret_file, struct rgm_error *error)
{
	int files[IPC_MESSAGE_MAX_FILES];
	size_t file_count = 1;
	int rc = reader_go_on(session, error);
	if (rc)
		return rc;
	struct ipc_call call = {.socket = session->socket,
		.sequence = &session->sequence,
		.timeout_ms = session->timeout_ms,
		.poll_us = READER_POLL_US,
		.socket_name = session->socket_path};
	rc = ipc_call(&call, request, NULL, 0, reply, reply_bytes, reply_bytes, files, &file_count,
		error);
	if (rc)
		return rc;
	if (file_count != 1) {
		session->hung_up = true;
		return pool_fail(error, RGM_EPROTOCOL, "the manager at '%s' sent no handle",
			session->socket_path);
	}
	*ret_file = files[0];
	return 0;
}
