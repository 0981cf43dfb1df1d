/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dimensions/layers_directory.c, layers_walk.c: blocks with right checksums and wrong fields are
 * refused, and what is accepted can be read without a check.
 */
#define _GNU_SOURCE 1

#include "dimensions/layers_directory.h"
#include "tests/dimensions/small.h"

struct blocks {
	_Alignas(8) unsigned char root[4096];
	_Alignas(8) unsigned char leaf[4096];
};

static struct layers_root *root_of(struct blocks *blocks)
{
	return (struct layers_root *)(void *)blocks->root;
}

static struct layers_ref *ref_of(struct blocks *blocks)
{
	return (struct layers_ref *)(void *)(blocks->root + sizeof(struct layers_root));
}

static struct layers_leaf *leaf_of(struct blocks *blocks)
{
	return (struct layers_leaf *)(void *)blocks->leaf;
}

static struct layers_entry *entry_of(struct blocks *blocks, unsigned index)
{
	return (struct layers_entry *)(void *)(blocks->leaf + sizeof(struct layers_leaf)) + index;
}

static void huge_page(struct blocks *blocks)
{
	entry_of(blocks, 0)->page = UINT64_MAX;
}

static void page_near_the_end(struct blocks *blocks)
{
	struct pool_region_info info;

	pool_region_info(fixture.region, &info);
	entry_of(blocks, 0)->page = info.bytes / POOL_PAGE_BYTES - 1; /* it has two */
}

static void page_that_wraps(struct blocks *blocks)
{
	/* page * 4096 and page + pages wrap around. */
	entry_of(blocks, 0)->page = UINT64_MAX / 4096 + 513;
}

static void page_in_the_header(struct blocks *blocks)
{
	entry_of(blocks, 0)->page = POOL_FIRST_PAGE - 1;
}

static void huge_size(struct blocks *blocks)
{
	entry_of(blocks, 0)->size = UINT64_MAX;
	root_of(blocks)->content_bytes = UINT64_MAX + 3;
}

static void size_near_2_63(struct blocks *blocks)
{
	entry_of(blocks, 0)->size = 1ull << 63;
}

static void size_beyond_the_region(struct blocks *blocks)
{
	struct pool_region_info info;

	pool_region_info(fixture.region, &info);
	entry_of(blocks, 0)->size = info.bytes - entry_of(blocks, 0)->page * POOL_PAGE_BYTES + 1;
}

static void page_of_nothing(struct blocks *blocks)
{
	entry_of(blocks, 1)->page = 600;
}

static void name_out_of_the_block(struct blocks *blocks)
{
	entry_of(blocks, 0)->name_offset = UINT32_MAX;
}

static void name_too_long(struct blocks *blocks)
{
	entry_of(blocks, 2)->name_length = UINT32_MAX;
}

static void name_without_its_end(struct blocks *blocks)
{
	blocks->leaf[entry_of(blocks, 2)->name_offset + 8] = 'x';
}

static void name_against_the_rules(struct blocks *blocks)
{
	blocks->leaf[entry_of(blocks, 2)->name_offset + 6] = '\0';
}

static void names_out_of_order(struct blocks *blocks)
{
	blocks->leaf[entry_of(blocks, 1)->name_offset] = 'g';
}

static void a_name_twice(struct blocks *blocks)
{
	blocks->leaf[entry_of(blocks, 1)->name_offset] = 'a';
}

static void another_first_name(struct blocks *blocks)
{
	blocks->root[ref_of(blocks)->name_offset] = 'A';
}

static void media_out_of_the_block(struct blocks *blocks)
{
	entry_of(blocks, 2)->media_offset = leaf_of(blocks)->block_bytes & UINT32_MAX;
	entry_of(blocks, 2)->media_length = 4;
}

static void media_nowhere(struct blocks *blocks)
{
	entry_of(blocks, 2)->media_length = 4;
}

static void more_entries(struct blocks *blocks)
{
	leaf_of(blocks)->entry_count = UINT32_MAX;
	ref_of(blocks)->entry_count = UINT32_MAX;
	root_of(blocks)->layer_count = UINT32_MAX;
}

static void fewer_entries(struct blocks *blocks)
{
	leaf_of(blocks)->entry_count = 2;
	ref_of(blocks)->entry_count = 2;
	root_of(blocks)->layer_count = 2;
}

static void no_entries(struct blocks *blocks)
{
	leaf_of(blocks)->entry_count = 0;
	ref_of(blocks)->entry_count = 0;
	root_of(blocks)->layer_count = 0;
}

