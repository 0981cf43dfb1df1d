/* SPDX-License-Identifier: Apache-2.0 */
/* The region table inside: shared by table.c (versions) and table_adopt.c (going on with another's). */
#ifndef MANAGER_TABLE_INTERNAL_H
#define MANAGER_TABLE_INTERNAL_H

#include <stdatomic.h>

#include "ipc/socket.h"
#include "pool/pages.h"
#include "regionmgr/manager/news.h"
#include "regionmgr/manager/table.h"

#define TABLE_BYTES      (256ull << 20) /* reserved; allocated as it is used */
#define TABLE_STEP_PAGES 256u           /* allocated at once */
#define PAGE             4096ull
#define NAMES_BITS_LEAST 6u
#define NAMES_BITS_MOST  17u /* twice IPC_MAX_DIMENSIONS */
#define TABLE_PLACES_MAX 65536u

/* Where things stand in front of the heap, in pages. */
#define RING_PAGE    1ull
#define RING_PAGES   (IPC_RING_ENTRIES * sizeof(struct ipc_ring_entry) / PAGE)
#define BITMAP_PAGE  (RING_PAGE + RING_PAGES)
#define BITMAP_PAGES (TABLE_BYTES / PAGE / 8 / PAGE)
#define REVOKED_PAGE (BITMAP_PAGE + BITMAP_PAGES)

struct table {
	struct rgm_manager *manager;
	struct ipc_table *header;
	struct news *news;
	int file;
	int claim; /* a description that nobody maps, with a lock: one manager an object */
	char name[IPC_SHM_NAME_BYTES];

	pthread_mutex_t lock; /* guards pages and allocated_pages; nothing is taken under it */
	struct pages *pages;
	uint64_t allocated_pages; /* of the shm object: never beyond this */

	/* Under the manager's commit lock. */
	uint64_t current;
	struct ipc_dimension *entries; /* the current version, in private memory */
	uint32_t leaf_count;
	uint32_t dimension_count;
	uint32_t name_count_bits;
	uint64_t top_page, top_count, top_born;
	uint64_t names_page, names_count, names_born;
	bool names_doubtful;             /* the next version replaces them */
	uint64_t *leaf_page, *leaf_born; /* by leaf */

	/* Per ring entry. busy: somebody may see the version there (set by publish, cleared by
	 * reclaim: relaxed is enough, publish overwrites the entry after M6 of a scan that proved
	 * it unseen, and the flag is passed under reclaim's lock or by the same thread). */
	atomic_bool busy[IPC_RING_ENTRIES];
	/* Which version's entry stands there, and when it was replaced: 0 while it is current. */
	atomic_uint_least64_t holder[IPC_RING_ENTRIES];
	atomic_uint_least64_t replaced_ns[IPC_RING_ENTRIES];
};

static inline void *table_page(const struct table *table, uint64_t page)
{
	return (char *)table->header + page * PAGE;
}

static inline uint64_t table_heap_page(uint32_t places)
{
	return REVOKED_PAGE + (places * sizeof(uint64_t) + PAGE - 1) / PAGE;
}

static inline uint64_t *table_revoked_word(const struct table *table, uint32_t place)
{
	return (uint64_t *)table_page(table, REVOKED_PAGE) + place;
}

static inline uint64_t table_top_pages(uint32_t leaf_count)
{
	return (sizeof(struct ipc_top) + leaf_count * sizeof(uint64_t) + PAGE - 1) / PAGE;
}

static inline uint64_t table_names_pages(uint32_t bits)
{
	return (sizeof(struct ipc_names) + (sizeof(uint32_t) << bits) + PAGE - 1) / PAGE;
}

/* Point the ring's entry of a version at its top. Nobody sees the version that had it before. */
void table_take_entry(struct table *table, uint64_t version, uint64_t top_page);

/* Lock the object of that name against other managers (of a copied folder). -ENOENT; -EAGAIN: one has it. */
int table_claim(struct table *table);

/* Begin to tell its news, and to wake who sleeps already. */
int table_start_news(struct table *table, struct rgm_error *error);

/* A table without an object, for `max_dimensions`. NULL: no memory. */
struct table *table_new(struct rgm_manager *manager, uint32_t max_dimensions);

#endif
