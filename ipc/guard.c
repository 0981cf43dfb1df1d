/* SPDX-License-Identifier: Apache-2.0 */
/* The SIGBUS handler and the ranges it looks through. See guard.h. */
#include "ipc/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "pool/os.h"

/* Faults of one range after which all of it is replaced. */
#define PAGES_BY_THEMSELVES 512u

/*
 * `base` is stored last (release) and loaded first (acquire) by the handler, which makes the other
 * fields visible; 0 means free. They are loaded between two looks at `base`: the same one both times,
 * and they belong to it (the entry may be removed and used again meanwhile; the field's own orders pair
 * with guard_add()). Removal stores 0: a handler that loaded the base before may still map over the
 * range, which its owner prevents by not touching it any more.
 */
struct range {
	uintptr_t base;
	size_t bytes;
	bool whole;
	bool writable;
	uint64_t *damage;
};

static pthread_mutex_t ranges_lock = PTHREAD_MUTEX_INITIALIZER; /* writers of ranges[] */
static struct range ranges[GUARD_MAX];
static uint32_t ranges_used; /* atomic: entries below were ever used */
static struct sigaction previous;
static bool installed; /* under ranges_lock */
static uint64_t hits;  /* atomic: see repair() and guard_count() */

static void pass_on(int number, siginfo_t *info, void *context)
{
	if ((previous.sa_flags & SA_SIGINFO) && previous.sa_sigaction) {
		previous.sa_sigaction(number, info, context);
	} else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(number);
	} else {
		/* A fault is repeated after the return, a signal that was sent is sent again: either
		 * ends the process as it would have. */
		struct sigaction fallback = {.sa_handler = SIG_DFL};
		sigaction(SIGBUS, &fallback, NULL);
		if (info->si_code <= 0)
			raise(number);
	}
}

static bool map_zeros(uintptr_t from, size_t bytes, bool writable)
{
	return os_map_zeros((void *)from, bytes, writable) == 0;
}

static bool repair(const struct range *range, uintptr_t address)
{
	/* Each page by itself splits a mapping, and a process has a limit of them (vm.max_map_count)
	 * that must not be met: at it, nothing can be mapped any more. */
	bool whole = range->whole ||
	             __atomic_load_n(range->damage, __ATOMIC_RELAXED) >= PAGES_BY_THEMSELVES;
	/* Counted first: another thread may read the zeros as soon as they are there, and has to find
	 * the count when it asks behind that. Release, paired with guard_count(); between the two the
	 * kernel orders the new page and whoever finds it. */
	__atomic_fetch_add(range->damage, 1, __ATOMIC_RELEASE);
	__atomic_fetch_add(&hits, 1, __ATOMIC_RELEASE);
	return whole ? map_zeros(range->base, range->bytes, range->writable)
	             : map_zeros(address & ~(uintptr_t)4095, 4096, range->writable);
}

/* A copy of an entry whose fields belong together, if the address lies in it. */
static bool covers(const struct range *entry, uintptr_t address, struct range *ret_range)
{
	struct range range = {.base = __atomic_load_n(&entry->base, __ATOMIC_ACQUIRE)};
	if (!range.base || address < range.base)
		return false;
	range.bytes = __atomic_load_n(&entry->bytes, __ATOMIC_ACQUIRE);
	range.whole = __atomic_load_n(&entry->whole, __ATOMIC_ACQUIRE);
	range.writable = __atomic_load_n(&entry->writable, __ATOMIC_ACQUIRE);
	range.damage = __atomic_load_n(&entry->damage, __ATOMIC_ACQUIRE);
	*ret_range = range;
	return address - range.base < range.bytes &&
	       __atomic_load_n(&entry->base, __ATOMIC_RELAXED) == range.base;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	int saved = errno;
	uintptr_t address = (uintptr_t)info->si_addr;
	uint32_t used = __atomic_load_n(&ranges_used, __ATOMIC_ACQUIRE);
	/* Sent by kill(2) it is no fault and has no address. */
	for (uint32_t i = 0; i < used && info->si_code > 0; i++) {
		struct range range;
		if (covers(&ranges[i], address, &range) && repair(&range, address)) {
			errno = saved;
			return;
		}
	}
	pass_on(number, info, context);
	errno = saved;
}

int guard_install(void)
{
	int rc = 0;
	pthread_mutex_lock(&ranges_lock);
	if (!installed) {
		struct sigaction action = {.sa_sigaction = on_sigbus,
			.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
		sigemptyset(&action.sa_mask);
		if (sigaction(SIGBUS, &action, &previous))
			rc = -errno;
		else
			installed = true;
	}
	pthread_mutex_unlock(&ranges_lock);
	return rc;
}

int guard_add(const void *base, size_t bytes, bool whole, bool writable, uint64_t *damage)
{
	int rc = -ENOSPC;
	pthread_mutex_lock(&ranges_lock);
	for (uint32_t i = 0; i < GUARD_MAX; i++) {
		if (ranges[i].base)
			continue;
		/* Release: who loads one of these sees the 0 that the removal left in `base`. */
		__atomic_store_n(&ranges[i].bytes, bytes, __ATOMIC_RELEASE);
		__atomic_store_n(&ranges[i].whole, whole, __ATOMIC_RELEASE);
		__atomic_store_n(&ranges[i].writable, writable, __ATOMIC_RELEASE);
		__atomic_store_n(&ranges[i].damage, damage, __ATOMIC_RELEASE);
		__atomic_store_n(&ranges[i].base, (uintptr_t)base, __ATOMIC_RELEASE);
		if (i >= ranges_used)
			__atomic_store_n(&ranges_used, i + 1, __ATOMIC_RELEASE);
		rc = 0;
		break;
	}
	pthread_mutex_unlock(&ranges_lock);
	return rc;
}

void guard_remove(const void *base)
{
	pthread_mutex_lock(&ranges_lock);
	for (uint32_t i = 0; i < ranges_used; i++) {
		if (ranges[i].base == (uintptr_t)base) {
			__atomic_store_n(&ranges[i].base, 0, __ATOMIC_RELEASE);
			break;
		}
	}
	pthread_mutex_unlock(&ranges_lock);
}

void guard_before_fork(void)
{
	pthread_mutex_lock(&ranges_lock);
}

void guard_after_fork(void)
{
	pthread_mutex_unlock(&ranges_lock);
}

uint64_t guard_count(const uint64_t *damage)
{
	/* Pairs with repair(): what was read of a window is read before this load. (ThreadSanitizer knows
	 * no fences; where it runs, loads are in order.) */
#ifndef POOL_RACE_BUILD
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
	return __atomic_load_n(damage, __ATOMIC_ACQUIRE);
}

uint64_t guard_hits(void)
{
	return guard_count(&hits);
}
