/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several changes of one region at once: pages that one has just freed are another's a moment later,
 * and none writes to another's.
 */
#define _GNU_SOURCE 1

#include <pthread.h>

#include "tests/dimensions/fixture.h"

#define KB      1024u
#define MB      (1024u * KB)
#define THREADS 4u
#define ROUNDS  60u

struct shared {
	struct fixture fixture;
	pthread_mutex_t commit; /* fixture's root, version and retired blocks */
	uint64_t seed;
};

struct writer {
	struct shared *shared;
	pthread_t thread;
	unsigned number;
	unsigned failures; /* counted, because a thread cannot end the test */
};

static bool write_round(struct writer *writer, unsigned char *scratch, uint64_t *random)
{
	struct shared *shared = writer->shared;
	struct layers_change *change;
	struct rgm_error error;
	char name[32];
	int rc = layers_change_begin(shared->fixture.region, 0, false, &change, &error);

	if (rc < 0)
		return false;
	for (unsigned i = 0; rc == 0 && i < 5; i++) {
		uint64_t seed = seed_next(random);
		size_t bytes = (size_t)seed_below(random, i == 4 ? 3 * MB : 50 * KB);

		snprintf(name, sizeof(name), "%u/%llu", writer->number,
			(unsigned long long)seed_below(random, 20));
		fixture_fill(scratch, bytes, seed);
		if (i % 2) {
			rc = layers_change_stream_begin(change, name, 1, NULL, &error);
			if (rc == 0)
				rc = layers_change_stream_append(change, scratch, bytes, &error);
			if (rc == 0)
				rc = layers_change_stream_end(change, &error);
		} else {
			rc = layers_change_put(change, name, scratch, bytes, 1, NULL, &error);
		}
	}
	if (rc < 0 || seed_below(random, 4) == 0) {
		layers_change_abort(change);
		return rc == 0;
	}
	rc = layers_change_flush(change, &error);
	pthread_mutex_lock(&shared->commit);
	if (rc == 0) {
		struct fixture *fixture = &shared->fixture;

		rc = layers_change_build(change, &fixture->root, fixture->version + 1,
			&fixture->root, &fixture->summary, &fixture->retired, NULL, &error);
		if (rc == 0) {
			fixture->version++;
			fixture_reclaim(fixture, 0);
		}
	}
	pthread_mutex_unlock(&shared->commit);
	if (rc == 0)
		layers_change_published(change);
	else
		layers_change_abort(change);
	return rc == 0;
}

static void *write_rounds(void *context)
{
	struct writer *writer = context;
	uint64_t random = writer->shared->seed + writer->number * 2 + 1;
	unsigned char *scratch = malloc(3 * MB);

	for (unsigned i = 0; scratch && i < ROUNDS; i++)
		writer->failures += !write_round(writer, scratch, &random);
	writer->failures += !scratch;
	free(scratch);
	return NULL;
}

static void changes_of_several_threads(void **state)
{
	struct shared shared = {.seed = seed_get("threads")};
	struct writer writers[THREADS];

	(void)state;
	fixture_open(&shared.fixture, 1ull << 30);
	pthread_mutex_init(&shared.commit, NULL);
	for (unsigned i = 0; i < THREADS; i++) {
		writers[i] = (struct writer){.shared = &shared, .number = i};
		assert_int_equal(
			pthread_create(&writers[i].thread, NULL, write_rounds, &writers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(writers[i].thread, NULL);
		assert_int_equal(writers[i].failures, 0);
	}
	pthread_mutex_destroy(&shared.commit);
	/* Every checksum, and every page. */
	fixture_verify(&shared.fixture);
	assert_true(shared.fixture.summary.layers > THREADS);
	fixture_close(&shared.fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changes_of_several_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
