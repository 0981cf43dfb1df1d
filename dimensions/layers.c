/* SPDX-License-Identifier: Apache-2.0 */
/* The kind layers in the table of kinds: create, open, reach. Its check stands in layers_check.c. */
#include "dimensions/layers.h"

#include <errno.h>

#include "dimensions/layers_check.h"
#include "dimensions/layers_walk.h"
#include "pool/error.h"

static int create(struct pool_region *region, uint64_t version, struct pool_root *ret_root,
	struct rgm_error *error)
{
	const struct pool_root nothing = {0};
	struct dim_blocks retired = {0};
	struct layers_change *change;
	struct pool_root root;
	int rc = layers_change_begin(region, 0, false, &change, error);

	if (rc != 0)
		return rc;
	rc = layers_change_build(change, &nothing, version, &root, NULL, &retired, NULL, error);
	if (rc != 0) {
		layers_change_abort(change);
		return rc;
	}
	layers_change_published(change);
	dim_blocks_free(&retired);
	*ret_root = root;
	return 0;
}

static int find_root(struct pool_region *region, struct pool_root *root, struct rgm_error *error)
{
	struct layers_root head;
	int rc;

	if (root->offset == 0)
		return 0;
	rc = pool_region_read(region, root->offset, &head, sizeof(head), error);
	if (rc != 0)
		return rc;
	root->bytes = head.block_bytes;
	root->crc32c = head.crc32c;
	return 0;
}

static int open_directory(struct pool_region *region, const struct pool_root *root,
	struct dim_summary *ret_summary, struct rgm_error *error)
{
	static const struct layers_visitor visitor;

	return layers_walk(region, root, &visitor, NULL, ret_summary, error);
}

static int reach_run(
	void *context, uint64_t page, uint64_t count, uint64_t born, struct rgm_error *error)
{
	if (count > 0 && dim_blocks_add(context, page, count, born) < 0)
		return pool_fail(error, -ENOMEM, "no memory for a list of pages");
	return 0;
}

static int reach_entry(void *context, const struct layers_leaf *leaf,
	const struct layers_entry *entry, struct rgm_error *error)
{
	(void)leaf;
	return reach_run(context, entry->page, layers_pages(entry->size), entry->born, error);
}

static int reach(struct pool_region *region, const struct pool_root *root,
	struct dim_blocks *blocks, struct dim_summary *ret_summary, struct rgm_error *error)
{
	static const struct layers_visitor visitor = {.block = reach_run, .entry = reach_entry};
	size_t before = blocks->count;
	int rc = layers_walk(region, root, &visitor, blocks, ret_summary, error);

	if (rc != 0)
		blocks->count = before;
	return rc;
}

const struct dim_kind dim_layers = {
	.number = RGM_KIND_LAYERS,
	.name = "layers",
	.create = create,
	.find_root = find_root,
	.open = open_directory,
	.reach = reach,
	.check = layers_check,
};
