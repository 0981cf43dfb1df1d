/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager that is killed, and the next one that takes over what it left: nothing is lost that was
 * published, readers notice nothing, what they see is not reused, what nobody sees is free again.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct content one = {"one", 5, 8192, 10};
static const struct content two = {"two", 7, 4096, 20};
static const struct content three = {"three", 3, 65536, 30};

static void restart(struct instance *instance)
{
	instance_kill(instance);
	instance_start(instance);
}

static void all_serving(struct instance *instance, uint32_t dimensions)
{
	struct rgm_status status;
	instance_status(instance, &status);
	REQUIRE_EQUAL(status.dimensions, dimensions);
	REQUIRE_EQUAL(status.refused, 0);
}

/* Nothing is allocated that is not live, once nobody looks. */
static void settle(struct instance *instance, const char *name)
{
	struct rgm_dimension_row row;
	instance_wait_reclaimed(instance, name);
	instance_show(instance, name, &row);
	REQUIRE_EQUAL(row.allocated_pages, row.live_pages);
}

static uint64_t generation_of(struct instance *instance, const struct content *content)
{
	struct reader reader;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, content->dimension);
	uint64_t generation = reader_generation(&reader, content);
	reader_close(&reader);
	return generation;
}

static void test_nothing_is_lost(void **state)
{
	struct instance *instance = *state;
	struct rgm_status before, after;
	struct rgm_dimension_row old, row;
	char id[sizeof instance->id];
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	instance_create(instance, "empty");
	for (uint64_t round = 2; round < 12; round++) {
		instance_put(instance, &one, round);
		instance_put_layer(instance, &two, 3, 1);
		instance_status(instance, &before);
		instance_show(instance, "two", &old);
		memcpy(id, instance->id, sizeof id);
		restart(instance);
		instance_status(instance, &after);
		REQUIRE(strcmp(id, instance->id) == 0);
		REQUIRE(after.version > before.version);
		all_serving(instance, 3);
		instance_show(instance, "two", &row);
		REQUIRE_EQUAL(row.id, old.id);
		REQUIRE_EQUAL(row.version, old.version);
		REQUIRE_EQUAL(row.generation, old.generation);
		REQUIRE_EQUAL(row.bytes, old.bytes);
		REQUIRE_EQUAL(row.region_bytes, old.region_bytes);
		REQUIRE_EQUAL(generation_of(instance, &one), round);
		REQUIRE_EQUAL(generation_of(instance, &two), 1);
		settle(instance, "one");
		settle(instance, "two");
	}
	/* And a clean end has it all on the disk. */
	instance_stop(instance);
	instance_start(instance);
	all_serving(instance, 3);
	REQUIRE_EQUAL(generation_of(instance, &one), 11);
	REQUIRE_EQUAL(generation_of(instance, &two), 1);
	settle(instance, "one");
}

/* Names and drops are as the last version has them; new dimensions have new ids. */
static void test_set_of_dimensions(void **state)
{
	struct instance *instance = *state;
	struct rgm_dimension_row row, other;
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	instance_rename(instance, "one", "uno");
	instance_drop(instance, "two");
	restart(instance);
	all_serving(instance, 1);
	instance_show(instance, "uno", &row);
	instance_put(instance, &two, 2);
	instance_show(instance, "two", &other);
	REQUIRE(other.id > row.id + 1);
	instance_rename(instance, "uno", "one");
	restart(instance);
	all_serving(instance, 2);
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
	REQUIRE_EQUAL(generation_of(instance, &two), 2);
	instance_drop(instance, "one");
	instance_drop(instance, "two");
	restart(instance);
	all_serving(instance, 0);
	restart(instance);
	all_serving(instance, 0);
}

/* --- Under readers ---------------------------------------------------------------------------- */

