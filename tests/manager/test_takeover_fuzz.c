/* SPDX-License-Identifier: Apache-2.0 */
/* label: fuzz */
/*
 * Damage of what a dead manager left, by somebody of the same user: words of the table, of the book, sizes
 * of all objects; words and sizes of segments, which each reader may write. Whatever stands there, adopting
 * it ends: refused with a sentence, or good for further versions, scans and frees. Nothing crashes or hangs,
 * and what a version reaches is found within bounds. RGM_TEST_ROUNDS (1000).
 */
#define _GNU_SOURCE 1

#include "tests/manager/bare.h"
#include "tests/support/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "ipc/guard.h"
#include "pool/live.h"
#include "regionmgr/manager/book.h"
#include "regionmgr/manager/table_internal.h"

#define ENTRIES 70u
#define READERS 3u
#define OBJECTS (2 + READERS)

/* An object in shared memory as it was left, and where it is likely to matter. */
struct object {
	char path[128];
	char *copy;
	size_t bytes;    /* of the copy */
	uint64_t length; /* of the object; behind the copy it is a hole */
};

struct left {
	uint8_t instance_id[16], incarnation[16];
	struct object objects[OBJECTS]; /* table, book, segments */
	struct bare_reader readers[READERS];
	uint64_t random;
	unsigned adopted, refused;
};

static struct table_change entry_of(uint32_t index, uint64_t id, uint64_t version)
{
	struct table_change change = {.index = index, .entry = {.id = id, .changed = version}};
	change.entry.name_length = (uint32_t)snprintf(change.entry.name, 16, "d%u", index) & 0xffu;
	return change;
}

/* --- What is left ------------------------------------------------------------------------------ */

static void keep(struct object *object, const char *name)
{
	struct stat status;
	snprintf(object->path, sizeof object->path, "/dev/shm%s", name);
	int file = open(object->path, O_RDONLY | O_CLOEXEC);
	REQUIRE(file >= 0 && fstat(file, &status) == 0);
	object->length = (uint64_t)status.st_size;
	/* All that is allocated of the table is at its start. */
	uint64_t used = (uint64_t)status.st_blocks * 512;
	object->bytes = used < object->length ? used : object->length;
	object->copy = malloc(object->bytes);
	REQUIRE(object->copy);
	REQUIRE_EQUAL(pread(file, object->copy, object->bytes, 0), object->bytes);
	close(file);
}

static void restore(const struct object *object)
{
	/* A segment whose row was damaged is nobody's, and is removed. */
	int file = open(object->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	REQUIRE(file >= 0);
	REQUIRE_EQUAL(ftruncate(file, (off_t)object->bytes), 0);
	REQUIRE_EQUAL(ftruncate(file, (off_t)object->length), 0);
	REQUIRE_EQUAL(pwrite(file, object->copy, object->bytes, 0), object->bytes);
	close(file);
}

/* A manager with several versions, readers in sections and with holds, and blocks that these keep. */
static void leave(struct left *left)
{
	struct rgm_manager *manager = bare_open(4096, 1000);
	struct rgm_error error;
	char name[IPC_SHM_NAME_BYTES];
	memcpy(left->instance_id, manager->instance_id, 16);
	memcpy(left->incarnation, manager->incarnation, 16);
	for (uint32_t i = 0; i < ENTRIES; i++) {
		struct table_draft *draft;
		uint64_t version;
		must(table_next_version(manager->table, &version, &error), &error);
		struct table_change change = entry_of(i, i + 1, version);
		must(table_draft(manager->table, version, &change, 1, &draft, &error), &error);
		table_publish(manager->table, draft, false);
		if (i % 20 == 10) {
			struct bare_reader *reader = &left->readers[i / 20 % READERS];
			if (!reader->session)
				*reader = bare_attach(manager, 4, 4);
			bare_pin(manager, reader, 0);
			ipc_hold_store(&reader->holds[1], i, version);
		}
	}
	table_revoke(manager->table, session_place(left->readers[1].session), 1020);
	manager->leave_names = true;
	ipc_table_name(left->instance_id, name);
	keep(&left->objects[0], name);
	ipc_book_name(left->instance_id, name);
	keep(&left->objects[1], name);
	for (uint32_t i = 0; i < READERS; i++) {
		ipc_segment_name(left->instance_id, session_number(left->readers[i].session), name);
		keep(&left->objects[2 + i], name);
	}
	bare_close(manager);
}

/* --- Damage ------------------------------------------------------------------------------------- */

/* Numbers that are likely to be taken for something. */
static uint64_t some_word(struct left *left)
{
	switch (support_below(&left->random, 6)) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX >> support_below(&left->random, 64);
	case 2:
		return support_below(&left->random, 400) * 4096;
	case 3:
		return 1000 + support_below(&left->random, 100);
	case 4:
		return support_below(&left->random, 5000);
	default:
		return support_random(&left->random);
	}
}

