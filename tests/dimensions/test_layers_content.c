/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dimensions/layers_content.c and layers_writer.c: where content goes, and every way in which it may
 * fail to get there.
 */
#define _GNU_SOURCE 1

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

#include "dimensions/layers_writer.h"
#include "tests/dimensions/content.h"

/*
 * The executable's own pread() and pwrite() take the place of libc's, so that something can happen
 * between two of them, and so that writes can be counted and fail.
 */
static void (*before_read)(int file, off_t offset);
static int write_fails_after = -1; /* that many writes still succeed; -1: all */
static struct {
	unsigned calls;
	unsigned unaligned_ends; /* calls that end at no 2 MB boundary */
} writes;

ssize_t pread(int file, void *to, size_t bytes, off_t offset)
{
	void (*call)(int, off_t) = before_read;

	if (call)
		call(file, offset);
	return (ssize_t)syscall(SYS_pread64, file, to, bytes, offset);
}

ssize_t pwrite(int file, const void *from, size_t bytes, off_t offset)
{
	if (write_fails_after == 0) {
		errno = EIO;
		return -1;
	}
	if (write_fails_after > 0)
		write_fails_after--;
	writes.calls++;
	writes.unaligned_ends += ((uint64_t)offset + bytes) % POOL_EXTENT_BYTES != 0;
	return (ssize_t)syscall(SYS_pwrite64, file, from, bytes, offset);
}

/* Leave the tick of the clock that stamps files. */
static void next_tick(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
}

/* --- Sources that change ---------------------------------------------------------------------- */

static void grow_source(int file, off_t offset)
{
	if (offset > 0) {
		before_read = NULL;
		assert_int_equal(syscall(SYS_pwrite64, file, "more", 4, 3 * MB), 4);
	}
}

static void grow_at_last_read(int file, off_t offset)
{
	if (offset == 3 * MB) {
		before_read = NULL;
		assert_int_equal(syscall(SYS_pwrite64, file, "x", 1, 3 * MB), 1);
	}
}

static void cut_source(int file, off_t offset)
{
	if (offset >= MB) {
		before_read = NULL;
		assert_int_equal(ftruncate(file, 100), 0);
	}
}

static void cut_after_reading(int file, off_t offset)
{
	if (offset == 3 * MB) {
		before_read = NULL;
		assert_int_equal(ftruncate(file, 100), 0);
	}
}

static void rewrite_source(int file, off_t offset)
{
	if (offset >= MB) {
		before_read = NULL;
		assert_int_equal(syscall(SYS_pwrite64, file, "other", 5, 0), 5);
	}
}

static void change_mode(int file, off_t offset)
{
	if (offset >= MB) {
		before_read = NULL;
		assert_int_equal(fchmod(file, 0640), 0);
	}
}

static void a_source_that_changes_is_refused(void **state)
{
	static void (*const happenings[])(int, off_t) = {grow_source, grow_at_last_read, cut_source,
		cut_after_reading, rewrite_source, change_mode};
	struct rgm_error error;
	uint64_t used;

	(void)state;
	open_with(1ull << 30, 0);
	must(layers_change_put(change, "before", data, 10000, 1, NULL, &error), &error);
	must(layers_change_flush(change, &error), &error);
	used = fixture_used(&fixture);
	for (size_t i = 0; i < sizeof(happenings) / sizeof(happenings[0]); i++) {
		int file = fixture_source(&fixture, data, 3 * MB);

		next_tick();
		before_read = happenings[i];
		assert_int_equal(
			layers_change_put_file(change, "a/\x01nam\xe9", file, 0, NULL, &error),
			RGM_ECHANGED);
		assert_null(before_read);
		assert_string_equal(error.message,
			"layer 'a/\\x01nam\\xe9': its file changed while it was read");
		close(file);
		/* The change goes on as if it had not been tried. */
		must(layers_change_put(change, "after", data, 5000 + i, 1, NULL, &error), &error);
		must(layers_change_flush(change, &error), &error);
		assert_int_equal(fixture_used(&fixture), used + 2);
	}
	commit();
	assert_int_equal(fixture.summary.layers, 2);
	expect_bytes("before", data, 10000);
	expect_bytes("after", data, 5005);
	fixture_close(&fixture);
}

struct meddler {
	int file;
	atomic_bool stop;
	atomic_uint rounds;
};

