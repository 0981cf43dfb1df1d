/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C of our own, twice: by tables, for what is expected of the source files, and by the
 * processor's instruction where there is one, for what the workers scan. Neither shares a line with
 * the library under test.
 */
#ifndef MAIN_JOB_CRC_H
#define MAIN_JOB_CRC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Build the tables and choose the fast form. Once, before any thread. False if the two disagree. */
bool crc_prepare(void);

/* Continue from `crc`, 0 to start. */
uint32_t crc_by_table(uint32_t crc, const void *data, size_t bytes);
uint32_t crc_fast(uint32_t crc, const void *data, size_t bytes);

#endif
