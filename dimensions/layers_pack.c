/* SPDX-License-Identifier: Apache-2.0 */
#include "dimensions/layers_pack.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dimensions/array.h"
#include "dimensions/layers_directory.h"
#include "pool/error.h"

static int no_memory(struct rgm_error *error)
{
	return pool_fail(error, -ENOMEM, "no memory for a directory");
}

/* Append a string and its NUL. The caller has made room and bounded the sum. */
static uint32_t append_string(struct layers_strings *strings, const char *string, uint32_t length)
{
	uint32_t offset = (uint32_t)strings->count;

	memcpy(strings->bytes + strings->count, string, length);
	strings->bytes[strings->count + length] = '\0';
	strings->count += (size_t)length + 1;
	return offset;
}

static int reserve_strings(struct layers_strings *strings, size_t more)
{
	char *bytes = dim_array_reserve(
		strings->bytes, &strings->capacity, strings->count + more, sizeof(*bytes));

	if (!bytes)
		return -ENOMEM;
	strings->bytes = bytes;
	return 0;
}

int layers_leaf_pack_add(struct layers_leaf_pack *pack, const struct layers_entry *entry,
	const char *name, const char *media, struct rgm_error *error)
{
	size_t more =
		(size_t)entry->name_length + 1 + (media ? (size_t)entry->media_length + 1 : 0);
	struct layers_entry *entries = dim_array_reserve(
		pack->entries, &pack->capacity, pack->count + 1, sizeof(*entries));
	struct layers_entry *added;

	if (!entries)
		return no_memory(error);
	pack->entries = entries;
	if (reserve_strings(&pack->strings, more) < 0)
		return no_memory(error);
	added = &entries[pack->count++];
	*added = *entry;
	added->name_offset = append_string(&pack->strings, name, entry->name_length);
	added->media_offset = media ? append_string(&pack->strings, media, entry->media_length) : 0;
	return 0;
}

int layers_root_pack_add(struct layers_root_pack *pack, const struct layers_ref *ref,
	const char *name, struct rgm_error *error)
{
	size_t more = (size_t)ref->name_length + 1;
	struct layers_ref *refs;

	if (sizeof(struct layers_root) + (pack->count + 1) * sizeof(*refs) + pack->strings.count +
			more >
		LAYERS_BLOCK_MAX)
		return pool_fail(error, RGM_ELIMIT, "the directory's root would exceed %llu bytes",
			LAYERS_BLOCK_MAX);
	refs = dim_array_reserve(pack->refs, &pack->capacity, pack->count + 1, sizeof(*refs));
	if (!refs)
		return no_memory(error);
	pack->refs = refs;
	if (reserve_strings(&pack->strings, more) < 0)
		return no_memory(error);
	refs[pack->count] = *ref;
	refs[pack->count++].name_offset = append_string(&pack->strings, name, ref->name_length);
	return 0;
}

void layers_root_pack_pop(struct layers_root_pack *pack)
{
	pack->count--;
	pack->strings.count = pack->refs[pack->count].name_offset;
}

/* Bytes of the first `count` entries' strings. */
static size_t leading_strings(const struct layers_leaf_pack *pack, size_t count)
{
	return count < pack->count ? pack->entries[count].name_offset : pack->strings.count;
}

uint64_t layers_leaf_pack_bytes(const struct layers_leaf_pack *pack, size_t count)
{
	if (count == 0)
		return 0;
	return sizeof(struct layers_leaf) + count * sizeof(struct layers_entry) +
	       leading_strings(pack, count);
}

/* Allocate a run for a finished block and write all its pages. */
static int write_block(const void *block, uint64_t block_bytes, uint64_t version,
	struct pool_region *region, struct dim_blocks *blocks, uint64_t *ret_page,
	struct rgm_error *error)
{
	uint64_t pages = layers_pages(block_bytes);
	int rc;

	if (dim_blocks_reserve(blocks, 1) < 0)
		return no_memory(error);
	rc = pool_region_allocate(region, pages, ret_page, error);
	if (rc != 0)
		return rc;
	(void)dim_blocks_add(blocks, *ret_page, pages, version);
	return pool_region_write(region, *ret_page * POOL_PAGE_BYTES, block,
		(size_t)(pages * POOL_PAGE_BYTES), error);
}

/* Zeroed memory for a block's whole pages. */
static void *new_block(uint64_t block_bytes)
{
	assert(block_bytes >= sizeof(struct layers_leaf));
	return calloc((size_t)layers_pages(block_bytes), (size_t)POOL_PAGE_BYTES);
}

