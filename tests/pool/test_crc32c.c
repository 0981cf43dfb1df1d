/* SPDX-License-Identifier: Apache-2.0 */
/* pool/crc32c.c, pool/crc32c_x86.c: every form equals the definition, at every length and place. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pool/crc32c.h"
#include "pool/crc32c_internal.h"
#include "tests/pool/seed.h"

#define LENGTH_MAX 4200u
#define SHIFTS     16u

static uint64_t random_state;

/* By the definition: one bit after the other, no table. */
static uint32_t bitwise(uint32_t crc, const uint8_t *data, size_t bytes)
{
	crc = ~crc;
	for (size_t i = 0; i < bytes; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0x82f63b78u : 0u);
	}
	return ~crc;
}

static void fill(uint8_t *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(seed_next(&random_state) >> 56);
}

/* RFC 3720, appendix B.4, and the check value of the catalogues. */
static void published_vectors(void **state)
{
	static const uint8_t read_command[48] = {0x01,
		0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02};
	uint8_t data[32];
	size_t count;
	const struct pool_crc32c_form *forms = pool_crc32c_forms(&count);

	(void)state;
	assert_true(count > 0);
	assert_non_null(forms[0].update);
	for (size_t f = 0; f < count; f++) {
		if (forms[f].update == NULL) {
			print_message("form %s: not on this processor\n", forms[f].name);
			continue;
		}
		memset(data, 0, sizeof(data));
		assert_int_equal(forms[f].update(0, data, sizeof(data)), 0x8a9136aau);
		memset(data, 0xff, sizeof(data));
		assert_int_equal(forms[f].update(0, data, sizeof(data)), 0x62a8ab43u);
		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (uint8_t)i;
		assert_int_equal(forms[f].update(0, data, sizeof(data)), 0x46dd794eu);
		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (uint8_t)(31 - i);
		assert_int_equal(forms[f].update(0, data, sizeof(data)), 0x113fdb5cu);
		assert_int_equal(forms[f].update(0, read_command, 48), 0xd9963a56u);
		assert_int_equal(forms[f].update(0, "123456789", 9), 0xe3069283u);
		assert_int_equal(forms[f].update(0, "", 0), 0);
		assert_int_equal(forms[f].update(0x12345678u, NULL, 0), 0x12345678u);
	}
	assert_int_equal(pool_crc32c(0, "123456789", 9), 0xe3069283u);
}

/* Every length at every misalignment, going on from a random CRC. The reference goes along. */
static void every_form_at_every_length(void **state)
{
	static _Alignas(64) uint8_t data[LENGTH_MAX + SHIFTS];
	size_t count;
	const struct pool_crc32c_form *forms = pool_crc32c_forms(&count);

	(void)state;
	fill(data, sizeof(data));
	for (size_t shift = 0; shift < SHIFTS; shift++) {
		const uint32_t start = (uint32_t)seed_next(&random_state);
		uint32_t expected = start;

		for (size_t length = 0; length <= LENGTH_MAX; length++) {
			for (size_t f = 0; f < count; f++)
				if (forms[f].update != NULL &&
					forms[f].update(start, data + shift, length) != expected)
					fail_msg("form %s, shift %zu, length %zu", forms[f].name,
						shift, length);
			assert_int_equal(pool_crc32c(start, data + shift, length), expected);
			expected = bitwise(
				expected, data + shift + length, length < LENGTH_MAX ? 1 : 0);
		}
	}
}

static void long_and_in_pieces(void **state)
{
	const size_t bytes = 3000017;
	uint8_t *data = malloc(bytes);
	uint32_t expected, crc;
	size_t count;
	const struct pool_crc32c_form *forms = pool_crc32c_forms(&count);

	(void)state;
	assert_non_null(data);
	fill(data, bytes);
	expected = bitwise(0, data, bytes);
	for (size_t f = 0; f < count; f++) {
		if (forms[f].update == NULL)
			continue;
		assert_int_equal(forms[f].update(0, data, bytes), expected);
		crc = 0;
		for (size_t at = 0; at < bytes;) {
			size_t step = (size_t)seed_below(&random_state, 20000);

			step = step < bytes - at ? step : bytes - at;
			crc = forms[f].update(crc, data + at, step);
			at += step;
		}
		assert_int_equal(crc, expected);
	}
	free(data);
}

