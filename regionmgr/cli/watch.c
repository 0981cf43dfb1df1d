/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A changed dimension that is not mapped yet is mapped, and looked at again; more often than this its
 * counts are not told. */
#define LOOKS_MAX 8

void watch_look_free(struct watch_look *look)
{
	free(look->rows);
	*look = (struct watch_look){0};
}

const char *watch_word(enum watch_what what)
{
	static const char *const words[] = {"created", "changed", "grown", "renamed", "dropped"};

	return words[what];
}

static int by_id(const void *left, const void *right)
{
	uint64_t a = ((const struct watch_row *)left)->dimension.id;
	uint64_t b = ((const struct watch_row *)right)->dimension.id;

	return a < b ? -1 : a > b;
}

static const struct watch_row *find_row(const struct watch_look *look, uint64_t id)
{
	struct watch_row key = {.dimension = {.id = id}};

	if (look->count == 0)
		return NULL;
	return bsearch(&key, look->rows, look->count, sizeof key, by_id);
}

bool watch_has(const struct watch *watch, size_t name)
{
	for (size_t i = 0; i < watch->before.count; i++) {
		if (watch->before.rows[i].watched == name + 1)
			return true;
	}
	return false;
}

/* By name; or, through renames, as before, until another one has the name. */
static void choose(const struct watch *watch, struct watch_look *look)
{
	for (size_t i = 0; i < look->count; i++) {
		look->rows[i].watched = watch->name_count == 0 ? 1 : 0;
		for (size_t name = 0; name < watch->name_count; name++) {
			if (strcmp(watch->names[name], look->rows[i].name) == 0)
				look->rows[i].watched = name + 1;
		}
	}
	for (size_t i = 0; i < look->count && watch->name_count > 0; i++) {
		const struct watch_row *old = find_row(&watch->before, look->rows[i].dimension.id);
		bool taken = false;

		if (old == NULL || old->watched == 0 || look->rows[i].watched != 0)
			continue;
		for (size_t j = 0; j < look->count; j++)
			taken = taken ||
			        strcmp(watch->names[old->watched - 1], look->rows[j].name) == 0;
		look->rows[i].watched = taken ? 0 : old->watched;
	}
}

static int add_row(struct watch_look *look, size_t *capacity, const struct rgm_dimension_info *info)
{
	struct watch_row *row;

	if (look->count == *capacity) {
		size_t more = *capacity == 0 ? 64 : *capacity * 2;
		struct watch_row *rows = realloc(look->rows, more * sizeof *rows);

		if (rows == NULL)
			return -ENOMEM;
		look->rows = rows;
		*capacity = more;
	}
	row = &look->rows[look->count++];
	*row = (struct watch_row){.dimension = info->dimension,
		.generation = info->generation,
		.changed = info->changed,
		.region_bytes = info->region_bytes};
	memcpy(row->name, info->name, sizeof row->name);
	return 0;
}

static bool differs(const struct watch_row *row, const struct watch_row *old, uint64_t from)
{
	if (old == NULL)
		return row->changed > from;
	return row->generation != old->generation || row->region_bytes != old->region_bytes ||
	       strcmp(row->name, old->name) != 0;
}

/* Within the section: what is in those that differ. */
static void count_layers(const struct watch *watch, struct watch_look *look, uint64_t from)
{
	for (size_t i = 0; i < look->count; i++) {
		struct watch_row *row = &look->rows[i];
		const struct watch_row *old = find_row(&watch->before, row->dimension.id);
		struct rgm_layers layers;
		int rc;

		if (row->watched == 0)
			continue;
		if (!differs(row, old, from)) {
			row->counted = old != NULL && old->counted;
			row->bytes = old != NULL ? old->bytes : 0;
			row->layers = old != NULL ? old->layers : 0;
			continue;
		}
		rc = rgm_layers_open_dimension(watch->slot, &row->dimension, &layers, NULL);
		row->unmapped = rc == RGM_EAGAIN;
		if (rc != 0)
			continue;
		row->counted = true;
		row->bytes = rgm_layers_bytes(&layers);
		row->layers = rgm_layers_count(&layers);
	}
}

