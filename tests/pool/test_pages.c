/* SPDX-License-Identifier: Apache-2.0 */
/* pool/pages.c, pool/bitmap.h: the promises of pages.h, against an array of bools. */
#define _GNU_SOURCE 1

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pool/bitmap.h"
#include "pool/pages.h"
#include "tests/pool/sanitizers.h"
#include "tests/pool/seed.h"

#define MODEL_MAX 3000u
#define STEPS     6000

/* What is right, found by looking at every page. */
struct model {
	uint64_t pages;
	bool used[MODEL_MAX];
};

static uint64_t random_state;

static bool model_all(const struct model *model, uint64_t page, uint64_t count, bool used)
{
	if (count == 0 || page >= model->pages || count > model->pages - page)
		return false;
	for (uint64_t i = 0; i < count; i++)
		if (model->used[page + i] != used)
			return false;
	return true;
}

static void model_set(struct model *model, uint64_t page, uint64_t count, bool used)
{
	for (uint64_t i = 0; i < count; i++)
		model->used[page + i] = used;
}

static struct pages_info model_info(const struct model *model)
{
	struct pages_info info = {.pages = model->pages};
	uint64_t run = 0;

	for (uint64_t page = 0; page < model->pages; page++) {
		if (model->used[page]) {
			info.used++;
			run = 0;
			continue;
		}
		info.free++;
		info.free_runs += run == 0;
		run++;
		if (run > info.largest_free)
			info.largest_free = run;
	}
	info.tail_free = run;
	return info;
}

/* The whole of it: numbers, bits, used runs, and the set's own proof. */
static void compare(const struct pages *pages, const struct model *model)
{
	struct pages_info info, right = model_info(model);
	uint64_t cursor = 0, page, count, seen = 0;

	assert_true(pages_valid(pages));
	pages_info(pages, &info);
	assert_memory_equal(&info, &right, sizeof(info));
	for (uint64_t i = 0; i < model->pages; i++)
		if (pages_is_used(pages, i) != model->used[i])
			fail_msg("page %llu", (unsigned long long)i);
	assert_false(pages_is_used(pages, model->pages));
	while (pages_next_used(pages, &cursor, &page, &count)) {
		assert_true(model_all(model, page, count, true));
		assert_false(model_all(model, page, count + 1, true));
		assert_true(page == 0 || !model->used[page - 1]);
		seen += count;
	}
	assert_int_equal(seen, right.used);
}

static void step_allocate(struct pages *pages, struct model *model)
{
	uint64_t page = UINT64_MAX;
	uint64_t count =
		1 + seed_below(&random_state, seed_below(&random_state, 10) == 0 ? 600 : 40);
	struct pages_info right = model_info(model);
	int rc = pages_allocate(pages, count, &page);

	if (right.largest_free < count) {
		assert_int_equal(rc, -ENOSPC);
		assert_int_equal(page, UINT64_MAX);
		return;
	}
	assert_int_equal(rc, 0);
	assert_true(model_all(model, page, count, false));
	model_set(model, page, count, true);
}

static void step_allocate_upto(struct pages *pages, struct model *model)
{
	uint64_t page = UINT64_MAX, count = UINT64_MAX;
	uint64_t least = 1 + seed_below(&random_state, 100);
	uint64_t most = least + seed_below(&random_state, 300);
	struct pages_info right = model_info(model);
	int rc = pages_allocate_upto(pages, least, most, &page, &count);

	if (right.largest_free < least) {
		assert_int_equal(rc, -ENOSPC);
		assert_int_equal(page, UINT64_MAX);
		assert_int_equal(count, UINT64_MAX);
		return;
	}
	assert_int_equal(rc, 0);
	assert_int_equal(count, right.largest_free < most ? right.largest_free : most);
	assert_true(model_all(model, page, count, false));
	model_set(model, page, count, true);
}

/* Any range, right or wrong. */
static void step_free_or_claim(struct pages *pages, struct model *model, bool claim)
{
	uint64_t page = seed_below(&random_state, model->pages + 3);
	uint64_t count = seed_below(&random_state, 30);

	if (model_all(model, page, count, !claim)) {
		assert_int_equal((claim ? pages_claim : pages_free)(pages, page, count), 0);
		model_set(model, page, count, claim);
	} else {
		assert_int_equal((claim ? pages_claim : pages_free)(pages, page, count), -EINVAL);
	}
}

