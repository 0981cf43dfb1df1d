/* SPDX-License-Identifier: Apache-2.0 */
/* What a stopped worker's versions see; see kept.h. */
#include "kept.h"

/* Of a layer's share in a directory, rounded up: its entry, its names, the unused rest of a leaf. */
#define DIRECTORY_LAYER_BYTES     512u
#define DIRECTORY_DIMENSION_BYTES (64u << 10)

bool kept_look(const struct job *job, uint32_t worker, struct kept *ret_kept)
{
	struct kept kept = {.complete = true};
	uint32_t commit;

	for (uint32_t i = 0; i < job->threads; i++) {
		const struct mark *mark = &job->mark[worker][i];
		uint32_t state = atomic_load(&mark->state);

		if (state == MARK_MOVING)
			kept.complete = false;
		if (state != MARK_INSIDE)
			continue;
		if (!truth_commit_at(&job->truth, atomic_load(&mark->version), &job->stop, &commit))
			return false;
		kept.commits[kept.count++] = commit;
	}
	kept.sure = kept.count;
	for (uint32_t i = 0; i < job->threads; i++) {
		const struct mark *mark = &job->mark[worker][i];

		if (atomic_load(&mark->holding) == 0)
			continue;
		if (!truth_commit_at(
			    &job->truth, atomic_load(&mark->hold_version), &job->stop, &commit))
			return false;
		kept.commits[kept.count++] = commit;
	}
	*ret_kept = kept;
	return true;
}

static bool sees(const uint32_t *commits, uint32_t count, uint32_t born, uint32_t retired)
{
	for (uint32_t i = 0; i < count; i++)
		if (born <= commits[i] && commits[i] < retired)
			return true;
	return false;
}

/* Pages of one layer's contents that some of the commits see and that are retired by `limit`. */
static uint64_t kept_of_layer(const struct truth *truth, uint32_t dimension, uint32_t name,
	const uint32_t *commits, uint32_t count, uint32_t limit, bool dropped_too)
{
	const struct truth_dimension *at = &truth->dimension[dimension];
	uint32_t dropped = atomic_load(&at->dropped), newer = TRUTH_NEVER;
	uint64_t bytes = 0;

	if (dropped <= limit && !dropped_too)
		return 0;
	for (uint32_t i = atomic_load(&truth->head[at->heads + name]); i != 0;
		i = truth->change[i].older) {
		const struct truth_change *change = &truth->change[i];
		uint32_t retired = newer < dropped ? newer : dropped;

		if (change->content != TRUTH_NONE && retired <= limit &&
			sees(commits, count, change->commit, retired))
			bytes += truth_page_bytes(truth->content[change->content].size);
		newer = change->commit;
	}
	return bytes;
}

static uint64_t kept_of_all(const struct truth *truth, const uint32_t *commits, uint32_t count,
	uint32_t limit, bool dropped_too)
{
	uint32_t dimensions = atomic_load(&truth->dimensions);
	uint64_t bytes = 0;

	for (uint32_t d = 0; d < dimensions; d++)
		for (uint32_t i = 0; i < truth_name_count(truth, d); i++)
			bytes += kept_of_layer(truth, d, i, commits, count, limit, dropped_too);
	return bytes;
}

uint64_t kept_least(const struct job *job, const struct kept *kept, uint32_t since)
{
	return kept_of_all(&job->truth, kept->commits, kept->sure, since, false);
}

uint64_t kept_most(const struct job *job, const struct kept *kept, uint32_t until)
{
	const struct truth *truth = &job->truth;
	uint64_t bytes = kept_of_all(truth, kept->commits, kept->count, until, true);

	for (uint32_t d = 0; d < atomic_load(&truth->dimensions); d++)
		for (uint32_t i = 0; i < kept->count; i++)
			if (truth_lives(truth, d, kept->commits[i]))
				bytes += DIRECTORY_DIMENSION_BYTES +
				         (uint64_t)truth_name_count(truth, d) *
				                 DIRECTORY_LAYER_BYTES;
	return bytes;
}
