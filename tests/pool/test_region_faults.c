/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool/region*.c when the system fails: full disks, real and made up, EIO and short transfers. An
 * error is told in one sentence, leaves the state as it was, and no file is ever served that was not
 * closed completely.
 */
#define _GNU_SOURCE 1

#include "tests/pool/region_fixture.h"

#include <sched.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/pool/faults.h"
#include "tests/pool/sanitizers.h"

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

static int disarm(void **state)
{
	(void)state;
	fault_disarm_all();
	return 0;
}

static off_t size_of(struct pool_region *region)
{
	struct stat st;

	assert_int_equal(fstat(pool_region_file(region), &st), 0);
	return st.st_size;
}

static void same_info(const struct pool_region_info *a, const struct pool_region_info *b)
{
	assert_int_equal(a->bytes, b->bytes);
	assert_int_equal(a->pages, b->pages);
	assert_int_equal(a->used_pages, b->used_pages);
	assert_int_equal(a->own_pages, b->own_pages);
	assert_int_equal(a->free_pages, b->free_pages);
	assert_int_equal(a->free_runs, b->free_runs);
	assert_int_equal(a->largest_free_pages, b->largest_free_pages);
	assert_int_equal(a->dirty, b->dirty);
}

/* A region with a few pages in use, nothing of two pages free, and a long run at the end. */
static struct pool_region *nearly_full(const char *file, uint64_t *ret_last, uint64_t *ret_count)
{
	struct pool_region *region = create(file);
	uint64_t first = allocate(region, 2000), page, count = 0;
	struct rgm_error error;

	while (check_info(region).largest_free_pages > 1)
		assert_int_equal(
			pool_region_allocate_upto(region, 2, 5000, &page, &count, &error), 0);
	*ret_last = count > 0 ? page : first;
	*ret_count = count > 0 ? count : 2000;
	return region;
}

static void growth_that_fails_changes_nothing(void **state)
{
	uint64_t last, count, page = 7, got = 7;
	struct pool_region *region = nearly_full("grow", &last, &count);
	struct pool_region_info before = check_info(region), after;
	static const int errors[] = {ENOSPC, EDQUOT, EFBIG, EIO};
	struct rgm_error error = {0};
	off_t size = size_of(region);

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		fault_arm(&fault_fallocate, 1, errors[i], false);
		assert_int_equal(pool_region_allocate(region, 100, &page, &error), -errors[i]);
		assert_non_null(strstr(error.message, "growing region file 'grow' from"));
		assert_int_equal(pool_region_allocate_upto(region, 100, 900, &page, &got, &error),
			-errors[i]);
		assert_non_null(strstr(error.message, rgm_error_text(-errors[i])));
		assert_int_equal(
			pool_region_extend(region, last, count, count + 700, &error), -errors[i]);
		assert_int_equal(error.code, -errors[i]);
		after = check_info(region);
		same_info(&after, &before);
		assert_int_equal(size_of(region), size);
	}
	assert_int_equal(page, 7);
	assert_int_equal(got, 7);
	fault_disarm_all();
	assert_int_equal(pool_region_extend(region, last, count, count + 700, &error), 0);
	page = allocate(region, 100);
	pool_region_close(region);
}

/* What was meant as a store for later is given up when only what is needed fits. */
static void a_smaller_growth_is_tried(void **state)
{
	struct pool_region *region = create("smaller");
	struct rgm_error error;
	uint64_t bytes, page, count;

	(void)state;
	allocate(region, 40000); /* so that the slack is more than an extent */
	while (check_info(region).largest_free_pages > 511)
		assert_int_equal(
			pool_region_allocate_upto(region, 512, 5000, &page, &count, &error), 0);
	bytes = check_info(region).bytes;
	fault_arm(&fault_fallocate, 1, ENOSPC, true);
	page = allocate(region, 512);
	assert_int_equal(check_info(region).bytes, bytes + 2 * MB);
	/* … also by who would have taken more. */
	while (check_info(region).largest_free_pages > 99)
		assert_int_equal(
			pool_region_allocate_upto(region, 100, 5000, &page, &count, &error), 0);
	bytes = check_info(region).bytes;
	fault_arm(&fault_fallocate, 1, ENOSPC, true);
	assert_int_equal(pool_region_allocate_upto(region, 100, 3000, &page, &count, &error), 0);
	assert_true(count >= 100);
	assert_true(check_info(region).bytes > bytes);
	pool_region_close(region);
}

