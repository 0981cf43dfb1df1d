/* SPDX-License-Identifier: Apache-2.0 */
/* From a section or a hold to a view: looking dimensions up and opening layers. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "pool/error.h"
#include "regionmgr/reader/layers_view.h"
#include "regionmgr/reader/reader.h"

static int fail_outside(struct rgm_error *error)
{
	pool_fail(error, -EINVAL, "this needs a section");
	pool_hint(error, "call it between rgm_pin() and rgm_unpin()");
	return -EINVAL;
}

/* The entry of a name in the section's version. */
static int find(struct rgm_slot *slot, const char *name, const struct ipc_dimension **ret_entry,
	uint32_t *ret_index, struct rgm_error *error)
{
	if (slot_version(slot) == 0)
		return fail_outside(error);
	size_t length = strnlen(name, RGM_NAME_MAX + 1);
	const struct ipc_top *top = ipc_table_top(slot->table, slot_version(slot));
	const struct ipc_dimension *entry =
		ipc_table_find(slot->table, top, name, length, ret_index);
	if (!entry) {
		reader_notice(slot->state->session);
		return pool_fail(error, RGM_ENODIM, "there is no dimension '%.64s'", name);
	}
	*ret_entry = entry;
	return 0;
}

/* The entry of an identity in the section's version. */
static int find_identity(struct rgm_slot *slot, const struct rgm_dimension *dimension,
	const struct ipc_dimension **ret_entry, struct rgm_error *error)
{
	if (slot_version(slot) == 0)
		return fail_outside(error);
	const struct ipc_top *top = ipc_table_top(slot->table, slot_version(slot));
	const struct ipc_dimension *entry = ipc_table_at(slot->table, top, dimension->index);
	if (!entry || entry->id != dimension->id || !entry->id) {
		reader_notice(slot->state->session);
		return pool_fail(error, RGM_ENODIM,
			"the dimension with id %" PRIu64 " is not in version %" PRIu64,
			dimension->id, slot_version(slot));
	}
	*ret_entry = entry;
	return 0;
}

int rgm_find(struct rgm_slot *slot, const char *name, struct rgm_dimension *ret_dimension,
	struct rgm_error *error)
{
	const struct ipc_dimension *entry = NULL;
	uint32_t index;
	int rc = find(slot, name, &entry, &index, error);
	if (rc)
		return rc;
	*ret_dimension =
		(struct rgm_dimension){.id = entry->id, .index = index, .kind = entry->kind};
	return 0;
}

int rgm_next_dimension(struct rgm_slot *slot, uint32_t *cursor, struct rgm_dimension_info *ret_info)
{
	if (slot_version(slot) == 0)
		return -EINVAL;
	const struct ipc_top *top = ipc_table_top(slot->table, slot_version(slot));
	const struct ipc_dimension *entry = NULL;
	while ((entry = ipc_table_at(slot->table, top, *cursor))) {
		uint32_t index = (*cursor)++;
		if (!entry->id)
			continue;
		struct rgm_dimension_info info = {.size = sizeof info,
			.dimension = {.id = entry->id, .index = index, .kind = entry->kind},
			.generation = entry->generation,
			.changed = entry->changed,
			.region_bytes = entry->region_bytes,
			.window_bytes = entry->window_bytes};
		memcpy(info.name, entry->name, sizeof entry->name);
		urcu_bp_read_lock();
		info.mapped = reader_find_mapping(slot->state->session, index, entry->id) != NULL;
		urcu_bp_read_unlock();
		int rc = pool_result(ret_info, &info, sizeof info, NULL);
		return rc ? rc : 1;
	}
	return 0;
}

/* --- Layers ----------------------------------------------------------------------------------- */

static int fail_kind(const struct ipc_dimension *entry, struct rgm_error *error)
{
	return pool_fail(error, RGM_EKIND, "dimension '%.*s' is not of kind layers",
		(int)entry->name_length, entry->name);
}

static int open_entry(struct rgm_slot *slot, const struct ipc_dimension *entry, uint32_t index,
	struct rgm_layers *ret_layers, struct rgm_error *error)
{
	if (entry->kind != RGM_KIND_LAYERS)
		return fail_kind(entry, error);
	const struct mapping *mapping;
	int rc = reader_view(slot, entry, index, &mapping, error);
	if (rc)
		return rc;
	layers_view_init(ret_layers, mapping->base, entry->root_offset, slot_version(slot));
	return 0;
}

int rgm_layers_open(struct rgm_slot *slot, const char *name, struct rgm_layers *ret_layers,
	struct rgm_error *error)
{
	const struct ipc_dimension *entry = NULL;
	uint32_t index;
	int rc = find(slot, name, &entry, &index, error);
	return rc ? rc : open_entry(slot, entry, index, ret_layers, error);
}

int rgm_layers_open_dimension(struct rgm_slot *slot, const struct rgm_dimension *dimension,
	struct rgm_layers *ret_layers, struct rgm_error *error)
{
	const struct ipc_dimension *entry = NULL;
	int rc = find_identity(slot, dimension, &entry, error);
	return rc ? rc : open_entry(slot, entry, dimension->index, ret_layers, error);
}

int rgm_layers_open_hold(
	const struct rgm_hold *hold, struct rgm_layers *ret_layers, struct rgm_error *error)
{
	if (hold->kind != RGM_KIND_LAYERS)
		return pool_fail(error, RGM_EKIND, "the hold's dimension is not of kind layers");
	layers_view_init(ret_layers, hold->base, hold->root_offset, hold->version);
	return 0;
}
