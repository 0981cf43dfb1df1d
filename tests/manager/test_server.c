/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket's server, spoken to by the byte: clients that break the rules are dropped, lose
 * nothing of the manager's and disturb nobody; limits answer with a sentence.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/manager/served.h"

#define MAX_CLIENTS 24

static struct served served;
static int silent = -1; /* a client that says nothing from the start */

static int start(void **state)
{
	const struct rgm_manager_options options = {
		.max_clients = MAX_CLIENTS, .max_loads = 2, .max_dimensions = 16};
	(void)state;
	served_start(&served, &options);
	silent = raw_connect(&served);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	served_stop(&served);
	return 0;
}

/* --- hello ------------------------------------------------------------------------------------ */

static void hello(void **state)
{
	static union raw_answer answer;
	struct ipc_hello message = raw_hello_message();
	(void)state;
	int fd = raw_connect(&served);
	raw_send(fd, &message.header);
	REQUIRE_EQUAL(raw_receive(fd, &answer), 0);
	REQUIRE_EQUAL(answer.header.bytes, sizeof answer.hello);
	REQUIRE_EQUAL(answer.hello.protocol, IPC_PROTOCOL);
	REQUIRE_EQUAL(answer.hello.pid, getpid());
	REQUIRE(strcmp(answer.hello.version, RGM_VERSION) == 0);
	REQUIRE(strcmp(answer.hello.instance, "test") == 0);
	raw_send(fd, &message.header); /* once is enough */
	raw_ended(fd);

	/* A hello of any protocol is understood; where none is common, both are named. */
	fd = raw_connect(&served);
	message.header.protocol = 7;
	message.protocol_max = 7;
	raw_send(fd, &message.header);
	REQUIRE_EQUAL(raw_answered(fd, 1), 0);
	raw_request(fd, IPC_STATUS, 2);
	REQUIRE_EQUAL(raw_answered(fd, 2), 0);
	close(fd);
	fd = raw_connect(&served);
	message.protocol_min = IPC_PROTOCOL + 1;
	raw_send(fd, &message.header);
	REQUIRE_EQUAL(raw_receive(fd, &answer), 0);
	REQUIRE_EQUAL(answer.error.code, RGM_EPROTOCOL);
	REQUIRE(strstr(answer.error.message, "3 to 7") != NULL);
	raw_ended(fd);
}

static void no_hello(void **state)
{
	(void)state;
	int fd = raw_connect(&served);
	raw_request(fd, IPC_STATUS, 1);
	raw_ended(fd);
}

static void late_hello(void **state)
{
	(void)state;
	raw_ended(silent);
}

/* --- wrong messages --------------------------------------------------------------------------- */

static void wrong_messages(void **state)
{
	unsigned open_files = support_open_files();
	uint64_t before = raw_counter(&served, "bad_messages"), sent = 0;
	char bytes[512] = {0};
	struct ipc_header *header = (struct ipc_header *)(void *)bytes;
	(void)state;
	static const struct {
		uint16_t type;
		uint32_t sequence;
		size_t bytes;
	} wrong[] = {
		{IPC_STATUS, 0, sizeof(struct ipc_header)},     /* no sequence */
		{IPC_STATUS, 2, sizeof(struct ipc_header) + 8}, /* too long */
		{IPC_ATTACH, 2, sizeof(struct ipc_attach) - 8}, /* too short */
		{IPC_SHOW, 2, sizeof(struct ipc_header)},
		{IPC_OK, 2, sizeof(struct ipc_header)}, /* an answer */
		{99, 2, sizeof(struct ipc_header)}, {0, 2, sizeof(struct ipc_header)},
		{IPC_LOAD_COMMIT, 2, sizeof(struct ipc_header)}, /* no load */
		{IPC_LOAD_BYTES, 2, sizeof(struct ipc_load_part)},
		{IPC_STATUS, 2, sizeof bytes}, /* larger than any request */
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++, sent++) {
		int fd = raw_client(&served);
		ipc_header_init(
			header, (enum ipc_type)wrong[i].type, wrong[i].sequence, wrong[i].bytes);
		raw_send(fd, header);
		raw_ended(fd);
	}
	for (int i = 0; i < 4; i++, sent++) {
		int fd = raw_client(&served);
		ipc_header_init(header, IPC_STATUS, 2, sizeof *header);
		size_t size = sizeof *header;
		if (i == 0)
			header->magic ^= 1;
		else if (i == 1)
			header->bytes += 4;
		else if (i == 2)
			size = 5;
		else
			header->protocol = IPC_PROTOCOL + 1;
		REQUIRE_EQUAL(send(fd, bytes, size, 0), size);
		raw_ended(fd);
	}
	REQUIRE_EQUAL(raw_counter(&served, "bad_messages") - before, sent);
	raw_healthy(&served, open_files);
}

