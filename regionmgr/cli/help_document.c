/* SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs as one JSON document and as docs/cli.md. */
#include <stdio.h>
#include <string.h>

#include "regionmgr/cli/json.h"
#include "regionmgr/cli/out.h"
#include "regionmgr/cli/settings.h"
#include "regionmgr/cli/verbs.h"

static const char *type_name(enum option_type type)
{
	switch (type) {
	case OPTION_FLAG:
		return "flag";
	case OPTION_LIST:
		return "list";
	case OPTION_SIZE:
		return "size";
	case OPTION_COUNT:
		return "count";
	case OPTION_DURATION:
		return "duration";
	case OPTION_EVERY:
		return "optional duration";
	case OPTION_CHOICE:
		return "choice";
	case OPTION_TEXT:
		break;
	}
	return "text";
}

static void add_options(cJSON *object, const struct option_spec *specs)
{
	cJSON *array = cJSON_AddArrayToObject(object, "options");

	for (const struct option_spec *spec = specs; spec->name != NULL; spec++) {
		cJSON *item = cJSON_CreateObject();
		char letter[2] = {spec->letter, '\0'};

		json_text(item, "name", spec->name);
		json_text(item, "letter", letter);
		json_text(item, "type", type_name(spec->type));
		json_text(item, "value", spec->value != NULL ? spec->value : "");
		json_text(item, "summary", spec->summary);
		cJSON_AddItemToArray(array, item);
	}
}

static cJSON *verb_json(const struct verb *verb)
{
	cJSON *object = cJSON_CreateObject(), *array, *item;
	char usage[160];

	json_text(object, "name", verb->name);
	json_text(object, "group", verbs_group_name(verb->group));
	json_text(object, "summary", verb->summary);
	json_text(object, "details", verb->details != NULL ? verb->details : "");
	help_usage(verb, usage, sizeof usage);
	json_text(object, "usage", usage);
	array = cJSON_AddArrayToObject(object, "arguments");
	for (const struct argument *argument = verb->arguments; argument->name != NULL;
		argument++) {
		item = cJSON_CreateObject();
		json_text(item, "name", argument->name);
		json_text(item, "summary", argument->summary);
		cJSON_AddBoolToObject(item, "optional", argument->optional);
		cJSON_AddBoolToObject(item, "repeats", argument->repeats);
		cJSON_AddItemToArray(array, item);
	}
	add_options(object, verb->options);
	array = cJSON_AddArrayToObject(object, "examples");
	for (const struct example *example = verb->examples; example->command != NULL; example++) {
		item = cJSON_CreateObject();
		json_text(item, "command", example->command);
		json_text(item, "what", example->what);
		cJSON_AddItemToArray(array, item);
	}
	return object;
}

cJSON *help_json(void)
{
	cJSON *document = cJSON_CreateObject(), *array, *item;

	json_text(document, "program", "regionctl");
	json_text(document, "version", rgm_version());
	add_options(document, verbs_globals());
	array = cJSON_AddArrayToObject(document, "verbs");
	for (const struct verb *verb = verbs_table; verb->name != NULL; verb++)
		cJSON_AddItemToArray(array, verb_json(verb));
	array = cJSON_AddArrayToObject(document, "exit_codes");
	for (int code = EXIT_DONE; code <= EXIT_CORRUPT; code++) {
		item = cJSON_CreateObject();
		json_unsigned(item, "code", (uint64_t)code);
		json_text(item, "meaning", cli_exit_text((enum cli_exit)code));
		cJSON_AddItemToArray(array, item);
	}
	return document;
}

/* A cell of a table: | would end it. */
static void cell(const char *text)
{
	for (; *text != '\0'; text++)
		out_printf(*text == '|' ? "\\%c" : "%c", *text);
}

static void markdown_options(const struct option_spec *specs)
{
	char text[96];

	out_text("\n| option | |\n|---|---|\n");
	for (const struct option_spec *spec = specs; spec->name != NULL; spec++) {
		args_describe(spec, text, sizeof text);
		out_text("| `");
		cell(text);
		out_text("` | ");
		cell(spec->summary);
		out_text(" |\n");
	}
}

static void markdown_verb(const struct verb *verb)
{
	char usage[160];

	help_usage(verb, usage, sizeof usage);
	out_printf("\n### %s\n\n`regionctl %s`: %s.\n", verb->name, usage, verb->summary);
	if (verb->details != NULL)
		out_printf("%s\n", verb->details);
	out_text("\n```sh\n");
	for (const struct example *example = verb->examples; example->command != NULL; example++)
		out_printf("%s   # %s\n", example->command, example->what);
	out_text("```\n");
	if (verb->options[0].name != NULL)
		markdown_options(verb->options);
}

