/* SPDX-License-Identifier: Apache-2.0 */
/* load: a file, a folder or standard input into a dimension, in one version. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "regionmgr/cli/change.h"
#include "regionmgr/cli/json.h"
#include "regionmgr/cli/source.h"
#include "regionmgr/cli/text.h"
#include "regionmgr/cli/units.h"
#include "regionmgr/cli/verbs.h"

enum load_kind {
	LOAD_FILE,
	LOAD_FOLDER,
	LOAD_STREAM
};

struct plan {
	const char *name, *path;
	enum load_kind kind;
	const char *layer; /* of a file or of input that is one layer */
	enum stream_form form;
	int file;
	struct folder *folder;
	uint64_t total_bytes;
	uint64_t took_ns;
	struct rgm_load_report report;
};

static int exclusive(struct cli *cli, const char *one, const char *other, struct rgm_error *error)
{
	if (!args_flag(&cli->args, one) || !args_flag(&cli->args, other))
		return 0;
	return pool_fail(error, CLI_USAGE, "load: --%s and --%s exclude each other", one, other);
}

/* What PATH is, and whether the options fit it. */
static int look_at_path(struct cli *cli, struct plan *plan, struct rgm_error *error)
{
	bool forms = args_flag(&cli->args, "tar") || args_flag(&cli->args, "raw");
	struct stat facts;

	plan->layer = args_text(&cli->args, "layer");
	if (strcmp(plan->path, "-") == 0) {
		plan->kind = LOAD_STREAM;
		if (isatty(STDIN_FILENO) == 1) {
			pool_fail(error, CLI_USAGE, "load: standard input is a terminal");
			return cli_hint(error, "for example: %s", cli->verb->examples[1].command);
		}
		if (args_flag(&cli->args, "tar"))
			plan->form = STREAM_TAR;
		else if (args_flag(&cli->args, "raw") || plan->layer != NULL)
			plan->form = STREAM_RAW;
		plan->layer = plan->layer != NULL ? plan->layer : "stdin";
		return 0;
	}
	if (forms)
		return pool_fail(error, CLI_USAGE,
			"load: --tar and --raw are for standard input, not for '%s'", plan->path);
	if (stat(plan->path, &facts) != 0)
		return pool_fail_errno(error, "'%s' cannot be loaded", plan->path);
	plan->kind = S_ISDIR(facts.st_mode) ? LOAD_FOLDER : LOAD_FILE;
	if (plan->kind == LOAD_FOLDER && plan->layer != NULL)
		return pool_fail(error, CLI_USAGE,
			"load: '%s' is a folder, whose files name the layers: --layer does not fit",
			plan->path);
	if (plan->kind == LOAD_FILE && plan->layer == NULL) {
		const char *slash = strrchr(plan->path, '/');

		plan->layer = slash != NULL ? slash + 1 : plan->path;
	}
	return 0;
}

static int open_source(struct cli *cli, struct plan *plan, struct rgm_error *error)
{
	int rc = 0;

	if (plan->kind == LOAD_FILE)
		rc = source_open_file(plan->path, &plan->file, &plan->total_bytes, error);
	if (rc == 0 && plan->kind == LOAD_FOLDER) {
		rc = folder_open(
			plan->path, args_flag(&cli->args, "skip-unreadable"), &plan->folder, error);
		plan->total_bytes = rc == 0 ? folder_bytes(plan->folder) : 0;
	}
	return rc;
}

static void close_source(struct plan *plan)
{
	if (plan->file >= 0)
		close(plan->file);
	folder_close(plan->folder);
}

static int put_layers(struct plan *plan, struct source *source, struct rgm_error *error)
{
	int rc;

	switch (plan->kind) {
	case LOAD_FILE:
		return source_file(source, plan->path, plan->file, plan->layer, error);
	case LOAD_STREAM:
		return source_stream(source, plan->form, plan->layer, error);
	case LOAD_FOLDER:
		break;
	}
	rc = folder_load(plan->folder, source, error);
	return rc != 0 ? rc : folder_compare(plan->folder, error);
}

/* --max and --allow say how to create; what exists stays as it is, and that is said. */
static void warn_existing(struct cli *cli, const struct plan *plan)
{
	struct rgm_dimension_row row;

	if (cli->quiet ||
		(args_text(&cli->args, "max") == NULL && args_text(&cli->args, "allow") == NULL))
		return;
	if (rgm_control_show(cli->control, plan->name, &row, NULL) == 0)
		cli_say("warning: '%s' exists: --max and --allow apply when it is created",
			plan->name);
}

