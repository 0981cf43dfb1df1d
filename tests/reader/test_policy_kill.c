/* SPDX-License-Identifier: Apache-2.0 */
/* label: slow */
/*
 * Policy `kill`: the process that lags is ended, by its pidfd, and no other; where that cannot be done
 * what it sees is taken back, and the log says why.
 */
#define _GNU_SOURCE 1

#include "tests/reader/lagging.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "ipc/socket.h"

#define MANAGER_UID 64911u

#if !SUPPORT_RACE_BUILD
static bool has_peerpidfd(const struct instance *instance)
{
	int pidfd, rc, file;
	socklen_t bytes = sizeof pidfd;
	struct rgm_error error;
	must(ipc_connect(instance->socket, &file, &error), &error);
	rc = getsockopt(file, SOL_SOCKET, 77, &pidfd, &bytes);
	close(file);
	if (rc == 0)
		close(pidfd);
	return rc == 0;
}

static void need_peerpidfd(const struct instance *instance)
{
	if (has_peerpidfd(instance))
		return;
	support_tell_skip("pidfd", "this kernel has no SO_PEERPIDFD (Linux 6.5)");
	skip();
}

static void write_on(struct instance *instance, uint64_t last)
{
	for (uint64_t generation = 2; generation <= last; generation++)
		instance_put(instance, &data, generation);
}

/* Another process with a session, which has to live on. */
static void read_on(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct bystander bystander;
	bystander_start(&bystander, instance);
	child_say(parent, 'r');
	child_expect(parent, 'e');
	bystander_end(&bystander);
}

static void kill_it(struct instance *instance, struct claim claim)
{
	struct bystander bystander;
	uint64_t number;
	claim.instance = instance;
	struct child other = child_start(read_on, instance);
	child_expect(&other, 'r');
	struct child child = start_claim(&claim, &number);
	pid_t pid = child.pid;
	bystander_start(&bystander, instance);
	write_on(instance, 30);
	WAIT_UNTIL(instance_counter(instance, "readers_killed") == 1);
	expect_killed(&child);
	instance_wait_reclaimed(instance, "data");
	instance_wait_readers(instance, 2);
	instance_put(instance, &data, 31);
	REQUIRE_EQUAL(instance_counter(instance, "readers_killed"), 1);
	REQUIRE_EQUAL(instance_counter(instance, "readers_revoked"), 0);
	struct log_lines line = logged();
	REQUIRE_EQUAL(line.killed, 1);
	REQUIRE_EQUAL(line.revoked, 0);
	check_line(&line, pid, "kill");
	bystander_end(&bystander);
	child_say(&other, 'e');
	child_join(&other);
}

static void test_kill_section(void **state)
{
	struct instance *instance = *state;
	instance->daemon = false;
	start_with(instance, RGM_LAG_KILL, 500);
	need_peerpidfd(instance);
	kill_it(instance, (struct claim){.section = true, .stops = true});
}

static void test_kill_hold(void **state)
{
	struct instance *instance = *state;
	instance->daemon = false;
	start_with(instance, RGM_LAG_KILL, 500);
	need_peerpidfd(instance);
	kill_it(instance, (struct claim){.hold = true, .stops = true});
}

/* regionmgrd with its options. */
static void test_kill_daemon(void **state)
{
	struct instance *instance = *state;
	struct claim claim = {instance, true, false, true};
	uint64_t number;
	instance->daemon = true;
	start_with(instance, RGM_LAG_KILL, 200);
	need_peerpidfd(instance);
	struct child child = start_claim(&claim, &number);
	write_on(instance, 10);
	expect_killed(&child);
	instance_wait_reclaimed(instance, "data");
	REQUIRE_EQUAL(instance_counter(instance, "readers_killed"), 1);
}

/* What it saw is taken back instead, for the reason given. */
static void fall_back(struct instance *instance, const char *why)
{
	struct claim claim = {instance, true, true, true};
	struct rgm_reader_row row;
	uint64_t number;
	struct child child = start_claim(&claim, &number);
	write_on(instance, 10);
	WAIT_UNTIL(instance_counter(instance, "readers_revoked") == 1);
	instance_wait_reclaimed(instance, "data");
	REQUIRE(instance_reader(instance, number, &row));
	REQUIRE(strcmp(row.lag, "revoked") == 0);
	REQUIRE_EQUAL(instance_counter(instance, "readers_killed"), 0);
	struct log_lines line = logged();
	REQUIRE_EQUAL(line.revoked, 1);
	REQUIRE_EQUAL(line.killed, 0);
	check_line(&line, child.pid, "kill");
	REQUIRE(strstr(line.sentence, why));
	struct outcome outcome = go_on(&child, &claim);
	REQUIRE_EQUAL(outcome.section, RGM_EREVOKED);
	REQUIRE_EQUAL(outcome.hold, RGM_EREVOKED);
	REQUIRE_EQUAL(outcome.generation, 10);
	let_end(&child);
}

static void test_without_pidfd(void **state)
{
	struct instance *instance = *state;
	instance->daemon = false;
	instance->options.disable = RGM_DISABLE_PEERPIDFD;
	start_with(instance, RGM_LAG_KILL, 200);
	fall_back(instance, "because no pidfd names its process");
}