/* The other program, as far as it is options: `regionmgrd --help` has the same table. */
static void markdown_manager(void)
{
	char text[96];

	out_text("\n## regionmgrd\n\n"
		 "`regionmgrd [options]` serves an instance until SIGTERM or SIGINT. Its settings "
		 "are "
		 "found as those of\n`regionctl` are; `--config FILE` names the configuration "
		 "file.\n"
		 "\n| option | | default |\n|---|---|---|\n");
	for (const struct setting *setting = settings_table; setting->spec.name != NULL;
		setting++) {
		if ((setting->users & SETTING_MANAGER) == 0)
			continue;
		args_describe(&setting->spec, text, sizeof text);
		out_text("| `");
		cell(text);
		out_text("` | ");
		cell(setting->spec.summary);
		out_printf(" | %s |\n", setting->fallback != NULL ? setting->fallback : "");
	}
}

static const char introduction[] =
	"# regionctl\n\n"
	"<!-- Made by `regionctl help --markdown` from the table of verbs; a test compares. -->\n\n"
	"`regionctl VERB [arguments] [options]` operates a running manager through its control "
	"socket.\n"
	"Options stand anywhere; `--name VALUE` or `--name=VALUE`; `--` ends them.\n\n"
	"- **On a terminal** output is an aligned table with units and colour. **In a pipe** it is "
	"the\n"
	"  same columns separated by tabs, without a header, with exact numbers: bytes, "
	"nanoseconds,\n"
	"  nanoseconds since 1970. A backslash, tab, newline or control character in a name is "
	"`\\\\`,\n"
	"  `\\t`, `\\n`, `\\xHH` there, so that a row is a line.\n"
	"- **`--json`** gives one document; whole numbers are exact to 64 bits. Layer names are "
	"bytes: one\n"
	"  that is not part of UTF-8 appears as the lone surrogate `\\udcHH` (Python's "
	"`surrogateescape`:\n"
	"  `os.fsencode()` gives the name back). Errors are\n"
	"  `{\"error\":{\"code\",\"name\",\"message\",\"hint\"}}` on standard error.\n"
	"- **`--watch`** redraws on a terminal. In a pipe each row is a line a tick: the time, the "
	"columns,\n"
	"  then what each counting column gained since the tick before. With `--json` a tick is an "
	"object\n"
	"  with `time`, `elapsed_ns`, `value` (the document as without `--watch`) and `delta`.\n"
	"- **Data** goes to standard output, words to standard error. Progress appears on a "
	"terminal after\n"
	"  half a second; elsewhere changes end with one line of summary; `--quiet` leaves both "
	"out.\n"
	"- **Sizes** are written `4096`, `64M`, `1GiB` (powers of 1024; `MB` is a million), times "
	"`500ms`,\n"
	"  `5s`, `2m`.\n"
	"- **Settings** come from an option, else from the environment (`REGIONMGR_INSTANCE`,\n"
	"  `REGIONMGR_DIR`, `REGIONMGR_SOCKET`, `REGIONMGR_TIMEOUT`, `REGIONMGR_COLOR`; "
	"`NO_COLOR`), else\n"
	"  from the configuration file, else from a default: `regionctl status --config` shows "
	"which. The\n"
	"  file is `$REGIONMGR_CONFIG`, else `${XDG_CONFIG_HOME:-~/.config}/regionmgr/config`; its "
	"lines\n"
	"  are `name = value`, with the names of the options of `regionctl` and `regionmgrd`.\n"
	"- **A usage error changes nothing**, names the nearest known word, and exits 2.\n\n"
	"| exit code | meaning |\n|---|---|\n";

void help_markdown(void)
{
	out_text(introduction);
	for (int code = EXIT_DONE; code <= EXIT_CORRUPT; code++)
		out_printf("| %d | %s |\n", code, cli_exit_text((enum cli_exit)code));
	out_text("\n## Options of every verb\n");
	markdown_options(verbs_globals());
	for (int group = 0; group < GROUP_COUNT; group++) {
		out_printf("\n## Verbs that %s\n", verbs_group_name((enum verb_group)group));
		for (const struct verb *verb = verbs_table; verb->name != NULL; verb++) {
			if ((int)verb->group == group)
				markdown_verb(verb);
		}
	}
	markdown_manager();
}
