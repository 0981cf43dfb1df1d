/* SPDX-License-Identifier: Apache-2.0 */
/* label: long
 * The numbers of storm.h in full. */
#define _GNU_SOURCE 1

#include "tests/reader/storm.h"

static void test_512_sessions(void **state)
{
	storm_sessions(*state, 512, 3, 20);
}

#if !SUPPORT_RACE_BUILD
static void test_1000_processes(void **state)
{
	storm_processes(*state, 1000, 64);
}

static void test_4096_dimensions(void **state)
{
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	REQUIRE_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < 4096 + 100) {
		support_tell_skip("4096_dimensions", "RLIMIT_NOFILE is below one a dimension");
		skip();
	}
	storm_dimensions(*state, 4096);
}
#endif

int main(void)
{
	setenv("RGM_TEST_DAEMON", "0", 1);
	support_adopt_orphans();
	const struct CMUnitTest tests[] = {
#if !SUPPORT_RACE_BUILD
		INSTANCE_TEST(test_1000_processes),
		INSTANCE_TEST(test_4096_dimensions),
#endif
		INSTANCE_TEST(test_512_sessions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
