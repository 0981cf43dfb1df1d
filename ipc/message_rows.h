/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the instance tells of itself, as it stands in messages: the public structs of control.h in
 * fixed sizes. Units and meaning are as there. Rules of bytes and texts: message.h.
 */
#ifndef IPC_MESSAGE_ROWS_H
#define IPC_MESSAGE_ROWS_H

#include "ipc/message.h"

struct ipc_status_reply {
	struct ipc_header header;
	char instance[RGM_NAME_MAX];
	char instance_id[32]; /* hexadecimal digits */
	char version_text[16];
	char folder[512];
	char socket[128];
	uint32_t pid; /* in the manager's own pid namespace */
	uint32_t uid;
	uint64_t started_ns;
	uint64_t uptime_ns;
	uint64_t version;
	uint32_t dimensions;
	uint32_t refused;
	uint32_t readers;
	uint32_t loads;
	uint64_t content_bytes;
	uint64_t region_bytes;
	uint64_t allocated_bytes;
	uint64_t retired_bytes;
	uint32_t membarrier;
	uint32_t max_dimensions;
};

/* Row of LIST; in LIST what SHOW alone fills is zero. */
struct ipc_dimension_row {
	char name[RGM_NAME_MAX];
	char kind[16];
	char state[16];
	char mode[16];
	char backing[16];
	char file[64];
	char reason[256];
	uint64_t id;
	uint64_t generation;
	uint64_t version;
	uint64_t changed_ns;
	uint64_t bytes;
	uint64_t layers;
	uint64_t region_bytes;
	uint64_t max_bytes;
	uint64_t live_pages;
	uint64_t allocated_pages;
	uint64_t retired_pages;
	uint64_t free_pages;
	uint64_t block_bytes;
	uint64_t resident_bytes;
	uint64_t largest_free_pages;
	uint32_t readers;
	uint32_t holds;
	uint64_t access_count; /* ≤ IPC_ACCESS_MAX */
	struct ipc_principal access[IPC_ACCESS_MAX];
};
struct ipc_show_reply {
	struct ipc_header header;
	struct ipc_dimension_row row;
};

/* Row of READERS. */
struct ipc_reader_row {
	uint64_t number;
	char label[32];
	uint32_t pid; /* in the manager's pid namespace; 0: not in it */
	uint32_t uid;
	uint32_t gid;
	uint32_t alive;
	uint32_t membarrier;
	uint32_t sections;
	uint32_t holds;
	uint32_t mapped;
	uint64_t oldest_version;
	uint64_t newest_version;
	uint64_t age_ns;
	uint64_t attached_ns;
	uint64_t kept_bytes;
	uint64_t revoked_version;
	char lag[16];
};

/* Row of STATS. */
struct ipc_counter_row {
	char name[40];
	char description[88];
	uint64_t value;
	uint32_t gauge;
	uint32_t bytes;
};

static_assert(sizeof(struct ipc_status_reply) == 856, "status reply");
static_assert(offsetof(struct ipc_status_reply, pid) == 768, "status reply");
static_assert(offsetof(struct ipc_status_reply, content_bytes) == 816, "status reply");
static_assert(sizeof(struct ipc_dimension_row) == 712, "dimension row");
static_assert(offsetof(struct ipc_dimension_row, id) == 448, "dimension row");
static_assert(offsetof(struct ipc_dimension_row, access_count) == 576, "dimension row");
static_assert(sizeof(struct ipc_show_reply) == 728, "show reply");
static_assert(sizeof(struct ipc_reader_row) == 136, "reader row");
static_assert(offsetof(struct ipc_reader_row, oldest_version) == 72, "reader row");
static_assert(offsetof(struct ipc_reader_row, revoked_version) == 112, "reader row");
static_assert(sizeof(struct ipc_counter_row) == 144, "counter row");

/* Rows that fit one reply. */
#define IPC_ROWS(row) ((IPC_MESSAGE_MAX_BYTES - sizeof(struct ipc_page_reply)) / sizeof(row))

#endif
