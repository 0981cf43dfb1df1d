/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of regions share: a folder of their own, options, content that can be told. */
#ifndef TESTS_POOL_REGION_FIXTURE_H
#define TESTS_POOL_REGION_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool/crc32c.h"
#include "pool/region.h"

#define MB   (1ull << 20)
#define PAGE 4096ull
#define KIND 1u
#define ID   42u

static int folder = -1;
static char folder_path[64];

static const uint8_t instance_a[16] = "instance-A-0123";
static const uint8_t instance_b[16] = "instance-B-0123";
static const uint8_t run_1[16] = "run-1";
static const uint8_t run_2[16] = "run-2";

static const struct pool_region_options usual = {
	.id = ID,
	.kind = KIND,
	.max_bytes = 256 * MB,
	.instance_id = instance_a,
	.incarnation = run_1,
};

static inline int make_folder(const char *where)
{
	snprintf(folder_path, sizeof(folder_path), "%s/regionmgr-test-region-XXXXXX", where);
	if (mkdtemp(folder_path) == NULL)
		return -1;
	folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return folder < 0 ? -1 : 0;
}

/* Every file, then the folder. */
static inline int remove_folder(void)
{
	DIR *listing = fdopendir(folder);
	struct dirent *entry;

	if (listing == NULL)
		return -1;
	while ((entry = readdir(listing)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(listing), entry->d_name, 0);
	closedir(listing);
	return rmdir(folder_path);
}

static inline const char *path_of(const char *file)
{
	static char path[192];

	snprintf(path, sizeof(path), "%s/%s", folder_path, file);
	return path;
}

/* Content of a page that says which page it is. */
static inline void fill_page(uint64_t *words, uint64_t page, uint64_t salt)
{
	for (size_t i = 0; i < PAGE / 8; i++)
		words[i] = (page * 512 + i) * 0x9e3779b97f4a7c15ull ^ salt;
}

static inline void write_pages(
	struct pool_region *region, uint64_t page, uint64_t count, uint64_t salt)
{
	uint64_t words[PAGE / 8];
	struct rgm_error error = {0};

	for (uint64_t i = 0; i < count; i++) {
		fill_page(words, page + i, salt);
		if (pool_region_write(region, (page + i) * PAGE, words, PAGE, &error) != 0)
			fail_msg("%s", error.message);
	}
}

static inline void expect_pages(
	struct pool_region *region, uint64_t page, uint64_t count, uint64_t salt)
{
	uint64_t words[PAGE / 8], right[PAGE / 8];
	struct rgm_error error = {0};

	for (uint64_t i = 0; i < count; i++) {
		fill_page(right, page + i, salt);
		if (pool_region_read(region, (page + i) * PAGE, words, PAGE, &error) != 0)
			fail_msg("%s", error.message);
		assert_memory_equal(words, right, PAGE);
	}
}

static inline struct pool_region *create(const char *file)
{
	struct pool_region *region = NULL;
	struct rgm_error error = {0};

	if (pool_region_create(folder, file, &usual, &region, &error) != 0)
		fail_msg("%s", error.message);
	assert_non_null(region);
	return region;
}

static inline struct pool_region *reopen(const char *file)
{
	struct pool_region *region = NULL;
	struct rgm_error error = {0};

	if (pool_region_open(folder, file, &usual, &region, &error) != 0)
		fail_msg("%s", error.message);
	assert_non_null(region);
	return region;
}

/* An open that must fail with this code and a sentence with these words. */
static inline void refused(
	const char *file, const struct pool_region_options *options, int code, const char *words)
{
	struct pool_region *region = NULL;
	struct rgm_error error = {0};
	int rc = pool_region_open(folder, file, options, &region, &error);

	if (rc != code)
		fail_msg("%s: %d instead of %d: %s", file, rc, code, error.message);
	assert_int_equal(error.code, code);
	assert_null(region);
	assert_non_null(strstr(error.message, file));
	if (strstr(error.message, words) == NULL)
		fail_msg("'%s' is not in: %s", words, error.message);
}

static inline void close_clean(struct pool_region *region, const struct pool_root *root)
{
	struct rgm_error error = {0};

	if (pool_region_close_clean(region, root, &error) != 0)
		fail_msg("%s", error.message);
}

static inline uint64_t allocate(struct pool_region *region, uint64_t count)
{
	struct rgm_error error = {0};
	uint64_t page = 0;

	if (pool_region_allocate(region, count, &page, &error) != 0)
		fail_msg("%s", error.message);
	assert_true(page >= POOL_FIRST_PAGE);
	return page;
}

/* What info tells must add up, and agree with the walk over the used runs. */
static inline struct pool_region_info check_info(struct pool_region *region)
{
	struct pool_region_info info;
	uint64_t cursor = 0, page, count, used = 0, last = 0;

	pool_region_info(region, &info);
	assert_int_equal(info.used_pages + info.own_pages + info.free_pages, info.pages);
	assert_int_equal(info.pages * PAGE + POOL_HEADER_BYTES, info.bytes);
	assert_true(info.bytes <= info.max_bytes);
	while (pool_region_next_used(region, &cursor, &page, &count)) {
		assert_true(page >= POOL_FIRST_PAGE && page >= last && count > 0);
		last = page + count;
		used += count;
	}
	assert_int_equal(used, info.used_pages);
	assert_true(last * PAGE <= info.bytes);
	return info;
}

static inline void expect_root(const struct pool_root *root, const struct pool_root *right)
{
	assert_int_equal(root->offset, right->offset);
	assert_int_equal(root->bytes, right->bytes);
	assert_int_equal(root->crc32c, right->crc32c);
	assert_int_equal(root->version, right->version);
	assert_int_equal(root->generation, right->generation);
}

/* A root of one page, written. */
static inline struct pool_root make_root(struct pool_region *region, uint64_t version)
{
	uint64_t words[PAGE / 8];
	uint64_t page = allocate(region, 1);

	fill_page(words, page, version);
	write_pages(region, page, 1, version);
	return (struct pool_root){
		.offset = page * PAGE,
		.bytes = PAGE,
		.crc32c = pool_crc32c(0, words, PAGE),
		.version = version,
		.generation = version + 100,
	};
}

#endif
