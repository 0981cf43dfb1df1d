/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds: claims on (dimension, version) that outlive their section, shared by a count within the
 * process. The words are stored as ipc/slot.h says: inside the section, never moved.
 *
 * A hold that was alive at a fork may be read through by the child. When its last view here is
 * released, it is cleared only if no process that descends from such a fork lives; else it becomes a
 * zombie: its words stand, and it is looked at again at each take, release and detach.
 *
 * The manager may revoke a hold while it stands, then also for the children: its words are left out of
 * scans, and what was read through it is void.
 */
#include <errno.h>
#include <stdlib.h>

#include "ipc/guard.h"
#include "pool/error.h"
#include "regionmgr/reader/reader.h"

static uint32_t bucket_of(uint64_t dimension, uint64_t version)
{
	uint64_t hash = (dimension * 0x9e3779b97f4a7c15ull) ^ (version * 0xc2b2ae3d27d4eb4full);
	return (uint32_t)(hash >> 32) % HOLD_BUCKETS;
}

static struct rgm_hold *find_alive(
	struct rgm_session *session, uint64_t dimension, uint64_t version)
{
	struct rgm_hold *hold = session->buckets[bucket_of(dimension, version)];
	while (hold && (hold->dimension != dimension || hold->version != version))
		hold = hold->next;
	return hold;
}

/* A zombie of the same claim comes back to life: its words stand already. */
static struct rgm_hold *revive(struct rgm_session *session, uint64_t dimension, uint64_t version)
{
	for (struct rgm_hold **place = &session->zombies; *place; place = &(*place)->next) {
		struct rgm_hold *hold = *place;
		if (hold->dimension == dimension && hold->version == version) {
			*place = hold->next;
			struct rgm_hold **bucket = &session->buckets[bucket_of(dimension, version)];
			hold->next = *bucket;
			*bucket = hold;
			return hold;
		}
	}
	return NULL;
}

static int free_entry(struct rgm_session *session, uint32_t *ret_index)
{
	for (uint32_t n = 0; n < session->hold_capacity; n++) {
		uint32_t index = (session->free_hold + n) % session->hold_capacity;
		if (!session->hold_used[index]) {
			session->free_hold = index + 1;
			*ret_index = index;
			return 0;
		}
	}
	return -ENOSPC;
}

/* Under session.lock, inside the section of `slot`. */
static struct rgm_hold *store(struct rgm_session *session, const struct rgm_slot *slot,
	const struct ipc_dimension *entry, const struct mapping *mapping, int *ret_code)
{
	uint32_t index;
	*ret_code = free_entry(session, &index);
	if (*ret_code)
		return NULL;
	struct rgm_hold *hold = calloc(1, sizeof *hold);
	if (!hold) {
		*ret_code = -ENOMEM;
		return NULL;
	}
	*hold = (struct rgm_hold){.session = session,
		.dimension = entry->id,
		.version = slot_version(slot),
		.base = mapping->base,
		.root_offset = entry->root_offset,
		.region_bytes = entry->region_bytes,
		.kind = entry->kind,
		.index = index,
		.mapping = mapping,
		.damage = __atomic_load_n(&mapping->damage, __ATOMIC_RELAXED)};
	session->hold_used[index] = true;
	if (index >= load32_relaxed(&session->segment->holds_used))
		store32_release(&session->segment->holds_used, index + 1);
	ipc_hold_store(&session->holds[index], hold->dimension, hold->version);
	struct rgm_hold **bucket = &session->buckets[bucket_of(hold->dimension, hold->version)];
	hold->next = *bucket;
	*bucket = hold;
	session->token_spent = true;
	return hold;
}

