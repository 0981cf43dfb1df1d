/* SPDX-License-Identifier: Apache-2.0 */
/* pool/region_super.c: which superblock counts (the cases of format.h), and that nothing which one
 * could say is believed without being checked. */
#define _GNU_SOURCE 1

#include "tests/pool/region_raw.h"

#include <byteswap.h>
#include <stdbool.h>

#include "tests/pool/seed.h"

static uint64_t random_state;

/* In memory: some of this is opened a hundred thousand times. */
static int setup(void **state)
{
	(void)state;
	return make_folder("/dev/shm");
}

static int teardown(void **state)
{
	(void)state;
	return remove_folder();
}

/* The table of format.h, case by case. */
static void pairs_of_superblocks(void **state)
{
	struct pool_root root = make_clean("pairs");
	int raw = raw_open("pairs");
	const struct pool_superblock clean = raw_read(raw).slots[0];
	struct pool_superblock dirty, low, high;

	(void)state;
	make_dirty("pairs-dirty");
	int raw_dirty = raw_open("pairs-dirty");
	dirty = raw_read(raw_dirty).slots[0];
	close(raw_dirty);
	for (unsigned int swap = 0; swap < 2; swap++) {
		unsigned int a = swap, b = 1 - swap;

		low = clean, high = clean;
		low.sequence = 100, high.sequence = 101;
		seal(&low), seal(&high);
		raw_write_slot(raw, a, &low), raw_write_slot(raw, b, &high);
		served_right("pairs", &root, 0);

		/* Died while it was marked. */
		high = dirty, high.sequence = 101;
		seal(&high);
		raw_write_slot(raw, b, &high);
		refused("pairs", &usual, RGM_EDIRTY, "not closed cleanly");

		/* Died in the clean end: the older one says dirty, and is written anew. */
		low = dirty, low.sequence = 100, high = clean, high.sequence = 101;
		seal(&low), seal(&high);
		raw_write_slot(raw, a, &low), raw_write_slot(raw, b, &high);
		served_right("pairs", &root, 0);
		assert_int_equal(raw_read(raw).slots[a].state, POOL_CLEAN);
		assert_int_equal(raw_read(raw).slots[a].sequence, 102);

		high = dirty, high.sequence = 101;
		seal(&low), seal(&high);
		raw_write_slot(raw, a, &low), raw_write_slot(raw, b, &high);
		refused("pairs", &usual, RGM_EDIRTY, "not closed cleanly");

		/* The same number twice; two dimensions; the file of another instance in one. */
		low = clean, high = clean;
		low.sequence = high.sequence = 100;
		seal(&low), seal(&high);
		raw_write_slot(raw, a, &low), raw_write_slot(raw, b, &high);
		refused("pairs", &usual, RGM_ECORRUPT, "have number 100");
		high.sequence = 101, high.dimension_id = 43;
		seal(&high);
		raw_write_slot(raw, b, &high);
		refused("pairs", &usual, RGM_ECORRUPT, "different dimensions");
		high.dimension_id = low.dimension_id, high.instance_id[3] ^= 1;
		seal(&high);
		raw_write_slot(raw, b, &high);
		refused("pairs", &usual, RGM_ECORRUPT, "different dimensions");
	}
	close(raw);
}

/* One field of both superblocks, set or added to. */
static const struct {
	size_t offset;
	size_t bytes;
	bool add;
	uint64_t value;
} nonsense[] = {
#define SET(field, value)                                                                          \
	{                                                                                          \
		offsetof(struct pool_superblock, field),                                           \
			sizeof(((struct pool_superblock *)0)->field), false, value                 \
	}
#define ADD(field, value)                                                                          \
	{                                                                                          \
		offsetof(struct pool_superblock, field),                                           \
			sizeof(((struct pool_superblock *)0)->field), true, value                  \
	}
	SET(sequence, 0),
	SET(sequence, UINT64_MAX),
	SET(state, 0),
	SET(state, 3),
	SET(state, POOL_DIRTY), /* with a root */
	SET(file_bytes, 0),
	ADD(file_bytes, 4096),
	SET(file_bytes, 1ull << 43), /* beyond max_bytes */
	SET(max_bytes, 1ull << 63),
	ADD(max_bytes, 1),
	SET(root_offset, 0), /* with bytes */
	SET(root_offset, 4096),
	ADD(root_offset, 1ull << 43),
	SET(root_bytes, 0),
	SET(root_bytes, UINT64_MAX),
	SET(root_bytes, UINT64_MAX - 2 * MB),
	SET(map_offset, 0),
	ADD(map_offset, 1),
	SET(map_offset, 1ull << 62),
	ADD(map_bytes, UINT64_MAX), /* less by one */
	SET(map_bytes, 1ull << 60),
	SET(reserved[3939], 1),
#undef SET
#undef ADD
};

/* Checksums are right; a field is not. Each is enough to make the slot invalid. */
static void fields_that_make_no_sense(void **state)
{
	make_clean("fields");
	int raw = raw_open("fields");
	const struct header right = raw_read(raw);

	(void)state;
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		struct header header = right;

		for (unsigned int slot = 0; slot < SLOTS; slot++) {
			char *field = (char *)&header.slots[slot] + nonsense[i].offset;
			uint64_t value = 0;

			if (nonsense[i].add)
				memcpy(&value, field, nonsense[i].bytes);
			value += nonsense[i].value;
			memcpy(field, &value, nonsense[i].bytes);
			seal(&header.slots[slot]);
		}
		raw_write(raw, &header);
		refused("fields", &usual, RGM_ECORRUPT, "no valid superblock");
	}
	/* The root where the map is. */
	struct header header = right;

	for (unsigned int slot = 0; slot < SLOTS; slot++) {
		header.slots[slot].root_offset = header.slots[slot].map_offset;
		seal(&header.slots[slot]);
	}
	raw_write(raw, &header);
	refused("fields", &usual, RGM_ECORRUPT, "no valid superblock");
	close(raw);
}

