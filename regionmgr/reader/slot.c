/* SPDX-License-Identifier: Apache-2.0 */
/* Slots and sections: the hot path, and what surrounds it. The argument stands in ipc/slot.h. */
#define RGM_NO_INLINE 1 /* the functions themselves are here */

#include <errno.h>
#include <stdlib.h>

#include "ipc/guard.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/reader/reader.h"

/* No version reaches it: an unpin that compares with it comes to the library. */
static const uint64_t beyond = UINT64_MAX;

/* --- The hot path ----------------------------------------------------------------------------- */

/* Programs see it too where they do more than to call. */
static void set_limit(struct rgm_slot *slot, const uint64_t *limit)
{
	slot->limit = limit;
	if (slot->words.revoked)
		slot->words.revoked = limit;
}

/* Everything but the usual case of inline.h: fence form, race build, nested, forked, detached. */
static __attribute__((noinline)) int pin_unusual(struct rgm_slot *slot)
{
	struct ipc_slot *claim = slot->claim;
	if (__builtin_expect(claim == NULL, 0))
		return slot_forked(slot) ? RGM_EFORKED : -EINVAL;
	if (__builtin_expect(load64_relaxed(&claim->word) == 0, 1)) {
		/* The slots of a session in membarrier form have it; the race build has its own in
		 * there. */
		ipc_section_enter(slot->table, claim, slot->words.current != NULL);
		return 0;
	}
	slot->state->nested++;
	set_limit(slot, &beyond);
	return 0;
}

/* No read-modify-write of a nesting count is on the way: its store-to-load forwarding, twice a section,
 * would cost more than all the rest. */
int rgm_pin(struct rgm_slot *slot)
{
#ifdef RGM_INLINE_USABLE
	if (__builtin_expect(rgm_pin_usual_(&slot->words), 1))
		return 0;
#endif
	return pin_unusual(slot);
}

/* Did anything fault since this section's first view? Whose thread it was is not told apart. */
static int section_damage(struct slot_state *state)
{
	bool guarded = state->guarded;
	state->guarded = false;
	return !guarded || guard_hits() == state->hits ? 0 : RGM_EIO;
}

/* A section that is not over yet, or has something to tell. */
static int unpin_marked(struct rgm_slot *slot, uint64_t version)
{
	struct slot_state *state = slot->state;
	if (version == 0)
		return -EINVAL;
	if (state->nested) {
		state->nested--;
		if (!state->nested && !state->guarded)
			set_limit(slot, slot->revoked);
		return 0;
	}
	bool revoked = slot_revoked(slot, version);
	set_limit(slot, slot->revoked);
	ipc_section_exit(slot->claim);
	int rc = section_damage(state);
	return revoked ? RGM_EREVOKED : rc;
}

static __attribute__((noinline)) int unpin_unusual(struct rgm_slot *slot)
{
	if (__builtin_expect(slot->claim == NULL, 0))
		return slot_forked(slot) ? RGM_EFORKED : -EINVAL;
	uint64_t version = slot_version(slot);
	/* 0, outside, is below all of them. */
	if (__builtin_expect(ipc_section_revoked(slot->limit, version), 0))
		return unpin_marked(slot, version);
	ipc_section_exit(slot->claim);
	return 0;
}

int rgm_unpin(struct rgm_slot *slot)
{
#ifdef RGM_INLINE_USABLE
	if (__builtin_expect(rgm_unpin_usual_(&slot->words), 1))
		return 0;
#endif
	return unpin_unusual(slot);
}

int rgm_pin_called(struct rgm_slot *slot) __attribute__((alias("rgm_pin")));
int rgm_unpin_called(struct rgm_slot *slot) __attribute__((alias("rgm_unpin")));

uint64_t rgm_slot_version(const struct rgm_slot *slot)
{
	return slot_version(slot);
}

void slot_saw_guarded(struct rgm_slot *slot)
{
	struct slot_state *state = slot->state;
	if (state->guarded)
		return;
	state->guarded = true;
	state->hits = guard_hits();
	set_limit(slot, &beyond);
}

/* --- Opening and closing ---------------------------------------------------------------------- */

static pthread_key_t thread_key; /* the first of the thread's slots */
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static int thread_rc;

