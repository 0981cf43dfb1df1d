/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading layers in place.
 *
 * Every byte read here is immutable for as long as the view lives, and the manager verified the
 * directory's structure before it was published: nothing is checked, loaded atomically or ordered.
 * The acquire that makes these bytes visible is the one by which the section found its version.
 *
 * Except that in a session with RGM_ATTACH_GUARD_SIGBUS any page can turn into zeros while it is read
 * (ipc/guard.h): the view may then end early or show empty layers, but never leads out of the region.
 * Hence a leaf's magic is looked at, and counts are compared with >=.
 *
 * The position of a view is (leaf, entry); leaf NULL means the end. A view with a position has
 * entry < leaf->entry_count, so that stepping reads first and looks for the next leaf afterwards.
 */
#include <string.h>

#include "dimensions/layers_format.h"
#include "pool/crc32c.h"
#include "regionmgr/reader/layers_view.h"

static const struct layers_root no_content;

static const void *at_page(const struct rgm_layers *layers, uint64_t page)
{
	return (const char *)layers->base + page * RGM_PAGE_BYTES;
}

static const struct layers_leaf *leaf_at(const struct rgm_layers *layers, uint32_t index)
{
	const struct layers_root *root = layers->root;

	if (index >= root->leaf_count)
		return NULL;
	const struct layers_leaf *leaf = at_page(layers, layers_refs(root)[index].page);
	return __builtin_expect(leaf->magic == LAYERS_LEAF_MAGIC, 1) ? leaf : NULL;
}

static void set_position(struct rgm_layers *layers, uint32_t leaf_index, uint32_t entry)
{
	layers->leaf_index = leaf_index;
	layers->leaf = leaf_at(layers, leaf_index);
	layers->entry = entry;
}

void layers_view_init(
	struct rgm_layers *layers, const void *base, uint64_t root_offset, uint64_t version)
{
	layers->base = base;
	layers->root = root_offset ? (const char *)base + root_offset : (const void *)&no_content;
	layers->version = version;
	layers->prefix = NULL;
	layers->prefix_length = 0;
	set_position(layers, 0, 0);
}

uint64_t rgm_layers_count(const struct rgm_layers *layers)
{
	return ((const struct layers_root *)layers->root)->layer_count;
}

uint64_t rgm_layers_bytes(const struct rgm_layers *layers)
{
	return ((const struct layers_root *)layers->root)->content_bytes;
}

uint64_t rgm_layers_version(const struct rgm_layers *layers)
{
	return layers->version;
}

static struct rgm_span span_of(const struct rgm_layers *layers, const struct layers_entry *entry)
{
	return (struct rgm_span){
		.data = entry->size > 0 ? at_page(layers, entry->page) : NULL,
		.size = (size_t)entry->size,
	};
}

static void fill_layer(const struct rgm_layers *layers, const struct layers_leaf *leaf,
	const struct layers_entry *entry, struct rgm_layer *ret_layer)
{
	*ret_layer = (struct rgm_layer){
		.name = layers_string(leaf, entry->name_offset),
		.name_length = entry->name_length,
		.data = span_of(layers, entry),
		.crc32c = entry->crc32c,
		.time_ns = entry->time_ns,
		.version = entry->born,
		.media_type = entry->media_offset ? layers_string(leaf, entry->media_offset) : NULL,
	};
}

/* The entry at the position, if it has the prefix, and step behind it. NULL: the end. */
static inline const struct layers_entry *step(struct rgm_layers *layers)
{
	const struct layers_leaf *leaf = layers->leaf;
	const struct layers_entry *entry;

	if (!leaf)
		return NULL;
	entry = &layers_entries(leaf)[layers->entry];
	if (layers->prefix_length > 0 &&
		(entry->name_length < layers->prefix_length ||
			memcmp(layers_string(leaf, entry->name_offset), layers->prefix,
				layers->prefix_length) != 0)) {
		layers->leaf = NULL;
		return NULL;
	}
	if (++layers->entry >= leaf->entry_count)
		set_position(layers, layers->leaf_index + 1, 0);
	return entry;
}

bool rgm_layers_next(struct rgm_layers *layers, const char **ret_name, struct rgm_span *ret_span)
{
	const struct layers_leaf *leaf = layers->leaf;
	const struct layers_entry *entry = step(layers);

	if (!entry)
		return false;
	*ret_name = layers_string(leaf, entry->name_offset);
	*ret_span = span_of(layers, entry);
	return true;
}

bool rgm_layers_next_layer(struct rgm_layers *layers, struct rgm_layer *ret_layer)
{
	const struct layers_leaf *leaf = layers->leaf;
	const struct layers_entry *entry = step(layers);

	if (!entry)
		return false;
	fill_layer(layers, leaf, entry, ret_layer);
	return true;
}

/* The last leaf whose first name is not behind `name`; the first leaf if there is none. */
static uint32_t find_leaf(const struct layers_root *root, const char *name, size_t name_length)
{
	const struct layers_ref *refs = layers_refs(root);
	uint32_t low = 0;
	uint32_t high = root->leaf_count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (layers_compare(layers_string(root, refs[middle].name_offset),
			    refs[middle].name_length, name, name_length) <= 0)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* The first entry whose name is not before `name`; entry_count if there is none. */
static uint32_t find_entry(const struct layers_leaf *leaf, const char *name, size_t name_length)
{
	const struct layers_entry *entries = layers_entries(leaf);
	uint32_t low = 0;
	uint32_t high = leaf->entry_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (layers_compare(layers_string(leaf, entries[middle].name_offset),
			    entries[middle].name_length, name, name_length) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void rgm_layers_seek(struct rgm_layers *layers, const char *prefix)
{
	uint32_t index;

	layers->prefix = prefix;
	layers->prefix_length = prefix ? strlen(prefix) : 0;
	if (layers->prefix_length == 0) {
		set_position(layers, 0, 0);
		return;
	}
	index = find_leaf(layers->root, prefix, layers->prefix_length);
	set_position(layers, index, 0);
	if (!layers->leaf)
		return;
	layers->entry = find_entry(layers->leaf, prefix, layers->prefix_length);
	if (layers->entry >= ((const struct layers_leaf *)layers->leaf)->entry_count)
		set_position(layers, index + 1, 0);
}

int rgm_layers_get(const struct rgm_layers *layers, const char *name, struct rgm_layer *ret_layer)
{
	size_t name_length = strlen(name);
	const struct layers_leaf *leaf =
		leaf_at(layers, find_leaf(layers->root, name, name_length));
	const struct layers_entry *entry;
	uint32_t index;

	if (!leaf)
		return RGM_ENOLAYER;
	index = find_entry(leaf, name, name_length);
	entry = &layers_entries(leaf)[index];
	if (index >= leaf->entry_count || entry->name_length != name_length ||
		memcmp(layers_string(leaf, entry->name_offset), name, name_length) != 0)
		return RGM_ENOLAYER;
	fill_layer(layers, leaf, entry, ret_layer);
	return 0;
}

uint32_t rgm_crc32c(uint32_t crc, const void *data, size_t bytes)
{
	return pool_crc32c(crc, data, bytes);
}

uint32_t rgm_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b)
{
	return pool_crc32c_combine(crc_a, crc_b, bytes_b);
}
