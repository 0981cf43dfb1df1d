/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalog and the registry: what is damaged is refused and left alone, names are unique and
 * permanent, and looking never meets what is going.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "regionmgr/manager/catalog.h"

static const struct content data = {"data", 2, 4096, 91};

static void catalog_path(const struct instance *instance, char *path, size_t path_bytes)
{
	snprintf(path, path_bytes, "%s/" CATALOG_FILE, instance->folder);
}

static size_t read_file(const char *path, unsigned char *bytes, size_t most)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	REQUIRE(file >= 0);
	ssize_t got = read(file, bytes, most);
	REQUIRE(got >= 0);
	close(file);
	return (size_t)got;
}

static void write_file(const char *path, const unsigned char *bytes, size_t count)
{
	int file = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	REQUIRE(file >= 0);
	REQUIRE_EQUAL(write(file, bytes, count), count);
	close(file);
}

/* Any byte flipped, any length but the right one: a sentence, and the folder as it was. */
static void test_damaged(void **state)
{
	struct instance *instance = *state;
	static unsigned char whole[4096], damaged[4096];
	struct rgm_error error;
	char path[256];
	uint64_t random = support_seed();
	instance->daemon = false;
	instance_start(instance);
	instance_put(instance, &data, 1);
	instance_create(instance, "second");
	instance_stop(instance);
	catalog_path(instance, path, sizeof path);
	size_t bytes = read_file(path, whole, sizeof whole);
	REQUIRE_EQUAL(bytes, sizeof(struct catalog_header) + 2 * sizeof(struct catalog_record));
	for (size_t i = 0; i < bytes; i++) {
		memcpy(damaged, whole, bytes);
		damaged[i] ^= (unsigned char)(1 + support_below(&random, 255));
		write_file(path, damaged, bytes);
		int rc = instance_start_fails(instance, &error);
		REQUIRE(rc == RGM_ECORRUPT || rc == RGM_EFORMAT);
		REQUIRE(strlen(error.message) > 10);
	}
	for (size_t length = 0; length < bytes; length += 1 + support_below(&random, 40)) {
		write_file(path, whole, length);
		REQUIRE_ERROR(instance_start_fails(instance, &error), RGM_ECORRUPT, &error);
	}
	memcpy(damaged, whole, bytes);
	write_file(path, damaged, bytes + sizeof(struct catalog_record));
	REQUIRE_ERROR(instance_start_fails(instance, &error), RGM_ECORRUPT, &error);
	write_file(path, whole, bytes);
	instance_start(instance);
	struct rgm_status status;
	instance_status(instance, &status);
	REQUIRE_EQUAL(status.dimensions, 2);
	REQUIRE_EQUAL(status.refused, 0);
}

/* A symbolic link, a folder, a pipe in the catalog's place. */
static void test_not_a_file(void **state)
{
	struct instance *instance = *state;
	struct rgm_error error;
	char path[256], aside[256];
	instance->daemon = false;
	instance_start(instance);
	instance_put(instance, &data, 1);
	instance_stop(instance);
	catalog_path(instance, path, sizeof path);
	snprintf(aside, sizeof aside, "%s/aside", instance->folder);
	REQUIRE_EQUAL(rename(path, aside), 0);
	REQUIRE_EQUAL(symlink("aside", path), 0);
	REQUIRE(instance_start_fails(instance, &error) != 0);
	REQUIRE_EQUAL(unlink(path), 0);
	REQUIRE_EQUAL(mkdir(path, 0700), 0);
	REQUIRE(instance_start_fails(instance, &error) != 0);
	REQUIRE_EQUAL(rmdir(path), 0);
	REQUIRE_EQUAL(rename(aside, path), 0);
	instance_start(instance);
}

