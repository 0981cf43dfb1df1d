/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The book of sessions, /regionmgr.<id>.book: what a manager that takes over has to know of each, where
 * no reader can write. Layout 1, little endian, reserved bytes zero:
 *
 *    byte 0    header, 4096 bytes
 *    4096 …    a row of 128 bytes for each place (of the table's revoked words)
 *
 * A row stands from before the session's handles leave the manager until before its segment's name is
 * removed. So a row whose segment is missing says that somebody else removed the name, and that there may
 * be a reader of whom nothing more can be known.
 */
#ifndef MANAGER_BOOK_H
#define MANAGER_BOOK_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "regionmgr/manager/manager.h"

#define BOOK_MAGIC   0x314b4f4f42474d52ull /* "RMGBOOK1", written last */
#define BOOK_VERSION 1u

struct book_row {
	uint64_t number;       /*    0  atomic: of the session, stored last; 0: no session here */
	int32_t pid;           /*    8  a label, as everywhere */
	uint32_t uid;          /*   12 */
	uint32_t gid;          /*   16 */
	uint32_t slots;        /*   20 */
	uint32_t holds;        /*   24 */
	uint32_t reserved0;    /*   28 */
	uint8_t token[16];     /*   32  as in its segment */
	char label[32];        /*   48  padded with zeros, ended by one */
	uint8_t reserved1[48]; /*   80 */
};

struct book {
	uint64_t magic;          /*    0 */
	uint32_t version;        /*    8  of this layout */
	uint32_t places;         /*   12 */
	uint8_t incarnation[16]; /*   16  as in the table */
	uint64_t next_number;    /*   32  atomic: of a session to come */
	uint8_t reserved[4056];  /*   40 */
	struct book_row rows[];
};

static_assert(sizeof(struct book_row) == 128, "book row");
static_assert(offsetof(struct book_row, token) == 32, "book row");
static_assert(offsetof(struct book_row, label) == 48, "book row");
static_assert(offsetof(struct book, rows) == 4096, "book header");
static_assert(offsetof(struct book, incarnation) == 16, "book header");

/* Make an empty one for manager->max_readers places and manager->incarnation. -errno. */
int book_create(const struct rgm_manager *manager, struct book **ret_book);
/* Open what an earlier manager with the same incarnation left: -ENOENT, -ESTALE if it is another's. */
int book_open(const struct rgm_manager *manager, struct book **ret_book);
/* Unmap and, unless manager->leave_names, remove the name. */
void book_destroy(const struct rgm_manager *manager, struct book *book);

void book_enter(struct book *book, uint32_t place, const struct book_row *row);
void book_clear(struct book *book, uint32_t place);

#endif
