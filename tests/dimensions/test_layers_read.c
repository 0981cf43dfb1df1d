/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regionmgr/reader/layers.c: order, prefixes and names at the edges of leaves; values that stay put.
 */
#define _GNU_SOURCE 1

#include "tests/dimensions/model.h"

#define LAYERS 3000u /* some twenty leaves */

static struct fixture fixture;

static void name_of(unsigned number, char name[32])
{
	snprintf(name, 32, "%03u/%u", number / 10, number % 10);
}

static int setup(void **state)
{
	struct layers_change *change;
	struct rgm_error error;
	char name[32];

	(void)state;
	fixture_open(&fixture, 64u << 20);
	must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
	for (unsigned i = 0; i < LAYERS; i++) {
		name_of(i, name);
		must(layers_change_put(change, name, &i, i % 3 ? sizeof(i) : 0, i + 1,
			     i % 2 ? "type/x" : NULL, &error),
			&error);
	}
	must(fixture_commit(&fixture, change, NULL, &error), &error);
	fixture_reclaim(&fixture, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fixture_close(&fixture);
	return 0;
}

static void expect(const struct rgm_layer *layer, unsigned number)
{
	char name[32];

	name_of(number, name);
	assert_string_equal(layer->name, name);
	assert_int_equal(layer->name_length, strlen(name));
	assert_int_equal(layer->time_ns, number + 1);
	assert_int_equal(layer->version, 2);
	if (number % 3) {
		assert_int_equal(layer->data.size, sizeof(number));
		assert_memory_equal(layer->data.data, &number, sizeof(number));
	} else {
		assert_int_equal(layer->data.size, 0);
		assert_null(layer->data.data);
	}
	if (number % 2)
		assert_string_equal(layer->media_type, "type/x");
	else
		assert_null(layer->media_type);
}

static void in_order(void **state)
{
	struct rgm_layers layers = fixture_view(&fixture);
	struct rgm_layer layer;

	(void)state;
	assert_int_equal(rgm_layers_count(&layers), LAYERS);
	assert_int_equal(rgm_layers_version(&layers), fixture.version);
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < LAYERS; i++) {
			assert_true(rgm_layers_next_layer(&layers, &layer));
			expect(&layer, i);
		}
		memset(&layer, 0x55, sizeof(layer));
		assert_false(rgm_layers_next_layer(&layers, &layer));
		assert_int_equal(layer.name_length, 0x5555555555555555u); /* untouched */
		rgm_layers_seek(&layers, round ? NULL : "");
	}
}

/* The position does not move by looking up; names next to those that are there are not there. */
static void by_name(void **state)
{
	struct rgm_layers layers = fixture_view(&fixture);
	struct rgm_layers before;
	struct rgm_layer layer;
	struct rgm_span span;
	const char *step;
	char name[40];

	(void)state;
	assert_true(rgm_layers_next(&layers, &step, &span));
	before = layers;
	for (unsigned i = 0; i < LAYERS; i++) {
		name_of(i, name);
		assert_int_equal(rgm_layers_get(&layers, name, &layer), 0);
		expect(&layer, i);
		strcat(name, "!");
		assert_int_equal(rgm_layers_get(&layers, name, &layer), RGM_ENOLAYER);
		name[strlen(name) - 2] = '\0';
		assert_int_equal(rgm_layers_get(&layers, name, &layer), RGM_ENOLAYER);
		expect(&layer, i); /* untouched */
	}
	assert_int_equal(rgm_layers_get(&layers, "", &layer), RGM_ENOLAYER);
	assert_int_equal(rgm_layers_get(&layers, "\x01", &layer), RGM_ENOLAYER);
	assert_int_equal(rgm_layers_get(&layers, "\xff", &layer), RGM_ENOLAYER);
	assert_memory_equal(&layers, &before, sizeof(layers));
}

static void by_prefix(void **state)
{
	struct rgm_layers layers = fixture_view(&fixture);
	struct rgm_layer layer;
	char prefix[32];

	(void)state;
	/* Ten layers each, wherever leaves begin and end. */
	for (unsigned i = 0; i < LAYERS / 10; i++) {
		snprintf(prefix, sizeof(prefix), "%03u/", i);
		rgm_layers_seek(&layers, prefix);
		for (unsigned j = 0; j < 10; j++) {
			assert_true(rgm_layers_next_layer(&layers, &layer));
			expect(&layer, i * 10 + j);
		}
		assert_false(rgm_layers_next_layer(&layers, &layer));
		assert_false(rgm_layers_next_layer(&layers, &layer));
	}
	/* A whole name, one more byte, what is before all and behind all. */
	for (unsigned i = 0; i < LAYERS; i++) {
		name_of(i, prefix);
		rgm_layers_seek(&layers, prefix);
		assert_true(rgm_layers_next_layer(&layers, &layer));
		expect(&layer, i);
		assert_false(rgm_layers_next_layer(&layers, &layer));
		strcat(prefix, "0");
		rgm_layers_seek(&layers, prefix);
		assert_false(rgm_layers_next_layer(&layers, &layer));
	}
	rgm_layers_seek(&layers, "\x01");
	assert_false(rgm_layers_next_layer(&layers, &layer));
	rgm_layers_seek(&layers, "\xff");
	assert_false(rgm_layers_next_layer(&layers, &layer));
	/* A hundred leaves' worth and the last of all. */
	rgm_layers_seek(&layers, "2");
	for (unsigned i = 2000; i < 3000; i++) {
		assert_true(rgm_layers_next_layer(&layers, &layer));
		expect(&layer, i);
	}
	assert_false(rgm_layers_next_layer(&layers, &layer));
}

/* A view of an old version reads the same while its blocks wait to be reused. */
static void an_old_view_stands_still(void **state)
{
	struct rgm_layers old = fixture_view(&fixture);
	struct layers_change *change;
	struct rgm_layer layer;
	struct rgm_error error;

	(void)state;
	must(layers_change_begin(fixture.region, 0, true, &change, &error), &error);
	must(layers_change_put(change, "new", "new", 3, 1, NULL, &error), &error);
	must(fixture_commit(&fixture, change, NULL, &error), &error);
	for (unsigned i = 0; i < LAYERS; i++) {
		assert_true(rgm_layers_next_layer(&old, &layer));
		expect(&layer, i);
	}
	assert_false(rgm_layers_next_layer(&old, &layer));
	fixture_verify(&fixture);
}

static void checksums(void **state)
{
	(void)state;
	/* RFC 3720, B.4. */
	assert_int_equal(rgm_crc32c(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(rgm_crc32c_combine(rgm_crc32c(0, "1234", 4), rgm_crc32c(0, "56789", 5), 5),
		0xe3069283u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order),
		cmocka_unit_test(by_name),
		cmocka_unit_test(by_prefix),
		cmocka_unit_test(an_old_view_stands_still),
		cmocka_unit_test(checksums),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
