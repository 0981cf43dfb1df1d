/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader and a manager of different versions: what both know works, anything else is one clear sentence,
 * and nothing is mapped, kept open or believed. A relay between the two changes what they tell each other;
 * the shared memory behind it is a real manager's.
 */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/format.h"
#include "ipc/socket.h"

static const struct content data = {"data", 3, 4096, 91};

/* --- The relay -------------------------------------------------------------------------------------- */

struct packet {
	union {
		struct ipc_header header;
		struct ipc_hello hello;
		struct ipc_hello_reply welcome;
		struct ipc_attach attach;
		struct ipc_attach_reply attached;
		struct ipc_map_reply mapped;
		struct ipc_error error;
		char bytes[IPC_MESSAGE_MAX_BYTES];
	};
	size_t size;
	int files[8];
	size_t file_count;
};

typedef void edit(struct packet *packet);

struct relay {
	char socket[96];
	const char *manager;
	edit *request; /* what the client says; NULL: as it is */
	edit *answer;  /* what the manager answers; told apart by the request before */
};

static uint16_t asked; /* in the relay: type of the newest request not yet answered */
static uint16_t queue[8];
static size_t queued;

static bool take(int from, struct packet *packet)
{
	char control[CMSG_SPACE(sizeof packet->files)];
	struct iovec part = {packet->bytes, sizeof packet->bytes};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control};
	ssize_t got;
	do /* an end with words unread on the other side is told before the last words from there */
		got = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && (errno == ECONNRESET || errno == EINTR));
	if (got <= 0)
		return false;
	packet->size = (size_t)got;
	packet->file_count = 0;
	struct cmsghdr *part_header = CMSG_FIRSTHDR(&message);
	if (part_header) {
		packet->file_count = (part_header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(packet->files, CMSG_DATA(part_header), packet->file_count * sizeof(int));
	}
	return true;
}

static void give(int to, struct packet *packet)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof packet->files)];
	} control = {0};
	struct iovec part = {packet->bytes, packet->size};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (packet->file_count) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(packet->file_count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(packet->file_count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), packet->files, packet->file_count * sizeof(int));
	}
	packet->header.bytes = (uint32_t)packet->size;
	sendmsg(to, &message, MSG_NOSIGNAL);
	while (packet->file_count)
		close(packet->files[--packet->file_count]);
}

/* One connection, until either side ends it. */
static void relay_one(const struct relay *relay, int client)
{
	static struct packet packet;
	struct rgm_error error;
	int manager;
	must(ipc_connect(relay->manager, &manager, &error), &error);
	struct pollfd look[2] = {{client, POLLIN, 0}, {manager, POLLIN, 0}};
	fcntl(client, F_SETFL, 0);
	fcntl(manager, F_SETFL, 0);
	queued = 0;
	while (poll(look, 2, -1) > 0) {
		if (look[0].revents) {
			if (!take(client, &packet))
				break;
			queue[queued++ % 8] = packet.header.type;
			if (relay->request)
				relay->request(&packet);
			give(manager, &packet);
		}
		if (look[1].revents) {
			if (!take(manager, &packet))
				break;
			asked = queue[0];
			memmove(queue, queue + 1, sizeof queue - sizeof *queue);
			queued -= queued > 0;
			if (relay->answer)
				relay->answer(&packet);
			give(client, &packet);
		}
	}
	close(client);
	close(manager);
}

static void run_relay(struct child *parent, void *context)
{
	const struct relay *relay = context;
	struct rgm_error error;
	int listener;
	must(ipc_listen(relay->socket, 0600, &listener, &error), &error);
	fcntl(listener, F_SETFL, 0);
	child_say(parent, 'l');
	for (;;) {
		int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		REQUIRE(client >= 0);
		relay_one(relay, client);
	}
}

static struct child start_relay(
	struct relay *relay, struct instance *instance, edit *request, edit *answer)
{
	*relay = (struct relay){.manager = instance->socket, .request = request, .answer = answer};
	snprintf(relay->socket, sizeof relay->socket, "%s/relay", instance->folder);
	struct child child = child_start(run_relay, relay);
	child_expect(&child, 'l');
	return child;
}

