/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read before each source of the reader and the manager in a build with ThreadSanitizer, which knows
 * nothing of what liburcu does: its library is not instrumented and its atomics are assembly. Here
 * what liburcu promises is told, no more: each promise has a token of its own, so that no edge covers
 * a race elsewhere.
 *
 *     a read-side section that ended  ->  callbacks of the grace period after it
 *     before call_rcu()               ->  the callback  ->  after rcu_barrier()
 *     before an insertion             ->  whoever finds the node
 *     before an enqueue               ->  whoever dequeues
 *     before a reference is put       ->  the release of the last one
 *     rcu_assign_pointer()            ->  rcu_dereference()
 */
#ifndef TSAN_URCU_H
#define TSAN_URCU_H

#include <sanitizer/tsan_interface.h>
#include <urcu/urcu-bp.h>
#include <urcu/rculfhash.h>
#include <urcu/wfcqueue.h>
#include <urcu/ref.h>

/* Only their addresses are used. */
__attribute__((weak)) char rgm_tsan_grace, rgm_tsan_called, rgm_tsan_table;

#undef urcu_bp_read_unlock
#define urcu_bp_read_unlock() (__tsan_release(&rgm_tsan_grace), (urcu_bp_read_unlock)())

#define urcu_bp_call_rcu(head, function)                                                           \
	__extension__({                                                                            \
		void tsan_callback_(struct rcu_head *tsan_head_)                                   \
		{                                                                                  \
			__tsan_acquire(&rgm_tsan_grace);                                           \
			(function)(tsan_head_);                                                    \
			__tsan_release(&rgm_tsan_called);                                          \
		}                                                                                  \
		__tsan_release(&rgm_tsan_grace);                                                   \
		(urcu_bp_call_rcu)(head, tsan_callback_);                                          \
	})
#define urcu_bp_barrier() ((urcu_bp_barrier)(), __tsan_acquire(&rgm_tsan_called))

#define cds_lfht_add(table, hash, node)                                                            \
	(__tsan_release(&rgm_tsan_table), (cds_lfht_add)(table, hash, node))
#define cds_lfht_lookup(table, hash, match, key, iterator)                                         \
	__extension__({                                                                            \
		int tsan_match_(struct cds_lfht_node *tsan_node_, const void *tsan_key_)           \
		{                                                                                  \
			__tsan_acquire(&rgm_tsan_table);                                           \
			return (match)(tsan_node_, tsan_key_);                                     \
		}                                                                                  \
		(cds_lfht_lookup)(table, hash, tsan_match_, key, iterator);                        \
	})
#define cds_lfht_replace(table, iterator, hash, match, key, node)                                  \
	__extension__({                                                                            \
		int tsan_match_(struct cds_lfht_node *tsan_node_, const void *tsan_key_)           \
		{                                                                                  \
			__tsan_acquire(&rgm_tsan_table);                                           \
			return (match)(tsan_node_, tsan_key_);                                     \
		}                                                                                  \
		__tsan_release(&rgm_tsan_table);                                                   \
		(cds_lfht_replace)(table, iterator, hash, tsan_match_, key, node);                 \
	})
#define cds_lfht_first(table, iterator)                                                            \
	((cds_lfht_first)(table, iterator), __tsan_acquire(&rgm_tsan_table))
#define cds_lfht_next(table, iterator)                                                             \
	((cds_lfht_next)(table, iterator), __tsan_acquire(&rgm_tsan_table))

#undef cds_wfcq_enqueue
#define cds_wfcq_enqueue(head, tail, node)                                                         \
	(__tsan_release(tail), (cds_wfcq_enqueue)(head, tail, node))
#undef __cds_wfcq_dequeue_blocking
#define __cds_wfcq_dequeue_blocking(head, tail)                                                    \
	__extension__({                                                                            \
		struct cds_wfcq_node *tsan_node_ = (__cds_wfcq_dequeue_blocking)(head, tail);      \
		__tsan_acquire(tail);                                                              \
		tsan_node_;                                                                        \
	})

#define urcu_ref_put(reference, function)                                                          \
	__extension__({                                                                            \
		void tsan_release_(struct urcu_ref *tsan_reference_)                               \
		{                                                                                  \
			__tsan_acquire(tsan_reference_);                                           \
			(function)(tsan_reference_);                                               \
		}                                                                                  \
		__tsan_release(reference);                                                         \
		(urcu_ref_put)(reference, tsan_release_);                                          \
	})

#undef rcu_set_pointer
#undef rcu_assign_pointer
#undef rcu_dereference
#define rcu_set_pointer(place, value)    __atomic_store_n(place, value, __ATOMIC_RELEASE)
#define rcu_assign_pointer(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)
#define rcu_dereference(place)           __atomic_load_n(&(place), __ATOMIC_ACQUIRE)

#endif
