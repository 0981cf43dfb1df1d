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

/* Make [offset, offset + bytes) of the file exist on the disk; the size grows if need be. -ENOSPC
 * leaves the size as it was. */
int os_allocate(int file, uint64_t offset, uint64_t bytes);
/* Give back the blocks under [offset, offset + bytes); it reads as zero afterwards. */
int os_punch(int file, uint64_t offset, uint64_t bytes);
int os_sync_data(int file);
/* fsync a folder, after create, rename or unlink in it. */
int os_sync_folder(int folder);

/* Fill from getrandom(2). */
int os_random(void *data, size_t bytes);
uint64_t os_now_ns(void);      /* CLOCK_MONOTONIC */
uint64_t os_realtime_ns(void); /* CLOCK_REALTIME */

/*
 * Locks of an open file description (OFD), on the whole file: they live as long as the description,
 * which a mapping keeps alive after every descriptor is closed. Never POSIX locks.
 */
int os_lock_shared(int file);                 /* -EAGAIN if somebody has it exclusively */
int os_lock_exclusive(int file);              /* -EAGAIN if somebody has it */
int os_unlock(int file);
int os_lock_held(int file, bool *ret_held);   /* by another description, in any form */

/*
 * Map a window of `window_bytes` (a multiple of 2 MB, 2 MB aligned) over the file from offset 0,
 * read-only and shared, wider than the file may be now: growth needs no new mapping.
 */
int os_map_window(int file, uint64_t window_bytes, const void **ret_base);
/* Map `bytes` from offset 0, shared; read-only or writable. */
int os_map(int file, size_t bytes, bool writable, void **ret_base);
/* Undo either. */
void os_unmap(const void *base, size_t bytes);

/*
 * POSIX shared memory, 0600. Names begin with a slash. os_shm_create: O_EXCL, sized and allocated
 * (-ENOSPC rather than a later SIGBUS); os_shm_open: an existing one anew, -EPERM unless it is a
 * regular object of this user with mode 0600.
 */
int os_shm_create(const char *name, uint64_t bytes, uint64_t allocate_bytes, int *ret_file);
int os_shm_open(const char *name, bool writable, int *ret_file);
int os_shm_unlink(const char *name);

/* membarrier(2). */
bool os_membarrier_usable(void);  /* GLOBAL_EXPEDITED and its registration are offered */
int os_membarrier_register(void); /* this process's threads take part from now on */
int os_membarrier(void);          /* full barrier on every registered process's running threads */

/* futex(2) on a shared word. wait: 0 woken or changed, -ETIMEDOUT, -EINTR. timeout_ms < 0: none. */
int os_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout_ms);
int os_futex_wake_all(uint32_t *word);

/* Bytes of [base, base+bytes) of the file that are in memory, by mincore(2) on a private view. */
int os_resident(int file, uint64_t bytes, uint64_t *ret_resident_bytes);

#endif
