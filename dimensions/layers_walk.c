/* SPDX-License-Identifier: Apache-2.0 */
#include "dimensions/layers_walk.h"

#include <errno.h>

#include "pool/error.h"

struct walk {
	struct layers_directory directory;
	const struct layers_visitor *visitor;
	void *context;
	struct dim_summary sum; /* of what was seen; the blocks' pages included */
	uint64_t content_pages;
	bool complete; /* no block was left out */
};

static int tell(struct walk *walk, int code, struct rgm_error *told, struct rgm_error *error)
{
	walk->complete = false;
	/* Too little memory says nothing about the file. */
	if (walk->visitor->damaged && code != -ENOMEM)
		return walk->visitor->damaged(walk->context, told);
	if (error)
		*error = *told;
	return code;
}

static int walk_leaf(struct walk *walk, uint32_t index, struct rgm_error *error)
{
	const struct layers_ref *ref = &layers_refs(walk->directory.root)[index];
	const struct layers_entry *entries;
	struct rgm_error told;
	int rc;

	walk->sum.pages += layers_pages(ref->block_bytes);
	if (walk->visitor->block) {
		rc = walk->visitor->block(
			walk->context, ref->page, layers_pages(ref->block_bytes), ref->born, error);
		if (rc != 0)
			return rc;
	}
	rc = layers_directory_load(&walk->directory, index, &told);
	if (rc != 0)
		return tell(walk, rc, &told, error);
	entries = layers_entries(walk->directory.leaf);
	for (uint32_t i = 0; i < walk->directory.leaf->entry_count; i++) {
		/* Sizes fit the region, at most 2^46, and there are at most 2^26 of them. */
		walk->sum.layers++;
		walk->sum.bytes += entries[i].size;
		walk->content_pages += layers_pages(entries[i].size);
		if (!walk->visitor->entry)
			continue;
		rc = walk->visitor->entry(walk->context, walk->directory.leaf, &entries[i], error);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* Totals are a promise of the root that only the whole walk can prove. */
static int compare_totals(struct walk *walk, struct rgm_error *error)
{
	const struct layers_root *root = walk->directory.root;
	const char *why = NULL;
	struct rgm_error told;

	if (!walk->complete)
		return 0;
	if (root->content_bytes != walk->sum.bytes || root->content_pages != walk->content_pages)
		why = "its totals are not those of its layers";
	else if (walk->sum.pages + walk->content_pages > walk->directory.end_page)
		why = "it reaches more pages than there are";
	if (!why)
		return 0;
	pool_fail(&told, RGM_ECORRUPT, "region %llu: root block at page %llu is damaged: %s",
		(unsigned long long)walk->directory.id,
		(unsigned long long)walk->directory.root_page, why);
	return tell(walk, RGM_ECORRUPT, &told, error);
}

int layers_walk(struct pool_region *region, const struct pool_root *root,
	const struct layers_visitor *visitor, void *context, struct dim_summary *ret_summary,
	struct rgm_error *error)
{
	struct walk walk = {.visitor = visitor, .context = context, .complete = true};
	struct rgm_error told;
	int rc = layers_directory_open(&walk.directory, region, root, &told);

	if (rc != 0)
		return tell(&walk, rc, &told, error);
	if (root->offset != 0) {
		walk.sum.pages = layers_pages(root->bytes);
		if (visitor->block)
			rc = visitor->block(context, walk.directory.root_page, walk.sum.pages,
				walk.directory.root->born, error);
	}
	for (uint32_t i = 0; rc == 0 && i < walk.directory.root->leaf_count; i++)
		rc = walk_leaf(&walk, i, error);
	if (rc == 0)
		rc = compare_totals(&walk, error);
	if (rc == 0 && ret_summary) {
		*ret_summary = walk.sum;
		ret_summary->pages += walk.content_pages;
	}
	layers_directory_close(&walk.directory);
	return rc;
}
