/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager for a bench: opened by a child process in a temporary folder, with content that a seed
 * repeats. The bench's own process reads, as a worker would.
 */
#ifndef BENCH_INSTANCE_H
#define BENCH_INSTANCE_H

#include <sys/types.h>

#include <regionmgr/manager.h>
#include <regionmgr/session.h>

#include "harness.h"

#define BENCH_BIG_BYTES 280000000u /* what is loaded and scanned */

struct bench_instance {
	char name[RGM_NAME_MAX + 1];
	char dir[256];
	char socket[400];
	pid_t pid;
	int pipe; /* closing it tells the child to close the manager */
};

/* What the child does in its manager; 0 or an error. */
typedef int (*bench_fill)(struct rgm_manager *manager, void *context, struct rgm_error *error);

/*
 * Fork the child, let it open the manager and `fill` it, and wait until it is ready. It then does
 * `after`, which may be NULL, and serves until it is told to end. False with a sentence on stderr.
 * Call it while this process has one thread.
 */
bool bench_instance_start(const struct bench *bench, struct bench_instance *instance,
	bench_fill fill, bench_fill after, void *context);
/* The same with its folder in memory: for thousands of dimensions, each of whose creations syncs files,
 * where what is measured does not touch them. */
bool bench_instance_start_in_memory(const struct bench *bench, struct bench_instance *instance,
	bench_fill fill, bench_fill after, void *context);
/* Close the manager, remove the folder. */
void bench_instance_stop(struct bench_instance *instance);

/* Make a folder of files for peers; removed by bench_folder_remove(). */
bool bench_folder_make(const struct bench *bench, char *ret_path, size_t path_bytes);
void bench_folder_remove(const char *path);

/* --- content: values of 4 to 64 KB, multiples of 8, the same for every subject ------------------ */

size_t bench_value_bytes(uint64_t index);
void bench_value_fill(uint64_t index, void *data, size_t bytes);
/* Number of values that make `bytes` together; the last one is cut. */
uint64_t bench_value_count(uint64_t bytes);

/* One dimension "big" of `*(uint64_t *)context` bytes: such values under names in order. */
int bench_fill_big(struct rgm_manager *manager, void *context, struct rgm_error *error);
/* `*(uint64_t *)context` empty dimensions "d0", "d1", … */
int bench_fill_many(struct rgm_manager *manager, void *context, struct rgm_error *error);

/* Attach this process or exit with a sentence. */
struct rgm_session *bench_attach(const struct bench_instance *instance, enum rgm_barrier barrier);

#endif
