/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading layers in place.
 *
 * Every byte read here is immutable for as long as the view lives, and the manager verified the
 * directory's structure before it was published. The acquire that makes these bytes visible is the one
 * by which the section found its version.
 *
 * Except that the section's version may be taken back from the session while it reads (ipc/slot.h): the
 * blocks then turn into anything, content of somebody's choice included; and that with
 * RGM_ATTACH_GUARD_SIGBUS any page can turn into zeros (ipc/guard.h). The view may then end early or
 * show what is void, but it never leads out of the first `bytes` bytes of the region, which are on the
 * disk. Hence every number found in there is loaded once, by an atomic load that the compiler does not
 * repeat, and held against them. That costs a few instructions a layer and no cache line but the
 * name's, whose NUL is looked at.
 *
 * The position of a view is (leaf_index, entry); `leaf` NULL means that nothing was looked at since it
 * came there. Behind the last leaf is the end.
 */
#include <string.h>

#include "dimensions/layers_format.h"
#include "ipc/atomic.h"
#include "pool/crc32c.h"
#include "regionmgr/reader/layers_view.h"

#define AT_END UINT32_MAX /* no leaf has this index */

static const struct layers_root no_content;

static const void *at_page(const struct rgm_layers *layers, uint64_t page)
{
	return (const char *)layers->base + page * RGM_PAGE_BYTES;
}

/* Bytes from a block's start to the end of what may be followed. */
static inline uint64_t room_of(const struct rgm_layers *layers, const void *block)
{
	return layers->bytes - (uint64_t)((const char *)block - (const char *)layers->base);
}

/* A string of a block and its NUL lie in the room. */
static inline bool string_fits(uint64_t room, uint32_t offset, uint32_t length)
{
	return (uint64_t)offset + length < room;
}

/* The same with the NUL really there; else NULL. */
static inline const char *string_in(
	const void *block, uint64_t room, uint32_t offset, uint32_t length)
{
	const char *string = layers_string(block, offset);

	return string_fits(room, offset, length) && string[length] == '\0' ? string : NULL;
}

/* Of no_content it is 0, whatever the room. */
static uint32_t ref_count(const struct rgm_layers *layers)
{
	const struct layers_root *root = layers->root;
	uint32_t count = load32_relaxed(&root->leaf_count);
	uint64_t most = (room_of(layers, root) - sizeof(*root)) / sizeof(struct layers_ref);

	return count < most ? count : (uint32_t)most;
}

static uint32_t entry_count(const struct layers_leaf *leaf, uint64_t room)
{
	uint32_t count = load32_relaxed(&leaf->entry_count);
	uint64_t most = (room - sizeof(*leaf)) / sizeof(struct layers_entry);

	return count < most ? count : (uint32_t)most;
}

static const struct layers_leaf *leaf_at(const struct rgm_layers *layers, uint32_t index)
{
	const struct layers_root *root = layers->root;
	const struct layers_leaf *leaf;
	uint64_t page;

	if (index >= ref_count(layers))
		return NULL;
	page = load64_relaxed(&layers_refs(root)[index].page);
	if (page >= layers->bytes / RGM_PAGE_BYTES)
		return NULL;
	leaf = at_page(layers, page);
	return __builtin_expect(load64_relaxed(&leaf->magic) == LAYERS_LEAF_MAGIC, 1) ? leaf : NULL;
}

static void set_position(struct rgm_layers *layers, uint32_t leaf_index, uint32_t entry)
{
	layers->leaf = NULL;
	layers->leaf_index = leaf_index;
	layers->entry = entry;
}

void layers_view_init(struct rgm_layers *layers, const void *base, uint64_t bytes,
	uint64_t root_offset, uint64_t version)
{
	bool content = root_offset != 0 && root_offset % RGM_PAGE_BYTES == 0 &&
	               bytes >= RGM_PAGE_BYTES && root_offset <= bytes - RGM_PAGE_BYTES;

	*layers = (struct rgm_layers){.version = version,
		.base = base,
		.root = content ? (const char *)base + root_offset : (const void *)&no_content,
		.bytes = bytes};
}

