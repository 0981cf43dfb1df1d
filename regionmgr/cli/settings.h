/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: what both programs take from an option, else from the environment, else from a
 * configuration file, else from a default; and where each value came from.
 *
 * The environment variable of a setting is REGIONMGR_ and its name in capitals with _ for -:
 * REGIONMGR_INSTANCE, REGIONMGR_MAX_READERS. The file has lines `name = value`; # begins a comment; a
 * list is written on several lines or with commas. One file serves both programs: --config of
 * regionmgrd, else $REGIONMGR_CONFIG, else ${XDG_CONFIG_HOME:-~/.config}/regionmgr/config where there
 * is one.
 */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include "regionmgr/cli/args.h"

enum setting_user {
	SETTING_CLIENT = 1,
	SETTING_MANAGER = 2,
	SETTING_BOTH = 3
};

struct setting {
	struct option_spec spec;
	enum setting_user users;
	const char *fallback; /* the default as text; NULL: worked out, or none */
};

/* All settings; ended by a NULL name. */
extern const struct setting settings_table[];
#define SETTINGS_MAX 16u

/* The value of one. */
struct setting_value {
	struct option_value value; /* value.given: false when there is neither value nor default */
	char source[320]; /* "option --dir", "environment REGIONMGR_DIR", "FILE:12", "default" */
};

struct settings {
	char file[512]; /* the configuration file, or empty */
	char file_source[64];
	struct setting_value values[SETTINGS_MAX];
	char *text;        /* the file's content; values point into it */
	char *environment; /* copies of lists in the environment */
};

/* The options of settings that `user` knows, ended by a NULL name, into a table of
 * ARGS_OPTIONS_MAX; returns how many. */
size_t settings_options(enum setting_user user, struct option_spec *ret_specs);

/* Work out every setting that `user` knows. `options` holds what the command line gave, by name;
 * `file` is the option --config or NULL. CLI_USAGE or -errno with the sentence. */
int settings_read(struct settings *settings, enum setting_user user,
	const struct option_set *options, const char *file, struct rgm_error *error);
void settings_free(struct settings *settings);

const struct setting_value *settings_get(const struct settings *settings, const char *name);
const char *settings_text(const struct settings *settings, const char *name); /* NULL: not set */
uint64_t settings_number(const struct settings *settings, const char *name);
bool settings_flag(const struct settings *settings, const char *name);

#endif