/* A whole used run, or a part of one. */
static void step_free_run(struct pages *pages, struct model *model)
{
	uint64_t cursor = seed_below(&random_state, model->pages + 1), page, count, skip;

	if (!pages_next_used(pages, &cursor, &page, &count))
		return;
	if (seed_below(&random_state, 2) == 0) {
		skip = seed_below(&random_state, count);
		page += skip;
		count = 1 + seed_below(&random_state, count - skip);
	}
	assert_int_equal(pages_free(pages, page, count), 0);
	model_set(model, page, count, false);
}

static void step_grow(struct pages *pages, struct model *model)
{
	uint64_t count = seed_below(&random_state, 120);
	bool used = seed_below(&random_state, 3) == 0;

	if (count > MODEL_MAX - model->pages) {
		assert_int_equal(pages_grow(pages, count, used), -E2BIG);
		return;
	}
	assert_int_equal(pages_grow(pages, count, used), 0);
	model_set(model, model->pages, count, used);
	model->pages += count;
}

#define MODEL_WORDS (MODEL_MAX / BITMAP_WORD_BITS + 1)

/* The bits go to memory of ours, or back; or the set ends and another one takes over what the bits say. */
static struct pages *step_elsewhere(struct pages *pages, uint64_t *ours, bool *is_ours)
{
	struct pages_info info;

	if (!*is_ours) {
		memset(ours, 0, MODEL_WORDS * sizeof(*ours));
		pages_move(pages, ours);
		*is_ours = true;
		return pages;
	}
	if (seed_below(&random_state, 2) == 0) {
		pages_move(pages, ours); /* where they are: nothing happens */
		pages_move(pages, NULL);
		memset(ours, 0xff, MODEL_WORDS * sizeof(*ours));
		*is_ours = false;
		return pages;
	}
	pages_info(pages, &info);
	pages_destroy(pages);
	pages = pages_create(MODEL_MAX);
	assert_non_null(pages);
	assert_int_equal(pages_adopt(pages, ours, MODEL_MAX + 1), -E2BIG);
	assert_int_equal(pages_adopt(pages, ours, info.pages), 0);
	return pages;
}

static void against_the_model(void **state)
{
	static struct model model;
	static uint64_t ours[MODEL_WORDS];
	bool is_ours = false;
	struct pages *pages = pages_create(MODEL_MAX);

	(void)state;
	assert_non_null(pages);
	for (int step = 0; step < STEPS; step++) {
		/* Phases that fill and phases that empty. */
		uint64_t what = seed_below(&random_state, 10) + (step / 500 % 2 == 0 ? 0 : 4);

		if (what < 4)
			step_allocate(pages, &model);
		else if (what < 5)
			step_allocate_upto(pages, &model);
		else if (what < 6)
			step_free_or_claim(pages, &model, true);
		else if (what < 7)
			step_free_or_claim(pages, &model, false);
		else if (what < 8 && step % 7 == 0)
			step_grow(pages, &model);
		else
			step_free_run(pages, &model);
		if (step % 20 == 0)
			pages = step_elsewhere(pages, ours, &is_ours);
		compare(pages, &model);
	}
	pages_destroy(pages);
}

static void exhaustion_and_back(void **state)
{
	const uint64_t total = 100000;
	struct pages *pages = pages_create(total);
	struct pages_info info;
	uint64_t page, taken = 0;

	(void)state;
	assert_non_null(pages);
	assert_int_equal(pages_grow(pages, total, false), 0);
	while (pages_allocate(pages, 7, &page) == 0)
		taken += 7;
	assert_int_equal(taken, total / 7 * 7);
	while (pages_allocate(pages, 1, &page) == 0)
		taken++;
	assert_int_equal(taken, total);
	pages_info(pages, &info);
	assert_int_equal(info.free, 0);
	assert_int_equal(info.free_runs, 0);
	assert_int_equal(info.largest_free, 0);
	assert_int_equal(info.tail_free, 0);
	assert_true(pages_valid(pages));
	/* Every other page, then the rest: one run again. */
	for (page = 0; page < total; page += 2)
		assert_int_equal(pages_free(pages, page, 1), 0);
	pages_info(pages, &info);
	assert_int_equal(info.free_runs, total / 2);
	assert_int_equal(pages_allocate(pages, 2, &page), -ENOSPC);
	assert_true(pages_valid(pages));
	for (page = 1; page < total; page += 2)
		assert_int_equal(pages_free(pages, page, 1), 0);
	pages_info(pages, &info);
	assert_int_equal(info.free_runs, 1);
	assert_int_equal(info.largest_free, total);
	assert_true(pages_valid(pages));
	pages_destroy(pages);
}

