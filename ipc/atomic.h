/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Atomic access to the words of format.h, each with its order in its name. The words are plain
 * integers in the layout (C and C++ share it), so the compiler's builtins are used instead of
 * <stdatomic.h>.
 */
#ifndef IPC_ATOMIC_H
#define IPC_ATOMIC_H

#include <assert.h>
#include <stdint.h>

/* Without locks, so it does not matter which process an access comes from. */
static_assert(__atomic_always_lock_free(sizeof(uint64_t), 0), "words of 8 bytes are atomic");
static_assert(__atomic_always_lock_free(sizeof(uint32_t), 0), "words of 4 bytes are atomic");

static inline uint64_t load64_relaxed(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}
static inline uint64_t load64_acquire(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
static inline void store64_relaxed(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}
static inline void store64_release(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}
static inline uint32_t load32_relaxed(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}
static inline uint32_t load32_acquire(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}
static inline void store32_relaxed(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}
static inline void store32_release(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

#endif
