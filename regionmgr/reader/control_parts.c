/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of the control socket: the parts of a load, from files and from memory. Each is made in
 * the one message that the load has room for; what lies between it and the manager is bounded by the
 * socket's buffer.
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

/* A smaller file is read here and travels as bytes: up to here that is faster than a descriptor. */
#define SMALL_FILE_BYTES 32768

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

int rgm_load_remove(struct rgm_load *load, const char *layer, struct rgm_error *error)
{
	int rc = begin_part(load, layer, NULL, error);
	if (rc == 0 && load_send(load, IPC_LOAD_REMOVE, part_bytes(load), -1))
		return load_tell(load, error);
	return rc;
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
	if (status.st_size > SMALL_FILE_BYTES || !dated) {
		part->file_bytes = (uint64_t)status.st_size;
		part->file_time_ns = time_ns(&status.st_mtim);
		rc = load_send(load, IPC_LOAD_FILE, part_bytes(load), file);
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
	rc = load_send(load, IPC_LOAD_BYTES, part_bytes(load), -1);
	return rc ? load_tell(load, error) : 0;
}

/* --- memory ----------------------------------------------------------------------------------- */

/*
 * While a layer is streamed, load->message is a part of it in the making. Bytes go through the socket
 * rather than a memfd: a copy each way, as there, but into pages that the kernel has at hand, which was
 * measured to take less than half the time.
 */
static int send_piece(struct rgm_load *load)
{
	int rc = load_send(load, IPC_LOAD_STREAM_APPEND, part_bytes(load), -1);
	load->message.part = (struct ipc_load_part){0};
	return rc;
}

static int append(struct rgm_load *load, const char *data, size_t data_bytes)
{
	struct ipc_load_part *part = &load->message.part;
	while (data_bytes > 0) {
		size_t bytes = IPC_INLINE_MAX_BYTES - part->inline_bytes;
		if (bytes > data_bytes)
			bytes = data_bytes;
		memcpy(load->message.bytes + part_bytes(load), data, bytes);
		part->inline_bytes += (uint32_t)bytes;
		data += bytes;
		data_bytes -= bytes;
		int rc = part->inline_bytes == IPC_INLINE_MAX_BYTES ? send_piece(load) : 0;
		if (rc)
			return rc;
	}
	return 0;
}

int rgm_load_stream_begin(struct rgm_load *load, const char *layer,
	const struct rgm_layer_options *options, struct rgm_error *error)
{
	int rc = begin_part(load, layer, options, error);
	if (rc)
		return rc;
	if (load_send(load, IPC_LOAD_STREAM_BEGIN, part_bytes(load), -1))
		return load_tell(load, error);
	load->message.part = (struct ipc_load_part){0};
	load->streaming = true;
	return 0;
}

int rgm_load_stream_append(
	struct rgm_load *load, const void *data, size_t data_bytes, struct rgm_error *error)
{
	int rc = load_check_turn(load, true, error);
	if (rc)
		return rc;
	rc = data_bytes > 0 ? append(load, data, data_bytes) : send_piece(load);
	return rc ? load_tell(load, error) : 0;
}

int rgm_load_stream_end(struct rgm_load *load, struct rgm_error *error)
{
	int rc = load_check_turn(load, true, error);
	if (rc)
		return rc;
	load->streaming = false;
	if (load->message.part.inline_bytes > 0)
		rc = send_piece(load);
	if (rc == 0)
		rc = load_send(load, IPC_LOAD_STREAM_END, part_bytes(load), -1);
	return rc ? load_tell(load, error) : 0;
}

int rgm_load_bytes(struct rgm_load *load, const char *layer, const void *data, size_t data_bytes,
	const struct rgm_layer_options *options, struct rgm_error *error)
{
	if (data_bytes > IPC_INLINE_MAX_BYTES) {
		int rc = rgm_load_stream_begin(load, layer, options, error);
		if (rc == 0)
			rc = rgm_load_stream_append(load, data, data_bytes, error);
		return rc ? rc : rgm_load_stream_end(load, error);
	}
	int rc = begin_part(load, layer, options, error);
	if (rc)
		return rc;
	if (data_bytes > 0)
		memcpy(load->message.bytes + part_bytes(load), data, data_bytes);
	load->message.part.inline_bytes = (uint32_t)data_bytes;
	rc = load_send(load, IPC_LOAD_BYTES, part_bytes(load), -1);
	return rc ? load_tell(load, error) : 0;
}
