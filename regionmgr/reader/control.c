/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of the control socket: each call is one request and its answer. What the manager sends
 * is checked as anybody's bytes are. Lists: control_lists.c; loads: control_load.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/message_rows.h"
#include "pool/error.h"
#include "regionmgr/reader/control_client.h"

#define TIMEOUT_MS 5000u

/* --- shared with control_lists.c and control_load.c ------------------------------------------- */

struct ipc_call control_call(struct rgm_control *control)
{
	return (struct ipc_call){
		.socket = control->connection.socket,
		.sequence = &control->connection.sequence,
		.timeout_ms = control->timeout_ms,
		.socket_name = control->connection.path,
	};
}

int control_options(void *ret_own, size_t own_bytes, const void *given, struct rgm_error *error)
{
	size_t size;
	if (!given)
		return 0;
	memcpy(&size, given, sizeof size);
	if (size < sizeof size)
		return pool_fail(
			error, -EINVAL, "the options' size is %zu: set it to their sizeof", size);
	memcpy(ret_own, given, size < own_bytes ? size : own_bytes);
	return 0;
}

int control_put_create(const struct rgm_create_options *options,
	struct ipc_create_options *ret_message, struct rgm_error *error)
{
	if (options->access_count > IPC_ACCESS_MAX ||
		(options->access_count > 0 && !options->access))
		return pool_fail(error, -EINVAL, "an access list has at most %u entries, not %zu",
			IPC_ACCESS_MAX, options->access_count);
	*ret_message = (struct ipc_create_options){
		.kind = (uint32_t)options->kind,
		.access_count = (uint32_t)options->access_count,
		.max_bytes = options->max_bytes,
	};
	for (size_t i = 0; i < options->access_count; i++) {
		ret_message->access[i].type = options->access[i].type;
		ret_message->access[i].id = options->access[i].id;
	}
	return 0;
}

int control_idle(const struct rgm_control *control, struct rgm_error *error)
{
	return control->load
	               ? pool_fail(error, RGM_EBUSY,
				 "a load is under way on this connection: commit or abort it first")
	               : 0;
}

/* One request and its answer, of exactly so many bytes. */
static int call(struct rgm_control *control, struct ipc_header *request, void *reply,
	size_t reply_bytes, struct rgm_error *error)
{
	struct ipc_call call = control_call(control);
	int rc = control_idle(control, error);
	if (rc)
		return rc;
	return ipc_call(
		&call, request, NULL, 0, reply, reply_bytes, reply_bytes, NULL, NULL, error);
}

/* A request that names a dimension; `dry_run` is for DROP. */
static int begin_named(
	struct ipc_named *request, enum ipc_type type, const char *name, struct rgm_error *error)
{
	int rc = ipc_check_name("dimension", name, error);
	if (rc)
		return rc;
	*request = (struct ipc_named){0};
	ipc_header_init(&request->header, type, 0, sizeof *request);
	ipc_text_put(request->name, sizeof request->name, name);
	return 0;
}

/* --- opening ---------------------------------------------------------------------------------- */

int rgm_control_open(const char *instance, const struct rgm_control_options *given,
	struct rgm_control **ret_control, struct rgm_error *error)
{
	struct rgm_control_options options = {0};
	int rc = control_options(&options, sizeof options, given, error);
	if (rc)
		return rc;
	struct rgm_control *control = calloc(1, sizeof *control);
	if (!control)
		return pool_fail(error, -ENOMEM, "no memory to connect to a manager");
	control->timeout_ms = options.timeout_ms ? options.timeout_ms : TIMEOUT_MS;
	rc = ipc_connection_open(
		instance, options.socket, control->timeout_ms, &control->connection, error);
	if (rc) {
		free(control);
		return rc;
	}
	*ret_control = control;
	return 0;
}

void rgm_control_close(struct rgm_control *control)
{
	if (!control)
		return;
	if (control->load)
		control_load_orphan(control->load);
	close(control->connection.socket);
	free(control);
}

int rgm_control_socket_path(const char *instance, const char *dir, char *ret_path,
	size_t path_bytes, struct rgm_error *error)
{
	return ipc_socket_path(instance, dir, ret_path, path_bytes, error);
}

int rgm_control_folder_path(
	const char *instance, char *ret_path, size_t path_bytes, struct rgm_error *error)
{
	return ipc_folder_path(instance, ret_path, path_bytes, error);
}

/* --- looking ---------------------------------------------------------------------------------- */

