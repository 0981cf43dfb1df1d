/* SPDX-License-Identifier: Apache-2.0 */
/* pool/os*.c: what each door demands and guarantees. */
#define _GNU_SOURCE 1

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "pool/os.h"
#include "tests/pool/faults.h"

#define MB (1ull << 20)

static int folder = -1;
static char folder_path[64];

static int setup(void **state)
{
	(void)state;
	snprintf(folder_path, sizeof(folder_path), "/tmp/regionmgr-test-os-XXXXXX");
	if (mkdtemp(folder_path) == NULL)
		return -1;
	folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return folder < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	close(folder);
	return rmdir(folder_path);
}

static int disarm(void **state)
{
	(void)state;
	fault_disarm_all();
	return 0;
}

/* A file without a name. */
static int scratch(void)
{
	int file = openat(folder, "scratch", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(file >= 0);
	assert_int_equal(unlinkat(folder, "scratch", 0), 0);
	return file;
}

static uint64_t size_of(int file)
{
	struct stat st;

	assert_int_equal(fstat(file, &st), 0);
	return (uint64_t)st.st_size;
}

static uint64_t blocks_of(int file)
{
	struct stat st;

	assert_int_equal(fstat(file, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void transfers_are_whole(void **state)
{
	static char out[100000], in[100000];
	int file = scratch();

	(void)state;
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 31 + i / 256);
	/* Every transfer cut at 777 bytes, and every one interrupted first. */
	fault_pwrite = (struct fault){.countdown = 1, .bytes = 777};
	fault_pread = (struct fault){.countdown = 1, .bytes = 777};
	assert_int_equal(os_write_all(file, out, sizeof(out), 12345), 0);
	assert_int_equal(os_read_all(file, in, sizeof(in), 12345), 0);
	assert_memory_equal(in, out, sizeof(out));
	assert_int_equal(fault_pwrite.calls, (sizeof(out) + 776) / 777);
	fault_arm(&fault_pwrite, 1, EINTR, true);
	fault_arm(&fault_pread, 1, EINTR, true);
	assert_int_equal(os_write_all(file, out, 10, 0), 0);
	assert_int_equal(os_read_all(file, in, 10, 0), 0);
	assert_memory_equal(in, out, 10);
	fault_arm(&fault_pwrite, 1, EIO, false);
	fault_arm(&fault_pread, 1, EIO, false);
	assert_int_equal(os_write_all(file, out, 10, 0), -EIO);
	assert_int_equal(os_read_all(file, in, 10, 0), -EIO);
	fault_disarm_all();
	assert_int_equal(os_read_all(file, in, 1, 12345 + sizeof(out)), -ENODATA);
	assert_int_equal(os_read_all(file, in, 2, 12344 + sizeof(out)), -ENODATA);
	assert_int_equal(os_read_all(file, in, 0, 1ull << 62), 0);
	close(file);
}

static void offsets_near_the_end_of_numbers(void **state)
{
	char byte = 0;
	int file = scratch();

	(void)state;
	assert_int_equal(os_write_all(file, &byte, 1, INT64_MAX), -EFBIG);
	assert_int_equal(os_write_all(file, &byte, 1, UINT64_MAX), -EFBIG);
	assert_int_equal(os_read_all(file, &byte, 1, UINT64_MAX), -EFBIG);
	assert_int_equal(os_allocate(file, 0, 1ull << 63), -EFBIG);
	assert_int_equal(os_allocate(file, INT64_MAX, 1), -EFBIG);
	assert_int_equal(os_punch(file, UINT64_MAX, 1), -EFBIG);
	assert_int_equal(size_of(file), 0);
	close(file);
}

static void allocate_grows_and_keeps(void **state)
{
	char byte = 'x', in = 0;
	int file = scratch();

	(void)state;
	assert_int_equal(os_write_all(file, &byte, 1, 10), 0);
	assert_int_equal(os_allocate(file, 0, 2 * MB), 0);
	assert_int_equal(size_of(file), 2 * MB);
	assert_true(blocks_of(file) >= 2 * MB);
	assert_int_equal(os_read_all(file, &in, 1, 10), 0);
	assert_int_equal(in, 'x');
	assert_int_equal(os_allocate(file, 0, 4096), 0);
	assert_int_equal(size_of(file), 2 * MB);
	assert_int_equal(os_punch(file, 0, MB), 0);
	assert_int_equal(os_read_all(file, &in, 1, 10), 0);
	assert_int_equal(in, 0);
	assert_true(blocks_of(file) < 2 * MB);
	assert_int_equal(size_of(file), 2 * MB);
	close(file);
}

/* A file system that knows no fallocate: zeros from the end on, nothing in the middle. */
static void allocate_by_zeros(void **state)
{
	char byte = 'x', in = 1;
	int file = scratch();

	(void)state;
	fault_arm(&fault_fallocate, 1, EOPNOTSUPP, false);
	assert_int_equal(os_allocate(file, 0, MB + 1), 0);
	assert_int_equal(size_of(file), MB + 1);
	assert_true(blocks_of(file) >= MB);
	assert_int_equal(os_read_all(file, &in, 1, MB), 0);
	assert_int_equal(in, 0);
	assert_int_equal(os_write_all(file, &byte, 1, 5), 0);
	assert_int_equal(os_allocate(file, 0, 2 * MB), -EOPNOTSUPP);
	assert_int_equal(os_read_all(file, &in, 1, 5), 0);
	assert_int_equal(in, 'x');
	assert_int_equal(size_of(file), MB + 1);
	/* … and when the zeros meet a full disk half way. */
	fault_arm(&fault_pwrite, 3, ENOSPC, false);
	assert_int_equal(os_allocate(file, MB + 1, MB), -ENOSPC);
	assert_int_equal(size_of(file), MB + 1);
	close(file);
}

/* The limit on file sizes stops fallocate where a full disk would. */
static void allocate_failure_changes_nothing(void **state)
{
	int file = scratch();
	pid_t child;
	int status;

	(void)state;
	assert_int_equal(os_allocate(file, 0, 4096), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit limit = {.rlim_cur = MB, .rlim_max = MB};

		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &limit);
		_exit(os_allocate(file, 4096, 2 * MB) == -EFBIG ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(size_of(file), 4096);
	assert_int_equal(blocks_of(file), 4096);
	close(file);
}

static void syncs_tell(void **state)
{
	int file = scratch();

	(void)state;
	assert_int_equal(os_sync_data(file), 0);
	assert_int_equal(os_sync_folder(folder), 0);
	fault_arm(&fault_fdatasync, 1, EIO, true);
	assert_int_equal(os_sync_data(file), -EIO);
	assert_int_equal(fault_fdatasync.calls, 1);
	fault_arm(&fault_fsync, 1, EIO, true);
	assert_int_equal(os_sync_folder(folder), -EIO);
	fault_arm(&fault_fdatasync, 1, EINTR, true);
	assert_int_equal(os_sync_data(file), 0);
	close(file);
}

static void random_and_clocks(void **state)
{
	uint8_t a[32] = {0}, b[32] = {0};
	uint64_t then = os_now_ns();

	(void)state;
	assert_int_equal(os_random(a, sizeof(a)), 0);
	assert_int_equal(os_random(b, sizeof(b)), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_true(os_now_ns() >= then);
	assert_true(os_realtime_ns() > 1600000000ull * 1000000000ull);
}

/* Another description of the same file. */
static int again(int file)
{
	char path[64];
	int other;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	other = open(path, O_RDWR | O_CLOEXEC);
	assert_true(other >= 0);
	return other;
}

static void whole_file_locks(void **state)
{
	int a = scratch(), b = again(a), c = again(a);
	bool held = true;

	(void)state;
	assert_int_equal(os_lock_held(a, &held), 0);
	assert_false(held);
	assert_int_equal(os_lock_shared(a), 0);
	assert_int_equal(os_lock_shared(b), 0);
	assert_int_equal(os_lock_exclusive(c), -EAGAIN);
	assert_int_equal(os_lock_held(c, &held), 0);
	assert_true(held);
	assert_int_equal(os_unlock(b), 0);
	assert_int_equal(os_lock_held(a, &held), 0);
	assert_false(held); /* its own does not count */
	assert_int_equal(os_unlock(a), 0);
	assert_int_equal(os_lock_exclusive(c), 0);
	assert_int_equal(os_lock_shared(a), -EAGAIN);
	close(c);
	assert_int_equal(os_lock_shared(a), 0);
	close(a);
	close(b);
}

static void locks_of_bytes_are_apart(void **state)
{
	const uint64_t far = 1ull << 62;
	int a = scratch(), b = again(a);
	bool held = true;

	(void)state;
	assert_int_equal(os_lock_byte_exclusive(a, far), 0);
	assert_int_equal(os_lock_byte_held(b, 0, &held), 0);
	assert_false(held);
	assert_int_equal(os_lock_byte_shared(b, 0), 0);
	assert_int_equal(os_lock_byte_shared(b, far), -EAGAIN);
	assert_int_equal(os_lock_byte_held(b, far, &held), 0);
	assert_true(held);
	assert_int_equal(os_lock_byte_exclusive(a, 0), -EAGAIN);
	assert_int_equal(os_lock_held(b, &held), 0);
	assert_true(held);
	assert_int_equal(os_lock_byte_shared(a, UINT64_MAX), -EINVAL);
	close(a);
	assert_int_equal(os_lock_byte_shared(b, far), 0);
	close(b);
}

/* What the sessions are built on: the lock ends with the last mapping, not with the descriptor. */
static void a_mapping_keeps_the_lock(void **state)
{
	int a = scratch(), b = again(a);
	void *base = NULL;
	bool held = false;

	(void)state;
	assert_int_equal(os_allocate(a, 0, 4096), 0);
	assert_int_equal(os_lock_exclusive(b), 0);
	assert_int_equal(os_map(b, 4096, true, &base), 0);
	close(b);
	assert_int_equal(os_lock_held(a, &held), 0);
	assert_true(held);
	os_unmap(base, 4096);
	assert_int_equal(os_lock_held(a, &held), 0);
	assert_false(held);
	close(a);
}

static void window_sees_growth(void **state)
{
	const void *base = NULL;
	char byte = 'g';
	int file = scratch();

	(void)state;
	assert_int_equal(os_map_window(file, 1, &base), -EINVAL);
	assert_int_equal(os_map_window(file, 0, &base), -EINVAL);
	assert_int_equal(os_map_window(file, 1ull << 63, &base), -EINVAL);
	assert_null(base);
	assert_int_equal(os_map_window(file, 1ull << 34, &base), 0);
	assert_int_equal((uintptr_t)base % (2 * MB), 0);
	assert_int_equal(os_allocate(file, 0, 8 * MB), 0);
	assert_int_equal(os_write_all(file, &byte, 1, 7 * MB), 0);
	assert_int_equal(((const char *)base)[7 * MB], 'g');
	assert_int_equal(((const char *)base)[8 * MB - 1], 0);
	os_unmap(base, 1ull << 34);
	os_unmap(NULL, 1);
	close(file);
}

static void map_writes_through(void **state)
{
	void *base = NULL;
	char in = 0;
	int file = scratch();

	(void)state;
	assert_int_equal(os_allocate(file, 0, 8192), 0);
	assert_int_equal(os_map(file, 8192, true, &base), 0);
	((char *)base)[5000] = 'm';
	assert_int_equal(os_read_all(file, &in, 1, 5000), 0);
	assert_int_equal(in, 'm');
	os_unmap(base, 8192);
	assert_true(os_map(-1, 8192, false, &base) < 0);
	close(file);
}

#ifdef POOL_RACE_BUILD
static void race_mappings_are_one(void **state)
{
	const void *window = NULL;
	void *a = NULL, *b = NULL;
	int file = scratch(), other = again(file), probe = again(file);
	bool held = false;

	(void)state;
	assert_int_equal(os_allocate(file, 0, 4096), 0);
	assert_int_equal(os_map(file, 4096, true, &a), 0);
	assert_int_equal(os_lock_shared(other), 0);
	assert_int_equal(os_map(other, 4096, false, &b), 0);
	close(other);
	assert_ptr_equal(a, b);
	assert_int_equal(os_map_window(file, 2 * MB, &window), 0);
	assert_ptr_equal(a, window);
	assert_int_equal(os_map_window(file, 4 * MB, &window), -EOVERFLOW);
	os_unmap(window, 2 * MB);
	assert_int_equal(os_lock_held(probe, &held), 0);
	assert_true(held);
	os_unmap(b, 4096); /* the latest: the one with the lock */
	assert_int_equal(os_lock_held(probe, &held), 0);
	assert_false(held);
	((char *)a)[0] = 'r';
	os_unmap(a, 4096);
	close(file);
	close(probe);
}
#endif

static void reserved_memory_is_lazy(void **state)
{
	const size_t bytes = 1ull << 34;
	void *base = NULL;
	unsigned char resident = 1;

	(void)state;
	assert_int_equal(os_reserve(bytes, &base), 0);
	assert_int_equal(((char *)base)[bytes - 1], 0);
	((char *)base)[bytes / 2] = 1;
	assert_int_equal(mincore((char *)base + bytes / 4, 1, &resident), 0);
	assert_int_equal(resident & 1, 0);
	os_release(base, bytes);
	os_release(NULL, 1);
	assert_true(os_reserve(SIZE_MAX - 4096, &base) < 0);
}

static void resident_bytes(void **state)
{
	static char data[MB];
	uint64_t resident = 1;
	int file = scratch();

	(void)state;
	memset(data, 1, sizeof(data));
	assert_int_equal(os_resident(file, 1ull << 40, &resident), 0);
	assert_int_equal(resident, 0);
	assert_int_equal(ftruncate(file, (off_t)(200 * MB)), 0);
	assert_int_equal(os_write_all(file, data, sizeof(data), 100 * MB), 0);
	assert_int_equal(os_resident(file, 1ull << 40, &resident), 0);
	assert_true(resident >= MB && resident <= 4 * MB);
	assert_int_equal(os_resident(file, 50 * MB, &resident), 0);
	assert_int_equal(resident, 0);
	close(file);
}

static void membarrier_works_where_offered(void **state)
{
	(void)state;
	if (!os_membarrier_usable()) {
		print_message("SKIP membarrier_works_where_offered: the kernel has none\n");
		skip();
	}
	assert_int_equal(os_membarrier_register(), 0);
	assert_int_equal(os_membarrier(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(transfers_are_whole, disarm),
		cmocka_unit_test(offsets_near_the_end_of_numbers),
		cmocka_unit_test(allocate_grows_and_keeps),
		cmocka_unit_test_teardown(allocate_by_zeros, disarm),
		cmocka_unit_test(allocate_failure_changes_nothing),
		cmocka_unit_test_teardown(syncs_tell, disarm),
		cmocka_unit_test(random_and_clocks),
		cmocka_unit_test(whole_file_locks),
		cmocka_unit_test(locks_of_bytes_are_apart),
		cmocka_unit_test(a_mapping_keeps_the_lock),
		cmocka_unit_test(window_sees_growth),
		cmocka_unit_test(map_writes_through),
#ifdef POOL_RACE_BUILD
		cmocka_unit_test(race_mappings_are_one),
#endif
		cmocka_unit_test(reserved_memory_is_lazy),
		cmocka_unit_test(resident_bytes),
		cmocka_unit_test(membarrier_works_where_offered),
	};

	return cmocka_run_group_tests_name("pool/os", tests, setup, teardown);
}
