/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a layers dimension should hold, as plainly as it can be said: a sorted array of names with
 * their bytes, which are made again from a seed whenever they are needed.
 */
#ifndef TESTS_DIMENSIONS_MODEL_H
#define TESTS_DIMENSIONS_MODEL_H

#include "tests/dimensions/fixture.h"

#include "pool/crc32c.h"
#include <regionmgr/layers.h>

struct model_layer {
	char *name;
	uint64_t seed;
	size_t bytes;
	uint64_t time_ns;
	uint64_t version;
	bool media;
};

struct model {
	struct model_layer *layers;
	size_t count;
	size_t capacity;
};

static const char model_media[] = "text/x-model";

/* Where the name is or belongs. */
static inline size_t model_find(const struct model *model, const char *name)
{
	size_t low = 0;
	size_t high = model->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(model->layers[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static inline bool model_has(const struct model *model, const char *name)
{
	size_t at = model_find(model, name);

	return at < model->count && strcmp(model->layers[at].name, name) == 0;
}

static inline void model_put(struct model *model, const struct model_layer *layer)
{
	size_t at = model_find(model, layer->name);

	if (model_has(model, layer->name)) {
		free(model->layers[at].name);
	} else {
		if (model->count == model->capacity) {
			model->capacity = model->capacity * 2 + 16;
			model->layers =
				realloc(model->layers, model->capacity * sizeof(*model->layers));
			assert_non_null(model->layers);
		}
		memmove(model->layers + at + 1, model->layers + at,
			(model->count - at) * sizeof(*model->layers));
		model->count++;
	}
	model->layers[at] = *layer;
	model->layers[at].name = strdup(layer->name);
	assert_non_null(model->layers[at].name);
}

static inline void model_remove(struct model *model, const char *name)
{
	size_t at = model_find(model, name);

	assert_true(model_has(model, name));
	free(model->layers[at].name);
	model->count--;
	memmove(model->layers + at, model->layers + at + 1,
		(model->count - at) * sizeof(*model->layers));
}

static inline void model_clear(struct model *model)
{
	for (size_t i = 0; i < model->count; i++)
		free(model->layers[i].name);
	free(model->layers);
	*model = (struct model){0};
}

static inline void model_copy(const struct model *from, struct model *to)
{
	*to = (struct model){0};
	to->layers = calloc(from->count + 1, sizeof(*to->layers));
	assert_non_null(to->layers);
	to->capacity = from->count + 1;
	to->count = from->count;
	for (size_t i = 0; i < from->count; i++) {
		to->layers[i] = from->layers[i];
		to->layers[i].name = strdup(from->layers[i].name);
	}
}

static inline void model_compare_layer(
	const struct model_layer *expected, const struct rgm_layer *layer, void *scratch)
{
	assert_string_equal(layer->name, expected->name);
	assert_int_equal(layer->name_length, strlen(expected->name));
	assert_int_equal(layer->data.size, expected->bytes);
	assert_int_equal(layer->time_ns, expected->time_ns);
	assert_int_equal(layer->version, expected->version);
	if (expected->media)
		assert_string_equal(layer->media_type, model_media);
	else
		assert_null(layer->media_type);
	if (expected->bytes == 0) {
		assert_null(layer->data.data);
		assert_int_equal(layer->crc32c, 0);
		return;
	}
	assert_int_equal((uintptr_t)layer->data.data % RGM_PAGE_BYTES, 0);
	assert_int_equal(layer->crc32c, pool_crc32c(0, layer->data.data, layer->data.size));
	fixture_fill(scratch, expected->bytes, expected->seed);
	assert_true(memcmp(layer->data.data, scratch, expected->bytes) == 0);
}

/* Read everything back, in order and by name. */
static inline void model_compare(const struct model *model, struct fixture *fixture)
{
	struct rgm_layers layers = fixture_view(fixture);
	struct rgm_layers again = layers;
	struct rgm_layer layer;
	struct rgm_span span;
	const char *name;
	size_t largest = 1;
	uint64_t bytes = 0;
	void *scratch;

	for (size_t i = 0; i < model->count; i++) {
		bytes += model->layers[i].bytes;
		if (model->layers[i].bytes > largest)
			largest = model->layers[i].bytes;
	}
	scratch = malloc(largest);
	assert_non_null(scratch);
	assert_int_equal(rgm_layers_count(&layers), model->count);
	assert_int_equal(rgm_layers_bytes(&layers), bytes);
	for (size_t i = 0; i < model->count; i++) {
		assert_true(rgm_layers_next_layer(&layers, &layer));
		model_compare_layer(&model->layers[i], &layer, scratch);
		assert_true(rgm_layers_next(&again, &name, &span));
		assert_ptr_equal(name, layer.name);
		assert_ptr_equal(span.data, layer.data.data);
		assert_int_equal(span.size, layer.data.size);
		memset(&layer, 0, sizeof(layer));
		assert_int_equal(rgm_layers_get(&layers, name, &layer), 0);
		assert_ptr_equal(layer.name, name);
		assert_int_equal(layer.data.size, span.size);
	}
	assert_false(rgm_layers_next_layer(&layers, &layer));
	assert_false(rgm_layers_next_layer(&layers, &layer));
	assert_false(rgm_layers_next(&again, &name, &span));
	free(scratch);
}

/* Step through a prefix and compare with the model's names that have it. */
static inline void model_compare_prefix(
	const struct model *model, struct fixture *fixture, const char *prefix)
{
	struct rgm_layers layers = fixture_view(fixture);
	struct rgm_span span;
	const char *name;

	rgm_layers_seek(&layers, prefix);
	for (size_t i = 0; i < model->count; i++) {
		if (strncmp(model->layers[i].name, prefix, strlen(prefix)) != 0)
			continue;
		assert_true(rgm_layers_next(&layers, &name, &span));
		assert_string_equal(name, model->layers[i].name);
	}
	assert_false(rgm_layers_next(&layers, &name, &span));
	rgm_layers_seek(&layers, NULL);
	assert_int_equal(rgm_layers_next(&layers, &name, &span), model->count > 0);
}

/* A name: often like others, sometimes long, with any bytes that the rules allow. */
static inline char *model_name(uint64_t *random)
{
	static const char alphabet[] = "abc./_\n\x01\x7f\x80\xff";
	char name[RGM_LAYER_NAME_MAX + 1];
	struct rgm_error error;
	size_t length;

	do {
		length = 1 + (size_t)seed_below(random, 6);
		if (seed_below(random, 8) == 0)
			length = 1 + (size_t)seed_below(random, 64);
		if (seed_below(random, 50) == 0)
			length = 1 + (size_t)seed_below(random, RGM_LAYER_NAME_MAX);
		for (size_t i = 0; i < length; i++)
			name[i] = length > 100 ? (char)('a' + (char)seed_below(random, 26))
			                       : alphabet[seed_below(random, sizeof(alphabet) - 1)];
		name[length] = '\0';
	} while (layers_check_name(name, length, &error) != 0);
	return strdup(name);
}

#endif