int rgm_hold_take(struct rgm_slot *slot, const struct rgm_dimension *dimension,
	struct rgm_hold **ret_hold, struct rgm_error *error)
{
	READER_NOT_CANCELLED;
	if (slot_forked(slot))
		return reader_fail_forked(error);
	uint64_t version = slot_version(slot);
	if (version == 0)
		return pool_fail(error, -EINVAL, "a hold is taken inside a section");
	struct rgm_session *session = slot->state->session;
	const struct ipc_dimension *found =
		ipc_index_at(slot_index(slot, version), dimension->index);
	struct ipc_dimension copy = {0};
	if (found)
		copy = *found;
	if (slot_revoked(slot, version))
		return reader_fail_revoked(version, error);
	const struct ipc_dimension *entry = &copy;
	if (!entry->id || entry->id != dimension->id)
		return pool_fail(error, RGM_EGONE, "the dimension is not in this version any more");
	const struct mapping *mapping;
	int rc = reader_view(slot, entry, dimension->index, &mapping, error);
	if (rc)
		return rc;
	pthread_mutex_lock(&session->lock);
	reader_reap_holds(session);
	struct rgm_hold *hold = find_alive(session, entry->id, version);
	if (!hold)
		hold = revive(session, entry->id, version);
	if (!hold)
		hold = store(session, slot, entry, mapping, &rc);
	if (hold)
		hold->views++;
	pthread_mutex_unlock(&session->lock);
	if (rc == -ENOSPC) {
		rc = pool_fail(error, RGM_ELIMIT,
			"all %u holds of the session are in use (option holds)",
			session->hold_capacity);
		pool_hint(error, "release holds, or attach with more");
		return rc;
	}
	if (rc)
		return pool_fail(error, rc, "hold: no memory");
	*ret_hold = hold;
	return 0;
}

uint64_t rgm_hold_version(const struct rgm_hold *hold)
{
	return hold->version;
}

/* --- Releasing -------------------------------------------------------------------------------- */

static bool inherited(struct rgm_session *session, const struct rgm_hold *hold)
{
	return hold->for_ever ||
	       (hold->first_token &&
		       reader_tokens_alive(session, hold->first_token, hold->last_token));
}

static void clear(struct rgm_session *session, struct rgm_hold *hold)
{
	ipc_hold_clear(&session->holds[hold->index]);
	session->hold_used[hold->index] = false;
	free(hold);
}

void reader_reap_holds(struct rgm_session *session)
{
	for (struct rgm_hold **place = &session->zombies; *place;) {
		struct rgm_hold *hold = *place;
		if (inherited(session, hold)) {
			place = &hold->next;
			continue;
		}
		*place = hold->next;
		clear(session, hold);
	}
}

/* Its last view is gone: clear it, or keep its words for the children. Under session.lock. */
static void retire_hold(struct rgm_session *session, struct rgm_hold *hold)
{
	if (inherited(session, hold)) {
		hold->next = session->zombies;
		session->zombies = hold;
		/* Children of later forks have nothing to do with it. */
		session->token_spent = true;
	} else {
		clear(session, hold);
	}
}

int rgm_hold_release(struct rgm_hold *hold)
{
	READER_NOT_CANCELLED;
	if (!hold)
		return 0;
	struct rgm_session *session = hold->session;
	bool revoked = ipc_section_revoked(session->revoked, hold->version);
	if (reader_forked(session->here))
		return revoked ? RGM_EREVOKED : RGM_EFORKED;
	pthread_mutex_lock(&session->lock);
	int rc = guard_count(&hold->mapping->damage) == hold->damage ? 0 : RGM_EIO;
	if (revoked)
		rc = RGM_EREVOKED;
	if (--hold->views == 0) {
		struct rgm_hold **place =
			&session->buckets[bucket_of(hold->dimension, hold->version)];
		while (*place != hold)
			place = &(*place)->next;
		*place = hold->next;
		retire_hold(session, hold);
	}
	reader_reap_holds(session);
	reader_sweep(session);
	pthread_mutex_unlock(&session->lock);
	return rc;
}

bool reader_holds_on(const struct rgm_session *session, uint64_t dimension)
{
	for (uint32_t i = 0; i < HOLD_BUCKETS; i++)
		for (const struct rgm_hold *hold = session->buckets[i]; hold; hold = hold->next)
			if (hold->dimension == dimension)
				return true;
	return false;
}

void reader_drop_holds(struct rgm_session *session)
{
	for (uint32_t i = 0; i < HOLD_BUCKETS; i++) {
		while (session->buckets[i]) {
			struct rgm_hold *hold = session->buckets[i];
			session->buckets[i] = hold->next;
			retire_hold(session, hold);
		}
	}
	reader_reap_holds(session);
	/* What is left stands in the segment, which the children still map. */
	while (session->zombies) {
		struct rgm_hold *hold = session->zombies;
		session->zombies = hold->next;
		free(hold);
	}
}
