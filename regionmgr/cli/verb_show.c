/* SPDX-License-Identifier: Apache-2.0 */
/* show: a dimension in full, by the manager and the kernel; or its layers, by reading them. */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regionmgr/cli/reader.h"
#include "regionmgr/cli/verbs.h"

static const struct column show_columns[] = {
	{"name", NULL, COLUMN_TEXT, 0},
	{"kind", NULL, COLUMN_TEXT, 0},
	{"state", NULL, COLUMN_TEXT, COLUMN_STATE},
	{"reason", NULL, COLUMN_TEXT, 0},
	{"mode", NULL, COLUMN_TEXT, 0},
	{"backing", NULL, COLUMN_TEXT, 0},
	{"file", NULL, COLUMN_TEXT, 0},
	{"id", NULL, COLUMN_NUMBER, 0},
	{"generation", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"version", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"changed_ns", "changed", COLUMN_TIME, 0},
	{"layers", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"bytes", NULL, COLUMN_BYTES, COLUMN_DELTA},
	{"region_bytes", "region", COLUMN_BYTES, COLUMN_DELTA},
	{"max_bytes", "may grow to", COLUMN_BYTES, 0},
	{"block_bytes", "blocks on disk", COLUMN_BYTES, COLUMN_DELTA},
	{"resident_bytes", "in memory", COLUMN_BYTES, COLUMN_DELTA},
	{"live_pages", "live pages", COLUMN_NUMBER, COLUMN_DELTA},
	{"allocated_pages", "allocated pages", COLUMN_NUMBER, COLUMN_DELTA},
	{"retired_pages", "retired pages", COLUMN_NUMBER, COLUMN_DELTA},
	{"free_pages", "free pages", COLUMN_NUMBER, COLUMN_DELTA},
	{"largest_free_pages", "longest free run", COLUMN_NUMBER, COLUMN_DELTA},
	{"readers", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"holds", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"access", NULL, COLUMN_TEXT, 0},
	{NULL, NULL, COLUMN_TEXT, 0},
};

/* "user:www-data group:staff", by names where there are any. */
static void access_text(const struct rgm_dimension_row *row, char *ret_text, size_t bytes)
{
	size_t used = 0;

	ret_text[0] = '\0';
	for (size_t i = 0; i < row->access_count && i < 16; i++) {
		const struct rgm_principal *who = &row->access[i];
		const char *kind = who->type == 'u' ? "user" : "group", *name = NULL;
		struct passwd *user = who->type == 'u' ? getpwuid(who->id) : NULL;
		struct group *group = who->type == 'g' ? getgrgid(who->id) : NULL;
		char number[16];
		int length;

		(void)snprintf(number, sizeof number, "%u", who->id);
		name = user != NULL ? user->pw_name : group != NULL ? group->gr_name : number;
		length = snprintf(
			ret_text + used, bytes - used, "%s%s:%s", used > 0 ? " " : "", kind, name);
		if (length < 0 || (size_t)length >= bytes - used)
			return;
		used += (size_t)length;
	}
}

static void show_row(struct table *table, const struct rgm_dimension_row *row)
{
	char who[1024];

	table_row(table);
	table_text(table, row->name);
	table_text(table, row->kind);
	table_text(table, row->state);
	if (row->reason[0] != '\0')
		table_text(table, row->reason);
	else
		table_null(table);
	table_text(table, row->mode);
	table_text(table, row->backing);
	table_text(table, row->file);
	table_number(table, row->id);
	table_number(table, row->generation);
	table_number(table, row->version);
	table_number(table, row->changed_ns);
	table_number(table, row->layers);
	table_number(table, row->bytes);
	table_number(table, row->region_bytes);
	table_number(table, row->max_bytes);
	table_number(table, row->block_bytes);
	table_number(table, row->resident_bytes);
	table_number(table, row->live_pages);
	table_number(table, row->allocated_pages);
	table_number(table, row->retired_pages);
	table_number(table, row->free_pages);
	table_number(table, row->largest_free_pages);
	table_number(table, row->readers);
	table_number(table, row->holds);
	access_text(row, who, sizeof who);
	if (who[0] != '\0')
		table_text(table, who);
	else
		table_null(table);
}

static int show_one(struct cli *cli, const char *name, struct table *table, struct rgm_error *error)
{
	struct rgm_dimension_row row;
	int rc = rgm_control_show(cli->control, name, &row, error);

	if (rc == 0)
		show_row(table, &row);
	return rc;
}

static int collect_show(
	struct cli *cli, const struct look *look, struct table *table, struct rgm_error *error)
{
	struct rgm_dimension_row *rows = NULL;
	size_t count = 0;
	int rc;

	(void)look;
	if (cli->args.word_count > 0) {
		rc = show_one(cli, cli->args.words[0], table, error);
		if (rc != 0)
			cli_explain(cli, cli->args.words[0], error);
		return rc;
	}
	rc = rgm_control_list(cli->control, &rows, &count, error);
	for (size_t i = 0; i < count && rc == 0; i++) {
		rc = show_one(cli, rows[i].name, table, error);
		if (rc == RGM_ENODIM)
			rc = 0; /* dropped since it was listed */
	}
	free(rows);
	return rc;
}

static const struct column layer_columns[] = {
	{"layer", NULL, COLUMN_TEXT, 0},
	{"bytes", NULL, COLUMN_BYTES, COLUMN_DELTA},
	{"crc32c", NULL, COLUMN_CRC, 0},
	{"version", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"time_ns", "time", COLUMN_TIME, 0},
	{"media_type", "media type", COLUMN_TEXT, 0},
	{NULL, NULL, COLUMN_TEXT, 0},
};

static int collect_layers(
	struct cli *cli, const struct look *look, struct table *table, struct rgm_error *error)
{
	const char *name = cli->args.words[0];
	struct rgm_layers layers;
	struct rgm_layer layer;
	struct reader reader;
	int rc = reader_open(cli, &name, 1, &reader, error);

	(void)look;
	if (rc != 0)
		return rc;
	rc = rgm_layers_open_hold(reader.holds[0], &layers, error);
	if (rc == 0) {
		rgm_layers_seek(&layers, args_text(&cli->args, "prefix"));
		while (rgm_layers_next_layer(&layers, &layer)) {
			table_row(table);
			table_text_length(table, layer.name, layer.name_length);
			table_number(table, layer.data.size);
			table_number(table, layer.crc32c);
			table_number(table, layer.version);
			table_number(table, layer.time_ns);
			if (layer.media_type != NULL)
				table_text(table, layer.media_type);
			else
				table_null(table);
		}
	}
	return reader_end(&reader, rc, error);
}

int verb_show(struct cli *cli, struct rgm_error *error)
{
	bool layers = args_flag(&cli->args, "layers");
	int rc;

	if (args_text(&cli->args, "prefix") != NULL && !layers) {
		pool_fail(error, CLI_USAGE, "show: --prefix chooses layers, so it needs --layers");
		return cli_hint(error, "for example: %s", cli->verb->examples[1].command);
	}
	if (layers && cli->args.word_count == 0)
		return pool_fail(error, CLI_USAGE, "show: --layers needs the NAME of a dimension");
	if (layers)
		return view_run(cli, layer_columns, TABLE_ROWS, "no layers", collect_layers, error);
	rc = cli_control(cli, error);
	if (rc != 0)
		return rc;
	return view_run(cli, show_columns, cli->args.word_count > 0 ? TABLE_RECORD : TABLE_RECORDS,
		"no dimensions yet", collect_show, error);
}
