/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regionmgrd: the manager library and a main(). Serves until SIGTERM or SIGINT, then stops cleanly;
 * signals are taken one by one by this thread alone, so that a second one cannot interrupt the save.
 * SIGHUP, sent when a terminal closes, is logged and ignored: there is nothing to read anew.
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "regionmgr/cli/fail.h"
#include "regionmgr/cli/out.h"
#include "regionmgr/daemon/options.h"

static void block_signals(sigset_t *ret_set)
{
	sigemptyset(ret_set);
	sigaddset(ret_set, SIGTERM);
	sigaddset(ret_set, SIGINT);
	sigaddset(ret_set, SIGHUP);
	(void)pthread_sigmask(SIG_BLOCK, ret_set, NULL);
	/* a client or a log reader that leaves is an error of a call, not the end */
	(void)signal(SIGPIPE, SIG_IGN);
	/* A limit on file sizes is then an error of the growth that meets it, and no more. */
	(void)signal(SIGXFSZ, SIG_IGN);
}

/* Where it serves, and what to type next: the options that a client needs to find it. */
static void say_ready(const struct daemon_options *options, const struct rgm_manager *manager)
{
	const char *socket = rgm_manager_socket(manager), *instance = options->manager.instance;
	struct daemon_log log = options->log;
	char usual[512] = "", where[700] = "", sentence[1600];
	struct rgm_log_field fields[] = {
		{"instance", instance, 0},
		{"folder", rgm_manager_folder(manager), 0},
		{"socket", socket, 0},
		{"pid", NULL, (uint64_t)getpid()},
	};

	(void)rgm_control_socket_path(instance, NULL, usual, sizeof usual, NULL);
	if (strcmp(usual, socket) != 0)
		(void)snprintf(where, sizeof where, " --socket %s", socket);
	else if (strcmp(instance, "default") != 0)
		(void)snprintf(where, sizeof where, " --instance %s", instance);
	(void)snprintf(sentence, sizeof sentence,
		"serving '%s' at %s; next: regionctl%s load NAME PATH", instance, socket, where);
	/* the one line that --log-level does not silence */
	log.least = RGM_LOG_INFO;
	daemon_log(&log, RGM_LOG_INFO, "ready", sentence, fields, sizeof fields / sizeof fields[0]);
}

static void wait_for_end(const struct daemon_options *options, const sigset_t *set)
{
	int number = 0;

	for (;;) {
		struct rgm_log_field fields[] = {{"signal", NULL, 0}};

		if (sigwait(set, &number) != 0)
			continue;
		fields[0].number = (uint64_t)number;
		if (number != SIGHUP) {
			daemon_log((void *)&options->log, RGM_LOG_INFO, "stopping",
				number == SIGTERM ? "SIGTERM: stopping" : "SIGINT: stopping",
				fields, 1);
			return;
		}
		daemon_log((void *)&options->log, RGM_LOG_INFO, "hangup",
			"SIGHUP is ignored: settings are read at the start", fields, 1);
	}
}

static int serve(const struct daemon_options *options, struct rgm_error *error)
{
	struct rgm_manager *manager;
	sigset_t set;
	int rc;

	block_signals(&set);
	rc = rgm_manager_open(&options->manager, &manager, error);
	if (rc != 0)
		return rc;
	say_ready(options, manager);
	wait_for_end(options, &set);
	return rgm_manager_close(manager, error);
}

static void tell(const struct daemon_options *options, const struct rgm_error *error)
{
	const struct rgm_log_field fields[] = {
		{"code", cli_error_name(error->code), 0},
		{"hint", error->hint, 0},
	};
	struct daemon_log log = {.json = true, .least = RGM_LOG_ERROR};

	if (options->log.json)
		daemon_log(&log, RGM_LOG_ERROR, "failed", error->message, fields, 2);
	else
		cli_tell("regionmgrd", error, false, false);
}

int main(int argc, char **argv)
{
	struct daemon_options options;
	struct rgm_error error = {0};
	int rc;

	out_guard_descriptors();
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	rc = daemon_options_read(argc, argv, &options, &error);
	if (rc == 0 && (options.help || options.version)) {
		if (options.help)
			daemon_options_help();
		else
			out_printf("regionmgrd %s\n", rgm_version());
		rc = out_close(&error);
		if (rc != 0)
			cli_tell("regionmgrd", &error, false, false);
		return rc != 0 ? EXIT_FAILED : EXIT_DONE;
	}
	if (rc == 0) {
		rc = serve(&options, &error);
		daemon_options_free(&options);
	}
	if (rc != 0)
		tell(&options, &error);
	return (int)cli_exit_code(rc);
}
