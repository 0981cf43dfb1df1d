/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Region files that somebody cuts, punches, replaces or removes while readers look at them. With the opt-in
 * handler a section that meets a missing page ends in RGM_EIO, in each of its threads, and the process lives;
 * what is still whole is read on; what reads as zeros without a fault is found by a check; and the place is
 * good again after the dimension was loaded anew. test_reader_map has the single cuts, test_ipc_guard the
 * handler itself.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct content one = {"one", 4, 64 * 1024, 61};
static const struct content two = {"two", 3, 8192, 62};

static void region_path(struct instance *instance, const char *name, char path[256])
{
	struct rgm_dimension_row row;
	instance_show(instance, name, &row);
	snprintf(path, 256, "%s/%s", instance->folder, row.file);
}

static int read_layers(struct rgm_slot *slot, const char *name, uint64_t *sum)
{
	struct rgm_layers view;
	struct rgm_error error;
	struct rgm_span span;
	const char *layer;
	int rc = rgm_layers_open(slot, name, &view, &error);
	if (rc)
		return rc;
	while (rgm_layers_next(&view, &layer, &span))
		for (size_t i = 0; i < span.size; i += 64)
			*sum += ((const volatile unsigned char *)span.data)[i];
	return 0;
}

static uint64_t check_problems(struct instance *instance, const char *name, int *ret_rc)
{
	struct rgm_control_options options = {.size = sizeof options, .socket = instance->socket};
	struct rgm_check_report report = {0};
	struct rgm_control *control;
	struct rgm_error error;
	must(rgm_control_open(NULL, &options, &control, &error), &error);
	*ret_rc = rgm_control_check(control, name, NULL, NULL, &report, &error);
	rgm_control_close(control);
	return report.problems;
}

static void load_anew(struct instance *instance)
{
	instance_drop(instance, "one");
	instance_put(instance, &one, 9);
}

/* --- Cut ------------------------------------------------------------------------------------------------ */

#define THREADS 6

struct look {
	struct rgm_session *session;
	const char *name;
	uint64_t *phase; /* atomic */
	uint64_t inside; /* atomic */
	int unpinned;
};

static void *look_twice(void *argument)
{
	struct look *look = argument;
	struct rgm_error error;
	struct rgm_slot *slot;
	uint64_t sum = 0;
	must(rgm_slot_open(look->session, &slot, &error), &error);
	must(rgm_pin(slot), NULL);
	must(read_layers(slot, look->name, &sum), NULL);
	__atomic_store_n(&look->inside, 1, __ATOMIC_RELEASE);
	WAIT_UNTIL(__atomic_load_n(look->phase, __ATOMIC_ACQUIRE) == 1);
	read_layers(slot, look->name, &sum);
	look->unpinned = rgm_unpin(slot);
	rgm_slot_close(slot);
	return NULL;
}

