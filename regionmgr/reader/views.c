/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a section or a hold to a view: looking dimensions up and opening layers.
 *
 * A section's version may be taken back at any time, and the table's blocks be in use anew. So what an
 * entry says is loaded once, then it is asked whether that was in time, and only then it is believed.
 */
#define RGM_NO_INLINE 1 /* rgm_layers_refresh() itself is here */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "pool/error.h"
#include "regionmgr/reader/layers_view.h"
#include "regionmgr/reader/reader.h"

static int fail_outside(const struct rgm_slot *slot, struct rgm_error *error)
{
	if (slot_forked(slot))
		return reader_fail_forked(error);
	pool_fail(error, -EINVAL, "this needs a section");
	pool_hint(error, "call it between rgm_pin() and rgm_unpin()");
	return -EINVAL;
}

int reader_fail_revoked(uint64_t version, struct rgm_error *error)
{
	pool_fail(error, RGM_EREVOKED,
		"version %" PRIu64 ", which this section sees, was taken back from this session",
		version);
	pool_hint(error, "leave the section; what was read in it is void");
	return RGM_EREVOKED;
}

/* The two ends of a look-up that found nothing. Only what was not taken back is news. */
static int fail_name(
	struct rgm_slot *slot, uint64_t version, const char *name, struct rgm_error *error)
{
	if (slot_revoked(slot, version))
		return reader_fail_revoked(version, error);
	reader_notice(slot->state->session);
	return pool_fail(error, RGM_ENODIM, "there is no dimension '%.64s'", name);
}

static int fail_identity(
	struct rgm_slot *slot, uint64_t version, uint64_t dimension, struct rgm_error *error)
{
	if (slot_revoked(slot, version))
		return reader_fail_revoked(version, error);
	reader_notice(slot->state->session);
	return pool_fail(error, RGM_ENODIM,
		"the dimension with id %" PRIu64 " is not in version %" PRIu64, dimension, version);
}

int rgm_find(struct rgm_slot *slot, const char *name, struct rgm_dimension *ret_dimension,
	struct rgm_error *error)
{
	uint64_t version = slot_version(slot);
	if (version == 0)
		return fail_outside(slot, error);
	uint32_t index = 0;
	const struct ipc_dimension *entry = ipc_index_find(
		slot_index(slot, version), name, strnlen(name, RGM_NAME_MAX + 1), &index);
	if (!entry)
		return fail_name(slot, version, name, error);
	struct rgm_dimension found = {.id = load64_relaxed(&entry->id),
		.index = index,
		.kind = load32_relaxed(&entry->kind)};
	if (slot_revoked(slot, version))
		return reader_fail_revoked(version, error);
	*ret_dimension = found;
	return 0;
}

int rgm_next_dimension(struct rgm_slot *slot, uint32_t *cursor, struct rgm_dimension_info *ret_info)
{
	uint64_t version = slot_version(slot);
	if (version == 0)
		return fail_outside(slot, NULL);
	const struct ipc_index *seen = slot_index(slot, version);
	const struct ipc_dimension *entry = NULL;
	while ((entry = ipc_index_at(seen, *cursor))) {
		uint32_t index = (*cursor)++;
		struct ipc_dimension copy = *entry;
		if (slot_revoked(slot, version))
			return RGM_EREVOKED;
		if (!copy.id)
			continue;
		struct rgm_dimension_info info = {.size = sizeof info,
			.dimension = {.id = copy.id, .index = index, .kind = copy.kind},
			.generation = copy.generation,
			.changed = copy.changed,
			.region_bytes = copy.region_bytes,
			.window_bytes = copy.window_bytes};
		memcpy(info.name, copy.name, sizeof copy.name);
		urcu_bp_read_lock();
		info.mapped = reader_find_mapping(slot->state->session, index, copy.id) != NULL;
		urcu_bp_read_unlock();
		int rc = pool_result(ret_info, &info, sizeof info, NULL);
		return rc ? rc : 1;
	}
	return slot_revoked(slot, version) ? RGM_EREVOKED : 0;
}

/* --- Layers ----------------------------------------------------------------------------------- */

/* What a view needs of an entry; loaded before it is known to be sound. */
struct found {
	uint64_t version;
	uint64_t dimension;
	uint64_t root_offset;
	uint64_t region_bytes;
	uint32_t kind;
	uint32_t index;
};

static inline struct found found_at(
	const struct ipc_dimension *entry, uint32_t index, uint64_t version)
{
	return (struct found){.version = version,
		.dimension = load64_relaxed(&entry->id),
		.root_offset = load64_relaxed(&entry->root_offset),
		.region_bytes = load64_relaxed(&entry->region_bytes),
		.kind = load32_relaxed(&entry->kind),
		.index = index};
}

