/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers that lag and managers with a policy for them: shared by the tests of policies. A reader
 * process claims something, stops itself by SIGSTOP or waits, and tells later how its claims ended.
 */
#ifndef TESTS_READER_LAGGING_H
#define TESTS_READER_LAGGING_H

#include "tests/support/instance.h"

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct content data = {"data", 6, 16384, 61};

/* --- What the manager logs ---------------------------------------------------------------------- */

/* Counted by event, and the last sentence of each; the library calls it one event at a time. */
struct log_lines {
	pthread_mutex_t lock;
	unsigned lagging, revoked, killed;
	char sentence[512];
	char policy[16], label[32];
	uint64_t pid, user, kept, age;
};
static struct log_lines lines = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void take_fields(const struct rgm_log_field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct rgm_log_field *field = &fields[i];
		if (strcmp(field->key, "policy") == 0)
			snprintf(lines.policy, sizeof lines.policy, "%s", field->text);
		if (strcmp(field->key, "label") == 0)
			snprintf(lines.label, sizeof lines.label, "%s", field->text);
		if (strcmp(field->key, "pid") == 0)
			lines.pid = field->number;
		if (strcmp(field->key, "user") == 0)
			lines.user = field->number;
		if (strcmp(field->key, "kept_bytes") == 0)
			lines.kept = field->number;
		if (strcmp(field->key, "age_ms") == 0)
			lines.age = field->number;
	}
}

static inline void take_line(void *context, enum rgm_log_level level, const char *event,
	const char *sentence, const struct rgm_log_field *fields, size_t field_count)
{
	(void)context;
	unsigned *count = strcmp(event, "lagging") == 0   ? &lines.lagging
	                  : strcmp(event, "revoked") == 0 ? &lines.revoked
	                  : strcmp(event, "killed") == 0  ? &lines.killed
	                                                  : NULL;
	if (!count)
		return;
	pthread_mutex_lock(&lines.lock);
	REQUIRE_EQUAL(level, RGM_LOG_WARNING);
	++*count;
	snprintf(lines.sentence, sizeof lines.sentence, "%s", sentence);
	take_fields(fields, field_count);
	pthread_mutex_unlock(&lines.lock);
}

static inline struct log_lines logged(void)
{
	pthread_mutex_lock(&lines.lock);
	struct log_lines copy = lines;
	pthread_mutex_unlock(&lines.lock);
	return copy;
}

/* The line is the reader's, and says all that is promised. */
static inline void check_line(const struct log_lines *line, pid_t pid, const char *policy)
{
	REQUIRE_EQUAL(line->pid, pid);
	REQUIRE_EQUAL(line->user, geteuid());
	REQUIRE(strcmp(line->policy, policy) == 0);
	REQUIRE(*line->label);
	REQUIRE(line->kept > 0);
	REQUIRE(strstr(line->sentence, line->label));
}

/* --- A manager with a policy -------------------------------------------------------------------- */

/* An embedded one that has served generation 1, or regionmgrd with the same settings. */
static inline void start_with(struct instance *instance, enum rgm_lag_policy policy, uint32_t ms)
{
	static const char *const names[] = {"warn", "limit", "kill"};
	static char time[16];
	snprintf(time, sizeof time, "%ums", ms);
	const char *extra[] = {
		"--lag-policy", names[policy], "--lag-bytes", "4096", "--warn-section", time, NULL};
	memcpy(instance->extra, extra, sizeof extra);
	pthread_mutex_lock(&lines.lock);
	lines.lagging = lines.revoked = lines.killed = 0;
	pthread_mutex_unlock(&lines.lock);
	instance->options.lag_policy = policy;
	instance->options.lag_bytes = 4096;
	instance->options.warn_section_ms = ms;
	instance->options.log = take_line;
	instance_start(instance);
	instance_put(instance, &data, 1);
}

/* --- Readers ------------------------------------------------------------------------------------ */

struct claim {
	struct instance *instance;
	bool section, hold, stops;
};

struct outcome {
	int section, hold;   /* codes of unpin and release */
	uint64_t generation; /* what the next section saw */
};

