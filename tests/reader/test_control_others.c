/* SPDX-License-Identifier: Apache-2.0 */
/* <regionmgr/control.h> against a manager that is stopped, and by other users. */
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>

#include "tests/reader/controlled.h"

/* Processes of their own, forked before this one has threads; each waits for its part. */
static struct child stopped_child, stranger_child, guest_child;

static void say_text(struct child *other, const char *text)
{
	for (; *text != '\0'; text++)
		child_say(other, *text);
	child_say(other, '\n');
}

/* False if the other side ended before. */
static bool hear_text(struct child *other, char *ret_text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		ret_text[i] = child_hear(other);
		if (ret_text[i] == '\0')
			return false;
		if (ret_text[i] == '\n') {
			ret_text[i] = '\0';
			return true;
		}
	}
	return false;
}

static void manage(struct child *parent, void *context);
static void stranger(struct child *parent, void *context);
static void guest(struct child *parent, void *context);

static int fork_and_start(void **state)
{
	stopped_child = child_start(manage, NULL);
	stranger_child = child_start(stranger, NULL);
	guest_child = child_start(guest, NULL);
	return start(state);
}

/* --- a stopped manager ------------------------------------------------------------------------ */

static void manage(struct child *parent, void *context)
{
	char folder[64];
	struct rgm_manager *manager;
	struct rgm_manager_options options = {
		.size = sizeof options, .instance = "stopped", .dir = folder};
	(void)context;
	if (!hear_text(parent, folder, sizeof folder))
		return;
	must(rgm_manager_open(&options, &manager, &error), &error);
	child_say(parent, 'o');
	child_expect(parent, 'c');
	must(rgm_manager_close(manager, &error), &error);
}

