/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of the control socket: the conversation of a load. Parts are sent ahead and mostly
 * unanswered (message.h says how far), so a failure may be told by a later call than the one whose
 * part failed; its sentence names the layer. From then on the load is dead, and only the first failure
 * is told. The parts themselves: control_parts.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/reader/control_load.h"

#define LISTEN_MS 100 /* how long a send waits before it looks what the manager says meanwhile */

union answer {
	struct ipc_header header;
	struct ipc_error error;
	struct ipc_commit_reply commit;
};

/* --- the conversation ------------------------------------------------------------------------- */

int load_fail(struct rgm_load *load, int code, struct rgm_error *error)
{
	if (!load->failed) {
		load->failed = code;
		load->error = *error;
	}
	return load->failed;
}

int load_tell(const struct rgm_load *load, struct rgm_error *ret_error)
{
	if (ret_error)
		*ret_error = load->error;
	return load->failed;
}

/* Take one message that has come. 1: it is the answer to `sequence`; 0: something else of use. */
static int take(struct rgm_load *load, const union answer *answer, uint32_t sequence)
{
	struct ipc_call call = control_call(load->control);
	const struct ipc_header *header = &answer->header;
	struct rgm_error error;
	if (header->type == IPC_PROGRESS && header->bytes == sizeof(struct ipc_progress))
		return 0;
	if (header->type == IPC_ERROR) {
		int rc = ipc_call_refused(&call, &answer->error, &error);
		if (header->sequence == 0)
			ipc_call_failed(&call, -EPIPE, NULL);
		return load_fail(load, rc, &error);
	}
	if (header->type == IPC_OK && header->sequence == sequence && sequence != 0)
		return 1;
	if (header->type == IPC_OK && header->sequence == load->mark && load->mark != 0) {
		load->mark = 0;
		return 0;
	}
	return load_fail(load, ipc_call_failed(&call, -EPROTO, &error), &error);
}

/* Everything that has come already. */
static int take_ready(struct rgm_load *load, bool *ret_any)
{
	struct ipc_call call = control_call(load->control);
	union answer answer;
	struct rgm_error error;
	int rc;
	*ret_any = false;
	while ((rc = ipc_receive(call.socket, &answer, sizeof answer, NULL, NULL, 0)) == 0) {
		*ret_any = true;
		rc = take(load, &answer, 0);
		if (rc)
			return rc;
	}
	return rc == -EAGAIN ? 0 : load_fail(load, ipc_call_failed(&call, rc, &error), &error);
}

/*
 * Wait for the answer to `sequence`; other messages are taken as they come, and prolong the wait. The
 * last answer of all is waited for also when parts before it turn out to have failed.
 */
static int await(struct rgm_load *load, uint32_t sequence, bool last, union answer *ret_answer)
{
	const struct ipc_header *header = &ret_answer->header;
	struct ipc_call call = control_call(load->control);
	struct rgm_error error;
	for (;;) {
		int rc = ipc_receive(
			call.socket, ret_answer, sizeof *ret_answer, NULL, NULL, call.timeout_ms);
		if (rc) {
			load->lost = !load->failed;
			return load_fail(load, ipc_call_failed(&call, rc, &error), &error);
		}
		rc = take(load, ret_answer, sequence);
		if (rc == 1)
			return 0;
		bool part = header->type == IPC_ERROR && header->sequence != sequence &&
		            header->sequence != 0;
		if (rc && !(last && part))
			return rc;
	}
}

static int await_mark(struct rgm_load *load)
{
	union answer answer;
	uint32_t mark = load->mark;
	load->mark = 0;
	return await(load, mark, false, &answer);
}

/* Send, however long the manager takes for what lies before it, as long as it gives signs of life. */
static int send_message(struct rgm_load *load, const struct ipc_header *message, int file)
{
	struct ipc_call call = control_call(load->control);
	uint64_t deadline = ipc_deadline(call.timeout_ms);
	struct rgm_error error;
	int rc;
	while ((rc = ipc_send(call.socket, message, &file, file >= 0 ? 1 : 0, LISTEN_MS)) != 0) {
		bool any = false;
		/* Also a manager that ends the connection says why before. */
		if (rc == -ETIMEDOUT || rc == -EPIPE)
			take_ready(load, &any);
		if (load->failed)
			return load->failed;
		if (any)
			deadline = ipc_deadline(call.timeout_ms);
		if (rc != -ETIMEDOUT || os_now_ns() >= deadline)
			return load_fail(load, ipc_call_failed(&call, rc, &error), &error);
	}
	return 0;
}

int load_send(struct rgm_load *load, enum ipc_type type, size_t bytes, int file)
{
	struct ipc_call call = control_call(load->control);
	struct ipc_load_part *part = &load->message.part;
	struct rgm_error error;
	uint32_t sequence;
	bool answered = load->since_mark + 1 >= IPC_LOAD_BATCH;
	if (answered && load->mark != 0) {
		int rc = await_mark(load);
		if (rc)
			return rc;
	}
	int rc = ipc_call_sequence(&call, &sequence, &error);
	if (rc)
		return load_fail(load, rc, &error);
	ipc_header_init(&part->header, type, sequence, bytes);
	part->flags = answered ? 0 : IPC_QUIET;
	rc = send_message(load, &part->header, file);
	if (rc)
		return rc;
	load->since_mark = answered ? 0 : load->since_mark + 1;
	if (answered)
		load->mark = sequence;
	return 0;
}

