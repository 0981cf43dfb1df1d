/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers: processes that attach and die in a storm, many sessions of several threads at once, many
 * dimensions. Shared by the tests that run them small (test_storm.c) and in full (test_storm_long.c). Time
 * is printed and never judged; what is judged is that each byte was right, and that afterwards nothing is
 * left: no retired page, no name in shared memory, no descriptor, no process.
 */
#ifndef TESTS_READER_STORM_H
#define TESTS_READER_STORM_H

#include "tests/support/instance.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct content storm_a = {"alpha", 4, 64 * 64, 100};
static const struct content storm_b = {"beta", 3, 64 * 100, 200};

/* --- What has to be as it was ------------------------------------------------------------------------- */

struct storm_figures {
	unsigned files; /* of the manager, which is in this process */
	unsigned mappings;
};

static inline struct storm_figures storm_figures(const struct instance *instance)
{
	return (struct storm_figures){support_open_files(), support_mappings(instance->id)};
}

static inline void storm_settle(struct instance *instance, const struct storm_figures *before)
{
	struct rgm_status status;
	instance_wait_readers(instance, 0);
	WAIT_UNTIL((instance_status(instance, &status), status.retired_bytes == 0));
	WAIT_UNTIL(instance_segments(instance) == 0);
	WAIT_UNTIL(support_open_files() <= before->files);
	REQUIRE_EQUAL(support_mappings(instance->id), before->mappings);
	REQUIRE_EQUAL(instance_counter(instance, "attaches"),
		instance_counter(instance, "sessions_ended"));
}

static inline void storm_replace(struct instance *instance, uint64_t *generation)
{
	instance_put(instance, &storm_a, ++*generation);
	instance_put(instance, &storm_b, *generation);
}

/* --- Processes ---------------------------------------------------------------------------------------- */

struct storm {
	struct instance *instance;
	uint64_t seed;
	/* shared with the processes: how far they came, and how many found what they should */
	uint64_t *attached, *looks;
};

/* One look at both dimensions. They change one after the other, alpha first. */
static inline void storm_look(struct reader *reader)
{
	must(rgm_pin(reader->slot), NULL);
	uint64_t a = slot_generation(reader->slot, &storm_a);
	uint64_t b = slot_generation(reader->slot, &storm_b);
	REQUIRE(a != 0 && b != 0 && (a == b || a == b + 1));
	must(rgm_unpin(reader->slot), NULL);
}

/* A life that SIGKILL may end anywhere: in the middle of the attach, of a map, of a section, with holds,
 * with a forked child; some end by themselves, some with everything left open. */
static inline void storm_life(struct child *parent, void *context)
{
	const struct storm *storm = context;
	uint64_t random = storm->seed ^ (uint64_t)getpid() << 20;
	struct reader reader;
	(void)parent;
	reader_open(&reader, storm->instance, NULL);
	__atomic_fetch_add(storm->attached, 1, __ATOMIC_RELAXED);
	reader_map(&reader, "alpha");
	reader_map(&reader, "beta");
	storm_look(&reader);
	__atomic_fetch_add(storm->looks, 1, __ATOMIC_RELAXED);
	switch (support_below(&random, 6)) {
	case 0:
		reader_close(&reader);
		return;
	case 1:
		must(rgm_pin(reader.slot), NULL);
		_exit(0);
	case 2:
		reader_take(&reader, "alpha");
		kill(getpid(), SIGKILL);
		break;
	case 3:
		must(rgm_pin(reader.slot), NULL);
		reader_hold(&reader, "beta");
		kill(getpid(), SIGKILL);
		break;
	case 4:
		for (;;)
			reader_take(&reader, "alpha"); /* shared by count: no limit is met */
	default:
		for (;;)
			storm_look(&reader);
	}
}

/* `total` processes, `at_once` of them at a time; each is killed after a while, wherever it is. */
static inline void storm_processes(struct instance *instance, unsigned total, unsigned at_once)
{
	struct child children[64] = {{0}};
	uint64_t generation = 0, random = support_seed(), start = support_now_ms();
	uint64_t *words =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(words != MAP_FAILED && at_once <= 64);
	storm_replace(instance, &generation);
	struct storm_figures before = storm_figures(instance);
	unsigned begun = 0;
	while (begun < total) {
		struct storm storm = {instance, random + begun, &words[0], &words[8]};
		unsigned place = (unsigned)support_below(&random, at_once);
		child_kill(&children[place]);
		children[place] = child_start(storm_life, &storm);
		begun++;
		if (begun % 4 == 0)
			storm_replace(instance, &generation);
	}
	/* The last ones come far enough that there is something to look at. */
	WAIT_UNTIL(__atomic_load_n(&words[8], __ATOMIC_RELAXED) > total / 10);
	for (unsigned i = 0; i < at_once; i++)
		child_kill(&children[i]);
	storm_settle(instance, &before);
	print_message(
		"%u processes, %u at once: %llu attached, %llu looked, %llu versions, %llu ms\n",
		total, at_once, (unsigned long long)words[0], (unsigned long long)words[8],
		(unsigned long long)generation * 2, (unsigned long long)(support_now_ms() - start));
	munmap(words, 4096);
}