static void transfers_that_fail(void **state)
{
	struct pool_region *region = create("transfer");
	uint64_t page = allocate(region, 4);
	char data[PAGE], words[64];
	struct rgm_error error;

	(void)state;
#ifdef POOL_RACE_BUILD
	pool_region_close(region); /* they go through a mapping there */
	return;
#endif
	write_pages(region, page, 4, 3);
	fault_arm(&fault_pwrite, 1, EIO, false);
	assert_int_equal(pool_region_write(region, page * PAGE, data, 100, &error), -EIO);
	snprintf(words, sizeof(words), "writing 100 bytes at offset %ju of region file 'transfer'",
		(uintmax_t)(page * PAGE));
	assert_non_null(strstr(error.message, words));
	assert_non_null(strstr(error.message, "Input/output error"));
	fault_arm(&fault_pread, 1, EIO, false);
	assert_int_equal(pool_region_read(region, page * PAGE, data, PAGE, &error), -EIO);
	snprintf(words, sizeof(words), "reading 4096 bytes at offset %ju of",
		(uintmax_t)(page * PAGE));
	assert_non_null(strstr(error.message, words));
	/* Short ones are none of anybody's business. */
	fault_pwrite = (struct fault){.countdown = 1, .bytes = 99};
	fault_pread = (struct fault){.countdown = 1, .bytes = 101};
	write_pages(region, page, 4, 5);
	expect_pages(region, page, 4, 5);
	close_clean(region, &(struct pool_root){0});
	fault_pread = (struct fault){.countdown = 1, .bytes = 101};
	region = reopen("transfer");
	expect_pages(region, page, 4, 5);
	pool_region_close(region);
}

/* A mark that could not be written may be tried again; a mark that could not be synced may not. */
static void marks_that_fail(void **state)
{
	struct pool_region *region = create("mark");
	struct pool_root root = make_root(region, 4);
	struct pool_region_info info;
	struct rgm_error error;
	uint64_t page;

	(void)state;
	close_clean(region, &root);
	for (long at = 1; at <= 2; at++) {
		region = reopen("mark");
		page = allocate(region, 1);
		fault_arm(&fault_pwrite, at, ENOSPC, true);
		assert_int_equal(pool_region_write(region, page * PAGE, "x", 1, &error), -ENOSPC);
		assert_false(check_info(region).dirty);
		assert_non_null(strstr(error.message, "of region file 'mark'"));
		assert_int_equal(pool_region_write(region, page * PAGE, "x", 1, &error), 0);
		assert_true(check_info(region).dirty);
		pool_region_free(region, page, 1);
		close_clean(region, &root);
		/* It is clean again also if nothing was written after the failure. */
		region = reopen("mark");
		fault_arm(&fault_pwrite, at, ENOSPC, true);
		assert_int_equal(pool_region_mark_dirty(region, &error), -ENOSPC);
		close_clean(region, &root);
		region = reopen("mark");
		info = check_info(region);
		expect_root(&info.root, &root);
		pool_region_close(region);
	}
	for (long at = 1; at <= 2; at++) {
		region = reopen("mark");
		page = allocate(region, 1);
		fault_arm(&fault_fdatasync, at, EIO, true);
		assert_int_equal(pool_region_mark_dirty(region, &error), -EIO);
		assert_string_equal(
			error.message, "syncing region file 'mark': Input/output error");
		fault_arm(&fault_pwrite, 0, 0, false);
		assert_int_equal(pool_region_mark_dirty(region, &error), -EIO);
		assert_non_null(strstr(error.message, "an earlier sync failed"));
		assert_int_equal(pool_region_write(region, page * PAGE, "x", 1, &error), -EIO);
		assert_int_equal(pool_region_close_clean(region, &root, &error), -EIO);
		assert_int_equal(fault_pwrite.calls, 0);
		refused("mark", &usual, RGM_EDIRTY, "not closed cleanly");
		/* A new one for the next round. */
		assert_int_equal(unlinkat(folder, "mark", 0), 0);
		region = create("mark");
		root = make_root(region, 4);
		close_clean(region, &root);
	}
}

/*
 * One life: open, change, close. The first `good` calls of one kind succeed and then none does, as
 * if the process had died there (what it had written stays). What the file then says must be
 * true: the old content, the new one, or a refusal.
 */
static bool live_and_die(
	struct fault *fault, long good, const struct pool_root *old, struct pool_root *ret_new)
{
	struct pool_region *region = NULL;
	struct rgm_error error;
	uint64_t words[PAGE / 8], page;
	int rc;

