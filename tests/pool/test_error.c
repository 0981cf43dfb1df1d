/* SPDX-License-Identifier: Apache-2.0 */
/* pool/error.c, pool/error_names.c: one line, never too long, never a lie about the code. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pool/error.h"

static void sentence_and_code(void **state)
{
	struct rgm_error error = {.code = 7, .hint = "old"};

	(void)state;
	assert_int_equal(pool_fail(&error, RGM_ENODIM, "no dimension '%s'", "libs"), RGM_ENODIM);
	assert_int_equal(error.code, RGM_ENODIM);
	assert_string_equal(error.message, "no dimension 'libs'");
	assert_string_equal(error.hint, "");
	pool_hint(&error, "try %s", "list");
	assert_string_equal(error.hint, "try list");
	assert_string_equal(error.message, "no dimension 'libs'");
}

static void system_words(void **state)
{
	struct rgm_error error;

	(void)state;
	errno = ENOSPC;
	assert_int_equal(pool_fail_errno(&error, "growing '%s'", "x"), -ENOSPC);
	assert_int_equal(error.code, -ENOSPC);
	assert_string_equal(error.message, "growing 'x': No space left on device");
	assert_int_equal(pool_fail_code(&error, -EACCES, "opening"), -EACCES);
	assert_string_equal(error.message, "opening: Permission denied");
	errno = 0;
	assert_int_equal(pool_fail_errno(&error, "doing"), -EIO);
}

static void null_is_allowed(void **state)
{
	(void)state;
	errno = EPERM;
	assert_int_equal(pool_fail(NULL, RGM_ENAME, "x"), RGM_ENAME);
	assert_int_equal(pool_fail_errno(NULL, "x"), -EPERM);
	assert_int_equal(pool_fail_code(NULL, -EIO, "x"), -EIO);
	pool_hint(NULL, "x");
}

static void wraps_itself(void **state)
{
	struct rgm_error error;

	(void)state;
	pool_fail(&error, -EIO, "reading 'a'");
	pool_fail(&error, -EIO, "loading 'b': %s", error.message);
	assert_string_equal(error.message, "loading 'b': reading 'a'");
}

static void one_line(void **state)
{
	struct rgm_error error;

	(void)state;
	pool_fail(&error, RGM_ENAME, "name '%s'", "a\nb\x1b[31m\x7f\tc\xc3\xa4");
	assert_string_equal(error.message, "name 'a?b?[31m??c\xc3\xa4'");
	pool_hint(&error, "%s", "a\nb");
	assert_string_equal(error.hint, "a?b");
}

/* Every length around the end of the buffer, with a two-byte character at each place of it. */
static void too_long(void **state)
{
	char name[sizeof(((struct rgm_error *)0)->message) + 20];
	struct rgm_error error;

	(void)state;
	for (size_t length = 480; length < sizeof(name) - 2; length++) {
		memset(name, 'n', length);
		memcpy(name + length, "\xc3\xa4", 3);
		pool_fail(&error, RGM_ENAME, "%s", name);
		if (length + 2 < sizeof(error.message)) {
			assert_string_equal(error.message, name);
		} else {
			size_t end = strlen(error.message);

			assert_true(end < sizeof(error.message));
			assert_string_equal(error.message + end - 3, "...");
			assert_true((unsigned char)error.message[end - 4] != 0xc3);
		}
		pool_fail_code(&error, -EIO, "%s", name);
		assert_true(memchr(error.message, '\0', sizeof(error.message)) != NULL);
		pool_hint(&error, "%s", name);
		assert_string_equal(error.hint + sizeof(error.hint) - 4, "...");
	}
}

static void names_and_texts(void **state)
{
	(void)state;
	assert_string_equal(rgm_error_name(0), "RGM_OK");
	assert_string_equal(rgm_error_name(-ENOSPC), "ENOSPC");
	assert_string_equal(rgm_error_name(5), "RGM_UNKNOWN");
	assert_string_equal(rgm_error_name(INT32_MIN), "RGM_UNKNOWN");
	assert_string_equal(rgm_error_text(-4000), "Unknown error");
	/* The codes are dense from RGM_ENAME down to the last one: none is forgotten. */
	for (int code = RGM_ENAME; code >= RGM_EFORMAT; code--) {
		assert_memory_equal(rgm_error_name(code), "RGM_E", 5);
		assert_true(strlen(rgm_error_text(code)) > 0);
		assert_string_not_equal(rgm_error_text(code), "Unknown error");
	}
	assert_string_equal(rgm_error_name(RGM_EFORMAT - 1), "RGM_UNKNOWN");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sentence_and_code),
		cmocka_unit_test(system_words),
		cmocka_unit_test(null_is_allowed),
		cmocka_unit_test(wraps_itself),
		cmocka_unit_test(one_line),
		cmocka_unit_test(too_long),
		cmocka_unit_test(names_and_texts),
	};

	return cmocka_run_group_tests_name("pool/error", tests, NULL, NULL);
}
