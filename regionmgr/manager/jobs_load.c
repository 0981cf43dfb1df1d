/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conversation of a load, in a thread of its own, from its IPC_LOAD_BEGIN to the answer of its
 * commit or abort; message.h has the rules. What is not committed when the conversation ends, however
 * it ends, is aborted.
 *
 * Memory is bounded by one message. Descriptors from the client are read (by a thread that holds no
 * lock), never mapped, and closed with the part that brought them.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/socket.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/server.h"
#include "regionmgr/manager/wire.h"

#define LONG_PART_NS 20000000u /* after one, see whether anybody waits still */

struct load {
	struct job *job;
	char name[RGM_NAME_MAX + 1];
	struct rgm_writer *writer; /* NULL: committed, aborted or failed */
	int failed;                /* code of the first part that failed, with its sentence */
	struct rgm_error error;
	bool streaming;
	bool over; /* the conversation is */
	union {
		struct ipc_header header;
		struct ipc_load_part part;
		char bytes[IPC_MESSAGE_MAX_BYTES];
	} message;
};

/* A part, checked and taken apart. */
struct part {
	const struct ipc_load_part *head;
	char layer[RGM_LAYER_NAME_MAX + 1];
	char media[RGM_MEDIA_TYPE_MAX + 1];
	const char *data;
	int file; /* -1: none */
	struct rgm_layer_options options;
};

enum part_field {
	PART_LAYER = 1,
	PART_MEDIA = 2,
	PART_DATA = 4,
	PART_FILE = 8
};

struct part_rule {
	enum ipc_type type;
	unsigned may; /* of enum part_field */
	unsigned must;
	bool streaming; /* between a stream's begin and end, or outside */
	int (*run)(struct load *load, const struct part *part, struct rgm_error *error);
};

/* --- parts ------------------------------------------------------------------------------------ */

static uint64_t time_ns(const struct timespec *time)
{
	return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_nsec;
}

static int put_file(struct load *load, const struct part *part, struct rgm_error *error)
{
	struct stat status;
	if (fstat(part->file, &status) != 0)
		return pool_fail_errno(error, "layer '%s': looking at its file", part->layer);
	if (!S_ISREG(status.st_mode))
		return pool_fail(
			error, -EINVAL, "layer '%s': its source is no regular file", part->layer);
	if ((uint64_t)status.st_size != part->head->file_bytes ||
		time_ns(&status.st_mtim) != part->head->file_time_ns)
		return pool_fail(error, RGM_ECHANGED,
			"layer '%s': its file changed before it was read", part->layer);
	return rgm_writer_put_file(load->writer, part->layer, part->file, &part->options, error);
}

static int put_bytes(struct load *load, const struct part *part, struct rgm_error *error)
{
	return rgm_writer_put(load->writer, part->layer, part->data, part->head->inline_bytes,
		&part->options, error);
}

static int stream_begin(struct load *load, const struct part *part, struct rgm_error *error)
{
	int rc = rgm_writer_stream_begin(load->writer, part->layer, &part->options, error);
	load->streaming = rc == 0;
	return rc;
}

static int stream_append(struct load *load, const struct part *part, struct rgm_error *error)
{
	if (part->head->inline_bytes == 0)
		return 0; /* a sign of life */
	return rgm_writer_stream_append(load->writer, part->data, part->head->inline_bytes, error);
}

static int stream_end(struct load *load, const struct part *part, struct rgm_error *error)
{
	(void)part;
	load->streaming = false;
	return rgm_writer_stream_end(load->writer, error);
}

static int remove_layer(struct load *load, const struct part *part, struct rgm_error *error)
{
	return rgm_writer_remove(load->writer, part->layer, error);
}

static const struct part_rule rules[] = {
	{IPC_LOAD_FILE, PART_LAYER | PART_MEDIA | PART_FILE, PART_LAYER | PART_FILE, false,
		put_file},
	{IPC_LOAD_BYTES, PART_LAYER | PART_MEDIA | PART_DATA, PART_LAYER, false, put_bytes},
	{IPC_LOAD_STREAM_BEGIN, PART_LAYER | PART_MEDIA, PART_LAYER, false, stream_begin},
	{IPC_LOAD_STREAM_APPEND, PART_DATA, 0, true, stream_append},
	{IPC_LOAD_STREAM_END, 0, 0, true, stream_end},
	{IPC_LOAD_REMOVE, PART_LAYER, PART_LAYER, false, remove_layer},
};

