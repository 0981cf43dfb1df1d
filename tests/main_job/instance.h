/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager under test, on a temporary folder: `regionmgrd` as a child process, or the manager
 * library in this process. Changes look the same either way: through control.h to the one, through
 * manager.h to the other.
 */
#ifndef MAIN_JOB_INSTANCE_H
#define MAIN_JOB_INSTANCE_H

#include <stdbool.h>
#include <sys/types.h>

#include <regionmgr/manager.h>

struct instance {
	char name[RGM_NAME_MAX + 1];
	char dir[256]; /* the region files; ours, removed at the end */
	char log[300]; /* what the manager said */
	char socket[128];
	char program[300]; /* regionmgrd; empty: embedded */
	pid_t pid;         /* of regionmgrd */
	struct rgm_manager *manager;
};

/* Make the folder; `bin` is where regionmgrd is, NULL means embedded. False with a sentence. */
bool instance_prepare(struct instance *instance, const char *bin, const char *parent);
/* Start the manager and wait until it answers. False with a sentence. */
bool instance_start(struct instance *instance);
/* Stop it cleanly: SIGTERM and exit status 0, or rgm_manager_close(). False with a sentence. */
bool instance_stop(struct instance *instance);
/* Remove the folder. Also after a failure: what still runs is killed. */
void instance_remove(struct instance *instance);
/* The manager's last words, to stderr: after a failure. */
void instance_print_log(const struct instance *instance);

/* --- changes ------------------------------------------------------------------------------------ */

/* One writer's way to the instance; used by one thread at a time. */
struct channel {
	struct rgm_manager *manager; /* embedded, else NULL */
	struct rgm_control *control; /* always open: to look */
	struct rgm_load *load;
	struct rgm_writer *writer;
};

int channel_open(struct channel *channel, const struct instance *instance, struct rgm_error *error);
void channel_close(struct channel *channel);

int channel_create(struct channel *channel, const char *name, struct rgm_error *error);
int channel_drop(struct channel *channel, const char *name, struct rgm_error *error);
int channel_rename(
	struct channel *channel, const char *from, const char *to, struct rgm_error *error);
/* The current version. */
int channel_version(struct channel *channel, uint64_t *ret_version, struct rgm_error *error);

/* A change: begin, put or remove, then commit or abort. A failed commit ends it too. */
int change_begin(struct channel *channel, const char *name, uint32_t flags, uint64_t expected_bytes,
	struct rgm_error *error);
int change_put_file(struct channel *channel, const char *layer, int file,
	const struct rgm_layer_options *options, struct rgm_error *error);
int change_put_bytes(struct channel *channel, const char *layer, const void *data, size_t bytes,
	const struct rgm_layer_options *options, struct rgm_error *error);
/* In pieces of `piece` bytes. */
int change_put_stream(struct channel *channel, const char *layer, const void *data, size_t bytes,
	size_t piece, const struct rgm_layer_options *options, struct rgm_error *error);
int change_remove(struct channel *channel, const char *layer, struct rgm_error *error);
int change_commit(
	struct channel *channel, struct rgm_load_report *ret_report, struct rgm_error *error);
void change_abort(struct channel *channel);

#endif
