/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of the control socket: the parts of a load, from files and from memory.
 *
 * Memory is bounded: small content is collected for one message, larger content goes into memfds of
 * one chunk, of which at most two wait to be read by the manager.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dimensions/layers.h"
#include "dimensions/layers_name.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/reader/control_load.h"

#define CHUNK_LABEL "regionmgr-load"

/* --- parts ------------------------------------------------------------------------------------ */

/* Begin load->message with what is told of a layer. Nothing is done where that breaks the rules. */
static int begin_part(struct rgm_load *load, const char *layer,
	const struct rgm_layer_options *given, struct rgm_error *error)
{
	struct rgm_layer_options options = {0};
	struct ipc_load_part *part = &load->message.part;
	char *text = load->message.bytes + sizeof *part;
	int rc = load_check_turn(load, false, error);
	if (rc == 0)
		rc = control_options(&options, sizeof options, given, error);
	if (!layer)
		layer = "";
	size_t name_bytes = strnlen(layer, RGM_LAYER_NAME_MAX + 1);
	if (rc == 0)
		rc = layers_check_name(layer, name_bytes, error);
	size_t media_bytes = rc == 0 && options.media_type
	                             ? strnlen(options.media_type, RGM_MEDIA_TYPE_MAX + 1)
	                             : 0;
	if (rc == 0 && media_bytes > 0 && !layers_media_valid(options.media_type, media_bytes))
		rc = pool_fail(
			error, -EINVAL, "the media type '%.40s' is not one", options.media_type);
	if (rc)
		return rc;
	*part = (struct ipc_load_part){
		.name_bytes = (uint16_t)name_bytes,
		.media_bytes = (uint16_t)media_bytes,
		.time_ns = options.time_ns,
	};
	memcpy(text, layer, name_bytes);
	if (media_bytes > 0)
		memcpy(text + name_bytes, options.media_type, media_bytes);
	return 0;
}

/* Bytes of load->message so far. */
static size_t part_bytes(const struct rgm_load *load)
{
	const struct ipc_load_part *part = &load->message.part;
	return sizeof *part + part->name_bytes + part->media_bytes + part->inline_bytes;
}

static int send_inline(struct rgm_load *load, enum ipc_type type, const void *data,
	size_t data_bytes, struct rgm_error *error)
{
	if (data_bytes > 0)
		memcpy(load->message.bytes + part_bytes(load), data, data_bytes);
	load->message.part.inline_bytes = (uint32_t)data_bytes;
	return load_send(load, type, part_bytes(load), -1, false) ? load_tell(load, error) : 0;
}

int rgm_load_remove(struct rgm_load *load, const char *layer, struct rgm_error *error)
{
	int rc = begin_part(load, layer, NULL, error);
	return rc ? rc : send_inline(load, IPC_LOAD_REMOVE, NULL, 0, error);
}

/* --- files ------------------------------------------------------------------------------------ */

static uint64_t time_ns(const struct timespec *time)
{
	return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_nsec;
}

static const char *shown(char text[LAYERS_SHOWN_BYTES], const struct rgm_load *load)
{
	const struct ipc_load_part *part = &load->message.part;
	return layers_name_shown(text, load->message.bytes + sizeof *part, part->name_bytes);
}

/* Read a whole small file behind load->message, as the manager reads large ones. */
static int read_small(
	struct rgm_load *load, int file, const struct stat *before, struct rgm_error *error)
{
	char name[LAYERS_SHOWN_BYTES], beyond;
	size_t bytes = (size_t)before->st_size;
	struct stat after;
	int rc = os_read_all(file, load->message.bytes + part_bytes(load), bytes, 0);
	if (rc && rc != -ENODATA)
		return pool_fail_code(error, rc, "layer '%s': reading its file", shown(name, load));
	if (fstat(file, &after) != 0)
		return pool_fail_errno(error, "layer '%s': looking at its file", shown(name, load));
	if (rc == -ENODATA || after.st_size != before->st_size ||
		time_ns(&after.st_mtim) != time_ns(&before->st_mtim) ||
		time_ns(&after.st_ctim) != time_ns(&before->st_ctim) ||
		os_read_all(file, &beyond, 1, bytes) != -ENODATA)
		return pool_fail(error, RGM_ECHANGED,
			"layer '%s': its file changed while it was read", shown(name, load));
	return 0;
}

