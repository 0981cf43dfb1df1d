/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failing system calls for tests, without root: the executable's own pwrite(), fallocate() … take
 * the place of libc's. Include it in one file of an executable. Each fault fires at the n-th call
 * from its arming on (1: the next) and, unless it is `once`, at every call after that.
 */
#ifndef TESTS_POOL_FAULTS_H
#define TESTS_POOL_FAULTS_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

struct fault {
	long countdown; /* 0: not armed */
	int error; /* errno of the failure; 0: a transfer of `bytes` bytes, which must be > 0 */
	size_t bytes;
	bool once;
	long calls; /* since the arming */
};

static struct fault fault_pwrite, fault_pread, fault_fallocate, fault_fdatasync, fault_fsync;

static inline void fault_arm(struct fault *fault, long at, int error, bool once)
{
	*fault = (struct fault){.countdown = at, .error = error, .once = once};
}

static inline void fault_disarm_all(void)
{
	fault_pwrite = (struct fault){0};
	fault_pread = (struct fault){0};
	fault_fallocate = (struct fault){0};
	fault_fdatasync = (struct fault){0};
	fault_fsync = (struct fault){0};
}

static inline bool fault_fires(struct fault *fault)
{
	fault->calls++;
	if (fault->countdown == 0)
		return false;
	if (fault->countdown > 1) {
		fault->countdown--;
		return false;
	}
	if (fault->once)
		fault->countdown = 0;
	return true;
}

static inline ssize_t fault_transfer(
	struct fault *fault, long call, int file, const void *data, size_t bytes, off_t offset)
{
	if (fault_fires(fault)) {
		if (fault->error != 0) {
			errno = fault->error;
			return -1;
		}
		if (bytes > fault->bytes)
			bytes = fault->bytes;
	}
	return (ssize_t)syscall(call, file, data, bytes, offset);
}

ssize_t pwrite(int file, const void *data, size_t bytes, off_t offset)
{
	return fault_transfer(&fault_pwrite, SYS_pwrite64, file, data, bytes, offset);
}

ssize_t pread(int file, void *data, size_t bytes, off_t offset)
{
	return fault_transfer(&fault_pread, SYS_pread64, file, data, bytes, offset);
}

int fallocate(int file, int mode, off_t offset, off_t bytes)
{
	if (fault_fires(&fault_fallocate)) {
		errno = fault_fallocate.error;
		return -1;
	}
	return (int)syscall(SYS_fallocate, file, mode, offset, bytes);
}

int fdatasync(int file)
{
	if (fault_fires(&fault_fdatasync)) {
		errno = fault_fdatasync.error;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, file);
}

int fsync(int file)
{
	if (fault_fires(&fault_fsync)) {
		errno = fault_fsync.error;
		return -1;
	}
	return (int)syscall(SYS_fsync, file);
}

#endif
