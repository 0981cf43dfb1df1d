/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON documents by cJSON, with the two things it lacks: whole numbers of 64 bits (cJSON keeps
 * doubles, exact to 2^53 only) and names that are not UTF-8. A byte that is not part of valid UTF-8
 * is written as \udcHH, the lone surrogate U+DC00 + byte: what Python calls surrogateescape, so that
 * os.fsencode(json.loads(…)) gives the name back. Everything else is plain UTF-8.
 */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <cjson/cJSON.h>
#include <stdint.h>
#include <stddef.h>

void json_unsigned(cJSON *object, const char *key, uint64_t number);
void json_number(cJSON *object, const char *key, int64_t number);
void json_text(cJSON *object, const char *key, const char *text);
/* A string of given length as an item of its own; NULL without memory. */
cJSON *json_string(const char *text, size_t length);
/* A real number with six significant digits behind the point at most. */
cJSON *json_real(double number);

#endif