/* The base is not known from the places: an older dimension of the index, a guarded session, an error. */
static int base_by_list(struct rgm_slot *slot, const struct found *found,
	const struct ipc_dimension *entry, const void **ret_base, struct rgm_error *error)
{
	struct ipc_dimension copy = *entry;
	if (slot_revoked(slot, found->version))
		return reader_fail_revoked(found->version, error);
	if (copy.kind != RGM_KIND_LAYERS)
		return pool_fail(error, RGM_EKIND, "dimension '%.*s' is not of kind layers",
			RGM_NAME_MAX, copy.name);
	const struct mapping *mapping = NULL;
	int rc = reader_view(slot, &copy, found->index, &mapping, error);
	if (rc == 0)
		*ret_base = mapping->base;
	return rc;
}

static inline int open_entry(struct rgm_slot *slot, const struct found *found,
	const struct ipc_dimension *entry, struct rgm_layers *ret_layers, struct rgm_error *error)
{
	const void *base = reader_base(slot, found->index, found->dimension);
	const struct rgm_slot *owner = slot;
	if (__builtin_expect(!base || found->kind != RGM_KIND_LAYERS, 0)) {
		int rc = base_by_list(slot, found, entry, &base, error);
		if (rc)
			return rc;
		/* A guarded section has to hear of each view: refreshing it opens it again. */
		owner = NULL;
	}
	/* Behind the loads of the entry, before it is believed. */
	if (slot_revoked(slot, found->version))
		return reader_fail_revoked(found->version, error);
	layers_view_init(ret_layers, base, found->region_bytes, found->root_offset, found->version);
	ret_layers->dimension = found->dimension;
	ret_layers->index = found->index;
	ret_layers->slot = owner;
	return 0;
}

int rgm_layers_open(struct rgm_slot *slot, const char *name, struct rgm_layers *ret_layers,
	struct rgm_error *error)
{
	uint64_t version = slot_version(slot);
	if (version == 0)
		return fail_outside(slot, error);
	uint32_t index = 0;
	const struct ipc_dimension *entry = ipc_index_find(
		slot_index(slot, version), name, strnlen(name, RGM_NAME_MAX + 1), &index);
	if (!entry)
		return fail_name(slot, version, name, error);
	struct found found = found_at(entry, index, version);
	return open_entry(slot, &found, entry, ret_layers, error);
}

static int open_identity(struct rgm_slot *slot, uint64_t dimension, uint32_t index,
	struct rgm_layers *ret_layers, struct rgm_error *error)
{
	uint64_t version = slot_version(slot);
	if (version == 0)
		return fail_outside(slot, error);
	const struct ipc_dimension *entry = ipc_index_at(slot_index(slot, version), index);
	if (!entry)
		return fail_identity(slot, version, dimension, error);
	struct found found = found_at(entry, index, version);
	if (found.dimension != dimension || !dimension)
		return fail_identity(slot, version, dimension, error);
	return open_entry(slot, &found, entry, ret_layers, error);
}

int rgm_layers_open_dimension(struct rgm_slot *slot, const struct rgm_dimension *dimension,
	struct rgm_layers *ret_layers, struct rgm_error *error)
{
	return open_identity(slot, dimension->id, dimension->index, ret_layers, error);
}

/* At the same version it is the same view: the root is the version's, and the mapping is there, since a
 * dimension that the section sees is not unmapped (map.c). Sessions in fence form come here each time. */
int rgm_layers_refresh(struct rgm_slot *slot, struct rgm_layers *layers, struct rgm_error *error)
{
	if (layers->slot == slot && layers->version == slot_version(slot)) {
		layers_view_rewind(layers);
		return 0;
	}
	return open_identity(slot, layers->dimension, layers->index, layers, error);
}

int rgm_layers_refresh_called(struct rgm_slot *slot, struct rgm_layers *layers,
	struct rgm_error *error) __attribute__((alias("rgm_layers_refresh")));

int rgm_layers_open_hold(
	const struct rgm_hold *hold, struct rgm_layers *ret_layers, struct rgm_error *error)
{
	if (hold->kind != RGM_KIND_LAYERS)
		return pool_fail(error, RGM_EKIND, "the hold's dimension is not of kind layers");
	layers_view_init(
		ret_layers, hold->base, hold->region_bytes, hold->root_offset, hold->version);
	ret_layers->dimension = hold->dimension;
	ret_layers->index = hold->mapping->index;
	return 0;
}
