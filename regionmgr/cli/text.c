/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

size_t text_utf8(const char *text, size_t length, uint32_t *ret_point)
{
	const unsigned char *bytes = (const unsigned char *)text;
	static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t point;
	size_t need, i;

	if (length == 0)
		return 0;
	if (bytes[0] < 0x80) {
		*ret_point = bytes[0];
		return 1;
	}
	if (bytes[0] >= 0xc2 && bytes[0] < 0xe0)
		need = 2, point = bytes[0] & 0x1fu;
	else if (bytes[0] >= 0xe0 && bytes[0] < 0xf0)
		need = 3, point = bytes[0] & 0x0fu;
	else if (bytes[0] >= 0xf0 && bytes[0] < 0xf5)
		need = 4, point = bytes[0] & 0x07u;
	else
		return 0;
	if (length < need)
		return 0;
	for (i = 1; i < need; i++) {
		if ((bytes[i] & 0xc0u) != 0x80u)
			return 0;
		point = point << 6 | (bytes[i] & 0x3fu);
	}
	/* overlong forms, surrogates, beyond the last plane */
	if (point < least[need] || (point >= 0xd800 && point < 0xe000) || point > 0x10ffff)
		return 0;
	*ret_point = point;
	return need;
}

/* Characters that move the cursor, or reorder what stands around them. */
static bool harmful(uint32_t point)
{
	return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x200e ||
	       point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
	       (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
}

/* One piece of the escaped form; returns its length. */
static size_t escape_one(
	char piece[16], const char *text, size_t have, uint32_t point, enum text_form form)
{
	unsigned char byte = (unsigned char)text[0];

	if (form == TEXT_PIPE) {
		if (byte == '\\')
			return (size_t)snprintf(piece, 16, "\\\\");
		if (byte == '\t')
			return (size_t)snprintf(piece, 16, "\\t");
		if (byte == '\n')
			return (size_t)snprintf(piece, 16, "\\n");
		if (byte < 0x20 || byte == 0x7f)
			return (size_t)snprintf(piece, 16, "\\x%02x", byte);
	} else if (have == 0 || point < 0x20 || point == 0x7f) {
		return (size_t)snprintf(piece, 16, "\\x%02x", byte);
	} else if (harmful(point)) {
		return (size_t)snprintf(piece, 16, "\\u{%" PRIx32 "}", point);
	}
	have = have == 0 ? 1 : have;
	memcpy(piece, text, have);
	return have;
}

size_t text_escape(
	char *ret_text, size_t capacity, const char *text, size_t length, enum text_form form)
{
	size_t used = 0;

	while (length > 0) {
		uint32_t point = 0;
		size_t have = text_utf8(text, length, &point), piece_length;
		char piece[16];

		piece_length = escape_one(piece, text, have, point, form);
		if (used + piece_length + 1 > capacity)
			break;
		memcpy(ret_text + used, piece, piece_length);
		used += piece_length;
		have = have == 0 ? 1 : have;
		text += have;
		length -= have;
	}
	ret_text[used] = '\0';
	return used;
}

static size_t point_width(uint32_t point)
{
	int width = wcwidth((wchar_t)point);

	return width < 0 ? 1 : (size_t)width;
}

size_t text_width(const char *text)
{
	size_t length = strlen(text), width = 0;

	while (length > 0) {
		uint32_t point = 0;
		size_t have = text_utf8(text, length, &point);

		width += have == 0 ? 1 : point_width(point);
		have = have == 0 ? 1 : have;
		text += have;
		length -= have;
	}
	return width;
}

void text_cut(char *text, size_t width)
{
	size_t length = strlen(text), at = 0, used = 0;

	if (text_width(text) <= width || width == 0)
		return;
	while (at < length) {
		uint32_t point = 0;
		size_t have = text_utf8(text + at, length - at, &point);
		size_t wide = have == 0 ? 1 : point_width(point);

		if (used + wide + 1 > width)
			break;
		used += wide;
		at += have == 0 ? 1 : have;
	}
	/* the ellipsis takes three bytes; at least as many are cut away or the text was longer */
	if (at + 3 <= length)
		memcpy(text + at, "\xe2\x80\xa6", 4);
	else
		text[at] = '\0';
}

void text_bytes(char ret_text[TEXT_NUMBER_BYTES], uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1023.95 && unit + 1 < sizeof units / sizeof units[0]) {
		value /= 1024.0;
		unit++;
	}
	if (unit == 0)
		(void)snprintf(ret_text, TEXT_NUMBER_BYTES, "%" PRIu64 " B", bytes);
	else
		(void)snprintf(ret_text, TEXT_NUMBER_BYTES, "%.1f %s", value, units[unit]);
}

void text_duration(char ret_text[TEXT_NUMBER_BYTES], uint64_t duration_ns)
{
	uint64_t seconds = duration_ns / 1000000000u;
	double value = (double)duration_ns;

	if (duration_ns < 1000u)
		(void)snprintf(ret_text, TEXT_NUMBER_BYTES, "%" PRIu64 " ns", duration_ns);
	else if (duration_ns < 999950u)
		(void)snprintf(ret_text, TEXT_NUMBER_BYTES, "%.1f us", value / 1e3);
	else if (duration_ns < 999950000u)
		(void)snprintf(ret_text, TEXT_NUMBER_BYTES, "%.1f ms", value / 1e6);
	else if (seconds < 60)
		(void)snprintf(ret_text, TEXT_NUMBER_BYTES, "%.1f s", value / 1e9);
	else if (seconds < 3600)
		(void)snprintf(ret_text, TEXT_NUMBER_BYTES, "%" PRIu64 "m%02" PRIu64 "s",
			seconds / 60, seconds % 60);
	else if (seconds < 86400)
		(void)snprintf(ret_text, TEXT_NUMBER_BYTES, "%" PRIu64 "h%02" PRIu64 "m",
			seconds / 3600, seconds / 60 % 60);
	else
		(void)snprintf(ret_text, TEXT_NUMBER_BYTES, "%" PRIu64 "d%02" PRIu64 "h",
			seconds / 86400, seconds / 3600 % 24);
}

void text_time(char ret_text[TEXT_NUMBER_BYTES], uint64_t time_ns)
{
	time_t seconds = (time_t)(time_ns / 1000000000u);
	struct tm parts;

	if (time_ns == 0 || localtime_r(&seconds, &parts) == NULL)
		(void)snprintf(ret_text, TEXT_NUMBER_BYTES, "-");
	else
		(void)strftime(ret_text, TEXT_NUMBER_BYTES, "%Y-%m-%d %H:%M:%S", &parts);
}

void text_time_utc(char ret_text[TEXT_NUMBER_BYTES], uint64_t time_ns)
{
	time_t seconds = (time_t)(time_ns / 1000000000u);
	struct tm parts;
	size_t used;

	if (gmtime_r(&seconds, &parts) == NULL) {
		(void)snprintf(ret_text, TEXT_NUMBER_BYTES, "-");
		return;
	}
	used = strftime(ret_text, TEXT_NUMBER_BYTES, "%Y-%m-%dT%H:%M:%S", &parts);
	(void)snprintf(ret_text + used, TEXT_NUMBER_BYTES - used, ".%03uZ",
		(unsigned)(time_ns / 1000000u % 1000u));
}
