/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a verb shows, in one form for three readers: an aligned table (or a list of fields) with units
 * and colour for a terminal, tabs and exact numbers for a pipe, JSON for programs. A verb fills in
 * rows; table_print() knows who reads.
 *
 * A row is begun by table_row() and filled in the columns' order by one call a cell.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum column_type {
	COLUMN_TEXT, /* may hold anything: escaped for its reader */
	COLUMN_NUMBER,
	COLUMN_BYTES,
	COLUMN_DURATION, /* ns */
	COLUMN_TIME,     /* ns since 1970 */
	COLUMN_CRC,      /* 8 hexadecimal digits, in each form */
	COLUMN_REAL,
	COLUMN_FLAG,
};
enum column_flags {
	COLUMN_DELTA = 1,  /* --watch shows how it changes */
	COLUMN_JSON = 2,   /* in JSON alone: too much for a row */
	COLUMN_SHRINK = 4, /* cut on a narrow terminal; one a table, the last */
	COLUMN_STATE = 8,  /* coloured by its word */
};
struct column {
	const char *key;   /* of JSON, never renamed; also names fields */
	const char *title; /* over a column; NULL: the key */
	enum column_type type;
	unsigned flags; /* of enum column_flags */
};

struct cell {
	char *text; /* owned; of text and reals' unit-less form */
	size_t text_length;
	uint64_t number;
	double real;
	bool null; /* JSON null, "-" otherwise */
};

enum table_shape {
	TABLE_ROWS,    /* a table; JSON: an array of objects */
	TABLE_RECORD,  /* one row, shown as fields; JSON: an object */
	TABLE_RECORDS, /* several, shown as fields; JSON: an array */
};

struct table {
	const struct column *columns; /* ended by a NULL key */
	size_t column_count;
	enum table_shape shape;
	struct cell *cells;
	size_t row_count, row_capacity;
	size_t next;       /* cell to be filled */
	const char *empty; /* said on a terminal when there are no rows; may be NULL */
	bool failed;       /* no memory */
};

void table_begin(struct table *table, const struct column *columns, enum table_shape shape);
void table_free(struct table *table);
void table_row(struct table *table);
void table_text(struct table *table, const char *text);
void table_text_length(struct table *table, const char *text, size_t length);
void table_number(struct table *table, uint64_t number); /* numbers, bytes, times, flags, crc */
void table_real(struct table *table, double real);
void table_null(struct table *table);

const struct cell *table_cell(const struct table *table, size_t row, size_t column);
/* The row of `table` whose first cell is that of `other`'s row; NULL if there is none. */
const struct cell *table_same_row(const struct table *table, const struct table *other, size_t row);

/* Who reads. */
struct table_view {
	bool terminal;
	bool color;
	size_t width; /* of the terminal; 0: not known */
};

/* The JSON value, owned by the caller; NULL without memory. */
cJSON *table_json(const struct table *table);
/* One cell for a terminal or (terminal false) for a pipe; freed by the caller; NULL: no memory. */
char *table_cell_text(const struct column *column, const struct cell *cell, bool terminal);
/* As text to standard output, by out.h. -ENOMEM. */
int table_print(const struct table *table, const struct table_view *view);

#endif
