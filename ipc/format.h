/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared memory between the manager and its readers, layout 2. Little endian, page size 4 KiB.
 *
 * 1. The region table, /regionmgr.<id>.table: written by the manager alone, mapped read-only by
 *    readers. <id> is the instance id, 32 hexadecimal digits.
 *
 *    page 0            header: identity, `current`, `news`
 *    pages 1 …         ring: entry v mod ring_entries describes version v
 *    pages_offset      bitmap: which pages of this object are used, a bit a page; the manager's alone
 *    revoked_offset    a word for each place of a session: what it saw before that version is void
 *    heap_offset …     blocks, each a run of pages, never changed once a version reaches it
 *
 *    ring[v] -> top block of v -+-> leaf block, 32 entries of 128 bytes: one per dimension
 *                               +-> leaf block …           (unchanged leaves are shared by versions)
 *                               `-> names block: hash table, name -> index of the entry
 *
 *    All references are byte offsets from the start of the table.
 *
 * 2. A session's segment, /regionmgr.<id>.s.<number>: written by that reader, whose every word the
 *    manager distrusts.
 *
 *    page 0            header: membarrier bit, how many slots and holds were ever used
 *    slots_offset      slots, one cache line per thread: the version its section sees, or 0
 *    holds_offset      holds: (dimension id, version); id 0 is free
 *
 * The protocol of these words, with its argument, stands in ipc/slot.h.
 */
#ifndef IPC_FORMAT_H
#define IPC_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <regionmgr/types.h>

#define IPC_LAYOUT_VERSION 2u
#define IPC_TABLE_MAGIC    0x32454c4241544752ull /* "RGTABLE2", written last */
#define IPC_SEGMENT_MAGIC  0x3247455353534752ull /* "RGSSSEG2" */

#define IPC_RING_ENTRIES   4096u
#define IPC_LEAF_ENTRIES   32u
#define IPC_MAX_DIMENSIONS 65536u
#define IPC_NAMES_BITS_MAX 18u /* four places for each dimension */
#define IPC_MAX_SLOTS      4096u
#define IPC_MAX_HOLDS      65536u

enum ipc_table_flags {
	IPC_TABLE_MEMBARRIER = 1, /* the manager issues membarrier(2) before every scan */
};

enum ipc_table_state {
	IPC_SERVING = 1,
	IPC_STOPPED = 2
};

struct ipc_table {
	/* written once, before magic */
	uint64_t magic;          /*    0 */
	uint32_t layout_version; /*    8 */
	uint32_t flags;          /*   12  enum ipc_table_flags */
	uint8_t instance_id[16]; /*   16 */
	uint8_t incarnation[16]; /*   32  this run of the manager */
	uint64_t table_bytes;    /*   48 */
	uint64_t ring_offset;    /*   56 */
	uint32_t ring_entries;   /*   64  a power of two */
	uint32_t max_dimensions; /*   68 */
	uint64_t heap_offset;    /*   72 */
	uint64_t pages_offset;   /*   80  table_bytes / 4096 bits */
	uint64_t revoked_offset; /*   88  of `places` words (uint64_t), each at least 1 */
	uint32_t places;         /*   96  sessions at once */
	uint32_t reserved0;      /*  100 */
	uint64_t
		allocated_bytes; /*  104  atomic: from the start; the rest of the object is a hole */
	uint8_t reserved3[16];   /*  112 */
	/* Version of the newest drop: readers unmap what is gone. Stored before `current`. */
	uint64_t dropped; /*  128  atomic */
	/* Manager stores (release), readers load (acquire): a version's ring entry and all it leads to
	 * are visible to who loads its number. Not where a cache line begins, as slot words stand: one
	 * of them would have the same place in its page, and a load of `current` behind a store there
	 * is taken for a load of what was stored, and done again. */
	uint64_t current;      /*  136  atomic */
	uint8_t reserved1[48]; /*  144 */
	/* Changes with every publish and change of state, after `current`; readers sleep on it (futex), with
	 * the bit of the value that they saw: ipc_news_bit(). Manager alone. */
	uint32_t news;           /*  192  atomic; bit 0: phase; the rest counts */
	uint32_t state;          /*  196  atomic, enum ipc_table_state */
	uint8_t reserved2[3896]; /*  200 */
};

struct ipc_ring_entry {
	uint64_t version;    /*    0 */
	uint64_t top_offset; /*    8 */
};

/* Followed by leaf_count offsets (uint64_t) of leaf blocks. */
struct ipc_top {
	uint64_t version;         /*    0 */
	uint64_t names_offset;    /*    8 */
	uint32_t leaf_count;      /*   16 */
	uint32_t dimension_count; /*   20 */
	uint64_t reserved;        /*   24  the version's LSN, once there is a log */
};

/* Followed by 2^bits places (uint32_t): 0, or an entry's index in the low 16 bits and a tag of its name in
 * the high ones. A name's first place and its tag are told by its hash (ipc_name_place, ipc_name_tag);
 * then come the next places in turn. At most a quarter of them are used. */
struct ipc_names {
	uint32_t bits;     /*    0 */
	uint32_t count;    /*    4 */
	uint64_t reserved; /*    8 */
};

/* What a look-up reads stands in the first 64 bytes, a cache line, with names of up to 32 bytes. */
struct ipc_dimension {
	uint64_t id;             /*    0  never reused; 0: no dimension here */
	uint64_t root_offset;    /*    8  in the region */
	uint64_t region_bytes;   /*   16  published size: all that the version reaches is below */
	uint32_t kind;           /*   24  enum rgm_kind */
	uint32_t name_length;    /*   28 */
	char name[RGM_NAME_MAX]; /*   32  padded with zeros; no NUL when it is full */
	uint64_t window_bytes;   /*   96  what readers map */
	uint64_t generation;     /*  104  number of changes */
	uint64_t changed;        /*  112  version of the last change */
	uint64_t reserved;       /*  120  applied LSN, once there is a log */
};

struct ipc_segment {
	uint64_t magic;          /*    0  written by the manager */
	uint32_t layout_version; /*    8  written by the manager */
	uint32_t membarrier; /*   12  atomic, reader: 1 if registered; before its first section */
	uint32_t slots_used; /*   16  atomic, reader: slots below this index were ever open */
	uint32_t holds_used; /*   20  atomic, reader: likewise */
	uint32_t slots;      /*   24  written by the manager, for information */
	uint32_t holds;      /*   28 */
	uint8_t token[16]; /*   32  written by the manager: by which a reader resumes its session */
	uint8_t reserved[4048]; /*   48 */
};

struct ipc_slot {
	uint64_t word;        /*    0  atomic, reader: version its section sees, or 0 */
	uint64_t reserved[7]; /*    8 */
};

struct ipc_hold {
	uint64_t dimension; /*    0  atomic, reader: stored last; 0: free */
	uint64_t version;   /*    8  atomic, reader: stored first */
};

static_assert(sizeof(struct ipc_table) == 4096, "table header");
static_assert(offsetof(struct ipc_table, instance_id) == 16, "table header");
static_assert(offsetof(struct ipc_table, table_bytes) == 48, "table header");
static_assert(offsetof(struct ipc_table, heap_offset) == 72, "table header");
static_assert(offsetof(struct ipc_table, revoked_offset) == 88, "table header");
static_assert(offsetof(struct ipc_table, places) == 96, "table header");
static_assert(offsetof(struct ipc_table, allocated_bytes) == 104, "table header");
static_assert(offsetof(struct ipc_table, dropped) == 128, "table header");
static_assert(offsetof(struct ipc_table, current) == 136, "in a cache line with dropped");
static_assert(offsetof(struct ipc_table, current) % 64 != 0, "where no slot word can be");
static_assert(offsetof(struct ipc_table, news) == 192, "news has a cache line");
static_assert(sizeof(struct ipc_ring_entry) == 16, "ring entry");
static_assert(sizeof(struct ipc_top) == 32, "top block");
static_assert(sizeof(struct ipc_names) == 16, "names block");
static_assert(sizeof(struct ipc_dimension) == 128, "dimension entry");
static_assert(offsetof(struct ipc_dimension, root_offset) == 8, "dimension entry");
static_assert(offsetof(struct ipc_dimension, kind) == 24, "dimension entry");
static_assert(offsetof(struct ipc_dimension, name) == 32, "dimension entry");
static_assert(offsetof(struct ipc_dimension, window_bytes) == 96, "dimension entry");
static_assert(IPC_MAX_DIMENSIONS <= 1u << 16, "an index has 16 bits in the names block");
static_assert(IPC_MAX_DIMENSIONS * 4 <= 1u << IPC_NAMES_BITS_MAX, "names block");
static_assert(IPC_LEAF_ENTRIES * sizeof(struct ipc_dimension) == 4096, "a leaf is one page");
static_assert(sizeof(struct ipc_segment) == 4096, "segment header");
static_assert(offsetof(struct ipc_segment, slots_used) == 16, "segment header");
static_assert(offsetof(struct ipc_segment, token) == 32, "segment header");
static_assert(sizeof(struct ipc_slot) == 64, "a slot is one cache line");
static_assert(sizeof(struct ipc_hold) == 16, "hold");

/* Where things stand in a segment of so many slots. */
static inline uint64_t ipc_slots_offset(void)
{
	return sizeof(struct ipc_segment);
}
static inline uint64_t ipc_holds_offset(uint32_t slots)
{
	return ipc_slots_offset() + (uint64_t)slots * sizeof(struct ipc_slot);
}
static inline uint64_t ipc_segment_bytes(uint32_t slots, uint32_t holds)
{
	uint64_t end = ipc_holds_offset(slots) + (uint64_t)holds * sizeof(struct ipc_hold);
	return (end + 4095) & ~4095ull;
}

/* `news` counts in steps of 2; bit 0 tells sleepers before and after the manager's last round of waking
 * apart. See regionmgr/manager/news.h. */
#define IPC_NEWS_PHASE 1u
#define IPC_NEWS_STEP  2u
static inline uint32_t ipc_news_bit(uint32_t news)
{
	return 1u << (news & IPC_NEWS_PHASE);
}

/* --- Names: part of the layout ---------------------------------------------------------------- */

/* 1 to 8 bytes of a name as a word, the first byte lowest, the rest zero: no byte behind is read. */
static inline uint64_t ipc_name_word(const char *name, size_t length)
{
	uint64_t word;
	uint32_t low, high;
	if (length >= sizeof word) {
		memcpy(&word, name, sizeof word);
		return word;
	}
	if (length >= sizeof low) {
		/* Two halves that may overlap: the bytes they share are the same. */
		memcpy(&low, name, sizeof low);
		memcpy(&high, name + length - sizeof high, sizeof high);
		return low | (uint64_t)high << 8 * (length - sizeof high);
	}
	/* First, middle, last: all there are. */
	word = (unsigned char)name[0];
	word |= (uint64_t)(unsigned char)name[length / 2] << 8 * (length / 2);
	return word | (uint64_t)(unsigned char)name[length - 1] << 8 * (length - 1);
}

/* Hash of a dimension's name, taken as words of 8 bytes, the last one padded with zeros. Per word
 * h = (h ^ word) * K; h ^= h >> 32; at last h * K. K = 0x9e3779b97f4a7c15, h begins as 2^63. */
static inline uint64_t ipc_name_hash(const char *name, size_t length)
{
	uint64_t hash = 1ull << 63;
	for (size_t at = 0; at < length; at += 8) {
		size_t left = length - at;
		hash = (hash ^ ipc_name_word(name + at, left)) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	return hash * 0x9e3779b97f4a7c15ull;
}

/* Of a hash, with so many bits: the first place, by the highest bits; the tag by the next 16. A tag is
 * never 0, so that no place that is used looks empty. */
static inline uint32_t ipc_name_place(uint64_t hash, uint32_t bits)
{
	return (uint32_t)(hash >> (64 - bits));
}
static inline uint32_t ipc_name_tag(uint64_t hash, uint32_t bits)
{
	uint32_t tag = (uint32_t)(hash >> (48 - bits)) & 0xffffu;
	return tag ? tag : 1;
}
static inline uint32_t ipc_place_of(uint64_t hash, uint32_t bits, uint32_t index)
{
	return ipc_name_tag(hash, bits) << 16 | index;
}

#endif
