/* SPDX-License-Identifier: Apache-2.0 */
/* Changing an instance and looking at it, through the library or the socket. See instance.h. */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>

#include "regionmgr/manager/manager.h"

void layer_name(char name[LAYER_NAME_BYTES], unsigned layer)
{
	snprintf(name, LAYER_NAME_BYTES, "layer-%04u", layer);
}

static struct rgm_control *connect_to(const struct instance *instance)
{
	struct rgm_control_options options = {.size = sizeof options, .socket = instance->socket};
	struct rgm_control *control;
	struct rgm_error error;
	must(rgm_control_open(instance->name, &options, &control, &error), &error);
	return control;
}

/* One change, by either way. */
struct change {
	struct rgm_control *control;
	struct rgm_load *load;
	struct rgm_writer *writer;
};

static int change_begin(struct change *change, struct instance *instance, const char *name,
	uint32_t flags, struct rgm_error *error)
{
	struct rgm_load_options options = {.size = sizeof options, .flags = flags};
	*change = (struct change){0};
	if (instance->manager)
		return rgm_writer_begin(instance->manager, name, &options, &change->writer, error);
	change->control = connect_to(instance);
	int rc = rgm_load_begin(change->control, name, &options, &change->load, error);
	if (rc)
		rgm_control_close(change->control);
	return rc;
}

static int change_put(struct change *change, const char *layer, const void *data, size_t bytes,
	struct rgm_error *error)
{
	return change->writer ? rgm_writer_put(change->writer, layer, data, bytes, NULL, error)
	                      : rgm_load_bytes(change->load, layer, data, bytes, NULL, error);
}

static void change_abort(struct change *change)
{
	rgm_writer_abort(change->writer);
	rgm_load_abort(change->load);
	rgm_control_close(change->control);
}

static int change_commit(struct change *change, uint64_t *ret_version, struct rgm_error *error)
{
	struct rgm_load_report report;
	int rc = change->writer ? rgm_writer_commit(change->writer, &report, error)
	                        : rgm_load_commit(change->load, &report, error);
	rgm_control_close(change->control);
	if (rc == 0)
		*ret_version = report.version;
	return rc;
}

static int put_layers(struct change *change, const struct content *content, unsigned first,
	unsigned end, uint64_t generation, struct rgm_error *error)
{
	char name[LAYER_NAME_BYTES];
	void *bytes = malloc(content->bytes);
	int rc = bytes ? 0 : -ENOMEM;
	for (unsigned layer = first; layer < end && rc == 0; layer++) {
		pattern_fill(bytes, content->bytes, content->salt + layer, generation);
		layer_name(name, layer);
		rc = change_put(change, name, bytes, content->bytes, error);
	}
	free(bytes);
	return rc;
}

int instance_try_put(struct instance *instance, const struct content *content, uint64_t generation,
	uint64_t *ret_version, struct rgm_error *error)
{
	struct change change;
	int rc = change_begin(
		&change, instance, content->dimension, RGM_LOAD_CREATE | RGM_LOAD_REPLACE, error);
	if (rc)
		return rc;
	rc = put_layers(&change, content, 0, content->layers, generation, error);
	if (rc) {
		change_abort(&change);
		return rc;
	}
	return change_commit(&change, ret_version, error);
}

uint64_t instance_put(struct instance *instance, const struct content *content, uint64_t generation)
{
	struct rgm_error error;
	uint64_t version = 0;
	must(instance_try_put(instance, content, generation, &version, &error), &error);
	return version;
}

uint64_t instance_put_layer(struct instance *instance, const struct content *content,
	unsigned layer, uint64_t generation)
{
	struct rgm_error error;
	struct change change;
	uint64_t version = 0;
	must(change_begin(&change, instance, content->dimension, 0, &error), &error);
	must(put_layers(&change, content, layer, layer + 1, generation, &error), &error);
	must(change_commit(&change, &version, &error), &error);
	return version;
}

