/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to the manager, and sentences about not getting one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regionmgr/cli/cli.h"
#include "regionmgr/cli/nearest.h"

/* An option to repeat in a command, where it was set at all; quoted for a shell if it must be. */
static size_t repeat(const struct cli *cli, const char *name, char *text, size_t bytes)
{
	static const char safe[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:+@%,=";
	const struct setting_value *value = settings_get(&cli->settings, name);
	const char *quote = "";
	int length;

	if (!value->value.given || strncmp(value->source, "option", 6) != 0)
		return 0;
	if (value->value.text[strspn(value->value.text, safe)] != '\0')
		quote = "'";
	length = snprintf(text, bytes, " --%s %s%s%s", name, quote, value->value.text, quote);
	return length < 0 || (size_t)length >= bytes ? 0 : (size_t)length;
}

void cli_start_command(const struct cli *cli, char *ret_text, size_t bytes)
{
	size_t used = (size_t)snprintf(ret_text, bytes, "regionmgrd");

	used += repeat(cli, "instance", ret_text + used, bytes - used);
	used += repeat(cli, "dir", ret_text + used, bytes - used);
	used += repeat(cli, "socket", ret_text + used, bytes - used);
	ret_text[used < bytes ? used : bytes - 1] = '\0';
}

int cli_control_open(struct cli *cli, struct rgm_control **ret_control, struct rgm_error *error)
{
	struct rgm_control_options options = {.size = sizeof options};
	int rc;

	options.socket = cli->socket;
	options.timeout_ms = (uint32_t)settings_number(&cli->settings, "timeout");
	rc = rgm_control_open(cli->instance, &options, ret_control, error);
	return rc == 0 ? 0 : cli_explain(cli, NULL, error);
}

int cli_control(struct cli *cli, struct rgm_error *error)
{
	return cli->control != NULL ? 0 : cli_control_open(cli, &cli->control, error);
}

void cli_close(struct cli *cli)
{
	rgm_control_close(cli->control);
	cli->control = NULL;
	settings_free(&cli->settings);
}

/* Why there is no dimension of this name for us: it is refused, or another one is near. */
static void explain_missing(struct cli *cli, const char *name, struct rgm_error *error)
{
	struct rgm_dimension_row *rows = NULL;
	struct rgm_control *control = NULL;
	struct nearest nearest;
	size_t count = 0;

	nearest_begin(&nearest, name);
	/* a connection of its own: the one that failed may be in the middle of a load */
	if (cli_control_open(cli, &control, NULL) != 0)
		return;
	if (rgm_control_list(control, &rows, &count, NULL) != 0)
		count = 0;
	cli_hint(error, "'regionctl list' shows what there is");
	for (size_t i = 0; i < count; i++) {
		if (strcmp(rows[i].name, name) != 0) {
			nearest_offer(&nearest, rows[i].name);
		} else if (rows[i].reason[0] != '\0') {
			pool_fail(
				error, RGM_EDIRTY, "'%s' is not served: %s", name, rows[i].reason);
			cli_hint(error, "regionctl doctor");
			break;
		}
	}
	if (error->code == RGM_ENODIM && nearest_found(&nearest))
		cli_hint(error, "did you mean '%s'?", nearest.best);
	free(rows);
	rgm_control_close(control);
}

int cli_explain(struct cli *cli, const char *name, struct rgm_error *error)
{
	char command[256];

	if (error == NULL)
		return RGM_ENOMANAGER;
	if (error->code == RGM_ENOMANAGER) {
		if (strstr(error->message, cli->socket) == NULL)
			pool_fail(error, RGM_ENOMANAGER,
				"no manager serves instance '%s': nobody answers at '%s'",
				cli->instance, cli->socket);
		cli_start_command(cli, command, sizeof command);
		cli_hint(error, "start one: %s", command);
	}
	if (error->code == RGM_ENODIM && name != NULL && error->hint[0] == '\0')
		explain_missing(cli, name, error);
	return error->code;
}
