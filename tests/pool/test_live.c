/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool/live.c, region_live.c and pool_region_take_over(): what a manager that died leaves of a region, and
 * what the next one makes of it. A death is a close that saves nothing.
 */
#define _GNU_SOURCE 1

#include "tests/pool/region_fixture.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "pool/bitmap.h"
#include "pool/live.h"
#include "pool/os.h"
#include "tests/pool/seed.h"

static char name[64];
static struct pool_region_options kept;

static int setup(void **state)
{
	(void)state;
	snprintf(name, sizeof(name), "/regionmgr-test-live.%d", (int)getpid());
	kept = usual;
	kept.live_name = name;
	return make_folder("/tmp");
}

static int teardown(void **state)
{
	(void)state;
	os_shm_unlink(name);
	return remove_folder();
}

static struct live_identity identity(void)
{
	struct live_identity right = {.dimension_id = ID, .max_pages = 256 * MB / PAGE};

	memcpy(right.incarnation, run_1, sizeof(right.incarnation));
	return right;
}

/* --- the object ------------------------------------------------------------------------------- */

static void opened_as_it_was_left(void **state)
{
	const struct live_identity right = identity();
	struct live *live = NULL, *again = NULL;

	(void)state;
	assert_int_equal(live_open(name, &right, &live), -ENOENT);
	assert_int_equal(live_create(name, &right, &live), 0);
	/* Not before it has pages. */
	assert_int_equal(live_open(name, &right, &again), -ESTALE);
	assert_int_equal(live_reserve(live, 100000 / 8), 0);
	bitmap_set(live_bits(live), 3, 90);
	live_set_map(live, 700, 3);
	live_set_pages(live, 12500);
	live_close(live);
	live_close(NULL);
	assert_int_equal(live_open(name, &right, &again), 0);
	assert_int_equal(again->pages, 12500);
	assert_int_equal(again->map_page, 700);
	assert_int_equal(again->map_count, 3);
	assert_int_equal(bitmap_find(live_bits(again), 0, 12500, true), 3);
	assert_int_equal(bitmap_find(live_bits(again), 3, 12500, false), 90);
	live_close(again);
	/* A second one takes its place: nothing is set. */
	assert_int_equal(live_create(name, &right, &live), 0);
	assert_int_equal(live->pages, 0);
	assert_int_equal(bitmap_find(live_bits(live), 0, 12500, true), 12500);
	live_close(live);
}

static void another_is_stale(void **state)
{
	const struct live_identity right = identity();
	struct live_identity wrong;
	struct live *live = NULL;
	void *base = NULL;
	int file;

	(void)state;
	assert_int_equal(live_create(name, &right, &live), 0);
	live_set_pages(live, 512);
	live_close(live);
	for (int what = 0; what < 3; what++) {
		wrong = right;
		if (what == 0)
			wrong.dimension_id++;
		else if (what == 1)
			wrong.max_pages += 512; /* the same size of the object */
		else
			wrong.incarnation[15]++;
		assert_int_equal(live_open(name, &wrong, &live), -ESTALE);
	}
	assert_int_equal(os_shm_open(name, true, &file), 0);
	assert_int_equal(os_map(file, 4096, true, &base), 0);
	for (int what = 0; what < 4; what++) {
		struct live *damaged = base;
		const struct live before = *damaged;

		if (what == 0)
			damaged->magic++;
		else if (what == 1)
			damaged->version++; /* of another build */
		else if (what == 2)
			damaged->pages = right.max_pages + 1;
		else
			damaged->pages = 0;
		assert_int_equal(live_open(name, &right, &live), -ESTALE);
		*damaged = before;
	}
	assert_int_equal(live_open(name, &right, &live), 0);
	live_close(live);
	assert_int_equal(ftruncate(file, 4096), 0);
	assert_int_equal(live_open(name, &right, &live), -ESTALE);
	assert_int_equal(ftruncate(file, 64 * MB), 0);
	assert_int_equal(live_open(name, &right, &live), -ESTALE);
	assert_int_equal(fchmod(file, 0644), 0);
	assert_int_equal(live_open(name, &right, &live), -EPERM);
	os_unmap(base, 4096);
	close(file);
}

