/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of the control socket: lists, which come in pages, and what their rows say. Counts from
 * the manager are checked before they are used.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/error.h"
#include "regionmgr/reader/control_client.h"

#define ROWS_MAX 65536u /* of any list: more is nonsense */

/* --- rows ------------------------------------------------------------------------------------- */

void control_get_dimension(void *public, const void *wire)
{
	const struct ipc_dimension_row *row = wire;
	struct rgm_dimension_row dimension = {
		.id = row->id,
		.generation = row->generation,
		.version = row->version,
		.changed_ns = row->changed_ns,
		.bytes = row->bytes,
		.layers = row->layers,
		.region_bytes = row->region_bytes,
		.max_bytes = row->max_bytes,
		.live_pages = row->live_pages,
		.allocated_pages = row->allocated_pages,
		.retired_pages = row->retired_pages,
		.free_pages = row->free_pages,
		.block_bytes = row->block_bytes,
		.resident_bytes = row->resident_bytes,
		.largest_free_pages = row->largest_free_pages,
		.readers = row->readers,
		.holds = row->holds,
		.access_count =
			row->access_count < IPC_ACCESS_MAX ? row->access_count : IPC_ACCESS_MAX,
	};
	GET_TEXT(dimension.name, row->name);
	GET_TEXT(dimension.kind, row->kind);
	GET_TEXT(dimension.state, row->state);
	GET_TEXT(dimension.mode, row->mode);
	GET_TEXT(dimension.backing, row->backing);
	GET_TEXT(dimension.file, row->file);
	GET_TEXT(dimension.reason, row->reason);
	for (size_t i = 0; i < dimension.access_count; i++) {
		dimension.access[i].type = row->access[i].type;
		dimension.access[i].id = row->access[i].id;
	}
	memcpy(public, &dimension, sizeof dimension);
}

static void get_reader(void *public, const void *wire)
{
	const struct ipc_reader_row *row = wire;
	struct rgm_reader_row reader = {
		.number = row->number,
		.pid = row->pid,
		.uid = row->uid,
		.gid = row->gid,
		.alive = row->alive,
		.membarrier = row->membarrier,
		.sections = row->sections,
		.holds = row->holds,
		.mapped = row->mapped,
		.oldest_version = row->oldest_version,
		.newest_version = row->newest_version,
		.age_ns = row->age_ns,
		.attached_ns = row->attached_ns,
		.kept_bytes = row->kept_bytes,
		.revoked_version = row->revoked_version,
	};
	GET_TEXT(reader.label, row->label);
	GET_TEXT(reader.lag, row->lag);
	memcpy(public, &reader, sizeof reader);
}

static void get_counter(void *public, const void *wire)
{
	const struct ipc_counter_row *row = wire;
	struct rgm_counter counter = {
		.value = row->value,
		.gauge = row->gauge,
		.bytes = row->bytes,
	};
	GET_TEXT(counter.name, row->name);
	GET_TEXT(counter.description, row->description);
	memcpy(public, &counter, sizeof counter);
}

/* --- pages ------------------------------------------------------------------------------------ */

/* A list in the making: rows of one form on the wire, of another for the caller. */
struct list {
	enum ipc_type type;
	size_t wire_bytes, public_bytes;
	void (*get)(void *public, const void *wire);
	char *rows;
	size_t count;
};

union page {
	struct ipc_page_reply head;
	char bytes[IPC_MESSAGE_MAX_BYTES];
};

static int take_page(struct list *list, const union page *page, struct rgm_error *error)
{
	uint32_t count = page->head.row_count;
	if (count > (page->head.header.bytes - sizeof page->head) / list->wire_bytes ||
		list->count + count > ROWS_MAX)
		return pool_fail(
			error, RGM_EPROTOCOL, "the manager sent a list that makes no sense");
	char *rows = reallocarray(list->rows, list->count + count + 1, list->public_bytes);
	if (!rows)
		return pool_fail(error, -ENOMEM, "no memory for a list of the manager's");
	list->rows = rows;
	for (uint32_t i = 0; i < count; i++)
		list->get(rows + list->public_bytes * list->count++,
			page->bytes + sizeof page->head + i * list->wire_bytes);
	return 0;
}

static int get_pages(
	struct rgm_control *control, struct list *list, union page *page, struct rgm_error *error)
{
	struct ipc_page request = {0};
	/* A page may be empty, its rows not being for this user; it leads on all the same. */
	for (uint32_t pages = 0; pages < ROWS_MAX; pages++) {
		struct ipc_call via = control_call(control);
		ipc_header_init(&request.header, list->type, 0, sizeof request);
		int rc = ipc_call(&via, &request.header, NULL, 0, page, sizeof *page,
			sizeof page->head, NULL, NULL, error);
		if (rc == 0)
			rc = take_page(list, page, error);
		if (rc || !page->head.more)
			return rc;
		request.after_number = page->head.after_number;
		memcpy(request.after_name, page->head.after_name, sizeof request.after_name);
	}
	return pool_fail(error, RGM_EPROTOCOL, "the manager's list has no end");
}

static int get_list(struct rgm_control *control, struct list *list, struct rgm_error *error)
{
	int rc = control_idle(control, error);
	if (rc)
		return rc;
	union page *page = malloc(sizeof *page);
	if (!page)
		return pool_fail(error, -ENOMEM, "no memory for a list of the manager's");
	rc = get_pages(control, list, page, error);
	free(page);
	if (rc)
		free(list->rows);
	return rc;
}

int rgm_control_list(struct rgm_control *control, struct rgm_dimension_row **ret_rows,
	size_t *ret_count, struct rgm_error *error)
{
	struct list list = {
		.type = IPC_LIST,
		.wire_bytes = sizeof(struct ipc_dimension_row),
		.public_bytes = sizeof(struct rgm_dimension_row),
		.get = control_get_dimension,
	};
	int rc = get_list(control, &list, error);
	if (rc)
		return rc;
	*ret_rows = (struct rgm_dimension_row *)(void *)list.rows;
	*ret_count = list.count;
	return 0;
}

int rgm_control_readers(struct rgm_control *control, struct rgm_reader_row **ret_rows,
	size_t *ret_count, struct rgm_error *error)
{
	struct list list = {
		.type = IPC_READERS,
		.wire_bytes = sizeof(struct ipc_reader_row),
		.public_bytes = sizeof(struct rgm_reader_row),
		.get = get_reader,
	};
	int rc = get_list(control, &list, error);
	if (rc)
		return rc;
	*ret_rows = (struct rgm_reader_row *)(void *)list.rows;
	*ret_count = list.count;
	return 0;
}

int rgm_control_stats(struct rgm_control *control, struct rgm_counter **ret_counters,
	size_t *ret_count, struct rgm_error *error)
{
	struct list list = {
		.type = IPC_STATS,
		.wire_bytes = sizeof(struct ipc_counter_row),
		.public_bytes = sizeof(struct rgm_counter),
		.get = get_counter,
	};
	int rc = get_list(control, &list, error);
	if (rc)
		return rc;
	*ret_counters = (struct rgm_counter *)(void *)list.rows;
	*ret_count = list.count;
	return 0;
}
