/* SPDX-License-Identifier: Apache-2.0 */
/* label: slow */
/*
 * Forks of a reader: sections do not cross them and the child can do no harm; holds do cross them, and
 * last until the parent has released them and nobody who descends from the fork can read through them.
 */
#define _GNU_SOURCE 1

#include "tests/reader/play.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- Sections --------------------------------------------------------------------------------------- */

static void use_inherited_slot(struct child *parent, void *context)
{
	struct play *play = context;
	struct reader *reader = &play->reader, own;
	struct rgm_error error;
	struct rgm_slot *slot;
	struct rgm_session_info info = {.size = sizeof info};
	uint64_t version;
	REQUIRE_EQUAL(rgm_pin(reader->slot), RGM_EFORKED);
	REQUIRE_EQUAL(rgm_unpin(reader->slot), RGM_EFORKED);
	REQUIRE_EQUAL(rgm_hold_release(play->hold), RGM_EFORKED);
	REQUIRE_ERROR(rgm_slot_open(reader->session, &slot, &error), RGM_EFORKED, &error);
	REQUIRE_ERROR(rgm_map(reader->session, "data", &error), RGM_EFORKED, &error);
	REQUIRE_ERROR(rgm_map_all(reader->session, &error), RGM_EFORKED, &error);
	REQUIRE_ERROR(rgm_session_info(reader->session, &info, &error), RGM_EFORKED, &error);
	REQUIRE_ERROR(rgm_wait(reader->session, 0, 0, &version, &error), RGM_EFORKED, &error);
	REQUIRE(rgm_current_version(reader->session) > 0);
	REQUIRE_EQUAL(hold_generation(play->hold, &data), 1);
	child_say(parent, 'f');
	child_expect(parent, 'a');
	/* Attached anew it is a reader like any other, and what it inherited stays. */
	reader_open(&own, play->instance, NULL);
	REQUIRE(own.number != reader->number);
	reader_map(&own, "data");
	must(rgm_pin(own.slot), NULL);
	uint64_t seen = slot_generation(own.slot, &data);
	REQUIRE(seen > 1);
	REQUIRE_EQUAL(hold_generation(play->hold, &data), 1);
	REQUIRE_EQUAL(rgm_pin(reader->slot), RGM_EFORKED);
	child_say(parent, 'a');
	child_expect(parent, 'd');
	REQUIRE_EQUAL(slot_generation(own.slot, &data), seen);
	must(rgm_unpin(own.slot), NULL);
	/* Closing its books of the inherited session unmaps nothing. */
	rgm_slot_close(reader->slot);
	rgm_session_detach(reader->session);
	REQUIRE_EQUAL(hold_generation(play->hold, &data), 1);
	REQUIRE_EQUAL(reader_generation(&own, &data), play->generation + 24);
	reader_close(&own);
	REQUIRE_EQUAL(hold_generation(play->hold, &data), 1);
}

static void test_sections_do_not_cross(void **state)
{
	struct instance *instance = *state;
	struct play play;
	struct rgm_reader_row row;
	begin(&play, instance);
	take(&play);
	must(rgm_pin(play.reader.slot), NULL);
	struct child child = child_start(use_inherited_slot, &play);
	child_expect(&child, 'f');
	/* The child's calls stored nothing: the parent's section is what it was. */
	REQUIRE(instance_reader(instance, play.reader.number, &row));
	REQUIRE_EQUAL(row.sections, 1);
	replace_often(&play);
	REQUIRE_EQUAL(slot_generation(play.reader.slot, &data), 1);
	child_say(&child, 'a');
	child_expect(&child, 'a');
	REQUIRE_EQUAL(instance_readers(instance), 2);
	replace_often(&play);
	REQUIRE_EQUAL(slot_generation(play.reader.slot, &data), 1);
	must(rgm_unpin(play.reader.slot), NULL);
	child_say(&child, 'd');
	child_join(&child);
	REQUIRE_EQUAL(reader_generation(&play.reader, &data), play.generation);
	REQUIRE_EQUAL(rgm_hold_release(play.hold), 0);
	instance_wait_reclaimed(instance, "data");
	reader_close(&play.reader);
}

/* --- Holds ------------------------------------------------------------------------------------------ */

/* The parent releases; the child still reads right bytes; its end frees them. */
static void test_holds_cross(void **state)
{
	struct instance *instance = *state;
	struct play play;
	begin(&play, instance);
	take(&play);
	struct child child = fork_looker(&play);
	replace_often(&play);
	ask(&child);
	REQUIRE_EQUAL(rgm_hold_release(play.hold), 0);
	replace_often(&play);
	ask(&child);
	REQUIRE(kept(&play));
	reap(&play);
	ask(&child);
	REQUIRE(kept(&play));
	let_go(&child);
	reap(&play);
	instance_wait_reclaimed(instance, "data");
	reader_close(&play.reader);
}

