/* SPDX-License-Identifier: Apache-2.0 */
/*
 * <regionmgr/control.h> against a manager of this process: every call, each kind of bad input, and
 * what a reader then finds.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/manager/served.h"
#include <regionmgr/control.h>
#include <regionmgr/layers.h>

static struct served served;
static struct rgm_control *control;
static struct rgm_error error;

static struct rgm_control *open_control(uint32_t timeout_ms)
{
	struct rgm_control *opened;
	struct rgm_control_options options = {.size = sizeof options,
		.socket = rgm_manager_socket(served.manager),
		.timeout_ms = timeout_ms};
	must(rgm_control_open("test", &options, &opened, &error), &error);
	return opened;
}

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

static int start(void **state)
{
	(void)state;
	stopped_child = child_start(manage, NULL);
	stranger_child = child_start(stranger, NULL);
	guest_child = child_start(guest, NULL);
	served_start(&served, &(struct rgm_manager_options){.max_loads = 3});
	control = open_control(SUPPORT_LIMIT_MS);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	rgm_control_close(control);
	served_stop(&served);
	return 0;
}

/* --- content ---------------------------------------------------------------------------------- */

/* Bytes that depend on their place and a seed. */
static char *make_content(size_t bytes, unsigned seed)
{
	char *content = malloc(bytes + 1);
	uint64_t random = seed + 1;
	REQUIRE(content != NULL);
	for (size_t i = 0; i < bytes; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		content[i] = (char)(random >> 56);
	}
	return content;
}

static int make_file(const char *content, size_t bytes, uint64_t mtime_s)
{
	char path[128];
	snprintf(path, sizeof path, "%s/source", served.folder);
	int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	const struct timespec times[2] = {
		{.tv_sec = (time_t)mtime_s}, {.tv_sec = (time_t)mtime_s, .tv_nsec = 7}};
	REQUIRE(file >= 0);
	for (size_t done = 0; done < bytes;) {
		ssize_t written = write(file, content + done, bytes - done);
		REQUIRE(written > 0);
		done += (size_t)written;
	}
	REQUIRE(futimens(file, times) == 0);
	unlink(path);
	return file;
}

/* A reader of the instance, in a section, with one dimension in view. */
struct look {
	struct rgm_session *session;
	struct rgm_slot *slot;
	struct rgm_layers layers;
};

static void look_begin(struct look *look, const char *name)
{
	struct rgm_attach_options options = {
		.size = sizeof options, .socket = rgm_manager_socket(served.manager)};
	must(rgm_session_attach("test", &options, &look->session, &error), &error);
	must(rgm_map(look->session, name, &error), &error);
	must(rgm_slot_open(look->session, &look->slot, &error), &error);
	must(rgm_pin(look->slot), NULL);
	must(rgm_layers_open(look->slot, name, &look->layers, &error), &error);
}

static void look_end(struct look *look)
{
	must(rgm_unpin(look->slot), NULL);
	rgm_slot_close(look->slot);
	rgm_session_detach(look->session);
}

/* The layer's bytes, with a checksum that says the same; the layer for more to be asked of it. */
static struct rgm_layer require_layer(
	const struct look *look, const char *name, const char *content, size_t bytes)
{
	struct rgm_layer layer;
	must(rgm_layers_get(&look->layers, name, &layer), NULL);
	REQUIRE_EQUAL(layer.data.size, bytes);
	REQUIRE(bytes == 0 || memcmp(layer.data.data, content, bytes) == 0);
	REQUIRE_EQUAL(layer.crc32c, rgm_crc32c(0, content, bytes));
	return layer;
}

static struct rgm_load *begin(const char *name, uint32_t flags)
{
	struct rgm_load *load;
	struct rgm_load_options options = {.size = sizeof options, .flags = flags};
	must(rgm_load_begin(control, name, &options, &load, &error), &error);
	return load;
}

static struct rgm_load_report commit(struct rgm_load *load)
{
	struct rgm_load_report report;
	must(rgm_load_commit(load, &report, &error), &error);
	return report;
}

static void drop(const char *name)
{
	must(rgm_control_drop(control, name, false, NULL, &error), &error);
}

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

/* --- loads ------------------------------------------------------------------------------------ */

static const size_t sizes[] = {
	0, 1, 4095, 4096, 4097, 32767, 32768, 32769, 1000000, 4u << 20, (4u << 20) + 1, 9000000};
#define SIZES (sizeof sizes / sizeof *sizes)