	fault_arm(fault, good + 1, EIO, false);
	if (pool_region_open(folder, "life", &usual, &region, &error) != 0)
		return false;
	rc = pool_region_allocate(region, 1, &page, &error);
	if (rc == 0) {
		fill_page(words, page, 2);
		*ret_new =
			(struct pool_root){page * PAGE, PAGE, pool_crc32c(0, words, PAGE), 2, 102};
		rc = pool_region_write(region, page * PAGE, words, PAGE, &error);
	}
	if (rc != 0) {
		pool_region_close(region);
		return false;
	}
	pool_region_free(region, old->offset / PAGE, 1);
	return pool_region_close_clean(region, ret_new, &error) == 0;
}

static void die_at_each_call(struct fault *fault, long most)
{
	int served_new = 0, refusals = 0;
	bool done = false;

	for (long good = 0; !done; good++) {
		struct pool_region *region = create("life");
		struct pool_root old = make_root(region, 1), new = {0};
		struct rgm_error error;
		int rc;

		assert_true(good < most);
		close_clean(region, &old);
		done = live_and_die(fault, good, &old, &new);
		fault_disarm_all();
		rc = pool_region_open(folder, "life", &usual, &region, &error);
		if (rc == 0) {
			struct pool_region_info info = check_info(region);
			bool is_new = info.root.version == 2;

			expect_root(&info.root, is_new ? &new : &old);
			expect_pages(region, info.root.offset / PAGE, 1, info.root.version);
			assert_int_equal(info.used_pages, 1);
			served_new += is_new;
			assert_true(is_new || !done);
			pool_region_close(region);
		} else {
			assert_true(rc == RGM_EDIRTY);
			assert_false(done);
			refusals++;
		}
		assert_int_equal(unlinkat(folder, "life", 0), 0);
	}
	assert_true(served_new > 0 && refusals > 0);
}

static void dying_at_each_write(void **state)
{
	(void)state;
	die_at_each_call(&fault_pwrite, 12);
}

static void dying_at_each_sync(void **state)
{
	(void)state;
	die_at_each_call(&fault_fdatasync, 12);
}

static void creation_that_fails_leaves_nothing(void **state)
{
	struct fault *const faults[] = {&fault_pwrite, &fault_fdatasync, &fault_fsync};
	struct pool_region *region = NULL;
	struct rgm_error error;

	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		for (long at = 1; at <= (faults[i] == &fault_fsync ? 1 : 2); at++) {
			fault_arm(faults[i], at, ENOSPC, false);
			assert_int_equal(pool_region_create(folder, "new", &usual, &region, &error),
				-ENOSPC);
			assert_non_null(strstr(error.message, "'new'"));
			assert_int_equal(faccessat(folder, "new", F_OK, 0), -1);
			fault_disarm_all();
		}
	}
	assert_null(region);
	pool_region_close(create("new"));
}

static void opening_that_fails_reads_on_later(void **state)
{
	struct pool_region *region = create("read");
	struct pool_root root = make_root(region, 4);

	(void)state;
	close_clean(region, &root);
	for (long at = 1; at <= 3; at++) { /* two superblocks and the map */
		fault_arm(&fault_pread, at, EIO, true);
		refused("read", &usual, -EIO, "reading");
	}
	fault_disarm_all();
	pool_region_close(reopen("read"));
}

