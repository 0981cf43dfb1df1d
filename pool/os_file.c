/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole transfers, space, syncing, and locks of open file descriptions. */
#define _GNU_SOURCE 1

#include "pool/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZEROS_BYTES 65536u

static bool in_range(uint64_t offset, uint64_t bytes)
{
	return offset <= INT64_MAX && bytes <= INT64_MAX - offset;
}

int os_write_all(int file, const void *data, size_t bytes, uint64_t offset)
{
	const char *at = data;

	if (!in_range(offset, bytes))
		return -EFBIG;
	while (bytes > 0) {
		ssize_t n = pwrite(file, at, bytes, (off_t)offset);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		/* A file that takes nothing and says no error would be written for ever. */
		if (n == 0)
			return -EIO;
		at += n;
		bytes -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int os_read_all(int file, void *data, size_t bytes, uint64_t offset)
{
	char *at = data;

	if (!in_range(offset, bytes))
		return -EFBIG;
	while (bytes > 0) {
		ssize_t n = pread(file, at, bytes, (off_t)offset);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			return -ENODATA;
		at += n;
		bytes -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int write_zeros(int file, uint64_t offset, uint64_t bytes)
{
	static const char zeros[ZEROS_BYTES];

	while (bytes > 0) {
		size_t step = bytes < sizeof(zeros) ? (size_t)bytes : sizeof(zeros);
		int rc = os_write_all(file, zeros, step, offset);

		if (rc != 0)
			return rc;
		offset += step;
		bytes -= step;
	}
	return 0;
}

int os_allocate(int file, uint64_t offset, uint64_t bytes)
{
	struct stat before;
	int rc;

	if (!in_range(offset, bytes))
		return -EFBIG;
	if (bytes == 0)
		return 0;
	if (fstat(file, &before) != 0)
		return -errno;
	do {
		rc = fallocate(file, 0, (off_t)offset, (off_t)bytes) == 0 ? 0 : -errno;
	} while (rc == -EINTR);
	if (rc == -EOPNOTSUPP && offset >= (uint64_t)before.st_size)
		rc = write_zeros(file, offset, bytes);
	if (rc == 0 || rc == -EOPNOTSUPP)
		return rc;
	/* File systems keep what they allocated before they met the end: ext4 even shows it in the
	 * size. Cutting at the old size, also an unchanged one, gives it back. */
	while (ftruncate(file, before.st_size) != 0 && errno == EINTR)
		;
	return rc;
}

int os_punch(int file, uint64_t offset, uint64_t bytes)
{
	int rc;

	if (!in_range(offset, bytes))
		return -EFBIG;
	if (bytes == 0)
		return 0;
	do {
		rc = fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
			(off_t)bytes);
	} while (rc != 0 && errno == EINTR);
	return rc == 0 ? 0 : -errno;
}

int os_sync_data(int file)
{
	while (fdatasync(file) != 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int os_sync_folder(int folder)
{
	while (fsync(folder) != 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* bytes 0: to the end of the file and beyond. */
static int set_lock(int file, short type, uint64_t offset, uint64_t bytes)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)offset,
		.l_len = (off_t)bytes,
	};

	if (!in_range(offset, bytes))
		return -EINVAL;
	if (fcntl(file, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static int lock_held(int file, uint64_t offset, uint64_t bytes, bool *ret_held)
{
	struct flock lock = {
		.l_type = F_WRLCK, /* conflicts with every lock of another description */
		.l_whence = SEEK_SET,
		.l_start = (off_t)offset,
		.l_len = (off_t)bytes,
	};

	if (!in_range(offset, bytes))
		return -EINVAL;
	if (fcntl(file, F_OFD_GETLK, &lock) != 0)
		return -errno;
	*ret_held = lock.l_type != F_UNLCK;
	return 0;
}

int os_lock_shared(int file)
{
	return set_lock(file, F_RDLCK, 0, 0);
}

int os_lock_exclusive(int file)
{
	return set_lock(file, F_WRLCK, 0, 0);
}

int os_unlock(int file)
{
	return set_lock(file, F_UNLCK, 0, 0);
}

int os_lock_held(int file, bool *ret_held)
{
	return lock_held(file, 0, 0, ret_held);
}

int os_lock_folder(int folder)
{
	while (flock(folder, LOCK_EX | LOCK_NB) != 0) {
		if (errno == EWOULDBLOCK)
			return -EAGAIN;
		if (errno != EINTR)
			return 0;
	}
	return 0;
}

void os_unlock_folder(int folder)
{
	flock(folder, LOCK_UN);
}

int os_lock_byte_shared(int file, uint64_t byte)
{
	return set_lock(file, F_RDLCK, byte, 1);
}

int os_lock_byte_exclusive(int file, uint64_t byte)
{
	return set_lock(file, F_WRLCK, byte, 1);
}

int os_lock_byte_held(int file, uint64_t byte, bool *ret_held)
{
	return lock_held(file, byte, 1, ret_held);
}
