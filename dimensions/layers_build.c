/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory that results from a change: its operations, sorted, are merged with the old one leaf
 * by leaf.
 *
 * A leaf that no operation falls into keeps its ref. The entries of the others, and the new ones,
 * pass through a pack, which is written as leaves of about LAYERS_LEAF_BYTES: at once when it holds
 * two of them, else when a leaf follows that stays. What is in the pack then is cut into even parts,
 * so that a leaf which grew too large becomes two that have room; and where it is less than a
 * quarter of a leaf, the leaf that could have stayed is merged into it, so that directories from
 * which much is removed do not decay.
 *
 * Nothing but the change's list of built blocks and the file's free pages is touched before the end;
 * a failure frees those blocks, and old root and `retired` are as they were.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dimensions/layers_change.h"
#include "dimensions/layers_directory.h"
#include "dimensions/layers_pack.h"
#include "pool/error.h"

#define NO_LEAF UINT32_MAX

struct build {
	struct layers_change *change;
	struct layers_directory old;
	uint64_t version;
	struct layers_leaf_pack pack;
	struct layers_root_pack root;
	uint32_t kept;             /* the old leaf whose ref was added last; NO_LEAF: none */
	struct layers_root totals; /* layer_count, content_bytes, content_pages */
	struct dim_blocks retired;
	uint64_t put;
	uint64_t removed;
};

static int retire(
	struct build *build, uint64_t page, uint64_t bytes, uint64_t born, struct rgm_error *error)
{
	if (bytes == 0)
		return 0;
	if (dim_blocks_add(&build->retired, page, layers_pages(bytes), born) < 0)
		return pool_fail(error, -ENOMEM, "no memory for the list of replaced pages");
	return 0;
}

/* Write the first entries of the pack that make about `target` bytes, and at most a leaf. */
static int write_leaf(struct build *build, uint64_t target, struct rgm_error *error)
{
	size_t count = 1;

	while (count < build->pack.count && layers_leaf_pack_bytes(&build->pack, count) < target &&
		layers_leaf_pack_bytes(&build->pack, count + 1) <= LAYERS_LEAF_BYTES)
		count++;
	build->kept = NO_LEAF;
	return layers_leaf_pack_write(&build->pack, count, build->version, build->change->region,
		&build->root, &build->change->built, error);
}

/* Write all of the pack, in even parts. */
static int write_pack(struct build *build, struct rgm_error *error)
{
	int rc = 0;

	while (rc == 0 && build->pack.count > 0) {
		uint64_t bytes = layers_leaf_pack_bytes(&build->pack, build->pack.count);
		uint64_t parts = (bytes + LAYERS_LEAF_BYTES - 1) / LAYERS_LEAF_BYTES;

		rc = write_leaf(build, bytes / parts, error);
	}
	return rc;
}

static int add_entry(struct build *build, const struct layers_entry *entry, const char *name,
	const char *media, struct rgm_error *error)
{
	int rc = layers_leaf_pack_add(&build->pack, entry, name, media, error);

	if (rc == 0 &&
		layers_leaf_pack_bytes(&build->pack, build->pack.count) >= 2ull * LAYERS_LEAF_BYTES)
		rc = write_leaf(build, LAYERS_LEAF_BYTES, error);
	return rc;
}

static int keep_entry(struct build *build, const struct layers_leaf *leaf,
	const struct layers_entry *entry, struct rgm_error *error)
{
	return add_entry(build, entry, layers_string(leaf, entry->name_offset),
		entry->media_offset ? layers_string(leaf, entry->media_offset) : NULL, error);
}

static int drop_entry(
	struct build *build, const struct layers_entry *entry, struct rgm_error *error)
{
	build->totals.layer_count--;
	build->totals.content_bytes -= entry->size;
	build->totals.content_pages -= layers_pages(entry->size);
	return retire(build, entry->page, entry->size, entry->born, error);
}

static int put_entry(struct build *build, const struct layers_op *op, struct rgm_error *error)
{
	struct layers_entry entry = {
		.page = op->page,
		.size = op->size,
		.time_ns = op->time_ns,
		.born = build->version,
		.crc32c = op->crc32c,
		.name_length = op->name_length,
		.media_length = op->media_length,
	};

	build->put++;
	build->totals.layer_count++;
	build->totals.content_bytes += op->size;
	build->totals.content_pages += layers_pages(op->size);
	return add_entry(
		build, &entry, op->strings, op->media_length ? layers_op_media(op) : NULL, error);
}

