/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a region, to serve it or to check it. What stands in the file may come from anywhere:
 * nothing is believed that was not checked, and nothing is written until everything was.
 */
#define _GNU_SOURCE 1

#include "pool/region_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/error.h"
#include "pool/os.h"

static int lock_to_check(struct pool_region *region, struct rgm_error *error)
{
	int rc = os_lock_byte_shared(region->file, POOL_LOCK_SERVED);

	if (rc == -EAGAIN) {
		pool_fail(
			error, RGM_EINUSE, "region file '%s' is served by a manager", region->name);
		pool_hint(error, "check it through that manager, or stop the manager first");
		return RGM_EINUSE;
	}
	if (rc != 0)
		return pool_fail_code(error, rc, "locking region file '%s'", region->name);
	return 0;
}

static int refuse_readers(struct pool_region *region, struct rgm_error *error)
{
	bool held = false;
	int rc = os_lock_byte_held(region->file, POOL_LOCK_READERS, &held);

	if (rc != 0)
		return pool_fail_code(
			error, rc, "looking for locks on region file '%s'", region->name);
	if (!held)
		return 0;
	pool_fail(error, RGM_EINUSE,
		"region file '%s' is still mapped by a reader of an earlier manager", region->name);
	pool_hint(error, "end or detach the processes that were attached to it; it is served when "
			 "they are gone");
	return RGM_EINUSE;
}

/* --- the file ------------------------------------------------------------------------------------ */

/* The file is what only its owner can have put there. */
static int check_file(
	const struct pool_region *region, const struct stat *st, struct rgm_error *error)
{
	if (st->st_uid != geteuid())
		return pool_fail(error, RGM_EREFUSED,
			"region file '%s' belongs to user %u, not to user %u", region->name,
			(unsigned int)st->st_uid, (unsigned int)geteuid());
	if (st->st_nlink != 1)
		return pool_fail(error, RGM_EREFUSED,
			"region file '%s' has %ju names (hard links) instead of one", region->name,
			(uintmax_t)st->st_nlink);
	if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return pool_fail(error, RGM_EREFUSED,
			"region file '%s' may be written by others than its owner (mode %04o)",
			region->name, (unsigned int)(st->st_mode & ALLPERMS));
	return 0;
}

/* Never waits and never changes anything, whatever stands under that name. */
static int open_file(struct pool_region *region, int folder, const char *path, int access,
	struct stat *ret_st, struct rgm_error *error)
{
	region->file = openat(folder, path, access | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (region->file < 0 && errno == ELOOP)
		return pool_fail(
			error, RGM_EREFUSED, "region file '%s' is a symbolic link", region->name);
	if (region->file < 0 || fstat(region->file, ret_st) != 0)
		return pool_fail_errno(error, "opening region file '%s'", region->name);
	if (!S_ISREG(ret_st->st_mode))
		return pool_fail(error, RGM_EREFUSED, "region file '%s' is not a regular file",
			region->name);
	if ((uint64_t)ret_st->st_size < POOL_HEADER_BYTES)
		return pool_fail(error, RGM_ECORRUPT,
			"region file '%s' has %jd bytes, too few for a region", region->name,
			(intmax_t)ret_st->st_size);
	return 0;
}

/* Choose the superblock and take over what it says. */
static int take_super(
	struct pool_region *region, const struct stat *st, bool *ret_twin, struct rgm_error *error)
{
	struct super_choice choice;
	int rc = super_choose(region->file, region->name, &choice, error);