static int load(struct cli *cli, struct plan *plan, struct source *source, struct rgm_error *error)
{
	struct rgm_load_options options = {.size = sizeof options};
	struct rgm_principal access[ARGS_LIST_MAX];
	struct progress progress;
	char what[96];
	int rc = change_create_options(cli, &options.create, access, error);

	if (rc != 0)
		return rc;
	warn_existing(cli, plan);
	options.flags = RGM_LOAD_CREATE;
	if (!args_flag(&cli->args, "merge"))
		options.flags |= RGM_LOAD_REPLACE;
	options.expected_bytes = plan->total_bytes;
	source->progress = &progress;
	source->total_bytes = plan->total_bytes;
	(void)snprintf(what, sizeof what, "load '%s'", plan->name);
	progress_begin(&progress, cli, what, plan->total_bytes, NULL);
	rc = rgm_load_begin(cli->control, plan->name, &options, &source->load, error);
	if (rc == 0) {
		rc = put_layers(plan, source, error);
		if (rc == 0)
			rc = rgm_load_commit(source->load, &plan->report, error);
		else
			rgm_load_abort(source->load);
	}
	plan->took_ns = progress_end(&progress);
	return rc;
}

static int tell_json(struct cli *cli, const struct plan *plan, const struct source_counts *counts,
	struct rgm_error *error)
{
	cJSON *document = cJSON_CreateObject(), *skipped;

	json_text(document, "name", plan->name);
	json_unsigned(document, "version", plan->report.version);
	json_unsigned(document, "layers", plan->report.layers_put);
	json_unsigned(document, "removed", plan->report.layers_removed);
	json_unsigned(document, "bytes", plan->report.bytes);
	skipped = cJSON_AddObjectToObject(document, "skipped");
	json_unsigned(skipped, "symlinks", counts->symlinks);
	json_unsigned(skipped, "hard_links", counts->hard_links);
	json_unsigned(skipped, "special", counts->special);
	json_unsigned(skipped, "unreadable", counts->unreadable);
	json_unsigned(document, "duration_ns", plan->took_ns);
	return view_json(cli, document, error);
}

/* ", skipped 3 symlinks, 1 special file": only what there was. */
static void tell_skipped(const struct source_counts *counts, char *ret_text, size_t bytes)
{
	const struct {
		uint64_t count;
		const char *one, *many;
	} kinds[] = {
		{counts->symlinks, "symlink", "symlinks"},
		{counts->hard_links, "hard link", "hard links"},
		{counts->special, "special file", "special files"},
		{counts->unreadable, "unreadable", "unreadable"},
	};
	size_t used = 0;

	ret_text[0] = '\0';
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && used < bytes; i++) {
		if (kinds[i].count > 0)
			used += (size_t)snprintf(ret_text + used, bytes - used, "%s%llu %s",
				used == 0 ? ", skipped " : ", ", (unsigned long long)kinds[i].count,
				kinds[i].count == 1 ? kinds[i].one : kinds[i].many);
	}
}

static void tell(const struct plan *plan, const struct source_counts *counts)
{
	char bytes[TEXT_NUMBER_BYTES], took[TEXT_NUMBER_BYTES], skipped[160];

	text_bytes(bytes, plan->report.bytes);
	text_duration(took, plan->took_ns);
	tell_skipped(counts, skipped, sizeof skipped);
	cli_say("loaded '%s': %llu %s, %s%s%s, version %llu, in %s", plan->name,
		(unsigned long long)plan->report.layers_put,
		plan->report.layers_put == 1 ? "layer" : "layers", bytes, skipped,
		counts->plain_input ? ", not a tar stream, so one layer" : "",
		(unsigned long long)plan->report.version, took);
}

int verb_load(struct cli *cli, struct rgm_error *error)
{
	struct plan plan = {.name = cli->args.words[0], .path = cli->args.words[1], .file = -1};
	struct source source = {0};
	int rc = exclusive(cli, "replace", "merge", error);

	if (rc == 0)
		rc = exclusive(cli, "tar", "raw", error);
	if (rc == 0 && args_flag(&cli->args, "tar") && args_text(&cli->args, "layer") != NULL)
		rc = pool_fail(error, CLI_USAGE,
			"load: the members of a tar stream name the layers: --layer does not fit");
	if (rc == 0)
		rc = cli_control(cli, error);
	if (rc == 0)
		rc = look_at_path(cli, &plan, error);
	if (rc == 0)
		rc = open_source(cli, &plan, error);
	source.media_type = args_text(&cli->args, "media-type");
	source.skip_unreadable = args_flag(&cli->args, "skip-unreadable");
	source.quiet = cli->quiet;
	if (rc == 0)
		rc = load(cli, &plan, &source, error);
	close_source(&plan);
	if (rc != 0)
		return rc;
	if (cli->json)
		return tell_json(cli, &plan, &source.counts, error);
	if (!cli->quiet)
		tell(&plan, &source.counts);
	return 0;
}
