/* SPDX-License-Identifier: Apache-2.0 */
/* What each version must contain; the argument for its order stands in truth.h. */
#include "truth.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define WAIT_NS    20000000L   /* between two looks, at most: the driver is inside a commit call */
#define WAIT_LIMIT 60000000000 /* a minute: the driver is stuck */

uint32_t truth_text(struct truth *truth, const char *string)
{
	size_t bytes = strlen(string) + 1;
	uint32_t at = truth->text_bytes;

	if (bytes > TRUTH_TEXT_BYTES - at)
		return TRUTH_NONE;
	memcpy(truth->text + at, string, bytes);
	truth->text_bytes += (uint32_t)bytes;
	return at;
}

uint32_t truth_plan(struct truth *truth)
{
	uint32_t commit = atomic_load_explicit(&truth->planned, memory_order_relaxed) + 1;

	return commit < TRUTH_COMMITS ? commit : TRUTH_NEVER;
}

uint32_t truth_plan_create(struct truth *truth, uint32_t commit, uint32_t family, const char *name)
{
	uint32_t index = atomic_load_explicit(&truth->dimensions, memory_order_relaxed);
	struct truth_dimension *dimension = &truth->dimension[index];
	uint32_t count = truth->family[family].count;

	if (index == TRUTH_DIMENSIONS || count > TRUTH_HEADS - truth->used_heads)
		return TRUTH_NONE;
	dimension->family = family;
	dimension->heads = truth->used_heads;
	dimension->born = commit;
	dimension->label[0].commit = commit;
	snprintf(dimension->label[0].name, sizeof(dimension->label[0].name), "%s", name);
	atomic_store_explicit(&dimension->labels, 1, memory_order_relaxed);
	atomic_store_explicit(&dimension->dropped, TRUTH_NEVER, memory_order_relaxed);
	truth->used_heads += count;
	/* release, with the acquire in truth_find(): the fields above */
	atomic_store_explicit(&truth->dimensions, index + 1, memory_order_release);
	return index;
}

bool truth_plan_rename(struct truth *truth, uint32_t commit, uint32_t dimension, const char *name)
{
	struct truth_dimension *at = &truth->dimension[dimension];
	uint32_t labels = atomic_load_explicit(&at->labels, memory_order_relaxed);

	if (labels == TRUTH_RENAMES)
		return false;
	at->label[labels].commit = commit;
	snprintf(at->label[labels].name, sizeof(at->label[labels].name), "%s", name);
	/* release, with the acquire in truth_name_at(): the label */
	atomic_store_explicit(&at->labels, labels + 1, memory_order_release);
	return true;
}

void truth_plan_drop(struct truth *truth, uint32_t commit, uint32_t dimension)
{
	atomic_store_explicit(&truth->dimension[dimension].dropped, commit, memory_order_release);
}

bool truth_plan_layer(
	struct truth *truth, uint32_t commit, uint32_t dimension, uint32_t name, uint32_t content)
{
	atomic_uint *head = &truth->head[truth->dimension[dimension].heads + name];
	uint32_t at = truth->changes + 1;

	if (at == TRUTH_CHANGES)
		return false;
	truth->change[at].commit = commit;
	truth->change[at].content = content;
	truth->change[at].older = atomic_load_explicit(head, memory_order_relaxed);
	truth->changes = at;
	/* release, with the acquire in truth_layer_at(): the change and, through `older`, all before */
	atomic_store_explicit(head, at, memory_order_release);
	return true;
}

void truth_planned(struct truth *truth, uint32_t commit)
{
	/* release, with the acquire in truth_commit_at(): the plan of this commit */
	atomic_store_explicit(&truth->planned, commit, memory_order_release);
}

void truth_record(struct truth *truth, uint32_t commit, uint64_t version)
{
	atomic_store_explicit(&truth->version_of[commit], version, memory_order_relaxed);
	/* release, with the acquires of `recorded`: the version */
	atomic_store_explicit(&truth->recorded, commit, memory_order_release);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t version_of(const struct truth *truth, uint32_t commit)
{
	return atomic_load_explicit(&truth->version_of[commit], memory_order_relaxed);
}

bool truth_commit_at(
	const struct truth *truth, uint64_t version, const atomic_uint *stop, uint32_t *ret_commit)
{
	uint32_t planned = atomic_load_explicit(&truth->planned, memory_order_acquire);
	uint32_t recorded = atomic_load_explicit(&truth->recorded, memory_order_acquire);
	struct timespec pause = {0, 20000};
	uint64_t begun = 0;
	uint32_t low = 0, high;

	while (recorded < planned && version_of(truth, recorded) < version) {
		if (begun == 0)
			begun = now_ns();
		if (now_ns() - begun > WAIT_LIMIT ||
			atomic_load_explicit(stop, memory_order_relaxed) != 0)
			return false;
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < WAIT_NS)
			pause.tv_nsec *= 2;
		recorded = atomic_load_explicit(&truth->recorded, memory_order_acquire);
	}
	/* the last commit with a version <= ours; commit 0 is the empty instance, version 0 */
	for (high = recorded; low < high;) {
		uint32_t middle = high - (high - low) / 2;

		if (version_of(truth, middle) <= version)
			low = middle;
		else
			high = middle - 1;
	}
	*ret_commit = low;
	return true;
}

const struct truth_change *truth_layer_at(
	const struct truth *truth, uint32_t dimension, uint32_t name, uint32_t commit)
{
	uint32_t at = atomic_load_explicit(
		&truth->head[truth->dimension[dimension].heads + name], memory_order_acquire);

	while (at != 0 && truth->change[at].commit > commit)
		at = truth->change[at].older;
	if (at == 0 || truth->change[at].content == TRUTH_NONE)
		return NULL;
	return &truth->change[at];
}

bool truth_lives(const struct truth *truth, uint32_t dimension, uint32_t commit)
{
	const struct truth_dimension *at = &truth->dimension[dimension];

	return at->born <= commit &&
	       commit < atomic_load_explicit(&at->dropped, memory_order_acquire);
}

const char *truth_name_at(const struct truth *truth, uint32_t dimension, uint32_t commit)
{
	const struct truth_dimension *at = &truth->dimension[dimension];
	uint32_t label = atomic_load_explicit(&at->labels, memory_order_acquire);

	while (label > 1 && at->label[label - 1].commit > commit)
		label--;
	return at->label[label - 1].name;
}

uint32_t truth_find(const struct truth *truth, const char *name, uint32_t commit)
{
	/* the newest lives are the likeliest */
	for (uint32_t i = atomic_load_explicit(&truth->dimensions, memory_order_acquire); i > 0;
		i--)
		if (truth_lives(truth, i - 1, commit) &&
			strcmp(truth_name_at(truth, i - 1, commit), name) == 0)
			return i - 1;
	return TRUTH_NONE;
}
