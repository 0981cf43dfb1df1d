/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that goes out: names made harmless, numbers made readable. Nothing here allocates.
 *
 * Names come from others: a layer may be called "\033[2J" or carry a tab. Three forms:
 *   TEXT_TTY   for the eye: control characters, direction overrides and bytes that are not UTF-8
 *              become \xHH or \u{HEX}
 *   TEXT_PIPE  for tools: \\, \t, \n, \xHH for control characters, so that a row is one line and the
 *              name can be had back; every other byte as it is
 *   TEXT_LINE  for sentences, which quote names: as TEXT_TTY
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum text_form {
	TEXT_TTY,
	TEXT_PIPE,
	TEXT_LINE
};

/* Length in bytes of the valid UTF-8 sequence at `text` (1 to 4), or 0 where there is none. */
size_t text_utf8(const char *text, size_t length, uint32_t *ret_point);

/* Write the escaped form, NUL-terminated, cut between characters if it does not fit. Returns its
 * length. Four times the length, and 8 bytes more, always fit. */
size_t text_escape(
	char *ret_text, size_t capacity, const char *text, size_t length, enum text_form form);

/* Columns that escaped text takes on a terminal. */
size_t text_width(const char *text);
/* Cut escaped text in place to at most `width` columns, the last of them an ellipsis. */
void text_cut(char *text, size_t width);

#define TEXT_NUMBER_BYTES 40u
/* "299.2 MiB"; "12 B". */
void text_bytes(char ret_text[TEXT_NUMBER_BYTES], uint64_t bytes);
/* "310 ns" … "3m12s" … "2d04h". */
void text_duration(char ret_text[TEXT_NUMBER_BYTES], uint64_t duration_ns);
/* Local time, "2026-11-22 14:00:00"; "-" for 0. */
void text_time(char ret_text[TEXT_NUMBER_BYTES], uint64_t time_ns);
/* UTC with milliseconds, "2026-11-22T14:00:00.123Z". */
void text_time_utc(char ret_text[TEXT_NUMBER_BYTES], uint64_t time_ns);

#endif
