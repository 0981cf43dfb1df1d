/* SPDX-License-Identifier: Apache-2.0 */
/* pool/region*.c: a region's life, its pages, and who may open it. */
#define _GNU_SOURCE 1

#include "tests/pool/region_fixture.h"

#include <pthread.h>
#include <stdbool.h>

#include "pool/os.h"
#include "tests/pool/seed.h"

static uint64_t random_state;

static int setup(void **state)
{
	(void)state;
	return make_folder("/tmp");
}

static int teardown(void **state)
{
	(void)state;
	return remove_folder();
}

static void created_clean_and_empty(void **state)
{
	struct pool_region_info info;
	struct pool_region *region = create("empty");
	const struct pool_root none = {0};
	struct pool_root root;
	struct stat st;

	(void)state;
	info = check_info(region);
	assert_int_equal(info.id, ID);
	assert_int_equal(info.kind, KIND);
	assert_false(info.dirty);
	assert_int_equal(info.bytes, 2 * MB);
	assert_int_equal(info.pages, 0);
	assert_int_equal(info.max_bytes, 256 * MB);
	assert_int_equal(info.root.offset, 0);
	assert_int_equal(fstat(pool_region_file(region), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	pool_region_close(region);

	/* Never written: clean however it was closed. */
	region = reopen("empty");
	close_clean(region, &none);
	region = reopen("empty");
	root = make_root(region, 3);
	close_clean(region, &root);
	region = reopen("empty");
	info = check_info(region);
	expect_root(&info.root, &root);
	close_clean(region, &info.root);
}

static void creation_is_exclusive(void **state)
{
	struct pool_region *region = create("exclusive"), *other = NULL;
	struct rgm_error error;

	(void)state;
	assert_int_equal(pool_region_create(folder, "exclusive", &usual, &other, &error), -EEXIST);
	assert_string_equal(error.message, "creating region file 'exclusive': File exists");
	assert_null(other);
	pool_region_close(region);
	region = reopen("exclusive");
	pool_region_close(region);
	pool_region_close(NULL);
}

static void bad_names_and_sizes(void **state)
{
	static const char *const names[] = {"", ".", "..", "a/b", "/tmp/x", "../x"};
	static const struct {
		uint64_t max_bytes;
		int code;
	} sizes[] = {
		{0, -EINVAL},
		{1, -EINVAL},
		{2 * MB, -EINVAL},
		{4 * MB + 4096, -EINVAL},
		{POOL_MAX_REGION_BYTES + 2 * MB, RGM_ELIMIT},
		{1ull << 63, RGM_ELIMIT},
		{(1ull << 63) - 2 * MB, RGM_ELIMIT},
		{UINT64_MAX, RGM_ELIMIT},
		{UINT64_MAX - 2 * MB + 1, RGM_ELIMIT},
	};
	struct pool_region *region = NULL;
	struct rgm_error error;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(
			pool_region_create(folder, names[i], &usual, &region, &error), -EINVAL);
		assert_int_equal(
			pool_region_open(folder, names[i], &usual, &region, &error), -EINVAL);
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct pool_region_options options = usual;

		options.max_bytes = sizes[i].max_bytes;
		assert_int_equal(pool_region_create(folder, "sized", &options, &region, &error),
			sizes[i].code);
		assert_int_equal(faccessat(folder, "sized", F_OK, 0), -1);
	}
	assert_null(region);
	refused("missing", &usual, -ENOENT, "No such file");
}

/* Many lives with random changes; everything that lives is read again after each. */
#define BLOCKS 200

struct block {
	uint64_t page, count, salt;
};

static void change(struct pool_region *region, struct block *block, uint64_t salt)
{
	struct rgm_error error = {0};

	if (block->count > 0 && seed_below(&random_state, 2) == 0) {
		pool_region_free(region, block->page, block->count);
		block->count = 0;
	} else if (block->count > 1 && seed_below(&random_state, 3) == 0) {
		/* Give back a part, keep the beginning. */
		uint64_t keep = 1 + seed_below(&random_state, block->count - 1);

		pool_region_free(region, block->page + keep, block->count - keep);
		block->count = keep;
	} else if (block->count > 0) {
		uint64_t count = block->count + seed_below(&random_state, 40);
		int rc = pool_region_extend(region, block->page, block->count, count, &error);

		assert_true(rc == 0 || rc == -ENOSPC || rc == RGM_ELIMIT);
		if (rc == 0) {
			write_pages(region, block->page, count, block->salt);
			block->count = count;
		}
	} else {
		uint64_t count = 1 + seed_below(&random_state, 60);

		block->page = allocate(region, count);
		block->count = count;
		block->salt = salt;
		write_pages(region, block->page, count, salt);
	}
}

static void lives_keep_everything(void **state)
{
	static struct block blocks[BLOCKS];
	struct pool_region *region = create("lives");
	struct pool_region_info info;
	struct pool_root root = {0};
	uint64_t salt = 1;

	(void)state;
	for (int life = 0; life < 12; life++) {
		uint64_t used = 0;

		info = check_info(region);
		expect_root(&info.root, &root);
		assert_false(info.dirty);
		if (root.offset != 0) {
			expect_pages(region, root.offset / PAGE, 1, root.version);
			pool_region_free(region, root.offset / PAGE, 1);
		}
		for (int i = 0; i < BLOCKS; i++)
			expect_pages(region, blocks[i].page, blocks[i].count, blocks[i].salt);
		for (int step = 0; step < 150; step++)
			change(region, &blocks[seed_below(&random_state, BLOCKS)], salt++);
		root = make_root(region, (uint64_t)life + 1);
		for (int i = 0; i < BLOCKS; i++)
			used += blocks[i].count;
		info = check_info(region);
		assert_int_equal(info.used_pages, used + 1);
		assert_true(info.dirty);
		close_clean(region, &root);
		region = reopen("lives");
	}
	pool_region_close(region);
}

static void dirty_is_refused(void **state)
{
	struct pool_region *region = create("dirty");
	struct pool_region_info info;
	struct rgm_error error;
	struct pool_root root = make_root(region, 1);
	uint64_t cursor = 0, page, count;

	(void)state;
	pool_region_close(region);
	refused("dirty", &usual, RGM_EDIRTY, "was not closed cleanly");
	/* A refusal writes nothing: it stays so. */
	refused("dirty", &usual, RGM_EDIRTY, "no recovery");
	/* A check can look at it. */
	assert_int_equal(pool_region_open_check(path_of("dirty"), &region, &error), 0);
	pool_region_info(region, &info);
	assert_true(info.dirty);
	assert_int_equal(info.root.offset, 0);
	assert_int_equal(info.used_pages + info.free_pages + info.own_pages, 0);
	assert_false(pool_region_next_used(region, &cursor, &page, &count));
	assert_int_equal(pool_region_mark_dirty(region, &error), -EROFS);
	/* Cleaning it by closing is not possible. */
	assert_int_equal(pool_region_close_clean(region, &root, &error), 0);
	refused("dirty", &usual, RGM_EDIRTY, "was not closed cleanly");
}

/* The mark alone makes it dirty; taking and freeing pages in memory does not touch the file. */
static void when_it_becomes_dirty(void **state)
{
	struct pool_region *region = create("mark");
	struct pool_region_info info;
	struct pool_root root = make_root(region, 1);
	struct rgm_error error;
	uint64_t page;

	(void)state;
	close_clean(region, &root);
	region = reopen("mark");
	page = allocate(region, 5);
	pool_region_free(region, page, 2);
	info = check_info(region);
	assert_false(info.dirty);
	pool_region_close(region);
	region = reopen("mark");
	info = check_info(region);
	assert_int_equal(info.used_pages, 1);
	/* … but a clean close keeps it. */
	allocate(region, 5);
	close_clean(region, &root);
	region = reopen("mark");
	info = check_info(region);
	assert_int_equal(info.used_pages, 6);
	assert_int_equal(pool_region_mark_dirty(region, &error), 0);
	assert_int_equal(pool_region_mark_dirty(region, &error), 0);
	info = check_info(region);
	assert_true(info.dirty);
	pool_region_close(region);
	refused("mark", &usual, RGM_EDIRTY, "was not closed cleanly");
}

static void roots_must_lie_on_used_pages(void **state)
{
	struct rgm_error error;
	static const struct pool_root wrong[] = {
		{.offset = 4096, .bytes = 4096},
		{.offset = 2 * MB, .bytes = 0},
		{.offset = 2 * MB, .bytes = 3 * 4096},
		{.offset = 2 * MB, .bytes = UINT64_MAX},
		{.offset = UINT64_MAX, .bytes = 2},
		{.offset = 1ull << 40, .bytes = 1},
		{.offset = 0, .bytes = 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct pool_region *region = create("root");

		allocate(region, 2);
		assert_int_equal(pool_region_close_clean(region, &wrong[i], &error), -EINVAL);
		assert_non_null(strstr(error.message, "root"));
		region = reopen("root");
		pool_region_close(region);
		assert_int_equal(unlinkat(folder, "root", 0), 0);
	}
}

/* Growth is by extents, a little more than needed, and never past the limit. */
static void growth_and_the_limit(void **state)
{
	struct pool_region_options options = usual;
	struct pool_region *region = NULL;
	struct pool_region_info info;
	struct rgm_error error = {0};
	uint64_t page = 7, count = 7, used = 0;
	struct stat st;

	(void)state;
	options.max_bytes = 20 * MB;
	assert_int_equal(pool_region_create(folder, "limit", &options, &region, &error), 0);
	while (pool_region_allocate(region, 100, &page, &error) == 0) {
		used += 100;
		info = check_info(region);
		assert_int_equal(info.used_pages, used);
		assert_int_equal(info.bytes % POOL_EXTENT_BYTES, 0);
		assert_int_equal(fstat(pool_region_file(region), &st), 0);
		assert_int_equal(st.st_size, info.bytes);
		/* On the disk, all but the header's hole. */
		assert_true((uint64_t)st.st_blocks * 512 >= info.pages * PAGE);
	}
	assert_int_equal(error.code, RGM_ELIMIT);
	assert_non_null(strstr(error.message, "limit of 20971520 bytes"));
	assert_non_null(strstr(error.hint, "larger maximum"));
	/* The last pages are there for who asks for few. */
	assert_int_equal(pool_region_allocate_upto(region, 1, 1000, &page, &count, &error), 0);
	assert_true(count >= 1 && count < 100);
	info = check_info(region);
	assert_int_equal(info.bytes, 20 * MB);
	assert_int_equal(info.used_pages, used + count);
	assert_int_equal(info.free_pages, 0);
	page = count = 7;
	assert_int_equal(pool_region_allocate(region, 1, &page, &error), RGM_ELIMIT);
	assert_int_equal(
		pool_region_allocate_upto(region, 1, 5, &page, &count, &error), RGM_ELIMIT);
	assert_int_equal(pool_region_allocate(region, UINT64_MAX, &page, &error), RGM_ELIMIT);
	assert_int_equal(pool_region_allocate(region, 1ull << 51, &page, &error), RGM_ELIMIT);
	assert_int_equal(
		pool_region_allocate_upto(region, 1ull << 62, UINT64_MAX, &page, &count, &error),
		RGM_ELIMIT);
	assert_int_equal(pool_region_allocate(region, 0, &page, &error), -EINVAL);
	assert_int_equal(pool_region_allocate_upto(region, 0, 1, &page, &count, &error), -EINVAL);
	assert_int_equal(pool_region_allocate_upto(region, 3, 2, &page, &count, &error), -EINVAL);
	assert_int_equal(page, 7);
	assert_int_equal(count, 7);

	/* Full to the last page, it still closes cleanly; the limit can be raised. */
	close_clean(region, &(struct pool_root){0});
	options.max_bytes = 18 * MB;
	refused("limit", &options, -EINVAL, "less than 20971520");
	options.max_bytes = 24 * MB;
	assert_int_equal(pool_region_open(folder, "limit", &options, &region, &error), 0);
	page = allocate(region, 512);
	close_clean(region, &(struct pool_root){0});
	options.max_bytes = 0;
	assert_int_equal(pool_region_open(folder, "limit", &options, &region, &error), 0);
	info = check_info(region);
	assert_int_equal(info.max_bytes, 24 * MB);
	pool_region_close(region);
}

static void runs_grow_in_place(void **state)
{
	struct pool_region *region = create("extend");
	struct rgm_error error = {.code = 1};
	struct pool_region_info info;
	uint64_t a = allocate(region, 10), b, count = 10;

	(void)state;
	/* To the end of the file and beyond, again and again. */
	while (count < 60000) {
		uint64_t more = count + 1 + seed_below(&random_state, 1500);

		assert_int_equal(pool_region_extend(region, a, count, more, &error), 0);
		count = more;
		info = check_info(region);
		assert_int_equal(info.used_pages, count);
	}
	assert_int_equal(info.own_pages, 2); /* the map was in the way, and went */
	assert_int_equal(pool_region_extend(region, a, count, count, &error), 0);
	assert_int_equal(pool_region_extend(region, a, count, count - 1, &error), -EINVAL);
	assert_int_equal(pool_region_extend(region, a, 0, 1, &error), -EINVAL);
	b = allocate(region, 1);
	pool_region_free(region, a + 5, count - 5);
	error = (struct rgm_error){.code = 1};
	assert_int_equal(pool_region_extend(region, a, 5, count, &error), 0);
	pool_region_free(region, b, 1);
	assert_int_equal(pool_region_extend(region, a, count, UINT64_MAX, &error), RGM_ELIMIT);
	/* Something stands behind it. */
	b = allocate(region, 4);
	pool_region_free(region, b + 2, 1);
	error = (struct rgm_error){.code = 1};
	assert_int_equal(pool_region_extend(region, b, 2, 4, &error), -ENOSPC);
	assert_int_equal(error.code, 1);
	pool_region_close(region);
}

/* The allocation map outgrows a page (128 MB a page) while runs come and go. */
static void the_map_grows(void **state)
{
	struct pool_region_options options = usual;
	struct pool_region *region = NULL;
	struct pool_region_info info;
	struct rgm_error error = {0};
	struct pool_root root;
	uint64_t a, b;

	(void)state;
	options.max_bytes = 1024 * MB;
	assert_int_equal(pool_region_create(folder, "map", &options, &region, &error), 0);
	a = allocate(region, 30000);
	info = check_info(region);
	assert_int_equal(info.own_pages, 1);
	b = allocate(region, 30000);
	info = check_info(region);
	assert_int_equal(info.own_pages, 2);
	pool_region_free(region, a, 30000);
	root = make_root(region, 9);
	write_pages(region, b + 29999, 1, 77);
	close_clean(region, &root);
	assert_int_equal(pool_region_open(folder, "map", &options, &region, &error), 0);
	info = check_info(region);
	assert_int_equal(info.own_pages, 2);
	assert_int_equal(info.used_pages, 30001);
	expect_pages(region, b + 29999, 1, 77);
	expect_root(&info.root, &root);
	pool_region_close(region);
	assert_int_equal(unlinkat(folder, "map", 0), 0);
}

static void transfers_stay_inside(void **state)
{
	struct pool_region *region = create("inside");
	struct pool_region_info info;
	struct rgm_error error;
	static char data[8192];

	(void)state;
	allocate(region, 1);
	info = check_info(region);
	assert_int_equal(pool_region_write(region, 0, data, 1, &error), -EINVAL);
	assert_int_equal(pool_region_write(region, 65536, data, 1, &error), -EINVAL);
	assert_int_equal(pool_region_write(region, 2 * MB - 1, data, 2, &error), -EINVAL);
	assert_int_equal(pool_region_write(region, info.bytes - 1, data, 2, &error), -EINVAL);
	assert_int_equal(pool_region_write(region, UINT64_MAX, data, 2, &error), -EINVAL);
	assert_int_equal(
		pool_region_write(region, UINT64_MAX - 1, data, SIZE_MAX, &error), -EINVAL);
	assert_int_equal(pool_region_read(region, 2 * MB - 1, data, 2, &error), -EINVAL);
	assert_int_equal(pool_region_read(region, info.bytes, data, 1, &error), -EINVAL);
	assert_non_null(strstr(error.message, "not inside"));
	info = check_info(region);
	assert_false(info.dirty); /* none of that was a write */
	assert_int_equal(pool_region_write(region, info.bytes - 1, "z", 1, &error), 0);
	assert_int_equal(pool_region_read(region, info.bytes - 1, data, 1, &error), 0);
	assert_int_equal(data[0], 'z');
	pool_region_close(region);
}

static void one_manager_at_a_time(void **state)
{
	struct pool_region *region = create("served"), *other = NULL;
	struct rgm_error error;

	(void)state;
	refused("served", &usual, RGM_EINUSE, "served by another manager");
	assert_int_equal(pool_region_open_check(path_of("served"), &other, &error), RGM_EINUSE);
	assert_non_null(strstr(error.message, "served by a manager"));
	assert_true(error.hint[0] != '\0');
	pool_region_close(region);
	/* Checks do not exclude each other, but they do exclude a manager. */
	assert_int_equal(pool_region_open_check(path_of("served"), &region, &error), 0);
	assert_int_equal(pool_region_open_check(path_of("served"), &other, &error), 0);
	pool_region_close(other);
	refused("served", &usual, RGM_EINUSE, "being checked");
	pool_region_close(region);
	pool_region_close(reopen("served"));
}

/* A reader's mapping outlives the manager: its file is not served again before it is gone. */
static void readers_of_an_earlier_manager(void **state)
{
	struct pool_region *region = create("readers");
	struct pool_root root = make_root(region, 5);
	struct rgm_error error;
	const void *view = NULL;
	int file = -1, again = -1;

	(void)state;
	assert_int_equal(pool_region_open_reader(region, &file, &error), 0);
	assert_int_equal(fcntl(file, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(fcntl(file, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(pool_region_open_reader(region, &again, &error), 0);
	close(again);
	assert_int_equal(os_map_window(file, 256 * MB, &view), 0);
	close(file);
	/* What is written afterwards, also to space that was not there yet, is seen in place. */
	uint64_t page = allocate(region, 5000);
	write_pages(region, page, 5000, 4711);
	for (uint64_t i = 0; i < 5000; i++) {
		uint64_t right[PAGE / 8];

		fill_page(right, page + i, 4711);
		assert_memory_equal((const char *)view + (page + i) * PAGE, right, PAGE);
	}
	close_clean(region, &root);
	refused("readers", &usual, RGM_EINUSE, "reader of an earlier manager");
	os_unmap(view, 256 * MB);
	pool_region_close(reopen("readers"));
}

static void check_sees_what_was_closed(void **state)
{
	struct pool_region *region = create("check");
	struct pool_region_info before, after;
	struct rgm_error error;
	struct pool_root root = make_root(region, 8);
	uint64_t page = allocate(region, 33), other = 7;

	(void)state;
	write_pages(region, page, 33, 1);
	pool_region_free(region, page + 3, 2);
	before = check_info(region);
	close_clean(region, &root);
	assert_int_equal(pool_region_open_check(path_of("check"), &region, &error), 0);
	after = check_info(region);
	assert_int_equal(after.used_pages, before.used_pages);
	assert_int_equal(after.damaged_slots, 0);
	expect_root(&after.root, &root);
	expect_pages(region, page, 3, 1);
	assert_int_equal(pool_region_allocate(region, 1, &other, &error), -EROFS);
	assert_int_equal(pool_region_write(region, page * PAGE, "x", 1, &error), -EROFS);
	assert_int_equal(pool_region_mark_dirty(region, &error), -EROFS);
	pool_region_close(region);
	assert_int_equal(pool_region_open_check(path_of("none"), &region, &error), -ENOENT);
	assert_int_equal(pool_region_open_check(folder_path, &region, &error), RGM_EREFUSED);
}

static void the_kernel_counts_the_same(void **state)
{
	struct pool_region *region = create("kernel");
	struct pool_region_info info;
	struct rgm_error error;
	uint64_t blocks = 0, resident = 0, page = allocate(region, 1000);

	(void)state;
	write_pages(region, page, 1000, 2);
	info = check_info(region);
	assert_int_equal(pool_region_kernel(region, &blocks, &resident, &error), 0);
	assert_true(blocks >= info.pages * PAGE && blocks <= info.bytes);
	assert_true(resident >= 1000 * PAGE && resident <= info.bytes);
	pool_region_close(region);
}

/* Threads take, write, check and free pages of one region; then everything is free again. */
static void *work(void *argument)
{
	struct pool_region *region = argument;
	struct block mine[16] = {{0}};
	uint64_t random = (uint64_t)(uintptr_t)&mine | 1;

	for (int step = 0; step < 300; step++) {
		struct block *block = &mine[seed_below(&random, 16)];

		if (block->count > 0) {
			expect_pages(region, block->page, block->count, block->salt);
			pool_region_free(region, block->page, block->count);
			block->count = 0;
			continue;
		}
		block->count = 1 + seed_below(&random, 30);
		block->page = allocate(region, block->count);
		block->salt = seed_next(&random);
		write_pages(region, block->page, block->count, block->salt);
		if (step % 16 == 0) {
			struct pool_region_info info;

			pool_region_info(region, &info);
		}
	}
	for (size_t i = 0; i < 16; i++)
		if (mine[i].count > 0)
			pool_region_free(region, mine[i].page, mine[i].count);
	return NULL;
}

static void threads_share_it(void **state)
{
	struct pool_region *region = create("threads");
	struct pool_region_info info;
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, region), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	info = check_info(region);
	assert_int_equal(info.used_pages, 0);
	close_clean(region, &(struct pool_root){0});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(created_clean_and_empty),
		cmocka_unit_test(creation_is_exclusive),
		cmocka_unit_test(bad_names_and_sizes),
		cmocka_unit_test(lives_keep_everything),
		cmocka_unit_test(dirty_is_refused),
		cmocka_unit_test(when_it_becomes_dirty),
		cmocka_unit_test(roots_must_lie_on_used_pages),
		cmocka_unit_test(growth_and_the_limit),
		cmocka_unit_test(runs_grow_in_place),
		cmocka_unit_test(the_map_grows),
		cmocka_unit_test(transfers_stay_inside),
		cmocka_unit_test(one_manager_at_a_time),
		cmocka_unit_test(readers_of_an_earlier_manager),
		cmocka_unit_test(check_sees_what_was_closed),
		cmocka_unit_test(the_kernel_counts_the_same),
		cmocka_unit_test(threads_share_it),
	};

	random_state = seed_get("pool/region");
	return cmocka_run_group_tests_name("pool/region", tests, setup, teardown);
}
