/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of regionmgrd: the settings of "regionmgr/cli/settings.h" that a manager knows. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include "regionmgr/cli/settings.h"
#include "regionmgr/daemon/log.h"

struct daemon_options {
	struct rgm_manager_options manager;
	struct rgm_principal access[ARGS_LIST_MAX];
	struct daemon_log log;
	struct settings settings; /* strings in `manager` live here */
	bool help, version;       /* asked for instead of serving */
};

/* CLI_USAGE or -errno with the sentence. To be freed on success. */
int daemon_options_read(
	int argc, char **argv, struct daemon_options *ret_options, struct rgm_error *error);
void daemon_options_free(struct daemon_options *options);

/* `regionmgrd --help`, on standard output by out.h. */
void daemon_options_help(void);

#endif
