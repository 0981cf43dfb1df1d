/* SPDX-License-Identifier: Apache-2.0 */
/* Kills and stops; see chaos.h. */
#include "chaos.h"

#include <stdlib.h>

#include "kept.h"
#include "random.h"

#define STOPPED_MAX      3u          /* at a time */
#define WRITERS_LIMIT_NS 60000000000 /* a minute without a commit: the writers are stuck */

bool chaos_open(struct chaos *chaos, const struct instance *instance)
{
	struct rgm_error error;

	chaos->fewest_commits = UINT64_MAX;
	chaos->random = chaos->job->seed ^ 0xc4a05;
	if (channel_open(&chaos->channel, instance, &error) == 0)
		return true;
	job_tell(chaos->job, "cannot open a control connection: %s", error.message);
	return false;
}

void chaos_close(struct chaos *chaos)
{
	channel_close(&chaos->channel);
}

static uint64_t commits(const struct chaos *chaos)
{
	return atomic_load(&chaos->writers->changes.commits);
}

static bool inside(const struct chaos *chaos, uint32_t worker)
{
	for (uint32_t i = 0; i < chaos->job->threads; i++)
		if (atomic_load(&chaos->job->mark[worker][i].state) == MARK_INSIDE)
			return true;
	return false;
}

static uint32_t count_stopped(const struct chaos *chaos)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < chaos->job->workers; i++)
		count += chaos->stopped[i].is;
	return count;
}

static bool kill_one(struct chaos *chaos, uint32_t worker)
{
	if (!spawner_kill(chaos->spawner, worker))
		return false;
	chaos->kills++;
	chaos->kills_inside += inside(chaos, worker);
	chaos->stopped[worker].is = false;
	return spawner_start(chaos->spawner, worker);
}

static bool stop_one(struct chaos *chaos, uint32_t worker)
{
	struct stopped *stopped = &chaos->stopped[worker];
	uint32_t ms = 20 + random_below(&chaos->random, chaos->longest_ms);

	if (!spawner_stop(chaos->spawner, worker))
		return false;
	chaos->stops++;
	chaos->stops_inside += inside(chaos, worker);
	stopped->is = true;
	stopped->commits = commits(chaos);
	stopped->until_ns = job_now_ns() + (uint64_t)ms * 1000000;
	return true;
}

/* --- memory kept -------------------------------------------------------------------------------- */

static const struct rgm_reader_row *find_row(
	const struct rgm_reader_row *rows, size_t count, int pid)
{
	for (size_t i = 0; i < count; i++)
		if (rows[i].pid == (uint32_t)pid && rows[i].alive)
			return &rows[i];
	return NULL;
}

/* What the manager says of a stopped worker, between two looks at the truth. */
static bool compare_kept(struct chaos *chaos, uint32_t worker)
{
	const struct truth *truth = &chaos->job->truth;
	struct rgm_reader_row *rows = NULL;
	const struct rgm_reader_row *row;
	struct rgm_error error;
	struct kept kept;
	size_t count = 0;
	uint32_t since = atomic_load(&truth->recorded), until;
	uint64_t least, most;

	if (!kept_look(chaos->job, worker, &kept))
		return true;
	if (rgm_control_readers(chaos->channel.control, &rows, &count, &error) != 0) {
		job_tell(chaos->job, "cannot list readers: %s", error.message);
		return false;
	}
	until = atomic_load(&truth->planned);
	row = find_row(rows, count, atomic_load(&chaos->job->pid[worker]));
	/* it may have been stopped before it had attached */
	if (row != NULL && kept.sure > 0) {
		least = kept_least(chaos->job, &kept, since);
		most = kept_most(chaos->job, &kept, until);
		if (row->kept_bytes < least || (kept.complete && row->kept_bytes > most))
			job_tell(chaos->job,
				"stopped worker %u keeps %llu bytes, must keep %llu to %llu",
				worker, (unsigned long long)row->kept_bytes,
				(unsigned long long)least, (unsigned long long)most);
		if (row->sections < kept.sure)
			job_tell(chaos->job, "stopped worker %u is in %u sections, told are %u",
				worker, kept.sure, row->sections);
		chaos->kept_compared++;
		if (row->kept_bytes > chaos->largest_kept)
			chaos->largest_kept = row->kept_bytes;
	}
	free(rows);
	return !job_failed(chaos->job);
}

/* --- the course --------------------------------------------------------------------------------- */

/* A stop that is over ends once writers have gone on beside it. */
static bool end_stop(struct chaos *chaos, uint32_t worker)
{
	struct stopped *stopped = &chaos->stopped[worker];
	uint64_t beside = commits(chaos) - stopped->commits;

	if (job_now_ns() < stopped->until_ns)
		return true;
	if (beside == 0) {
		if (job_now_ns() < stopped->until_ns + WRITERS_LIMIT_NS)
			return true;
		job_tell(chaos->job, "no commit while worker %u was stopped", worker);
		return false;
	}
	if (!compare_kept(chaos, worker))
		return false;
	chaos->commits_while_stopped += beside;
	if (beside < chaos->fewest_commits)
		chaos->fewest_commits = beside;
	if (random_below(&chaos->random, 3) == 0)
		return kill_one(chaos, worker);
	stopped->is = false;
	return spawner_continue(chaos->spawner, worker);
}

static bool end_stops(struct chaos *chaos)
{
	for (uint32_t i = 0; i < chaos->job->workers; i++)
		if (chaos->stopped[i].is && !end_stop(chaos, i))
			return false;
	return true;
}

bool chaos_step(struct chaos *chaos)
{
	uint32_t worker = random_below(&chaos->random, chaos->job->workers);
	bool good = true;

	if (!chaos->job->forked)
		return true;
	if (!end_stops(chaos))
		return false;
	if (job_now_ns() < chaos->next_ns)
		return true;
	chaos->next_ns =
		job_now_ns() +
		(uint64_t)(1 + random_below(&chaos->random, 2 * chaos->every_ms)) * 1000000;
	if (chaos->stopped[worker].is)
		good = compare_kept(chaos, worker);
	else if (random_below(&chaos->random, 2) == 0)
		good = kill_one(chaos, worker);
	else if (count_stopped(chaos) < STOPPED_MAX)
		good = stop_one(chaos, worker);
	return good && !job_failed(chaos->job);
}

bool chaos_end(struct chaos *chaos)
{
	for (uint32_t i = 0; i < chaos->job->workers; i++)
		chaos->stopped[i].until_ns = job_now_ns();
	while (count_stopped(chaos) > 0) {
		if (!end_stops(chaos))
			return false;
		job_sleep_ms(5);
	}
	return true;
}
