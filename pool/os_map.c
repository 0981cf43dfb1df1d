/* SPDX-License-Identifier: Apache-2.0 */
/* Mappings: of files, of nothing (address space and zero pages), and what of a file is in memory. */
#define _GNU_SOURCE 1

#include "pool/os.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE_BYTES     (2ull << 20)
#define RESIDENT_PAGES 16384u /* looked at in one call: 64 MB, 16 KB of stack */

#ifndef POOL_RACE_BUILD

/* Address space of `bytes` at a multiple of 2 MB, holding nothing. */
static int reserve_aligned(size_t bytes, char **ret_base)
{
	size_t wide = bytes + HUGE_BYTES;
	char *base, *aligned;
	size_t before, behind;

	if (wide < bytes)
		return -ENOMEM;
	base = mmap(NULL, wide, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	before = (size_t)(-(uintptr_t)base & (HUGE_BYTES - 1));
	aligned = base + before;
	behind = HUGE_BYTES - before;
	/* Giving back the ends can fail only at the limit of mappings; address space is then lost,
	 * nothing else. */
	if (before > 0)
		munmap(base, before);
	if (behind > 0)
		munmap(aligned + bytes, behind);
	*ret_base = aligned;
	return 0;
}

int os_map_window(int file, uint64_t window_bytes, const void **ret_base)
{
	char *base = NULL;
	int rc;

	if (window_bytes == 0 || window_bytes % HUGE_BYTES != 0 || window_bytes > INT64_MAX)
		return -EINVAL;
	rc = reserve_aligned((size_t)window_bytes, &base);
	if (rc != 0)
		return rc;
	if (mmap(base, (size_t)window_bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE | MAP_FIXED,
		    file, 0) == MAP_FAILED) {
		rc = -errno;
		munmap(base, (size_t)window_bytes);
		return rc;
	}
	/* Best effort: many kernels have no huge pages for files. */
	(void)madvise(base, (size_t)window_bytes, MADV_HUGEPAGE);
	*ret_base = base;
	return 0;
}

int os_map(int file, size_t bytes, bool writable, void **ret_base)
{
	int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	void *base = mmap(NULL, bytes, protection, MAP_SHARED, file, 0);

	if (base == MAP_FAILED)
		return -errno;
	*ret_base = base;
	return 0;
}

int os_map_behind(int file, size_t bytes, size_t private_bytes, void **ret_private, void **ret_base)
{
	char *range, *base;
	int rc;

	if (bytes == 0 || bytes > SIZE_MAX - private_bytes)
		return -EINVAL;
	range = mmap(NULL, private_bytes + bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (range == MAP_FAILED)
		return -errno;
	base = range + private_bytes;
	if (mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) ==
		MAP_FAILED) {
		rc = -errno;
		munmap(range, private_bytes + bytes);
		return rc;
	}
	(void)madvise(range, private_bytes, MADV_WIPEONFORK);
	*ret_private = range;
	*ret_base = base;
	return 0;
}

void os_unmap(const void *base, size_t bytes)
{
	if (base != NULL)
		munmap((void *)(uintptr_t)base, bytes);
}

#endif

int os_reserve(size_t bytes, void **ret_base)
{
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return -errno;
	/* A huge page for the first byte touched is what the caller wants to avoid. */
	(void)madvise(base, bytes, MADV_NOHUGEPAGE);
	*ret_base = base;
	return 0;
}

void os_release(void *base, size_t bytes)
{
	if (base != NULL)
		munmap(base, bytes);
}

int os_map_alone(int file, size_t bytes, void **ret_base)
{
	void *base = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0);

	if (base == MAP_FAILED)
		return -errno;
	*ret_base = base;
	return 0;
}

int os_populate(void *base, size_t bytes)
{
	uintptr_t first = (uintptr_t)base & ~(uintptr_t)4095;
	size_t wide = (uintptr_t)base + bytes - first;

	while (madvise((void *)first, wide, MADV_POPULATE_WRITE) != 0) {
		/* EFAULT stands for the SIGBUS of a store there. */
		if (errno != EINTR && errno != EAGAIN)
			return errno == EFAULT ? -ENOSPC : -errno;
	}
	return 0;
}

int os_map_zeros(void *base, size_t bytes, bool writable)
{
	int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;

	return mmap(base, bytes, protection, flags, -1, 0) != MAP_FAILED ? 0 : -errno;
}

int os_memory_file(const char *name, uint64_t bytes, int *ret_file)
{
	int file = memfd_create(name, MFD_CLOEXEC);
	int rc;

	if (file < 0)
		return -errno;
	if (ftruncate(file, (off_t)bytes) != 0) {
		rc = -errno;
		close(file);
		return rc;
	}
	*ret_file = file;
	return 0;
}

int os_resident(int file, uint64_t bytes, uint64_t *ret_resident_bytes)
{
	const uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	const uint64_t step_max = RESIDENT_PAGES * page_bytes;
	unsigned char resident[RESIDENT_PAGES];
	uint64_t pages = 0;
	struct stat st;

	if (fstat(file, &st) != 0)
		return -errno;
	if (bytes > (uint64_t)st.st_size)
		bytes = (uint64_t)st.st_size;
	for (uint64_t offset = 0; offset < bytes; offset += step_max) {
		uint64_t step = bytes - offset < step_max ? bytes - offset : step_max;
		void *view = mmap(NULL, (size_t)step, PROT_READ, MAP_SHARED, file, (off_t)offset);
		int rc;

		if (view == MAP_FAILED)
			return -errno;
		rc = mincore(view, (size_t)step, resident) == 0 ? 0 : -errno;
		munmap(view, (size_t)step);
		if (rc != 0)
			return rc;
		for (uint64_t i = 0; i * page_bytes < step; i++)
			pages += resident[i] & 1u;
	}
	*ret_resident_bytes = pages * page_bytes;
	return 0;
}
