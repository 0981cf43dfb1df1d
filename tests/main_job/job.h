/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that the driver and its workers share, beside the truth: what the workers are told,
 * where each of their threads is, what they counted, and what went wrong. Anonymous and inherited by
 * fork, so it outlives any worker and has no name to clean up.
 */
#ifndef MAIN_JOB_JOB_H
#define MAIN_JOB_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "truth.h"

#define JOB_WORKERS_MAX  64u
#define JOB_THREADS_MAX  32u
#define JOB_FAILURES_MAX 32u

/* Where a worker's thread is. Between OUTSIDE and INSIDE it may or may not be in a section. */
enum mark_state {
	MARK_OUTSIDE,
	MARK_MOVING,
	MARK_INSIDE
};

/* One thread of one worker. It alone writes; the driver reads, also after its death. */
struct mark {
	_Alignas(64) atomic_uint state;
	atomic_uint holding;           /* 1: may have a hold, at hold_version */
	atomic_uint_least64_t version; /* while INSIDE */
	atomic_uint_least64_t hold_version;
	/* counted over all generations of the worker */
	atomic_uint_least64_t sections;
	atomic_uint_least64_t holds;
	atomic_uint_least64_t layers; /* compared with the truth */
	atomic_uint_least64_t bytes;  /* scanned */
	atomic_uint_least64_t waits;  /* news by rgm_wait() */
	atomic_uint_least64_t maps;   /* dimensions that had to be mapped */
};

struct job {
	/* constant once the workers start */
	char instance[RGM_NAME_MAX + 1];
	char socket[128];
	uint64_t seed;
	uint32_t workers;
	uint32_t threads;
	bool forked; /* workers are processes; else threads of the driver's process */
	bool once;   /* threads end after one section in which they compared everything */

	atomic_uint stop;     /* workers end after their sections */
	atomic_uint failures; /* how many, recorded or not */
	char failure[JOB_FAILURES_MAX][400];
	atomic_int
		pid[JOB_WORKERS_MAX]; /* of the newest process of each worker; the spawner writes */

	struct mark mark[JOB_WORKERS_MAX][JOB_THREADS_MAX];
	struct truth truth;
};

/* NULL if there is no memory. */
struct job *job_create(void);
void job_destroy(struct job *job);

/* Something is wrong: kept for the end, and the run ends soon. Any process, any thread. */
__attribute__((format(printf, 2, 3))) void job_tell(struct job *job, const char *sentence, ...);
bool job_failed(const struct job *job);
/* To stderr; returns the number of failures. */
uint32_t job_print_failures(const struct job *job);

uint64_t job_now_ns(void);
void job_sleep_ms(uint32_t ms);

#endif
