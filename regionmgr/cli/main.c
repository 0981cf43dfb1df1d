/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regionctl: operate an instance of regionmgr. Reads the command line by the table of verbs, runs
 * one, tells its error, and exits by its code. An error is never an exit of 0, also one that shows
 * only when the output is closed.
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "regionmgr/cli/cli.h"
#include "regionmgr/cli/out.h"
#include "regionmgr/cli/verbs.h"

/* Look for --json before anything is known, so that a usage error is told as asked. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--json") == 0)
			return true;
	}
	return false;
}

/* --color over NO_COLOR over the environment and the file over what the terminal can. */
static bool wants_color(const struct cli *cli, bool terminal)
{
	const struct setting_value *color = settings_get(&cli->settings, "color");
	const char *none = getenv("NO_COLOR"), *kind = getenv("TERM");
	bool option = strncmp(color->source, "option", 6) == 0;

	if (none != NULL && *none != '\0' && !option)
		return false;
	if (strcmp(color->value.text, "auto") != 0)
		return strcmp(color->value.text, "always") == 0;
	return terminal && kind != NULL && *kind != '\0' && strcmp(kind, "dumb") != 0;
}

static int read_settings(struct cli *cli, struct rgm_error *error)
{
	const char *socket;
	size_t length;
	int rc = settings_read(&cli->settings, SETTING_CLIENT, &cli->args.globals, NULL, error);

	if (rc != 0)
		return rc;
	cli->instance = settings_text(&cli->settings, "instance");
	cli->view.color = wants_color(cli, cli->view.terminal);
	cli->error_color = wants_color(cli, cli->error_terminal);
	socket = settings_text(&cli->settings, "socket");
	if (socket == NULL)
		return rgm_control_socket_path(cli->instance, settings_text(&cli->settings, "dir"),
			cli->socket, sizeof cli->socket, error);
	length = strlen(socket);
	if (length >= sizeof cli->socket)
		return pool_fail(error, CLI_USAGE, "the socket path is longer than %zu bytes",
			sizeof cli->socket - 1);
	memcpy(cli->socket, socket, length + 1);
	return 0;
}

/* Read the command line. *ret_run: is there a verb to run (and not only help to show)? */
static int read_command(
	struct cli *cli, int argc, char **argv, bool *ret_run, struct rgm_error *error)
{
	struct args *args = &cli->args;
	int next = 1, rc;

	*ret_run = false;
	rc = args_read(args, argc, argv, next, true, &next, error);
	if (rc == 0 && args->word_count > 0) {
		cli->verb = verbs_find(args->words[0]);
		if (cli->verb == NULL)
			return verbs_unknown(args->words[0], error);
		args->program = cli->verb->name;
		args->own.specs = cli->verb->options;
		args->word_count = 0;
		rc = args_read(args, argc, argv, next, false, &next, error);
	}
	if (rc != 0)
		return rc;
	cli->json = args_global(args, "json")->given;
	cli->quiet = args_global(args, "quiet")->given;
	if (args_global(args, "help")->given || args_global(args, "version")->given)
		return 0;
	if (cli->verb == NULL && cli->json) {
		pool_fail(error, CLI_USAGE, "a verb is missing");
		return cli_hint(error, "for example: regionctl status --json");
	}
	if (cli->verb == NULL)
		return 0;
	*ret_run = true;
	return verbs_check_arguments(cli->verb, args, error);
}

static int show_help(struct cli *cli, struct rgm_error *error)
{
	if (args_global(&cli->args, "version")->given)
		return verb_version(cli, error);
	if (cli->json)
		return view_json(cli, help_json(), error);
	if (cli->verb != NULL)
		help_verb(cli->verb, cli->view.color);
	else
		help_overview(cli->view.color);
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct rgm_error *error)
{
	bool verb = false;
	int rc = read_command(cli, argc, argv, &verb, error);

	if (rc != 0)
		return rc;
	/* help must come whatever the settings are */
	if (!verb) {
		cli->view.color = cli->view.terminal && getenv("NO_COLOR") == NULL;
		return show_help(cli, error);
	}
	rc = read_settings(cli, error);
	return rc != 0 ? rc : cli->verb->run(cli, error);
}

int main(int argc, char **argv)
{
	struct rgm_error error = {0}, output = {0};
	struct cli cli = {0};
	struct winsize size;
	int code, closed;

	out_guard_descriptors();
	/* names are bytes, UTF-8 as a rule, whatever the user's locale; numbers keep their point */
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	cli.json = wants_json(argc, argv);
	cli.view.terminal = isatty(STDOUT_FILENO) == 1;
	cli.error_terminal = isatty(STDERR_FILENO) == 1;
	if (cli.view.terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		cli.view.width = size.ws_col;
	cli.args.program = "regionctl";
	cli.args.globals.specs = verbs_globals();
	cli.args.words = calloc((size_t)argc + 1, sizeof *cli.args.words);
	if (cli.args.words == NULL)
		return EXIT_FAILED;
	code = run(&cli, argc, argv, &error);
	closed = out_close(&output);
	if (code != 0)
		cli_tell("regionctl", &error, cli.json, cli.error_color);
	if (closed != 0 && (code == 0 || code == CLI_TOLD)) {
		cli_tell("regionctl", &output, cli.json, cli.error_color);
		code = closed;
	}
	cli_close(&cli);
	free(cli.args.words);
	/* a full disk under the output is a failure, whatever its errno means elsewhere */
	return closed != 0 && code == closed ? EXIT_FAILED : (int)cli_exit_code(code);
}
