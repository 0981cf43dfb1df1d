/* SPDX-License-Identifier: Apache-2.0 */
/*
 * <regionmgr/control.h> against a manager of this process: looking, creating, dropping, renaming, and
 * each kind of bad input. Loads: test_control_load.c.
 */
#include <errno.h>

#include "tests/reader/controlled.h"
#include <regionmgr/session.h>

/* --- opening ---------------------------------------------------------------------------------- */

static void opening(void **state)
{
	struct rgm_control *none = NULL;
	struct rgm_control_options options = {.size = sizeof options, .socket = "/tmp/nobody.sock"};
	char path[256];
	(void)state;
	REQUIRE_ERROR(rgm_control_open("test", &options, &none, &error), RGM_ENOMANAGER, &error);
	REQUIRE(strstr(error.message, "'/tmp/nobody.sock'") != NULL);
	REQUIRE(strstr(error.hint, "regionmgrd --socket /tmp/nobody.sock") != NULL);
	REQUIRE_ERROR(rgm_control_open("a/b", NULL, &none, &error), RGM_ENAME, &error);
	setenv("REGIONMGR_DIR", "/tmp/nowhere", 1);
	REQUIRE_ERROR(rgm_control_open("other", NULL, &none, &error), RGM_ENOMANAGER, &error);
	REQUIRE(strstr(error.hint, "regionmgrd --instance other") != NULL);
	REQUIRE_ERROR(rgm_control_open(NULL, NULL, &none, &error), RGM_ENOMANAGER, &error);
	REQUIRE(strcmp(error.hint, "start one with 'regionmgrd'") == 0);
	unsetenv("REGIONMGR_DIR");
	options.size = 0;
	REQUIRE_ERROR(rgm_control_open("test", &options, &none, &error), -EINVAL, &error);
	REQUIRE(none == NULL);
	REQUIRE_EQUAL(rgm_control_open("test", &options, &none, NULL), -EINVAL);

	must(rgm_control_socket_path("x", "/d", path, sizeof path, &error), &error);
	REQUIRE(strcmp(path, "/d/control.sock") == 0);
	must(rgm_control_folder_path("x", path, sizeof path, &error), &error);
	REQUIRE(strstr(path, "/regionmgr/x") != NULL);
	rgm_control_close(NULL);
}

static void status(void **state)
{
	struct rgm_status told;
	(void)state;
	must(rgm_control_status(control, &told, &error), &error);
	REQUIRE(strcmp(told.instance, "test") == 0);
	REQUIRE_EQUAL(strlen(told.instance_id), 32);
	REQUIRE(strcmp(told.version_text, RGM_VERSION) == 0);
	REQUIRE(strcmp(told.folder, served.folder) == 0);
	REQUIRE(strcmp(told.socket, rgm_manager_socket(served.manager)) == 0);
	REQUIRE_EQUAL(told.pid, getpid());
	REQUIRE_EQUAL(told.uid, geteuid());
	REQUIRE_EQUAL(told.dimensions, 0);
	REQUIRE(told.version > 0);
	REQUIRE(told.started_ns > 0);
}

/* --- dimensions ------------------------------------------------------------------------------- */

/* More of them than one message holds, by name. */
static void lists(void **state)
{
	const struct rgm_principal access[] = {{'u', 12345}, {'g', 54321}};
	struct rgm_create_options options = {.size = sizeof options,
		.max_bytes = 64u << 20,
		.access = access,
		.access_count = 2};
	struct rgm_dimension_row *rows, row;
	char name[16];
	size_t count;
	(void)state;
	must(rgm_control_list(control, &rows, &count, &error), &error);
	REQUIRE_EQUAL(count, 0);
	free(rows);
	for (int i = 69; i >= 0; i--) {
		snprintf(name, sizeof name, "d%03d", i);
		must(rgm_control_create(control, name, &options, &error), &error);
	}
	must(rgm_control_list(control, &rows, &count, &error), &error);
	REQUIRE_EQUAL(count, 70);
	for (int i = 0; i < 70; i++) {
		snprintf(name, sizeof name, "d%03d", i);
		REQUIRE(strcmp(rows[i].name, name) == 0);
		REQUIRE(strcmp(rows[i].kind, "layers") == 0);
		REQUIRE(strcmp(rows[i].state, "serving") == 0);
		REQUIRE_EQUAL(rows[i].max_bytes, 64u << 20);
	}
	free(rows);
	must(rgm_control_show(control, "d007", &row, &error), &error);
	REQUIRE_EQUAL(row.access_count, 2);
	REQUIRE_EQUAL(row.access[0].type, 'u');
	REQUIRE_EQUAL(row.access[0].id, 12345);
	REQUIRE_EQUAL(row.access[1].id, 54321);
	REQUIRE(row.block_bytes > 0);

	must(rgm_control_rename(control, "d000", "z", &error), &error);
	REQUIRE_ERROR(rgm_control_show(control, "d000", &row, &error), RGM_ENODIM, &error);
	must(rgm_control_show(control, "z", &row, &error), &error);
	drop("z");
	for (int i = 1; i < 70; i++) {
		struct rgm_drop_report report = {.bytes = 1};
		snprintf(name, sizeof name, "d%03d", i);
		must(rgm_control_drop(control, name, true, &report, &error), &error);
		REQUIRE_EQUAL(report.bytes, 0);
		must(rgm_control_drop(control, name, false, &report, &error), &error);
		REQUIRE_ERROR(
			rgm_control_drop(control, name, false, NULL, &error), RGM_ENODIM, &error);
	}
}

