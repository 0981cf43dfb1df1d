/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of the instance and of the truth together; see changes.h. */
#include "changes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "random.h"
#include "sources.h"
#include "verify.h"

#define FROM_MEMORY_MAX (8u << 20) /* larger ones are put as files */

bool editor_open(struct editor *editor, struct changes *changes, uint64_t seed)
{
	struct rgm_error error;

	memset(editor, 0, sizeof(*editor));
	editor->changes = changes;
	editor->random = seed;
	if (channel_open(&editor->channel, changes->instance, &error) == 0)
		return true;
	job_tell(changes->job, "cannot open a control connection: %s", error.message);
	return false;
}

void editor_close(struct editor *editor)
{
	change_abort(&editor->channel);
	channel_close(&editor->channel);
	free(editor->buffer);
	editor->buffer = NULL;
}

static struct truth *truth_of(const struct editor *editor)
{
	return &editor->changes->job->truth;
}

static const char *name_now(const struct editor *editor, uint32_t dimension)
{
	return truth_name_at(truth_of(editor), dimension, TRUTH_NEVER - 1);
}

uint32_t change_current(const struct changes *changes, uint32_t dimension, uint32_t name)
{
	const struct truth_change *change =
		truth_layer_at(&changes->job->truth, dimension, name, TRUTH_NEVER - 1);

	return change == NULL ? TRUTH_NONE : change->content;
}

/* --- putting ------------------------------------------------------------------------------------ */