/* By every way in, of sizes around each limit. */
static void every_size(void **state)
{
	struct rgm_layer_options options = {
		.size = sizeof options, .time_ns = 42, .media_type = "text/plain"};
	char name[64];
	struct look look;
	(void)state;
	struct rgm_load *load = begin("sizes", RGM_LOAD_CREATE);
	uint64_t total = 0;
	for (unsigned i = 0; i < SIZES; i++) {
		char *content = make_content(sizes[i], i);
		int file = make_file(content, sizes[i], 1000 + i);
		snprintf(name, sizeof name, "bytes/%u", i);
		must(rgm_load_bytes(load, name, content, sizes[i], &options, &error), &error);
		snprintf(name, sizeof name, "file/%u", i);
		must(rgm_load_file(load, name, file, NULL, &error), &error);
		close(file);
		snprintf(name, sizeof name, "stream/%u", i);
		must(rgm_load_stream_begin(load, name, &options, &error), &error);
		for (size_t done = 0, step = 1; done < sizes[i];
			done += step, step = step * 3 + 1) {
			if (step > sizes[i] - done)
				step = sizes[i] - done;
			must(rgm_load_stream_append(load, content + done, step, &error), &error);
			must(rgm_load_stream_append(load, NULL, 0, &error), &error);
		}
		must(rgm_load_stream_end(load, &error), &error);
		total += 3 * sizes[i];
		free(content);
	}
	struct rgm_load_report report = commit(load);
	REQUIRE_EQUAL(report.layers_put, 3 * SIZES);
	REQUIRE_EQUAL(report.bytes, total);

	look_begin(&look, "sizes");
	REQUIRE_EQUAL(rgm_layers_version(&look.layers), report.version);
	for (unsigned i = 0; i < SIZES; i++) {
		char *content = make_content(sizes[i], i);
		snprintf(name, sizeof name, "bytes/%u", i);
		struct rgm_layer layer = require_layer(&look, name, content, sizes[i]);
		REQUIRE_EQUAL(layer.time_ns, 42);
		REQUIRE(strcmp(layer.media_type, "text/plain") == 0);
		snprintf(name, sizeof name, "file/%u", i);
		layer = require_layer(&look, name, content, sizes[i]);
		REQUIRE_EQUAL(layer.time_ns, (1000 + i) * 1000000000ull + 7);
		REQUIRE(layer.media_type == NULL);
		snprintf(name, sizeof name, "stream/%u", i);
		layer = require_layer(&look, name, content, sizes[i]);
		REQUIRE_EQUAL(layer.time_ns, 42);
		free(content);
	}
	look_end(&look);

	struct rgm_check_report checked;
	must(rgm_control_check(control, "sizes", NULL, NULL, &checked, &error), &error);
	REQUIRE_EQUAL(checked.layers, 3 * SIZES);
	REQUIRE_EQUAL(checked.bytes, total);
	REQUIRE_EQUAL(checked.problems, 0);
	drop("sizes");
}

/* Far more than may be sent ahead, without a word of the manager's in between. */
static void thousands(void **state)
{
	char name[32], content[64];
	struct look look;
	(void)state;
	struct rgm_load *load = begin("many", RGM_LOAD_CREATE);
	for (int i = 0; i < 5000; i++) {
		int bytes = snprintf(content, sizeof content, "content of layer %d", i);
		snprintf(name, sizeof name, "layer%04d", i);
		must(rgm_load_bytes(load, name, content, (size_t)bytes, NULL, &error), &error);
	}
	REQUIRE_EQUAL(commit(load).layers_put, 5000);
	look_begin(&look, "many");
	REQUIRE_EQUAL(rgm_layers_count(&look.layers), 5000);
	for (int i = 0; i < 5000; i += 7) {
		int bytes = snprintf(content, sizeof content, "content of layer %d", i);
		snprintf(name, sizeof name, "layer%04d", i);
		require_layer(&look, name, content, (size_t)bytes);
	}
	look_end(&look);
	drop("many");
}