/* A section and a hold, each at its own version, over any number of managers. */
static void look_on(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct rgm_session_info info = {.size = sizeof info};
	struct rgm_error error;
	struct reader reader;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "one");
	struct rgm_hold *hold = reader_take(&reader, "one");
	uint64_t held = hold_generation(hold, &one);
	child_say(parent, 'h');
	child_expect(parent, 'p');
	must(rgm_pin(reader.slot), NULL);
	uint64_t pinned = slot_generation(reader.slot, &one);
	REQUIRE(pinned > held);
	child_say(parent, 'p');
	while (child_hear(parent) == 'l') {
		REQUIRE_EQUAL(slot_generation(reader.slot, &one), pinned);
		REQUIRE_EQUAL(hold_generation(hold, &one), held);
		child_say(parent, 'l');
	}
	must(rgm_unpin(reader.slot), NULL);
	/* The present, without a word to the manager, and then with one. */
	uint64_t now = reader_generation(&reader, &one);
	REQUIRE(now > pinned);
	must(rgm_map(reader.session, "two", &error), &error);
	REQUIRE_EQUAL(reader_generation(&reader, &two), 1);
	must(rgm_session_info(reader.session, &info, &error), &error);
	REQUIRE_EQUAL(info.manager_alive, 1);
	REQUIRE_EQUAL(info.number, reader.number);
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	child_say(parent, 'u');
	child_expect(parent, 'e');
	reader_close(&reader);
}

static void test_sections_and_holds(void **state)
{
	struct instance *instance = *state;
	struct rgm_reader_row row;
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	struct child child = child_start(look_on, instance);
	child_expect(&child, 'h');
	instance_put(instance, &one, 2);
	child_say(&child, 'p');
	child_expect(&child, 'p');
	for (uint64_t round = 3; round < 9; round++) {
		instance_put(instance, &one, round);
		restart(instance);
		all_serving(instance, 2);
		/* What is retired is used for something else, if that is possible at all. */
		instance_put(instance, &one, 100 + round);
		instance_put(instance, &one, 200 + round);
		child_say(&child, 'l');
		child_expect(&child, 'l');
		REQUIRE(instance_reader(instance, 1, &row));
		REQUIRE_EQUAL(row.sections, 1);
		REQUIRE_EQUAL(row.holds, 1);
		REQUIRE(row.kept_bytes >= 2 * one.layers * one.bytes);
	}
	child_say(&child, 'u');
	child_expect(&child, 'u');
	settle(instance, "one");
	child_say(&child, 'e');
	child_join(&child);
	instance_wait_readers(instance, 0);
	WAIT_UNTIL(instance_segments(instance) == 0);
}

/* One that stays does not make the file grow with each restart: free pages stay free. */
static void test_no_growth(void **state)
{
	struct instance *instance = *state;
	struct rgm_dimension_row first, row;
	struct rgm_status status;
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	struct child child = child_start(look_on, instance);
	child_expect(&child, 'h');
	instance_put(instance, &one, 2);
	child_say(&child, 'p');
	child_expect(&child, 'p');
	/* The section does not see this one. */
	instance_put(instance, &three, 100);
	for (uint64_t round = 1; round <= 20; round++) {
		instance_put(instance, &three, round);
		settle(instance, "three");
		instance_show(instance, "three", round == 1 ? &first : &row);
		restart(instance);
	}
	REQUIRE_EQUAL(row.region_bytes, first.region_bytes);
	instance_status(instance, &status);
	instance_put(instance, &one, 3);
	child_say(&child, 'u');
	child_expect(&child, 'u');
	child_say(&child, 'e');
	child_join(&child);
	WAIT_UNTIL((instance_status(instance, &status), status.retired_bytes == 0));
}

/* --- Death while the manager is down ------------------------------------------------------------ */

static void stay_pinned(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct reader reader;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "one");
	must(rgm_pin(reader.slot), NULL);
	struct rgm_hold *hold = reader_hold(&reader, "one");
	child_say(parent, 'p');
	child_hear(parent);
	(void)hold;
}

