/* SPDX-License-Identifier: Apache-2.0 */
/* label: slow */
/*
 * Policies `warn` and `limit`: a reader that is stopped for good, inside a section or with holds, costs
 * what its version sees and is told of; `limit` takes it back while it is stopped. When it goes on it is
 * told that what it read is void, and reads on as any other. Nobody else notices.
 */
#define _GNU_SOURCE 1

#include "tests/reader/lagging.h"

#include <errno.h>

#include "regionmgr/manager/manager.h"

/* Generations 2 … last, while the reader is stopped. */
static void write_on(struct instance *instance, uint64_t last)
{
	for (uint64_t generation = 2; generation <= last; generation++)
		instance_put(instance, &data, generation);
}

/* The pages of the content as it is now. */
static uint64_t live_pages(struct instance *instance)
{
	struct rgm_dimension_row row;
	instance_show(instance, "data", &row);
	return row.live_pages;
}

#if !SUPPORT_RACE_BUILD
/* What one version sees, once, however many come and go; one line in the log, and nothing else. */
static void test_warn(void **state)
{
	struct instance *instance = *state;
	struct rgm_reader_row row;
	uint64_t number;
	start_with(instance, RGM_LAG_WARN, 100);
	uint64_t pages = live_pages(instance);
	struct claim claim = {instance, true, true, true};
	struct child child = start_claim(&claim, &number);
	write_on(instance, 60);
	WAIT_UNTIL(instance_counter(instance, "readers_warned") == 1);
	/* Looks around go by, and writers on. */
	for (uint64_t generation = 61; generation < 75; generation++) {
		instance_put(instance, &data, generation);
		support_sleep_ms(100);
	}
	WAIT_UNTIL(instance_retired(instance, "data") == pages);
	REQUIRE(instance_reader(instance, number, &row));
	REQUIRE(strcmp(row.lag, "lagging") == 0);
	REQUIRE_EQUAL(row.revoked_version, 0);
	REQUIRE_EQUAL(row.sections, 1);
	REQUIRE_EQUAL(row.holds, 1);
	REQUIRE(row.kept_bytes >= pages * 4096 && row.kept_bytes <= (pages + 3) * 4096);
	struct log_lines line = logged();
	REQUIRE_EQUAL(line.lagging, 1);
	REQUIRE_EQUAL(line.revoked + line.killed, 0);
	check_line(&line, child.pid, "warn");
	REQUIRE(line.age >= 100);
	REQUIRE_EQUAL(instance_counter(instance, "readers_warned"), 1);
	REQUIRE_EQUAL(instance_counter(instance, "readers_revoked"), 0);
	REQUIRE_EQUAL(instance_counter(instance, "readers_killed"), 0);
	struct outcome outcome = go_on(&child, &claim);
	REQUIRE_EQUAL(outcome.section, 0);
	REQUIRE_EQUAL(outcome.hold, 0);
	REQUIRE_EQUAL(outcome.generation, 74);
	instance_wait_reclaimed(instance, "data");
	REQUIRE(instance_reader(instance, number, &row));
	REQUIRE(strcmp(row.lag, "ok") == 0);
	let_end(&child);
}

/* The memory is back while the reader is stopped; then it is told, and goes on. */
static void take_back(struct instance *instance, struct claim claim)
{
	struct rgm_reader_row row;
	struct bystander bystander;
	uint64_t number;
	claim.instance = instance;
	struct child child = start_claim(&claim, &number);
	bystander_start(&bystander, instance);
	write_on(instance, 30);
	WAIT_UNTIL(instance_counter(instance, "readers_revoked") == 1);
	instance_wait_reclaimed(instance, "data");
	for (uint64_t generation = 31; generation <= 60; generation++)
		instance_put(instance, &data, generation);
	instance_wait_reclaimed(instance, "data");
	REQUIRE(instance_reader(instance, number, &row));
	REQUIRE_EQUAL(row.sections + row.holds, 0);
	REQUIRE_EQUAL(row.kept_bytes, 0);
	REQUIRE(row.revoked_version != 0);
	REQUIRE(strcmp(row.lag, "revoked") == 0);
	uint64_t revoked = row.revoked_version;
	struct outcome outcome = go_on(&child, &claim);
	REQUIRE_EQUAL(outcome.section, claim.section ? RGM_EREVOKED : 0);
	REQUIRE_EQUAL(outcome.hold, claim.hold ? RGM_EREVOKED : 0);
	REQUIRE_EQUAL(outcome.generation, 60);
	REQUIRE(instance_reader(instance, number, &row));
	REQUIRE(strcmp(row.lag, "ok") == 0);
	REQUIRE_EQUAL(row.revoked_version, revoked);
	REQUIRE_EQUAL(instance_counter(instance, "readers_revoked"), 1);
	REQUIRE_EQUAL(instance_counter(instance, "readers_killed"), 0);
	if (instance->manager) {
		struct log_lines line = logged();
		REQUIRE_EQUAL(line.revoked, 1);
		REQUIRE_EQUAL(line.killed, 0);
		check_line(&line, child.pid, "limit");
	}
	let_end(&child);
	REQUIRE(instance_reader(instance, bystander.reader.number, &row));
	REQUIRE_EQUAL(row.revoked_version, 0);
	bystander_end(&bystander);
}

