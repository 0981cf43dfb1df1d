/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that changes an instance whose manager is killed again and again, and knows what has to be
 * there: all that was acknowledged, and of the one change that was not, all or nothing.
 */
#ifndef TESTS_READER_RESTARTS_WRITER_H
#define TESTS_READER_RESTARTS_WRITER_H

#include "tests/support/instance.h"

#define EXTRAS 6u

/* Two dimensions that are always there, replaced one after the other, and some that come and go. */
static const struct content restarts_a = {"alpha", 9, 64 * 160, 1000};
static const struct content restarts_b = {"beta", 5, 64 * 1000, 2000};

/* A dimension as it is, or as it will be. */
struct extra {
	bool there;
	char letter; /* of its name, which a rename changes */
	unsigned layers;
	uint64_t generation;
};

struct writer {
	struct instance *instance;
	uint64_t random;
	uint64_t a, b; /* acknowledged generations */
	struct extra extras[EXTRAS];
	/* Shared with the test. */
	struct writer_board {
		uint64_t stop; /* atomic, as all of them */
		uint64_t pause, paused;
		uint64_t acknowledged, cut, applied;
	} * board;
};

/* What tells that the manager died: before the call, or in the middle of it. */
static inline bool writer_died(int rc)
{
	return rc == RGM_ENOMANAGER || rc == RGM_EGONE;
}

static inline struct content extra_content(unsigned slot, const struct extra *extra, char name[8])
{
	snprintf(name, 8, "%c%u", extra->letter, slot);
	return (struct content){name, extra->layers, 8192, 3000 + 100ull * slot};
}

/* --- Changes that may be cut short ------------------------------------------------------------- */

static inline int writer_control(
	struct writer *writer, struct rgm_control **ret_control, struct rgm_error *error)
{
	struct rgm_control_options options = {.size = sizeof options,
		.socket = writer->instance->socket,
		.timeout_ms = SUPPORT_LIMIT_MS};
	return rgm_control_open(writer->instance->name, &options, ret_control, error);
}

static inline int writer_put(struct writer *writer, const struct content *content,
	uint64_t generation, struct rgm_error *error)
{
	struct rgm_load_options options = {
		.size = sizeof options, .flags = RGM_LOAD_CREATE | RGM_LOAD_REPLACE};
	static char bytes[64 * 1000];
	struct rgm_control *control;
	struct rgm_load *load;
	char name[LAYER_NAME_BYTES];
	int rc = writer_control(writer, &control, error);
	if (rc)
		return rc;
	rc = rgm_load_begin(control, content->dimension, &options, &load, error);
	if (rc == 0) {
		for (unsigned layer = 0; rc == 0 && layer < content->layers; layer++) {
			pattern_fill(bytes, content->bytes, content->salt + layer, generation);
			layer_name(name, layer);
			rc = rgm_load_bytes(load, name, bytes, content->bytes, NULL, error);
		}
		if (rc)
			rgm_load_abort(load);
		else
			rc = rgm_load_commit(load, NULL, error);
	}
	rgm_control_close(control);
	return rc;
}

/* From one state of an extra dimension to another: created, changed, renamed or dropped. */
static inline int writer_turn(struct writer *writer, unsigned slot, const struct extra *from,
	const struct extra *to, struct rgm_error *error)
{
	char old_name[8], new_name[8];
	struct content content = extra_content(slot, to, new_name);
	struct rgm_control *control;
	extra_content(slot, from, old_name);
	if (to->there && (!from->there || to->generation != from->generation))
		return writer_put(writer, &content, to->generation, error);
	int rc = writer_control(writer, &control, error);
	if (rc)
		return rc;
	rc = to->there ? rgm_control_rename(control, old_name, new_name, error)
	               : rgm_control_drop(control, old_name, false, NULL, error);
	rgm_control_close(control);
	return rc;
}

static inline struct extra writer_choose(struct writer *writer, const struct extra *from)
{
	struct extra to = *from;
	if (!from->there || support_below(&writer->random, 3) == 0) {
		to.there = true;
		to.generation++;
		/* Some need another extent. */
		to.layers = 1 + (unsigned)support_below(&writer->random,
					support_below(&writer->random, 8) ? 20 : 600);
	} else if (support_below(&writer->random, 2)) {
		to.letter = from->letter == 'x' ? 'y' : 'x';
	} else {
		to.there = false;
	}
	return to;
}

/* --- What is there ------------------------------------------------------------------------------ */

/* Attach, however often the manager dies meanwhile. */
static inline void restarts_attach(struct reader *reader, const struct instance *instance,
	const struct rgm_attach_options *wanted)
{
	struct rgm_attach_options options = *wanted;
	struct rgm_session_info info = {.size = sizeof info};
	struct rgm_error error;
	int rc;
	options.socket = instance->socket;
	options.timeout_ms = SUPPORT_LIMIT_MS;
	uint64_t until = support_now_ms() + SUPPORT_LIMIT_MS;
	while ((rc = rgm_session_attach(instance->name, &options, &reader->session, &error)) != 0) {
		if (!writer_died(rc) || support_now_ms() > until)
			must(rc, &error);
		support_sleep_ms(1);
	}
	must(rgm_slot_open(reader->session, &reader->slot, &error), &error);
	must(rgm_session_info(reader->session, &info, &error), &error);
	reader->number = info.number;
}

