/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regionmgr/cli/verbs.h"

static const struct column status_columns[] = {
	{"instance", NULL, COLUMN_TEXT, 0},
	{"instance_id", NULL, COLUMN_TEXT, 0},
	{"manager_version", NULL, COLUMN_TEXT, 0},
	{"pid", NULL, COLUMN_NUMBER, 0},
	{"uid", NULL, COLUMN_NUMBER, 0},
	{"folder", NULL, COLUMN_TEXT, 0},
	{"socket", NULL, COLUMN_TEXT, 0},
	{"started_ns", "started", COLUMN_TIME, 0},
	{"uptime_ns", "uptime", COLUMN_DURATION, 0},
	{"version", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"dimensions", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"max_dimensions", NULL, COLUMN_NUMBER, 0},
	{"refused", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"readers", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"loads", NULL, COLUMN_NUMBER, COLUMN_DELTA},
	{"content_bytes", "content", COLUMN_BYTES, COLUMN_DELTA},
	{"region_bytes", "region files", COLUMN_BYTES, COLUMN_DELTA},
	{"allocated_bytes", "allocated", COLUMN_BYTES, COLUMN_DELTA},
	{"retired_bytes", "retired", COLUMN_BYTES, COLUMN_DELTA},
	{"membarrier", NULL, COLUMN_FLAG, 0},
	{NULL, NULL, COLUMN_TEXT, 0},
};

static int collect_status(
	struct cli *cli, const struct look *look, struct table *table, struct rgm_error *error)
{
	struct rgm_status status;
	int rc = rgm_control_status(cli->control, &status, error);

	(void)look;
	if (rc != 0)
		return rc;
	table_row(table);
	table_text(table, status.instance);
	table_text(table, status.instance_id);
	table_text(table, status.version_text);
	if (status.pid != 0)
		table_number(table, status.pid);
	else
		table_null(table);
	table_number(table, status.uid);
	table_text(table, status.folder);
	table_text(table, status.socket);
	table_number(table, status.started_ns);
	table_number(table, status.uptime_ns);
	table_number(table, status.version);
	table_number(table, status.dimensions);
	table_number(table, status.max_dimensions);
	table_number(table, status.refused);
	table_number(table, status.readers);
	table_number(table, status.loads);
	table_number(table, status.content_bytes);
	table_number(table, status.region_bytes);
	table_number(table, status.allocated_bytes);
	table_number(table, status.retired_bytes);
	table_number(table, status.membarrier);
	return 0;
}

static const struct column config_columns[] = {
	{"program", NULL, COLUMN_TEXT, 0},
	{"setting", NULL, COLUMN_TEXT, 0},
	{"value", NULL, COLUMN_TEXT, 0},
	{"source", NULL, COLUMN_TEXT, COLUMN_SHRINK},
	{NULL, NULL, COLUMN_TEXT, 0},
};

static void config_row(struct table *table, const char *program, const char *setting,
	const char *value, const char *source)
{
	table_row(table);
	table_text(table, program);
	table_text(table, setting);
	if (value != NULL)
		table_text(table, value);
	else
		table_null(table);
	table_text(table, source);
}

static void client_rows(struct cli *cli, struct table *table)
{
	char folder[512];
	const char *none = getenv("NO_COLOR"), *own_folder = NULL;

	if (rgm_control_folder_path(cli->instance, folder, sizeof folder, NULL) == 0)
		own_folder = folder;
	for (const struct setting *setting = settings_table; setting->spec.name != NULL;
		setting++) {
		const struct setting_value *value =
			settings_get(&cli->settings, setting->spec.name);
		const char *text = value->value.text, *source = value->source;

		if ((setting->users & SETTING_CLIENT) == 0)
			continue;
		if (strcmp(setting->spec.name, "socket") == 0)
			text = cli->socket;
		if (strcmp(setting->spec.name, "dir") == 0 && text == NULL)
			text = own_folder;
		if (strcmp(setting->spec.name, "color") == 0 && none != NULL && *none != '\0' &&
			strncmp(source, "option", 6) != 0) {
			text = "never";
			source = "environment NO_COLOR";
		}
		config_row(table, "regionctl", setting->spec.name, text, source);
	}
	config_row(table, "regionctl", "config",
		cli->settings.file[0] != '\0' ? cli->settings.file : NULL,
		cli->settings.file_source);
}

/* What a running manager tells of its own settings; without one, nothing. */
static void manager_rows(struct cli *cli, struct table *table)
{
	struct rgm_status status;
	char number[24];

	if (cli_control(cli, NULL) != 0 || rgm_control_status(cli->control, &status, NULL) != 0)
		return;
	config_row(table, "regionmgrd", "instance", status.instance, "running manager");
	config_row(table, "regionmgrd", "dir", status.folder, "running manager");
	config_row(table, "regionmgrd", "socket", status.socket, "running manager");
	(void)snprintf(number, sizeof number, "%u", status.max_dimensions);
	config_row(table, "regionmgrd", "max-dimensions", number, "running manager");
}

int verb_status(struct cli *cli, struct rgm_error *error)
{
	struct table table;
	int rc;

	if (args_flag(&cli->args, "config")) {
		table_begin(&table, config_columns, TABLE_ROWS);
		client_rows(cli, &table);
		manager_rows(cli, &table);
		rc = view_table(cli, &table, error);
		table_free(&table);
		return rc;
	}
	rc = cli_control(cli, error);
	if (rc != 0)
		return rc;
	return view_run(cli, status_columns, TABLE_RECORD, NULL, collect_status, error);
}
