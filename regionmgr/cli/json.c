/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regionmgr/cli/text.h"

/* cJSON takes the item over, or ignores NULL: without memory a key is missing, and the document's
 * printing fails next. */
static void add_raw(cJSON *object, const char *key, const char *raw)
{
	cJSON_AddItemToObject(object, key, cJSON_CreateRaw(raw));
}

void json_unsigned(cJSON *object, const char *key, uint64_t number)
{
	char raw[24];

	(void)snprintf(raw, sizeof raw, "%" PRIu64, number);
	add_raw(object, key, raw);
}

void json_number(cJSON *object, const char *key, int64_t number)
{
	char raw[24];

	(void)snprintf(raw, sizeof raw, "%" PRId64, number);
	add_raw(object, key, raw);
}

static char *quote_one(char *to, const char *text, size_t have, uint32_t point)
{
	unsigned char byte = (unsigned char)text[0];

	if (have == 0)
		return to + sprintf(to, "\\udc%02x", byte);
	if (byte == '"' || byte == '\\') {
		*to++ = '\\';
		*to++ = (char)byte;
		return to;
	}
	if (point < 0x20 || (point >= 0x7f && point < 0xa0))
		return to + sprintf(to, "\\u%04x", (unsigned)point);
	memcpy(to, text, have);
	return to + have;
}

cJSON *json_string(const char *text, size_t length)
{
	char *raw = malloc(length * 6 + 3), *to = raw;
	cJSON *item;

	if (raw == NULL)
		return NULL;
	*to++ = '"';
	while (length > 0) {
		uint32_t point = 0;
		size_t have = text_utf8(text, length, &point);

		to = quote_one(to, text, have, point);
		have = have == 0 ? 1 : have;
		text += have;
		length -= have;
	}
	*to++ = '"';
	*to = '\0';
	item = cJSON_CreateRaw(raw);
	free(raw);
	return item;
}

void json_text(cJSON *object, const char *key, const char *text)
{
	cJSON_AddItemToObject(object, key, json_string(text, strlen(text)));
}

cJSON *json_real(double number)
{
	char raw[48];

	(void)snprintf(raw, sizeof raw, "%.6f", number);
	return cJSON_CreateRaw(raw);
}
