/* SPDX-License-Identifier: Apache-2.0 */
/* list, readers, stats: tables of what the manager knows. */
#include <stdlib.h>
#include <string.h>

#include "regionmgr/cli/nearest.h"
#include "regionmgr/cli/verbs.h"

static const struct column list_columns[] = {
	{"name", NULL, COLUMN_TEXT, 0},
	{"kind", NULL, COLUMN_TEXT, 0},
	{"state", NULL, COLUMN_TEXT, COLUMN_STATE},
	{"version", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"layers", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"bytes", NULL, COLUMN_BYTES, COLUMN_DELTA},
	{"region_bytes", "region", COLUMN_BYTES, COLUMN_DELTA},
	{"retired_pages", "retired", COLUMN_NUMBER, COLUMN_DELTA},
	{"changed_ns", "changed", COLUMN_TIME, 0},
	{"id", NULL, COLUMN_NUMBER, COLUMN_JSON},
	{"generation", NULL, COLUMN_NUMBER, COLUMN_JSON},
	{"mode", NULL, COLUMN_TEXT, COLUMN_JSON},
	{"backing", NULL, COLUMN_TEXT, COLUMN_JSON},
	{"file", NULL, COLUMN_TEXT, COLUMN_JSON},
	{"max_bytes", NULL, COLUMN_BYTES, COLUMN_JSON},
	{"live_pages", NULL, COLUMN_NUMBER, COLUMN_JSON},
	{"allocated_pages", NULL, COLUMN_NUMBER, COLUMN_JSON},
	{"free_pages", NULL, COLUMN_NUMBER, COLUMN_JSON},
	{"reason", NULL, COLUMN_TEXT, COLUMN_SHRINK},
	{NULL, NULL, COLUMN_TEXT, 0},
};

static int collect_list(
	struct cli *cli, const struct look *look, struct table *table, struct rgm_error *error)
{
	struct rgm_dimension_row *rows = NULL;
	size_t count = 0;
	int rc = rgm_control_list(cli->control, &rows, &count, error);

	(void)look;
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < count; i++) {
		const struct rgm_dimension_row *row = &rows[i];

		table_row(table);
		table_text(table, row->name);
		table_text(table, row->kind);
		table_text(table, row->state);
		table_number(table, row->version);
		table_number(table, row->layers);
		table_number(table, row->bytes);
		table_number(table, row->region_bytes);
		table_number(table, row->retired_pages);
		table_number(table, row->changed_ns);
		table_number(table, row->id);
		table_number(table, row->generation);
		table_text(table, row->mode);
		table_text(table, row->backing);
		table_text(table, row->file);
		table_number(table, row->max_bytes);
		table_number(table, row->live_pages);
		table_number(table, row->allocated_pages);
		table_number(table, row->free_pages);
		table_text(table, row->reason);
	}
	free(rows);
	return 0;
}

int verb_list(struct cli *cli, struct rgm_error *error)
{
	int rc = cli_control(cli, error);

	if (rc != 0)
		return rc;
	return view_run(cli, list_columns, TABLE_ROWS,
		"no dimensions yet: regionctl load NAME PATH makes one", collect_list, error);
}

static const struct column reader_columns[] = {
	{"number", NULL, COLUMN_NUMBER, 0},
	{"label", NULL, COLUMN_TEXT, 0},
	{"state", NULL, COLUMN_TEXT, COLUMN_STATE},
	{"pid", NULL, COLUMN_NUMBER, 0},
	{"uid", NULL, COLUMN_NUMBER, 0},
	{"gid", NULL, COLUMN_NUMBER, COLUMN_JSON},
	{"sections", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"holds", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"mapped", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"oldest_version", "oldest", COLUMN_NUMBER, COLUMN_DELTA},
	{"newest_version", "newest", COLUMN_NUMBER, COLUMN_DELTA},
	{"age_ns", "age", COLUMN_DURATION, 0},
	{"attached_ns", "attached", COLUMN_DURATION, 0},
	{"kept_bytes", "kept", COLUMN_BYTES, COLUMN_DELTA},
	{"membarrier", NULL, COLUMN_FLAG, COLUMN_JSON},
	{"lag", NULL, COLUMN_TEXT, 0},
	{"revoked_version", "revoked", COLUMN_NUMBER, 0},
	{NULL, NULL, COLUMN_TEXT, 0},
};

/* A version or a pid, where there is one. */
static void number_or_null(struct table *table, uint64_t number)
{
	if (number != 0)
		table_number(table, number);
	else
		table_null(table);
}

static int collect_readers(
	struct cli *cli, const struct look *look, struct table *table, struct rgm_error *error)
{
	struct rgm_reader_row *rows = NULL;
	size_t count = 0;
	int rc = rgm_control_readers(cli->control, &rows, &count, error);

