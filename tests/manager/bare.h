/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager without folder, socket and dimensions: registry, sessions, table and reclaim alone, for
 * tests that drive them by hand; and readers that are nothing but the words of their segment.
 */
#ifndef TESTS_MANAGER_BARE_H
#define TESTS_MANAGER_BARE_H

#include "tests/support/support.h"

#include <sys/mman.h>
#include <unistd.h>

#include "ipc/slot.h"
#include "ipc/socket.h"
#include "ipc/table.h"
#include "pool/os.h"
#include "regionmgr/manager/dimension.h"
#include "regionmgr/manager/reclaim.h"
#include "regionmgr/manager/sessions.h"
#include "regionmgr/manager/table.h"

static inline struct rgm_manager *bare_open(uint32_t max_dimensions, uint64_t version)
{
	struct rgm_error error;
	struct rgm_manager *manager = calloc(1, sizeof *manager);
	REQUIRE(manager);
	manager->pid = getpid();
	manager->max_dimensions = max_dimensions;
	manager->max_readers = 4096;
	manager->membarrier = os_membarrier_usable();
	pthread_mutex_init(&manager->commit, NULL);
	pthread_mutex_init(&manager->log_lock, NULL);
	REQUIRE_EQUAL(os_random(manager->instance_id, sizeof manager->instance_id), 0);
	REQUIRE_EQUAL(registry_create(manager, &manager->registry), 0);
	must(sessions_create(manager, &manager->sessions, &error), &error);
	must(table_create(manager, version, &manager->table, &error), &error);
	REQUIRE_EQUAL(reclaim_create(manager, &manager->reclaim), 0);
	return manager;
}

static inline void bare_close(struct rgm_manager *manager)
{
	reclaim_destroy(manager->reclaim);
	sessions_destroy(manager->sessions);
	registry_destroy(manager);
	table_destroy(manager->table);
	free(manager);
}

/* --- Readers ---------------------------------------------------------------------------------- */

struct bare_reader {
	struct session *session;
	struct ipc_segment *segment;
	size_t bytes;
	struct ipc_slot *slots;
	struct ipc_hold *holds;
};

static inline struct bare_reader bare_attach(
	struct rgm_manager *manager, uint32_t slots, uint32_t holds)
{
	struct bare_reader reader = {0};
	struct peer peer = {.pid = getpid(), .uid = geteuid(), .pidfd = -1};
	struct rgm_error error;
	int table, segment;
	void *base;
	must(sessions_attach(manager, &peer, "bare", slots, holds, &reader.session, &table,
		     &segment, &error),
		&error);
	reader.bytes = session_segment_bytes(reader.session);
	REQUIRE_EQUAL(os_map(segment, reader.bytes, true, &base), 0);
	close(table);
	close(segment);
	reader.segment = base;
	reader.slots = (void *)((char *)base + ipc_slots_offset());
	reader.holds = (void *)((char *)base + ipc_holds_offset(slots + 1));
	store32_release(&reader.segment->slots_used, slots + 1);
	store32_release(&reader.segment->holds_used, holds);
	return reader;
}

/* As the end of the process: the mapping goes, then the connection. */
static inline void bare_detach(struct rgm_manager *manager, struct bare_reader *reader)
{
	os_unmap(reader->segment, reader->bytes);
	sessions_hangup(manager, reader->session);
	sessions_sweep(manager);
}

/* The words of a section, stored as a reader does. Returns its version. */
static inline uint64_t bare_pin(
	struct rgm_manager *manager, struct bare_reader *reader, uint32_t slot)
{
	return ipc_section_enter(table_header(manager->table), &reader->slots[slot], false);
}

static inline void bare_unpin(struct bare_reader *reader, uint32_t slot)
{
	ipc_section_exit(&reader->slots[slot]);
}

#endif
