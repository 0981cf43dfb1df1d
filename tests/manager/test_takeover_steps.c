/* SPDX-License-Identifier: Apache-2.0 */
/* label: crash */
/*
 * A manager that is killed at any store of a publication or of reclaim. One thread of it goes through
 * the window an instruction at a time, under ptrace(2), while its shared memory is compared before and
 * after each: the stores that the next manager can see are the points at which it is worth dying. Then,
 * for each of them (or for some, RGM_TEST_STEPS, at random): the same again up to there, SIGKILL,
 * takeover, and a look at everything.
 *
 * What has to hold wherever it died: the last version is there, or the one before, whole; a reader's
 * section and its hold see what they saw, also once the next manager has used every page that it thinks
 * free; and in the end nothing is allocated that is not live.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "regionmgr/manager/manager.h"
#include "regionmgr/manager/reclaim.h"
#include "regionmgr/manager/sessions.h"

#define POINTS_MAX 20000u
#define WATCH_MAX  (1u << 20)

static const struct content data = {"data", 6, 3 * 4096, 40};
static const struct content other = {"other", 2, 4096, 50};
static const struct content before = {"before", 2, 4096, 60}; /* not changed in this run */

enum window {
	PUBLISH, /* a commit that replaces everything */
	RECLAIM, /* a scan, and everything that it frees */
	CREATE,  /* a dimension more: the catalog, names, a publication */
	DROP,    /* and one less */
	FIRST, /* the first change of a region in a run: its live allocation, and the dirty mark */
};
static const char *const window_names[] = {"publish", "reclaim", "create", "drop", "first"};

/* Shared with the manager's process. */
struct gate {
	bool go;   /* atomic */
	bool done; /* atomic */
};

struct stage {
	struct instance *instance;
	enum window window;
	struct gate *gate;
	struct child reader;
	struct child manager;
	pid_t reclaim; /* its thread, while that is traced; 0: it is not */
};

/* --- The two processes ------------------------------------------------------------------------ */

/* Attaches, takes a hold at the first generation, then a section at the second. */
static void be_reader(struct child *parent, void *context)
{
	struct stage *stage = context;
	struct reader reader;
	reader_open(&reader, stage->instance, NULL);
	reader_map(&reader, "data");
	struct rgm_hold *hold = reader_take(&reader, "data");
	REQUIRE_EQUAL(hold_generation(hold, &data), 1);
	child_say(parent, 'h');
	child_expect(parent, 'p');
	must(rgm_pin(reader.slot), NULL);
	child_say(parent, 'p');
	while (child_hear(parent) == 'l') {
		REQUIRE_EQUAL(slot_generation(reader.slot, &data), 2);
		REQUIRE_EQUAL(hold_generation(hold, &data), 1);
		child_say(parent, 'l');
	}
	must(rgm_unpin(reader.slot), NULL);
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	child_say(parent, 'u');
	child_hear(parent);
	reader_close(&reader);
}

/* All of a change but its commit. */
static struct rgm_writer *prepare(
	struct instance *instance, const char *dimension, uint64_t generation)
{
	struct rgm_load_options options = {
		.size = sizeof options, .flags = RGM_LOAD_CREATE | RGM_LOAD_REPLACE};
	struct rgm_writer *writer;
	struct rgm_error error;
	char name[LAYER_NAME_BYTES];
	char *bytes = malloc(data.bytes);
	REQUIRE(bytes);
	must(rgm_writer_begin(instance->manager, dimension, &options, &writer, &error), &error);
	for (unsigned layer = 0; layer < data.layers; layer++) {
		pattern_fill(bytes, data.bytes, data.salt + layer, generation);
		layer_name(name, layer);
		must(rgm_writer_put(writer, name, bytes, data.bytes, NULL, &error), &error);
	}
	free(bytes);
	return writer;
}

static void walk(struct stage *stage, struct rgm_writer *writer)
{
	switch (stage->window) {
	case PUBLISH:
	case CREATE:
		must(rgm_writer_commit(writer, NULL, NULL), NULL);
		break;
	case RECLAIM:
		reclaim_run(stage->instance->manager->reclaim);
		break;
	case DROP:
		instance_drop(stage->instance, "other");
		break;
	case FIRST:
		prepare(stage->instance, "before", 2);
		break;
	}
}

