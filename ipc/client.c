/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's calls: one request, one answer, each wait bounded. A connection whose answers cannot be
 * told apart any more (one is late, or made no sense) is ended here, so that no later call takes an
 * old answer for its own.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/socket.h"
#include "pool/error.h"
#include "pool/os.h"

/* What is received before it is known whether it is the reply: any answer but a large reply. */
union answer {
	struct ipc_header header;
	struct ipc_error error;
	struct ipc_progress progress;
};

static void end_connection(const struct ipc_call *call)
{
	*call->sequence = IPC_SEQUENCE_ENDED;
	shutdown(call->socket, SHUT_RDWR);
}

int ipc_call_sequence(const struct ipc_call *call, uint32_t *ret_sequence, struct rgm_error *error)
{
	if (*call->sequence >= IPC_SEQUENCE_ENDED - 1)
		return pool_fail(error, RGM_EGONE,
			"the connection to the manager at '%s' has ended: an earlier answer was "
			"missing",
			call->socket_name);
	*ret_sequence = ++*call->sequence;
	return 0;
}

int ipc_call_refused(
	const struct ipc_call *call, const struct ipc_error *message, struct rgm_error *error)
{
	char text[sizeof message->message + 1], hint[sizeof message->hint + 1];
	if (message->header.bytes != sizeof *message || message->code >= 0)
		return ipc_call_failed(call, -EPROTO, error);
	ipc_text_get(text, sizeof text, message->message, sizeof message->message);
	ipc_text_get(hint, sizeof hint, message->hint, sizeof message->hint);
	pool_fail(error, message->code, "%s", text);
	if (hint[0] != '\0')
		pool_hint(error, "%s", hint);
	return message->code;
}

static int timed_out(const struct ipc_call *call, struct rgm_error *error)
{
	char time[32], process[32] = "";
	pid_t pid = ipc_peer_pid(call->socket);
	if (pid > 0)
		snprintf(process, sizeof process, " (pid %d)", (int)pid);
	if (call->timeout_ms % 1000 == 0)
		snprintf(time, sizeof time, "%u s", call->timeout_ms / 1000);
	else
		snprintf(time, sizeof time, "%u ms", call->timeout_ms);
	pool_fail(error, -ETIMEDOUT, "the manager%s at '%s' did not answer within %s", process,
		call->socket_name, time);
	if (pid > 0)
		pool_hint(error, "see whether process %d is stopped or overloaded", (int)pid);
	return -ETIMEDOUT;
}

int ipc_call_failed(const struct ipc_call *call, int rc, struct rgm_error *error)
{
	switch (rc) {
	case -ETIMEDOUT:
	case -EAGAIN:
		rc = timed_out(call, error);
		break;
	case -EPIPE:
		rc = pool_fail(error, RGM_EGONE, "the manager at '%s' closed the connection",
			call->socket_name);
		break;
	case -EPROTO:
		rc = pool_fail(error, RGM_EPROTOCOL,
			"what answers at '%s' does not speak protocol %u of regionmgr",
			call->socket_name, IPC_PROTOCOL);
		break;
	case -EMFILE:
		rc = pool_fail(error, -EMFILE,
			"no descriptor is free for what the manager at '%s' sent",
			call->socket_name);
		pool_hint(error, "raise the limit of open files (ulimit -n)");
		break;
	default:
		rc = pool_fail_code(error, rc, "talking to the manager at '%s'", call->socket_name);
		break;
	}
	end_connection(call);
	return rc;
}

static void close_files(int *files, size_t count)
{
	while (files && count > 0)
		close(files[--count]);
}

/* Is this message the answer? 1: yes; 0: news, wait on; negative: the call has failed. */
static int judge(const struct ipc_call *call, const struct ipc_header *request,
	const struct ipc_header *message, bool *cancelled, struct rgm_error *error)
{
	if (message->type == IPC_ERROR &&
		(message->sequence == request->sequence || message->sequence == 0)) {
		int rc = ipc_call_refused(call, (const struct ipc_error *)message, error);
		if (message->sequence == 0)
			end_connection(call);
		return rc;
	}
	if (message->type == IPC_PROGRESS && message->bytes == sizeof(struct ipc_progress)) {
		if (message->sequence != request->sequence || call->progress == NULL || *cancelled)
			return 0;
		if (call->progress(call->progress_context, (const struct ipc_progress *)message) !=
			0) {
			struct ipc_header cancel;
			ipc_header_init(&cancel, IPC_CANCEL, request->sequence, sizeof cancel);
			*cancelled = true;
			int rc = ipc_send(call->socket, &cancel, NULL, 0, call->timeout_ms);
			return rc == 0 ? 0 : ipc_call_failed(call, rc, error);
		}
		return 0;
	}
	if (message->type != IPC_OK || message->sequence != request->sequence ||
		message->protocol != IPC_PROTOCOL)
		return ipc_call_failed(call, -EPROTO, error);
	return 1;
}

int ipc_call_send(const struct ipc_call *call, struct ipc_header *request, const int *files,
	size_t file_count, struct rgm_error *error)
{
	int rc = ipc_call_sequence(call, &request->sequence, error);
	if (rc != 0)
		return rc;
	rc = ipc_send(call->socket, request, files, file_count, call->timeout_ms);
	/* A manager that refuses a connection says why before it closes it: that is found there. */
	return rc == 0 || rc == -EPIPE ? 0 : ipc_call_failed(call, rc, error);
}

