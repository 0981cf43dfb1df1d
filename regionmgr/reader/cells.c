/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells: a session's memory that is zero in every forked child, right in front of its segment.
 *
 *   cells                                 segment
 *   | here | 0 | 1 | 2 | …  |  never used | 4096 bytes of header | word 0 | word 1 | …
 *   0          128          262,272       508 KiB                         512 KiB + 64
 *
 * Each cell has the 64 bytes of a slot in the segment, so a slot's cell and its word are everywhere
 * RGM_WORD_DISTANCE apart, in each session of every process: programs compiled long ago count on it
 * (inline.h). A cell is private memory and not a part of the segment because a forked child must find it
 * wiped, and the segment is its parent's.
 *
 * The two mappings end apart. The segment's ends at detach, and with it the lock that tells the manager of
 * the session. A thread may still hold a slot then: the cells stay until the last one is given back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/os.h"
#include "regionmgr/reader/reader.h"

#define CELL_BYTES  64u
#define CELLS_BYTES (508u << 10) /* address space; what is never touched costs nothing */

static_assert(sizeof(struct rgm_slot) == CELL_BYTES, "a slot is a cell");
static_assert(sizeof(struct ipc_slot) == CELL_BYTES, "cells and words go in step");
static_assert((IPC_MAX_SLOTS + 2u) * CELL_BYTES <= CELLS_BYTES, "`here`, and a cell for each slot");
static_assert(CELL_BYTES + RGM_WORD_DISTANCE == CELLS_BYTES + sizeof(struct ipc_segment),
	"slot layout 1: from the cell of slot 0 to its word");

struct cells {
	struct cells *next;
	char *base;
	uint32_t taken; /* and not given back */
	uint32_t used;  /* cells in front of this one were taken at some time */
};

static struct cells *all_cells; /* under sessions_lock */

static void *take(struct cells *cells, uint32_t index)
{
	cells->taken++;
	if (cells->used <= index)
		cells->used = index + 1;
	return memset(cells->base + (size_t)index * CELL_BYTES, 0, CELL_BYTES);
}

int reader_cells_create(int file, uint64_t segment_bytes, struct cells **ret_cells,
	uint64_t **ret_here, void **ret_segment)
{
	void *base, *segment;
	struct cells *cells = calloc(1, sizeof *cells);
	if (!cells)
		return -ENOMEM;
	int rc = os_map_behind(file, segment_bytes, CELLS_BYTES, &base, &segment);
	if (rc) {
		free(cells);
		return rc;
	}
	cells->base = base;
	pthread_mutex_lock(&sessions_lock);
	cells->next = all_cells;
	all_cells = cells;
	*ret_here = take(cells, 0);
	pthread_mutex_unlock(&sessions_lock);
	*ret_cells = cells;
	*ret_segment = segment;
	return 0;
}

void *reader_cell_take(struct cells *cells, uint32_t slot)
{
	return take(cells, slot + 1);
}

void reader_cell_give(struct cells *cells, void *cell)
{
	memset(cell, 0, CELL_BYTES);
	if (--cells->taken)
		return;
	struct cells **place = &all_cells;
	while (*place != cells)
		place = &(*place)->next;
	*place = cells->next;
	os_release(cells->base, CELLS_BYTES);
	free(cells);
}

void reader_cells_clear(void)
{
	for (struct cells *cells = all_cells; cells; cells = cells->next)
		memset(cells->base, 0, (size_t)cells->used * CELL_BYTES);
}