static const struct part_rule *find_rule(uint16_t type)
{
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
		if ((uint16_t)rules[i].type == type)
			return &rules[i];
	return NULL;
}

/* Copy a text that the message holds; false if it has a NUL. */
static bool take_text(char *ret_text, const char *from, size_t bytes)
{
	memcpy(ret_text, from, bytes);
	ret_text[bytes] = '\0';
	return strlen(ret_text) == bytes;
}

/* Take a part out of its message; false if it breaks the rules. */
static bool take_part(const struct load *load, const struct part_rule *rule, struct part *part)
{
	const struct ipc_load_part *head = &load->message.part;
	if (head->header.bytes < sizeof *head)
		return false;
	size_t bytes = head->header.bytes - sizeof *head;
	const char *text = load->message.bytes + sizeof *head;
	unsigned has = (head->name_bytes ? PART_LAYER : 0u) |
	               (head->media_bytes ? PART_MEDIA : 0u) |
	               (head->inline_bytes ? PART_DATA : 0u) | (part->file >= 0 ? PART_FILE : 0u);
	if ((has & ~rule->may) != 0 || (rule->must & ~has) != 0 ||
		(head->flags & ~(unsigned)IPC_QUIET) != 0 || head->reserved != 0 ||
		head->name_bytes > RGM_LAYER_NAME_MAX || head->media_bytes > RGM_MEDIA_TYPE_MAX ||
		head->inline_bytes > IPC_INLINE_MAX_BYTES ||
		bytes != (size_t)head->name_bytes + head->media_bytes + head->inline_bytes)
		return false;
	part->head = head;
	part->data = text + head->name_bytes + head->media_bytes;
	part->options = (struct rgm_layer_options){
		.size = sizeof part->options,
		.time_ns = head->time_ns,
		.media_type = head->media_bytes > 0 ? part->media : NULL,
	};
	return take_text(part->layer, text, head->name_bytes) &&
	       take_text(part->media, text + head->name_bytes, head->media_bytes);
}

/* --- the conversation ------------------------------------------------------------------------- */

static void violate(struct load *load, const char *what)
{
	load->job->violation = what;
	load->job->end = true;
	load->over = true;
}

/* The load is not to be: keep what is to be told of it. */
static void fail(struct load *load, int code, const struct rgm_error *error)
{
	load->failed = code;
	load->error = *error;
	rgm_writer_abort(load->writer);
	load->writer = NULL;
}

static void answer_ok(struct load *load, uint32_t sequence)
{
	struct ipc_header reply;
	ipc_header_init(&reply, IPC_OK, sequence, sizeof reply);
	job_answer(load->job, &reply);
}

/* Nobody reads on: what else lies in the socket need not be done. */
static bool abandoned(const struct load *load)
{
	struct pollfd entry = {.fd = load->job->client->socket, .events = POLLRDHUP};
	return job_stopping(load->job) ||
	       (poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0);
}

static void handle_part(struct load *load, const struct part_rule *rule, const struct part *part)
{
	uint32_t sequence = part->head->header.sequence;
	bool quiet = (part->head->flags & IPC_QUIET) != 0;
	if (load->failed) {
		if (!quiet)
			job_fail(load->job, sequence, load->failed, &load->error);
		return;
	}
	uint64_t began_ns = os_now_ns();
	struct rgm_error error;
	int rc = rule->run(load, part, &error);
	if (rc) {
		fail(load, rc, &error);
		job_fail(load->job, sequence, rc, &error);
	} else if (!quiet) {
		answer_ok(load, sequence);
	}
	if (os_now_ns() - began_ns > LONG_PART_NS && abandoned(load))
		load->job->end = true;
}

static void handle_commit(struct load *load)
{
	uint32_t sequence = load->message.header.sequence;
	struct ipc_commit_reply reply = {0};
	struct rgm_load_report report;
	load->over = true;
	if (load->failed) {
		job_fail(load->job, sequence, load->failed, &load->error);
		return;
	}
	struct rgm_writer *writer = load->writer;
	load->writer = NULL;
	int rc = rgm_writer_commit(writer, &report, &load->error);
	if (rc) {
		job_fail(load->job, sequence, rc, &load->error);
		return;
	}
	ipc_header_init(&reply.header, IPC_OK, sequence, sizeof reply);
	reply.version = report.version;
	reply.layers_put = report.layers_put;
	reply.layers_removed = report.layers_removed;
	reply.bytes = report.bytes;
	job_answer(load->job, &reply.header);
}