static void refusals_change_nothing(void **state)
{
	struct pages *pages = pages_create(100);
	uint64_t page = 7, count = 7;

	(void)state;
	assert_non_null(pages);
	assert_int_equal(pages_allocate(pages, 1, &page), -ENOSPC);
	assert_int_equal(pages_allocate_upto(pages, 1, 1, &page, &count), -ENOSPC);
	assert_int_equal(pages_free(pages, 0, 1), -EINVAL);
	assert_int_equal(pages_grow(pages, 101, false), -E2BIG);
	assert_int_equal(pages_grow(pages, UINT64_MAX, false), -E2BIG);
	assert_int_equal(pages_grow(pages, 0, false), 0);
	assert_int_equal(pages_grow(pages, 90, false), 0);
	assert_int_equal(pages_grow(pages, 11, true), -E2BIG);
	assert_int_equal(pages_claim(pages, 10, 10), 0);
	assert_int_equal(pages_claim(pages, 19, 1), -EINVAL);
	assert_int_equal(pages_claim(pages, 5, 6), -EINVAL);
	assert_int_equal(pages_claim(pages, 85, 6), -EINVAL);
	assert_int_equal(pages_claim(pages, 50, 0), -EINVAL);
	assert_int_equal(pages_claim(pages, 50, UINT64_MAX), -EINVAL);
	assert_int_equal(pages_free(pages, 9, 2), -EINVAL);
	assert_int_equal(pages_free(pages, 19, 2), -EINVAL);
	assert_int_equal(pages_free(pages, 10, 0), -EINVAL);
	assert_int_equal(pages_free(pages, 10, UINT64_MAX - 5), -EINVAL);
	assert_int_equal(pages_free(pages, UINT64_MAX, 1), -EINVAL);
	assert_int_equal(pages_allocate(pages, 0, &page), -EINVAL);
	assert_int_equal(pages_allocate(pages, UINT64_MAX, &page), -ENOSPC);
	assert_int_equal(pages_allocate(pages, 1ull << 32, &page), -ENOSPC);
	assert_int_equal(pages_allocate_upto(pages, 0, 1, &page, &count), -EINVAL);
	assert_int_equal(pages_allocate_upto(pages, 2, 1, &page, &count), -EINVAL);
	assert_int_equal(page, 7);
	assert_int_equal(count, 7);
	assert_int_equal(pages_free(pages, 12, 3), 0);
	assert_int_equal(pages_free(pages, 12, 1), -EINVAL);
	assert_true(pages_valid(pages));
	/* The longest run is at the end: all of it, and then the next one. */
	assert_int_equal(pages_allocate_upto(pages, 5, UINT64_MAX, &page, &count), 0);
	assert_int_equal(page, 20);
	assert_int_equal(count, 70);
	assert_int_equal(pages_allocate_upto(pages, 5, 1000, &page, &count), 0);
	assert_int_equal(page, 0);
	assert_int_equal(count, 10);
	assert_int_equal(pages_allocate_upto(pages, 5, 1000, &page, &count), -ENOSPC);
	assert_true(pages_valid(pages));
	pages_destroy(pages);
	pages_destroy(NULL);
}

/* Of runs that fit equally well the lowest is taken, and a close fit before a loose one. */
static void good_places(void **state)
{
	struct pages *pages = pages_create(10000);
	uint64_t page;

	(void)state;
	assert_non_null(pages);
	assert_int_equal(pages_grow(pages, 10000, true), 0);
	assert_int_equal(pages_free(pages, 5000, 4), 0);
	assert_int_equal(pages_free(pages, 100, 4), 0);
	assert_int_equal(pages_free(pages, 3000, 4), 0);
	assert_int_equal(pages_free(pages, 7000, 1000), 0);
	assert_int_equal(pages_free(pages, 10, 6), 0);
	assert_int_equal(pages_allocate(pages, 4, &page), 0);
	assert_int_equal(page, 100);
	assert_int_equal(pages_allocate(pages, 4, &page), 0);
	assert_int_equal(page, 3000);
	assert_int_equal(pages_allocate(pages, 5, &page), 0);
	assert_int_equal(page, 10);
	assert_int_equal(pages_allocate(pages, 5, &page), 0);
	assert_int_equal(page, 7000);
	/* A run that lies hidden behind more than a few too short ones of its bin is found. */
	assert_int_equal(pages_allocate(pages, 995, &page), 0);
	assert_int_equal(pages_free(pages, 8000, 1010), 0);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(pages_free(pages, 1000 + i * 1001, 993), 0);
	assert_int_equal(pages_allocate(pages, 1010, &page), 0);
	assert_int_equal(page, 8000);
	assert_true(pages_valid(pages));
	pages_destroy(pages);
}