static void populated_memory_is_there(void **state)
{
	unsigned char in_memory[16];
	void *base = NULL;
	int file;

	(void)state;
	assert_int_equal(os_shm_create(name, 16 * PAGE, 0, &file), 0);
	assert_int_equal(os_map(file, 16 * PAGE, true, &base), 0);
	/* Whatever part of a page is asked for. */
	assert_int_equal(os_populate((char *)base + 2 * PAGE + 100, 3 * PAGE), 0);
	assert_int_equal(mincore(base, 16 * PAGE, in_memory), 0);
	for (int page = 0; page < 16; page++)
		assert_int_equal(in_memory[page] & 1, page >= 2 && page <= 5);
	assert_int_equal(os_populate(base, 16 * PAGE), 0);
	/* Behind the end nothing is. */
	assert_int_equal(ftruncate(file, 8 * PAGE), 0);
	assert_int_equal(os_populate(base, 16 * PAGE), -ENOSPC);
	assert_int_not_equal(os_populate((void *)8, PAGE), 0);
	os_unmap(base, 16 * PAGE);
	close(file);
}

/* In a process with a /dev/shm of its own. 0: all was right; 77: no mounts here. */
static int with_little_memory(void)
{
	struct live_identity right = identity();
	struct live *live = NULL;

	right.max_pages = 1ull << 30; /* 128 MiB of bits */
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		mount("none", "/dev/shm", "tmpfs", 0, "size=256k") != 0)
		return 77;
	if (live_create(name, &right, &live) != 0)
		return 1;
	if (live_reserve(live, 32768ull * 8) != 0 || live_reserve(live, 1ull << 29) != -ENOSPC)
		return 2;
	/* What there was is there. */
	bitmap_set(live_bits(live), 0, 32768ull * 8);
	live_set_pages(live, 32768ull * 8);
	live_close(live);
	if (live_open(name, &right, &live) != 0)
		return 3;
	live_close(live);
	os_shm_unlink(name);
	/* A region that finds no room: the change fails, with nothing written; with room it succeeds. */
	kept.max_bytes = 4096 * 16 * MB;
	struct pool_region *region = NULL;
	struct rgm_error error;
	int filler = -1, rc;
	if (pool_region_create(folder, "little", &kept, &region, &error) != 0 ||
		os_shm_create("/filler", 252 << 10, 252 << 10, &filler) != 0)
		return 4;
	rc = pool_region_mark_dirty(region, &error);
	if (rc != -ENOSPC || strstr(error.message, name) == NULL)
		return 5;
	close(filler);
	os_shm_unlink("/filler");
	if (pool_region_mark_dirty(region, &error) != 0)
		return 6;
	pool_region_close(region);
	return 0;
}

static void little_memory(void **state)
{
	int status = -1;
	pid_t pid;

	(void)state;
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(with_little_memory());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("SKIP test_pool_live/little_memory: needs root and mounts\n");
		skip();
	}
	assert_int_equal(status, 0);
}

/* --- regions ----------------------------------------------------------------------------------- */

static struct pool_region *create_kept(const char *file)
{
	struct pool_region *region = NULL;
	struct rgm_error error;

	if (pool_region_create(folder, file, &kept, &region, &error) != 0)
		fail_msg("%s", error.message);
	return region;
}

static struct pool_region *take_over(const char *file, bool expect_published)
{
	struct pool_region *region = NULL;
	struct rgm_error error;
	bool published = !expect_published;

	if (pool_region_take_over(folder, file, &kept, &region, &published, &error) != 0)
		fail_msg("%s", error.message);
	assert_int_equal(published, expect_published);
	return region;
}

static void not_taken_over(const char *file, int code, const char *words)
{
	struct pool_region *region = NULL;
	struct rgm_error error;
	bool published = true;
	int rc = pool_region_take_over(folder, file, &kept, &region, &published, &error);

	if (rc != code || strstr(error.message, words) == NULL)
		fail_msg("%s: %d instead of %d: %s", file, rc, code, error.message);
	assert_null(region);
	assert_true(published);
}

/* Header of the live allocation, to damage. */
static struct live *look_into(size_t bytes)
{
	void *base = NULL;
	int file;

	assert_int_equal(os_shm_open(name, true, &file), 0);
	assert_int_equal(os_map(file, bytes, true, &base), 0);
	close(file);
	return base;
}

/* Content in a region, and a death. */
static uint64_t leave_dirty(const char *file, uint64_t count)
{
	struct pool_region *region = create_kept(file);
	uint64_t page = allocate(region, count);

	write_pages(region, page, count, 5);
	pool_region_close(region);
	return page;
}

