/* SPDX-License-Identifier: Apache-2.0 */
/* label: fuzz
 * dimensions/layers_*.c against a model: puts from memory, from files and piece by piece, removals,
 * replacements, failures of each and builds that are overtaken, in random order. After each commit
 * everything is read back, and pages are accounted for to the last one.
 */
#define _GNU_SOURCE 1

#include "tests/dimensions/model.h"

#define KB 1024u
#define MB (1024u * KB)

struct run {
	struct fixture fixture;
	struct model model;   /* published */
	struct model pending; /* with the change under way */
	struct layers_change *change;
	uint64_t random;
	unsigned char *scratch; /* LARGEST bytes */
	uint64_t removals;      /* of 20 operations */
};
#define LARGEST (6u * MB)

static size_t random_size(uint64_t *random)
{
	static const size_t edges[] = {0, 1, 4095, 4096, 4097, 8192, 2 * MB - 1, 2 * MB + 1};

	switch (seed_below(random, 20)) {
	case 0:
		return (size_t)seed_below(random, LARGEST);
	case 1:
	case 2:
		return edges[seed_below(random, 6)];
	case 3:
		return edges[seed_below(random, 8)];
	case 4:
	case 5:
		return (size_t)seed_below(random, 200 * KB);
	default:
		return (size_t)seed_below(random, 9000);
	}
}

static char *some_name(struct run *run)
{
	if (run->pending.count > 0 && seed_below(&run->random, 3) != 0)
		return strdup(
			run->pending.layers[seed_below(&run->random, run->pending.count)].name);
	return model_name(&run->random);
}

static void put_stream(struct run *run, const struct model_layer *layer, const char *media)
{
	struct rgm_error error;
	size_t done = 0;

	must(layers_change_stream_begin(run->change, layer->name, layer->time_ns, media, &error),
		&error);
	assert_int_equal(layers_change_put(run->change, "x", "", 0, 1, NULL, &error), -EINVAL);
	assert_int_equal(layers_change_flush(run->change, &error), -EINVAL);
	while (done < layer->bytes) {
		size_t bytes = 1 + (size_t)seed_below(&run->random, layer->bytes);

		if (bytes > layer->bytes - done)
			bytes = layer->bytes - done;
		must(layers_change_stream_append(run->change, run->scratch + done, bytes, &error),
			&error);
		done += bytes;
	}
	must(layers_change_stream_end(run->change, &error), &error);
	assert_int_equal(layers_change_stream_end(run->change, &error), -EINVAL);
}

static void random_put(struct run *run)
{
	struct model_layer layer = {
		.name = some_name(run),
		.seed = seed_next(&run->random),
		.bytes = random_size(&run->random),
		.time_ns = 1 + seed_below(&run->random, 1ull << 60),
		.version = run->fixture.version + 1,
		.media = seed_below(&run->random, 4) == 0,
	};
	const char *media = layer.media ? model_media : NULL;
	struct rgm_error error;
	int file;

	fixture_fill(run->scratch, layer.bytes, layer.seed);
	switch (seed_below(&run->random, 3)) {
	case 0:
		must(layers_change_put(run->change, layer.name, run->scratch, layer.bytes,
			     layer.time_ns, media, &error),
			&error);
		break;
	case 1:
		file = fixture_source(&run->fixture, run->scratch, layer.bytes);
		must(layers_change_put_file(
			     run->change, layer.name, file, layer.time_ns, media, &error),
			&error);
		close(file);
		break;
	default:
		put_stream(run, &layer, media);
	}
	model_put(&run->pending, &layer);
	free(layer.name);
}

/* What fails and changes nothing. */
static void random_failure(struct run *run)
{
	struct rgm_error error;
	char *name = some_name(run);
	int ends[2];

	switch (seed_below(&run->random, 4)) {
	case 0:
		assert_int_equal(
			layers_change_put(run->change, "a//b", "x", 1, 1, NULL, &error), RGM_ENAME);
		break;
	case 1:
		assert_int_equal(pipe(ends), 0);
		assert_int_equal(
			layers_change_put_file(run->change, name, ends[0], 1, NULL, &error),
			-EINVAL);
		close(ends[0]);
		close(ends[1]);
		break;
	case 2:
		assert_int_equal(layers_change_put_file(
					 run->change, name, run->fixture.folder, 1, NULL, &error),
			-EISDIR);
		break;
	default:
		assert_int_equal(layers_change_stream_append(run->change, "x", 1, &error), -EINVAL);
	}
	free(name);
}