/* Where: in the header, in what the current version reaches, in the bits, or anywhere. */
static uint64_t some_place(struct left *left, uint32_t which)
{
	const struct object *object = &left->objects[which];
	uint64_t heap = table_heap_page(4096) * PAGE;
	uint64_t most = object->bytes;
	uint64_t at = support_below(&left->random, most);
	switch (support_below(&left->random, which ? 2 : 6)) {
	case 0:
		at = support_below(&left->random, 256);
		break;
	case 1:
		at = which == 1 ? 4096 + support_below(&left->random, READERS * 128) : at;
		break;
	case 2:
		at = BITMAP_PAGE * PAGE + support_below(&left->random, 128);
		break;
	case 3:
	case 4:
		at = heap + support_below(&left->random, 40 * PAGE);
		/* Most of what is read of a page stands at its beginning. */
		if (support_below(&left->random, 2))
			at = at / PAGE * PAGE + support_below(&left->random, 160);
		break;
	default:
		break;
	}
	return at < most ? at / 8 * 8 : 0;
}

static void damage(struct left *left)
{
	uint32_t which = (uint32_t)support_below(&left->random, OBJECTS + 3);
	which = which < OBJECTS ? which : 0; /* the table most of all */
	const struct object *object = &left->objects[which];
	int file = open(object->path, O_RDWR | O_CLOEXEC);
	REQUIRE(file >= 0);
	if (support_below(&left->random, 8) == 0) {
		/* Cut off, or longer than it was. */
		uint64_t length = support_below(&left->random, 2)
		                          ? support_below(&left->random, object->length)
		                          : object->length + support_below(&left->random, 1 << 20);
		REQUIRE_EQUAL(ftruncate(file, (off_t)length), 0);
	} else {
		uint64_t words = 1 + support_below(&left->random, 4);
		for (uint64_t i = 0; i < words; i++) {
			uint64_t word = some_word(left);
			REQUIRE_EQUAL(
				pwrite(file, &word, sizeof word, (off_t)some_place(left, which)),
				sizeof word);
		}
	}
	close(file);
}

/* --- Adopting it ---------------------------------------------------------------------------------- */

/* What readers do with any version: within bounds, or nothing. */
static void look_through(const struct rgm_manager *manager)
{
	const struct ipc_table *header = table_header(manager->table);
	struct ipc_index index = ipc_index_open(header, table_current(manager->table));
	uint32_t at;
	for (uint32_t i = 0; i < ENTRIES; i++) {
		char name[16];
		int length = snprintf(name, sizeof name, "d%u", i);
		const struct ipc_dimension *entry =
			ipc_index_find(&index, name, (size_t)length, &at);
		REQUIRE(!entry ||
			(const char *)(entry + 1) <= (const char *)header + header->table_bytes);
	}
}