static void *meddle(void *context)
{
	struct meddler *meddler = context;

	while (!atomic_load(&meddler->stop)) {
		(void)!ftruncate(meddler->file, MB);
		(void)!ftruncate(meddler->file, 3 * MB);
		atomic_fetch_add(&meddler->rounds, 1);
	}
	return NULL;
}

/* Whatever another thread does to the source: what is put has the checksum of what was written. */
static void a_source_that_changes_all_the_time(void **state)
{
	struct meddler meddler = {0};
	struct rgm_error error;
	pthread_t thread;
	unsigned refused = 0;

	(void)state;
	open_with(1ull << 30, 0);
	meddler.file = fixture_source(&fixture, data, 3 * MB);
	assert_int_equal(pthread_create(&thread, NULL, meddle, &meddler), 0);
	while (atomic_load(&meddler.rounds) == 0)
		sched_yield();
	for (unsigned i = 0; i < 100 || (refused == 0 && i < 100000); i++) {
		int rc = layers_change_put_file(change, "meddled", meddler.file, 0, NULL, &error);

		assert_true(rc == 0 || rc == RGM_ECHANGED);
		refused += rc != 0;
	}
	atomic_store(&meddler.stop, true);
	pthread_join(thread, NULL);
	assert_true(refused > 0);
	must(layers_change_put_file(change, "still", meddler.file, 0, NULL, &error), &error);
	close(meddler.file);
	commit();
	fixture_close(&fixture);
}

static void times_of_sources(void **state)
{
	const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1234567890, .tv_nsec = 42}};
	struct rgm_layers layers;
	struct rgm_layer layer;
	struct rgm_error error;
	int file;

	(void)state;
	open_with(1ull << 30, 0);
	file = fixture_source(&fixture, data, 100);
	assert_int_equal(futimens(file, times), 0);
	must(layers_change_put_file(change, "own", file, 0, NULL, &error), &error);
	must(layers_change_put_file(change, "told", file, 99, NULL, &error), &error);
	assert_int_equal(lseek(file, 50, SEEK_SET), 50); /* has no influence, and stays */
	must(layers_change_put_file(change, "whole", file, 0, NULL, &error), &error);
	assert_int_equal(lseek(file, 0, SEEK_CUR), 50);
	close(file);
	commit();
	expect_bytes("whole", data, 100);
	layers = fixture_view(&fixture);
	assert_int_equal(rgm_layers_get(&layers, "own", &layer), 0);
	assert_int_equal(layer.time_ns, 1234567890000000042u);
	assert_int_equal(rgm_layers_get(&layers, "told", &layer), 0);
	assert_int_equal(layer.time_ns, 99);
	fixture_close(&fixture);
}

static void sources_that_cannot_be_read(void **state)
{
	struct rgm_error error;
	char path[80];
	int ends[2];
	int file;

	(void)state;
	open_with(1ull << 30, 0);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(layers_change_put_file(change, "pipe", ends[0], 0, NULL, &error), -EINVAL);
	assert_string_equal(error.message, "layer 'pipe': its source is not a regular file");
	close(ends[1]);
	close(ends[0]);
	assert_int_equal(
		layers_change_put_file(change, "closed", ends[0], 0, NULL, &error), -EBADF);
	assert_int_equal(layers_change_put_file(change, "none", -1, 0, NULL, &error), -EBADF);
	assert_int_equal(
		layers_change_put_file(change, "folder", fixture.folder, 0, NULL, &error), -EISDIR);
	file = open("/dev/null", O_RDONLY);
	assert_int_equal(layers_change_put_file(change, "null", file, 0, NULL, &error), -EINVAL);
	close(file);
	/* Open for writing alone. */
	snprintf(path, sizeof(path), "%s/w", fixture.folder_path);
	file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_int_equal(write(file, "x", 1), 1);
	assert_int_equal(layers_change_put_file(change, "w", file, 0, NULL, &error), -EBADF);
	unlink(path);
	close(file);
	/* A file of procfs says that it is empty, and is not. */
	file = open("/proc/self/status", O_RDONLY);
	assert_int_equal(
		layers_change_put_file(change, "status", file, 0, NULL, &error), RGM_ECHANGED);
	close(file);
	abort_and_close();
}

/* --- Limits ----------------------------------------------------------------------------------- */

