/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that come about beside fork(2), with which no handler has a say: raw clone(2), vfork(2),
 * posix_spawn(3), fork and exec from a section. The parent's sections and holds are what they were; who
 * executes another program keeps nothing; a cloned copy that outlives the parent keeps what it may still
 * look at, and hides nobody's death. And threads that fork at the same time.
 */
#define _GNU_SOURCE 1

#include "tests/reader/play.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static pid_t raw_clone(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static void end_well(pid_t pid)
{
	int status = -1;
	REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
	support_forget(pid);
	REQUIRE_EQUAL(status, 0);
}

/* --- Other programs ------------------------------------------------------------------------------------- */

static pid_t spawn_sleeper(void)
{
	static char program[] = "sleep", time[] = "600";
	char *arguments[] = {program, time, NULL};
	pid_t pid = 0;
	REQUIRE_EQUAL(posix_spawnp(&pid, "sleep", NULL, NULL, arguments, environ), 0);
	return pid;
}

static pid_t vfork_sleeper(void)
{
	pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork): users do */
	if (pid == 0) {
		execlp("sleep", "sleep", "600", (char *)NULL);
		_exit(127);
	}
	return pid;
}

static pid_t fork_sleeper(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		execlp("sleep", "sleep", "600", (char *)NULL);
		_exit(127);
	}
	return pid;
}

static pid_t clone_sleeper(void)
{
	pid_t pid = raw_clone();
	if (pid == 0) {
		execlp("sleep", "sleep", "600", (char *)NULL);
		_exit(127);
	}
	return pid;
}

/* What another program may not have of ours: no object of the instance, no socket to it. */
static bool executes(pid_t pid)
{
	char path[64], name[32] = "";
	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	FILE *file = fopen(path, "re");
	bool good = file && fgets(name, sizeof name, file) && strcmp(name, "sleep\n") == 0;
	if (file)
		fclose(file);
	return good;
}

static unsigned count_files(pid_t pid, const char *text)
{
	unsigned count = 0;
	char path[64], target[300];
	for (int number = 3; number < 256; number++) {
		snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, number);
		ssize_t length = readlink(path, target, sizeof target - 1);
		if (length > 0)
			target[length] = 0;
		count += length > 0 && strstr(target, text) != NULL;
	}
	return count;
}

/* A reader that starts another program in the middle of a section, with a hold, and is killed. */
struct start {
	struct instance *instance;
	pid_t (*sleeper)(void);
};

static void start_program(struct child *parent, void *context)
{
	const struct start *start = context;
	struct play play;
	attach(&play, start->instance);
	take(&play);
	must(rgm_pin(play.reader.slot), NULL);
	pid_t pid = start->sleeper();
	REQUIRE(pid > 0);
	WAIT_UNTIL(executes(pid));
	REQUIRE_EQUAL(count_files(pid, "regionmgr"), 0);
	REQUIRE_EQUAL(count_files(pid, "socket:"), 0);
	REQUIRE_EQUAL(write(parent->talk, &pid, sizeof pid), (ssize_t)sizeof pid);
	child_expect(parent, 'w');
	/* Unharmed: the section and the hold see what they saw. */
	REQUIRE_EQUAL(slot_generation(play.reader.slot, &data), 1);
	REQUIRE_EQUAL(hold_generation(play.hold, &data), 1);
	must(rgm_unpin(play.reader.slot), NULL);
	child_say(parent, 'u');
	child_expect(parent, 'r');
	REQUIRE_EQUAL(rgm_hold_release(play.hold), 0);
	reap(&play);
	child_say(parent, 'r');
	child_expect(parent, 'h');
	take(&play);
	must(rgm_pin(play.reader.slot), NULL);
	child_say(parent, 'h');
	child_hear(parent);
}