/* Descriptors that nobody asked for are closed, and the client is dropped. */
static void unwanted_files(void **state)
{
	unsigned open_files = support_open_files();
	struct ipc_header request;
	(void)state;
	for (int i = 0; i < 8; i++) {
		int fd = raw_client(&served), files[4] = {fd, fd, 0, 1};
		ipc_header_init(&request, IPC_STATUS, 2, sizeof request);
		REQUIRE_EQUAL(ipc_send(fd, &request, files, 4, 0), 0);
		raw_ended(fd);
	}
	raw_healthy(&served, open_files);
}

/* A client that asks and never reads is dropped; others have their answers meanwhile. */
static void never_reads(void **state)
{
	unsigned open_files = support_open_files();
	int fd = raw_client(&served), rc = 0;
	struct ipc_page request = {0};
	(void)state;
	ipc_header_init(&request.header, IPC_STATS, 2, sizeof request);
	for (int i = 0; rc == 0; i++) {
		rc = ipc_send(fd, &request.header, NULL, 0, SUPPORT_LIMIT_MS);
		if (i % 64 == 0)
			REQUIRE_EQUAL(raw_status(&served).header.type, IPC_OK);
	}
	REQUIRE_EQUAL(rc, -EPIPE);
	close(fd);
	raw_healthy(&served, open_files);
}

/* A process by a raw clone(2), which no fork handler hears of, has copies of the manager's sockets: the
 * end of a connection is the end of it here all the same, and for the client too. */
static void copied_sockets(void **state)
{
	unsigned open_files = support_open_files();
	int ends[2], status;
	char byte;
	(void)state;
	int gone = raw_client(&served), wrong = raw_client(&served);
	REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		close(gone); /* what is closed below has to be the client's last copy */
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
	}
	REQUIRE(pid > 0);
	close(gone);
	raw_request(wrong, IPC_LOAD_COMMIT, 2);
	raw_ended(wrong);
	for (int i = 0; i < 50; i++)
		REQUIRE_EQUAL(raw_status(&served).header.type, IPC_OK);
	close(ends[0]);
	close(ends[1]);
	REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
	REQUIRE_EQUAL(status, 0);
	raw_healthy(&served, open_files);
}

/* --- limits ----------------------------------------------------------------------------------- */

static void client_limit(void **state)
{
	int clients[MAX_CLIENTS + 1], count = 0;
	struct ipc_connection connection;
	struct rgm_error error;
	int rc;
	(void)state;
	while ((rc = ipc_connection_open("test", rgm_manager_socket(served.manager), 5000,
			&connection, &error)) == 0) {
		REQUIRE(count < MAX_CLIENTS);
		clients[count++] = connection.socket;
	}
	REQUIRE_EQUAL(rc, RGM_ELIMIT);
	REQUIRE(strstr(error.message, "24 clients (max_clients)") != NULL);
	/* However the refusal and the hello cross each other, the sentence arrives. */
	for (int i = 0; i < 200; i++)
		REQUIRE_EQUAL(ipc_connection_open("test", rgm_manager_socket(served.manager), 5000,
				      &connection, &error),
			RGM_ELIMIT);
	raw_request(clients[0], IPC_STATUS, 2);
	REQUIRE_EQUAL(raw_answered(clients[0], 2), 0);
	while (count > 0)
		close(clients[--count]);
	WAIT_UNTIL(ipc_connection_open("test", rgm_manager_socket(served.manager), 5000,
			   &connection, &error) == 0);
	close(connection.socket);
}

