/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mapping: lazily, over a window that growth does not outgrow, and gone when the dimension is and nobody
 * looks any more. Identity through renames, drops and names used again. Damage from outside.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct content one = {"one", 4, 8192, 61};
static const struct content two = {"two", 3, 4096, 62};

/* So many windows are in this process: the manager in it maps none, but for a race build's, which writes
 * through the readers'. */
#define REQUIRE_WINDOWS(count)                                                                     \
	do {                                                                                       \
		if (!SUPPORT_RACE_BUILD)                                                           \
			REQUIRE_EQUAL(support_mappings(".region"), (count));                       \
	} while (0)

static void test_lazy(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_error error;
	struct rgm_layers view;
	struct rgm_session_info info = {.size = sizeof info};
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	reader_open(&reader, instance, NULL);
	REQUIRE_WINDOWS(0);
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_ERROR(rgm_layers_open(reader.slot, "one", &view, &error), RGM_EAGAIN, &error);
	REQUIRE(error.hint[0]);
	must(rgm_unpin(reader.slot), NULL);
	reader_map(&reader, "one");
	reader_map(&reader, "one");
	REQUIRE_WINDOWS(1);
	REQUIRE_EQUAL(reader_generation(&reader, &one), 1);
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_ERROR(rgm_layers_open(reader.slot, "two", &view, &error), RGM_EAGAIN, &error);
	REQUIRE_ERROR(rgm_layers_open(reader.slot, "three", &view, &error), RGM_ENODIM, &error);
	must(rgm_unpin(reader.slot), NULL);
	must(rgm_map_all(reader.session, &error), &error);
	must(rgm_session_info(reader.session, &info, &error), &error);
	REQUIRE_EQUAL(info.mapped, 2);
	REQUIRE_EQUAL(info.dimensions, 2);
	REQUIRE_EQUAL(reader_generation(&reader, &two), 1);
	REQUIRE_ERROR(rgm_map(reader.session, "three", &error), RGM_ENODIM, &error);
	REQUIRE_ERROR(rgm_map(reader.session, "../x", &error), RGM_ENAME, &error);
	reader_close(&reader);
	REQUIRE_WINDOWS(0);
}

/* From one extent to more than a hundred megabytes under one mapping. */
static void test_growth(void **state)
{
	struct instance *instance = *state;
	struct content growing = {"growing", 1, 4096, 63};
	struct reader reader;
	struct rgm_dimension_row row;
	instance_put(instance, &growing, 1);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "growing");
	instance_show(instance, "growing", &row);
	uint64_t first = row.region_bytes;
	for (uint64_t generation = 2; growing.bytes < 40u << 20; generation++) {
		growing.bytes *= 3;
		instance_put(instance, &growing, generation);
		REQUIRE_EQUAL(reader_generation(&reader, &growing), generation);
		REQUIRE_WINDOWS(1);
	}
	instance_show(instance, "growing", &row);
	REQUIRE(row.region_bytes > 20 * first);
	reader_close(&reader);
}

/* --- Dropped ------------------------------------------------------------------------------------------ */

static uint64_t mapped(const struct reader *reader)
{
	struct rgm_session_info info = {.size = sizeof info};
	must(rgm_session_info(reader->session, &info, NULL), NULL);
	return info.mapped;
}

static void test_unmapped_when_unseen(void **state)
{
	struct instance *instance = *state;
	struct reader reader, second;
	struct rgm_error error;
	uint64_t version;
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	reader_open(&reader, instance, NULL);
	second.session = reader.session;
	must(rgm_slot_open(reader.session, &second.slot, &error), &error);
	must(rgm_map_all(reader.session, &error), &error);
	REQUIRE_WINDOWS(2);
	must(rgm_pin(reader.slot), NULL);
	must(rgm_pin(second.slot), NULL);
	struct rgm_hold *hold = reader_hold(&reader, "one");
	instance_drop(instance, "one");
	/* Whatever looks around: not while a section or a hold sees it. */
	for (int i = 0; i < 3; i++) {
		must(rgm_map(reader.session, "two", &error), &error);
		must(rgm_wait(reader.session, 0, 0, &version, &error), &error);
		REQUIRE_WINDOWS(2);
		REQUIRE_EQUAL(hold_generation(hold, &one), 1);
		if (i == 0) {
			REQUIRE_EQUAL(slot_generation(reader.slot, &one), 1);
			must(rgm_unpin(reader.slot), NULL);
		} else if (i == 1) {
			REQUIRE_EQUAL(slot_generation(second.slot, &one), 1);
			must(rgm_unpin(second.slot), NULL);
		}
	}
	must(rgm_pin(reader.slot), NULL);
	struct rgm_layers view;
	REQUIRE_ERROR(rgm_layers_open(reader.slot, "one", &view, &error), RGM_ENODIM, &error);
	must(rgm_unpin(reader.slot), NULL);
	REQUIRE_EQUAL(hold_generation(hold, &one), 1);
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	REQUIRE_WINDOWS(1);
	REQUIRE_EQUAL(mapped(&reader), 1);
	rgm_slot_close(second.slot);
	reader_close(&reader);
}

