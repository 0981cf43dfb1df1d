/* SPDX-License-Identifier: Apache-2.0 */
/* Randomness, clocks, barriers between processes, sleeping on a word. The door is split by topic:
 * os_file.c, os_map.c (and os_race.c in its place), os_shm.c. */
#define _GNU_SOURCE 1

#include "pool/os.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull

int os_random(void *data, size_t bytes)
{
	char *at = data;

	while (bytes > 0) {
		ssize_t n = getrandom(at, bytes, 0);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		at += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	/* Fails for a clock that the kernel does not know: these two it always does. */
	if (clock_gettime(clock, &now) != 0)
		return 0;
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t os_now_ns(void)
{
	return now_ns(CLOCK_MONOTONIC);
}

uint64_t os_realtime_ns(void)
{
	return now_ns(CLOCK_REALTIME);
}

static int membarrier(int command)
{
	long rc = syscall(SYS_membarrier, command, 0, 0);

	return rc < 0 ? -errno : (int)rc;
}

bool os_membarrier_usable(void)
{
	const int needed =
		MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
	int offered = membarrier(MEMBARRIER_CMD_QUERY);

	return offered > 0 && (offered & needed) == needed;
}

int os_membarrier_register(void)
{
	return membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
}

int os_membarrier(void)
{
	return membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}

int os_pidfd_kill(int pidfd)
{
	return syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}

/* Without FUTEX_PRIVATE_FLAG: waker and sleeper are different processes. The time of FUTEX_WAIT_BITSET is
 * a point of CLOCK_MONOTONIC. */
int os_futex_wait(const uint32_t *word, uint32_t expected, uint32_t bits, int64_t timeout_ms)
{
	struct timespec until;
	const struct timespec *limit = NULL;

	if (timeout_ms >= 0) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += (time_t)(timeout_ms / 1000);
		until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
		until.tv_sec += until.tv_nsec / (long)NS_PER_S;
		until.tv_nsec %= (long)NS_PER_S;
		limit = &until;
	}
	if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, limit, NULL, bits) == 0 ||
		errno == EAGAIN)
		return 0;
	return -errno;
}

int os_futex_wake(uint32_t *word, uint32_t bits, int most)
{
	long woken = syscall(SYS_futex, word, FUTEX_WAKE_BITSET, most, NULL, NULL, bits);

	return woken < 0 ? -errno : (int)woken;
}
