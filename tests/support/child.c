/* SPDX-License-Identifier: Apache-2.0 */
/* Forked processes that a test talks with. See support.h. */
#define _GNU_SOURCE 1

#include "tests/support/support.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Processes that this one has to wait for. */
static pid_t known[256];

static void know(pid_t pid)
{
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (!known[i]) {
			known[i] = pid;
			return;
		}
	}
	support_fail(__FILE__, __LINE__, "too many children");
}

static bool let_live;
static pid_t test; /* the process that started the first child */

void support_let_children_live(bool live)
{
	let_live = live;
}

static void forget(pid_t pid)
{
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i] == pid)
			known[i] = 0;
}

/* cmocka's handlers would go on with the test in the child. */
static void forget_cmocka(void)
{
#if !SUPPORT_ASAN && !SUPPORT_RACE_BUILD
	static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		signal(numbers[i], SIG_DFL);
#endif
}

struct child child_start(child_run *run, void *context)
{
	int pair[2];
	pid_t parent = getpid();
	if (!test)
		test = parent;
	REQUIRE_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fflush(NULL);
	pid_t pid = fork();
	REQUIRE(pid >= 0);
	if (pid == 0) {
		/* Of a child's child it is the test's business, which adopts it. */
		if (!let_live || parent == test)
			prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(98);
		close(pair[0]);
		forget_cmocka();
		memset(known, 0, sizeof known);
		struct child other = {.talk = pair[1]};
		run(&other, context);
		_exit(0);
	}
	close(pair[1]);
	know(pid);
	return (struct child){.pid = pid, .talk = pair[0]};
}

void child_say(struct child *other, char word)
{
	REQUIRE_EQUAL(send(other->talk, &word, 1, MSG_NOSIGNAL), 1);
}

char child_hear(struct child *other)
{
	struct pollfd look = {.fd = other->talk, .events = POLLIN};
	char word = 0;
	int rc;
	do
		rc = poll(&look, 1, (int)SUPPORT_LIMIT_MS);
	while (rc < 0 && errno == EINTR);
	REQUIRE(rc == 1);
	return recv(other->talk, &word, 1, 0) == 1 ? word : 0;
}

void support_expect(const char *file, int line, struct child *other, char word)
{
	char heard = child_hear(other);
	if (heard != word)
		support_fail(file, line, "heard '%c' (%d) instead of '%c'", heard ? heard : '0',
			heard, word);
}

static int wait_for(pid_t pid)
{
	int status = 0;
	uint64_t until = support_now_ms() + 2 * SUPPORT_LIMIT_MS;
	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);
		if (got == pid) {
			forget(pid);
			return status;
		}
		if ((got < 0 && errno != EINTR) || support_now_ms() > until)
			return -1;
		support_sleep_ms(1);
	}
}

void support_join(const char *file, int line, struct child *child)
{
	int status = wait_for(child->pid);
	if (status == -1)
		kill(child->pid, SIGKILL);
	close(child->talk);
	pid_t pid = child->pid;
	child->pid = 0;
	if (status != 0)
		support_fail(file, line, "process %d ended with status 0x%x", (int)pid, status);
}

void child_kill(struct child *child)
{
	if (!child->pid)
		return;
	kill(child->pid, SIGKILL);
	REQUIRE(wait_for(child->pid) != -1);
	close(child->talk);
	child->pid = 0;
}

void child_signal(const struct child *child, int number)
{
	REQUIRE_EQUAL(kill(child->pid, number), 0);
}

void child_wait_stopped(const struct child *child)
{
	int status = 0;
	REQUIRE_EQUAL(waitpid(child->pid, &status, WUNTRACED), child->pid);
	REQUIRE(WIFSTOPPED(status));
}

void support_adopt_orphans(void)
{
	REQUIRE_EQUAL(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
}

void support_reap(pid_t pid)
{
	REQUIRE(wait_for(pid) != -1);
}

void support_forget(pid_t pid)
{
	forget(pid);
}

void support_adopt(pid_t pid)
{
	know(pid);
}

unsigned support_end_children(pid_t but)
{
	unsigned count = 0;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		pid_t pid = known[i];
		if (!pid || pid == but)
			continue;
		count++;
		kill(pid, SIGKILL);
		REQUIRE(wait_for(pid) != -1);
	}
	return count;
}
