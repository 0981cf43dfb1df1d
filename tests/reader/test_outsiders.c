/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another user, allowed to read or not, tries to write what it may not, to look into the manager, and to be
 * taken for somebody else. The kernel refuses the first two; the third is refused because the kernel alone
 * says who connects, and it is told in the log. Needs root, to become other users.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/socket.h"

#define READER_UID   64931u
#define GROUP_GID    64932u
#define STRANGER_UID 64933u
#define OTHER_GID    64934u

static const struct content data = {"data", 3, 8192, 61};

/* Who the child is to be. */
struct who {
	struct instance *instance;
	pid_t manager;
	uid_t uid;
	gid_t gid;
	gid_t groups[70];
	size_t group_count;
	bool welcome;
};

static void become(const struct who *who)
{
	REQUIRE_EQUAL(setgroups(who->group_count, who->groups), 0);
	REQUIRE_EQUAL(setresgid(who->gid, who->gid, who->gid), 0);
	REQUIRE_EQUAL(setresuid(who->uid, who->uid, who->uid), 0);
	REQUIRE(setuid(0) != 0);
}

/* regionmgrd: embedded it would be the parent of whoever tries, and the test's own process. */
static void start(struct instance *instance, const char *allowed)
{
	instance->daemon = true;
	instance->extra[0] = "--allow";
	instance->extra[1] = allowed;
	REQUIRE_EQUAL(chmod(instance->folder, 0711), 0);
	instance_start(instance);
	instance_put(instance, &data, 1);
}

static unsigned count_log(const struct instance *instance, const char *event, const char *text)
{
	char path[128], line[1024];
	unsigned count = 0;
	snprintf(path, sizeof path, "%s/regionmgrd.log", instance->folder);
	FILE *log = fopen(path, "re");
	REQUIRE(log);
	while (fgets(line, sizeof line, log))
		count += strstr(line, event) && strstr(line, text);
	fclose(log);
	return count;
}

/* --- Writing -------------------------------------------------------------------------------------------- */

/* Its own mappings of the instance, as the kernel shows them. */
static void refuse_own_mappings(void)
{
	char path[64], line[512];
	unsigned long from, to;
	unsigned readable = 0, writable = 0;
	char flags[8];
	FILE *maps = fopen("/proc/self/maps", "re");
	REQUIRE(maps);
	int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	while (fgets(line, sizeof line, maps)) {
		/* A segment had no name when it was mapped by the manager for the first time. */
		bool segment = strstr(line, "/dev/shm/#") != NULL;
		if (sscanf(line, "%lx-%lx %7s", &from, &to, flags) != 3 ||
			(!segment && !(strstr(line, "/regionmgr") && strstr(line, ".table")) &&
				!strstr(line, ".region")))
			continue;
		if (segment) {
			writable++;
			REQUIRE(flags[1] == 'w' && flags[3] == 's');
			continue;
		}
		readable++;
		REQUIRE(flags[1] == '-' && flags[3] == 's');
		REQUIRE(mprotect((void *)from, 4096, PROT_READ | PROT_WRITE) != 0);
		/* Not by the file behind the mapping, nor through the process's memory. */
		snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", from, to);
		REQUIRE(open(path, O_RDWR) < 0);
		if (memory >= 0)
			REQUIRE(pwrite(memory, "x", 1, (off_t)from) < 0);
		REQUIRE(madvise((void *)from, 4096, MADV_REMOVE) != 0);
	}
	fclose(maps);
	if (memory >= 0)
		close(memory);
	REQUIRE(readable == 2 && writable == 1);
}

/* No descriptor of the instance stays open in a reader, which it could open anew. */
static void require_no_handles(void)
{
	char path[300], target[300];
	DIR *folder = opendir("/proc/self/fd");
	REQUIRE(folder);
	for (struct dirent *entry; (entry = readdir(folder));) {
		snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
		ssize_t length = readlink(path, target, sizeof target - 1);
		target[length > 0 ? length : 0] = 0;
		REQUIRE(!strstr(target, "regionmgr.") && !strstr(target, ".region"));
	}
	closedir(folder);
}

static void refuse_the_manager(const struct who *who)
{
	char path[64], byte = 'x';
	static const char *const files[] = {"mem", "fd/3", "fd/4", "fd/5", "map_files", "environ"};
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "/proc/%d/%s", (int)who->manager, files[i]);
		REQUIRE(open(path, O_RDONLY) < 0 && errno == EACCES);
	}
	snprintf(path, sizeof path, "/proc/%d/fd", (int)who->manager);
	REQUIRE(opendir(path) == NULL && errno == EACCES);
	REQUIRE(ptrace(PTRACE_ATTACH, who->manager, NULL, NULL) < 0 && errno == EPERM);
	REQUIRE(ptrace(PTRACE_SEIZE, who->manager, NULL, NULL) < 0 && errno == EPERM);
	struct iovec own = {&byte, 1}, other = {(void *)4096, 1};
	REQUIRE(process_vm_writev(who->manager, &own, 1, &other, 1, 0) < 0 && errno == EPERM);
	REQUIRE(process_vm_readv(who->manager, &own, 1, &other, 1, 0) < 0 && errno == EPERM);
	REQUIRE(kill(who->manager, SIGTERM) < 0 && errno == EPERM);
	REQUIRE(kill(who->manager, SIGSTOP) < 0 && errno == EPERM);
}

