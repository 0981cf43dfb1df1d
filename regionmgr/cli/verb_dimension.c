/* SPDX-License-Identifier: Apache-2.0 */
/* create, rename, drop: dimensions as a whole. */
#include <stdio.h>

#include "regionmgr/cli/change.h"
#include "regionmgr/cli/json.h"
#include "regionmgr/cli/text.h"
#include "regionmgr/cli/verbs.h"

/* What a change did, where nothing else says it: a line, or a document with the dimension. */
static int tell(struct cli *cli, const char *did, const char *name, struct rgm_error *error)
{
	cJSON *document;

	if (!cli->json) {
		if (!cli->quiet)
			cli_say("%s '%s'", did, name);
		return 0;
	}
	document = cJSON_CreateObject();
	json_text(document, "name", name);
	json_text(document, "done", did);
	return view_json(cli, document, error);
}

int verb_create(struct cli *cli, struct rgm_error *error)
{
	struct rgm_principal access[ARGS_LIST_MAX];
	struct rgm_create_options options;
	const char *name = cli->args.words[0];
	int rc = change_create_options(cli, &options, access, error);

	if (rc == 0)
		rc = cli_control(cli, error);
	if (rc == 0)
		rc = rgm_control_create(cli->control, name, &options, error);
	return rc != 0 ? rc : tell(cli, "created", name, error);
}

int verb_rename(struct cli *cli, struct rgm_error *error)
{
	const char *from = cli->args.words[0], *to = cli->args.words[1];
	int rc = cli_control(cli, error);

	if (rc != 0)
		return rc;
	rc = rgm_control_rename(cli->control, from, to, error);
	if (rc != 0)
		return cli_explain(cli, from, error);
	return tell(cli, "renamed to", to, error);
}

static const struct column drop_columns[] = {
	{"name", NULL, COLUMN_TEXT, 0},
	{"bytes", NULL, COLUMN_BYTES, 0},
	{"layers", NULL, COLUMN_NUMBER, 0},
	{"readers", NULL, COLUMN_NUMBER, 0},
	{"holds", NULL, COLUMN_NUMBER, 0},
	{"dropped", NULL, COLUMN_FLAG, 0},
	{NULL, NULL, COLUMN_TEXT, 0},
};

static int show_drop(struct cli *cli, const char *name, const struct rgm_drop_report *report,
	bool dropped, struct rgm_error *error)
{
	struct table table;
	int rc;

	table_begin(&table, drop_columns, TABLE_RECORD);
	table_row(&table);
	table_text(&table, name);
	table_number(&table, report->bytes);
	table_number(&table, report->layers);
	table_number(&table, report->readers);
	table_number(&table, report->holds);
	table_number(&table, dropped);
	rc = view_table(cli, &table, error);
	table_free(&table);
	return rc;
}

static int confirm(struct cli *cli, const char *name, const struct rgm_drop_report *report,
	struct rgm_error *error)
{
	char bytes[TEXT_NUMBER_BYTES], what[256];

	text_bytes(bytes, report->bytes);
	(void)snprintf(what, sizeof what,
		"'%s' has %llu layers, %s; %u readers have it mapped, %u hold it", name,
		(unsigned long long)report->layers, bytes, report->readers, report->holds);
	return change_confirm(cli, name, what, error);
}

int verb_drop(struct cli *cli, struct rgm_error *error)
{
	const char *name = cli->args.words[0];
	struct rgm_drop_report report;
	int rc = cli_control(cli, error);

	if (rc != 0)
		return rc;
	rc = rgm_control_drop(cli->control, name, true, &report, error);
	if (rc != 0)
		return cli_explain(cli, name, error);
	if (args_flag(&cli->args, "dry-run"))
		return show_drop(cli, name, &report, false, error);
	if (!args_flag(&cli->args, "yes"))
		rc = confirm(cli, name, &report, error);
	if (rc == 0)
		rc = rgm_control_drop(cli->control, name, false, &report, error);
	if (rc != 0)
		return rc;
	return cli->json ? show_drop(cli, name, &report, true, error)
	                 : tell(cli, "dropped", name, error);
}