static void test_limit_section(void **state)
{
	start_with(*state, RGM_LAG_LIMIT, 500);
	take_back(*state, (struct claim){.section = true, .stops = true});
}

static void test_limit_hold(void **state)
{
	start_with(*state, RGM_LAG_LIMIT, 500);
	take_back(*state, (struct claim){.hold = true, .stops = true});
}

static void test_limit_both(void **state)
{
	start_with(*state, RGM_LAG_LIMIT, 500);
	take_back(*state, (struct claim){.section = true, .hold = true, .stops = true});
}

static void find_in_log(const struct instance *instance, const char *text)
{
	char path[128], line[1024];
	bool found = false;
	snprintf(path, sizeof path, "%s/regionmgrd.log", instance->folder);
	FILE *log = fopen(path, "re");
	REQUIRE(log);
	while (!found && fgets(line, sizeof line, log))
		found = strstr(line, text);
	fclose(log);
	REQUIRE(found);
}

/* regionmgrd with its options. */
static void test_limit_daemon(void **state)
{
	struct instance *instance = *state;
	instance->daemon = true;
	start_with(instance, RGM_LAG_LIMIT, 500);
	take_back(instance, (struct claim){.section = true, .hold = true, .stops = true});
	find_in_log(instance, "they are taken back (policy limit)");
}

/* A forked child that uses the parent's hold is told as well; what the parent takes next is kept. */
struct family {
	struct instance *instance;
	struct reader reader;
	struct rgm_hold *hold;
};

static void inherit(struct child *parent, void *context)
{
	struct family *family = context;
	REQUIRE_EQUAL(hold_generation(family->hold, &data), 1);
	REQUIRE_EQUAL(rgm_hold_release(family->hold), RGM_EFORKED);
	child_say(parent, 'i');
	child_expect(parent, 'r');
	REQUIRE_EQUAL(rgm_hold_release(family->hold), RGM_EREVOKED);
	child_say(parent, 'r');
	child_expect(parent, 'e');
}

static void hold_and_fork(struct child *parent, void *context)
{
	struct family *family = context;
	reader_open(&family->reader, family->instance, NULL);
	reader_map(&family->reader, "data");
	family->hold = reader_take(&family->reader, "data");
	struct child child = child_start(inherit, family);
	child_expect(&child, 'i');
	child_say(parent, 'h');
	child_expect(parent, 'r');
	child_say(&child, 'r');
	child_expect(&child, 'r');
	REQUIRE_EQUAL(rgm_hold_release(family->hold), RGM_EREVOKED);
	/* The words of the revoked one stand for the child; the new one has words of its own. */
	struct rgm_hold *hold = reader_take(&family->reader, "data");
	uint64_t generation = hold_generation(hold, &data);
	child_say(parent, 't');
	child_expect(parent, 'g');
	REQUIRE_EQUAL(hold_generation(hold, &data), generation);
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	child_say(&child, 'e');
	child_join(&child);
	child_say(parent, 'd');
	child_expect(parent, 'e');
	reader_close(&family->reader);
}