/* Without a free descriptor, a client is told so; the others go on. */
static void descriptor_limit(void **state)
{
	struct rlimit limit, low;
	int fillers[512], count = 0;
	struct ipc_header request;
	static union raw_answer answer;
	(void)state;
	int healthy = raw_client(&served);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, rgm_manager_socket(served.manager));
	REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	low = limit;
	low.rlim_cur = 256;
	REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
	while (count < 512 && (fillers[count] = dup(0)) >= 0)
		count++;
	REQUIRE(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
	REQUIRE_EQUAL(raw_receive(fd, &answer), 0);
	REQUIRE_EQUAL(answer.error.code, RGM_ELIMIT);
	REQUIRE_EQUAL(answer.header.sequence, 0);
	REQUIRE(strstr(answer.error.message, "RLIMIT_NOFILE") != NULL);
	raw_ended(fd);
	ipc_header_init(&request, IPC_STATUS, 2, sizeof request);
	raw_send(healthy, &request);
	REQUIRE_EQUAL(raw_answered(healthy, 2), 0);
	while (count > 0)
		close(fillers[--count]);
	REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	close(healthy);
}

/* --- sessions --------------------------------------------------------------------------------- */

static int attach(
	int fd, uint32_t sequence, uint32_t slots, uint32_t holds, int files[2], size_t *ret_count)
{
	static union raw_answer answer;
	struct ipc_attach request = {
		.slots = slots, .holds = holds, .label = "bell\a, and no end.............."};
	ipc_header_init(&request.header, IPC_ATTACH, sequence, sizeof request);
	raw_send(fd, &request.header);
	*ret_count = 2;
	REQUIRE_EQUAL(
		ipc_receive(fd, &answer, sizeof answer, files, ret_count, SUPPORT_LIMIT_MS), 0);
	return answer.header.type == IPC_OK ? 0 : answer.error.code;
}

static void sessions(void **state)
{
	unsigned open_files = support_open_files();
	struct ipc_map map = {.dimension = 1};
	size_t count;
	int files[2];
	(void)state;
	int fd = raw_client(&served);
	ipc_header_init(&map.header, IPC_MAP, 2, sizeof map);
	raw_send(fd, &map.header);
	REQUIRE_EQUAL(raw_answered(fd, 2), -EINVAL);
	REQUIRE_EQUAL(attach(fd, 3, UINT32_MAX, 1, files, &count), RGM_ELIMIT);
	REQUIRE_EQUAL(count, 0);
	REQUIRE_EQUAL(attach(fd, 4, 4, UINT32_MAX, files, &count), RGM_ELIMIT);
	REQUIRE_EQUAL(attach(fd, 5, 4, 4, files, &count), 0);
	REQUIRE_EQUAL(count, 2);
	REQUIRE_EQUAL(fcntl(files[0], F_GETFL) & O_ACCMODE, O_RDONLY);
	REQUIRE_EQUAL(fcntl(files[1], F_GETFL) & O_ACCMODE, O_RDWR);
	close(files[0]);
	close(files[1]);
	REQUIRE_EQUAL(raw_status(&served).readers, 1);
	REQUIRE_EQUAL(attach(fd, 6, 4, 4, files, &count), RGM_EBUSY);
	map.dimension = UINT64_MAX;
	ipc_header_init(&map.header, IPC_MAP, 7, sizeof map);
	raw_send(fd, &map.header);
	REQUIRE_EQUAL(raw_answered(fd, 7), RGM_ENODIM);

	static union raw_answer answer;
	struct ipc_page page = {0};
	ipc_header_init(&page.header, IPC_READERS, 8, sizeof page);
	raw_send(fd, &page.header);
	REQUIRE_EQUAL(raw_receive(fd, &answer), 0);
	const struct ipc_reader_row *row = (const void *)(answer.bytes + sizeof answer.page);
	REQUIRE_EQUAL(answer.page.row_count, 1);
	REQUIRE(strncmp(row->label, "bell?, and no end", 17) == 0);

	/* The reader has not mapped its segment: at the hang-up nothing keeps it. */
	close(fd);
	WAIT_UNTIL(raw_status(&served).readers == 0);
	raw_healthy(&served, open_files);
}

/* --- jobs ------------------------------------------------------------------------------------- */

