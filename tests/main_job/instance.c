/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and stopping the manager under test; see instance.h. */
#include "instance.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "job.h"

#define START_LIMIT_MS 60000u
#define STOP_LIMIT_MS  300000u

bool instance_prepare(struct instance *instance, const char *bin, const char *parent)
{
	memset(instance, 0, sizeof(*instance));
	snprintf(instance->name, sizeof(instance->name), "main-job-%d", (int)getpid());
	if (bin != NULL)
		snprintf(instance->program, sizeof(instance->program), "%s/regionmgrd", bin);
	if (instance->program[0] != '\0' && access(instance->program, X_OK) != 0) {
		fprintf(stderr, "main_job: no program '%s': name its folder by --bin\n",
			instance->program);
		return false;
	}
	if ((size_t)snprintf(instance->dir, sizeof(instance->dir), "%s/regionmgr-main-job-XXXXXX",
		    parent) >= sizeof(instance->dir) ||
		mkdtemp(instance->dir) == NULL) {
		fprintf(stderr, "main_job: cannot make a folder in '%s': %s\n", parent,
			strerror(errno));
		instance->dir[0] = '\0';
		return false;
	}
	snprintf(instance->log, sizeof(instance->log), "%s.log", instance->dir);
	return true;
}

/* --- regionmgrd --------------------------------------------------------------------------------- */

_Noreturn static void become_manager(const struct instance *instance)
{
	char *arguments[] = {(char *)instance->program, (char *)"--instance",
		(char *)instance->name, (char *)"--dir", (char *)instance->dir, NULL};
	int log = open(instance->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (log >= 0) {
		dup2(log, STDOUT_FILENO);
		dup2(log, STDERR_FILENO);
	}
	execv(instance->program, arguments);
	_exit(127);
}

static bool start_program(struct instance *instance)
{
	struct rgm_error error;
	int status, rc;

	rc = rgm_control_socket_path(
		instance->name, instance->dir, instance->socket, sizeof(instance->socket), &error);
	if (rc != 0) {
		fprintf(stderr, "main_job: %s\n", error.message);
		return false;
	}
	fflush(NULL);
	instance->pid = fork();
	if (instance->pid == 0)
		become_manager(instance);
	for (uint32_t waited = 0; instance->pid > 0 && waited < START_LIMIT_MS; waited += 10) {
		struct rgm_control_options options = {
			.size = sizeof(options), .socket = instance->socket};
		struct rgm_control *control;

		if (rgm_control_open(instance->name, &options, &control, &error) == 0) {
			rgm_control_close(control);
			return true;
		}
		if (waitpid(instance->pid, &status, WNOHANG) == instance->pid) {
			instance->pid = 0;
			fprintf(stderr, "main_job: regionmgrd ended at its start, status %d\n",
				WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
			return false;
		}
		job_sleep_ms(10);
	}
	fprintf(stderr, "main_job: regionmgrd does not answer: %s\n", error.message);
	return false;
}

static bool stop_program(struct instance *instance)
{
	int status = 0;
	pid_t ended = 0;

	kill(instance->pid, SIGTERM);
	for (uint32_t waited = 0; ended == 0 && waited < STOP_LIMIT_MS; waited += 10) {
		ended = waitpid(instance->pid, &status, WNOHANG);
		if (ended == 0)
			job_sleep_ms(10);
	}
	if (ended != instance->pid) {
		fprintf(stderr, "main_job: regionmgrd does not end after SIGTERM\n");
		return false;
	}
	instance->pid = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	fprintf(stderr, "main_job: regionmgrd ended with status %d after SIGTERM\n",
		WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	return false;
}

/* --- embedded ----------------------------------------------------------------------------------- */

static void write_log(void *context, enum rgm_log_level level, const char *event,
	const char *sentence, const struct rgm_log_field *fields, size_t field_count)
{
	const struct instance *instance = context;
	FILE *log = fopen(instance->log, "ae");

	(void)fields;
	(void)field_count;
	if (log == NULL)
		return;
	fprintf(log, "%d %s: %s\n", (int)level, event, sentence);
	fclose(log);
}

static bool start_embedded(struct instance *instance)
{
	char socket[400];
	struct rgm_manager_options options = {
		.size = sizeof(options),
		.instance = instance->name,
		.dir = instance->dir,
		.socket = socket,
		.log = write_log,
		.log_context = instance,
	};
	struct rgm_error error;

	snprintf(socket, sizeof(socket), "%s/control.sock", instance->dir);
	if (rgm_manager_open(&options, &instance->manager, &error) != 0) {
		fprintf(stderr, "main_job: cannot open a manager: %s\n", error.message);
		instance->manager = NULL;
		return false;
	}
	snprintf(instance->socket, sizeof(instance->socket), "%s",
		rgm_manager_socket(instance->manager));
	return true;
}

static bool stop_embedded(struct instance *instance)
{
	struct rgm_error error;
	int rc = rgm_manager_close(instance->manager, &error);

	instance->manager = NULL;
	if (rc != 0)
		fprintf(stderr, "main_job: cannot close the manager: %s\n", error.message);
	return rc == 0;
}

bool instance_start(struct instance *instance)
{
	return instance->program[0] != '\0' ? start_program(instance) : start_embedded(instance);
}

bool instance_stop(struct instance *instance)
{
	return instance->program[0] != '\0' ? stop_program(instance) : stop_embedded(instance);
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *place)
{
	(void)facts;
	(void)type;
	(void)place;
	return remove(path);
}

void instance_remove(struct instance *instance)
{
	if (instance->pid > 0) {
		kill(instance->pid, SIGKILL);
		waitpid(instance->pid, NULL, 0);
		instance->pid = 0;
	}
	if (instance->manager != NULL)
		stop_embedded(instance);
	if (instance->dir[0] == '\0')
		return;
	nftw(instance->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	unlink(instance->log);
}

void instance_print_log(const struct instance *instance)
{
	FILE *log = fopen(instance->log, "re");
	char *line = NULL;
	size_t size = 0;

	if (log == NULL)
		return;
	if (fseek(log, -4000, SEEK_END) == 0 && getline(&line, &size, log) < 0)
		rewind(log);
	while (getline(&line, &size, log) > 0)
		fprintf(stderr, "main_job: manager: %s", line);
	free(line);
	fclose(log);
}
