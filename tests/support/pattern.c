/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that say what they are: a block that was reused too early shows it. See support.h. */
#include "tests/support/support.h"

struct line {
	uint64_t generation, layer, place, mix[5];
};

static uint64_t mix_of(uint64_t generation, uint64_t layer, uint64_t place)
{
	uint64_t mixed = generation * 0x9e3779b97f4a7c15ull ^ layer * 0xc2b2ae3d27d4eb4full ^
	                 place * 0x165667b19e3779f9ull;
	return mixed ^ (mixed >> 29);
}

void pattern_fill(void *data, size_t bytes, uint64_t layer, uint64_t generation)
{
	struct line *lines = data;
	for (size_t i = 0; i < bytes / sizeof *lines; i++) {
		lines[i] = (struct line){generation, layer, i, {0}};
		uint64_t mixed = mix_of(generation, layer, i);
		for (size_t m = 0; m < 5; m++)
			lines[i].mix[m] = mixed + m;
	}
}

uint64_t pattern_generation(const void *data, size_t bytes, uint64_t layer)
{
	const struct line *lines = data;
	if (bytes < sizeof *lines || bytes % sizeof *lines)
		return 0;
	uint64_t generation = lines[0].generation;
	for (size_t i = 0; i < bytes / sizeof *lines; i++) {
		uint64_t mixed = mix_of(generation, layer, i);
		if (lines[i].generation != generation || lines[i].layer != layer ||
			lines[i].place != i)
			return 0;
		for (size_t m = 0; m < 5; m++)
			if (lines[i].mix[m] != mixed + m)
				return 0;
	}
	return generation;
}