static void go_on(struct left *left, struct rgm_manager *manager)
{
	struct rgm_error error;
	struct retired *unknown = NULL;
	struct table_draft *draft;
	uint64_t version;
	must(table_retire_ring(manager->table), NULL);
	must(table_find_unknown(manager->table, &unknown), NULL);
	for (int i = 0; i < 6; i++) {
		int rc = table_next_version(manager->table, &version, &error);
		REQUIRE(rc == 0 || rc == RGM_EBUSY);
		if (rc)
			break;
		uint32_t at = (uint32_t)support_below(&left->random, ENTRIES + 40);
		struct table_change change = entry_of(at, i % 3 ? 10000 + at : 0, version);
		rc = table_draft(manager->table, version, &change, i > 0, &draft, &error);
		REQUIRE(rc == 0 || rc == -ENOSPC);
		if (rc)
			break;
		table_publish(manager->table, draft, i % 2);
		if (unknown)
			reclaim_push(manager->reclaim, unknown, version);
		unknown = NULL;
		reclaim_run(manager->reclaim);
		look_through(manager);
	}
	retired_free(unknown);
	sessions_sweep(manager);
}

static void adopt(struct left *left)
{
	struct rgm_error error = {0};
	struct rgm_manager *manager = calloc(1, sizeof *manager);
	REQUIRE(manager);
	manager->pid = getpid();
	manager->max_dimensions = 4096;
	manager->max_readers = 4096;
	manager->leave_names = true;
	pthread_mutex_init(&manager->commit, NULL);
	pthread_mutex_init(&manager->log_lock, NULL);
	memcpy(manager->instance_id, left->instance_id, 16);
	REQUIRE_EQUAL(registry_create(manager, &manager->registry), 0);
	int rc = table_adopt(manager, &manager->table, &error);
	if (rc == 0) {
		const struct ipc_table *header = table_header(manager->table);
		manager->max_dimensions = header->max_dimensions;
		manager->max_readers = header->places;
		memcpy(manager->incarnation, header->incarnation, 16);
		rc = sessions_adopt(manager, &manager->sessions, &error);
	}
	if (rc == 0)
		REQUIRE_EQUAL(reclaim_create(manager, &manager->reclaim), 0);
	if (rc == 0) {
		go_on(left, manager);
		left->adopted++;
	} else {
		REQUIRE(rc == -ENOENT || strlen(error.message) > 10);
		left->refused++;
	}
	reclaim_destroy(manager->reclaim);
	sessions_destroy(manager->sessions);
	registry_destroy(manager);
	table_destroy(manager->table);
	pthread_mutex_destroy(&manager->commit);
	pthread_mutex_destroy(&manager->log_lock);
	free(manager);
}

static void test_damage(void **state)
{
	static struct left left;
	const char *wanted = getenv("RGM_TEST_ROUNDS");
	unsigned rounds = wanted ? (unsigned)strtoul(wanted, NULL, 0) : 1000;
	(void)state;
	instance_guard();
	REQUIRE_EQUAL(guard_install(), 0);
	leave(&left);
	/* As it was left it is good. */
	adopt(&left);
	REQUIRE_EQUAL(left.adopted, 1);
	uint64_t seed = support_seed();
	for (unsigned round = 0; round < rounds; round++) {
		left.random = seed + round;
		for (uint32_t i = 0; i < OBJECTS; i++)
			restore(&left.objects[i]);
		damage(&left);
		adopt(&left);
	}
	print_message("%u rounds: %u adopted, %u refused\n", rounds, left.adopted, left.refused);
	REQUIRE(left.refused > rounds / 10 && left.adopted > rounds / 10);
	for (uint32_t i = 0; i < OBJECTS; i++) {
		unlink(left.objects[i].path);
		free(left.objects[i].copy);
	}
}

int main(void)
{
	if (SUPPORT_RACE_BUILD)
		support_skip_all("the race build has one mapping of each object");
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_damage)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
