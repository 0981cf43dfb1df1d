/* SPDX-License-Identifier: Apache-2.0 */
/* How rgm_layers_open…() turn a place into a view. */
#ifndef REGIONMGR_READER_LAYERS_VIEW_H
#define REGIONMGR_READER_LAYERS_VIEW_H

#include <stdint.h>

#include <regionmgr/layers.h>

/* View the directory at `root_offset` (0: no content yet) of the region mapped at `base`, from its
 * first layer on. The view never leads beyond the region's first `bytes` bytes. Touches none of them. */
void layers_view_init(struct rgm_layers *layers, const void *base, uint64_t bytes,
	uint64_t root_offset, uint64_t version);
/* Back to before the first layer. */
void layers_view_rewind(struct rgm_layers *layers);

#endif
