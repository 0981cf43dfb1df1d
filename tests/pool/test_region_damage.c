/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool/region*.c: whatever somebody did to a region file, it is repaired, or refused with a sentence,
 * and never served with wrong data. What superblocks can say is in test_region_super.c.
 */
#define _GNU_SOURCE 1

#include "tests/pool/region_raw.h"

#include "tests/pool/sanitizers.h"
#include "tests/pool/seed.h"

/* Every bit; with a sanitizer, which finds nothing more in the others, each of the eight in turn. */
#ifdef SHADOW_MEMORY
#define BIT_STEP 17
#else
#define BIT_STEP 1
#endif

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

/* Every bit of both superblocks of a clean file: repaired from the other one. */
static void each_bit_of_a_clean_file(void **state)
{
	struct pool_root root = make_clean("bits");
	int raw = raw_open("bits");
	const struct header right = raw_read(raw);

	(void)state;
	for (unsigned int slot = 0; slot < SLOTS; slot++) {
		for (size_t bit = 0; bit < POOL_SLOT_BYTES * 8; bit += BIT_STEP) {
			struct pool_superblock damaged = right.slots[slot];
			struct header after;

			flip(&damaged, bit);
			raw_write_slot(raw, slot, &damaged);
			served_root("bits", &root, 1);
			/* Repaired: the next open passes over nothing. */
			after = raw_read(raw);
			assert_memory_equal(
				&after.slots[1 - slot], &right.slots[1 - slot], POOL_SLOT_BYTES);
			assert_int_equal(
				after.slots[slot].sequence, right.slots[1 - slot].sequence + 1);
			if (bit % 101 == 0)
				served_right("bits", &root, 0);
			raw_write(raw, &right);
		}
	}
	close(raw);
}

/* Every bit of both superblocks of a dirty file: never served, by whatever name it is refused. */
static void each_bit_of_a_dirty_file(void **state)
{
	int raw;
	struct header right;

	(void)state;
	make_dirty("dirty-bits");
	raw = raw_open("dirty-bits");
	right = raw_read(raw);
	refused("dirty-bits", &usual, RGM_EDIRTY, "not closed cleanly");
	for (unsigned int slot = 0; slot < SLOTS; slot++) {
		for (size_t bit = 0; bit < POOL_SLOT_BYTES * 8; bit += BIT_STEP) {
			struct pool_superblock damaged = right.slots[slot];

			flip(&damaged, bit);
			raw_write_slot(raw, slot, &damaged);
			refused("dirty-bits", &usual, RGM_ECORRUPT, "is damaged");
			raw_write(raw, &right);
		}
	}
	close(raw);
}

static void a_bit_in_each_superblock(void **state)
{
	int raw;
	struct header right;

	(void)state;
	make_clean("both");
	raw = raw_open("both");
	right = raw_read(raw);
	for (int i = 0; i < 5000; i++) {
		struct header damaged = right;

		/* Not in the first bytes, where a file of another format would be different. */
		for (unsigned int slot = 0; slot < SLOTS; slot++)
			flip(&damaged.slots[slot],
				192 + (size_t)seed_below(&random_state, POOL_SLOT_BYTES * 8 - 192));
		raw_write(raw, &damaged);
		refused("both", &usual, RGM_ECORRUPT, "no valid superblock");
	}
	/* Noise, zeros, and a magic of nobody's. */
	memset(&right, 0, sizeof(right));
	raw_write(raw, &right);
	refused("both", &usual, RGM_ECORRUPT, "no valid superblock");
	for (size_t i = 0; i < sizeof(right); i++)
		((uint8_t *)&right)[i] = (uint8_t)seed_next(&random_state);
	raw_write(raw, &right);
	refused("both", &usual, RGM_ECORRUPT, "no valid superblock");
	close(raw);
}

