/* SPDX-License-Identifier: Apache-2.0 */
/* A dimension of three layers, small enough for each of its bits to be tried. For one file of an
 * executable. */
#ifndef TESTS_DIMENSIONS_SMALL_H
#define TESTS_DIMENSIONS_SMALL_H

#include "tests/dimensions/fixture.h"

static struct fixture fixture;

static inline int small_setup(void **state)
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

static inline int small_teardown(void **state)
{
	(void)state;
	fixture_close(&fixture);
	return 0;
}

static inline void read_pages(uint64_t page, void *pages, uint64_t count)
{
	struct rgm_error error;

	must(pool_region_read(fixture.region, page * POOL_PAGE_BYTES, pages,
		     (size_t)(count * POOL_PAGE_BYTES), &error),
		&error);
}

static inline void write_pages(uint64_t page, const void *pages, uint64_t count)
{
	struct rgm_error error;

	must(pool_region_write(fixture.region, page * POOL_PAGE_BYTES, pages,
		     (size_t)(count * POOL_PAGE_BYTES), &error),
		&error);
}

static inline struct rgm_check_report check(void)
{
	struct rgm_check_report report;
	struct rgm_error error;

	must(dim_check(fixture.region, &fixture.root, NULL, NULL, NULL, &report, &error), &error);
	return report;
}

static inline int open_root(const struct pool_root *root, struct rgm_error *error)
{
	struct dim_summary summary;

	return dim_layers.open(fixture.region, root, &summary, error);
}

#endif
