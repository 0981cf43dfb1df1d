/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs that change share. */
#ifndef CLI_CHANGE_H
#define CLI_CHANGE_H

#include "regionmgr/cli/cli.h"

/* Fill create options from --kind, --max and --allow; `access` has ARGS_LIST_MAX entries and must
 * outlive them. */
int change_create_options(struct cli *cli, struct rgm_create_options *ret_options,
	struct rgm_principal *access, struct rgm_error *error);

/* Ask for the name on the terminal: 0 if it was typed, else CLI_CANCELLED; CLI_USAGE where there is
 * no terminal to ask on. `what` is what would be lost. */
int change_confirm(struct cli *cli, const char *name, const char *what, struct rgm_error *error);

#endif
