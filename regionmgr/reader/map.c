/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mapping regions into this process and unmapping the dropped ones.
 *
 * A window is unmapped when its dimension is gone in some version D, no hold of this process is on it,
 * and, after a full barrier, every slot word of this process is 0 or at least D. Until then it can be
 * found: a section that sees the dimension finds its mapping, whatever others learned meanwhile. After
 * that nobody looks for it: a section that begins sees D or later, which does not have its id. Its node
 * is taken out of the list, and freed after a grace period of this process's liburcu, since who looks
 * for another dimension of the same index may stand on it.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/guard.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/reader/reader.h"

static void free_mapping(struct rcu_head *head)
{
	free(caa_container_of(head, struct mapping, rcu));
}

static void unmap(struct mapping *mapping)
{
	if (mapping->guarded)
		guard_remove(mapping->base);
	os_unmap(mapping->base, mapping->window_bytes);
}

/* The first call starts liburcu's thread: it is not to take the application's signals. */
static void free_later(struct mapping *mapping)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	urcu_bp_call_rcu(&mapping->rcu, free_mapping);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* --- Sweeping --------------------------------------------------------------------------------- */

/* Mark what the version does not have any more. Inside the library's own section. */
static void mark_gone(struct rgm_session *session, uint64_t version)
{
	const struct ipc_top *top = ipc_table_top(session->table, version);
	for (uint32_t i = 0; i < session->mapping_capacity; i++) {
		const struct ipc_dimension *entry = ipc_table_at(session->table, top, i);
		for (struct mapping *mapping = session->mappings[i]; mapping;
			mapping = mapping->older) {
			if (mapping->gone || (entry && entry->id == mapping->dimension))
				continue;
			mapping->gone = version;
			session->gone++;
			session->mapped--;
		}
	}
}

static void sweep_index(struct rgm_session *session, struct mapping **place)
{
	while (*place) {
		struct mapping *mapping = *place;
		if (!mapping->gone || reader_holds_on(session, mapping->dimension) ||
			!reader_slots_past(session, mapping->gone)) {
			place = &mapping->older;
			continue;
		}
		rcu_set_pointer(place, mapping->older);
		session->gone--;
		unmap(mapping);
		free_later(mapping);
	}
}

void reader_sweep(struct rgm_session *session)
{
	uint64_t dropped = load64_acquire(&session->table->dropped);
	if (dropped != atomic_load_explicit(&session->swept, memory_order_relaxed)) {
		uint64_t version = reader_own_enter(session);
		mark_gone(session, version);
		reader_own_exit(session);
		/* `dropped` is stored before the version: seen here, that version is seen too. */
		if (version >= dropped)
			atomic_store_explicit(&session->swept, dropped, memory_order_relaxed);
	}
	for (uint32_t i = 0; session->gone && i < session->mapping_capacity; i++)
		if (session->mappings[i])
			sweep_index(session, &session->mappings[i]);
}

void reader_notice(struct rgm_session *session)
{
	READER_NOT_CANCELLED;
	uint64_t dropped = __atomic_load_n(&session->table->dropped, __ATOMIC_RELAXED);
	if (__builtin_expect(
		    dropped == atomic_load_explicit(&session->swept, memory_order_relaxed), 1))
		return;
	if (pthread_mutex_trylock(&session->lock) == 0) {
		reader_sweep(session);
		pthread_mutex_unlock(&session->lock);
	}
}

/* Room for as many as any manager has: it costs nothing where it is not touched. */
#define MAPPINGS_BYTES (IPC_MAX_DIMENSIONS * sizeof(struct mapping *))

int reader_mappings_create(struct rgm_session *session)
{
	void *mappings = NULL;
	int rc = os_reserve(MAPPINGS_BYTES, &mappings);
	session->mappings = mappings;
	return rc;
}

/* Nobody looks any more: the nodes go at once. */
void reader_unmap_all(struct rgm_session *session)
{
	for (uint32_t i = 0; i < session->mapping_capacity; i++) {
		while (session->mappings[i]) {
			struct mapping *mapping = session->mappings[i];
			session->mappings[i] = mapping->older;
			unmap(mapping);
			free(mapping);
		}
	}
	os_release(session->mappings, MAPPINGS_BYTES);
	session->mappings = NULL;
}

/* --- Mapping ---------------------------------------------------------------------------------- */

/* The window, guarded where the session wants that. */
static int map_window(struct rgm_session *session, struct mapping *mapping, int file,
	const char *name, struct rgm_error *error)
{
	int rc = os_map_window(file, mapping->window_bytes, &mapping->base);
	if (rc) {
		pool_fail(error, rc, "mapping '%s' over a window of %" PRIu64 " bytes: %s", name,
			mapping->window_bytes, strerror(-rc));
		pool_hint(error, "raise the limit on address space (ulimit -v), or create the "
				 "dimension with a smaller maximum");
		return rc;
	}
	if (!session->guard)
		return 0;
	if (guard_add(mapping->base, mapping->window_bytes, false, false, &mapping->damage) == 0) {
		mapping->guarded = true;
		return 0;
	}
	os_unmap(mapping->base, mapping->window_bytes);
	return pool_fail(error, RGM_ELIMIT,
		"mapping '%s': this process has its limit of %u windows with "
		"RGM_ATTACH_GUARD_SIGBUS",
		name, GUARD_MAX);
}

