/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block is believed in this order: its place and size, before anything is allocated for it; its
 * checksum; then every field, because a writer's mistake has a right checksum too. Nothing is
 * computed from a field before the field is bounded.
 */
#include "dimensions/layers_directory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dimensions/layers_name.h"
#include "pool/crc32c.h"
#include "pool/error.h"

uint32_t layers_block_crc32c(const void *block, size_t block_bytes, size_t crc_offset)
{
	static const uint32_t zero;
	const unsigned char *bytes = block;
	size_t rest = crc_offset + sizeof(zero);
	uint32_t crc = pool_crc32c(0, bytes, crc_offset);

	crc = pool_crc32c(crc, &zero, sizeof(zero));
	return pool_crc32c(crc, bytes + rest, block_bytes - rest);
}

static int damaged(const struct layers_directory *directory, const char *block, uint64_t page,
	const char *why, struct rgm_error *error)
{
	return pool_fail(error, RGM_ECORRUPT, "region %llu: %s block at page %llu is damaged: %s",
		(unsigned long long)directory->id, block, (unsigned long long)page, why);
}

/* Whether a run for `bytes` bytes from `page` lies in the region. */
static bool run_fits(const struct layers_directory *directory, uint64_t page, uint64_t bytes)
{
	uint64_t pages = layers_pages(bytes);

	return page >= POOL_FIRST_PAGE && page <= directory->end_page &&
	       pages <= directory->end_page - page;
}

/* Read a block whose place and size fit. Its run's last page must end in zeros. */
static int read_run(const struct layers_directory *directory, uint64_t page, uint64_t block_bytes,
	void *ret_block, const char **ret_why, struct rgm_error *error)
{
	size_t run_bytes = (size_t)(layers_pages(block_bytes) * POOL_PAGE_BYTES);
	const unsigned char *bytes = ret_block;
	int rc = pool_region_read(
		directory->region, page * POOL_PAGE_BYTES, ret_block, run_bytes, error);

	*ret_why = NULL;
	for (size_t i = (size_t)block_bytes; rc == 0 && i < run_bytes; i++) {
		if (bytes[i] != 0) {
			*ret_why = "bytes behind its end are not zero";
			break;
		}
	}
	return rc;
}

/*
 * One string of a block at *position, where the one before ended. Advances *position. The caller has
 * bounded *position by block_bytes.
 */
static bool string_fits(const void *block, uint64_t block_bytes, uint64_t *position,
	uint32_t offset, uint32_t length)
{
	if (offset != *position || length >= block_bytes - *position ||
		layers_string(block, offset)[length] != '\0')
		return false;
	*position += (uint64_t)length + 1;
	return true;
}

static const char *root_fault(
	const struct layers_directory *directory, const struct layers_root *root)
{
	const struct layers_ref *refs = layers_refs(root);
	uint64_t position = sizeof(*root) + (uint64_t)root->leaf_count * sizeof(*refs);
	uint64_t entries = 0;

	if (root->reserved != 0)
		return "a reserved field is not zero";
	if (position > root->block_bytes)
		return "its leaves exceed its size";
	for (uint32_t i = 0; i < root->leaf_count; i++) {
		const struct layers_ref *ref = &refs[i];
		const char *name;

		if (!string_fits(
			    root, root->block_bytes, &position, ref->name_offset, ref->name_length))
			return "a name is out of place";
		name = layers_string(root, ref->name_offset);
		if (layers_name_fault(name, ref->name_length))
			return "a name breaks the rules";
		if (i > 0 && layers_compare(layers_string(root, ref[-1].name_offset),
				     ref[-1].name_length, name, ref->name_length) >= 0)
			return "names are not in order";
		if (ref->block_bytes > LAYERS_BLOCK_MAX ||
			!run_fits(directory, ref->page, ref->block_bytes))
			return "a leaf lies outside of the region";
		if (ref->entry_count == 0 ||
			ref->block_bytes < sizeof(struct layers_leaf) +
						   ref->entry_count * sizeof(struct layers_entry))
			return "a leaf's count is wrong";
		if (ref->born > root->born)
			return "a leaf is newer than the root";
		entries += ref->entry_count;
	}
	if (position != root->block_bytes)
		return "its names do not fill it";
	if (entries != root->layer_count || entries > LAYERS_MAX)
		return "its number of layers is wrong";
	return NULL;
}

static int read_root(
	struct layers_directory *directory, const struct pool_root *at, struct rgm_error *error)
{
	struct layers_root *root;
	const char *why = NULL;
	int rc;

	directory->root_page = at->offset / POOL_PAGE_BYTES;
	if (at->offset % POOL_PAGE_BYTES != 0 || at->bytes < sizeof(*root) ||
		at->bytes > LAYERS_BLOCK_MAX ||
		!run_fits(directory, directory->root_page, at->bytes))
		return damaged(directory, "root", directory->root_page,
			"its place or size is impossible", error);
	root = malloc((size_t)(layers_pages(at->bytes) * POOL_PAGE_BYTES));
	if (!root)
		return pool_fail(error, -ENOMEM, "no memory for a directory's root");
	rc = read_run(directory, directory->root_page, at->bytes, root, &why, error);
	if (rc != 0)
		goto fail;
	if (!why && root->magic != LAYERS_ROOT_MAGIC)
		why = "it is not a root";
	if (!why && root->block_bytes != at->bytes)
		why = "its size is wrong";
	if (!why && (root->crc32c != at->crc32c ||
			    root->crc32c != layers_block_crc32c(root, (size_t)at->bytes,
						    offsetof(struct layers_root, crc32c))))
		why = "its checksum is wrong";
	if (!why)
		why = root_fault(directory, root);
	if (why) {
		rc = damaged(directory, "root", directory->root_page, why, error);
		goto fail;
	}
	directory->root = root;
	return 0;
fail:
	free(root);
	return rc;
}

