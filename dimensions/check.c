/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check of a region as a whole: its kind's own check, then ownership of pages. All runs that
 * somebody owns (what the root reaches, and what the caller knows of) are sorted and swept beside
 * the allocation map, so that a page owned twice, owned but free, or used but not owned is seen.
 */
#include "dimensions/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "pool/error.h"

const struct dim_blocks dim_unknown;

void dim_report_problem(struct rgm_check_report *report, const char *format, ...)
{
	va_list arguments;

	if (report->problems++ > 0)
		return;
	va_start(arguments, format);
	(void)vsnprintf(report->first_problem, sizeof(report->first_problem), format, arguments);
	va_end(arguments);
}

static int compare_blocks(const void *a, const void *b)
{
	const struct dim_block *x = a;
	const struct dim_block *y = b;

	return (x->page > y->page) - (x->page < y->page);
}

static void report_pages(
	struct rgm_check_report *report, uint64_t first, uint64_t end, const char *what)
{
	if (end - first == 1)
		dim_report_problem(report, "page %llu: %s", (unsigned long long)first, what);
	else
		dim_report_problem(report, "pages %llu to %llu: %s", (unsigned long long)first,
			(unsigned long long)(end - 1), what);
}

/* Sort the blocks, tell where two overlap, and join them into runs that touch nothing. */
static void join(struct dim_blocks *blocks, struct rgm_check_report *report)
{
	size_t last = 0;

	if (blocks->count == 0)
		return;
	qsort(blocks->items, blocks->count, sizeof(*blocks->items), compare_blocks);
	for (size_t i = 1; i < blocks->count; i++) {
		const struct dim_block *next = &blocks->items[i];
		struct dim_block *run = &blocks->items[last];
		uint64_t run_end = run->page + run->count;
		uint64_t next_end = next->page + next->count;

		if (next->page < run_end)
			report_pages(report, next->page, next_end < run_end ? next_end : run_end,
				"reached twice");
		if (next->page > run_end)
			blocks->items[++last] = *next;
		else if (next_end > run_end)
			run->count = next_end - run->page;
	}
	blocks->count = last + 1;
}

/* The map's runs, in order, as a list of their own: one sweep then needs no care for the source. */
static int read_map(struct pool_region *region, struct dim_blocks *used, struct rgm_error *error)
{
	uint64_t cursor = 0;
	uint64_t page;
	uint64_t count;

	while (pool_region_next_used(region, &cursor, &page, &count)) {
		if (dim_blocks_add(used, page, count, 0) < 0)
			return pool_fail(error, -ENOMEM, "no memory for a list of pages");
	}
	return 0;
}

/* Report the parts of runs in `a` that no run of `b` covers. Both are sorted; b's runs are joined. */
static void report_difference(const struct dim_blocks *a, const struct dim_blocks *b,
	const char *what, struct rgm_check_report *report)
{
	size_t j = 0;

	for (size_t i = 0; i < a->count; i++) {
		uint64_t page = a->items[i].page;
		uint64_t end = page + a->items[i].count;

		while (page < end) {
			while (j < b->count && b->items[j].page + b->items[j].count <= page)
				j++;
			if (j == b->count || b->items[j].page >= end) {
				report_pages(report, page, end, what);
				break;
			}
			if (b->items[j].page > page)
				report_pages(report, page, b->items[j].page, what);
			page = b->items[j].page + b->items[j].count;
		}
	}
}

static int check_pages(struct pool_region *region, const struct dim_kind *kind,
	const struct pool_root *root, const struct dim_blocks *known,
	struct rgm_check_report *report, struct rgm_error *error)
{
	struct dim_blocks owned = {0};
	struct dim_blocks used = {0};
	struct pool_region_info info;
	int rc = kind->reach(region, root, &owned, NULL, error);

	for (size_t i = 0; rc == 0 && known && i < known->count; i++) {
		rc = dim_blocks_add(
			&owned, known->items[i].page, known->items[i].count, known->items[i].born);
		if (rc != 0)
			pool_fail(error, rc, "no memory for a list of pages");
	}
	if (rc == 0)
		rc = read_map(region, &used, error);
	if (rc != 0)
		goto out;
	join(&owned, report);
	join(&used, report);
	pool_region_info(region, &info);
	if (info.dirty && used.count == 0)
		goto out; /* found dirty: there is no map */
	report_difference(&owned, &used, "reached, but free in the allocation map", report);
	if (known != &dim_unknown)
		report_difference(
			&used, &owned, "used in the allocation map, but not reached", report);
out:
	dim_blocks_free(&owned);
	dim_blocks_free(&used);
	return rc;
}

int dim_check(struct pool_region *region, const struct pool_root *root,
	const struct dim_blocks *known, rgm_progress progress, void *context,
	struct rgm_check_report *report, struct rgm_error *error)
{
	struct rgm_check_report found = {0};
	struct pool_region_info info;
	const struct dim_kind *kind;
	struct dim_summary summary;
	int rc;

	pool_region_info(region, &info);
	kind = dim_kind_by_number(info.kind);
	if (!kind)
		return pool_fail(error, RGM_EFORMAT,
			"region %llu is of kind %u, which is unknown here",
			(unsigned long long)info.id, info.kind);
	rc = kind->check(region, root, progress, context, &found, error);
	if (rc == 0) {
		rc = kind->open(region, root, &summary, error);
		if (rc == 0)
			rc = check_pages(region, kind, root, known, &found, error);
		else if (found.problems > 0)
			rc = 0; /* reported by now; who owns what cannot be known */
	}
	if (rc == 0)
		*report = found;
	return rc;
}
