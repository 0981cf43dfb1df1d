/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of bits in an array of 64-bit words: bit i is bit i % 64 of word i / 64, which on a little
 * endian machine is bit i % 8 of byte i / 8, the order of the allocation map on the disk.
 */
#ifndef POOL_BITMAP_H
#define POOL_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

#define BITMAP_WORD_BITS 64u

static inline bool bitmap_get(const uint64_t *map, uint64_t bit)
{
	return (map[bit / BITMAP_WORD_BITS] >> (bit % BITMAP_WORD_BITS) & 1u) != 0;
}

/* The bits of word `word` that lie in [bit, end), which meets it. */
static inline uint64_t bitmap_mask(uint64_t word, uint64_t bit, uint64_t end)
{
	uint64_t mask = UINT64_MAX;

	if (word == bit / BITMAP_WORD_BITS)
		mask &= UINT64_MAX << (bit % BITMAP_WORD_BITS);
	if (word == (end - 1) / BITMAP_WORD_BITS)
		mask &= UINT64_MAX >> (BITMAP_WORD_BITS - 1 - (end - 1) % BITMAP_WORD_BITS);
	return mask;
}

static inline void bitmap_set(uint64_t *map, uint64_t bit, uint64_t end)
{
	for (uint64_t word = bit / BITMAP_WORD_BITS; word * BITMAP_WORD_BITS < end; word++)
		map[word] |= bitmap_mask(word, bit, end);
}

static inline void bitmap_clear(uint64_t *map, uint64_t bit, uint64_t end)
{
	for (uint64_t word = bit / BITMAP_WORD_BITS; word * BITMAP_WORD_BITS < end; word++)
		map[word] &= ~bitmap_mask(word, bit, end);
}

/* The first bit in [bit, end) that has this value; `end` if there is none. */
static inline uint64_t bitmap_find(const uint64_t *map, uint64_t bit, uint64_t end, bool value)
{
	for (uint64_t word = bit / BITMAP_WORD_BITS; bit < end; word++) {
		uint64_t found = (value ? map[word] : ~map[word]) & bitmap_mask(word, bit, end);

		if (found != 0)
			return word * BITMAP_WORD_BITS + (uint64_t)__builtin_ctzll(found);
		bit = (word + 1) * BITMAP_WORD_BITS;
	}
	return end;
}

/* The last set bit in [0, end), plus one; 0 if there is none. */
static inline uint64_t bitmap_find_last(const uint64_t *map, uint64_t end)
{
	while (end > 0) {
		uint64_t word = (end - 1) / BITMAP_WORD_BITS;
		uint64_t found = map[word] & bitmap_mask(word, 0, end);

		if (found != 0)
			return word * BITMAP_WORD_BITS + BITMAP_WORD_BITS -
			       (uint64_t)__builtin_clzll(found);
		end = word * BITMAP_WORD_BITS;
	}
	return 0;
}

#endif
