/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An instance in a temporary folder, served by the manager library in this process or, where a test
 * asks for it or RGM_TEST_DAEMON=1 says so, by regionmgrd as a child process; layers with known bytes in
 * it; readers of it. Everything goes through the public API; instance->manager is for looking inside.
 */
#ifndef TESTS_SUPPORT_INSTANCE_H
#define TESTS_SUPPORT_INSTANCE_H

#include "tests/support/support.h"

#include <regionmgr/layers.h>
#include <regionmgr/manager.h>
#include <regionmgr/session.h>

struct instance {
	char name[RGM_NAME_MAX + 1];
	char folder[64];
	char socket[96];
	char id[33];
	bool daemon;                        /* regionmgrd; else embedded */
	struct rgm_manager_options options; /* of the next start */
	const char *extra[8];               /* arguments of regionmgrd, ended by NULL */
	struct rgm_manager *manager;        /* embedded and running */
	struct child process;               /* regionmgrd, running */
};

/* Make the folder; nothing runs yet. `daemon`: see above. */
void instance_prepare(struct instance *instance, bool daemon);
/* Start the manager and wait until it serves; again after a stop. */
void instance_start(struct instance *instance);
/* Start regionmgrd, and do not wait for anything. */
void instance_begin(struct instance *instance);
/* Start it only to see it fail: its code and sentence (embedded). */
int instance_start_fails(struct instance *instance, struct rgm_error *error);
/* Clean stop: it has to succeed and leave no name in /dev/shm. */
void instance_stop(struct instance *instance);
/* SIGKILL to regionmgrd. */
void instance_kill(struct instance *instance);
/* Stop what runs, remove the folder; no name in /dev/shm is left (with a check only if nothing was
 * killed), and no child. NULL-safe in the sense that an instance never prepared is ignored. */
void instance_end(struct instance *instance);
/* Names in /dev/shm of this instance. */
unsigned instance_shm_names(const struct instance *instance);
unsigned instance_segments(const struct instance *instance); /* those of sessions */
/* Remove them, as RemoveIPC and tidy people do; how many there were. */
unsigned instance_lose_names(const struct instance *instance);

/* Put the SIGBUS handler of the manager and of guarded readers back, which cmocka replaces at the start
 * of each test: in tests, and children of tests, that damage something. */
void instance_guard(void);

/* cmocka fixtures for one static instance each test: `*state` is its address. */
#define INSTANCE_TEST(function)                                                                    \
	cmocka_unit_test_setup_teardown(function, instance_setup, instance_teardown)
int instance_setup(void **state);          /* prepared and started, RGM_TEST_DAEMON decides */
int instance_setup_daemon(void **state);   /* the same with regionmgrd in any case */
int instance_setup_prepared(void **state); /* prepared only */
int instance_teardown(void **state);
#define PREPARED_TEST(function)                                                                    \
	cmocka_unit_test_setup_teardown(function, instance_setup_prepared, instance_teardown)

/* --- Changes ---------------------------------------------------------------------------------- */

/* What a dimension holds: `layers` layers layer-0000 … of `bytes` bytes each (a multiple of 64), all
 * with the pattern of one generation, the layer's number and `salt`. */
struct content {
	const char *dimension;
	unsigned layers;
	size_t bytes;
	uint64_t salt;
};
#define LAYER_NAME_BYTES 24
void layer_name(char name[LAYER_NAME_BYTES], unsigned layer);

/* Replace all of it (creating it if need be) in one version; returns that version. */
uint64_t instance_put(
	struct instance *instance, const struct content *content, uint64_t generation);
/* Replace one layer, leave the others. */
uint64_t instance_put_layer(struct instance *instance, const struct content *content,
	unsigned layer, uint64_t generation);
/* instance_put() that may fail. */
int instance_try_put(struct instance *instance, const struct content *content, uint64_t generation,
	uint64_t *ret_version, struct rgm_error *error);
void instance_create(struct instance *instance, const char *name);
void instance_drop(struct instance *instance, const char *name);
void instance_rename(struct instance *instance, const char *from, const char *to);

/* --- Looking ---------------------------------------------------------------------------------- */

void instance_show(struct instance *instance, const char *name, struct rgm_dimension_row *ret_row);
void instance_status(struct instance *instance, struct rgm_status *ret_status);
uint64_t instance_counter(struct instance *instance, const char *name);
/* The row of a session; false if there is none. */
bool instance_reader(struct instance *instance, uint64_t number, struct rgm_reader_row *ret_row);
uint32_t instance_readers(struct instance *instance);
/* Retired pages of a dimension. */
uint64_t instance_retired(struct instance *instance, const char *name);
/* Wait until nothing retired is left in the dimension. */
void instance_wait_reclaimed(struct instance *instance, const char *name);
/* Wait until so many sessions are there. */
void instance_wait_readers(struct instance *instance, uint32_t count);

/* --- Readers ---------------------------------------------------------------------------------- */

struct reader {
	struct rgm_session *session;
	struct rgm_slot *slot;
	uint64_t number;
};

/* Attach with a slot. `options` NULL: defaults; the socket is filled in. */
void reader_open(struct reader *reader, const struct instance *instance,
	const struct rgm_attach_options *options);
void reader_map(struct reader *reader, const char *name);
void reader_close(struct reader *reader);
/* All layers of a view are there with the content's bytes, all of one generation: which one; 0 if
 * anything is wrong. */
uint64_t view_generation(struct rgm_layers *view, const struct content *content);
/* The same of a section that is open on the slot. */
uint64_t slot_generation(struct rgm_slot *slot, const struct content *content);
uint64_t hold_generation(const struct rgm_hold *hold, const struct content *content);
/* Pin, look, unpin. */
uint64_t reader_generation(struct reader *reader, const struct content *content);
/* Inside the open section: a hold on the dimension. */
struct rgm_hold *reader_hold(struct reader *reader, const char *name);
/* Pin, hold, unpin. */
struct rgm_hold *reader_take(struct reader *reader, const char *name);

#endif
