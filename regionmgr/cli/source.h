/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a load takes its layers from: a file, a folder, standard input. A source puts layers into a
 * load that the caller has begun and will commit; whatever fails here leaves nothing behind, because
 * the caller aborts.
 */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H

#include "regionmgr/cli/cli.h"
#include "regionmgr/cli/progress.h"

/* What became of what was found. */
struct source_counts {
	uint64_t layers;
	uint64_t bytes;
	uint64_t symlinks;   /* skipped */
	uint64_t hard_links; /* skipped: of tar streams, whose links carry no bytes */
	uint64_t special;    /* skipped: devices, sockets, pipes */
	uint64_t unreadable; /* skipped with --skip-unreadable */
	bool plain_input;    /* standard input was not recognised as tar: one layer */
};

struct source {
	struct rgm_load *load;
	struct progress *progress;
	const char *media_type; /* of each layer, or NULL */
	bool skip_unreadable;
	bool quiet;           /* no warnings */
	uint64_t total_bytes; /* for the progress; 0: not known */
	struct source_counts counts;
};

/* --- source_file.c ---------------------------------------------------------------------------- */

/* One regular file, opened by the caller, as one layer. `path` is for sentences. */
int source_file(struct source *source, const char *path, int file, const char *layer,
	struct rgm_error *error);
/* Open a path that must be a regular file. */
int source_open_file(const char *path, int *ret_file, uint64_t *ret_bytes, struct rgm_error *error);

/* --- source_folder.c -------------------------------------------------------------------------- */

struct folder;

/* List a folder, recursively, without following links in it. The root itself may be one. */
int folder_open(const char *path, bool skip_unreadable, struct folder **ret_folder,
	struct rgm_error *error);
uint64_t folder_bytes(const struct folder *folder);
/* Put each regular file as a layer under its path relative to the root. */
int folder_load(struct folder *folder, struct source *source, struct rgm_error *error);
/* List it again: RGM_ECHANGED if anything is not as it was. */
int folder_compare(const struct folder *folder, struct rgm_error *error);
void folder_close(struct folder *folder);

/* --- source_stream.c -------------------------------------------------------------------------- */

enum stream_form {
	STREAM_GUESS,
	STREAM_TAR,
	STREAM_RAW
};

/* Standard input: a tar stream, or one layer called `layer`. */
int source_stream(
	struct source *source, enum stream_form form, const char *layer, struct rgm_error *error);

#endif
