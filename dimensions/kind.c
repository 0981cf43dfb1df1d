/* SPDX-License-Identifier: Apache-2.0 */
/* The table of kinds, and lists of blocks. */
#include "dimensions/kind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dimensions/array.h"
#include "dimensions/layers.h"

static const struct dim_kind *const kinds[] = {
	&dim_layers,
};
#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

const struct dim_kind *dim_kind_at(size_t index)
{
	return index < KIND_COUNT ? kinds[index] : NULL;
}

const struct dim_kind *dim_kind_by_number(uint32_t number)
{
	for (size_t i = 0; i < KIND_COUNT; i++) {
		if (kinds[i]->number == number)
			return kinds[i];
	}
	return NULL;
}

const struct dim_kind *dim_kind_by_name(const char *name)
{
	for (size_t i = 0; i < KIND_COUNT; i++) {
		if (strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	}
	return NULL;
}

int dim_blocks_reserve(struct dim_blocks *blocks, size_t more)
{
	struct dim_block *items;

	if (more > SIZE_MAX - blocks->count)
		return -ENOMEM;
	items = dim_array_reserve(
		blocks->items, &blocks->capacity, blocks->count + more, sizeof(*items));
	if (!items)
		return -ENOMEM;
	blocks->items = items;
	return 0;
}

int dim_blocks_add(struct dim_blocks *blocks, uint64_t page, uint64_t count, uint64_t born)
{
	int rc = dim_blocks_reserve(blocks, 1);

	if (rc == 0)
		blocks->items[blocks->count++] = (struct dim_block){page, count, born};
	return rc;
}

void dim_blocks_free(struct dim_blocks *blocks)
{
	free(blocks->items);
	*blocks = (struct dim_blocks){0};
}