static void replace_and_remove(void **state)
{
	struct look look;
	struct rgm_layer layer;
	(void)state;
	struct rgm_load *load = begin("changing", RGM_LOAD_CREATE);
	must(rgm_load_bytes(load, "a", "old", 3, NULL, &error), &error);
	must(rgm_load_bytes(load, "b", "old", 3, NULL, &error), &error);
	commit(load);
	look_begin(&look, "changing");
	load = begin("changing", 0);
	must(rgm_load_bytes(load, "a", "newer", 5, NULL, &error), &error);
	must(rgm_load_remove(load, "b", &error), &error);
	struct rgm_load_report report = commit(load);
	REQUIRE_EQUAL(report.layers_put, 1);
	REQUIRE_EQUAL(report.layers_removed, 1);
	require_layer(&look, "a", "old", 3); /* this section's view stands still */
	look_end(&look);
	look_begin(&look, "changing");
	require_layer(&look, "a", "newer", 5);
	REQUIRE_EQUAL(rgm_layers_get(&look.layers, "b", &layer), RGM_ENOLAYER);
	look_end(&look);

	/* What is not there cannot be removed, and nothing else of that load happens. */
	load = begin("changing", 0);
	must(rgm_load_bytes(load, "c", "x", 1, NULL, &error), &error);
	must(rgm_load_remove(load, "b", &error), &error);
	REQUIRE_ERROR(rgm_load_commit(load, NULL, &error), RGM_ENOLAYER, &error);
	struct rgm_dimension_row row;
	must(rgm_control_show(control, "changing", &row, &error), &error);
	REQUIRE_EQUAL(row.layers, 1);
	REQUIRE_EQUAL(row.version, report.version);
	/* All at once. */
	load = begin("changing", RGM_LOAD_REPLACE);
	must(rgm_load_bytes(load, "d", "x", 1, NULL, &error), &error);
	commit(load);
	must(rgm_control_show(control, "changing", &row, &error), &error);
	REQUIRE_EQUAL(row.layers, 1);
	drop("changing");
}

/* Two loads of one dimension at once: the later commit has the layers of both. */
static void overlapping(void **state)
{
	struct rgm_control *other = open_control(SUPPORT_LIMIT_MS);
	struct rgm_load *load = begin("shared", RGM_LOAD_CREATE), *second, *third;
	struct look look;
	(void)state;
	must(rgm_load_bytes(load, "a", "1", 1, NULL, &error), &error);
	commit(load);
	load = begin("shared", 0);
	must(rgm_load_begin(other, "shared", NULL, &second, &error), &error);
	must(rgm_load_bytes(load, "b", "2", 1, NULL, &error), &error);
	must(rgm_load_bytes(second, "a", "3", 1, NULL, &error), &error);
	must(rgm_load_commit(second, NULL, &error), &error);
	commit(load);
	look_begin(&look, "shared");
	REQUIRE_EQUAL(rgm_layers_count(&look.layers), 2);
	require_layer(&look, "a", "3", 1);
	require_layer(&look, "b", "2", 1);
	look_end(&look);

	/* One at a time on a connection, which does nothing else meanwhile. */
	struct rgm_status told;
	struct rgm_dimension_row *rows;
	size_t count;
	load = begin("shared", 0);
	REQUIRE_ERROR(rgm_load_begin(control, "shared", NULL, &third, &error), RGM_EBUSY, &error);
	REQUIRE_ERROR(rgm_control_status(control, &told, &error), RGM_EBUSY, &error);
	REQUIRE_ERROR(rgm_control_list(control, &rows, &count, &error), RGM_EBUSY, &error);
	rgm_load_abort(load);
	must(rgm_control_status(control, &told, &error), &error);
	REQUIRE_EQUAL(told.loads, 0);

	/* A connection that is closed takes its load along. */
	must(rgm_load_begin(other, "shared", NULL, &second, &error), &error);
	rgm_control_close(other);
	REQUIRE_ERROR(rgm_load_bytes(second, "x", "y", 1, NULL, &error), RGM_EGONE, &error);
	rgm_load_abort(second);
	WAIT_UNTIL((rgm_control_status(control, &told, NULL), told.loads) == 0);
	rgm_load_abort(NULL);
	drop("shared");
}

static void load_limit(void **state)
{
	struct rgm_control *controls[3], *fourth = open_control(SUPPORT_LIMIT_MS);
	struct rgm_load *loads[3], *none;
	struct rgm_load_options options = {.size = sizeof options, .flags = RGM_LOAD_CREATE};
	(void)state;
	for (int i = 0; i < 3; i++) {
		char name[8] = {'l', (char)('0' + i)};
		controls[i] = open_control(SUPPORT_LIMIT_MS);
		must(rgm_load_begin(controls[i], name, &options, &loads[i], &error), &error);
	}
	REQUIRE_ERROR(rgm_load_begin(fourth, "l3", &options, &none, &error), RGM_EBUSY, &error);
	REQUIRE(strstr(error.message, "max_loads") != NULL);
	for (int i = 0; i < 3; i++) {
		rgm_load_abort(loads[i]);
		rgm_control_close(controls[i]);
	}
	WAIT_UNTIL(rgm_load_begin(fourth, "l3", &options, &none, NULL) == 0);
	rgm_load_abort(none);
	rgm_control_close(fourth);
}

