/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only door to the operating system's memory and files. Each function states what it demands
 * and what it guarantees; EINTR and short transfers end here. All return 0 or -errno and set no
 * sentence: the caller knows what the file is for.
 */
#ifndef POOL_OS_H
#define POOL_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Transfer exactly `bytes` bytes at `offset`. A read that meets the end of the file is -ENODATA. */
int os_write_all(int file, const void *data, size_t bytes, uint64_t offset);
int os_read_all(int file, void *data, size_t bytes, uint64_t offset);

/*
 * Make [offset, offset + bytes) of the file exist on the disk; the size grows if need be. A failure
 * (-ENOSPC) leaves size and blocks as they were. One call at a time for a file. Where the file
 * system cannot, zeros are written, which is possible from the end of the file on: -EOPNOTSUPP
 * otherwise.
 */
int os_allocate(int file, uint64_t offset, uint64_t bytes);
/* Give back the blocks under [offset, offset + bytes); it reads as zero afterwards. */
int os_punch(int file, uint64_t offset, uint64_t bytes);
/* fdatasync(2). A failure is final: trying again would report a success that is none. */
int os_sync_data(int file);
/* fsync a folder, after create, rename or unlink in it. */
int os_sync_folder(int folder);

/* Fill from getrandom(2). */
int os_random(void *data, size_t bytes);
uint64_t os_now_ns(void);      /* CLOCK_MONOTONIC */
uint64_t os_realtime_ns(void); /* CLOCK_REALTIME */

/* SIGKILL to the process that a pidfd names, wherever its number went. -ESRCH: it was waited for. */
int os_pidfd_kill(int pidfd);

/*
 * Locks of an open file description (OFD), on the whole file: they live as long as the description,
 * which a mapping keeps alive after every descriptor is closed. Never POSIX locks.
 */
int os_lock_shared(int file);    /* -EAGAIN if somebody has it exclusively */
int os_lock_exclusive(int file); /* -EAGAIN if somebody has it */
int os_unlock(int file);
int os_lock_held(int file, bool *ret_held); /* by another description, in any form */
/* The same on one byte, which need not exist: locks on different bytes have nothing to do with each
 * other. A lock on the whole file takes part in each of them. */
int os_lock_byte_shared(int file, uint64_t byte);
int os_lock_byte_exclusive(int file, uint64_t byte);
int os_lock_byte_held(int file, uint64_t byte, bool *ret_held);

/* A lock of the folder's open file description against others of its kind, which no file in it can be
 * removed to get around. -EAGAIN if somebody has it; 0 without one where the file system has none. */
int os_lock_folder(int folder);
void os_unlock_folder(int folder);

/*
 * Map a window of `window_bytes` (a multiple of 2 MB, 2 MB aligned) over the file from offset 0,
 * read-only and shared, wider than the file may be now: growth needs no new mapping.
 */
int os_map_window(int file, uint64_t window_bytes, const void **ret_base);
/* Map `bytes` from offset 0, shared; read-only or writable. */
int os_map(int file, size_t bytes, bool writable, void **ret_base);
/* Undo either. NULL is allowed. */
void os_unmap(const void *base, size_t bytes);
/*
 * The race build (POOL_RACE_BUILD) exists for the thread sanitizer, which is blind across two
 * mappings of one page: there all mappings of one object in this process are the same writable
 * mapping, at the size of the first (-EOVERFLOW for a larger one), and each keeps a duplicate of its
 * descriptor, so that locks live on as a mapping makes them.
 */
#ifdef POOL_RACE_BUILD
/* The manager's own view of a file, for what it does by pwrite(2) otherwise: keeps no descriptor. */
int os_race_view(int file, uint64_t bytes, char **ret_base);
void os_race_release(char *base); /* NULL is allowed */
#endif

/* As os_map(), read-only, but a mapping of its own in the race build too. Undone by os_release(). */
int os_map_alone(int file, size_t bytes, void **ret_base);
/* Make the pages of [base, base + bytes), part of a writable mapping, exist, so that no later store meets
 * a full disk: -ENOSPC. */
int os_populate(void *base, size_t bytes);
/* Map zeros over [base, base + bytes), which are whole pages: async-signal-safe. */
int os_map_zeros(void *base, size_t bytes, bool writable);
/*
 * `private_bytes` (whole pages) of private memory and, right behind them, the file from offset 0 as by
 * os_map(), writable. The private memory reads as zero, costs nothing where it was never touched, and a
 * forked child finds it full of zeros; where the kernel has no MADV_WIPEONFORK, as it was. The two are undone
 * apart, in any order: by os_release() and os_unmap(). In the race build they are not neighbours.
 */
int os_map_behind(
	int file, size_t bytes, size_t private_bytes, void **ret_private, void **ret_base);
/* A file in memory with no name elsewhere than in /proc, close-on-exec. */
int os_memory_file(const char *name, uint64_t bytes, int *ret_file);

/* Anonymous memory that reads as zero and costs nothing where it was never touched. */
int os_reserve(size_t bytes, void **ret_base);
void os_release(void *base, size_t bytes); /* NULL is allowed */

/*
 * POSIX shared memory, 0600. Names begin with a slash. os_shm_create: O_EXCL, sized and allocated
 * (-ENOSPC rather than a later SIGBUS); os_shm_open: an existing one anew, -EPERM unless it is a
 * regular object of this user with mode 0600. os_shm_create_unnamed: as os_shm_create, known to nobody
 * until os_shm_link gives it a name (-EEXIST), which needs /proc.
 */
int os_shm_create(const char *name, uint64_t bytes, uint64_t allocate_bytes, int *ret_file);
int os_shm_create_unnamed(uint64_t bytes, uint64_t allocate_bytes, int *ret_file);
int os_shm_link(int file, const char *name);
int os_shm_open(const char *name, bool writable, int *ret_file);
int os_shm_unlink(const char *name);
/* The same object or file by another description, close-on-exec, whatever its name leads to by now. Needs
 * /proc. */
int os_open_anew(int file, bool writable, int *ret_file);

/* membarrier(2). */
bool os_membarrier_usable(void);  /* GLOBAL_EXPEDITED and its registration are offered */
int os_membarrier_register(void); /* this process's threads take part from now on */
int os_membarrier(void);          /* full barrier on every registered process's running threads */

/*
 * futex(2) on a shared word. Who waits names bits, at least one, and is woken by who names one of them.
 * wait: 0 woken or changed, -ETIMEDOUT, -EINTR; timeout_ms < 0: none. wake: at most `most` sleepers, those
 * first that have slept longest; returns how many there were.
 */
#define OS_FUTEX_ANY UINT32_MAX
int os_futex_wait(const uint32_t *word, uint32_t expected, uint32_t bits, int64_t timeout_ms);
int os_futex_wake(uint32_t *word, uint32_t bits, int most);

/* Bytes of [0, bytes) of the file that are in memory, by mincore(2) on a view of its own. */
int os_resident(int file, uint64_t bytes, uint64_t *ret_resident_bytes);

#endif