/* One section. */
static int look_once(
	struct watch *watch, uint64_t from, struct watch_look *look, struct rgm_error *error)
{
	struct rgm_dimension_info info = {.size = sizeof info};
	uint32_t cursor = 0;
	size_t capacity = 0;
	int rc = rgm_pin(watch->slot), more = 0, unpinned;

	if (rc != 0)
		return pool_fail(error, rc, "watching: %s", rgm_error_text(rc));
	look->version = rgm_slot_version(watch->slot);
	while (rc == 0 && (more = rgm_next_dimension(watch->slot, &cursor, &info)) > 0)
		rc = add_row(look, &capacity, &info);
	if (rc == 0)
		rc = more;
	if (rc == 0 && look->count > 0) {
		qsort(look->rows, look->count, sizeof *look->rows, by_id);
		choose(watch, look);
		count_layers(watch, look, from);
	}
	unpinned = rgm_unpin(watch->slot);
	if (rc == 0)
		rc = unpinned;
	return rc == 0 ? 0 : pool_fail(error, rc, "watching: %s", rgm_error_text(rc));
}

/* Map what could not be counted. False: there is none, or none that this process may map. */
static bool map_missing(struct watch *watch, const struct watch_look *look)
{
	bool mapped = false;

	for (size_t i = 0; i < look->count; i++) {
		if (look->rows[i].unmapped &&
			rgm_map(watch->session, look->rows[i].name, NULL) == 0)
			mapped = true;
	}
	return mapped;
}

/* A look with the counts of what differs, as far as this process may see them. */
static int take_look(
	struct watch *watch, uint64_t from, struct watch_look *ret_look, struct rgm_error *error)
{
	for (int looks = 1;; looks++) {
		struct watch_look look = {0};
		int rc = look_once(watch, from, &look, error);

		if (rc == 0 && (looks == LOOKS_MAX || !map_missing(watch, &look))) {
			*ret_look = look;
			return 0;
		}
		watch_look_free(&look);
		if (rc != 0)
			return rc;
	}
}

static void tell_row(uint64_t version, const struct watch_row *row, const struct watch_row *old,
	watch_tell tell, void *context)
{
	if (strcmp(row->name, old->name) != 0)
		tell(context, WATCH_RENAMED, version, row, old);
	if (row->generation != old->generation)
		tell(context, WATCH_CHANGED, row->changed, row, old);
	if (row->region_bytes > old->region_bytes)
		tell(context, WATCH_GROWN, row->changed, row, old);
}

/* Both are in the order of ids. */
static void compare(const struct watch_look *before, const struct watch_look *now, watch_tell tell,
	void *context)
{
	size_t i = 0, j = 0;

	while (i < before->count || j < now->count) {
		const struct watch_row *old = i < before->count ? &before->rows[i] : NULL;
		const struct watch_row *row = j < now->count ? &now->rows[j] : NULL;

		if (row == NULL || (old != NULL && old->dimension.id < row->dimension.id)) {
			i++;
			if (old != NULL && old->watched != 0)
				tell(context, WATCH_DROPPED, now->version, old, old);
		} else if (old == NULL || row->dimension.id < old->dimension.id) {
			j++;
			if (row->watched != 0)
				tell(context, WATCH_CREATED, row->changed, row, NULL);
		} else {
			i++;
			j++;

			/* of one that got a NAME by a rename, or lost it, that is told too */
			if (row->watched != 0 || old->watched != 0)
				tell_row(now->version, row, old, tell, context);
		}
	}
}

int watch_begin(struct watch *watch, uint64_t from, struct rgm_error *error)
{
	return take_look(watch, from, &watch->before, error);
}

void watch_since(const struct watch *watch, uint64_t from, watch_tell tell, void *context)
{
	for (size_t i = 0; i < watch->before.count; i++) {
		const struct watch_row *row = &watch->before.rows[i];

		if (row->watched != 0 && row->changed > from)
			tell(context, row->generation == 1 ? WATCH_CREATED : WATCH_CHANGED,
				row->changed, row, NULL);
	}
}

int watch_again(struct watch *watch, watch_tell tell, void *context, struct rgm_error *error)
{
	struct watch_look now;
	int rc = take_look(watch, 0, &now, error);

	if (rc != 0)
		return rc;
	compare(&watch->before, &now, tell, context);
	watch_look_free(&watch->before);
	watch->before = now;
	return 0;
}
