/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/out.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "regionmgr/cli/fail.h"

static int first_errno; /* of the main thread, which alone writes */

static void failed(void)
{
	if (errno == EPIPE) {
		sigset_t set;

		(void)signal(SIGPIPE, SIG_DFL);
		sigemptyset(&set);
		sigaddset(&set, SIGPIPE);
		(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
		(void)raise(SIGPIPE);
	}
	if (first_errno == 0)
		first_errno = errno != 0 ? errno : EIO;
}

void out_write(const void *data, size_t bytes)
{
	if (first_errno == 0 && bytes > 0 && fwrite(data, 1, bytes, stdout) != bytes)
		failed();
}

void out_text(const char *text)
{
	out_write(text, strlen(text));
}

void out_printf(const char *format, ...)
{
	va_list list;
	int length;

	if (first_errno != 0)
		return;
	va_start(list, format);
	length = vprintf(format, list);
	va_end(list);
	if (length < 0)
		failed();
}

void out_check_reader(void)
{
	struct pollfd look = {.fd = STDOUT_FILENO};

	if (poll(&look, 1, 0) <= 0 || (look.revents & (POLLERR | POLLHUP)) == 0)
		return;
	errno = EPIPE;
	failed();
}

static int tell(struct rgm_error *error)
{
	if (first_errno == 0)
		return 0;
	errno = first_errno;
	return pool_fail_errno(error, "writing standard output");
}

int out_flush(struct rgm_error *error)
{
	if (first_errno == 0 && fflush(stdout) != 0)
		failed();
	return tell(error);
}

int out_close(struct rgm_error *error)
{
	(void)out_flush(NULL);
	/* what close() says counts too: a full quota may only show there */
	if (close(STDOUT_FILENO) != 0 && errno != EBADF && first_errno == 0)
		failed();
	return tell(error);
}

void out_guard_descriptors(void)
{
	for (int number = 0; number <= STDERR_FILENO; number++) {
		if (fcntl(number, F_GETFD) >= 0 || errno != EBADF)
			continue;
		/* open() takes the lowest free number: this one */
		if (open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY) != number)
			_exit(EXIT_FAILED);
	}
}
