/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content of unknown size. The run is lengthened in place while the pages behind it are free, else
 * copied to one twice as long, so that n bytes cost O(n) in all; at the end it is cut to its pages.
 */
#include <errno.h>
#include <stdlib.h>

#include "dimensions/layers_change.h"
#include "dimensions/layers_format.h"
#include "pool/error.h"
#include "pool/os.h"

#define FIRST_PAGES 64u
/* By how much a run is lengthened at most where nothing is copied for it. */
#define STEP_PAGES ((64u << 20) / RGM_PAGE_BYTES)

static uint64_t max_pages(const struct layers_change *change)
{
	return change->max_bytes / POOL_PAGE_BYTES;
}

/* A run of `wanted` pages if there is room, else of `needed`. */
static int allocate(struct layers_change *change, uint64_t needed, uint64_t wanted,
	uint64_t *ret_page, uint64_t *ret_count, struct rgm_error *error)
{
	if (wanted > needed && pool_region_allocate(change->region, wanted, ret_page, NULL) == 0) {
		*ret_count = wanted;
		return 0;
	}
	*ret_count = needed;
	return pool_region_allocate(change->region, needed, ret_page, error);
}

static int move(struct layers_change *change, uint64_t needed, struct rgm_error *error)
{
	struct layers_op *op = change->stream;
	uint64_t wanted = change->stream_count * 2;
	uint64_t page;
	uint64_t count;
	int rc;

	if (wanted < FIRST_PAGES)
		wanted = FIRST_PAGES;
	if (wanted < needed)
		wanted = needed;
	rc = allocate(change, needed, wanted, &page, &count, error);
	if (rc != 0)
		return rc;
	if (op->size > 0) {
		rc = layers_writer_flush(&change->writer, error);
		if (rc == 0)
			rc = layers_writer_copy(
				&change->writer, op->page, page, layers_pages(op->size), error);
	}
	if (rc != 0) {
		layers_content_free(change, page, count);
		return rc;
	}
	layers_content_free(change, op->page, change->stream_count);
	op->page = page;
	change->stream_count = count;
	return 0;
}

/* A run of at least `needed` pages for the stream. */
static int reserve(struct layers_change *change, uint64_t needed, struct rgm_error *error)
{
	uint64_t count = change->stream_count;
	uint64_t wanted = count + (count < STEP_PAGES ? count : STEP_PAGES);

	if (needed <= count)
		return 0;
	if (wanted < needed)
		wanted = needed;
	if (wanted > max_pages(change))
		wanted = needed;
	if (count == 0)
		return move(change, needed, error);
	if (pool_region_extend(change->region, change->stream->page, count, wanted, NULL) == 0) {
		change->stream_count = wanted;
		return 0;
	}
	if (wanted > needed && pool_region_extend(change->region, change->stream->page, count,
				       needed, NULL) == 0) {
		change->stream_count = needed;
		return 0;
	}
	return move(change, needed, error);
}

int layers_change_stream_begin(struct layers_change *change, const char *name, uint64_t time_ns,
	const char *media_type, struct rgm_error *error)
{
	int rc = layers_change_prepare(change, error);

	if (rc == 0)
		rc = layers_op_create(name, time_ns ? time_ns : os_realtime_ns(), media_type,
			&change->stream, error);
	if (rc == 0)
		change->stream_count = 0;
	return rc;
}

static int no_stream(struct rgm_error *error)
{
	return pool_fail(error, -EINVAL, "no layer is being streamed");
}

int layers_change_stream_append(
	struct layers_change *change, const void *data, size_t data_bytes, struct rgm_error *error)
{
	struct layers_op *op = change->stream;
	uint32_t crc32c;
	uint64_t size;
	int rc;

	if (!op)
		return no_stream(error);
	if (data_bytes == 0)
		return 0;
	/* Neither term exceeds 2^63 when the first test passes. */
	rc = layers_content_limit(change, op, data_bytes, error);
	if (rc != 0)
		return rc;
	size = op->size + data_bytes;
	rc = layers_content_limit(change, op, size, error);
	if (rc == 0)
		rc = reserve(change, layers_pages(size), error);
	if (rc == 0)
		rc = layers_writer_seek(
			&change->writer, op->page * POOL_PAGE_BYTES + op->size, error);
	if (rc != 0)
		return rc;
	crc32c = op->crc32c;
	rc = layers_writer_append(&change->writer, data, data_bytes, &crc32c, error);
	if (rc != 0)
		return rc;
	op->crc32c = crc32c;
	op->size = size;
	return 0;
}

int layers_change_stream_end(struct layers_change *change, struct rgm_error *error)
{
	struct layers_op *op = change->stream;
	uint64_t pages;
	int rc = 0;

	if (!op)
		return no_stream(error);
	pages = layers_pages(op->size);
	if (op->size > 0)
		rc = layers_writer_seek(
			&change->writer, op->page * POOL_PAGE_BYTES + op->size, error);
	if (rc == 0 && op->size > 0)
		rc = layers_writer_pad(&change->writer, error);
	if (rc != 0)
		return rc;
	layers_content_free(change, op->page + pages, change->stream_count - pages);
	if (pages == 0)
		op->page = 0;
	change->put_bytes += op->size;
	change->put_pages += pages;
	change->stream = NULL;
	layers_change_add(change, op);
	return 0;
}
