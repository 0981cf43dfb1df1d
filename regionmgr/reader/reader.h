/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside libregionmgr. Nouns:
 *
 *   session   one attach of this process: table, own segment, connection     (session.c)
 *   mapping   one region's window in this process                            (map.c)
 *   slot      one thread's word in the segment                               (slot.c)
 *   hold      one claim on (dimension, version), shared by its views         (hold.c)
 *   token     who forked while holds were alive                              (fork.c)
 *
 * Locks: `sessions_lock` (list of sessions and of each thread's slots), then session.lock; nothing of
 * the library is called with user code in between. rgm_pin, rgm_unpin, rgm_find and opening a view take
 * neither.
 *
 * Forked children: `here` is a word in a page that the kernel wipes on fork. Where it is 0 this process
 * is not the one that attached, and nothing is stored in the segment.
 */
#ifndef READER_READER_H
#define READER_READER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define URCU_INLINE_SMALL_FUNCTIONS
#include <urcu/urcu-bp.h>

#include "ipc/slot.h"
#include "ipc/socket.h"
#include "ipc/table.h"
#include <regionmgr/layers.h>
#include <regionmgr/session.h>

/* Mappings that a slot remembers, by index. */
#define SLOT_RECENT 64u
/* Buckets of the holds' hash. */
#define HOLD_BUCKETS 256u

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

struct rgm_hold {
	struct rgm_session *session;
	uint64_t dimension;
	uint64_t version;
	const void *base;
	uint64_t root_offset;
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
	uint32_t slot_capacity; /* slot 0 is the library's own */
	uint32_t hold_capacity;
	struct ipc_slot *slots; /* in the segment */
	struct ipc_hold *holds; /* in the segment */
	bool membarrier;
	bool guard;
	uint64_t number;
	uint32_t timeout_ms;
	char socket_path[108];
	uint64_t *here;            /* in a page wiped on fork */
	struct mapping **mappings; /* by table index; RCU, changed under lock */
	uint32_t mapping_capacity;

	atomic_uint_least64_t swept; /* table.dropped as of the last sweep; relaxed: a prompt */

	pthread_mutex_t lock; /* guards the following, slot 0 and the connection */
	int socket;
	uint32_t sequence;
	bool hung_up;
	uint32_t mapped;
	uint32_t gone;                /* of the mappings: dropped, not yet unmapped */
	struct rgm_slot **open_slots; /* by index */
	struct rgm_hold *buckets[HOLD_BUCKETS];
	struct rgm_hold *zombies; /* released here, kept for forked children */
	uint32_t free_hold;       /* where to look for a free entry */
	bool *hold_used;          /* by index */
	struct token *tokens;     /* newest first */
	uint64_t next_token;
	bool token_spent; /* since the newest token was made, a hold was taken, or left to children */
};

/* What rgm_pin() and rgm_unpin() touch, in one cache line. */
struct rgm_slot {
	struct ipc_slot *word;
	const struct ipc_table *table;
	const uint64_t *here;
	uint64_t version; /* 0: outside */
	uint32_t nested;  /* sections within the outermost one */
	bool membarrier;
	bool guarded;  /* this section opened a view in a guarded session: */
	uint64_t hits; /*   guard_hits() before the first one; 0 - 1: damage was met */
	uint32_t index;
	struct rgm_session *session; /* NULL: detached under this thread */
	struct rgm_slot *next;       /* the thread's other slots; the thread's own */
	/* The mapping found last for an index: private to the thread. It may be used while the
	 * section's entry has its id: ids are never used again, and a mapping whose id some section
	 * of this process sees is not unmapped. */
	struct recent {
		uint64_t dimension;
		const struct mapping *mapping;
	} recent[SLOT_RECENT];
} __attribute__((aligned(64)));

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

static inline bool reader_forked(const uint64_t *here)
{
	return __builtin_expect(__atomic_load_n(here, __ATOMIC_RELAXED) == 0, 0);
}

int reader_fail_forked(struct rgm_error *error);

/* --- session.c --- */
/* One request on the session's connection. Under session.lock. */
int reader_call(struct rgm_session *session, struct ipc_header *request, void *reply,
	size_t reply_bytes, int *ret_file, struct rgm_error *error);
/* Has the manager closed the connection? Under session.lock. */
bool reader_hung_up(struct rgm_session *session);

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
/* Inside a section at `version`: what the slot sees of an entry, its mapping here. RGM_EAGAIN. */
int reader_view(struct rgm_slot *slot, const struct ipc_dimension *entry, uint32_t index,
	const struct mapping **ret_mapping, struct rgm_error *error);
/* Unmap what was dropped and is seen by nobody here. Under session.lock. */
void reader_sweep(struct rgm_session *session);
/* Prompt a sweep from inside a section if something was dropped since the last one. */
void reader_notice(struct rgm_session *session);
/* The array of mappings, all empty. -ENOMEM. */
int reader_mappings_create(struct rgm_session *session);
/* Unmap everything, at detach. Under session.lock. */
void reader_unmap_all(struct rgm_session *session);

/* --- slot.c --- */
/* The library's own slot 0, under session.lock: a section that is over before the lock is released. */
uint64_t reader_own_enter(struct rgm_session *session);
void reader_own_exit(struct rgm_session *session);
/* Close all slots of a session that ends. */
void reader_close_slots(struct rgm_session *session);
/* Every slot word of this process but slot 0 is 0 or at least `version`, after a barrier. */
bool reader_slots_past(struct rgm_session *session, uint64_t version);

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
/* A word that is 1 here and 0 in every forked child. NULL: no memory. */
uint64_t *reader_here_create(void);
void reader_here_destroy(uint64_t *here);

#endif