static void dirty_with_live(void **state)
{
	uint64_t page = leave_dirty("d", 700), other;
	struct pool_region_info before, info;
	struct pool_root root;
	struct pool_region *region;

	(void)state;
	refused("d", &kept, RGM_EDIRTY, "not closed cleanly");
	for (int death = 0; death < 5; death++) {
		region = take_over("d", death > 0);
		before = check_info(region);
		assert_int_equal(before.used_pages, 700 + 10 * death);
		assert_true(before.own_pages > 0);
		expect_pages(region, page, 700, 5);
		other = allocate(region, 10);
		assert_true(other >= page + 700 || other + 10 <= page);
		write_pages(region, other, 10, 6);
		pool_region_published(region);
		pool_region_close(region);
	}
	region = take_over("d", true);
	root = make_root(region, 9);
	info = check_info(region);
	assert_int_equal(info.used_pages, 751);
	close_clean(region, &root);
	os_shm_unlink(name);
	region = reopen("d");
	info = check_info(region);
	assert_int_equal(info.used_pages, 751);
	expect_pages(region, page, 700, 5);
	pool_region_close(region);
}

static void clean_without_live(void **state)
{
	struct pool_region *region = create_kept("c");
	struct pool_root root = make_root(region, 4);
	struct pool_region_info info;

	(void)state;
	close_clean(region, &root);
	os_shm_unlink(name);
	region = take_over("c", true);
	info = check_info(region);
	assert_false(info.dirty);
	assert_int_equal(info.used_pages, 1);
	expect_root(&info.root, &root);
	/* The first change makes both. */
	allocate(region, 3);
	write_pages(region, allocate(region, 1), 1, 3);
	pool_region_close(region);
	region = take_over("c", true);
	assert_int_equal(check_info(region).used_pages, 5);
	pool_region_close(region);
}

/* Dead in a clean stop: the file says clean, with blocks freed that readers may see; the live one, which
 * counts, has them. */
static void clean_with_live(void **state)
{
	struct pool_region *region = create_kept("s");
	uint64_t seen = allocate(region, 50), other;
	struct pool_root root = make_root(region, 4);

	(void)state;
	pool_region_published(region);
	pool_region_leave_live(region);
	pool_region_free(region, seen, 50);
	close_clean(region, &root);
	region = take_over("s", true);
	assert_int_equal(check_info(region).used_pages, 51);
	for (int i = 0; i < 20; i++) {
		other = allocate(region, 30);
		assert_true(other >= seen + 50 || other + 30 <= seen);
	}
	/* And the next clean end has them. */
	close_clean(region, &root);
	os_shm_unlink(name);
	region = reopen("s");
	assert_int_equal(check_info(region).used_pages, 51 + 600);
	pool_region_close(region);
}

static void dirty_without_live(void **state)
{
	struct live *live;

	(void)state;
	leave_dirty("x", 5);
	live = look_into(4096);
	live->incarnation[0]++;
	not_taken_over("x", RGM_EDIRTY, "is lost");
	live->incarnation[0]--;
	live->version++;
	not_taken_over("x", RGM_EDIRTY, "is lost");
	os_unmap(live, 4096);
	os_shm_unlink(name);
	not_taken_over("x", RGM_EDIRTY, "is lost");
	kept.live_name = NULL;
	not_taken_over("x", RGM_EDIRTY, "is lost");
}

/* A manager of another time, or of another dimension, left it. */
static void of_another(void **state)
{
	struct pool_region *region;

	(void)state;
	leave_dirty("y", 5);
	kept.incarnation = run_2;
	not_taken_over("y", RGM_EDIRTY, "not closed cleanly");
	kept.incarnation = run_1;
	kept.id++;
	not_taken_over("y", RGM_ECORRUPT, "is of dimension");
	kept.id--;
	kept.instance_id = instance_b;
	not_taken_over("y", RGM_ECORRUPT, "another instance");
	kept.instance_id = instance_a;
	region = take_over("y", false);
	/* While somebody serves it nobody else does. */
	not_taken_over("y", RGM_EINUSE, "another manager");
	pool_region_close(region);
}

static void poisoned(void **state)
{
	struct live *live;

	(void)state;
	leave_dirty("p", 5);
	live = look_into(4096);
	live->poisoned = 1;
	not_taken_over("p", RGM_EDIRTY, "a sync that failed");
	live->poisoned = 0;
	os_unmap(live, 4096);
	pool_region_close(take_over("p", false));
}

/* Dead in a growth: the file is longer than the live allocation knows. And the reverse, which no death
 * leaves. */
static void growth_not_recorded(void **state)
{
	struct pool_region_info before, info;
	struct pool_region *region;
	int file;

	(void)state;
	leave_dirty("g", 5);
	region = take_over("g", false);
	pool_region_info(region, &before);
	pool_region_close(region);
	assert_int_equal(truncate(path_of("g"), (off_t)(before.bytes + 6 * MB)), 0);
	region = take_over("g", false);
	info = check_info(region);
	assert_int_equal(info.bytes, before.bytes);
	write_pages(region, allocate(region, 1000), 1000, 8);
	assert_true(check_info(region).bytes > before.bytes);
	pool_region_close(region);
	file = open(path_of("g"), O_RDWR | O_CLOEXEC);
	assert_true(file >= 0);
	assert_int_equal(ftruncate(file, (off_t)(before.bytes - 2 * MB)), 0);
	close(file);
	not_taken_over("g", RGM_ECORRUPT, "truncated");
}