/* An operation on a name that the old directory does not have. */
static int apply_alone(struct build *build, const struct layers_op *op, struct rgm_error *error)
{
	char shown[LAYERS_SHOWN_BYTES];

	if (!op->remove)
		return put_entry(build, op, error);
	if (op->may_be_absent)
		return 0;
	return pool_fail(error, RGM_ENOLAYER, "there is no layer '%s' to remove",
		layers_name_shown(shown, op->strings, op->name_length));
}

/* An entry that is in the old directory, and the operation on its name, if there is one. */
static int apply(struct build *build, const struct layers_leaf *leaf,
	const struct layers_entry *entry, const struct layers_op *op, struct rgm_error *error)
{
	int rc;

	if (!op && !build->change->replace)
		return keep_entry(build, leaf, entry, error);
	rc = drop_entry(build, entry, error);
	if (!op || op->remove)
		build->removed++;
	else if (rc == 0)
		rc = put_entry(build, op, error);
	return rc;
}

/* Merge entries of the leaf that is loaded (none: an empty directory) with operations first..end-1. */
static int merge(struct build *build, const struct layers_leaf *leaf, size_t first, size_t end,
	struct rgm_error *error)
{
	uint32_t count = leaf ? leaf->entry_count : 0;
	uint32_t i = 0;
	int rc = 0;

	while (rc == 0 && i < count) {
		const struct layers_entry *entry = &layers_entries(leaf)[i];
		const struct layers_op *op = first < end ? build->change->sorted[first] : NULL;
		int order = -1;

		if (op)
			order = layers_compare(layers_string(leaf, entry->name_offset),
				entry->name_length, op->strings, op->name_length);
		if (op && order > 0)
			rc = apply_alone(build, op, error);
		else
			rc = apply(build, leaf, entry, order == 0 ? op : NULL, error);
		i += order <= 0;
		first += order >= 0;
	}
	for (; rc == 0 && first < end; first++)
		rc = apply_alone(build, build->change->sorted[first], error);
	return rc;
}

static int load_old(struct build *build, uint32_t index, struct rgm_error *error)
{
	const struct layers_ref *ref = &layers_refs(build->old.root)[index];
	int rc = layers_directory_load(&build->old, index, error);

	return rc != 0 ? rc : retire(build, ref->page, ref->block_bytes, ref->born, error);
}

static int keep_leaf(struct build *build, uint32_t index, struct rgm_error *error)
{
	const struct layers_ref *ref = &layers_refs(build->old.root)[index];
	int rc = write_pack(build, error);

	if (rc == 0)
		rc = layers_root_pack_add(
			&build->root, ref, layers_string(build->old.root, ref->name_offset), error);
	build->kept = index;
	return rc;
}

static bool pack_is_tiny(const struct build *build)
{
	return build->pack.count > 0 &&
	       layers_leaf_pack_bytes(&build->pack, build->pack.count) < LAYERS_LEAF_BYTES / 4;
}

/* The first operation from `first` on whose name does not belong before leaf `index` + 1. */
static size_t ops_end(const struct build *build, size_t first, uint32_t index)
{
	const struct layers_root *root = build->old.root;
	const struct layers_ref *next = &layers_refs(root)[index + 1];

	if (index + 1 == root->leaf_count)
		return build->change->op_count;
	while (first < build->change->op_count &&
		layers_compare(build->change->sorted[first]->strings,
			build->change->sorted[first]->name_length,
			layers_string(root, next->name_offset), next->name_length) < 0)
		first++;
	return first;
}

/* What is left in the pack goes to the leaf before it, if it is too little for one of its own. */
static int finish_pack(struct build *build, struct rgm_error *error)
{
	struct layers_leaf_pack tail = build->pack;
	int rc;

	if (!pack_is_tiny(build) || build->kept == NO_LEAF)
		return write_pack(build, error);
	build->pack = (struct layers_leaf_pack){0};
	layers_root_pack_pop(&build->root);
	rc = load_old(build, build->kept, error);
	if (rc == 0)
		rc = merge(build, build->old.leaf, 0, 0, error);
	for (size_t i = 0; rc == 0 && i < tail.count; i++) {
		const struct layers_entry *entry = &tail.entries[i];

		rc = add_entry(build, entry, tail.strings.bytes + entry->name_offset,
			entry->media_offset ? tail.strings.bytes + entry->media_offset : NULL,
			error);
	}
	layers_leaf_pack_free(&tail);
	return rc != 0 ? rc : write_pack(build, error);
}