static void be_manager(struct child *parent, void *context)
{
	struct stage *stage = context;
	instance_start(stage->instance);
	instance_put(stage->instance, &other, 1);
	instance_put(stage->instance, &data, 1);
	child_say(parent, 's');
	child_expect(parent, 'g');
	instance_put(stage->instance, &data, 2);
	child_say(parent, 'g');
	child_expect(parent, 'w');
	instance_put(stage->instance, &data, 3);
	/* Nobody saw that one: it is what reclaim frees. */
	if (stage->window == RECLAIM)
		instance_put(stage->instance, &data, 3);
	struct rgm_writer *writer = NULL;
	if (stage->window == PUBLISH)
		writer = prepare(stage->instance, "data", 4);
	if (stage->window == CREATE)
		writer = prepare(stage->instance, "more", 1);
	child_say(parent, 'w');
	while (!__atomic_load_n(&stage->gate->go, __ATOMIC_ACQUIRE))
		;
	walk(stage, writer);
	__atomic_store_n(&stage->gate->done, true, __ATOMIC_RELEASE);
	child_hear(parent);
}

/* --- Stepping --------------------------------------------------------------------------------- */

static void trace(pid_t thread)
{
	int status;
	REQUIRE_EQUAL(ptrace(PTRACE_SEIZE, thread, NULL, NULL), 0);
	REQUIRE_EQUAL(ptrace(PTRACE_INTERRUPT, thread, NULL, NULL), 0);
	REQUIRE_EQUAL(waitpid(thread, &status, __WALL), thread);
	REQUIRE(WIFSTOPPED(status));
}

/* Does a traced thread stand in futex(2), where it waits and has no lock? */
static bool is_waiting(pid_t process, pid_t thread)
{
	char path[64], text[8] = "";
	snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", (int)process, (int)thread);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	REQUIRE(file >= 0);
	REQUIRE(read(file, text, sizeof text - 1) > 0);
	close(file);
	return atoi(text) == SYS_futex;
}

/* The thread that reclaims stands still: the main thread does its work, in view. */
static pid_t hold_reclaim(pid_t process)
{
	char path[64];
	pid_t found = 0;
	snprintf(path, sizeof path, "/proc/%d/task", (int)process);
	DIR *folder = opendir(path);
	REQUIRE(folder);
	for (struct dirent *entry; !found && (entry = readdir(folder));) {
		char name[32] = "", file[64];
		snprintf(file, sizeof file, "%.8s/comm", entry->d_name);
		int comm = openat(dirfd(folder), file, O_RDONLY | O_CLOEXEC);
		if (comm < 0 || read(comm, name, sizeof name - 1) < 0)
			name[0] = 0;
		close(comm);
		if (strcmp(name, "rgm-reclaim\n") == 0)
			found = (pid_t)atoi(entry->d_name);
	}
	closedir(folder);
	REQUIRE(found);
	trace(found);
	while (!is_waiting(process, found)) {
		int status;
		REQUIRE_EQUAL(ptrace(PTRACE_CONT, found, NULL, NULL), 0);
		support_sleep_ms(1);
		REQUIRE_EQUAL(ptrace(PTRACE_INTERRUPT, found, NULL, NULL), 0);
		REQUIRE_EQUAL(waitpid(found, &status, __WALL), found);
	}
	return found;
}

static void stage_open(struct stage *stage)
{
	*stage->gate = (struct gate){0};
	stage->manager = child_start(be_manager, stage);
	child_expect(&stage->manager, 's');
	stage->reader = child_start(be_reader, stage);
	child_expect(&stage->reader, 'h');
	child_say(&stage->manager, 'g');
	child_expect(&stage->manager, 'g');
	child_say(&stage->reader, 'p');
	child_expect(&stage->reader, 'p');
	stage->reclaim = stage->window == RECLAIM ? hold_reclaim(stage->manager.pid) : 0;
	child_say(&stage->manager, 'w');
	child_expect(&stage->manager, 'w');
	trace(stage->manager.pid);
	__atomic_store_n(&stage->gate->go, true, __ATOMIC_RELEASE);
}

/* One instruction; false when the window is over. */
static bool step(const struct stage *stage)
{
	int status, number = 0;
	do {
		REQUIRE_EQUAL(ptrace(PTRACE_SINGLESTEP, stage->manager.pid, NULL,
				      (void *)(intptr_t)number),
			0);
		REQUIRE_EQUAL(waitpid(stage->manager.pid, &status, __WALL), stage->manager.pid);
		REQUIRE(WIFSTOPPED(status));
		number = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
	} while (number != 0);
	return !__atomic_load_n(&stage->gate->done, __ATOMIC_ACQUIRE);
}