/* Anything at all in the fields, with right checksums: no crash, and what is served adds up. */
static void forged(void **state)
{
	static const size_t fields[] = {24, 32, 80, 88, 96, 104, 136, 144, 132, 128};
	make_clean("forged");
	int raw = raw_open("forged");
	const struct header right = raw_read(raw);
	int served = 0;

	(void)state;
	for (int i = 0; i < 4000; i++) {
		struct header header = right;
		struct pool_region *region = NULL;
		struct rgm_error error;

		assert_int_equal(ftruncate(raw, (off_t)(64 * MB)), 0);
		for (uint64_t n = seed_below(&random_state, 4); n < 4; n++) {
			size_t at = fields[seed_below(&random_state, 10)];
			uint64_t value = seed_next(&random_state) >> seed_below(&random_state, 64);

			if (seed_below(&random_state, 2) != 0)
				value &= ~(POOL_EXTENT_BYTES - 1);
			memcpy((char *)&header.slots[0] + at, &value,
				at == 128 || at == 132 ? 4 : 8);
		}
		/* The kind follows the state. */
		header.slots[0].kind = KIND;
		header.slots[1] = header.slots[0];
		header.slots[1].sequence++;
		seal(&header.slots[0]);
		seal(&header.slots[1]);
		raw_write(raw, &header);
		if (pool_region_open(folder, "forged", &usual, &region, &error) == 0) {
			check_info(region);
			pool_region_close(region);
			served++;
		} else {
			assert_non_null(strstr(error.message, "region file 'forged'"));
		}
	}
	print_message("%d of 4000 served\n", served);
	assert_true(served > 0);
	close(raw);
}

static struct timespec modified(int raw)
{
	struct stat st;

	assert_int_equal(fstat(raw, &st), 0);
	return st.st_mtim;
}

/* Whole files of another kind of program or machine are told, and left alone. */
static void other_formats(void **state)
{
	make_clean("format");
	int raw = raw_open("format");
	const struct header right = raw_read(raw);
	const char *words = "format version";

	(void)state;
	for (int i = 0; i < 8; i++) {
		struct header header = right;
		struct timespec before, after;

		for (unsigned int slot = 0; slot < SLOTS; slot++) {
			struct pool_superblock *super = &header.slots[slot];

			if (i == 0 || i == 6)
				super->format_version = 2;
			else if (i == 1 || i == 7)
				super->magic = POOL_MAGIC + (1ull << 56);
			else if (i == 2)
				super->page_bytes = 16384, words = "page size";
			else if (i == 3)
				super->extent_bytes = 1u << 22, words = "page size";
			else
				super->byte_order = bswap_32(POOL_BYTE_ORDER), words = "byte order";
			if (i == 5)
				super->magic = bswap_64(POOL_MAGIC);
			if (i < 6)
				seal(super); /* 6 and 7: they sum up elsewhere, or otherwise */
			if (i == 5)
				super->crc32c = bswap_32(super->crc32c);
		}
		if (i >= 6)
			words = "format version";
		raw_write(raw, &header);
		before = modified(raw);
		refused("format", &usual, RGM_EFORMAT, words);
		after = modified(raw);
		assert_memory_equal(&before, &after, sizeof(before));
		/* One of them is enough, if it is whole: who wrote it came later. */
		if (i < 6) {
			raw_write_slot(raw, 0, &right.slots[0]);
			refused("format", &usual, RGM_EFORMAT, words);
		}
	}
	close(raw);
}

static void another_file_than_expected(void **state)
{
	struct pool_region_options options = usual;
	struct pool_region *region = NULL;
	struct rgm_error error;

	(void)state;
	make_clean("mine");
	options.id = 43;
	refused("mine", &options, RGM_ECORRUPT, "is of dimension 42, not of 43");
	options = usual;
	options.kind = 7;
	refused("mine", &options, RGM_ECORRUPT, "is of kind 1, not of kind 7");
	options = usual;
	options.instance_id = instance_b;
	refused("mine", &options, RGM_ECORRUPT, "another instance");
	/* Replaced by another instance's, under the right name. */
	assert_int_equal(pool_region_create(folder, "theirs", &options, &region, &error), 0);
	pool_region_close(region);
	assert_int_equal(renameat(folder, "theirs", folder, "mine"), 0);
	refused("mine", &usual, RGM_ECORRUPT, "another instance");
	/* Another run of the same instance is what every restart is. */
	make_clean("run");
	options = usual;
	options.incarnation = run_2;
	assert_int_equal(pool_region_open(folder, "run", &options, &region, &error), 0);
	close_clean(region, &(struct pool_root){0});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_of_superblocks),
		cmocka_unit_test(fields_that_make_no_sense),
		cmocka_unit_test(forged),
		cmocka_unit_test(other_formats),
		cmocka_unit_test(another_file_than_expected),
	};

	random_state = seed_get("pool/region_super");
	return cmocka_run_group_tests_name("pool/region_super", tests, setup, teardown);
}
