/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a change, shared by layers_change.c (what is to be done, by name), layers_content.c
 * and layers_stream.c (pages and bytes) and layers_build.c (the directory).
 *
 * Every page that a change has allocated is in exactly one of: an operation's run, the arena, the
 * stream's run, a failed or unpublished build's blocks. layers_change_abort() frees these four.
 */
#ifndef DIMENSIONS_LAYERS_CHANGE_H
#define DIMENSIONS_LAYERS_CHANGE_H

#include "dimensions/layers.h"
#include "dimensions/layers_name.h"
#include "dimensions/layers_writer.h"

/* What is to happen to one name. */
struct layers_op {
	bool remove;
	bool may_be_absent; /* a removal of what this change itself had put */
	uint32_t crc32c;
	uint64_t page; /* 0 when size is 0 */
	uint64_t size;
	uint64_t time_ns;
	uint32_t name_length;
	uint32_t media_length; /* 0: none */
	char strings[];        /* name NUL media NUL */
};

static inline const char *layers_op_media(const struct layers_op *op)
{
	return op->strings + op->name_length + 1;
}

struct layers_change {
	struct pool_region *region;
	struct layers_writer writer;
	uint64_t max_bytes;      /* of the region: no layer is larger */
	uint64_t expected_bytes; /* 0: unknown */
	bool replace;

	/* Operations in the order of their first mention, and a hash index over their names: slots
	 * hold a position plus one, linear probing, never more than half full. */
	struct layers_op **ops;
	size_t op_count;
	size_t op_capacity;
	uint32_t *slots;
	unsigned slot_bits;        /* there are 2^slot_bits slots; 0: none yet */
	struct layers_op **sorted; /* by name; NULL: not since the last one was added */

	uint64_t put_bytes; /* content placed so far, superseded layers included */
	uint64_t put_pages;
	uint64_t arena_page; /* allocated pages not yet given to a layer */
	uint64_t arena_count;

	struct layers_op *stream; /* the layer that is being streamed; NULL: none */
	uint64_t stream_count;    /* pages of its run, from stream->page */

	struct dim_blocks built; /* blocks of a build that is not published */
};

/* layers_change.c */

/* A new operation, after checking name and media type. It is the caller's until added. */
int layers_op_create(const char *name, uint64_t time_ns, const char *media_type,
	struct layers_op **ret_op, struct rgm_error *error);
/* -EINVAL while a layer is being streamed. Makes sure that one layers_change_add() cannot fail. */
int layers_change_prepare(struct layers_change *change, struct rgm_error *error);
/* Take the operation over; one of the same name before it is forgotten and its pages freed. */
void layers_change_add(struct layers_change *change, struct layers_op *op);

/* Bring `sorted` up to date. Costly for large changes, so that a flush does it before the build. */
int layers_change_sort(struct layers_change *change, struct rgm_error *error);

/* layers_content.c */

/* RGM_ELIMIT for a layer larger than the region may be. */
int layers_content_limit(const struct layers_change *change, const struct layers_op *op,
	uint64_t bytes, struct rgm_error *error);
/* Free pages of this change at once. */
void layers_content_free(struct layers_change *change, uint64_t page, uint64_t count);

#endif
