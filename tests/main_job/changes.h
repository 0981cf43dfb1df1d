/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One change of the instance and of the truth together. Content is put before the lock is taken, so
 * changes of several writers overlap; plan, commit and record happen under it, in this order.
 */
#ifndef MAIN_JOB_CHANGES_H
#define MAIN_JOB_CHANGES_H

#include <pthread.h>

#include "instance.h"
#include "job.h"

/* Shared by all writers. */
struct changes {
	struct job *job;
	const struct instance *instance;
	pthread_mutex_t lock; /* plan, commit, record */
	atomic_uint_least64_t commits;
	atomic_uint_least64_t bytes; /* content put by commits */
	atomic_uint_least64_t layers;
	atomic_uint_least64_t aborts;
};

/* One writer; used by one thread. */
struct editor {
	struct changes *changes;
	struct channel channel;
	uint64_t random;
	bool files_only;       /* put contents as files alone, else in any way */
	unsigned char *buffer; /* a content, when it is put from memory */
	size_t buffer_bytes;
};

/* A layer and what it shall have; TRUTH_NONE removes it. */
struct edit {
	uint32_t name; /* within the family */
	uint32_t content;
};

bool editor_open(struct editor *editor, struct changes *changes, uint64_t seed);
void editor_close(struct editor *editor);

/* All return false after job_tell(). */

/* Publish `edits` of a dimension as one version; with `replace`, layers not named are gone. */
bool change_layers(struct editor *editor, uint32_t dimension, const struct edit *edits,
	uint32_t edit_count, bool replace);
/* The same into a dimension that is created with the commit; *ret_dimension is its truth. */
bool change_load_new(struct editor *editor, enum rgm_load_flags flags, uint32_t family,
	const char *name, const struct edit *edits, uint32_t edit_count, uint32_t *ret_dimension);
/* Put `edits` and forget them: nothing changes. */
bool change_nothing(
	struct editor *editor, uint32_t dimension, const struct edit *edits, uint32_t edit_count);
bool change_create_empty(
	struct editor *editor, uint32_t family, const char *name, uint32_t *ret_dimension);
bool change_rename(struct editor *editor, uint32_t dimension, const char *name);
bool change_drop(struct editor *editor, uint32_t dimension);

/* The content that is in force now for a layer; TRUTH_NONE if it is not there. */
uint32_t change_current(const struct changes *changes, uint32_t dimension, uint32_t name);

#endif