/* --- What the next manager can see ------------------------------------------------------------ */

/* Parts of the shared memory objects of an instance, and how they were. */
struct watch {
	struct part {
		const void *base;
		size_t bytes;
	} parts[8];
	size_t count;
	char *copy;
	const char *awaited; /* an object that is not there yet; NULL: none */
};

static bool watch_part(
	struct watch *watch, const struct instance *instance, const char *what, size_t most)
{
	char path[128];
	snprintf(path, sizeof path, "/dev/shm/regionmgr.%s.%s", instance->id, what);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	off_t end = file < 0 ? 0 : lseek(file, 0, SEEK_END);
	if (end <= 0) {
		close(file);
		return false;
	}
	size_t bytes = (size_t)end < most ? (size_t)end : most;
	void *base = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0);
	close(file);
	REQUIRE(base != MAP_FAILED);
	watch->parts[watch->count++] = (struct part){base, bytes};
	return true;
}

static void watch_open(struct watch *watch, const struct instance *instance, enum window window)
{
	*watch = (struct watch){.copy = calloc(1, WATCH_MAX)};
	REQUIRE(watch->copy);
	watch->awaited = window == FIRST ? "r.1" : NULL;
	/* Header, ring, bitmap and first blocks of the table; allocations; the book. */
	watch_part(watch, instance, "table", 36 * 4096);
	if (window != FIRST)
		watch_part(watch, instance, "r.1", 2 * 4096);
	watch_part(watch, instance, "r.2", 2 * 4096);
}

static bool watch_changed(struct watch *watch, const struct instance *instance)
{
	bool changed = false;
	char *copy = watch->copy;
	if (watch->awaited && watch_part(watch, instance, watch->awaited, 2 * 4096)) {
		watch->awaited = NULL;
		changed = true;
	}
	for (size_t i = 0; i < watch->count; i++) {
		const struct part *part = &watch->parts[i];
		if (memcmp(copy, part->base, part->bytes) != 0) {
			memcpy(copy, part->base, part->bytes);
			changed = true;
		}
		copy += part->bytes;
	}
	return changed;
}

static void watch_close(struct watch *watch)
{
	for (size_t i = 0; i < watch->count; i++)
		munmap((void *)(uintptr_t)watch->parts[i].base, watch->parts[i].bytes);
	free(watch->copy);
}

/* --- Afterwards ------------------------------------------------------------------------------- */

static uint64_t generation_of(struct instance *instance, const struct content *content)
{
	struct reader reader;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, content->dimension);
	uint64_t generation = reader_generation(&reader, content);
	reader_close(&reader);
	return generation;
}

static void settle(struct instance *instance)
{
	struct rgm_status status;
	struct rgm_dimension_row row;
	WAIT_UNTIL((instance_status(instance, &status), status.retired_bytes == 0));
	instance_show(instance, "data", &row);
	REQUIRE_EQUAL(row.allocated_pages, row.live_pages);
}

/* Which dimensions are there: those of before the window or those of after it. */
static void check_set(const struct stage *stage)
{
	struct rgm_status status;
	instance_status(stage->instance, &status);
	REQUIRE_EQUAL(status.refused, 0);
	if (stage->window == FIRST)
		REQUIRE_EQUAL(status.dimensions, 3);
	else if (stage->window == CREATE)
		REQUIRE(status.dimensions == 2 || status.dimensions == 3);
	else if (stage->window == DROP)
		REQUIRE(status.dimensions == 2 || status.dimensions == 1);
	else
		REQUIRE_EQUAL(status.dimensions, 2);
	if (status.dimensions == 2 || stage->window == CREATE || stage->window == FIRST)
		REQUIRE_EQUAL(generation_of(stage->instance, &other), 1);
	if (stage->window == FIRST)
		REQUIRE_EQUAL(generation_of(stage->instance, &before), 1);
}

