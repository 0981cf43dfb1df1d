/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C on x86-64, by two forms.
 *
 * sse42: the crc32 instruction takes 8 bytes, its result is there 3 cycles later, and one can start
 * each cycle. So three adjacent blocks go side by side, and their registers are joined: the first
 * two multiplied by the power of x that the blocks behind them stand for.
 *
 * avx512: folding, the method of Gopal et al., "Fast CRC Computation for Generic Polynomials Using
 * PCLMULQDQ Instruction" (Intel, 2009). 16 bytes that are followed by D more contribute to the
 * remainder as H x^(8D+64) + L x^(8D), where H and L are their first and second 8 bytes. Two
 * carry-less multiplications by these powers, reduced mod P to 32 bits beforehand, give 16 bytes that
 * contribute the same and can be added to those D bytes further on. Sixteen such lanes go side by
 * side, in four registers. What remains in the end are 16 bytes with the remainder of everything, and
 * the crc32 instruction takes them as it takes any bytes.
 *
 * Where the exponents below have an odd 1 or 33: in reversed bit order the product of two 64-bit
 * numbers lies one place from where the product of their polynomials does (two numbers of 64 bits
 * have a product of 127), which is a factor of x that the constant leaves out. A remainder in the
 * upper half of 64 bits is itself; in the lower half it is itself times x^32.
 */
#if defined(__x86_64__)

#include "pool/crc32c_internal.h"

#include <immintrin.h>
#include <string.h>

#define SSE42_TARGET  __attribute__((target("sse4.2,pclmul")))
#define AVX512_TARGET __attribute__((target("sse4.2,pclmul,avx512f,vpclmulqdq")))

/* --- sse42 ------------------------------------------------------------------------------------ */

#define LONG_BYTES  ((size_t)1024)
#define SHORT_BYTES ((size_t)128)

/* Constants that multiply a register as `bytes` further bytes would. */
struct shifts {
	uint32_t once;
	uint32_t twice;
};
static struct shifts long_shifts, short_shifts;

static struct shifts shifts_for(uint64_t bytes)
{
	/* join() adds 33 to the exponent. */
	return (struct shifts){crc32c_power(8 * bytes - 33), crc32c_power(16 * bytes - 33)};
}

int crc32c_sse42_prepare(void)
{
	if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("pclmul"))
		return 0;
	long_shifts = shifts_for(LONG_BYTES);
	short_shifts = shifts_for(SHORT_BYTES);
	return 1;
}

static inline uint64_t load64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* One after the other: for what is short. */
SSE42_TARGET static inline uint64_t sse42_plain(uint64_t state, const uint8_t *at, size_t bytes)
{
	for (; bytes >= 8; bytes -= 8, at += 8)
		state = _mm_crc32_u64(state, load64(at));
	for (; bytes > 0; bytes--)
		state = _mm_crc32_u8((uint32_t)state, *at++);
	return state;
}

/* The product of both as 8 bytes of which _mm_crc32_u64(0, …) is the remainder, times x^33. */
SSE42_TARGET static inline uint64_t multiply_wide(uint64_t state, uint32_t constant)
{
	__m128i product = _mm_clmulepi64_si128(
		_mm_cvtsi64_si128((long long)state), _mm_cvtsi32_si128((int)constant), 0);

	return (uint64_t)_mm_cvtsi128_si64(product);
}

/* Three blocks of `block` bytes side by side. */
SSE42_TARGET static inline uint64_t sse42_three(
	uint64_t state, const uint8_t *at, size_t block, struct shifts shifts)
{
	uint64_t a = state, b = 0, c = 0;

	for (size_t i = 0; i < block; i += 8) {
		a = _mm_crc32_u64(a, load64(at + i));
		b = _mm_crc32_u64(b, load64(at + block + i));
		c = _mm_crc32_u64(c, load64(at + 2 * block + i));
	}
	return _mm_crc32_u64(0, multiply_wide(a, shifts.twice) ^ multiply_wide(b, shifts.once)) ^ c;
}

SSE42_TARGET static inline uint64_t sse42_state(uint64_t state, const uint8_t *at, size_t bytes)
{
	for (; bytes >= 3 * LONG_BYTES; bytes -= 3 * LONG_BYTES, at += 3 * LONG_BYTES)
		state = sse42_three(state, at, LONG_BYTES, long_shifts);
	for (; bytes >= 3 * SHORT_BYTES; bytes -= 3 * SHORT_BYTES, at += 3 * SHORT_BYTES)
		state = sse42_three(state, at, SHORT_BYTES, short_shifts);
	return sse42_plain(state, at, bytes);
}

SSE42_TARGET uint32_t crc32c_sse42(uint32_t crc, const void *data, size_t bytes)
{
	return ~(uint32_t)sse42_state((uint32_t)~crc, data, bytes);
}

/* --- avx512 ----------------------------------------------------------------------------------- */

#define LANE_BYTES   ((size_t)16)
#define VECTOR_BYTES ((size_t)64)
#define VECTORS      4
#define STRIDE_BYTES (VECTOR_BYTES * VECTORS)
#define FOLD_MIN     (2 * STRIDE_BYTES) /* below this the crc32 instruction is as fast */

