/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The work of `regionctl scan`: the layers of all dimensions cut into pieces, handed to threads of
 * several processes by a counter in shared memory. Every byte of every loop is read and enters a
 * checksum; a piece's checksum of the first loop must be that of all others.
 *
 * Nouns: a piece is at most SCAN_PIECE_BYTES of one layer; a ticket is one piece in one loop. Tickets
 * are in the order of the dimensions, all loops of one before the next.
 */
#ifndef CLI_SCAN_H
#define CLI_SCAN_H

#include <stdatomic.h>

#include "regionmgr/cli/reader.h"

#define SCAN_PIECE_BYTES (4u << 20)

struct scan_piece {
	const void *data;
	size_t bytes;
	uint64_t layer; /* number within the dimension */
};

struct scan_layer {
	char *name; /* its own copy */
	uint32_t crc32c;
};

/* One dimension. */
struct scan_part {
	const char *name;
	uint64_t version, layer_count, bytes;
	struct scan_piece *pieces;
	size_t piece_count;
	struct scan_layer *layers;
	uint64_t first_ticket, first_sum; /* of its first piece */
	/* results */
	uint32_t crc32c;
	uint64_t duration_ns;
};

/* In memory that all processes share. Relaxed throughout: nothing is ordered by these, results are
 * read after the processes have been waited for. */
struct scan_shared {
	atomic_uint_least64_t next;       /* ticket */
	atomic_uint_least64_t done_bytes; /* for the progress */
	atomic_uint_least64_t unequal;    /* pieces that gave another checksum in another loop */
};
/* When a dimension was begun and finished, CLOCK_MONOTONIC; one a dimension, shared. */
struct scan_times {
	atomic_uint_least64_t begun_ns, ended_ns;
};

struct scan {
	struct scan_part *parts;
	size_t part_count;
	uint64_t loops, threads, processes;
	uint64_t tickets, pieces, bytes; /* bytes of one loop */
	struct scan_shared *shared;
	struct scan_times *times;
	atomic_uint_least64_t *sums; /* one a piece: its checksum, or SCAN_NO_SUM */
	size_t mapped_bytes;         /* of the memory that holds the three */
	uint64_t duration_ns;
};
#define SCAN_NO_SUM UINT64_MAX

/* Cut what the reader holds into pieces and make the shared memory. Freed also after a failure. */
int scan_prepare(struct scan *scan, const struct reader *reader, const char *const *names,
	struct rgm_error *error);
/* Fork, read, wait. CLI_WORKER if a process died. */
int scan_run(struct scan *scan, struct cli *cli, struct rgm_error *error);
/* Put the checksums together and compare each layer with its stored one: RGM_ECORRUPT. */
int scan_finish(struct scan *scan, struct rgm_error *error);
void scan_free(struct scan *scan);

#endif
