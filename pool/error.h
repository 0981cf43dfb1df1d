/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling a struct rgm_error. Every function takes NULL for it, and `error->message` itself as an
 * argument (to put words around a sentence that is there). Control characters, which names from
 * outside may bring along, become '?': a sentence is one line. What does not fit ends in "...".
 */
#ifndef POOL_ERROR_H
#define POOL_ERROR_H

#include <regionmgr/error.h>

/* Write the sentence, clear the hint, return `code`. */
__attribute__((format(printf, 3, 4))) int pool_fail(
	struct rgm_error *error, int code, const char *format, ...);

/* As pool_fail() with -errno; ": " and the system's words are appended to the sentence. */
__attribute__((format(printf, 2, 3))) int pool_fail_errno(
	struct rgm_error *error, const char *format, ...);

/* The same for a code in hand, as the functions of os.h return it: the code's words are appended. */
__attribute__((format(printf, 3, 4))) int pool_fail_code(
	struct rgm_error *error, int code, const char *format, ...);

/* Add a hint to a failure already told. */
__attribute__((format(printf, 2, 3))) void pool_hint(
	struct rgm_error *error, const char *format, ...);

/*
 * Structs of the public interface that begin with `size_t size`, so that a caller built with an older or
 * newer header is understood.
 * pool_options: copy what the caller knows of `given` (NULL: nothing) over `own`, which has defaults.
 * pool_result: fill as much of `result` as its size says the caller knows; the size stays.
 * -EINVAL if the size can't be one.
 */
int pool_options(void *own, size_t own_bytes, const void *given, struct rgm_error *error);
int pool_result(void *result, const void *own, size_t own_bytes, struct rgm_error *error);

#endif
