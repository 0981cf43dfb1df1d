/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers as people type them. Sizes: 4096, 64K, 64M, 1.5G, 1GiB (powers of 1024); 64kB, 64MB (powers
 * of 1000). Durations: 500ms, 2s, 5m, 1h, and a bare number of seconds. Principals: user:NAME,
 * group:NAME or their numbers.
 */
#ifndef CLI_UNITS_H
#define CLI_UNITS_H

#include <stdbool.h>
#include <stdint.h>

#include <regionmgr/control.h>

/* Each is true with the result, or false and nothing touched. */
bool units_size(const char *text, uint64_t *ret_bytes);
bool units_count(const char *text, uint64_t *ret_count);
bool units_duration(const char *text, uint64_t *ret_ms);

/* 0 or CLI_USAGE with the sentence. */
int units_principal(const char *text, struct rgm_principal *ret_principal, struct rgm_error *error);

#endif
