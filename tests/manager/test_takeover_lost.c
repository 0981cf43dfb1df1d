/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the next manager finds is not what the last one left: names in shared memory are removed, some or
 * all; it was written by a build with other layouts, or by another version of the program with the same
 * ones. Readers go on in any case. What can be gone on with is; what cannot is refused in one sentence;
 * nothing that a reader may see is used again.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/format.h"
#include "pool/live.h"
#include "regionmgr/manager/book.h"

static const struct content quiet = {"quiet", 3, 4096, 10}; /* as the last clean stop left it */
static const struct content one = {"one", 5, 8192, 20};
static const struct content two = {"two", 7, 4096, 30};
static const struct content other = {"other", 4, 16384, 40};

struct stage {
	struct instance *instance;
	struct child reader;
	char table[128], book[128], segment[128], live[128];
};

/* --- A reader ------------------------------------------------------------------------------------- */

/* Holds the first generation, sees the second in a section; then asks the manager for something. */
static void look_on(struct child *parent, void *context)
{
	struct stage *stage = context;
	struct rgm_error error;
	struct reader reader;
	char word;
	reader_open(&reader, stage->instance, NULL);
	reader_map(&reader, "one");
	struct rgm_hold *hold = reader_take(&reader, "one");
	child_say(parent, 'h');
	child_expect(parent, 'p');
	must(rgm_pin(reader.slot), NULL);
	child_say(parent, 'p');
	while ((word = child_hear(parent)) == 'l') {
		REQUIRE_EQUAL(slot_generation(reader.slot, &one), 2);
		REQUIRE_EQUAL(hold_generation(hold, &one), 1);
		child_say(parent, 'l');
	}
	must(rgm_unpin(reader.slot), NULL);
	/* 'g': this manager goes on with it; 'n': it does not know it. */
	if (word == 'g') {
		must(rgm_map(reader.session, "quiet", &error), &error);
		REQUIRE_EQUAL(reader_generation(&reader, &quiet), 1);
	} else {
		REQUIRE_ERROR(rgm_map(reader.session, "quiet", &error), RGM_EGONE, &error);
	}
	REQUIRE_EQUAL(hold_generation(hold, &one), 1);
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	child_say(parent, word);
	child_hear(parent);
	reader_close(&reader);
}

static void look(struct stage *stage)
{
	child_say(&stage->reader, 'l');
	child_expect(&stage->reader, 'l');
}

/* --- The stage ------------------------------------------------------------------------------------ */

static void stage_paths(struct stage *stage)
{
	const char *id = stage->instance->id;
	struct rgm_dimension_row row;
	instance_show(stage->instance, "two", &row);
	snprintf(stage->table, sizeof stage->table, "/dev/shm/regionmgr.%s.table", id);
	snprintf(stage->book, sizeof stage->book, "/dev/shm/regionmgr.%s.book", id);
	snprintf(stage->live, sizeof stage->live, "/dev/shm/regionmgr.%s.r.%llu", id,
		(unsigned long long)row.id);
	for (unsigned number = 1; number < 1000; number++) {
		snprintf(stage->segment, sizeof stage->segment, "/dev/shm/regionmgr.%s.s.%u", id,
			number);
		if (access(stage->segment, F_OK) == 0)
			return;
	}
	support_fail(__FILE__, __LINE__, "there is no segment");
}

/* Up to the manager's death. */
static void stage_open(struct stage *stage, struct instance *instance)
{
	*stage = (struct stage){.instance = instance};
	instance_put(instance, &quiet, 1);
	instance_stop(instance);
	instance_start(instance);
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	stage->reader = child_start(look_on, stage);
	child_expect(&stage->reader, 'h');
	instance_put(instance, &one, 2);
	child_say(&stage->reader, 'p');
	child_expect(&stage->reader, 'p');
	instance_put(instance, &one, 3);
	stage_paths(stage);
	instance_kill(instance);
	look(stage);
}

static void expect_served(
	struct instance *instance, const struct content *content, uint64_t generation)
{
	struct rgm_dimension_row row;
	instance_show(instance, content->dimension, &row);
	REQUIRE(strcmp(row.state, "serving") == 0);
	struct reader reader;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, content->dimension);
	REQUIRE_EQUAL(reader_generation(&reader, content), generation);
	reader_close(&reader);
}