static void try_to_write(struct child *parent, void *context)
{
	const struct who *who = context;
	struct reader reader;
	become(who);
	reader_open(&reader, who->instance, NULL);
	reader_map(&reader, "data");
	REQUIRE_EQUAL(reader_generation(&reader, &data), 1);
	refuse_own_mappings();
	require_no_handles();
	refuse_the_manager(who);
	child_say(parent, 't');
	child_expect(parent, 'w');
	REQUIRE_EQUAL(reader_generation(&reader, &data), 2);
	reader_close(&reader);
}

static void test_writing(void **state)
{
	struct instance *instance = *state;
	char allowed[32];
	snprintf(allowed, sizeof allowed, "user:%u", READER_UID);
	start(instance, allowed);
	struct who who = {.instance = instance,
		.manager = instance->process.pid,
		.uid = READER_UID,
		.gid = READER_UID};
	struct child child = child_start(try_to_write, &who);
	child_expect(&child, 't');
	instance_put(instance, &data, 2);
	child_say(&child, 'w');
	child_join(&child);
	instance_wait_readers(instance, 0);
	/* And what they read was written by nobody else. */
	struct reader reader;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "data");
	REQUIRE_EQUAL(reader_generation(&reader, &data), 2);
	reader_close(&reader);
}

/* --- Who it is ------------------------------------------------------------------------------------------- */

static void try_to_attach(struct child *parent, void *context)
{
	const struct who *who = context;
	struct rgm_attach_options options = {
		.size = sizeof options, .socket = who->instance->socket};
	struct rgm_session *session = NULL;
	struct rgm_error error;
	(void)parent;
	become(who);
	int rc = rgm_session_attach(NULL, &options, &session, &error);
	if (who->welcome) {
		must(rc, &error);
		must(rgm_map(session, "data", &error), &error);
		rgm_session_detach(session);
		return;
	}
	REQUIRE_ERROR(rc, RGM_EREFUSED, &error);
	char number[16];
	snprintf(number, sizeof number, "%u", who->uid);
	REQUIRE(session == NULL && strstr(error.message, number));
	struct rgm_control_options at = {.size = sizeof at, .socket = who->instance->socket};
	struct rgm_control *control = NULL;
	REQUIRE_ERROR(rgm_control_open(NULL, &at, &control, &error), RGM_EREFUSED, &error);
}

static void attach_as(struct instance *instance, struct who who)
{
	uint64_t refusals = instance_counter(instance, "refusals");
	who.instance = instance;
	struct child child = child_start(try_to_attach, &who);
	child_join(&child);
	/* The attach and the look of the tools. */
	REQUIRE_EQUAL(instance_counter(instance, "refusals"), refusals + (who.welcome ? 0 : 2));
}

/* By the first group, by any of the others, by none; and by more than the manager looks at. */
static void test_groups(void **state)
{
	struct instance *instance = *state;
	char allowed[32], logged[32];
	snprintf(allowed, sizeof allowed, "group:%u", GROUP_GID);
	start(instance, allowed);
	attach_as(instance, (struct who){.uid = READER_UID, .gid = GROUP_GID, .welcome = true});
	struct who who = {.uid = READER_UID, .gid = OTHER_GID};
	attach_as(instance, who);
	/* It is told once a second, who it was with it. */
	snprintf(logged, sizeof logged, "user %u", READER_UID);
	WAIT_UNTIL(count_log(instance, "refusal", logged) > 0);
	for (size_t place = 0; place < 40; place += 13) {
		for (size_t i = 0; i < 40; i++)
			who.groups[i] = i == place ? GROUP_GID : 30000 + (gid_t)i;
		who.group_count = 40;
		who.welcome = true;
		attach_as(instance, who);
	}
	/* The number of the group as a user's is another thing, and the other way round. */
	attach_as(instance, (struct who){.uid = GROUP_GID, .gid = OTHER_GID});
	/* Of more groups than there is room for none is known: refused, not guessed. */
	for (size_t i = 0; i < 70; i++)
		who.groups[i] = i == 0 ? GROUP_GID : 30000 + (gid_t)i;
	who.group_count = 70;
	who.welcome = false;
	attach_as(instance, who);
	REQUIRE_EQUAL(instance_readers(instance), 0);
}

/* What a message says of its sender counts for nothing: the kernel lets root lie there, and the manager
 * asks who connected. Here the lie goes the other way, too: root says that it is the reader. */
