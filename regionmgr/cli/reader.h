/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading as any worker reads: attach, map, and hold all the dimensions asked for within one section,
 * so that everything is seen at one version for as long as the holds last.
 */
#ifndef CLI_READER_H
#define CLI_READER_H

#include "regionmgr/cli/cli.h"
#include <regionmgr/layers.h>

struct reader {
	struct rgm_session *session;
	struct rgm_slot *slot;
	struct rgm_hold **holds; /* one a name, in the order asked for */
	size_t hold_count;
};

/* Attach, and hold every name. On failure nothing is left open. */
int reader_open(struct cli *cli, const char *const *names, size_t count, struct reader *ret_reader,
	struct rgm_error *error);
/* Release and detach. RGM_EIO or RGM_EREVOKED: what was read is void. `name` is for the sentence. */
int reader_close(struct reader *reader, struct rgm_error *error);
/* reader_close() behind work that ended with `rc` and, unless that is 0, with *error. What is to be told
 * of the two: that what was read was taken back explains whatever was found in it. */
int reader_end(struct reader *reader, int rc, struct rgm_error *error);

/* One layer by name; RGM_ENOLAYER with the nearest name. */
int reader_layer(const struct reader *reader, size_t index, const char *dimension,
	const char *layer, struct rgm_layer *ret_layer, struct rgm_error *error);

/* Add the nearest layer as a hint to an RGM_ENOLAYER that somebody else told. */
void reader_explain(
	struct cli *cli, const char *dimension, const char *layer, struct rgm_error *error);

#endif