static void random_operations(struct run *run, uint64_t count)
{
	struct rgm_error error;

	while (count-- > 0) {
		uint64_t dice = seed_below(&run->random, 20);

		if (dice == 0) {
			random_failure(run);
		} else if (dice < run->removals && run->pending.count > 0) {
			char *name = strdup(
				run->pending.layers[seed_below(&run->random, run->pending.count)]
					.name);

			must(layers_change_remove(run->change, name, &error), &error);
			model_remove(&run->pending, name);
			free(name);
		} else {
			random_put(run);
		}
	}
}

static void begin(struct run *run, bool replace, uint64_t expected)
{
	struct rgm_error error;

	must(layers_change_begin(run->fixture.region, expected, replace, &run->change, &error),
		&error);
	if (replace)
		run->pending = (struct model){0};
	else
		model_copy(&run->model, &run->pending);
}

static void publish(struct run *run)
{
	struct rgm_load_report report;
	struct rgm_error error;

	must(fixture_commit(&run->fixture, run->change, &report, &error), &error);
	assert_int_equal(report.version, run->fixture.version);
	model_clear(&run->model);
	run->model = run->pending;
	run->pending = (struct model){0};
}

static void forget(struct run *run)
{
	layers_change_abort(run->change);
	model_clear(&run->pending);
}

/* A build that fails, and one that succeeds but is overtaken by another change's commit. */
static void overtaken(struct run *run)
{
	struct layers_change *other;
	struct dim_blocks retired = {0};
	struct pool_root root;
	struct rgm_error error;
	struct model_layer layer = {
		.name = model_name(&run->random),
		.seed = 1,
		.bytes = 5000,
		.time_ns = 1,
		.version = run->fixture.version + 1,
	};

	must(layers_change_begin(run->fixture.region, 0, false, &run->change, &error), &error);
	must(layers_change_put(run->change, "overtaken", "x", 1, 2, NULL, &error), &error);
	must(layers_change_remove(run->change, layer.name, &error), &error);
	if (!model_has(&run->model, layer.name)) {
		assert_int_equal(
			layers_change_build(run->change, &run->fixture.root,
				run->fixture.version + 1, &root, NULL, &retired, NULL, &error),
			RGM_ENOLAYER);
		assert_int_equal(retired.count, 0);
	} else {
		must(layers_change_build(run->change, &run->fixture.root, run->fixture.version + 1,
			     &root, NULL, &retired, NULL, &error),
			&error);
		assert_true(retired.count > 0);
	}
	dim_blocks_free(&retired);

	fixture_fill(run->scratch, layer.bytes, layer.seed);
	must(layers_change_begin(run->fixture.region, 5000, false, &other, &error), &error);
	must(layers_change_put(
		     other, layer.name, run->scratch, layer.bytes, layer.time_ns, NULL, &error),
		&error);
	must(fixture_commit(&run->fixture, other, NULL, &error), &error);
	model_put(&run->model, &layer);
	model_copy(&run->model, &run->pending);

	/* Now what it removes is there, whether it was before or not. */
	model_remove(&run->pending, layer.name);
	free(layer.name);
	layer = (struct model_layer){.name = (char *)"overtaken", .seed = 0, .bytes = 1};
	fixture_fill(run->scratch, 1, 3);
	layer.seed = 3;
	layer.time_ns = 2;
	layer.version = run->fixture.version + 1;
	must(layers_change_put(run->change, "overtaken", run->scratch, 1, 2, NULL, &error), &error);
	model_put(&run->pending, &layer);
	publish(run);
}

