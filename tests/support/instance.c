/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and stopping managers. See instance.h. */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/guard.h"

static struct instance tested;

static struct sigaction guard_action;

__attribute__((constructor)) static void install_guard(void)
{
	if (guard_install() == 0)
		sigaction(SIGBUS, NULL, &guard_action);
}

void instance_guard(void)
{
	REQUIRE_EQUAL(sigaction(SIGBUS, &guard_action, NULL), 0);
}

void instance_prepare(struct instance *instance, bool daemon)
{
	const char *wanted = getenv("RGM_TEST_DAEMON");
	*instance = (struct instance){.daemon = daemon || (wanted && *wanted == '1')};
	snprintf(instance->folder, sizeof instance->folder, "/tmp/regionmgr-test-XXXXXX");
	REQUIRE(mkdtemp(instance->folder));
	snprintf(instance->name, sizeof instance->name, "test-%d", (int)getpid());
	snprintf(instance->socket, sizeof instance->socket, "%s/control.sock", instance->folder);
	instance->options.size = sizeof instance->options;
}

/* --- regionmgrd --------------------------------------------------------------------------------- */

/* Where the build put it: beside the folder of this test, unless told. */
static void find_daemon(char *path, size_t path_bytes)
{
	const char *folder = getenv("RGM_BIN_DIR");
	char own[3072] = "";
	if (!folder)
		folder = getenv("RGM_TEST_BIN_DIR");
	if (!folder) {
		REQUIRE(readlink("/proc/self/exe", own, sizeof own - 64) > 0);
		strcpy(strrchr(own, '/'), "/../bin");
		folder = own;
	}
	snprintf(path, path_bytes, "%s/regionmgrd", folder);
}

static void become_daemon(struct child *parent, void *context)
{
	struct instance *instance = context;
	char path[4096], log[128];
	(void)parent;
	find_daemon(path, sizeof path);
	snprintf(log, sizeof log, "%s/regionmgrd.log", instance->folder);
	char *arguments[16] = {path, (char *)"--instance", instance->name, (char *)"--dir",
		instance->folder, (char *)"--socket", instance->socket};
	for (size_t i = 0; instance->extra[i]; i++)
		arguments[7 + i] = (char *)instance->extra[i];
	int file = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (file >= 0)
		dup2(file, STDERR_FILENO);
	execv(path, arguments);
	dprintf(STDERR_FILENO, "%s: %s\n", path, strerror(errno));
	_exit(127);
}

static void show_log(const struct instance *instance)
{
	char path[128], line[512];
	snprintf(path, sizeof path, "%s/regionmgrd.log", instance->folder);
	FILE *log = fopen(path, "re");
	while (log && fgets(line, sizeof line, log))
		print_error("regionmgrd: %s", line);
	if (log)
		fclose(log);
}

void instance_begin(struct instance *instance)
{
	instance->process = child_start(become_daemon, instance);
}

static void start_daemon(struct instance *instance)
{
	instance_begin(instance);
	struct rgm_control_options options = {.size = sizeof options, .socket = instance->socket};
	uint64_t until = support_now_ms() + SUPPORT_LIMIT_MS;
	for (;;) {
		struct rgm_control *control;
		struct rgm_error error;
		int status;
		if (rgm_control_open(instance->name, &options, &control, &error) == 0) {
			rgm_control_close(control);
			return;
		}
		bool ended = waitpid(instance->process.pid, &status, WNOHANG) != 0;
		if (ended || support_now_ms() > until) {
			show_log(instance);
			if (ended)
				instance->process.pid = 0;
			support_fail(
				__FILE__, __LINE__, "regionmgrd does not serve: %s", error.message);
		}
		support_sleep_ms(2);
	}
}

static void stop_daemon(struct instance *instance)
{
	child_signal(&instance->process, SIGTERM);
	child_join(&instance->process);
}

/* --- Either -------------------------------------------------------------------------------------- */

void instance_start(struct instance *instance)
{
	if (instance->daemon) {
		start_daemon(instance);
	} else {
		struct rgm_error error;
		must(instance_start_fails(instance, &error), &error);
	}
	struct rgm_status status;
	instance_status(instance, &status);
	memcpy(instance->id, status.instance_id, sizeof instance->id);
}

int instance_start_fails(struct instance *instance, struct rgm_error *error)
{
	instance->options.instance = instance->name;
	instance->options.dir = instance->folder;
	instance->options.socket = instance->socket;
	return rgm_manager_open(&instance->options, &instance->manager, error);
}

void instance_stop(struct instance *instance)
{
	if (instance->process.pid) {
		stop_daemon(instance);
	} else {
		struct rgm_error error;
		struct rgm_manager *manager = instance->manager;
		instance->manager = NULL;
		must(rgm_manager_close(manager, &error), &error);
	}
	REQUIRE_EQUAL(instance_shm_names(instance), 0);
}

void instance_kill(struct instance *instance)
{
	child_kill(&instance->process);
}

static unsigned names(const struct instance *instance, const char *what, bool lose)
{
	char prefix[64];
	unsigned count = 0;
	snprintf(prefix, sizeof prefix, "regionmgr.%s.%s", instance->id, what);
	DIR *folder = opendir("/dev/shm");
	REQUIRE(folder);
	for (struct dirent *entry; (entry = readdir(folder));) {
		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		count++;
		if (lose)
			REQUIRE_EQUAL(unlinkat(dirfd(folder), entry->d_name, 0), 0);
	}
	closedir(folder);
	return count;
}

unsigned instance_shm_names(const struct instance *instance)
{
	return names(instance, "", false);
}

unsigned instance_segments(const struct instance *instance)
{
	return names(instance, "s.", false);
}

unsigned instance_lose_names(const struct instance *instance)
{
	return names(instance, "", true);
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *place)
{
	(void)facts;
	(void)type;
	(void)place;
	return remove(path);
}

void instance_end(struct instance *instance)
{
	if (!*instance->folder)
		return;
	/* Children are left after a failure only; first of all they are to end. */
	unsigned left = support_end_children(instance->process.pid);
	if (instance->manager || instance->process.pid)
		instance_stop(instance);
	nftw(instance->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	*instance->folder = 0;
	if (*instance->id)
		REQUIRE_EQUAL(instance_shm_names(instance), 0);
	REQUIRE_EQUAL(left, 0);
}

int instance_setup_prepared(void **state)
{
	instance_prepare(&tested, false);
	*state = &tested;
	return 0;
}

int instance_setup(void **state)
{
	instance_setup_prepared(state);
	instance_start(&tested);
	return 0;
}

int instance_setup_daemon(void **state)
{
	instance_prepare(&tested, true);
	instance_start(&tested);
	*state = &tested;
	return 0;
}

int instance_teardown(void **state)
{
	instance_end(*state);
	return 0;
}