/* 16 TiB less a page: descriptors for all of it, memory for what is touched. More is refused. */
static void the_largest_set(void **state)
{
	struct pages *pages = pages_create(PAGES_MAX);
	uint64_t page;

	(void)state;
	assert_null(pages_create(PAGES_MAX + 1));
	assert_null(pages_create(1ull << 34));
	assert_null(pages_create(UINT64_MAX));
	if (pages == NULL) {
		print_message("SKIP the_largest_set: no address space for it\n");
		skip();
	}
	/* Used pages cost a bit: leave those out, too. */
	assert_int_equal(pages_grow(pages, PAGES_MAX, false), 0);
	assert_int_equal(pages_grow(pages, 1, false), -E2BIG);
	assert_int_equal(pages_allocate(pages, 1000, &page), 0);
	assert_int_equal(page, 0);
	assert_int_equal(pages_claim(pages, PAGES_MAX - 1, 1), 0);
	assert_int_equal(pages_allocate(pages, 1, &page), 0);
	assert_int_equal(page, 1000);
	assert_int_equal(pages_free(pages, PAGES_MAX - 1, 1), 0);
	assert_int_equal(pages_free(pages, 0, 1001), 0);
	pages_destroy(pages);
}

#ifndef SHADOW_MEMORY
/* Memory that a process has touched, in bytes. */
static uint64_t resident_bytes(void)
{
	unsigned long long size = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%llu %llu", &size, &resident), 2);
	fclose(file);
	return (uint64_t)resident * 4096;
}

static void a_thousand_sets_cost_little(void **state)
{
	static struct pages *sets[1000];
	uint64_t before, after, page;

	(void)state;
	before = resident_bytes();
	for (size_t i = 0; i < 1000; i++) {
		sets[i] = pages_create(4 << 20);
		assert_non_null(sets[i]);
		assert_int_equal(pages_grow(sets[i], 4 << 20, false), 0);
		assert_int_equal(pages_allocate(sets[i], 100, &page), 0);
	}
	after = resident_bytes();
	for (size_t i = 0; i < 1000; i++)
		pages_destroy(sets[i]);
	/* Bins 3.5 KB, and a page for each end that was touched. */
	assert_true(after - before < 1000 * 32768ull);
}

#endif

static void runs_of_bits(void **state)
{
	uint64_t map[8];
	bool right[512];

	(void)state;
	memset(map, 0, sizeof(map));
	memset(right, 0, sizeof(right));
	for (int i = 0; i < 20000; i++) {
		uint64_t bit = seed_below(&random_state, 512);
		uint64_t end = bit + 1 + seed_below(&random_state, 512 - bit);
		bool value = seed_below(&random_state, 2) != 0;
		uint64_t at;

		(value ? bitmap_set : bitmap_clear)(map, bit, end);
		for (at = bit; at < end; at++)
			right[at] = value;
		bit = seed_below(&random_state, 512);
		end = bit + seed_below(&random_state, 513 - bit);
		for (at = bit; at < end && right[at] != value; at++)
			;
		assert_int_equal(bitmap_find(map, bit, end, value), at);
		for (at = end; at > 0 && !right[at - 1]; at--)
			;
		assert_int_equal(bitmap_find_last(map, end), at);
		assert_int_equal(bitmap_get(map, bit), right[bit]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_of_bits),
		cmocka_unit_test(against_the_model),
		cmocka_unit_test(exhaustion_and_back),
		cmocka_unit_test(refusals_change_nothing),
		cmocka_unit_test(good_places),
		cmocka_unit_test(the_largest_set),
#ifndef SHADOW_MEMORY
		cmocka_unit_test(a_thousand_sets_cost_little),
#endif
	};

	random_state = seed_get("pool/pages");
	return cmocka_run_group_tests_name("pool/pages", tests, NULL, NULL);
}
