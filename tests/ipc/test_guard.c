/* SPDX-License-Identifier: Apache-2.0 */
/* ipc/guard.c: mappings that others cut off read as zeros, and faults of others are not ours. */
#define _GNU_SOURCE 1

#include "tests/support/support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/guard.h"

#define PAGE 4096u

/* cmocka puts its own handler in place before each test and takes it away behind it: put ours back.
 * Not called before the children of the first tests are gone, which need a process without it. */
static void use_guard(void)
{
	static struct sigaction ours;
	static bool known;
	if (!known) {
		signal(SIGBUS, SIG_DFL);
		REQUIRE_EQUAL(guard_install(), 0);
		REQUIRE_EQUAL(sigaction(SIGBUS, NULL, &ours), 0);
		known = true;
	}
	REQUIRE_EQUAL(sigaction(SIGBUS, &ours, NULL), 0);
}

struct window {
	int file;
	size_t bytes;
	volatile char *base;
	uint64_t damage;
};

static uint64_t damage_of(const struct window *window)
{
	return __atomic_load_n(&window->damage, __ATOMIC_RELAXED);
}

static struct window window_open(size_t bytes, bool filled)
{
	struct window window = {.bytes = bytes};
	window.file = memfd_create("regionmgr-test-guard", MFD_CLOEXEC);
	REQUIRE(window.file >= 0);
	REQUIRE_EQUAL(ftruncate(window.file, (off_t)bytes), 0);
	window.base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, window.file, 0);
	REQUIRE(window.base != MAP_FAILED);
	if (filled)
		memset((void *)window.base, 'x', bytes);
	return window;
}

static void window_close(struct window *window)
{
	guard_remove((const void *)window->base);
	munmap((void *)window->base, window->bytes);
	close(window->file);
}

static void test_page_by_page(void **state)
{
	(void)state;
	struct window window = window_open(8 * PAGE, true);
	uint64_t hits = guard_hits();
	use_guard();
	REQUIRE_EQUAL(
		guard_add((void *)window.base, window.bytes, false, false, &window.damage), 0);
	REQUIRE_EQUAL(ftruncate(window.file, 3 * PAGE), 0);
	REQUIRE_EQUAL(window.base[0], 'x');
	REQUIRE_EQUAL(window.base[3 * PAGE - 1], 'x');
	REQUIRE_EQUAL(damage_of(&window), 0);
	REQUIRE_EQUAL(window.base[3 * PAGE], 0);
	REQUIRE_EQUAL(window.base[3 * PAGE + 100], 0);
	REQUIRE_EQUAL(damage_of(&window), 1);
	REQUIRE_EQUAL(window.base[8 * PAGE - 1], 0);
	REQUIRE_EQUAL(damage_of(&window), 2);
	REQUIRE_EQUAL(guard_hits() - hits, 2);
	/* What was not damaged is still the file. */
	REQUIRE_EQUAL(pwrite(window.file, "y", 1, 0), 1);
	REQUIRE_EQUAL(window.base[0], 'y');
	window_close(&window);
}

static void test_whole_and_writable(void **state)
{
	(void)state;
	struct window window = window_open(4 * PAGE, true);
	use_guard();
	REQUIRE_EQUAL(guard_add((void *)window.base, window.bytes, true, true, &window.damage), 0);
	REQUIRE_EQUAL(ftruncate(window.file, PAGE), 0);
	window.base[2 * PAGE] = 'w';
	REQUIRE_EQUAL(damage_of(&window), 1);
	REQUIRE_EQUAL(window.base[2 * PAGE], 'w');
	REQUIRE_EQUAL(window.base[0], 0); /* all of it was replaced at once */
	REQUIRE_EQUAL(window.base[3 * PAGE], 0);
	REQUIRE_EQUAL(damage_of(&window), 1);
	window_close(&window);
}

/* A scan with gaps of a long window must not run out of mappings (vm.max_map_count). */
static void test_more_faults_than_mappings(void **state)
{
	(void)state;
	size_t pages = 400000;
	struct window window = window_open(pages * PAGE, false);
	use_guard();
	REQUIRE_EQUAL(
		guard_add((void *)window.base, window.bytes, false, false, &window.damage), 0);
	REQUIRE_EQUAL(ftruncate(window.file, 0), 0);
	for (size_t i = 0; i < pages; i += 2)
		REQUIRE_EQUAL(window.base[i * PAGE], 0);
	REQUIRE(damage_of(&window) > 0);
	window_close(&window);
}

/* --- Faults that are not ours ------------------------------------------------------------------- */

static sigjmp_buf back;
static int caught;

static void catch_info(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	caught = number;
	siglongjmp(back, 1);
}

static void catch_plain(int number)
{
	caught = number;
	siglongjmp(back, 1);
}