static void test_names(void **state)
{
	struct instance *instance = *state;
	struct rgm_error error;
	if (!instance->manager)
		return;
	struct rgm_manager *manager = instance->manager;
	char longest[RGM_NAME_MAX + 2];
	memset(longest, 'n', sizeof longest);
	longest[RGM_NAME_MAX + 1] = 0;
	static const char *const bad[] = {"", ".", "..", "a/b", "a b", "\xc3\xa4", "a\n"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		REQUIRE_ERROR(rgm_manager_create(manager, bad[i], NULL, &error), RGM_ENAME, &error);
	REQUIRE_ERROR(rgm_manager_create(manager, longest, NULL, &error), RGM_ENAME, &error);
	longest[RGM_NAME_MAX] = 0;
	must(rgm_manager_create(manager, longest, NULL, &error), &error);
	must(rgm_manager_create(manager, "a", NULL, &error), &error);
	REQUIRE_ERROR(rgm_manager_create(manager, "a", NULL, &error), RGM_EDIMEXIST, &error);
	REQUIRE_ERROR(rgm_manager_rename(manager, "a", longest, &error), RGM_EDIMEXIST, &error);
	REQUIRE_ERROR(rgm_manager_rename(manager, "b", "c", &error), RGM_ENODIM, &error);
	must(rgm_manager_rename(manager, "a", "a", &error), &error);
	must(rgm_manager_rename(manager, longest, "...", &error), &error);
	REQUIRE_ERROR(rgm_manager_drop(manager, longest, false, NULL, &error), RGM_ENODIM, &error);
	instance_stop(instance);
	instance_start(instance);
	instance_drop(instance, "...");
	instance_drop(instance, "a");
	struct rgm_status status;
	instance_status(instance, &status);
	REQUIRE_EQUAL(status.dimensions, 0);
}

static void test_drop_report(void **state)
{
	struct instance *instance = *state;
	struct rgm_error error;
	struct rgm_drop_report report;
	struct reader reader;
	if (!instance->manager)
		return;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "data");
	struct rgm_hold *hold = reader_take(&reader, "data");
	for (int dry_run = 1; dry_run >= 0; dry_run--) {
		must(rgm_manager_drop(instance->manager, "data", dry_run, &report, &error), &error);
		REQUIRE_EQUAL(report.bytes, data.layers * data.bytes);
		REQUIRE_EQUAL(report.layers, data.layers);
		REQUIRE_EQUAL(report.readers, 1);
		REQUIRE_EQUAL(report.holds, 1);
		REQUIRE_EQUAL(hold_generation(hold, &data), 1);
	}
	REQUIRE_EQUAL(rgm_hold_release(hold), 0);
	reader_close(&reader);
}

/* --- Looking while everything comes and goes --------------------------------------------------------- */

struct lookers {
	struct instance *instance;
	bool stop;      /* atomic */
	uint64_t looks; /* atomic */
};

static void *look(void *argument)
{
	struct lookers *lookers = argument;
	struct rgm_control_options options = {
		.size = sizeof options, .socket = lookers->instance->socket};
	struct rgm_control *control;
	struct rgm_error error;
	must(rgm_control_open(lookers->instance->name, &options, &control, &error), &error);
	while (!__atomic_load_n(&lookers->stop, __ATOMIC_ACQUIRE)) {
		struct rgm_status status;
		struct rgm_dimension_row row, *rows;
		size_t count;
		must(rgm_control_status(control, &status, &error), &error);
		must(rgm_control_list(control, &rows, &count, &error), &error);
		free(rows);
		int rc = rgm_control_show(control, "d1", &row, &error);
		REQUIRE(rc == 0 || rc == RGM_ENODIM);
		__atomic_fetch_add(&lookers->looks, 1, __ATOMIC_RELAXED);
	}
	rgm_control_close(control);
	return NULL;
}

static void test_looking_beside_changes(void **state)
{
	struct instance *instance = *state;
	struct lookers lookers = {.instance = instance};
	pthread_t threads[3];
	for (int i = 0; i < 3; i++)
		REQUIRE_EQUAL(pthread_create(&threads[i], NULL, look, &lookers), 0);
	uint64_t until = support_now_ms() + 1000;
	for (uint64_t i = 0;
		support_now_ms() < until || __atomic_load_n(&lookers.looks, __ATOMIC_RELAXED) < 50;
		i++) {
		char name[8];
		struct content content = {name, 1, 4096, i % 4};
		snprintf(name, sizeof name, "d%d", (int)(i % 4));
		if (i >= 4)
			instance_drop(instance, name);
		instance_put(instance, &content, i + 1);
		instance_put(instance, &content, i + 2);
		if (i % 7 == 0) {
			instance_rename(instance, name, "other");
			instance_rename(instance, "other", name);
		}
	}
	__atomic_store_n(&lookers.stop, true, __ATOMIC_RELEASE);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	struct rgm_status status;
	instance_status(instance, &status);
	REQUIRE_EQUAL(status.dimensions, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PREPARED_TEST(test_damaged),
		PREPARED_TEST(test_not_a_file),
		INSTANCE_TEST(test_names),
		INSTANCE_TEST(test_drop_report),
		INSTANCE_TEST(test_looking_beside_changes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
