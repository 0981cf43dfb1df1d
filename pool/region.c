/* SPDX-License-Identifier: Apache-2.0 */
/* Regions: create and close; what create and open share. Every refusal says in one sentence what is
 * wrong with which file. region_open.c opens. */
#define _GNU_SOURCE 1

#include "pool/region_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/error.h"
#include "pool/os.h"

#define MODE 0600

void region_destroy(struct pool_region *region)
{
	if (region == NULL)
		return;
#ifdef POOL_RACE_BUILD
	os_race_release(region->view);
#endif
	pages_destroy(region->pages);
	live_close(region->live);
	free(region->live_name);
	if (region->file >= 0)
		close(region->file);
	pthread_mutex_destroy(&region->lock);
	free(region->name);
	free(region);
}

struct pool_region *region_new(const char *name, struct rgm_error *error)
{
	struct pool_region *region = calloc(1, sizeof(*region));

	if (region != NULL)
		region->name = strdup(name);
	if (region == NULL || region->name == NULL) {
		free(region);
		pool_fail(error, -ENOMEM, "no memory for region file '%s'", name);
		return NULL;
	}
	region->file = -1;
	pthread_mutex_init(&region->lock, NULL);
	return region;
}

int region_check_max_bytes(
	const char *name, uint64_t max_bytes, uint64_t least, struct rgm_error *error)
{
	if (max_bytes > POOL_MAX_REGION_BYTES)
		return pool_fail(error, RGM_ELIMIT,
			"max_bytes of region file '%s' is %" PRIu64 ", more than %" PRIu64, name,
			max_bytes, (uint64_t)POOL_MAX_REGION_BYTES);
	if (max_bytes % POOL_EXTENT_BYTES != 0)
		return pool_fail(error, -EINVAL,
			"max_bytes of region file '%s' is %" PRIu64 ", not a multiple of %" PRIu64,
			name, max_bytes, POOL_EXTENT_BYTES);
	if (max_bytes < least)
		return pool_fail(error, -EINVAL,
			"max_bytes of region file '%s' is %" PRIu64 ", less than %" PRIu64, name,
			max_bytes, least);
	return 0;
}

int region_check_name(const char *file, struct rgm_error *error)
{
	if (file[0] == '\0' || strchr(file, '/') != NULL || strcmp(file, ".") == 0 ||
		strcmp(file, "..") == 0)
		return pool_fail(error, -EINVAL, "'%s' is no name for a region file", file);
	return 0;
}

int region_lock_to_serve(struct pool_region *region, struct rgm_error *error)
{
	int rc = os_lock_byte_exclusive(region->file, POOL_LOCK_SERVED);

	if (rc == -EAGAIN)
		return pool_fail(error, RGM_EINUSE,
			"region file '%s' is served by another manager, or being checked",
			region->name);
	if (rc != 0)
		return pool_fail_code(error, rc, "locking region file '%s'", region->name);
	return 0;
}

/* --- create ----------------------------------------------------------------------------------- */

/* Header and both superblocks, clean, on the disk. */
static int write_first(struct pool_region *region, const struct pool_region_options *options,
	struct rgm_error *error)
{
	struct pool_superblock super = {
		.state = POOL_CLEAN,
		.kind = options->kind,
		.dimension_id = options->id,
		.file_bytes = POOL_HEADER_BYTES,
	};

	memcpy(super.instance_id, options->instance_id, sizeof(super.instance_id));
	if (fchmod(region->file, MODE) != 0 ||
		ftruncate(region->file, (off_t)POOL_HEADER_BYTES) != 0)
		return pool_fail_errno(error, "preparing region file '%s'", region->name);
	region->super_slot = 1; /* the first goes to slot A */
	return super_write_both(region, &super, error);
}

static int create_in(int folder, const char *file, struct pool_region *region,
	const struct pool_region_options *options, struct rgm_error *error)
{
	int rc = region_lock_to_serve(region, error);

	if (rc == 0)
		rc = write_first(region, options, error);
	if (rc == 0)
		rc = region_map_load(region, error);
	if (rc == 0) {
		rc = os_sync_folder(folder);
		if (rc != 0)
			pool_fail_code(error, rc, "syncing the folder of region file '%s'", file);
	}
	return rc;
}