/* --- What is changed ---------------------------------------------------------------------------------- */

static void knows_older(struct packet *packet)
{
	if (packet->header.type == IPC_HELLO)
		packet->hello.protocol_min = 1;
}
static void knows_newer(struct packet *packet)
{
	if (packet->header.type == IPC_HELLO)
		packet->hello.protocol_max = IPC_PROTOCOL + 7;
}
static void only_newer(struct packet *packet)
{
	if (packet->header.type == IPC_HELLO)
		packet->hello.protocol_min = packet->hello.protocol_max = IPC_PROTOCOL + 1;
}
static void only_older(struct packet *packet)
{
	if (packet->header.type == IPC_HELLO)
		packet->hello.protocol_min = packet->hello.protocol_max = IPC_PROTOCOL - 1;
}
static void no_protocol_at_all(struct packet *packet)
{
	if (packet->header.type == IPC_HELLO) {
		packet->hello.protocol_min = UINT32_MAX;
		packet->hello.protocol_max = 0;
	}
}

static void longer(struct packet *packet, uint16_t type, size_t by)
{
	if (asked == type) {
		memset(packet->bytes + packet->size, 0, by);
		packet->size += by;
	}
}

static void other_program_version(struct packet *packet)
{
	if (asked == IPC_HELLO)
		memcpy(packet->welcome.version, "999.99.99-next.x", 16);
}
static void agrees_on_newer(struct packet *packet)
{
	if (asked == IPC_HELLO)
		packet->welcome.protocol = IPC_PROTOCOL + 1;
}
static void speaks_newer(struct packet *packet)
{
	packet->header.protocol = IPC_PROTOCOL + 1;
}
static void longer_welcome(struct packet *packet)
{
	longer(packet, IPC_HELLO, 8);
}
static void shorter_welcome(struct packet *packet)
{
	if (asked == IPC_HELLO)
		packet->size -= 8;
}
static void longer_attached(struct packet *packet)
{
	longer(packet, IPC_ATTACH, 64);
}
static void shorter_attached(struct packet *packet)
{
	if (asked == IPC_ATTACH)
		packet->size -= 8;
}
static void no_segment(struct packet *packet)
{
	if (asked == IPC_ATTACH)
		close(packet->files[--packet->file_count]);
}
static void three_handles(struct packet *packet)
{
	if (asked == IPC_ATTACH)
		packet->files[packet->file_count++] = open("/dev/null", O_RDONLY | O_CLOEXEC);
}
static void swapped_handles(struct packet *packet)
{
	if (asked == IPC_ATTACH) {
		int first = packet->files[0];
		packet->files[0] = packet->files[1];
		packet->files[1] = first;
	}
}
static void pipes(struct packet *packet)
{
	if (asked != IPC_ATTACH)
		return;
	while (packet->file_count)
		close(packet->files[--packet->file_count]);
	REQUIRE_EQUAL(pipe2(packet->files, O_CLOEXEC), 0);
	packet->file_count = 2;
}
static void huge_table(struct packet *packet)
{
	if (asked == IPC_ATTACH)
		packet->attached.table_bytes = 1ull << 46;
}
static void tiny_table(struct packet *packet)
{
	if (asked == IPC_ATTACH)
		packet->attached.table_bytes = 100;
}
static void endless_segment(struct packet *packet)
{
	if (asked == IPC_ATTACH)
		packet->attached.segment_bytes = UINT64_MAX;
}
static void short_segment(struct packet *packet)
{
	if (asked == IPC_ATTACH)
		packet->attached.segment_bytes = 4096;
}
static void many_slots(struct packet *packet)
{
	if (asked == IPC_ATTACH)
		packet->attached.slots = UINT32_MAX;
}
static void no_slots(struct packet *packet)
{
	if (asked == IPC_ATTACH)
		packet->attached.slots = packet->attached.holds = 0;
}
static void no_window(struct packet *packet)
{
	if (asked == IPC_MAP)
		packet->mapped.window_bytes = 0;
}
static void odd_window(struct packet *packet)
{
	if (asked == IPC_MAP)
		packet->mapped.window_bytes = (2u << 20) + 1;
}
static void endless_window(struct packet *packet)
{
	if (asked == IPC_MAP)
		packet->mapped.window_bytes = 1ull << 63;
}
static void no_region(struct packet *packet)
{
	while (asked == IPC_MAP && packet->file_count)
		close(packet->files[--packet->file_count]);
}

