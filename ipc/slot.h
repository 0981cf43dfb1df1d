/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections and holds: the words by which a reader tells what it may see, and how they are read.
 *
 * Promise. A block that is born at version b and retired at version r (reachable from versions
 * b … r-1) is not reused while any section or hold sees a version v with b <= v < r. Nobody waits
 * for anybody: a reader makes two loads, a store and a full barrier; the manager's scan reads words.
 *
 *   reader, enter                          manager
 *   R1  v = current          (acquire)     M1  write blocks, then current = c   (release)
 *   R2  word = v             (release)     M2  c = current
 *   R3  full barrier                       M3  full barrier
 *   R4  w = current          (acquire)     M4  read every slot word             (acquire)
 *   R5  w != v: v = w, back to R2          M5  then read every hold             (acquire)
 *       … read what v reaches …            M6  reuse blocks with r <= c that no word or hold sees
 *   R6  word = 0             (release)
 *
 * The way in and out that programs inline is regionmgr/inline.h: R1 to R6 in the same order. It stores
 * 0 and begins anew over here where R5 goes back: a section in which nothing was read.
 *
 * Argument. Let a reader be inside a section at v, past R4, and let the manager free a block with
 * b <= v < r <= c. The full barriers R3 and M3 are ordered one way or the other.
 *   - R3 before M3: M4 comes after R2's store and sees v (the block is kept: contradiction), or a
 *     later store of that word. Later stores are R6, or R2 of a later section: then the section at v
 *     is over, and by M4's acquire its reads happened before M6. (R2 is a release so that this holds
 *     for a word that goes from v to a newer version without a zero being seen.)
 *   - M3 before R3: R4 comes after M2, so it loads w >= c >= r > v: the reader goes back (R5) and
 *     never reads at v.
 * Without R4 and R5 the second case breaks: v may be older than c. Blocks retired after M2 (r > c)
 * are not considered, since a reader may still enter at c after M4.
 *
 * Full barrier. Either a seq_cst fence on both sides; or, where the reader's process registered with
 * membarrier(2) GLOBAL_EXPEDITED and says so in its segment, nothing but compiler order in R3, and
 * the manager's membarrier call in M3, which makes every running thread of that process pass a
 * barrier. To an unregistered process that call does nothing although it succeeds: hence the bit. A
 * reader that lies about it harms its own reads alone. It stores the bit, then passes a full barrier, before
 * its first section: where the manager's call fails, the bit is read instead.
 *
 * Holds. A hold (dimension d, version v) is stored inside a section that sees v, version first, then
 * d with release; so M5, which comes after M4, finds it: if M4 missed the section because it was over
 * already, R6's release and M4's acquire make the hold visible; if M4 came before the section began,
 * the reader's R4 saw a version >= c. It is never moved in memory, since a scan could then miss it.
 * A hold is cleared by storing d = 0 (release): what was read under it happened before. A scan whose
 * loads fall on both sides of a clear and the next use of the entry sees the pair (d old, v new): the
 * old hold is over then, and by v's own release what was read under it happened before, too; the new
 * hold is still covered by its section's word.
 *
 * `slots_used` and `holds_used` bound the scan. The reader raises them before R2 (before the hold's
 * stores), so the argument covers them as it covers the words.
 *
 * Revocation. A word of the table for each session, `revoked`, always at least 1: what that session saw
 * of versions below it is void, and no longer kept. It is told when the section ends.
 *
 *   reader, leave                          manager
 *   R6a acquire fence                      V1  revoked = r                     (release)
 *   R6b r = revoked          (relaxed)     M3  full barrier
 *   R6  word = 0; v < r: void              M4, M5 the session's words below r do not count
 *                                          M6  reuse: stores into the blocks
 *
 * Claim: a section at v < r that read a byte stored by M6 finds r at R6b. As with a sequence lock: the
 * reader loaded the byte before the fence R6a, the manager stored it behind the fence M3, and V1 comes
 * before that; so the two fences are ordered, and R6b, behind the one, sees what was stored before the
 * other. A section that is told r and read nothing new lost nothing but its result. Whoever reuses the
 * block in another thread got it under a lock, behind M3. For a look-up in the middle of a section the
 * same two steps stand behind its loads (ipc_section_revoked), before it believes them.
 *
 * Such a reader may read anything meanwhile, blocks in the middle of being written included. So what it
 * follows is held against the bounds of table and region (ipc/table.h, regionmgr/reader/layers.c).
 *
 * tests/models/ has this argument as models that spin and relacy check.
 *
 * What is not ordered: two readers, and a reader and the publication of unrelated news.
 *
 * Race build (POOL_RACE_BUILD): ThreadSanitizer does not model fences, so R2+R3 become one seq_cst
 * exchange and M1, R4, M4 are seq_cst: stronger, and visible to it.
 */