	(void)look;
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < count; i++) {
		const struct rgm_reader_row *row = &rows[i];

		table_row(table);
		table_number(table, row->number);
		table_text(table, row->label);
		table_text(table, row->alive != 0 ? "attached" : "ending");
		number_or_null(table, row->pid);
		table_number(table, row->uid);
		table_number(table, row->gid);
		table_number(table, row->sections);
		table_number(table, row->holds);
		table_number(table, row->mapped);
		number_or_null(table, row->oldest_version);
		number_or_null(table, row->newest_version);
		table_number(table, row->age_ns);
		table_number(table, row->attached_ns);
		table_number(table, row->kept_bytes);
		table_number(table, row->membarrier);
		table_text(table, row->lag);
		number_or_null(table, row->revoked_version);
	}
	free(rows);
	return 0;
}

int verb_readers(struct cli *cli, struct rgm_error *error)
{
	int rc = cli_control(cli, error);

	if (rc != 0)
		return rc;
	return view_run(
		cli, reader_columns, TABLE_ROWS, "no process is attached", collect_readers, error);
}

static const struct column stats_columns[] = {
	{"counter", NULL, COLUMN_TEXT, 0},
	{"value", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"rate", "rate/s", COLUMN_REAL, 0},
	{"gauge", NULL, COLUMN_FLAG, COLUMN_JSON},
	{"unit", NULL, COLUMN_TEXT, COLUMN_JSON},
	{"description", NULL, COLUMN_TEXT, COLUMN_SHRINK},
	{NULL, NULL, COLUMN_TEXT, 0},
};

static bool asked_for(const struct cli *cli, const char *name)
{
	for (size_t i = 0; i < cli->args.word_count; i++) {
		if (strcmp(cli->args.words[i], name) == 0)
			return true;
	}
	return cli->args.word_count == 0;
}

/* Every counter asked for by name must be one. */
static int check_counters(const struct cli *cli, const struct rgm_counter *counters, size_t count,
	struct rgm_error *error)
{
	for (size_t i = 0; i < cli->args.word_count; i++) {
		const char *word = cli->args.words[i];
		struct nearest nearest;
		bool known = false;

		nearest_begin(&nearest, word);
		for (size_t j = 0; j < count; j++) {
			known = known || strcmp(counters[j].name, word) == 0;
			nearest_offer(&nearest, counters[j].name);
		}
		if (known)
			continue;
		/* a missing name, but of none of the kinds that error.h knows */
		pool_fail(error, CLI_COUNTER, "there is no counter '%s'", word);
		if (nearest_found(&nearest))
			return cli_hint(error, "did you mean '%s'?", nearest.best);
		return cli_hint(error, "'regionctl stats' lists the counters");
	}
	return 0;
}

static double rate(const struct look *look, const struct table *table, size_t row,
	const struct rgm_counter *counter, uint64_t uptime_ns)
{
	const struct cell *before = NULL;

	if (look->before != NULL)
		before = table_same_row(look->before, table, row);
	if (before != NULL && look->elapsed_ns > 0)
		return (double)(int64_t)(counter->value - before[1].number) /
		       ((double)look->elapsed_ns / 1e9);
	return uptime_ns > 0 ? (double)counter->value / ((double)uptime_ns / 1e9) : 0.0;
}

static int collect_stats(
	struct cli *cli, const struct look *look, struct table *table, struct rgm_error *error)
{
	struct rgm_counter *counters = NULL;
	struct rgm_status status;
	size_t count = 0;
	int rc = rgm_control_status(cli->control, &status, error);

	if (rc == 0)
		rc = rgm_control_stats(cli->control, &counters, &count, error);
	if (rc == 0)
		rc = check_counters(cli, counters, count, error);
	for (size_t i = 0; i < count && rc == 0; i++) {
		const struct rgm_counter *counter = &counters[i];

		if (!asked_for(cli, counter->name))
			continue;
		table_row(table);
		table_text(table, counter->name);
		table_number(table, counter->value);
		if (counter->gauge != 0 || table->failed)
			table_null(table);
		else
			table_real(table,
				rate(look, table, table->row_count - 1, counter, status.uptime_ns));
		table_number(table, counter->gauge);
		table_text(table, counter->bytes != 0 ? "bytes" : "");
		table_text(table, counter->description);
	}
	free(counters);
	return rc;
}

int verb_stats(struct cli *cli, struct rgm_error *error)
{
	int rc = cli_control(cli, error);

	if (rc != 0)
		return rc;
	return view_run(cli, stats_columns, TABLE_ROWS, NULL, collect_stats, error);
}