static void larger_than_the_region(void **state)
{
	struct rgm_error error;
	int file;

	(void)state;
	open_with(8 * MB, 0);
	assert_int_equal(
		layers_change_put(change, "large", data, 9 * MB, 1, NULL, &error), RGM_ELIMIT);
	assert_int_equal(
		layers_change_put(change, "huge", data, SIZE_MAX, 1, NULL, &error), RGM_ELIMIT);
	file = fixture_source(&fixture, data, 1);
	assert_int_equal(ftruncate(file, 1ll << 40), 0);
	assert_int_equal(layers_change_put_file(change, "file", file, 0, NULL, &error), RGM_ELIMIT);
	close(file);
	must(layers_change_stream_begin(change, "stream", 1, NULL, &error), &error);
	must(layers_change_stream_append(change, data, MB, &error), &error);
	assert_int_equal(layers_change_stream_append(change, data, SIZE_MAX, &error), RGM_ELIMIT);
	assert_int_equal(layers_change_stream_append(change, data, 9 * MB, &error), RGM_ELIMIT);
	/* What was refused left the stream as it was. */
	must(layers_change_stream_append(change, data + MB, MB, &error), &error);
	must(layers_change_stream_end(change, &error), &error);
	commit();
	expect_bytes("stream", data, 2 * MB);
	fixture_close(&fixture);
}

/* Fill the region to its last page: each put succeeds or leaves no trace. */
static void up_to_the_last_page(void **state)
{
	struct pool_region_info info;
	struct rgm_error error;
	unsigned put = 0;
	char name[16];
	int rc;

	(void)state;
	open_with(8 * MB, 100 * MB);
	for (;; put++) {
		snprintf(name, sizeof(name), "%u", put);
		rc = layers_change_put(change, name, data, 100000, 1, NULL, &error);
		if (rc < 0)
			break;
	}
	assert_true(rc == RGM_ELIMIT || rc == -ENOSPC);
	for (;; put++) {
		snprintf(name, sizeof(name), "%u", put);
		rc = layers_change_put(change, name, data, 1, 1, NULL, &error);
		if (rc < 0)
			break;
	}
	assert_true(rc == RGM_ELIMIT || rc == -ENOSPC);
	must(layers_change_flush(change, &error), &error);
	pool_region_info(fixture.region, &info);
	assert_int_equal(info.free_pages, 0);
	/* No room for the directory. */
	rc = fixture_commit(&fixture, change, NULL, &error);
	assert_true(rc == RGM_ELIMIT || rc == -ENOSPC);
	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "%u", i);
		must(layers_change_remove(change, name, &error), &error);
	}
	commit();
	assert_int_equal(fixture.summary.layers, put - 20);
	fixture_close(&fixture);
}

/*
 * Pages of a layer that is put and removed again are free at once, for anybody; what was staged for
 * them must not reach them any more, nor take what is staged beside it along.
 */
static void freed_pages_are_left_alone(void **state)
{
	static unsigned char theirs[10 * POOL_PAGE_BYTES];
	static unsigned char found[sizeof(theirs)];
	struct rgm_error error;
	uint64_t all;
	uint64_t page;

	(void)state;
	memset(theirs, 0xee, sizeof(theirs));
	for (int last = 0; last < 2; last++) {
		open_with(8 * MB, 0);
		/* 30 free pages, and no others. */
		must(pool_region_allocate(fixture.region, 500, &all, &error), &error);
		while (pool_region_allocate(fixture.region, 1, &page, NULL) == 0)
			;
		pool_region_free(fixture.region, all + 100, 30);
		must(layers_change_put(change, "a", data, sizeof(theirs), 1, NULL, &error), &error);
		must(layers_change_put(change, "b", data, sizeof(theirs), 1, NULL, &error), &error);
		must(layers_change_put(change, "c", data, sizeof(theirs), 1, NULL, &error), &error);
		must(layers_change_remove(change, last ? "c" : "b", &error), &error);
		/* Somebody else gets them, and writes first. */
		must(pool_region_allocate(fixture.region, 10, &page, &error), &error);
		assert_in_range(page, all + 100, all + 120);
		must(pool_region_write(fixture.region, page * POOL_PAGE_BYTES, theirs,
			     sizeof(theirs), &error),
			&error);
		must(layers_change_flush(change, &error), &error);
		must(pool_region_read(
			     fixture.region, page * POOL_PAGE_BYTES, found, sizeof(found), &error),
			&error);
		assert_memory_equal(found, theirs, sizeof(found));
		pool_region_free(fixture.region, all, 100);
		must(fixture_commit(&fixture, change, NULL, &error), &error);
		expect_bytes("a", data, sizeof(theirs));
		expect_bytes(last ? "b" : "c", data, sizeof(theirs));
		fixture_close(&fixture);
	}
}

