/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dimensions/layers_build.c: builds that fail at each of their allocations, of pages and of memory,
 * change nothing; builds copy the leaves they change and no others.
 */
#define _GNU_SOURCE 1

#include "tests/dimensions/model.h"

/* --- Memory that runs out: this executable's allocator fails at a given call ------------------ */

#ifndef FIXTURE_SANITIZED
#define MEMORY_FAILS 1
#endif

#ifdef MEMORY_FAILS
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static long memory_left = -1; /* calls that still succeed; -1: all */

static bool memory_fails(void)
{
	if (memory_left < 0)
		return false;
	if (memory_left == 0)
		return true;
	memory_left--;
	return false;
}

void *malloc(size_t bytes)
{
	return memory_fails() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
	return memory_fails() ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
	return memory_fails() ? NULL : __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
	return memory_fails() ? NULL : __libc_memalign(alignment, bytes);
}
#endif

/* --- A dimension of some leaves ----------------------------------------------------------------- */

#define LAYERS 2000u

static struct fixture fixture;

static int setup(void **state)
{
	struct layers_change *change;
	struct rgm_error error;
	char name[32];

	(void)state;
	fixture_open(&fixture, 32u << 20);
	must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
	for (unsigned i = 0; i < LAYERS; i++) {
		snprintf(name, sizeof(name), "layer/%06u", i);
		must(layers_change_put(change, name, name, strlen(name), 1, NULL, &error), &error);
	}
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

/* A change that touches several leaves in each way. */
static struct layers_change *some_change(void)
{
	struct layers_change *change;
	struct rgm_error error;
	char name[32];

	must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
	for (unsigned i = 0; i < LAYERS; i += 97) {
		snprintf(name, sizeof(name), "layer/%06u%s", i, i % 2 ? "" : "+");
		must(layers_change_put(change, name, "new", 3, 2, NULL, &error), &error);
		snprintf(name, sizeof(name), "layer/%06u", i + 1);
		must(layers_change_remove(change, name, &error), &error);
	}
	must(layers_change_flush(change, &error), &error);
	return change;
}

static unsigned leaf_count(uint64_t *ret_smallest_bytes)
{
	size_t bytes = (size_t)fixture.root.bytes;
	struct layers_root *root = malloc(bytes);
	struct rgm_error error;
	unsigned count;

	assert_non_null(root);
	must(pool_region_read(fixture.region, fixture.root.offset, root, bytes, &error), &error);
	count = root->leaf_count;
	*ret_smallest_bytes = UINT64_MAX;
	for (unsigned i = 0; i < count; i++) {
		if (layers_refs(root)[i].block_bytes < *ret_smallest_bytes)
			*ret_smallest_bytes = layers_refs(root)[i].block_bytes;
	}
	free(root);
	return count;
}

struct runs {
	uint64_t pages[10000];
	size_t count;
};

/* Take all free pages, one by one. */
static void take_all(struct runs *runs)
{
	uint64_t page;

	runs->count = 0;
	while (pool_region_allocate(fixture.region, 1, &page, NULL) == 0) {
		assert_true(runs->count < sizeof(runs->pages) / sizeof(runs->pages[0]));
		runs->pages[runs->count++] = page;
	}
}

static void give_back(struct runs *runs, size_t keep)
{
	while (runs->count > keep)
		pool_region_free(fixture.region, runs->pages[--runs->count], 1);
}

static void a_build_without_pages_changes_nothing(void **state)
{
	static struct runs taken;
	struct layers_change *change = some_change();
	struct dim_blocks retired = {0};
	struct pool_root root = {.offset = 77};
	struct dim_summary summary = {.layers = 77};
	struct rgm_load_report report = {.version = 77};
	struct rgm_error error;
	size_t failures = 0;
	uint64_t used;
	int rc;

	(void)state;
	assert_int_equal(dim_blocks_add(&retired, 1, 2, 3), 0);
	take_all(&taken);
	for (;; failures++) {
		used = fixture_used(&fixture);
		rc = layers_change_build(change, &fixture.root, fixture.version + 1, &root,
			&summary, &retired, &report, &error);
		if (rc == 0)
			break;
		assert_true(rc == RGM_ELIMIT || rc == -ENOSPC);
		assert_int_equal(error.code, rc);
		assert_int_equal(fixture_used(&fixture), used);
		assert_int_equal(retired.count, 1);
		assert_int_equal(root.offset, 77);
		assert_int_equal(summary.layers, 77);
		assert_int_equal(report.version, 77);
		/* One page more: pages taken last lie together. */
		assert_true(taken.count > 0);
		give_back(&taken, taken.count - 1);
	}
	/* It failed at each of many allocations before it succeeded. */
	assert_true(failures >= 30);
	/* A second build of the same change frees the blocks of the first. */
	used = fixture_used(&fixture);
	retired.count = 1;
	must(layers_change_build(change, &fixture.root, fixture.version + 1, &root, NULL, &retired,
		     NULL, &error),
		&error);
	assert_int_equal(fixture_used(&fixture), used);
	layers_change_abort(change);
	give_back(&taken, 0);
	dim_blocks_free(&retired);
	assert_int_equal(fixture_used(&fixture), fixture.summary.pages);
	fixture_verify(&fixture);
}

#ifdef MEMORY_FAILS
/* Each allocation of a whole change fails once. */
static int change_with(long memory, struct rgm_error *error)
{
	static unsigned char bytes[100000];
	struct layers_change *change = NULL;
	struct pool_root root;
	struct dim_blocks retired = {0};
	char name[32];
	int rc;

	memory_left = memory;
	rc = layers_change_begin(fixture.region, 0, false, &change, error);
	for (unsigned i = 0; rc == 0 && i < 100; i += 7) {
		snprintf(name, sizeof(name), "layer/%06u", i);
		rc = layers_change_put(change, name, bytes, i * 100, 1, "text/plain", error);
	}
	if (rc == 0)
		rc = layers_change_stream_begin(change, "stream", 1, NULL, error);
	if (rc == 0)
		rc = layers_change_stream_append(change, bytes, sizeof(bytes), error);
	if (rc == 0)
		rc = layers_change_stream_end(change, error);
	if (rc == 0)
		rc = layers_change_remove(change, "layer/000999", error);
	if (rc == 0)
		rc = layers_change_build(change, &fixture.root, fixture.version + 1, &root, NULL,
			&retired, NULL, error);
	memory_left = -1;
	if (rc < 0)
		assert_int_equal(retired.count, 0);
	dim_blocks_free(&retired);
	layers_change_abort(change);
	return rc;
}

static void a_change_without_memory_changes_nothing(void **state)
{
	struct dim_summary summary;
	struct rgm_error error;
	long calls = 0;
	int rc;

	(void)state;
	while ((rc = change_with(calls, &error)) != 0) {
		assert_int_equal(rc, -ENOMEM);
		assert_non_null(strstr(error.message, "memory"));
		assert_int_equal(fixture_used(&fixture), fixture.summary.pages);
		calls++;
	}
	assert_true(calls > 50);
	assert_int_equal(fixture_used(&fixture), fixture.summary.pages);
	/* Reading back is no different. */
	for (calls = 0;; calls++) {
		memory_left = calls;
		rc = dim_layers.open(fixture.region, &fixture.root, &summary, &error);
		memory_left = -1;
		if (rc == 0)
			break;
		assert_int_equal(rc, -ENOMEM);
	}
	assert_true(calls >= 2);
	for (calls = 0;; calls++) {
		struct rgm_check_report report;

		memory_left = calls;
		rc = dim_check(fixture.region, &fixture.root, &fixture.retired, NULL, NULL, &report,
			&error);
		memory_left = -1;
		if (rc == 0)
			break;
		assert_int_equal(rc, -ENOMEM);
	}
	assert_true(calls > 5);
	fixture_verify(&fixture);
}

/* An append that fails leaves the stream as it was: here empty, with a run already. */
static void a_stream_without_memory_stays_empty(void **state)
{
	struct layers_change *change;
	struct rgm_error error;
	long calls = 0;
	int rc;

	(void)state;
	do {
		must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
		must(layers_change_stream_begin(change, "layer/000000", 1, NULL, &error), &error);
		memory_left = calls++;
		rc = layers_change_stream_append(change, "x", 1, &error);
		memory_left = -1;
		assert_true(rc == 0 || rc == -ENOMEM);
		must(layers_change_stream_end(change, &error), &error);
		must(fixture_commit(&fixture, change, NULL, &error), &error);
		fixture_verify(&fixture);
		fixture_reclaim(&fixture, 0);
	} while (rc != 0);
	assert_true(calls > 1);
}
#endif

/* One layer changed: one leaf and the root are copied, whatever the size of the directory. */
static void only_what_changes_is_copied(void **state)
{
	struct rgm_error error;
	struct layers_change *change;
	uint64_t smallest;
	unsigned leaves = leaf_count(&smallest);

	(void)state;
	assert_true(leaves > 8);
	for (unsigned i = 0; i < LAYERS; i += 111) {
		char name[32];

		snprintf(name, sizeof(name), "layer/%06u", i);
		fixture_put(&fixture, name, name, strlen(name));
		/* Old content, leaf, root. */
		assert_int_equal(fixture.retired.count, 3);
		fixture_verify(&fixture);
		fixture_reclaim(&fixture, 0);
	}
	assert_int_equal(leaf_count(&smallest), leaves);
	/* Before all others, and behind them. */
	fixture_put(&fixture, "a", "a", 1);
	assert_int_equal(fixture.retired.count, 2);
	fixture_put(&fixture, "z", "z", 1);
	assert_int_equal(fixture.retired.count, 4);
	fixture_verify(&fixture);
	must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
	must(layers_change_remove(change, "a", &error), &error);
	must(layers_change_remove(change, "z", &error), &error);
	must(fixture_commit(&fixture, change, NULL, &error), &error);
	fixture_verify(&fixture);
	fixture_reclaim(&fixture, 0);
}

/* A leaf that becomes tiny shares with a neighbour: the next one, or the one before when it is last. */
static void tiny_leaves_are_merged(void **state)
{
	struct layers_change *change;
	uint64_t smallest;
	struct rgm_error error;
	char name[32];
	unsigned leaves = leaf_count(&smallest);
	unsigned removed = 0;

	(void)state;
	for (unsigned step = 0; step < 10; step++) {
		/* From the start and from the end in turn, more than half a leaf each time. */
		unsigned first = step % 2 ? LAYERS - (step / 2 + 1) * 170 : 1 + step / 2 * 170;

		must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
		for (unsigned i = first; i < first + 169; i++, removed++) {
			snprintf(name, sizeof(name), "layer/%06u", i);
			must(layers_change_remove(change, name, &error), &error);
		}
		must(fixture_commit(&fixture, change, NULL, &error), &error);
		assert_true(leaf_count(&smallest) <= leaves);
		leaves = leaf_count(&smallest);
		assert_true(smallest >= LAYERS_LEAF_BYTES / 4);
		fixture_verify(&fixture);
		fixture_reclaim(&fixture, 0);
	}
	assert_true(leaves <= 3);
	assert_int_equal(fixture.summary.layers, LAYERS - removed);
}

static void a_removal_of_nothing_is_told(void **state)
{
	struct layers_change *change;
	struct rgm_error error;
	struct dim_blocks retired = {0};
	struct pool_root root;

	(void)state;
	for (int replace = 0; replace < 2; replace++) {
		must(layers_change_begin(fixture.region, 0, replace, &change, &error), &error);
		must(layers_change_put(change, "other", "", 0, 1, NULL, &error), &error);
		must(layers_change_remove(change, "layer/000000x", &error), &error);
		assert_int_equal(layers_change_build(change, &fixture.root, fixture.version + 1,
					 &root, NULL, &retired, NULL, &error),
			RGM_ENOLAYER);
		assert_string_equal(error.message, "there is no layer 'layer/000000x' to remove");
		assert_int_equal(retired.count, 0);
		layers_change_abort(change);
	}
	/* But what the change itself had put may be removed again. */
	must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
	must(layers_change_put(change, "brief", "x", 1, 1, NULL, &error), &error);
	must(layers_change_remove(change, "brief", &error), &error);
	must(fixture_commit(&fixture, change, NULL, &error), &error);
	dim_blocks_free(&retired);
	fixture_verify(&fixture);
	fixture_reclaim(&fixture, 0);
}

/* With replace everything old is retired, and counted. */
static void replace_retires_all(void **state)
{
	struct rgm_load_report report;
	struct layers_change *change;
	struct rgm_error error;
	uint64_t layers = fixture.summary.layers;
	uint64_t pages = fixture.summary.pages;
	uint64_t retired = 0;

	(void)state;
	must(layers_change_begin(fixture.region, 3, true, &change, &error), &error);
	must(layers_change_put(change, "layer/001000", "new", 3, 1, NULL, &error), &error);
	must(layers_change_put(change, "new", "", 0, 1, NULL, &error), &error);
	must(fixture_commit(&fixture, change, &report, &error), &error);
	assert_int_equal(report.layers_put, 2);
	assert_int_equal(report.layers_removed, layers - 1);
	assert_int_equal(report.bytes, 3);
	for (size_t i = 0; i < fixture.retired.count; i++)
		retired += fixture.retired.items[i].count;
	assert_int_equal(retired, pages);
	assert_int_equal(fixture.summary.layers, 2);
	assert_int_equal(fixture.summary.pages, 3);
	fixture_verify(&fixture);
	fixture_reclaim(&fixture, 0);
	assert_int_equal(fixture_used(&fixture), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_build_without_pages_changes_nothing),
#ifdef MEMORY_FAILS
		cmocka_unit_test(a_change_without_memory_changes_nothing),
		cmocka_unit_test(a_stream_without_memory_stays_empty),
#endif
		cmocka_unit_test(only_what_changes_is_copied),
		cmocka_unit_test(tiny_leaves_are_merged),
		cmocka_unit_test(a_removal_of_nothing_is_told),
		cmocka_unit_test(replace_retires_all),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
