/* SPDX-License-Identifier: Apache-2.0 */
/* Changes through the control socket or straight into an embedded manager; see instance.h. */
#include <string.h>

#include "instance.h"

int channel_open(struct channel *channel, const struct instance *instance, struct rgm_error *error)
{
	struct rgm_control_options options = {
		.size = sizeof(options), .socket = instance->socket, .timeout_ms = 120000};

	memset(channel, 0, sizeof(*channel));
	channel->manager = instance->manager;
	return rgm_control_open(instance->name, &options, &channel->control, error);
}

void channel_close(struct channel *channel)
{
	if (channel->control != NULL)
		rgm_control_close(channel->control);
	channel->control = NULL;
}

int channel_create(struct channel *channel, const char *name, struct rgm_error *error)
{
	if (channel->manager != NULL)
		return rgm_manager_create(channel->manager, name, NULL, error);
	return rgm_control_create(channel->control, name, NULL, error);
}

int channel_drop(struct channel *channel, const char *name, struct rgm_error *error)
{
	if (channel->manager != NULL)
		return rgm_manager_drop(channel->manager, name, false, NULL, error);
	return rgm_control_drop(channel->control, name, false, NULL, error);
}

int channel_rename(
	struct channel *channel, const char *from, const char *to, struct rgm_error *error)
{
	if (channel->manager != NULL)
		return rgm_manager_rename(channel->manager, from, to, error);
	return rgm_control_rename(channel->control, from, to, error);
}

int channel_version(struct channel *channel, uint64_t *ret_version, struct rgm_error *error)
{
	struct rgm_status status;
	int rc = rgm_control_status(channel->control, &status, error);

	if (rc == 0)
		*ret_version = status.version;
	return rc;
}

int change_begin(struct channel *channel, const char *name, uint32_t flags, uint64_t expected_bytes,
	struct rgm_error *error)
{
	struct rgm_load_options options = {
		.size = sizeof(options), .flags = flags, .expected_bytes = expected_bytes};

	if (channel->manager != NULL)
		return rgm_writer_begin(channel->manager, name, &options, &channel->writer, error);
	return rgm_load_begin(channel->control, name, &options, &channel->load, error);
}

int change_put_file(struct channel *channel, const char *layer, int file,
	const struct rgm_layer_options *options, struct rgm_error *error)
{
	if (channel->manager != NULL)
		return rgm_writer_put_file(channel->writer, layer, file, options, error);
	return rgm_load_file(channel->load, layer, file, options, error);
}

int change_put_bytes(struct channel *channel, const char *layer, const void *data, size_t bytes,
	const struct rgm_layer_options *options, struct rgm_error *error)
{
	if (channel->manager != NULL)
		return rgm_writer_put(channel->writer, layer, data, bytes, options, error);
	return rgm_load_bytes(channel->load, layer, data, bytes, options, error);
}

static int append(struct channel *channel, const void *data, size_t bytes, struct rgm_error *error)
{
	if (channel->manager != NULL)
		return rgm_writer_stream_append(channel->writer, data, bytes, error);
	return rgm_load_stream_append(channel->load, data, bytes, error);
}

int change_put_stream(struct channel *channel, const char *layer, const void *data, size_t bytes,
	size_t piece, const struct rgm_layer_options *options, struct rgm_error *error)
{
	const char *at = data;
	int rc = channel->manager != NULL
	                 ? rgm_writer_stream_begin(channel->writer, layer, options, error)
	                 : rgm_load_stream_begin(channel->load, layer, options, error);

	for (size_t done = 0; rc == 0 && done < bytes; done += piece)
		rc = append(channel, at + done, bytes - done < piece ? bytes - done : piece, error);
	if (rc != 0)
		return rc;
	return channel->manager != NULL ? rgm_writer_stream_end(channel->writer, error)
	                                : rgm_load_stream_end(channel->load, error);
}

int change_remove(struct channel *channel, const char *layer, struct rgm_error *error)
{
	if (channel->manager != NULL)
		return rgm_writer_remove(channel->writer, layer, error);
	return rgm_load_remove(channel->load, layer, error);
}

int change_commit(
	struct channel *channel, struct rgm_load_report *ret_report, struct rgm_error *error)
{
	int rc = channel->manager != NULL ? rgm_writer_commit(channel->writer, ret_report, error)
	                                  : rgm_load_commit(channel->load, ret_report, error);

	channel->load = NULL;
	channel->writer = NULL;
	return rc;
}

void change_abort(struct channel *channel)
{
	if (channel->writer != NULL)
		rgm_writer_abort(channel->writer);
	if (channel->load != NULL)
		rgm_load_abort(channel->load);
	channel->load = NULL;
	channel->writer = NULL;
}