/* Dead while the map's pages moved: nobody's, they are found as used, and others are set aside. */
static void map_pages_lost(void **state)
{
	struct pool_region_info before, info;
	struct pool_region *region;
	struct live *live;

	(void)state;
	leave_dirty("m", 5);
	region = take_over("m", false);
	before = check_info(region);
	pool_region_close(region);
	live = look_into(4096);
	live->map_count = 0;
	region = take_over("m", false);
	info = check_info(region);
	assert_int_equal(info.own_pages, before.own_pages);
	assert_int_equal(info.used_pages, before.used_pages + before.own_pages);
	assert_int_equal(live->map_count, before.own_pages);
	pool_region_close(region);
	/* Pages that are free cannot be those of the map. */
	live->map_page = info.bytes / PAGE - 1;
	not_taken_over("m", RGM_ECORRUPT, "does not fit");
	live->map_page = UINT64_MAX;
	not_taken_over("m", RGM_ECORRUPT, "does not fit");
	live->map_count = UINT64_MAX;
	not_taken_over("m", RGM_ECORRUPT, "does not fit");
	os_unmap(live, 4096);
}

/* Dead before the dirty mark: the live allocation is half made, and the file says everything. */
static void half_made(void **state)
{
	struct pool_region *region = create_kept("h");
	struct pool_root root = make_root(region, 4);
	struct live *live = NULL;
	const struct live_identity right = identity();

	(void)state;
	close_clean(region, &root);
	assert_int_equal(live_create(name, &right, &live), 0);
	bitmap_set(live_bits(live), 0, 512);
	live_close(live);
	region = take_over("h", true);
	assert_int_equal(check_info(region).used_pages, 1);
	write_pages(region, allocate(region, 1), 1, 3);
	pool_region_close(region);
	region = take_over("h", true);
	assert_int_equal(check_info(region).used_pages, 2);
	pool_region_close(region);
}

/* Words of another's making, in the header and among the bits: refused, or good to go on with. */
static void any_damage(void **state)
{
	static char copy[3 * PAGE];
	uint64_t random = seed_get("pool/live");
	unsigned int taken = 0;
	char *base;

	(void)state;
	leave_dirty("f", 700);
	base = (char *)look_into(sizeof(copy));
	memcpy(copy, base, sizeof(copy));
	for (int round = 0; round < 1000; round++) {
		struct pool_region *region = NULL;
		struct rgm_error error = {0};
		bool published;

		memcpy(base, copy, sizeof(copy));
		for (uint64_t words = 1 + seed_below(&random, 3); words > 0; words--) {
			uint64_t word = seed_next(&random) >> seed_below(&random, 64);
			size_t at = seed_below(&random, 3) != 0 ? PAGE + seed_below(&random, 300)
			                                        : seed_below(&random, 80);
			memcpy(base + at / 8 * 8, &word, sizeof(word));
		}
		if (pool_region_take_over(folder, "f", &kept, &region, &published, &error) != 0) {
			assert_true(strlen(error.message) > 10);
			continue;
		}
		taken++;
		for (int step = 0; step < 10; step++) {
			uint64_t count = 1 + seed_below(&random, 900);
			uint64_t page = allocate(region, count);

			check_info(region);
			if (step % 3 != 0)
				pool_region_free(region, page, count);
		}
		pool_region_close(region);
	}
	assert_in_range(taken, 100, 990);
	os_unmap(base, sizeof(copy));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(opened_as_it_was_left, setup, teardown),
		cmocka_unit_test_setup_teardown(another_is_stale, setup, teardown),
		cmocka_unit_test_setup_teardown(populated_memory_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(little_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(dirty_with_live, setup, teardown),
		cmocka_unit_test_setup_teardown(clean_without_live, setup, teardown),
		cmocka_unit_test_setup_teardown(clean_with_live, setup, teardown),
		cmocka_unit_test_setup_teardown(dirty_without_live, setup, teardown),
		cmocka_unit_test_setup_teardown(of_another, setup, teardown),
		cmocka_unit_test_setup_teardown(poisoned, setup, teardown),
		cmocka_unit_test_setup_teardown(growth_not_recorded, setup, teardown),
		cmocka_unit_test_setup_teardown(map_pages_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(half_made, setup, teardown),
		cmocka_unit_test_setup_teardown(any_damage, setup, teardown),
	};

	return cmocka_run_group_tests_name("pool/live", tests, NULL, NULL);
}
