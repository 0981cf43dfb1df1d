/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writing side of the kind layers. A change is built in two steps: content first, by any thread
 * and without a lock (layers_change_put…: fresh pages, written and checksummed), then the directory,
 * inside the manager's commit (layers_change_build: merges the change into the current directory,
 * copying only the leaves that change). The reading side needs only layers_format.h.
 *
 * A change is used by one thread at a time; several changes of one region may be under way at once.
 * A call that fails leaves the change as it was, with one exception: after a failed write to the
 * region each later call fails with the same sentence, and the change can only be aborted.
 */
#ifndef DIMENSIONS_LAYERS_H
#define DIMENSIONS_LAYERS_H

#include <stdbool.h>
#include <stdint.h>

#include "dimensions/kind.h"

extern const struct dim_kind dim_layers;

/* 0, or RGM_ENAME with the rule that is broken. The name need not end with a NUL. */
int layers_check_name(const char *name, size_t name_length, struct rgm_error *error);

struct layers_change;

/* Begin a change of a region's content. `expected_bytes` (0: unknown) lays out the space. */
int layers_change_begin(struct pool_region *region, uint64_t expected_bytes, bool replace,
	struct layers_change **ret_change, struct rgm_error *error);

/* Put a layer from memory, or from a regular file read from its beginning (RGM_ECHANGED if its size
 * or times change meanwhile). A name put twice counts once, the later one. time_ns 0: now, or the
 * file's modification time. media_type may be NULL. */
int layers_change_put(struct layers_change *change, const char *name, const void *data,
	size_t data_bytes, uint64_t time_ns, const char *media_type, struct rgm_error *error);
int layers_change_put_file(struct layers_change *change, const char *name, int file,
	uint64_t time_ns, const char *media_type, struct rgm_error *error);
/* Piece by piece: begin, appends, end. The run is lengthened in place or moved as it grows. */
int layers_change_stream_begin(struct layers_change *change, const char *name, uint64_t time_ns,
	const char *media_type, struct rgm_error *error);
int layers_change_stream_append(
	struct layers_change *change, const void *data, size_t data_bytes, struct rgm_error *error);
int layers_change_stream_end(struct layers_change *change, struct rgm_error *error);
/* Remove by name; whether it is there is seen at the build. */
int layers_change_remove(struct layers_change *change, const char *name, struct rgm_error *error);

/* Content is written out (no syncing) and the space beyond it given back. Call it before the build,
 * without a lock. */
int layers_change_flush(struct layers_change *change, struct rgm_error *error);

/*
 * Write the directory that results from `root` and the change, its new blocks born at `version`.
 * Blocks of the old content that it does not reach are appended to `retired`. On failure nothing has
 * changed and the build may be tried again. So it may after a success that was not published, with
 * another root: the earlier build's blocks are freed first. RGM_ENOLAYER for a removal of what is not
 * there. ret_summary and ret_report may be NULL.
 */
int layers_change_build(struct layers_change *change, const struct pool_root *root,
	uint64_t version, struct pool_root *ret_root, struct dim_summary *ret_summary,
	struct dim_blocks *retired, struct rgm_load_report *ret_report, struct rgm_error *error);

/* After the build was published: forget the change, keep its blocks. */
void layers_change_published(struct layers_change *change);
/* Free the change and every page it allocated, a build's included. NULL is allowed. */
void layers_change_abort(struct layers_change *change);

#endif
