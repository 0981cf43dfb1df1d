/* SPDX-License-Identifier: Apache-2.0 */
/* label: slow */
/* serial: yes */
/* The restarts of restarts.h, a few of them: RGM_TEST_RESTARTS in each case. */
#define _GNU_SOURCE 1

#include "tests/reader/restarts.h"

static unsigned rounds(void)
{
	const char *wanted = getenv("RGM_TEST_RESTARTS");
	return wanted ? (unsigned)strtoul(wanted, NULL, 0) : SUPPORT_ASAN ? 8 : 40;
}

static void test_restarts(void **state)
{
	struct restarts restarts = {.instance = *state, .rounds = rounds(), .seed = support_seed()};
	restarts_run(&restarts);
}

/* Readers that are stopped for a moment lose what they see, under each manager. */
static void test_restarts_with_limit(void **state)
{
	struct instance *instance = *state;
	struct restarts restarts = {
		.instance = instance, .rounds = rounds(), .seed = support_seed(), .revokes = true};
	static const char *const limit[] = {
		"--lag-policy", "limit", "--lag-bytes", "4096", "--warn-section", "20ms"};
	for (size_t i = 0; i < sizeof limit / sizeof *limit; i++)
		instance->extra[i] = limit[i];
	instance->daemon = true;
	instance_start(instance);
	restarts_run(&restarts);
}

int main(void)
{
	if (SUPPORT_RACE_BUILD)
		support_skip_all("the race build has manager and readers in one process");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_restarts, instance_setup_daemon, instance_teardown),
		PREPARED_TEST(test_restarts_with_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
