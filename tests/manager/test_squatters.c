/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What others planted where the manager keeps its things: links, pipes, devices, sockets and folders
 * under the names of its own folder, objects under its names in shared memory. It follows none, waits at
 * none, changes none, says which it was, and serves again when it is gone.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#define MANAGER_UID  64911u
#define SQUATTER_UID 64912u

static const struct content one = {"one", 3, 4096, 31};
static const struct content two = {"two", 3, 4096, 32};

/* --- Plants ----------------------------------------------------------------------------------------- */

enum plant {
	SYMLINK,
	DANGLING,
	HARDLINK,
	PIPE,
	SOCKET,
	DEVICE,
	FOLDER,
	OTHERS_FILE,
	OPEN_FILE,
	PLANTS
};

static const char *const plant_names[PLANTS] = {"symlink", "dangling symlink", "hard link", "pipe",
	"socket", "device", "folder", "another user's file", "file that others may write"};

static const char victim_text[] = "somebody's only copy\n";

static void write_file(const char *path, const void *data, size_t bytes, mode_t mode)
{
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	REQUIRE(file >= 0);
	REQUIRE_EQUAL(write(file, data, bytes), (ssize_t)bytes);
	REQUIRE_EQUAL(fchmod(file, mode), 0);
	close(file);
}

static void copy_file(const char *from, const char *to, mode_t mode)
{
	static char buffer[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC),
	    out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
	REQUIRE(in >= 0 && out >= 0);
	for (ssize_t got; (got = read(in, buffer, sizeof buffer)) > 0;)
		REQUIRE_EQUAL(write(out, buffer, (size_t)got), got);
	REQUIRE_EQUAL(fchmod(out, mode), 0);
	close(in);
	close(out);
}

static void make_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	REQUIRE_EQUAL(bind(file, (struct sockaddr *)&address, sizeof address), 0);
	close(file);
}

/* False where only root could plant it. `right` is what should stand there. */
static bool plant(enum plant what, const char *path, const char *right, const char *victim)
{
	write_file(victim, victim_text, sizeof victim_text, 0600);
	switch (what) {
	case SYMLINK:
		return symlink(right, path) == 0;
	case DANGLING:
		return symlink("/nowhere/at/all", path) == 0;
	case HARDLINK:
		return link(victim, path) == 0;
	case PIPE:
		return mkfifo(path, 0600) == 0;
	case SOCKET:
		make_socket(path);
		return true;
	case DEVICE:
		return mknod(path, S_IFCHR | 0600, makedev(1, 3)) == 0;
	case FOLDER:
		return mkdir(path, 0700) == 0;
	case OTHERS_FILE:
		copy_file(right, path, 0600);
		if (chown(path, SQUATTER_UID, SQUATTER_UID) == 0)
			return true;
		unlink(path);
		return false;
	default:
		copy_file(right, path, 0622);
		return true;
	}
}

static void require_victim(const char *victim)
{
	char text[2 * sizeof victim_text] = "";
	int file = open(victim, O_RDONLY | O_CLOEXEC);
	REQUIRE(file >= 0);
	REQUIRE_EQUAL(read(file, text, sizeof text), (ssize_t)sizeof victim_text);
	REQUIRE(strcmp(text, victim_text) == 0);
	close(file);
}

struct places {
	char path[256], aside[256], victim[256];
};

static struct places places_of(const struct instance *instance, const char *file)
{
	struct places places;
	snprintf(places.path, sizeof places.path, "%s/%s", instance->folder, file);
	snprintf(places.aside, sizeof places.aside, "%s/aside", instance->folder);
	snprintf(places.victim, sizeof places.victim, "%s/victim", instance->folder);
	return places;
}

static uint64_t generation_of(struct instance *instance, const struct content *content)
{
	struct reader reader;
	reader_open(&reader, instance, NULL);
	reader_map(&reader, content->dimension);
	uint64_t generation = reader_generation(&reader, content);
	reader_close(&reader);
	instance_wait_readers(instance, 0);
	return generation;
}

/* --- The folder's files ------------------------------------------------------------------------------- */

/* Each plant in the file's place: the start is refused, and with the right file back it serves. */
static void refuse_start(struct instance *instance, const char *file)
{
	struct places places = places_of(instance, file);
	struct rgm_error error;
	instance_put(instance, &one, 1);
	instance_stop(instance);
	REQUIRE_EQUAL(rename(places.path, places.aside), 0);
	for (enum plant what = 0; what < PLANTS; what++) {
		if (!plant(what, places.path, places.aside, places.victim))
			continue;
		print_message("%s: a %s\n", file, plant_names[what]);
		int rc = instance_start_fails(instance, &error);
		REQUIRE(rc < 0);
		REQUIRE_ERROR(rc, error.code, &error);
		REQUIRE(strstr(error.message, file) != NULL);
		require_victim(places.victim);
		REQUIRE_EQUAL(remove(places.path), 0);
	}
	REQUIRE_EQUAL(rename(places.aside, places.path), 0);
	instance_start(instance);
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
}

