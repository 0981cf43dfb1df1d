/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool/region_super.c, region_open.c, region_map.c: whatever somebody did to a region file, it is
 * repaired, or refused with a sentence, and never served with wrong data. The cases of format.h.
 */
#define _GNU_SOURCE 1

#include "tests/pool/region_fixture.h"

#include <byteswap.h>
#include <stdbool.h>

#include "tests/pool/sanitizers.h"
#include "tests/pool/seed.h"

#define SLOTS 2u
/* Every bit; with a sanitizer, which finds nothing more in the others, each of the eight in turn. */
#ifdef SHADOW_MEMORY
#define BIT_STEP 17
#else
#define BIT_STEP 1
#endif

/* Superblocks as they stand in the file. */
struct header {
	struct pool_superblock slots[SLOTS];
};

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

static int raw_open(const char *file)
{
	int raw = openat(folder, file, O_RDWR | O_CLOEXEC);

	assert_true(raw >= 0);
	return raw;
}

static struct header raw_read(int raw)
{
	struct header header;

	for (unsigned int i = 0; i < SLOTS; i++)
		assert_int_equal(pread(raw, &header.slots[i], POOL_SLOT_BYTES,
					 (off_t)i * (off_t)POOL_SLOT_DISTANCE),
			POOL_SLOT_BYTES);
	return header;
}

static void raw_write_slot(int raw, unsigned int slot, const void *super)
{
	assert_int_equal(
		pwrite(raw, super, POOL_SLOT_BYTES, (off_t)slot * (off_t)POOL_SLOT_DISTANCE),
		POOL_SLOT_BYTES);
}

static void raw_write(int raw, const struct header *header)
{
	for (unsigned int i = 0; i < SLOTS; i++)
		raw_write_slot(raw, i, &header->slots[i]);
}

static void seal(struct pool_superblock *super)
{
	super->crc32c = pool_crc32c(0, super, offsetof(struct pool_superblock, crc32c));
}

static void flip(void *data, size_t bit)
{
	((uint8_t *)data)[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* A clean file with a root and ten pages beside it. */
static struct pool_root make_clean(const char *file)
{
	struct pool_region *region = create(file);
	struct pool_root root = make_root(region, 6);
	uint64_t page = allocate(region, 10);

	write_pages(region, page, 10, 66);
	close_clean(region, &root);
	return root;
}

static void make_dirty(const char *file)
{
	struct rgm_error error;
	struct pool_region *region;

	make_clean(file);
	region = reopen(file);
	assert_int_equal(pool_region_mark_dirty(region, &error), 0);
	pool_region_close(region);
}

static void expect_right(struct pool_region *region, const struct pool_root *root, uint32_t damaged)
{
	struct pool_region_info info = check_info(region);

	expect_root(&info.root, root);
	assert_int_equal(info.damaged_slots, damaged);
	assert_int_equal(info.used_pages, 11);
}

/* Served with the right root and the right pages. */
static void served_root(const char *file, const struct pool_root *root, uint32_t damaged)
{
	struct pool_region *region = reopen(file);

	expect_right(region, root, damaged);
	pool_region_close(region);
}

/* … and the right content. */
static void served_right(const char *file, const struct pool_root *root, uint32_t damaged)
{
	struct pool_region *region = reopen(file);

	expect_right(region, root, damaged);
	expect_pages(region, root->offset / PAGE, 1, 6);
	expect_pages(region, root->offset / PAGE + 1, 10, 66);
	pool_region_close(region);
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

/* Checksums are right; fields are not. Each is enough to make the slot invalid. */
static void fields_that_make_no_sense(void **state)
{
	make_clean("fields");
	int raw = raw_open("fields");
	const struct header right = raw_read(raw);

	(void)state;
	for (int i = 0;; i++) {
		struct header header = right;

		for (unsigned int slot = 0; slot < SLOTS; slot++) {
			struct pool_superblock *super = &header.slots[slot];

			switch (i) {
			case 0:
				super->sequence = slot == 0 ? 0 : UINT64_MAX;
				break;
			case 1:
				super->file_bytes = 0;
				break;
			case 2:
				super->file_bytes += 4096;
				break;
			case 3:
				super->file_bytes = super->max_bytes + POOL_EXTENT_BYTES;
				break;
			case 4:
				super->max_bytes = 1ull << 63;
				break;
			case 5:
				super->max_bytes += 1;
				break;
			case 6:
				super->root_offset = 4096;
				break;
			case 7:
				super->root_offset = super->file_bytes;
				break;
			case 8:
				super->root_bytes = UINT64_MAX - super->root_offset + 1;
				break;
			case 9:
				super->root_bytes = 0;
				break;
			case 10:
				super->map_offset += 1;
				break;
			case 11:
				super->map_offset = 1ull << 62;
				break;
			case 12:
				super->map_bytes -= 1;
				break;
			case 13:
				super->map_bytes = 1ull << 60;
				break;
			case 14:
				super->map_offset = 0;
				break;
			case 15:
				super->reserved[3939] = 1;
				break;
			case 16:
				super->state = 3;
				break;
			case 17:
				super->state = POOL_DIRTY; /* with a root */
				break;
			case 18:
				super->root_offset = super->map_offset;
				break;
			case 19:
				super->root_offset = 0; /* with bytes */
				break;
			default:
				close(raw);
				assert_int_equal(i, 20);
				return;
			}
			seal(super);
		}
		raw_write(raw, &header);
		refused("fields", &usual, RGM_ECORRUPT, "no valid superblock");
	}
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
		cmocka_unit_test(pairs_of_superblocks),
		cmocka_unit_test(fields_that_make_no_sense),
		cmocka_unit_test(forged),
		cmocka_unit_test(other_formats),
		cmocka_unit_test(another_file_than_expected),
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
