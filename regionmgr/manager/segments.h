/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments of sessions to come: a few of the usual size are made ahead by a thread of their own, so
 * that an attach does not wait for the kernel to find memory and to map it.
 *
 * What is made ahead has no name and no lock, is known to nobody, and vanishes with the manager. Name,
 * guard, the reader's description and its lock come with the session (sessions.c).
 */
#ifndef MANAGER_SEGMENTS_H
#define MANAGER_SEGMENTS_H

#include <stdint.h>

#include "ipc/format.h"

struct segment {
	int file; /* shared memory without a name */
	struct ipc_segment *base;
	uint64_t bytes;
	uint8_t token[16];
};

struct segments;
/* `slots` and `holds` are what segments are made ahead for. 0 or -errno. */
int segments_create(uint32_t slots, uint32_t holds, struct segments **ret_segments);
void segments_destroy(struct segments *segments); /* NULL is allowed */

/* One that was made ahead, if it has this size and there is one; else it is made now. 0 or -errno. The
 * caller owns file and mapping. */
int segments_take(
	struct segments *segments, uint32_t slots, uint32_t holds, struct segment *ret_segment);
/* Let the thread make up for what was taken: once there is time for it. */
void segments_refill(struct segments *segments);

#endif
