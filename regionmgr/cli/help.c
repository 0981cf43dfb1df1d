/* SPDX-License-Identifier: Apache-2.0 */
/* Help for people, made of the table of verbs: the overview, and a verb with its examples first. */
#include <stdio.h>
#include <string.h>

#include "regionmgr/cli/out.h"
#include "regionmgr/cli/verbs.h"

static const char *bold(bool color)
{
	return color ? "\033[1m" : "";
}

static const char *plain(bool color)
{
	return color ? "\033[0m" : "";
}

static void verbs_of(enum verb_group group, bool color)
{
	out_printf("%s%s%s\n", bold(color), verbs_group_name(group), plain(color));
	for (const struct verb *verb = verbs_table; verb->name != NULL; verb++) {
		if (verb->group == group)
			out_printf("  %-9s %s\n", verb->name, verb->summary);
	}
}

void help_overview(bool color)
{
	out_printf("regionctl VERB [arguments] [options]: operate regionmgr %s\n", rgm_version());
	for (int group = 0; group < GROUP_COUNT; group++)
		verbs_of((enum verb_group)group, color);
	out_printf("%sexamples%s\n", bold(color), plain(color));
	out_text("  regionctl load libs /usr/lib/x86_64-linux-gnu\n"
		 "  regionctl scan libs --threads 4\n"
		 "  regionctl help load\n");
	out_printf("%sexit codes%s ", bold(color), plain(color));
	for (int code = EXIT_DONE; code <= EXIT_CORRUPT; code++)
		out_printf(
			"%s%d %s", code == 0 ? "" : ", ", code, cli_exit_text((enum cli_exit)code));
	out_text("\n");
}

void help_usage(const struct verb *verb, char *ret_text, size_t bytes)
{
	size_t used = (size_t)snprintf(ret_text, bytes, "%s", verb->name);

	for (const struct argument *argument = verb->arguments; argument->name != NULL; argument++)
		used += (size_t)snprintf(ret_text + used, bytes - used, " %s%s%s%s",
			argument->optional ? "[" : "", argument->name,
			argument->repeats ? "..." : "", argument->optional ? "]" : "");
	if (verb->options[0].name != NULL)
		(void)snprintf(ret_text + used, bytes - used, " [options]");
}

static void options(const char *title, const struct option_spec *specs, bool color)
{
	char text[96];

	out_printf("\n%s%s%s\n", bold(color), title, plain(color));
	for (const struct option_spec *spec = specs; spec->name != NULL; spec++) {
		args_describe(spec, text, sizeof text);
		if (strlen(text) > 24)
			out_printf("  %s\n  %-24s  %s\n", text, "", spec->summary);
		else
			out_printf("  %-24s  %s\n", text, spec->summary);
	}
}

/* Words, broken between them at 78 columns. */
static void paragraph(const char *text)
{
	size_t column = 0;

	while (*text != '\0') {
		size_t length = strcspn(text, " ");

		if (column > 0 && column + 1 + length > 78) {
			out_text("\n");
			column = 0;
		} else if (column > 0) {
			out_text(" ");
			column++;
		}
		out_write(text, length);
		column += length;
		text += length;
		text += strspn(text, " ");
	}
	out_text("\n");
}

void help_verb(const struct verb *verb, bool color)
{
	char usage[160];

	out_printf("%s%s%s: %s\n\n", bold(color), verb->name, plain(color), verb->summary);
	for (const struct example *example = verb->examples; example->command != NULL; example++)
		out_printf("  %s%s%s\n      %s\n", bold(color), example->command, plain(color),
			example->what);
	help_usage(verb, usage, sizeof usage);
	out_printf("\n%susage%s regionctl %s\n", bold(color), plain(color), usage);
	for (const struct argument *argument = verb->arguments; argument->name != NULL; argument++)
		out_printf("  %-24s  %s\n", argument->name, argument->summary);
	if (verb->details != NULL) {
		out_text("\n");
		paragraph(verb->details);
	}
	if (verb->options[0].name != NULL)
		options("options", verb->options, color);
	options("options of every verb", verbs_globals(), color);
}
