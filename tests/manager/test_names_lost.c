/* SPDX-License-Identifier: Apache-2.0 */
/* label: slow */
/*
 * Names and locks that outsiders take away or put something else in the place of, under a manager that
 * lives or while it is down. Locks decide who serves, never a number in a file; who is attached reads on;
 * who comes is served or told; and a manager that starts never writes where unknown readers look.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/format.h"

static const struct content one = {"one", 4, 8192, 51};

static void shm_path(char path[128], const struct instance *instance, const char *end)
{
	snprintf(path, 128, "/dev/shm/regionmgr.%s.%s", instance->id, end);
}

static void write_text(const char *path, const char *text, size_t bytes)
{
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	REQUIRE(file >= 0);
	REQUIRE_EQUAL(write(file, text, bytes), (ssize_t)bytes);
	close(file);
}

static uint64_t generation_of(struct instance *instance)
{
	struct reader reader;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "one");
	uint64_t generation = reader_generation(&reader, &one);
	reader_close(&reader);
	instance_wait_readers(instance, 0);
	return generation;
}

/* --- Who serves ------------------------------------------------------------------------------------- */

/* What a second manager of the folder is told; it must not touch anything of the first. */
static void refuse_second(struct instance *instance, const char *by)
{
	struct instance second = *instance;
	struct rgm_error error;
	unsigned names = instance_shm_names(instance);
	snprintf(second.socket, sizeof second.socket, "%s/other.sock", instance->folder);
	second.options = (struct rgm_manager_options){.size = sizeof second.options};
	REQUIRE_ERROR(instance_start_fails(&second, &error), RGM_EINUSE, &error);
	REQUIRE(strstr(error.message, by) != NULL);
	REQUIRE(access(second.socket, F_OK) != 0);
	REQUIRE_EQUAL(instance_shm_names(instance), names);
}

/* Whatever stands in the lock file of an instance that nobody serves: numbers of processes that live, of
 * none, of this one, and what is no number. */
static void test_stale_numbers(void **state)
{
	struct instance *instance = *state;
	char path[256], own[32], long_text[5000], line[32] = "";
	instance_put(instance, &one, 1);
	instance_stop(instance);
	snprintf(path, sizeof path, "%s/lock", instance->folder);
	snprintf(own, sizeof own, "%d\n", (int)getpid());
	memset(long_text, '7', sizeof long_text);
	const char *texts[] = {"1\n", own, "999999999\n", "", "-1\n", "no number\n", "\n\n\n"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts + 1; i++) {
		bool last = i == sizeof texts / sizeof *texts;
		write_text(path, last ? long_text : texts[i],
			last ? sizeof long_text : strlen(texts[i]));
		instance_start(instance);
		REQUIRE_EQUAL(generation_of(instance), 1);
		/* It says who serves, and nothing of what stood there. */
		int file = open(path, O_RDONLY | O_CLOEXEC);
		memset(line, 0, sizeof line);
		REQUIRE(read(file, line, sizeof line - 1) > 0);
		close(file);
		REQUIRE(strcmp(line, own) == 0);
		instance_stop(instance);
	}
	instance_start(instance);
}

/* Whatever is written into it while somebody serves. */
static void test_overwritten_number(void **state)
{
	struct instance *instance = *state;
	char path[256], own[32];
	snprintf(path, sizeof path, "%s/lock", instance->folder);
	snprintf(own, sizeof own, "process %d", (int)getpid());
	refuse_second(instance, own);
	write_text(path, "", 0);
	refuse_second(instance, "process ?");
	write_text(path, "\a; rm -r /", 10);
	refuse_second(instance, "process ?");
	write_text(path, "12345678", 8);
	refuse_second(instance, "process 12345678");
	instance_put(instance, &one, 1);
	REQUIRE_EQUAL(generation_of(instance), 1);
}

/* The lock file itself goes, or another one stands in its place. */
static void test_lock_file_is_lost(void **state)
{
	struct instance *instance = *state;
	char path[256];
	instance_put(instance, &one, 1);
	snprintf(path, sizeof path, "%s/lock", instance->folder);
	REQUIRE_EQUAL(unlink(path), 0);
	refuse_second(instance, "served already");
	/* The second one made it anew. */
	refuse_second(instance, "served already");
	REQUIRE_EQUAL(generation_of(instance), 1);
	instance_put(instance, &one, 2);
	instance_stop(instance);
	instance_start(instance);
	REQUIRE_EQUAL(generation_of(instance), 2);
}