static void expect_refused(struct instance *instance, const struct content *content)
{
	struct rgm_dimension_row row;
	instance_show(instance, content->dimension, &row);
	REQUIRE(strcmp(row.state, "refused") == 0);
	REQUIRE(strlen(row.reason) > 20 && strchr(row.reason, '\n') == NULL);
}

/* Whatever the manager may write to is written to, under the reader's eyes. */
static void write_much(struct stage *stage)
{
	for (uint64_t generation = 1; generation < 6; generation++) {
		instance_put(stage->instance, &other, generation);
		instance_put(stage->instance, &quiet, 1);
	}
	look(stage);
}

/* The next manager: `known`: it goes on with table and sessions; `lost`: without the allocation of two. */
static void stage_close(struct stage *stage, bool known, bool lost)
{
	struct instance *instance = stage->instance;
	look(stage);
	instance_start(instance);
	expect_served(instance, &quiet, 1);
	if (known)
		expect_served(instance, &one, 3);
	else
		expect_refused(instance, &one);
	if (known && !lost)
		expect_served(instance, &two, 1);
	else
		expect_refused(instance, &two);
	look(stage);
	write_much(stage);
	if (known) {
		instance_put(instance, &one, 4);
		look(stage);
	}
	child_say(&stage->reader, known ? 'g' : 'n');
	child_expect(&stage->reader, known ? 'g' : 'n');
	child_say(&stage->reader, 'e');
	child_join(&stage->reader);
	instance_wait_readers(instance, 0);
	/* What was refused is loaded anew. */
	instance_put(instance, &one, 7);
	instance_put(instance, &two, 8);
	expect_served(instance, &one, 7);
	expect_served(instance, &two, 8);
	instance_stop(instance);
	instance_start(instance);
	expect_served(instance, &one, 7);
	instance_drop(instance, "one");
	instance_drop(instance, "two");
	instance_drop(instance, "other");
	instance_drop(instance, "quiet");
}

/* --- Names ---------------------------------------------------------------------------------------- */

static void test_any_names(void **state)
{
	struct stage stage;
	for (unsigned lost = 0; lost < 16; lost++) {
		stage_open(&stage, *state);
		const char *const paths[] = {stage.table, stage.book, stage.segment, stage.live};
		for (unsigned i = 0; i < 4; i++)
			if (lost >> i & 1)
				REQUIRE_EQUAL(unlink(paths[i]), 0);
		stage_close(&stage, (lost & 7) == 0, (lost & 8) != 0);
	}
}

/* All of them, as RemoveIPC does. */
static void test_all_names(void **state)
{
	struct stage stage;
	stage_open(&stage, *state);
	REQUIRE(instance_lose_names(stage.instance) >= 5);
	stage_close(&stage, false, true);
}

/* --- Layouts -------------------------------------------------------------------------------------- */

/* Add one to the layout's number at an offset. */
static void change_layout(const char *path, off_t offset)
{
	uint32_t number = 0;
	int file = open(path, O_RDWR | O_CLOEXEC);
	REQUIRE(file >= 0);
	REQUIRE_EQUAL(pread(file, &number, sizeof number, offset), sizeof number);
	number++;
	REQUIRE_EQUAL(pwrite(file, &number, sizeof number, offset), sizeof number);
	close(file);
}

static unsigned log_lines(const struct instance *instance, const char *text)
{
	char path[128], line[1024];
	unsigned count = 0;
	snprintf(path, sizeof path, "%s/regionmgrd.log", instance->folder);
	FILE *log = fopen(path, "re");
	REQUIRE(log);
	while (fgets(line, sizeof line, log))
		count += strstr(line, text) != NULL;
	fclose(log);
	return count;
}

