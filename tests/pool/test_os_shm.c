/* SPDX-License-Identifier: Apache-2.0 */
/* pool/os_shm.c: shared memory, named at once or later. */
#define _GNU_SOURCE 1

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool/os.h"
#include "tests/pool/faults.h"

#define MB (1ull << 20)

static int disarm(void **state)
{
	(void)state;
	fault_disarm_all();
	return 0;
}

static void shm_name(char *name, size_t size, const char *what)
{
	snprintf(name, size, "/regionmgr-test-os.%ld.%s", (long)getpid(), what);
}

static void shm_create_open_unlink(void **state)
{
	char name[64];
	int a = -1, b = -1, c = -1;
	struct stat st;
	mode_t mask;

	(void)state;
	shm_name(name, sizeof(name), "a");
	assert_int_equal(os_shm_create(name, MB, 2 * MB, &a), -EINVAL);
	assert_int_equal(os_shm_create(name, 1ull << 63, 0, &a), -EINVAL);
	mask = umask(0777);
	assert_int_equal(os_shm_create(name, MB, 8192, &a), 0);
	umask(mask);
	assert_int_equal(fstat(a, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, MB);
	assert_true(st.st_blocks * 512 >= 8192);
	assert_true(fcntl(a, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(os_shm_create(name, MB, 0, &b), -EEXIST);
	assert_int_equal(b, -1);
	assert_int_equal(os_shm_open(name, false, &b), 0);
	assert_int_equal(os_shm_open(name, true, &c), 0);
	assert_int_equal(fcntl(b, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fcntl(c, F_GETFL) & O_ACCMODE, O_RDWR);
	close(a);
	close(b);
	close(c);
	assert_int_equal(os_shm_unlink(name), 0);
	assert_int_equal(os_shm_unlink(name), -ENOENT);
	assert_int_equal(os_shm_open(name, false, &b), -ENOENT);
}

static void shm_full(void **state)
{
	char name[64];
	int file = -1;

	(void)state;
	shm_name(name, sizeof(name), "full");
	fault_arm(&fault_fallocate, 1, ENOSPC, true);
	assert_int_equal(os_shm_create(name, MB, MB, &file), -ENOSPC);
	assert_int_equal(file, -1);
	assert_int_equal(os_shm_open(name, false, &file), -ENOENT);
}

static void shm_squatted(void **state)
{
	char name[64], path[96], other[96];
	int file = -1, made;

	(void)state;
	shm_name(name, sizeof(name), "squat");
	snprintf(path, sizeof(path), "/dev/shm%s", name);
	snprintf(other, sizeof(other), "/dev/shm%s.2", name);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(os_shm_open(name, false, &file), -EPERM);
	assert_int_equal(os_shm_create(name, MB, 0, &file), -EEXIST);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/hostname", path), 0);
	assert_int_equal(os_shm_open(name, false, &file), -EPERM);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_true(os_shm_open(name, false, &file) < 0);
	assert_int_equal(rmdir(path), 0);

	assert_int_equal(os_shm_create(name, MB, 0, &made), 0);
	assert_int_equal(fchmod(made, 0644), 0);
	assert_int_equal(os_shm_open(name, false, &file), -EPERM);
	assert_int_equal(fchmod(made, 0600), 0);
	assert_int_equal(link(path, other), 0);
	assert_int_equal(os_shm_open(name, false, &file), -EPERM);
	assert_int_equal(unlink(other), 0);
	assert_int_equal(os_shm_open(name, false, &file), 0);
	close(file);
	close(made);
	assert_int_equal(os_shm_unlink(name), 0);
}

static void shm_of_another_user(void **state)
{
	char name[64];
	int file = -1, made = -1;

	(void)state;
	if (geteuid() != 0) {
		print_message("SKIP shm_of_another_user: needs root\n");
		skip();
	}
	shm_name(name, sizeof(name), "owner");
	assert_int_equal(os_shm_create(name, MB, 0, &made), 0);
	assert_int_equal(fchown(made, 65534, 65534), 0);
	assert_int_equal(os_shm_open(name, false, &file), -EPERM);
	close(made);
	assert_int_equal(os_shm_unlink(name), 0);
}

/* Made without a name, and given one later: then it is as one made with it. */
static void shm_named_later(void **state)
{
	char name[64], longer[300];
	struct stat st;
	int a, b;

	(void)state;
	snprintf(name, sizeof(name), "/regionmgr-test-os.%ld.later", (long)getpid());
	assert_int_equal(os_shm_create_unnamed(MB, 2 * MB, &a), -EINVAL);
	assert_int_equal(os_shm_create_unnamed(MB, 8192, &a), 0);
	assert_int_equal(fstat(a, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_size, MB);
	assert_true(st.st_blocks * 512 >= 8192);
	assert_true((fcntl(a, F_GETFD) & FD_CLOEXEC) != 0);
	assert_int_equal(os_shm_open(name, false, &b), -ENOENT);
	assert_int_equal(os_shm_link(a, name), 0);
	assert_int_equal(os_shm_open(name, true, &b), 0);
	assert_int_equal(pwrite(b, "x", 1, MB - 1), 1);
	assert_int_equal(fstat(b, &st), 0);
	assert_int_equal(st.st_mode & ALLPERMS, 0600);
	close(b);
	assert_int_equal(os_shm_create(name, MB, 0, &b), -EEXIST);
	assert_int_equal(os_shm_create_unnamed(MB, 0, &b), 0);
	assert_int_equal(os_shm_link(b, name), -EEXIST);
	memset(longer, 'n', sizeof(longer) - 1);
	longer[0] = '/';
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(os_shm_link(b, longer), -ENAMETOOLONG);
	close(b);
	close(a);
	assert_int_equal(os_shm_unlink(name), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shm_create_open_unlink),
		cmocka_unit_test_teardown(shm_full, disarm),
		cmocka_unit_test(shm_squatted),
		cmocka_unit_test(shm_of_another_user),
		cmocka_unit_test(shm_named_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