	if (rc != 0)
		return rc;
	if ((uint64_t)st->st_size < choice.super.file_bytes)
		return pool_fail(error, RGM_ECORRUPT,
			"region file '%s' was truncated: it has %jd bytes and should have %" PRIu64,
			region->name, (intmax_t)st->st_size, choice.super.file_bytes);
	region->super = choice.super;
	region->super_slot = choice.slot;
	region->damaged_slots = choice.damaged;
	region->root = (struct pool_root){
		.offset = choice.super.root_offset,
		.bytes = choice.super.root_bytes,
		.crc32c = choice.super.root_crc32c,
		.version = choice.super.root_version,
		.generation = choice.super.root_generation,
	};
	region->max_bytes = choice.super.max_bytes;
	region_set_file_bytes(region, choice.super.file_bytes);
	*ret_twin = choice.twin;
	return 0;
}

/* It is the file that the caller means. */
static int check_expected(const struct pool_region *region,
	const struct pool_region_options *options, struct rgm_error *error)
{
	const struct pool_superblock *super = &region->super;

	if (memcmp(super->instance_id, options->instance_id, sizeof(super->instance_id)) != 0)
		return pool_fail(error, RGM_ECORRUPT,
			"region file '%s' belongs to another instance", region->name);
	if (super->dimension_id != options->id)
		return pool_fail(error, RGM_ECORRUPT,
			"region file '%s' is of dimension %" PRIu64 ", not of %" PRIu64,
			region->name, super->dimension_id, options->id);
	if (super->kind != options->kind)
		return pool_fail(error, RGM_ECORRUPT,
			"region file '%s' is of kind %u, not of kind %u", region->name, super->kind,
			options->kind);
	return 0;
}

static int refuse_dirty(const struct pool_region *region, struct rgm_error *error)
{
	if (region->super.state == POOL_CLEAN)
		return 0;
	pool_fail(error, RGM_EDIRTY,
		"region file '%s' was not closed cleanly, and this version has no recovery",
		region->name);
	pool_hint(error, "drop the dimension and load it again");
	return RGM_EDIRTY;
}

static int take_max_bytes(struct pool_region *region, uint64_t max_bytes, struct rgm_error *error)
{
	int rc;

	if (max_bytes == 0)
		return 0;
	rc = region_check_max_bytes(region->name, max_bytes, region->super.file_bytes, error);
	if (rc == 0)
		region->max_bytes = max_bytes;
	return rc;
}

/* It will be served: both superblocks are made to say the same, and the file to end where they say
 * (nobody maps it: what lies behind was grown before the first change of a run that died). */
static int put_in_order(
	struct pool_region *region, const struct stat *st, bool twin, struct rgm_error *error)
{
	struct pool_superblock super = region->super;

	if ((uint64_t)st->st_size > super.file_bytes &&
		ftruncate(region->file, (off_t)super.file_bytes) != 0)
		return pool_fail_errno(error, "cutting region file '%s' at %" PRIu64 " bytes",
			region->name, super.file_bytes);
	return twin ? 0 : super_write(region, &super, error);
}

/* Open the file for the one process that serves it, and take its superblock. */
static int take_file(struct pool_region *region, int folder, const char *file,
	const struct pool_region_options *options, struct stat *ret_st, bool *ret_twin,
	struct rgm_error *error)
{
	int rc = open_file(region, folder, file, O_RDWR, ret_st, error);

	if (rc == 0)
		rc = check_file(region, ret_st, error);
	if (rc == 0)
		rc = region_lock_to_serve(region, error);
	if (rc == 0)
		rc = take_super(region, ret_st, ret_twin, error);
	if (rc == 0)
		rc = check_expected(region, options, error);
	return rc;
}

static int open_to_serve(struct pool_region *region, int folder, const char *file,
	const struct pool_region_options *options, struct rgm_error *error)
{
	struct stat st = {0};
	bool twin = true;
	int rc = take_file(region, folder, file, options, &st, &twin, error);

	if (rc == 0)
		rc = refuse_dirty(region, error);
	if (rc == 0)
		rc = refuse_readers(region, error);
	if (rc == 0)
		rc = take_max_bytes(region, options->max_bytes, error);
	if (rc == 0)
		rc = region_map_load(region, error);
	if (rc == 0)
		rc = put_in_order(region, &st, twin, error);
	region->published = true;
	return rc;
}

int pool_region_open(int folder, const char *file, const struct pool_region_options *options,
	struct pool_region **ret_region, struct rgm_error *error)
{
	struct pool_region *region;
	int rc = region_check_name(file, error);