int rgm_load_file(struct rgm_load *load, const char *layer, int file,
	const struct rgm_layer_options *options, struct rgm_error *error)
{
	struct ipc_load_part *part = &load->message.part;
	char name[LAYERS_SHOWN_BYTES];
	struct stat status;
	struct rgm_error reason;
	int rc = begin_part(load, layer, options, error);
	if (rc)
		return rc;
	if (fstat(file, &status) != 0)
		return pool_fail(error, -EINVAL, "layer '%s': its descriptor %d is not open",
			shown(name, load), file);
	if (!S_ISREG(status.st_mode))
		return pool_fail(error, -EINVAL, "layer '%s': its source is not a regular file",
			shown(name, load));

	/* A time of 0 means "now" where there is no descriptor to ask. */
	bool dated = part->time_ns != 0 || status.st_mtim.tv_sec > 0;
	if (status.st_size > (off_t)IPC_INLINE_MAX_BYTES || !dated) {
		part->file_bytes = (uint64_t)status.st_size;
		part->file_time_ns = time_ns(&status.st_mtim);
		rc = load_send(load, IPC_LOAD_FILE, part_bytes(load), file, false);
		return rc ? load_tell(load, error) : 0;
	}
	rc = read_small(load, file, &status, &reason);
	if (rc) {
		load_fail(load, rc, &reason);
		return load_tell(load, error);
	}
	if (part->time_ns == 0)
		part->time_ns = time_ns(&status.st_mtim);
	part->inline_bytes = (uint32_t)status.st_size;
	rc = load_send(load, IPC_LOAD_BYTES, part_bytes(load), -1, false);
	return rc ? load_tell(load, error) : 0;
}

/* --- memory ----------------------------------------------------------------------------------- */

/* Whatever goes wrong with memory of our own ends the load, as it leaves a layer half sent. */
static int memory_failed(struct rgm_load *load, int code)
{
	struct rgm_error error;
	pool_fail_code(&error, code, "memory for the bytes of a layer");
	return load_fail(load, code, &error);
}

/* Send the chunk, if there is one. */
static int send_chunk(struct rgm_load *load)
{
	if (load->chunk < 0)
		return 0;
	int rc = os_memfd_seal(load->chunk);
	if (rc) {
		rc = memory_failed(load, rc);
	} else {
		load->message.part = (struct ipc_load_part){.file_bytes = load->chunk_bytes};
		rc = load_send(load, IPC_LOAD_STREAM_APPEND, part_bytes(load), load->chunk, true);
	}
	close(load->chunk);
	load->chunk = -1;
	load->chunk_bytes = 0;
	return rc;
}

/* Write into chunks, and send those that are full. */
static int fill_chunks(struct rgm_load *load, const char *data, size_t data_bytes)
{
	while (data_bytes > 0) {
		int rc = load->chunk < 0 ? os_memfd_create(CHUNK_LABEL, &load->chunk) : 0;
		size_t bytes = IPC_CHUNK_MAX_BYTES - (size_t)load->chunk_bytes;
		if (bytes > data_bytes)
			bytes = data_bytes;
		if (rc == 0)
			rc = os_write_all(load->chunk, data, bytes, load->chunk_bytes);
		if (rc)
			return memory_failed(load, rc);
		load->chunk_bytes += bytes;
		data += bytes;
		data_bytes -= bytes;
		if (load->chunk_bytes == IPC_CHUNK_MAX_BYTES)
			rc = send_chunk(load);
		if (rc)
			return rc;
	}
	return 0;
}

