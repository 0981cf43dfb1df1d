/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that stores whatever it likes in its session's segment, through its own mapping: full of
 * claims, of numbers that cannot be, of counts beyond every capacity, changing all the time, cut off, grown.
 * The manager lives, other readers see what they should, every commit of the writer succeeds; what is kept
 * is what the words claim, of that session alone, and it is free again when they are gone.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/slot.h"
#include "ipc/socket.h"

#define SLOTS 200u
#define HOLDS 1000u
#define PUTS  60u

static const struct content data = {"data", 4, 8192, 21};

/* --- The hostile process ------------------------------------------------------------------------------ */

struct hostile {
	struct instance *instance;
	uint32_t slots, holds;
	/* in the process */
	struct ipc_segment *segment;
	const struct ipc_table *table;
	size_t bytes;
	int file;
};

static struct ipc_slot *slot_at(const struct hostile *hostile, uint32_t index)
{
	return (struct ipc_slot *)((char *)hostile->segment + ipc_slots_offset()) + index;
}

static struct ipc_hold *hold_at(const struct hostile *hostile, uint32_t index)
{
	return (struct ipc_hold *)((char *)hostile->segment + ipc_holds_offset(hostile->slots)) +
	       index;
}

/* By hand, since the library keeps neither descriptor. */
static void attach_by_hand(struct hostile *hostile)
{
	struct ipc_connection connection;
	struct rgm_error error;
	struct ipc_attach attach = {
		.slots = hostile->slots - 1, .holds = hostile->holds, .label = "hostile"};
	struct ipc_attach_reply reply;
	int files[IPC_MESSAGE_MAX_FILES];
	size_t count = 2;
	must(ipc_connection_open(
		     NULL, hostile->instance->socket, SUPPORT_LIMIT_MS, &connection, &error),
		&error);
	struct ipc_call call = {.socket = connection.socket,
		.sequence = &connection.sequence,
		.timeout_ms = SUPPORT_LIMIT_MS,
		.socket_name = hostile->instance->socket};
	ipc_header_init(&attach.header, IPC_ATTACH, 0, sizeof attach);
	must(ipc_call(&call, &attach.header, NULL, 0, &reply, sizeof reply, sizeof reply, files,
		     &count, &error),
		&error);
	REQUIRE(count == 2 && reply.slots == hostile->slots && reply.holds == hostile->holds);
	hostile->bytes = reply.segment_bytes;
	hostile->file = files[1];
	hostile->segment =
		mmap(NULL, hostile->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, hostile->file, 0);
	hostile->table = mmap(NULL, reply.table_bytes, PROT_READ, MAP_SHARED, files[0], 0);
	REQUIRE(hostile->segment != MAP_FAILED && hostile->table != MAP_FAILED);
}

/* Everything behind the header's identity, the counts as told. */
static void fill(const struct hostile *hostile, uint64_t version, uint64_t step, uint64_t dimension,
	uint32_t used)
{
	for (uint32_t i = 0; i < hostile->slots; i++, version += step)
		store64_relaxed(&slot_at(hostile, i)->word, version);
	for (uint32_t i = 0; i < hostile->holds; i++) {
		store64_relaxed(&hold_at(hostile, i)->version, version);
		store64_relaxed(&hold_at(hostile, i)->dimension, dimension);
	}
	store32_release(&hostile->segment->slots_used, used);
	store32_release(&hostile->segment->holds_used, used);
}

static void fill_bytes(const struct hostile *hostile, int byte)
{
	for (size_t i = 0; i < hostile->bytes / 8; i++)
		store64_relaxed((uint64_t *)(void *)hostile->segment + i,
			byte ? UINT64_MAX : 0); /* atomically: the manager reads meanwhile */
}

/* Until the next word comes. */
static void keep_changing(const struct hostile *hostile, const struct child *parent)
{
	struct pollfd look = {.fd = parent->talk, .events = POLLIN};
	uint64_t random = 4711;
	while (poll(&look, 1, 0) == 0) {
		uint64_t current = load64_acquire(&hostile->table->current);
		for (int i = 0; i < 2000; i++) {
			uint64_t word = support_below(&random, 2)
			                        ? current - support_below(&random, 40) + 20
			                        : support_random(&random);
			store64_relaxed((uint64_t *)(void *)hostile->segment +
						support_below(&random, hostile->bytes / 8),
				word);
		}
	}
}