int load_check_turn(const struct rgm_load *load, bool streaming, struct rgm_error *error)
{
	if (load->failed)
		return load_tell(load, error);
	if (!load->control)
		return pool_fail(error, RGM_EGONE, "the connection of the load was closed");
	if (load->streaming && !streaming)
		return pool_fail(error, -EINVAL, "a layer is being streamed: end that first");
	if (!load->streaming && streaming)
		return pool_fail(error, -EINVAL, "no layer is being streamed");
	return 0;
}

int rgm_load_alive(struct rgm_load *load, struct rgm_error *error)
{
	struct ipc_header message;
	int rc = load_check_turn(load, load->streaming, error);
	if (rc)
		return rc;
	/* There is nothing to cancel: it is heard, and not answered. */
	ipc_header_init(&message, IPC_CANCEL, load->control->connection.sequence, sizeof message);
	rc = send_message(load, &message, -1);
	return rc ? load_tell(load, error) : 0;
}

/* --- begin and end ---------------------------------------------------------------------------- */

int rgm_load_begin(struct rgm_control *control, const char *name,
	const struct rgm_load_options *given, struct rgm_load **ret_load, struct rgm_error *error)
{
	struct rgm_load_options options = {0};
	struct ipc_load_begin request = {0};
	struct ipc_header reply;
	struct ipc_call call = control_call(control);
	int rc = control_idle(control, error);
	if (rc == 0)
		rc = ipc_check_name("dimension", name, error);
	if (rc == 0)
		rc = control_options(&options, sizeof options, given, error);
	if (rc == 0)
		rc = control_put_create(&options.create, &request.options, error);
	if (rc)
		return rc;
	struct rgm_load *load = calloc(1, sizeof *load);
	if (!load)
		return pool_fail(error, -ENOMEM, "no memory for a load");
	load->control = control;
	ipc_header_init(&request.header, IPC_LOAD_BEGIN, 0, sizeof request);
	ipc_text_put(request.name, sizeof request.name, name);
	request.flags = options.flags;
	request.expected_bytes = options.expected_bytes;
	rc = ipc_call(&call, &request.header, NULL, 0, &reply, sizeof reply, sizeof reply, NULL,
		NULL, error);
	if (rc) {
		free(load);
		return rc;
	}
	control->load = load;
	*ret_load = load;
	return 0;
}

static void load_free(struct rgm_load *load)
{
	if (load->control)
		load->control->load = NULL;
	free(load);
}

/* Have the manager forget it; within the timeout in all, or the connection ends. */
static void abandon(struct rgm_load *load)
{
	struct ipc_call call = control_call(load->control);
	uint64_t deadline = ipc_deadline(call.timeout_ms);
	struct ipc_header request;
	union answer answer;
	uint32_t sequence;
	if (ipc_call_sequence(&call, &sequence, NULL) != 0)
		return;
	ipc_header_init(&request, IPC_LOAD_ABORT, sequence, sizeof request);
	int rc = ipc_send(call.socket, &request, NULL, 0, call.timeout_ms);
	/* Whatever is said of the parts before it is of no interest any more. */
	while (rc == 0) {
		uint64_t now = os_now_ns();
		int64_t left_ms = now < deadline ? (int64_t)((deadline - now) / 1000000) : 0;
		rc = ipc_receive(call.socket, &answer, sizeof answer, NULL, NULL, left_ms);
		if (rc == 0 && answer.header.type == IPC_OK && answer.header.sequence == sequence)
			return;
	}
	ipc_call_failed(&call, rc, NULL);
}

void rgm_load_abort(struct rgm_load *load)
{
	if (!load)
		return;
	if (load->control)
		abandon(load);
	load_free(load);
}

void control_load_orphan(struct rgm_load *load)
{
	load->control = NULL;
}

/* After IPC_LOAD_COMMIT was sent, 0 or a code. */
static int commit(struct rgm_load *load, struct ipc_commit_reply *ret_reply)
{
	struct ipc_call call = control_call(load->control);
	struct ipc_header request;
	struct rgm_error error;
	union answer answer;
	uint32_t sequence;
	int rc = ipc_call_sequence(&call, &sequence, &error);
	if (rc)
		return load_fail(load, rc, &error);
	ipc_header_init(&request, IPC_LOAD_COMMIT, sequence, sizeof request);
	rc = send_message(load, &request, -1);
	if (rc)
		return rc;
	rc = await(load, sequence, true, &answer);
	if (rc && load->lost)
		pool_fail(&load->error, rc, "%s: whether the load was published is not known",
			load->error.message);
	if (rc)
		return rc;
	if (answer.header.bytes != sizeof answer.commit)
		return load_fail(load, ipc_call_failed(&call, -EPROTO, &error), &error);
	*ret_reply = answer.commit;
	return 0;
}

int rgm_load_commit(
	struct rgm_load *load, struct rgm_load_report *ret_report, struct rgm_error *error)
{
	struct ipc_commit_reply reply;
	int rc = load_check_turn(load, false, error);
	if (rc) {
		rgm_load_abort(load);
		return rc;
	}
	rc = commit(load, &reply);
	if (rc) {
		load_tell(load, error);
	} else if (ret_report) {
		*ret_report = (struct rgm_load_report){
			.version = reply.version,
			.layers_put = reply.layers_put,
			.layers_removed = reply.layers_removed,
			.bytes = reply.bytes,
		};
	}
	load_free(load);
	return rc;
}
