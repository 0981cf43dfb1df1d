/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/fail.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regionmgr/cli/json.h"
#include "regionmgr/cli/text.h"

/* Longest line that is told: a sentence of 512 bytes, each escaped into four. */
#define LINE_BYTES 2304u

int cli_hint(struct rgm_error *error, const char *format, ...)
{
	va_list list;

	if (error == NULL)
		return 0;
	va_start(list, format);
	(void)vsnprintf(error->hint, sizeof error->hint, format, list);
	va_end(list);
	return error->code;
}

enum cli_exit cli_exit_code(int code)
{
	switch (code) {
	case 0:
		return EXIT_DONE;
	case CLI_USAGE:
	case RGM_ENAME:
		return EXIT_USAGE;
	case RGM_ENODIM:
	case RGM_ENOLAYER:
	case CLI_COUNTER:
		return EXIT_NO_NAME;
	case RGM_ENOMANAGER:
		return EXIT_NO_MANAGER;
	case RGM_EBUSY:
	case RGM_EINUSE:
	case RGM_EDIMEXIST:
	case RGM_ECHANGED:
	case -EBUSY:
		return EXIT_BUSY;
	case RGM_ECORRUPT:
	case RGM_EDIRTY:
	case RGM_EFORMAT:
		return EXIT_CORRUPT;
	default:
		return EXIT_FAILED;
	}
}

const char *cli_exit_text(enum cli_exit exit_code)
{
	switch (exit_code) {
	case EXIT_DONE:
		return "done";
	case EXIT_USAGE:
		return "usage";
	case EXIT_NO_NAME:
		return "no such name";
	case EXIT_NO_MANAGER:
		return "no manager";
	case EXIT_BUSY:
		return "busy or conflict";
	case EXIT_CORRUPT:
		return "corrupt";
	case EXIT_FAILED:
		break;
	}
	return "failed";
}

const char *cli_error_name(int code)
{
	switch (code) {
	case CLI_USAGE:
		return "USAGE";
	case CLI_TOLD:
		return "FAILED";
	case CLI_SOURCE:
		return "SOURCE";
	case CLI_WORKER:
		return "WORKER";
	case CLI_COUNTER:
		return "COUNTER";
	case CLI_CANCELLED:
		return "CANCELLED";
	default:
		return rgm_error_name(code);
	}
}

static void tell_json(const struct rgm_error *error)
{
	cJSON *document = cJSON_CreateObject();
	cJSON *inner = cJSON_AddObjectToObject(document, "error");
	char *text;

	json_number(inner, "code", error->code);
	json_text(inner, "name", cli_error_name(error->code));
	json_text(inner, "message", error->message);
	if (error->hint[0] != '\0')
		json_text(inner, "hint", error->hint);
	else
		cJSON_AddNullToObject(inner, "hint");
	text = cJSON_PrintUnformatted(document);
	if (text != NULL)
		fprintf(stderr, "%s\n", text);
	free(text);
	cJSON_Delete(document);
}

void cli_tell(const char *program, const struct rgm_error *error, bool json, bool color)
{
	char line[LINE_BYTES];

	if (error->code == CLI_TOLD)
		return;
	if (json) {
		tell_json(error);
		return;
	}
	(void)text_escape(line, sizeof line, error->message, strlen(error->message), TEXT_LINE);
	fprintf(stderr, "%s%s:%s %s\n", color ? "\033[1;31m" : "", program, color ? "\033[0m" : "",
		line);
	if (error->hint[0] == '\0')
		return;
	(void)text_escape(line, sizeof line, error->hint, strlen(error->hint), TEXT_LINE);
	fprintf(stderr, "%shint:%s %s\n", color ? "\033[36m" : "", color ? "\033[0m" : "", line);
}

void cli_say(const char *format, ...)
{
	char raw[1024], line[2 * LINE_BYTES];
	va_list list;

	va_start(list, format);
	(void)vsnprintf(raw, sizeof raw, format, list);
	va_end(list);
	(void)text_escape(line, sizeof line, raw, strlen(raw), TEXT_LINE);
	fprintf(stderr, "%s\n", line);
}
