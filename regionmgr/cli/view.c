/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Showing a table once, or with --watch at every tick: redrawn on a terminal; in a pipe a line a row
 * that begins with the time and ends with what the counting columns gained since the tick before;
 * with --json an object a tick.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "regionmgr/cli/cli.h"
#include "regionmgr/cli/json.h"
#include "regionmgr/cli/out.h"
#include "regionmgr/cli/text.h"
#include "regionmgr/cli/verbs.h"

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int view_json(struct cli *cli, cJSON *document, struct rgm_error *error)
{
	char *text = NULL;

	if (document != NULL)
		text = cli->view.terminal ? cJSON_Print(document)
		                          : cJSON_PrintUnformatted(document);
	cJSON_Delete(document);
	if (text == NULL)
		return pool_fail(error, -ENOMEM, "no memory for the JSON document");
	out_text(text);
	out_text("\n");
	free(text);
	return 0;
}

int view_table(struct cli *cli, const struct table *table, struct rgm_error *error)
{
	if (cli->json)
		return view_json(cli, table_json(table), error);
	if (table_print(table, &cli->view) != 0)
		return pool_fail(error, -ENOMEM, "no memory for the output");
	return 0;
}

static bool changes(const struct column *column)
{
	return (column->flags & COLUMN_DELTA) != 0;
}

static int64_t gained(const struct cell *now, const struct cell *before)
{
	return before == NULL ? 0 : (int64_t)(now->number - before->number);
}

/* {"libs": {"bytes": 4096, …}, …}, or the inner object alone for a record. */
static cJSON *delta_json(const struct table *table, const struct table *before)
{
	cJSON *all = cJSON_CreateObject();

	for (size_t row = 0; row < table->row_count; row++) {
		const struct cell *cells = table_cell(table, row, 0);
		const struct cell *old = table_same_row(before, table, row);
		cJSON *object = table->shape == TABLE_RECORD ? all : cJSON_CreateObject();

		for (size_t i = 0; i < table->column_count; i++) {
			if (changes(&table->columns[i]))
				json_number(object, table->columns[i].key,
					gained(&cells[i], old == NULL ? NULL : &old[i]));
		}
		if (object != all) {
			char *key = table_cell_text(&table->columns[0], &cells[0], false);

			if (key != NULL)
				cJSON_AddItemToObject(all, key, object);
			else
				cJSON_Delete(object);
			free(key);
		}
	}
	return all;
}

static int tick_json(struct cli *cli, const struct look *look, const struct table *table,
	const char *time, struct rgm_error *error)
{
	cJSON *document = cJSON_CreateObject();
	char *text;

	json_text(document, "time", time);
	json_unsigned(document, "elapsed_ns", look->elapsed_ns);
	cJSON_AddItemToObject(document, "value", table_json(table));
	if (look->before != NULL)
		cJSON_AddItemToObject(document, "delta", delta_json(table, look->before));
	else
		cJSON_AddNullToObject(document, "delta");
	text = cJSON_PrintUnformatted(document);
	cJSON_Delete(document);
	if (text == NULL)
		return pool_fail(error, -ENOMEM, "no memory for the JSON document");
	out_printf("%s\n", text);
	free(text);
	(void)cli;
	return 0;
}

static int tick_line(const struct look *look, const struct table *table, size_t row,
	const char *time, struct rgm_error *error)
{
	const struct cell *cells = table_cell(table, row, 0), *old = NULL;

	if (look->before != NULL)
		old = table_same_row(look->before, table, row);
	out_text(time);
	for (size_t i = 0; i < table->column_count; i++) {
		char *text;

		if ((table->columns[i].flags & COLUMN_JSON) != 0)
			continue;
		text = table_cell_text(&table->columns[i], &cells[i], false);
		if (text == NULL)
			return pool_fail(error, -ENOMEM, "no memory for the output");
		out_printf("\t%s", text);
		free(text);
	}
	for (size_t i = 0; i < table->column_count; i++) {
		if (changes(&table->columns[i]) && (table->columns[i].flags & COLUMN_JSON) == 0)
			out_printf("\t%+" PRId64, gained(&cells[i], old == NULL ? NULL : &old[i]));
	}
	out_text("\n");
	return 0;
}