static void test_other_layouts(void **state)
{
	struct stage stage;
	stage_open(&stage, *state);
	change_layout(stage.table, offsetof(struct ipc_table, layout_version));
	stage_close(&stage, false, false);
	REQUIRE_EQUAL(log_lines(stage.instance, "laid out differently"), 1);

	stage_open(&stage, *state);
	change_layout(stage.table, offsetof(struct ipc_table, magic));
	stage_close(&stage, false, false);
	REQUIRE_EQUAL(log_lines(stage.instance, "laid out differently"), 2);

	stage_open(&stage, *state);
	change_layout(stage.book, offsetof(struct book, version));
	stage_close(&stage, false, false);
	REQUIRE_EQUAL(log_lines(stage.instance, "cannot be taken over"), 3);

	stage_open(&stage, *state);
	change_layout(stage.live, offsetof(struct live, version));
	stage_close(&stage, true, true);
}

/* Of a segment everything that counts stands in the book: its reader may write there what it likes. */
static void test_segment_header(void **state)
{
	struct stage stage;
	stage_open(&stage, *state);
	change_layout(stage.segment, offsetof(struct ipc_segment, layout_version));
	change_layout(stage.segment, offsetof(struct ipc_segment, slots));
	change_layout(stage.segment, offsetof(struct ipc_segment, magic));
	stage_close(&stage, true, false);
}

/* --- Another version of the program ------------------------------------------------------------------ */

/* A copy of the manager's library that says it is another version. */
static void copy_library(const char *folder)
{
	char path[4200];
	const char *from = getenv("RGM_TEST_LIB_DIR");
	unsigned replaced = 0;
	REQUIRE(from);
	snprintf(path, sizeof path, "%s/libregionmgr-manager.so.0", from);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	REQUIRE(file >= 0);
	size_t bytes = (size_t)lseek(file, 0, SEEK_END);
	char *copy = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	close(file);
	REQUIRE(copy != MAP_FAILED);
	for (size_t i = 0; i + sizeof RGM_VERSION < bytes; i++) {
		if (copy[i] == 0 && memcmp(copy + i + 1, RGM_VERSION, sizeof RGM_VERSION) == 0) {
			copy[i + sizeof RGM_VERSION - 1] = '7';
			replaced++;
		}
	}
	REQUIRE(replaced > 0);
	snprintf(path, sizeof path, "%s/libregionmgr-manager.so.0", folder);
	file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	REQUIRE(file >= 0);
	for (size_t done = 0; done < bytes;) {
		ssize_t wrote = write(file, copy + done, bytes - done);
		REQUIRE(wrote > 0);
		done += (size_t)wrote;
	}
	close(file);
	munmap(copy, bytes);
}

/* From this one to the other, and back: the program's version is no part of what is taken over. */
static void test_other_version(void **state)
{
	struct instance *instance = *state;
	const char *before = getenv("LD_LIBRARY_PATH");
	char kept[4096] = "", folder[64] = "/tmp/regionmgr-test-XXXXXX", path[128];
	struct stage stage;
	if (!getenv("RGM_TEST_LIB_DIR")) {
		support_tell_skip("test_other_version", "RGM_TEST_LIB_DIR is not set");
		skip();
	}
	snprintf(kept, sizeof kept, "%s", before ? before : "");
	REQUIRE(mkdtemp(folder));
	copy_library(folder);
	stage_open(&stage, instance);
	setenv("LD_LIBRARY_PATH", folder, 1);
	instance_start(instance);
	look(&stage);
	instance_kill(instance);
	if (*kept)
		setenv("LD_LIBRARY_PATH", kept, 1);
	else
		unsetenv("LD_LIBRARY_PATH");
	stage_close(&stage, true, false);
	snprintf(path, sizeof path, "%s/libregionmgr-manager.so.0", folder);
	REQUIRE_EQUAL(unlink(path), 0);
	REQUIRE_EQUAL(rmdir(folder), 0);
}

#define DAEMON_TEST(function)                                                                      \
	cmocka_unit_test_setup_teardown(function, instance_setup_daemon, instance_teardown)

int main(void)
{
	if (SUPPORT_RACE_BUILD)
		support_skip_all("the race build has manager and readers in one process");
	const struct CMUnitTest tests[] = {
		DAEMON_TEST(test_any_names),
		DAEMON_TEST(test_all_names),
		DAEMON_TEST(test_other_layouts),
		DAEMON_TEST(test_segment_header),
		DAEMON_TEST(test_other_version),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