/* A reader that only reads finds out by itself. */
static void test_unmapped_by_looking(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_layers view;
	struct rgm_error error;
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	reader_open(&reader, instance, NULL);
	must(rgm_map_all(reader.session, &error), &error);
	instance_drop(instance, "one");
	for (int i = 0; i < 2; i++) {
		must(rgm_pin(reader.slot), NULL);
		REQUIRE_EQUAL(rgm_layers_open(reader.slot, "one", &view, NULL), RGM_ENODIM);
		must(rgm_unpin(reader.slot), NULL);
	}
	REQUIRE_WINDOWS(1);
	reader_close(&reader);
}

/* The space of a dropped dimension comes back while its reader stays attached. */
static void test_dropped_files_are_gone(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_error error;
	instance_put(instance, &two, 1);
	reader_open(&reader, instance, NULL);
	for (int i = 0; i < 10; i++) {
		instance_put(instance, &one, 1);
		must(rgm_map_all(reader.session, &error), &error);
		REQUIRE_EQUAL(reader_generation(&reader, &one), 1);
		instance_drop(instance, "one");
		must(rgm_map_all(reader.session, &error), &error);
	}
	REQUIRE_WINDOWS(1);
	/* In an embedded manager its descriptors can be seen. */
	if (instance->manager)
		WAIT_UNTIL(support_open_deleted() == 0);
	reader_close(&reader);
}

/* --- Identity ------------------------------------------------------------------------------------------ */

static struct rgm_dimension identity(struct reader *reader, const char *name)
{
	struct rgm_dimension dimension;
	struct rgm_error error;
	must(rgm_pin(reader->slot), NULL);
	must(rgm_find(reader->slot, name, &dimension, &error), &error);
	must(rgm_unpin(reader->slot), NULL);
	return dimension;
}

static void test_identity(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_layers view;
	struct rgm_error error;
	instance_put(instance, &one, 1);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "one");
	struct rgm_dimension before = identity(&reader, "one");
	instance_rename(instance, "one", "uno");
	struct rgm_dimension after = identity(&reader, "uno");
	REQUIRE(after.id == before.id && after.index == before.index);
	must(rgm_pin(reader.slot), NULL);
	must(rgm_layers_open_dimension(reader.slot, &before, &view, &error), &error);
	REQUIRE_EQUAL(view_generation(&view, &one), 1);
	REQUIRE_ERROR(rgm_layers_open(reader.slot, "one", &view, &error), RGM_ENODIM, &error);
	must(rgm_unpin(reader.slot), NULL);
	/* Another under the old name, and under the old index. */
	instance_put(instance, &one, 7);
	REQUIRE(identity(&reader, "one").id != before.id);
	instance_drop(instance, "uno");
	instance_put(instance, &two, 8);
	struct rgm_dimension reused = identity(&reader, "two");
	REQUIRE_EQUAL(reused.index, before.index);
	REQUIRE(reused.id > before.id);
	must(rgm_map_all(reader.session, &error), &error);
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_ERROR(
		rgm_layers_open_dimension(reader.slot, &before, &view, &error), RGM_ENODIM, &error);
	REQUIRE_EQUAL(slot_generation(reader.slot, &one), 7);
	REQUIRE_EQUAL(slot_generation(reader.slot, &two), 8);
	must(rgm_unpin(reader.slot), NULL);
	reader_close(&reader);
}

/* Names come and go at full speed under readers that map whatever there is. */
struct churn {
	struct rgm_session *session;
	bool stop;             /* atomic */
	uint64_t looks, wrong; /* atomic */
};

static void *map_and_look(void *argument)
{
	struct churn *churn = argument;
	struct rgm_error error;
	struct rgm_slot *slot;
	must(rgm_slot_open(churn->session, &slot, &error), &error);
	while (!__atomic_load_n(&churn->stop, __ATOMIC_ACQUIRE)) {
		char name[8];
		struct content content = {name, 2, 4096, 0};
		uint64_t number = __atomic_load_n(&churn->looks, __ATOMIC_RELAXED) % 3;
		snprintf(name, sizeof name, "c%d", (int)number);
		content.salt = 1000 * number;
		int rc = rgm_map(churn->session, name, &error);
		REQUIRE(rc == 0 || rc == RGM_ENODIM || rc == RGM_EAGAIN);
		must(rgm_pin(slot), NULL);
		struct rgm_layers view;
		rc = rgm_layers_open(slot, name, &view, &error);
		if (rc == 0 && view_generation(&view, &content) == 0)
			__atomic_fetch_add(&churn->wrong, 1, __ATOMIC_RELAXED);
		must(rgm_unpin(slot), NULL);
		__atomic_fetch_add(&churn->looks, 1, __ATOMIC_RELAXED);
	}
	rgm_slot_close(slot);
	return NULL;
}

