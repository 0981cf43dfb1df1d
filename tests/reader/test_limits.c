/* SPDX-License-Identifier: Apache-2.0 */
/* The limits of a reader: slots, readers, descriptors, address space. Each is a sentence, and no more. */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct content data = {"data", 2, 4096, 71};

static void test_slots(void **state)
{
	struct instance *instance = *state;
	struct rgm_attach_options options = {.size = sizeof options, .slots = 3};
	struct reader reader;
	struct rgm_error error;
	struct rgm_slot *slots[3], *more = NULL;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, &options);
	reader_map(&reader, "data");
	slots[0] = reader.slot;
	for (int i = 1; i < 3; i++)
		must(rgm_slot_open(reader.session, &slots[i], &error), &error);
	for (int round = 0; round < 3; round++) {
		REQUIRE_ERROR(rgm_slot_open(reader.session, &more, &error), RGM_ELIMIT, &error);
		REQUIRE(more == NULL);
		/* All of them are good for a section of their own version. */
		for (int i = 0; i < 3; i++) {
			must(rgm_pin(slots[i]), NULL);
			instance_put(instance, &data, 10 + (uint64_t)i);
		}
		REQUIRE_EQUAL(slot_generation(slots[2], &data), 11);
		REQUIRE_EQUAL(slot_generation(slots[1], &data), 10);
		for (int i = 0; i < 3; i++)
			must(rgm_unpin(slots[i]), NULL);
		rgm_slot_close(slots[round]);
		must(rgm_slot_open(reader.session, &slots[round], &error), &error);
	}
	rgm_slot_close(NULL);
	for (int i = 0; i < 3; i++)
		rgm_slot_close(slots[i]);
	reader.slot = NULL;
	reader_close(&reader);
}

/* The most that may be asked for, and more. */
static void test_attach_limits(void **state)
{
	struct instance *instance = *state;
	struct rgm_attach_options options = {
		.size = sizeof options, .slots = 4096, .holds = 65536, .socket = instance->socket};
	struct reader reader;
	struct rgm_session *session = NULL;
	struct rgm_error error;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, &options);
	reader_map(&reader, "data");
	REQUIRE_EQUAL(reader_generation(&reader, &data), 1);
	reader_close(&reader);
	options.slots = 4097;
	REQUIRE_ERROR(
		rgm_session_attach(instance->name, &options, &session, &error), RGM_ELIMIT, &error);
	options.slots = 1;
	options.holds = 65537;
	REQUIRE_ERROR(
		rgm_session_attach(instance->name, &options, &session, &error), RGM_ELIMIT, &error);
	options.holds = 1;
	options.socket = "/tmp/no-such-folder/socket";
	REQUIRE_ERROR(rgm_session_attach(instance->name, &options, &session, &error),
		RGM_ENOMANAGER, &error);
	REQUIRE(session == NULL);
	rgm_session_detach(NULL);
	instance_wait_readers(instance, 0);
}

static void test_max_readers(void **state)
{
	struct instance *instance = *state;
	struct reader readers[3];
	struct rgm_session *session = NULL;
	struct rgm_attach_options options = {.size = sizeof options, .socket = instance->socket};
	struct rgm_error error;
	instance->daemon = false;
	instance->options.max_readers = 3;
	instance_start(instance);
	instance_put(instance, &data, 1);
	for (int i = 0; i < 3; i++)
		reader_open(&readers[i], instance, NULL);
	REQUIRE_ERROR(
		rgm_session_attach(instance->name, &options, &session, &error), RGM_ELIMIT, &error);
	REQUIRE(session == NULL);
	reader_close(&readers[1]);
	instance_wait_readers(instance, 2);
	reader_open(&readers[1], instance, NULL);
	for (int i = 0; i < 3; i++)
		reader_close(&readers[i]);
}

#if !SUPPORT_RACE_BUILD
/* With every possible number of free descriptors: attached and mapped, or a code of one's own. */
static void few_files(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct rgm_attach_options options = {.size = sizeof options, .socket = instance->socket};
	struct rgm_error error;
	/* No gaps below the limit. */
	REQUIRE_EQUAL(dup2(parent->talk, 3), 3);
	REQUIRE_EQUAL(close_range(4, ~0u, 0), 0);
	for (rlim_t free_files = 0; free_files < 8; free_files++) {
		int lowest = open("/dev/null", O_RDONLY);
		REQUIRE(lowest >= 0);
		close(lowest);
		unsigned before = support_open_files();
		struct rlimit limit, lowered;
		getrlimit(RLIMIT_NOFILE, &limit);
		lowered = limit;
		lowered.rlim_cur = (rlim_t)lowest + free_files;
		REQUIRE_EQUAL(setrlimit(RLIMIT_NOFILE, &lowered), 0);
		struct rgm_session *session = NULL;
		int rc = rgm_session_attach(instance->name, &options, &session, &error);
		int map_rc = rc == 0 ? rgm_map(session, "data", &error) : -EMFILE;
		int again_rc = 1;
		setrlimit(RLIMIT_NOFILE, &limit);
		REQUIRE(rc == 0 || rc == -EMFILE);
		REQUIRE(map_rc == 0 || map_rc == -EMFILE || map_rc == RGM_EGONE);
		if (free_files == 0)
			REQUIRE_EQUAL(rc, -EMFILE);
		if (free_files == 7)
			REQUIRE_EQUAL(map_rc, 0);
		if (rc == 0 && map_rc == -EMFILE)
			again_rc = rgm_map(session, "data", &error);
		REQUIRE(again_rc == 1 || again_rc == 0 || again_rc == RGM_EGONE);
		rgm_session_detach(session);
		REQUIRE_EQUAL(support_open_files(), before);
	}
}