#if !SUPPORT_RACE_BUILD
/* A process cloned without fork handlers has every descriptor of the manager: after a clean stop its
 * copies stand in nobody's way. */
static void test_cloned_locks(void **state)
{
	struct instance *instance = *state;
	int ends[2], status = -1;
	char byte;
	instance_put(instance, &one, 1);
	REQUIRE_EQUAL(pipe2(ends, O_CLOEXEC), 0);
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	REQUIRE(pid >= 0);
	if (pid == 0) {
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
	}
	support_adopt(pid);
	for (uint64_t generation = 1; generation < 4; generation++) {
		REQUIRE_EQUAL(generation_of(instance), generation);
		instance_stop(instance);
		instance_start(instance);
		instance_put(instance, &one, generation + 1);
	}
	close(ends[0]);
	close(ends[1]);
	REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
	REQUIRE_EQUAL(status, 0);
	support_forget(pid);
}
#endif

/* --- Names in shared memory, under a manager that lives ------------------------------------------------ */

enum stand_in {
	NOTHING,
	EMPTY,
	SHORT,
	ZEROS,
	GARBAGE,
	OLD_COPY,
	STAND_INS
};

/* Put it under the name. All of it may be read by this user, as the true one. */
static void replace_name(const char *path, enum stand_in what)
{
	static uint64_t words[1 << 17];
	size_t bytes[STAND_INS] = {0, 0, 100, sizeof words, sizeof words, sizeof words};
	uint64_t random = 99;
	memset(words, 0, sizeof words);
	if (what == GARBAGE)
		for (size_t i = 0; i < sizeof words / sizeof *words; i++)
			words[i] = support_random(&random);
	if (what == OLD_COPY) {
		int file = open(path, O_RDONLY | O_CLOEXEC);
		REQUIRE(file >= 0 && read(file, words, sizeof words) == sizeof words);
		close(file);
	}
	REQUIRE_EQUAL(unlink(path), 0);
	if (what != NOTHING)
		write_text(path, (const char *)words, bytes[what]);
}

/* The table's name leads elsewhere: who is attached sees each new version, and so does who attaches, since
 * the manager hands out what it has and asks no name. */
static void test_table_is_replaced(void **state)
{
	struct instance *instance = *state;
	for (enum stand_in what = 0; what < STAND_INS; what++) {
		struct reader reader, late;
		char path[128];
		instance_put(instance, &one, 1);
		reader_open(&reader, instance, NULL);
		reader_map(&reader, "one");
		shm_path(path, instance, "table");
		replace_name(path, what);
		must(rgm_pin(reader.slot), NULL);
		instance_put(instance, &one, 2);
		REQUIRE_EQUAL(slot_generation(reader.slot, &one), 1);
		reader_open(&late, instance, NULL);
		reader_map(&late, "one");
		REQUIRE_EQUAL(reader_generation(&late, &one), 2);
		must(rgm_unpin(reader.slot), NULL);
		instance_put(instance, &one, 3);
		REQUIRE_EQUAL(reader_generation(&reader, &one), 3);
		REQUIRE_EQUAL(reader_generation(&late, &one), 3);
		reader_close(&late);
		reader_close(&reader);
		instance_wait_readers(instance, 0);
		instance_wait_reclaimed(instance, "one");
		instance_stop(instance);
		instance_start(instance);
		REQUIRE_EQUAL(generation_of(instance), 3);
	}
}

/* A session's name: nobody opens it any more once it is attached. */
static void test_segment_is_replaced(void **state)
{
	struct instance *instance = *state;
	for (enum stand_in what = 0; what < OLD_COPY; what++) {
		struct reader reader;
		char path[128], end[32];
		instance_put(instance, &one, 1);
		reader_open(&reader, instance, NULL);
		reader_map(&reader, "one");
		snprintf(end, sizeof end, "s.%llu", (unsigned long long)reader.number);
		shm_path(path, instance, end);
		replace_name(path, what);
		must(rgm_pin(reader.slot), NULL);
		instance_put(instance, &one, 2);
		support_sleep_ms(30);
		REQUIRE(instance_retired(instance, "one") > 0);
		REQUIRE_EQUAL(slot_generation(reader.slot, &one), 1);
		must(rgm_unpin(reader.slot), NULL);
		instance_wait_reclaimed(instance, "one");
		reader_close(&reader);
		instance_wait_readers(instance, 0);
		unlink(path);
	}
}