/* The handle from the manager, mapped over its window and closed. Under session.lock. */
static int fetch(struct rgm_session *session, uint64_t dimension, uint32_t index, uint32_t kind,
	const char *name, struct rgm_error *error)
{
	struct ipc_map request = {.dimension = dimension};
	struct ipc_map_reply reply;
	int file = -1;
	ipc_header_init(&request.header, IPC_MAP, 0, sizeof request);
	int rc = reader_call(session, &request.header, &reply, sizeof reply, &file, error);
	if (rc)
		return rc;
	struct mapping *mapping = calloc(1, sizeof *mapping);
	if (!mapping) {
		close(file);
		return pool_fail(error, -ENOMEM, "mapping '%s': no memory", name);
	}
	mapping->dimension = dimension;
	mapping->index = index;
	mapping->kind = kind;
	mapping->window_bytes = reply.window_bytes;
	rc = map_window(session, mapping, file, name, error);
	close(file);
	if (rc) {
		free(mapping);
		return rc;
	}
	mapping->older = session->mappings[index];
	rcu_set_pointer(&session->mappings[index], mapping);
	session->mapped++;
	return 0;
}

/* Under session.lock. The entry is read inside the library's own section, then let go. */
static int map_entry(struct rgm_session *session, uint32_t index, const struct ipc_dimension *entry,
	struct rgm_error *error)
{
	struct ipc_dimension copy = *entry;
	char name[RGM_NAME_MAX + 1] = {0};
	memcpy(name, copy.name, sizeof copy.name);
	reader_own_exit(session);
	reader_sweep(session);
	if (reader_find_mapping(session, index, copy.id))
		return 0;
	return fetch(session, copy.id, index, copy.kind, name, error);
}

int rgm_map(struct rgm_session *session, const char *name, struct rgm_error *error)
{
	READER_NOT_CANCELLED;
	if (reader_forked(session->here))
		return reader_fail_forked(error);
	int rc = ipc_check_name("dimension", name, error);
	if (rc)
		return rc;
	pthread_mutex_lock(&session->lock);
	uint64_t version = reader_own_enter(session);
	uint32_t index;
	const struct ipc_dimension *entry = ipc_table_find(
		session->table, ipc_table_top(session->table, version), name, strlen(name), &index);
	if (entry) {
		rc = map_entry(session, index, entry, error);
	} else {
		reader_own_exit(session);
		rc = pool_fail(error, RGM_ENODIM, "there is no dimension '%s'", name);
	}
	pthread_mutex_unlock(&session->lock);
	return rc;
}

int rgm_map_all(struct rgm_session *session, struct rgm_error *error)
{
	READER_NOT_CANCELLED;
	if (reader_forked(session->here))
		return reader_fail_forked(error);
	int rc = 0;
	pthread_mutex_lock(&session->lock);
	for (uint32_t index = 0; rc == 0; index++) {
		uint64_t version = reader_own_enter(session);
		const struct ipc_top *top = ipc_table_top(session->table, version);
		const struct ipc_dimension *entry = ipc_table_at(session->table, top, index);
		if (!entry || !entry->id) {
			reader_own_exit(session);
			if (!entry)
				break;
			continue;
		}
		rc = map_entry(session, index, entry, error);
		/* Not for us, or dropped a moment ago: the others are. */
		if (rc == RGM_EREFUSED || rc == RGM_ENODIM)
			rc = 0;
	}
	pthread_mutex_unlock(&session->lock);
	return rc;
}

/* --- Looking, inside a section ---------------------------------------------------------------- */

/* The node of an entry, looked up among the session's. */
static int look_up(struct rgm_slot *slot, const struct ipc_dimension *entry, uint32_t index,
	const struct mapping **ret_mapping, struct rgm_error *error)
{
	urcu_bp_read_lock();
	const struct mapping *mapping = reader_find_mapping(slot->session, index, entry->id);
	urcu_bp_read_unlock();
	if (!mapping) {
		pool_fail(error, RGM_EAGAIN, "dimension '%.*s' is not mapped in this process",
			(int)entry->name_length, entry->name);
		pool_hint(error, "call rgm_map() outside the section");
		return RGM_EAGAIN;
	}
	/* Beyond the read section the node stays too: it is freed only after it was unmapped, and that
	 * waits for this slot's word. */
	slot->recent[index % SLOT_RECENT] = (struct recent){entry->id, mapping};
	*ret_mapping = mapping;
	return 0;
}

/* Has the guard repaired a fault in this window? Then it shows zeros that nobody wrote. */
static int check_damage(struct rgm_slot *slot, const struct ipc_dimension *entry,
	const struct mapping *mapping, struct rgm_error *error)
{
	if (!slot->guarded) {
		slot->guarded = true;
		slot->hits = guard_hits();
	}
	if (__atomic_load_n(&mapping->damage, __ATOMIC_RELAXED) == 0)
		return 0;
	slot->hits = UINT64_MAX;
	return pool_fail(error, RGM_EIO,
		"dimension '%.*s': its region file was damaged from outside",
		(int)entry->name_length, entry->name);
}

int reader_view(struct rgm_slot *slot, const struct ipc_dimension *entry, uint32_t index,
	const struct mapping **ret_mapping, struct rgm_error *error)
{
	const struct recent *recent = &slot->recent[index % SLOT_RECENT];
	const struct mapping *mapping = recent->mapping;
	if (__builtin_expect(recent->dimension != entry->id, 0)) {
		int rc = look_up(slot, entry, index, &mapping, error);
		if (rc)
			return rc;
	}
	if (__builtin_expect(slot->session->guard, 0)) {
		int rc = check_damage(slot, entry, mapping, error);
		if (rc)
			return rc;
	}
	*ret_mapping = mapping;
	return 0;
}