static void test_catalog(void **state)
{
	refuse_start(*state, "catalog");
}

static void test_lock(void **state)
{
	refuse_start(*state, "lock");
}

/* In a region's place: that dimension is refused with its reason, the others are served. */
static void test_region(void **state)
{
	struct instance *instance = *state;
	struct rgm_dimension_row row;
	instance_put(instance, &one, 1);
	instance_put(instance, &two, 1);
	instance_show(instance, "one", &row);
	struct places places = places_of(instance, row.file);
	instance_stop(instance);
	REQUIRE_EQUAL(rename(places.path, places.aside), 0);
	for (enum plant what = 0; what < PLANTS; what++) {
		if (!plant(what, places.path, places.aside, places.victim))
			continue;
		print_message("region file: a %s\n", plant_names[what]);
		instance_start(instance);
		instance_show(instance, "one", &row);
		REQUIRE(strcmp(row.state, "refused") == 0);
		REQUIRE(strstr(row.reason, row.file) != NULL);
		REQUIRE_EQUAL(generation_of(instance, &two), 1);
		require_victim(places.victim);
		instance_stop(instance);
		REQUIRE_EQUAL(remove(places.path), 0);
	}
	REQUIRE_EQUAL(rename(places.aside, places.path), 0);
	instance_start(instance);
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
}

/* Where the next catalog is to be written: what stands there is taken away, or in the way, but never
 * written to. */
static void test_new_catalog(void **state)
{
	struct instance *instance = *state;
	struct places places = places_of(instance, ".catalog.new");
	struct rgm_error error;
	instance_put(instance, &one, 1);
	write_file(places.aside, victim_text, sizeof victim_text, 0600);
	for (enum plant what = 0; what < PLANTS; what++) {
		char name[16];
		if (!plant(what, places.path, places.aside, places.victim))
			continue;
		snprintf(name, sizeof name, "new-%d", (int)what);
		int rc = rgm_manager_create(instance->manager, name, NULL, &error);
		if (what == FOLDER) {
			REQUIRE(rc < 0);
			REQUIRE_ERROR(rc, error.code, &error);
			REQUIRE(strstr(error.message, "catalog") != NULL);
			REQUIRE_EQUAL(rmdir(places.path), 0);
			must(rgm_manager_create(instance->manager, name, NULL, &error), &error);
		}
		must(rc && what != FOLDER ? rc : 0, &error);
		require_victim(places.victim);
		require_victim(places.aside);
		REQUIRE(access(places.path, F_OK) != 0);
	}
	instance_stop(instance);
	instance_start(instance);
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
}

/* --- The folder ----------------------------------------------------------------------------------------- */

static void test_folder(void **state)
{
	struct instance *instance = *state;
	struct rgm_error error;
	char link[96], folder[sizeof instance->folder];
	instance_put(instance, &one, 1);
	instance_stop(instance);
	static const mode_t modes[] = {0777, 0770, 01777, 0702};
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		REQUIRE_EQUAL(chmod(instance->folder, modes[i]), 0);
		REQUIRE_ERROR(instance_start_fails(instance, &error), -EPERM, &error);
		REQUIRE(strstr(error.hint, "chmod") != NULL);
	}
	REQUIRE_EQUAL(chmod(instance->folder, 0700), 0);
	if (geteuid() == 0) {
		REQUIRE_EQUAL(chown(instance->folder, SQUATTER_UID, SQUATTER_UID), 0);
		REQUIRE_ERROR(instance_start_fails(instance, &error), -EPERM, &error);
		REQUIRE_EQUAL(chown(instance->folder, 0, 0), 0);
	}
	/* By another way to it. */
	snprintf(link, sizeof link, "%s-link", instance->folder);
	REQUIRE_EQUAL(symlink(instance->folder, link), 0);
	memcpy(folder, instance->folder, sizeof folder);
	strcat(instance->folder, "-link");
	int rc = instance_start_fails(instance, &error);
	memcpy(instance->folder, folder, sizeof folder);
	REQUIRE_EQUAL(unlink(link), 0);
	REQUIRE(rc < 0);
	REQUIRE_ERROR(rc, error.code, &error);
	instance_start(instance);
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
	/* Names that would lead out of it. */
	static const char *const names[] = {"..", ".", "../x", "a/b", "/etc/passwd", ""};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		REQUIRE_ERROR(rgm_manager_create(instance->manager, names[i], NULL, &error),
			RGM_ENAME, &error);
		REQUIRE_ERROR(rgm_manager_rename(instance->manager, "one", names[i], &error),
			RGM_ENAME, &error);
	}
}

/* --- Shared memory -------------------------------------------------------------------------------------- */

static void shm_path(char path[128], const struct instance *instance, const char *end)
{
	snprintf(path, 128, "/dev/shm/regionmgr.%s.%s", instance->id, end);
}

