/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers in containers: other pid, mount, network, IPC and user namespaces, a root folder with nothing in
 * it but the socket, a /dev/shm of their own that is small or not there. The socket is all that they need,
 * and their end is seen as any other's. Managers in namespaces, too. Needs root, to make namespaces.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define READER_UID 64921u

static const struct content data = {"data", 5, 8192, 71};

struct space {
	struct instance *instance;
	int flags;       /* of unshare(2) */
	const char *shm; /* option "size=…" of its /dev/shm; NULL: what there is */
	bool bare;       /* a root folder with the socket alone: no /dev, no /proc */
	bool user;       /* as another user, in a user namespace where nobody has a name */
	bool die;        /* it is killed inside its section */
};

static void mount_tmpfs(const char *path, const char *options)
{
	REQUIRE_EQUAL(mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options), 0);
}

static void hide_mounts(void)
{
	REQUIRE_EQUAL(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
}

/* A root folder in which nothing is but the socket, under the same path. */
static void make_bare_root(const struct instance *instance)
{
	char path[256];
	snprintf(path, sizeof path, "%s/empty", instance->folder);
	REQUIRE_EQUAL(mkdir(path, 0755), 0);
	mount_tmpfs(path, "size=64k,mode=755");
	snprintf(path, sizeof path, "%s/empty/tmp", instance->folder);
	REQUIRE_EQUAL(mkdir(path, 0755), 0);
	snprintf(path, sizeof path, "%s/empty%s", instance->folder, instance->folder);
	REQUIRE_EQUAL(mkdir(path, 0755), 0);
	snprintf(path, sizeof path, "%s/empty%s", instance->folder, instance->socket);
	int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	REQUIRE(file >= 0);
	close(file);
	REQUIRE_EQUAL(mount(instance->socket, path, NULL, MS_BIND, NULL), 0);
}

static void enter_bare_root(const struct instance *instance)
{
	char path[256];
	snprintf(path, sizeof path, "%s/empty", instance->folder);
	REQUIRE_EQUAL(chroot(path), 0);
	REQUIRE_EQUAL(chdir("/"), 0);
	REQUIRE(access("/proc", F_OK) != 0 && access("/dev", F_OK) != 0);
}

static void enter(const struct space *space)
{
	if (space->flags & CLONE_NEWNS) {
		REQUIRE_EQUAL(unshare(CLONE_NEWNS), 0);
		hide_mounts();
	}
	if (space->shm)
		mount_tmpfs("/dev/shm", space->shm);
	if (space->bare)
		make_bare_root(space->instance);
	if (space->user) {
		REQUIRE_EQUAL(setgroups(0, NULL), 0);
		REQUIRE_EQUAL(setresgid(READER_UID, READER_UID, READER_UID), 0);
		REQUIRE_EQUAL(setresuid(READER_UID, READER_UID, READER_UID), 0);
		REQUIRE_EQUAL(unshare(CLONE_NEWUSER), 0);
		REQUIRE(geteuid() != READER_UID); /* it does not even know its own number */
	}
	REQUIRE_EQUAL(unshare(space->flags & ~CLONE_NEWNS), 0);
	/* Last: who changed its root makes no user namespace. */
	if (space->bare)
		enter_bare_root(space->instance);
}

static void look_in_fork(struct rgm_hold *hold)
{
	int status = -1;
	pid_t pid = fork();
	REQUIRE(pid >= 0);
	if (pid == 0)
		_exit(hold_generation(hold, &data) == 1 ? 0 : 1);
	REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
	REQUIRE_EQUAL(status, 0);
}

/* Everything that a reader does. */
static void read_inside(const struct space *space, struct child *test)
{
	struct reader reader;
	struct rgm_error error;
	struct statfs before, after;
	uint64_t version;
	bool has_shm = statfs("/dev/shm", &before) == 0;
	reader_open(&reader, space->instance, NULL);
	must(rgm_map_all(reader.session, &error), &error);
	struct rgm_hold *hold = reader_take(&reader, "data");
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_EQUAL(slot_generation(reader.slot, &data), 1);
	uint64_t seen = rgm_slot_version(reader.slot);
	child_say(test, 'r');
	child_expect(test, 'w');
	REQUIRE_EQUAL(slot_generation(reader.slot, &data), 1);
	if (space->die) {
		child_say(test, 'w');
		child_hear(test);
		return;
	}
	must(rgm_unpin(reader.slot), NULL);
	must(rgm_wait(reader.session, seen, -1, &version, &error), &error);
	REQUIRE_EQUAL(reader_generation(&reader, &data), 20);
	REQUIRE_EQUAL(hold_generation(hold, &data), 1);
	look_in_fork(hold);
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	for (int i = 0; i < 50; i++) {
		struct reader more;
		reader_open(&more, space->instance, NULL);
		reader_map(&more, "data");
		REQUIRE_EQUAL(reader_generation(&more, &data), 20);
		reader_close(&more);
	}
	/* Nothing of it is in the /dev/shm that it sees. */
	if (has_shm && space->shm) {
		REQUIRE_EQUAL(statfs("/dev/shm", &after), 0);
		REQUIRE(before.f_bfree == after.f_bfree && before.f_ffree == after.f_ffree);
	}
	reader_close(&reader);
	child_say(test, 'd');
	child_hear(test);
}

/* The first process of a new pid namespace has to be forked for it. */
static void contained(struct child *parent, void *context)
{
	const struct space *space = context;
	int status = -1;
	enter(space);
	pid_t pid = fork();
	REQUIRE(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		REQUIRE(!(space->flags & CLONE_NEWPID) || getpid() == 1);
		read_inside(space, parent);
		_exit(0);
	}
	REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
	_exit(status ? 7 : 0);
}

static void read_from(struct instance *instance, struct space space)
{
	struct rgm_reader_row row;
	space.instance = instance;
	instance_put(instance, &data, 1);
	struct child child = child_start(contained, &space);
	child_expect(&child, 'r');
	bool found = false;
	for (uint64_t number = 1; number < 1000 && !found; number++)
		found = instance_reader(instance, number, &row);
	REQUIRE(found);
	/* In the manager's own namespaces it has a number and a user. */
	REQUIRE(row.pid > 1 && row.sections == 1 && row.holds == 1);
	REQUIRE_EQUAL(row.uid, space.user ? READER_UID : geteuid());
	for (uint64_t generation = 2; generation <= 20; generation++)
		instance_put(instance, &data, generation);
	child_say(&child, 'w');
	if (space.die) {
		child_expect(&child, 'w');
		REQUIRE(instance_retired(instance, "data") > 0);
		REQUIRE_EQUAL(kill((pid_t)row.pid, SIGKILL), 0);
		int status = 0;
		REQUIRE_EQUAL(waitpid(child.pid, &status, 0), child.pid);
		support_forget(child.pid);
		close(child.talk);
	} else {
		child_expect(&child, 'd');
		child_say(&child, 'e');
		child_join(&child);
	}
	instance_wait_readers(instance, 0);
	instance_wait_reclaimed(instance, "data");
	char path[128];
	snprintf(path, sizeof path, "%s/empty", instance->folder);
	rmdir(path);
}

#define ALL_BUT_USER (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

static void test_one_by_one(void **state)
{
	static const int flags[] = {
		CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWNS, CLONE_NEWUTS};
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		read_from(*state, (struct space){.flags = flags[i]});
}

static void test_container(void **state)
{
	read_from(*state, (struct space){.flags = ALL_BUT_USER, .shm = "size=64m"});
	read_from(*state, (struct space){.flags = ALL_BUT_USER, .shm = "size=4k,nr_inodes=2"});
}

static void test_nothing_but_the_socket(void **state)
{
	read_from(*state, (struct space){.flags = ALL_BUT_USER, .bare = true});
}

/* By regionmgrd: a process that was forked from a manager's has a thread of liburcu's already, and such a
 * one makes no user namespace. */
static void start_for_others(struct instance *instance)
{
	static char allowed[32];
	snprintf(allowed, sizeof allowed, "user:%u", READER_UID);
	instance->daemon = true;
	instance->extra[0] = "--allow";
	instance->extra[1] = allowed;
	REQUIRE_EQUAL(chmod(instance->folder, 0711), 0);
	instance_start(instance);
}

static void test_user_namespace(void **state)
{
	struct instance *instance = *state;
	start_for_others(instance);
	read_from(instance, (struct space){.flags = ALL_BUT_USER, .user = true});
	read_from(instance, (struct space){.flags = ALL_BUT_USER, .user = true, .bare = true});
}

static void test_killed_inside(void **state)
{
	struct instance *instance = *state;
	start_for_others(instance);
	for (int i = 0; i < 3; i++)
		read_from(instance,
			(struct space){
				.flags = ALL_BUT_USER, .bare = i > 0, .user = i > 1, .die = true});
}

/* --- Managers ------------------------------------------------------------------------------------------- */

static void serve_inside(struct child *parent, void *context)
{
	const struct space *space = context;
	struct instance *instance = space->instance;
	struct rgm_error error;
	enter(space);
	int status = -1;
	pid_t pid = fork();
	REQUIRE(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		instance->daemon = false;
		int rc = instance_start_fails(instance, &error);
		if (rc) {
			REQUIRE_ERROR(rc, -ENOSPC, &error);
			REQUIRE(strstr(error.message, "shared memory"));
			child_say(parent, 'n');
			_exit(0);
		}
		child_say(parent, 's');
		child_expect(parent, 'e');
		must(rgm_manager_close(instance->manager, &error), &error);
		_exit(0);
	}
	REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
	_exit(status ? 7 : 0);
}

/* A reader outside of the manager's pid namespace: it has no number there, and its death is seen. */
static void die_in_section(struct child *parent, void *context)
{
	struct reader reader;
	reader_open(&reader, context, NULL);
	reader_map(&reader, "data");
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_EQUAL(slot_generation(reader.slot, &data), 1);
	child_say(parent, 'p');
	child_hear(parent);
}

static void test_manager_in_a_container(void **state)
{
	struct instance *instance = *state;
	struct space space = {
		.instance = instance, .flags = ALL_BUT_USER, .shm = "size=64m,mode=1777"};
	struct rgm_reader_row row;
	struct child manager = child_start(serve_inside, &space);
	child_expect(&manager, 's');
	instance_put(instance, &data, 1);
	struct child reader = child_start(die_in_section, instance);
	child_expect(&reader, 'p');
	REQUIRE(instance_reader(instance, 1, &row));
	REQUIRE_EQUAL(row.pid, 0);
	instance_put(instance, &data, 2);
	REQUIRE_EQUAL(instance_readers(instance), 1);
	child_kill(&reader);
	instance_wait_readers(instance, 0);
	instance_wait_reclaimed(instance, "data");
	child_say(&manager, 'e');
	child_join(&manager);
}

/* A manager whose /dev/shm is too small: at its start, or for the next reader, one sentence. */
static void test_manager_with_little_shm(void **state)
{
	struct instance *instance = *state;
	struct space space = {
		.instance = instance, .flags = CLONE_NEWNS, .shm = "size=512k,mode=1777"};
	struct child manager = child_start(serve_inside, &space);
	child_expect(&manager, 'n');
	child_join(&manager);
	space.shm = "size=1500k,mode=1777";
	manager = child_start(serve_inside, &space);
	child_expect(&manager, 's');
	instance_put(instance, &data, 1);
	struct rgm_attach_options options = {.size = sizeof options, .socket = instance->socket};
	struct rgm_session *sessions[64];
	struct rgm_error error;
	size_t count = 0;
	int rc;
	while ((rc = rgm_session_attach(NULL, &options, &sessions[count], &error)) == 0)
		REQUIRE(++count < 64);
	REQUIRE_ERROR(rc, -ENOSPC, &error);
	REQUIRE(count > 2);
	for (size_t i = 0; i < count; i++)
		rgm_session_detach(sessions[i]);
	instance_wait_readers(instance, 0);
	struct reader reader;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "data");
	REQUIRE_EQUAL(reader_generation(&reader, &data), 1);
	reader_close(&reader);
	child_say(&manager, 'e');
	child_join(&manager);
}

int main(void)
{
	if (SUPPORT_RACE_BUILD)
		support_skip_all("a race build has manager and readers in one process");
	if (geteuid() != 0)
		support_skip_all("only root can make namespaces");
	support_adopt_orphans();
	const struct CMUnitTest tests[] = {
		/* First, while no manager was in this process. */
		PREPARED_TEST(test_user_namespace),
		PREPARED_TEST(test_killed_inside),
		INSTANCE_TEST(test_one_by_one),
		INSTANCE_TEST(test_container),
		INSTANCE_TEST(test_nothing_but_the_socket),
		PREPARED_TEST(test_manager_in_a_container),
		PREPARED_TEST(test_manager_with_little_shm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
