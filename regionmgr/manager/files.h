/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that a fork of the manager's process must not keep. The child's copy of a manager is dead,
 * but its copies of descriptors are not: a lock would last, a socket would listen on and hide from
 * readers that the manager is gone, for as long as a worker lives that has nothing to do with it.
 *
 * A descriptor is kept here from its opening to its closing; what is here is closed in every forked
 * child. A fork can slip in between opening and files_keep(), and between files_forget() and closing: its
 * child then keeps the descriptor until it ends or calls exec. Thread-safe.
 */
#ifndef MANAGER_FILES_H
#define MANAGER_FILES_H

#include <stdbool.h>
#include <regionmgr/error.h>

/* Follow forks from now on, in this process. 0 or -errno. */
int files_watch(void);
void files_keep(int file);
/* No more: before it is closed, since its number is another's afterwards. False: it is not this process's
 * any more, which is a fork; the number may be somebody else's and must not be closed. */
bool files_forget(int file);
/* Close and forget. A negative number is allowed. */
void files_close(int file);

/*
 * A manager at its limit of open files (RLIMIT_NOFILE) still has to write catalogs, answer, and let
 * somebody in to drop what fills it. So what stays open for long is refused while so many are free.
 */
enum files_reserve {
	FILES_RESERVE_CLIENT = 8,
	FILES_RESERVE_SESSION = 16,
	FILES_RESERVE_REGION = 24,
};
/* `file` is new: RGM_ELIMIT with a sentence about `what` if it leaves fewer; the caller closes it. */
int files_check_reserve(
	int file, enum files_reserve reserve, const char *what, struct rgm_error *error);

#endif
