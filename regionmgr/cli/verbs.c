/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/verbs.h"

#include <stdio.h>
#include <string.h>

#include "regionmgr/cli/nearest.h"

/* A table is read in its columns. */
/* clang-format off */

#define WATCH {"watch", "TIME", "show it again every second, or as told", OPTION_EVERY, 0}
#define MAX   {"max", "SIZE", "most the dimension may grow to (default: the manager's --max-bytes)", \
		OPTION_SIZE, 0}
#define ALLOW {"allow", "user:NAME|group:NAME", \
		"who may read it beside the owner and root; repeatable (default: as the instance)", \
		OPTION_LIST, 0}
#define KIND  {"kind", "layers", "kind of dimension", OPTION_CHOICE, 0}
#define MEDIA {"media-type", "TYPE", "media type of the layers, such as text/csv", OPTION_TEXT, 0}

const struct verb verbs_table[] = {
	/* --- look ------------------------------------------------------------------------------ */
	{
		.name = "status", .group = GROUP_LOOK, .run = verb_status,
		.summary = "the instance as a whole",
		.details = "With --config it needs no manager: it shows each setting and where its value comes "
			"from, option over environment over configuration file over default.",
		.options = {
			{"config", NULL, "show the settings and where each comes from", OPTION_FLAG, 0},
			WATCH,
		},
		.examples = {
			{"regionctl status", "what is served, how much, since when"},
			{"regionctl status --json | jq .version", "the current version"},
			{"regionctl status --config", "which socket, which folder, and why"},
		},
	}, {
		.name = "list", .group = GROUP_LOOK, .run = verb_list,
		.summary = "all dimensions, one a line",
		.options = {WATCH},
		.examples = {
			{"regionctl list", "names, kinds, versions, sizes"},
			{"regionctl list --json | jq -r '.[].name'", "the names alone"},
			{"regionctl list --watch", "again every second"},
		},
	}, {
		.name = "show", .group = GROUP_LOOK, .run = verb_show,
		.summary = "a dimension in full, or its layers",
		.details = "block_bytes and resident_bytes are the kernel's counts, as stat and fincore give "
			"them. Without NAME every dimension is shown.",
		.arguments = {{"NAME", "the dimension", true, false}},
		.options = {
			{"layers", NULL, "list its layers", OPTION_FLAG, 0},
			{"prefix", "TEXT", "only layers whose names begin so", OPTION_TEXT, 0},
			WATCH,
		},
		.examples = {
			{"regionctl show libs", "pages, blocks on disk, bytes in memory, readers"},
			{"regionctl show libs --layers --prefix python3/", "some of its layers"},
		},
	}, {
		.name = "get", .group = GROUP_LOOK, .run = verb_get,
		.summary = "write one layer's bytes to standard output or a file",
		.details = "The checksum is verified on the way. A file gets its name only when it is whole.",
		.arguments = {{"NAME", "the dimension", false, false}, {"LAYER", "the layer", false, false}},
		.options = {
			{"output", "FILE", "write to FILE", OPTION_TEXT, 'o'},
			{"force", NULL, "write binary data to a terminal", OPTION_FLAG, 0},
		},
		.examples = {
			{"regionctl get libs libc.so.6 | sha256sum", "through a pipe"},
			{"regionctl get libs libc.so.6 -o /tmp/libc.so.6", "into a file"},
		},
	}, {
		.name = "scan", .group = GROUP_LOOK, .run = verb_scan,
		.summary = "read every byte as workers do; checksum and speed",
		.details = "All names are read at one version, in place, by M processes of N threads. crc32c is "
			"that of the layers' bytes one after the other in name order; each layer is also compared "
			"with its stored checksum.",
		.arguments = {{"NAME", "dimensions", false, true}},
		.options = {
			{"threads", "N", "threads a process (default: the processors)", OPTION_COUNT, 0},
			{"processes", "M", "processes (default 1)", OPTION_COUNT, 0},
			{"loops", "K", "read everything K times (default 1)", OPTION_COUNT, 0},
		},
		.examples = {
			{"regionctl scan libs", "one process, all processors"},
			{"regionctl scan libs fonts --threads 4 --processes 2 --loops 10", "for a while"},
		},
	}, {
		.name = "readers", .group = GROUP_LOOK, .run = verb_readers,
		.summary = "attached processes: versions in view, holds, memory they keep",
		.details = "lag is ok; lagging, of a reader that was logged for keeping memory for longer "
			"than regionmgrd's --warn-section; revoked, while it has sections or holds that "
			"--lag-policy took back (the other columns leave them out); killed. revoked is the "
			"version below which that is.",
		.options = {WATCH},
		.examples = {
			{"regionctl readers", "who is attached"},
			{"regionctl readers --json | jq '.[] | select(.kept_bytes > 0)'", "who keeps memory"},
		},
	}, {
		.name = "stats", .group = GROUP_LOOK, .run = verb_stats,
		.summary = "counters with their rates",
		.details = "The rate is a second's: over the interval with --watch, else since the manager "
			"started.",
		.arguments = {{"COUNTER", "only these", true, true}},
		.options = {WATCH},
		.examples = {
			{"regionctl stats", "all counters"},
			{"regionctl stats commits bytes_put --watch=5s", "two of them, every five seconds"},
		},
	}, {
		.name = "watch", .group = GROUP_LOOK, .run = verb_watch,
		.summary = "tell changes as they happen, one a line",
		.details = "A line has the time it was told, the version, the name, what happened (created, "
			"changed, grown, renamed, dropped), the bytes and number of layers where they may be "
			"read, the size of the region, and what a renamed one was called before. It sleeps in "
			"between. What came and went between two looks is not told, nor are the versions in "
			"between: it tells what is different now. A NAME is followed through renames until another "
			"dimension has it. It ends when the manager stops (exit code 4), or by SIGINT.",
		.arguments = {{"NAME", "only these", true, true}},
		.options = {
			{"from", "VERSION", "first tell what changed after that version", OPTION_COUNT, 0},
			{"count", "N", "end after N lines", OPTION_COUNT, 'n'},
			{"for", "TIME", "end after that time; a failure if --count is not reached",
				OPTION_DURATION, 0},
			{"await", NULL, "a NAME need not exist yet", OPTION_FLAG, 0},
		},
		.examples = {
			{"regionctl watch", "everything that happens"},
			{"regionctl watch libs --count 1 --for 1m && make", "do something after a change"},
			{"regionctl watch --json | jq -r 'select(.what == \"dropped\").name'", "for programs"},
		},
	}, {
		.name = "help", .group = GROUP_LOOK, .run = verb_help,
		.summary = "this, or a verb in full",
		.arguments = {{"VERB", "a verb", true, false}},
		.options = {{"markdown", NULL, "everything, as docs/cli.md", OPTION_FLAG, 0}},
		.examples = {
			{"regionctl help load", "a verb in full"},
			{"regionctl help --json", "everything, for programs"},
		},
	}, {
		.name = "version", .group = GROUP_LOOK, .run = verb_version,
		.summary = "the version of this program",
		.examples = {{"regionctl version", "as --version"}},
	},
	/* --- change ---------------------------------------------------------------------------- */
	{
		.name = "load", .group = GROUP_CHANGE, .run = verb_load,
		.summary = "load a file, a folder or a tar stream into a dimension, in one version",
		.details = "PATH is a regular file (one layer, named by its base name) or a folder (each regular "
			"file below it a layer under its relative path; symbolic links and special files in it are "
			"skipped and counted). - is standard input: a tar stream, also compressed, is recognised and "
			"each regular file in it becomes a layer; anything else is one layer. The dimension is "
			"created if there is none. Whatever fails or changes meanwhile, nothing is published.",
		.arguments = {
			{"NAME", "the dimension", false, false},
			{"PATH|-", "a file, a folder, or - for standard input", false, false},
		},
		.options = {
			KIND,
			{"layer", "LAYER", "name of the one layer (default: the base name, or stdin)", OPTION_TEXT, 0},
			{"replace", NULL, "layers not in this load are gone after it (default)", OPTION_FLAG, 0},
			{"merge", NULL, "keep layers that are not in this load", OPTION_FLAG, 0},
			{"skip-unreadable", NULL, "skip and count files that may not be read", OPTION_FLAG, 0},
			{"tar", NULL, "standard input must be a tar stream", OPTION_FLAG, 0},
			{"raw", NULL, "standard input is one layer, whatever it holds", OPTION_FLAG, 0},
			MEDIA, MAX, ALLOW,
		},
		.examples = {
			{"regionctl load libs /usr/lib/x86_64-linux-gnu", "a folder"},
			{"tar c -C /usr/share/zoneinfo . | regionctl load zones -", "a tar stream"},
			{"regionctl load tables prices.csv --media-type text/csv --merge", "one more file"},
			{"seq 1000 | regionctl load numbers - --raw --layer seq", "standard input as it is"},
		},
	}, {
		.name = "put", .group = GROUP_CHANGE, .run = verb_put,
		.summary = "put one layer into a dimension, or replace it",
		.arguments = {
			{"NAME", "the dimension", false, false},
			{"LAYER", "the layer", false, false},
			{"PATH|-", "a regular file, or - for standard input", false, false},
		},
		.options = {MEDIA},
		.examples = {
			{"regionctl put tables prices.csv today.csv", "replace a layer, in one version"},
			{"date | regionctl put tables stamp -", "from standard input"},
		},
	}, {
		.name = "delete", .group = GROUP_CHANGE, .run = verb_delete,
		.summary = "delete layers of a dimension, in one version",
		.arguments = {{"NAME", "the dimension", false, false}, {"LAYER", "layers", false, true}},
		.options = {{"dry-run", NULL, "only say what would be deleted", OPTION_FLAG, 'n'}},
		.examples = {{"regionctl delete tables prices.csv stamp", "all of them or none"}},
	}, {
		.name = "create", .group = GROUP_CHANGE, .run = verb_create,
		.summary = "create an empty dimension",
		.arguments = {{"NAME", "the dimension", false, false}},
		.options = {KIND, MAX, ALLOW},
		.examples = {
			{"regionctl create tables --max 64GiB", "room to grow"},
			{"regionctl create tables --allow user:www-data", "readable by another user"},
		},
	}, {
		.name = "rename", .group = GROUP_CHANGE, .run = verb_rename,
		.summary = "rename a dimension",
		.arguments = {{"NAME", "the dimension", false, false}, {"NEW", "its new name", false, false}},
		.examples = {{"regionctl rename tables tables-2026", "readers that look on keep it"}},
	}, {
		.name = "drop", .group = GROUP_CHANGE, .run = verb_drop,
		.summary = "drop a dimension with all its layers",
		.details = "On a terminal its name is asked for; elsewhere --yes is needed. Readers that see it "
			"go on seeing it; its space is free when they are gone.",
		.arguments = {{"NAME", "the dimension", false, false}},
		.options = {
			{"dry-run", NULL, "only say what would be dropped and who reads it", OPTION_FLAG, 'n'},
			{"yes", NULL, "do not ask", OPTION_FLAG, 'y'},
		},
		.examples = {
			{"regionctl drop tables --dry-run", "bytes, layers, readers, holds"},
			{"regionctl drop tables --yes", "in a script"},
		},
	},
	/* --- repair ---------------------------------------------------------------------------- */
	{
		.name = "check", .group = GROUP_REPAIR, .run = verb_check,
		.summary = "verify every checksum and the allocation",
		.details = "Served dimensions are checked by the manager while they are read. --file checks a "
			"region file that no manager serves.",
		.arguments = {{"NAME|all", "dimensions", true, true}},
		.options = {{"file", "PATH", "check a region file instead, without a manager", OPTION_TEXT, 0}},
		.examples = {
			{"regionctl check all", "everything"},
			{"regionctl check --file 0000000000000007.region", "offline"},
		},
	}, {
		.name = "doctor", .group = GROUP_REPAIR, .run = verb_doctor,
		.summary = "what is wrong here, and the command that mends it",
		.examples = {
			{"regionctl doctor", "[ok|warn|fail] fact: remedy"},
			{"regionctl doctor --json | jq '.[] | select(.result == \"fail\")'", "failures alone"},
		},
	},
	{.name = NULL},
};