static void bad_input(void **state)
{
	const struct rgm_principal access[17] = {{0}};
	struct rgm_create_options options = {.size = sizeof options};
	struct rgm_dimension_row row;
	struct rgm_check_report report;
	struct rgm_load *load;
	(void)state;
	must(rgm_control_create(control, "here", NULL, &error), &error);
	REQUIRE_ERROR(rgm_control_create(control, "here", NULL, &error), RGM_EDIMEXIST, &error);
	REQUIRE_ERROR(rgm_control_create(control, "..", NULL, &error), RGM_ENAME, &error);
	REQUIRE_ERROR(rgm_control_create(control, NULL, NULL, &error), RGM_ENAME, &error);
	options.access = access;
	options.access_count = 17;
	REQUIRE_ERROR(rgm_control_create(control, "x", &options, &error), -EINVAL, &error);
	options.access_count = 1;
	REQUIRE_ERROR(rgm_control_create(control, "x", &options, &error), -EINVAL, &error);
	options = (struct rgm_create_options){.size = 3};
	REQUIRE_ERROR(rgm_control_create(control, "x", &options, &error), -EINVAL, &error);
	options = (struct rgm_create_options){.size = sizeof options, .kind = (enum rgm_kind)77};
	REQUIRE(rgm_control_create(control, "x", &options, &error) < 0);
	REQUIRE_ERROR(rgm_control_show(control, "a b", &row, &error), RGM_ENAME, &error);
	REQUIRE_ERROR(rgm_control_show(control, "none", &row, &error), RGM_ENODIM, &error);
	REQUIRE_ERROR(rgm_control_rename(control, "none", "x", &error), RGM_ENODIM, &error);
	REQUIRE_ERROR(rgm_control_rename(control, "here", "", &error), RGM_ENAME, &error);
	REQUIRE_ERROR(rgm_control_check(control, "none", NULL, NULL, &report, &error), RGM_ENODIM,
		&error);
	REQUIRE_ERROR(rgm_load_begin(control, "none", NULL, &load, &error), RGM_ENODIM, &error);
	REQUIRE_ERROR(rgm_load_begin(control, "", NULL, &load, &error), RGM_ENAME, &error);
	struct rgm_load_options exclusive = {
		.size = sizeof exclusive, .flags = RGM_LOAD_CREATE | RGM_LOAD_EXCLUSIVE};
	REQUIRE_ERROR(
		rgm_load_begin(control, "here", &exclusive, &load, &error), RGM_EDIMEXIST, &error);
	/* Without a place for the sentence, too; and all is as before. */
	REQUIRE_EQUAL(rgm_control_show(control, "none", &row, NULL), RGM_ENODIM);
	drop("here");
}

/* --- readers and counters --------------------------------------------------------------------- */

static void readers_and_stats(void **state)
{
	struct rgm_attach_options options = {.size = sizeof options,
		.socket = rgm_manager_socket(served.manager),
		.label = "seventy"};
	struct rgm_session *sessions[70];
	struct rgm_reader_row *rows;
	struct rgm_counter *counters;
	size_t count;
	bool found = false;
	(void)state;
	for (int i = 0; i < 70; i++)
		must(rgm_session_attach("test", &options, &sessions[i], &error), &error);
	must(rgm_control_readers(control, &rows, &count, &error), &error);
	REQUIRE_EQUAL(count, 70);
	for (size_t i = 0; i < count; i++) {
		REQUIRE(i == 0 || rows[i].number > rows[i - 1].number);
		REQUIRE(strcmp(rows[i].label, "seventy") == 0);
		REQUIRE_EQUAL(rows[i].pid, getpid());
		REQUIRE_EQUAL(rows[i].alive, 1);
	}
	free(rows);
	must(rgm_control_stats(control, &counters, &count, &error), &error);
	for (size_t i = 0; i < count; i++) {
		REQUIRE(counters[i].name[0] != '\0' && counters[i].description[0] != '\0');
		if (strcmp(counters[i].name, "readers") == 0)
			found = counters[i].value == 70 && counters[i].gauge == 1;
	}
	REQUIRE(found);
	free(counters);
	for (int i = 0; i < 70; i++)
		rgm_session_detach(sessions[i]);
	do {
		must(rgm_control_readers(control, &rows, &count, &error), &error);
		free(rows);
	} while (count > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opening),
		cmocka_unit_test(status),
		cmocka_unit_test(lists),
		cmocka_unit_test(bad_input),
		cmocka_unit_test(readers_and_stats),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