int pool_region_create(int folder, const char *file, const struct pool_region_options *options,
	struct pool_region **ret_region, struct rgm_error *error)
{
	struct pool_region *region;
	int rc = region_check_name(file, error);

	if (rc == 0)
		rc = region_check_max_bytes(
			file, options->max_bytes, POOL_HEADER_BYTES + POOL_EXTENT_BYTES, error);
	if (rc != 0)
		return rc;
	region = region_new_for(file, options, error);
	if (region == NULL)
		return -ENOMEM;
	region->max_bytes = options->max_bytes;
	region_set_file_bytes(region, POOL_HEADER_BYTES);
	region->file =
		openat(folder, file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MODE);
	if (region->file < 0) {
		rc = pool_fail_errno(error, "creating region file '%s'", file);
		region_destroy(region);
		return rc;
	}
	rc = create_in(folder, file, region, options, error);
	if (rc != 0) {
		unlinkat(folder, file, 0);
		region_destroy(region);
		return rc;
	}
	*ret_region = region;
	return 0;
}

/* --- close ------------------------------------------------------------------------------------ */

static bool same_root(const struct pool_root *a, const struct pool_root *b)
{
	return a->offset == b->offset && a->bytes == b->bytes && a->crc32c == b->crc32c &&
	       a->version == b->version && a->generation == b->generation;
}

/* Inside the extents, on pages that are used. */
static int check_root(const struct pool_region *region, const struct pool_root *root,
	uint64_t file_bytes, struct rgm_error *error)
{
	bool right = root->offset == 0 && root->bytes == 0 && root->crc32c == 0;

	if (root->offset >= POOL_HEADER_BYTES && root->offset < file_bytes && root->bytes > 0 &&
		root->bytes <= file_bytes - root->offset) {
		uint64_t first = root->offset / POOL_PAGE_BYTES;
		uint64_t last = (root->offset + root->bytes - 1) / POOL_PAGE_BYTES;

		right = !region_meets_map(region, first, last - first + 1);
		for (uint64_t page = first; page <= last; page++)
			right = right && pages_is_used(region->pages, page);
	}
	if (right)
		return 0;
	return pool_fail(error, -EINVAL,
		"the root at offset %" PRIu64 " (%" PRIu64
		" bytes) does not lie on used pages of region file '%s'",
		root->offset, root->bytes, region->name);
}

static int finish(struct pool_region *region, const struct pool_root *root, struct rgm_error *error)
{
	struct pool_superblock super;
	uint64_t file_bytes = region_file_bytes(region);
	int rc = check_root(region, root, file_bytes, error);

	if (rc == 0)
		rc = region_mark_dirty_locked(region, error);
	if (rc != 0)
		return rc;
	super = region->super;
	super.state = POOL_CLEAN;
	super.file_bytes = file_bytes;
	super.root_offset = root->offset;
	super.root_bytes = root->bytes;
	super.root_crc32c = root->crc32c;
	super.root_version = root->version;
	super.root_generation = root->generation;
	rc = region_map_save(region, &super, error);
	if (rc == 0)
		rc = region_sync(region, error);
	if (rc == 0)
		rc = super_write_both(region, &super, error);
	return rc;
}

int pool_region_close_clean(
	struct pool_region *region, const struct pool_root *root, struct rgm_error *error)
{
	int rc = 0;

	pthread_mutex_lock(&region->lock);
	if (region->check)
		rc = 0;
	else if (region->changed || region->marking || !same_root(root, &region->root))
		rc = finish(region, root, error);
	pthread_mutex_unlock(&region->lock);
	region_destroy(region);
	return rc;
}

void pool_region_lose_file(struct pool_region *region)
{
	region->file = -1;
}

void pool_region_close(struct pool_region *region)
{
	region_destroy(region);
}