/* In a child, since the guard is installed once a process: what it finds there it chains. */
static void other_handler(struct child *parent, void *context)
{
	struct sigaction action = {0};
	bool plain = *(bool *)context;
	if (plain)
		action.sa_handler = catch_plain;
	else {
		action.sa_sigaction = catch_info;
		action.sa_flags = SA_SIGINFO;
	}
	(void)parent;
	sigaction(SIGBUS, &action, NULL);
	REQUIRE_EQUAL(guard_install(), 0);
	REQUIRE_EQUAL(guard_install(), 0);
	struct window ours = window_open(2 * PAGE, true), other = window_open(2 * PAGE, true);
	REQUIRE_EQUAL(guard_add((void *)ours.base, ours.bytes, false, false, &ours.damage), 0);
	REQUIRE_EQUAL(ftruncate(ours.file, 0), 0);
	REQUIRE_EQUAL(ftruncate(other.file, 0), 0);
	errno = 1234;
	REQUIRE_EQUAL(ours.base[0], 0);
	REQUIRE_EQUAL(errno, 1234);
	REQUIRE_EQUAL(caught, 0);
	if (sigsetjmp(back, 1) == 0)
		(void)other.base[0];
	REQUIRE_EQUAL(caught, SIGBUS);
	/* A range that was removed is as any other. */
	caught = 0;
	guard_remove((void *)ours.base);
	if (sigsetjmp(back, 1) == 0)
		(void)ours.base[PAGE];
	REQUIRE_EQUAL(caught, SIGBUS);
}

static void test_chained(void **state)
{
	(void)state;
	bool plain = true, info = false;
	struct child child = child_start(other_handler, &plain);
	child_join(&child);
	child = child_start(other_handler, &info);
	child_join(&child);
}

static void fault_outside(struct child *parent, void *context)
{
	(void)parent;
	(void)context;
	signal(SIGBUS, SIG_DFL);
	REQUIRE_EQUAL(guard_install(), 0);
	struct window other = window_open(PAGE, true);
	REQUIRE_EQUAL(ftruncate(other.file, 0), 0);
	(void)other.base[0];
}

static void signal_from_outside(struct child *parent, void *context)
{
	(void)parent;
	(void)context;
	signal(SIGBUS, SIG_DFL);
	REQUIRE_EQUAL(guard_install(), 0);
	raise(SIGBUS);
}

static void expect_death(child_run *run)
{
	struct child child = child_start(run, NULL);
	int status;
	REQUIRE_EQUAL(waitpid(child.pid, &status, 0), child.pid);
	close(child.talk);
	if (SUPPORT_ASAN || SUPPORT_RACE_BUILD)
		REQUIRE(status != 0); /* the sanitizer's own handler may have it */
	else
		REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static void test_default_action_stays(void **state)
{
	(void)state;
	expect_death(fault_outside);
	expect_death(signal_from_outside);
}

/* --- Limits and threads ------------------------------------------------------------------------- */

static void test_limit(void **state)
{
	(void)state;
	static uint64_t damage;
	static char bytes[GUARD_MAX + 1];
	for (uint32_t i = 0; i < GUARD_MAX; i++)
		REQUIRE_EQUAL(guard_add(&bytes[i], 1, false, false, &damage), 0);
	REQUIRE_EQUAL(guard_add(&bytes[GUARD_MAX], 1, false, false, &damage), -ENOSPC);
	guard_remove(&bytes[7]);
	REQUIRE_EQUAL(guard_add(&bytes[GUARD_MAX], 1, false, false, &damage), 0);
	guard_remove(&bytes[GUARD_MAX]);
	for (uint32_t i = 0; i < GUARD_MAX; i++)
		if (i != 7)
			guard_remove(&bytes[i]);
}

static void *fault_all(void *argument)
{
	struct window *window = argument;
	for (size_t at = 0; at < window->bytes; at += PAGE)
		if (window->base[at] != 0)
			return argument;
	return NULL;
}

static void *add_and_remove(void *argument)
{
	bool *stop = argument;
	uint64_t damage = 0;
	while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
		struct window window = window_open(2 * PAGE, true);
		REQUIRE_EQUAL(
			guard_add((void *)window.base, window.bytes, true, false, &damage), 0);
		REQUIRE_EQUAL(ftruncate(window.file, 0), 0);
		REQUIRE_EQUAL(window.base[PAGE], 0);
		window_close(&window);
	}
	REQUIRE(__atomic_load_n(&damage, __ATOMIC_RELAXED) > 0);
	return NULL;
}

static void test_threads_fault_together(void **state)
{
	(void)state;
	bool stop = false;
	pthread_t churn, threads[3];
	use_guard();
	REQUIRE_EQUAL(pthread_create(&churn, NULL, add_and_remove, &stop), 0);
	for (int round = 0; round < 50; round++) {
		struct window window = window_open(32 * PAGE, true);
		REQUIRE_EQUAL(guard_add((void *)window.base, window.bytes, round % 2, false,
				      &window.damage),
			0);
		REQUIRE_EQUAL(ftruncate(window.file, 0), 0);
		for (int i = 0; i < 3; i++)
			pthread_create(&threads[i], NULL, fault_all, &window);
		for (int i = 0; i < 3; i++) {
			void *wrong = NULL;
			pthread_join(threads[i], &wrong);
			REQUIRE(wrong == NULL);
		}
		REQUIRE(damage_of(&window) >= 1);
		window_close(&window);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	pthread_join(churn, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chained),
		cmocka_unit_test(test_default_action_stays),
		cmocka_unit_test(test_page_by_page),
		cmocka_unit_test(test_whole_and_writable),
		cmocka_unit_test(test_more_faults_than_mappings),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_threads_fault_together),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
