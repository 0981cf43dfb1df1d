/* SPDX-License-Identifier: Apache-2.0 */
/* The torture of torture.h for some seconds, and hostile segments beside it. label: crash */
#define _GNU_SOURCE 1

#include "tests/reader/torture.h"

#include "ipc/format.h"
#include "ipc/socket.h"

static void test_threads(void **state)
{
	struct torture torture = {*state, 0, 6, 2000, support_seed(), false, false};
	torture_threads(&torture);
}

#if !SUPPORT_RACE_BUILD
static void test_processes(void **state)
{
	struct torture torture = {*state, 3, 3, 2500, support_seed(), true, false};
	torture_processes(&torture);
}

/* --- Hostile segments ------------------------------------------------------------------------------- */

/* Attach by hand, keeping the descriptor of the segment. */
static void *attach_by_hand(const struct instance *instance, int *ret_file, size_t *ret_bytes)
{
	struct ipc_connection connection;
	struct rgm_error error;
	struct ipc_attach attach = {.slots = 600, .holds = 3000, .label = "hostile"};
	struct ipc_attach_reply reply;
	int files[IPC_MESSAGE_MAX_FILES];
	size_t count = 2;
	must(ipc_connection_open(instance->name, instance->socket, 60000, &connection, &error),
		&error);
	struct ipc_call call = {.socket = connection.socket,
		.sequence = &connection.sequence,
		.timeout_ms = 60000,
		.socket_name = instance->socket};
	ipc_header_init(&attach.header, IPC_ATTACH, 0, sizeof attach);
	must(ipc_call(&call, &attach.header, NULL, 0, &reply, sizeof reply, sizeof reply, files,
		     &count, &error),
		&error);
	REQUIRE_EQUAL(count, 2);
	void *base =
		mmap(NULL, reply.segment_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, files[1], 0);
	REQUIRE(base != MAP_FAILED);
	*ret_file = files[1];
	*ret_bytes = reply.segment_bytes;
	return base;
}

static void scribble(struct child *parent, void *context)
{
	const struct torture *torture = context;
	uint64_t random = torture->seed;
	size_t bytes;
	int file;
	uint64_t *words = attach_by_hand(torture->instance, &file, &bytes);
	child_say(parent, 's');
	uint64_t until = support_now_ms() + torture->ms;
	while (support_now_ms() < until)
		for (size_t i = 0; i < 10000; i++)
			words[support_below(&random, bytes / 8)] =
				support_below(&random, 2) ? support_below(&random, 3000)
							  : support_random(&random);
	/* Longer, shorter, nothing, and longer again: the manager reads meanwhile. */
	for (int i = 0; i < 40; i++) {
		static const off_t sizes[] = {1 << 24, 4096, 100, 0, 1 << 20};
		REQUIRE_EQUAL(ftruncate(file, sizes[i % 5]), 0);
		support_sleep_ms(5);
	}
	child_say(parent, 't');
	child_hear(parent);
}

static void test_hostile_segment(void **state)
{
	struct instance *instance = *state;
	struct torture torture = {instance, 0, 4, 2000, support_seed(), false, false};
	struct rgm_reader_row row;
	instance_guard();
	struct child hostile = child_start(scribble, &torture);
	child_expect(&hostile, 's');
	/* The others are right, and writers go on. */
	struct torture_thread threads[4];
	pthread_t ids[4];
	struct reader reader;
	bool stop = false;
	uint64_t looks[2] = {0}, generation = 0;
	torture_write(instance, &generation);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "alpha");
	reader_map(&reader, "beta");
	for (unsigned i = 0; i < 4; i++) {
		threads[i] = (struct torture_thread){
			reader.session, torture.seed + i, true, &stop, looks, false};
		REQUIRE_EQUAL(pthread_create(&ids[i], NULL, torture_thread, &threads[i]), 0);
	}
	uint64_t until = support_now_ms() + torture.ms + 500;
	while (support_now_ms() < until || __atomic_load_n(looks, __ATOMIC_RELAXED) < 100) {
		torture_write(instance, &generation);
		REQUIRE(instance_reader(instance, 1, &row));
		REQUIRE(row.sections <= 601 && row.holds <= 3000);
	}
	child_expect(&hostile, 't');
	for (int i = 0; i < 50; i++)
		torture_write(instance, &generation);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(ids[i], NULL);
	/* Cut off, it keeps nothing any more; it is still a session. */
	struct rgm_status status;
	WAIT_UNTIL((instance_status(instance, &status), status.retired_bytes == 0));
	REQUIRE(instance_counter(instance, "segment_faults") >= 1);
	REQUIRE(instance_reader(instance, 1, &row));
	child_say(&hostile, 'e');
	child_join(&hostile);
	reader_close(&reader);
	torture_settle(instance);
}

/* There every look is one of the manager's own threads. */
static void test_hostile_segment_of_regionmgrd(void **state)
{
	test_hostile_segment(state);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_threads),
#if !SUPPORT_RACE_BUILD
		INSTANCE_TEST(test_processes),
		INSTANCE_TEST(test_hostile_segment),
		cmocka_unit_test_setup_teardown(test_hostile_segment_of_regionmgrd,
			instance_setup_daemon, instance_teardown),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
