/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/out.h"
#include "regionmgr/cli/verbs.h"

int verb_help(struct cli *cli, struct rgm_error *error)
{
	const struct verb *verb;

	if (cli->json)
		return view_json(cli, help_json(), error);
	if (args_flag(&cli->args, "markdown")) {
		help_markdown();
		return 0;
	}
	if (cli->args.word_count == 0) {
		help_overview(cli->view.color);
		return 0;
	}
	verb = verbs_find(cli->args.words[0]);
	if (verb == NULL)
		return verbs_unknown(cli->args.words[0], error);
	help_verb(verb, cli->view.color);
	return 0;
}

int verb_version(struct cli *cli, struct rgm_error *error)
{
	cJSON *document;

	if (!cli->json) {
		out_printf("regionctl %s\n", rgm_version());
		return 0;
	}
	document = cJSON_CreateObject();
	cJSON_AddStringToObject(document, "program", "regionctl");
	cJSON_AddStringToObject(document, "version", rgm_version());
	return view_json(cli, document, error);
}
