/* SPDX-License-Identifier: Apache-2.0 */
/* See readers.h; and the rows of `regionctl readers`. */
#include "regionmgr/manager/readers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/os.h"
#include "regionmgr/manager/reclaim.h"
#include "regionmgr/manager/table.h"

static void copy_view(struct sessions_view *to, const struct sessions_view *from)
{
	*to = (struct sessions_view){0};
	for (size_t i = 0; i < from->sections.count; i++)
		if (ipc_seen_add(&to->sections, from->sections.versions[i]))
			return;
	to->holds = calloc(from->hold_count + 1, sizeof *to->holds);
	if (to->holds) {
		if (from->hold_count)
			memcpy(to->holds, from->holds, from->hold_count * sizeof *to->holds);
		to->hold_count = from->hold_count;
	}
}

/* What the policy makes of it, as far as that is known by the last look around. */
static const char *lag_word(const struct session_look *look)
{
	if (look->killed_ns)
		return "killed";
	if (look->voided)
		return "revoked";
	return look->warned ? "lagging" : "ok";
}

static void look_one(void *context, struct session_look *look)
{
	struct looks *looks = context;
	struct looked *looked = &looks->items[looks->count++];
	struct rgm_reader_row *row = &looked->row;
	*row = (struct rgm_reader_row){.number = look->number,
		.pid = (uint32_t)look->pid,
		.uid = look->uid,
		.gid = look->gid,
		.alive = look->alive,
		.membarrier = look->membarrier,
		.sections = look->sections,
		.holds = (uint32_t)look->view.hold_count,
		.mapped = look->mapped,
		.attached_ns = looks->now_ns - look->attached_ns,
		.revoked_version = look->revoked > 1 ? look->revoked : 0};
	strcpy(row->label, look->label);
	strcpy(row->lag, lag_word(look));
	const struct ipc_seen *sections = &look->view.sections;
	row->oldest_version = sections->count ? sections->versions[0] : 0;
	row->newest_version = sections->count ? sections->versions[sections->count - 1] : 0;
	for (size_t i = 0; i < look->view.hold_count; i++) {
		uint64_t version = look->view.holds[i].version;
		if (!row->oldest_version || version < row->oldest_version)
			row->oldest_version = version;
		if (version > row->newest_version)
			row->newest_version = version;
	}
	looked->warned = look->warned;
	looked->killed_ns = look->killed_ns;
	copy_view(&looked->view, &look->view);
}

int looks_take(struct rgm_manager *manager, uint64_t after, size_t most, struct looks *ret_looks)
{
	struct looks looks = {.now_ns = os_now_ns()};
	looks.items = calloc(most ? most : 1, sizeof *looks.items);
	if (!looks.items)
		return -ENOMEM;
	sessions_each(manager->sessions, after, most, look_one, &looks);
	*ret_looks = looks;
	return 0;
}

void looks_measure(struct rgm_manager *manager, const struct looks *looks, struct looked *looked)
{
	struct rgm_reader_row *row = &looked->row;
	uint64_t kept_ns = 0, replaced_ns = table_replaced_ns(manager->table, row->oldest_version);
	row->kept_bytes = reclaim_kept_bytes(manager->reclaim, &looked->view, &kept_ns);
	/* Of a hold the version may be forgotten: it is as old as what it keeps. */
	if (replaced_ns == 0)
		replaced_ns = kept_ns;
	if (replaced_ns && replaced_ns < looks->now_ns)
		row->age_ns = looks->now_ns - replaced_ns;
	/* That it was logged is taken back by the next look around only. */
	if (row->kept_bytes == 0 && strcmp(row->lag, "lagging") == 0)
		strcpy(row->lag, "ok");
}

void looks_free(struct looks *looks)
{
	for (size_t i = 0; i < looks->count; i++)
		sessions_view_free(&looks->items[i].view);
	free(looks->items);
}

size_t info_readers(
	struct rgm_manager *manager, uint64_t after, struct rgm_reader_row *rows, size_t capacity)
{
	struct looks looks;
	if (looks_take(manager, after, capacity, &looks))
		return 0;
	size_t count = looks.count;
	for (size_t i = 0; i < count; i++) {
		looks_measure(manager, &looks, &looks.items[i]);
		rows[i] = looks.items[i].row;
	}
	looks_free(&looks);
	return count;
}