void layers_view_rewind(struct rgm_layers *layers)
{
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

/* An entry, as much of it as was held against the bounds. */
struct found {
	const struct layers_leaf *leaf;
	const struct layers_entry *entry;
	uint64_t room; /* of the leaf */
	const char *name;
	uint32_t name_length;
};

static inline bool entry_at(const struct rgm_layers *layers, const struct layers_leaf *leaf,
	uint32_t index, struct found *found)
{
	uint64_t room = room_of(layers, leaf);
	const struct layers_entry *entry = &layers_entries(leaf)[index];

	if (index >= load32_relaxed(&leaf->entry_count) ||
		sizeof(*leaf) + (index + 1ull) * sizeof(*entry) > room)
		return false;
	found->leaf = leaf;
	found->entry = entry;
	found->room = room;
	found->name_length = load32_relaxed(&entry->name_length);
	found->name =
		string_in(leaf, room, load32_relaxed(&entry->name_offset), found->name_length);
	return found->name != NULL;
}

static inline bool span_of(const struct rgm_layers *layers, const struct layers_entry *entry,
	struct rgm_span *ret_span)
{
	uint64_t page = load64_relaxed(&entry->page), size = load64_relaxed(&entry->size);

	if (size == 0) {
		*ret_span = (struct rgm_span){0};
		return true;
	}
	if (page >= layers->bytes / RGM_PAGE_BYTES || size > layers->bytes - page * RGM_PAGE_BYTES)
		return false;
	*ret_span = (struct rgm_span){.data = at_page(layers, page), .size = (size_t)size};
	return true;
}

static bool fill_layer(
	const struct rgm_layers *layers, const struct found *found, struct rgm_layer *ret_layer)
{
	const struct layers_entry *entry = found->entry;
	uint32_t media_offset = load32_relaxed(&entry->media_offset);
	struct rgm_layer layer = {
		.name = found->name,
		.name_length = found->name_length,
		.crc32c = entry->crc32c,
		.time_ns = entry->time_ns,
		.version = entry->born,
	};

	if (!span_of(layers, entry, &layer.data))
		return false;
	if (media_offset != 0) {
		layer.media_type = string_in(found->leaf, found->room, media_offset,
			load32_relaxed(&entry->media_length));
		if (!layer.media_type)
			return false;
	}
	*ret_layer = layer;
	return true;
}

/* The entry at the position, if it has the prefix, and step behind it. False: the end. */
static inline bool step(struct rgm_layers *layers, struct found *found)
{
	const struct layers_leaf *leaf = layers->leaf;

	if (!leaf) {
		leaf = leaf_at(layers, layers->leaf_index);
		if (!leaf)
			return false;
		layers->leaf = leaf;
	}
	if (!entry_at(layers, leaf, layers->entry, found) ||
		(layers->prefix_length > 0 &&
			(found->name_length < layers->prefix_length ||
				memcmp(found->name, layers->prefix, layers->prefix_length) != 0))) {
		set_position(layers, AT_END, 0);
		return false;
	}
	if (++layers->entry >= load32_relaxed(&leaf->entry_count))
		set_position(layers, layers->leaf_index + 1, 0);
	return true;
}

bool rgm_layers_next(struct rgm_layers *layers, const char **ret_name, struct rgm_span *ret_span)
{
	struct found found;

	if (!step(layers, &found))
		return false;
	if (!span_of(layers, found.entry, ret_span)) {
		set_position(layers, AT_END, 0);
		return false;
	}
	*ret_name = found.name;
	return true;
}

bool rgm_layers_next_layer(struct rgm_layers *layers, struct rgm_layer *ret_layer)
{
	struct found found;

	if (!step(layers, &found))
		return false;
	if (!fill_layer(layers, &found, ret_layer)) {
		set_position(layers, AT_END, 0);
		return false;
	}
	return true;
}

/* Order of a block's string and a name; what would lead outside counts as behind. */
static int compare(const void *block, uint64_t room, const uint32_t *offset_word,
	const uint32_t *length_word, const char *name, size_t name_length)
{
	uint32_t offset = load32_relaxed(offset_word), length = load32_relaxed(length_word);

	if (!string_fits(room, offset, length))
		return 1;
	return layers_compare(layers_string(block, offset), length, name, name_length);
}

/* The last leaf whose first name is not behind `name`; the first leaf if there is none. */
static uint32_t find_leaf(const struct rgm_layers *layers, const char *name, size_t name_length)
{
	const struct layers_root *root = layers->root;
	const struct layers_ref *refs = layers_refs(root);
	uint64_t room = room_of(layers, root);
	uint32_t low = 0;
	uint32_t high = ref_count(layers);

	while (low < high && high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (compare(root, room, &refs[middle].name_offset, &refs[middle].name_length, name,
			    name_length) <= 0)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* The first entry whose name is not before `name`; the number of entries if there is none. */
static uint32_t find_entry(const struct rgm_layers *layers, const struct layers_leaf *leaf,
	const char *name, size_t name_length)
{
	const struct layers_entry *entries = layers_entries(leaf);
	uint64_t room = room_of(layers, leaf);
	uint32_t low = 0;
	uint32_t high = entry_count(leaf, room);

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (compare(leaf, room, &entries[middle].name_offset, &entries[middle].name_length,
			    name, name_length) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void rgm_layers_seek(struct rgm_layers *layers, const char *prefix)
{
	const struct layers_leaf *leaf;
	uint32_t index, entry;

	layers->prefix = prefix;
	layers->prefix_length = prefix ? strlen(prefix) : 0;
	set_position(layers, 0, 0);
	if (layers->prefix_length == 0)
		return;
	index = find_leaf(layers, prefix, layers->prefix_length);
	leaf = leaf_at(layers, index);
	if (!leaf) {
		set_position(layers, AT_END, 0);
		return;
	}
	entry = find_entry(layers, leaf, prefix, layers->prefix_length);
	if (entry >= entry_count(leaf, room_of(layers, leaf)))
		set_position(layers, index + 1, 0);
	else
		set_position(layers, index, entry);
}

int rgm_layers_get(const struct rgm_layers *layers, const char *name, struct rgm_layer *ret_layer)
{
	size_t name_length = strlen(name);
	const struct layers_leaf *leaf = leaf_at(layers, find_leaf(layers, name, name_length));
	struct found found;

	if (!leaf || !entry_at(layers, leaf, find_entry(layers, leaf, name, name_length), &found) ||
		found.name_length != name_length || memcmp(found.name, name, name_length) != 0 ||
		!fill_layer(layers, &found, ret_layer))
		return RGM_ENOLAYER;
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
