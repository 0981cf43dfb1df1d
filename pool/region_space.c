/* SPDX-License-Identifier: Apache-2.0 */
/* Space of a region: taking and freeing page runs, growing the file, the dirty mark. */
#include "pool/region_internal.h"

#include <errno.h>
#include <inttypes.h>

#include "pool/error.h"
#include "pool/os.h"

#define SLACK_MAX   (64ull << 20) /* that a growth adds to what is needed */
#define SLACK_SHARE 32u           /* of the size */
#define FREE_AHEAD  8u            /* runs whose descriptors are fetched meanwhile */

static int fail_check(const struct pool_region *region, struct rgm_error *error)
{
	return pool_fail(error, -EROFS, "region file '%s' is open to be checked, not to be changed",
		region->name);
}

/* --- the dirty mark --------------------------------------------------------------------------- */

int region_mark_dirty_locked(struct pool_region *region, struct rgm_error *error)
{
	struct pool_superblock super = region->super;
	int rc;

	if (region->check)
		return fail_check(region, error);
	if (region->poisoned)
		return pool_fail(error, -EIO,
			"region file '%s' is not written any more: an earlier sync failed",
			region->name);
	if (atomic_load_explicit(&region->dirty, memory_order_relaxed))
		return 0;
	rc = region_live_begin(region, error);
	if (rc != 0)
		return rc;
	region->marking = true;
	super.state = POOL_DIRTY;
	super.file_bytes = region_file_bytes(region);
	super.root_offset = super.root_bytes = super.root_version = super.root_generation = 0;
	super.map_offset = super.map_bytes = 0;
	super.root_crc32c = super.map_crc32c = 0;
	rc = super_write_both(region, &super, error);
	if (rc == 0)
		atomic_store_explicit(&region->dirty, true, memory_order_release);
	return rc;
}

int pool_region_mark_dirty(struct pool_region *region, struct rgm_error *error)
{
	int rc;

	/* A region opened to check is `dirty` if it was found so; nobody writes that one. */
	if (!region->check && atomic_load_explicit(&region->dirty, memory_order_acquire))
		return 0;
	pthread_mutex_lock(&region->lock);
	rc = region_mark_dirty_locked(region, error);
	pthread_mutex_unlock(&region->lock);
	return rc;
}

/* --- growth ----------------------------------------------------------------------------------- */

static uint64_t round_up(uint64_t pages)
{
	return (pages + POOL_EXTENT_PAGES - 1) / POOL_EXTENT_PAGES * POOL_EXTENT_PAGES;
}

/* Pages of an allocation map for so many pages, if those set aside are too few. */
static uint64_t new_map_pages(const struct pool_region *region, uint64_t extent_pages)
{
	uint64_t map = region_map_pages(extent_pages);

	return map > region->map_count ? map : 0;
}

/*
 * Pages of whole extents that hold `needed` pages and, if the allocation map then fills more pages
 * than are set aside for it, also those.
 */
static uint64_t step_for(const struct pool_region *region, uint64_t extent_pages, uint64_t needed)
{
	uint64_t step = 0, with_map = round_up(needed + new_map_pages(region, extent_pages));

	while (step < with_map) {
		step = with_map;
		with_map = round_up(needed + new_map_pages(region, extent_pages + step));
	}
	return step;
}

static int fail_limit(const struct pool_region *region, uint64_t pages, uint64_t file_bytes,
	struct rgm_error *error)
{
	pool_fail(error, RGM_ELIMIT,
		"region file '%s' has %" PRIu64 " bytes and needs %" PRIu64
		" pages more, beyond its limit of %" PRIu64 " bytes",
		region->name, file_bytes, pages, region->max_bytes);
	pool_hint(error,
		"remove something from it, or load it into a new dimension with a larger maximum");
	return RGM_ELIMIT;
}

/* No space here; less might do. */
static bool out_of_space(int rc)
{
	return rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG;
}

/*
 * Append extents so that `needed` more pages are free at the end, behind the free ones that may be
 * there. On failure nothing has changed.
 */