/* What multiplies the first and the second 8 bytes of a lane. */
struct fold {
	uint64_t first;
	uint64_t second;
};

static struct fold fold_by_stride, fold_by_vectors[VECTORS];
/* Lanes 0 to 2 of a vector onto lane 3. */
static struct fold fold_lanes[4];

static struct fold fold_for(uint64_t bytes)
{
	return (struct fold){
		.first = (uint64_t)crc32c_power(8 * bytes + 64 - 1) << 32,
		.second = (uint64_t)crc32c_power(8 * bytes - 1) << 32,
	};
}

int crc32c_avx512_prepare(void)
{
	if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("vpclmulqdq"))
		return 0;
	fold_by_stride = fold_for(STRIDE_BYTES);
	for (unsigned int i = 1; i < VECTORS; i++)
		fold_by_vectors[i] = fold_for(i * VECTOR_BYTES);
	for (unsigned int i = 0; i < 3; i++)
		fold_lanes[i] = fold_for((3 - i) * LANE_BYTES);
	return 1;
}

AVX512_TARGET static inline __m512i broadcast(const struct fold *fold)
{
	return _mm512_broadcast_i32x4(
		_mm_set_epi64x((long long)fold->second, (long long)fold->first));
}

AVX512_TARGET static inline __m512i fold_onto(__m512i lanes, __m512i constants, __m512i next)
{
	__m512i first = _mm512_clmulepi64_epi128(lanes, constants, 0x00);
	__m512i second = _mm512_clmulepi64_epi128(lanes, constants, 0x11);

	return _mm512_ternarylogic_epi64(first, second, next, 0x96); /* the sum of three */
}

/* The four lanes into one, and that into a register. */
AVX512_TARGET static inline uint64_t reduce(__m512i lanes)
{
	__m512i last = _mm512_maskz_mov_epi64(0xc0, lanes); /* lane 3; its constants are 0 */
	__m512i folded = fold_onto(lanes, _mm512_loadu_si512(fold_lanes), last);
	__m128i sum = _mm_xor_si128(_mm_xor_si128(_mm512_extracti32x4_epi32(folded, 0),
					    _mm512_extracti32x4_epi32(folded, 1)),
		_mm_xor_si128(_mm512_extracti32x4_epi32(folded, 2),
			_mm512_extracti32x4_epi32(folded, 3)));
	uint64_t state = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(sum));

	return _mm_crc32_u64(state, (uint64_t)_mm_extract_epi64(sum, 1));
}

/* At least one stride; a multiple of VECTOR_BYTES. */
AVX512_TARGET static uint64_t fold_all(uint64_t state, const uint8_t *at, size_t bytes)
{
	const __m512i by_stride = broadcast(&fold_by_stride);
	const __m512i by_vector = broadcast(&fold_by_vectors[1]);
	/* The register counts as added to the first four bytes. */
	__m512i a = _mm512_xor_si512(_mm512_loadu_si512(at),
		_mm512_zextsi128_si512(_mm_cvtsi64_si128((long long)state)));
	__m512i b = _mm512_loadu_si512(at + VECTOR_BYTES);
	__m512i c = _mm512_loadu_si512(at + 2 * VECTOR_BYTES);
	__m512i d = _mm512_loadu_si512(at + 3 * VECTOR_BYTES);

	for (at += STRIDE_BYTES, bytes -= STRIDE_BYTES; bytes >= STRIDE_BYTES;
		at += STRIDE_BYTES, bytes -= STRIDE_BYTES) {
		a = fold_onto(a, by_stride, _mm512_loadu_si512(at));
		b = fold_onto(b, by_stride, _mm512_loadu_si512(at + VECTOR_BYTES));
		c = fold_onto(c, by_stride, _mm512_loadu_si512(at + 2 * VECTOR_BYTES));
		d = fold_onto(d, by_stride, _mm512_loadu_si512(at + 3 * VECTOR_BYTES));
	}
	d = fold_onto(a, broadcast(&fold_by_vectors[3]), d);
	d = fold_onto(b, broadcast(&fold_by_vectors[2]), d);
	d = fold_onto(c, by_vector, d);
	for (; bytes > 0; at += VECTOR_BYTES, bytes -= VECTOR_BYTES)
		d = fold_onto(d, by_vector, _mm512_loadu_si512(at));
	return reduce(d);
}

AVX512_TARGET uint32_t crc32c_avx512(uint32_t crc, const void *data, size_t bytes)
{
	uint64_t state = (uint32_t)~crc;
	const uint8_t *at = data;
	size_t before, whole;

	if (bytes < FOLD_MIN)
		return ~(uint32_t)sse42_state(state, at, bytes);
	/* Vectors that straddle cache lines would cost twice. */
	before = (size_t)(-(uintptr_t)at & (VECTOR_BYTES - 1));
	state = sse42_plain(state, at, before);
	whole = (bytes - before) & ~(size_t)(VECTOR_BYTES - 1);
	state = fold_all(state, at + before, whole);
	return ~(uint32_t)sse42_plain(state, at + before + whole, bytes - before - whole);
}

#else

/* An empty translation unit is not C. */
typedef int crc32c_x86_unused;

#endif
