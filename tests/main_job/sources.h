/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input: real files of the system's own folders, chosen by a budget of bytes for each dimension.
 * A family's files are taken in an order that depends on their names alone, so one machine gives one
 * choice. Small files are taken only while the whole stays within 5 % of its bytes when each file is
 * rounded up to pages: blocks on disk can then be 1.1x the content at most.
 */
#ifndef MAIN_JOB_SOURCES_H
#define MAIN_JOB_SOURCES_H

#include <stdbool.h>
#include <stdint.h>

#include "truth.h"

/* The families, in the order of truth.family. */
enum family {
	FAMILY_LIBS,
	FAMILY_SHARE,
	FAMILY_TOOLS,
	FAMILY_INCLUDE,
	FAMILY_EXTRA,
	FAMILIES
};

const char *family_label(enum family family);

/*
 * Choose the files of every family and fill contents, names and families. `scale` is "small" or
 * "full". False with a sentence on stderr when the machine has too few files.
 */
bool sources_choose(struct truth *truth, const char *scale);

/* Compute the crc32c of each content with `threads` threads; files that cannot be read or change are
 * left out. False with a sentence on stderr. `done` counts bytes, for a progress bar. */
bool sources_hash(struct truth *truth, uint32_t threads, atomic_uint_least64_t *done);

/* Open a content's source for reading; -1 and errno, ESTALE if it is no longer what was hashed. */
int sources_open(const struct truth *truth, uint32_t content);

#endif
