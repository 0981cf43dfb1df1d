/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The race build's mappings, in place of those of os_map.c: one writable mapping for each object in
 * the process, found by device and inode, so that the thread sanitizer sees manager and readers
 * (threads of one process there) touch the same addresses.
 *
 * A mapping keeps the description that it was made from, and with it its locks. All users of an
 * object share one address, so os_unmap() cannot tell whose mapping ends: it gives back the
 * duplicate that came last. That is exact where it matters: the manager maps a session's segment
 * before the reader does and unmaps it after, and the locks of readers on a region are all alike
 * (the manager's view of it keeps none).
 */
#ifdef POOL_RACE_BUILD
#define _GNU_SOURCE 1

#include "pool/os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE_BYTES (2ull << 20)

struct user {
	struct user *next;
	int file;
};

struct object {
	struct object *next;
	dev_t device;
	ino_t inode;
	char *base;
	size_t bytes;
	struct user *users; /* the latest first */
	size_t views;       /* without a descriptor */
};

/* Guards the list and everything in it; nothing else is locked under it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct object *objects;

/* A description that may write, of a file that this one may be allowed to read only. */
static int reopen(int file, int *ret_file)
{
	char path[64];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again < 0)
		return -errno;
	*ret_file = again;
	return 0;
}

static int map_writable(int file, size_t bytes, char **ret_base)
{
	size_t wide = bytes + HUGE_BYTES;
	char *base, *aligned;
	int again = -1, rc;

	if (wide < bytes)
		return -ENOMEM;
	rc = reopen(file, &again);
	if (rc != 0)
		return rc;
	base = mmap(NULL, wide, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED) {
		rc = -errno;
		goto out;
	}
	aligned = base + (-(uintptr_t)base & (HUGE_BYTES - 1));
	if (mmap(aligned, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED,
		    again, 0) == MAP_FAILED) {
		rc = -errno;
		munmap(base, wide);
		goto out;
	}
	if (aligned > base)
		munmap(base, (size_t)(aligned - base));
	munmap(aligned + bytes, (size_t)(base + wide - (aligned + bytes)));
	*ret_base = aligned;
out:
	close(again);
	return rc;
}

static struct object *find(const struct stat *st)
{
	for (struct object *object = objects; object != NULL; object = object->next)
		if (object->device == st->st_dev && object->inode == st->st_ino)
			return object;
	return NULL;
}

static int add(int file, const struct stat *st, size_t bytes, struct object **ret_object)
{
	struct object *object = calloc(1, sizeof(*object));
	int rc;

	if (object == NULL)
		return -ENOMEM;
	/* A later user may ask for more than the first, but hardly for more than there is. */
	if (bytes < (uint64_t)st->st_size)
		bytes = (size_t)st->st_size;
	bytes = (bytes + HUGE_BYTES - 1) & ~(size_t)(HUGE_BYTES - 1);
	rc = map_writable(file, bytes, &object->base);
	if (rc != 0) {
		free(object);
		return rc;
	}
	object->device = st->st_dev;
	object->inode = st->st_ino;
	object->bytes = bytes;
	object->next = objects;
	objects = object;
	*ret_object = object;
	return 0;
}

/* The object of a descriptor, mapped at least `bytes` wide. Under the lock. */
static int find_or_add(int file, uint64_t bytes, struct object **ret_object)
{
	struct object *object;
	struct stat st;

	if (fstat(file, &st) != 0)
		return -errno;
	object = find(&st);
	if (object == NULL)
		return add(file, &st, (size_t)bytes, ret_object);
	if (bytes > object->bytes)
		return -EOVERFLOW;
	*ret_object = object;
	return 0;
}

static int attach(int file, uint64_t bytes, void **ret_base)
{
	struct user *user = malloc(sizeof(*user));
	struct object *object;
	int rc;

	if (user == NULL)
		return -ENOMEM;
	user->file = fcntl(file, F_DUPFD_CLOEXEC, 0);
	if (user->file < 0) {
		rc = -errno;
		free(user);
		return rc;
	}
	pthread_mutex_lock(&lock);
	rc = find_or_add(file, bytes, &object);
	if (rc == 0) {
		user->next = object->users;
		object->users = user;
		*ret_base = object->base;
	}
	pthread_mutex_unlock(&lock);
	if (rc != 0) {
		close(user->file);
		free(user);
	}
	return rc;
}

/* Where the object of a mapping is linked. Under the lock. */
static struct object **find_base(const void *base)
{
	struct object **at = &objects;

	while (*at != NULL && (*at)->base != base)
		at = &(*at)->next;
	if (*at == NULL)
		abort(); /* not a mapping of ours: a bug that this build exists to find */
	return at;
}

static void end_if_unused(struct object **at)
{
	struct object *object = *at;

	if (object->users != NULL || object->views > 0)
		return;
	*at = object->next;
	munmap(object->base, object->bytes);
	free(object);
}

int os_map_window(int file, uint64_t window_bytes, const void **ret_base)
{
	void *base;
	int rc;

	if (window_bytes == 0 || window_bytes % HUGE_BYTES != 0 || window_bytes > INT64_MAX)
		return -EINVAL;
	rc = attach(file, window_bytes, &base);
	if (rc == 0)
		*ret_base = base;
	return rc;
}

int os_map(int file, size_t bytes, bool writable, void **ret_base)
{
	(void)writable;
	return bytes == 0 ? -EINVAL : attach(file, bytes, ret_base);
}

int os_map_behind(int file, size_t bytes, size_t private_bytes, void **ret_private, void **ret_base)
{
	void *private = mmap(
		NULL, private_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rc;

	if (private == MAP_FAILED)
		return -errno;
	(void)madvise(private, private_bytes, MADV_WIPEONFORK);
	rc = os_map(file, bytes, true, ret_base);
	if (rc != 0) {
		munmap(private, private_bytes);
		return rc;
	}
	*ret_private = private;
	return 0;
}

void os_unmap(const void *base, size_t bytes)
{
	struct object **at;
	struct user *user;

	(void)bytes;
	if (base == NULL)
		return;
	pthread_mutex_lock(&lock);
	at = find_base(base);
	user = (*at)->users;
	if (user == NULL)
		abort();
	(*at)->users = user->next;
	close(user->file);
	free(user);
	end_if_unused(at);
	pthread_mutex_unlock(&lock);
}

int os_race_view(int file, uint64_t bytes, char **ret_base)
{
	struct object *object;
	int rc;

	pthread_mutex_lock(&lock);
	rc = find_or_add(file, bytes, &object);
	if (rc == 0) {
		object->views++;
		*ret_base = object->base;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

void os_race_release(char *base)
{
	struct object **at;

	if (base == NULL)
		return;
	pthread_mutex_lock(&lock);
	at = find_base(base);
	if ((*at)->views == 0)
		abort();
	(*at)->views--;
	end_if_unused(at);
	pthread_mutex_unlock(&lock);
}

#else

/* An empty translation unit is not C. */
typedef int os_race_unused;

#endif