/* --- Writes ----------------------------------------------------------------------------------- */

#ifndef POOL_RACE_BUILD
/* After a write failed, the change can only be aborted, and tells the first failure each time. */
static void a_failed_write_ends_the_change(void **state)
{
	struct rgm_error error, again;

	(void)state;
	for (int i = 0; i < 3; i++) {
		open_with(1ull << 30, 0);
		must(layers_change_put(change, "small", data, 100, 1, NULL, &error), &error);
		write_fails_after = i;
		assert_int_equal(
			layers_change_put(change, "large", data, 10 * MB, 1, NULL, &error), -EIO);
		write_fails_after = -1;
		assert_int_equal(
			layers_change_put(change, "next", data, 100, 1, NULL, &again), -EIO);
		assert_string_equal(again.message, error.message);
		assert_int_equal(layers_change_flush(change, &error), -EIO);
		assert_int_equal(fixture_commit(&fixture, change, NULL, &error), -EIO);
		abort_and_close();
	}
	/* A stream, and one that is being moved. */
	open_with(1ull << 30, 0);
	must(layers_change_stream_begin(change, "stream", 1, NULL, &error), &error);
	must(layers_change_stream_append(change, data, 100, &error), &error);
	write_fails_after = 0;
	assert_int_equal(layers_change_stream_append(change, data, 9 * MB, &error), -EIO);
	write_fails_after = -1;
	assert_int_equal(layers_change_stream_append(change, data, 1, &error), -EIO);
	abort_and_close();
	/* The directory's blocks. */
	for (int i = 0; i < 2; i++) {
		open_with(1ull << 30, 0);
		must(layers_change_put(change, "small", data, 100, 1, NULL, &error), &error);
		must(layers_change_flush(change, &error), &error);
		write_fails_after = i;
		assert_int_equal(fixture_commit(&fixture, change, NULL, &error), -EIO);
		write_fails_after = -1;
		if (i == 0) {
			commit();
			fixture_close(&fixture);
		} else {
			abort_and_close();
		}
	}
}

/* Bulk content is written by calls that end at 2 MB boundaries, whatever it consists of. */
static void writes_are_large_and_aligned(void **state)
{
	struct rgm_error error;
	uint64_t done = 0;

	(void)state;
	open_with(1ull << 30, 39 * MB);
	memset(&writes, 0, sizeof(writes));
	for (unsigned i = 0; done < 38 * MB; i++) {
		uint64_t bytes = i % 50 == 0 ? 5 * MB : 1 + (i * 7919u) % (100 * KB);
		char name[16];
		int file;

		if (bytes > 39 * MB - done)
			break;
		snprintf(name, sizeof(name), "%u", i);
		if (i % 2) {
			file = fixture_source(&fixture, data + done, (size_t)bytes);
			writes.calls--;
			writes.unaligned_ends--;
			must(layers_change_put_file(change, name, file, 0, NULL, &error), &error);
			close(file);
		} else {
			must(layers_change_put(
				     change, name, data + done, (size_t)bytes, 1, NULL, &error),
				&error);
		}
		done += bytes;
	}
	must(layers_change_flush(change, &error), &error);
	/* One arena, so one end that is odd; another where rounding to pages needed a second. */
	assert_in_range(writes.unaligned_ends, 0, 3);
	assert_in_range(writes.calls, 9, 26);
	commit();
	fixture_close(&fixture);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_that_changes_is_refused),
		cmocka_unit_test(a_source_that_changes_all_the_time),
		cmocka_unit_test(times_of_sources),
		cmocka_unit_test(sources_that_cannot_be_read),
		cmocka_unit_test(larger_than_the_region),
		cmocka_unit_test(up_to_the_last_page),
		cmocka_unit_test(freed_pages_are_left_alone),
#ifndef POOL_RACE_BUILD
		/* There the region is written through a mapping, by no call. */
		cmocka_unit_test(a_failed_write_ends_the_change),
		cmocka_unit_test(writes_are_large_and_aligned),
#endif
	};

	return cmocka_run_group_tests(tests, content_setup, content_teardown);
}
