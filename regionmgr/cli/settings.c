/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/settings.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "regionmgr/cli/fail.h"
#include "regionmgr/cli/nearest.h"

#define CONFIG_BYTES_MAX (1u << 20)

const struct setting settings_table[] = {
	{{"instance", "NAME", "the instance to talk to, or to serve", OPTION_TEXT, 0}, SETTING_BOTH,
		"default"},
	{{"dir", "DIR", "the folder of the region files", OPTION_TEXT, 0}, SETTING_BOTH, NULL},
	{{"socket", "PATH", "the manager's socket", OPTION_TEXT, 0}, SETTING_BOTH, NULL},
	{{"timeout", "TIME", "longest wait for an answer: 500ms, 5s", OPTION_DURATION, 0},
		SETTING_CLIENT, "5s"},
	{{"color", "auto|always|never", "colour on a terminal", OPTION_CHOICE, 0}, SETTING_CLIENT,
		"auto"},
	{{"allow", "user:NAME|group:NAME", "who may attach beside this user and root; repeatable",
		 OPTION_LIST, 0},
		SETTING_MANAGER, NULL},
	{{"max-dimensions", "N", "most dimensions", OPTION_COUNT, 0}, SETTING_MANAGER, "4096"},
	{{"max-readers", "N", "most attached processes", OPTION_COUNT, 0}, SETTING_MANAGER, "1024"},
	{{"max-clients", "N", "most connections", OPTION_COUNT, 0}, SETTING_MANAGER, "2048"},
	{{"max-loads", "N", "most changes under way at once", OPTION_COUNT, 0}, SETTING_MANAGER,
		"32"},
	{{"max-bytes", "SIZE", "most a dimension may grow to, unless told when it is created",
		 OPTION_SIZE, 0},
		SETTING_MANAGER, "16GiB"},
	{{"warn-section", "TIME", "a reader that keeps memory for longer lags: it is logged",
		 OPTION_DURATION, 0},
		SETTING_MANAGER, "10s"},
	{{"lag-policy", "warn|limit|kill",
		 "lagging readers: log them, take back what they see, or kill them", OPTION_CHOICE,
		 0},
		SETTING_MANAGER, "warn"},
	{{"lag-bytes", "SIZE", "limit and kill act on lagging readers that keep more", OPTION_SIZE,
		 0},
		SETTING_MANAGER, "256MiB"},
	{{"log-level", "error|warn|info|debug", "least important events that are logged",
		 OPTION_CHOICE, 0},
		SETTING_MANAGER, "info"},
	{{"log-json", NULL, "log one JSON object a line", OPTION_FLAG, 0}, SETTING_MANAGER, NULL},
	{{NULL, NULL, NULL, OPTION_FLAG, 0}, SETTING_BOTH, NULL},
};

static_assert(sizeof settings_table / sizeof settings_table[0] == SETTINGS_MAX + 1, "settings");

size_t settings_options(enum setting_user user, struct option_spec *ret_specs)
{
	size_t count = 0;

	for (const struct setting *setting = settings_table; setting->spec.name != NULL;
		setting++) {
		if ((setting->users & user) != 0)
			ret_specs[count++] = setting->spec;
	}
	memset(&ret_specs[count], 0, sizeof ret_specs[count]);
	return count;
}

static size_t index_of(const char *name)
{
	size_t i = 0;

	while (settings_table[i].spec.name != NULL &&
		strcmp(settings_table[i].spec.name, name) != 0)
		i++;
	return i;
}

/* "true", "yes", "1" and "false", "no", "0": flags outside the command line. */
static int take_flag(
	const char *where, const char *text, struct option_value *value, struct rgm_error *error)
{
	if (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0 || strcmp(text, "1") == 0)
		value->text = "true";
	else if (strcmp(text, "false") == 0 || strcmp(text, "no") == 0 || strcmp(text, "0") == 0)
		value->text = NULL;
	else
		return pool_fail(error, CLI_USAGE, "%s is true or false, not '%s'", where, text);
	value->given = value->text != NULL;
	return 0;
}

