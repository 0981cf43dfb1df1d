/* SPDX-License-Identifier: Apache-2.0 */
/* Tables as text: for a terminal aligned, for a pipe separated by tabs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "regionmgr/cli/out.h"
#include "regionmgr/cli/table.h"
#include "regionmgr/cli/text.h"

#define GAP 2u

static bool right_aligned(const struct column *column)
{
	return column->type != COLUMN_TEXT && column->type != COLUMN_TIME &&
	       column->type != COLUMN_CRC && column->type != COLUMN_FLAG;
}

static const char *state_color(const char *text)
{
	static const struct {
		const char *word, *color;
	} states[] = {
		{"serving", "\033[32m"},
		{"sound", "\033[32m"},
		{"ok", "\033[32m"},
		{"warn", "\033[33m"},
		{"ending", "\033[33m"},
		{"refused", "\033[31m"},
		{"corrupt", "\033[31m"},
		{"fail", "\033[31m"},
	};

	for (size_t i = 0; text != NULL && i < sizeof states / sizeof states[0]; i++) {
		if (strcmp(states[i].word, text) == 0)
			return states[i].color;
	}
	return NULL;
}

static const char *title_of(const struct column *column)
{
	return column->title != NULL ? column->title : column->key;
}

static void pad(size_t columns)
{
	static const char blanks[] = "                                ";

	while (columns > 0) {
		size_t now = columns < sizeof blanks - 1 ? columns : sizeof blanks - 1;

		out_write(blanks, now);
		columns -= now;
	}
}

static void put(const char *text, size_t width, bool right, const char *color)
{
	size_t own = text_width(text), gap = width > own ? width - own : 0;

	if (right)
		pad(gap);
	if (color != NULL)
		out_text(color);
	out_text(text);
	if (color != NULL)
		out_text("\033[0m");
	if (!right)
		pad(gap);
}

/* The texts of all cells, row by row; NULL for columns that are not shown. */
static char **texts_of(const struct table *table, bool terminal)
{
	size_t count = table->row_count * table->column_count;
	char **texts = calloc(count + 1, sizeof *texts);

	for (size_t i = 0; texts != NULL && i < count; i++) {
		const struct column *column = &table->columns[i % table->column_count];

		if ((column->flags & COLUMN_JSON) != 0)
			continue;
		texts[i] = table_cell_text(column, &table->cells[i], terminal);
		if (texts[i] == NULL) {
			while (i-- > 0)
				free(texts[i]);
			free(texts);
			return NULL;
		}
	}
	return texts;
}

static void texts_free(const struct table *table, char **texts)
{
	for (size_t i = 0; i < table->row_count * table->column_count; i++)
		free(texts[i]);
	free(texts);
}

/* Widths of the shown columns; the one that may shrink gets what is left of the line. */
static void measure(const struct table *table, char **texts, size_t line, size_t *widths)
{
	size_t total = 0, shown = 0, shrink = table->column_count;

	for (size_t i = 0; i < table->column_count; i++) {
		const struct column *column = &table->columns[i];

		widths[i] = 0;
		if ((column->flags & COLUMN_JSON) != 0)
			continue;
		widths[i] = strlen(title_of(column));
		for (size_t row = 0; row < table->row_count; row++) {
			size_t width = text_width(texts[row * table->column_count + i]);

			widths[i] = width > widths[i] ? width : widths[i];
		}
		total += widths[i];
		shown++;
		if ((column->flags & COLUMN_SHRINK) != 0)
			shrink = i;
	}
	total += shown > 0 ? (shown - 1) * GAP : 0;
	if (line != 0 && total > line && shrink < table->column_count) {
		size_t over = total - line;

		widths[shrink] = widths[shrink] > over + 8 ? widths[shrink] - over : 8;
	}
}

static void print_row(const struct table *table, char **texts, const size_t *widths,
	const struct table_view *view, bool header)
{
	bool first = true;

	for (size_t i = 0; i < table->column_count; i++) {
		const struct column *column = &table->columns[i];
		const char *color = NULL, *text = header ? title_of(column) : texts[i];
		bool last = true;

		if ((column->flags & COLUMN_JSON) != 0)
			continue;
		for (size_t j = i + 1; j < table->column_count; j++)
			last = last && (table->columns[j].flags & COLUMN_JSON) != 0;
		if (view->color && header)
			color = "\033[1m";
		else if (view->color && (column->flags & COLUMN_STATE) != 0)
			color = state_color(text);
		if (!header && (column->flags & COLUMN_SHRINK) != 0)
			text_cut(texts[i], widths[i]);
		if (!first)
			pad(GAP);
		/* nothing behind the last column: no trailing blanks */
		put(text, last && !right_aligned(column) ? 0 : widths[i], right_aligned(column),
			color);
		first = false;
	}
	out_text("\n");
}

static int print_rows(const struct table *table, const struct table_view *view)
{
	char **texts = texts_of(table, true);
	size_t *widths = calloc(table->column_count + 1, sizeof *widths);

	if (texts != NULL && widths != NULL && table->row_count > 0) {
		measure(table, texts, view->width, widths);
		print_row(table, NULL, widths, view, true);
		for (size_t row = 0; row < table->row_count; row++)
			print_row(table, texts + row * table->column_count, widths, view, false);
	} else if (texts != NULL && widths != NULL && table->empty != NULL) {
		out_printf("%s\n", table->empty);
	}
	if (texts != NULL)
		texts_free(table, texts);
	free(widths);
	return texts == NULL || widths == NULL ? -ENOMEM : 0;
}

static int print_fields(const struct table *table, const struct table_view *view)
{
	char **texts = texts_of(table, view->terminal);
	size_t widest = 0;

	if (texts == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < table->column_count; i++) {
		size_t width = strlen(title_of(&table->columns[i]));

		if ((table->columns[i].flags & COLUMN_JSON) == 0)
			widest = width > widest ? width : widest;
	}
	for (size_t row = 0; row < table->row_count; row++) {
		if (row > 0)
			out_text("\n");
		for (size_t i = 0; i < table->column_count; i++) {
			const struct column *column = &table->columns[i];
			const char *text = texts[row * table->column_count + i];

			if ((column->flags & COLUMN_JSON) != 0)
				continue;
			if (!view->terminal) {
				out_printf("%s\t%s\n", column->key, text);
				continue;
			}
			put(title_of(column), widest + GAP, false, view->color ? "\033[1m" : NULL);
			put(text, 0, false,
				view->color && (column->flags & COLUMN_STATE) != 0
					? state_color(text)
					: NULL);
			out_text("\n");
		}
	}
	if (table->row_count == 0 && view->terminal && table->empty != NULL)
		out_printf("%s\n", table->empty);
	texts_free(table, texts);
	return 0;
}

static int print_tabs(const struct table *table)
{
	char **texts = texts_of(table, false);

	if (texts == NULL)
		return -ENOMEM;
	for (size_t row = 0; row < table->row_count; row++) {
		bool first = true;

		for (size_t i = 0; i < table->column_count; i++) {
			if ((table->columns[i].flags & COLUMN_JSON) != 0)
				continue;
			out_printf("%s%s", first ? "" : "\t", texts[row * table->column_count + i]);
			first = false;
		}
		out_text("\n");
	}
	texts_free(table, texts);
	return 0;
}

int table_print(const struct table *table, const struct table_view *view)
{
	if (table->failed)
		return -ENOMEM;
	if (table->shape != TABLE_ROWS)
		return print_fields(table, view);
	return view->terminal ? print_rows(table, view) : print_tabs(table);
}
