/* SPDX-License-Identifier: Apache-2.0 */
/* The course of one run, phase by phase. */
#ifndef MAIN_JOB_PLAY_H
#define MAIN_JOB_PLAY_H

#include "chaos.h"
#include "figures.h"
#include "spawner.h"
#include "writers.h"

struct settings {
	const char *bin; /* NULL: embedded */
	const char *scale;
	const char *dir;
	bool threads_only;
	bool json;
	uint32_t seconds; /* of the storm */
	uint32_t workers;
	uint32_t threads;
	uint64_t seed;
};

struct run {
	struct settings settings;
	struct job *job;
	struct instance instance;
	struct spawner *spawner;
	struct writers writers;
	struct chaos chaos;
	struct figures figures;
	char instance_id[33];
};

/*
 * Choose and hash the input, load it, let workers scan while everything changes, wait until all is
 * reclaimed, do it all twice more, stop, start and compare. What does not hold is told by
 * job_tell(); the figures are filled as far as it came.
 */
void play(struct run *run);

#endif
