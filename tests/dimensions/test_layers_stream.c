/* SPDX-License-Identifier: Apache-2.0 */
/* dimensions/layers_stream.c: content piece by piece, its size not known beforehand. */
#define _GNU_SOURCE 1

#include "tests/dimensions/content.h"

/* A stream whose way is blocked moves, and keeps its bytes. */
static void a_blocked_stream_moves(void **state)
{
	struct layers_change *other;
	struct rgm_error error;
	size_t done = 0;

	(void)state;
	open_with(1ull << 30, 0);
	must(layers_change_begin(fixture.region, 0, false, &other, &error), &error);
	must(layers_change_stream_begin(change, "stream", 1, NULL, &error), &error);
	for (unsigned i = 0; done < 20 * MB; i++) {
		size_t bytes = 1 + (i * 99991u) % (512 * KB);
		char name[16];

		must(layers_change_stream_append(change, data + done, bytes, &error), &error);
		done += bytes;
		snprintf(name, sizeof(name), "%u", i);
		must(layers_change_put(other, name, data, 3, 1, NULL, &error), &error);
	}
	must(layers_change_stream_end(change, &error), &error);
	must(fixture_commit(&fixture, change, NULL, &error), &error);
	expect_bytes("stream", data, done);
	must(fixture_commit(&fixture, other, NULL, &error), &error);
	fixture_verify(&fixture);
	expect_bytes("stream", data, done);
	/* Exactly its pages. */
	assert_int_equal(fixture_used(&fixture) - fixture.retired.count, fixture.summary.pages);
	fixture_close(&fixture);
}

/* The last doubling does not fit, but what is needed does. */
static void a_stream_up_to_the_last_page(void **state)
{
	struct pool_region_info info;
	struct rgm_error error;
	uint64_t kept;
	size_t done = 0;

	(void)state;
	open_with(32 * MB, 0);
	/* For the new root and its leaf. */
	must(pool_region_allocate(fixture.region, 2, &kept, &error), &error);
	must(layers_change_stream_begin(change, "stream", 1, NULL, &error), &error);
	for (size_t bytes = MB; bytes >= POOL_PAGE_BYTES;) {
		int rc = layers_change_stream_append(change, data + done, bytes, &error);

		assert_true(rc == 0 || rc == RGM_ELIMIT || rc == -ENOSPC);
		if (rc == 0)
			done += bytes;
		else
			bytes /= 2;
	}
	must(layers_change_stream_end(change, &error), &error);
	pool_region_info(fixture.region, &info);
	assert_int_equal(info.free_pages, 0);
	pool_region_free(fixture.region, kept, 2);
	commit();
	expect_bytes("stream", data, done);
	fixture_close(&fixture);
}

static void an_open_stream_is_aborted(void **state)
{
	struct rgm_error error;

	(void)state;
	open_with(1ull << 30, 0);
	must(layers_change_put(change, "a", data, 100, 1, NULL, &error), &error);
	must(layers_change_stream_begin(change, "stream", 1, NULL, &error), &error);
	assert_int_equal(layers_change_stream_begin(change, "other", 1, NULL, &error), -EINVAL);
	assert_string_equal(error.message, "layer 'stream' is still being streamed");
	must(layers_change_stream_append(change, data, 5 * MB, &error), &error);
	assert_int_equal(layers_change_remove(change, "a", &error), -EINVAL);
	abort_and_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_blocked_stream_moves),
		cmocka_unit_test(a_stream_up_to_the_last_page),
		cmocka_unit_test(an_open_stream_is_aborted),
	};

	return cmocka_run_group_tests(tests, content_setup, content_teardown);
}