static void other_program(struct instance *instance, pid_t (*sleeper)(void))
{
	struct start start = {instance, sleeper};
	uint64_t generation = 1;
	pid_t pid = 0;
	instance_put(instance, &data, 1);
	struct child child = child_start(start_program, &start);
	REQUIRE_EQUAL(recv(child.talk, &pid, sizeof pid, MSG_WAITALL), (ssize_t)sizeof pid);
	support_adopt(pid);
	while (generation < 12)
		instance_put(instance, &data, ++generation);
	child_say(&child, 'w');
	child_expect(&child, 'u');
	support_sleep_ms(50);
	REQUIRE(instance_retired(instance, "data") > 0);
	/* The other program keeps nothing of the hold. */
	child_say(&child, 'r');
	child_expect(&child, 'r');
	instance_wait_reclaimed(instance, "data");
	instance_put(instance, &data, 1); /* take() looks for this generation */
	child_say(&child, 'h');
	child_expect(&child, 'h');
	instance_put(instance, &data, 2);
	child_kill(&child);
	instance_wait_readers(instance, 0);
	instance_wait_reclaimed(instance, "data");
	REQUIRE_EQUAL(kill(pid, 0), 0);
	REQUIRE(executes(pid));
	kill(pid, SIGKILL);
	support_reap(pid);
}

static void test_posix_spawn(void **state)
{
	other_program(*state, spawn_sleeper);
}

static void test_vfork(void **state)
{
	other_program(*state, vfork_sleeper);
}

static void test_fork_and_exec(void **state)
{
	other_program(*state, fork_sleeper);
}

static void test_clone_and_exec(void **state)
{
	other_program(*state, clone_sleeper);
}

/* --- Copies ---------------------------------------------------------------------------------------------- */

/* A reader that was cloned by the system call ends: killed, or in good order. Its copy has the mappings, and
 * the connection. */
static void clone_and_end(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct play play;
	int ends[2];
	char byte;
	attach(&play, instance);
	take(&play);
	must(rgm_pin(play.reader.slot), NULL);
	REQUIRE_EQUAL(pipe(ends), 0);
	pid_t pid = raw_clone();
	REQUIRE(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, 0);
		close(ends[1]);
		/* Its own calls store nothing. */
		if (rgm_pin(play.reader.slot) != RGM_EFORKED ||
			rgm_hold_release(play.hold) != RGM_EFORKED)
			_exit(3);
		if (write(parent->talk, "c", 1) != 1)
			_exit(4);
		while (read(ends[0], &byte, 1) > 0) /* until the parent is gone */
			;
		for (int i = 0; i < 200; i++) {
			if (hold_generation(play.hold, &data) != 1)
				_exit(5);
			support_sleep_ms(1);
		}
		for (;;)
			pause();
	}
	child_expect(parent, 'n');
	REQUIRE_EQUAL(write(parent->talk, &pid, sizeof pid), (ssize_t)sizeof pid);
	child_hear(parent);
}

static void test_copy_outlives_the_reader(void **state)
{
	struct instance *instance = *state;
	struct rgm_reader_row row;
	pid_t pid = 0;
	int status;
	if (!support_has_peerpidfd()) {
		support_tell_skip("pidfd", "this kernel has no SO_PEERPIDFD (Linux 6.5)");
		skip();
	}
	instance_put(instance, &data, 1);
	struct child child = child_start(clone_and_end, instance);
	child_expect(&child, 'c');
	child_say(&child, 'n');
	REQUIRE_EQUAL(recv(child.talk, &pid, sizeof pid, MSG_WAITALL), (ssize_t)sizeof pid);
	support_adopt(pid);
	child_kill(&child);
	for (uint64_t generation = 2; generation < 60; generation++)
		instance_put(instance, &data, generation);
	/* The death is told though the copy has the connection open; what it maps is kept. */
	REQUIRE(instance_reader(instance, 1, &row));
	WAIT_UNTIL(instance_reader(instance, 1, &row) && !row.alive && row.sections == 0);
	support_sleep_ms(300); /* it looks all the while */
	REQUIRE(instance_retired(instance, "data") > 0);
	REQUIRE_EQUAL(waitpid(pid, &status, WNOHANG), 0);
	kill(pid, SIGKILL);
	support_reap(pid);
	instance_wait_readers(instance, 0);
	instance_wait_reclaimed(instance, "data");
}

