/* SPDX-License-Identifier: Apache-2.0 */
/* label: torture */
/* The torture of torture.h for RGM_TEST_SECONDS (60) each, embedded and with regionmgrd, and with a policy
 * that revokes whoever is late. */
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

/* Whoever is stopped for 20 ms in front of a look around loses what it sees. */
static void test_limit(void **state)
{
	struct instance *instance = *state;
	struct torture torture = {instance, 6, 4, duration_ms(), support_seed(), true, true};
	instance->daemon = false;
	instance->options.lag_policy = RGM_LAG_LIMIT;
	instance->options.lag_bytes = 1;
	instance->options.warn_section_ms = 20;
	instance_start(instance);
	torture_processes(&torture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PREPARED_TEST(test_embedded),
		PREPARED_TEST(test_without_features),
#if !SUPPORT_RACE_BUILD
		PREPARED_TEST(test_daemon),
		PREPARED_TEST(test_limit),
#endif
	};
	(void)test_daemon;
	(void)test_limit;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