static int grow(struct pool_region *region, uint64_t needed, struct rgm_error *error)
{
	const uint64_t file_bytes = region_file_bytes(region);
	const uint64_t room = (region->max_bytes - file_bytes) / POOL_PAGE_BYTES;
	const uint64_t share = file_bytes / SLACK_SHARE;
	const uint64_t slack = (share < SLACK_MAX ? share : SLACK_MAX) / POOL_PAGE_BYTES;
	uint64_t extent_pages = region_extent_pages(file_bytes);
	uint64_t exact, step;
	int rc;

	if (needed > room)
		return fail_limit(region, needed, file_bytes, error);
	exact = step_for(region, extent_pages, needed);
	if (exact > room)
		return fail_limit(region, needed, file_bytes, error);
	step = step_for(region, extent_pages, needed + slack);
	if (step > room)
		step = needed + new_map_pages(region, extent_pages + room) <= room ? room : exact;
	rc = os_allocate(region->file, file_bytes, step * POOL_PAGE_BYTES);
	if (out_of_space(rc) && step > exact) {
		step = exact;
		rc = os_allocate(region->file, file_bytes, step * POOL_PAGE_BYTES);
	}
	if (rc != 0)
		return pool_fail_code(error, rc,
			"growing region file '%s' from %" PRIu64 " by %" PRIu64 " bytes",
			region->name, file_bytes, step * POOL_PAGE_BYTES);
	rc = region_live_reserve(region, file_bytes / POOL_PAGE_BYTES + step, error);
	if (rc != 0)
		return rc; /* the file is longer than it says, which means nothing */
	/* Cannot fail: the set was made for max_bytes. */
	rc = pages_grow(region->pages, step, false);
	assert(rc == 0);
	region_set_file_bytes(region, file_bytes + step * POOL_PAGE_BYTES);
	if (region->live != NULL)
		live_set_pages(region->live, file_bytes / POOL_PAGE_BYTES + step);
	region->changed = true;
	return rc;
}

/* Said before old pages are freed, and after new ones are taken: see live.h. */
static void set_map(struct pool_region *region, uint64_t page, uint64_t count)
{
	region->map_page = page;
	region->map_count = count;
	if (region->live != NULL)
		live_set_map(region->live, page, count);
}

/*
 * Set as many pages aside for the allocation map as it fills now, if there are too few. After a
 * growth this cannot fail: grow() made room for it.
 */
int region_place_map(struct pool_region *region, struct rgm_error *error)
{
	uint64_t count = new_map_pages(region, region_extent_pages(region_file_bytes(region)));
	uint64_t page = 0, old_page, old_count;
	int rc;

	if (count == 0)
		return 0;
	rc = pages_allocate(region->pages, count, &page);
	if (rc != 0) {
		rc = grow(region, 0, error);
		if (rc != 0)
			return rc;
		count = new_map_pages(region, region_extent_pages(region_file_bytes(region)));
		rc = pages_allocate(region->pages, count, &page);
		assert(rc == 0);
	}
	old_page = region->map_page;
	old_count = region->map_count;
	set_map(region, page, count);
	if (old_count > 0)
		rc = pages_free(region->pages, old_page, old_count);
	assert(rc == 0);
	return rc;
}

/* grow(), and the map in its place: before the new pages are taken, so that it does not end up
 * right behind the caller's run, in the way of its growth. */
static int grow_with_map(struct pool_region *region, uint64_t needed, struct rgm_error *error)
{
	int rc = grow(region, needed, error);

	return rc != 0 ? rc : region_place_map(region, error);
}

static uint64_t tail_free(const struct pool_region *region)
{
	struct pages_info info;

	pages_info(region->pages, &info);
	return info.tail_free;
}

/* --- taking and freeing ----------------------------------------------------------------------- */

static int check_count(const struct pool_region *region, uint64_t count, struct rgm_error *error)
{
	if (region->check)
		return fail_check(region, error);
	if (count == 0)
		return pool_fail(
			error, -EINVAL, "no pages asked of region file '%s'", region->name);
	return 0;
}

static int allocate_locked(
	struct pool_region *region, uint64_t count, uint64_t *ret_page, struct rgm_error *error)
{
	uint64_t tail;
	int rc = pages_allocate(region->pages, count, ret_page);