static void set_size(const struct hostile *hostile, off_t bytes)
{
	REQUIRE_EQUAL(ftruncate(hostile->file, bytes), 0);
}

static void do_harm(struct child *parent, void *context)
{
	struct hostile *hostile = context;
	attach_by_hand(hostile);
	child_say(parent, 'a');
	for (;;) {
		uint64_t current = load64_acquire(&hostile->table->current);
		char word = child_hear(parent);
		child_say(parent, word); /* done, or about to begin */
		switch (word) {
		case 'z':
			fill_bytes(hostile, 0);
			break;
		case 'x':
			fill_bytes(hostile, 0xff);
			break;
		case 'c': /* all at the current version */
			fill(hostile, current, 0, 1, HOLDS);
			break;
		case 'f': /* each at one that will come */
			fill(hostile, current + 1, 1, 1, UINT32_MAX);
			break;
		case 'F': /* at none that will ever come */
			fill(hostile, UINT64_MAX, 0, 1, UINT32_MAX);
			break;
		case 'o': /* counts beyond the capacity, numbers out of the past, no such dimension */
			fill(hostile, 1, 0, UINT64_MAX, UINT32_MAX);
			break;
		case 'r':
			keep_changing(hostile, parent);
			continue;
		case '0':
			set_size(hostile, 0);
			break;
		case '1':
			set_size(hostile, 4096 + 100);
			break;
		case 'g':
			set_size(hostile, 1 << 30);
			break;
		default:
			return;
		}
		child_expect(parent, '?'); /* by now it stands */
		child_say(parent, '!');
	}
}

static struct child start_harm(struct hostile *hostile, struct instance *instance, uint32_t slots)
{
	*hostile = (struct hostile){.instance = instance, .slots = slots, .holds = HOLDS};
	struct child child = child_start(do_harm, hostile);
	child_expect(&child, 'a');
	return child;
}

static void tell(struct child *child, char word)
{
	child_say(child, word);
	child_expect(child, word);
	if (word == 'r')
		return;
	child_say(child, '?');
	child_expect(child, '!');
}

/* --- What must go on ---------------------------------------------------------------------------------- */

/* The writer's and an honest reader's steps, counted: each commit is one version, each look is right, and
 * what the manager tells of the hostile one is bounded by the capacity that it gave. */
static void go_on(
	struct instance *instance, struct reader *honest, uint64_t *generation, uint64_t hostile)
{
	struct rgm_reader_row row;
	uint64_t version = 0;
	for (unsigned i = 0; i < PUTS; i++) {
		must(rgm_pin(honest->slot), NULL);
		uint64_t seen = slot_generation(honest->slot, &data);
		REQUIRE_EQUAL(seen, *generation);
		uint64_t put = instance_put(instance, &data, ++*generation);
		REQUIRE(put > version);
		version = put;
		REQUIRE_EQUAL(slot_generation(honest->slot, &data), seen);
		must(rgm_unpin(honest->slot), NULL);
		REQUIRE(instance_reader(instance, hostile, &row));
		REQUIRE(row.sections <= SLOTS && row.holds <= HOLDS);
	}
	/* And who comes is served. */
	struct reader late;
	reader_open(&late, instance, NULL);
	reader_map(&late, "data");
	REQUIRE_EQUAL(reader_generation(&late, &data), *generation);
	reader_close(&late);
}

