/* SPDX-License-Identifier: Apache-2.0 */
/* pool/region_live.c: what a manager left that was killed while it made the live allocation. */
#define _GNU_SOURCE 1

#include "tests/pool/region_raw.h"

#include "pool/live.h"
#include "pool/os.h"

static char name[64];

static int setup(void **state)
{
	(void)state;
	snprintf(name, sizeof(name), "/regionmgr.test-live-%d.r.42", (int)getpid());
	return make_folder("/dev/shm");
}

static int teardown(void **state)
{
	(void)state;
	os_shm_unlink(name);
	return remove_folder();
}

static int take_over(const char *file, struct pool_region **ret_region, struct rgm_error *error)
{
	struct pool_region_options options = usual;
	bool published = false;
	int rc;

	options.live_name = name;
	rc = pool_region_take_over(folder, file, &options, ret_region, &published, error);
	if (rc == 0)
		assert_true(published);
	return rc;
}

/* The object as it stands after each step of its making: its own words, then memory, then its size. */
static void leave_half_made(bool with_memory)
{
	const struct live_identity identity = {
		.incarnation = "run-1", .dimension_id = ID, .max_pages = usual.max_bytes / PAGE};
	struct live *live = NULL;

	assert_int_equal(live_create(name, &identity, &live), 0);
	if (with_memory)
		assert_int_equal(live_reserve(live, 1024), 0);
	live_close(live);
}

/* The file still says clean then, and is right; it is served, and can be changed. */
static void killed_while_it_was_made(void **state)
{
	(void)state;
	for (int with_memory = 0; with_memory < 2; with_memory++) {
		struct pool_root root = make_clean("half");
		struct pool_region *region = NULL;
		struct rgm_error error = {0};

		leave_half_made(with_memory != 0);
		if (take_over("half", &region, &error) != 0)
			fail_msg("%s", error.message);
		assert_int_equal(pool_region_mark_dirty(region, &error), 0);
		pool_region_free(region, allocate(region, 3), 3);
		check_info(region);
		close_clean(region, &root);
		served_right("half", &root, 0);
		assert_int_equal(unlinkat(folder, "half", 0), 0);
	}
}

/* A file that was changed is not served by an object that knows nothing of it. */
static void not_of_a_changed_file(void **state)
{
	struct pool_region *region = NULL;
	struct rgm_error error = {0};

	(void)state;
	make_dirty("changed");
	leave_half_made(true);
	assert_int_equal(take_over("changed", &region, &error), RGM_EDIRTY);
	assert_non_null(strstr(error.message, "is lost"));
	os_shm_unlink(name);
	assert_int_equal(take_over("changed", &region, &error), RGM_EDIRTY);
	assert_null(region);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_while_it_was_made),
		cmocka_unit_test(not_of_a_changed_file),
	};

	return cmocka_run_group_tests_name("pool/region_live", tests, setup, teardown);
}
