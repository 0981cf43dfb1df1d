/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another user reads what it is allowed to, sees nothing of the rest, and can write nothing but its own
 * session's words: by the kernel, whichever way it tries. Needs root, to become that user.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/socket.h"

#define READER_UID   64901u
#define READER_GID   64902u
#define STRANGER_UID 64903u

static const struct content open_data = {"open", 2, 4096, 81};
static const struct content closed_data = {"closed", 2, 4096, 82};

static void become(uid_t uid, gid_t gid)
{
	REQUIRE_EQUAL(setgroups(0, NULL), 0);
	REQUIRE_EQUAL(setresgid(gid, gid, gid), 0);
	REQUIRE_EQUAL(setresuid(uid, uid, uid), 0);
	REQUIRE(setuid(0) != 0);
}

static void start(struct instance *instance, uint32_t type, uint32_t id)
{
	static struct rgm_principal principal;
	static const struct rgm_principal nobody = {'u', 64999};
	principal = (struct rgm_principal){type, id};
	instance->daemon = false;
	instance->options.access = &principal;
	instance->options.access_count = 1;
	REQUIRE_EQUAL(chmod(instance->folder, 0711), 0);
	instance_start(instance);
	instance_put(instance, &open_data, 1);
	struct rgm_create_options options = {
		.size = sizeof options, .access = &nobody, .access_count = 1};
	struct rgm_error error;
	must(rgm_manager_create(instance->manager, "closed", &options, &error), &error);
	instance_put(instance, &closed_data, 1);
}

/* Files of this process whose name holds the text, opened again for writing: never. */
static void refuse_writing(int file)
{
	char path[64];
	char byte = 'x';
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	REQUIRE(open(path, O_RDWR) < 0 && errno == EACCES);
	REQUIRE(open(path, O_WRONLY | O_TRUNC) < 0 && errno == EACCES);
	REQUIRE(write(file, &byte, 1) < 0);
	REQUIRE(ftruncate(file, 0) < 0);
	REQUIRE(fchmod(file, 0666) < 0);
	REQUIRE(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) == MAP_FAILED);
	void *base = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
	REQUIRE(base != MAP_FAILED);
	REQUIRE(mprotect(base, 4096, PROT_READ | PROT_WRITE) != 0);
	munmap(base, 4096);
}

/* Handles taken by hand, since the library closes its own. */
static void try_handles(const struct instance *instance)
{
	struct ipc_connection connection;
	struct rgm_error error;
	int files[IPC_MESSAGE_MAX_FILES];
	size_t count = 2;
	must(ipc_connection_open(instance->name, instance->socket, 60000, &connection, &error),
		&error);
	struct ipc_call call = {.socket = connection.socket,
		.sequence = &connection.sequence,
		.timeout_ms = 60000,
		.socket_name = instance->socket};
	struct ipc_attach attach = {.slots = 1, .holds = 1};
	struct ipc_attach_reply reply;
	ipc_header_init(&attach.header, IPC_ATTACH, 0, sizeof attach);
	must(ipc_call(&call, &attach.header, NULL, 0, &reply, sizeof reply, sizeof reply, files,
		     &count, &error),
		&error);
	REQUIRE_EQUAL(count, 2);
	refuse_writing(files[0]);
	struct ipc_map map = {.dimension = 1};
	struct ipc_map_reply mapped;
	int region[1];
	count = 1;
	ipc_header_init(&map.header, IPC_MAP, 0, sizeof map);
	must(ipc_call(&call, &map.header, NULL, 0, &mapped, sizeof mapped, sizeof mapped, region,
		     &count, &error),
		&error);
	refuse_writing(region[0]);
	/* The closed one's id is a guess away. */
	count = 1;
	map.dimension = 2;
	ipc_header_init(&map.header, IPC_MAP, 0, sizeof map);
	REQUIRE_ERROR(ipc_call(&call, &map.header, NULL, 0, &mapped, sizeof mapped, sizeof mapped,
			      region, &count, &error),
		RGM_EREFUSED, &error);
}