static inline void claim_and_stop(struct child *parent, void *context)
{
	const struct claim *claim = context;
	struct outcome outcome = {0};
	struct reader reader;
	struct rgm_hold *hold = NULL;
	reader_open(&reader, claim->instance, NULL);
	reader_map(&reader, "data");
	if (claim->hold)
		hold = reader_take(&reader, "data");
	if (claim->section) {
		must(rgm_pin(reader.slot), NULL);
		REQUIRE_EQUAL(slot_generation(reader.slot, &data), 1);
	}
	REQUIRE_EQUAL(
		write(parent->talk, &reader.number, sizeof reader.number), sizeof reader.number);
	if (claim->stops)
		REQUIRE_EQUAL(raise(SIGSTOP), 0);
	else
		child_expect(parent, 'g');
	if (claim->section)
		outcome.section = rgm_unpin(reader.slot);
	outcome.hold = rgm_hold_release(hold);
	outcome.generation = reader_generation(&reader, &data);
	REQUIRE_EQUAL(write(parent->talk, &outcome, sizeof outcome), sizeof outcome);
	child_expect(parent, 'e');
	reader_close(&reader);
}

/* Start one, wait until it has claimed (and stopped). Its session's number. */
static inline struct child start_claim(const struct claim *claim, uint64_t *ret_number)
{
	struct child child = child_start(claim_and_stop, (void *)claim);
	REQUIRE_EQUAL(
		recv(child.talk, ret_number, sizeof *ret_number, MSG_WAITALL), sizeof *ret_number);
	if (claim->stops)
		child_wait_stopped(&child);
	return child;
}

/* Let it go on, and hear how its claims ended. */
static inline struct outcome go_on(struct child *child, const struct claim *claim)
{
	struct outcome outcome;
	if (claim->stops)
		child_signal(child, SIGCONT);
	else
		child_say(child, 'g');
	REQUIRE_EQUAL(recv(child->talk, &outcome, sizeof outcome, MSG_WAITALL), sizeof outcome);
	return outcome;
}

static inline void let_end(struct child *child)
{
	child_say(child, 'e');
	child_join(child);
}

/* Its end by SIGKILL, which somebody else sent. */
static inline void expect_killed(struct child *child)
{
	int status = 0;
	REQUIRE_EQUAL(waitpid(child->pid, &status, 0), child->pid);
	support_forget(child->pid);
	close(child->talk);
	child->pid = 0;
	REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* --- A reader beside them that is never late ---------------------------------------------------- */

struct bystander {
	struct reader reader;
	pthread_t thread;
	bool stop;      /* atomic */
	uint64_t looks; /* atomic */
};

static inline void *look_on(void *argument)
{
	struct bystander *bystander = argument;
	struct reader reader = {.session = bystander->reader.session};
	struct rgm_error error;
	must(rgm_slot_open(reader.session, &reader.slot, &error), &error);
	while (!__atomic_load_n(&bystander->stop, __ATOMIC_ACQUIRE)) {
		REQUIRE(reader_generation(&reader, &data) != 0); /* its unpin has to return 0 */
		__atomic_fetch_add(&bystander->looks, 1, __ATOMIC_RELAXED);
	}
	rgm_slot_close(reader.slot);
	return NULL;
}

static inline void bystander_start(struct bystander *bystander, struct instance *instance)
{
	*bystander = (struct bystander){0};
	reader_open(&bystander->reader, instance, NULL);
	reader_map(&bystander->reader, "data");
	REQUIRE_EQUAL(pthread_create(&bystander->thread, NULL, look_on, bystander), 0);
}

/* It saw only what was whole, and went on. */
static inline void bystander_end(struct bystander *bystander)
{
	WAIT_UNTIL(__atomic_load_n(&bystander->looks, __ATOMIC_RELAXED) > 100);
	__atomic_store_n(&bystander->stop, true, __ATOMIC_RELEASE);
	pthread_join(bystander->thread, NULL);
	reader_close(&bystander->reader);
}

#endif