static void step(struct run *run)
{
	uint64_t kind = seed_below(&run->random, 40);
	uint64_t operations = 1 + seed_below(&run->random, kind >= 36 ? 500 : 8);
	uint64_t expected =
		seed_below(&run->random, 3) == 0 ? seed_below(&run->random, 20 * MB) : 0;

	/* Seasons of growth and of shrinking. */
	if (seed_below(&run->random, 20) == 0)
		run->removals = 2 + seed_below(&run->random, 16);
	if (kind <= 2) {
		overtaken(run);
	} else {
		begin(run, kind == 3, expected);
		random_operations(run, operations);
		if (kind <= 6)
			forget(run);
		else
			publish(run);
	}
	fixture_verify(&run->fixture);
	model_compare(&run->model, &run->fixture);
	if (seed_below(&run->random, 2) == 0)
		fixture_reclaim(&run->fixture,
			(size_t)seed_below(&run->random, run->fixture.retired.count + 1));
}

static void random_changes_agree_with_the_model(void **state)
{
	struct run run = {.random = seed_get("changes"), .removals = 4};

	(void)state;
	run.scratch = malloc(LARGEST);
	assert_non_null(run.scratch);
	fixture_open(&run.fixture, 1ull << 30);
	for (int i = 0; i < 400; i++) {
		char *prefix;

		step(&run);
		prefix = model_name(&run.random);
		prefix[1 + seed_below(&run.random, strlen(prefix))] = '\0';
		model_compare_prefix(&run.model, &run.fixture, prefix);
		free(prefix);
	}
	fixture_reclaim(&run.fixture, 0);
	fixture_verify(&run.fixture);
	model_clear(&run.model);
	free(run.scratch);
	fixture_close(&run.fixture);
}

/* Many small layers: leaves split and merge, and stay reasonably full. */
static void many_layers(void **state)
{
	struct fixture fixture;
	struct layers_change *change;
	struct rgm_load_report report;
	struct rgm_layers layers;
	struct rgm_layer layer;
	struct rgm_error error;
	uint64_t random = seed_get("many");
	char name[64];
	const unsigned many = 20000;
	uint64_t pages = 0;

	(void)state;
	fixture_open(&fixture, 1ull << 30);
	must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
	for (unsigned i = 0; i < many; i++) {
		/* In an order that is not the names'. */
		snprintf(name, sizeof(name), "folder/%05u", (i * 7919u) % many);
		must(layers_change_put(
			     change, name, name, i % 7 ? strlen(name) : 0, 1, NULL, &error),
			&error);
	}
	must(fixture_commit(&fixture, change, &report, &error), &error);
	assert_int_equal(report.layers_put, many);
	fixture_verify(&fixture);
	fixture_reclaim(&fixture, 0);

	/* Remove all but every hundredth, in random portions. */
	for (unsigned i = 0; i < many;) {
		unsigned end = i + 1 + (unsigned)seed_below(&random, 3000);

		must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
		for (; i < end && i < many; i++) {
			unsigned number = (i * 7919u) % many;

			snprintf(name, sizeof(name), "folder/%05u", number);
			if (number % 100 != 0)
				must(layers_change_remove(change, name, &error), &error);
		}
		must(fixture_commit(&fixture, change, NULL, &error), &error);
		fixture_verify(&fixture);
		fixture_reclaim(&fixture, 0);
	}
	layers = fixture_view(&fixture);
	assert_int_equal(rgm_layers_count(&layers), many / 100);
	for (unsigned i = 0; i < many; i += 100) {
		snprintf(name, sizeof(name), "folder/%05u", i);
		assert_true(rgm_layers_next_layer(&layers, &layer));
		assert_string_equal(layer.name, name);
		pages += layer.data.size > 0;
	}
	/* 200 entries of 77 bytes and a root: four leaves would be a quarter full each. */
	assert_true(fixture.summary.pages - pages <= 1 + 4);
	fixture_close(&fixture);
}