static void test_readers_die_meanwhile(void **state)
{
	struct instance *instance = *state;
	struct child children[8];
	instance_put(instance, &one, 1);
	for (int i = 0; i < 8; i++) {
		children[i] = child_start(stay_pinned, instance);
		child_expect(&children[i], 'p');
	}
	instance_put(instance, &one, 2);
	for (int i = 0; i < 2; i++)
		child_kill(&children[i]);
	instance_kill(instance);
	for (int i = 2; i < 4; i++)
		child_kill(&children[i]);
	instance_start(instance);
	instance_wait_readers(instance, 4);
	REQUIRE_EQUAL(generation_of(instance, &one), 2);
	REQUIRE(instance_retired(instance, "one") > 0);
	/* After a restart there is no pidfd: the lock proves it. */
	for (int i = 4; i < 8; i++)
		child_kill(&children[i]);
	settle(instance, "one");
	instance_wait_readers(instance, 0);
	WAIT_UNTIL(instance_segments(instance) == 0);
}

/* All of them dead before the next manager comes: the first thing that it does is to end them, and their
 * names go, too. */
static void test_names_of_the_dead(void **state)
{
	struct instance *instance = *state;
	struct child children[24];
	instance_put(instance, &one, 1);
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 24; i++)
			children[i] = child_start(stay_pinned, instance);
		for (int i = 0; i < 24; i++)
			child_expect(&children[i], 'p');
		REQUIRE_EQUAL(instance_segments(instance), 24);
		instance_kill(instance);
		for (int i = 0; i < 24; i++)
			child_kill(&children[i]);
		instance_start(instance);
		instance_wait_readers(instance, 0);
		WAIT_UNTIL(instance_segments(instance) == 0);
	}
}

/* --- What cannot be taken over ---------------------------------------------------------------- */

/* `what`: the name's end; "s.": of the first session there is. */
static void remove_shm(const struct instance *instance, const char *what)
{
	char path[128];
	int number = strcmp(what, "s.") == 0 ? 1 : 0;
	do {
		snprintf(path, sizeof path, "/dev/shm/regionmgr.%s.%s", instance->id, what);
		if (number)
			snprintf(path + strlen(path), 8, "%d", number++);
	} while (number && number < 100 && access(path, F_OK) != 0);
	REQUIRE_EQUAL(unlink(path), 0);
}

static void refused_after_loss(struct instance *instance, const char *lost)
{
	struct rgm_dimension_row row;
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	struct child child = child_start(look_on, instance);
	child_expect(&child, 'h');
	instance_put(instance, &one, 2);
	child_say(&child, 'p');
	child_expect(&child, 'p');
	instance_put(instance, &one, 3);
	instance_kill(instance);
	remove_shm(instance, lost);
	instance_start(instance);
	instance_show(instance, "one", &row);
	REQUIRE(strcmp(row.state, "refused") == 0);
	REQUIRE(strlen(row.reason) > 20);
	/* The reader reads on, and is told that this manager does not know it. */
	child_say(&child, 'l');
	child_expect(&child, 'l');
	child_kill(&child);
	instance_drop(instance, "one");
	instance_drop(instance, "two");
	instance_put(instance, &one, 1);
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
	instance_drop(instance, "one");
}

static void test_lost_names(void **state)
{
	struct instance *instance = *state;
	refused_after_loss(instance, "table");
	refused_after_loss(instance, "book");
	refused_after_loss(instance, "s.");
}

/* One region's allocation is lost: that one is refused, the others go on, readers of it too. */
static void test_lost_allocation(void **state)
{
	struct instance *instance = *state;
	struct rgm_dimension_row row;
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	struct child child = child_start(look_on, instance);
	child_expect(&child, 'h');
	instance_put(instance, &one, 2);
	child_say(&child, 'p');
	child_expect(&child, 'p');
	instance_show(instance, "one", &row);
	instance_kill(instance);
	char name[32];
	snprintf(name, sizeof name, "r.%llu", (unsigned long long)row.id);
	remove_shm(instance, name);
	for (int round = 0; round < 2; round++) {
		instance_start(instance);
		instance_show(instance, "one", &row);
		REQUIRE(strcmp(row.state, "refused") == 0);
		REQUIRE(strstr(row.reason, "is lost") || round);
		REQUIRE_EQUAL(generation_of(instance, &two), 1);
		child_say(&child, 'l');
		child_expect(&child, 'l');
		instance_kill(instance);
	}
	instance_start(instance);
	child_kill(&child);
	instance_put(instance, &one, 7);
	REQUIRE_EQUAL(generation_of(instance, &one), 7);
}

