/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C as arithmetic, for crc32c.c and the forms of one processor.
 *
 * Bytes are a polynomial over GF(2), the first bit (the lowest of the first byte) its highest
 * coefficient. A remainder modulo P (degree 32) is a uint32_t in the same order: bit 31 is the
 * coefficient of x^0, bit 0 that of x^31. The register of a CRC ("state") starts as all ones and is
 * inverted at the end; appending n zero bytes multiplies it by x^(8n).
 */
#ifndef POOL_CRC32C_INTERNAL_H
#define POOL_CRC32C_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#define CRC32C_POLYNOMIAL 0x82f63b78u /* x^32 + 1edc6f41h, reversed; x^32 itself is implied */

/* a * b mod P. */
uint32_t crc32c_multiply(uint32_t a, uint32_t b);
/* x^exponent mod P. */
uint32_t crc32c_power(uint64_t exponent);

#if defined(__x86_64__)
/* Whether this processor has what the form needs; if so its constants are made. Called once. */
int crc32c_sse42_prepare(void);
int crc32c_avx512_prepare(void);
uint32_t crc32c_sse42(uint32_t crc, const void *data, size_t bytes);
uint32_t crc32c_avx512(uint32_t crc, const void *data, size_t bytes);
#endif

#endif
