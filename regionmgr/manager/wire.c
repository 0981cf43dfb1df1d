/* SPDX-License-Identifier: Apache-2.0 */
/* Facts on their way out are copied field by field; options on their way in are checked. */
#include "regionmgr/manager/wire.h"

#include <errno.h>
#include <string.h>

#include "ipc/socket.h"
#include "pool/error.h"

#define PUT_TEXT(to, from) ipc_text_put((to), sizeof(to), (from))

void wire_put_error(
	struct ipc_error *ret_message, uint32_t sequence, int code, const struct rgm_error *error)
{
	memset(ret_message, 0, sizeof *ret_message);
	ipc_header_init(&ret_message->header, IPC_ERROR, sequence, sizeof *ret_message);
	ret_message->code = code;
	PUT_TEXT(ret_message->message, error->message);
	PUT_TEXT(ret_message->hint, error->hint);
}

void wire_put_status(struct ipc_status_reply *reply, const struct rgm_status *status)
{
	PUT_TEXT(reply->instance, status->instance);
	PUT_TEXT(reply->instance_id, status->instance_id);
	PUT_TEXT(reply->version_text, status->version_text);
	PUT_TEXT(reply->folder, status->folder);
	PUT_TEXT(reply->socket, status->socket);
	reply->pid = status->pid;
	reply->uid = status->uid;
	reply->started_ns = status->started_ns;
	reply->uptime_ns = status->uptime_ns;
	reply->version = status->version;
	reply->dimensions = status->dimensions;
	reply->refused = status->refused;
	reply->readers = status->readers;
	reply->loads = status->loads;
	reply->content_bytes = status->content_bytes;
	reply->region_bytes = status->region_bytes;
	reply->allocated_bytes = status->allocated_bytes;
	reply->retired_bytes = status->retired_bytes;
	reply->membarrier = status->membarrier;
	reply->max_dimensions = status->max_dimensions;
}

void wire_put_dimension(struct ipc_dimension_row *row, const struct rgm_dimension_row *dimension)
{
	memset(row, 0, sizeof *row);
	PUT_TEXT(row->name, dimension->name);
	PUT_TEXT(row->kind, dimension->kind);
	PUT_TEXT(row->state, dimension->state);
	PUT_TEXT(row->mode, dimension->mode);
	PUT_TEXT(row->backing, dimension->backing);
	PUT_TEXT(row->file, dimension->file);
	PUT_TEXT(row->reason, dimension->reason);
	row->id = dimension->id;
	row->generation = dimension->generation;
	row->version = dimension->version;
	row->changed_ns = dimension->changed_ns;
	row->bytes = dimension->bytes;
	row->layers = dimension->layers;
	row->region_bytes = dimension->region_bytes;
	row->max_bytes = dimension->max_bytes;
	row->live_pages = dimension->live_pages;
	row->allocated_pages = dimension->allocated_pages;
	row->retired_pages = dimension->retired_pages;
	row->free_pages = dimension->free_pages;
	row->block_bytes = dimension->block_bytes;
	row->resident_bytes = dimension->resident_bytes;
	row->largest_free_pages = dimension->largest_free_pages;
	row->readers = dimension->readers;
	row->holds = dimension->holds;
	row->access_count =
		dimension->access_count < IPC_ACCESS_MAX ? dimension->access_count : IPC_ACCESS_MAX;
	for (size_t i = 0; i < row->access_count; i++) {
		row->access[i].type = dimension->access[i].type;
		row->access[i].id = dimension->access[i].id;
	}
}

void wire_put_reader(struct ipc_reader_row *row, const struct rgm_reader_row *reader)
{
	memset(row, 0, sizeof *row);
	row->number = reader->number;
	PUT_TEXT(row->label, reader->label);
	row->pid = reader->pid;
	row->uid = reader->uid;
	row->gid = reader->gid;
	row->alive = reader->alive;
	row->membarrier = reader->membarrier;
	row->sections = reader->sections;
	row->holds = reader->holds;
	row->mapped = reader->mapped;
	row->oldest_version = reader->oldest_version;
	row->newest_version = reader->newest_version;
	row->age_ns = reader->age_ns;
	row->attached_ns = reader->attached_ns;
	row->kept_bytes = reader->kept_bytes;
	row->revoked_version = reader->revoked_version;
	PUT_TEXT(row->lag, reader->lag);
}

void wire_put_counter(struct ipc_counter_row *row, const struct rgm_counter *counter)
{
	memset(row, 0, sizeof *row);
	PUT_TEXT(row->name, counter->name);
	PUT_TEXT(row->description, counter->description);
	row->value = counter->value;
	row->gauge = counter->gauge;
	row->bytes = counter->bytes;
}

int wire_get_create(const struct ipc_create_options *message, struct rgm_principal *access,
	struct rgm_create_options *ret_options, struct rgm_error *error)
{
	if (message->access_count > IPC_ACCESS_MAX)
		return pool_fail(error, -EINVAL, "an access list has at most %u entries, not %u",
			IPC_ACCESS_MAX, message->access_count);
	for (uint32_t i = 0; i < message->access_count; i++) {
		if (message->access[i].type != 'u' && message->access[i].type != 'g')
			return pool_fail(error, -EINVAL,
				"entry %u of the access list is neither a user nor a group", i + 1);
		access[i].type = message->access[i].type;
		access[i].id = message->access[i].id;
	}
	*ret_options = (struct rgm_create_options){
		.size = sizeof *ret_options,
		.kind = (enum rgm_kind)message->kind,
		.max_bytes = message->max_bytes,
		.access = message->access_count > 0 ? access : NULL,
		.access_count = message->access_count,
	};
	return 0;
}
