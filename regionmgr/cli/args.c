/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/args.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "regionmgr/cli/fail.h"
#include "regionmgr/cli/nearest.h"
#include "regionmgr/cli/units.h"

static bool is_choice(const char *choices, const char *text)
{
	size_t length = strlen(text);

	if (strchr(text, '|') != NULL)
		return false;
	for (const char *at = choices; length > 0 && at != NULL; at = strchr(at, '|')) {
		at += *at == '|' ? 1 : 0;
		if (strncmp(at, text, length) == 0 && (at[length] == '|' || at[length] == '\0'))
			return true;
	}
	return false;
}

static int bad_choice(const struct option_spec *spec, const char *where, const char *text,
	struct rgm_error *error)
{
	struct nearest nearest;
	char choice[64];

	pool_fail(error, CLI_USAGE, "%s is one of %s, not '%s'", where, spec->value, text);
	nearest_begin(&nearest, text);
	for (const char *at = spec->value; *at != '\0';) {
		size_t length = strcspn(at, "|");

		if (length < sizeof choice) {
			memcpy(choice, at, length);
			choice[length] = '\0';
			nearest_offer(&nearest, choice);
		}
		at += length + (at[length] == '|' ? 1 : 0);
	}
	if (nearest_found(&nearest))
		cli_hint(error, "did you mean '%s'?", nearest.best);
	return CLI_USAGE;
}

int args_value(const struct option_spec *spec, const char *where, const char *text,
	struct option_value *value, struct rgm_error *error)
{
	uint64_t number = 0;

	switch (spec->type) {
	case OPTION_FLAG:
	case OPTION_TEXT:
		break;
	case OPTION_LIST:
		if (value->list_count == ARGS_LIST_MAX)
			return pool_fail(error, CLI_USAGE, "%s may be given %u times at most",
				where, ARGS_LIST_MAX);
		value->list[value->list_count++] = text;
		break;
	case OPTION_SIZE:
		if (!units_size(text, &number)) {
			pool_fail(error, CLI_USAGE, "%s needs a size, not '%s'", where, text);
			return cli_hint(error, "sizes are written 4096, 64M, 1GiB");
		}
		break;
	case OPTION_COUNT:
		if (!units_count(text, &number) || number == 0)
			return pool_fail(error, CLI_USAGE, "%s needs a number from 1, not '%s'",
				where, text);
		break;
	case OPTION_DURATION:
	case OPTION_EVERY:
		if (!units_duration(text, &number) || number == 0 || number > INT32_MAX) {
			pool_fail(error, CLI_USAGE, "%s needs a duration, not '%s'", where, text);
			return cli_hint(error, "durations are written 500ms, 2s, 5m");
		}
		break;
	case OPTION_CHOICE:
		if (!is_choice(spec->value, text))
			return bad_choice(spec, where, text, error);
		break;
	}
	value->given = true;
	value->text = text;
	value->number = number;
	return 0;
}

static const struct option_spec *find(const struct option_set *set, const char *name, size_t length,
	struct option_value **ret_value)
{
	for (size_t i = 0; set->specs != NULL && set->specs[i].name != NULL; i++) {
		const struct option_spec *spec = &set->specs[i];
		bool letter = length == 1 && spec->letter != 0 && spec->letter == name[0];

		if (letter ||
			(strncmp(spec->name, name, length) == 0 && spec->name[length] == '\0')) {
			*ret_value = (struct option_value *)&set->values[i];
			return spec;
		}
	}
	return NULL;
}

static void offer(struct nearest *nearest, const struct option_set *set)
{
	for (size_t i = 0; set->specs != NULL && set->specs[i].name != NULL; i++)
		nearest_offer(nearest, set->specs[i].name);
}

static int unknown(const struct args *args, const char *given, const char *name, size_t length,
	struct rgm_error *error)
{
	struct nearest nearest;
	char typed[NEAREST_NAME_BYTES] = "";

