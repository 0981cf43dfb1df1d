/* SPDX-License-Identifier: Apache-2.0 */
/* pool/os_map.c and pool/os_race.c: a file behind private memory. The other mappings: test_os.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool/os.h"

/* In a child of its own: what it finds in 4 bytes. */
static void require_in_child(const volatile char *bytes, const char *expected)
{
	int status = -1;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		for (int i = 0; i < 4; i++)
			if (bytes[i] != expected[i])
				_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void private_memory_in_front(void **state)
{
	const size_t front = 16 * 4096;
	void *private = NULL, *base = NULL, *none = NULL;
	bool held = false;
	char in[4] = "";
	int file = -1, probe = -1;

	(void)state;
	assert_int_equal(os_memory_file("regionmgr-test", 8192, &file), 0);
	assert_int_equal(os_open_anew(file, true, &probe), 0);
	assert_int_equal(os_write_all(file, "file", 4, 8188), 0);
	assert_int_equal(os_lock_shared(file), 0);
	for (int order = 0; order < 2; order++) {
		assert_int_equal(os_map_behind(file, 8192, front, &private, &base), 0);
#ifndef POOL_RACE_BUILD
		assert_ptr_equal(base, (char *)private + front);
#endif
		for (size_t i = 0; i < front; i++)
			assert_int_equal(((char *)private)[i], 0);
		assert_memory_equal((char *)base + 8188, "file", 4);
		memcpy(private, "mine", 4);
		memcpy((char *)private + front - 4, "mine", 4);
		memcpy(base, "ours", 4);
		assert_int_equal(os_read_all(file, in, 4, 0), 0);
		assert_memory_equal(in, "ours", 4);
		require_in_child(private, "\0\0\0");
		require_in_child((char *)private + front - 4, "\0\0\0");
		require_in_child(base, "ours");
		/* Each ends alone. */
		if (order == 0)
			os_release(private, front);
		else
			os_unmap(base, 8192);
		assert_memory_equal(order == 0 ? base : private, order == 0 ? "ours" : "mine", 4);
		if (order == 0)
			os_unmap(base, 8192);
		else
			os_release(private, front);
	}
	/* The lock goes with the mapping of the file, whatever becomes of the rest. */
	assert_int_equal(os_map_behind(file, 8192, front, &private, &base), 0);
	close(file);
	assert_int_equal(os_lock_held(probe, &held), 0);
	assert_true(held);
	os_unmap(base, 8192);
	assert_int_equal(os_lock_held(probe, &held), 0);
	assert_false(held);
	os_release(private, front);
	assert_true(os_map_behind(-1, 8192, front, &none, &none) < 0);
	assert_true(os_map_behind(probe, 0, front, &none, &none) < 0);
	assert_true(os_map_behind(probe, SIZE_MAX - front + 1, front, &none, &none) < 0);
	assert_true(os_map_behind(probe, SIZE_MAX - front, front, &none, &none) < 0);
	assert_null(none);
	close(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(private_memory_in_front),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
