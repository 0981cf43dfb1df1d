/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "regionmgr/cli/nearest.h"

/* A dimension that is dropped and made anew between map and section has to be mapped again; more
 * often than this it is somebody's loop. */
#define MAP_ATTEMPTS 8

static int map_all(struct cli *cli, struct reader *reader, const char *const *names, size_t count,
	struct rgm_error *error)
{
	for (size_t i = 0; i < count; i++) {
		int rc = rgm_map(reader->session, names[i], error);

		if (rc != 0)
			return error != NULL ? cli_explain(cli, names[i], error) : rc;
	}
	return 0;
}

/* Within the section: find and hold each. *ret_at is the name it failed on. */
static int hold_all(struct reader *reader, const char *const *names, size_t count, size_t *ret_at,
	struct rgm_error *error)
{
	for (size_t i = 0; i < count; i++) {
		struct rgm_dimension dimension;
		int rc = rgm_find(reader->slot, names[i], &dimension, error);

		*ret_at = i;
		if (rc == 0)
			rc = rgm_hold_take(reader->slot, &dimension, &reader->holds[i], error);
		if (rc != 0)
			return rc;
		reader->hold_count = i + 1;
	}
	return 0;
}

static void release_all(struct reader *reader)
{
	while (reader->hold_count > 0)
		(void)rgm_hold_release(reader->holds[--reader->hold_count]);
}

static int hold_names(struct cli *cli, struct reader *reader, const char *const *names,
	size_t count, struct rgm_error *error)
{
	size_t at = 0;
	int rc = 0;

	for (int attempt = 0; attempt < MAP_ATTEMPTS; attempt++) {
		int unpinned;

		rc = map_all(cli, reader, names, count, error);
		if (rc != 0)
			return rc;
		rc = rgm_pin(reader->slot);
		if (rc != 0)
			return pool_fail(
				error, rc, "reading '%s': %s", names[0], rgm_error_text(rc));
		rc = hold_all(reader, names, count, &at, error);
		unpinned = rgm_unpin(reader->slot);
		if (rc == 0 && unpinned != 0)
			rc = pool_fail(error, unpinned, "reading '%s': %s", names[0],
				rgm_error_text(unpinned));
		if (rc == 0)
			return 0;
		release_all(reader);
		if (rc != RGM_EAGAIN)
			break;
	}
	return error != NULL ? cli_explain(cli, names[at], error) : rc;
}

int reader_open(struct cli *cli, const char *const *names, size_t count, struct reader *ret_reader,
	struct rgm_error *error)
{
	struct rgm_attach_options options = {.size = sizeof options};
	struct reader reader = {0};
	int rc;

	options.socket = cli->socket;
	options.slots = 1;
	options.holds = count > 256 ? (uint32_t)count : 0;
	options.timeout_ms = (uint32_t)settings_number(&cli->settings, "timeout");
	reader.holds = calloc(count + 1, sizeof(*reader.holds));
	if (reader.holds == NULL)
		return pool_fail(error, -ENOMEM, "no memory for %zu holds", count);
	rc = rgm_session_attach(cli->instance, &options, &reader.session, error);
	if (rc != 0)
		cli_explain(cli, NULL, error);
	if (rc == 0)
		rc = rgm_slot_open(reader.session, &reader.slot, error);
	if (rc == 0)
		rc = hold_names(cli, &reader, names, count, error);
	if (rc != 0) {
		(void)reader_close(&reader, NULL);
		return rc;
	}
	*ret_reader = reader;
	return 0;
}

int reader_close(struct reader *reader, struct rgm_error *error)
{
	int rc = 0;

	while (reader->hold_count > 0) {
		int released = rgm_hold_release(reader->holds[--reader->hold_count]);

		if (released != 0 && rc == 0)
			rc = pool_fail(error, released, "what was read is void: %s",
				rgm_error_text(released));
	}
	rgm_slot_close(reader->slot);
	rgm_session_detach(reader->session);
	free(reader->holds);
	memset(reader, 0, sizeof *reader);
	return rc;
}

int reader_end(struct reader *reader, int rc, struct rgm_error *error)
{
	struct rgm_error told;
	int closed = reader_close(reader, &told);

	if (closed == 0 || (rc != 0 && closed != RGM_EREVOKED))
		return rc;
	if (error != NULL)
		*error = told;
	return closed;
}

static void nearest_layer(
	const struct reader *reader, size_t index, const char *layer, struct rgm_error *error)
{
	struct rgm_layers layers;
	struct nearest nearest;
	struct rgm_span span;
	const char *name;

	nearest_begin(&nearest, layer);
	if (rgm_layers_open_hold(reader->holds[index], &layers, NULL) == 0) {
		while (rgm_layers_next(&layers, &name, &span))
			nearest_offer(&nearest, name);
	}
	if (nearest_found(&nearest))
		cli_hint(error, "did you mean '%s'?", nearest.best);
}

int reader_layer(const struct reader *reader, size_t index, const char *dimension,
	const char *layer, struct rgm_layer *ret_layer, struct rgm_error *error)
{
	struct rgm_layers layers;
	int rc = rgm_layers_open_hold(reader->holds[index], &layers, error);

	if (rc != 0)
		return rc;
	rc = rgm_layers_get(&layers, layer, ret_layer);
	if (rc == 0)
		return 0;
	pool_fail(error, rc, "no layer '%s' in dimension '%s' (version %llu)", layer, dimension,
		(unsigned long long)rgm_layers_version(&layers));
	nearest_layer(reader, index, layer, error);
	if (error != NULL && error->hint[0] == '\0')
		cli_hint(error, "'regionctl show %s --layers' lists them", dimension);
	return rc;
}

void reader_explain(
	struct cli *cli, const char *dimension, const char *layer, struct rgm_error *error)
{
	struct reader reader;
	struct rgm_layers layers;
	struct rgm_layer found;

	if (error->code != RGM_ENOLAYER || error->hint[0] != '\0')
		return;
	if (reader_open(cli, &dimension, 1, &reader, NULL) != 0)
		return;
	if (rgm_layers_open_hold(reader.holds[0], &layers, NULL) == 0 &&
		rgm_layers_get(&layers, layer, &found) != 0)
		nearest_layer(&reader, 0, layer, error);
	(void)reader_close(&reader, NULL);
}
