/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a region: reading and writing them, descriptors for readers, the kernel's counts. */
#define _GNU_SOURCE 1

#include "pool/region_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/error.h"
#include "pool/os.h"

static bool in_extents(const struct pool_region *region, uint64_t offset, uint64_t bytes)
{
	uint64_t end = region_file_bytes(region);

	return offset >= POOL_HEADER_BYTES && offset <= end && bytes <= end - offset;
}

static int fail_range(const struct pool_region *region, const char *what, uint64_t offset,
	size_t bytes, struct rgm_error *error)
{
	return pool_fail(error, -EINVAL,
		"%s %zu bytes at offset %" PRIu64 " of region file '%s': not inside its extents",
		what, bytes, offset, region->name);
}

#ifdef POOL_RACE_BUILD

/* Through the one mapping of this process, where the thread sanitizer sees who meets whom. */
static int view_of(struct pool_region *region, char **ret_view)
{
	int rc = 0;

	pthread_mutex_lock(&region->lock);
	if (region->view == NULL)
		rc = os_race_view(region->file, region->max_bytes, &region->view);
	*ret_view = region->view;
	pthread_mutex_unlock(&region->lock);
	return rc;
}

static int transfer_out(struct pool_region *region, const void *data, size_t bytes, uint64_t offset)
{
	char *view = NULL;
	int rc = view_of(region, &view);

	if (rc == 0)
		memcpy(view + offset, data, bytes);
	return rc;
}

static int transfer_in(struct pool_region *region, void *data, size_t bytes, uint64_t offset)
{
	char *view = NULL;
	int rc;

	if (region->check)
		return os_read_all(region->file, data, bytes, offset);
	rc = view_of(region, &view);
	if (rc == 0)
		memcpy(data, view + offset, bytes);
	return rc;
}

#else

static int transfer_out(struct pool_region *region, const void *data, size_t bytes, uint64_t offset)
{
	return os_write_all(region->file, data, bytes, offset);
}

static int transfer_in(struct pool_region *region, void *data, size_t bytes, uint64_t offset)
{
	return os_read_all(region->file, data, bytes, offset);
}

#endif

int pool_region_write(struct pool_region *region, uint64_t offset, const void *data, size_t bytes,
	struct rgm_error *error)
{
	int rc;

	if (!in_extents(region, offset, bytes))
		return fail_range(region, "writing", offset, bytes, error);
	rc = pool_region_mark_dirty(region, error);
	if (rc != 0)
		return rc;
	rc = transfer_out(region, data, bytes, offset);
	if (rc != 0)
		return pool_fail_code(error, rc,
			"writing %zu bytes at offset %" PRIu64 " of region file '%s'", bytes,
			offset, region->name);
	return 0;
}

int pool_region_read(struct pool_region *region, uint64_t offset, void *data, size_t bytes,
	struct rgm_error *error)
{
	int rc;

	if (!in_extents(region, offset, bytes))
		return fail_range(region, "reading", offset, bytes, error);
	rc = transfer_in(region, data, bytes, offset);
	/* Somebody else cut the file: it was long enough when it was opened. */
	if (rc == -ENODATA)
		return pool_fail(error, RGM_ECORRUPT,
			"region file '%s' ends before offset %" PRIu64 ": it was truncated",
			region->name, offset + bytes);
	if (rc != 0)
		return pool_fail_code(error, rc,
			"reading %zu bytes at offset %" PRIu64 " of region file '%s'", bytes,
			offset, region->name);
	return 0;
}

int pool_region_open_reader(struct pool_region *region, int *ret_file, struct rgm_error *error)
{
	int file, rc;

	/* Not by name: that may have been given to another file meanwhile. */
	rc = os_open_anew(region->file, false, &file);
	if (rc != 0)
		return pool_fail_code(
			error, rc, "opening region file '%s' for a reader", region->name);
	rc = os_lock_byte_shared(file, POOL_LOCK_READERS);
	if (rc != 0) {
		close(file);
		return pool_fail_code(
			error, rc, "locking region file '%s' for a reader", region->name);
	}
	*ret_file = file;
	return 0;
}

int pool_region_kernel(struct pool_region *region, uint64_t *ret_block_bytes,
	uint64_t *ret_resident_bytes, struct rgm_error *error)
{
	uint64_t resident = 0;
	struct stat st;
	int rc;

	if (fstat(region->file, &st) != 0)
		return pool_fail_errno(error, "looking at region file '%s'", region->name);
	rc = os_resident(region->file, (uint64_t)st.st_size, &resident);
	if (rc != 0)
		return pool_fail_code(
			error, rc, "counting resident pages of region file '%s'", region->name);
	*ret_block_bytes = (uint64_t)st.st_blocks * 512;
	*ret_resident_bytes = resident;
	return 0;
}

int pool_region_file(const struct pool_region *region)
{
	return region->file;
}
