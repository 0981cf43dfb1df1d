/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A forked child of the manager's process: what liburcu still has to free when the fork happens is freed
 * in the child, too, whose descriptors have other uses by then.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <fcntl.h>
#include <unistd.h>
#include <urcu/urcu-bp.h>

#define OWN_FILES 64

static const struct content one = {"one", 5, 8192, 10};

/* The numbers that the fork closed are taken anew; then the grace period of the fork ends here. */
static void reuse_numbers(struct child *parent, void *context)
{
	int files[OWN_FILES];
	(void)parent;
	(void)context;
	for (int i = 0; i < OWN_FILES; i++) {
		files[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		REQUIRE(files[i] >= 0);
	}
	urcu_bp_read_unlock();
	urcu_bp_barrier();
	for (int i = 0; i < OWN_FILES; i++)
		REQUIRE(fcntl(files[i], F_GETFD) >= 0);
}

static void test_region_closed_once(void **state)
{
	struct instance *instance = *state;
	struct rgm_status status;
	instance->daemon = false;
	instance_start(instance);
	instance_put(instance, &one, 1);
	WAIT_UNTIL((instance_status(instance, &status), status.retired_bytes == 0));
	/* Nothing that is handed to call_rcu from here on is freed before the lock is gone. */
	urcu_bp_read_lock();
	instance_drop(instance, "one");
	struct child child = child_start(reuse_numbers, NULL);
	urcu_bp_read_unlock();
	child_join(&child);
}

int main(void)
{
	if (SUPPORT_RACE_BUILD)
		support_skip_all("the race build's readers are threads of the manager's process");
	const struct CMUnitTest tests[] = {
		PREPARED_TEST(test_region_closed_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
