/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalog: which dimensions an instance has, in the file `catalog` of its folder. Replaced as a
 * whole: written to `.catalog.new`, synced, renamed over, the folder synced. So it is always one state
 * or the next.
 *
 * Format 1 (not yet frozen), little endian, reserved bytes zero: a header of 128 bytes, then `count`
 * records of 256 bytes.
 */
#ifndef MANAGER_CATALOG_H
#define MANAGER_CATALOG_H

#include <assert.h>

#include "regionmgr/manager/dimension.h"
#include "regionmgr/manager/manager.h"

#define CATALOG_MAGIC   0x0100544143524752ull /* "RGRCAT\0\1" in memory */
#define CATALOG_VERSION 1u
#define CATALOG_FILE    "catalog"

/* After an unclean end the version counter jumps over what may have been published since the catalog was
 * written; a running manager writes it again before it has used up half of that. */
#define CATALOG_VERSION_JUMP (1u << 20)

enum catalog_state {
	CATALOG_STOPPED = 1,
	CATALOG_RUNNING = 2
};

struct catalog_header {
	uint64_t magic;             /*   0 */
	uint32_t format_version;    /*   8 */
	uint32_t byte_order;        /*  12  as in pool/format.h */
	uint32_t crc32c;            /*  16  of header and records, with this field as zero */
	uint32_t count;             /*  20  of records */
	uint32_t state;             /*  24  enum catalog_state */
	uint32_t reserved0;         /*  28 */
	uint64_t next_dimension_id; /*  32 */
	uint64_t version;           /*  40  current version when this was written */
	uint8_t instance_id[16];    /*  48 */
	uint8_t reserved1[64];      /*  64 */
};

struct catalog_record {
	uint64_t id;                                     /*   0 */
	uint32_t kind;                                   /*   8  enum rgm_kind */
	uint32_t name_length;                            /*  12 */
	uint64_t max_bytes;                              /*  16 */
	uint32_t access_count;                           /*  24 */
	uint32_t reserved0;                              /*  28 */
	char name[RGM_NAME_MAX];                         /*  32 */
	struct rgm_principal access[MANAGER_ACCESS_MAX]; /* 96 */
	uint8_t reserved1[32];                           /* 224 */
};

static_assert(sizeof(struct catalog_header) == 128, "catalog header");
static_assert(offsetof(struct catalog_header, instance_id) == 48, "catalog header");
static_assert(sizeof(struct catalog_record) == 256, "catalog record");
static_assert(offsetof(struct catalog_record, access) == 96, "catalog record");

struct catalog {
	struct catalog_header header;
	struct catalog_record *records; /* header.count of them; freed by catalog_free() */
};
void catalog_free(struct catalog *catalog);

/* Read and verify. -ENOENT when there is none; RGM_EREFUSED, RGM_ECORRUPT, RGM_EFORMAT. */
int catalog_read(int folder, struct catalog *ret_catalog, struct rgm_error *error);

/*
 * Write the instance's dimensions: those registered, without `removed`, with `added` (either may be
 * NULL) under the name of `added_state`, or renamed. Under the commit lock.
 */
struct catalog_change {
	const struct dimension *removed;
	const struct dimension *added; /* also a registered one whose name changes */
	const char *added_name;
};
int catalog_write(struct rgm_manager *manager, enum catalog_state state,
	const struct catalog_change *change, struct rgm_error *error);

/* The name of a dimension's region file. `ret_name` has 32 bytes. */
void catalog_region_name(uint64_t id, char *ret_name);
/* The id in such a name, or 0. */
uint64_t catalog_region_id(const char *name);

#endif
