/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a manager: each step undone by the one function that also closes. */
#include "regionmgr/manager/open.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/guard.h"
#include "ipc/socket.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/change.h"
#include "regionmgr/manager/files.h"
#include "regionmgr/manager/sessions.h"
#include "regionmgr/manager/takeover.h"
#include <regionmgr/session.h>

#define LOCK_FILE "lock"

int manager_thread(pthread_t *ret_thread, void *(*run)(void *argument), void *argument)
{
	sigset_t all, before;
	sigfillset(&all);
	/* Of a fault whose signal is blocked the process dies, whatever handler there is: any thread may
	 * scan, and a scan reads what a reader may cut off. */
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(ret_thread, NULL, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -rc;
}

/* --- Steps of opening ------------------------------------------------------------------------- */

static int apply_options(struct rgm_manager *manager, const struct rgm_manager_options *options,
	struct rgm_error *error)
{
	const char *instance = ipc_instance_name(options->instance);
	int rc = ipc_check_name("instance", instance, error);
	if (rc)
		return rc;
	if (options->access_count > MANAGER_ACCESS_MAX)
		return pool_fail(error, RGM_ELIMIT,
			"an access list of %zu entries is beyond the limit of %u",
			options->access_count, MANAGER_ACCESS_MAX);
	if (options->max_readers > GUARD_MAX / 2)
		return pool_fail(error, RGM_ELIMIT, "max_readers %u is beyond the limit of %u",
			options->max_readers, GUARD_MAX / 2);
	if (options->max_dimensions > IPC_MAX_DIMENSIONS)
		return pool_fail(error, RGM_ELIMIT, "max_dimensions %u is beyond the limit of %u",
			options->max_dimensions, IPC_MAX_DIMENSIONS);
	if (options->lag_policy > RGM_LAG_KILL)
		return pool_fail(error, -EINVAL, "there is no policy for lagging readers %u",
			options->lag_policy);
	memcpy(manager->instance, instance, strlen(instance) + 1);
	manager->max_dimensions = options->max_dimensions ? options->max_dimensions : 4096;
	manager->max_readers = options->max_readers ? options->max_readers : 1024;
	manager->max_clients = options->max_clients ? options->max_clients : 2048;
	manager->max_loads = options->max_loads ? options->max_loads : 32;
	manager->default_max_bytes =
		options->default_max_bytes ? options->default_max_bytes : 16ull << 30;
	manager->warn_section_ms = options->warn_section_ms ? options->warn_section_ms : 10000;
	manager->lag_policy = (enum rgm_lag_policy)options->lag_policy;
	manager->lag_bytes = options->lag_bytes ? options->lag_bytes : 256ull << 20;
	manager->disable = options->disable;
	manager->membarrier =
		!(options->disable & RGM_DISABLE_MEMBARRIER) && os_membarrier_usable();
	manager->access_count = options->access_count;
	if (options->access_count)
		memcpy(manager->access, options->access,
			options->access_count * sizeof manager->access[0]);
	manager->log = options->log;
	manager->log_context = options->log_context;
	return 0;
}

static int find_places(struct rgm_manager *manager, const struct rgm_manager_options *options,
	struct rgm_error *error)
{
	const char *dir = options->dir ? options->dir : getenv("REGIONMGR_DIR");
	if (dir && !*dir)
		dir = NULL;
	int rc = 0;
	if (!dir)
		rc = ipc_folder_path(manager->instance, manager->folder_path,
			sizeof manager->folder_path, error);
	else if (strlen(dir) >= sizeof manager->folder_path)
		rc = pool_fail(error, -ENAMETOOLONG, "the folder's path is longer than %zu bytes",
			sizeof manager->folder_path - 1);
	else
		memcpy(manager->folder_path, dir, strlen(dir) + 1);
	if (rc)
		return rc;
	if (!options->socket)
		return ipc_socket_path(manager->instance, dir, manager->socket_path,
			sizeof manager->socket_path, error);
	if (strlen(options->socket) >= sizeof manager->socket_path)
		return pool_fail(error, -ENAMETOOLONG, "the socket's path is longer than %zu bytes",
			sizeof manager->socket_path - 1);
	memcpy(manager->socket_path, options->socket, strlen(options->socket) + 1);
	return 0;
}

/* The folder with its parents, 0700; ours, and written by nobody else. */
static int open_folder(struct rgm_manager *manager, struct rgm_error *error)
{
	char path[sizeof manager->folder_path];
	memcpy(path, manager->folder_path, sizeof path);
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(path, 0700);
		*slash = '/';
	}
	if (mkdir(path, 0700) && errno != EEXIST)
		return pool_fail_errno(error, "folder '%s' could not be made", path);
	manager->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (manager->folder < 0)
		return pool_fail_errno(error, "folder '%s'", path);
	struct stat status;
	if (fstat(manager->folder, &status))
		return pool_fail_errno(error, "folder '%s'", path);
	if (status.st_uid != geteuid() || (status.st_mode & 022)) {
		pool_fail(error, -EPERM,
			"folder '%s' belongs to user %u with mode %03o: others could write in it",
			path, status.st_uid, status.st_mode & 0777);
		pool_hint(error, "chown %u '%s' && chmod 700 '%s'", geteuid(), path, path);
		return -EPERM;
	}
	/* Who is on the access list has to get through to a socket in it. */
	if (manager->access_count && strncmp(manager->socket_path, path, strlen(path)) == 0 &&
		fchmod(manager->folder, (status.st_mode & 0777) | 0011))
		return pool_fail_errno(error, "folder '%s' could not be opened to others", path);
	return 0;
}

