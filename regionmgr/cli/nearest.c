/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/nearest.h"

#include <string.h>

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Three rows of the table are enough: the swap looks two back. */
size_t nearest_distance(const char *a, const char *b)
{
	size_t rows[3][NEAREST_NAME_BYTES + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2], *spare;
	size_t a_length = strlen(a), b_length = strlen(b), i, j;
	size_t gap = a_length > b_length ? a_length - b_length : b_length - a_length;

	if (gap > NEAREST_LIMIT || a_length > NEAREST_NAME_BYTES || b_length > NEAREST_NAME_BYTES)
		return NEAREST_LIMIT + 1;
	memset(rows, 0, sizeof rows);
	for (j = 0; j <= b_length; j++)
		above[j] = j;
	for (i = 1; i <= a_length; i++) {
		size_t best = row[0] = i;

		for (j = 1; j <= b_length; j++) {
			size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;

			row[j] = least(least(above[j] + 1, row[j - 1] + 1), above[j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], before[j - 2] + 1);
			best = least(best, row[j]);
		}
		if (best > NEAREST_LIMIT)
			return NEAREST_LIMIT + 1;
		spare = before;
		before = above;
		above = row;
		row = spare;
	}
	return least(above[b_length], NEAREST_LIMIT + 1);
}

void nearest_begin(struct nearest *nearest, const char *typed)
{
	nearest->typed = typed;
	nearest->distance = NEAREST_LIMIT + 1;
	nearest->best[0] = '\0';
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
	size_t distance = nearest_distance(nearest->typed, candidate);
	size_t length = strlen(nearest->typed);

	/* two changes to a name of two letters leave nothing of it */
	if (distance >= nearest->distance || distance >= length ||
		strlen(candidate) >= NEAREST_NAME_BYTES)
		return;
	nearest->distance = distance;
	memcpy(nearest->best, candidate, strlen(candidate) + 1);
}

bool nearest_found(const struct nearest *nearest)
{
	return nearest->best[0] != '\0';
}