/* The same for a mapping, by the session that there is. False: there is no such dimension. */
static inline bool restarts_map(struct reader *reader, const char *name)
{
	uint64_t until = support_now_ms() + SUPPORT_LIMIT_MS;
	struct rgm_error error;
	int rc;
	while ((rc = rgm_map(reader->session, name, &error)) != 0 && rc != RGM_ENODIM) {
		if (!writer_died(rc) || support_now_ms() > until)
			must(rc, &error);
		support_sleep_ms(1);
	}
	return rc == 0;
}

/* The generation that is there of a content, 0 if the dimension is not. Bytes that are wrong end it. */
static inline uint64_t writer_find(struct reader *reader, const struct content *content)
{
	if (!restarts_map(reader, content->dimension))
		return 0;
	uint64_t generation = reader_generation(reader, content);
	REQUIRE(generation != 0);
	return generation;
}

static inline bool extra_is(struct reader *reader, unsigned slot, const struct extra *extra)
{
	struct extra other = *extra;
	char name[8], other_name[8];
	struct content content = extra_content(slot, extra, name);
	other.letter = extra->letter == 'x' ? 'y' : 'x';
	extra_content(slot, &other, other_name);
	if (restarts_map(reader, other_name))
		return false;
	if (!restarts_map(reader, name))
		return !extra->there;
	must(rgm_pin(reader->slot), NULL);
	struct rgm_layers view;
	must(rgm_layers_open(reader->slot, name, &view, NULL), NULL);
	uint64_t generation = view_generation(&view, &content);
	must(rgm_unpin(reader->slot), NULL);
	return extra->there && generation == extra->generation;
}

/* All of it. */
static inline void writer_check(struct writer *writer, struct reader *reader)
{
	REQUIRE_EQUAL(writer_find(reader, &restarts_a), writer->a);
	REQUIRE_EQUAL(writer_find(reader, &restarts_b), writer->b);
	for (unsigned slot = 0; slot < EXTRAS; slot++)
		REQUIRE(extra_is(reader, slot, &writer->extras[slot]));
}

/* --- One change, and what became of it ------------------------------------------------------------ */

static inline void writer_count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* The change of a slot was cut short: is it there, wholly, or not at all? Nothing else is different. */
static inline void writer_look_slot(struct writer *writer, unsigned slot, const struct extra *to)
{
	const struct rgm_attach_options options = {.size = sizeof options};
	struct reader reader = {0};
	restarts_attach(&reader, writer->instance, &options);
	if (extra_is(&reader, slot, to)) {
		writer->extras[slot] = *to;
		writer_count(&writer->board->applied);
	}
	writer_check(writer, &reader);
	reader_close(&reader);
}

static inline void writer_change_slot(struct writer *writer)
{
	unsigned slot = (unsigned)support_below(&writer->random, EXTRAS);
	struct extra to = writer_choose(writer, &writer->extras[slot]);
	struct rgm_error error;
	int rc = writer_turn(writer, slot, &writer->extras[slot], &to, &error);
	if (rc == 0) {
		writer->extras[slot] = to;
		writer_count(&writer->board->acknowledged);
		return;
	}
	if (!writer_died(rc))
		must(rc, &error);
	writer_count(&writer->board->cut);
	writer_look_slot(writer, slot, &to);
}

/* One of the two that readers compare. It may be there or not when the call is cut short. */
static inline void writer_advance(
	struct writer *writer, const struct content *content, uint64_t *generation)
{
	const struct rgm_attach_options options = {.size = sizeof options};
	struct reader reader = {0};
	struct rgm_error error;
	int rc = writer_put(writer, content, *generation + 1, &error);
	if (rc == 0) {
		++*generation;
		writer_count(&writer->board->acknowledged);
		return;
	}
	if (!writer_died(rc))
		must(rc, &error);
	writer_count(&writer->board->cut);
	restarts_attach(&reader, writer->instance, &options);
	if (writer_find(&reader, content) == *generation + 1) {
		++*generation;
		writer_count(&writer->board->applied);
	}
	writer_check(writer, &reader);
	reader_close(&reader);
}

/* Until it is told to stop. What it leaves is checked a last time, by a manager that nobody kills. */
static inline void writer_run(struct child *parent, void *context)
{
	struct writer *writer = context;
	struct writer_board *board = writer->board;
	while (!__atomic_load_n(&board->stop, __ATOMIC_ACQUIRE)) {
		uint64_t pause = __atomic_load_n(&board->pause, __ATOMIC_ACQUIRE);
		__atomic_store_n(&board->paused, pause, __ATOMIC_RELEASE);
		if (pause) {
			support_sleep_ms(1);
			continue;
		}
		/* Readers are to see a generation of both, or one more of the first. */
		if (writer->a == writer->b)
			writer_advance(writer, &restarts_a, &writer->a);
		else
			writer_advance(writer, &restarts_b, &writer->b);
		writer_change_slot(writer);
	}
	child_say(parent, 's');
	child_expect(parent, 'c');
	const struct rgm_attach_options options = {.size = sizeof options};
	struct reader reader = {0};
	restarts_attach(&reader, writer->instance, &options);
	writer_check(writer, &reader);
	reader_close(&reader);
}

#endif
