/* SPDX-License-Identifier: Apache-2.0 */
/* The SIGBUS handler and the ranges it looks through. See guard.h. */
#include "ipc/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

/*
 * `base` is stored last (release) and loaded first (acquire) by the handler, which makes the other
 * fields visible; 0 means free. Removal stores 0: a handler that loaded the base before may still map
 * over the range, which its owner prevents by not touching it any more.
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
static uint64_t hits;  /* atomic, relaxed: a thread that faulted sees its own count */

static void pass_on(int number, siginfo_t *info, void *context)
{
	if ((previous.sa_flags & SA_SIGINFO) && previous.sa_sigaction) {
		previous.sa_sigaction(number, info, context);
	} else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(number);
	} else {
		/* The access is repeated after the return and ends the process as it would have. */
		struct sigaction fallback = {.sa_handler = SIG_DFL};
		sigaction(SIGBUS, &fallback, NULL);
	}
}

static bool repair(const struct range *range, uintptr_t base, uintptr_t address)
{
	uintptr_t from = range->whole ? base : address & ~(uintptr_t)4095;
	size_t bytes = range->whole ? range->bytes : 4096;
	int protection = range->writable ? PROT_READ | PROT_WRITE : PROT_READ;
	void *zero = mmap((void *)from, bytes, protection,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	if (zero == MAP_FAILED)
		return false;
	__atomic_fetch_add(range->damage, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&hits, 1, __ATOMIC_RELAXED);
	return true;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	int saved = errno;
	uintptr_t address = (uintptr_t)info->si_addr;
	uint32_t used = __atomic_load_n(&ranges_used, __ATOMIC_ACQUIRE);
	for (uint32_t i = 0; i < used; i++) {
		uintptr_t base = __atomic_load_n(&ranges[i].base, __ATOMIC_ACQUIRE);
		if (base && address >= base && address - base < ranges[i].bytes &&
			repair(&ranges[i], base, address)) {
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
		struct sigaction action = {
			.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
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
		ranges[i].bytes = bytes;
		ranges[i].whole = whole;
		ranges[i].writable = writable;
		ranges[i].damage = damage;
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

uint64_t guard_hits(void)
{
	return __atomic_load_n(&hits, __ATOMIC_RELAXED);
}
