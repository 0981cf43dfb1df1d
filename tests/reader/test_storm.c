/* SPDX-License-Identifier: Apache-2.0 */
/* label: slow */
/* The numbers of storm.h, small; and a manager that runs out of descriptors. */
#define _GNU_SOURCE 1

#include "tests/reader/storm.h"

static void test_sessions(void **state)
{
	storm_sessions(*state, 1, 4, 60);
	storm_sessions(*state, 8, 3, 30);
	storm_sessions(*state, 64, 2, 5);
}

#if !SUPPORT_RACE_BUILD
static void test_processes(void **state)
{
	if (SUPPORT_ASAN)
		storm_processes(*state, 30, 8); /* a fork there takes a quarter of a second */
	else
		storm_processes(*state, 200, 24);
}

static void test_dimensions(void **state)
{
	storm_dimensions(*state, SUPPORT_ASAN ? 50 : 200);
}

/* A region file has a descriptor in the manager: at its limit the next dimension is refused with a
 * sentence, everything else goes on, and a drop makes room. */
static void run_out(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct rlimit few = {120, 120};
	struct rgm_error error;
	char name[16];
	unsigned count = 0;
	int rc;
	(void)parent;
	REQUIRE_EQUAL(setrlimit(RLIMIT_NOFILE, &few), 0);
	instance_start(instance);
	do
		storm_name(name, count);
	while ((rc = rgm_manager_create(instance->manager, name, NULL, &error)) == 0 &&
		count++ < 200);
	REQUIRE_ERROR(rc, RGM_ELIMIT, &error);
	REQUIRE(strstr(error.message, "RLIMIT_NOFILE") && error.hint[0]);
	REQUIRE(count > 30);
	struct rgm_status status;
	for (int round = 0; round < 3; round++) {
		struct reader reader;
		for (unsigned i = 0; i < 10; i++) {
			storm_name(name, i);
			instance_drop(instance, name);
		}
		reader_open(&reader, instance, NULL);
		instance_status(instance, &status);
		REQUIRE_EQUAL(status.dimensions, count - 10);
		reader_close(&reader);
		instance_wait_readers(instance, 0);
		for (unsigned i = 0; i < 10; i++) {
			storm_name(name, i);
			WAIT_UNTIL((rc = rgm_manager_create(
					    instance->manager, name, NULL, &error)) == 0);
		}
	}
	/* And by the socket, too, somebody gets through to drop. */
	struct rgm_control_options options = {.size = sizeof options, .socket = instance->socket};
	struct rgm_control *control;
	must(rgm_control_open(NULL, &options, &control, &error), &error);
	must(rgm_control_drop(control, "d00000", false, NULL, &error), &error);
	rgm_control_close(control);
	count--;
	instance_stop(instance);
	instance_start(instance);
	instance_status(instance, &status);
	REQUIRE_EQUAL(status.dimensions, count);
	REQUIRE_EQUAL(status.refused, 0);
	instance_stop(instance);
}

static void test_few_descriptors(void **state)
{
	struct instance *instance = *state;
	struct child child = child_start(run_out, instance);
	child_join(&child);
}
#endif

int main(void)
{
	/* What the manager has open is looked at from inside. */
	setenv("RGM_TEST_DAEMON", "0", 1);
	support_adopt_orphans();
	const struct CMUnitTest tests[] = {
#if !SUPPORT_RACE_BUILD
		/* First: it forks, and no manager was here before. */
		PREPARED_TEST(test_few_descriptors),
		INSTANCE_TEST(test_processes),
		INSTANCE_TEST(test_dimensions),
#endif
		INSTANCE_TEST(test_sessions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
