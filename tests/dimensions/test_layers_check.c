/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dimensions/layers_directory.c, layers_check.c, check.c: every single bit of a small dimension that
 * is flipped is found; blocks with right checksums and wrong fields are refused; the allocation map
 * is compared to the last page.
 */
#define _GNU_SOURCE 1

#include <sys/syscall.h>

#include "dimensions/layers_directory.h"
#include "tests/dimensions/model.h"

static struct fixture fixture;

/* This executable's pread() takes the place of libc's: reads that touch this byte fail. */
static uint64_t bad_byte;

ssize_t pread(int file, void *data, size_t bytes, off_t offset)
{
	if (bad_byte >= (uint64_t)offset && bad_byte < (uint64_t)offset + bytes) {
		errno = EIO;
		return -1;
	}
	return (ssize_t)syscall(SYS_pread64, file, data, bytes, offset);
}

static int setup(void **state)
{
	static const char bytes[5000] = "content";
	struct layers_change *change;
	struct rgm_error error;

	(void)state;
	fixture_open(&fixture, 64u << 20);
	must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
	must(layers_change_put(change, "a", bytes, sizeof(bytes), 1, "text/plain", &error), &error);
	must(layers_change_put(change, "b", "", 0, 1, NULL, &error), &error);
	must(layers_change_put(change, "folder/c", bytes, 3, 1, NULL, &error), &error);
	must(fixture_commit(&fixture, change, NULL, &error), &error);
	fixture_reclaim(&fixture, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fixture_close(&fixture);
	return 0;
}

static void read_pages(uint64_t page, void *pages, uint64_t count)
{
	struct rgm_error error;

	must(pool_region_read(fixture.region, page * POOL_PAGE_BYTES, pages,
		     (size_t)(count * POOL_PAGE_BYTES), &error),
		&error);
}

static void write_pages(uint64_t page, const void *pages, uint64_t count)
{
	struct rgm_error error;

	must(pool_region_write(fixture.region, page * POOL_PAGE_BYTES, pages,
		     (size_t)(count * POOL_PAGE_BYTES), &error),
		&error);
}

static void flip(uint64_t page, uint64_t bit)
{
	uint64_t offset = page * POOL_PAGE_BYTES + bit / 8;
	struct rgm_error error;
	unsigned char byte;

	must(pool_region_read(fixture.region, offset, &byte, 1, &error), &error);
	byte = (unsigned char)(byte ^ (1u << bit % 8));
	must(pool_region_write(fixture.region, offset, &byte, 1, &error), &error);
}

static struct rgm_check_report check(void)
{
	static const struct dim_blocks none;
	struct rgm_check_report report;
	struct rgm_error error;

	must(dim_check(fixture.region, &fixture.root, &none, NULL, NULL, &report, &error), &error);
	return report;
}

static int open_root(const struct pool_root *root, struct rgm_error *error)
{
	struct dim_summary summary;

	return dim_layers.open(fixture.region, root, &summary, error);
}

static void every_flipped_bit_of_the_directory_is_found(void **state)
{
	struct layers_root *root = malloc(POOL_PAGE_BYTES);
	uint64_t pages[2] = {fixture.root.offset / POOL_PAGE_BYTES};
	struct dim_blocks blocks = {0};
	struct rgm_error error;

	(void)state;
	assert_non_null(root);
	read_pages(pages[0], root, 1);
	assert_int_equal(root->leaf_count, 1);
	pages[1] = layers_refs(root)[0].page;
	free(root);
	for (int i = 0; i < 2; i++) {
		for (uint64_t bit = 0; bit < POOL_PAGE_BYTES * 8; bit++) {
			flip(pages[i], bit);
			assert_int_equal(open_root(&fixture.root, &error), RGM_ECORRUPT);
			assert_int_equal(
				dim_layers.reach(fixture.region, &fixture.root, &blocks, &error),
				RGM_ECORRUPT);
			assert_int_equal(blocks.count, 0);
			assert_true(check().problems > 0);
			flip(pages[i], bit);
		}
	}
	dim_blocks_free(&blocks);
	assert_int_equal(check().problems, 0);
}

static void every_flipped_bit_of_content_is_found(void **state)
{
	struct rgm_layers layers = fixture_view(&fixture);
	struct rgm_check_report report;
	struct rgm_layer layer;
	struct rgm_error error;
	char words[64];

	(void)state;
	while (rgm_layers_next_layer(&layers, &layer)) {
		uint64_t page;

		if (layer.data.size == 0)
			continue;
		page = (uint64_t)((const char *)layer.data.data - (const char *)fixture.base) /
		       POOL_PAGE_BYTES;
		snprintf(words, sizeof(words), "layer '%s' at page %llu is damaged", layer.name,
			(unsigned long long)page);
		/* Each bit of its pages, the zeros behind its end included. */
		for (uint64_t bit = 0; bit < layers_pages(layer.data.size) * POOL_PAGE_BYTES * 8;
			bit++) {
			flip(page, bit);
			must(open_root(&fixture.root, &error), &error);
			report = check();
			assert_int_equal(report.problems, 1);
			assert_non_null(strstr(report.first_problem, words));
			assert_int_equal(report.layers, 3);
			assert_int_equal(report.bytes, fixture.summary.bytes - layer.data.size);
			flip(page, bit);
		}
	}
	assert_int_equal(check().problems, 0);
}

/* --- Right checksums, wrong fields -------------------------------------------------------------- */

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
			layers_view_init(&layers, copy, root.offset, 1);
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

/* What cannot be read is a problem like any other, and the check goes on behind it. */
static void unreadable_pages_are_problems(void **state)
{
	struct rgm_layers layers = fixture_view(&fixture);
	struct rgm_check_report report;
	struct rgm_layer layer;
	struct rgm_error error;

	(void)state;
	assert_int_equal(rgm_layers_get(&layers, "a", &layer), 0);
	bad_byte = (uint64_t)((const char *)layer.data.data - (const char *)fixture.base) + 4096;
	report = check();
	bad_byte = 0;
	assert_int_equal(report.problems, 1);
	assert_non_null(strstr(report.first_problem, "layer 'a'"));
	assert_int_equal(report.layers, 3);
	assert_int_equal(report.bytes, 3);
	/* A block of the directory: open fails with it, a check tells it. */
	bad_byte = fixture.root.offset;
	assert_int_equal(open_root(&fixture.root, &error), -EIO);
	report = check();
	bad_byte = 0;
	assert_true(report.problems > 0);
	assert_int_equal(report.layers, 0);
	assert_int_equal(check().problems, 0);
}

/* --- Pages -------------------------------------------------------------------------------------- */

/* Allocate exactly this page: whatever comes before it is freed again. */
static void take_back(uint64_t page)
{
	struct rgm_error error;
	uint64_t other;

	must(pool_region_allocate(fixture.region, 1, &other, &error), &error);
	if (other == page)
		return;
	take_back(page);
	pool_region_free(fixture.region, other, 1);
}

static void pages_are_owned_once(void **state)
{
	struct rgm_check_report report;
	struct dim_blocks known = {0};
	struct rgm_layers layers = fixture_view(&fixture);
	struct rgm_layer layer;
	struct rgm_error error;
	uint64_t leaked;
	uint64_t owned;
	char words[64];

	(void)state;
	must(pool_region_allocate(fixture.region, 3, &leaked, &error), &error);
	report = check();
	assert_int_equal(report.problems, 1);
	snprintf(words, sizeof(words), "pages %llu to %llu: used in the allocation map",
		(unsigned long long)leaked, (unsigned long long)leaked + 2);
	assert_non_null(strstr(report.first_problem, words));
	assert_int_equal(report.pages_used, fixture.summary.pages);

	/* It is all right if somebody knows of them, or if nobody was asked. */
	must(dim_check(fixture.region, &fixture.root, NULL, NULL, NULL, &report, &error), &error);
	assert_int_equal(report.problems, 0);
	assert_int_equal(dim_blocks_add(&known, leaked, 2, 1), 0);
	assert_int_equal(dim_blocks_add(&known, leaked + 2, 1, 1), 0);
	must(dim_check(fixture.region, &fixture.root, &known, NULL, NULL, &report, &error), &error);
	assert_int_equal(report.problems, 0);
	assert_int_equal(report.pages_used, fixture.summary.pages);
	pool_region_free(fixture.region, leaked, 3);
	must(dim_check(fixture.region, &fixture.root, &known, NULL, NULL, &report, &error), &error);
	assert_int_equal(report.problems, 1);
	assert_non_null(strstr(report.first_problem, "free in the allocation map"));

	/* Known and reachable at once. */
	assert_int_equal(rgm_layers_get(&layers, "a", &layer), 0);
	owned = (uint64_t)((const char *)layer.data.data - (const char *)fixture.base) /
	        POOL_PAGE_BYTES;
	known.count = 0;
	assert_int_equal(dim_blocks_add(&known, owned + 1, 1, 1), 0);
	must(dim_check(fixture.region, &fixture.root, &known, NULL, NULL, &report, &error), &error);
	assert_int_equal(report.problems, 1);
	snprintf(words, sizeof(words), "page %llu: reached twice", (unsigned long long)owned + 1);
	assert_string_equal(report.first_problem, words);
	dim_blocks_free(&known);

	/* Reachable and free at once. */
	pool_region_free(fixture.region, owned, 1);
	report = check();
	assert_int_equal(report.problems, 1);
	snprintf(words, sizeof(words), "page %llu: reached, but free", (unsigned long long)owned);
	assert_non_null(strstr(report.first_problem, words));
	take_back(owned);
	assert_int_equal(check().problems, 0);
}

static int count_calls(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
	unsigned *calls = context;

	assert_true(done_bytes <= total_bytes);
	assert_int_equal(total_bytes, fixture.summary.bytes);
	return ++*calls == 3 ? 1 : 0;
}

static void a_check_can_be_cancelled(void **state)
{
	struct rgm_check_report report = {.layers = 77};
	struct rgm_error error;
	unsigned calls = 0;

	(void)state;
	assert_int_equal(dim_check(fixture.region, &fixture.root, NULL, count_calls, &calls,
				 &report, &error),
		-ECANCELED);
	assert_int_equal(calls, 3);
	assert_int_equal(report.layers, 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_flipped_bit_of_the_directory_is_found),
		cmocka_unit_test(every_flipped_bit_of_content_is_found),
		cmocka_unit_test(wrong_fields_are_refused),
		cmocka_unit_test(wrong_roots_are_refused),
		cmocka_unit_test(what_open_accepts_can_be_read),
		cmocka_unit_test(unreadable_pages_are_problems),
		cmocka_unit_test(pages_are_owned_once),
		cmocka_unit_test(a_check_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