/* What is wrong with the call itself is told at once and leaves the load as it was. */
static void misuse(void **state)
{
	char long_name[RGM_LAYER_NAME_MAX + 2], long_type[RGM_MEDIA_TYPE_MAX + 2];
	struct rgm_layer_options options = {.size = sizeof options, .media_type = long_type};
	int ends[2];
	(void)state;
	memset(long_name, 'n', sizeof long_name);
	memset(long_type, 't', sizeof long_type);
	long_name[RGM_LAYER_NAME_MAX + 1] = long_type[RGM_MEDIA_TYPE_MAX + 1] = '\0';
	struct rgm_load *load = begin("misused", RGM_LOAD_CREATE);
	static const char *const bad[] = {"", "/a", "a/", "a//b", ".", "a/../b", NULL};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		REQUIRE_ERROR(
			rgm_load_bytes(load, bad[i], "x", 1, NULL, &error), RGM_ENAME, &error);
	REQUIRE_ERROR(rgm_load_bytes(load, long_name, "x", 1, NULL, &error), RGM_ENAME, &error);
	REQUIRE_ERROR(rgm_load_remove(load, "../x", &error), RGM_ENAME, &error);
	REQUIRE_ERROR(rgm_load_bytes(load, "a", "x", 1, &options, &error), -EINVAL, &error);
	options.size = 1;
	REQUIRE_ERROR(rgm_load_bytes(load, "a", "x", 1, &options, &error), -EINVAL, &error);
	REQUIRE_ERROR(rgm_load_file(load, "a", -1, NULL, &error), -EINVAL, &error);
	REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
	REQUIRE_ERROR(rgm_load_file(load, "a", ends[0], NULL, &error), -EINVAL, &error);
	close(ends[0]);
	close(ends[1]);
	REQUIRE_ERROR(rgm_load_stream_append(load, "x", 1, &error), -EINVAL, &error);
	REQUIRE_ERROR(rgm_load_stream_end(load, &error), -EINVAL, &error);
	must(rgm_load_stream_begin(load, "s", NULL, &error), &error);
	REQUIRE_ERROR(rgm_load_stream_begin(load, "t", NULL, &error), -EINVAL, &error);
	REQUIRE_ERROR(rgm_load_bytes(load, "t", "x", 1, NULL, &error), -EINVAL, &error);
	REQUIRE_ERROR(rgm_load_remove(load, "t", &error), -EINVAL, &error);
	must(rgm_load_stream_append(load, "x", 1, &error), &error);
	must(rgm_load_stream_end(load, &error), &error);
	long_name[RGM_LAYER_NAME_MAX] = long_type[RGM_MEDIA_TYPE_MAX] = '\0';
	long_type[4] = '/';
	options.size = sizeof options;
	must(rgm_load_bytes(load, long_name, "x", 1, &options, &error), &error);
	REQUIRE_EQUAL(commit(load).layers_put, 2);

	/* A commit ends the load in any case. */
	struct rgm_status told;
	load = begin("misused", 0);
	must(rgm_load_stream_begin(load, "s", NULL, &error), &error);
	REQUIRE_ERROR(rgm_load_commit(load, NULL, &error), -EINVAL, &error);
	must(rgm_control_status(control, &told, &error), &error);
	REQUIRE_EQUAL(told.loads, 0);
	drop("misused");
}

/* A part that fails in the manager ends the load, with the sentence of that part whatever is called
 * next; the connection goes on. */
