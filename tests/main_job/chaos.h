/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers killed by SIGKILL and stopped by SIGSTOP at random, most of them inside sections, and what
 * must hold meanwhile: writers go on while a worker is stopped, and the memory it keeps is what its
 * versions see, no less and no more.
 */
#ifndef MAIN_JOB_CHAOS_H
#define MAIN_JOB_CHAOS_H

#include "spawner.h"
#include "writers.h"

struct chaos {
	struct job *job;
	struct spawner *spawner;
	struct writers *writers;
	struct channel channel;
	uint64_t random;
	uint64_t next_ns;    /* when the next kill or stop is due */
	uint32_t every_ms;   /* about */
	uint32_t longest_ms; /* of a stop */
	struct stopped {
		bool is;
		uint64_t until_ns;
		uint64_t commits; /* before it was stopped */
	} stopped[JOB_WORKERS_MAX];

	/* figures */
	uint32_t kills;
	uint32_t kills_inside; /* a thread was inside a section */
	uint32_t stops;
	uint32_t stops_inside;
	uint64_t commits_while_stopped;
	uint64_t fewest_commits; /* during one stop */
	uint64_t largest_kept;   /* bytes, by one worker, told by the manager */
	uint32_t kept_compared;  /* times that it was compared with the truth */
};

bool chaos_open(struct chaos *chaos, const struct instance *instance);
void chaos_close(struct chaos *chaos);

/* Do what is due; called every few milliseconds. False after job_tell(). */
bool chaos_step(struct chaos *chaos);
/* Continue what is stopped, once writers have gone on beside it. */
bool chaos_end(struct chaos *chaos);

#endif