static int tick_screen(
	struct cli *cli, const struct table *table, uint64_t every_ms, struct rgm_error *error)
{
	const char *kind = getenv("TERM");
	bool dumb = kind == NULL || *kind == '\0' || strcmp(kind, "dumb") == 0;
	char now[TEXT_NUMBER_BYTES], every[TEXT_NUMBER_BYTES];
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		cli->view.width = size.ws_col;
	text_time(now, clock_ns(CLOCK_REALTIME));
	text_duration(every, every_ms * 1000000u);
	/* home, draw, clear what an earlier and longer screen left */
	out_text(dumb ? "" : "\033[H\033[J");
	out_printf("%s  every %s: regionctl %s\n\n", now, every, cli->verb->name);
	if (table_print(table, &cli->view) != 0)
		return pool_fail(error, -ENOMEM, "no memory for the output");
	out_text(dumb ? "\n" : "");
	return 0;
}

static int tick(struct cli *cli, const struct look *look, const struct table *table,
	uint64_t every_ms, struct rgm_error *error)
{
	char time[TEXT_NUMBER_BYTES];
	int rc = 0;

	if (table->failed)
		return pool_fail(error, -ENOMEM, "no memory for the output");
	text_time_utc(time, clock_ns(CLOCK_REALTIME));
	if (cli->json)
		rc = tick_json(cli, look, table, time, error);
	else if (cli->view.terminal)
		rc = tick_screen(cli, table, every_ms, error);
	else
		for (size_t row = 0; row < table->row_count && rc == 0; row++)
			rc = tick_line(look, table, row, time, error);
	return rc != 0 ? rc : out_flush(error);
}

/* Until it fails, is interrupted, or its reader leaves. */
static int watch(struct cli *cli, const struct column *columns, enum table_shape shape,
	const char *empty, collector collect, uint64_t every_ms, struct rgm_error *error)
{
	struct table before = {0}, now;
	uint64_t last_ns = 0, next_ns = clock_ns(CLOCK_MONOTONIC);
	int rc = 0;

	while (rc == 0) {
		struct look look = {last_ns != 0 ? &before : NULL, 0};
		uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
		struct timespec until;

		look.elapsed_ns = last_ns != 0 ? now_ns - last_ns : 0;
		table_begin(&now, columns, shape);
		now.empty = empty;
		rc = collect(cli, &look, &now, error);
		if (rc == 0)
			rc = tick(cli, &look, &now, every_ms, error);
		if (last_ns != 0)
			table_free(&before);
		before = now;
		last_ns = now_ns;
		next_ns += every_ms * 1000000u;
		if (next_ns < now_ns)
			next_ns = now_ns; /* stopped for a while: no burst of ticks */
		until.tv_sec = (time_t)(next_ns / 1000000000u);
		until.tv_nsec = (long)(next_ns % 1000000000u);
		while (rc == 0 &&
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
			continue;
	}
	table_free(&before);
	return rc;
}

int view_run(struct cli *cli, const struct column *columns, enum table_shape shape,
	const char *empty, collector collect, struct rgm_error *error)
{
	const struct option_value *every = args_option(&cli->args, "watch");
	const struct look once = {NULL, 0};
	struct table table;
	int rc;

	if (every->given)
		return watch(cli, columns, shape, empty, collect, every->number, error);
	table_begin(&table, columns, shape);
	table.empty = empty;
	rc = collect(cli, &once, &table, error);
	if (rc == 0)
		rc = view_table(cli, &table, error);
	table_free(&table);
	return rc;
}
