/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads by <regionmgr/control.h>: every way in, every size around a limit, what a reader then finds,
 * and what is told when a part fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/reader/controlled.h"
#include <regionmgr/layers.h>

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

/* --- loads ------------------------------------------------------------------------------------ */

static const size_t sizes[] = {
	0, 1, 4095, 4096, 4097, 32767, 32768, 32769, 57343, 57344, 57345, 114688, 1000000, 9000000};
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size),
		cmocka_unit_test(thousands),
		cmocka_unit_test(replace_and_remove),
		cmocka_unit_test(overlapping),
		cmocka_unit_test(load_limit),
		cmocka_unit_test(misuse),
		cmocka_unit_test(failing_part),
		cmocka_unit_test(changing_source),
		cmocka_unit_test(sparse_and_cancelled),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
