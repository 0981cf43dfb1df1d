/* SPDX-License-Identifier: Apache-2.0 */
/*
 * label: long
 * Layers beyond 4 GiB, from a sparse file and piece by piece, in bounded private memory.
 */
#define _GNU_SOURCE 1

#include <sys/resource.h>

#include "pool/crc32c.h"
#include "tests/dimensions/fixture.h"

#define MB (1ull << 20)
#define GB (1ull << 30)

#if !defined(FIXTURE_SANITIZED) && !defined(POOL_RACE_BUILD)
#define MEMORY_IS_OURS 1
#endif

/* The most memory that the process has had so far, in bytes. */
static uint64_t peak_bytes(void)
{
	struct rusage usage;

	assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
	return (uint64_t)usage.ru_maxrss * 1024;
}

static uint32_t crc_of_zeros(uint32_t crc, uint64_t bytes)
{
	static const unsigned char zeros[1u << 20];

	for (; bytes > 0; bytes -= bytes < MB ? bytes : MB)
		crc = pool_crc32c(crc, zeros, bytes < MB ? (size_t)bytes : (size_t)MB);
	return crc;
}

static void a_sparse_file_of_5_gb(void **state)
{
	const uint64_t bytes = 5 * GB + 12345;
	struct layers_change *change;
	struct fixture fixture;
	struct rgm_error error;
	struct rgm_layers layers;
	struct rgm_layer layer;
	uint32_t crc;
	uint64_t peak;
	int file;

	(void)state;
	fixture_open(&fixture, 8 * GB);
	file = fixture_source(&fixture, "first", 5);
	assert_int_equal(ftruncate(file, (off_t)bytes), 0);
	assert_int_equal(pwrite(file, "last", 4, (off_t)bytes - 4), 4);
	must(layers_change_begin(fixture.region, bytes, false, &change, &error), &error);
	peak = peak_bytes();
	must(layers_change_put_file(change, "sparse", file, 0, NULL, &error), &error);
	must(layers_change_flush(change, &error), &error);
#ifdef MEMORY_IS_OURS
	assert_true(peak_bytes() - peak < 16 * MB);
#endif
	(void)peak;
	close(file);
	must(fixture_commit(&fixture, change, NULL, &error), &error);
	fixture_verify(&fixture);

	crc = pool_crc32c(0, "first", 5);
	crc = crc_of_zeros(crc, bytes - 9);
	crc = pool_crc32c(crc, "last", 4);
	layers = fixture_view(&fixture);
	assert_int_equal(rgm_layers_get(&layers, "sparse", &layer), 0);
	assert_int_equal(layer.data.size, bytes);
	assert_int_equal(layer.crc32c, crc);
	assert_memory_equal(layer.data.data, "first", 5);
	assert_memory_equal((const char *)layer.data.data + bytes - 4, "last", 4);
	fixture_close(&fixture);
}

static void a_stream_beyond_4_gb(void **state)
{
	static unsigned char piece[32u << 20];
	const uint64_t pieces = 129;
	struct layers_change *change;
	struct layers_change *other;
	struct fixture fixture;
	struct rgm_error error;
	uint32_t crc = 0;
	struct rgm_layers layers;
	struct rgm_layer layer;
	uint64_t peak;

	(void)state;
	fixture_open(&fixture, 12 * GB);
	must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
	must(layers_change_begin(fixture.region, 0, false, &other, &error), &error);
	memset(piece, 1, sizeof(piece));
	peak = peak_bytes();
	must(layers_change_stream_begin(change, "stream", 1, NULL, &error), &error);
	for (uint64_t i = 0; i < pieces; i++) {
		memcpy(piece, &i, sizeof(i));
		crc = pool_crc32c(crc, piece, sizeof(piece));
		must(layers_change_stream_append(change, piece, sizeof(piece), &error), &error);
		/* In the way once, so that gigabytes are moved. */
		if (i == 40)
			must(layers_change_put(other, "block", "x", 1, 1, NULL, &error), &error);
	}
	must(layers_change_stream_end(change, &error), &error);
	must(layers_change_flush(change, &error), &error);
#ifdef MEMORY_IS_OURS
	assert_true(peak_bytes() - peak < 16 * MB);
#endif
	(void)peak;
	layers_change_abort(other);
	must(fixture_commit(&fixture, change, NULL, &error), &error);
	fixture_verify(&fixture);
	layers = fixture_view(&fixture);
	assert_int_equal(rgm_layers_get(&layers, "stream", &layer), 0);
	assert_int_equal(layer.data.size, pieces * sizeof(piece));
	assert_int_equal(layer.crc32c, crc);
	fixture_close(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sparse_file_of_5_gb),
		cmocka_unit_test(a_stream_beyond_4_gb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
