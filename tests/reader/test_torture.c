/* SPDX-License-Identifier: Apache-2.0 */
/* label: torture */
/* The torture of torture.h for RGM_TEST_SECONDS (60) each, embedded and with regionmgrd. */
#define _GNU_SOURCE 1

#include "tests/reader/torture.h"

static uint64_t duration_ms(void)
{
	const char *seconds = getenv("RGM_TEST_SECONDS");
	return 1000 * (seconds ? strtoull(seconds, NULL, 0) : 60);
}

static void run(struct instance *instance, uint32_t disable)
{
	struct torture torture = {instance, 6, 4, duration_ms(), support_seed(), true, false};
	instance->options.disable = disable;
	instance_start(instance);
	if (SUPPORT_RACE_BUILD)
		torture_threads(&torture);
	else
		torture_processes(&torture);
}

static void test_embedded(void **state)
{
	struct instance *instance = *state;
	instance->daemon = false;
	run(instance, 0);
}

static void test_without_features(void **state)
{
	struct instance *instance = *state;
	instance->daemon = false;
	run(instance, RGM_DISABLE_MEMBARRIER | RGM_DISABLE_PEERPIDFD);
}

static void test_daemon(void **state)
{
	struct instance *instance = *state;
	instance->daemon = true;
	run(instance, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PREPARED_TEST(test_embedded),
		PREPARED_TEST(test_without_features),
#if !SUPPORT_RACE_BUILD
		PREPARED_TEST(test_daemon),
#endif
	};
	(void)test_daemon;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