/* More requests at once than there may be threads: they wait for each other and are all answered. */
static void many_at_once(void **state)
{
	int clients[MAX_CLIENTS - 2];
	const size_t count = sizeof clients / sizeof *clients;
	struct ipc_named request;
	(void)state;
	for (size_t i = 0; i < count; i++)
		clients[i] = raw_client(&served);
	raw_named(&request, IPC_SHOW, "nothing", 2);
	for (int round = 0; round < 10; round++) {
		for (size_t i = 0; i < count; i++)
			raw_send(clients[i], &request.header);
		for (size_t i = 0; i < count; i++)
			REQUIRE_EQUAL(raw_answered(clients[i], 2), RGM_ENODIM);
	}
	/* Gone before they are answered. */
	for (size_t i = 0; i < count; i++) {
		raw_send(clients[i], &request.header);
		close(clients[i]);
	}
	REQUIRE_EQUAL(raw_status(&served).header.type, IPC_OK);
}

static void hostile_names(void **state)
{
	struct ipc_named named;
	struct ipc_create create = {0};
	struct ipc_rename renaming = {0};
	(void)state;
	int fd = raw_client(&served);
	raw_named(&named, IPC_SHOW, "../../etc/passwd", 2);
	raw_send(fd, &named.header);
	REQUIRE(raw_answered(fd, 2) < 0);
	memset(named.name, 0xff, sizeof named.name); /* no NUL */
	ipc_header_init(&named.header, IPC_DROP, 3, sizeof named);
	raw_send(fd, &named.header);
	REQUIRE(raw_answered(fd, 3) < 0);
	ipc_header_init(&create.header, IPC_CREATE, 4, sizeof create);
	raw_send(fd, &create.header);
	REQUIRE_EQUAL(raw_answered(fd, 4), RGM_ENAME); /* empty */
	strcpy(create.name, "a/b");
	ipc_header_init(&create.header, IPC_CREATE, 5, sizeof create);
	raw_send(fd, &create.header);
	REQUIRE_EQUAL(raw_answered(fd, 5), RGM_ENAME);
	strcpy(create.name, "list");
	create.options.access_count = UINT32_MAX;
	ipc_header_init(&create.header, IPC_CREATE, 6, sizeof create);
	raw_send(fd, &create.header);
	REQUIRE_EQUAL(raw_answered(fd, 6), -EINVAL);
	create.options.access_count = 1;
	create.options.access[0].type = 'x';
	ipc_header_init(&create.header, IPC_CREATE, 7, sizeof create);
	raw_send(fd, &create.header);
	REQUIRE_EQUAL(raw_answered(fd, 7), -EINVAL);
	strcpy(renaming.from, "nothing");
	memset(renaming.to, 'x', sizeof renaming.to);
	ipc_header_init(&renaming.header, IPC_RENAME, 8, sizeof renaming);
	raw_send(fd, &renaming.header);
	REQUIRE_EQUAL(raw_answered(fd, 8), RGM_ENODIM);
	REQUIRE_EQUAL(raw_status(&served).dimensions, 0);
	close(fd);
}

/* --- the end ---------------------------------------------------------------------------------- */

/* A stop ends loads and clients, leaves no socket and no dimension half made. */
static void stop_under_way(void **state)
{
	struct served other;
	char socket_path[128];
	struct stat status;
	struct rgm_error error;
	unsigned open_files = support_open_files();
	(void)state;
	served_start(&other, NULL);
	strcpy(socket_path, rgm_manager_socket(other.manager));
	int idle = raw_client(&other), loading = raw_client(&other), unheard;
	struct ipc_load_begin request = {.flags = RGM_LOAD_CREATE, .name = "half"};
	ipc_header_init(&request.header, IPC_LOAD_BEGIN, 2, sizeof request);
	raw_send(loading, &request.header);
	REQUIRE_EQUAL(raw_answered(loading, 2), 0);
	served_stop(&other);
	raw_ended(idle);
	raw_ended(loading);
	REQUIRE(stat(socket_path, &status) != 0 && errno == ENOENT);
	REQUIRE_EQUAL(ipc_connect(socket_path, &unheard, &error), RGM_ENOMANAGER);
	REQUIRE(support_open_files() <= open_files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello),
		cmocka_unit_test(no_hello),
		cmocka_unit_test(wrong_messages),
		cmocka_unit_test(unwanted_files),
		cmocka_unit_test(never_reads),
		cmocka_unit_test(copied_sockets),
		cmocka_unit_test(client_limit),
		cmocka_unit_test(descriptor_limit),
		cmocka_unit_test(sessions),
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(hostile_names),
		cmocka_unit_test(late_hello),
		cmocka_unit_test(stop_under_way),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
