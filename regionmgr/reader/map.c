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

/* --- Places ----------------------------------------------------------------------------------- */

static void clear_place(struct rgm_session *session, const struct mapping *mapping)
{
	struct place *place = &session->places[mapping->index];
	if (place->dimension == mapping->dimension)
		__atomic_store_n(&place->dimension, 0, __ATOMIC_RELEASE);
}

/* The 0 is seen by whoever sees the new base, the base by whoever sees the new dimension. */
static void set_place(struct rgm_session *session, const struct mapping *mapping)
{
	struct place *place = &session->places[mapping->index];
	__atomic_store_n(&place->dimension, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&place->base, mapping->base, __ATOMIC_RELEASE);
	__atomic_store_n(&place->dimension, mapping->dimension, __ATOMIC_RELEASE);
}

/* --- Sweeping --------------------------------------------------------------------------------- */

/* Mark what the version does not have any more. Inside the library's own section. False: the version
 * was taken back meanwhile, as from a process that was stopped in here. */
static bool mark_gone(struct rgm_session *session, uint64_t version)
{
	struct ipc_index index = ipc_index_open(session->table, version);
	for (uint32_t i = 0; i < session->mapping_capacity; i++) {
		if (!session->mappings[i])
			continue;
		const struct ipc_dimension *entry = ipc_index_at(&index, i);
		uint64_t id = entry ? load64_relaxed(&entry->id) : 0;
		if (ipc_section_revoked(session->revoked, version))
			return false;
		for (struct mapping *mapping = session->mappings[i]; mapping;
			mapping = mapping->older) {
			if (mapping->gone || id == mapping->dimension)
				continue;
			mapping->gone = version;
			session->gone++;
			session->mapped--;
		}
	}
	return true;
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
		clear_place(session, mapping);
		unmap(mapping);
		free_later(mapping);
	}
}