/* One value from outside the command line; lists are cut at commas, in place. */
static int take(size_t index, const char *where, char *text, struct option_value *value,
	struct rgm_error *error)
{
	const struct option_spec *spec = &settings_table[index].spec;
	char *rest = NULL;
	int rc = 0;

	if (spec->type == OPTION_FLAG)
		return take_flag(where, text, value, error);
	if (spec->type != OPTION_LIST)
		return args_value(spec, where, text, value, error);
	for (char *part = strtok_r(text, ", \t", &rest); part != NULL && rc == 0;
		part = strtok_r(NULL, ", \t", &rest))
		rc = args_value(spec, where, part, value, error);
	return rc;
}

static char *trim(char *text)
{
	size_t length;

	while (isspace((unsigned char)*text))
		text++;
	length = strlen(text);
	while (length > 0 && isspace((unsigned char)text[length - 1]))
		text[--length] = '\0';
	return text;
}

static int bad_name(
	const struct settings *settings, size_t line, const char *name, struct rgm_error *error)
{
	struct nearest nearest;

	pool_fail(error, CLI_USAGE, "%s:%zu: there is no setting '%s'", settings->file, line, name);
	nearest_begin(&nearest, name);
	for (const struct setting *setting = settings_table; setting->spec.name != NULL; setting++)
		nearest_offer(&nearest, setting->spec.name);
	if (nearest_found(&nearest))
		cli_hint(error, "did you mean '%s'?", nearest.best);
	return CLI_USAGE;
}

/* One line of the file. A setting that only the other program knows is checked too, and unused. */
static int take_line(struct settings *settings, size_t number, char *line, struct rgm_error *error)
{
	struct setting_value *slot;
	char place[600], where[640], *equals, *name;
	size_t index;
	int rc;

	line[strcspn(line, "#")] = '\0';
	line = trim(line);
	if (*line == '\0')
		return 0;
	equals = strchr(line, '=');
	if (equals == NULL)
		return pool_fail(error, CLI_USAGE, "%s:%zu: '%s' is not a line `name = value`",
			settings->file, number, line);
	*equals = '\0';
	name = trim(line);
	index = index_of(name);
	if (settings_table[index].spec.name == NULL)
		return bad_name(settings, number, name, error);
	slot = &settings->values[index];
	(void)snprintf(place, sizeof place, "%s:%zu", settings->file, number);
	(void)snprintf(where, sizeof where, "%s: %.30s", place, name);
	if (settings_table[index].spec.type != OPTION_LIST)
		memset(&slot->value, 0, sizeof slot->value);
	rc = take(index, where, trim(equals + 1), &slot->value, error);
	(void)snprintf(slot->source, sizeof slot->source, "%.319s", place);
	return rc;
}

static int read_file(struct settings *settings, bool needed, struct rgm_error *error)
{
	int file = open(settings->file, O_RDONLY | O_CLOEXEC | O_NOCTTY), rc = 0;
	size_t number = 0, used = 0;
	ssize_t got = 1;
	char *next;

	if (file < 0 && errno == ENOENT && !needed) {
		settings->file[0] = '\0';
		return 0;
	}
	if (file < 0)
		return pool_fail_errno(error, "the configuration file '%s'", settings->file);
	settings->text = malloc(CONFIG_BYTES_MAX + 1);
	while (settings->text != NULL && got > 0 && used < CONFIG_BYTES_MAX) {
		got = read(file, settings->text + used, CONFIG_BYTES_MAX - used);
		used += got > 0 ? (size_t)got : 0;
	}
	if (settings->text == NULL || got < 0)
		rc = pool_fail_errno(error, "the configuration file '%s'", settings->file);
	else if (got > 0)
		rc = pool_fail(error, CLI_USAGE, "the configuration file '%s' is longer than 1 MiB",
			settings->file);
	close(file);
	if (rc != 0)
		return rc;
	settings->text[used] = '\0';
	for (char *line = settings->text; line != NULL && rc == 0; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		rc = take_line(settings, ++number, line, error);
	}
	return rc;
}