static void failing_part(void **state)
{
	struct rgm_load_options options = {.size = sizeof options,
		.flags = RGM_LOAD_CREATE,
		.create = {.size = sizeof options.create, .max_bytes = 8u << 20}};
	const size_t bytes = 12u << 20;
	char *content = make_content(bytes, 1);
	struct rgm_status told;
	struct rgm_load *load;
	(void)state;
	for (int i = 0; i < 4; i++) {
		int rc = 0, after = 0;
		must(rgm_load_begin(control, "small", &options, &load, &error), &error);
		int file = make_file(content, bytes, 1);
		if (i < 2)
			rc = rgm_load_file(load, "too/large", file, NULL, &error);
		else
			rc = rgm_load_bytes(load, "too/large", content, bytes, NULL, &error);
		close(file);
		for (; rc == 0 && after < 1000; after++)
			rc = rgm_load_bytes(load, "next", "x", 1, NULL, &error);
		REQUIRE_EQUAL(rc, RGM_ELIMIT);
		REQUIRE(after <= 2 * (int)IPC_LOAD_BATCH);
		REQUIRE_EQUAL(rgm_load_remove(load, "next", &error), RGM_ELIMIT);
		if (i % 2)
			REQUIRE_ERROR(rgm_load_commit(load, NULL, &error), RGM_ELIMIT, &error);
		else
			rgm_load_abort(load);
		must(rgm_control_status(control, &told, &error), &error);
		REQUIRE_EQUAL(told.loads, 0);
		REQUIRE_EQUAL(told.dimensions, 0);
	}
	/* Told by the commit itself, which is sent before the failure is heard of. */
	must(rgm_load_begin(control, "small", &options, &load, &error), &error);
	int file = make_file(content, bytes, 1);
	must(rgm_load_file(load, "too/large", file, NULL, &error), &error);
	REQUIRE_ERROR(rgm_load_commit(load, NULL, &error), RGM_ELIMIT, &error);
	must(rgm_control_status(control, &told, &error), &error);
	close(file);
	free(content);
}

/* The source is told from what it was when the call was made. */
static void changing_source(void **state)
{
	char *content = make_content(100000, 3);
	int file = make_file(content, 100000, 5);
	(void)state;
	struct rgm_load *load = begin("source", RGM_LOAD_CREATE);
	/* The manager is busy with what comes before, and finds another size. */
	char *much = make_content(4u << 20, 4);
	must(rgm_load_bytes(load, "first", much, 4u << 20, NULL, &error), &error);
	must(rgm_load_file(load, "changed", file, NULL, &error), &error);
	REQUIRE(ftruncate(file, 50000) == 0);
	int rc = rgm_load_commit(load, NULL, &error);
	/* It may have been read before the change. */
	REQUIRE(rc == 0 || rc == RGM_ECHANGED);
	if (rc == 0)
		drop("source");
	else
		REQUIRE(strstr(error.message, "'changed'") != NULL);
	free(much);
	free(content);
	close(file);
}

/* A file of holes, far larger than anything that is sent at once; a check of it, given up. */
static int give_up(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
	(void)done_bytes;
	(void)total_bytes;
	++*(int *)context;
	return 1;
}

static void sparse_and_cancelled(void **state)
{
	const size_t bytes = 200u << 20;
	struct rgm_check_report report;
	struct rgm_dimension_row row;
	int asked = 0, file = make_file("", 0, 9);
	(void)state;
	REQUIRE(ftruncate(file, (off_t)bytes) == 0);
	struct rgm_load *load = begin("sparse", RGM_LOAD_CREATE);
	must(rgm_load_file(load, "zeros", file, NULL, &error), &error);
	REQUIRE_EQUAL(commit(load).bytes, bytes);
	close(file);
	must(rgm_control_show(control, "sparse", &row, &error), &error);
	REQUIRE_EQUAL(row.bytes, bytes);
	int rc = rgm_control_check(control, "sparse", give_up, &asked, &report, &error);
	/* Done before the first news, or given up. */
	REQUIRE(rc == 0 || (rc == -ECANCELED && asked == 1));
	must(rgm_control_check(control, "sparse", NULL, NULL, NULL, &error), &error);
	drop("sparse");
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
		cmocka_unit_test(opening),
		cmocka_unit_test(status),
		cmocka_unit_test(lists),
		cmocka_unit_test(bad_input),
		cmocka_unit_test(every_size),
		cmocka_unit_test(thousands),
		cmocka_unit_test(replace_and_remove),
		cmocka_unit_test(overlapping),
		cmocka_unit_test(load_limit),
		cmocka_unit_test(misuse),
		cmocka_unit_test(failing_part),
		cmocka_unit_test(changing_source),
		cmocka_unit_test(sparse_and_cancelled),
		cmocka_unit_test(readers_and_stats),
		cmocka_unit_test(stopped_manager),
		cmocka_unit_test(other_users),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
