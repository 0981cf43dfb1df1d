/* SPDX-License-Identifier: Apache-2.0 */
/* check: verify dimensions through the manager, or a region file that no manager serves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regionmgr/cli/nearest.h"
#include "regionmgr/cli/progress.h"
#include "regionmgr/cli/verbs.h"
#include <regionmgr/manager.h>

static const struct column check_columns[] = {
	{"name", NULL, COLUMN_TEXT, 0},
	{"result", NULL, COLUMN_TEXT, COLUMN_STATE},
	{"layers", NULL, COLUMN_NUMBER, 0},
	{"bytes", NULL, COLUMN_BYTES, 0},
	{"pages_used", "pages", COLUMN_NUMBER, 0},
	{"problems", NULL, COLUMN_NUMBER, 0},
	{"first_problem", "first problem", COLUMN_TEXT, COLUMN_SHRINK},
	{NULL, NULL, COLUMN_TEXT, 0},
};

/* What is wrong with one dimension is a row; what keeps us from looking is an error. */
static bool is_finding(int code)
{
	return code == RGM_ECORRUPT || code == RGM_EDIRTY || code == RGM_EFORMAT;
}

static void add_row(struct table *table, const char *name, int code,
	const struct rgm_check_report *report, const struct rgm_error *error)
{
	const char *problem = report->first_problem;

	table_row(table);
	table_text(table, name);
	table_text(table, code == 0 ? "sound" : code == RGM_ECORRUPT ? "corrupt" : "refused");
	table_number(table, report->layers);
	table_number(table, report->bytes);
	table_number(table, report->pages_used);
	table_number(table, report->problems);
	table_text(table, code == 0 ? "" : *problem != '\0' ? problem : error->message);
}

static int check_one(
	struct cli *cli, const char *name, bool file, struct table *table, struct rgm_error *error)
{
	struct rgm_check_report report = {0};
	struct progress progress;
	char what[96];
	int rc;

	(void)snprintf(what, sizeof what, "check '%.64s'", name);
	progress_begin(&progress, cli, what, 0, NULL);
	if (file)
		rc = rgm_manager_check_file(name, progress_callback, &progress, &report, error);
	else
		rc = rgm_control_check(
			cli->control, name, progress_callback, &progress, &report, error);
	(void)progress_end(&progress);
	if (rc == 0 || is_finding(rc))
		add_row(table, name, rc, &report, error);
	return rc;
}

/* The names to check, all known: a typo in the last shall not show after an hour of the first. */
static int check_names(const struct cli *cli, const struct rgm_dimension_row *rows, size_t count,
	struct rgm_error *error)
{
	for (size_t i = 0; i < cli->args.word_count; i++) {
		const char *word = cli->args.words[i];
		bool known = strcmp(word, "all") == 0 && cli->args.word_count == 1;
		struct nearest nearest;

		nearest_begin(&nearest, word);
		for (size_t j = 0; j < count; j++) {
			known = known || strcmp(rows[j].name, word) == 0;
			nearest_offer(&nearest, rows[j].name);
		}
		if (known)
			continue;
		pool_fail(error, RGM_ENODIM, "no dimension '%s' in instance '%s'", word,
			cli->instance);
		if (nearest_found(&nearest))
			return cli_hint(error, "did you mean '%s'?", nearest.best);
		return cli_hint(error, "'regionctl list' shows what there is");
	}
	return 0;
}

static bool asked_for(
	const struct cli *cli, const struct rgm_dimension_row *rows, size_t count, const char *name)
{
	bool all = cli->args.word_count == 1 && strcmp(cli->args.words[0], "all") == 0;

	/* a dimension that is really called "all" is meant when it is there */
	for (size_t i = 0; i < count && all; i++)
		all = strcmp(rows[i].name, "all") != 0;
	for (size_t i = 0; i < cli->args.word_count && !all; i++) {
		if (strcmp(cli->args.words[i], name) == 0)
			return true;
	}
	return all;
}

/* Why a dimension is not served is known already, and is the finding. */
static int tell_refused(
	const struct rgm_dimension_row *row, struct table *table, struct rgm_error *error)
{
	const struct rgm_check_report report = {.first_problem = ""};

	pool_fail(error, RGM_EDIRTY, "'%s' is not served: %s", row->name, row->reason);
	cli_hint(error, "regionctl doctor");
	add_row(table, row->name, RGM_EDIRTY, &report, error);
	return RGM_EDIRTY;
}

static int check_served(
	struct cli *cli, struct table *table, size_t *ret_bad, struct rgm_error *error)
{
	struct rgm_dimension_row *rows = NULL;
	size_t count = 0, bad = 0;
	int rc = cli_control(cli, error), first_bad = 0;

	if (rc == 0)
		rc = rgm_control_list(cli->control, &rows, &count, error);
	if (rc == 0)
		rc = check_names(cli, rows, count, error);
	for (size_t i = 0; i < count && rc == 0; i++) {
		struct rgm_error here = {0};

		if (!asked_for(cli, rows, count, rows[i].name))
			continue;
		if (strcmp(rows[i].state, "refused") == 0)
			rc = tell_refused(&rows[i], table, &here);
		else
			rc = check_one(cli, rows[i].name, false, table, &here);
		if (is_finding(rc)) {
			if (bad++ == 0) {
				first_bad = rc;
				*error = here;
			}
			rc = 0;
		} else if (rc != 0) {
			*error = here;
		}
	}
	free(rows);
	*ret_bad = bad;
	return rc != 0 ? rc : first_bad;
}

int verb_check(struct cli *cli, struct rgm_error *error)
{
	const char *file = args_text(&cli->args, "file");
	struct table table;
	size_t bad = 0;
	int rc, shown;

	if ((file == NULL) == (cli->args.word_count == 0)) {
		pool_fail(error, CLI_USAGE,
			file == NULL ? "check: NAME, all or --file PATH is missing"
				     : "check: --file needs no NAME");
		return cli_hint(error, "for example: %s", cli->verb->examples[0].command);
	}
	table_begin(&table, check_columns, TABLE_ROWS);
	table.empty = "no dimensions yet";
	if (file != NULL)
		rc = check_one(cli, file, true, &table, error);
	else
		rc = check_served(cli, &table, &bad, error);
	if (rc == 0 || is_finding(rc)) {
		shown = view_table(cli, &table, rc == 0 ? error : NULL);
		rc = rc == 0 ? shown : rc;
	}
	if (bad > 1)
		pool_fail(error, rc, "%zu of %zu dimensions checked are not sound", bad,
			table.row_count);
	table_free(&table);
	return rc;
}