int layers_directory_open(struct layers_directory *directory, struct pool_region *region,
	const struct pool_root *root, struct rgm_error *error)
{
	struct pool_region_info info;

	pool_region_info(region, &info);
	*directory = (struct layers_directory){
		.region = region,
		.id = info.id,
		.end_page = info.bytes / POOL_PAGE_BYTES,
	};
	if (root->offset != 0)
		return read_root(directory, root, error);
	directory->root = calloc(1, sizeof(*directory->root));
	if (!directory->root)
		return pool_fail(error, -ENOMEM, "no memory for a directory's root");
	return 0;
}

static const char *entry_fault(const struct layers_directory *directory,
	const struct layers_leaf *leaf, uint32_t index, uint64_t *position)
{
	const struct layers_entry *entry = &layers_entries(leaf)[index];
	const char *name;

	if (!string_fits(leaf, leaf->block_bytes, position, entry->name_offset, entry->name_length))
		return "a name is out of place";
	name = layers_string(leaf, entry->name_offset);
	if (layers_name_fault(name, entry->name_length))
		return "a name breaks the rules";
	if (index > 0 && layers_compare(layers_string(leaf, entry[-1].name_offset),
				 entry[-1].name_length, name, entry->name_length) >= 0)
		return "names are not in order";
	if (entry->media_offset == 0 && entry->media_length != 0)
		return "a media type is out of place";
	if (entry->media_offset != 0 &&
		(!string_fits(leaf, leaf->block_bytes, position, entry->media_offset,
			 entry->media_length) ||
			!layers_media_valid(
				layers_string(leaf, entry->media_offset), entry->media_length)))
		return "a media type is out of place";
	if (entry->size == 0 ? entry->page != 0 : !run_fits(directory, entry->page, entry->size))
		return "a layer lies outside of the region";
	if (entry->born > leaf->born)
		return "a layer is newer than its leaf";
	if (entry->reserved[0] != 0 || entry->reserved[1] != 0 || entry->reserved[2] != 0)
		return "a reserved field is not zero";
	return NULL;
}

static const char *leaf_fault(
	const struct layers_directory *directory, const struct layers_leaf *leaf)
{
	uint64_t position =
		sizeof(*leaf) + (uint64_t)leaf->entry_count * sizeof(struct layers_entry);

	for (size_t i = 0; i < sizeof(leaf->reserved) / sizeof(leaf->reserved[0]); i++) {
		if (leaf->reserved[i] != 0)
			return "a reserved field is not zero";
	}
	for (uint32_t i = 0; i < leaf->entry_count; i++) {
		const char *why = entry_fault(directory, leaf, i, &position);

		if (why)
			return why;
	}
	if (position != leaf->block_bytes)
		return "its names do not fill it";
	return NULL;
}

/* The first name is what the root says; the last one stands before the next leaf's first. */
static const char *neighbours_fault(
	const struct layers_directory *directory, const struct layers_leaf *leaf, uint32_t index)
{
	const struct layers_ref *ref = &layers_refs(directory->root)[index];
	const struct layers_entry *first = layers_entries(leaf);
	const struct layers_entry *last = first + leaf->entry_count - 1;

	if (layers_compare(layers_string(directory->root, ref->name_offset), ref->name_length,
		    layers_string(leaf, first->name_offset), first->name_length) != 0)
		return "its first name is not what the root says";
	if (index + 1 < directory->root->leaf_count &&
		layers_compare(layers_string(leaf, last->name_offset), last->name_length,
			layers_string(directory->root, ref[1].name_offset),
			ref[1].name_length) >= 0)
		return "its names reach into the next leaf";
	return NULL;
}

int layers_directory_load(
	struct layers_directory *directory, uint32_t index, struct rgm_error *error)
{
	const struct layers_ref *ref = &layers_refs(directory->root)[index];
	size_t run_bytes = (size_t)(layers_pages(ref->block_bytes) * POOL_PAGE_BYTES);
	struct layers_leaf *leaf = directory->leaf;
	const char *why;
	int rc;

	if (directory->leaf_capacity < run_bytes) {
		leaf = realloc(leaf, run_bytes);
		if (!leaf)
			return pool_fail(error, -ENOMEM, "no memory for a directory's leaf");
		directory->leaf = leaf;
		directory->leaf_capacity = run_bytes;
	}
	rc = read_run(directory, ref->page, ref->block_bytes, leaf, &why, error);
	if (rc != 0)
		return rc;
	if (!why && leaf->magic != LAYERS_LEAF_MAGIC)
		why = "it is not a leaf";
	if (!why && (leaf->block_bytes != ref->block_bytes ||
			    leaf->entry_count != ref->entry_count || leaf->born != ref->born))
		why = "it is not the leaf that the root means";
	if (!why && (leaf->crc32c != ref->crc32c ||
			    leaf->crc32c != layers_block_crc32c(leaf, (size_t)ref->block_bytes,
						    offsetof(struct layers_leaf, crc32c))))
		why = "its checksum is wrong";
	if (!why)
		why = leaf_fault(directory, leaf);
	if (!why)
		why = neighbours_fault(directory, leaf, index);
	return why ? damaged(directory, "leaf", ref->page, why, error) : 0;
}

void layers_directory_close(struct layers_directory *directory)
{
	free(directory->root);
	free(directory->leaf);
	*directory = (struct layers_directory){0};
}