static void lie(struct child *parent, void *context)
{
	const struct who *who = context;
	struct ipc_hello hello = {.protocol_min = IPC_PROTOCOL, .protocol_max = IPC_PROTOCOL};
	struct rgm_error error;
	union {
		struct ipc_header header;
		struct ipc_error error;
		struct ipc_hello_reply welcome;
	} answer;
	int file;
	(void)parent;
	become(who);
	must(ipc_connect(who->instance->socket, &file, &error), &error);
	ipc_header_init(&hello.header, IPC_HELLO, 1, sizeof hello);
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control = {0};
	struct iovec part = {&hello, sizeof hello};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control};
	struct ucred claim = {.pid = getpid(), .uid = 0, .gid = 0};
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_CREDENTIALS;
	control.header.cmsg_len = CMSG_LEN(sizeof claim);
	memcpy(CMSG_DATA(&control.header), &claim, sizeof claim);
	/* The kernel refuses the lie itself, or the manager has gone already. */
	REQUIRE(sendmsg(file, &message, MSG_NOSIGNAL) < 0);
	REQUIRE(errno == EPERM || errno == EPIPE);
	claim = (struct ucred){.pid = getpid(), .uid = who->uid, .gid = who->gid};
	memcpy(CMSG_DATA(&control.header), &claim, sizeof claim);
	sendmsg(file, &message, MSG_NOSIGNAL);
	REQUIRE_EQUAL(ipc_receive(file, &answer, sizeof answer, NULL, NULL, SUPPORT_LIMIT_MS), 0);
	REQUIRE_EQUAL(answer.header.type, IPC_ERROR);
	REQUIRE_EQUAL(answer.error.code, RGM_EREFUSED);
	close(file);
}

/* A connection that an allowed process made and passed on is the allowed one's. */
static void pass_on(struct child *parent, void *context)
{
	const struct who *who = context;
	struct who stranger = *who;
	struct ipc_connection connection;
	struct rgm_error error;
	(void)parent;
	stranger.uid = STRANGER_UID;
	must(ipc_connection_open(
		     NULL, who->instance->socket, SUPPORT_LIMIT_MS, &connection, &error),
		&error);
	become(&stranger);
	/* Made by root: it may still look. Its own connection is refused. */
	struct ipc_call call = {.socket = connection.socket,
		.sequence = &connection.sequence,
		.timeout_ms = SUPPORT_LIMIT_MS,
		.socket_name = who->instance->socket};
	struct ipc_header request;
	struct {
		char bytes[2000];
	} reply;
	ipc_header_init(&request, IPC_STATUS, 0, sizeof request);
	must(ipc_call(&call, &request, NULL, 0, &reply, sizeof reply, sizeof request, NULL, NULL,
		     &error),
		&error);
	struct ipc_connection own;
	REQUIRE_ERROR(
		ipc_connection_open(NULL, who->instance->socket, SUPPORT_LIMIT_MS, &own, &error),
		RGM_EREFUSED, &error);
	close(connection.socket);
}

static void test_lies(void **state)
{
	struct instance *instance = *state;
	char allowed[32];
	snprintf(allowed, sizeof allowed, "user:%u", READER_UID);
	start(instance, allowed);
	struct who who = {.instance = instance, .uid = STRANGER_UID, .gid = STRANGER_UID};
	struct child child = child_start(lie, &who);
	child_join(&child);
	child = child_start(pass_on, &who);
	child_join(&child);
	char logged[32];
	snprintf(logged, sizeof logged, "user %u", STRANGER_UID);
	WAIT_UNTIL(count_log(instance, "refusal", logged) > 0);
	REQUIRE_EQUAL(instance_readers(instance), 0);
}

/* Refusals by the thousand: each is answered and counted, and the log does not grow with them. */
static void knock(struct child *parent, void *context)
{
	const struct who *who = context;
	struct rgm_attach_options options = {
		.size = sizeof options, .socket = who->instance->socket};
	struct rgm_session *session = NULL;
	struct rgm_error error;
	(void)parent;
	become(who);
	for (int i = 0; i < 2000; i++)
		REQUIRE_EQUAL(rgm_session_attach(NULL, &options, &session, &error), RGM_EREFUSED);
}

static void test_many_refusals(void **state)
{
	struct instance *instance = *state;
	char allowed[32];
	snprintf(allowed, sizeof allowed, "user:%u", READER_UID);
	start(instance, allowed);
	uint64_t refusals = instance_counter(instance, "refusals");
	uint64_t began = support_now_ms();
	struct who who = {.instance = instance, .uid = STRANGER_UID, .gid = STRANGER_UID};
	struct child child = child_start(knock, &who);
	child_join(&child);
	unsigned lines = count_log(instance, "refusal", "user");
	/* One a second, and one to begin with. */
	REQUIRE(lines >= 1 && lines <= 2 + (support_now_ms() - began) / 1000);
	REQUIRE_EQUAL(instance_counter(instance, "refusals"), refusals + 2000);
}

int main(void)
{
	if (SUPPORT_RACE_BUILD)
		support_skip_all("a race build maps everything writable");
	if (geteuid() != 0)
		support_skip_all("only root can become another user");
	const struct CMUnitTest tests[] = {
		PREPARED_TEST(test_writing),
		PREPARED_TEST(test_groups),
		PREPARED_TEST(test_lies),
		PREPARED_TEST(test_many_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
