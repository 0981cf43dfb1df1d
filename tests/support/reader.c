/* SPDX-License-Identifier: Apache-2.0 */
/* Readers that check every byte. See instance.h. */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

void reader_open(struct reader *reader, const struct instance *instance,
	const struct rgm_attach_options *options)
{
	struct rgm_attach_options own = {.size = sizeof own, .timeout_ms = SUPPORT_LIMIT_MS};
	struct rgm_error error;
	*reader = (struct reader){0};
	if (options) {
		own = *options;
		if (!own.timeout_ms)
			own.timeout_ms = SUPPORT_LIMIT_MS;
	}
	own.socket = instance->socket;
	must(rgm_session_attach(instance->name, &own, &reader->session, &error), &error);
	must(rgm_slot_open(reader->session, &reader->slot, &error), &error);
	struct rgm_session_info info = {.size = sizeof info};
	must(rgm_session_info(reader->session, &info, &error), &error);
	reader->number = info.number;
}

void reader_map(struct reader *reader, const char *name)
{
	struct rgm_error error;
	must(rgm_map(reader->session, name, &error), &error);
}

void reader_close(struct reader *reader)
{
	rgm_slot_close(reader->slot);
	rgm_session_detach(reader->session);
	*reader = (struct reader){0};
}

uint64_t view_generation(struct rgm_layers *view, const struct content *content)
{
	uint64_t generation = 0;
	struct rgm_layer layer;
	unsigned count = 0;
	rgm_layers_seek(view, NULL);
	for (; rgm_layers_next_layer(view, &layer); count++) {
		char name[LAYER_NAME_BYTES];
		layer_name(name, count);
		if (strcmp(layer.name, name) != 0 || layer.data.size != content->bytes)
			return 0;
		uint64_t found =
			pattern_generation(layer.data.data, layer.data.size, content->salt + count);
		if (!found || (generation && found != generation))
			return 0;
		generation = found;
	}
	return count == content->layers ? generation : 0;
}

uint64_t slot_generation(struct rgm_slot *slot, const struct content *content)
{
	struct rgm_layers view;
	struct rgm_error error;
	must(rgm_layers_open(slot, content->dimension, &view, &error), &error);
	return view_generation(&view, content);
}

uint64_t hold_generation(const struct rgm_hold *hold, const struct content *content)
{
	struct rgm_layers view;
	struct rgm_error error;
	must(rgm_layers_open_hold(hold, &view, &error), &error);
	REQUIRE_EQUAL(rgm_layers_version(&view), rgm_hold_version(hold));
	return view_generation(&view, content);
}

uint64_t reader_generation(struct reader *reader, const struct content *content)
{
	must(rgm_pin(reader->slot), NULL);
	uint64_t generation = slot_generation(reader->slot, content);
	must(rgm_unpin(reader->slot), NULL);
	return generation;
}

struct rgm_hold *reader_hold(struct reader *reader, const char *name)
{
	struct rgm_dimension dimension;
	struct rgm_hold *hold;
	struct rgm_error error;
	must(rgm_find(reader->slot, name, &dimension, &error), &error);
	must(rgm_hold_take(reader->slot, &dimension, &hold, &error), &error);
	REQUIRE_EQUAL(rgm_hold_version(hold), rgm_slot_version(reader->slot));
	return hold;
}

struct rgm_hold *reader_take(struct reader *reader, const char *name)
{
	must(rgm_pin(reader->slot), NULL);
	struct rgm_hold *hold = reader_hold(reader, name);
	must(rgm_unpin(reader->slot), NULL);
	return hold;
}
