/* SPDX-License-Identifier: Apache-2.0 */
/* label: fuzz
 * dimensions/layers_check.c, check.c: every single bit of a small dimension that is flipped is found,
 * and the allocation map is compared to the last page.
 */
#define _GNU_SOURCE 1

#include <sys/syscall.h>

#include "tests/dimensions/small.h"

/* Every bit, but for builds in which each look takes ten times as long. */
#ifdef FIXTURE_SANITIZED
#define BIT_STEP 11u
#else
#define BIT_STEP 1u
#endif

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

static void flip(uint64_t page, uint64_t bit)
{
	uint64_t offset = page * POOL_PAGE_BYTES + bit / 8;
	struct rgm_error error;
	unsigned char byte;

	must(pool_region_read(fixture.region, offset, &byte, 1, &error), &error);
	byte = (unsigned char)(byte ^ (1u << bit % 8));
	must(pool_region_write(fixture.region, offset, &byte, 1, &error), &error);
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
		for (uint64_t bit = 0; bit < POOL_PAGE_BYTES * 8; bit += BIT_STEP) {
			flip(pages[i], bit);
			assert_int_equal(open_root(&fixture.root, &error), RGM_ECORRUPT);
			assert_int_equal(dim_layers.reach(fixture.region, &fixture.root, &blocks,
						 NULL, &error),
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
			bit += BIT_STEP) {
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

#ifndef POOL_RACE_BUILD
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
#endif

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
	must(dim_check(fixture.region, &fixture.root, &dim_unknown, NULL, NULL, &report, &error),
		&error);
	assert_int_equal(report.problems, 0);
	assert_int_equal(report.pages_used, fixture.summary.pages);
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
#ifndef POOL_RACE_BUILD
		/* There the region is read through a mapping, by no call. */
		cmocka_unit_test(unreadable_pages_are_problems),
#endif
		cmocka_unit_test(pages_are_owned_once),
		cmocka_unit_test(a_check_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, small_setup, small_teardown);
}