static void test_few_files(void **state)
{
	struct instance *instance = *state;
	instance_put(instance, &data, 1);
	struct child child = child_start(few_files, instance);
	child_join(&child);
	instance_wait_readers(instance, 0);
}

/* Attach with so much more address space than there is in use. Nothing is left of it. */
static bool attach_within(struct instance *instance, const struct rlimit *limit, uint64_t more)
{
	struct rgm_attach_options options = {.size = sizeof options, .socket = instance->socket};
	const uint64_t wiped_kb = support_wiped_kb();
	const unsigned mappings = support_mappings("regionmgr.");
	struct rlimit lowered = *limit;
	struct rgm_session *session = NULL;
	struct rgm_error error;
	unsigned long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "re");
	REQUIRE(statm && fscanf(statm, "%lu", &pages) == 1);
	fclose(statm);
	lowered.rlim_cur = pages * 4096 + more;
	REQUIRE_EQUAL(setrlimit(RLIMIT_AS, &lowered), 0);
	int rc = rgm_session_attach(instance->name, &options, &session, &error);
	setrlimit(RLIMIT_AS, limit);
	REQUIRE(rc == 0 || rc == -ENOMEM);
	REQUIRE(rc != 0 || support_wiped_kb() > wiped_kb);
	rgm_session_detach(session);
	REQUIRE_EQUAL(support_wiped_kb(), wiped_kb);
	REQUIRE_EQUAL(support_mappings("regionmgr."), mappings);
	return rc == 0;
}

/* Table, cells, segment and the books: each of them is once what there is no room for. */
static void little_at_attach(struct instance *instance, const struct rlimit *limit)
{
	const uint64_t step = 16384;
	uint64_t low = 0, high = (4ull << 30) / step;
	REQUIRE(attach_within(instance, limit, high * step));
	while (low + 1 < high) {
		uint64_t middle = low + (high - low) / 2;
		if (attach_within(instance, limit, middle * step))
			high = middle;
		else
			low = middle;
	}
	for (uint64_t less = 1; less <= 150 && less < high; less++)
		attach_within(instance, limit, (high - less) * step);
}

static void little_space(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct rlimit limit;
	struct reader reader;
	struct rgm_error error;
	(void)parent;
	reader_open(&reader, instance, NULL);
	getrlimit(RLIMIT_AS, &limit);
	struct rlimit lowered = limit;
	lowered.rlim_cur = 4ull << 30; /* the window of a dimension is 16 GiB */
	REQUIRE_EQUAL(setrlimit(RLIMIT_AS, &lowered), 0);
	REQUIRE_ERROR(rgm_map(reader.session, "data", &error), -ENOMEM, &error);
	REQUIRE(error.hint[0]);
	setrlimit(RLIMIT_AS, &limit);
	little_at_attach(instance, &limit);
	reader_map(&reader, "data");
	REQUIRE_EQUAL(reader_generation(&reader, &data), 1);
	reader_close(&reader);
}

static void test_little_address_space(void **state)
{
	struct instance *instance = *state;
	if (SUPPORT_ASAN) {
		support_tell_skip("address_space", "AddressSanitizer takes all of it");
		skip();
	}
	instance_put(instance, &data, 1);
	struct child child = child_start(little_space, instance);
	child_join(&child);
}
#endif

/* Sessions come and go: nothing is left of them. */
static void test_attach_often(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	reader_close(&reader);
	instance_wait_readers(instance, 0);
	support_sleep_ms(50);
	unsigned files = support_open_files(), mappings = support_mappings("regionmgr.");
	for (int i = 0; i < 300; i++) {
		reader_open(&reader, instance, NULL);
		reader_map(&reader, "data");
		REQUIRE_EQUAL(reader_generation(&reader, &data), 1);
		reader_close(&reader);
	}
	instance_wait_readers(instance, 0);
	WAIT_UNTIL(support_open_files() <= files);
	WAIT_UNTIL(instance_segments(instance) == 0);
	REQUIRE_EQUAL(support_mappings("regionmgr."), mappings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_slots),
		INSTANCE_TEST(test_attach_limits),
		PREPARED_TEST(test_max_readers),
#if !SUPPORT_RACE_BUILD
		INSTANCE_TEST(test_few_files),
		INSTANCE_TEST(test_little_address_space),
#endif
		INSTANCE_TEST(test_attach_often),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