static void test_any_words(void **state)
{
	struct instance *instance = *state;
	struct hostile hostile;
	struct reader honest;
	struct rgm_dimension_row row;
	uint64_t generation = 1;
	instance_put(instance, &data, 1);
	reader_open(&honest, instance, NULL);
	reader_map(&honest, "data");
	struct child child = start_harm(&hostile, instance, SLOTS);
	uint64_t number = honest.number + 1;
	for (const char *word = "xFoczrfrzc"; *word; word++) {
		tell(&child, *word);
		go_on(instance, &honest, &generation, number);
		if (strchr("xFo", *word)) {
			/* Such words see no version that there ever was or will be. */
			instance_wait_reclaimed(instance, "data");
		} else if (*word == 'c') {
			/* One version is seen: what it has is kept, and nothing else. */
			instance_show(instance, "data", &row);
			WAIT_UNTIL((instance_show(instance, "data", &row), row.retired_pages) <=
				   row.live_pages);
			REQUIRE(row.retired_pages > 0);
		}
		if (*word != 'r')
			tell(&child, 'z');
	}
	tell(&child, 'z');
	instance_wait_reclaimed(instance, "data");
	child_kill(&child);
	instance_wait_readers(instance, 1);
	REQUIRE_EQUAL(instance_counter(instance, "segment_faults"), 0);
	reader_close(&honest);
}

/* Cut off and grown, at rest and while it changes: told once, and from then on it keeps nothing. */
static void test_any_size(void **state)
{
	struct instance *instance = *state;
	struct reader honest;
	uint64_t generation = 1, number = 0;
	instance_guard();
	instance_put(instance, &data, 1);
	reader_open(&honest, instance, NULL);
	reader_map(&honest, "data");
	number = honest.number;
	static const char *const plays[] = {"c0", "c1", "cg", "cg0", "c0g", "c1g0", "cg1g"};
	uint64_t faults = 0;
	for (size_t i = 0; i < sizeof plays / sizeof *plays; i++) {
		struct hostile hostile;
		struct child child = start_harm(&hostile, instance, SLOTS);
		number++;
		bool cut = strpbrk(plays[i], "01") != NULL;
		for (const char *word = plays[i]; *word; word++) {
			tell(&child, *word);
			go_on(instance, &honest, &generation, number);
			if (*word == '0' || *word == '1')
				WAIT_UNTIL(instance_counter(instance, "segment_faults") > faults);
		}
		faults += cut;
		if (cut)
			instance_wait_reclaimed(instance, "data");
		else
			REQUIRE(instance_retired(instance, "data") > 0);
		REQUIRE_EQUAL(instance_counter(instance, "segment_faults"), faults);
		child_kill(&child);
		instance_wait_readers(instance, 1);
		instance_wait_reclaimed(instance, "data");
		number++; /* go_on() attached, too */
		struct reader next;
		reader_open(&next, instance, NULL);
		number = next.number;
		reader_close(&next);
		instance_wait_readers(instance, 1);
	}
	REQUIRE_EQUAL(instance_segments(instance), 1);
	reader_close(&honest);
}

#if !SUPPORT_ASAN
/* As many words as the table has versions, each claiming one that will come: in the end every version is
 * claimed, and a commit says so. It is not waited for, nothing is changed by it, and with the process gone
 * the next one succeeds. */
static void test_every_version_claimed(void **state)
{
	struct instance *instance = *state;
	const struct content small = {"small", 1, 64, 5};
	struct hostile hostile;
	struct rgm_error error;
	uint64_t version = 0, puts = 0;
	instance_put(instance, &small, 1);
	struct child child = start_harm(&hostile, instance, IPC_MAX_SLOTS);
	tell(&child, 'f');
	int rc = 0;
	while (rc == 0 && puts < IPC_RING_ENTRIES + 100)
		rc = instance_try_put(instance, &small, 2 + puts++, &version, &error);
	print_message("%llu commits\n", (unsigned long long)puts);
	if (rc)
		REQUIRE_ERROR(rc, RGM_EBUSY, &error);
	REQUIRE(puts > IPC_MAX_SLOTS - IPC_LEAF_ENTRIES);
	child_kill(&child);
	instance_wait_readers(instance, 0);
	WAIT_UNTIL(instance_try_put(instance, &small, 1, &version, &error) == 0);
	instance_wait_reclaimed(instance, "small");
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_any_words),
		INSTANCE_TEST(test_any_size),
#if !SUPPORT_ASAN
		/* 4,096 commits take half a minute there. */
		INSTANCE_TEST(test_every_version_claimed),
#endif
	};
	if (SUPPORT_RACE_BUILD)
		support_skip_all("a race build has manager and readers in one process");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