int rgm_control_status(
	struct rgm_control *control, struct rgm_status *ret_status, struct rgm_error *error)
{
	struct ipc_header request;
	struct ipc_status_reply reply;
	ipc_header_init(&request, IPC_STATUS, 0, sizeof request);
	int rc = call(control, &request, &reply, sizeof reply, error);
	if (rc)
		return rc;
	struct rgm_status status = {
		/* As this process sees it: the reply's number is of the manager's own namespace. */
		.pid = (uint32_t)ipc_peer_pid(control->connection.socket),
		.uid = reply.uid,
		.started_ns = reply.started_ns,
		.uptime_ns = reply.uptime_ns,
		.version = reply.version,
		.dimensions = reply.dimensions,
		.refused = reply.refused,
		.readers = reply.readers,
		.loads = reply.loads,
		.content_bytes = reply.content_bytes,
		.region_bytes = reply.region_bytes,
		.allocated_bytes = reply.allocated_bytes,
		.retired_bytes = reply.retired_bytes,
		.membarrier = reply.membarrier,
		.max_dimensions = reply.max_dimensions,
	};
	GET_TEXT(status.instance, reply.instance);
	GET_TEXT(status.instance_id, reply.instance_id);
	GET_TEXT(status.version_text, reply.version_text);
	GET_TEXT(status.folder, reply.folder);
	GET_TEXT(status.socket, reply.socket);
	*ret_status = status;
	return 0;
}

int rgm_control_show(struct rgm_control *control, const char *name,
	struct rgm_dimension_row *ret_row, struct rgm_error *error)
{
	struct ipc_named request;
	struct ipc_show_reply reply;
	int rc = begin_named(&request, IPC_SHOW, name, error);
	if (rc == 0)
		rc = call(control, &request.header, &reply, sizeof reply, error);
	if (rc == 0)
		control_get_dimension(ret_row, &reply.row);
	return rc;
}

/* --- changing --------------------------------------------------------------------------------- */

int rgm_control_create(struct rgm_control *control, const char *name,
	const struct rgm_create_options *given, struct rgm_error *error)
{
	struct rgm_create_options options = {0};
	struct ipc_create request = {0};
	struct ipc_header reply;
	int rc = ipc_check_name("dimension", name, error);
	if (rc == 0)
		rc = control_options(&options, sizeof options, given, error);
	if (rc == 0)
		rc = control_put_create(&options, &request.options, error);
	if (rc)
		return rc;
	ipc_header_init(&request.header, IPC_CREATE, 0, sizeof request);
	ipc_text_put(request.name, sizeof request.name, name);
	return call(control, &request.header, &reply, sizeof reply, error);
}

int rgm_control_drop(struct rgm_control *control, const char *name, bool dry_run,
	struct rgm_drop_report *ret_report, struct rgm_error *error)
{
	struct ipc_named request;
	struct ipc_drop_reply reply;
	int rc = begin_named(&request, IPC_DROP, name, error);
	if (rc)
		return rc;
	request.dry_run = dry_run;
	rc = call(control, &request.header, &reply, sizeof reply, error);
	if (rc == 0 && ret_report)
		*ret_report = (struct rgm_drop_report){
			.bytes = reply.bytes,
			.layers = reply.layers,
			.readers = reply.readers,
			.holds = reply.holds,
		};
	return rc;
}

int rgm_control_rename(
	struct rgm_control *control, const char *from, const char *to, struct rgm_error *error)
{
	struct ipc_rename request = {0};
	struct ipc_header reply;
	int rc = ipc_check_name("dimension", from, error);
	if (rc == 0)
		rc = ipc_check_name("dimension", to, error);
	if (rc)
		return rc;
	ipc_header_init(&request.header, IPC_RENAME, 0, sizeof request);
	ipc_text_put(request.from, sizeof request.from, from);
	ipc_text_put(request.to, sizeof request.to, to);
	return call(control, &request.header, &reply, sizeof reply, error);
}

/* --- checking --------------------------------------------------------------------------------- */

struct check_progress {
	rgm_progress progress;
	void *context;
};

static int told(void *context, const struct ipc_progress *message)
{
	const struct check_progress *check = context;
	return check->progress
	               ? check->progress(check->context, message->done_bytes, message->total_bytes)
	               : 0;
}

int rgm_control_check(struct rgm_control *control, const char *name, rgm_progress progress,
	void *context, struct rgm_check_report *ret_report, struct rgm_error *error)
{
	struct check_progress check = {progress, context};
	struct ipc_named request;
	struct ipc_check_reply reply;
	int rc = control_idle(control, error);
	if (rc == 0)
		rc = begin_named(&request, IPC_CHECK, name, error);
	if (rc)
		return rc;
	struct ipc_call via = control_call(control);
	via.progress = told;
	via.progress_context = &check;
	rc = ipc_call(&via, &request.header, NULL, 0, &reply, sizeof reply, sizeof reply, NULL,
		NULL, error);
	if (rc)
		return rc;
	if (ret_report) {
		*ret_report = (struct rgm_check_report){
			.layers = reply.layers,
			.bytes = reply.bytes,
			.pages_used = reply.pages_used,
			.problems = reply.problems,
		};
		GET_TEXT(ret_report->first_problem, reply.first_problem);
	}
	if (reply.code == 0)
		return 0;
	char message[sizeof reply.message + 1], hint[sizeof reply.hint + 1];
	GET_TEXT(message, reply.message);
	GET_TEXT(hint, reply.hint);
	pool_fail(error, RGM_ECORRUPT, "%s", message);
	if (hint[0] != '\0')
		pool_hint(error, "%s", hint);
	return RGM_ECORRUPT;
}
