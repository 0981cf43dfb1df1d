/* SPDX-License-Identifier: Apache-2.0 */
/* label: fuzz
 * 20,000 messages that are right, nearly right, or noise: a client of good manners has its answers all
 * the while, and no descriptor, session or load is left behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <linux/sockios.h>

#include "tests/manager/served.h"

static struct served served;

static int start(void **state)
{
	const struct rgm_manager_options options = {
		.max_clients = 24, .max_loads = 2, .max_dimensions = 16};
	(void)state;
	served_start(&served, &options);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	served_stop(&served);
	return 0;
}

#define FUZZ_MESSAGES 20000

/* A request that may be right: of a known type and size, with bytes that mean something. */
static size_t fuzz_template(uint64_t *random, bool loading, char *bytes)
{
	static const struct {
		enum ipc_type type;
		size_t bytes;
	} types[] = {
		{IPC_HELLO, sizeof(struct ipc_hello)},
		{IPC_ATTACH, sizeof(struct ipc_attach)},
		{IPC_MAP, sizeof(struct ipc_map)},
		{IPC_STATUS, sizeof(struct ipc_header)},
		{IPC_LIST, sizeof(struct ipc_page)},
		{IPC_SHOW, sizeof(struct ipc_named)},
		{IPC_READERS, sizeof(struct ipc_page)},
		{IPC_STATS, sizeof(struct ipc_page)},
		{IPC_CREATE, sizeof(struct ipc_create)},
		{IPC_DROP, sizeof(struct ipc_named)},
		{IPC_RENAME, sizeof(struct ipc_rename)},
		{IPC_CHECK, sizeof(struct ipc_named)},
		{IPC_LOAD_BEGIN, sizeof(struct ipc_load_begin)},
		{IPC_LOAD_FILE, sizeof(struct ipc_load_part) + 4},
		{IPC_LOAD_BYTES, sizeof(struct ipc_load_part) + 12},
		{IPC_LOAD_STREAM_BEGIN, sizeof(struct ipc_load_part) + 4},
		{IPC_LOAD_STREAM_APPEND, sizeof(struct ipc_load_part) + 8},
		{IPC_LOAD_STREAM_END, sizeof(struct ipc_load_part)},
		{IPC_LOAD_REMOVE, sizeof(struct ipc_load_part) + 4},
		{IPC_LOAD_COMMIT, sizeof(struct ipc_header)},
		{IPC_LOAD_ABORT, sizeof(struct ipc_header)},
		{IPC_CANCEL, sizeof(struct ipc_header)},
	};
	size_t which = support_below(random, sizeof types / sizeof *types);
	/* A load is a conversation of its own: stay in it for a while, mostly by what is in turn. */
	while (loading && support_below(random, 40) &&
		(types[which].type < IPC_LOAD_FILE ||
			(types[which].type != IPC_LOAD_BYTES && support_below(random, 2))))
		which = support_below(random, sizeof types / sizeof *types);
	memset(bytes, 0, types[which].bytes);
	if (types[which].type == IPC_HELLO) {
		struct ipc_hello hello = raw_hello_message();
		memcpy(bytes, &hello, sizeof hello);
	} else if (types[which].type >= IPC_LOAD_FILE && types[which].type <= IPC_LOAD_REMOVE) {
		struct ipc_load_part *part = (struct ipc_load_part *)(void *)bytes;
		size_t text = types[which].bytes - sizeof *part;
		part->flags = (uint32_t)support_below(random, 2);
		part->name_bytes = types[which].type != IPC_LOAD_STREAM_APPEND && text >= 4 ? 4 : 0;
		part->inline_bytes = (uint32_t)(text - part->name_bytes);
		memset(bytes + sizeof *part, 'a' + (int)support_below(random, 3), text);
	} else if (types[which].bytes > sizeof(struct ipc_header)) {
		bytes[sizeof(struct ipc_header)] =
			(char)((types[which].type == IPC_MAP ? 1 : 'a') + support_below(random, 3));
	}
	if (types[which].type == IPC_LOAD_BEGIN)
		((struct ipc_load_begin *)(void *)bytes)->flags =
			(uint32_t)support_below(random, 4) | RGM_LOAD_CREATE;
	ipc_header_init((struct ipc_header *)(void *)bytes, types[which].type,
		1 + (uint32_t)support_below(random, 1000), types[which].bytes);
	return types[which].bytes;
}

/* Change some of it. */
static size_t fuzz_change(uint64_t *random, char *bytes, size_t size, size_t capacity)
{
	for (uint64_t i = support_below(random, 6); i > 0; i--) {
		size_t at = support_below(random, size);
		bytes[at] = (char)(support_below(random, 3) ? support_random(random)
							    : (uint64_t)(bytes[at] ^ 1));
	}
	if (support_below(random, 4) == 0) {
		size_t other = 1 + support_below(random, support_below(random, 8) ? 400 : capacity);
		if (other > size)
			memset(bytes + size, (int)support_random(random), other - size);
		size = other;
		if (size >= sizeof(struct ipc_header) && support_below(random, 2))
			((struct ipc_header *)(void *)bytes)->bytes = (uint32_t)size;
	}
	return size;
}

