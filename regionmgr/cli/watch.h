/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changed between two looks at the dimensions of an instance, for `regionctl watch`. A look is one
 * section, so it is one version of everything; what came and went between two looks is not seen.
 */
#ifndef CLI_WATCH_H
#define CLI_WATCH_H

#include "regionmgr/cli/cli.h"
#include <regionmgr/layers.h>

/* One dimension as it was looked at. */
struct watch_row {
	struct rgm_dimension dimension;
	char name[RGM_NAME_MAX + 1];
	uint64_t generation, changed, region_bytes;
	size_t watched; /* 1 + the place of the NAME it is watched for; 0: it is not */
	bool unmapped;  /* its layers could not be opened for want of a mapping */
	bool counted;   /* the following are known: its layers were opened */
	uint64_t bytes, layers;
};

/* All of them, in the order of their ids. */
struct watch_look {
	uint64_t version;
	struct watch_row *rows;
	size_t count;
};
void watch_look_free(struct watch_look *look);

struct watch {
	struct rgm_session *session;
	struct rgm_slot *slot;
	const char *const *names; /* none: all dimensions */
	size_t name_count;
	struct watch_look before;
};

enum watch_what {
	WATCH_CREATED,
	WATCH_CHANGED,
	WATCH_GROWN,
	WATCH_RENAMED,
	WATCH_DROPPED,
};
const char *watch_word(enum watch_what what);

/* Called for each change of a watched dimension, in the order of ids. `was` is what it was before; NULL of
 * a created one. Of a dropped one `row` is that. */
typedef void (*watch_tell)(void *context, enum watch_what what, uint64_t version,
	const struct watch_row *row, const struct watch_row *was);

/* The first look: what is there. Layers are counted of what changed after `from`, for watch_since(). */
int watch_begin(struct watch *watch, uint64_t from, struct rgm_error *error);
/* Tell what of it changed after that version: as created where it is the first content. */
void watch_since(const struct watch *watch, uint64_t from, watch_tell tell, void *context);
/* Another look: tell what is different from the one before, and remember it. */
int watch_again(struct watch *watch, watch_tell tell, void *context, struct rgm_error *error);
/* Is there a dimension that is watched for this NAME? */
bool watch_has(const struct watch *watch, size_t name);

#endif
