/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C: the arithmetic, the form for every processor, and the choice among the forms.
 *
 * All tables and constants are computed from the polynomial, at the first use in the process. The
 * polynomial and the test vectors are those of RFC 3720; working on eight bytes at a time by eight
 * tables is the method of Kounavis and Berry, "A Systematic Approach to Building High Performance
 * Software-based CRC Generators" (2005).
 */
#include "pool/crc32c.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "pool/crc32c_internal.h"

#define SLICES     8
#define EXPONENTS  67 /* a length in bits has up to 67 bits */
#define BYTE_SHIFT 3  /* x^(8n) = x^(n << 3) */

typedef uint32_t update_function(uint32_t crc, const void *data, size_t bytes);

/* slices[s][b]: the remainder of byte b followed by s zero bytes, times x^32. */
static uint32_t slices[SLICES][256];
/* squares[k]: x^(2^k) mod P. */
static uint32_t squares[EXPONENTS];

enum {
	SCALAR,
	SSE42,
	AVX512,
	FORMS
};

/* In rising order of speed. The update functions are filled in once. */
static struct pool_crc32c_form forms[FORMS] = {
	[SCALAR] = {"scalar", NULL},
	[SSE42] = {"sse42", NULL},
	[AVX512] = {"avx512", NULL},
};

static update_function prepare_and_update;

/*
 * The form in use. The store that replaces prepare_and_update is a release, paired with the acquire
 * of pool_crc32c(): who sees a form sees its tables.
 */
static _Atomic(update_function *) chosen = prepare_and_update;
static pthread_once_t prepared = PTHREAD_ONCE_INIT;

static uint32_t times_x(uint32_t a)
{
	return (a >> 1) ^ ((a & 1u) != 0 ? CRC32C_POLYNOMIAL : 0u);
}

uint32_t crc32c_multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
		if ((a & bit) != 0)
			product ^= b;
		b = times_x(b);
	}
	return product;
}

/* x^(exponent << shift) mod P. */
static uint32_t power(uint64_t exponent, unsigned int shift)
{
	uint32_t result = 1u << 31;

	for (unsigned int k = shift; exponent != 0; k++, exponent >>= 1)
		if ((exponent & 1u) != 0)
			result = crc32c_multiply(squares[k], result);
	return result;
}

uint32_t crc32c_power(uint64_t exponent)
{
	return power(exponent, 0);
}

static uint32_t scalar_byte(uint32_t state, uint8_t byte)
{
	return (state >> 8) ^ slices[0][(state ^ byte) & 0xff];
}

/* Little endian, from anywhere. */
static uint32_t load32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

static uint32_t scalar(uint32_t crc, const void *data, size_t bytes)
{
	const uint8_t *at = data;
	uint32_t state = ~crc;

	for (; bytes >= 8; bytes -= 8, at += 8) {
		uint32_t low = state ^ load32(at);
		uint32_t high = load32(at + 4);

		state = slices[7][low & 0xff] ^ slices[6][low >> 8 & 0xff] ^
		        slices[5][low >> 16 & 0xff] ^ slices[4][low >> 24] ^
		        slices[3][high & 0xff] ^ slices[2][high >> 8 & 0xff] ^
		        slices[1][high >> 16 & 0xff] ^ slices[0][high >> 24];
	}
	for (; bytes > 0; bytes--)
		state = scalar_byte(state, *at++);
	return ~state;
}

static void prepare(void)
{
	update_function *best;

	squares[0] = 1u << 30; /* x */
	for (int k = 1; k < EXPONENTS; k++)
		squares[k] = crc32c_multiply(squares[k - 1], squares[k - 1]);
	for (uint32_t byte = 0; byte < 256; byte++) {
		slices[0][byte] = byte;
		for (int bit = 0; bit < 8; bit++)
			slices[0][byte] = times_x(slices[0][byte]);
	}
	for (int s = 1; s < SLICES; s++)
		for (uint32_t byte = 0; byte < 256; byte++)
			slices[s][byte] = scalar_byte(slices[s - 1][byte], 0);

	forms[SCALAR].update = best = scalar;
#if defined(__x86_64__)
	if (crc32c_sse42_prepare())
		forms[SSE42].update = best = crc32c_sse42;
	if (forms[SSE42].update != NULL && crc32c_avx512_prepare())
		forms[AVX512].update = best = crc32c_avx512;
#endif
	atomic_store_explicit(&chosen, best, memory_order_release);
}

static uint32_t prepare_and_update(uint32_t crc, const void *data, size_t bytes)
{
	pthread_once(&prepared, prepare);
	return pool_crc32c(crc, data, bytes);
}

uint32_t pool_crc32c(uint32_t crc, const void *data, size_t bytes)
{
	return atomic_load_explicit(&chosen, memory_order_acquire)(crc, data, bytes);
}

/*
 * The inversions at both ends cancel out: with A and B as remainders of the plain bytes, the CRC of
 * both is A x^(8|B|) + B, as if A's final register were B's initial one.
 */
uint32_t pool_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b)
{
	pthread_once(&prepared, prepare);
	return crc32c_multiply(power(bytes_b, BYTE_SHIFT), crc_a) ^ crc_b;
}

const struct pool_crc32c_form *pool_crc32c_forms(size_t *ret_count)
{
	pthread_once(&prepared, prepare);
	*ret_count = FORMS;
	return forms;
}
