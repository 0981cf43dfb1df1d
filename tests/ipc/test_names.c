/* SPDX-License-Identifier: Apache-2.0 */
/* ipc/names.c: which names are allowed, where things are, texts of fixed size. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/socket.h"

static void names(void **state)
{
	static const char *const bad[] = {"", ".", "..", "a/b", "a b", "\xc3\xa4", "a\n", "%s"};
	struct rgm_error error;
	char longest[RGM_NAME_MAX + 2] = {0};
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(ipc_check_name("dimension", bad[i], &error), RGM_ENAME);
	assert_int_equal(ipc_check_name("dimension", NULL, &error), RGM_ENAME);
	memset(longest, 'a', RGM_NAME_MAX);
	assert_int_equal(ipc_check_name("dimension", longest, &error), 0);
	longest[RGM_NAME_MAX] = 'a';
	assert_int_equal(ipc_check_name("dimension", longest, &error), RGM_ENAME);
	assert_int_equal(ipc_check_name("dimension", "Aa0._-", &error), 0);
	assert_int_equal(ipc_check_name("dimension", "a/b", &error), RGM_ENAME);
	assert_string_equal(error.message,
		"dimension name 'a/b': only letters, digits, '.', '_' and '-' are allowed");
}

static void shared_memory_names(void **state)
{
	const uint8_t id[16] = {0x01, 0xab, [15] = 0xff};
	char name[IPC_SHM_NAME_BYTES];
	(void)state;
	ipc_table_name(id, name);
	assert_string_equal(name, "/regionmgr.01ab00000000000000000000000000ff.table");
	ipc_segment_name(id, UINT64_MAX, name);
	assert_string_equal(
		name, "/regionmgr.01ab00000000000000000000000000ff.s.18446744073709551615");
}

static void texts(void **state)
{
	char field[4], text[5];
	(void)state;
	ipc_text_put(field, sizeof field, "ab");
	assert_memory_equal(field, "ab\0\0", 4);
	ipc_text_put(field, sizeof field, "abcdef");
	assert_memory_equal(field, "abcd", 4);
	ipc_text_get(text, sizeof text, field, sizeof field);
	assert_string_equal(text, "abcd");
	ipc_text_get(text, 3, field, sizeof field);
	assert_string_equal(text, "ab");
	ipc_text_put(field, sizeof field, NULL);
	assert_memory_equal(field, "\0\0\0\0", 4);
}

static void places(void **state)
{
	char path[512];
	struct rgm_error error;
	(void)state;
	unsetenv("REGIONMGR_DIR");
	unsetenv("REGIONMGR_INSTANCE");
	setenv("XDG_STATE_HOME", "/state", 1);
	setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
	bool root = geteuid() == 0;
	assert_int_equal(ipc_folder_path(NULL, path, sizeof path, &error), 0);
	assert_string_equal(path, root ? "/var/lib/regionmgr/default" : "/state/regionmgr/default");
	assert_int_equal(ipc_socket_path("x", NULL, path, sizeof path, &error), 0);
	assert_string_equal(path,
		root ? "/run/regionmgr/x/control.sock" : "/run/user/1/regionmgr/x/control.sock");
	assert_int_equal(ipc_socket_path("x", "/data", path, sizeof path, &error), 0);
	assert_string_equal(path, "/data/control.sock");
	setenv("REGIONMGR_INSTANCE", "fromenv", 1);
	setenv("REGIONMGR_DIR", "/elsewhere/", 1);
	assert_string_equal(ipc_instance_name(NULL), "fromenv");
	assert_string_equal(ipc_instance_name("given"), "given");
	assert_int_equal(ipc_folder_path(NULL, path, sizeof path, &error), 0);
	assert_string_equal(path, "/elsewhere/");
	assert_int_equal(ipc_socket_path(NULL, NULL, path, sizeof path, &error), 0);
	assert_string_equal(path, "/elsewhere/control.sock");
	assert_int_equal(ipc_socket_path("..", NULL, path, sizeof path, &error), RGM_ENAME);
	assert_int_equal(ipc_folder_path("a/b", path, sizeof path, &error), RGM_ENAME);
	assert_int_equal(ipc_folder_path(NULL, path, 5, &error), -ENAMETOOLONG);
	unsetenv("REGIONMGR_DIR");
	unsetenv("REGIONMGR_INSTANCE");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(shared_memory_names),
		cmocka_unit_test(texts),
		cmocka_unit_test(places),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
