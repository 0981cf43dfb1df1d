/* SPDX-License-Identifier: Apache-2.0 */
/* The sections of a worker's threads; what they compare stands in worker.h and verify.c. */
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <regionmgr/layers.h>

#include "random.h"
#include "verify.h"

#define DIMENSIONS_SEEN_MAX 64u
#define HOLD_MS             60u /* between a section and the look at a hold taken in it, at most */

struct worker {
	struct job *job;
	struct rgm_session *session;
	uint32_t index;
	uint32_t generation;
};

struct thread {
	struct worker *worker;
	struct job *job;
	struct mark *mark;
	struct rgm_slot *slot;
	pthread_t thread;
	uint32_t index;
	bool started;
	uint64_t random;
	uint64_t version; /* of the last section */
	uint32_t commit;  /* of the truth, for this section */
	bool inside;
	bool complete;                      /* all of everything was compared in one section */
	uint32_t seen[DIMENSIONS_SEEN_MAX]; /* truth dimensions of this section that are mapped */
	uint32_t seen_count;
};

static void count(atomic_uint_least64_t *counter, uint64_t by)
{
	/* one writer: no read-modify-write needed */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
		memory_order_relaxed);
}

static bool stopping(const struct job *job)
{
	return atomic_load_explicit(&job->stop, memory_order_relaxed) != 0 || job_failed(job);
}

/* --- one section -------------------------------------------------------------------------------- */

/* Enter, and compare the version with what was known before. False: told, or stopping. */
static bool enter(struct thread *thread)
{
	const struct truth *truth = &thread->job->truth;
	struct mark *mark = thread->mark;
	uint32_t recorded = atomic_load_explicit(&truth->recorded, memory_order_acquire);
	uint64_t floor = atomic_load_explicit(&truth->version_of[recorded], memory_order_relaxed);
	uint64_t version;
	int rc;

	atomic_store_explicit(&mark->state, MARK_MOVING, memory_order_seq_cst);
	rc = rgm_pin(thread->slot);
	if (rc != 0) {
		atomic_store_explicit(&mark->state, MARK_OUTSIDE, memory_order_release);
		job_tell(thread->job, "rgm_pin returned %s", rgm_error_name(rc));
		return false;
	}
	thread->inside = true;
	version = rgm_slot_version(thread->slot);
	atomic_store_explicit(&mark->version, version, memory_order_relaxed);
	atomic_store_explicit(&mark->state, MARK_INSIDE, memory_order_release);
	if (version < floor || version < thread->version) {
		job_tell(thread->job,
			"a section sees version %llu after commit %u had published %llu and an "
			"earlier section of the thread had seen %llu",
			(unsigned long long)version, recorded, (unsigned long long)floor,
			(unsigned long long)thread->version);
		return false;
	}
	thread->version = version;
	if (truth_commit_at(truth, version, &thread->job->stop, &thread->commit))
		return true;
	if (!stopping(thread->job))
		job_tell(thread->job, "version %llu is of no commit known after a minute",
			(unsigned long long)version);
	return false;
}

static void leave(struct thread *thread)
{
	int rc;

	if (!thread->inside)
		return;
	thread->inside = false;
	if (rgm_slot_version(thread->slot) != thread->version)
		job_tell(thread->job, "the section's version went from %llu to %llu",
			(unsigned long long)thread->version,
			(unsigned long long)rgm_slot_version(thread->slot));
	atomic_store_explicit(&thread->mark->state, MARK_MOVING, memory_order_seq_cst);
	rc = rgm_unpin(thread->slot);
	atomic_store_explicit(&thread->mark->state, MARK_OUTSIDE, memory_order_release);
	if (rc != 0)
		job_tell(thread->job, "rgm_unpin returned %s", rgm_error_name(rc));
	count(&thread->mark->sections, 1);
}

/*
 * The dimensions that the section shows against those of the truth. Fills seen[] with the mapped
 * ones; the name of one that is not mapped is copied to `unmapped` (empty: all are).
 */