static int append(struct rgm_load *load, const char *data, size_t data_bytes)
{
	if (data_bytes <= sizeof load->buffer - load->buffered) {
		memcpy(load->buffer + load->buffered, data, data_bytes);
		load->buffered += data_bytes;
		return 0;
	}
	size_t buffered = load->buffered;
	load->buffered = 0;
	int rc = fill_chunks(load, load->buffer, buffered);
	return rc ? rc : fill_chunks(load, data, data_bytes);
}

/* Send what is collected, so that nothing is left here. */
static int flush(struct rgm_load *load)
{
	size_t buffered = load->buffered;
	load->buffered = 0;
	if (load->chunk >= 0) {
		int rc = fill_chunks(load, load->buffer, buffered);
		return rc ? rc : send_chunk(load);
	}
	if (buffered == 0)
		return 0;
	load->message.part = (struct ipc_load_part){0};
	return send_inline(load, IPC_LOAD_STREAM_APPEND, load->buffer, buffered, NULL);
}

int rgm_load_stream_begin(struct rgm_load *load, const char *layer,
	const struct rgm_layer_options *options, struct rgm_error *error)
{
	int rc = begin_part(load, layer, options, error);
	if (rc == 0)
		rc = send_inline(load, IPC_LOAD_STREAM_BEGIN, NULL, 0, error);
	if (rc == 0)
		load->streaming = true;
	return rc;
}

int rgm_load_stream_append(
	struct rgm_load *load, const void *data, size_t data_bytes, struct rgm_error *error)
{
	int rc = load_check_turn(load, true, error);
	if (rc)
		return rc;
	if (data_bytes > 0)
		return append(load, data, data_bytes) ? load_tell(load, error) : 0;
	load->message.part = (struct ipc_load_part){0};
	return send_inline(load, IPC_LOAD_STREAM_APPEND, NULL, 0, error);
}

int rgm_load_stream_end(struct rgm_load *load, struct rgm_error *error)
{
	int rc = load_check_turn(load, true, error);
	if (rc)
		return rc;
	load->streaming = false;
	if (flush(load))
		return load_tell(load, error);
	load->message.part = (struct ipc_load_part){0};
	return send_inline(load, IPC_LOAD_STREAM_END, NULL, 0, error);
}

/* Bytes of one chunk at most: a memfd is as good as a file, and its size is known beforehand. */
static int send_memfd(struct rgm_load *load, const void *data, size_t data_bytes)
{
	struct ipc_load_part *part = &load->message.part;
	struct stat status;
	int file = -1;
	int rc = os_memfd_create(CHUNK_LABEL, &file);
	if (rc == 0)
		rc = os_write_all(file, data, data_bytes, 0);
	if (rc == 0)
		rc = os_memfd_seal(file);
	if (rc == 0 && fstat(file, &status) != 0)
		rc = -errno;
	if (rc == 0) {
		part->file_bytes = data_bytes;
		part->file_time_ns = time_ns(&status.st_mtim);
		rc = load_send(load, IPC_LOAD_FILE, part_bytes(load), file, true);
	} else {
		rc = memory_failed(load, rc);
	}
	if (file >= 0)
		close(file);
	return rc;
}

int rgm_load_bytes(struct rgm_load *load, const char *layer, const void *data, size_t data_bytes,
	const struct rgm_layer_options *options, struct rgm_error *error)
{
	if (data_bytes > IPC_CHUNK_MAX_BYTES) {
		int rc = rgm_load_stream_begin(load, layer, options, error);
		if (rc == 0)
			rc = rgm_load_stream_append(load, data, data_bytes, error);
		return rc ? rc : rgm_load_stream_end(load, error);
	}
	int rc = begin_part(load, layer, options, error);
	if (rc)
		return rc;
	if (data_bytes <= IPC_INLINE_MAX_BYTES)
		return send_inline(load, IPC_LOAD_BYTES, data, data_bytes, error);
	return send_memfd(load, data, data_bytes) ? load_tell(load, error) : 0;
}
