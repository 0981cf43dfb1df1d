/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POSIX shared memory. The folder behind it is writable for everybody: a name proves nothing, what
 * was opened is looked at. shm_open(3) follows no symbolic link and sets close-on-exec.
 */
#define _GNU_SOURCE 1

#include "pool/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODE   0600
#define FOLDER "/dev/shm" /* of shm_open(3) */

static int size_and_allocate(int file, uint64_t bytes, uint64_t allocate_bytes)
{
	/* The umask may have taken bits away. */
	if (fchmod(file, MODE) != 0)
		return -errno;
	if (ftruncate(file, (off_t)bytes) != 0)
		return -errno;
	return os_allocate(file, 0, allocate_bytes);
}

int os_shm_create(const char *name, uint64_t bytes, uint64_t allocate_bytes, int *ret_file)
{
	int file, rc;

	if (bytes > INT64_MAX || allocate_bytes > bytes)
		return -EINVAL;
	file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, MODE);
	if (file < 0)
		return -errno;
	rc = size_and_allocate(file, bytes, allocate_bytes);
	if (rc != 0) {
		shm_unlink(name);
		close(file);
		return rc;
	}
	*ret_file = file;
	return 0;
}

int os_shm_create_unnamed(uint64_t bytes, uint64_t allocate_bytes, int *ret_file)
{
	int file, rc;

	if (bytes > INT64_MAX || allocate_bytes > bytes)
		return -EINVAL;
	file = open(FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, MODE);
	if (file < 0)
		return -errno;
	rc = size_and_allocate(file, bytes, allocate_bytes);
	if (rc != 0) {
		close(file);
		return rc;
	}
	*ret_file = file;
	return 0;
}

int os_shm_link(int file, const char *name)
{
	char from[64], to[NAME_MAX + sizeof(FOLDER)];

	if ((size_t)snprintf(to, sizeof(to), FOLDER "%s", name) >= sizeof(to))
		return -ENAMETOOLONG;
	/* By the descriptor itself, which kernels before 6.10 permit root alone. */
	if (linkat(file, "", AT_FDCWD, to, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOENT && errno != EPERM)
		return -errno;
	snprintf(from, sizeof(from), "/proc/self/fd/%d", file);
	return linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

int os_shm_open(const char *name, bool writable, int *ret_file)
{
	struct stat st;
	int file, rc;

	/* O_NONBLOCK: somebody may have put a pipe there. It means nothing to a regular file. */
	file = shm_open(name, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK, 0);
	if (file < 0)
		return errno == ELOOP || errno == EACCES ? -EPERM : -errno;
	if (fstat(file, &st) != 0) {
		rc = -errno;
	} else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
		   (st.st_mode & ALLPERMS) != MODE || st.st_nlink > 1) {
		rc = -EPERM;
	} else {
		*ret_file = file;
		return 0;
	}
	close(file);
	return rc;
}

int os_shm_unlink(const char *name)
{
	return shm_unlink(name) == 0 ? 0 : -errno;
}

int os_open_anew(int file, bool writable, int *ret_file)
{
	char path[64];
	int anew;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	anew = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (anew < 0)
		return -errno;
	*ret_file = anew;
	return 0;
}