/* --- Sessions ------------------------------------------------------------------------------------------ */

struct storm_thread {
	struct rgm_session *session;
	uint64_t looks;
	pthread_barrier_t *start;
};

static inline void *storm_thread(void *argument)
{
	struct storm_thread *thread = argument;
	struct reader reader = {.session = thread->session};
	struct rgm_error error;
	must(rgm_slot_open(reader.session, &reader.slot, &error), &error);
	pthread_barrier_wait(thread->start);
	for (uint64_t i = 0; i < thread->looks; i++) {
		struct rgm_hold *hold = i % 4 == 0 ? reader_take(&reader, "beta") : NULL;
		storm_look(&reader);
		REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	}
	rgm_slot_close(reader.slot);
	return NULL;
}

/* So many sessions at once, each of several threads; every thread looks so often, under a writer. */
static inline void storm_sessions(
	struct instance *instance, unsigned sessions, unsigned threads_each, uint64_t looks)
{
	unsigned count = sessions * threads_each;
	struct reader *readers = calloc(sessions, sizeof *readers);
	struct storm_thread *threads = calloc(count, sizeof *threads);
	pthread_t *ids = calloc(count, sizeof *ids);
	uint64_t generation = 0, start = support_now_ms();
	pthread_barrier_t begin;
	pthread_attr_t small;
	pthread_attr_init(&small);
	REQUIRE_EQUAL(pthread_attr_setstacksize(&small, 256 << 10), 0);
	REQUIRE(readers && threads && ids);
	storm_replace(instance, &generation);
	struct storm_figures before = storm_figures(instance);
	for (unsigned i = 0; i < sessions; i++) {
		struct rgm_attach_options options = {.size = sizeof options,
			.barrier = i % 2 ? RGM_BARRIER_FENCE : RGM_BARRIER_AUTO};
		reader_open(&readers[i], instance, &options);
		reader_map(&readers[i], "alpha");
		reader_map(&readers[i], "beta");
	}
	REQUIRE_EQUAL(instance_readers(instance), sessions);
	uint64_t attached = support_now_ms();
	REQUIRE_EQUAL(pthread_barrier_init(&begin, NULL, count + 1), 0);
	for (unsigned i = 0; i < count; i++) {
		threads[i] = (struct storm_thread){readers[i % sessions].session, looks, &begin};
		REQUIRE_EQUAL(pthread_create(&ids[i], &small, storm_thread, &threads[i]), 0);
	}
	pthread_barrier_wait(&begin);
	for (int i = 0; i < 100; i++)
		storm_replace(instance, &generation);
	for (unsigned i = 0; i < count; i++)
		pthread_join(ids[i], NULL);
	uint64_t read = support_now_ms();
	for (unsigned i = 0; i < sessions; i++)
		reader_close(&readers[i]);
	storm_settle(instance, &before);
	print_message("%u sessions of %u threads: %llu looks, %llu versions; attach %llu ms, read "
		      "%llu ms, detach %llu ms\n",
		sessions, threads_each, (unsigned long long)looks * count,
		(unsigned long long)generation * 2, (unsigned long long)(attached - start),
		(unsigned long long)(read - attached),
		(unsigned long long)(support_now_ms() - read));
	pthread_barrier_destroy(&begin);
	pthread_attr_destroy(&small);
	free(readers);
	free(threads);
	free(ids);
}

/* --- Dimensions ---------------------------------------------------------------------------------------- */

static inline void storm_name(char name[16], unsigned number)
{
	snprintf(name, 16, "d%05u", number);
}