	if (rc != -ENOSPC)
		return rc;
	tail = tail_free(region); /* < count, or it would have been taken */
	rc = grow_with_map(region, count - tail, error);
	if (rc != 0)
		return rc;
	rc = pages_allocate(region->pages, count, ret_page);
	assert(rc == 0);
	return rc;
}

int pool_region_allocate(
	struct pool_region *region, uint64_t count, uint64_t *ret_page, struct rgm_error *error)
{
	int rc = check_count(region, count, error);

	if (rc != 0)
		return rc;
	pthread_mutex_lock(&region->lock);
	rc = allocate_locked(region, count, ret_page, error);
	if (rc == 0)
		region->changed = true;
	pthread_mutex_unlock(&region->lock);
	return rc;
}

/* Nothing of `least` pages is free: grow for `most`, or for what max_bytes and the disk allow. */
static int grow_upto(struct pool_region *region, uint64_t least, uint64_t most, uint64_t *ret_page,
	uint64_t *ret_count, struct rgm_error *error)
{
	const uint64_t file_bytes = region_file_bytes(region);
	const uint64_t room = (region->max_bytes - file_bytes) / POOL_PAGE_BYTES;
	const uint64_t tail = tail_free(region); /* < least */
	int rc = RGM_ELIMIT;

	if (most - tail <= room)
		rc = grow_with_map(region, most - tail, NULL);
	if (rc != 0)
		rc = grow_with_map(region, least - tail, error);
	if (rc != 0)
		return rc;
	rc = pages_allocate_upto(region->pages, least, most, ret_page, ret_count);
	assert(rc == 0);
	return rc;
}

int pool_region_allocate_upto(struct pool_region *region, uint64_t least, uint64_t most,
	uint64_t *ret_page, uint64_t *ret_count, struct rgm_error *error)
{
	int rc = check_count(region, least, error);

	if (rc != 0)
		return rc;
	if (least > most)
		return pool_fail(error, -EINVAL,
			"between %" PRIu64 " and %" PRIu64 " pages asked of region file '%s'",
			least, most, region->name);
	pthread_mutex_lock(&region->lock);
	rc = pages_allocate_upto(region->pages, least, most, ret_page, ret_count);
	if (rc == -ENOSPC)
		rc = grow_upto(region, least, most, ret_page, ret_count, error);
	if (rc == 0)
		region->changed = true;
	pthread_mutex_unlock(&region->lock);
	return rc;
}

/* Take [end, end + more), growing the file if all behind `end` is free. */
static int extend_free(
	struct pool_region *region, uint64_t end, uint64_t more, struct rgm_error *error)
{
	const uint64_t pages = region_file_bytes(region) / POOL_PAGE_BYTES;
	const uint64_t tail = tail_free(region);
	int rc = pages_claim(region->pages, end, more);

	if (rc != 0) {
		if (end != pages - tail || more <= tail)
			return -ENOSPC;
		rc = grow(region, more - tail, error);
		if (rc != 0)
			return rc;
		rc = pages_claim(region->pages, end, more);
		assert(rc == 0);
	}
	rc = region_place_map(region, error);
	if (rc != 0)
		pages_free(region->pages, end, more);
	return rc;
}

/* If the allocation map stands behind the run, it makes way. */
static int extend_locked(
	struct pool_region *region, uint64_t end, uint64_t more, struct rgm_error *error)
{
	const uint64_t map_page = region->map_page, map_count = region->map_count;
	int rc;

	if (pages_claim(region->pages, end, more) == 0)
		return 0;
	if (map_count == 0 || map_page < end)
		return extend_free(region, end, more, error);
	set_map(region, 0, 0);
	rc = pages_free(region->pages, map_page, map_count);
	assert(rc == 0);
	rc = extend_free(region, end, more, error);
	if (rc != 0) {
		int back = pages_claim(region->pages, map_page, map_count);

		assert(back == 0);
		(void)back;
		set_map(region, map_page, map_count);
	}
	return rc;
}