/* Under the table's name, by this same user: what a run that was killed leaves. It is replaced. */
static void test_table_of_the_same_user(void **state)
{
	struct instance *instance = *state;
	char path[128], victim[256];
	instance_put(instance, &one, 1);
	instance_stop(instance);
	shm_path(path, instance, "table");
	snprintf(victim, sizeof victim, "%s/victim", instance->folder);
	for (enum plant what = 0; what < PLANTS; what++) {
		if (what == FOLDER || what == HARDLINK || what == SOCKET ||
			!plant(what, path, victim, victim))
			continue;
		instance_start(instance);
		REQUIRE_EQUAL(generation_of(instance, &one), 1);
		require_victim(victim);
		instance_stop(instance); /* no name is left */
	}
}

/* Under the name of the next session, while it serves: that attach is told, the next one works. */
static void test_segment_of_the_same_user(void **state)
{
	struct instance *instance = *state;
	struct rgm_attach_options options = {.size = sizeof options, .socket = instance->socket};
	struct rgm_session *session = NULL;
	struct rgm_error error;
	char path[128], end[16], victim[256];
	uint64_t next = 1;
	instance_put(instance, &one, 1);
	snprintf(victim, sizeof victim, "%s/victim", instance->folder);
	for (enum plant what = 0; what < PLANTS; what++) {
		snprintf(end, sizeof end, "s.%llu", (unsigned long long)next);
		shm_path(path, instance, end);
		if (what == HARDLINK || what == SOCKET || !plant(what, path, victim, victim))
			continue;
		REQUIRE_ERROR(rgm_session_attach(instance->name, &options, &session, &error),
			-EEXIST, &error);
		REQUIRE(session == NULL && strstr(error.message, end) != NULL);
		REQUIRE_EQUAL(generation_of(instance, &one), 1);
		require_victim(victim);
		REQUIRE_EQUAL(remove(path), 0);
		next += 2;
	}
}

#if !SUPPORT_RACE_BUILD
static void become(uid_t uid)
{
	REQUIRE_EQUAL(setresgid(uid, uid, uid), 0);
	REQUIRE_EQUAL(setresuid(uid, uid, uid), 0);
}

/* A manager that is not root, and what it cannot take away. */
static void serve_as_user(struct child *parent, void *context)
{
	struct instance *instance = context;
	struct rgm_session *session = NULL;
	struct rgm_attach_options options = {.size = sizeof options, .socket = instance->socket};
	struct rgm_error error;
	char path[128];
	become(MANAGER_UID);
	instance_start(instance);
	instance_put(instance, &one, 1);
	instance_stop(instance);
	REQUIRE_EQUAL(write(parent->talk, instance->id, sizeof instance->id),
		(ssize_t)sizeof instance->id);
	child_expect(parent, 't');
	shm_path(path, instance, "table");
	REQUIRE_ERROR(instance_start_fails(instance, &error), -EEXIST, &error);
	REQUIRE(strstr(error.message, instance->id) != NULL);
	child_say(parent, 't');
	child_expect(parent, 's');
	instance_start(instance);
	REQUIRE_ERROR(
		rgm_session_attach(instance->name, &options, &session, &error), -EEXIST, &error);
	REQUIRE_EQUAL(generation_of(instance, &one), 1);
	struct rgm_manager *manager = instance->manager;
	instance->manager = NULL;
	must(rgm_manager_close(manager, &error), &error);
	/* What is another's it leaves alone. */
	REQUIRE_EQUAL(instance_shm_names(instance), 1);
	child_say(parent, 's');
}

static void test_of_another_user(void **state)
{
	struct instance *instance = *state;
	char path[128];
	if (geteuid() != 0) {
		support_tell_skip("another_user", "only root can become another user");
		skip();
	}
	REQUIRE_EQUAL(chown(instance->folder, MANAGER_UID, MANAGER_UID), 0);
	struct child child = child_start(serve_as_user, instance);
	REQUIRE_EQUAL(recv(child.talk, instance->id, sizeof instance->id, MSG_WAITALL),
		(ssize_t)sizeof instance->id);
	static const char *const ends[] = {"table", "s.1"};
	for (size_t i = 0; i < 2; i++) {
		shm_path(path, instance, ends[i]);
		write_file(path, victim_text, sizeof victim_text, 0666);
		REQUIRE_EQUAL(chown(path, SQUATTER_UID, SQUATTER_UID), 0);
		child_say(&child, i ? 's' : 't');
		child_expect(&child, i ? 's' : 't');
		require_victim(path);
		REQUIRE_EQUAL(unlink(path), 0);
	}
	child_join(&child);
}
#endif

int main(void)
{
	/* A start that waited at a pipe would wait for ever. */
	alarm(200);
	setenv("RGM_TEST_DAEMON", "0", 1);
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_catalog),
		INSTANCE_TEST(test_lock),
		INSTANCE_TEST(test_region),
		INSTANCE_TEST(test_new_catalog),
		INSTANCE_TEST(test_folder),
		INSTANCE_TEST(test_table_of_the_same_user),
		INSTANCE_TEST(test_segment_of_the_same_user),
#if !SUPPORT_RACE_BUILD
		PREPARED_TEST(test_of_another_user),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
