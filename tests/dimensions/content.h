/* SPDX-License-Identifier: Apache-2.0 */
/* One region with one change under way, and noise to put into it. For one file of an executable. */
#ifndef TESTS_DIMENSIONS_CONTENT_H
#define TESTS_DIMENSIONS_CONTENT_H

#include "tests/dimensions/fixture.h"

#define KB 1024u
#define MB (1024u * KB)

static struct fixture fixture;
static struct layers_change *change;
static unsigned char *data; /* 40 MB of noise */
#define DATA_BYTES (40 * MB)

static inline int content_setup(void **state)
{
	(void)state;
	data = malloc(DATA_BYTES);
	if (!data)
		return -1;
	fixture_fill(data, DATA_BYTES, 5);
	return 0;
}

static inline int content_teardown(void **state)
{
	(void)state;
	free(data);
	return 0;
}

static inline void open_with(uint64_t max_bytes, uint64_t expected_bytes)
{
	struct rgm_error error;

	fixture_open(&fixture, max_bytes);
	must(layers_change_begin(fixture.region, expected_bytes, false, &change, &error), &error);
}

/* After an abort nothing but the root is left. */
static inline void abort_and_close(void)
{
	layers_change_abort(change);
	assert_int_equal(fixture_used(&fixture), fixture.summary.pages);
	fixture_verify(&fixture);
	fixture_close(&fixture);
}

static inline void commit(void)
{
	struct rgm_error error;

	must(fixture_commit(&fixture, change, NULL, &error), &error);
	fixture_verify(&fixture);
}

static inline void expect_bytes(const char *name, const void *expected, size_t bytes)
{
	struct rgm_layers layers = fixture_view(&fixture);
	struct rgm_layer layer;

	assert_int_equal(rgm_layers_get(&layers, name, &layer), 0);
	assert_int_equal(layer.data.size, bytes);
	assert_true(memcmp(layer.data.data, expected, bytes) == 0);
}

#endif