static void each_bit_of_the_map(void **state)
{
	struct pool_root root = make_clean("map-bits");
	int raw = raw_open("map-bits");
	const struct header right = raw_read(raw);
	const uint64_t offset = right.slots[0].map_offset, bytes = right.slots[0].map_bytes;
	uint8_t map[PAGE];

	(void)state;
	assert_true(bytes > 0 && bytes < PAGE);
	assert_int_equal(pread(raw, map, PAGE, (off_t)offset), PAGE);
	for (size_t bit = 0; bit < bytes * 8; bit++) {
		flip(map, bit);
		assert_int_equal(pwrite(raw, map, PAGE, (off_t)offset), PAGE);
		refused("map-bits", &usual, RGM_ECORRUPT, "wrong checksum");
		flip(map, bit);
	}
	flip(map, PAGE * 8 - 1); /* behind the map: nobody's */
	assert_int_equal(pwrite(raw, map, PAGE, (off_t)offset), PAGE);
	served_right("map-bits", &root, 0);
	close(raw);
}

/* A map with a right checksum that frees what is in use. */
static void a_map_that_lies(void **state)
{
	struct pool_root root = make_clean("lie");
	int raw = raw_open("lie");
	const struct header right = raw_read(raw);
	const uint64_t places[] = {right.slots[0].map_offset, root.offset};
	const char *const words[] = {"its own pages", "the root"};
	uint8_t map[PAGE];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct header header = right;

		assert_int_equal(pread(raw, map, PAGE, (off_t)right.slots[0].map_offset), PAGE);
		flip(map, (size_t)(places[i] / PAGE - POOL_FIRST_PAGE));
		assert_int_equal(pwrite(raw, map, PAGE, (off_t)right.slots[0].map_offset), PAGE);
		for (unsigned int slot = 0; slot < SLOTS; slot++) {
			header.slots[slot].map_crc32c =
				pool_crc32c(0, map, (size_t)right.slots[0].map_bytes);
			seal(&header.slots[slot]);
		}
		raw_write(raw, &header);
		refused("lie", &usual, RGM_ECORRUPT, words[i]);
		flip(map, (size_t)(places[i] / PAGE - POOL_FIRST_PAGE));
		assert_int_equal(pwrite(raw, map, PAGE, (off_t)right.slots[0].map_offset), PAGE);
	}
	close(raw);
}

static void truncated_and_lengthened(void **state)
{
	struct pool_root root = make_clean("length");
	int raw = raw_open("length");
	const struct header right = raw_read(raw);
	const off_t bytes = (off_t)right.slots[0].file_bytes;
	struct pool_region *region;
	struct rgm_error error;
	char words[64];

	(void)state;
	/* Longer: what lies behind means nothing, and goes. */
	assert_int_equal(ftruncate(raw, bytes + 12345), 0);
	assert_int_equal(pwrite(raw, "garbage", 7, bytes + 5000), 7);
	assert_int_equal(pool_region_open_check(path_of("length"), &region, &error), 0);
	assert_int_equal(check_info(region).bytes, bytes);
	pool_region_close(region);
	assert_int_equal(lseek(raw, 0, SEEK_END), bytes + 12345);
	served_right("length", &root, 0);
	assert_int_equal(lseek(raw, 0, SEEK_END), bytes);
	region = reopen("length");
	write_pages(region, allocate(region, 2000), 2000, 5);
	close_clean(region, &root);
	region = reopen("length");
	assert_int_equal(check_info(region).used_pages, 2011);
	pool_region_close(region);

	assert_int_equal(ftruncate(raw, bytes - 1), 0);
	snprintf(words, sizeof(words), "it has %jd bytes", (intmax_t)bytes - 1);
	refused("length", &usual, RGM_ECORRUPT, words);
	refused("length", &usual, RGM_ECORRUPT, "truncated");
	assert_int_equal(ftruncate(raw, 2 << 20), 0);
	refused("length", &usual, RGM_ECORRUPT, "truncated");
	for (off_t cut = (2 << 20) - 1; cut > 0; cut /= 2) {
		assert_int_equal(ftruncate(raw, cut), 0);
		refused("length", &usual, RGM_ECORRUPT, "too few for a region");
	}
	assert_int_equal(ftruncate(raw, 0), 0);
	refused("length", &usual, RGM_ECORRUPT, "has 0 bytes");
	assert_int_equal(pool_region_open_check(path_of("length"), &region, &error), RGM_ECORRUPT);
	close(raw);
}

