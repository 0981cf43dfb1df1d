/* SPDX-License-Identifier: Apache-2.0 */
/* dim_kind.check of the kind layers. */
#ifndef DIMENSIONS_LAYERS_CHECK_H
#define DIMENSIONS_LAYERS_CHECK_H

#include "dimensions/kind.h"

int layers_check(struct pool_region *region, const struct pool_root *root, rgm_progress progress,
	void *context, struct rgm_check_report *report, struct rgm_error *error);

#endif