static void handle_abort(struct load *load)
{
	uint32_t sequence = load->message.header.sequence;
	rgm_writer_abort(load->writer);
	load->writer = NULL;
	load->over = true;
	answer_ok(load, sequence);
}

static void handle(struct load *load, int file)
{
	const struct ipc_header *header = &load->message.header;
	const struct part_rule *rule = find_rule(header->type);
	struct part part = {.file = file};
	bool bare = header->bytes == sizeof *header && file < 0;
	if (header->protocol != IPC_PROTOCOL || header->sequence == 0)
		violate(load, "a message of another protocol inside a load");
	else if (header->type == IPC_CANCEL && bare)
		return;
	else if (rule && !take_part(load, rule, &part))
		violate(load, "a part of a load that breaks the rules");
	else if (rule && rule->streaming != load->streaming && !load->failed)
		violate(load, "a part of a load out of turn");
	else if (rule)
		handle_part(load, rule, &part);
	else if (header->type == IPC_LOAD_COMMIT && bare && (!load->streaming || load->failed))
		handle_commit(load);
	else if (header->type == IPC_LOAD_ABORT && bare)
		handle_abort(load);
	else
		violate(load, "a request that has no place inside a load");
}

/* Tell a client that waits for nothing why the connection ends. */
static void end_silent(struct load *load)
{
	struct rgm_error error;
	int rc = pool_fail(&error, -ETIMEDOUT, "the load of '%s' was ended: nothing came for %u s",
		load->name, IPC_LOAD_SILENCE_MS / 1000);
	job_fail(load->job, 0, rc, &error);
	load->job->end = true;
}

static void converse(struct load *load)
{
	struct job *job = load->job;
	while (!load->over && !job->end && !job_stopping(job)) {
		int file = -1;
		size_t files = 1;
		int rc = ipc_receive(job->client->socket, &load->message, sizeof load->message,
			&file, &files, IPC_LOAD_SILENCE_MS);
		if (rc == -ETIMEDOUT) {
			end_silent(load);
		} else if (rc == -EMFILE) {
			struct rgm_error error;
			pool_fail(&error, -EMFILE, "the manager has no descriptor free for a file");
			job_fail(job, 0, -EMFILE, &error);
			job->end = true;
		} else if (rc == -EPROTO) {
			violate(load, "what it sent in a load is not a message");
		} else if (rc) {
			job->end = true;
		} else {
			atomic_store_explicit(
				&job->working, load->message.header.sequence, memory_order_relaxed);
			handle(load, files > 0 ? file : -1);
			atomic_store_explicit(&job->working, 0, memory_order_relaxed);
			if (files > 0)
				close(file);
		}
	}
}

static int begin(struct load *load, struct rgm_error *error)
{
	const struct ipc_load_begin *request = &load->job->request.load_begin;
	const uint32_t known = RGM_LOAD_CREATE | RGM_LOAD_REPLACE | RGM_LOAD_EXCLUSIVE;
	struct rgm_principal access[IPC_ACCESS_MAX];
	struct rgm_load_options options = {
		.size = sizeof options,
		.flags = request->flags,
		.expected_bytes = request->expected_bytes,
	};
	if ((request->flags & ~known) != 0 || request->reserved != 0)
		return pool_fail(
			error, -EINVAL, "a load has flags that are not known: %#x", request->flags);
	int rc = wire_get_create(&request->options, access, &options.create, error);
	if (rc)
		return rc;
	return rgm_writer_begin(
		load->job->server->manager, load->name, &options, &load->writer, error);
}

void load_run(struct job *job)
{
	const struct ipc_load_begin *request = &job->request.load_begin;
	struct rgm_error error;
	struct load *load = calloc(1, sizeof *load);
	if (!load) {
		pool_fail(&error, -ENOMEM, "the manager has no memory for a load");
		job_fail(job, request->header.sequence, -ENOMEM, &error);
		return;
	}
	load->job = job;
	ipc_text_get(load->name, sizeof load->name, request->name, sizeof request->name);
	int rc = begin(load, &error);
	if (rc) {
		job_fail(job, request->header.sequence, rc, &error);
	} else {
		answer_ok(load, request->header.sequence);
		converse(load);
	}
	rgm_writer_abort(load->writer);
	free(load);
}
