/* SPDX-License-Identifier: Apache-2.0 */
/* Superblocks: what makes one valid, which of two counts, and writing them. The cases are drawn and
 * argued in format.h. */
#include "pool/region_internal.h"

#include <byteswap.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "pool/crc32c.h"
#include "pool/error.h"
#include "pool/os.h"

#define FAMILY_MASK 0x00ffffffffffffffull /* of the magic: all but the version */

enum slot_state {
	SLOT_VALID,
	SLOT_FOREIGN, /* whole, but of another format, byte order or page size */
	SLOT_DAMAGED,
};

struct slot {
	struct pool_superblock super;
	enum slot_state state;
	const char *foreign; /* what is different, if it looks like a region file at all */
};

static uint32_t checksum(const struct pool_superblock *super)
{
	return pool_crc32c(0, super, offsetof(struct pool_superblock, crc32c));
}

/* What tells it from a region file of ours; NULL: nothing. */
static const char *what_is_foreign(const struct pool_superblock *super)
{
	if (((bswap_64(super->magic) ^ POOL_MAGIC) & FAMILY_MASK) == 0 ||
		super->byte_order == bswap_32(POOL_BYTE_ORDER))
		return "byte order";
	if (((super->magic ^ POOL_MAGIC) & FAMILY_MASK) != 0)
		return NULL;
	if (super->magic != POOL_MAGIC || super->format_version != POOL_FORMAT_VERSION)
		return "format version";
	if (super->page_bytes != POOL_PAGE_BYTES || super->extent_bytes != POOL_EXTENT_BYTES)
		return "page size";
	return NULL;
}

static bool inside(const struct pool_superblock *super, uint64_t offset, uint64_t bytes)
{
	return offset >= POOL_HEADER_BYTES && offset <= super->file_bytes &&
	       bytes <= super->file_bytes - offset;
}

static bool root_makes_sense(const struct pool_superblock *super)
{
	if (super->root_offset == 0)
		return super->root_bytes == 0 && super->root_crc32c == 0;
	return super->root_bytes > 0 && inside(super, super->root_offset, super->root_bytes);
}

static bool map_makes_sense(const struct pool_superblock *super)
{
	uint64_t pages = region_extent_pages(super->file_bytes);

	if (pages == 0)
		return super->map_offset == 0 && super->map_bytes == 0 && super->map_crc32c == 0;
	return super->map_offset % POOL_PAGE_BYTES == 0 && super->map_bytes == pages / 8 &&
	       inside(super, super->map_offset, region_map_pages(pages) * POOL_PAGE_BYTES);
}

static bool all_zero(const uint8_t *data, size_t bytes)
{
	return data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0;
}

static bool root_meets_map(const struct pool_superblock *super)
{
	uint64_t map_pages = region_map_pages(region_extent_pages(super->file_bytes));
	uint64_t map_end = super->map_offset + map_pages * POOL_PAGE_BYTES;

	return super->root_offset < map_end &&
	       super->root_offset + super->root_bytes > super->map_offset;
}

/* Nothing that a right checksum could cover for makes a field safe to compute with. */
static bool fields_make_sense(const struct pool_superblock *super)
{
	if (super->sequence == 0 || super->sequence > INT64_MAX ||
		super->file_bytes < POOL_HEADER_BYTES ||
		super->file_bytes % POOL_EXTENT_BYTES != 0 ||
		super->file_bytes > super->max_bytes || super->max_bytes % POOL_EXTENT_BYTES != 0 ||
		super->max_bytes > POOL_MAX_REGION_BYTES ||
		!all_zero(super->reserved, sizeof(super->reserved)))
		return false;
	if (super->state == POOL_CLEAN)
		return root_makes_sense(super) && map_makes_sense(super) && !root_meets_map(super);
	return super->state == POOL_DIRTY && super->root_offset == 0 && super->root_bytes == 0 &&
	       super->root_crc32c == 0 && super->root_version == 0 && super->root_generation == 0 &&
	       super->map_offset == 0 && super->map_bytes == 0 && super->map_crc32c == 0;
}

static int read_slot(
	int file, const char *name, unsigned int number, struct slot *slot, struct rgm_error *error)
{
	uint64_t offset = (uint64_t)number * POOL_SLOT_DISTANCE;
	int rc = os_read_all(file, &slot->super, sizeof(slot->super), offset);
	uint32_t sum;

	if (rc != 0)
		return pool_fail_code(error, rc,
			"reading %u bytes at offset %" PRIu64 " of region file '%s'",
			POOL_SLOT_BYTES, offset, name);
	sum = checksum(&slot->super);
	slot->foreign = what_is_foreign(&slot->super);
	slot->state = SLOT_DAMAGED;
	if (slot->foreign != NULL) {
		if (sum == slot->super.crc32c || sum == bswap_32(slot->super.crc32c))
			slot->state = SLOT_FOREIGN;
	} else if (sum == slot->super.crc32c && slot->super.magic == POOL_MAGIC &&
		   slot->super.byte_order == POOL_BYTE_ORDER && fields_make_sense(&slot->super)) {
		slot->state = SLOT_VALID;
	}
	return 0;
}