/* Replacing one layer again and again reuses what was freed: the file does not grow. */
static void replacing_does_not_grow(void **state)
{
	static unsigned char data[3 * MB];
	struct pool_region_info before, after;
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture, 1ull << 30);
	for (unsigned i = 0; i < 50; i++)
		fixture_put(&fixture, (char[]){(char)('a' + i % 25), '\0'}, data, 40000);
	for (unsigned i = 0; i < 3; i++) {
		fixture_put(&fixture, "large", data, sizeof(data));
		fixture_reclaim(&fixture, 0);
	}
	pool_region_info(fixture.region, &before);
	for (unsigned i = 0; i < 200; i++) {
		fixture_put(&fixture, i % 2 ? "large" : "b", data, i % 2 ? sizeof(data) : 40000);
		fixture_reclaim(&fixture, 0);
	}
	pool_region_info(fixture.region, &after);
	assert_int_equal(after.bytes, before.bytes);
	fixture_verify(&fixture);
	fixture_close(&fixture);
}

/* The later of two operations on a name counts, and the earlier one's pages are free at once. */
static void later_wins(void **state)
{
	static unsigned char data[300 * KB];
	struct layers_change *change;
	struct fixture fixture;
	struct rgm_error error;
	struct rgm_layers layers;
	struct rgm_layer layer;
	struct rgm_load_report report;
	uint64_t used;

	(void)state;
	fixture_open(&fixture, 1ull << 30);
	fixture_put(&fixture, "old", "old", 3);
	must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
	must(layers_change_flush(change, &error), &error);
	used = fixture_used(&fixture);
	must(layers_change_put(change, "a", data, sizeof(data), 1, NULL, &error), &error);
	must(layers_change_put(change, "a", "a2", 2, 1, NULL, &error), &error);
	must(layers_change_put(change, "b", data, sizeof(data), 1, NULL, &error), &error);
	must(layers_change_remove(change, "b", &error), &error);
	must(layers_change_remove(change, "old", &error), &error);
	must(layers_change_put(change, "old", "new", 3, 1, NULL, &error), &error);
	must(layers_change_remove(change, "c", &error), &error);
	must(layers_change_put(change, "c", "c", 1, 1, NULL, &error), &error);
	must(layers_change_flush(change, &error), &error);
	assert_int_equal(fixture_used(&fixture), used + 3);
	must(fixture_commit(&fixture, change, &report, &error), &error);
	assert_int_equal(report.layers_put, 3);
	assert_int_equal(report.layers_removed, 0);
	assert_int_equal(report.bytes, 6);
	fixture_verify(&fixture);
	layers = fixture_view(&fixture);
	assert_int_equal(rgm_layers_count(&layers), 3);
	assert_int_equal(rgm_layers_get(&layers, "a", &layer), 0);
	assert_memory_equal(layer.data.data, "a2", 2);
	assert_int_equal(rgm_layers_get(&layers, "old", &layer), 0);
	assert_memory_equal(layer.data.data, "new", 3);
	assert_int_equal(rgm_layers_get(&layers, "c", &layer), 0);
	assert_int_equal(rgm_layers_get(&layers, "b", &layer), RGM_ENOLAYER);
	fixture_close(&fixture);
}

