/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content of known size: where it goes, and how it gets there.
 *
 * Layers are laid page by page into an arena, a run that is larger than the layer at hand when more
 * is to come. Its rest is given back when it is too short for the next layer, and at the flush; the
 * allocator joins it with what follows, so that a bulk load is one run although it comes in arenas.
 * A lone layer gets exactly its pages: replacing it again and again then fits the runs freed before.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dimensions/layers_change.h"
#include "dimensions/layers_format.h"
#include "pool/crc32c.h"
#include "pool/error.h"
#include "pool/os.h"

#define ARENA_PAGES   ((64u << 20) / RGM_PAGE_BYTES) /* when much is expected */
#define UNKNOWN_PAGES ((16u << 20) / RGM_PAGE_BYTES) /* when nothing is known */

int layers_content_limit(const struct layers_change *change, const struct layers_op *op,
	uint64_t bytes, struct rgm_error *error)
{
	char shown[LAYERS_SHOWN_BYTES];

	if (bytes <= change->max_bytes)
		return 0;
	return pool_fail(error, RGM_ELIMIT,
		"layer '%s': %llu bytes exceed the region's maximum of %llu",
		layers_name_shown(shown, op->strings, op->name_length), (unsigned long long)bytes,
		(unsigned long long)change->max_bytes);
}

void layers_content_free(struct layers_change *change, uint64_t page, uint64_t count)
{
	if (count == 0)
		return;
	layers_writer_forget(&change->writer, page, count);
	pool_region_free(change->region, page, count);
}

static void give_back_arena(struct layers_change *change)
{
	if (change->arena_count > 0)
		pool_region_free(change->region, change->arena_page, change->arena_count);
	change->arena_count = 0;
}

/* How large an arena may usefully be, a layer of `least` pages being the next to go into it. */
static uint64_t arena_pages(const struct layers_change *change, uint64_t least)
{
	uint64_t most = ARENA_PAGES;
	uint64_t pages;

	if (change->expected_bytes > change->put_bytes) {
		pages = layers_pages(change->expected_bytes - change->put_bytes);
	} else {
		/* A change that has put much will put more, but a file never shrinks. */
		pages = change->put_pages / 4;
		most = UNKNOWN_PAGES;
	}
	if (pages > most)
		pages = most;
	return pages > least ? pages : least;
}

/* An arena of at least `least` pages in place of the one that is too short. */
static int refill_arena(struct layers_change *change, uint64_t least, struct rgm_error *error)
{
	uint64_t most = arena_pages(change, least);
	int rc;

	give_back_arena(change);
	change->arena_count = least;
	/* A lone layer takes the run that fits best; an arena, the longest one there is. */
	if (most == least)
		rc = pool_region_allocate(change->region, least, &change->arena_page, error);
	else
		rc = pool_region_allocate_upto(change->region, least, most, &change->arena_page,
			&change->arena_count, error);
	if (rc != 0)
		change->arena_count = 0;
	return rc;
}

/* Pages for a layer of op->size bytes. */
static int place(struct layers_change *change, struct layers_op *op, struct rgm_error *error)
{
	uint64_t pages = layers_pages(op->size);
	int rc = layers_content_limit(change, op, op->size, error);

	if (rc != 0 || pages == 0)
		return rc;
	if (pages > change->arena_count) {
		rc = refill_arena(change, pages, error);
		if (rc != 0)
			return rc;
	}
	op->page = change->arena_page;
	change->arena_page += pages;
	change->arena_count -= pages;
	rc = layers_writer_seek(&change->writer, op->page * POOL_PAGE_BYTES, error);
	if (rc != 0) {
		change->arena_page -= pages;
		change->arena_count += pages;
		op->page = 0;
	}
	return rc;
}

/* The operation's pages back into the arena, whose last it was. */
static void unplace(struct layers_change *change, struct layers_op *op)
{
	uint64_t pages = layers_pages(op->size);

	if (op->page == 0)
		return;
	layers_writer_forget(&change->writer, op->page, pages);
	change->arena_page -= pages;
	change->arena_count += pages;
}

static void added(struct layers_change *change, struct layers_op *op)
{
	change->put_bytes += op->size;
	change->put_pages += layers_pages(op->size);
	layers_change_add(change, op);
}

int layers_change_put(struct layers_change *change, const char *name, const void *data,
	size_t data_bytes, uint64_t time_ns, const char *media_type, struct rgm_error *error)
{
	struct layers_op *op;
	int rc = layers_change_prepare(change, error);

	if (rc == 0)
		rc = layers_op_create(
			name, time_ns ? time_ns : os_realtime_ns(), media_type, &op, error);
	if (rc != 0)
		return rc;
	op->size = data_bytes;
	rc = place(change, op, error);
	if (rc != 0)
		goto fail;
	if (data_bytes > 0) {
		rc = layers_writer_append(&change->writer, data, data_bytes, &op->crc32c, error);
		if (rc == 0)
			rc = layers_writer_pad(&change->writer, error);
		if (rc != 0)
			goto fail;
	}
	added(change, op);
	return 0;
fail:
	unplace(change, op);
	free(op);
	return rc;
}