/* --- The tests ---------------------------------------------------------------------------------------- */

static int attach(const char *socket, struct rgm_session **ret_session, struct rgm_error *error)
{
	struct rgm_attach_options options = {
		.size = sizeof options, .socket = socket, .timeout_ms = SUPPORT_LIMIT_MS};
	return rgm_session_attach(NULL, &options, ret_session, error);
}

/* Both sides get along, all the way to the bytes. */
static void works(struct instance *instance, edit *request, edit *answer)
{
	struct relay relay;
	struct reader reader = {0};
	struct rgm_error error;
	struct child child = start_relay(&relay, instance, request, answer);
	must(attach(relay.socket, &reader.session, &error), &error);
	must(rgm_slot_open(reader.session, &reader.slot, &error), &error);
	reader_map(&reader, "data");
	REQUIRE_EQUAL(reader_generation(&reader, &data), 1);
	reader_close(&reader);
	child_kill(&child);
	unlink(relay.socket);
}

/* Attaching is refused with RGM_EPROTOCOL and a sentence; nothing stays open or mapped. */
static void refused(struct instance *instance, edit *request, edit *answer)
{
	struct relay relay;
	struct rgm_session *session = NULL;
	struct rgm_error error;
	struct child child = start_relay(&relay, instance, request, answer);
	unsigned mappings = support_mappings(instance->id);
	REQUIRE_ERROR(attach(relay.socket, &session, &error), RGM_EPROTOCOL, &error);
	print_message("%s\n", error.message);
	REQUIRE(session == NULL);
	instance_wait_readers(instance, 0);
	WAIT_UNTIL(support_mappings(instance->id) <= mappings);
	child_kill(&child);
	unlink(relay.socket);
}

static void test_what_both_know(void **state)
{
	struct instance *instance = *state;
	instance_put(instance, &data, 1);
	works(instance, NULL, NULL);
	works(instance, knows_older, NULL);
	works(instance, knows_newer, NULL);
	works(instance, NULL, other_program_version);
}

static void test_no_common_protocol(void **state)
{
	struct instance *instance = *state;
	edit *const requests[] = {only_newer, only_older, no_protocol_at_all};
	edit *const answers[] = {agrees_on_newer, speaks_newer, longer_welcome, shorter_welcome};
	unsigned files = support_open_files();
	for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
		refused(instance, requests[i], NULL);
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
		refused(instance, NULL, answers[i]);
	WAIT_UNTIL(support_open_files() <= files);
}

static void test_handles_of_another_make(void **state)
{
	struct instance *instance = *state;
	edit *const answers[] = {longer_attached, shorter_attached, no_segment, three_handles,
		swapped_handles, pipes, huge_table, tiny_table, endless_segment, short_segment,
		many_slots, no_slots};
	unsigned files = support_open_files();
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
		refused(instance, NULL, answers[i]);
	WAIT_UNTIL(support_open_files() <= files);
}

/* The attach is good, the region that comes is not. */
static void test_regions_of_another_make(void **state)
{
	struct instance *instance = *state;
	edit *const answers[] = {no_window, odd_window, endless_window, no_region};
	instance_put(instance, &data, 1);
	unsigned files = support_open_files();
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
		struct relay relay;
		struct rgm_session *session;
		struct rgm_error error;
		struct child child = start_relay(&relay, instance, NULL, answers[i]);
		must(attach(relay.socket, &session, &error), &error);
		int rc = rgm_map(session, "data", &error);
		REQUIRE(rc < 0);
		REQUIRE_ERROR(rc, error.code, &error);
		print_message("%s\n", error.message);
		rgm_session_detach(session);
		child_kill(&child);
		unlink(relay.socket);
	}
	instance_wait_readers(instance, 0);
	WAIT_UNTIL(support_open_files() <= files);
}

