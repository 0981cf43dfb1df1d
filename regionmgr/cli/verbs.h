/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of verbs (verbs.c): the one place that knows what regionctl can do. The parser, the help
 * in all its forms and docs/cli.md are made of it. A new verb is an entry there and a function.
 */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

#include "regionmgr/cli/cli.h"

enum verb_group {
	GROUP_LOOK,
	GROUP_CHANGE,
	GROUP_REPAIR,
	GROUP_COUNT
};

struct argument {
	const char *name; /* "NAME", "PATH|-"; NULL ends the list */
	const char *summary;
	bool optional;
	bool repeats; /* the last one alone */
};
struct example {
	const char *command; /* whole; NULL ends the list */
	const char *what;
};

#define VERB_ARGUMENTS_MAX 4u
#define VERB_EXAMPLES_MAX  5u

struct verb {
	const char *name;
	enum verb_group group;
	const char *summary; /* one line, no full stop */
	const char *details; /* what the options do not say; may be NULL */
	struct argument arguments[VERB_ARGUMENTS_MAX];
	struct option_spec options[ARGS_OPTIONS_MAX];
	struct example examples[VERB_EXAMPLES_MAX];
	int (*run)(struct cli *cli, struct rgm_error *error);
};

/* Ended by a NULL name. */
extern const struct verb verbs_table[];
/* Options of every verb, ended by a NULL name. */
const struct option_spec *verbs_globals(void);

const struct verb *verbs_find(const char *name);
/* CLI_USAGE with the nearest verb. */
int verbs_unknown(const char *name, struct rgm_error *error);
/* Are there as many words as the verb's arguments ask for? */
int verbs_check_arguments(
	const struct verb *verb, const struct args *args, struct rgm_error *error);
const char *verbs_group_name(enum verb_group group);

int verb_status(struct cli *cli, struct rgm_error *error);
int verb_list(struct cli *cli, struct rgm_error *error);
int verb_show(struct cli *cli, struct rgm_error *error);
int verb_readers(struct cli *cli, struct rgm_error *error);
int verb_stats(struct cli *cli, struct rgm_error *error);
int verb_watch(struct cli *cli, struct rgm_error *error);
int verb_get(struct cli *cli, struct rgm_error *error);
int verb_scan(struct cli *cli, struct rgm_error *error);
int verb_create(struct cli *cli, struct rgm_error *error);
int verb_load(struct cli *cli, struct rgm_error *error);
int verb_put(struct cli *cli, struct rgm_error *error);
int verb_delete(struct cli *cli, struct rgm_error *error);
int verb_rename(struct cli *cli, struct rgm_error *error);
int verb_drop(struct cli *cli, struct rgm_error *error);
int verb_check(struct cli *cli, struct rgm_error *error);
int verb_doctor(struct cli *cli, struct rgm_error *error);
int verb_help(struct cli *cli, struct rgm_error *error);
int verb_version(struct cli *cli, struct rgm_error *error);

/* --- help.c ----------------------------------------------------------------------------------- */

/* `regionctl` alone, on standard output. */
void help_overview(bool color);
/* One verb, examples first. */
void help_verb(const struct verb *verb, bool color);
/* "load NAME PATH|- [options]", without the program's name. */
void help_usage(const struct verb *verb, char *ret_text, size_t bytes);
/* Everything as one JSON document, and as docs/cli.md. */
cJSON *help_json(void);
void help_markdown(void);

#endif