static int source_failed(const struct layers_op *op, const char *what, struct rgm_error *error)
{
	char shown[LAYERS_SHOWN_BYTES];

	return pool_fail_errno(error, "layer '%s': its file cannot be %s",
		layers_name_shown(shown, op->strings, op->name_length), what);
}

static int source_changed(const struct layers_op *op, struct rgm_error *error)
{
	char shown[LAYERS_SHOWN_BYTES];

	return pool_fail(error, RGM_ECHANGED, "layer '%s': its file changed while it was read",
		layers_name_shown(shown, op->strings, op->name_length));
}

static ssize_t read_at(int file, void *data, size_t bytes, uint64_t offset)
{
	ssize_t n;

	do {
		n = pread(file, data, bytes, (off_t)offset);
	} while (n < 0 && errno == EINTR);
	return n;
}

/* The file's op->size bytes, through the stage. */
static int copy_file(
	struct layers_change *change, struct layers_op *op, int file, struct rgm_error *error)
{
	uint64_t done = 0;
	int rc = 0;

	while (rc == 0 && done < op->size) {
		void *room;
		size_t bytes;
		ssize_t n;

		rc = layers_writer_room(&change->writer, &room, &bytes, error);
		if (rc != 0)
			break;
		if (bytes > LAYERS_CHUNK_BYTES)
			bytes = LAYERS_CHUNK_BYTES;
		if (bytes > op->size - done)
			bytes = (size_t)(op->size - done);
		n = read_at(file, room, bytes, done);
		if (n < 0)
			return source_failed(op, "read", error);
		if (n == 0)
			return source_changed(op, error);
		op->crc32c = pool_crc32c(op->crc32c, room, (size_t)n);
		done += (uint64_t)n;
		rc = layers_writer_filled(&change->writer, (size_t)n, error);
	}
	return rc == 0 ? layers_writer_pad(&change->writer, error) : rc;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Whether the file is what it was, and ends where its size says (files of procfs do not). */
static int compare_source(
	const struct layers_op *op, int file, const struct stat *before, struct rgm_error *error)
{
	struct stat after;
	char beyond;
	ssize_t n = read_at(file, &beyond, 1, op->size);

	if (n < 0 || fstat(file, &after) < 0)
		return source_failed(op, "read", error);
	if (n != 0 || after.st_size != before->st_size ||
		!same_time(&after.st_mtim, &before->st_mtim) ||
		!same_time(&after.st_ctim, &before->st_ctim))
		return source_changed(op, error);
	return 0;
}

static int open_source(
	struct layers_op *op, int file, struct stat *ret_stat, struct rgm_error *error)
{
	char shown[LAYERS_SHOWN_BYTES];

	if (fstat(file, ret_stat) < 0)
		return source_failed(op, "read", error);
	if (!S_ISREG(ret_stat->st_mode))
		return pool_fail(error, S_ISDIR(ret_stat->st_mode) ? -EISDIR : -EINVAL,
			"layer '%s': its source is not a regular file",
			layers_name_shown(shown, op->strings, op->name_length));
	op->size = (uint64_t)ret_stat->st_size;
	if (op->time_ns == 0 && ret_stat->st_mtim.tv_sec >= 0)
		op->time_ns = (uint64_t)ret_stat->st_mtim.tv_sec * 1000000000u +
		              (uint64_t)ret_stat->st_mtim.tv_nsec;
	return 0;
}

int layers_change_put_file(struct layers_change *change, const char *name, int file,
	uint64_t time_ns, const char *media_type, struct rgm_error *error)
{
	struct layers_op *op;
	struct stat before;
	int rc = layers_change_prepare(change, error);

	if (rc == 0)
		rc = layers_op_create(name, time_ns, media_type, &op, error);
	if (rc != 0)
		return rc;
	rc = open_source(op, file, &before, error);
	if (rc == 0)
		rc = place(change, op, error);
	if (rc == 0 && op->size > 0)
		rc = copy_file(change, op, file, error);
	if (rc == 0)
		rc = compare_source(op, file, &before, error);
	if (rc != 0) {
		unplace(change, op);
		free(op);
		return rc;
	}
	added(change, op);
	return 0;
}

int layers_change_flush(struct layers_change *change, struct rgm_error *error)
{
	int rc = layers_change_prepare(change, error);

	if (rc == 0)
		rc = layers_writer_flush(&change->writer, error);
	if (rc != 0)
		return rc;
	give_back_arena(change);
	return layers_change_sort(change, error);
}
