/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing content: bytes that follow each other in the file are gathered in one private buffer of
 * bounded size and written by large calls.
 *
 * Promises
 *  1. Calls end at 2 MB boundaries of the file wherever the bytes go on behind it: the page cache
 *     then holds them in 2 MB folios, which a scan feels.
 *  2. Bytes from the caller's memory that fill such a piece are written from there, uncopied.
 *  3. After a failed write nothing more is written: each later call returns the same failure.
 */
#ifndef DIMENSIONS_LAYERS_WRITER_H
#define DIMENSIONS_LAYERS_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "pool/region.h"

#define LAYERS_STAGE_BYTES (4u << 20)
/* The unit in which bytes are checksummed while the cache still has them. */
#define LAYERS_CHUNK_BYTES (512u << 10)

struct layers_writer {
	struct pool_region *region;
	unsigned char *stage;    /* NULL before the first byte */
	uint64_t offset;         /* in the file, of the stage's first byte */
	size_t used;             /* bytes in the stage */
	struct rgm_error failed; /* code 0: not yet */
};

/* Go on at `offset`; what is staged is written first if it is not what precedes it. */
int layers_writer_seek(struct layers_writer *writer, uint64_t offset, struct rgm_error *error);
/* Append bytes; *crc continues over them. */
int layers_writer_append(struct layers_writer *writer, const void *data, size_t bytes,
	uint32_t *crc, struct rgm_error *error);
/* In two steps: room for at least one byte, then how many of them were filled. */
int layers_writer_room(
	struct layers_writer *writer, void **ret_room, size_t *ret_bytes, struct rgm_error *error);
int layers_writer_filled(struct layers_writer *writer, size_t bytes, struct rgm_error *error);
/* Zeros up to the end of the page. */
int layers_writer_pad(struct layers_writer *writer, struct rgm_error *error);
int layers_writer_flush(struct layers_writer *writer, struct rgm_error *error);

/* The pages are about to be freed: nothing of them may be written any more after this. */
void layers_writer_forget(struct layers_writer *writer, uint64_t page, uint64_t count);
/* Copy whole pages within the region, through the stage. */
int layers_writer_copy(struct layers_writer *writer, uint64_t from_page, uint64_t to_page,
	uint64_t count, struct rgm_error *error);
/* Drops what is staged. */
void layers_writer_close(struct layers_writer *writer);

#endif
