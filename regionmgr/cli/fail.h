/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a program of ours fails: a struct rgm_error is filled where the facts are, travels up as a
 * negative code, is told once by main(), and becomes an exit code there. Nothing below main() writes
 * an error or exits. Sentences are filled in by "pool/error.h".
 */
#ifndef CLI_FAIL_H
#define CLI_FAIL_H

#include <stdbool.h>

#include "pool/error.h"
#include <regionmgr/error.h>

/* Codes that only the programs use; none collides with error.h. */
enum cli_code {
	CLI_USAGE = -6001,     /* the command line is wrong: exit 2 */
	CLI_TOLD = -6002,      /* everything has been said already: exit 1, no sentence */
	CLI_SOURCE = -6003,    /* what was to be loaded is not usable: exit 1 */
	CLI_WORKER = -6004,    /* a process of ours died: exit 1 */
	CLI_COUNTER = -6005,   /* no counter of that name: exit 3 */
	CLI_CANCELLED = -6006, /* the user said no: exit 1 */
};

/* The exit codes, which scripts depend on. */
enum cli_exit {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_NAME = 3,
	EXIT_NO_MANAGER = 4,
	EXIT_BUSY = 5,
	EXIT_CORRUPT = 6,
};

/* Add or replace the hint. Returns error->code. */
__attribute__((format(printf, 2, 3))) int cli_hint(
	struct rgm_error *error, const char *format, ...);

/* The exit code of an error code (0: EXIT_DONE), what it means, and its fixed name. */
enum cli_exit cli_exit_code(int code);
const char *cli_exit_text(enum cli_exit exit_code);
const char *cli_error_name(int code);

/* Tell an error on stderr: "program: sentence" and "hint: …", or one JSON object. */
void cli_tell(const char *program, const struct rgm_error *error, bool json, bool color);
/* Say something that is not an error ("warning: …") on stderr, one line, names escaped. */
__attribute__((format(printf, 1, 2))) void cli_say(const char *format, ...);

#endif