static void compare_dimensions(struct thread *thread, char unmapped[RGM_NAME_MAX + 1])
{
	const struct truth *truth = &thread->job->truth;
	struct rgm_dimension_info info = {.size = sizeof(info)};
	uint32_t shown = 0, living = 0, cursor = 0;
	int rc;

	unmapped[0] = '\0';
	thread->seen_count = 0;
	while ((rc = rgm_next_dimension(thread->slot, &cursor, &info)) == 1) {
		uint32_t dimension = truth_find(truth, info.name, thread->commit);

		shown++;
		if (dimension == TRUTH_NONE) {
			job_tell(thread->job,
				"version %llu shows a dimension '%s' that it must not have",
				(unsigned long long)thread->version, info.name);
		} else if (info.mapped == 0) {
			snprintf(unmapped, RGM_NAME_MAX + 1, "%s", info.name);
		} else if (thread->seen_count < DIMENSIONS_SEEN_MAX) {
			thread->seen[thread->seen_count++] = dimension;
		}
	}
	if (rc < 0)
		job_tell(thread->job, "rgm_next_dimension returned %s", rgm_error_name(rc));
	for (uint32_t i = atomic_load(&truth->dimensions); i > 0; i--)
		living += truth_lives(truth, i - 1, thread->commit);
	if (living != shown)
		job_tell(thread->job, "version %llu shows %u dimensions, must have %u",
			(unsigned long long)thread->version, shown, living);
}

static void compare_one(struct thread *thread, uint32_t dimension, uint32_t one_in)
{
	const char *name = truth_name_at(&thread->job->truth, dimension, thread->commit);
	struct verify verify = {
		.job = thread->job,
		.mark = thread->mark,
		.random = &thread->random,
		.dimension = dimension,
		.commit = thread->commit,
		.version = thread->version,
		.one_in = one_in,
	};
	struct rgm_dimension identity;
	struct rgm_layers layers;
	struct rgm_error error;
	int rc;

	if (random_below(&thread->random, 2) == 0) {
		rc = rgm_layers_open(thread->slot, name, &layers, &error);
	} else {
		rc = rgm_find(thread->slot, name, &identity, &error);
		if (rc == 0)
			rc = rgm_layers_open_dimension(thread->slot, &identity, &layers, &error);
	}
	if (rc != 0) {
		job_tell(thread->job, "cannot open '%s' at version %llu: %s", name,
			(unsigned long long)thread->version, error.message);
		return;
	}
	verify_view(&verify, &layers);
}

/* Take a hold on a dimension of the section, to be compared after it. NULL: not this time. */
static struct rgm_hold *take_hold(struct thread *thread, uint32_t dimension)
{
	const char *name = truth_name_at(&thread->job->truth, dimension, thread->commit);
	struct rgm_dimension identity;
	struct rgm_hold *hold = NULL;
	struct rgm_error error;
	int rc;

	atomic_store_explicit(&thread->mark->hold_version, thread->version, memory_order_relaxed);
	atomic_store_explicit(&thread->mark->holding, 1, memory_order_seq_cst);
	rc = rgm_find(thread->slot, name, &identity, &error);
	if (rc == 0)
		rc = rgm_hold_take(thread->slot, &identity, &hold, &error);
	if (rc != 0) {
		atomic_store_explicit(&thread->mark->holding, 0, memory_order_seq_cst);
		job_tell(thread->job, "cannot hold '%s' at version %llu: %s", name,
			(unsigned long long)thread->version, error.message);
		return NULL;
	}
	return hold;
}

static void compare_hold(struct thread *thread, struct rgm_hold *hold, uint32_t dimension)
{
	struct verify verify = {
		.job = thread->job,
		.mark = thread->mark,
		.random = &thread->random,
		.dimension = dimension,
		.commit = thread->commit,
		.version = rgm_hold_version(hold),
		.one_in = 1 + random_below(&thread->random, 4),
	};
	struct rgm_layers layers;
	struct rgm_error error;
	int rc;

	/* long enough for what it keeps to be replaced, retired and looked at */
	job_sleep_ms(random_below(&thread->random, HOLD_MS));
	if (verify.version != thread->version)
		job_tell(thread->job, "a hold taken at version %llu says %llu",
			(unsigned long long)thread->version, (unsigned long long)verify.version);
	rc = rgm_layers_open_hold(hold, &layers, &error);
	if (rc == 0)
		verify_view(&verify, &layers);
	else
		job_tell(thread->job, "cannot open a hold: %s", error.message);
	rc = rgm_hold_release(hold);
	if (rc != 0)
		job_tell(thread->job, "rgm_hold_release returned %s", rgm_error_name(rc));
	atomic_store_explicit(&thread->mark->holding, 0, memory_order_seq_cst);
	count(&thread->mark->holds, 1);
}

