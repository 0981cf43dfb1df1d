/* SPDX-License-Identifier: Apache-2.0 */
/* pool/os.c: ending the process that a pidfd names, and no other. */
#define _GNU_SOURCE 1

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool/os.h"

static void pidfd_kill(void **state)
{
	pid_t pid = fork();
	int status, pidfd;

	(void)state;
	if (pid == 0)
		for (;;)
			pause();
	assert_true(pid > 0);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_true(pidfd >= 0);
	assert_int_equal(os_pidfd_kill(pidfd), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	/* Its number may be another's by now; the descriptor is not. */
	assert_int_equal(os_pidfd_kill(pidfd), -ESRCH);
	close(pidfd);
	assert_int_equal(os_pidfd_kill(-1), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(pidfd_kill)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