#ifndef SHADOW_MEMORY
static void no_address_space(void **state)
{
	struct pool_region_options options = usual;
	struct pool_region *region = NULL;
	struct rgm_error error;
	pid_t child;
	int status;

	(void)state;
	options.max_bytes = 1ull << 40;
	assert_int_equal(pool_region_create(folder, "space", &options, &region, &error), 0);
	pool_region_close(region);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit limit = {.rlim_cur = 256 * MB, .rlim_max = 256 * MB};
		int rc;

		setrlimit(RLIMIT_AS, &limit);
		rc = pool_region_open(folder, "space", &options, &region, &error);
		_exit(rc == -ENOMEM && strstr(error.message, "no memory") != NULL ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}
#endif

/* --- a disk that is really full --------------------------------------------------------------- */

/* Fill it, meet its end, find everything as it was, close cleanly with no byte left; then make room
 * and go on. */
static void meet_a_full_disk(void)
{
	struct pool_region *region = create("full");
	struct rgm_error error = {0};
	struct pool_region_info before, after;
	struct pool_root root = make_root(region, 1);
	uint64_t page = 0, count = 0, last = 0, pages = 0;
	int ballast = openat(folder, "ballast", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int filler = openat(folder, "filler", O_RDWR | O_CREAT | O_CLOEXEC, 0600), rc;
	off_t size;

	assert_true(ballast >= 0 && filler >= 0);
	assert_int_equal(fallocate(ballast, 0, 0, (off_t)(6 * MB)), 0);
	while ((rc = pool_region_allocate(region, 700, &page, &error)) == 0) {
		write_pages(region, page, 700, 9);
		last = page;
		pages += 700;
	}
	assert_int_equal(rc, -ENOSPC);
	assert_non_null(strstr(error.message, "growing region file 'full' from"));
	assert_non_null(strstr(error.message, "No space left on device"));
	/* Not a block is left for anybody. */
	for (size_t step = MB; step >= 512; step /= 2) {
		static const char block[MB];

		while (write(filler, block, step) > 0)
			;
	}
	before = check_info(region);
	assert_int_equal(before.used_pages, pages + 1);
	size = size_of(region);
	while (pool_region_allocate_upto(region, 1, 700, &page, &count, &error) == 0) {
		write_pages(region, page, count, 9);
		pages += count;
	}
	before = check_info(region);
	assert_int_equal(before.free_pages, 0);
	assert_int_equal(pool_region_allocate(region, 1, &page, &error), -ENOSPC);
	rc = pool_region_extend(region, last, 700, 701, &error);
	assert_int_equal(rc, -ENOSPC);
	after = check_info(region);
	same_info(&after, &before);
	assert_int_equal(size_of(region), size);

	close_clean(region, &root);
	region = reopen("full");
	after = check_info(region);
	assert_int_equal(after.used_pages, pages + 1);
	expect_root(&after.root, &root);
	expect_pages(region, last, 700, 9);
	/* Dropping works, and what it frees is used again; growing does once there is room. */
	pool_region_free(region, last, 700);
	page = allocate(region, 700);
	assert_int_equal(page, last);
	assert_int_equal(pool_region_allocate(region, 700, &page, &error), -ENOSPC);
	assert_int_equal(ftruncate(ballast, 0), 0);
	page = allocate(region, 700);
	write_pages(region, page, 700, 10);
	expect_pages(region, page, 700, 10);
	close_clean(region, &root);
	pool_region_close(reopen("full"));
	close(ballast);
	close(filler);
}

static int run(const char *const *arguments)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execvp(arguments[0], (char *const *)(uintptr_t)arguments);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	return status;
}

/* The test's own folder becomes a file system of its own, which this process alone sees. */
static bool mount_small(const char *kind)
{
	const char *image = path_of("image");

	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return false;
	if (strcmp(kind, "tmpfs") == 0)
		return mount("none", folder_path, "tmpfs", 0, "size=48m") == 0;
	return run((const char *const[]){"truncate", "-s", "64M", image, NULL}) == 0 &&
	       run((const char *const[]){"mkfs.ext4", "-q", "-F", "-m", "0", image, NULL}) == 0 &&
	       run((const char *const[]){"mount", "-o", "loop", image, folder_path, NULL}) == 0;
}

static int outer = -1; /* the folder below the mount */

static int unmount(void **state)
{
	(void)state;
	if (outer < 0)
		return 0;
	close(folder);
	folder = outer;
	outer = -1;
	return umount2(folder_path, MNT_DETACH);
}

static void on_a_full(const char *kind, const char *name)
{
	int inner;

	if (!mount_small(kind)) {
		print_message("SKIP %s: needs root and mounts\n", name);
		skip();
	}
	inner = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(inner >= 0);
	outer = folder;
	folder = inner;
	meet_a_full_disk();
}

static void a_full_tmpfs(void **state)
{
	(void)state;
	on_a_full("tmpfs", "a_full_tmpfs");
}

static void a_full_ext4(void **state)
{
	(void)state;
	on_a_full("ext4", "a_full_ext4");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(growth_that_fails_changes_nothing, disarm),
		cmocka_unit_test_teardown(a_smaller_growth_is_tried, disarm),
		cmocka_unit_test_teardown(transfers_that_fail, disarm),
		cmocka_unit_test_teardown(marks_that_fail, disarm),
		cmocka_unit_test_teardown(dying_at_each_write, disarm),
		cmocka_unit_test_teardown(dying_at_each_sync, disarm),
		cmocka_unit_test_teardown(creation_that_fails_leaves_nothing, disarm),
		cmocka_unit_test_teardown(opening_that_fails_reads_on_later, disarm),
#ifndef SHADOW_MEMORY
		cmocka_unit_test(no_address_space),
#endif
		cmocka_unit_test_teardown(a_full_tmpfs, unmount),
		cmocka_unit_test_teardown(a_full_ext4, unmount),
	};

	return cmocka_run_group_tests_name("pool/region_faults", tests, setup, teardown);
}