#ifndef POOL_RACE_BUILD
/* There a read goes through a mapping, and the truncation by somebody else is a SIGBUS. */
static void truncated_while_served(void **state)
{
	struct pool_root root = make_clean("cut");
	struct pool_region *region = reopen("cut");
	struct rgm_error error;
	char data[16];

	(void)state;
	assert_int_equal(truncate(path_of("cut"), (off_t)root.offset), 0);
	assert_int_equal(
		pool_region_read(region, root.offset, data, sizeof(data), &error), RGM_ECORRUPT);
	assert_non_null(strstr(error.message, "truncated"));
	pool_region_close(region);
}
#endif

static void files_that_are_no_files(void **state)
{
	struct pool_region *region;
	struct rgm_error error;

	(void)state;
	make_clean("real");
	assert_int_equal(symlinkat("real", folder, "symbolic"), 0);
	refused("symbolic", &usual, RGM_EREFUSED, "symbolic link");
	assert_int_equal(
		pool_region_open_check(path_of("symbolic"), &region, &error), RGM_EREFUSED);
	assert_int_equal(linkat(folder, "real", folder, "second", 0), 0);
	refused("second", &usual, RGM_EREFUSED, "has 2 names");
	refused("real", &usual, RGM_EREFUSED, "has 2 names");
	assert_int_equal(unlinkat(folder, "second", 0), 0);
	assert_int_equal(mkfifoat(folder, "pipe", 0600), 0);
	refused("pipe", &usual, RGM_EREFUSED, "not a regular file");
	assert_int_equal(mkdirat(folder, "folder", 0700), 0);
	refused("folder", &usual, -EISDIR, "directory");
	assert_int_equal(unlinkat(folder, "folder", AT_REMOVEDIR), 0);
	assert_int_equal(fchmodat(folder, "real", 0620, 0), 0);
	refused("real", &usual, RGM_EREFUSED, "mode 0620");
	assert_int_equal(fchmodat(folder, "real", 0602, 0), 0);
	refused("real", &usual, RGM_EREFUSED, "mode 0602");
	assert_int_equal(fchmodat(folder, "real", 0640, 0), 0);
	pool_region_close(reopen("real"));
	/* A symbolic link is not created through, either. */
	assert_int_equal(symlinkat("nowhere", folder, "dangling"), 0);
	assert_int_equal(pool_region_create(folder, "dangling", &usual, &region, &error), -EEXIST);
	assert_int_equal(faccessat(folder, "nowhere", F_OK, 0), -1);
}

static void of_another_user(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("SKIP of_another_user: needs root\n");
		skip();
	}
	make_clean("owned");
	assert_int_equal(fchownat(folder, "owned", 65534, 65534, 0), 0);
	refused("owned", &usual, RGM_EREFUSED, "belongs to user 65534, not to user 0");
}

/* A check says how many superblocks are damaged, and repairs nothing. */
static void checks_tell_and_touch_nothing(void **state)
{
	struct pool_root root = make_clean("look");
	int raw = raw_open("look");
	struct header right = raw_read(raw), after;
	struct pool_region_info info;
	struct pool_region *region;
	struct rgm_error error;

	(void)state;
	flip(&right.slots[1], 1234);
	raw_write(raw, &right);
	assert_int_equal(pool_region_open_check(path_of("look"), &region, &error), 0);
	info = check_info(region);
	assert_int_equal(info.damaged_slots, 1);
	expect_root(&info.root, &root);
	pool_region_close(region);
	after = raw_read(raw);
	assert_memory_equal(&after, &right, sizeof(after));
	close(raw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_bit_of_a_clean_file),
		cmocka_unit_test(each_bit_of_a_dirty_file),
		cmocka_unit_test(a_bit_in_each_superblock),
		cmocka_unit_test(each_bit_of_the_map),
		cmocka_unit_test(a_map_that_lies),
		cmocka_unit_test(truncated_and_lengthened),
#ifndef POOL_RACE_BUILD
		cmocka_unit_test(truncated_while_served),
#endif
		cmocka_unit_test(files_that_are_no_files),
		cmocka_unit_test(of_another_user),
		cmocka_unit_test(checks_tell_and_touch_nothing),
	};

	random_state = seed_get("pool/region_damage");
	return cmocka_run_group_tests_name("pool/region_damage", tests, setup, teardown);
}