/* All of everything, all of one dimension, or a sample of each. */
static void compare_some(struct thread *thread)
{
	uint32_t dice = thread->job->once ? 0 : random_below(&thread->random, 16);
	uint32_t pick = random_below(&thread->random, thread->seen_count);

	if (dice < 6) {
		for (uint32_t i = 0; i < thread->seen_count && !stopping(thread->job); i++)
			compare_one(thread, thread->seen[(pick + i) % thread->seen_count], 1);
		thread->complete = true;
	} else if (dice < 11) {
		compare_one(thread, thread->seen[pick], 1);
	} else {
		for (uint32_t i = 0; i < thread->seen_count && !stopping(thread->job); i++)
			compare_one(thread, thread->seen[i], 32);
	}
}

static void section(struct thread *thread)
{
	char unmapped[RGM_NAME_MAX + 1] = "";
	struct rgm_hold *hold = NULL;
	uint32_t held = 0;
	struct rgm_error error;
	int rc;

	if (enter(thread)) {
		compare_dimensions(thread, unmapped);
		/* a dimension that nobody has mapped in this process yet: outside, below */
		if (unmapped[0] == '\0' && thread->seen_count > 0) {
			compare_some(thread);
			if (random_below(&thread->random, 8) == 0) {
				held = thread->seen[random_below(
					&thread->random, thread->seen_count)];
				hold = take_hold(thread, held);
			}
		}
	}
	leave(thread);
	if (hold != NULL)
		compare_hold(thread, hold, held);
	if (unmapped[0] == '\0')
		return;
	rc = rgm_map(thread->worker->session, unmapped, &error);
	count(&thread->mark->maps, rc == 0);
	/* it may have been dropped or renamed since */
	if (rc != 0 && rc != RGM_ENODIM)
		job_tell(thread->job, "cannot map '%s': %s", unmapped, error.message);
}

static void wait_for_news(struct thread *thread)
{
	uint64_t seen = rgm_current_version(thread->worker->session), now = 0;
	struct rgm_error error;
	int rc = rgm_wait(thread->worker->session, seen, 100, &now, &error);

	if (rc == 0 && now <= seen)
		job_tell(thread->job, "rgm_wait(%llu) returned version %llu",
			(unsigned long long)seen, (unsigned long long)now);
	else if (rc != 0 && rc != -ETIMEDOUT && rc != -EINTR)
		job_tell(thread->job, "rgm_wait returned %s", rgm_error_name(rc));
	count(&thread->mark->waits, rc == 0);
}

/* --- threads and processes ---------------------------------------------------------------------- */

static void *thread_main(void *context)
{
	struct thread *thread = context;
	struct rgm_error error;
	int rc = rgm_slot_open(thread->worker->session, &thread->slot, &error);

	if (rc != 0) {
		job_tell(thread->job, "worker %u cannot open a slot: %s", thread->worker->index,
			error.message);
		return NULL;
	}
	while (!stopping(thread->job) && !(thread->job->once && thread->complete)) {
		section(thread);
		if (random_below(&thread->random, 64) == 0)
			wait_for_news(thread);
	}
	/* every second one leaves its slot to the end of the thread */
	if (thread->index % 2 == 0)
		rgm_slot_close(thread->slot);
	return NULL;
}

static bool attach(struct worker *worker)
{
	char label[32];
	struct rgm_attach_options options = {
		.size = sizeof(options),
		.socket = worker->job->socket,
		.slots = worker->job->threads,
		.barrier = worker->index % 2 == 0 ? RGM_BARRIER_AUTO : RGM_BARRIER_FENCE,
		.timeout_ms = 60000,
		.label = label,
	};
	struct rgm_error error;

	snprintf(label, sizeof(label), "worker-%u", worker->index);
	if (rgm_session_attach(worker->job->instance, &options, &worker->session, &error) == 0)
		return true;
	job_tell(worker->job, "worker %u cannot attach: %s", worker->index, error.message);
	return false;
}

void worker_run(struct job *job, uint32_t index, uint32_t generation)
{
	struct worker worker = {.job = job, .index = index, .generation = generation};
	struct thread threads[JOB_THREADS_MAX] = {0};

	if (!attach(&worker))
		return;
	for (uint32_t i = 0; i < job->threads; i++) {
		struct thread *thread = &threads[i];

		thread->worker = &worker;
		thread->job = job;
		thread->mark = &job->mark[index][i];
		thread->index = i;
		thread->random = job->seed ^ ((uint64_t)generation << 40 | index << 16 | i);
		thread->started = pthread_create(&thread->thread, NULL, thread_main, thread) == 0;
		if (!thread->started)
			job_tell(job, "worker %u cannot start a thread", index);
	}
	for (uint32_t i = 0; i < job->threads; i++)
		if (threads[i].started)
			pthread_join(threads[i].thread, NULL);
	rgm_session_detach(worker.session);
}
