/* SPDX-License-Identifier: Apache-2.0 */
/* put, delete: single layers of a dimension. */
#include <string.h>
#include <unistd.h>

#include "regionmgr/cli/json.h"
#include "regionmgr/cli/reader.h"
#include "regionmgr/cli/source.h"
#include "regionmgr/cli/text.h"
#include "regionmgr/cli/verbs.h"

static int tell(struct cli *cli, const char *name, const struct rgm_load_report *report,
	struct rgm_error *error)
{
	char bytes[TEXT_NUMBER_BYTES];
	cJSON *document;

	if (cli->json) {
		document = cJSON_CreateObject();
		json_text(document, "name", name);
		json_unsigned(document, "version", report->version);
		json_unsigned(document, "layers", report->layers_put);
		json_unsigned(document, "removed", report->layers_removed);
		json_unsigned(document, "bytes", report->bytes);
		return view_json(cli, document, error);
	}
	text_bytes(bytes, report->bytes);
	if (!cli->quiet && report->layers_put > 0)
		cli_say("put a layer of %s into '%s', version %llu", bytes, name,
			(unsigned long long)report->version);
	else if (!cli->quiet)
		cli_say("deleted %llu %s of '%s', version %llu",
			(unsigned long long)report->layers_removed,
			report->layers_removed == 1 ? "layer" : "layers", name,
			(unsigned long long)report->version);
	return 0;
}

static int begin(
	struct cli *cli, const char *name, struct rgm_load **ret_load, struct rgm_error *error)
{
	struct rgm_load_options options = {.size = sizeof options};
	int rc = rgm_load_begin(cli->control, name, &options, ret_load, error);

	return rc != 0 ? cli_explain(cli, name, error) : 0;
}

int verb_put(struct cli *cli, struct rgm_error *error)
{
	const char *name = cli->args.words[0], *layer = cli->args.words[1];
	const char *path = cli->args.words[2];
	struct source source = {.media_type = args_text(&cli->args, "media-type")};
	struct rgm_load_report report;
	struct progress progress;
	int file = -1, rc = cli_control(cli, error);

	if (rc == 0 && strcmp(path, "-") != 0)
		rc = source_open_file(path, &file, &source.total_bytes, error);
	if (rc == 0 && file < 0 && isatty(STDIN_FILENO) == 1)
		rc = pool_fail(error, CLI_USAGE, "put: standard input is a terminal");
	if (rc == 0)
		rc = begin(cli, name, &source.load, error);
	if (rc == 0) {
		source.progress = &progress;
		progress_begin(&progress, cli, "put", source.total_bytes, NULL);
		if (file >= 0)
			rc = source_file(&source, path, file, layer, error);
		else
			rc = source_stream(&source, STREAM_RAW, layer, error);
		if (rc == 0)
			rc = rgm_load_commit(source.load, &report, error);
		else
			rgm_load_abort(source.load);
		(void)progress_end(&progress);
	}
	if (file >= 0)
		close(file);
	return rc != 0 ? rc : tell(cli, name, &report, error);
}

static const struct column delete_columns[] = {
	{"layer", NULL, COLUMN_TEXT, 0},
	{"bytes", NULL, COLUMN_BYTES, 0},
	{NULL, NULL, COLUMN_TEXT, 0},
};

static int dry_run(struct cli *cli, struct rgm_error *error)
{
	const char *name = cli->args.words[0];
	struct rgm_layer layer;
	struct reader reader;
	struct table table;
	int rc = reader_open(cli, &name, 1, &reader, error);

	if (rc != 0)
		return rc;
	table_begin(&table, delete_columns, TABLE_ROWS);
	for (size_t i = 1; i < cli->args.word_count && rc == 0; i++) {
		rc = reader_layer(&reader, 0, name, cli->args.words[i], &layer, error);
		if (rc != 0)
			break;
		table_row(&table);
		table_text(&table, layer.name);
		table_number(&table, layer.data.size);
	}
	if (rc == 0)
		rc = reader_close(&reader, error);
	else
		(void)reader_close(&reader, NULL);
	if (rc == 0)
		rc = view_table(cli, &table, error);
	table_free(&table);
	return rc;
}

/* The commit names one layer that is not there; look for what is near it. */
static int explain(struct cli *cli, const char *name, struct rgm_error *error)
{
	for (size_t i = 1; i < cli->args.word_count; i++)
		reader_explain(cli, name, cli->args.words[i], error);
	return error->code;
}

int verb_delete(struct cli *cli, struct rgm_error *error)
{
	const char *name = cli->args.words[0];
	struct rgm_load_report report;
	struct rgm_load *load;
	int rc;

	if (args_flag(&cli->args, "dry-run"))
		return dry_run(cli, error);
	rc = cli_control(cli, error);
	if (rc == 0)
		rc = begin(cli, name, &load, error);
	if (rc != 0)
		return rc;
	for (size_t i = 1; i < cli->args.word_count && rc == 0; i++)
		rc = rgm_load_remove(load, cli->args.words[i], error);
	if (rc != 0)
		rgm_load_abort(load);
	else
		rc = rgm_load_commit(load, &report, error);
	if (rc != 0)
		return explain(cli, name, error);
	return tell(cli, name, &report, error);
}