static void names_by_the_rules(void **state)
{
	static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "a/.", "a/..",
		"./a", "../a", "a/./b", "a/../b"};
	static const char *const good[] = {"a", "...", ".a", "a.", "..a", "a/...", "a/.b/c..", " ",
		"\n", "\xff\xfe", "a\\b", "-"};
	char name[RGM_LAYER_NAME_MAX + 2];
	struct layers_change *change;
	struct fixture fixture;
	struct rgm_error error;
	struct rgm_layers layers;
	struct rgm_layer layer;

	(void)state;
	fixture_open(&fixture, 1ull << 30);
	must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
			layers_change_put(change, bad[i], "", 0, 1, NULL, &error), RGM_ENAME);
		assert_int_equal(layers_change_remove(change, bad[i], &error), RGM_ENAME);
	}
	assert_int_equal(layers_check_name("a\0b", 3, &error), RGM_ENAME);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		must(layers_change_put(change, good[i], good[i], strlen(good[i]), 1, NULL, &error),
			&error);
	/* Each length there is. */
	for (size_t length = 1; length <= RGM_LAYER_NAME_MAX; length++) {
		memset(name, 'n', length);
		name[length] = '\0';
		must(layers_change_put(change, name, "", 0, 1, NULL, &error), &error);
	}
	memset(name, 'n', sizeof(name));
	name[RGM_LAYER_NAME_MAX + 1] = '\0';
	assert_int_equal(layers_change_put(change, name, "", 0, 1, NULL, &error), RGM_ENAME);
	assert_non_null(strstr(error.message, "longer than 4095 bytes"));
	must(fixture_commit(&fixture, change, NULL, &error), &error);
	fixture_verify(&fixture);
	layers = fixture_view(&fixture);
	assert_int_equal(
		rgm_layers_count(&layers), RGM_LAYER_NAME_MAX + sizeof(good) / sizeof(good[0]));
	rgm_layers_seek(&layers, "n");
	for (size_t length = 1; length <= RGM_LAYER_NAME_MAX; length++) {
		assert_true(rgm_layers_next_layer(&layers, &layer));
		assert_int_equal(layer.name_length, length);
		assert_int_equal(layer.name[length], '\0');
	}
	assert_false(rgm_layers_next_layer(&layers, &layer));
	assert_int_equal(rgm_layers_get(&layers, name, &layer), RGM_ENOLAYER);
	fixture_close(&fixture);
}

static void media_types(void **state)
{
	char media[RGM_MEDIA_TYPE_MAX + 2];
	struct layers_change *change;
	struct fixture fixture;
	struct rgm_error error;
	struct rgm_layers layers;
	struct rgm_layer layer;

	(void)state;
	memset(media, 'm', sizeof(media));
	media[RGM_MEDIA_TYPE_MAX + 1] = '\0';
	fixture_open(&fixture, 1ull << 30);
	must(layers_change_begin(fixture.region, 0, false, &change, &error), &error);
	assert_int_equal(layers_change_put(change, "a", "", 0, 1, media, &error), RGM_ELIMIT);
	media[RGM_MEDIA_TYPE_MAX] = '\0';
	must(layers_change_put(change, "a", "", 0, 1, media, &error), &error);
	must(layers_change_put(change, "b", "b", 1, 0, "", &error), &error);
	must(fixture_commit(&fixture, change, NULL, &error), &error);
	layers = fixture_view(&fixture);
	assert_int_equal(rgm_layers_get(&layers, "a", &layer), 0);
	assert_string_equal(layer.media_type, media);
	assert_int_equal(rgm_layers_get(&layers, "b", &layer), 0);
	assert_null(layer.media_type);
	assert_true(layer.time_ns > 1600000000000000000u); /* now */
	fixture_close(&fixture);
}

/* An empty change is a version like any other; so is one that replaces all by nothing. */
static void empty_changes(void **state)
{
	struct layers_change *change;
	struct rgm_load_report report;
	struct fixture fixture;
	struct rgm_error error;

	(void)state;
	fixture_open(&fixture, 1ull << 30);
	for (int i = 0; i < 3; i++) {
		must(layers_change_begin(fixture.region, 0, i == 2, &change, &error), &error);
		must(fixture_commit(&fixture, change, &report, &error), &error);
		assert_int_equal(report.layers_put, 0);
		assert_int_equal(report.layers_removed, i == 2);
		fixture_verify(&fixture);
		fixture_reclaim(&fixture, 0);
		if (i == 0)
			fixture_put(&fixture, "a", "a", 1);
	}
	assert_int_equal(fixture.summary.layers, 0);
	assert_int_equal(fixture_used(&fixture), 1);
	layers_change_abort(NULL);
	fixture_close(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_changes_agree_with_the_model),
		cmocka_unit_test(many_layers),
		cmocka_unit_test(replacing_does_not_grow),
		cmocka_unit_test(later_wins),
		cmocka_unit_test(names_by_the_rules),
		cmocka_unit_test(media_types),
		cmocka_unit_test(empty_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