static void read_as_other(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct reader reader;
	struct rgm_error error;
	struct rgm_layers view;
	char path[256];
	become(READER_UID, READER_GID);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "open");
	REQUIRE_EQUAL(reader_generation(&reader, &open_data), 1);
	REQUIRE_ERROR(rgm_map(reader.session, "closed", &error), RGM_EREFUSED, &error);
	must(rgm_map_all(reader.session, &error), &error);
	must(rgm_pin(reader.slot), NULL);
	REQUIRE_ERROR(rgm_layers_open(reader.slot, "closed", &view, &error), RGM_EAGAIN, &error);
	must(rgm_layers_open(reader.slot, "open", &view, &error), &error);
	struct rgm_layer layer;
	REQUIRE(rgm_layers_next_layer(&view, &layer));
	void *page = (void *)((uintptr_t)layer.data.data & ~(uintptr_t)4095);
	REQUIRE(mprotect(page, 4096, PROT_READ | PROT_WRITE) != 0);
	must(rgm_unpin(reader.slot), NULL);
	try_handles(instance);
	/* Nor by their names. */
	snprintf(path, sizeof path, "/dev/shm/regionmgr.%s.table", instance->id);
	REQUIRE(open(path, O_RDONLY) < 0 && errno == EACCES);
	REQUIRE(unlink(path) < 0);
	snprintf(path, sizeof path, "/dev/shm/regionmgr.%s.s.1", instance->id);
	REQUIRE(open(path, O_RDWR) < 0 && errno == EACCES);
	snprintf(path, sizeof path, "%s/0000000000000001.region", instance->folder);
	REQUIRE(open(path, O_RDONLY) < 0 && errno == EACCES);
	snprintf(path, sizeof path, "%s/catalog", instance->folder);
	REQUIRE(open(path, O_RDONLY) < 0 && errno == EACCES);
	/* Looking is allowed, changing is not. */
	struct rgm_control_options options = {.size = sizeof options, .socket = instance->socket};
	struct rgm_control *control;
	must(rgm_control_open(instance->name, &options, &control, &error), &error);
	REQUIRE_ERROR(rgm_control_create(control, "mine", NULL, &error), RGM_EREFUSED, &error);
	REQUIRE_ERROR(rgm_control_drop(control, "open", false, NULL, &error), RGM_EREFUSED, &error);
	rgm_control_close(control);
	child_say(parent, 'r');
	child_expect(parent, 'w');
	REQUIRE_EQUAL(reader_generation(&reader, &open_data), 2);
	reader_close(&reader);
}

static void refused(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct rgm_attach_options options = {.size = sizeof options, .socket = instance->socket};
	struct rgm_session *session = NULL;
	struct rgm_error error;
	(void)parent;
	become(STRANGER_UID, STRANGER_UID);
	REQUIRE_ERROR(rgm_session_attach(instance->name, &options, &session, &error), RGM_EREFUSED,
		&error);
	REQUIRE(session == NULL);
}

static void as_other(struct instance *instance, uint32_t type, uint32_t id)
{
	start(instance, type, id);
	struct reader owner;
	reader_open(&owner, instance, NULL);
	struct child child = child_start(read_as_other, instance);
	child_expect(&child, 'r');
	struct rgm_reader_row row;
	REQUIRE(instance_reader(instance, owner.number + 1, &row));
	REQUIRE_EQUAL(row.uid, READER_UID);
	REQUIRE_EQUAL(row.gid, READER_GID);
	instance_put(instance, &open_data, 2);
	child_say(&child, 'w');
	child_join(&child);
	uint64_t refusals = instance_counter(instance, "refusals");
	child = child_start(refused, instance);
	child_join(&child);
	REQUIRE(instance_counter(instance, "refusals") > refusals);
	reader_map(&owner, "closed");
	REQUIRE_EQUAL(reader_generation(&owner, &closed_data), 1);
	reader_close(&owner);
	instance_wait_readers(instance, 0);
}

static void test_by_user(void **state)
{
	as_other(*state, 'u', READER_UID);
}

static void test_by_group(void **state)
{
	as_other(*state, 'g', READER_GID);
}

/* Without a list nobody else gets as far as the socket. */
static void test_nobody_else(void **state)
{
	struct instance *instance = *state;
	instance->daemon = false;
	REQUIRE_EQUAL(chmod(instance->folder, 0711), 0);
	instance_start(instance);
	struct child child = child_start(refused, instance);
	child_join(&child);
}

int main(void)
{
	if (SUPPORT_RACE_BUILD)
		support_skip_all("a race build maps everything writable");
	if (geteuid() != 0)
		support_skip_all("only root can become another user");
	const struct CMUnitTest tests[] = {
		PREPARED_TEST(test_by_user),
		PREPARED_TEST(test_by_group),
		PREPARED_TEST(test_nobody_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
