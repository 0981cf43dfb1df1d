/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocation map: read at the open of a clean file, written at its clean end. In memory it is a
 * bitmap over the pages of the extents, padded to whole pages, as it stands in the file.
 */
#include "pool/region_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "pool/bitmap.h"
#include "pool/crc32c.h"
#include "pool/error.h"
#include "pool/os.h"

static int fail_map(const struct pool_region *region, const char *why, struct rgm_error *error)
{
	return pool_fail(error, RGM_ECORRUPT,
		"the allocation map at offset %" PRIu64 " of region file '%s' %s",
		region->super.map_offset, region->name, why);
}

/* `bits` as page runs behind the header's. */
static int build_pages(
	struct pool_region *region, const uint64_t *bits, uint64_t count, struct rgm_error *error)
{
	uint64_t page = 0;
	int rc = pages_grow(region->pages, POOL_FIRST_PAGE, true);

	while (rc == 0 && page < count) {
		bool used = bitmap_get(bits, page);
		uint64_t end = bitmap_find(bits, page, count, !used);

		rc = pages_grow(region->pages, end - page, used);
		page = end;
	}
	if (rc != 0)
		return pool_fail(error, -ENOMEM, "no memory for the pages of region file '%s'",
			region->name);
	return 0;
}

static bool all_used(const uint64_t *bits, uint64_t offset, uint64_t bytes)
{
	uint64_t page = offset / POOL_PAGE_BYTES - POOL_FIRST_PAGE;
	uint64_t end = (offset + bytes + POOL_PAGE_BYTES - 1) / POOL_PAGE_BYTES - POOL_FIRST_PAGE;

	return bitmap_find(bits, page, end, false) == end;
}

static int read_map(struct pool_region *region, uint64_t *bits, struct rgm_error *error)
{
	const struct pool_superblock *super = &region->super;
	int rc = os_read_all(region->file, bits, (size_t)super->map_bytes, super->map_offset);

	if (rc != 0)
		return pool_fail_code(error, rc,
			"reading %" PRIu64 " bytes at offset %" PRIu64 " of region file '%s'",
			super->map_bytes, super->map_offset, region->name);
	if (pool_crc32c(0, bits, (size_t)super->map_bytes) != super->map_crc32c)
		return fail_map(region, "has a wrong checksum", error);
	if (!all_used(bits, super->map_offset, region->map_count * POOL_PAGE_BYTES))
		return fail_map(region, "says that its own pages are free", error);
	if (super->root_offset != 0 && !all_used(bits, super->root_offset, super->root_bytes))
		return fail_map(region, "says that the pages of the root are free", error);
	return 0;
}

int region_map_load(struct pool_region *region, struct rgm_error *error)
{
	const struct pool_superblock *super = &region->super;
	uint64_t count = region_extent_pages(super->file_bytes);
	uint64_t *bits;
	int rc = 0;

	region->map_page = super->map_offset / POOL_PAGE_BYTES;
	region->map_count = region_map_pages(count);
	bits = calloc(count / BITMAP_WORD_BITS + 1, sizeof(*bits));
	region->pages = pages_create(region->max_bytes / POOL_PAGE_BYTES);
	if (bits == NULL || region->pages == NULL)
		rc = pool_fail(error, -ENOMEM, "no memory for the pages of region file '%s'",
			region->name);
	if (rc == 0 && count > 0)
		rc = read_map(region, bits, error);
	if (rc == 0)
		rc = build_pages(region, bits, count, error);
	free(bits);
	return rc;
}

int region_map_save(
	struct pool_region *region, struct pool_superblock *super, struct rgm_error *error)
{
	uint64_t count = region_extent_pages(super->file_bytes);
	uint64_t bytes = region->map_count * POOL_PAGE_BYTES;
	uint64_t offset = region->map_page * POOL_PAGE_BYTES;
	uint64_t cursor = POOL_FIRST_PAGE, page, run;
	uint64_t *bits;
	int rc;

	if (count == 0)
		return 0;
	bits = calloc(1, (size_t)bytes);
	if (bits == NULL)
		return pool_fail(error, -ENOMEM,
			"no memory for the allocation map of region file '%s'", region->name);
	while (pages_next_used(region->pages, &cursor, &page, &run))
		bitmap_set(bits, page - POOL_FIRST_PAGE, page - POOL_FIRST_PAGE + run);
	super->map_offset = offset;
	super->map_bytes = count / 8;
	super->map_crc32c = pool_crc32c(0, bits, (size_t)super->map_bytes);
	rc = os_write_all(region->file, bits, (size_t)bytes, offset);
	if (rc != 0)
		pool_fail_code(error, rc,
			"writing %" PRIu64 " bytes at offset %" PRIu64 " of region file '%s'",
			bytes, offset, region->name);
	free(bits);
	return rc;
}
