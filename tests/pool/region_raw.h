/* SPDX-License-Identifier: Apache-2.0 */
/* Region files from outside: their superblocks as bytes, for tests that damage, forge and replace. */
#ifndef TESTS_POOL_REGION_RAW_H
#define TESTS_POOL_REGION_RAW_H

#include "tests/pool/region_fixture.h"

#define SLOTS 2u
/* Superblocks as they stand in the file. */
struct header {
	struct pool_superblock slots[SLOTS];
};

static inline int raw_open(const char *file)
{
	int raw = openat(folder, file, O_RDWR | O_CLOEXEC);

	assert_true(raw >= 0);
	return raw;
}

static inline struct header raw_read(int raw)
{
	struct header header;

	for (unsigned int i = 0; i < SLOTS; i++)
		assert_int_equal(pread(raw, &header.slots[i], POOL_SLOT_BYTES,
					 (off_t)i * (off_t)POOL_SLOT_DISTANCE),
			POOL_SLOT_BYTES);
	return header;
}

static inline void raw_write_slot(int raw, unsigned int slot, const void *super)
{
	assert_int_equal(
		pwrite(raw, super, POOL_SLOT_BYTES, (off_t)slot * (off_t)POOL_SLOT_DISTANCE),
		POOL_SLOT_BYTES);
}

static inline void raw_write(int raw, const struct header *header)
{
	for (unsigned int i = 0; i < SLOTS; i++)
		raw_write_slot(raw, i, &header->slots[i]);
}

static inline void seal(struct pool_superblock *super)
{
	super->crc32c = pool_crc32c(0, super, offsetof(struct pool_superblock, crc32c));
}

static inline void flip(void *data, size_t bit)
{
	((uint8_t *)data)[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* A clean file with a root and ten pages beside it. */
static inline struct pool_root make_clean(const char *file)
{
	struct pool_region *region = create(file);
	struct pool_root root = make_root(region, 6);
	uint64_t page = allocate(region, 10);

	write_pages(region, page, 10, 66);
	close_clean(region, &root);
	return root;
}

static inline void make_dirty(const char *file)
{
	struct rgm_error error;
	struct pool_region *region;

	make_clean(file);
	region = reopen(file);
	assert_int_equal(pool_region_mark_dirty(region, &error), 0);
	pool_region_close(region);
}

static inline void expect_right(
	struct pool_region *region, const struct pool_root *root, uint32_t damaged)
{
	struct pool_region_info info = check_info(region);

	expect_root(&info.root, root);
	assert_int_equal(info.damaged_slots, damaged);
	assert_int_equal(info.used_pages, 11);
}

/* Served with the right root and the right pages. */
static inline void served_root(const char *file, const struct pool_root *root, uint32_t damaged)
{
	struct pool_region *region = reopen(file);

	expect_right(region, root, damaged);
	pool_region_close(region);
}

/* … and the right content. */
static inline void served_right(const char *file, const struct pool_root *root, uint32_t damaged)
{
	struct pool_region *region = reopen(file);

	expect_right(region, root, damaged);
	expect_pages(region, root->offset / PAGE, 1, 6);
	expect_pages(region, root->offset / PAGE + 1, 10, 66);
	pool_region_close(region);
}

#endif