static void combine_equals_concatenation(void **state)
{
	static uint8_t data[20000];
	static const uint8_t zeros[4096];
	uint32_t crc = 0xdeadbeefu, expected;

	(void)state;
	fill(data, sizeof(data));
	for (int i = 0; i < 3000; i++) {
		size_t a = (size_t)seed_below(&random_state, sizeof(data) / 2);
		size_t b = (size_t)seed_below(&random_state, sizeof(data) / 2);
		uint32_t crc_a = pool_crc32c(0, data, a);
		uint32_t crc_b = pool_crc32c(0, data + a, b);

		assert_int_equal(pool_crc32c_combine(crc_a, crc_b, b), pool_crc32c(0, data, a + b));
	}
	assert_int_equal(pool_crc32c_combine(crc, 0, 0), crc);
	assert_int_equal(pool_crc32c_combine(0, crc, 12345), crc);
	/* 1 GB of zeros, the long way. */
	expected = crc;
	for (int i = 0; i < 1 << 18; i++)
		expected = pool_crc32c(expected, zeros, sizeof(zeros));
	uint32_t crc_zeros = 0;
	for (int i = 0; i < 1 << 18; i++)
		crc_zeros = pool_crc32c(crc_zeros, zeros, sizeof(zeros));
	assert_int_equal(pool_crc32c_combine(crc, crc_zeros, 1ull << 30), expected);
	/* It is associative, also where lengths in bits pass 2^64. */
	for (int i = 0; i < 100; i++) {
		uint32_t a = (uint32_t)seed_next(&random_state);
		uint32_t b = (uint32_t)seed_next(&random_state);
		uint32_t c = (uint32_t)seed_next(&random_state);
		uint64_t bytes_b = seed_next(&random_state) >> 1;
		uint64_t bytes_c = seed_next(&random_state) >> 1;

		assert_int_equal(
			pool_crc32c_combine(pool_crc32c_combine(a, b, bytes_b), c, bytes_c),
			pool_crc32c_combine(
				a, pool_crc32c_combine(b, c, bytes_c), bytes_b + bytes_c));
	}
}

static void powers_of_x(void **state)
{
	uint32_t power = 1u << 31;

	(void)state;
	for (uint64_t exponent = 0; exponent < 2000; exponent++) {
		assert_int_equal(crc32c_power(exponent), power);
		power = (power >> 1) ^ ((power & 1u) != 0 ? CRC32C_POLYNOMIAL : 0u);
	}
	/* P = (x + 1) * a primitive polynomial of degree 31: x has the order 2^31 - 1. */
	assert_int_equal(crc32c_power((1ull << 31) - 1), 1u << 31);
	assert_int_equal(
		crc32c_multiply(crc32c_power(1000), crc32c_power(999)), crc32c_power(1999));
}

static void *first_use(void *argument)
{
	*(uint32_t *)argument = pool_crc32c(0, "123456789", 9);
	return NULL;
}

/* Runs first: the first use, by many at once. */
static void first_use_by_threads(void **state)
{
	pthread_t threads[8];
	uint32_t crcs[8] = {0};

	(void)state;
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, first_use, &crcs[i]), 0);
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(crcs[i], 0xe3069283u);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_use_by_threads),
		cmocka_unit_test(published_vectors),
		cmocka_unit_test(every_form_at_every_length),
		cmocka_unit_test(long_and_in_pieces),
		cmocka_unit_test(combine_equals_concatenation),
		cmocka_unit_test(powers_of_x),
	};

	random_state = seed_get("pool/crc32c");
	return cmocka_run_group_tests_name("pool/crc32c", tests, NULL, NULL);
}