#ifndef IPC_SLOT_H
#define IPC_SLOT_H

#include <stdbool.h>

#include "ipc/atomic.h"
#include "ipc/format.h"

#ifdef POOL_RACE_BUILD
#define IPC_ORDER_CURRENT __ATOMIC_SEQ_CST
#else
#define IPC_ORDER_CURRENT __ATOMIC_ACQUIRE
#endif

/* R2 and R3. `membarrier`: this process registered. */
static inline void ipc_section_announce(struct ipc_slot *slot, uint64_t version, bool membarrier)
{
#ifdef POOL_RACE_BUILD
	(void)membarrier;
	__atomic_exchange_n(&slot->word, version, __ATOMIC_SEQ_CST);
#else
	store64_release(&slot->word, version);
	if (membarrier)
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	else
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* R1 to R5: returns the version that the section sees. */
static inline uint64_t ipc_section_enter(
	const struct ipc_table *table, struct ipc_slot *slot, bool membarrier)
{
	uint64_t version = __atomic_load_n(&table->current, IPC_ORDER_CURRENT);
	for (;;) {
		ipc_section_announce(slot, version, membarrier);
		uint64_t again = __atomic_load_n(&table->current, IPC_ORDER_CURRENT);
		if (__builtin_expect(again == version, 1))
			return version;
		version = again;
	}
}

/* R6a and R6b: was the version taken back, as of all loads so far? */
static inline bool ipc_section_revoked(const uint64_t *revoked, uint64_t version)
{
#ifdef POOL_RACE_BUILD
	return version < load64_acquire(revoked);
#else
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return version < load64_relaxed(revoked);
#endif
}

/* R6. */
static inline void ipc_section_exit(struct ipc_slot *slot)
{
	store64_release(&slot->word, 0);
}

/* Store a hold, inside a section that sees `version`. */
static inline void ipc_hold_store(struct ipc_hold *hold, uint64_t dimension, uint64_t version)
{
	store64_release(&hold->version, version);
	store64_release(&hold->dimension, dimension);
}
static inline void ipc_hold_clear(struct ipc_hold *hold)
{
	store64_release(&hold->dimension, 0);
}

/* M1: what current leads to was written before; whoever loads it sees that. */
static inline void ipc_publish(struct ipc_table *table, uint64_t version)
{
#ifdef POOL_RACE_BUILD
	__atomic_store_n(&table->current, version, __ATOMIC_SEQ_CST);
#else
	store64_release(&table->current, version);
#endif
}

/* --- The manager's side ----------------------------------------------------------------------- */

/* A growing set of versions in view. Sorted and unique after ipc_seen_sort(). */
struct ipc_seen {
	uint64_t *versions;
	size_t count;
	size_t capacity;
};
int ipc_seen_add(struct ipc_seen *seen, uint64_t version); /* -ENOMEM */
void ipc_seen_sort(struct ipc_seen *seen);
void ipc_seen_free(struct ipc_seen *seen);
/* Is there a version v with born <= v < retired in a sorted set? */
bool ipc_seen_any(const struct ipc_seen *seen, uint64_t born, uint64_t retired);

/* M3. 0, or negative: then nothing may be reused while a session with the bit lives. */
int ipc_manager_barrier(bool membarrier);

/*
 * M4 and M5 for one segment, whose bytes are hostile: every word is loaded once and only compared.
 * `slots` and `holds` are the manager's own copies of the segment's capacity.
 */
struct ipc_held {
	uint64_t dimension;
	uint64_t version;
};
int ipc_scan_slots(const struct ipc_segment *segment, uint32_t slots, struct ipc_seen *seen);
/* Calls `found` for every hold; stops at and returns its first nonzero result. */
int ipc_scan_holds(const struct ipc_segment *segment, uint32_t slots, uint32_t holds,
	int (*found)(void *context, const struct ipc_held *held), void *context);

#endif
