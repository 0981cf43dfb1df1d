/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (RFC 3720 appendix B.4). The fastest form the processor offers is chosen at first use. */
#ifndef POOL_CRC32C_H
#define POOL_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue `crc` (0 to start) over `bytes` bytes. */
uint32_t pool_crc32c(uint32_t crc, const void *data, size_t bytes);

/* CRC of A followed by B, from both and the length of B in bytes. */
uint32_t pool_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b);

/* The forms, for tests and benches; unavailable ones are NULL. */
struct pool_crc32c_form {
	const char *name;
	uint32_t (*update)(uint32_t crc, const void *data, size_t bytes);
};
const struct pool_crc32c_form *pool_crc32c_forms(size_t *ret_count);

#endif
