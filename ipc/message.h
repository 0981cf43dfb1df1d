/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages on the control socket (unix, SOCK_SEQPACKET: one message, one packet), protocol 2. Little
 * endian; every reserved or padding byte is zero. Texts of fixed size are padded with zeros and have
 * no NUL when they are full.
 *
 * The conversation
 *  1. The client speaks first: IPC_HELLO, within IPC_HELLO_MS of connecting. Without it nothing else
 *     is answered. A hello is understood by every protocol; all else has to be of the one agreed on.
 *  2. Every request gets exactly one answer, in order, with the request's sequence: IPC_OK with the
 *     request's own reply behind the header, or IPC_ERROR. The client waits for it before it sends
 *     another. Exceptions: parts of a load, which are sent ahead (IPC_QUIET below), and IPC_CANCEL.
 *     IPC_ERROR with sequence 0 is about the connection itself, which ends there.
 *  3. While a request is worked on, IPC_PROGRESS with its sequence comes some times a second: the
 *     other side is alive. It may arrive late, behind the answer; who receives it then ignores it.
 *  4. Descriptors travel as SCM_RIGHTS of the message that needs them, and of no other.
 *  5. Both sides treat the other as hostile: sizes and numbers are checked before they are used,
 *     texts are bounded and ended by the receiver. A message that breaks the rules ends the
 *     connection; so does a client that lets the answers to it pile up.
 *
 * A load
 *     LOAD_BEGIN, then any of LOAD_FILE, LOAD_BYTES, LOAD_STREAM_BEGIN/APPEND/END, LOAD_REMOVE, then
 *     LOAD_COMMIT or LOAD_ABORT; nothing else in between. The connection's end, or silence of
 *     IPC_LOAD_SILENCE_MS, aborts it. LOAD_COMMIT is answered when the version is published.
 *
 *     Thousands of small layers must not wait for as many round trips, so a part may be marked
 *     IPC_QUIET: it is answered only if it fails. The client bounds how far it is ahead by leaving
 *     the mark away at every IPC_LOAD_BATCH-th part and by having at most one such answer open when
 *     it sends the next: at most 2 * IPC_LOAD_BATCH parts, and as many descriptors, lie in the
 *     socket.
 *
 *     The first part that fails is answered with IPC_ERROR, quiet or not, and ends the load: nothing
 *     of it will be published. Quiet parts that follow are dropped without an answer, others and the
 *     commit are answered with the same error, LOAD_ABORT with IPC_OK. After the answer to a commit
 *     or an abort the connection is as before LOAD_BEGIN.
 *
 *     Content comes in the message itself (up to IPC_INLINE_MAX_BYTES, more by a stream), or, for
 *     LOAD_FILE, in the descriptor of a regular file, which the manager reads and never maps.
 */
#ifndef IPC_MESSAGE_H
#define IPC_MESSAGE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <regionmgr/types.h>

#define IPC_PROTOCOL          2u
#define IPC_MESSAGE_MAGIC     0x4d475231u
#define IPC_MESSAGE_MAX_BYTES 65536u
#define IPC_MESSAGE_MAX_FILES 4u

#define IPC_HELLO_MS         5000u
#define IPC_LOAD_SILENCE_MS  60000u
#define IPC_LOAD_BATCH       32u
#define IPC_INLINE_MAX_BYTES 57344u
#define IPC_ACCESS_MAX       16u

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
	IPC_RESUME = 24, /* go on with a session of an earlier connection */
	/* the owner and root */
	IPC_CREATE = 32,
	IPC_DROP = 33,
	IPC_RENAME = 34,
	IPC_CHECK = 35,
	IPC_LOAD_BEGIN = 36,
	IPC_LOAD_FILE = 37, /* <- file */
	IPC_LOAD_BYTES = 38,
	IPC_LOAD_STREAM_BEGIN = 39,
	IPC_LOAD_STREAM_APPEND = 40,
	IPC_LOAD_STREAM_END = 41,
	IPC_LOAD_REMOVE = 42,
	IPC_LOAD_COMMIT = 43,
	IPC_LOAD_ABORT = 44,
	/* Ask that the request under way be given up; it is answered as ever. Never answered itself,
	 * and ignored where nothing is under way. */
	IPC_CANCEL = 48,
};

struct ipc_header {
	uint32_t magic;
	uint16_t protocol;
	uint16_t type;     /* enum ipc_type */
	uint32_t sequence; /* the request's, from 1; repeated in what answers it */
	uint32_t bytes;    /* of the whole message */
};

struct ipc_error {
	struct ipc_header header;
	int32_t code; /* as in error.h */
	uint32_t reserved;
	char message[512];
	char hint[256];
};

struct ipc_progress {
	struct ipc_header header;
	uint64_t done_bytes;
	uint64_t total_bytes; /* 0: unknown */
};

struct ipc_hello {
	struct ipc_header header;
	uint32_t protocol_min;
	uint32_t protocol_max;
};
struct ipc_hello_reply {
	struct ipc_header header;
	uint32_t protocol;
	uint32_t pid;     /* the manager's, in its own pid namespace */
	char version[16]; /* the manager's program version */
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
	uint32_t place; /* index of its word among the revoked ones of the table */
	uint32_t reserved;
};

/* After the manager was started anew: the session that an earlier one adopted is this process's. The
 * token stands in the segment, which nobody maps but the session's process and its forks. */
