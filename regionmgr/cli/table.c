/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/table.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regionmgr/cli/json.h"
#include "regionmgr/cli/text.h"

void table_begin(struct table *table, const struct column *columns, enum table_shape shape)
{
	memset(table, 0, sizeof *table);
	table->columns = columns;
	table->shape = shape;
	while (columns[table->column_count].key != NULL)
		table->column_count++;
}

void table_free(struct table *table)
{
	for (size_t i = 0; i < table->row_count * table->column_count; i++)
		free(table->cells[i].text);
	free(table->cells);
	memset(table, 0, sizeof *table);
}

void table_row(struct table *table)
{
	size_t capacity = table->row_capacity == 0 ? 16 : table->row_capacity * 2;
	struct cell *cells;

	assert(table->failed || table->next == table->row_count * table->column_count);
	if (table->row_count == table->row_capacity) {
		cells = reallocarray(table->cells, capacity * table->column_count, sizeof *cells);
		if (cells == NULL) {
			table->failed = true;
			return;
		}
		table->cells = cells;
		table->row_capacity = capacity;
	}
	memset(&table->cells[table->row_count * table->column_count], 0,
		table->column_count * sizeof *table->cells);
	table->row_count++;
}

static struct cell *next_cell(struct table *table)
{
	static struct cell unused;

	if (table->failed)
		return &unused;
	assert(table->next < table->row_count * table->column_count);
	return &table->cells[table->next++];
}

void table_text_length(struct table *table, const char *text, size_t length)
{
	struct cell *cell = next_cell(table);

	if (table->failed)
		return;
	cell->text = malloc(length + 1);
	if (cell->text == NULL) {
		table->failed = true;
		return;
	}
	memcpy(cell->text, text, length);
	cell->text[length] = '\0';
	cell->text_length = length;
}

void table_text(struct table *table, const char *text)
{
	table_text_length(table, text, strlen(text));
}

void table_number(struct table *table, uint64_t number)
{
	next_cell(table)->number = number;
}

void table_real(struct table *table, double real)
{
	next_cell(table)->real = real;
}

void table_null(struct table *table)
{
	next_cell(table)->null = true;
}

const struct cell *table_cell(const struct table *table, size_t row, size_t column)
{
	return &table->cells[row * table->column_count + column];
}

const struct cell *table_same_row(const struct table *table, const struct table *other, size_t row)
{
	const struct cell *key = table_cell(other, row, 0);
	bool text = table->columns[0].type == COLUMN_TEXT;

	for (size_t i = 0; i < table->row_count; i++) {
		const struct cell *cell = table_cell(table, i, 0);

		if (table->shape == TABLE_RECORD ||
			(text ? cell->text_length == key->text_length &&
						memcmp(cell->text, key->text, key->text_length) == 0
			      : cell->number == key->number))
			return cell;
	}
	return NULL;
}

static void cell_json(cJSON *object, const struct column *column, const struct cell *cell)
{
	char crc[16];

	if (cell->null) {
		cJSON_AddNullToObject(object, column->key);
		return;
	}
	switch (column->type) {
	case COLUMN_TEXT:
		cJSON_AddItemToObject(
			object, column->key, json_string(cell->text, cell->text_length));
		break;
	case COLUMN_CRC:
		(void)snprintf(crc, sizeof crc, "%08" PRIx64, cell->number);
		json_text(object, column->key, crc);
		break;
	case COLUMN_REAL:
		cJSON_AddItemToObject(object, column->key, json_real(cell->real));
		break;
	case COLUMN_FLAG:
		cJSON_AddBoolToObject(object, column->key, cell->number != 0);
		break;
	case COLUMN_NUMBER:
	case COLUMN_BYTES:
	case COLUMN_DURATION:
	case COLUMN_TIME:
		json_unsigned(object, column->key, cell->number);
		break;
	}
}

cJSON *table_json(const struct table *table)
{
	cJSON *array = table->shape == TABLE_RECORD ? NULL : cJSON_CreateArray();
	cJSON *object = NULL;

	if (table->failed)
		return NULL;
	for (size_t row = 0; row < table->row_count; row++) {
		object = cJSON_CreateObject();
		for (size_t i = 0; i < table->column_count; i++)
			cell_json(object, &table->columns[i], table_cell(table, row, i));
		if (array != NULL)
			cJSON_AddItemToArray(array, object);
	}
	return array != NULL ? array : object;
}

static void cell_pretty(
	char text[TEXT_NUMBER_BYTES], const struct column *column, const struct cell *cell)
{
	if (column->type == COLUMN_BYTES)
		text_bytes(text, cell->number);
	else if (column->type == COLUMN_DURATION)
		text_duration(text, cell->number);
	else if (column->type == COLUMN_TIME)
		text_time(text, cell->number);
	else if (column->type == COLUMN_REAL)
		(void)snprintf(text, TEXT_NUMBER_BYTES, "%.2f", cell->real);
	else
		(void)snprintf(text, TEXT_NUMBER_BYTES, "%" PRIu64, cell->number);
}

char *table_cell_text(const struct column *column, const struct cell *cell, bool terminal)
{
	char text[TEXT_NUMBER_BYTES];

	if (cell->null)
		return strdup(terminal ? "-" : "");
	switch (column->type) {
	case COLUMN_TEXT: {
		/* one byte may become four, three bytes at most "\u{feff}" */
		size_t capacity = cell->text_length * 4 + 16;
		char *escaped = malloc(capacity);

		if (escaped != NULL)
			(void)text_escape(escaped, capacity, cell->text, cell->text_length,
				terminal ? TEXT_TTY : TEXT_PIPE);
		return escaped;
	}
	case COLUMN_FLAG:
		return strdup(cell->number != 0 ? "yes" : "no");
	case COLUMN_CRC:
		(void)snprintf(text, sizeof text, "%08" PRIx64, cell->number);
		return strdup(text);
	case COLUMN_REAL:
		if (!terminal)
			(void)snprintf(text, sizeof text, "%.6f", cell->real);
		else
			cell_pretty(text, column, cell);
		return strdup(text);
	case COLUMN_NUMBER:
	case COLUMN_BYTES:
	case COLUMN_DURATION:
	case COLUMN_TIME:
		break;
	}
	if (terminal)
		cell_pretty(text, column, cell);
	else
		(void)snprintf(text, sizeof text, "%" PRIu64, cell->number);
	return strdup(text);
}
