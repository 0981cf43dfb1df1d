/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests that need processes and managers share: failing, waiting, children, bytes that say what
 * they are (support.c, child.c, pattern.c), and an instance with readers (instance.c, reader.c).
 *
 * REQUIRE() and must() work in every process and thread: in the test's own thread they fail the test as
 * cmocka's asserts do, elsewhere they say where and end the process, which the test then notices.
 */
#ifndef TESTS_SUPPORT_SUPPORT_H
#define TESTS_SUPPORT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include <regionmgr/error.h>

#ifdef POOL_RACE_BUILD
#define SUPPORT_RACE_BUILD 1
#else
#define SUPPORT_RACE_BUILD 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SUPPORT_ASAN 1
#else
#define SUPPORT_ASAN 0
#endif

/* --- Failing ---------------------------------------------------------------------------------- */

_Noreturn void support_fail(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define REQUIRE(condition)                                                                         \
	((condition) ? (void)0 : support_fail(__FILE__, __LINE__, "not true: %s", #condition))

#define REQUIRE_EQUAL(left, right)                                                                 \
	support_equal(__FILE__, __LINE__, #left, (long long)(left), #right, (long long)(right))
void support_equal(const char *file, int line, const char *left_text, long long left,
	const char *right_text, long long right);

/* A call that has to return 0; the error's sentence is shown. */
#define must(call, error)                                                                          \
	support_must(__FILE__, __LINE__, #call, (call), (const struct rgm_error *)(error))
void support_must(
	const char *file, int line, const char *text, int rc, const struct rgm_error *error);

/* What an error path has to deliver: this code, and a sentence with no full stop. */
#define REQUIRE_ERROR(call, expected, error)                                                       \
	support_error(__FILE__, __LINE__, #call, (call), (expected), (error))
void support_error(const char *file, int line, const char *text, int rc, int expected,
	const struct rgm_error *error);

/* Ends the whole program as skipped (77), with the line that the gate looks for. */
_Noreturn void support_skip_all(const char *reason);
/* One part of it. */
void support_tell_skip(const char *part, const char *reason);

/* --- Time and chance -------------------------------------------------------------------------- */

/* Long enough for any machine under any sanitizer: meeting it is a failure, never a measure. */
#define SUPPORT_LIMIT_MS 60000u

void support_sleep_ms(unsigned ms);
uint64_t support_now_ms(void);

#define WAIT_UNTIL(condition)                                                                      \
	do {                                                                                       \
		uint64_t until_ = support_now_ms() + SUPPORT_LIMIT_MS;                             \
		while (!(condition)) {                                                             \
			if (support_now_ms() > until_)                                             \
				support_fail(__FILE__, __LINE__, "never true: %s", #condition);    \
			support_sleep_ms(1);                                                       \
		}                                                                                  \
	} while (0)

/* Printed, and taken from RGM_TEST_SEED if that is set. */
uint64_t support_seed(void);
uint64_t support_random(uint64_t *state);
uint64_t support_below(uint64_t *state, uint64_t limit);

/* Descriptors open in this process. */
unsigned support_open_files(void);
/* Those of files that have no name any more, region files in particular. */
unsigned support_open_deleted(void);
/* The kernel tells whose death to wait for (SO_PEERPIDFD, Linux 6.5). */
bool support_has_peerpidfd(void);
/* Mappings of this process whose line in /proc/self/maps holds the text. */
unsigned support_mappings(const char *text);
/* Address space of this process that a forked child finds wiped, in KiB. */
uint64_t support_wiped_kb(void);

/* --- Children --------------------------------------------------------------------------------- */

/* A forked process, and a way to talk with it a byte at a time. It dies with this one. */
struct child {
	pid_t pid; /* 0: ended, or this is the child's own end */
	int talk;
};
typedef void child_run(struct child *parent, void *context);

/* fork(2) and run; the child ends with status 0 when run() returns. */
struct child child_start(child_run *run, void *context);
void child_say(struct child *other, char word);
/* The other side's next word, waited for; 0 when it is gone. */
char child_hear(struct child *other);
/* Hear exactly this. */
#define child_expect(other, word) support_expect(__FILE__, __LINE__, (other), (word))
void support_expect(const char *file, int line, struct child *other, char word);
/* Wait for its end, which has to be exit status 0. */
#define child_join(child) support_join(__FILE__, __LINE__, (child))
void support_join(const char *file, int line, struct child *child);
/* SIGKILL, and wait. */
void child_kill(struct child *child);
void child_signal(const struct child *child, int number);
/* Wait until it is stopped by SIGSTOP. */
void child_wait_stopped(const struct child *child);

/* From now on processes whose parent died belong to this one. */
void support_adopt_orphans(void);
/* One that will belong to this one, so that it does not outlive the test. */
void support_adopt(pid_t pid);
/* It was waited for elsewhere. */
void support_forget(pid_t pid);
/* Children started from now on by children do not die with their parents (true), or do (false). */
void support_let_children_live(bool live);
/* Wait for a process that was adopted. */
void support_reap(pid_t pid);
/* Kill the children that are left, but one (0: none); returns how many there were. */
unsigned support_end_children(pid_t but);

/* --- Bytes that say what they are ------------------------------------------------------------- */

/* Each 64 bytes hold the generation, the layer, their own place, and a mix of the three. `bytes` is a
 * multiple of 64. */
void pattern_fill(void *data, size_t bytes, uint64_t layer, uint64_t generation);
/* The generation of the bytes if all of them are of this layer and one generation; else 0. */
uint64_t pattern_generation(const void *data, size_t bytes, uint64_t layer);

#endif