static void stopped_manager(void **state)
{
	char folder[] = "/tmp/rgm-test-stopped-XXXXXX";
	char path[128], expected[256];
	struct rgm_control *stopped;
	struct rgm_control_options options = {
		.size = sizeof options, .socket = path, .timeout_ms = 50};
	struct rgm_status told;
	struct rgm_load *load;
	struct rgm_load_options creates = {.size = sizeof creates, .flags = RGM_LOAD_CREATE};
	(void)state;
	REQUIRE(mkdtemp(folder) != NULL);
	say_text(&stopped_child, folder);
	child_expect(&stopped_child, 'o');
	must(rgm_control_socket_path("stopped", folder, path, sizeof path, &error), &error);
	options.timeout_ms = SUPPORT_LIMIT_MS;
	struct rgm_control *loading;
	must(rgm_control_open("stopped", &options, &loading, &error), &error);
	must(rgm_load_begin(loading, "x", &creates, &load, &error), &error);
	rgm_load_abort(load);
	rgm_control_close(loading);
	options.timeout_ms = 50;
	WAIT_UNTIL(rgm_control_open("stopped", &options, &stopped, &error) == 0);
	child_signal(&stopped_child, SIGSTOP);
	child_wait_stopped(&stopped_child);
	REQUIRE_ERROR(rgm_control_status(stopped, &told, &error), -ETIMEDOUT, &error);
	snprintf(expected, sizeof expected,
		"the manager (pid %d) at '%s' did not answer within 50 ms", (int)stopped_child.pid,
		path);
	REQUIRE(strcmp(error.message, expected) == 0);
	REQUIRE_ERROR(rgm_control_status(stopped, &told, &error), RGM_EGONE, &error);
	rgm_control_close(stopped);
	REQUIRE_ERROR(rgm_control_open("stopped", &options, &stopped, &error), -ETIMEDOUT, &error);
	child_signal(&stopped_child, SIGCONT);
	child_say(&stopped_child, 'c');
	child_join(&stopped_child);
	REQUIRE(nftw(folder, served_remove, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

/* --- other users ------------------------------------------------------------------------------ */

#define OTHER_USER 65534u

static void become_other(void)
{
	REQUIRE(setgroups(0, NULL) == 0);
	REQUIRE(setresgid(OTHER_USER, OTHER_USER, OTHER_USER) == 0);
	REQUIRE(setresuid(OTHER_USER, OTHER_USER, OTHER_USER) == 0);
}

static void stranger(struct child *parent, void *context)
{
	char path[128];
	struct rgm_control_options options = {.size = sizeof options, .socket = path};
	struct rgm_control *none;
	(void)context;
	if (!hear_text(parent, path, sizeof path))
		return;
	become_other();
	REQUIRE_ERROR(rgm_control_open("test", &options, &none, &error), RGM_EREFUSED, &error);
}

/* Somebody on the access list looks, and finds what is for everybody or for him. */
static void guest(struct child *parent, void *context)
{
	char path[128];
	struct rgm_control_options options = {.size = sizeof options, .socket = path};
	struct rgm_control *looking;
	struct rgm_dimension_row *rows, row;
	struct rgm_status told;
	struct rgm_load *load;
	size_t count;
	(void)context;
	if (!hear_text(parent, path, sizeof path))
		return;
	become_other();
	must(rgm_control_open("test", &options, &looking, &error), &error);
	must(rgm_control_status(looking, &told, &error), &error);
	must(rgm_control_list(looking, &rows, &count, &error), &error);
	REQUIRE_EQUAL(count, 41);
	for (size_t i = 0; i < count; i++)
		REQUIRE(strncmp(rows[i].name, "hidden", 6) != 0);
	free(rows);
	must(rgm_control_show(looking, "open", &row, &error), &error);
	REQUIRE_ERROR(rgm_control_show(looking, "hidden0", &row, &error), RGM_ENODIM, &error);
	struct rgm_error missing;
	REQUIRE_ERROR(rgm_control_show(looking, "missing", &row, &missing), RGM_ENODIM, &missing);
	*strstr(error.message, "hidden0") = *strstr(missing.message, "missing") = '\0';
	REQUIRE(strcmp(error.message, missing.message) == 0); /* no difference is told */
	REQUIRE_ERROR(rgm_control_create(looking, "x", NULL, &error), RGM_EREFUSED, &error);
	REQUIRE_ERROR(rgm_control_drop(looking, "open", false, NULL, &error), RGM_EREFUSED, &error);
	REQUIRE_ERROR(rgm_control_rename(looking, "open", "y", &error), RGM_EREFUSED, &error);
	REQUIRE_ERROR(
		rgm_control_check(looking, "open", NULL, NULL, NULL, &error), RGM_EREFUSED, &error);
	REQUIRE_ERROR(rgm_load_begin(looking, "open", NULL, &load, &error), RGM_EREFUSED, &error);
	must(rgm_control_status(looking, &told, &error), &error);
	rgm_control_close(looking);
}

static void other_users(void **state)
{
	const struct rgm_principal access = {'u', OTHER_USER}, nobody_else = {'u', 4242};
	struct rgm_manager_options options = {.access = &access, .access_count = 1};
	struct rgm_create_options hidden = {
		.size = sizeof hidden, .access = &nobody_else, .access_count = 1};
	struct served open_house;
	char name[16];
	(void)state;
	if (geteuid() != 0) {
		support_tell_skip("other_users", "needs root to become another user");
		return;
	}
	REQUIRE(chmod(served.folder, 0711) == 0);
	say_text(&stranger_child, rgm_manager_socket(served.manager));
	child_join(&stranger_child);
	REQUIRE(chmod(served.folder, 0700) == 0);

	served_start(&open_house, &options);
	REQUIRE(chmod(open_house.folder, 0711) == 0);
	must(rgm_manager_create(open_house.manager, "open", NULL, &error), &error);
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "hidden%d", i);
		must(rgm_manager_create(open_house.manager, name, &hidden, &error), &error);
		snprintf(name, sizeof name, "open%d", i);
		must(rgm_manager_create(open_house.manager, name, NULL, &error), &error);
	}
	say_text(&guest_child, rgm_manager_socket(open_house.manager));
	child_join(&guest_child);
	served_stop(&open_house);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stopped_manager),
		cmocka_unit_test(other_users),
	};
	return cmocka_run_group_tests(tests, fork_and_start, stop);
}