/* Take a slot out of its session, whose lock and sessions_lock are held. */
static void retire_slot(struct slot_state *state)
{
	struct rgm_session *session = state->session;
	state->session = NULL;
	if (!session)
		return;
	if (!reader_forked(session->here)) {
		ipc_section_exit(&session->slots[state->index]);
		state->slot->words = (struct rgm_slot_words){NULL, NULL};
		state->slot->claim = NULL;
	}
	session->open_slots[state->index] = NULL;
}

/* retire_slot() and the end of its memory. Under sessions_lock. */
static void close_slot(struct slot_state *state)
{
	struct rgm_session *session = state->session;
	if (session)
		pthread_mutex_lock(&session->lock);
	retire_slot(state);
	if (session)
		pthread_mutex_unlock(&session->lock);
	reader_cell_give(state->cells, state->slot);
	free(state);
}

/* A thread ends with slots open, inside a section or not: its claim ends with it. */
static void thread_ends(void *first)
{
	pthread_mutex_lock(&sessions_lock);
	for (struct slot_state *state = first, *next; state; state = next) {
		next = state->next;
		close_slot(state);
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

/* What a thread's pins find: layout 1, and the library's own. */
static void fill_slot(struct slot_state *state)
{
	struct rgm_session *session = state->session;
	struct rgm_slot *slot = state->slot;
	slot->state = state;
	slot->table = session->table;
	slot->claim = &session->slots[state->index];
	slot->limit = slot->revoked = session->revoked;
	slot->places = session->places;
#ifndef POOL_RACE_BUILD
	if (session->membarrier) {
		assert((char *)slot->claim == (char *)slot + RGM_WORD_DISTANCE);
		slot->words.current = &session->table->current;
		slot->words.revoked = session->revoked;
	}
#endif
}

/* Under sessions_lock and session.lock. */
static int register_slot(struct rgm_session *session, struct slot_state *state)
{
	int rc = find_index(session, &state->index);
	if (rc)
		return rc;
	state->session = session;
	state->next = pthread_getspecific(thread_key);
	rc = -pthread_setspecific(thread_key, state);
	if (rc)
		return rc;
	state->cells = session->cells;
	state->slot = reader_cell_take(session->cells, state->index);
	fill_slot(state);
	session->open_slots[state->index] = state;
	/* Before the slot's first section: see `slots_used` in ipc/slot.h. */
	if (state->index >= load32_relaxed(&session->segment->slots_used))
		store32_release(&session->segment->slots_used, state->index + 1);
	return 0;
}

int rgm_slot_open(struct rgm_session *session, struct rgm_slot **ret_slot, struct rgm_error *error)
{
	READER_NOT_CANCELLED;
	if (reader_forked(session->here))
		return reader_fail_forked(error);
	pthread_once(&thread_once, thread_init);
	if (thread_rc)
		return pool_fail(error, -thread_rc, "slot: no thread-specific key is left");
	struct slot_state *state = calloc(1, sizeof *state);
	if (!state)
		return pool_fail(error, -ENOMEM, "slot: no memory");
	pthread_mutex_lock(&sessions_lock);
	pthread_mutex_lock(&session->lock);
	int rc = register_slot(session, state);
	pthread_mutex_unlock(&session->lock);
	pthread_mutex_unlock(&sessions_lock);
	if (rc == -ENOSPC)
		rc = pool_fail(error, RGM_ELIMIT,
			"all %u slots of the session are open (option slots)",
			session->slot_capacity - 1);
	else if (rc)
		rc = pool_fail(error, rc, "slot: no memory");
	if (rc) {
		free(state);
		return rc;
	}
	*ret_slot = state->slot;
	return 0;
}

/* In a forked child the slot's own words are gone: it is found by its address. */
void rgm_slot_close(struct rgm_slot *slot)
{
	READER_NOT_CANCELLED;
	if (!slot)
		return;
	pthread_mutex_lock(&sessions_lock);
	struct slot_state *first = pthread_getspecific(thread_key), *state = NULL;
	for (struct slot_state **place = &first; *place; place = &(*place)->next) {
		if ((*place)->slot == slot) {
			state = *place;
			*place = state->next;
			break;
		}
	}
	pthread_setspecific(thread_key, first);
	if (state)
		close_slot(state);
	pthread_mutex_unlock(&sessions_lock);
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