static int find_file(struct settings *settings, const char *option, struct rgm_error *error)
{
	const char *variable = getenv("REGIONMGR_CONFIG"), *base = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");

	if (option != NULL || (variable != NULL && *variable != '\0')) {
		(void)snprintf(settings->file_source, sizeof settings->file_source, "%s",
			option != NULL ? "option --config" : "environment REGIONMGR_CONFIG");
		(void)snprintf(settings->file, sizeof settings->file, "%s",
			option != NULL ? option : variable);
		return read_file(settings, true, error);
	}
	(void)snprintf(settings->file_source, sizeof settings->file_source, "default");
	if (base != NULL && base[0] == '/')
		(void)snprintf(settings->file, sizeof settings->file, "%s/regionmgr/config", base);
	else if (home != NULL && home[0] == '/')
		(void)snprintf(
			settings->file, sizeof settings->file, "%s/.config/regionmgr/config", home);
	else
		return 0;
	return read_file(settings, false, error);
}

static int take_environment(struct settings *settings, size_t index, struct rgm_error *error)
{
	struct setting_value *slot = &settings->values[index];
	char variable[64] = "REGIONMGR_", where[80];
	size_t used = strlen(variable);
	const char *text;
	char *copy;
	int rc;

	for (const char *at = settings_table[index].spec.name; *at != '\0'; at++)
		variable[used++] = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
	text = getenv(variable);
	if (text == NULL || *text == '\0')
		return 0;
	copy = strdup(text);
	if (copy == NULL)
		return pool_fail_errno(error, "reading %s", variable);
	memset(&slot->value, 0, sizeof slot->value);
	(void)snprintf(where, sizeof where, "$%s", variable);
	(void)snprintf(slot->source, sizeof slot->source, "environment %s", variable);
	rc = take(index, where, copy, &slot->value, error);
	/* only a list is kept; other values stay where getenv() found them */
	if (settings_table[index].spec.type == OPTION_LIST && settings->environment == NULL)
		settings->environment = copy;
	else
		free(copy);
	if (settings_table[index].spec.type != OPTION_LIST && slot->value.text != NULL)
		slot->value.text = text;
	return rc;
}

static int take_default(struct settings *settings, size_t index, struct rgm_error *error)
{
	struct setting_value *slot = &settings->values[index];
	const struct setting *setting = &settings_table[index];

	(void)snprintf(slot->source, sizeof slot->source, "default");
	if (setting->fallback == NULL)
		return 0;
	return args_value(
		&setting->spec, setting->spec.name, setting->fallback, &slot->value, error);
}

static void take_option(struct settings *settings, size_t index, const struct option_set *options)
{
	const char *name = settings_table[index].spec.name;

	for (size_t i = 0; options->specs[i].name != NULL; i++) {
		if (strcmp(options->specs[i].name, name) == 0 && options->values[i].given) {
			settings->values[index].value = options->values[i];
			(void)snprintf(settings->values[index].source,
				sizeof settings->values[index].source, "option --%s", name);
		}
	}
}

int settings_read(struct settings *settings, enum setting_user user,
	const struct option_set *options, const char *file, struct rgm_error *error)
{
	int rc = 0;

	memset(settings, 0, sizeof *settings);
	for (size_t i = 0; i < SETTINGS_MAX && rc == 0; i++)
		rc = take_default(settings, i, error);
	if (rc == 0)
		rc = find_file(settings, file, error);
	for (size_t i = 0; i < SETTINGS_MAX && rc == 0; i++) {
		if ((settings_table[i].users & user) == 0)
			continue;
		rc = take_environment(settings, i, error);
		if (rc == 0)
			take_option(settings, i, options);
	}
	if (rc != 0)
		settings_free(settings);
	return rc;
}

void settings_free(struct settings *settings)
{
	free(settings->text);
	free(settings->environment);
	settings->text = settings->environment = NULL;
}

const struct setting_value *settings_get(const struct settings *settings, const char *name)
{
	size_t index = index_of(name);

	assert(index < SETTINGS_MAX);
	return &settings->values[index];
}

const char *settings_text(const struct settings *settings, const char *name)
{
	return settings_get(settings, name)->value.text;
}

uint64_t settings_number(const struct settings *settings, const char *name)
{
	return settings_get(settings, name)->value.number;
}

bool settings_flag(const struct settings *settings, const char *name)
{
	return settings_get(settings, name)->value.given;
}
