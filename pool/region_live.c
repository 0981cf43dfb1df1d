/* SPDX-License-Identifier: Apache-2.0 */
/* A region's live allocation: made before the first change, kept up with each, found again. See live.h. */
#include "pool/region_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pool/bitmap.h"
#include "pool/error.h"

struct pool_region *region_new_for(
	const char *name, const struct pool_region_options *options, struct rgm_error *error)
{
	struct pool_region *region = region_new(name, error);

	if (region == NULL)
		return NULL;
	memcpy(region->incarnation, options->incarnation, sizeof(region->incarnation));
	if (options->live_name == NULL)
		return region;
	region->live_name = strdup(options->live_name);
	if (region->live_name == NULL) {
		pool_fail(error, -ENOMEM, "no memory for region file '%s'", name);
		region_destroy(region);
		return NULL;
	}
	return region;
}

static struct live_identity identity_of(const struct pool_region *region)
{
	struct live_identity identity = {
		.dimension_id = region->super.dimension_id,
		.max_pages = region->max_bytes / POOL_PAGE_BYTES,
	};

	memcpy(identity.incarnation, region->incarnation, sizeof(identity.incarnation));
	return identity;
}

static int fail_memory(const struct pool_region *region, int rc, struct rgm_error *error)
{
	return pool_fail_code(error, rc,
		"shared memory '%s' for the allocation of region file '%s'", region->live_name,
		region->name);
}

int region_live_begin(struct pool_region *region, struct rgm_error *error)
{
	const uint64_t pages = region_file_bytes(region) / POOL_PAGE_BYTES;
	const struct live_identity identity = identity_of(region);
	struct live *live = NULL;
	int rc;

	if (region->live != NULL || region->live_name == NULL)
		return 0;
	rc = live_create(region->live_name, &identity, &live);
	if (rc == 0)
		rc = live_reserve(live, pages);
	if (rc != 0) {
		live_close(live);
		return fail_memory(region, rc, error);
	}
	pages_move(region->pages, live_bits(live));
	live_set_map(live, region->map_page, region->map_count);
	live->published = region->published;
	live_set_pages(live, pages);
	region->live = live;
	return 0;
}

int region_live_reserve(struct pool_region *region, uint64_t pages, struct rgm_error *error)
{
	int rc = region->live != NULL ? live_reserve(region->live, pages) : 0;

	return rc != 0 ? fail_memory(region, rc, error) : 0;
}

/* The header's pages and those of the map are set, and the file is as long as it was. */
static bool makes_sense(const struct live *live, uint64_t file_bytes)
{
	const uint64_t *bits = (const uint64_t *)(live + 1);
	const uint64_t page = live->map_page, count = live->map_count;

	return live->pages >= POOL_FIRST_PAGE && live->pages % POOL_EXTENT_PAGES == 0 &&
	       live->pages <= file_bytes / POOL_PAGE_BYTES &&
	       bitmap_find(bits, 0, POOL_FIRST_PAGE, false) == POOL_FIRST_PAGE &&
	       (count == 0 ||
		       (page >= POOL_FIRST_PAGE && count <= live->pages &&
			       page <= live->pages - count &&
			       bitmap_find(bits, page, page + count, false) == page + count));
}

int region_live_load(struct pool_region *region, uint64_t file_bytes, bool *ret_published,
	struct rgm_error *error)
{
	const struct live_identity identity = identity_of(region);
	struct live *live;
	int rc = -ENOENT;

	if (region->live_name != NULL)
		rc = live_open(region->live_name, &identity, &live);
	if (rc != 0)
		return rc == -ENOENT || rc == -ESTALE ? rc : fail_memory(region, rc, error);
	region->live = live;
	if (live->poisoned != 0)
		return pool_fail(error, RGM_EDIRTY,
			"region file '%s' had a sync that failed: what is in memory is not "
			"believed",
			region->name);
	if (!makes_sense(live, file_bytes))
		return pool_fail(error, RGM_ECORRUPT,
			"shared memory '%s' does not fit region file '%s'", region->live_name,
			region->name);
	region->pages = pages_create(identity.max_pages);
	if (region->pages == NULL)
		return pool_fail(error, -ENOMEM, "no memory for the pages of region file '%s'",
			region->name);
	rc = pages_adopt(region->pages, live_bits(live), live->pages);
	if (rc != 0)
		return pool_fail_code(error, rc, "the pages of region file '%s'", region->name);
	region->map_page = live->map_page;
	region->map_count = live->map_count;
	region_set_file_bytes(region, live->pages * POOL_PAGE_BYTES);
	*ret_published = region->published = live->published != 0;
	return 0;
}

void pool_region_published(struct pool_region *region)
{
	pthread_mutex_lock(&region->lock);
	region->published = true;
	if (region->live != NULL)
		__atomic_store_n(&region->live->published, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&region->lock);
}

void pool_region_leave_live(struct pool_region *region)
{
	pthread_mutex_lock(&region->lock);
	if (region->live != NULL) {
		pages_move(region->pages, NULL);
		live_close(region->live);
		region->live = NULL;
	}
	free(region->live_name);
	region->live_name = NULL;
	pthread_mutex_unlock(&region->lock);
}