static int merge_all(struct build *build, struct rgm_error *error)
{
	uint32_t leaves = build->old.root->leaf_count;
	size_t next = 0;
	int rc = 0;

	if (leaves == 0)
		rc = merge(build, NULL, 0, build->change->op_count, error);
	for (uint32_t i = 0; rc == 0 && i < leaves; i++) {
		size_t end = ops_end(build, next, i);

		if (next == end && !build->change->replace && !pack_is_tiny(build)) {
			rc = keep_leaf(build, i, error);
			continue;
		}
		rc = load_old(build, i, error);
		if (rc == 0)
			rc = merge(build, build->old.leaf, next, end, error);
		next = end;
	}
	if (rc == 0)
		rc = finish_pack(build, error);
	if (rc == 0 && build->totals.layer_count > LAYERS_MAX)
		rc = pool_fail(
			error, RGM_ELIMIT, "a dimension has at most %llu layers", LAYERS_MAX);
	return rc;
}

static void free_built(struct layers_change *change)
{
	for (size_t i = 0; i < change->built.count; i++)
		pool_region_free(
			change->region, change->built.items[i].page, change->built.items[i].count);
	change->built.count = 0;
}

static int prepare(struct build *build, const struct pool_root *root, struct rgm_error *error)
{
	int rc = layers_change_flush(build->change, error);

	if (rc == 0)
		rc = layers_directory_open(&build->old, build->change->region, root, error);
	if (rc != 0)
		return rc;
	build->totals = *build->old.root;
	return retire(build, build->old.root_page, build->old.root->block_bytes,
		build->old.root->born, error);
}

static uint64_t reachable_pages(const struct build *build, const struct pool_root *root)
{
	uint64_t pages = layers_pages(root->bytes) + build->totals.content_pages;

	for (size_t i = 0; i < build->root.count; i++)
		pages += layers_pages(build->root.refs[i].block_bytes);
	return pages;
}

/* Hand the results over; nothing can fail once the room for them is there. */
static int deliver(struct build *build, const struct pool_root *root, struct pool_root *ret_root,
	struct dim_summary *ret_summary, struct dim_blocks *retired,
	struct rgm_load_report *ret_report, struct rgm_error *error)
{
	uint64_t bytes = 0;

	if (dim_blocks_reserve(retired, build->retired.count) < 0)
		return pool_fail(error, -ENOMEM, "no memory for the list of replaced pages");
	for (size_t i = 0; i < build->retired.count; i++)
		retired->items[retired->count++] = build->retired.items[i];
	for (size_t i = 0; i < build->change->op_count; i++)
		bytes += build->change->ops[i]->size;
	*ret_root = *root;
	if (ret_summary) {
		ret_summary->layers = build->totals.layer_count;
		ret_summary->bytes = build->totals.content_bytes;
		ret_summary->pages = reachable_pages(build, root);
	}
	if (ret_report) {
		ret_report->version = build->version;
		ret_report->layers_put = build->put;
		ret_report->layers_removed = build->removed;
		ret_report->bytes = bytes;
	}
	return 0;
}

int layers_change_build(struct layers_change *change, const struct pool_root *root,
	uint64_t version, struct pool_root *ret_root, struct dim_summary *ret_summary,
	struct dim_blocks *retired, struct rgm_load_report *ret_report, struct rgm_error *error)
{
	struct build build = {.change = change, .version = version, .kept = NO_LEAF};
	struct pool_root built = {.generation = root->generation + 1};
	int rc;

	/* An earlier build that was overtaken by another commit. */
	free_built(change);
	rc = prepare(&build, root, error);
	if (rc == 0)
		rc = merge_all(&build, error);
	if (rc == 0)
		rc = layers_root_pack_write(&build.root, &build.totals, version, change->region,
			&built, &change->built, error);
	if (rc == 0)
		rc = deliver(&build, &built, ret_root, ret_summary, retired, ret_report, error);
	if (rc != 0)
		free_built(change);
	layers_leaf_pack_free(&build.pack);
	layers_root_pack_free(&build.root);
	dim_blocks_free(&build.retired);
	layers_directory_close(&build.old);
	return rc;
}
