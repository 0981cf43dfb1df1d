/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages on the control socket (unix, SOCK_SEQPACKET: one message, one packet), protocol 1.
 *
 * A client speaks first, and every request gets exactly one answer, in order: IPC_OK with the
 * request's own reply behind the header, or IPC_ERROR with struct ipc_error. Long work sends any
 * number of IPC_PROGRESS before its answer. Descriptors travel as SCM_RIGHTS of the message that
 * needs them. The first request is IPC_HELLO; without it nothing else is answered.
 *
 * Both sides treat the other as hostile: sizes and numbers are checked before they are used, strings
 * are bounded and ended by the receiver, a message that breaks the rules ends the connection.
 */
#ifndef IPC_MESSAGE_H
#define IPC_MESSAGE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <regionmgr/types.h>

#define IPC_PROTOCOL          1u
#define IPC_MESSAGE_MAGIC     0x4d475231u
#define IPC_MESSAGE_MAX_BYTES 65536u
#define IPC_MESSAGE_MAX_FILES 4u

enum ipc_type {
	IPC_OK = 1,
	IPC_ERROR = 2,
	IPC_PROGRESS = 3,
	/* everybody who may attach */
	IPC_HELLO = 16,
	IPC_ATTACH = 17, /* -> table (read-only), segment (read-write) */
	IPC_MAP = 18,    /* -> region (read-only) */
	IPC_STATUS = 19,
	IPC_LIST = 20,
	IPC_SHOW = 21,
	IPC_READERS = 22,
	IPC_STATS = 23,
	/* the owner and root */
	IPC_CREATE = 32,
	IPC_DROP = 33,
	IPC_RENAME = 34,
	IPC_CHECK = 35,
	IPC_LOAD_BEGIN = 36,
	IPC_LOAD_FILE = 37,
	IPC_LOAD_STREAM_BEGIN = 38,
	IPC_LOAD_STREAM_APPEND = 39,
	IPC_LOAD_STREAM_END = 40,
	IPC_LOAD_REMOVE = 41,
	IPC_LOAD_COMMIT = 42,
	IPC_LOAD_ABORT = 43,
};

struct ipc_header {
	uint32_t magic;
	uint16_t protocol;
	uint16_t type;      /* enum ipc_type */
	uint32_t sequence;  /* the request's, repeated in what answers it */
	uint32_t bytes;     /* of the whole message */
};

struct ipc_error {
	struct ipc_header header;
	int32_t code;       /* as in error.h */
	uint32_t reserved;
	char message[512];
	char hint[256];
};

struct ipc_hello {
	struct ipc_header header;
	uint32_t protocol_min;
	uint32_t protocol_max;
};
struct ipc_hello_reply {
	struct ipc_header header;
	uint32_t protocol;
	uint32_t pid;       /* the manager's */
	char version[16];   /* the manager's program version */
	char instance[RGM_NAME_MAX];
	uint8_t instance_id[16];
};

struct ipc_attach {
	struct ipc_header header;
	uint32_t slots;
	uint32_t holds;
	char label[32];
};
struct ipc_attach_reply { /* files: table, segment */
	struct ipc_header header;
	uint64_t session;
	uint64_t table_bytes;
	uint64_t segment_bytes;
	uint32_t slots;
	uint32_t holds;
};

struct ipc_map {
	struct ipc_header header;
	uint64_t dimension; /* id; a name is looked up in the table first */
};
struct ipc_map_reply { /* file: region */
	struct ipc_header header;
	uint64_t dimension;
	uint64_t window_bytes;
};

static_assert(sizeof(struct ipc_header) == 16, "header");
static_assert(sizeof(struct ipc_error) == 792, "error");
static_assert(sizeof(struct ipc_hello) == 24, "hello");
static_assert(sizeof(struct ipc_hello_reply) == 120, "hello reply");
static_assert(sizeof(struct ipc_attach) == 56, "attach");
static_assert(sizeof(struct ipc_attach_reply) == 48, "attach reply");
static_assert(sizeof(struct ipc_map) == 24, "map");
static_assert(sizeof(struct ipc_map_reply) == 32, "map reply");

#endif