void instance_create(struct instance *instance, const char *name)
{
	struct rgm_error error;
	if (instance->manager) {
		must(rgm_manager_create(instance->manager, name, NULL, &error), &error);
		return;
	}
	struct rgm_control *control = connect_to(instance);
	must(rgm_control_create(control, name, NULL, &error), &error);
	rgm_control_close(control);
}

void instance_drop(struct instance *instance, const char *name)
{
	struct rgm_error error;
	if (instance->manager) {
		must(rgm_manager_drop(instance->manager, name, false, NULL, &error), &error);
		return;
	}
	struct rgm_control *control = connect_to(instance);
	must(rgm_control_drop(control, name, false, NULL, &error), &error);
	rgm_control_close(control);
}

void instance_rename(struct instance *instance, const char *from, const char *to)
{
	struct rgm_error error;
	if (instance->manager) {
		must(rgm_manager_rename(instance->manager, from, to, &error), &error);
		return;
	}
	struct rgm_control *control = connect_to(instance);
	must(rgm_control_rename(control, from, to, &error), &error);
	rgm_control_close(control);
}

/* --- Looking ------------------------------------------------------------------------------------ */

void instance_show(struct instance *instance, const char *name, struct rgm_dimension_row *ret_row)
{
	struct rgm_error error;
	if (instance->manager) {
		must(info_show(instance->manager, name, ret_row, &error), &error);
		return;
	}
	struct rgm_control *control = connect_to(instance);
	must(rgm_control_show(control, name, ret_row, &error), &error);
	rgm_control_close(control);
}

void instance_status(struct instance *instance, struct rgm_status *ret_status)
{
	struct rgm_error error;
	if (instance->manager) {
		info_status(instance->manager, ret_status);
		return;
	}
	struct rgm_control *control = connect_to(instance);
	must(rgm_control_status(control, ret_status, &error), &error);
	rgm_control_close(control);
}

uint64_t instance_counter(struct instance *instance, const char *name)
{
	struct rgm_error error;
	struct rgm_counter *rows = NULL;
	size_t count = 0;
	if (instance->manager) {
		rows = calloc(256, sizeof *rows);
		REQUIRE(rows);
		count = info_stats(instance->manager, 0, rows, 256);
	} else {
		struct rgm_control *control = connect_to(instance);
		must(rgm_control_stats(control, &rows, &count, &error), &error);
		rgm_control_close(control);
	}
	for (size_t i = 0; i < count; i++) {
		if (strcmp(rows[i].name, name) == 0) {
			uint64_t value = rows[i].value;
			free(rows);
			return value;
		}
	}
	support_fail(__FILE__, __LINE__, "there is no counter '%s'", name);
}

/* Freed by the caller. */
static struct rgm_reader_row *all_readers(struct instance *instance, size_t *ret_count)
{
	struct rgm_error error;
	struct rgm_reader_row *rows = NULL;
	if (instance->manager) {
		rows = calloc(2048, sizeof *rows);
		REQUIRE(rows);
		*ret_count = info_readers(instance->manager, 0, rows, 2048);
		return rows;
	}
	struct rgm_control *control = connect_to(instance);
	must(rgm_control_readers(control, &rows, ret_count, &error), &error);
	rgm_control_close(control);
	return rows;
}

bool instance_reader(struct instance *instance, uint64_t number, struct rgm_reader_row *ret_row)
{
	size_t count;
	bool found = false;
	struct rgm_reader_row *rows = all_readers(instance, &count);
	for (size_t i = 0; i < count; i++) {
		if (rows[i].number == number) {
			*ret_row = rows[i];
			found = true;
		}
	}
	free(rows);
	return found;
}

uint32_t instance_readers(struct instance *instance)
{
	size_t count;
	free(all_readers(instance, &count));
	return (uint32_t)count;
}

uint64_t instance_retired(struct instance *instance, const char *name)
{
	struct rgm_dimension_row row;
	instance_show(instance, name, &row);
	return row.retired_pages;
}

void instance_wait_reclaimed(struct instance *instance, const char *name)
{
	WAIT_UNTIL(instance_retired(instance, name) == 0);
}

void instance_wait_readers(struct instance *instance, uint32_t count)
{
	WAIT_UNTIL(instance_readers(instance) == count);
}