/* The other order: the child ends first, and the parent's hold is its own again. */
static void test_child_ends_first(void **state)
{
	struct instance *instance = *state;
	struct play play;
	begin(&play, instance);
	take(&play);
	struct child child = fork_looker(&play);
	let_go(&child);
	replace_often(&play);
	REQUIRE(kept(&play));
	REQUIRE_EQUAL(hold_generation(play.hold, &data), 1);
	REQUIRE_EQUAL(rgm_hold_release(play.hold), 0);
	instance_wait_reclaimed(instance, "data");
	reader_close(&play.reader);
}

static void close_all_files(int but)
{
	for (int file = 0; file < 1024; file++)
		if (file != but && file != STDERR_FILENO)
			close(file);
}

static void look_without_files(struct child *parent, void *context)
{
	close_all_files(parent->talk);
	look_when_asked(parent, context);
}

static void attach_and_look(struct child *parent, void *context)
{
	struct play *play = context;
	struct reader own;
	reader_open(&own, play->instance, NULL);
	look_when_asked(parent, context);
	reader_close(&own);
}

static void fork_again(struct child *parent, void *context)
{
	struct child grandchild = child_start(look_when_asked, context);
	child_expect(&grandchild, 'l');
	child_say(parent, 'l');
	for (;;) {
		char word = child_hear(parent);
		if (word != 'l')
			break;
		ask(&grandchild);
		child_say(parent, 'l');
	}
	let_go(&grandchild);
}

static void hold_by(struct instance *instance, child_run *run)
{
	struct play play;
	begin(&play, instance);
	take(&play);
	struct child child = child_start(run, &play);
	child_expect(&child, 'l');
	REQUIRE_EQUAL(rgm_hold_release(play.hold), 0);
	for (int i = 0; i < 3; i++) {
		replace_often(&play);
		reap(&play);
		ask(&child);
		REQUIRE(kept(&play));
	}
	let_go(&child);
	reap(&play);
	instance_wait_reclaimed(instance, "data");
	reader_close(&play.reader);
}

static void test_child_closes_everything(void **state)
{
	hold_by(*state, look_without_files);
}

static void test_child_attaches(void **state)
{
	hold_by(*state, attach_and_look);
}

static void test_child_forks_again(void **state)
{
	hold_by(*state, fork_again);
}

/* Exec ends what the child could see. */
static void exec_when_asked(struct child *parent, void *context)
{
	look_when_asked(parent, context);
	child_say(parent, 'x');
	fcntl(parent->talk, F_SETFD, 0);
	dup2(parent->talk, STDIN_FILENO);
	execl("/bin/sh", "sh", "-c", "echo y >&0; read word", NULL);
	_exit(4);
}

static void test_child_execs(void **state)
{
	struct instance *instance = *state;
	struct play play;
	begin(&play, instance);
	take(&play);
	struct child child = child_start(exec_when_asked, &play);
	child_expect(&child, 'l');
	REQUIRE_EQUAL(rgm_hold_release(play.hold), 0);
	replace_often(&play);
	REQUIRE(kept(&play));
	child_say(&child, 'e');
	child_expect(&child, 'x');
	child_expect(&child, 'y');
	reap(&play);
	instance_wait_reclaimed(instance, "data");
	REQUIRE_EQUAL(kill(child.pid, 0), 0);
	child_kill(&child);
	reader_close(&play.reader);
}

/* Only holds alive at a fork are a child's; of several children each has its own. */
static void test_each_fork_its_own(void **state)
{
	struct instance *instance = *state;
	struct play play;
	begin(&play, instance);
	take(&play);
	struct rgm_hold *first = play.hold;
	struct child early = fork_looker(&play);
	instance_put(instance, &data, ++play.generation);
	take(&play);
	struct rgm_hold *second = play.hold;
	struct child late = fork_looker(&play);
	instance_put(instance, &data, ++play.generation);
	take(&play);
	struct rgm_hold *third = play.hold;
	REQUIRE_EQUAL(rgm_hold_release(first), 0);
	REQUIRE_EQUAL(rgm_hold_release(second), 0);
	REQUIRE_EQUAL(rgm_hold_release(third), 0);
	struct rgm_reader_row row;
	REQUIRE(instance_reader(instance, play.reader.number, &row));
	REQUIRE_EQUAL(row.holds, 2); /* the third was nobody else's */
	replace_often(&play);
	ask(&early);
	ask(&late);
	/* The later child inherited the first hold too. */
	let_go(&early);
	reap(&play);
	REQUIRE(instance_reader(instance, play.reader.number, &row));
	REQUIRE_EQUAL(row.holds, 2);
	ask(&late);
	let_go(&late);
	reap(&play);
	REQUIRE(instance_reader(instance, play.reader.number, &row));
	REQUIRE_EQUAL(row.holds, 0);
	instance_wait_reclaimed(instance, "data");
	reader_close(&play.reader);
}

