/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A region in a folder of its own, its current root, and blocks that wait to be freed; and what must
 * be true of them whenever nothing is under way (fixture_verify).
 */
#ifndef TESTS_DIMENSIONS_FIXTURE_H
#define TESTS_DIMENSIONS_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "dimensions/kind.h"
#include "dimensions/layers.h"
#include "dimensions/layers_format.h"
#include "pool/region.h"
#include "regionmgr/reader/layers_view.h"
#include "tests/pool/seed.h"

#define FIXTURE_ID 7u

/* A sanitizer has taken the allocator's place, and much memory. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FIXTURE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FIXTURE_SANITIZED 1
#endif
#endif

struct fixture {
	char folder_path[64];
	int folder;
	struct pool_region *region;
	struct pool_root root;
	struct dim_summary summary;
	struct dim_blocks retired; /* not freed yet */
	uint64_t version;
	void *base; /* the file as a reader maps it; NULL: not mapped */
	size_t base_bytes;
};

static const uint8_t fixture_uuid[16] = "fixture instance";

static inline struct pool_region_options fixture_options(uint64_t max_bytes)
{
	return (struct pool_region_options){
		.id = FIXTURE_ID,
		.kind = RGM_KIND_LAYERS,
		.max_bytes = max_bytes,
		.instance_id = fixture_uuid,
		.incarnation = fixture_uuid,
	};
}

/* Ends the test with the sentence of a failure that ought not to be. */
static inline void must(int rc, const struct rgm_error *error)
{
	if (rc != 0)
		fail_msg("%d: %s", rc, error->message);
}

static inline void fixture_open(struct fixture *fixture, uint64_t max_bytes)
{
	struct pool_region_options options = fixture_options(max_bytes);
	struct rgm_error error;

	memset(fixture, 0, sizeof(*fixture));
	snprintf(fixture->folder_path, sizeof(fixture->folder_path),
		"/tmp/regionmgr-test-layers-XXXXXX");
	assert_non_null(mkdtemp(fixture->folder_path));
	fixture->folder = open(fixture->folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fixture->folder >= 0);
	must(pool_region_create(fixture->folder, "region", &options, &fixture->region, &error),
		&error);
	fixture->version = 1;
	must(dim_layers.create(fixture->region, fixture->version, &fixture->root, &error), &error);
	must(dim_layers.open(fixture->region, &fixture->root, &fixture->summary, &error), &error);
}

static inline void fixture_unmap(struct fixture *fixture)
{
	if (fixture->base)
		munmap(fixture->base, fixture->base_bytes);
	fixture->base = NULL;
}

static inline void fixture_close(struct fixture *fixture)
{
	fixture_unmap(fixture);
	pool_region_close(fixture->region);
	dim_blocks_free(&fixture->retired);
	unlinkat(fixture->folder, "region", 0);
	close(fixture->folder);
	assert_int_equal(rmdir(fixture->folder_path), 0);
}

/* The current root as a reader sees it. Ends the view before. */
static inline struct rgm_layers fixture_view(struct fixture *fixture)
{
	struct pool_region_info info;
	struct rgm_layers layers;

	fixture_unmap(fixture);
	pool_region_info(fixture->region, &info);
	fixture->base_bytes = (size_t)info.bytes;
	fixture->base = mmap(NULL, fixture->base_bytes, PROT_READ, MAP_SHARED,
		pool_region_file(fixture->region), 0);
	assert_ptr_not_equal(fixture->base, MAP_FAILED);
	layers_view_init(&layers, fixture->base, fixture->base_bytes, fixture->root.offset,
		fixture->version);
	return layers;
}

static inline int fixture_compare_blocks(const void *a, const void *b)
{
	const struct dim_block *x = a;
	const struct dim_block *y = b;

	return (x->page > y->page) - (x->page < y->page);
}

/* What the old root reached is what the new one reaches of it, and what was retired, with the same
 * bounds and births; everything else that the new one reaches was born now. */
