/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes without a library; see raw.h. */
#include "raw.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "instance.h"

#define HUGE_BYTES  ((uint64_t)2 << 20)
#define WRITE_BYTES ((uint64_t)4 << 20)

static void fill(void *memory, uint64_t bytes)
{
	unsigned char *at = memory;

	for (uint64_t i = 0, done = 0; done < bytes; i++) {
		size_t size = bench_value_bytes(i);

		if (size > bytes - done)
			size = bytes - done;
		bench_value_fill(i, at + done, size);
		done += size;
	}
}

void *raw_memory(uint64_t bytes, const char **ret_kind)
{
	uint64_t whole = (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
	void *memory = mmap(NULL, whole, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	*ret_kind = "raw loop, hugetlb";
	if (memory == MAP_FAILED) {
		*ret_kind = "raw loop, anonymous 2 MB pages";
		memory = mmap(NULL, whole + HUGE_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			return NULL;
		memory = (void *)(((uintptr_t)memory + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES);
		madvise(memory, whole, MADV_HUGEPAGE);
	}
	fill(memory, bytes);
	return memory;
}

void *raw_values(uint64_t bytes)
{
	void *memory = malloc(bytes);

	if (memory != NULL)
		fill(memory, bytes);
	return memory;
}

double raw_write(const char *path, const void *values, uint64_t bytes, bool sync)
{
	const unsigned char *at = values;
	uint64_t begun;
	double seconds;
	int file;

	unlink(path);
	begun = bench_now_ns();
	file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file < 0 || posix_fallocate(file, 0, (off_t)bytes) != 0)
		return NAN;
	for (uint64_t done = 0; done < bytes; done += WRITE_BYTES) {
		size_t size = bytes - done < WRITE_BYTES ? bytes - done : WRITE_BYTES;

		if (pwrite(file, at + done, size, (off_t)done) != (ssize_t)size)
			return NAN;
	}
	if (sync && fdatasync(file) != 0)
		return NAN;
	seconds = (double)(bench_now_ns() - begun) / 1e9;
	close(file);
	return seconds;
}

const void *raw_map(const char *path, uint64_t bytes)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	unsigned char *window, *at;

	if (file < 0)
		return NULL;
	window = mmap(NULL, bytes + HUGE_BYTES, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (window == MAP_FAILED) {
		close(file);
		return NULL;
	}
	at = (unsigned char *)(((uintptr_t)window + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES);
	at = mmap(at, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0);
	close(file);
	return at == MAP_FAILED ? NULL : at;
}

void raw_unmap(const void *address, uint64_t bytes)
{
	/* what was reserved around it stays: address space, no memory */
	munmap((void *)(uintptr_t)address, bytes);
}
