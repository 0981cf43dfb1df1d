/* SPDX-License-Identifier: Apache-2.0 */
#include "dimensions/layers_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/crc32c.h"
#include "pool/error.h"

/* Bytes from `offset` to the next 2 MB boundary of the file. */
static size_t to_boundary(uint64_t offset)
{
	return (size_t)(POOL_EXTENT_BYTES - offset % POOL_EXTENT_BYTES);
}

/* What the stage takes before it is written: up to the last boundary within its reach. */
static size_t stage_limit(const struct layers_writer *writer)
{
	uint64_t end = writer->offset + LAYERS_STAGE_BYTES;

	return (size_t)(end - end % POOL_EXTENT_BYTES - writer->offset);
}

static int ready(struct layers_writer *writer, struct rgm_error *error)
{
	if (writer->failed.code != 0) {
		if (error)
			*error = writer->failed;
		return writer->failed.code;
	}
	if (writer->stage)
		return 0;
	writer->stage = aligned_alloc(POOL_PAGE_BYTES, LAYERS_STAGE_BYTES);
	if (!writer->stage)
		return pool_fail(
			error, -ENOMEM, "no memory for a buffer of %u bytes", LAYERS_STAGE_BYTES);
	return 0;
}

static int write_out(
	struct layers_writer *writer, const void *data, size_t bytes, struct rgm_error *error)
{
	int rc = pool_region_write(writer->region, writer->offset, data, bytes, &writer->failed);

	if (rc != 0) {
		writer->failed.code = rc;
		writer->used = 0;
		if (error)
			*error = writer->failed;
		return rc;
	}
	writer->offset += bytes;
	return 0;
}

int layers_writer_flush(struct layers_writer *writer, struct rgm_error *error)
{
	int rc;

	if (writer->failed.code == 0 && writer->used == 0)
		return 0;
	rc = ready(writer, error);
	if (rc == 0)
		rc = write_out(writer, writer->stage, writer->used, error);
	if (rc == 0)
		writer->used = 0;
	return rc;
}

int layers_writer_seek(struct layers_writer *writer, uint64_t offset, struct rgm_error *error)
{
	int rc = 0;

	if (offset != writer->offset + writer->used) {
		rc = layers_writer_flush(writer, error);
		if (rc == 0)
			writer->offset = offset;
	}
	return rc;
}

int layers_writer_room(
	struct layers_writer *writer, void **ret_room, size_t *ret_bytes, struct rgm_error *error)
{
	int rc = ready(writer, error);

	if (rc != 0)
		return rc;
	/* Never full between calls: layers_writer_filled() writes a full stage. */
	*ret_room = writer->stage + writer->used;
	*ret_bytes = stage_limit(writer) - writer->used;
	return 0;
}

int layers_writer_filled(struct layers_writer *writer, size_t bytes, struct rgm_error *error)
{
	writer->used += bytes;
	if (writer->used < stage_limit(writer))
		return 0;
	return layers_writer_flush(writer, error);
}

static int append_staged(
	struct layers_writer *writer, const void *data, size_t bytes, struct rgm_error *error)
{
	void *room;
	size_t room_bytes;
	int rc = layers_writer_room(writer, &room, &room_bytes, error);

	if (rc != 0)
		return rc;
	memcpy(room, data, bytes);
	return layers_writer_filled(writer, bytes, error);
}

int layers_writer_append(struct layers_writer *writer, const void *data, size_t bytes,
	uint32_t *crc, struct rgm_error *error)
{
	const unsigned char *from = data;
	int rc = ready(writer, error);

	while (rc == 0 && bytes > 0) {
		size_t piece = to_boundary(writer->offset);

		if (writer->used == 0 && bytes >= piece) {
			*crc = pool_crc32c(*crc, from, piece);
			rc = write_out(writer, from, piece, error);
		} else {
			piece = stage_limit(writer) - writer->used;
			if (piece > LAYERS_CHUNK_BYTES)
				piece = LAYERS_CHUNK_BYTES;
			if (piece > bytes)
				piece = bytes;
			*crc = pool_crc32c(*crc, from, piece);
			rc = append_staged(writer, from, piece, error);
		}
		from += piece;
		bytes -= piece;
	}
	return rc;
}

int layers_writer_pad(struct layers_writer *writer, struct rgm_error *error)
{
	static const unsigned char zeros[POOL_PAGE_BYTES];
	size_t odd = (size_t)((writer->offset + writer->used) % POOL_PAGE_BYTES);

	if (odd == 0)
		return 0;
	/* Within a page, so within the stage's limit, which is a boundary. */
	return append_staged(writer, zeros, (size_t)POOL_PAGE_BYTES - odd, error);
}

void layers_writer_forget(struct layers_writer *writer, uint64_t page, uint64_t count)
{
	uint64_t start = page * POOL_PAGE_BYTES;
	uint64_t end = start + count * POOL_PAGE_BYTES;
	uint64_t staged_end = writer->offset + writer->used;

	if (end <= writer->offset || start >= staged_end)
		return;
	if (end >= staged_end) {
		writer->used = start > writer->offset ? (size_t)(start - writer->offset) : 0;
		return;
	}
	/* Something behind it is staged too: write all while the pages are still ours. A failure
	 * drops the stage and is told by the next call. */
	layers_writer_flush(writer, NULL);
}

int layers_writer_copy(struct layers_writer *writer, uint64_t from_page, uint64_t to_page,
	uint64_t count, struct rgm_error *error)
{
	uint64_t from = from_page * POOL_PAGE_BYTES;
	uint64_t bytes = count * POOL_PAGE_BYTES;
	int rc = layers_writer_seek(writer, to_page * POOL_PAGE_BYTES, error);

	while (rc == 0 && bytes > 0) {
		void *room;
		size_t piece;

		rc = layers_writer_room(writer, &room, &piece, error);
		if (rc != 0)
			break;
		if (piece > bytes)
			piece = (size_t)bytes;
		rc = pool_region_read(writer->region, from, room, piece, error);
		if (rc == 0)
			rc = layers_writer_filled(writer, piece, error);
		from += piece;
		bytes -= piece;
	}
	return rc;
}

void layers_writer_close(struct layers_writer *writer)
{
	free(writer->stage);
	writer->stage = NULL;
	writer->used = 0;
}