/* clang-format on */

static const struct option_spec own_globals[] = {
	{"json", NULL, "one JSON document; errors too, on standard error", OPTION_FLAG, 0},
	{"quiet", NULL, "no progress, no summary", OPTION_FLAG, 'q'},
	{"version", NULL, "the program's version", OPTION_FLAG, 'V'},
	{"help", NULL, "help, for the verb if there is one", OPTION_FLAG, 'h'},
};

const struct option_spec *verbs_globals(void)
{
	static struct option_spec specs[ARGS_OPTIONS_MAX];

	if (specs[0].name == NULL) {
		size_t count = settings_options(SETTING_CLIENT, specs);

		memcpy(&specs[count], own_globals, sizeof own_globals);
	}
	return specs;
}

const struct verb *verbs_find(const char *name)
{
	for (const struct verb *verb = verbs_table; verb->name != NULL; verb++) {
		if (strcmp(verb->name, name) == 0)
			return verb;
	}
	return NULL;
}

int verbs_unknown(const char *name, struct rgm_error *error)
{
	/* what other tools call it: too far for a typo, near enough to guess */
	static const char *const habits[][2] = {{"ls", "list"}, {"rm", "drop"},
		{"remove", "delete"}, {"mv", "rename"}, {"cat", "get"}, {"ps", "readers"},
		{"info", "show"}, {"import", "load"}, {"verify", "check"}, {"add", "put"},
		{"new", "create"}, {"metrics", "stats"}};
	struct nearest nearest;

	pool_fail(error, CLI_USAGE, "there is no verb '%s'", name);
	for (size_t i = 0; i < sizeof habits / sizeof habits[0]; i++) {
		if (strcmp(habits[i][0], name) == 0)
			return cli_hint(error, "did you mean '%s'?", habits[i][1]);
	}
	nearest_begin(&nearest, name);
	for (const struct verb *verb = verbs_table; verb->name != NULL; verb++)
		nearest_offer(&nearest, verb->name);
	if (nearest_found(&nearest))
		return cli_hint(error, "did you mean '%s'?", nearest.best);
	return cli_hint(error, "'regionctl help' lists the verbs");
}

int verbs_check_arguments(const struct verb *verb, const struct args *args, struct rgm_error *error)
{
	size_t at = 0, most = 0;
	bool repeats = false;

	for (const struct argument *want = verb->arguments; want->name != NULL; want++, at++) {
		if (at >= args->word_count && !want->optional) {
			pool_fail(error, CLI_USAGE, "%s: %s is missing", verb->name, want->name);
			return cli_hint(error, "for example: %s", verb->examples[0].command);
		}
		repeats = want->repeats;
		most++;
	}
	if (args->word_count > most && !repeats) {
		pool_fail(error, CLI_USAGE, "%s takes %zu %s; '%s' is one too many", verb->name,
			most, most == 1 ? "argument" : "arguments", args->words[most]);
		return cli_hint(error, "for example: %s", verb->examples[0].command);
	}
	return 0;
}

const char *verbs_group_name(enum verb_group group)
{
	static const char *const names[GROUP_COUNT] = {"look", "change", "repair"};

	return names[group];
}
