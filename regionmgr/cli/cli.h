/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of regionctl: what was asked, who reads the answer, and the connection to the manager.
 *
 * A verb is a function that gets this, writes its data by out.h and table.h, and returns 0 or a
 * negative code with the sentence in *error. main() tells it and exits.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>

#include "regionmgr/cli/args.h"
#include "regionmgr/cli/fail.h"
#include "regionmgr/cli/settings.h"
#include "regionmgr/cli/table.h"
#include <regionmgr/control.h>

struct verb;

struct cli {
	const struct verb *verb;
	struct args args;
	struct settings settings;
	const char *instance;
	char socket[512]; /* the manager's, from the settings */
	bool json, quiet;
	bool error_terminal; /* is stderr a terminal? */
	bool error_color;
	struct table_view view;      /* of stdout */
	struct rgm_control *control; /* by cli_control() */
};

/* --- main.c and client.c ---------------------------------------------------------------------- */

/* Connect to the manager, once. Without one: RGM_ENOMANAGER with the socket and how to start it. */
int cli_control(struct cli *cli, struct rgm_error *error);
/* A connection of its own for another thread or purpose; closed by the caller. */
int cli_control_open(struct cli *cli, struct rgm_control **ret_control, struct rgm_error *error);
void cli_close(struct cli *cli);

/* The command that starts a manager where this client looks for one. */
void cli_start_command(const struct cli *cli, char *ret_text, size_t bytes);
/* Complete the sentence of a failure of the manager or of an attach: RGM_ENOMANAGER gets its hint,
 * RGM_ENODIM the nearest dimension. Returns error->code. */
int cli_explain(struct cli *cli, const char *name, struct rgm_error *error);

/* --- view.c ----------------------------------------------------------------------------------- */

/* One look of --watch: what came before, if any, and how long ago. */
struct look {
	const struct table *before;
	uint64_t elapsed_ns;
};
/* Fill an empty table (begun by the caller) with the present. */
typedef int (*collector)(
	struct cli *cli, const struct look *look, struct table *table, struct rgm_error *error);

/* Show what `collect` finds: once, or again and again where the verb has --watch and it is given. */
int view_run(struct cli *cli, const struct column *columns, enum table_shape shape,
	const char *empty, collector collect, struct rgm_error *error);
/* Show one table. */
int view_table(struct cli *cli, const struct table *table, struct rgm_error *error);
/* Print one JSON document (compact in a pipe) and free it; NULL is -ENOMEM. */
int view_json(struct cli *cli, cJSON *document, struct rgm_error *error);

#endif
