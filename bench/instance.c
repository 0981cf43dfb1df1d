/* SPDX-License-Identifier: Apache-2.0 */
/* A manager in a child process, and its content; see instance.h. */
#include "instance.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- folders ------------------------------------------------------------------------------------ */

bool bench_folder_make(const struct bench *bench, char *ret_path, size_t path_bytes)
{
	if ((size_t)snprintf(ret_path, path_bytes, "%s/regionmgr-bench-XXXXXX", bench->dir) <
			path_bytes &&
		mkdtemp(ret_path) != NULL)
		return true;
	fprintf(stderr, "bench_%s: cannot make a folder in '%s': %s\n", bench->name, bench->dir,
		strerror(errno));
	ret_path[0] = '\0';
	return false;
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *place)
{
	(void)facts;
	(void)type;
	(void)place;
	return remove(path);
}

void bench_folder_remove(const char *path)
{
	if (path[0] != '\0')
		nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- the manager's process ---------------------------------------------------------------------- */

struct service {
	bench_fill fill;
	bench_fill after;
	void *context;
	int from; /* closed: end */
	int to;   /* a byte: ready */
};

_Noreturn static void serve(const struct bench_instance *instance, const struct service *service)
{
	struct rgm_manager_options options = {.size = sizeof(options),
		.instance = instance->name,
		.dir = instance->dir,
		.socket = instance->socket,
		.max_dimensions = 8192,
		.max_readers = 2048,
		.max_clients = 4096};
	struct rgm_manager *manager = NULL;
	struct rgm_error error = {0};
	char byte = 0;
	int rc;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	rc = rgm_manager_open(&options, &manager, &error);
	if (rc == 0)
		rc = service->fill(manager, service->context, &error);
	if (rc == 0 && write(service->to, &byte, 1) == 1 && service->after != NULL)
		rc = service->after(manager, service->context, &error);
	if (rc != 0)
		fprintf(stderr, "bench: manager: %s\n", error.message);
	else if (read(service->from, &byte, 1) < 0)
		rc = -errno;
	if (manager != NULL && rgm_manager_close(manager, &error) != 0)
		fprintf(stderr, "bench: manager: %s\n", error.message);
	_exit(rc == 0 ? 0 : 1);
}

bool bench_instance_start(const struct bench *bench, struct bench_instance *instance,
	bench_fill fill, bench_fill after, void *context)
{
	struct service service = {.fill = fill, .after = after, .context = context};
	int down[2], up[2];
	static int started;
	char byte;

	memset(instance, 0, sizeof(*instance));
	snprintf(instance->name, sizeof(instance->name), "bench-%s-%d-%d", bench->name,
		(int)getpid(), started++);
	if (!bench_folder_make(bench, instance->dir, sizeof(instance->dir)))
		return false;
	snprintf(instance->socket, sizeof(instance->socket), "%s/control.sock", instance->dir);
	if (pipe(down) != 0 || pipe(up) != 0) {
		perror("bench: pipe");
		return false;
	}
	fflush(NULL);
	instance->pid = fork();
	if (instance->pid == 0) {
		close(down[1]);
		close(up[0]);
		service.from = down[0];
		service.to = up[1];
		serve(instance, &service);
	}
	close(down[0]);
	close(up[1]);
	instance->pipe = down[1];
	if (read(up[0], &byte, 1) == 1) {
		close(up[0]);
		return true;
	}
	close(up[0]);
	bench_instance_stop(instance);
	return false;
}

bool bench_instance_start_in_memory(const struct bench *bench, struct bench_instance *instance,
	bench_fill fill, bench_fill after, void *context)
{
	struct bench elsewhere = *bench;

	elsewhere.dir = "/dev/shm";
	return bench_instance_start(&elsewhere, instance, fill, after, context);
}

void bench_instance_stop(struct bench_instance *instance)
{
	int status;

	close(instance->pipe);
	if (instance->pid > 0 && waitpid(instance->pid, &status, 0) == instance->pid &&
		(!WIFEXITED(status) || WEXITSTATUS(status) != 0))
		fprintf(stderr, "bench: the manager ended badly\n");
	bench_folder_remove(instance->dir);
}

struct rgm_session *bench_attach(const struct bench_instance *instance, enum rgm_barrier barrier)
{
	struct rgm_attach_options options = {
		.size = sizeof(options), .socket = instance->socket, .barrier = barrier};
	struct rgm_session *session = NULL;
	struct rgm_error error;

	if (rgm_session_attach(instance->name, &options, &session, &error) == 0)
		return session;
	fprintf(stderr, "bench: cannot attach: %s\n", error.message);
	exit(1);
}

/* --- content ------------------------------------------------------------------------------------ */

size_t bench_value_bytes(uint64_t index)
{
	uint64_t state = index * 77 + 5;

	return 4096 + (bench_random(&state) % (65536 - 4096 + 1) & ~7ull);
}

void bench_value_fill(uint64_t index, void *data, size_t bytes)
{
	uint64_t state = index + 1000000007u, *words = data;

	for (size_t i = 0; i < bytes / 8; i++)
		words[i] = bench_random(&state);
}

uint64_t bench_value_count(uint64_t bytes)
{
	uint64_t count = 0;

	for (uint64_t sum = 0; sum < bytes; count++)
		sum += bench_value_bytes(count);
	return count;
}

static int put_values(struct rgm_writer *writer, uint64_t bytes, struct rgm_error *error)
{
	static uint64_t value[65536 / 8];
	uint64_t done = 0;
	char name[32];
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && done < bytes; i++) {
		size_t size = bench_value_bytes(i);

		if (size > bytes - done)
			size = bytes - done;
		bench_value_fill(i, value, size);
		snprintf(name, sizeof(name), "v%07llu", (unsigned long long)i);
		rc = rgm_writer_put(writer, name, value, size, NULL, error);
		done += size;
	}
	return rc;
}

int bench_fill_big(struct rgm_manager *manager, void *context, struct rgm_error *error)
{
	uint64_t bytes = *(uint64_t *)context;
	struct rgm_load_options options = {
		.size = sizeof(options), .flags = RGM_LOAD_CREATE, .expected_bytes = bytes};
	struct rgm_writer *writer;
	int rc = rgm_writer_begin(manager, "big", &options, &writer, error);

	if (rc != 0)
		return rc;
	rc = put_values(writer, bytes, error);
	if (rc != 0) {
		rgm_writer_abort(writer);
		return rc;
	}
	return rgm_writer_commit(writer, NULL, error);
}

int bench_fill_many(struct rgm_manager *manager, void *context, struct rgm_error *error)
{
	uint64_t count = *(uint64_t *)context;
	char name[32];
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && i < count; i++) {
		snprintf(name, sizeof(name), "d%llu", (unsigned long long)i);
		rc = rgm_manager_create(manager, name, NULL, error);
	}
	return rc;
}