static bool read_all(struct editor *editor, int file, size_t bytes)
{
	size_t done = 0;

	if (editor->buffer_bytes < bytes || editor->buffer == NULL) {
		free(editor->buffer);
		editor->buffer = malloc(bytes + 1);
		editor->buffer_bytes = editor->buffer == NULL ? 0 : bytes;
	}
	while (editor->buffer != NULL && done < bytes) {
		ssize_t got = pread(file, editor->buffer + done, bytes - done, (off_t)done);

		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	return editor->buffer != NULL;
}

/* As a file, from memory or in pieces: what the dice say. */
static bool put(struct editor *editor, const char *layer, uint32_t content)
{
	const struct truth *truth = truth_of(editor);
	const struct truth_content *from = &truth->content[content];
	struct rgm_layer_options options = {.size = sizeof(options),
		.time_ns = from->time_ns,
		.media_type = verify_media_type(content)};
	bool as_file = editor->files_only || from->size > FROM_MEMORY_MAX;
	uint32_t way = as_file ? 0 : random_below(&editor->random, 4);
	struct rgm_error error = {0};
	int file = sources_open(truth, content);
	int rc;

	if (file < 0) {
		job_tell(editor->changes->job, "source '%s': %s", truth->text + from->path,
			errno == ESTALE ? "changed while the job ran" : strerror(errno));
		return false;
	}
	if (way >= 2 && !read_all(editor, file, from->size)) {
		job_tell(editor->changes->job, "source '%s' cannot be read",
			truth->text + from->path);
		close(file);
		return false;
	}
	if (way < 2)
		rc = change_put_file(&editor->channel, layer, file, &options, &error);
	else if (way == 2)
		rc = change_put_bytes(
			&editor->channel, layer, editor->buffer, from->size, &options, &error);
	else
		rc = change_put_stream(&editor->channel, layer, editor->buffer, from->size,
			1000 + random_below(&editor->random, 1u << 20), &options, &error);
	close(file);
	if (rc != 0)
		job_tell(editor->changes->job, "cannot put '%s': %s", layer, error.message);
	return rc == 0;
}

/* Begin, put and remove: all of a change but its commit. */
static bool prepare(struct editor *editor, const char *dimension, uint32_t flags,
	const struct truth_name *names, const struct edit *edits, uint32_t edit_count)
{
	const struct truth *truth = truth_of(editor);
	struct rgm_error error = {0};
	uint64_t bytes = 0;
	bool good;

	for (uint32_t i = 0; i < edit_count; i++)
		if (edits[i].content != TRUTH_NONE)
			bytes += truth->content[edits[i].content].size;
	good = change_begin(&editor->channel, dimension, flags, bytes, &error) == 0;
	if (!good)
		job_tell(editor->changes->job, "cannot begin a change of '%s': %s", dimension,
			error.message);
	for (uint32_t i = 0; good && i < edit_count; i++) {
		const char *layer = truth->text + names[edits[i].name].text;

		if (edits[i].content != TRUTH_NONE) {
			good = put(editor, layer, edits[i].content);
		} else if (change_remove(&editor->channel, layer, &error) != 0) {
			job_tell(editor->changes->job, "cannot remove '%s': %s", layer,
				error.message);
			good = false;
		}
	}
	if (!good)
		change_abort(&editor->channel);
	return good;
}

/* --- publishing: under the lock ----------------------------------------------------------------- */

static bool plan_layers(struct editor *editor, uint32_t commit, uint32_t dimension,
	const struct edit *edits, uint32_t edit_count, bool replace)
{
	struct truth *truth = truth_of(editor);
	bool good = true;

	/* what was not put is gone; what was put gets its change below */
	for (uint32_t i = 0; replace && good && i < truth_name_count(truth, dimension); i++)
		if (change_current(editor->changes, dimension, i) != TRUTH_NONE)
			good = truth_plan_layer(truth, commit, dimension, i, TRUTH_NONE);
	for (uint32_t i = 0; good && i < edit_count; i++)
		good = truth_plan_layer(truth, commit, dimension, edits[i].name, edits[i].content);
	return good;
}

/* The report against what was asked. */
static void compare_report(struct editor *editor, const struct rgm_load_report *report,
	const struct edit *edits, uint32_t edit_count, bool replace)
{
	const struct truth *truth = truth_of(editor);
	uint64_t put = 0, removed = 0, bytes = 0;

	for (uint32_t i = 0; i < edit_count; i++)
		if (edits[i].content == TRUTH_NONE) {
			removed++;
		} else {
			put++;
			bytes += truth->content[edits[i].content].size;
		}
	if (report->layers_put != put || report->bytes != bytes ||
		(!replace && report->layers_removed != removed))
		job_tell(editor->changes->job,
			"a commit reports %llu layers put, %llu removed, %llu bytes; "
			"must be %llu, %llu, %llu",
			(unsigned long long)report->layers_put,
			(unsigned long long)report->layers_removed,
			(unsigned long long)report->bytes, (unsigned long long)put,
			(unsigned long long)removed, (unsigned long long)bytes);
	atomic_fetch_add(&editor->changes->bytes, bytes);
	atomic_fetch_add(&editor->changes->layers, put);
}

/* Commit what was prepared and planned as `commit`. */
static bool publish(struct editor *editor, uint32_t commit, uint32_t dimension,
	const struct edit *edits, uint32_t edit_count, bool replace)
{
	struct rgm_load_report report = {0};
	struct rgm_error error = {0};

	truth_planned(truth_of(editor), commit);
	if (change_commit(&editor->channel, &report, &error) != 0) {
		job_tell(editor->changes->job, "cannot commit a change of '%s': %s",
			name_now(editor, dimension), error.message);
		return false;
	}
	truth_record(truth_of(editor), commit, report.version);
	compare_report(editor, &report, edits, edit_count, replace);
	atomic_fetch_add(&editor->changes->commits, 1);
	return true;
}

static bool full(struct editor *editor)
{
	job_tell(editor->changes->job, "the history is full: run it for less long");
	change_abort(&editor->channel);
	return false;
}

bool change_layers(struct editor *editor, uint32_t dimension, const struct edit *edits,
	uint32_t edit_count, bool replace)
{
	struct truth *truth = truth_of(editor);
	bool good;
	uint32_t commit;

	if (!prepare(editor, name_now(editor, dimension), replace ? RGM_LOAD_REPLACE : 0,
		    truth_name(truth, dimension, 0), edits, edit_count))
		return false;
	pthread_mutex_lock(&editor->changes->lock);
	commit = truth_plan(truth);
	good = commit != TRUTH_NEVER &&
	       plan_layers(editor, commit, dimension, edits, edit_count, replace);
	if (good)
		good = publish(editor, commit, dimension, edits, edit_count, replace);
	else
		full(editor);
	pthread_mutex_unlock(&editor->changes->lock);
	return good;
}

bool change_load_new(struct editor *editor, enum rgm_load_flags flags, uint32_t family,
	const char *name, const struct edit *edits, uint32_t edit_count, uint32_t *ret_dimension)
{
	struct truth *truth = truth_of(editor);
	uint32_t commit, dimension = TRUTH_NONE;
	bool good;

	if (!prepare(editor, name, flags, &truth->name[truth->family[family].first_name], edits,
		    edit_count))
		return false;
	pthread_mutex_lock(&editor->changes->lock);
	commit = truth_plan(truth);
	if (commit != TRUTH_NEVER)
		dimension = truth_plan_create(truth, commit, family, name);
	good = dimension != TRUTH_NONE &&
	       plan_layers(editor, commit, dimension, edits, edit_count, false);
	if (good)
		good = publish(editor, commit, dimension, edits, edit_count, true);
	else
		full(editor);
	pthread_mutex_unlock(&editor->changes->lock);
	*ret_dimension = dimension;
	return good;
}

bool change_nothing(
	struct editor *editor, uint32_t dimension, const struct edit *edits, uint32_t edit_count)
{
	if (!prepare(editor, name_now(editor, dimension), 0,
		    truth_name(truth_of(editor), dimension, 0), edits, edit_count))
		return false;
	change_abort(&editor->channel);
	atomic_fetch_add(&editor->changes->aborts, 1);
	return true;
}

/* --- whole dimensions --------------------------------------------------------------------------- */

/* After a call that publishes and does not tell its version. Nobody else commits: we have the lock. */
static bool record_current(struct editor *editor, uint32_t commit, int rc, const char *what,
	const char *name, struct rgm_error *error)
{
	uint64_t version = 0;

	if (rc == 0)
		rc = channel_version(&editor->channel, &version, error);
	if (rc != 0) {
		job_tell(editor->changes->job, "cannot %s '%s': %s", what, name, error->message);
		return false;
	}
	truth_record(truth_of(editor), commit, version);
	atomic_fetch_add(&editor->changes->commits, 1);
	return true;
}

bool change_create_empty(
	struct editor *editor, uint32_t family, const char *name, uint32_t *ret_dimension)
{
	struct truth *truth = truth_of(editor);
	struct rgm_error error = {0};
	uint32_t commit, dimension;
	bool good;

	pthread_mutex_lock(&editor->changes->lock);
	commit = truth_plan(truth);
	dimension =
		commit == TRUTH_NEVER ? TRUTH_NONE : truth_plan_create(truth, commit, family, name);
	if (dimension == TRUTH_NONE) {
		good = full(editor);
	} else {
		truth_planned(truth, commit);
		good = record_current(editor, commit,
			channel_create(&editor->channel, name, &error), "create", name, &error);
	}
	pthread_mutex_unlock(&editor->changes->lock);
	*ret_dimension = dimension;
	return good;
}

bool change_rename(struct editor *editor, uint32_t dimension, const char *name)
{
	struct truth *truth = truth_of(editor);
	struct rgm_error error = {0};
	char from[RGM_NAME_MAX + 1];
	uint32_t commit;
	bool good;

	pthread_mutex_lock(&editor->changes->lock);
	snprintf(from, sizeof(from), "%s", name_now(editor, dimension));
	commit = truth_plan(truth);
	if (commit == TRUTH_NEVER || !truth_plan_rename(truth, commit, dimension, name)) {
		good = full(editor);
	} else {
		truth_planned(truth, commit);
		good = record_current(editor, commit,
			channel_rename(&editor->channel, from, name, &error), "rename", from,
			&error);
	}
	pthread_mutex_unlock(&editor->changes->lock);
	return good;
}

bool change_drop(struct editor *editor, uint32_t dimension)
{
	struct truth *truth = truth_of(editor);
	struct rgm_error error = {0};
	uint32_t commit;
	bool good;

	pthread_mutex_lock(&editor->changes->lock);
	commit = truth_plan(truth);
	if (commit == TRUTH_NEVER) {
		good = full(editor);
	} else {
		truth_plan_drop(truth, commit, dimension);
		truth_planned(truth, commit);
		good = record_current(editor, commit,
			channel_drop(&editor->channel, name_now(editor, dimension), &error), "drop",
			name_now(editor, dimension), &error);
	}
	pthread_mutex_unlock(&editor->changes->lock);
	return good;
}
