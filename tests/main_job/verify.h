/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing one view of a dimension, layer by layer, with what its version must have. */
#ifndef MAIN_JOB_VERIFY_H
#define MAIN_JOB_VERIFY_H

#include <regionmgr/layers.h>

#include "job.h"

struct verify {
	struct job *job;
	struct mark *mark; /* counts what was compared */
	uint64_t *random;
	uint32_t dimension; /* of the truth */
	uint32_t commit;    /* of the truth: the one that the view must show */
	uint64_t version;   /* of the view */
	uint32_t one_in;    /* all bytes of one layer in so many are scanned; 1: of every layer */
};

/* Every layer's facts, and the bytes of some; ends early when the job stops. What differs is told by
 * job_tell(), once for a view. */
void verify_view(const struct verify *verify, struct rgm_layers *layers);

/* The media type that the driver gives to a content; NULL: none. */
const char *verify_media_type(uint32_t content);

#endif
