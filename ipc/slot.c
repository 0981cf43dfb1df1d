/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's side of slot.h: reading every word that a reader may have written. */
#include "ipc/slot.h"

#include <errno.h>
#include <stdlib.h>

#include "pool/os.h"

#ifdef POOL_RACE_BUILD
#define ORDER_WORD __ATOMIC_SEQ_CST
#else
#define ORDER_WORD __ATOMIC_ACQUIRE
#endif

int ipc_seen_add(struct ipc_seen *seen, uint64_t version)
{
	if (seen->count == seen->capacity) {
		size_t capacity = seen->capacity ? seen->capacity * 2 : 64;
		uint64_t *versions = reallocarray(seen->versions, capacity, sizeof *versions);
		if (!versions)
			return -ENOMEM;
		seen->versions = versions;
		seen->capacity = capacity;
	}
	seen->versions[seen->count++] = version;
	return 0;
}

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
	return a < b ? -1 : a > b;
}

/* Drop what is equal to the one before it. Are the others in order then? */
static bool drop_equal(struct ipc_seen *seen)
{
	size_t kept = 1;
	bool ordered = true;
	for (size_t i = 1; i < seen->count; i++) {
		if (seen->versions[i] == seen->versions[kept - 1])
			continue;
		ordered &= seen->versions[i] > seen->versions[kept - 1];
		seen->versions[kept++] = seen->versions[i];
	}
	seen->count = kept;
	return ordered;
}

void ipc_seen_sort(struct ipc_seen *seen)
{
	/* Many readers see one version, the current one: then nothing is left to be sorted. */
	if (seen->count < 2 || drop_equal(seen))
		return;
	qsort(seen->versions, seen->count, sizeof *seen->versions, compare);
	drop_equal(seen);
}

void ipc_seen_free(struct ipc_seen *seen)
{
	free(seen->versions);
	*seen = (struct ipc_seen){0};
}

bool ipc_seen_any(const struct ipc_seen *seen, uint64_t born, uint64_t retired)
{
	size_t low = 0, high = seen->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (seen->versions[middle] < born)
			low = middle + 1;
		else
			high = middle;
	}
	return low < seen->count && seen->versions[low] < retired;
}

int ipc_manager_barrier(bool membarrier)
{
	int rc = membarrier ? os_membarrier() : 0;
#ifdef POOL_RACE_BUILD
	static uint64_t barriers;
	__atomic_fetch_add(&barriers, 1, __ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
	return rc;
}

static uint32_t bounded(uint32_t value, uint32_t limit)
{
	return value < limit ? value : limit;
}

int ipc_scan_slots(const struct ipc_segment *segment, uint32_t slots, struct ipc_seen *seen)
{
	const struct ipc_slot *slot = (const void *)((const char *)segment + ipc_slots_offset());
	uint32_t used = bounded(load32_acquire(&segment->slots_used), slots);
	for (uint32_t i = 0; i < used; i++) {
		uint64_t version = __atomic_load_n(&slot[i].word, ORDER_WORD);
		if (version && ipc_seen_add(seen, version))
			return -ENOMEM;
	}
	return 0;
}

int ipc_scan_holds(const struct ipc_segment *segment, uint32_t slots, uint32_t holds,
	int (*found)(void *context, const struct ipc_held *held), void *context)
{
	const struct ipc_hold *hold =
		(const void *)((const char *)segment + ipc_holds_offset(slots));
	uint32_t used = bounded(load32_acquire(&segment->holds_used), holds);
	for (uint32_t i = 0; i < used; i++) {
		struct ipc_held held = {.dimension = load64_acquire(&hold[i].dimension)};
		if (!held.dimension)
			continue;
		held.version = load64_acquire(&hold[i].version);
		int rc = found(context, &held);
		if (rc)
			return rc;
	}
	return 0;
}