/* --- ... and while it is down --------------------------------------------------------------------------- */

static void unlink_all(const struct instance *instance)
{
	char prefix[64], path[300];
	snprintf(prefix, sizeof prefix, "regionmgr.%s.", instance->id);
	DIR *folder = opendir("/dev/shm");
	REQUIRE(folder);
	for (struct dirent *entry; (entry = readdir(folder));) {
		snprintf(path, sizeof path, "/dev/shm/%s", entry->d_name);
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			REQUIRE_EQUAL(unlink(path), 0);
	}
	closedir(folder);
}

static void pin_and_look(struct child *parent, void *context)
{
	struct reader reader;
	reader_open(&reader, context, NULL);
	reader_map(&reader, "one");
	must(rgm_pin(reader.slot), NULL);
	uint64_t seen = slot_generation(reader.slot, &one);
	REQUIRE(seen > 0);
	child_say(parent, 'p');
	while (child_hear(parent) == 'l') {
		REQUIRE_EQUAL(slot_generation(reader.slot, &one), seen);
		child_say(parent, 'l');
	}
	reader_close(&reader);
}

static void ask(struct child *child)
{
	child_say(child, 'l');
	child_expect(child, 'l');
}

static bool serving(struct instance *instance)
{
	struct rgm_dimension_row row;
	instance_show(instance, "one", &row);
	if (strcmp(row.state, "serving") != 0)
		REQUIRE(strstr(row.reason, "reader of an earlier manager") ||
			strstr(row.reason, "not closed cleanly"));
	return strcmp(row.state, "serving") == 0;
}

/* Its sessions are unknown to the new manager, and their names are gone: the lock of what they map tells
 * it all the same. */
static void come_back(struct instance *instance, bool killed)
{
	char before[sizeof instance->id];
	instance_put(instance, &one, 1);
	if (killed) {
		instance_stop(instance); /* clean on the disk */
		instance_start(instance);
	}
	struct child child = child_start(pin_and_look, instance);
	child_expect(&child, 'p');
	memcpy(before, instance->id, sizeof before);
	if (!killed)
		instance_put(instance, &one, 2); /* what the child sees is retired */
	if (killed)
		instance_kill(instance);
	else
		instance_stop(instance);
	unlink_all(instance);
	ask(&child);
	instance_start(instance);
	REQUIRE(strcmp(before, instance->id) == 0);
	REQUIRE(!serving(instance));
	const struct content other = {"other", 4, 8192, 77};
	for (uint64_t generation = 1; generation < 20; generation++)
		instance_put(instance, &other, generation);
	ask(&child);
	REQUIRE(!serving(instance));
	child_say(&child, 'e');
	child_join(&child);
	WAIT_UNTIL(serving(instance));
	REQUIRE_EQUAL(generation_of(instance), killed ? 1 : 2);
	instance_put(instance, &one, 3);
	REQUIRE_EQUAL(generation_of(instance), 3);
	instance_drop(instance, "one");
	instance_drop(instance, "other");
}

#if !SUPPORT_RACE_BUILD
static void test_names_go_while_it_is_down(void **state)
{
	come_back(*state, false);
}

static void test_names_go_after_a_kill(void **state)
{
	come_back(*state, true);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_stale_numbers),
		INSTANCE_TEST(test_overwritten_number),
		INSTANCE_TEST(test_lock_file_is_lost),
		INSTANCE_TEST(test_table_is_replaced),
		INSTANCE_TEST(test_segment_is_replaced),
#if !SUPPORT_RACE_BUILD
		INSTANCE_TEST(test_cloned_locks),
		INSTANCE_TEST(test_names_go_while_it_is_down),
		cmocka_unit_test_setup_teardown(
			test_names_go_after_a_kill, instance_setup_daemon, instance_teardown),
#endif
	};
	/* Numbers and locks of this very process. */
	setenv("RGM_TEST_DAEMON", "0", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