/* The tools, too. */
static void test_control(void **state)
{
	struct instance *instance = *state;
	edit *const requests[] = {only_newer, only_older};
	for (size_t i = 0; i < 3; i++) {
		struct relay relay;
		struct rgm_control *control = NULL;
		struct rgm_error error;
		struct child child = start_relay(&relay, instance, i < 2 ? requests[i] : NULL,
			i < 2 ? NULL : agrees_on_newer);
		struct rgm_control_options options = {
			.size = sizeof options, .socket = relay.socket};
		REQUIRE_ERROR(rgm_control_open(instance->name, &options, &control, &error),
			RGM_EPROTOCOL, &error);
		REQUIRE(control == NULL);
		child_kill(&child);
		unlink(relay.socket);
	}
}

/* --- The layout of shared memory ------------------------------------------------------------------------ */

static uint64_t exchange(int table, off_t offset, uint64_t word, size_t bytes)
{
	uint64_t before = 0;
	REQUIRE_EQUAL(pread(table, &before, bytes, offset), (ssize_t)bytes);
	REQUIRE_EQUAL(pwrite(table, &word, bytes, offset), (ssize_t)bytes);
	return before;
}

/* A table that another version laid out: told at the attach; who is attached goes on. */
static void test_other_layout(void **state)
{
	struct instance *instance = *state;
	const struct {
		off_t offset;
		uint64_t word;
		size_t bytes;
	} changes[] = {
		{offsetof(struct ipc_table, layout_version), IPC_LAYOUT_VERSION + 1, 4},
		{offsetof(struct ipc_table, layout_version), IPC_LAYOUT_VERSION - 1, 4},
		{offsetof(struct ipc_table, layout_version), 0, 4},
		{offsetof(struct ipc_table, magic), IPC_TABLE_MAGIC + (1ull << 56), 8},
		{offsetof(struct ipc_table, magic), 0, 8},
	};
	struct reader reader;
	struct rgm_session *session = NULL;
	struct rgm_error error;
	char path[128];
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	reader_map(&reader, "data");
	snprintf(path, sizeof path, "/dev/shm/regionmgr.%s.table", instance->id);
	int table = open(path, O_RDWR | O_CLOEXEC);
	REQUIRE(table >= 0);
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
		uint64_t before =
			exchange(table, changes[i].offset, changes[i].word, changes[i].bytes);
		REQUIRE_ERROR(attach(instance->socket, &session, &error), RGM_EPROTOCOL, &error);
		REQUIRE(session == NULL && strstr(error.message, "lays its shared memory out"));
		REQUIRE_EQUAL(reader_generation(&reader, &data), 1);
		exchange(table, changes[i].offset, before, changes[i].bytes);
		must(attach(instance->socket, &session, &error), &error);
		rgm_session_detach(session);
		session = NULL;
		instance_wait_readers(instance, 1);
	}
	/* What a later minor version may add where there is nothing yet hurts nobody. */
	uint64_t flags = exchange(table, offsetof(struct ipc_table, reserved0), UINT64_MAX, 8);
	must(attach(instance->socket, &session, &error), &error);
	rgm_session_detach(session);
	exchange(table, offsetof(struct ipc_table, reserved0), flags, 8);
	close(table);
	reader_close(&reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#if !SUPPORT_RACE_BUILD
		INSTANCE_TEST(test_what_both_know),
		INSTANCE_TEST(test_no_common_protocol),
		INSTANCE_TEST(test_handles_of_another_make),
		INSTANCE_TEST(test_regions_of_another_make),
		INSTANCE_TEST(test_control),
#endif
		INSTANCE_TEST(test_other_layout),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
