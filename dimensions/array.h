/* SPDX-License-Identifier: Apache-2.0 */
/* Growing arrays: the one place where their sizes are multiplied. */
#ifndef DIMENSIONS_ARRAY_H
#define DIMENSIONS_ARRAY_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* `items` with room for `needed` items of `item_bytes` bytes, grown at least by half; NULL: no
 * memory, and `items` is as it was. */
static inline void *dim_array_reserve(
	void *items, size_t *capacity, size_t needed, size_t item_bytes)
{
	size_t wanted = *capacity + *capacity / 2;
	void *grown;

	if (needed <= *capacity && items)
		return items;
	if (wanted < needed)
		wanted = needed;
	if (wanted < 16)
		wanted = 16;
	if (wanted > SIZE_MAX / 2 / item_bytes)
		return NULL;
	grown = realloc(items, wanted * item_bytes);
	if (grown)
		*capacity = wanted;
	return grown;
}

#endif
