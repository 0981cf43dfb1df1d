/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surviving SIGBUS in mappings that others can damage.
 *
 * A mapping of a file whose end another process cuts off raises SIGBUS at the next access. A guarded
 * range instead gets zero pages there, and its damage counter goes up; the access goes on reading
 * zeros. The handler is process-wide and chained: faults outside guarded ranges go to whoever handled
 * them before.
 *
 * Thread-safety: all functions may be called from any thread; the handler itself takes no lock, calls
 * only mmap(2), and reads the ranges through atomics: a range is visible to it from before
 * guard_add() returns until after guard_remove() is called.
 */
#ifndef IPC_GUARD_H
#define IPC_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Most ranges at once in a process. */
#define GUARD_MAX 16384u

/* Install the handler, once. 0 or -errno. */
int guard_install(void);

/*
 * Guard [base, base + bytes). `whole`: replace all of it at the first fault (a small segment), else
 * the faulting page alone, until there were so many that the process would run out of mappings.
 * `writable` says how the zero pages are mapped. `damage` is counted up before any thread can
 * read the zeros. -ENOSPC when GUARD_MAX ranges are there.
 */
int guard_add(const void *base, size_t bytes, bool whole, bool writable, uint64_t *damage);
/* Stop guarding; before the range is unmapped. */
void guard_remove(const void *base);

/* Around a fork, by who follows forks, so that the child gets the lock free: behind every lock under
 * which the functions above are called. */
void guard_before_fork(void);
void guard_after_fork(void);

/* A range's damage, or the faults repaired in this process so far in any range. If it is what it was before
 * some reads, by this thread, of what is guarded, then these read no zeros of the guard's. */
uint64_t guard_count(const uint64_t *damage);
uint64_t guard_hits(void);

#endif