void reader_sweep(struct rgm_session *session)
{
	uint64_t dropped = load64_acquire(&session->table->dropped);
	if (dropped != atomic_load_explicit(&session->swept, memory_order_relaxed)) {
		uint64_t version = reader_own_enter(session);
		bool whole = mark_gone(session, version);
		reader_own_exit(session);
		/* `dropped` is stored before the version: seen here, that version is seen too. */
		if (whole && version >= dropped)
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
#define PLACES_BYTES   (IPC_MAX_DIMENSIONS * sizeof(struct place))

int reader_mappings_create(struct rgm_session *session)
{
	void *mappings = NULL, *places = NULL;
	int rc = os_reserve(MAPPINGS_BYTES, &mappings);
	if (rc == 0)
		rc = os_reserve(PLACES_BYTES, &places);
	session->mappings = mappings;
	session->places = places;
	return rc;
}

/* Nobody looks any more: the nodes go at once. */
void reader_unmap_all(struct rgm_session *session)
{
	for (uint32_t i = 0; session->mappings && i < session->mapping_capacity; i++) {
		while (session->mappings[i]) {
			struct mapping *mapping = session->mappings[i];
			session->mappings[i] = mapping->older;
			unmap(mapping);
			free(mapping);
		}
	}
	os_release(session->mappings, MAPPINGS_BYTES);
	os_release(session->places, PLACES_BYTES);
	session->mappings = NULL;
	session->places = NULL;
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
	/* Look-ups of a guarded session come by the list, where damage is asked for. */
	if (!session->guard)
		set_place(session, mapping);
	session->mapped++;
	return 0;
}

/* What mapping needs to know of an entry. */
struct wanted {
	uint64_t dimension; /* 0: there is none */
	uint32_t index;
	uint32_t kind;
	char name[RGM_NAME_MAX + 1];
};

/* Look in the library's own section, by name or, where that is NULL, by wanted->index. Again if the
 * version was taken back in the middle. False: beyond the table's end. Under session.lock. */
static bool look(struct rgm_session *session, const char *name, struct wanted *wanted)
{
	for (;;) {
		uint64_t version = reader_own_enter(session);
		struct ipc_index index = ipc_index_open(session->table, version);
		const struct ipc_dimension *entry =
			name ? ipc_index_find(&index, name, strlen(name), &wanted->index)
			     : ipc_index_at(&index, wanted->index);
		wanted->dimension = entry ? load64_relaxed(&entry->id) : 0;
		wanted->kind = entry ? load32_relaxed(&entry->kind) : 0;
		if (entry)
			memcpy(wanted->name, entry->name, sizeof entry->name);
		bool void_now = ipc_section_revoked(session->revoked, version);
		reader_own_exit(session);
		if (!void_now)
			return entry != NULL;
	}
}

/* Under session.lock. */
static int map_wanted(
	struct rgm_session *session, const struct wanted *wanted, struct rgm_error *error)
{
	reader_sweep(session);
	if (reader_find_mapping(session, wanted->index, wanted->dimension))
		return 0;
	return fetch(session, wanted->dimension, wanted->index, wanted->kind, wanted->name, error);
}

int rgm_map(struct rgm_session *session, const char *name, struct rgm_error *error)
{
	READER_NOT_CANCELLED;
	if (reader_forked(session->here))
		return reader_fail_forked(error);
	int rc = ipc_check_name("dimension", name, error);
	if (rc)
		return rc;
	struct wanted wanted = {0};
	pthread_mutex_lock(&session->lock);
	if (look(session, name, &wanted))
		rc = map_wanted(session, &wanted, error);
	else
		rc = pool_fail(error, RGM_ENODIM, "there is no dimension '%s'", name);
	pthread_mutex_unlock(&session->lock);
	return rc;
}

int rgm_map_all(struct rgm_session *session, struct rgm_error *error)
{
	READER_NOT_CANCELLED;
	if (reader_forked(session->here))
		return reader_fail_forked(error);
	struct wanted wanted = {0};
	int rc = 0;
	pthread_mutex_lock(&session->lock);
	for (; rc == 0 && look(session, NULL, &wanted); wanted.index++) {
		if (!wanted.dimension)
			continue;
		rc = map_wanted(session, &wanted, error);
		/* Not for us, or dropped a moment ago: the others are. */
		if (rc == RGM_EREFUSED || rc == RGM_ENODIM)
			rc = 0;
	}
	pthread_mutex_unlock(&session->lock);
	return rc;
}

/* --- Looking, inside a section ---------------------------------------------------------------- */

/* Has the guard repaired a fault in this window? Then it shows zeros that nobody wrote. */
static int check_damage(struct rgm_slot *slot, const struct ipc_dimension *entry,
	const struct mapping *mapping, struct rgm_error *error)
{
	slot_saw_guarded(slot);
	if (__atomic_load_n(&mapping->damage, __ATOMIC_RELAXED) == 0)
		return 0;
	slot->state->hits = UINT64_MAX;
	return pool_fail(error, RGM_EIO,
		"dimension '%.*s': its region file was damaged from outside", RGM_NAME_MAX,
		entry->name);
}

/* Beyond the RCU read section the node stays too: it is freed only after its window was unmapped, and
 * that waits for this slot's word. */
int reader_view(struct rgm_slot *slot, const struct ipc_dimension *entry, uint32_t index,
	const struct mapping **ret_mapping, struct rgm_error *error)
{
	struct rgm_session *session = slot->state->session;
	urcu_bp_read_lock();
	const struct mapping *mapping =
		reader_find_mapping(session, index, load64_relaxed(&entry->id));
	urcu_bp_read_unlock();
	if (!mapping) {
		pool_fail(error, RGM_EAGAIN, "dimension '%.*s' is not mapped in this process",
			RGM_NAME_MAX, entry->name);
		pool_hint(error, "call rgm_map() outside the section");
		return RGM_EAGAIN;
	}
	if (session->guard) {
		int rc = check_damage(slot, entry, mapping, error);
		if (rc)
			return rc;
	}
	*ret_mapping = mapping;
	return 0;
}