	if (rc != 0)
		return rc;
	region = region_new_for(file, options, error);
	if (region == NULL)
		return -ENOMEM;
	rc = open_to_serve(region, folder, file, options, error);
	if (rc != 0) {
		region_destroy(region);
		return rc;
	}
	*ret_region = region;
	return 0;
}

/* --- going on with what another manager left ----------------------------------------------------- */

/* From the live allocation; without one, which there always is of a changed region, as a clean file says. */
static int take_pages(struct pool_region *region, const struct stat *st, bool *ret_published,
	struct rgm_error *error)
{
	bool clean = region->super.state == POOL_CLEAN;
	int rc;

	if (!clean && memcmp(region->super.incarnation, region->incarnation,
			      sizeof(region->incarnation)) != 0)
		return refuse_dirty(region, error);
	rc = region_live_load(region, (uint64_t)st->st_size, ret_published, error);
	if (rc == 0)
		return region_place_map(region, error);
	if (rc != -ENOENT && rc != -ESTALE)
		return rc;
	region->published = true;
	if (clean)
		return region_map_load(region, error);
	pool_fail(error, RGM_EDIRTY,
		"region file '%s' was being changed, and shared memory '%s' with its allocation is "
		"lost",
		region->name, region->live_name != NULL ? region->live_name : "");
	pool_hint(error, "drop the dimension and load it again");
	return RGM_EDIRTY;
}

static int open_to_go_on(struct pool_region *region, int folder, const char *file,
	const struct pool_region_options *options, bool *ret_published, struct rgm_error *error)
{
	struct stat st = {0};
	bool twin = true;
	int rc = take_file(region, folder, file, options, &st, &twin, error);

	if (rc == 0)
		rc = take_max_bytes(region, options->max_bytes, error);
	if (rc == 0)
		rc = take_pages(region, &st, ret_published, error);
	if (rc != 0)
		return rc;
	/* A dirty mark that is not whole is made again before the next change. */
	region->changed = region->live != NULL;
	if (region->super.state == POOL_DIRTY && twin)
		atomic_store_explicit(&region->dirty, true, memory_order_relaxed);
	return 0;
}

int pool_region_take_over(int folder, const char *file, const struct pool_region_options *options,
	struct pool_region **ret_region, bool *ret_published, struct rgm_error *error)
{
	struct pool_region *region;
	bool published = true;
	int rc = region_check_name(file, error);

	if (rc != 0)
		return rc;
	region = region_new_for(file, options, error);
	if (region == NULL)
		return -ENOMEM;
	rc = open_to_go_on(region, folder, file, options, &published, error);
	if (rc != 0) {
		region_destroy(region);
		return rc;
	}
	*ret_published = published;
	*ret_region = region;
	return 0;
}

/* --- to check ------------------------------------------------------------------------------------ */

int pool_region_open_check(
	const char *path, struct pool_region **ret_region, struct rgm_error *error)
{
	struct pool_region *region = region_new(path, error);
	struct stat st = {0};
	bool twin;
	int rc;

	if (region == NULL)
		return -ENOMEM;
	region->check = true;
	rc = open_file(region, AT_FDCWD, path, O_RDONLY, &st, error);
	if (rc == 0)
		rc = lock_to_check(region, error);
	if (rc == 0)
		rc = take_super(region, &st, &twin, error);
	if (rc == 0 && region->super.state == POOL_DIRTY)
		atomic_store_explicit(&region->dirty, true, memory_order_relaxed);
	else if (rc == 0)
		rc = region_map_load(region, error);
	if (rc != 0) {
		region_destroy(region);
		return rc;
	}
	*ret_region = region;
	return 0;
}
