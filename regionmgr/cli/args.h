/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line, read by tables: a verb (verbs.c) says which arguments and options it takes, and
 * the same tables make the help. Every value is checked by its type here, before a verb runs.
 *
 * Long options are --name VALUE or --name=VALUE, some have a letter; "--" ends them; "-" is an
 * argument. Strings are those of argv and live as long.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <regionmgr/error.h>

enum option_type {
	OPTION_FLAG,
	OPTION_TEXT,
	OPTION_LIST,     /* text, may be given many times */
	OPTION_SIZE,     /* units.h */
	OPTION_COUNT,    /* a whole number >= 1 */
	OPTION_DURATION, /* milliseconds, > 0 */
	OPTION_EVERY,    /* a flag, or =DURATION; default 1 s */
	OPTION_CHOICE,   /* one of `value`, which reads "a|b|c" */
};

struct option_spec {
	const char *name; /* without "--"; NULL ends a table */
	const char *value;
	const char *summary;
	enum option_type type;
	char letter; /* 0: none */
};

#define ARGS_OPTIONS_MAX 20u
#define ARGS_LIST_MAX    16u

/* What was given of one option. */
struct option_value {
	bool given;
	const char *text;
	uint64_t number; /* of sizes, counts and durations */
	const char *list[ARGS_LIST_MAX];
	size_t list_count;
};

/* The options of one table. */
struct option_set {
	const struct option_spec *specs;
	struct option_value values[ARGS_OPTIONS_MAX];
};

/* One run of a parser over argv. */
struct args {
	const char *program;       /* for sentences: "regionctl", or "regionctl load" */
	struct option_set globals; /* known everywhere */
	struct option_set own;     /* of the verb; specs NULL before it is known */
	const char **words;        /* what is not an option, in order */
	size_t word_count;
};

/*
 * Read argv[first…]. With `until_word` it stops behind the first word, so that the verb's own table
 * can be set; *ret_next is where to go on. words must have room for argc pointers.
 * CLI_USAGE with the sentence and the nearest name.
 */
int args_read(struct args *args, int argc, char **argv, int first, bool until_word, int *ret_next,
	struct rgm_error *error);

/* Of the verb's own options, by name; the name must be in the table. */
const struct option_value *args_option(const struct args *args, const char *name);
bool args_flag(const struct args *args, const char *name);
const char *args_text(const struct args *args, const char *name); /* NULL when not given */
/* Likewise of the global ones. */
const struct option_value *args_global(const struct args *args, const char *name);

/* Check and convert one value by its spec; also used for the environment and configuration files.
 * `where` names its place in sentences. */
int args_value(const struct option_spec *spec, const char *where, const char *text,
	struct option_value *value, struct rgm_error *error);

/* An option as help shows it: "-o, --output FILE". */
void args_describe(const struct option_spec *spec, char *ret_text, size_t bytes);

#endif
