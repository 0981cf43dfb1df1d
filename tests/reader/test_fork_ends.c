/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How forked children outlive what they were forked from: a parent that is killed or detaches while they
 * still read under its holds, and forks beside threads that are in the middle of everything.
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

/* --- The parent's end --------------------------------------------------------------------------------- */

static void fork_and_end(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct play play;
	attach(&play, instance);
	take(&play);
	struct child child = child_start(look_when_asked, &play);
	child_expect(&child, 'l');
	pid_t pid = child.pid;
	/* The child is to outlive this process, and to be talked with by the test. */
	struct msghdr message = {0};
	struct iovec part = {&pid, sizeof pid};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	message.msg_iov = &part;
	message.msg_iovlen = 1;
	message.msg_control = &control;
	message.msg_controllen = sizeof control;
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &child.talk, sizeof(int));
	REQUIRE_EQUAL(sendmsg(parent->talk, &message, 0), sizeof pid);
	if (child_hear(parent) == 'd') {
		reader_close(&play.reader);
		child_say(parent, 'd');
		child_hear(parent);
	}
}

static struct child receive_child(struct child *from)
{
	struct child child = {0};
	struct iovec part = {&child.pid, sizeof child.pid};
	char control[CMSG_SPACE(sizeof(int))];
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control};
	REQUIRE_EQUAL(recvmsg(from->talk, &message, MSG_CMSG_CLOEXEC), sizeof child.pid);
	REQUIRE(CMSG_FIRSTHDR(&message));
	memcpy(&child.talk, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	support_adopt(child.pid);
	return child;
}

static void outlive(struct instance *instance, bool detach)
{
	uint64_t generation = 100;
	instance_put(instance, &data, 1);
	struct child reader = child_start(fork_and_end, instance);
	struct child child = receive_child(&reader);
	if (detach) {
		child_say(&reader, 'd');
		child_expect(&reader, 'd');
	} else {
		child_kill(&reader);
	}
	for (int i = 0; i < 40; i++)
		instance_put(instance, &data, ++generation);
	support_sleep_ms(300);
	ask(&child);
	REQUIRE(instance_retired(instance, "data") > 0);
	REQUIRE_EQUAL(instance_readers(instance), 1);
	if (detach) {
		child_say(&reader, 'e');
		child_join(&reader);
		instance_put(instance, &data, ++generation);
		ask(&child);
		REQUIRE(instance_retired(instance, "data") > 0);
	}
	child_say(&child, 'e');
	support_reap(child.pid);
	close(child.talk);
	instance_wait_reclaimed(instance, "data");
	instance_wait_readers(instance, 0);
}

static void test_parent_is_killed(void **state)
{
	support_let_children_live(true);
	outlive(*state, false);
	support_let_children_live(false);
}

static void test_parent_detaches(void **state)
{
	support_let_children_live(true);
	outlive(*state, true);
	support_let_children_live(false);
}

/* --- Forks beside threads that do everything ---------------------------------------------------------- */

static void *take_and_release(void *argument)
{
	struct play *play = argument;
	struct reader reader = {.session = play->reader.session};
	struct rgm_error error;
	must(rgm_slot_open(reader.session, &reader.slot, &error), &error);
	while (!__atomic_load_n(&play->child, __ATOMIC_ACQUIRE)) {
		struct rgm_hold *hold = reader_take(&reader, "data");
		must(rgm_map(reader.session, "data", &error), &error);
		REQUIRE(hold_generation(hold, &data) > 0);
		REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	}
	rgm_slot_close(reader.slot);
	return NULL;
}

static void attach_and_end(struct child *parent, void *context)
{
	struct play *play = context;
	struct reader own;
	(void)parent;
	reader_open(&own, play->instance, NULL);
	reader_map(&own, "data");
	REQUIRE(reader_generation(&own, &data) > 0);
	if (play->hold)
		REQUIRE_EQUAL(hold_generation(play->hold, &data), 1);
	reader_close(&own);
}

static void test_fork_beside_threads(void **state)
{
	struct instance *instance = *state;
	struct play play;
	pthread_t threads[2];
	begin(&play, instance);
	take(&play);
	for (int i = 0; i < 2; i++)
		REQUIRE_EQUAL(pthread_create(&threads[i], NULL, take_and_release, &play), 0);
	for (int i = 0; i < 60; i++) {
		struct child child = child_start(attach_and_end, &play);
		instance_put(instance, &data, ++play.generation);
		instance_create(instance, "passing"); /* drops keep liburcu's thread busy */
		instance_drop(instance, "passing");
		child_join(&child);
	}
	__atomic_store_n(&play.child, attach_and_end, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	REQUIRE_EQUAL(rgm_hold_release(play.hold), 0);
	instance_wait_reclaimed(instance, "data");
	reader_close(&play.reader);
}

int main(void)
{
	support_adopt_orphans();
	if (SUPPORT_RACE_BUILD)
		support_skip_all("the race build's readers are threads of the manager's process");
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_parent_is_killed),
		INSTANCE_TEST(test_parent_detaches),
		INSTANCE_TEST(test_fork_beside_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
