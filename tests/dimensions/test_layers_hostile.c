/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regionmgr/reader/layers.c over bytes that nobody verified: what a reader sees whose version was taken back,
 * or whose region was damaged. The region stands in private memory between pages that must not be touched,
 * and every byte that a view hands out is read.
 */
#define _GNU_SOURCE 1

#include "tests/dimensions/model.h"

#include <sys/mman.h>

#define LAYERS 600u  /* several leaves */
#define STEPS  4000u /* more than there are: a hostile directory may be a long one */

static struct fixture fixture;

static void name_of(unsigned number, char name[64])
{
	snprintf(name, 64, "%03u/a-name-of-some-length-%u", number / 10, number);
}

static int setup(void **state)
{
	struct layers_change *change;
	struct rgm_error error;
	char name[64];

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

/* A writable copy with its end at the end of readable memory, and a page before it likewise. */
struct copy {
	unsigned char *area, *base;
	const unsigned char *good;
	size_t bytes;
	uint64_t sum;
	uint64_t handed; /* layers that were handed out */
};

static void copy_open(struct copy *copy)
{
	fixture_view(&fixture);
	*copy = (struct copy){.good = fixture.base, .bytes = fixture.base_bytes};
	copy->area = mmap(NULL, copy->bytes + 2 * RGM_PAGE_BYTES, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(copy->area, MAP_FAILED);
	copy->base = copy->area + RGM_PAGE_BYTES;
	assert_int_equal(mprotect(copy->base, copy->bytes, PROT_READ | PROT_WRITE), 0);
	memcpy(copy->base, copy->good, copy->bytes);
}

static void copy_close(struct copy *copy)
{
	munmap(copy->area, copy->bytes + 2 * RGM_PAGE_BYTES);
}

static void inside(const struct copy *copy, const void *data, size_t size)
{
	size_t at = (size_t)((const unsigned char *)data - copy->base);

	assert_true(at <= copy->bytes && size <= copy->bytes - at);
}

/* Ends of spans, and names as the C library reads them. */
static void touch(struct copy *copy, const char *name, const struct rgm_span *span)
{
	inside(copy, name, strlen(name) + 1);
	copy->handed++;
	if (span->size == 0)
		return;
	inside(copy, span->data, span->size);
	copy->sum += ((const unsigned char *)span->data)[0];
	copy->sum += ((const unsigned char *)span->data)[span->size - 1];
}

static void touch_layer(struct copy *copy, const struct rgm_layer *layer)
{
	inside(copy, layer->name, layer->name_length + 1);
	assert_int_equal(layer->name[layer->name_length], 0);
	touch(copy, layer->name, &layer->data);
	if (layer->media_type)
		inside(copy, layer->media_type, strlen(layer->media_type) + 1);
}

static void walk(struct copy *copy, uint64_t *random)
{
	struct rgm_layers layers;
	struct rgm_layer layer;
	struct rgm_span span;
	const char *step;
	char name[64];

	layers_view_init(&layers, copy->base, copy->bytes, fixture.root.offset, 1);
	copy->sum += rgm_layers_count(&layers) + rgm_layers_bytes(&layers);
	for (unsigned i = 0; i < STEPS && rgm_layers_next_layer(&layers, &layer); i++)
		touch_layer(copy, &layer);
	rgm_layers_seek(&layers, NULL);
	for (unsigned i = 0; i < STEPS && rgm_layers_next(&layers, &step, &span); i++)
		touch(copy, step, &span);
	for (unsigned n = 0; n < 20; n++) {
		name_of((unsigned)seed_below(random, LAYERS), name);
		if (rgm_layers_get(&layers, name, &layer) == 0) {
			assert_string_equal(layer.name, name);
			touch_layer(copy, &layer);
		}
		name[1 + seed_below(random, 6)] = '\0';
		rgm_layers_seek(&layers, name);
		for (unsigned i = 0; i < 30 && rgm_layers_next_layer(&layers, &layer); i++) {
			assert_memory_equal(layer.name, name, strlen(name));
			touch_layer(copy, &layer);
		}
	}
}

static const struct layers_root *good_root(const struct copy *copy)
{
	return (const void *)(copy->good + fixture.root.offset);
}

/* The pages of the directory: block 0 is the root, then come the leaves. */
static unsigned char *block_of(const struct copy *copy, uint32_t block, size_t *ret_bytes)
{
	const struct layers_root *root = good_root(copy);
	uint64_t offset = fixture.root.offset, bytes = root->block_bytes;

	if (block > 0) {
		offset = layers_refs(root)[block - 1].page * RGM_PAGE_BYTES;
		bytes = layers_refs(root)[block - 1].block_bytes;
	}
	*ret_bytes = (size_t)bytes;
	return copy->base + offset;
}

static void restore(const struct copy *copy)
{
	for (uint32_t block = 0; block <= good_root(copy)->leaf_count; block++) {
		size_t bytes;
		unsigned char *to = block_of(copy, block, &bytes);

		memcpy(to, copy->good + (to - copy->base), layers_pages(bytes) * RGM_PAGE_BYTES);
	}
}

/* All of it is found as long as nothing is changed: the bounds refuse nothing that is sound. */
static void sound_bytes_are_all_there(void **state)
{
	uint64_t random = seed_get("hostile");
	struct copy copy;

	(void)state;
	copy_open(&copy);
	assert_true(good_root(&copy)->leaf_count > 2);
	walk(&copy, &random);
	assert_true(copy.handed >= 2 * LAYERS + 20);
	copy_close(&copy);
}

/* Whole blocks of 0xff, of anything, of zeros; leaves keep their magic, without which they are not read. */
static void whole_blocks(void **state)
{
	uint64_t random = seed_get("hostile");
	struct copy copy;

	(void)state;
	copy_open(&copy);
	for (unsigned round = 0; round < 600; round++) {
		for (uint32_t block = 0; block <= good_root(&copy)->leaf_count; block++) {
			size_t bytes;
			unsigned char *at = block_of(&copy, block, &bytes);

			bytes = layers_pages(bytes) * RGM_PAGE_BYTES;
			if (seed_below(&random, 3) == 0)
				continue;
			for (size_t i = 8; i < bytes; i++)
				at[i] = (unsigned char)(round % 3 == 0 ? 0xff
							: round % 3 == 1
								? 0
								: seed_below(&random, 256));
		}
		walk(&copy, &random);
		restore(&copy);
	}
	copy_close(&copy);
}

/* Numbers at the edges, where numbers stand: in the headers, refs and entries. */
static uint64_t edge(const struct copy *copy, uint64_t *random)
{
	uint64_t base = 0;

	switch (seed_below(random, 8)) {
	case 0:
		base = copy->bytes / RGM_PAGE_BYTES;
		break;
	case 1:
		base = copy->bytes;
		break;
	case 2:
		base = UINT32_MAX;
		break;
	case 3:
		base = UINT64_MAX;
		break;
	case 4:
		base = UINT64_MAX / RGM_PAGE_BYTES;
		break;
	case 5:
		base = copy->bytes - seed_below(random, 3) * RGM_PAGE_BYTES;
		break;
	case 6:
		return seed_below(random, copy->bytes);
	default:
		break;
	}
	return base + seed_below(random, 7) - 3;
}

static void single_numbers(void **state)
{
	uint64_t random = seed_get("hostile");
	struct copy copy;

	(void)state;
	copy_open(&copy);
	for (unsigned round = 0; round < 4000; round++) {
		for (uint64_t n = 1 + seed_below(&random, 6); n > 0; n--) {
			uint32_t block =
				(uint32_t)seed_below(&random, good_root(&copy)->leaf_count + 1);
			uint64_t value = edge(&copy, &random);
			size_t bytes, most, width = seed_below(&random, 2) ? 8 : 4;
			unsigned char *at = block_of(&copy, block, &bytes);

			/* Mostly near the beginning, where the counts and the first entries are. */
			most = seed_below(&random, 2) ? 200 : bytes;
			memcpy(at + 8 + 4 * seed_below(&random, (most - 16) / 4), &value, width);
		}
		walk(&copy, &random);
		restore(&copy);
	}
	assert_true(copy.handed > 4000);
	copy_close(&copy);
}

/* The last pages of what may be followed, shown as leaves: entries and names run into the end. */
static void leaves_at_the_end(void **state)
{
	uint64_t random = seed_get("hostile");
	struct copy copy;

	(void)state;
	copy_open(&copy);
	for (unsigned round = 0; round < 2000; round++) {
		struct layers_root *root = (void *)(copy.base + fixture.root.offset);
		struct layers_ref *refs = (struct layers_ref *)(root + 1);
		unsigned char *last = copy.base + copy.bytes - RGM_PAGE_BYTES;
		struct layers_leaf *leaf = (void *)last;
		struct layers_entry *entries = (struct layers_entry *)(leaf + 1);

		*leaf = (struct layers_leaf){.magic = LAYERS_LEAF_MAGIC,
			.entry_count = (uint32_t)(round % 2 ? 64 : edge(&copy, &random))};
		for (unsigned i = 0; i < 63; i++)
			entries[i] = (struct layers_entry){.page = edge(&copy, &random),
				.size = edge(&copy, &random),
				.name_offset = (uint32_t)seed_below(&random, RGM_PAGE_BYTES + 2),
				.name_length = (uint32_t)seed_below(&random, RGM_PAGE_BYTES + 2),
				.media_offset = (uint32_t)seed_below(&random, RGM_PAGE_BYTES + 2),
				.media_length = (uint32_t)seed_below(&random, 8)};
		for (unsigned i = 0; i < 3; i++)
			refs[i].page = (copy.bytes / RGM_PAGE_BYTES) - 1;
		walk(&copy, &random);
		restore(&copy);
		memcpy(last, copy.good + (last - copy.base), RGM_PAGE_BYTES);
	}
	copy_close(&copy);
}

/* A root that is not there, or runs out of what may be followed. */
static void wrong_places(void **state)
{
	static const uint64_t bytes[] = {0, 1, 64, 4095, 4096, 8192};
	struct rgm_layers layers;
	struct rgm_layer layer;
	struct copy copy;

	(void)state;
	copy_open(&copy);
	for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
		const uint64_t roots[] = {bytes[i], bytes[i] + 4096, UINT64_MAX - 4095, 100,
			(copy.bytes + 4095) & ~4095ull};

		for (size_t j = 0; j < sizeof(roots) / sizeof(*roots); j++) {
			layers_view_init(&layers, copy.base, bytes[i], roots[j], 1);
			assert_int_equal(rgm_layers_count(&layers), 0);
			assert_false(rgm_layers_next_layer(&layers, &layer));
			assert_int_equal(rgm_layers_get(&layers, "x", &layer), RGM_ENOLAYER);
		}
	}
	copy_close(&copy);
}

/* Opening a view reads nothing of the region: none of it can be read here. */
static void opening_touches_nothing(void **state)
{
	struct rgm_layers layers;
	void *area = mmap(NULL, 1u << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(area, MAP_FAILED);
	layers_view_init(&layers, area, 1u << 20, RGM_PAGE_BYTES, 7);
	layers_view_rewind(&layers);
	rgm_layers_seek(&layers, NULL);
	assert_int_equal(rgm_layers_version(&layers), 7);
	munmap(area, 1u << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sound_bytes_are_all_there),
		cmocka_unit_test(whole_blocks),
		cmocka_unit_test(single_numbers),
		cmocka_unit_test(leaves_at_the_end),
		cmocka_unit_test(wrong_places),
		cmocka_unit_test(opening_touches_nothing),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