static void more_leaves(struct blocks *blocks)
{
	root_of(blocks)->leaf_count = UINT32_MAX;
}

static void fewer_leaves(struct blocks *blocks)
{
	root_of(blocks)->leaf_count = 0;
}

static void leaf_out_of_the_region(struct blocks *blocks)
{
	ref_of(blocks)->page = UINT64_MAX / 4096;
}

static void huge_leaf(struct blocks *blocks)
{
	ref_of(blocks)->block_bytes = 1ull << 63;
}

static void other_totals(struct blocks *blocks)
{
	root_of(blocks)->content_bytes++;
}

static void other_pages(struct blocks *blocks)
{
	root_of(blocks)->content_pages--;
}

static void other_count(struct blocks *blocks)
{
	root_of(blocks)->layer_count++;
}

static void reserved_in_the_root(struct blocks *blocks)
{
	root_of(blocks)->reserved = 1;
}

static void reserved_in_the_leaf(struct blocks *blocks)
{
	leaf_of(blocks)->reserved[3] = 1;
}

static void reserved_in_an_entry(struct blocks *blocks)
{
	entry_of(blocks, 2)->reserved[2] = 1;
}

static void born_after_the_root(struct blocks *blocks)
{
	leaf_of(blocks)->born = ref_of(blocks)->born = UINT64_MAX;
}

static void born_after_the_leaf(struct blocks *blocks)
{
	entry_of(blocks, 1)->born = UINT64_MAX;
}

static void another_magic(struct blocks *blocks)
{
	leaf_of(blocks)->magic = LAYERS_ROOT_MAGIC;
}

static void another_size(struct blocks *blocks)
{
	leaf_of(blocks)->block_bytes++;
	ref_of(blocks)->block_bytes++;
}

/* Write both blocks with right checksums. */
static void seal(struct blocks *blocks, struct pool_root *root, uint64_t leaf_page)
{
	struct layers_leaf *leaf = leaf_of(blocks);
	struct layers_root *top = root_of(blocks);
	size_t leaf_bytes = leaf->block_bytes < 4096 ? (size_t)leaf->block_bytes : 4096;

	leaf->crc32c = layers_block_crc32c(leaf, leaf_bytes, offsetof(struct layers_leaf, crc32c));
	ref_of(blocks)->crc32c = leaf->crc32c;
	top->crc32c = layers_block_crc32c(
		top, (size_t)top->block_bytes, offsetof(struct layers_root, crc32c));
	root->crc32c = top->crc32c;
	write_pages(leaf_page, blocks->leaf, 1);
	write_pages(root->offset / POOL_PAGE_BYTES, blocks->root, 1);
}

static void wrong_fields_are_refused(void **state)
{
	static void (*const damages[])(struct blocks *) = {huge_page, page_near_the_end,
		page_that_wraps, page_in_the_header, huge_size, size_near_2_63,
		size_beyond_the_region, page_of_nothing, name_out_of_the_block, name_too_long,
		name_without_its_end, name_against_the_rules, names_out_of_order, a_name_twice,
		another_first_name, media_out_of_the_block, media_nowhere, more_entries,
		fewer_entries, no_entries, more_leaves, fewer_leaves, leaf_out_of_the_region,
		huge_leaf, other_totals, other_pages, other_count, reserved_in_the_root,
		reserved_in_the_leaf, reserved_in_an_entry, born_after_the_root,
		born_after_the_leaf, another_magic, another_size};
	struct blocks good, bad;
	struct pool_root root = fixture.root;
	struct layers_change *change;
	struct rgm_check_report report = {0};
	struct rgm_error error;
	uint64_t leaf_page;

	(void)state;
	read_pages(root.offset / POOL_PAGE_BYTES, good.root, 1);
	leaf_page = ref_of(&good)->page;
	read_pages(leaf_page, good.leaf, 1);
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		bad = good;
		damages[i](&bad);
		seal(&bad, &root, leaf_page);
		if (open_root(&root, &error) != RGM_ECORRUPT)
			fail_msg("damage %zu was not refused", i);
		assert_non_null(strstr(error.message, "region 7: "));
		assert_null(strstr(error.message, "checksum"));
		memset(&report, 0, sizeof(report));
		must(dim_layers.check(fixture.region, &root, NULL, NULL, &report, &error), &error);
		assert_true(report.problems > 0);
	}
	/* A change does not build on such a directory either. */
	must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
	must(layers_change_put(change, "b", "", 0, 1, NULL, &error), &error);
	bad = good;
	names_out_of_order(&bad);
	seal(&bad, &root, leaf_page);
	assert_int_equal(
		layers_change_build(change, &root, 9, &root, NULL, &fixture.retired, NULL, &error),
		RGM_ECORRUPT);
	layers_change_abort(change);
	seal(&good, &root, leaf_page);
	assert_int_equal(root.crc32c, fixture.root.crc32c);
	assert_int_equal(check().problems, 0);
}