/* Any damage of the table is refused, or harmless: no start crashes, and none serves wrong bytes. */
static void test_damaged_table(void **state)
{
	struct instance *instance = *state;
	uint64_t seed = support_seed();
	char path[128];
	for (int round = 0; round < 40; round++) {
		struct rgm_status status;
		uint64_t word = support_random(&seed);
		instance_put(instance, &one, 1);
		instance_put(instance, &two, 1);
		snprintf(path, sizeof path, "/dev/shm/regionmgr.%s.table", instance->id);
		instance_kill(instance);
		int file = open(path, O_RDWR | O_CLOEXEC);
		REQUIRE(file >= 0);
		off_t at = round < 32 ? (off_t)(8 * support_below(&seed, 32))
		                      : (off_t)(4096 * 17 + 8 * support_below(&seed, 8192));
		REQUIRE_EQUAL(pwrite(file, &word, sizeof word, at), sizeof word);
		close(file);
		instance_start(instance);
		instance_status(instance, &status);
		if (status.refused == 0 && status.dimensions == 2) {
			REQUIRE_EQUAL(generation_of(instance, &one), 1);
			REQUIRE_EQUAL(generation_of(instance, &two), 1);
		}
		instance_stop(instance);
		instance_start(instance);
	}
}

/* The regular files of a folder into another one, which is made; NULL: remove them and the folder. */
static void copy_folder(const char *from, const char *to)
{
	char path[512];
	DIR *folder = opendir(from);
	REQUIRE(folder);
	if (to)
		REQUIRE_EQUAL(mkdir(to, 0700), 0);
	for (struct dirent *entry; (entry = readdir(folder));) {
		if (entry->d_type != DT_REG)
			continue;
		if (!to) {
			REQUIRE_EQUAL(unlinkat(dirfd(folder), entry->d_name, 0), 0);
			continue;
		}
		snprintf(path, sizeof path, "%s/%s", to, entry->d_name);
		int in = openat(dirfd(folder), entry->d_name, O_RDONLY | O_CLOEXEC);
		int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		REQUIRE(in >= 0 && out >= 0);
		while (sendfile(out, in, NULL, 1 << 20) > 0)
			;
		close(in);
		close(out);
	}
	closedir(folder);
	if (!to)
		REQUIRE_EQUAL(rmdir(from), 0);
}

/* Another manager with the same identity: the copy of a folder. */
static void test_copied_folder(void **state)
{
	struct instance *instance = *state;
	struct instance copy = *instance;
	struct rgm_error error;
	instance_put(instance, &one, 1);
	int length = snprintf(copy.folder, sizeof copy.folder, "%.50s.copy", instance->folder);
	REQUIRE(length > 5);
	copy_folder(instance->folder, copy.folder);
	length = snprintf(copy.socket, sizeof copy.socket, "%s/control.sock", copy.folder);
	REQUIRE(length > 5);
	copy.daemon = false;
	copy.options.dir = copy.folder;
	copy.options.socket = copy.socket;
	REQUIRE_ERROR(instance_start_fails(&copy, &error), RGM_EINUSE, &error);
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
	instance_put(instance, &one, 2);
	restart(instance);
	REQUIRE_EQUAL(generation_of(instance, &one), 2);
	copy_folder(copy.folder, NULL);
}

#define DAEMON_TEST(function)                                                                      \
	cmocka_unit_test_setup_teardown(function, instance_setup_daemon, instance_teardown)

int main(void)
{
	if (SUPPORT_RACE_BUILD)
		support_skip_all("the race build has manager and readers in one process");
	const struct CMUnitTest tests[] = {
		DAEMON_TEST(test_nothing_is_lost),
		DAEMON_TEST(test_set_of_dimensions),
		DAEMON_TEST(test_sections_and_holds),
		DAEMON_TEST(test_no_growth),
		DAEMON_TEST(test_readers_die_meanwhile),
		DAEMON_TEST(test_names_of_the_dead),
		DAEMON_TEST(test_lost_names),
		DAEMON_TEST(test_lost_allocation),
		DAEMON_TEST(test_damaged_table),
		DAEMON_TEST(test_copied_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