int ipc_call_send_both(const struct ipc_call *call, struct ipc_header *first,
	struct ipc_header *second, struct rgm_error *error)
{
	int rc = ipc_call_sequence(call, &first->sequence, error);
	if (rc == 0)
		rc = ipc_call_sequence(call, &second->sequence, error);
	if (rc != 0)
		return rc;
	rc = ipc_send_both(call->socket, first, second, call->timeout_ms);
	return rc == 0 || rc == -EPIPE ? 0 : ipc_call_failed(call, rc, error);
}

/* An answer that is a few microseconds away is polled for: to sleep and be woken costs more than that.
 * Where the other side has no processor of its own, the yield gives it this one. */
static int receive_soon(
	const struct ipc_call *call, void *message, size_t capacity, int *files, size_t *file_count)
{
	if (call->poll_us > 0) {
		uint64_t until = os_now_ns() + call->poll_us * 1000ull;
		do {
			int rc = ipc_receive(call->socket, message, capacity, files, file_count, 0);
			if (rc != -EAGAIN)
				return rc;
			sched_yield();
		} while (os_now_ns() < until);
	}
	return ipc_receive(
		call->socket, message, capacity, files, file_count, (int64_t)call->timeout_ms);
}

int ipc_call_receive(const struct ipc_call *call, const struct ipc_header *request, void *reply,
	size_t reply_capacity, size_t reply_least, int *ret_files, size_t *ret_file_count,
	struct rgm_error *error)
{
	union answer small;
	bool fits = reply_capacity >= sizeof small;
	void *message = fits ? reply : &small;
	size_t files_most = ret_file_count != NULL ? *ret_file_count : 0, count;
	bool cancelled = false;
	int rc;
	do {
		count = files_most;
		rc = receive_soon(
			call, message, fits ? reply_capacity : sizeof small, ret_files, &count);
		if (rc != 0)
			return ipc_call_failed(call, rc, error);
		rc = judge(call, request, message, &cancelled, error);
		if (rc != 1)
			close_files(ret_files, count);
	} while (rc == 0);
	if (rc < 0)
		return rc;

	const struct ipc_header *header = message;
	if (header->bytes < reply_least || header->bytes > reply_capacity) {
		close_files(ret_files, count);
		return ipc_call_failed(call, -EPROTO, error);
	}
	if (!fits)
		memcpy(reply, &small, header->bytes);
	if (ret_file_count != NULL)
		*ret_file_count = count;
	return 0;
}

int ipc_call(const struct ipc_call *call, struct ipc_header *request, const int *files,
	size_t file_count, void *reply, size_t reply_capacity, size_t reply_least, int *ret_files,
	size_t *ret_file_count, struct rgm_error *error)
{
	int rc = ipc_call_send(call, request, files, file_count, error);
	return rc != 0 ? rc
	               : ipc_call_receive(call, request, reply, reply_capacity, reply_least,
				 ret_files, ret_file_count, error);
}

/* --- connecting ------------------------------------------------------------------------------- */

static int greet(struct ipc_connection *connection, uint32_t timeout_ms, struct rgm_error *error)
{
	struct ipc_hello hello = {.protocol_min = IPC_PROTOCOL, .protocol_max = IPC_PROTOCOL};
	struct ipc_call call = {
		.socket = connection->socket,
		.sequence = &connection->sequence,
		.timeout_ms = timeout_ms,
		.socket_name = connection->path,
	};
	ipc_header_init(&hello.header, IPC_HELLO, 0, sizeof hello);
	int rc = ipc_call(&call, &hello.header, NULL, 0, &connection->hello,
		sizeof connection->hello, sizeof connection->hello, NULL, NULL, error);
	if (rc == 0 && connection->hello.protocol != IPC_PROTOCOL)
		rc = ipc_call_failed(&call, -EPROTO, error);
	return rc;
}

int ipc_connection_open(const char *instance, const char *socket_path, uint32_t timeout_ms,
	struct ipc_connection *ret_connection, struct rgm_error *error)
{
	struct ipc_connection connection = {.socket = -1};
	int rc;
	if (socket_path != NULL)
		rc = ipc_check_socket_path(socket_path, error);
	else
		rc = ipc_socket_path(
			instance, NULL, connection.path, sizeof connection.path, error);
	if (rc != 0)
		return rc;
	if (socket_path != NULL)
		ipc_text_get(
			connection.path, sizeof connection.path, socket_path, IPC_SOCKET_PATH_MAX);

	rc = ipc_connect(connection.path, &connection.socket, error);
	if (rc == RGM_ENOMANAGER && socket_path != NULL)
		pool_hint(error, "start one with 'regionmgrd --socket %s'", socket_path);
	else if (rc == RGM_ENOMANAGER && strcmp(ipc_instance_name(instance), "default") != 0)
		pool_hint(error, "start one with 'regionmgrd --instance %s'",
			ipc_instance_name(instance));
	if (rc != 0)
		return rc;
	rc = greet(&connection, timeout_ms, error);
	if (rc != 0) {
		close(connection.socket);
		return rc;
	}
	*ret_connection = connection;
	return 0;
}
