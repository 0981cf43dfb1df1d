/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/daemon/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "regionmgr/cli/fail.h"
#include "regionmgr/cli/out.h"
#include "regionmgr/cli/units.h"

static const struct option_spec own[] = {
	{"config", "FILE", "read settings from FILE: lines `name = value`", OPTION_TEXT, 0},
	{"version", NULL, "the program's version", OPTION_FLAG, 'V'},
	{"help", NULL, "this", OPTION_FLAG, 'h'},
	{NULL, NULL, NULL, OPTION_FLAG, 0},
};

static const struct option_spec *specs(void)
{
	static struct option_spec all[ARGS_OPTIONS_MAX];

	if (all[0].name == NULL) {
		size_t count = settings_options(SETTING_MANAGER, all);

		memcpy(&all[count], own, sizeof own);
	}
	return all;
}

static int in_32_bits(const struct settings *settings, const char *name, uint32_t *ret_number,
	struct rgm_error *error)
{
	uint64_t number = settings_number(settings, name);

	if (number > UINT32_MAX)
		return pool_fail(error, CLI_USAGE, "--%s is too large: %s", name,
			settings_text(settings, name));
	*ret_number = (uint32_t)number;
	return 0;
}

static enum rgm_lag_policy lag_policy(const char *name)
{
	if (strcmp(name, "limit") == 0)
		return RGM_LAG_LIMIT;
	return strcmp(name, "kill") == 0 ? RGM_LAG_KILL : RGM_LAG_WARN;
}

static int fill(struct daemon_options *options, struct rgm_error *error)
{
	const struct settings *settings = &options->settings;
	const struct option_value *allow = &settings_get(settings, "allow")->value;
	struct rgm_manager_options *manager = &options->manager;
	int rc = 0;

	for (size_t i = 0; i < allow->list_count && rc == 0; i++)
		rc = units_principal(allow->list[i], &options->access[i], error);
	if (rc == 0)
		rc = in_32_bits(settings, "max-dimensions", &manager->max_dimensions, error);
	if (rc == 0)
		rc = in_32_bits(settings, "max-readers", &manager->max_readers, error);
	if (rc == 0)
		rc = in_32_bits(settings, "max-clients", &manager->max_clients, error);
	if (rc == 0)
		rc = in_32_bits(settings, "max-loads", &manager->max_loads, error);
	if (rc == 0)
		rc = in_32_bits(settings, "warn-section", &manager->warn_section_ms, error);
	if (rc != 0)
		return rc;
	options->log.json = settings_flag(settings, "log-json");
	options->log.least = daemon_log_level(settings_text(settings, "log-level"));
	manager->size = sizeof *manager;
	manager->instance = settings_text(settings, "instance");
	manager->dir = settings_text(settings, "dir");
	manager->socket = settings_text(settings, "socket");
	manager->default_max_bytes = settings_number(settings, "max-bytes");
	manager->lag_policy = lag_policy(settings_text(settings, "lag-policy"));
	manager->lag_bytes = settings_number(settings, "lag-bytes");
	manager->access = options->access;
	manager->access_count = allow->list_count;
	manager->log = daemon_log;
	manager->log_context = &options->log;
	return 0;
}

int daemon_options_read(
	int argc, char **argv, struct daemon_options *ret_options, struct rgm_error *error)
{
	struct args args = {.program = "regionmgrd", .globals = {.specs = specs()}};
	int next = 1, rc;

	memset(ret_options, 0, sizeof *ret_options);
	args.words = calloc((size_t)argc + 1, sizeof *args.words);
	if (args.words == NULL)
		return pool_fail(error, -ENOMEM, "no memory");
	rc = args_read(&args, argc, argv, next, false, &next, error);
	ret_options->help = args_global(&args, "help")->given;
	ret_options->version = args_global(&args, "version")->given;
	if (rc == 0 && args.word_count > 0) {
		rc = pool_fail(error, CLI_USAGE, "regionmgrd takes options alone; '%s' is none",
			args.words[0]);
		cli_hint(error, "to load something: regionctl load NAME PATH");
	}
	free(args.words);
	if (rc != 0 || ret_options->help || ret_options->version)
		return rc;
	rc = settings_read(&ret_options->settings, SETTING_MANAGER, &args.globals,
		args_global(&args, "config")->text, error);
	if (rc != 0)
		return rc;
	rc = fill(ret_options, error);
	if (rc != 0)
		daemon_options_free(ret_options);
	return rc;
}

void daemon_options_free(struct daemon_options *options)
{
	settings_free(&options->settings);
}

/* Lines as they are shown. */
/* clang-format off */
void daemon_options_help(void)
{
	char text[96];

	out_text(
		"regionmgrd [options]: serve an instance of regionmgr\n\n"
		"  regionmgrd                                   serve the instance 'default'\n"
		"  regionmgrd --instance jobs --dir /srv/jobs   another one, its files in /srv/jobs\n"
		"  regionmgrd --allow user:www-data             let another user read\n"
		"\noptions\n");
	for (const struct option_spec *spec = specs(); spec->name != NULL; spec++) {
		args_describe(spec, text, sizeof text);
		if (strlen(text) > 30)
			out_printf("  %s\n  %-30s  %s\n", text, "", spec->summary);
		else
			out_printf("  %-30s  %s\n", text, spec->summary);
	}
	out_text(
		"\n"
		"Each may stand in the environment (REGIONMGR_MAX_READERS=64) and in the configuration\n"
		"file (max-readers = 64); an option wins over the environment, that over the file.\n"
		"SIGTERM and SIGINT stop cleanly; SIGHUP is ignored. Events go to standard error.\n"
		"exit codes 0 stopped cleanly, 1 failed, 2 usage, 5 another manager serves it, 6 corrupt\n");
}
/* clang-format on */
