/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the writers do. One makes small changes all the time: replaces a layer, swaps two in one
 * version, removes some and brings them back. The other makes large ones: grows `libs`, replaces
 * whole dimensions, loads another one, renames it, drops it, creates it anew, gives a load up.
 * The small one alone removes layers, so no removal can meet a layer that is gone already.
 */
#ifndef MAIN_JOB_WRITERS_H
#define MAIN_JOB_WRITERS_H

#include "changes.h"
#include "sources.h"

#define BASE_FAMILIES 4u /* libs, share, tools, include: there all the time; extra comes and goes */

struct writers {
	struct changes changes;
	uint32_t dimension[BASE_FAMILIES]; /* truth dimension of each base family */
	uint64_t started_ns;
	uint64_t duration_ns;
	uint32_t pause_ms; /* most between two small changes */
	atomic_uint stop;  /* end, once the round begun and the growth are done */
	atomic_uint grown; /* steps of the growth done */
	atomic_uint large; /* large changes done */
	uint32_t made;     /* names given to extra dimensions so far; large writer */
	pthread_t thread[2];
	bool running;
};

#define GROWTH_STEPS 8u

/* The first load: every base dimension with its early layers, each put as a file. */
bool writers_load(struct writers *writers);
/* Start both writers; the growth is spread over duration_ns. */
bool writers_start(struct writers *writers);
/* Tell them to end, and wait until they have. */
void writers_stop(struct writers *writers);

/*
 * The quiet cycle: load another dimension and drop it, replace every base dimension by what its
 * names begin with, then by the same contents under other names, each time waiting until reclaimed.
 * Contents are put as files.
 */
bool writers_cycle(struct writers *writers, bool (*wait_reclaimed)(void *context), void *context);

#endif