struct ipc_resume { /* reply: the header alone */
	struct ipc_header header;
	uint64_t session;
	uint8_t token[16];
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

/* LIST, READERS, STATS come in pages: each request carries the place that the reply before it named,
 * zeros at first. Replies: ipc_page_reply, then its rows (message_rows.h). */
struct ipc_page {
	struct ipc_header header;
	uint64_t after_number;         /* READERS: behind this session; STATS: from this counter */
	char after_name[RGM_NAME_MAX]; /* LIST: behind this name */
};
struct ipc_page_reply {
	struct ipc_header header;
	uint32_t row_count;
	uint32_t more; /* 1: ask again, with these */
	uint64_t after_number;
	char after_name[RGM_NAME_MAX];
};

/* SHOW, CHECK, DROP */
struct ipc_named {
	struct ipc_header header;
	char name[RGM_NAME_MAX];
	uint32_t dry_run; /* DROP: only report */
	uint32_t reserved;
};

struct ipc_drop_reply {
	struct ipc_header header;
	uint64_t bytes;
	uint64_t layers;
	uint32_t readers;
	uint32_t holds;
};

struct ipc_rename {
	struct ipc_header header;
	char from[RGM_NAME_MAX];
	char to[RGM_NAME_MAX];
};

/* IPC_OK whenever the check came to its end; what it found stands in `code`. */
struct ipc_check_reply {
	struct ipc_header header;
	int32_t code; /* 0 or RGM_ECORRUPT */
	uint32_t reserved;
	uint64_t layers;
	uint64_t bytes;
	uint64_t pages_used;
	uint64_t problems;
	char first_problem[512];
	char message[512]; /* the sentence and hint that belong to code */
	char hint[256];
};

struct ipc_principal {
	uint32_t type; /* 'u' or 'g' */
	uint32_t id;
};
struct ipc_create_options {
	uint32_t kind;         /* 0: default */
	uint32_t access_count; /* 0: as the instance */
	uint64_t max_bytes;    /* 0: default */
	struct ipc_principal access[IPC_ACCESS_MAX];
};
struct ipc_create {
	struct ipc_header header;
	char name[RGM_NAME_MAX];
	struct ipc_create_options options;
};

struct ipc_load_begin {
	struct ipc_header header;
	char name[RGM_NAME_MAX];
	uint32_t flags; /* enum rgm_load_flags */
	uint32_t reserved;
	uint64_t expected_bytes;
	struct ipc_create_options options;
};

enum ipc_load_flags {
	IPC_QUIET = 1
};

/* LOAD_FILE, BYTES, STREAM_BEGIN, STREAM_APPEND, STREAM_END, REMOVE. Followed by the layer's name, its
 * media type (neither with a NUL), and content, each as long as said; what a part does not use is
 * zero. */
struct ipc_load_part {
	struct ipc_header header;
	uint32_t flags;        /* enum ipc_load_flags */
	uint32_t inline_bytes; /* content: BYTES, STREAM_APPEND (0: a sign of life) */
	uint16_t name_bytes;   /* 1 to RGM_LAYER_NAME_MAX: FILE, BYTES, STREAM_BEGIN, REMOVE */
	uint16_t media_bytes;  /* up to RGM_MEDIA_TYPE_MAX, 0: none: FILE, BYTES, STREAM_BEGIN */
	uint32_t reserved;
	uint64_t time_ns; /* of the layer; 0: default: FILE, BYTES, STREAM_BEGIN */
	/* What the client found: it is RGM_ECHANGED if the manager finds another. */
	uint64_t file_bytes;   /* FILE: size */
	uint64_t file_time_ns; /* FILE: modification time */
};

struct ipc_commit_reply {
	struct ipc_header header;
	uint64_t version;
	uint64_t layers_put;
	uint64_t layers_removed;
	uint64_t bytes;
};

static_assert(sizeof(struct ipc_header) == 16, "header");
static_assert(offsetof(struct ipc_header, sequence) == 8, "header");
static_assert(sizeof(struct ipc_error) == 792, "error");
static_assert(sizeof(struct ipc_progress) == 32, "progress");
static_assert(sizeof(struct ipc_hello) == 24, "hello");
static_assert(sizeof(struct ipc_hello_reply) == 120, "hello reply");
static_assert(sizeof(struct ipc_attach) == 56, "attach");
static_assert(sizeof(struct ipc_attach_reply) == 56, "attach reply");
static_assert(sizeof(struct ipc_resume) == 40, "resume");
static_assert(sizeof(struct ipc_map) == 24, "map");
static_assert(sizeof(struct ipc_map_reply) == 32, "map reply");
static_assert(sizeof(struct ipc_page) == 88, "page");
static_assert(sizeof(struct ipc_page_reply) == 96, "page reply");
static_assert(sizeof(struct ipc_named) == 88, "named");
static_assert(sizeof(struct ipc_drop_reply) == 40, "drop reply");
static_assert(sizeof(struct ipc_rename) == 144, "rename");
static_assert(sizeof(struct ipc_check_reply) == 1336, "check reply");
static_assert(offsetof(struct ipc_check_reply, first_problem) == 56, "check reply");
static_assert(sizeof(struct ipc_principal) == 8, "principal");
static_assert(sizeof(struct ipc_create_options) == 144, "create options");
static_assert(sizeof(struct ipc_create) == 224, "create");
static_assert(sizeof(struct ipc_load_begin) == 240, "load begin");
static_assert(offsetof(struct ipc_load_begin, expected_bytes) == 88, "load begin");
static_assert(sizeof(struct ipc_load_part) == 56, "load part");
static_assert(offsetof(struct ipc_load_part, time_ns) == 32, "load part");
static_assert(sizeof(struct ipc_commit_reply) == 48, "commit reply");
static_assert(sizeof(struct ipc_load_part) + RGM_LAYER_NAME_MAX + RGM_MEDIA_TYPE_MAX +
			      IPC_INLINE_MAX_BYTES <=
		      IPC_MESSAGE_MAX_BYTES,
	"the largest part fits a message");

#endif