static void test_limit_forked_child(void **state)
{
	struct instance *instance = *state;
	struct family family = {.instance = instance};
	start_with(instance, RGM_LAG_LIMIT, 200);
	struct child child = child_start(hold_and_fork, &family);
	child_expect(&child, 'h');
	write_on(instance, 20);
	WAIT_UNTIL(instance_counter(instance, "readers_revoked") == 1);
	instance_wait_reclaimed(instance, "data");
	REQUIRE_EQUAL(instance_readers(instance), 1);
	child_say(&child, 'r');
	child_expect(&child, 't');
	instance_put(instance, &data, 21);
	child_say(&child, 'g');
	child_expect(&child, 'd');
	child_say(&child, 'e');
	child_join(&child);
	instance_wait_readers(instance, 0);
}
#endif

/* --- In this process ---------------------------------------------------------------------------- */

/* Sections, nested ones too, holds and slots of a revoked session, step by step. */
static void test_limit_embedded(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_error error;
	struct rgm_slot *second;
	instance->daemon = false;
	start_with(instance, RGM_LAG_LIMIT, 100);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "data");
	must(rgm_slot_open(reader.session, &second, &error), &error);
	for (uint64_t round = 1; round <= 2; round++) {
		struct rgm_hold *old = reader_take(&reader, "data"), *again;
		must(rgm_pin(reader.slot), NULL);
		must(rgm_pin(reader.slot), NULL);
		again = reader_hold(&reader, "data");
		instance_put(instance, &data, 10 * round);
		instance_put(instance, &data, 10 * round + 1);
		WAIT_UNTIL(instance_counter(instance, "readers_revoked") == round);
		instance_wait_reclaimed(instance, "data");
		/* Another thread's section of the same session begins behind it. */
		must(rgm_pin(second), NULL);
		struct rgm_hold *fresh;
		struct rgm_dimension dimension;
		must(rgm_find(second, "data", &dimension, &error), &error);
		must(rgm_hold_take(second, &dimension, &fresh, &error), &error);
		REQUIRE_EQUAL(slot_generation(second, &data), 10 * round + 1);
		/* The outermost end tells; the inner one ends nothing. */
		REQUIRE_EQUAL(rgm_unpin(reader.slot), 0);
		REQUIRE_EQUAL(rgm_unpin(reader.slot), RGM_EREVOKED);
		REQUIRE_EQUAL(rgm_unpin(reader.slot), -EINVAL);
		REQUIRE_EQUAL(rgm_hold_release(old), RGM_EREVOKED);
		REQUIRE_EQUAL(rgm_hold_release(again), RGM_EREVOKED);
		REQUIRE_EQUAL(rgm_unpin(second), 0);
		REQUIRE_EQUAL(hold_generation(fresh, &data), 10 * round + 1);
		REQUIRE_EQUAL(rgm_hold_release(fresh), 0);
		REQUIRE_EQUAL(reader_generation(&reader, &data), 10 * round + 1);
	}
	struct log_lines line = logged();
	REQUIRE_EQUAL(line.revoked, 2);
	check_line(&line, getpid(), "limit");
	rgm_slot_close(second);
	reader_close(&reader);
}

/* A reader that is never late is never touched, however little it may keep. */
static void test_limit_fast(void **state)
{
	struct instance *instance = *state;
	struct bystander bystander;
	instance->daemon = false;
	start_with(instance, RGM_LAG_LIMIT, 10000);
	bystander_start(&bystander, instance);
	uint64_t until = support_now_ms() + 1200;
	for (uint64_t generation = 2; support_now_ms() < until; generation++)
		instance_put(instance, &data, generation);
	REQUIRE_EQUAL(instance_counter(instance, "readers_warned"), 0);
	REQUIRE_EQUAL(instance_counter(instance, "readers_revoked"), 0);
	bystander_end(&bystander);
}

static void test_bad_policy(void **state)
{
	struct instance *instance = *state;
	struct rgm_error error;
	instance->options.lag_policy = 3;
	REQUIRE_ERROR(instance_start_fails(instance, &error), -EINVAL, &error);
	REQUIRE(instance->manager == NULL);
}

int main(void)
{
	support_adopt_orphans();
	const struct CMUnitTest tests[] = {
#if !SUPPORT_RACE_BUILD
		PREPARED_TEST(test_warn),
		PREPARED_TEST(test_limit_section),
		PREPARED_TEST(test_limit_hold),
		PREPARED_TEST(test_limit_both),
		PREPARED_TEST(test_limit_daemon),
		PREPARED_TEST(test_limit_forked_child),
#endif
		PREPARED_TEST(test_limit_embedded),
		PREPARED_TEST(test_limit_fast),
		PREPARED_TEST(test_bad_policy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