static void test_churn(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	pthread_t threads[3];
	reader_open(&reader, instance, NULL);
	struct churn churn = {.session = reader.session};
	for (int i = 0; i < 3; i++)
		REQUIRE_EQUAL(pthread_create(&threads[i], NULL, map_and_look, &churn), 0);
	uint64_t until = support_now_ms() + 1500;
	for (uint64_t i = 0; support_now_ms() < until || i < 60; i++) {
		char name[8];
		struct content content = {name, 2, 4096, 1000 * (i % 3)};
		snprintf(name, sizeof name, "c%d", (int)(i % 3));
		if (i >= 3)
			instance_drop(instance, name);
		instance_put(instance, &content, i + 1);
	}
	__atomic_store_n(&churn.stop, true, __ATOMIC_RELEASE);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	REQUIRE_EQUAL(churn.wrong, 0);
	must(rgm_map_all(reader.session, NULL), NULL);
	REQUIRE_EQUAL(mapped(&reader), 3);
	REQUIRE_WINDOWS(3);
	reader_close(&reader);
}

/* --- Damage from outside -------------------------------------------------------------------------------- */

static void cut_off(struct instance *instance, const char *name, off_t bytes)
{
	struct rgm_dimension_row row;
	char path[256];
	instance_show(instance, name, &row);
	snprintf(path, sizeof path, "%s/%s", instance->folder, row.file);
	REQUIRE_EQUAL(truncate(path, bytes), 0);
}

static uint64_t read_all(struct rgm_layers *view)
{
	const char *name;
	struct rgm_span span;
	uint64_t sum = 0;
	rgm_layers_seek(view, NULL);
	while (rgm_layers_next(view, &name, &span))
		for (size_t i = 0; i < span.size; i += 512)
			sum += ((const volatile unsigned char *)span.data)[i];
	return sum;
}

struct damage {
	struct instance *instance;
	bool guard;
	off_t left;
};

static void read_damaged(struct child *parent, void *context)
{
	const struct damage *damage = context;
	struct rgm_attach_options options = {
		.size = sizeof options, .flags = damage->guard ? RGM_ATTACH_GUARD_SIGBUS : 0};
	struct reader reader;
	struct rgm_layers view;
	struct rgm_error error;
	if (damage->guard)
		instance_guard();
	else
		signal(SIGBUS, SIG_DFL);
	reader_open(&reader, damage->instance, &options);
	reader_map(&reader, "one");
	reader_map(&reader, "two");
	struct rgm_hold *hold = reader_take(&reader, "one");
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_EQUAL(slot_generation(reader.slot, &one), 1);
	must(rgm_layers_open(reader.slot, "one", &view, &error), &error);
	child_say(parent, 'p');
	child_expect(parent, 'c');
	read_all(&view);
	child_say(parent, 'r');
	REQUIRE_EQUAL(rgm_unpin(reader.slot), RGM_EIO);
	REQUIRE_EQUAL(rgm_hold_release(hold), RGM_EIO);
	/* From now on it is known; the other dimension is as good as ever. */
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_ERROR(rgm_layers_open(reader.slot, "one", &view, &error), RGM_EIO, &error);
	REQUIRE_EQUAL(rgm_unpin(reader.slot), RGM_EIO);
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_EQUAL(slot_generation(reader.slot, &two), 1);
	REQUIRE_EQUAL(rgm_unpin(reader.slot), 0);
	reader_close(&reader);
}

static void test_truncated_region(void **state)
{
	struct instance *instance = *state;
	static const off_t left[] = {0, 4096, 2 << 20, (2 << 20) + 3 * 4096};
	for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
		instance_put(instance, &one, 1);
		instance_put(instance, &two, 1);
		struct damage damage = {instance, true, left[i]};
		struct child child = child_start(read_damaged, &damage);
		child_expect(&child, 'p');
		cut_off(instance, "one", left[i]);
		child_say(&child, 'c');
		child_expect(&child, 'r');
		child_join(&child);
		instance_drop(instance, "one");
	}
}

static void test_truncated_without_guard(void **state)
{
	struct instance *instance = *state;
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	struct damage damage = {instance, false, 0};
	struct child child = child_start(read_damaged, &damage);
	child_expect(&child, 'p');
	cut_off(instance, "one", 0);
	child_say(&child, 'c');
	int status = 0;
	REQUIRE_EQUAL(waitpid(child.pid, &status, 0), child.pid);
	support_forget(child.pid);
	close(child.talk);
	REQUIRE(SUPPORT_ASAN ? status != 0 : WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	instance_drop(instance, "one");
	instance_wait_readers(instance, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_lazy),
		INSTANCE_TEST(test_growth),
		INSTANCE_TEST(test_unmapped_when_unseen),
		INSTANCE_TEST(test_unmapped_by_looking),
		INSTANCE_TEST(test_dropped_files_are_gone),
		INSTANCE_TEST(test_identity),
		INSTANCE_TEST(test_churn),
#if !SUPPORT_RACE_BUILD
		INSTANCE_TEST(test_truncated_region),
		INSTANCE_TEST(test_truncated_without_guard),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