static void wrong_roots_are_refused(void **state)
{
	const struct pool_root good = fixture.root;
	struct pool_root bad[9];
	struct rgm_error error;

	(void)state;
	for (int i = 0; i < 9; i++)
		bad[i] = good;
	bad[0].offset += 8;
	bad[1].offset = 1ull << 63;
	bad[2].offset = UINT64_MAX - 4095;
	bad[3].offset = 4096;
	bad[4].bytes = 0;
	bad[5].bytes = UINT64_MAX;
	bad[6].bytes++;
	bad[7].bytes = 1ull << 31;
	bad[8].crc32c++;
	for (int i = 0; i < 9; i++) {
		assert_int_equal(open_root(&bad[i], &error), RGM_ECORRUPT);
		assert_non_null(strstr(error.message, "root block"));
	}
	/* No content yet is no damage. */
	bad[0] = (struct pool_root){0};
	must(open_root(&bad[0], &error), &error);
}

/*
 * Whatever an open accepts can be read to the end without a check. The directory is altered at random,
 * its checksums made right, and then read in a copy of the file that a sanitizer guards.
 */
static void what_open_accepts_can_be_read(void **state)
{
	struct blocks good, bad;
	struct pool_root root = fixture.root;
	struct pool_region_info info;
	struct rgm_error error;
	uint64_t random = seed_get("check");
	uint64_t leaf_page;
	unsigned accepted = 0;
	unsigned char *copy;

	(void)state;
	pool_region_info(fixture.region, &info);
	copy = malloc((size_t)info.bytes);
	assert_non_null(copy);
	must(pool_region_read(fixture.region, POOL_HEADER_BYTES, copy + POOL_HEADER_BYTES,
		     (size_t)(info.bytes - POOL_HEADER_BYTES), &error),
		&error);
	read_pages(root.offset / POOL_PAGE_BYTES, good.root, 1);
	leaf_page = ref_of(&good)->page;
	read_pages(leaf_page, good.leaf, 1);
	for (unsigned i = 0; i < 20000; i++) {
		bad = good;
		for (uint64_t n = 1 + seed_below(&random, 2); n > 0; n--) {
			bool root_block = seed_below(&random, 3) == 0;
			unsigned char *block = root_block ? bad.root : bad.leaf;
			uint64_t used = root_block ? root_of(&good)->block_bytes
			                           : leaf_of(&good)->block_bytes;
			/* Magic and block_bytes apart: they are compared with what refers to them. */
			uint64_t at = 16 + seed_below(&random, used - 16);

			block[at] =
				(unsigned char)(seed_below(&random, 2)
							? seed_below(&random, 256)
							: block[at] + 2 * seed_below(&random, 2) -
								  1);
		}
		seal(&bad, &root, leaf_page);
		if (open_root(&root, &error) == 0) {
			struct rgm_layers layers;
			struct rgm_layer layer;
			unsigned sum = 0;

			accepted++;
			memcpy(copy + root.offset, bad.root, sizeof(bad.root));
			memcpy(copy + leaf_page * POOL_PAGE_BYTES, bad.leaf, sizeof(bad.leaf));
			layers_view_init(&layers, copy, info.bytes, root.offset, 1);
			while (rgm_layers_next_layer(&layers, &layer)) {
				struct rgm_layer found;

				assert_int_equal(strlen(layer.name), layer.name_length);
				assert_int_equal(rgm_layers_get(&layers, layer.name, &found), 0);
				assert_ptr_equal(found.name, layer.name);
				for (size_t j = 0; j < layer.data.size; j++)
					sum += ((const unsigned char *)layer.data.data)[j];
			}
			(void)sum;
		} else {
			assert_int_equal(error.code, RGM_ECORRUPT);
		}
	}
	/* Other times, checksums and letters are no damage that an open could see. */
	assert_true(accepted > 0 && accepted < 20000);
	root = fixture.root;
	seal(&good, &root, leaf_page);
	free(copy);
	assert_int_equal(check().problems, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_fields_are_refused),
		cmocka_unit_test(wrong_roots_are_refused),
		cmocka_unit_test(what_open_accepts_can_be_read),
	};

	return cmocka_run_group_tests(tests, small_setup, small_teardown);
}
