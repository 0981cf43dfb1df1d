/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside libregionmgr. Nouns:
 *
 *   session   one attach of this process: table, own segment, connection     (session.c)
 *   news      what a sleeper is woken for                                    (wait.c)
 *   mapping   one region's window in this process                            (map.c)
 *   slot      one thread's word in the segment                               (slot.c)
 *   cell      64 bytes that are zero in a forked child: a slot, or `here`    (cells.c)
 *   hold      one claim on (dimension, version), shared by its views         (hold.c)
 *   token     who forked while holds were alive                              (fork.c)
 *
 * Locks: `sessions_lock` (list of sessions and of each thread's slots), then session.lock; nothing of
 * the library is called with user code in between. rgm_pin, rgm_unpin, rgm_find and opening a view take
 * neither.
 *
 * Forked children: slots and `here` stand in cells of memory that the kernel wipes on fork. Where they are
 * zero this process is not the one that attached, and nothing is stored in the segment.
 */
#ifndef READER_READER_H
#define READER_READER_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define URCU_INLINE_SMALL_FUNCTIONS
#include <urcu/urcu-bp.h>

#include "ipc/slot.h"
#include "ipc/socket.h"
#include "ipc/table.h"
#include <regionmgr/inline.h>
#include <regionmgr/layers.h>
#include <regionmgr/session.h>

/* What the manager needs for an attach or a mapping, and no more: longer waits sleep. */
#define READER_POLL_US 50u
/* Buckets of the holds' hash. */
#define HOLD_BUCKETS 256u

/* Where the newest mapping of a table index is, for look-ups: written under session.lock, read by any
 * section without one. `dimension` is 0 while `base` changes, and 0 again before the window is unmapped.
 * Who loads its dimension, the base, and the dimension once more, has the base of that dimension: ids are
 * never used again. Base is stored with release and loaded with acquire: who finds the new one finds at
 * least the 0 before it. */
struct place {
	uint64_t dimension; /* atomic */
	const void *base;   /* atomic */
};

/* One region mapped in this process. Found through session.mappings under RCU (urcu-bp); `base` is
 * safe to use inside a section that sees the dimension, or under a hold on it. An index may have
 * several: the newest dimension first, behind it dropped ones that somebody here may still see. */
struct mapping {
	struct rcu_head rcu;
	uint64_t dimension;
	uint32_t index;
	uint32_t kind;
	const void *base;
	uint64_t window_bytes;
	uint64_t damage; /* atomic: faults repaired by the guard in this window */
	bool guarded;
	struct mapping *older; /* of the same index; RCU */
	uint64_t gone;         /* under session.lock: a version without the dimension, or 0 */
};

struct token;
struct cells;

struct rgm_hold {
	struct rgm_session *session;
	uint64_t dimension;
	uint64_t version;
	const void *base;
	uint64_t root_offset;
	uint64_t region_bytes;
	uint32_t kind;
	uint32_t index; /* of its entry in the segment */
	const struct mapping *mapping;
	uint64_t damage; /* of the mapping when it was taken */
	/* under session.lock */
	uint32_t views;        /* rgm_hold_take() not yet released */
	uint64_t first_token;  /* forks that happened while it was alive: numbers of tokens; */
	uint64_t last_token;   /*   0: none */
	bool for_ever;         /* a fork could not be followed: it stands until the session ends */
	struct rgm_hold *next; /* in its bucket, or in session.zombies once views is 0 */
};

struct rgm_session {
	struct rgm_session *next; /* under sessions_lock */
	/* constant after attach */
	const struct ipc_table *table;
	uint64_t table_bytes;
	struct ipc_segment *segment;
	uint64_t segment_bytes;
	struct cells *cells;    /* in front of the segment */
	uint32_t slot_capacity; /* slot 0 is the library's own */
	uint32_t hold_capacity;
	struct ipc_slot *slots;  /* in the segment */
	struct ipc_hold *holds;  /* in the segment */
	const uint64_t *revoked; /* this session's word in the table */
	bool membarrier;
	bool guard;
	uint64_t number;
	uint32_t timeout_ms;
	char socket_path[108];
	uint64_t *here;            /* a cell wiped on fork: 1, or 0 */
	struct mapping **mappings; /* by table index; RCU, changed under lock */
	struct place *places;      /* by table index */
	uint32_t mapping_capacity;

	atomic_uint_least64_t swept; /* table.dropped as of the last sweep; relaxed: a prompt */

	pthread_mutex_t lock; /* guards the following, slot 0 and the connection */
	int socket;
	uint32_t sequence;
	bool hung_up;
	uint32_t mapped;
	uint32_t gone;                  /* of the mappings: dropped, not yet unmapped */
	struct slot_state **open_slots; /* by index */
	struct rgm_hold *buckets[HOLD_BUCKETS];
	struct rgm_hold *zombies; /* released here, kept for forked children */
	uint32_t free_hold;       /* where to look for a free entry */
	bool *hold_used;          /* by index */
	struct token *tokens;     /* newest first */
	uint64_t next_token;
	bool token_spent; /* since the newest token was made, a hold was taken, or left to children */
};

/* A slot: a cell that is wiped on fork. All of it is written by the library, by the slot's own thread or
 * before it is known to it; at detach by who detaches, when no thread uses the slot any more. */
struct rgm_slot {
	/* Layout 1 (inline.h): what pins and unpins of every program compiled so far read. Both are
	 * NULL where each of them is to come to the library: fence form, race build, session detached;
	 * else `revoked` is `limit`. */
	struct rgm_slot_words words;
	/* The word in the segment, whatever the form. NULL: a forked child, or detached. */
	struct ipc_slot *claim;
	struct slot_state *state; /* NULL: a forked child */
	const struct ipc_table *table;
	const uint64_t *revoked; /* this session's word */
	/* What an unpin compares with: that word, or one that no version reaches, so that more is done
	 * than to leave: a nested section, a view in a guarded session. */
	const uint64_t *limit;
	const struct place *places; /* the session's */
} __attribute__((aligned(64)));

static_assert(offsetof(struct rgm_slot, words) == 0, "slot layout 1");
static_assert(offsetof(struct rgm_slot_words, current) == 0, "slot layout 1");
static_assert(offsetof(struct rgm_slot_words, revoked) == 8, "slot layout 1");
static_assert(sizeof(struct rgm_slot) == 64, "a slot is a cell");

/* The rest of a slot, which forked children inherit: private to its thread, but for `session`. */
struct slot_state {
	struct rgm_slot *slot;
	struct rgm_session *session; /* NULL: detached under this thread */
	struct slot_state *next;     /* the thread's other slots */
	struct cells *cells;         /* the slot is one of them */
	uint32_t index;
	uint32_t nested;       /* sections within the outermost one */
	bool guarded;          /* this section opened a view in a guarded session: */
	uint64_t hits;         /*   guard_hits() before the first one; 0 - 1: damage was met */
	struct ipc_index seen; /* the table at the version looked up last: private to the thread */
};

static inline bool slot_forked(const struct rgm_slot *slot)
{
	return __builtin_expect(slot->state == NULL, 0);
}
/* What its section sees; 0: outside. */
static inline uint64_t slot_version(const struct rgm_slot *slot)
{
	const struct ipc_slot *claim = slot->claim;
	return __builtin_expect(claim != NULL, 1) ? load64_relaxed(&claim->word) : 0;
}
/* Was `version` taken back from this session? Asked behind loads: what they found is void then, else it
 * was what that version reaches (ipc/slot.h). */
static inline bool slot_revoked(const struct rgm_slot *slot, uint64_t version)
{
	return __builtin_expect(ipc_section_revoked(slot->revoked, version), 0);
}
/* The table at the version that the slot's section sees. */
static inline const struct ipc_index *slot_index(struct rgm_slot *slot, uint64_t version)
{
	struct ipc_index *seen = &slot->state->seen;
	if (__builtin_expect(seen->version != version, 0))
		*seen = ipc_index_open(slot->table, version);
	return seen;
}

/* First of all in a function that takes a lock or talks: a thread that is cancelled in there would
 * leave the lock locked. pthread_cancel() takes effect behind it. */
static inline int reader_cancel_off(void)
{
	int state;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	return state;
}
static inline void reader_cancel_restore(const int *state)
{
	pthread_setcancelstate(*state, NULL);
}
#define READER_NOT_CANCELLED                                                                       \
	__attribute__((cleanup(reader_cancel_restore), unused)) const int cancel_state =           \
		reader_cancel_off()

/* Its partner is M3. The race build's words are ordered by themselves: ipc/slot.h. */
static inline void reader_full_fence(void)
{
#ifndef POOL_RACE_BUILD
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static inline bool reader_forked(const uint64_t *here)
{
	return __builtin_expect(__atomic_load_n(here, __ATOMIC_RELAXED) == 0, 0);
}

int reader_fail_forked(struct rgm_error *error);

/* --- connection.c --- */
/* One request on the session's connection, or on a new one. Under session.lock. */
int reader_call(struct rgm_session *session, struct ipc_header *request, void *reply,
	size_t reply_bytes, int *ret_file, struct rgm_error *error);
/* Has the manager closed the connection? Under session.lock. */
bool reader_hung_up(struct rgm_session *session);
/* Where it has: go on with the session at the manager that is there now. RGM_EGONE: there is none, or it
 * does not have the session. Under session.lock. */
int reader_go_on(struct rgm_session *session, struct rgm_error *error);

/* --- map.c --- */
/* Inside an RCU read section, or under session.lock; NULL: not mapped. */
static inline const struct mapping *reader_find_mapping(
	const struct rgm_session *session, uint32_t index, uint64_t dimension)
{
	const struct mapping *mapping = rcu_dereference(session->mappings[index]);
	while (mapping && mapping->dimension != dimension)
		mapping = rcu_dereference(mapping->older);
	return mapping;
}
/* Inside a section that sees the entry: the mapping of its dimension here. RGM_EAGAIN, RGM_EIO. */
int reader_view(struct rgm_slot *slot, const struct ipc_dimension *entry, uint32_t index,
	const struct mapping **ret_mapping, struct rgm_error *error);
/* Its base alone, without a look at the list; NULL: ask reader_view(). */
static inline const void *reader_base(
	const struct rgm_slot *slot, uint32_t index, uint64_t dimension)
{
	const struct place *place = &slot->places[index];
	if (__atomic_load_n(&place->dimension, __ATOMIC_ACQUIRE) != dimension)
		return NULL;
	const void *base = __atomic_load_n(&place->base, __ATOMIC_ACQUIRE);
	return __atomic_load_n(&place->dimension, __ATOMIC_RELAXED) == dimension ? base : NULL;
}
/* Unmap what was dropped and is seen by nobody here. Under session.lock. */
void reader_sweep(struct rgm_session *session);
/* Prompt a sweep from inside a section if something was dropped since the last one. */
void reader_notice(struct rgm_session *session);
/* The array of mappings, all empty. -ENOMEM. */
int reader_mappings_create(struct rgm_session *session);
/* Unmap everything, at detach. Under session.lock. */
void reader_unmap_all(struct rgm_session *session);

/* --- slot.c --- */
/* This section opens a view in a guarded session: its unpin is to look for damage. */
void slot_saw_guarded(struct rgm_slot *slot);
/* The library's own slot 0, under session.lock: a section that is over before the lock is released. */
uint64_t reader_own_enter(struct rgm_session *session);
void reader_own_exit(struct rgm_session *session);
/* Close all slots of a session that ends. */
void reader_close_slots(struct rgm_session *session);
/* Every slot word of this process but slot 0 is 0 or at least `version`, after a barrier. */
bool reader_slots_past(struct rgm_session *session, uint64_t version);

/* --- views.c --- */
int reader_fail_revoked(uint64_t version, struct rgm_error *error);

/* --- hold.c --- */
/* Clear the zombies whose children are gone. Under session.lock. */
void reader_reap_holds(struct rgm_session *session);
/* Clear what may be cleared, at detach. Under session.lock. */
void reader_drop_holds(struct rgm_session *session);
/* Is a hold on this dimension alive or kept for children? Under session.lock. */
bool reader_holds_on(const struct rgm_session *session, uint64_t dimension);

/* --- fork.c --- */
void reader_add_session(struct rgm_session *session);
void reader_remove_session(struct rgm_session *session);
/* Guards the list of sessions and every thread's list of slots. */
extern pthread_mutex_t sessions_lock;
/* Does a process that descends from a fork numbered first … last still live? Under session.lock. */
bool reader_tokens_alive(struct rgm_session *session, uint64_t first, uint64_t last);
/* Close the probes, at detach. Under session.lock. */
void reader_free_tokens(struct rgm_session *session);

/* --- cells.c --- */
/* Map a session's segment with its cells in front, of which one, for `here`, is taken already. The mapping
 * of the segment is the caller's, for os_unmap(). -errno. */
int reader_cells_create(int file, uint64_t segment_bytes, struct cells **ret_cells,
	uint64_t **ret_here, void **ret_segment);
/* The cell of a slot: 64 bytes of zeros, which they are again in every forked child, and so far in front of
 * the slot's word as layout 1 says. Under sessions_lock. */
void *reader_cell_take(struct cells *cells, uint32_t slot);
/* It is given back; behind the last one the cells are unmapped. Under sessions_lock. */
void reader_cell_give(struct cells *cells, void *cell);
/* What the kernel did already where it can, in a forked child. Under sessions_lock. */
void reader_cells_clear(void);

#endif
