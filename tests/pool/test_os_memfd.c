/* SPDX-License-Identifier: Apache-2.0 */
/* pool/os_memfd.c: what is sealed stays as it is, and nothing else counts as sealed. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool/os.h"

static void sealed(void **state)
{
	char back[5];
	int file = -1;

	(void)state;
	assert_int_equal(os_memfd_create("test", &file), 0);
	assert_int_equal(fcntl(file, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(os_write_all(file, "bytes", 5, 0), 0);
	assert_false(os_memfd_sealed(file));
	assert_int_equal(os_memfd_seal(file), 0);
	assert_true(os_memfd_sealed(file));
	assert_int_equal(os_write_all(file, "other", 5, 0), -EPERM);
	assert_int_equal(ftruncate(file, 0), -1);
	assert_int_equal(ftruncate(file, 10), -1);
	assert_int_equal(os_read_all(file, back, 5, 0), 0);
	assert_memory_equal(back, "bytes", 5);
	close(file);
}

static void not_sealed(void **state)
{
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_true(file >= 0);
	assert_false(os_memfd_sealed(file));
	close(file);
	assert_false(os_memfd_sealed(-1));
	assert_int_equal(os_memfd_create("test", &file), 0);
	assert_int_equal(fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_false(os_memfd_sealed(file)); /* it can still be written */
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sealed),
		cmocka_unit_test(not_sealed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
