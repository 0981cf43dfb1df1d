/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/change.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "regionmgr/cli/units.h"
#include "regionmgr/cli/verbs.h"

int change_create_options(struct cli *cli, struct rgm_create_options *ret_options,
	struct rgm_principal *access, struct rgm_error *error)
{
	const struct option_value *allow = args_option(&cli->args, "allow");
	int rc = 0;

	*ret_options = (struct rgm_create_options){
		.size = sizeof *ret_options,
		.kind = RGM_KIND_LAYERS, /* --kind has no other choice yet, and is checked by the parser */
		.max_bytes = args_option(&cli->args, "max")->number,
	};
	for (size_t i = 0; i < allow->list_count && rc == 0; i++)
		rc = units_principal(allow->list[i], &access[i], error);
	ret_options->access = allow->list_count > 0 ? access : NULL;
	ret_options->access_count = allow->list_count;
	return rc;
}

int change_confirm(struct cli *cli, const char *name, const char *what, struct rgm_error *error)
{
	char line[RGM_NAME_MAX + 3] = "";

	if (isatty(STDIN_FILENO) != 1 || !cli->error_terminal) {
		pool_fail(error, CLI_USAGE, "%s '%s' needs --yes where nobody can be asked",
			cli->verb->name, name);
		return cli_hint(error, "regionctl %s %s --dry-run says what would be lost",
			cli->verb->name, name);
	}
	fprintf(stderr, "%s\ntype '%s' to go on: ", what, name);
	fflush(stderr);
	if (fgets(line, sizeof line, stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strcmp(line, name) == 0)
			return 0;
	}
	return pool_fail(error, CLI_CANCELLED, "'%s' was not typed: nothing was changed", name);
}
