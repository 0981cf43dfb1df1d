/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits: the same bytes without anybody's library, in memory or in a file written as a file
 * system likes it best.
 */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include "harness.h"

/* The values of instance.h one behind another, `bytes` in all, in memory of 2 MB pages: hugetlb where
 * some are set aside, else anonymous memory with huge pages asked for. NULL on failure. */
void *raw_memory(uint64_t bytes, const char **ret_kind);

/* The values in a buffer to write from; free with free(). */
void *raw_values(uint64_t bytes);

/* Write them: fallocate, then pwrite by 4 MB, with or without fdatasync. Seconds, or NAN. The file is
 * made anew. */
double raw_write(const char *path, const void *values, uint64_t bytes, bool sync);

/* Map a file read-only at an address aligned to 2 MB; undone by raw_unmap(). NULL on failure. */
const void *raw_map(const char *path, uint64_t bytes);
void raw_unmap(const void *address, uint64_t bytes);

#endif