static inline void fixture_verify_retired(struct fixture *fixture, const struct pool_root *root,
	const struct dim_block *retired, size_t count)
{
	struct dim_blocks old = {0};
	struct dim_blocks new = {0};
	struct rgm_error error;
	size_t born = 0;

	must(dim_layers.reach(fixture->region, &fixture->root, &old, NULL, &error), &error);
	must(dim_layers.reach(fixture->region, root, &new, NULL, &error), &error);
	assert_int_equal(dim_blocks_reserve(&new, count), 0);
	for (size_t i = 0; i < count; i++)
		new.items[new.count++] = retired[i];
	if (old.count > 0)
		qsort(old.items, old.count, sizeof(*old.items), fixture_compare_blocks);
	qsort(new.items, new.count, sizeof(*new.items), fixture_compare_blocks);
	for (size_t i = 0; i < new.count; i++) {
		if (new.items[i].born == root->version)
			born++;
		else
			assert_true(
				i - born < old.count && memcmp(&new.items[i], &old.items[i - born],
								sizeof(*new.items)) == 0);
	}
	assert_int_equal(new.count, old.count + born);
	dim_blocks_free(&old);
	dim_blocks_free(&new);
}

/* Build and publish a change as the manager does. On failure the change is still the caller's. */
static inline int fixture_commit(struct fixture *fixture, struct layers_change *change,
	struct rgm_load_report *ret_report, struct rgm_error *error)
{
	size_t retired = fixture->retired.count;
	struct pool_root root;
	struct dim_summary summary;
	int rc = layers_change_flush(change, error);

	if (rc == 0)
		rc = layers_change_build(change, &fixture->root, fixture->version + 1, &root,
			&summary, &fixture->retired, ret_report, error);
	if (rc < 0)
		return rc;
	layers_change_published(change);
	assert_int_equal(root.version, fixture->version + 1);
	assert_int_equal(root.generation, fixture->root.generation + 1);
	fixture_verify_retired(
		fixture, &root, fixture->retired.items + retired, fixture->retired.count - retired);
	fixture->root = root;
	fixture->summary = summary;
	fixture->version++;
	return 0;
}

/* Free the retired blocks from `keep` on. */
static inline void fixture_reclaim(struct fixture *fixture, size_t keep)
{
	while (fixture->retired.count > keep) {
		const struct dim_block *block = &fixture->retired.items[--fixture->retired.count];

		assert_true(block->born < fixture->version);
		pool_region_free(fixture->region, block->page, block->count);
	}
}

/* Put one layer from memory and commit. */
static inline void fixture_put(
	struct fixture *fixture, const char *name, const void *data, size_t bytes)
{
	struct layers_change *change;
	struct rgm_error error;

	must(layers_change_begin(fixture->region, bytes, false, &change, &error), &error);
	must(layers_change_put(change, name, data, bytes, 1, NULL, &error), &error);
	must(fixture_commit(fixture, change, NULL, &error), &error);
}

/*
 * What holds between changes: the directory is sound; the used pages are those that the root reaches
 * and those retired, each once; the summary of the build is that of an open.
 */
static inline void fixture_verify(struct fixture *fixture)
{
	struct rgm_check_report report;
	struct dim_summary summary;
	struct rgm_error error;

	must(dim_layers.open(fixture->region, &fixture->root, &summary, &error), &error);
	assert_memory_equal(&summary, &fixture->summary, sizeof(summary));
	must(dim_check(fixture->region, &fixture->root, &fixture->retired, NULL, NULL, &report,
		     &error),
		&error);
	if (report.problems != 0)
		fail_msg("%llu problems, first: %s", (unsigned long long)report.problems,
			report.first_problem);
	assert_int_equal(report.layers, summary.layers);
	assert_int_equal(report.bytes, summary.bytes);
	assert_int_equal(report.pages_used, summary.pages);
}

static inline uint64_t fixture_used(struct fixture *fixture)
{
	struct pool_region_info info;

	pool_region_info(fixture->region, &info);
	return info.used_pages;
}

/* Bytes that depend on `seed`, whole pages differing from each other. */
static inline void fixture_fill(void *data, size_t bytes, uint64_t seed)
{
	unsigned char *to = data;

	seed = seed * 2 + 1;
	while (bytes >= sizeof(seed)) {
		uint64_t word = seed_next(&seed);

		memcpy(to, &word, sizeof(word));
		to += sizeof(word);
		bytes -= sizeof(word);
	}
	while (bytes-- > 0)
		*to++ = (unsigned char)seed_next(&seed);
}

/* A file without a name, with these bytes, to be read as a layer. */
static inline int fixture_source(struct fixture *fixture, const void *data, size_t bytes)
{
	int file = openat(fixture->folder, "source", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(file >= 0);
	assert_int_equal(unlinkat(fixture->folder, "source", 0), 0);
	assert_int_equal(pwrite(file, data, bytes, 0), (ssize_t)bytes);
	return file;
}

#endif