int pool_region_extend(struct pool_region *region, uint64_t page, uint64_t old_count,
	uint64_t count, struct rgm_error *error)
{
	int rc = check_count(region, old_count, error);

	if (rc != 0)
		return rc;
	if (count < old_count || page > UINT64_MAX - old_count)
		return pool_fail(error, -EINVAL,
			"lengthening %" PRIu64 " pages to %" PRIu64 " in region file '%s'",
			old_count, count, region->name);
	if (count == old_count)
		return 0;
	pthread_mutex_lock(&region->lock);
	rc = extend_locked(region, page + old_count, count - old_count, error);
	if (rc == 0)
		region->changed = true;
	pthread_mutex_unlock(&region->lock);
	return rc;
}

void pool_region_free_many(
	struct pool_region *region, const struct pool_run *runs, size_t run_count)
{
	bool refused = region->check && run_count > 0;

	pthread_mutex_lock(&region->lock);
	for (size_t i = 0; i < run_count && !region->check; i++) {
		if (i + FREE_AHEAD < run_count)
			pages_expect_free(region->pages, runs[i + FREE_AHEAD].page,
				runs[i + FREE_AHEAD].count);
		if (runs[i].count == 0)
			continue;
		if (region_meets_map(region, runs[i].page, runs[i].count) ||
			pages_free(region->pages, runs[i].page, runs[i].count) != 0)
			refused = true;
		else
			region->changed = true;
	}
	pthread_mutex_unlock(&region->lock);
	assert(!refused);
	(void)refused;
}

void pool_region_free(struct pool_region *region, uint64_t page, uint64_t count)
{
	const struct pool_run run = {page, count};

	pool_region_free_many(region, &run, count == 0 ? 0 : 1);
}

/* --- looking ---------------------------------------------------------------------------------- */

void pool_region_info(struct pool_region *region, struct pool_region_info *ret_info)
{
	struct pages_info pages = {0};

	pthread_mutex_lock(&region->lock);
	if (region->pages != NULL)
		pages_info(region->pages, &pages);
	*ret_info = (struct pool_region_info){
		.id = region->super.dimension_id,
		.kind = region->super.kind,
		.dirty = atomic_load_explicit(&region->dirty, memory_order_relaxed),
		.bytes = region_file_bytes(region),
		.max_bytes = region->max_bytes,
		.own_pages = region->map_count,
		.free_pages = pages.free,
		.free_runs = pages.free_runs,
		.largest_free_pages = pages.largest_free,
		.damaged_slots = region->damaged_slots,
		.root = region->root,
	};
	ret_info->pages = region_extent_pages(ret_info->bytes);
	if (region->pages != NULL)
		ret_info->used_pages = ret_info->pages - pages.free - region->map_count;
	pthread_mutex_unlock(&region->lock);
}

/* A used run without the pages of the map: what is before them, or behind. */
static bool next_used_locked(
	const struct pool_region *region, uint64_t *cursor, uint64_t *page, uint64_t *count)
{
	const uint64_t map_end = region->map_page + region->map_count;

	if (*cursor < POOL_FIRST_PAGE)
		*cursor = POOL_FIRST_PAGE;
	if (region->map_count > 0 && *cursor >= region->map_page && *cursor < map_end)
		*cursor = map_end;
	if (!pages_next_used(region->pages, cursor, page, count))
		return false;
	if (region->map_count == 0 || *page >= map_end || *page + *count <= region->map_page)
		return true;
	*cursor = map_end;
	if (*page < region->map_page) {
		*count = region->map_page - *page;
		return true;
	}
	/* The run begins with the map. */
	return next_used_locked(region, cursor, page, count);
}

bool pool_region_next_used(
	struct pool_region *region, uint64_t *cursor, uint64_t *ret_page, uint64_t *ret_count)
{
	uint64_t page, count;
	bool found;

	if (region->pages == NULL)
		return false;
	pthread_mutex_lock(&region->lock);
	found = next_used_locked(region, cursor, &page, &count);
	pthread_mutex_unlock(&region->lock);
	if (found) {
		*ret_page = page;
		*ret_count = count;
	}
	return found;
}
