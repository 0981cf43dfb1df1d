/* SPDX-License-Identifier: Apache-2.0 */
/* Two independent ways to the same checksum; see crc.h. */
#include "crc.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* 0x1EDC6F41, bit by bit from the other end */

static uint32_t table[8][256];
static uint32_t (*fast)(uint32_t crc, const void *data, size_t bytes) = crc_by_table;

/* Eight bytes a step: table[k][b] is what byte b contributes when k more bytes follow it. */
uint32_t crc_by_table(uint32_t crc, const void *data, size_t bytes)
{
	const unsigned char *at = data;

	crc = ~crc;
	for (; bytes >= 8; bytes -= 8, at += 8) {
		uint32_t next = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 |
					      (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);

		crc = table[7][next & 255] ^ table[6][next >> 8 & 255] ^
		      table[5][next >> 16 & 255] ^ table[4][next >> 24] ^ table[3][at[4]] ^
		      table[2][at[5]] ^ table[1][at[6]] ^ table[0][at[7]];
	}
	for (; bytes > 0; bytes--, at++)
		crc = crc >> 8 ^ table[0][(crc ^ *at) & 255];
	return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(
	uint32_t crc, const void *data, size_t bytes)
{
	const unsigned char *at = data;
	uint64_t wide = (uint32_t)~crc;

	for (; bytes >= 8; bytes -= 8, at += 8) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		wide = __builtin_ia32_crc32di(wide, word);
	}
	crc = (uint32_t)wide;
	for (; bytes > 0; bytes--, at++)
		crc = __builtin_ia32_crc32qi(crc, *at);
	return ~crc;
}
#endif

uint32_t crc_fast(uint32_t crc, const void *data, size_t bytes)
{
	return fast(crc, data, bytes);
}

bool crc_prepare(void)
{
	unsigned char sample[259];

	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
		table[0][i] = crc;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int k = 1; k < 8; k++)
			table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		fast = by_instruction;
#endif
	for (size_t i = 0; i < sizeof(sample); i++)
		sample[i] = (unsigned char)(i * 37 + i / 7);
	for (size_t i = 0; i < 16; i++)
		if (crc_fast(7, sample + i, sizeof(sample) - 2 * i) !=
			crc_by_table(7, sample + i, sizeof(sample) - 2 * i))
			return false;
	/* the check value of the catalogues */
	return crc_by_table(0, "123456789", 9) == 0xe3069283u;
}
