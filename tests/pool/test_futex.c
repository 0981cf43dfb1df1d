/* SPDX-License-Identifier: Apache-2.0 */
/* Sleeping on a word of shared memory, and waking. */
#define _GNU_SOURCE 1

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool/os.h"

struct sleeper {
	uint32_t *word;
	uint32_t bits;
	int rc;
};

static void *sleep_on(void *argument)
{
	struct sleeper *sleeper = argument;

	do {
		sleeper->rc = os_futex_wait(sleeper->word, 0, sleeper->bits, 60000);
	} while (sleeper->rc == 0 && __atomic_load_n(sleeper->word, __ATOMIC_ACQUIRE) == 0);
	return NULL;
}

static void futex_across_mappings(void **state)
{
	struct sleeper sleeper = {.rc = -1};
	void *readable = NULL, *writable = NULL;
	pthread_t thread;
	int file = -1;

	(void)state;
	assert_int_equal(os_memory_file("futex", 4096, &file), 0);
	assert_int_equal(os_map(file, 4096, true, &writable), 0);
	assert_int_equal(os_map(file, 4096, false, &readable), 0);
	assert_int_equal(os_futex_wait(readable, 1, 1, -1), 0);
	assert_int_equal(os_futex_wait(readable, 0, 1, 1), -ETIMEDOUT);
	assert_int_equal(os_futex_wait(readable, 0, OS_FUTEX_ANY, 1), -ETIMEDOUT);
	assert_int_equal(os_futex_wait(readable, 0, 0, 1), -EINVAL);
	assert_int_equal(os_futex_wake(writable, OS_FUTEX_ANY, 9), 0);
	sleeper = (struct sleeper){readable, 1, -1};
	assert_int_equal(pthread_create(&thread, NULL, sleep_on, &sleeper), 0);
	__atomic_store_n((uint32_t *)writable, 1, __ATOMIC_RELEASE);
	assert_true(os_futex_wake(writable, 1, 9) >= 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(sleeper.rc, 0);
	os_unmap(readable, 4096);
	os_unmap(writable, 4096);
	close(file);
}

/* Wake until it has woken so many; sleepers may not be there yet. */
static void wake_exactly(uint32_t *word, uint32_t bits, int count)
{
	for (int woken = 0; woken < count;) {
		int now = os_futex_wake(word, bits, count - woken);

		assert_true(now >= 0);
		woken += now;
		usleep(1000);
	}
}

static void *sleep_once(void *argument)
{
	struct sleeper *sleeper = argument;

	do
		sleeper->rc = os_futex_wait(sleeper->word, 0, sleeper->bits, 60000);
	while (sleeper->rc == -EINTR);
	return NULL;
}

/* Who names another bit goes on sleeping; no more are woken than were asked for. */
static void futex_bits(void **state)
{
	enum {
		MANY = 6
	};
	struct sleeper sleepers[MANY];
	pthread_t threads[MANY];
	void *word = NULL;
	int file = -1;

	(void)state;
	assert_int_equal(os_memory_file("futex", 4096, &file), 0);
	assert_int_equal(os_map(file, 4096, true, &word), 0);
	for (int i = 0; i < MANY; i++) {
		sleepers[i] = (struct sleeper){word, 1u << (i & 1), -1};
		assert_int_equal(pthread_create(&threads[i], NULL, sleep_once, &sleepers[i]), 0);
	}
	wake_exactly(word, 2, MANY / 2);
	assert_int_equal(os_futex_wake(word, 2, MANY), 0);
	for (int i = 1; i < MANY; i += 2)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	/* none of them sleeps again, so the counts are those of threads */
	wake_exactly(word, OS_FUTEX_ANY, 1);
	wake_exactly(word, 1, MANY / 2 - 1);
	assert_int_equal(os_futex_wake(word, OS_FUTEX_ANY, MANY), 0);
	for (int i = 0; i < MANY; i++) {
		if (i % 2 == 0)
			assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(sleepers[i].rc, 0);
	}
	os_unmap(word, 4096);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(futex_across_mappings),
		cmocka_unit_test(futex_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