/* A child forked after the parent's release cannot read through that hold: it does not keep it. */
static void test_fork_after_release(void **state)
{
	struct instance *instance = *state;
	struct play play;
	struct rgm_reader_row row;
	begin(&play, instance);
	take(&play);
	struct rgm_hold *first = play.hold;
	struct child early = fork_looker(&play);
	REQUIRE_EQUAL(rgm_hold_release(first), 0);
	instance_put(instance, &data, ++play.generation);
	take(&play);
	struct child late = fork_looker(&play);
	let_go(&early);
	reap(&play);
	REQUIRE(instance_reader(instance, play.reader.number, &row));
	REQUIRE_EQUAL(row.holds, 1);
	ask(&late);
	REQUIRE_EQUAL(rgm_hold_release(play.hold), 0);
	ask(&late);
	let_go(&late);
	reader_close(&play.reader);
	instance_wait_readers(instance, 0);
}

/* Nothing grows with the number of forks. */
static void test_many_forks(void **state)
{
	struct instance *instance = *state;
	struct play play;
	struct child children[20];
	begin(&play, instance);
	support_sleep_ms(50); /* the manager in this process closes what it handed out */
	unsigned before = support_open_files();
	take(&play);
	for (int i = 0; i < 20; i++)
		children[i] = fork_looker(&play);
	REQUIRE_EQUAL(support_open_files(), before + 1 + 20); /* their sockets */
	for (int i = 0; i < 20; i++)
		let_go(&children[i]);
	for (int i = 0; i < 100; i++) {
		struct child child = fork_looker(&play);
		let_go(&child);
		if (i % 10 == 0) {
			REQUIRE_EQUAL(rgm_hold_release(play.hold), 0);
			take(&play);
		}
	}
	REQUIRE(support_open_files() <= before + 2);
	REQUIRE(support_mappings("regionmgr-token") == 0);
	REQUIRE_EQUAL(rgm_hold_release(play.hold), 0);
	reader_close(&play.reader);
	instance_wait_readers(instance, 0);
	REQUIRE(support_open_files() < before);
}

/* Without a handler (raw clone): until the parent's release, and the child can do no harm. */
static void test_raw_clone(void **state)
{
	struct instance *instance = *state;
	struct play play;
	int pair[2];
	char word;
	begin(&play, instance);
	take(&play);
	must(rgm_pin(play.reader.slot), NULL);
	REQUIRE_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	REQUIRE(pid >= 0);
	if (pid == 0) {
		bool good = rgm_pin(play.reader.slot) == RGM_EFORKED &&
		            rgm_unpin(play.reader.slot) == RGM_EFORKED &&
		            rgm_hold_release(play.hold) == RGM_EFORKED &&
		            hold_generation(play.hold, &data) == 1;
		if (write(pair[1], good ? "y" : "n", 1) != 1)
			_exit(5);
		/* What the parent does goes on. */
		good = read(pair[1], &word, 1) == 1 && hold_generation(play.hold, &data) == 1;
		_exit(good ? 0 : 6);
	}
	support_adopt(pid);
	REQUIRE_EQUAL(read(pair[0], &word, 1), 1);
	REQUIRE_EQUAL(word, 'y');
	replace_often(&play);
	REQUIRE_EQUAL(slot_generation(play.reader.slot, &data), 1);
	must(rgm_unpin(play.reader.slot), NULL);
	REQUIRE(kept(&play));
	REQUIRE_EQUAL(write(pair[0], "g", 1), 1);
	int status = -1;
	REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
	REQUIRE_EQUAL(status, 0);
	support_forget(pid);
	REQUIRE_EQUAL(rgm_hold_release(play.hold), 0);
	instance_wait_reclaimed(instance, "data");
	close(pair[0]);
	close(pair[1]);
	reader_close(&play.reader);
}

int main(void)
{
	support_adopt_orphans();
	if (SUPPORT_RACE_BUILD)
		support_skip_all("the race build's readers are threads of the manager's process");
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_sections_do_not_cross),
		INSTANCE_TEST(test_holds_cross),
		INSTANCE_TEST(test_child_ends_first),
		INSTANCE_TEST(test_child_closes_everything),
		INSTANCE_TEST(test_child_attaches),
		INSTANCE_TEST(test_child_forks_again),
		INSTANCE_TEST(test_child_execs),
		INSTANCE_TEST(test_each_fork_its_own),
		INSTANCE_TEST(test_fork_after_release),
		INSTANCE_TEST(test_many_forks),
		INSTANCE_TEST(test_raw_clone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
