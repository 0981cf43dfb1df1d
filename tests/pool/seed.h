/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers for tests: the seed is printed, and taken from RGM_TEST_SEED if that is set. */
#ifndef TESTS_POOL_SEED_H
#define TESTS_POOL_SEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "pool/os.h"

/* xorshift64*, Vigna 2014. */
static inline uint64_t seed_next(uint64_t *random)
{
	*random ^= *random >> 12;
	*random ^= *random << 25;
	*random ^= *random >> 27;
	return *random * 2685821657736338717ull;
}

/* 0 to limit - 1. */
static inline uint64_t seed_below(uint64_t *random, uint64_t limit)
{
	return (seed_next(random) >> 11) % limit;
}

static inline uint64_t seed_get(const char *test)
{
	const char *text = getenv("RGM_TEST_SEED");
	uint64_t seed = 0;

	if (text != NULL)
		seed = strtoull(text, NULL, 0);
	else if (os_random(&seed, sizeof(seed)) != 0)
		seed = 1;
	if (seed == 0)
		seed = 1;
	printf("%s: RGM_TEST_SEED=%llu\n", test, (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

#endif