	pool_fail(error, CLI_USAGE, "%s has no option '%.*s'", args->program,
		(int)(strcspn(given, "=")), given);
	if (length < sizeof typed)
		memcpy(typed, name, length);
	nearest_begin(&nearest, typed);
	offer(&nearest, &args->own);
	offer(&nearest, &args->globals);
	if (nearest_found(&nearest))
		cli_hint(error, "did you mean '--%s'?", nearest.best);
	else
		cli_hint(error, "'%s --help' lists the options", args->program);
	return CLI_USAGE;
}

/* One option at argv[at]; *ret_used is how many words of argv it took. */
static int read_option(
	struct args *args, int argc, char **argv, int at, int *ret_used, struct rgm_error *error)
{
	const char *given = argv[at], *name = given + 1, *equals = NULL;
	struct option_value *value = NULL;
	const struct option_spec *spec;
	size_t length = 1;
	char where[80];

	if (given[1] == '-') {
		name = given + 2;
		length = strcspn(name, "=");
		equals = name[length] == '=' ? name + length + 1 : NULL;
	} else if (given[2] != '\0') {
		equals = given + 2; /* -oFILE */
	}
	spec = find(&args->own, name, length, &value);
	if (spec == NULL)
		spec = find(&args->globals, name, length, &value);
	if (spec == NULL || (given[1] == '-' && length == 1))
		return unknown(args, given, name, length, error);
	(void)snprintf(where, sizeof where, "--%s", spec->name);
	*ret_used = 1;
	if (spec->type == OPTION_FLAG && equals != NULL)
		return pool_fail(error, CLI_USAGE, "%s takes no value", where);
	if (spec->type == OPTION_EVERY && equals == NULL)
		equals = "1s";
	if (spec->type != OPTION_FLAG && equals == NULL) {
		if (at + 1 >= argc)
			return pool_fail(
				error, CLI_USAGE, "%s needs a value: %s", where, spec->value);
		equals = argv[at + 1];
		*ret_used = 2;
	}
	return args_value(spec, where, equals, value, error);
}

int args_read(struct args *args, int argc, char **argv, int first, bool until_word, int *ret_next,
	struct rgm_error *error)
{
	bool options = true;
	int at = first, used = 0, rc;

	while (at < argc) {
		const char *word = argv[at];

		if (!options || word[0] != '-' || word[1] == '\0') {
			args->words[args->word_count++] = word;
			at++;
			if (until_word)
				break;
			continue;
		}
		if (strcmp(word, "--") == 0) {
			options = false;
			at++;
			continue;
		}
		rc = read_option(args, argc, argv, at, &used, error);
		if (rc != 0)
			return rc;
		at += used;
	}
	*ret_next = at;
	return 0;
}

const struct option_value *args_option(const struct args *args, const char *name)
{
	struct option_value *value = NULL;

	if (find(&args->own, name, strlen(name), &value) == NULL)
		assert(!"an option that is not in the verb's table");
	return value;
}

bool args_flag(const struct args *args, const char *name)
{
	return args_option(args, name)->given;
}

const char *args_text(const struct args *args, const char *name)
{
	return args_option(args, name)->text;
}

const struct option_value *args_global(const struct args *args, const char *name)
{
	struct option_value *value = NULL;

	if (find(&args->globals, name, strlen(name), &value) == NULL)
		assert(!"an option that is not in the global table");
	return value;
}

void args_describe(const struct option_spec *spec, char *ret_text, size_t bytes)
{
	char letter[8] = "";

	if (spec->letter != 0)
		(void)snprintf(letter, sizeof letter, "-%c, ", spec->letter);
	if (spec->value == NULL)
		(void)snprintf(ret_text, bytes, "%s--%s", letter, spec->name);
	else if (spec->type == OPTION_EVERY)
		(void)snprintf(ret_text, bytes, "%s--%s[=%s]", letter, spec->name, spec->value);
	else
		(void)snprintf(ret_text, bytes, "%s--%s %s", letter, spec->name, spec->value);
}