/* A child of the killed one goes on with its hold: it is not killed, the hold is void. */
static void live_on(struct child *parent, void *context)
{
	struct rgm_hold *hold = context;
	prctl(PR_SET_PDEATHSIG, 0);
	child_say(parent, 'r');
	child_hear(parent); /* its end */
	for (;;) {
		if (rgm_hold_release(hold) == RGM_EREVOKED)
			_exit(7);
		support_sleep_ms(2);
	}
}

static void hold_with_child(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct reader reader;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "data");
	struct child child = child_start(live_on, reader_take(&reader, "data"));
	child_expect(&child, 'r');
	REQUIRE_EQUAL(write(parent->talk, &child.pid, sizeof child.pid), sizeof child.pid);
	child_hear(parent);
}

static void test_kill_with_child(void **state)
{
	struct instance *instance = *state;
	instance->daemon = false;
	start_with(instance, RGM_LAG_KILL, 200);
	need_peerpidfd(instance);
	pid_t grandchild;
	int status = 0;
	struct child child = child_start(hold_with_child, instance);
	REQUIRE_EQUAL(
		recv(child.talk, &grandchild, sizeof grandchild, MSG_WAITALL), sizeof grandchild);
	support_adopt(grandchild);
	write_on(instance, 10);
	expect_killed(&child);
	instance_wait_reclaimed(instance, "data");
	REQUIRE_EQUAL(instance_counter(instance, "readers_killed"), 1);
	REQUIRE_EQUAL(instance_counter(instance, "readers_revoked"), 1);
	REQUIRE(strstr(logged().sentence, "and what it sees is still kept"));
	/* It ended by itself, told that its hold is void. */
	REQUIRE_EQUAL(waitpid(grandchild, &status, 0), grandchild);
	support_forget(grandchild);
	REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	instance_wait_readers(instance, 0);
}

/* A manager that is not root, and a reader that is: not permitted. */
static void serve_as_other(struct child *parent, void *context)
{
	struct instance *instance = context;
	REQUIRE_EQUAL(setgroups(0, NULL), 0);
	REQUIRE_EQUAL(setresgid(MANAGER_UID, MANAGER_UID, MANAGER_UID), 0);
	REQUIRE_EQUAL(setresuid(MANAGER_UID, MANAGER_UID, MANAGER_UID), 0);
	start_with(instance, RGM_LAG_KILL, 200);
	child_say(parent, has_peerpidfd(instance) ? 's' : 'n');
	child_expect(parent, 'w');
	write_on(instance, 10);
	WAIT_UNTIL(instance_counter(instance, "readers_revoked") == 1);
	instance_wait_reclaimed(instance, "data");
	REQUIRE_EQUAL(instance_counter(instance, "readers_killed"), 0);
	struct log_lines line = logged();
	REQUIRE_EQUAL(line.user, 0);
	REQUIRE(strstr(line.sentence, "because killing its process is not permitted"));
	child_say(parent, 'r');
	child_expect(parent, 'e');
	instance_wait_readers(instance, 0);
	instance_stop(instance);
}

static void test_not_permitted(void **state)
{
	struct instance *instance = *state;
	struct claim claim = {instance, true, true, true};
	uint64_t number;
	if (geteuid() != 0) {
		support_tell_skip("users", "only root can become another user");
		skip();
	}
	instance->daemon = false;
	REQUIRE_EQUAL(chown(instance->folder, MANAGER_UID, MANAGER_UID), 0);
	struct child manager = child_start(serve_as_other, instance);
	char word = child_hear(&manager);
	if (word == 'n') {
		child_kill(&manager);
		support_tell_skip("pidfd", "this kernel has no SO_PEERPIDFD (Linux 6.5)");
		skip();
	}
	REQUIRE_EQUAL(word, 's');
	struct child child = start_claim(&claim, &number);
	child_say(&manager, 'w');
	child_expect(&manager, 'r');
	struct outcome outcome = go_on(&child, &claim);
	REQUIRE_EQUAL(outcome.section, RGM_EREVOKED);
	REQUIRE_EQUAL(outcome.hold, RGM_EREVOKED);
	REQUIRE_EQUAL(outcome.generation, 10);
	let_end(&child);
	child_say(&manager, 'e');
	child_join(&manager);
}
#endif

/* A reader in the manager's own process ends nobody. */
static void test_own_process(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	instance->daemon = false;
	start_with(instance, RGM_LAG_KILL, 200);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "data");
	must(rgm_pin(reader.slot), NULL);
	instance_put(instance, &data, 2);
	instance_put(instance, &data, 3);
	WAIT_UNTIL(instance_counter(instance, "readers_revoked") == 1);
	instance_wait_reclaimed(instance, "data");
	REQUIRE_EQUAL(instance_counter(instance, "readers_killed"), 0);
	REQUIRE(strstr(logged().sentence, "because it is the manager's own process"));
	REQUIRE_EQUAL(rgm_unpin(reader.slot), RGM_EREVOKED);
	REQUIRE_EQUAL(reader_generation(&reader, &data), 3);
	reader_close(&reader);
}

int main(void)
{
	support_adopt_orphans();
	const struct CMUnitTest tests[] = {
#if !SUPPORT_RACE_BUILD
		PREPARED_TEST(test_kill_section),
		PREPARED_TEST(test_kill_hold),
		PREPARED_TEST(test_kill_daemon),
		PREPARED_TEST(test_without_pidfd),
		PREPARED_TEST(test_kill_with_child),
		PREPARED_TEST(test_not_permitted),
#endif
		PREPARED_TEST(test_own_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
