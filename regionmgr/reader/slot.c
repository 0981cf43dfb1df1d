/* SPDX-License-Identifier: Apache-2.0 */
/* Slots and sections: the hot path, and what surrounds it. The argument stands in ipc/slot.h. */
#include <errno.h>
#include <stdlib.h>

#include "ipc/guard.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/reader/reader.h"

/* --- The hot path ----------------------------------------------------------------------------- */

/* No read-modify-write of a nesting count on the way: its store-to-load forwarding, twice a section,
 * would cost more than all the rest. The common case only tests words that predict well. */
int rgm_pin(struct rgm_slot *slot)
{
	if (reader_forked(slot->here))
		return RGM_EFORKED;
	if (__builtin_expect(slot->version == 0, 1))
		slot->version = ipc_section_enter(slot->table, slot->word, slot->membarrier);
	else
		slot->nested++;
	return 0;
}

/* Did anything fault since this section's first view? Whose thread it was is not told apart. */
static int section_damage(struct rgm_slot *slot)
{
	slot->guarded = false;
	return guard_hits() == slot->hits ? 0 : RGM_EIO;
}

int rgm_unpin(struct rgm_slot *slot)
{
	if (reader_forked(slot->here))
		return RGM_EFORKED;
	if (__builtin_expect(slot->nested != 0, 0)) {
		slot->nested--;
		return 0;
	}
	if (__builtin_expect(slot->version == 0, 0))
		return -EINVAL;
	int rc = __builtin_expect(slot->guarded, 0) ? section_damage(slot) : 0;
	if (slot->session && session_revoked(slot->session, slot->version))
		rc = RGM_EREVOKED;
	slot->version = 0;
	ipc_section_exit(slot->word);
	return rc;
}

uint64_t rgm_slot_version(const struct rgm_slot *slot)
{
	return slot->version;
}

/* --- Opening and closing ---------------------------------------------------------------------- */

static pthread_key_t thread_key; /* the first of the thread's slots */
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static int thread_rc;

/* Take a slot out of its session, whose lock and sessions_lock are held. */
static void retire_slot(struct rgm_slot *slot)
{
	struct rgm_session *session = slot->session;
	slot->session = NULL;
	if (!session)
		return;
	if (!reader_forked(session->here))
		ipc_section_exit(slot->word);
	session->open_slots[slot->index] = NULL;
}

/* A thread ends with slots open, inside a section or not: its claim ends with it. */
static void thread_ends(void *first)
{
	pthread_mutex_lock(&sessions_lock);
	for (struct rgm_slot *slot = first, *next; slot; slot = next) {
		next = slot->next;
		struct rgm_session *session = slot->session;
		if (session)
			pthread_mutex_lock(&session->lock);
		retire_slot(slot);
		if (session)
			pthread_mutex_unlock(&session->lock);
		free(slot);
	}
	pthread_mutex_unlock(&sessions_lock);
}

static void thread_init(void)
{
	thread_rc = pthread_key_create(&thread_key, thread_ends);
}

static int find_index(struct rgm_session *session, uint32_t *ret_index)
{
	for (uint32_t i = 1; i < session->slot_capacity; i++) {
		if (!session->open_slots[i]) {
			*ret_index = i;
			return 0;
		}
	}
	return -ENOSPC;
}

int rgm_slot_open(struct rgm_session *session, struct rgm_slot **ret_slot, struct rgm_error *error)
{
	READER_NOT_CANCELLED;
	if (reader_forked(session->here))
		return reader_fail_forked(error);
	pthread_once(&thread_once, thread_init);
	if (thread_rc)
		return pool_fail(error, -thread_rc, "slot: no thread-specific key is left");
	struct rgm_slot *slot = aligned_alloc(64, sizeof *slot);
	if (!slot)
		return pool_fail(error, -ENOMEM, "slot: no memory");
	pthread_mutex_lock(&sessions_lock);
	pthread_mutex_lock(&session->lock);
	uint32_t index;
	int rc = find_index(session, &index);
	if (rc == 0) {
		*slot = (struct rgm_slot){.word = &session->slots[index],
			.table = session->table,
			.here = session->here,
			.membarrier = session->membarrier,
			.index = index,
			.session = session,
			.next = pthread_getspecific(thread_key)};
		rc = -pthread_setspecific(thread_key, slot);
	}
	if (rc == 0) {
		session->open_slots[index] = slot;
		/* Before the slot's first section: see `slots_used` in ipc/slot.h. */
		if (index >= load32_relaxed(&session->segment->slots_used))
			store32_release(&session->segment->slots_used, index + 1);
	}
	pthread_mutex_unlock(&session->lock);
	pthread_mutex_unlock(&sessions_lock);
	if (rc == -ENOSPC)
		rc = pool_fail(error, RGM_ELIMIT,
			"all %u slots of the session are open (option slots)",
			session->slot_capacity - 1);
	else if (rc)
		rc = pool_fail(error, rc, "slot: no memory");
	if (rc) {
		free(slot);
		return rc;
	}
	*ret_slot = slot;
	return 0;
}

void rgm_slot_close(struct rgm_slot *slot)
{
	READER_NOT_CANCELLED;
	if (!slot)
		return;
	pthread_mutex_lock(&sessions_lock);
	struct rgm_slot *first = pthread_getspecific(thread_key);
	for (struct rgm_slot **place = &first; *place; place = &(*place)->next) {
		if (*place == slot) {
			*place = slot->next;
			break;
		}
	}
	pthread_setspecific(thread_key, first);
	struct rgm_session *session = slot->session;
	if (session)
		pthread_mutex_lock(&session->lock);
	retire_slot(slot);
	if (session)
		pthread_mutex_unlock(&session->lock);
	pthread_mutex_unlock(&sessions_lock);
	free(slot);
}

/* Called with sessions_lock held. A slot's memory stays its thread's, which may still hold the
 * pointer: it is freed by rgm_slot_close() or when the thread ends. */
void reader_close_slots(struct rgm_session *session)
{
	for (uint32_t i = 1; i < session->slot_capacity; i++)
		if (session->open_slots[i])
			retire_slot(session->open_slots[i]);
}

/* --- The library's own slot ------------------------------------------------------------------- */

uint64_t reader_own_enter(struct rgm_session *session)
{
	return ipc_section_enter(session->table, &session->slots[0], session->membarrier);
}

void reader_own_exit(struct rgm_session *session)
{
	ipc_section_exit(&session->slots[0]);
}

bool reader_slots_past(struct rgm_session *session, uint64_t version)
{
	/* The same argument as the manager's scan, with this process as the one that reuses. */
	if (ipc_manager_barrier(session->membarrier))
		return false;
	uint32_t used = load32_acquire(&session->segment->slots_used);
	for (uint32_t i = 1; i < used && i < session->slot_capacity; i++) {
		uint64_t word = load64_acquire(&session->slots[i].word);
		if (word && word < version)
			return false;
	}
	return true;
}