/* A copy of a reader that lives on and releases: nothing is kept for the copy, which had no handler. */
static void test_copy_beside_the_reader(void **state)
{
	struct instance *instance = *state;
	struct play play;
	int ends[2];
	char byte;
	begin(&play, instance);
	take(&play);
	REQUIRE_EQUAL(pipe2(ends, O_CLOEXEC), 0);
	pid_t pid = raw_clone();
	REQUIRE(pid >= 0);
	if (pid == 0) {
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
	}
	support_adopt(pid);
	replace_often(&play);
	REQUIRE(kept(&play));
	REQUIRE_EQUAL(rgm_hold_release(play.hold), 0);
	instance_wait_reclaimed(instance, "data");
	/* Detached beside it, the session stays for the copy's mapping of the segment, and keeps nothing. */
	reader_close(&play.reader);
	support_sleep_ms(50);
	REQUIRE_EQUAL(instance_readers(instance), 1);
	instance_put(instance, &data, 3);
	instance_wait_reclaimed(instance, "data");
	close(ends[0]);
	close(ends[1]);
	end_well(pid);
	instance_wait_readers(instance, 0);
}

/* --- Forks at the same time --------------------------------------------------------------------------- */

struct forker {
	struct play *play;
	int rounds;
};

static void *fork_often(void *argument)
{
	struct forker *forker = argument;
	struct play *play = forker->play;
	for (int i = 0; i < forker->rounds; i++) {
		pid_t pid = i % 3 == 2 ? raw_clone() : fork();
		REQUIRE(pid >= 0);
		if (pid == 0)
			_exit(hold_generation(play->hold, &data) == 1 &&
						rgm_pin(play->reader.slot) == RGM_EFORKED
					? 0
					: 1);
		int status = -1;
		REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
		REQUIRE_EQUAL(status, 0);
	}
	return NULL;
}

static void *read_often(void *argument)
{
	struct play *play = argument;
	struct reader reader = {.session = play->reader.session};
	struct rgm_error error;
	must(rgm_slot_open(reader.session, &reader.slot, &error), &error);
	while (!__atomic_load_n(&play->child, __ATOMIC_ACQUIRE)) {
		struct rgm_hold *hold = reader_take(&reader, "data");
		REQUIRE(reader_generation(&reader, &data) > 0);
		REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	}
	rgm_slot_close(reader.slot);
	return NULL;
}

static void run_forkers(struct child *parent, void *context)
{
	struct play *play = context;
	struct forker forkers[3];
	pthread_t ids[4];
	attach(play, play->instance);
	take(play);
	child_say(parent, 'a');
	for (int i = 0; i < 3; i++) {
		forkers[i] = (struct forker){play, 25};
		REQUIRE_EQUAL(pthread_create(&ids[i], NULL, fork_often, &forkers[i]), 0);
	}
	REQUIRE_EQUAL(pthread_create(&ids[3], NULL, read_often, play), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(ids[i], NULL);
	__atomic_store_n(&play->child, run_forkers, __ATOMIC_RELEASE);
	pthread_join(ids[3], NULL);
	REQUIRE_EQUAL(rgm_hold_release(play->hold), 0);
	reap(play);
	child_say(parent, 'f');
	child_expect(parent, 'e');
	reader_close(&play->reader);
}

static void test_threads_fork_together(void **state)
{
	struct instance *instance = *state;
	struct play play = {.instance = instance};
	instance_put(instance, &data, 1);
	struct child child = child_start(run_forkers, &play);
	child_expect(&child, 'a');
	for (uint64_t generation = 2; generation < 60; generation++) {
		instance_put(instance, &data, generation);
		support_sleep_ms(2);
	}
	child_expect(&child, 'f');
	instance_wait_reclaimed(instance, "data");
	child_say(&child, 'e');
	child_join(&child);
	instance_wait_readers(instance, 0);
}

int main(void)
{
	if (SUPPORT_RACE_BUILD)
		support_skip_all("a race build has manager and readers in one process");
	support_adopt_orphans();
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_posix_spawn),
		INSTANCE_TEST(test_vfork),
		INSTANCE_TEST(test_fork_and_exec),
		INSTANCE_TEST(test_clone_and_exec),
		INSTANCE_TEST(test_copy_outlives_the_reader),
		INSTANCE_TEST(test_copy_beside_the_reader),
		INSTANCE_TEST(test_threads_fork_together),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
