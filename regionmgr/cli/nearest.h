/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "Did you mean …?": the name nearest to a mistyped one, by the Damerau-Levenshtein distance
 * (insert, delete, replace, swap of neighbours; optimal string alignment), at most 2 away.
 */
#ifndef CLI_NEAREST_H
#define CLI_NEAREST_H

#include <stdbool.h>
#include <stddef.h>

#define NEAREST_LIMIT      2u
#define NEAREST_NAME_BYTES 256u /* longer names are not compared */

/* The distance, or NEAREST_LIMIT + 1 for everything beyond the limit. */
size_t nearest_distance(const char *a, const char *b);

/* A search: offer each candidate, then take the best. */
struct nearest {
	const char *typed;
	size_t distance;
	char best[NEAREST_NAME_BYTES]; /* "" when nothing is near */
};
void nearest_begin(struct nearest *nearest, const char *typed);
void nearest_offer(struct nearest *nearest, const char *candidate);
bool nearest_found(const struct nearest *nearest);

#endif
