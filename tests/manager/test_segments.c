/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regionmgr/manager/segments.c: segments made ahead are like those made at once, no two alike, without a
 * name, and gone with the manager; and a session's name that is taken already fails its attach alone.
 */
#define _GNU_SOURCE 1

#include "tests/manager/bare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "regionmgr/manager/segments.h"

#define MANY 40u /* more than are made ahead */

static size_t open_files(void)
{
	size_t count = 0;
	DIR *folder = opendir("/proc/self/fd");
	REQUIRE(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void expect_fresh(const struct segment *segment, uint32_t slots, uint32_t holds)
{
	struct stat status;
	uint64_t bytes = ipc_segment_bytes(slots, holds), rest = 0;
	REQUIRE_EQUAL(segment->bytes, bytes);
	REQUIRE_EQUAL(segment->base->magic, IPC_SEGMENT_MAGIC);
	REQUIRE_EQUAL(segment->base->layout_version, IPC_LAYOUT_VERSION);
	REQUIRE_EQUAL(segment->base->slots, slots);
	REQUIRE_EQUAL(segment->base->holds, holds);
	REQUIRE_EQUAL(
		segment->base->membarrier + segment->base->slots_used + segment->base->holds_used,
		0);
	REQUIRE(memcmp(segment->base->token, segment->token, sizeof segment->token) == 0);
	const unsigned char *at = (const void *)(segment->base + 1);
	for (uint64_t i = 0; i < bytes - sizeof *segment->base; i++)
		rest |= at[i];
	REQUIRE_EQUAL(rest, 0);
	REQUIRE_EQUAL(fstat(segment->file, &status), 0);
	REQUIRE_EQUAL(status.st_nlink, 0);
	REQUIRE_EQUAL(status.st_mode & ALLPERMS, 0600);
	REQUIRE_EQUAL(status.st_size, bytes);
	/* Allocated: a full /dev/shm is an error of the attach, not a signal later. */
	REQUIRE((uint64_t)status.st_blocks * 512 >= bytes);
}

static void test_taken_from_stock_and_beyond(void **state)
{
	struct segments *segments;
	static struct segment all[2 * MANY];
	size_t before = open_files();
	(void)state;
	REQUIRE_EQUAL(segments_create(9, 5, &segments), 0);
	for (uint32_t i = 0; i < MANY; i++) {
		REQUIRE_EQUAL(segments_take(segments, 9, 5, &all[2 * i]), 0);
		expect_fresh(&all[2 * i], 9, 5);
		REQUIRE_EQUAL(segments_take(segments, 129, 3, &all[2 * i + 1]), 0);
		expect_fresh(&all[2 * i + 1], 129, 3);
		if (i % 10 == 9) {
			segments_refill(segments);
			support_sleep_ms(5);
		}
	}
	for (uint32_t i = 0; i < 2 * MANY; i++)
		for (uint32_t j = 0; j < i; j++)
			REQUIRE(memcmp(all[i].token, all[j].token, sizeof all[i].token) != 0);
	for (uint32_t i = 0; i < 2 * MANY; i++) {
		os_unmap(all[i].base, all[i].bytes);
		close(all[i].file);
	}
	segments_destroy(segments);
	segments_destroy(NULL);
	REQUIRE_EQUAL(open_files(), before);
}

/* Without descriptors nothing can be made: the stock serves while it lasts, then the take fails; and all
 * is well again when there are some. */
static void test_no_descriptors(void **state)
{
	struct segments *segments;
	struct segment segment;
	struct rlimit limit, few;
	uint32_t taken = 0;
	int rc;
	(void)state;
	REQUIRE_EQUAL(segments_create(9, 5, &segments), 0);
	REQUIRE_EQUAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
	few = limit;
	few.rlim_cur = 3;
	REQUIRE_EQUAL(setrlimit(RLIMIT_NOFILE, &few), 0);
	while ((rc = segments_take(segments, 9, 5, &segment)) == 0 && taken++ < 100) {
		os_unmap(segment.base, segment.bytes);
		close(segment.file);
	}
	REQUIRE_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
	REQUIRE_EQUAL(rc, -EMFILE);
	for (uint32_t i = 0; i < MANY; i++) {
		segments_refill(segments);
		REQUIRE_EQUAL(segments_take(segments, 9, 5, &segment), 0);
		os_unmap(segment.base, segment.bytes);
		close(segment.file);
	}
	segments_destroy(segments);
}

/* Somebody has put a file where the next session's name belongs. */
static void test_name_in_the_way(void **state)
{
	struct rgm_manager *manager = bare_open(64, 1000);
	struct peer peer = {.pid = getpid(), .uid = geteuid(), .pidfd = -1};
	struct rgm_error error;
	struct session *session;
	char name[IPC_SHM_NAME_BYTES];
	int other, table, segment;
	(void)state;
	ipc_segment_name(manager->instance_id, 1, name);
	REQUIRE_EQUAL(os_shm_create(name, 4096, 0, &other), 0);
	REQUIRE_ERROR(
		sessions_attach(manager, &peer, "one", 0, 0, &session, &table, &segment, &error),
		-EEXIST, &error);
	REQUIRE(strstr(error.message, name));
	REQUIRE_EQUAL(sessions_count(manager->sessions), 0);
	close(other);
	/* It was not taken for the session's, and stays. */
	REQUIRE_EQUAL(os_shm_open(name, false, &other), 0);
	close(other);
	struct bare_reader reader = bare_attach(manager, 4, 4);
	REQUIRE_EQUAL(session_number(reader.session), 2);
	bare_detach(manager, &reader);
	REQUIRE_EQUAL(os_shm_unlink(name), 0);
	bare_close(manager);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken_from_stock_and_beyond),
		cmocka_unit_test(test_no_descriptors),
		cmocka_unit_test(test_name_in_the_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