static bool same_dimension(const struct pool_superblock *a, const struct pool_superblock *b)
{
	return a->dimension_id == b->dimension_id && a->kind == b->kind &&
	       memcmp(a->instance_id, b->instance_id, sizeof(a->instance_id)) == 0;
}

/* Everything but number and checksum. */
static bool same_content(struct pool_superblock a, const struct pool_superblock *b)
{
	a.sequence = b->sequence;
	a.crc32c = b->crc32c;
	return memcmp(&a, b, sizeof(a)) == 0;
}

static int fail_without_valid(const struct slot slots[2], const char *name, struct rgm_error *error)
{
	if (slots[0].foreign != NULL && slots[1].foreign != NULL)
		return pool_fail(error, RGM_EFORMAT,
			"region file '%s' is of another %s than this program knows", name,
			slots[0].foreign);
	return pool_fail(error, RGM_ECORRUPT, "region file '%s' has no valid superblock", name);
}

/* The higher number, in *ret_newest. */
static int choose_of_two(const struct slot slots[2], const char *name, unsigned int *ret_newest,
	struct rgm_error *error)
{
	const struct pool_superblock *a = &slots[0].super, *b = &slots[1].super;

	if (a->sequence == b->sequence)
		return pool_fail(error, RGM_ECORRUPT,
			"both superblocks of region file '%s' have number %" PRIu64, name,
			a->sequence);
	if (!same_dimension(a, b))
		return pool_fail(error, RGM_ECORRUPT,
			"the superblocks of region file '%s' belong to different dimensions", name);
	*ret_newest = a->sequence > b->sequence ? 0 : 1;
	return 0;
}

static int choose(const struct slot slots[2], const char *name, unsigned int *ret_newest,
	struct rgm_error *error)
{
	for (unsigned int i = 0; i < 2; i++)
		if (slots[i].state == SLOT_FOREIGN)
			return pool_fail(error, RGM_EFORMAT,
				"region file '%s' is of another %s than this program knows", name,
				slots[i].foreign);
	if (slots[0].state != SLOT_VALID && slots[1].state != SLOT_VALID)
		return fail_without_valid(slots, name, error);
	if (slots[0].state == SLOT_VALID && slots[1].state == SLOT_VALID)
		return choose_of_two(slots, name, ret_newest, error);
	*ret_newest = slots[0].state == SLOT_VALID ? 0 : 1;
	if (slots[*ret_newest].super.state == POOL_DIRTY)
		return pool_fail(error, RGM_ECORRUPT,
			"superblock %c of region file '%s' is damaged, and the other one says that "
			"the "
			"file was being changed",
			*ret_newest == 0 ? 'B' : 'A', name);
	return 0;
}

int super_choose(
	int file, const char *name, struct super_choice *ret_choice, struct rgm_error *error)
{
	struct slot slots[2];
	unsigned int newest = 0;
	int rc = 0;

	for (unsigned int i = 0; i < 2 && rc == 0; i++)
		rc = read_slot(file, name, i, &slots[i], error);
	if (rc == 0)
		rc = choose(slots, name, &newest, error);
	if (rc != 0)
		return rc;
	ret_choice->super = slots[newest].super;
	ret_choice->slot = newest;
	ret_choice->damaged = slots[1 - newest].state == SLOT_VALID ? 0 : 1;
	ret_choice->twin = ret_choice->damaged == 0 &&
	                   same_content(slots[newest].super, &slots[1 - newest].super);
	return 0;
}

int region_sync(struct pool_region *region, struct rgm_error *error)
{
	int rc = os_sync_data(region->file);

	if (rc == 0)
		return 0;
	region->poisoned = true;
	if (region->live != NULL)
		__atomic_store_n(&region->live->poisoned, 1, __ATOMIC_RELEASE);
	return pool_fail_code(error, rc, "syncing region file '%s'", region->name);
}

int super_write(
	struct pool_region *region, const struct pool_superblock *super, struct rgm_error *error)
{
	struct pool_superblock next = *super;
	unsigned int slot = 1 - region->super_slot;
	uint64_t offset = (uint64_t)slot * POOL_SLOT_DISTANCE;
	int rc;

	next.magic = POOL_MAGIC;
	next.format_version = POOL_FORMAT_VERSION;
	next.byte_order = POOL_BYTE_ORDER;
	next.page_bytes = (uint32_t)POOL_PAGE_BYTES;
	next.extent_bytes = (uint32_t)POOL_EXTENT_BYTES;
	next.sequence = region->super.sequence + 1;
	next.max_bytes = region->max_bytes;
	memcpy(next.incarnation, region->incarnation, sizeof(next.incarnation));
	next.crc32c = checksum(&next);
	assert(fields_make_sense(&next));
	rc = os_write_all(region->file, &next, sizeof(next), offset);
	if (rc != 0)
		return pool_fail_code(error, rc,
			"writing %u bytes at offset %" PRIu64 " of region file '%s'",
			POOL_SLOT_BYTES, offset, region->name);
	rc = region_sync(region, error);
	if (rc != 0)
		return rc;
	region->super = next;
	region->super_slot = slot;
	return 0;
}

int super_write_both(
	struct pool_region *region, const struct pool_superblock *super, struct rgm_error *error)
{
	int rc = super_write(region, super, error);

	return rc != 0 ? rc : super_write(region, super, error);
}
