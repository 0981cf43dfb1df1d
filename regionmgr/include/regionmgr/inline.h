/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file inline.h
 * rgm_pin() and rgm_unpin() without a call, for compilers that know gnu_inline (GCC, Clang). Included by
 * session.h; there is nothing to call in here.
 *
 * An optimised build takes the bodies below. A build without optimisation, a pointer to one of these
 * functions and other languages reach the library's functions of the same names, which do the same; so
 * does a program that defines RGM_NO_INLINE first. Both kinds may be mixed in one program.
 *
 * What the bodies know of the library is **layout 1**: the two words of struct rgm_slot_words, at the
 * start of what a slot points to, and #RGM_WORD_DISTANCE, at which behind the slot there is what this
 * thread sees, told to the manager. They are part of the ABI and never change under the SONAME
 * libregionmgr.so.0. A library that needs another protocol leaves the two words NULL, or the one whose
 * call it needs: then each of these calls ends in the library, and nothing at the distance is touched.
 * That is the rule which keeps programs that were compiled long ago right. The protocol and the argument
 * for it stand in the sources, in ipc/slot.h.
 */
#ifndef REGIONMGR_INLINE_H
#define REGIONMGR_INLINE_H

#include <regionmgr/session.h>

/** Layout 1. Private to the functions in this file; written by the library alone. Both are NULL in a
 * forked child. */
struct rgm_slot_words {
	const uint64_t *current; /* the instance's current version; NULL: a pin asks the library */
	/* What was seen of versions below it is void; at least 1. NULL: an unpin asks the library. */
	const uint64_t *revoked;
};

/** Layout 1: from a slot to the word of its thread in the session's segment, in bytes. It is no multiple
 * of a page or of 1 KiB: processors take addresses that are alike in their low bits for the same one at
 * first, and the slot is read when the word was just written. */
#define RGM_WORD_DISTANCE 524224

/** Compilers put what leads to such a call out of the usual way, on which no jump is taken then. */
#if defined(__GNUC__)
#define RGM_UNUSUAL __attribute__((__cold__))
#else
#define RGM_UNUSUAL
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** rgm_pin() and rgm_unpin() as the library does them, under names that have no body here: where the
 * bodies go on when there is more to do than the usual. */
RGM_API RGM_UNUSUAL int rgm_pin_called(struct rgm_slot *slot);
RGM_API RGM_UNUSUAL int rgm_unpin_called(struct rgm_slot *slot);

#ifdef __cplusplus
}
#endif

#if defined(__GNUC__) && defined(__ELF__) && defined(__has_attribute)
#if __has_attribute(gnu_inline) && !defined(__SANITIZE_THREAD__)
#define RGM_INLINE_USABLE 1
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) /* it knows no fences: it is to see the library's calls */
#undef RGM_INLINE_USABLE
#endif
#endif
#endif

#if defined(RGM_INLINE_USABLE)
#define RGM_INLINE extern __inline__ __attribute__((__gnu_inline__))

#ifdef __cplusplus
extern "C" {
#endif

/* Names end in _, here and below: they shadow nothing of the program's. */
RGM_INLINE __attribute__((__always_inline__)) uint64_t *rgm_word_(
	const struct rgm_slot_words *words_)
{
	return (uint64_t *)((uintptr_t)words_ + RGM_WORD_DISTANCE);
}

/* The usual case of a pin and of an unpin, for the bodies below and for the library; 0: it was not that,
 * and nothing was done. Seven loads and two stores in all. Their order was measured: `current` is loaded
 * before the word is looked at, which says whether the section is an inner one. */
RGM_INLINE __attribute__((__always_inline__)) int rgm_pin_usual_(
	const struct rgm_slot_words *words_)
{
	const uint64_t *current_ = words_->current;
	uint64_t *word_ = rgm_word_(words_);
	uint64_t version_;

	if (__builtin_expect(current_ == NULL, 0))
		return 0;
	version_ = __atomic_load_n(current_, __ATOMIC_ACQUIRE);
	if (__builtin_expect(__atomic_load_n(word_, __ATOMIC_RELAXED) != 0, 0))
		return 0;
	__atomic_store_n(word_, version_, __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (__builtin_expect(__atomic_load_n(current_, __ATOMIC_ACQUIRE) == version_, 1))
		return 1;
	/* A newer version came in between. Nothing was read: out, and in again in the library. */
	__atomic_store_n(word_, 0, __ATOMIC_RELEASE);
	return 0;
}

RGM_INLINE __attribute__((__always_inline__)) int rgm_unpin_usual_(
	const struct rgm_slot_words *words_)
{
	const uint64_t *revoked_ = words_->revoked;
	uint64_t *word_ = rgm_word_(words_);
	uint64_t version_;

	if (__builtin_expect(revoked_ == NULL, 0))
		return 0;
	version_ = __atomic_load_n(word_, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	/* Below it: outside a section (0), revoked, or a case that the library marked. */
	if (__builtin_expect(version_ < __atomic_load_n(revoked_, __ATOMIC_RELAXED), 0))
		return 0;
	__atomic_store_n(word_, 0, __ATOMIC_RELEASE);
	return 1;
}

#if !defined(RGM_NO_INLINE)
#define RGM_INLINE_BODIES 1

RGM_INLINE int rgm_pin(struct rgm_slot *slot_)
{
	const struct rgm_slot_words *words_ = (const struct rgm_slot_words *)(const void *)slot_;

	return __builtin_expect(rgm_pin_usual_(words_), 1) ? 0 : rgm_pin_called(slot_);
}

RGM_INLINE int rgm_unpin(struct rgm_slot *slot_)
{
	const struct rgm_slot_words *words_ = (const struct rgm_slot_words *)(const void *)slot_;

	return __builtin_expect(rgm_unpin_usual_(words_), 1) ? 0 : rgm_unpin_called(slot_);
}
#endif

#ifdef __cplusplus
}
#endif
#endif
#endif