/* The manager is dead: take over, look, and leave an instance as new. */
static void look_around(struct stage *stage)
{
	struct instance *instance = stage->instance;
	child_signal(&stage->manager, SIGKILL);
	/* A traced thread has to be waited for before its process can be. */
	if (stage->reclaim)
		REQUIRE_EQUAL(waitpid(stage->reclaim, NULL, __WALL), stage->reclaim);
	child_kill(&stage->manager);
	instance_start(instance);
	check_set(stage);
	uint64_t generation = generation_of(instance, &data);
	REQUIRE(generation == 3 || (generation == 4 && stage->window == PUBLISH));
	child_say(&stage->reader, 'l');
	child_expect(&stage->reader, 'l');
	for (uint64_t more = 5; more < 8; more++)
		instance_put(instance, &data, more);
	child_say(&stage->reader, 'l');
	child_expect(&stage->reader, 'l');
	REQUIRE_EQUAL(generation_of(instance, &data), 7);
	child_say(&stage->reader, 'u');
	child_expect(&stage->reader, 'u');
	settle(instance);
	child_say(&stage->reader, 'e');
	child_join(&stage->reader);
	instance_stop(instance);
	/* And it was saved as it is. */
	instance_start(instance);
	REQUIRE_EQUAL(generation_of(instance, &data), 7);
	instance_drop(instance, "data");
	struct rgm_dimension_row row;
	struct rgm_control *control = NULL;
	struct rgm_control_options at = {.size = sizeof at, .socket = instance->socket};
	must(rgm_control_open(instance->name, &at, &control, NULL), NULL);
	for (size_t i = 0; i < 2; i++)
		if (rgm_control_show(control, i ? "other" : "more", &row, NULL) == 0)
			instance_drop(instance, i ? "other" : "more");
	rgm_control_close(control);
	instance_stop(instance);
}

/* Step to the window's end; note behind which instructions something was stored. */
static size_t record(struct stage *stage, uint32_t *points, uint32_t *ret_instructions)
{
	struct watch watch;
	uint32_t instructions = 0;
	size_t count = 0;
	stage_open(stage);
	watch_open(&watch, stage->instance, stage->window);
	watch_changed(&watch, stage->instance);
	while (step(stage)) {
		instructions++;
		if (watch_changed(&watch, stage->instance) && count < POINTS_MAX)
			points[count++] = instructions;
	}
	watch_close(&watch);
	look_around(stage);
	*ret_instructions = instructions;
	return count;
}

static void die_at(struct stage *stage, uint32_t point)
{
	stage_open(stage);
	for (uint32_t i = 0; i < point; i++)
		if (!step(stage))
			break;
	look_around(stage);
}

/* Which of the points: all, or so many of them at random. */
static size_t choose(uint32_t *points, size_t count, uint64_t *seed)
{
	const char *wanted = getenv("RGM_TEST_STEPS");
	size_t most = wanted ? strtoul(wanted, NULL, 0) : 6;
	if (count <= most)
		return count;
	for (size_t i = 0; i < most; i++) {
		size_t at = i + support_below(seed, count - i);
		uint32_t point = points[i];
		points[i] = points[at];
		points[at] = point;
	}
	return most;
}

static void die_everywhere(struct instance *instance, enum window window)
{
	static uint32_t points[POINTS_MAX];
	uint64_t seed = support_seed();
	uint32_t instructions = 0;
	struct stage stage = {.instance = instance, .window = window};
	stage.gate = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(stage.gate != MAP_FAILED);
	instance->daemon = false;
	instance_start(instance); /* for its id */
	if (window == FIRST)
		instance_put(instance, &before, 1);
	instance_stop(instance);
	size_t count = record(&stage, points, &instructions);
	REQUIRE(count > 0);
	size_t chosen = choose(points, count, &seed);
	print_message("%s: %u instructions, %zu stores that another manager can see; killed behind "
		      "%zu of them\n",
		window_names[window], instructions, count, chosen);
	for (size_t i = 0; i < chosen; i++)
		die_at(&stage, points[i]);
	munmap(stage.gate, 4096);
}

static void test_publish(void **state)
{
	die_everywhere(*state, PUBLISH);
}

static void test_reclaim(void **state)
{
	die_everywhere(*state, RECLAIM);
}

static void test_create(void **state)
{
	die_everywhere(*state, CREATE);
}

static void test_drop(void **state)
{
	die_everywhere(*state, DROP);
}

static void test_first_change(void **state)
{
	die_everywhere(*state, FIRST);
}

int main(void)
{
	if (SUPPORT_RACE_BUILD)
		support_skip_all("the race build has manager and readers in one process");
	const struct CMUnitTest tests[] = {
		PREPARED_TEST(test_publish),
		PREPARED_TEST(test_reclaim),
		PREPARED_TEST(test_create),
		PREPARED_TEST(test_drop),
		PREPARED_TEST(test_first_change),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
