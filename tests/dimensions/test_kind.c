/* SPDX-License-Identifier: Apache-2.0 */
/* dimensions/kind.c, array.h: the table of kinds, and lists of blocks. */
#define _GNU_SOURCE 1

#include "dimensions/array.h"
#include "tests/dimensions/fixture.h"

static void the_table(void **state)
{
	size_t count = 0;

	(void)state;
	for (const struct dim_kind *kind; (kind = dim_kind_at(count)) != NULL; count++) {
		assert_ptr_equal(dim_kind_by_number(kind->number), kind);
		assert_ptr_equal(dim_kind_by_name(kind->name), kind);
		assert_non_null(kind->create);
		assert_non_null(kind->open);
		assert_non_null(kind->reach);
		assert_non_null(kind->check);
	}
	assert_int_equal(count, 1);
	assert_ptr_equal(dim_kind_by_number(RGM_KIND_LAYERS), &dim_layers);
	assert_ptr_equal(dim_kind_by_name("layers"), &dim_layers);
	assert_null(dim_kind_by_number(0));
	assert_null(dim_kind_by_number(2));
	assert_null(dim_kind_by_name(""));
	assert_null(dim_kind_by_name("layer"));
	assert_null(dim_kind_at(SIZE_MAX));
}

static void lists_of_blocks(void **state)
{
	struct dim_blocks blocks = {0};
	struct dim_block *items;

	(void)state;
	dim_blocks_free(&blocks);
	assert_int_equal(dim_blocks_reserve(&blocks, 0), 0);
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(dim_blocks_add(&blocks, i, i + 1, i + 2), 0);
	assert_int_equal(blocks.count, 1000);
	for (uint64_t i = 0; i < 1000; i++) {
		assert_int_equal(blocks.items[i].page, i);
		assert_int_equal(blocks.items[i].count, i + 1);
		assert_int_equal(blocks.items[i].born, i + 2);
	}
	/* What was reserved is there without another allocation; too much leaves all as it was. */
	assert_int_equal(dim_blocks_reserve(&blocks, 5000), 0);
	items = blocks.items;
	for (uint64_t i = 0; i < 5000; i++)
		assert_int_equal(dim_blocks_add(&blocks, i, 1, 1), 0);
	assert_ptr_equal(blocks.items, items);
	assert_int_equal(dim_blocks_reserve(&blocks, SIZE_MAX), -ENOMEM);
	assert_int_equal(dim_blocks_reserve(&blocks, SIZE_MAX / 16), -ENOMEM);
	assert_ptr_equal(blocks.items, items);
	assert_int_equal(blocks.count, 6000);
	dim_blocks_free(&blocks);
	assert_null(blocks.items);
	assert_int_equal(blocks.count, 0);
}

static void created_empty(void **state)
{
	struct fixture fixture;
	struct rgm_layers layers;
	struct rgm_layer layer;
	struct rgm_span span;
	const char *name;

	(void)state;
	fixture_open(&fixture, 8u << 20);
	assert_int_equal(fixture.summary.layers, 0);
	assert_int_equal(fixture.summary.bytes, 0);
	assert_int_equal(fixture.summary.pages, 1);
	assert_int_equal(fixture_used(&fixture), 1);
	assert_int_equal(fixture.root.version, 1);
	assert_int_equal(fixture.root.generation, 1);
	fixture_verify(&fixture);
	/* An empty directory reads like no directory at all. */
	for (int i = 0; i < 2; i++) {
		layers = fixture_view(&fixture);
		assert_int_equal(rgm_layers_count(&layers), 0);
		assert_int_equal(rgm_layers_bytes(&layers), 0);
		assert_false(rgm_layers_next(&layers, &name, &span));
		assert_int_equal(rgm_layers_get(&layers, "a", &layer), RGM_ENOLAYER);
		rgm_layers_seek(&layers, "a");
		assert_false(rgm_layers_next_layer(&layers, &layer));
		rgm_layers_seek(&layers, NULL);
		assert_false(rgm_layers_next(&layers, &name, &span));
		if (i == 0)
			pool_region_free(fixture.region, fixture.root.offset / POOL_PAGE_BYTES, 1);
		fixture.root = (struct pool_root){0};
	}
	fixture_close(&fixture);
}

/* No room for a root: nothing is left behind. */
static void create_fails(void **state)
{
	struct fixture fixture;
	struct rgm_error error;
	struct pool_root root = {.offset = 77};
	uint64_t used;
	uint64_t page;
	uint64_t count;

	(void)state;
	fixture_open(&fixture, 4u << 20);
	must(pool_region_allocate_upto(fixture.region, 1, 512, &page, &count, &error), &error);
	while (pool_region_allocate(fixture.region, 1, &page, NULL) == 0)
		;
	used = fixture_used(&fixture);
	assert_int_not_equal(dim_layers.create(fixture.region, 2, &root, &error), 0);
	assert_int_equal(root.offset, 77);
	assert_int_equal(fixture_used(&fixture), used);
	fixture_close(&fixture);
}

/* What a clean close leaves is what the next open finds, and what a check of the file finds. */
static void closed_and_opened_again(void **state)
{
	static const char bytes[10000] = "bytes";
	struct pool_region_options options = fixture_options(64u << 20);
	struct rgm_check_report report;
	struct pool_region_info info;
	struct fixture fixture;
	struct rgm_error error;
	char path[80];

	(void)state;
	fixture_open(&fixture, 64u << 20);
	for (unsigned i = 0; i < 10; i++)
		fixture_put(&fixture, (char[]){(char)('a' + i % 4), '\0'}, bytes, 1000 * i);
	fixture_reclaim(&fixture, 0);
	must(pool_region_close_clean(fixture.region, &fixture.root, &error), &error);

	snprintf(path, sizeof(path), "%s/region", fixture.folder_path);
	must(pool_region_open_check(path, &fixture.region, &error), &error);
	pool_region_info(fixture.region, &info);
	must(dim_check(fixture.region, &info.root, NULL, NULL, NULL, &report, &error), &error);
	if (report.problems != 0)
		fail_msg("%s", report.first_problem);
	assert_int_equal(report.layers, 4);
	pool_region_close(fixture.region);

	must(pool_region_open(fixture.folder, "region", &options, &fixture.region, &error), &error);
	pool_region_info(fixture.region, &info);
	assert_memory_equal(&info.root, &fixture.root, sizeof(info.root));
	fixture_verify(&fixture);
	fixture_put(&fixture, "more", bytes, sizeof(bytes));
	fixture_verify(&fixture);
	fixture_close(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table),
		cmocka_unit_test(lists_of_blocks),
		cmocka_unit_test(created_empty),
		cmocka_unit_test(create_fails),
		cmocka_unit_test(closed_and_opened_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
