/* SPDX-License-Identifier: Apache-2.0 */
/* pool/os_shm.c: shared memory that gets its name later; the rest of it is in test_os.c. */
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

#define MB (1ull << 20)

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
		cmocka_unit_test(shm_named_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