static bool fuzz_send(int fd, const char *bytes, size_t size, const int *file)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
	struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};
	if (file) {
		packet.msg_control = &control;
		packet.msg_controllen = sizeof control;
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof *file);
		memcpy(CMSG_DATA(&control.header), file, sizeof *file);
	}
	while (sendmsg(fd, &packet, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		if (errno == EPIPE || errno == ECONNRESET)
			return false;
		REQUIRE_EQUAL(errno, EAGAIN);
		REQUIRE_EQUAL(ipc_wait(fd, false, true, ipc_deadline(SUPPORT_LIMIT_MS)), 0);
	}
	return true;
}

/* Until the manager has taken what was sent, or has ended the connection. */
static void fuzz_await(int fd)
{
	struct pollfd entry = {.fd = fd};
	int left = 1;
	while (ioctl(fd, SIOCOUTQ, &left) == 0 && left > 0 && poll(&entry, 1, 0) == 0)
		sched_yield();
}

/* Take what was answered, with the files that come along. */
static void fuzz_drain(int fd)
{
	static union raw_answer answer;
	int files[IPC_MESSAGE_MAX_FILES];
	size_t count = IPC_MESSAGE_MAX_FILES;
	while (ipc_receive(fd, &answer, sizeof answer, files, &count, 0) == 0) {
		while (count > 0)
			close(files[--count]);
		count = IPC_MESSAGE_MAX_FILES;
	}
}

/* Each dimension has files of its own, and names come about by chance. */
static void drop_all(void)
{
	static union raw_answer answer;
	struct ipc_page page = {0};
	struct ipc_named drop;
	int fd = raw_client(&served);
	ipc_header_init(&page.header, IPC_LIST, 2, sizeof page);
	raw_send(fd, &page.header);
	REQUIRE_EQUAL(raw_receive(fd, &answer), 0);
	const struct ipc_dimension_row *rows = (const void *)(answer.bytes + sizeof answer.page);
	REQUIRE(answer.page.more == 0);
	for (uint32_t i = 0; i < answer.page.row_count; i++) {
		raw_named(&drop, IPC_DROP, "", 3 + i);
		memcpy(drop.name, rows[i].name, sizeof drop.name);
		raw_send(fd, &drop.header);
		REQUIRE_EQUAL(raw_answered(fd, 3 + i), 0);
	}
	REQUIRE_EQUAL(raw_status(&served).dimensions, 0);
	close(fd);
}

static void fuzz(void **state)
{
	static char bytes[IPC_MESSAGE_MAX_BYTES + 64] __attribute__((aligned(8)));
	unsigned open_files = support_open_files();
	uint64_t random = support_seed();
	int files[] = {open("/dev/null", O_RDWR | O_CLOEXEC), memfd_create("test", MFD_CLOEXEC),
		open(served.folder, O_RDONLY | O_CLOEXEC),
		open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
	const size_t file_count = sizeof files / sizeof *files;
	int healthy = raw_client(&served), fd = -1;
	bool loading = false;
	(void)state;
	for (uint32_t i = 0; i < FUZZ_MESSAGES; i++) {
		if (fd < 0)
			fd = support_below(&random, 16) ? raw_client(&served)
			                                : raw_connect(&served);
		size_t size = fuzz_template(&random, loading, bytes);
		uint16_t type = ((struct ipc_header *)(void *)bytes)->type;
		loading = type == IPC_LOAD_BEGIN || (loading && type >= IPC_LOAD_FILE);
		if (support_below(&random, loading ? 30 : 3) == 0)
			size = fuzz_change(&random, bytes, size, sizeof bytes);
		const int *file = support_below(&random, type == IPC_LOAD_FILE ? 2 : 40) == 0
		                          ? &files[support_below(&random, file_count)]
		                          : NULL;
		bool open_still = fuzz_send(fd, bytes, size, file);
		if (support_below(&random, 8))
			fuzz_await(fd);
		fuzz_drain(fd);
		if (!open_still || support_below(&random, 200) == 0) {
			close(fd);
			fd = -1;
			loading = false;
		}
		if (i % 250 == 0) {
			raw_request(healthy, IPC_STATUS, i + 2);
			REQUIRE_EQUAL(raw_answered(healthy, i + 2), 0);
		}
	}
	if (fd >= 0)
		close(fd);
	close(healthy);
	for (size_t i = 0; i < file_count; i++)
		close(files[i]);
	/* What lies in a socket is worked on also when its client is gone. */
	WAIT_UNTIL(raw_counter(&served, "clients") == 1);
	WAIT_UNTIL(raw_status(&served).readers == 0);
	drop_all();
	raw_healthy(&served, open_files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fuzz),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
