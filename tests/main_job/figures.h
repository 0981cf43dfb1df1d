/* SPDX-License-Identifier: Apache-2.0 */
/* What the job measured, its progress while it runs, and its closing table. */
#ifndef MAIN_JOB_FIGURES_H
#define MAIN_JOB_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

struct figures {
	const char *scale;
	const char *manager; /* "regionmgrd" or "embedded" */
	uint64_t seed;
	uint32_t workers;
	uint32_t threads;
	bool forked;
	/* the first load */
	uint64_t loaded_bytes;
	uint64_t loaded_layers;
	double load_seconds;
	uint64_t blocks_bytes; /* on disk after it */
	/* the storm */
	double storm_seconds;
	uint64_t sections;
	uint64_t holds;
	uint64_t layers_compared;
	uint64_t scanned_bytes;
	uint64_t maps;
	uint64_t news;
	uint64_t commits;
	uint64_t put_bytes;
	uint64_t aborts;
	uint64_t last_version;
	uint32_t kills;
	uint32_t kills_inside;
	uint32_t stops;
	uint32_t stops_inside;
	uint64_t fewest_commits; /* beside one stop */
	uint64_t largest_kept;
	uint32_t kept_compared;
	uint64_t libs_from_bytes;
	uint64_t libs_to_bytes;
	/* afterwards */
	uint64_t reclaimed_bytes;
	double worst_ratio;       /* allocated pages / live pages, of the worst dimension */
	uint64_t region_bytes[2]; /* after each quiet cycle */
	uint64_t checked_bytes;   /* verified by the checks after the restart */
	double seconds;           /* in all */
	uint32_t failures;
};

void figures_print(const struct figures *figures);
void figures_print_json(const struct figures *figures);

/* Tell how far it is: a bar that is redrawn on a terminal, else a line for each phase and each tenth
 * of a long one. `fraction` from 0 to 1; `note` may be "". */
void progress(const char *phase, double fraction, const char *note);
/* The phase is done. */
void progress_done(void);
void progress_silence(void);

#endif