static void lay_out_leaf(const struct layers_leaf_pack *pack, size_t count, uint64_t version,
	struct layers_leaf *leaf, uint64_t block_bytes)
{
	struct layers_entry *entries = (struct layers_entry *)(leaf + 1);
	uint32_t base = (uint32_t)(sizeof(*leaf) + count * sizeof(*entries));

	leaf->magic = LAYERS_LEAF_MAGIC;
	leaf->block_bytes = block_bytes;
	leaf->born = version;
	leaf->entry_count = (uint32_t)count;
	for (size_t i = 0; i < count; i++) {
		entries[i] = pack->entries[i];
		entries[i].name_offset += base;
		if (entries[i].media_offset != 0)
			entries[i].media_offset += base;
	}
	memcpy((char *)leaf + base, pack->strings.bytes, leading_strings(pack, count));
	leaf->crc32c = layers_block_crc32c(
		leaf, (size_t)block_bytes, offsetof(struct layers_leaf, crc32c));
}

/* The first `count` entries leave the pack. */
static void drop_leading(struct layers_leaf_pack *pack, size_t count)
{
	size_t strings = leading_strings(pack, count);

	pack->count -= count;
	memmove(pack->entries, pack->entries + count, pack->count * sizeof(*pack->entries));
	pack->strings.count -= strings;
	memmove(pack->strings.bytes, pack->strings.bytes + strings, pack->strings.count);
	for (size_t i = 0; i < pack->count; i++) {
		pack->entries[i].name_offset -= (uint32_t)strings;
		if (pack->entries[i].media_offset != 0)
			pack->entries[i].media_offset -= (uint32_t)strings;
	}
}

int layers_leaf_pack_write(struct layers_leaf_pack *pack, size_t count, uint64_t version,
	struct pool_region *region, struct layers_root_pack *root, struct dim_blocks *blocks,
	struct rgm_error *error)
{
	uint64_t block_bytes = layers_leaf_pack_bytes(pack, count);
	struct layers_leaf *leaf = new_block(block_bytes);
	struct layers_ref ref = {
		.block_bytes = block_bytes,
		.born = version,
		.entry_count = (uint32_t)count,
		.name_length = pack->entries[0].name_length,
	};
	int rc;

	if (!leaf)
		return no_memory(error);
	lay_out_leaf(pack, count, version, leaf, block_bytes);
	ref.crc32c = leaf->crc32c;
	rc = write_block(leaf, block_bytes, version, region, blocks, &ref.page, error);
	free(leaf);
	if (rc == 0)
		rc = layers_root_pack_add(root, &ref, pack->strings.bytes, error);
	if (rc == 0)
		drop_leading(pack, count);
	return rc;
}

int layers_root_pack_write(const struct layers_root_pack *pack, const struct layers_root *totals,
	uint64_t version, struct pool_region *region, struct pool_root *ret_root,
	struct dim_blocks *blocks, struct rgm_error *error)
{
	uint32_t base = (uint32_t)(sizeof(*totals) + pack->count * sizeof(struct layers_ref));
	uint64_t block_bytes = base + pack->strings.count;
	struct layers_root *root = new_block(block_bytes);
	struct layers_ref *refs = (struct layers_ref *)(root + 1);
	uint64_t page;
	int rc;

	if (!root)
		return no_memory(error);
	root->magic = LAYERS_ROOT_MAGIC;
	root->block_bytes = block_bytes;
	root->born = version;
	root->layer_count = totals->layer_count;
	root->content_bytes = totals->content_bytes;
	root->content_pages = totals->content_pages;
	root->leaf_count = (uint32_t)pack->count;
	for (size_t i = 0; i < pack->count; i++) {
		refs[i] = pack->refs[i];
		refs[i].name_offset += base;
	}
	if (pack->strings.count > 0)
		memcpy((char *)root + base, pack->strings.bytes, pack->strings.count);
	root->crc32c = layers_block_crc32c(
		root, (size_t)block_bytes, offsetof(struct layers_root, crc32c));
	rc = write_block(root, block_bytes, version, region, blocks, &page, error);
	if (rc == 0) {
		ret_root->offset = page * POOL_PAGE_BYTES;
		ret_root->bytes = block_bytes;
		ret_root->crc32c = root->crc32c;
		ret_root->version = version;
	}
	free(root);
	return rc;
}

void layers_leaf_pack_free(struct layers_leaf_pack *pack)
{
	free(pack->entries);
	free(pack->strings.bytes);
}

void layers_root_pack_free(struct layers_root_pack *pack)
{
	free(pack->refs);
	free(pack->strings.bytes);
}