static void read_in_threads(struct child *parent, void *context)
{
	struct rgm_attach_options options = {
		.size = sizeof options, .flags = RGM_ATTACH_GUARD_SIGBUS};
	struct look looks[THREADS];
	pthread_t ids[THREADS];
	struct reader reader;
	struct rgm_error error;
	uint64_t phase = 0, sum = 0;
	instance_guard();
	reader_open(&reader, context, &options);
	must(rgm_map_all(reader.session, &error), &error);
	for (int i = 0; i < THREADS; i++) {
		looks[i] = (struct look){.session = reader.session, .name = "one", .phase = &phase};
		REQUIRE_EQUAL(pthread_create(&ids[i], NULL, look_twice, &looks[i]), 0);
		WAIT_UNTIL(__atomic_load_n(&looks[i].inside, __ATOMIC_ACQUIRE));
	}
	child_say(parent, 'i');
	child_expect(parent, 'c');
	__atomic_store_n(&phase, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	/* Whoever met the damage, or opened a view where it was met, was told. */
	for (int i = 0; i < THREADS; i++)
		REQUIRE_EQUAL(looks[i].unpinned, RGM_EIO);
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_EQUAL(slot_generation(reader.slot, &two), 1);
	must(rgm_unpin(reader.slot), NULL);
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_EQUAL(read_layers(reader.slot, "one", &sum), RGM_EIO);
	REQUIRE_EQUAL(rgm_unpin(reader.slot), RGM_EIO);
	child_say(parent, 'd');
	child_expect(parent, 'n');
	/* Loaded anew it is another dimension under the name, and as good as any. */
	must(rgm_map_all(reader.session, &error), &error);
	REQUIRE_EQUAL(reader_generation(&reader, &one), 9);
	reader_close(&reader);
}

static void test_cut_under_threads(void **state)
{
	struct instance *instance = *state;
	char path[256];
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	for (int round = 0; round < 3; round++) {
		struct child child = child_start(read_in_threads, instance);
		child_expect(&child, 'i');
		region_path(instance, "one", path);
		REQUIRE_EQUAL(truncate(path, round == 1 ? 4096 : 0), 0);
		if (round == 2)
			REQUIRE_EQUAL(truncate(path, 4096), 0); /* a little came back */
		child_say(&child, 'c');
		child_expect(&child, 'd');
		load_anew(instance);
		child_say(&child, 'n');
		child_join(&child);
	}
	instance_wait_readers(instance, 0);
}

/* --- Emptied -------------------------------------------------------------------------------------------- */

/* Cut and grown again, or punched: there is no fault, there are zeros. The kernel tells nobody; a check
 * does, and a dimension loaded anew is whole. */
static void empty_file(struct instance *instance, bool punch)
{
	char path[256];
	struct stat status;
	struct reader reader;
	int rc = 0;
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "one");
	reader_map(&reader, "two");
	REQUIRE_EQUAL(check_problems(instance, "one", &rc), 0);
	REQUIRE_EQUAL(rc, 0);
	region_path(instance, "one", path);
	int file = open(path, O_RDWR | O_CLOEXEC);
	REQUIRE(file >= 0 && fstat(file, &status) == 0);
	struct rgm_layers view;
	struct rgm_layer layer;
	struct rgm_error error;
	must(rgm_pin(reader.slot), NULL);
	must(rgm_layers_open(reader.slot, "one", &view, &error), &error);
	REQUIRE(rgm_layers_next_layer(&view, &layer));
	REQUIRE(pattern_generation(layer.data.data, layer.data.size, one.salt) == 1);
	if (punch) {
		REQUIRE_EQUAL(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				      status.st_size),
			0);
	} else {
		REQUIRE_EQUAL(ftruncate(file, 0), 0);
		REQUIRE_EQUAL(ftruncate(file, status.st_size), 0);
	}
	close(file);
	REQUIRE_EQUAL(((const unsigned char *)layer.data.data)[0], 0);
	must(rgm_unpin(reader.slot), NULL);
	REQUIRE_EQUAL(reader_generation(&reader, &two), 1);
	uint64_t problems = check_problems(instance, "one", &rc);
	REQUIRE(problems > 0 && rc == RGM_ECORRUPT);
	load_anew(instance);
	must(rgm_map_all(reader.session, &error), &error);
	REQUIRE_EQUAL(reader_generation(&reader, &one), 9);
	REQUIRE_EQUAL(check_problems(instance, "one", &rc), 0);
	REQUIRE_EQUAL(rc, 0);
	reader_close(&reader);
}

static void test_punched(void **state)
{
	empty_file(*state, true);
}

static void test_cut_and_grown(void **state)
{
	empty_file(*state, false);
}

/* --- Replaced and removed ------------------------------------------------------------------------------- */

/* The name leads elsewhere: readers, new readers and writers stay with the file that is served. At the next
 * start what stands there is refused with a reason; with the file back it is served. */
static void lose_name(struct instance *instance, const char *other)
{
	char path[256], aside[300];
	struct reader reader, late;
	struct rgm_dimension_row row;
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "one");
	region_path(instance, "one", path);
	snprintf(aside, sizeof aside, "%s/aside", instance->folder);
	REQUIRE_EQUAL(rename(path, aside), 0);
	if (other) {
		char from[256];
		static char bytes[8 << 20];
		region_path(instance, other, from);
		int in = open(from, O_RDONLY | O_CLOEXEC);
		int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		ssize_t got = read(in, bytes, sizeof bytes);
		REQUIRE(in >= 0 && out >= 0 && got > 0);
		REQUIRE_EQUAL(write(out, bytes, (size_t)got), got);
		close(in);
		close(out);
	}
	for (uint64_t generation = 2; generation < 8; generation++) {
		instance_put(instance, &one, generation);
		REQUIRE_EQUAL(reader_generation(&reader, &one), generation);
		reader_open(&late, instance, NULL);
		reader_map(&late, "one");
		REQUIRE_EQUAL(reader_generation(&late, &one), generation);
		reader_close(&late);
	}
	reader_close(&reader);
	instance_wait_readers(instance, 0);
	instance_stop(instance);
	instance_start(instance);
	instance_show(instance, "one", &row);
	REQUIRE(strcmp(row.state, "refused") == 0 && strstr(row.reason, row.file));
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "two");
	REQUIRE_EQUAL(reader_generation(&reader, &two), 1);
	reader_close(&reader);
	instance_wait_readers(instance, 0);
	instance_stop(instance);
	REQUIRE_EQUAL(rename(aside, path), 0);
	instance_start(instance);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "one");
	REQUIRE_EQUAL(reader_generation(&reader, &one), 7);
	reader_close(&reader);
	instance_drop(instance, "one");
	REQUIRE(access(path, F_OK) != 0);
}

static void test_replaced(void **state)
{
	lose_name(*state, "two");
}

static void test_removed(void **state)
{
	lose_name(*state, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#if !SUPPORT_RACE_BUILD
		INSTANCE_TEST(test_cut_under_threads),
		INSTANCE_TEST(test_punched),
		INSTANCE_TEST(test_cut_and_grown),
#endif
		INSTANCE_TEST(test_replaced),
		INSTANCE_TEST(test_removed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