/* Each with a layer that says which it is. */
static inline void storm_create(struct instance *instance, unsigned count)
{
	struct rgm_load_options options = {.size = sizeof options,
		.flags = RGM_LOAD_CREATE,
		.create = {.size = sizeof options.create, .max_bytes = 64ull << 20}};
	struct rgm_load_report report;
	struct rgm_error error;
	for (unsigned i = 0; i < count; i++) {
		struct rgm_writer *writer;
		char name[16] = "";
		storm_name(name, i);
		must(rgm_writer_begin(instance->manager, name, &options, &writer, &error), &error);
		must(rgm_writer_put(writer, "layer", name, sizeof name, NULL, &error), &error);
		must(rgm_writer_commit(writer, &report, &error), &error);
	}
}

struct storm_dimensions {
	struct instance *instance;
	unsigned count;
};

static inline void storm_read_one(struct reader *reader, unsigned number)
{
	struct rgm_layers view;
	struct rgm_layer layer;
	struct rgm_error error;
	char name[16] = "";
	storm_name(name, number);
	must(rgm_layers_open(reader->slot, name, &view, &error), &error);
	REQUIRE(rgm_layers_next_layer(&view, &layer));
	REQUIRE(layer.data.size == sizeof name && memcmp(layer.data.data, name, sizeof name) == 0);
}

/* A reader that may have few descriptors maps and reads all of them at one version. */
static inline void storm_read_all(struct child *parent, void *context)
{
	const struct storm_dimensions *dimensions = context;
	struct rlimit few = {24, 24};
	struct rgm_session_info info = {.size = sizeof info};
	struct rgm_error error;
	struct reader reader;
	uint64_t start = support_now_ms();
	REQUIRE_EQUAL(setrlimit(RLIMIT_NOFILE, &few), 0);
	reader_open(&reader, dimensions->instance, NULL);
	uint64_t attached = support_now_ms();
	must(rgm_map_all(reader.session, &error), &error);
	must(rgm_session_info(reader.session, &info, &error), &error);
	REQUIRE_EQUAL(info.mapped, dimensions->count);
	REQUIRE_EQUAL(info.dimensions, dimensions->count);
	uint64_t mapped = support_now_ms();
	must(rgm_pin(reader.slot), NULL);
	for (unsigned i = 0; i < dimensions->count; i++)
		storm_read_one(&reader, i);
	child_say(parent, 'r');
	child_expect(parent, 'd');
	/* Half of them were dropped: this section sees all of them still. */
	for (unsigned i = 0; i < dimensions->count; i++)
		storm_read_one(&reader, i);
	must(rgm_unpin(reader.slot), NULL);
	must(rgm_map_all(reader.session, &error), &error);
	must(rgm_session_info(reader.session, &info, &error), &error);
	REQUIRE_EQUAL(info.mapped, dimensions->count / 2);
	print_message("  attach %llu ms, map all %llu ms\n", (unsigned long long)(attached - start),
		(unsigned long long)(mapped - attached));
	reader_close(&reader);
}

static inline void storm_dimensions(struct instance *instance, unsigned count)
{
	struct storm_dimensions dimensions = {instance, count};
	struct rgm_status status;
	struct rgm_dimension_row row;
	char name[16];
	uint64_t start = support_now_ms();
	struct storm_figures before = storm_figures(instance);
	storm_create(instance, count);
	uint64_t created = support_now_ms();
	instance_status(instance, &status);
	REQUIRE_EQUAL(status.dimensions, count);
	storm_name(name, count - 1);
	instance_show(instance, name, &row);
	REQUIRE_EQUAL(row.layers, 1);
	struct child child = child_start(storm_read_all, &dimensions);
	child_expect(&child, 'r');
	for (unsigned i = 0; i < count; i += 2) {
		storm_name(name, i);
		instance_drop(instance, name);
	}
	child_say(&child, 'd');
	child_join(&child);
	uint64_t read = support_now_ms();
	instance_stop(instance);
	instance_start(instance);
	instance_status(instance, &status);
	REQUIRE_EQUAL(status.dimensions, count / 2);
	REQUIRE_EQUAL(status.refused, 0);
	uint64_t started = support_now_ms();
	for (unsigned i = 1; i < count; i += 2) {
		storm_name(name, i);
		instance_drop(instance, name);
	}
	/* Descriptors of what was dropped close when nobody looks at it any more. */
	storm_settle(instance, &before);
	print_message(
		"%u dimensions: create %llu ms, read, drop half %llu ms, stop and start %llu ms, "
		"drop the rest %llu ms\n",
		count, (unsigned long long)(created - start), (unsigned long long)(read - created),
		(unsigned long long)(started - read),
		(unsigned long long)(support_now_ms() - started));
}

#endif
