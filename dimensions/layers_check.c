/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that a checksum covers is read again, and every byte that must be zero is looked at.
 * What cannot be read is a problem like any other: the check goes on behind it.
 */
#include "dimensions/layers_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dimensions/check.h"
#include "dimensions/layers_name.h"
#include "dimensions/layers_walk.h"
#include "pool/crc32c.h"
#include "pool/error.h"

#define BUFFER_BYTES (1u << 20)

struct check {
	struct pool_region *region;
	rgm_progress progress;
	void *context;
	uint64_t done_bytes;
	uint64_t total_bytes;
	unsigned char *buffer;
	struct rgm_check_report *report;
};

static int tell_progress(struct check *check, struct rgm_error *error)
{
	if (!check->progress ||
		check->progress(check->context, check->done_bytes, check->total_bytes) == 0)
		return 0;
	return pool_fail(error, -ECANCELED, "the check was cancelled");
}

static bool all_zero(const unsigned char *bytes, size_t count)
{
	return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

/* Read a layer's pages. *ret_why is NULL when they are sound. */
static int read_content(struct check *check, const struct layers_entry *entry, const char **ret_why,
	struct rgm_error *told, struct rgm_error *error)
{
	uint64_t offset = entry->page * POOL_PAGE_BYTES;
	uint64_t left = entry->size;
	uint32_t crc = 0;
	int rc = 0;

	*ret_why = NULL;
	while (rc == 0 && left > 0) {
		size_t bytes = left < BUFFER_BYTES ? (size_t)left : BUFFER_BYTES;
		size_t run_bytes = (size_t)(layers_pages(bytes) * POOL_PAGE_BYTES);

		if (pool_region_read(check->region, offset, check->buffer, run_bytes, told) < 0) {
			*ret_why = told->message;
			return 0;
		}
		crc = pool_crc32c(crc, check->buffer, bytes);
		if (!all_zero(check->buffer + bytes, run_bytes - bytes))
			*ret_why = "bytes behind its end are not zero";
		offset += bytes;
		left -= bytes;
		check->done_bytes += bytes;
		rc = tell_progress(check, error);
	}
	if (crc != entry->crc32c)
		*ret_why = "its checksum is wrong";
	return rc;
}

static int check_entry(void *context, const struct layers_leaf *leaf,
	const struct layers_entry *entry, struct rgm_error *error)
{
	struct check *check = context;
	char shown[LAYERS_SHOWN_BYTES];
	struct rgm_error told;
	const char *why;
	int rc = read_content(check, entry, &why, &told, error);

	check->report->layers++;
	check->report->pages_used += layers_pages(entry->size);
	if (rc != 0)
		return rc;
	if (why)
		dim_report_problem(check->report, "layer '%s' at page %llu is damaged: %s",
			layers_name_shown(
				shown, layers_string(leaf, entry->name_offset), entry->name_length),
			(unsigned long long)entry->page, why);
	else
		check->report->bytes += entry->size;
	return 0;
}

static int check_block(
	void *context, uint64_t page, uint64_t count, uint64_t born, struct rgm_error *error)
{
	struct check *check = context;

	(void)page;
	(void)born;
	check->report->pages_used += count;
	/* Directories of empty layers can be cancelled too. */
	return tell_progress(check, error);
}

static int check_damaged(void *context, struct rgm_error *error)
{
	struct check *check = context;

	dim_report_problem(check->report, "%s", error->message);
	return 0;
}

int layers_check(struct pool_region *region, const struct pool_root *root, rgm_progress progress,
	void *context, struct rgm_check_report *report, struct rgm_error *error)
{
	static const struct layers_visitor visitor = {
		.block = check_block,
		.entry = check_entry,
		.damaged = check_damaged,
	};
	struct check check = {
		.region = region,
		.progress = progress,
		.context = context,
		.report = report,
	};
	struct layers_directory directory;
	int rc;

	check.buffer = aligned_alloc(POOL_PAGE_BYTES, BUFFER_BYTES);
	if (!check.buffer)
		return pool_fail(
			error, -ENOMEM, "no memory for a buffer of %u bytes", BUFFER_BYTES);
	/* A root that cannot be opened is told by the walk; its total only serves the progress. */
	if (layers_directory_open(&directory, region, root, NULL) == 0) {
		check.total_bytes = directory.root->content_bytes;
		layers_directory_close(&directory);
	}
	rc = layers_walk(region, root, &visitor, &check, NULL, error);
	free(check.buffer);
	return rc;
}