static int check_own(int file, const char *name, struct rgm_error *error)
{
	struct stat status;
	if (fstat(file, &status))
		return pool_fail_errno(error, "file '%s'", name);
	if (!S_ISREG(status.st_mode))
		return pool_fail(error, RGM_EREFUSED, "'%s' is not a regular file", name);
	if (status.st_uid != geteuid())
		return pool_fail(error, RGM_EREFUSED,
			"file '%s' belongs to user %u, not to user %u", name, status.st_uid,
			geteuid());
	if (status.st_nlink != 1)
		return pool_fail(error, RGM_EREFUSED,
			"file '%s' has %lu names (hard links) instead of one", name,
			(unsigned long)status.st_nlink);
	if (status.st_mode & 022)
		return pool_fail(error, RGM_EREFUSED,
			"file '%s' may be written by others than its owner (mode %03o)", name,
			status.st_mode & 0777);
	return 0;
}

int folder_open_file(
	int folder, const char *name, int flags, int *ret_file, struct rgm_error *error)
{
	/* O_NONBLOCK: a pipe would be waited at. It means nothing to a regular file. */
	int file = openat(folder, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (file < 0 && errno == ELOOP)
		return pool_fail(error, RGM_EREFUSED, "'%s' is a symbolic link", name);
	if (file < 0)
		return pool_fail_errno(error, "file '%s'", name);
	int rc = check_own(file, name, error);
	if (rc)
		close(file);
	else
		*ret_file = file;
	return rc;
}

/* The number is a label for people; the lock alone decides. */
static int in_use(const struct rgm_manager *manager, struct rgm_error *error)
{
	char holder[32] = {0};
	if (pread(manager->lock_file, holder, sizeof holder - 1, 0) < 0)
		holder[0] = 0;
	holder[strspn(holder, "0123456789")] = 0;
	pool_fail(error, RGM_EINUSE, "instance '%s' in '%s' is served already by process %s",
		manager->instance, manager->folder_path, *holder ? holder : "?");
	pool_hint(error, "regionctl status");
	return RGM_EINUSE;
}

/* The lock file, and the folder itself: without the second, whoever removes the file lets another manager
 * in beside this one. */
static int take_lock(struct rgm_manager *manager, struct rgm_error *error)
{
	int rc = folder_open_file(
		manager->folder, LOCK_FILE, O_RDWR | O_CREAT, &manager->lock_file, error);
	if (rc)
		return rc;
	rc = os_lock_exclusive(manager->lock_file);
	if (rc == 0)
		rc = os_lock_folder(manager->folder);
	if (rc) {
		rc = rc == -EAGAIN ? in_use(manager, error)
		                   : pool_fail(error, rc, "lock file in '%s': %s",
					     manager->folder_path, strerror(-rc));
		close(manager->lock_file);
		manager->lock_file = -1;
		return rc;
	}
	files_keep(manager->lock_file);
	files_keep(manager->folder);
	char holder[32];
	int length = snprintf(holder, sizeof holder, "%d\n", (int)getpid());
	if (ftruncate(manager->lock_file, 0) ||
		os_write_all(manager->lock_file, holder, (size_t)length, 0))
		return pool_fail_errno(error, "lock file in '%s'", manager->folder_path);
	return 0;
}

/* Who we are, and where the counters go on. */
static int take_catalog(
	struct rgm_manager *manager, struct catalog *catalog, struct rgm_error *error)
{
	int rc = catalog_read(manager->folder, catalog, error);
	if (rc == 0) {
		memcpy(manager->instance_id, catalog->header.instance_id,
			sizeof manager->instance_id);
		manager->next_dimension_id = catalog->header.next_dimension_id;
		manager->start_version = catalog->header.version;
		if (catalog->header.state != CATALOG_STOPPED)
			manager->start_version += CATALOG_VERSION_JUMP;
	} else if (rc == -ENOENT && dimensions_look_at_orphans(manager, true)) {
		pool_fail(error, RGM_ECORRUPT,
			"folder '%s' has region files but no catalog that says what they are",
			manager->folder_path);
		pool_hint(error, "restore the file 'catalog', or move the region files away");
		rc = RGM_ECORRUPT;
	} else if (rc == -ENOENT) {
		manager->next_dimension_id = 1;
		rc = os_random(manager->instance_id, sizeof manager->instance_id);
		if (rc)
			pool_fail(error, rc, "random numbers: %s", strerror(-rc));
	}
	if (rc == 0) {
		rc = os_random(manager->incarnation, sizeof manager->incarnation);
		if (rc)
			pool_fail(error, rc, "random numbers: %s", strerror(-rc));
	}
	return rc;
}

/* With nothing left by another manager but files. */
static int start_anew(
	struct rgm_manager *manager, const struct catalog *catalog, struct rgm_error *error)
{
	int rc = sessions_create(manager, &manager->sessions, error);
	if (rc == 0)
		rc = dimensions_open(manager, catalog, error);
	if (rc == 0)
		rc = catalog_write(manager, CATALOG_RUNNING, NULL, error);
	if (rc == 0)
		rc = table_create(manager, manager->start_version + 1, &manager->table, error);
	if (rc)
		return rc;
	rc = reclaim_create(manager, &manager->reclaim);
	if (rc)
		return pool_fail(error, rc, "reclaim thread: %s", strerror(-rc));
	return dimensions_publish(manager, error);
}

static int go_on(
	struct rgm_manager *manager, const struct catalog *catalog, struct rgm_error *error)
{
	int rc = reclaim_create(manager, &manager->reclaim);
	if (rc)
		return pool_fail(error, rc, "reclaim thread: %s", strerror(-rc));
	return takeover_finish(manager, catalog, error);
}

static int start(
	struct rgm_manager *manager, const struct catalog *catalog, struct rgm_error *error)
{
	if (registry_create(manager, &manager->registry))
		return pool_fail(error, -ENOMEM, "no memory");
	int rc = guard_install();
	if (rc)
		return pool_fail(error, rc, "SIGBUS handler: %s", strerror(-rc));
	int taken = takeover_begin(manager, error);
	if (taken < 0)
		return taken;
	rc = taken ? go_on(manager, catalog, error) : start_anew(manager, catalog, error);
	if (rc == 0)
		rc = dimensions_count_waiting(manager, error);
	if (rc)
		return rc;
	dimensions_look_at_orphans(manager, false);
	/* From its first moment the server's thread ends sessions, and their names go with them. */
	manager->leave_names = false;
	rc = server_start(manager, error);
	if (rc)
		manager->leave_names = taken;
	return rc;
}

/* --- Open and close --------------------------------------------------------------------------- */

/* Undo everything that is there. Nothing is saved: see rgm_manager_close(). */
static void dismantle(struct rgm_manager *manager)
{
	server_stop(manager);
	reclaim_destroy(manager->reclaim);
	sessions_destroy(manager->sessions);
	if (manager->registry)
		registry_destroy(manager);
	/* While the table's claim keeps the manager of a copied folder away; its own name is gone then, too. */
	if (manager->has_names && !manager->leave_names)
		takeover_remove_names(manager);
	manager->leave_names = true;
	table_destroy(manager->table);
	/* A process that was cloned without fork handlers has copies of both. */
	if (manager->lock_file >= 0) {
		os_unlock(manager->lock_file);
		os_unlock_folder(manager->folder);
	}
	files_close(manager->lock_file);
	files_close(manager->folder);
	pthread_mutex_destroy(&manager->commit);
	pthread_mutex_destroy(&manager->log_lock);
	free(manager);
}

int rgm_manager_open(const struct rgm_manager_options *options, struct rgm_manager **ret_manager,
	struct rgm_error *error)
{
	struct rgm_manager_options own = {.size = sizeof own};
	int rc = pool_options(&own, sizeof own, options, error);
	if (rc)
		return rc;
	options = &own;
	rc = files_watch();
	if (rc == 0)
		rc = rgm_watch_forks();
	if (rc)
		return pool_fail(error, rc, "following forks: %s", strerror(-rc));
	struct rgm_manager *manager = calloc(1, sizeof *manager);
	if (!manager)
		return pool_fail(error, -ENOMEM, "no memory");
	manager->folder = manager->lock_file = -1;
	manager->pid = getpid();
	manager->started_ns = os_realtime_ns();
	manager->started_monotonic_ns = os_now_ns();
	pthread_mutex_init(&manager->commit, NULL);
	pthread_mutex_init(&manager->log_lock, NULL);
	struct catalog catalog = {0};
	rc = apply_options(manager, options, error);
	if (rc == 0)
		rc = find_places(manager, options, error);
	if (rc == 0)
		rc = open_folder(manager, error);
	if (rc == 0)
		rc = take_lock(manager, error);
	if (rc == 0)
		rc = take_catalog(manager, &catalog, error);
	if (rc == 0) {
		/* What another manager left stays until it is known that nobody can go on with it. */
		manager->has_names = manager->leave_names = true;
		rc = start(manager, &catalog, error);
	}
	catalog_free(&catalog);
	if (rc) {
		dismantle(manager);
		return rc;
	}
	manager_log(manager, RGM_LOG_INFO, "start",
		MANAGER_FIELDS({"instance", manager->instance, 0},
			{"folder", manager->folder_path, 0}, {"socket", manager->socket_path, 0}),
		"instance '%s' is served from '%s'", manager->instance, manager->folder_path);
	*ret_manager = manager;
	return 0;
}

int rgm_manager_close(struct rgm_manager *manager, struct rgm_error *error)
{
	if (!manager)
		return 0;
	if (manager_forked(manager, getpid()))
		return change_forked(error);
	server_stop(manager);
	pthread_mutex_lock(&manager->commit);
	manager->stopping = true;
	pthread_mutex_unlock(&manager->commit);
	table_stop(manager->table);
	int rc = dimensions_close(manager, error);
	if (rc == 0)
		rc = catalog_write(manager, CATALOG_STOPPED, NULL, error);
	/* What could not be saved can be taken over. */
	manager->leave_names = rc != 0;
	manager_log(manager, RGM_LOG_INFO, "stop",
		MANAGER_FIELDS({"instance", manager->instance, 0}), "instance '%s' %s",
		manager->instance, rc ? "stopped with an error" : "stopped cleanly");
	dismantle(manager);
	return rc;
}

const char *rgm_manager_socket(const struct rgm_manager *manager)
{
	return manager->socket_path;
}

const char *rgm_manager_folder(const struct rgm_manager *manager)
{
	return manager->folder_path;
}
