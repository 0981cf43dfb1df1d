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
#include <sys/un.h>

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

/* The manager goes on, and has closed what it took. */
static void require_healthy(unsigned open_files)
{
	REQUIRE_EQUAL(raw_status(&served).header.type, IPC_OK);
	WAIT_UNTIL(support_open_files() <= open_files);
}

static uint64_t counter(const char *name)
{
	static union raw_answer answer;
	struct ipc_page request = {0};
	int fd = raw_client(&served);
	ipc_header_init(&request.header, IPC_STATS, 2, sizeof request);
	raw_send(fd, &request.header);
	REQUIRE_EQUAL(raw_receive(fd, &answer), 0);
	REQUIRE_EQUAL(answer.header.type, IPC_OK);
	close(fd);
	const struct ipc_counter_row *rows = (const void *)(answer.bytes + sizeof answer.page);
	for (uint32_t i = 0; i < answer.page.row_count; i++)
		if (strncmp(rows[i].name, name, sizeof rows[i].name) == 0)
			return rows[i].value;
	support_fail(__FILE__, __LINE__, "no counter '%s'", name);
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
	message.protocol_min = 2;
	raw_send(fd, &message.header);
	REQUIRE_EQUAL(raw_receive(fd, &answer), 0);
	REQUIRE_EQUAL(answer.error.code, RGM_EPROTOCOL);
	REQUIRE(strstr(answer.error.message, "2 to 7") != NULL);
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
	uint64_t before = counter("bad_messages"), sent = 0;
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
			header->protocol = 2;
		REQUIRE_EQUAL(send(fd, bytes, size, 0), size);
		raw_ended(fd);
	}
	REQUIRE_EQUAL(counter("bad_messages") - before, sent);
	require_healthy(open_files);
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
	require_healthy(open_files);
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
	require_healthy(open_files);
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
	require_healthy(open_files);
}

/* --- jobs ------------------------------------------------------------------------------------- */

static void name_request(
	struct ipc_named *request, enum ipc_type type, const char *name, uint32_t sequence)
{
	*request = (struct ipc_named){0};
	ipc_header_init(&request->header, type, sequence, sizeof *request);
	ipc_text_put(request->name, sizeof request->name, name);
}

/* More requests at once than there may be threads: they wait for each other and are all answered. */
static void many_at_once(void **state)
{
	int clients[MAX_CLIENTS - 2];
	const size_t count = sizeof clients / sizeof *clients;
	struct ipc_named request;
	(void)state;
	for (size_t i = 0; i < count; i++)
		clients[i] = raw_client(&served);
	name_request(&request, IPC_SHOW, "nothing", 2);
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
	name_request(&named, IPC_SHOW, "../../etc/passwd", 2);
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

/* --- loads ------------------------------------------------------------------------------------ */

static int begin_load(const char *name)
{
	struct ipc_load_begin request = {.flags = RGM_LOAD_CREATE};
	int fd = raw_client(&served);
	ipc_header_init(&request.header, IPC_LOAD_BEGIN, 2, sizeof request);
	ipc_text_put(request.name, sizeof request.name, name);
	raw_send(fd, &request.header);
	REQUIRE_EQUAL(raw_answered(fd, 2), 0);
	return fd;
}

struct part {
	struct ipc_load_part head;
	char bytes[4096 + 1024];
};

/* A part with a name and content; returns it for more to be set. */
static struct part make_part(
	enum ipc_type type, uint32_t sequence, const char *name, const char *content)
{
	struct part part = {0};
	part.head.name_bytes = (uint16_t)strlen(name);
	part.head.inline_bytes = (uint32_t)strlen(content);
	memcpy(part.bytes, name, strlen(name));
	memcpy(part.bytes + strlen(name), content, strlen(content));
	ipc_header_init(&part.head.header, type, sequence,
		sizeof part.head + strlen(name) + strlen(content));
	return part;
}

static void load_limit(void **state)
{
	struct ipc_load_begin request = {.flags = RGM_LOAD_CREATE, .name = "third"};
	(void)state;
	int first = begin_load("first"), second = begin_load("second");
	REQUIRE_EQUAL(raw_status(&served).loads, 2);
	int third = raw_client(&served);
	ipc_header_init(&request.header, IPC_LOAD_BEGIN, 2, sizeof request);
	raw_send(third, &request.header);
	REQUIRE_EQUAL(raw_answered(third, 2), RGM_EBUSY);
	/* The end of a connection is the end of its load; its place is free for the next. */
	close(first);
	close(second);
	WAIT_UNTIL(raw_status(&served).loads == 0);
	request.flags = 0x100;
	ipc_header_init(&request.header, IPC_LOAD_BEGIN, 3, sizeof request);
	WAIT_UNTIL((raw_send(third, &request.header), raw_answered(third, 3)) == -EINVAL);
	close(third);
	REQUIRE_EQUAL(raw_status(&served).dimensions, 0);
}

/* Each of these ends the connection, and with it the load. */
static void load_violations(void **state)
{
	unsigned open_files = support_open_files();
	(void)state;
	for (int i = 0; i < 12; i++) {
		int fd = begin_load("victim"), file = -1;
		struct part part = make_part(IPC_LOAD_BYTES, 3, "layer", "content");
		switch (i) {
		case 0: /* something else than a load's */
			ipc_header_init(&part.head.header, IPC_STATUS, 3, sizeof part.head.header);
			break;
		case 1:
			part.head.name_bytes = 0;
			break;
		case 2:
			part.head.name_bytes = UINT16_MAX;
			break;
		case 3:
			part.head.media_bytes = 256;
			break;
		case 4:
			part.head.inline_bytes = UINT32_MAX - 4;
			break;
		case 5:
			part.bytes[2] = '\0'; /* in the name */
			break;
		case 6:
			part.head.flags = 2;
			break;
		case 7:
			file = 0; /* a descriptor where none is taken */
			break;
		case 8: /* none where one is needed */
			part = make_part(IPC_LOAD_FILE, 3, "layer", "");
			break;
		case 9: /* no stream */
			part = make_part(IPC_LOAD_STREAM_APPEND, 3, "", "content");
			break;
		case 10:
			part.head.header.bytes = sizeof part.head - 4;
			break;
		case 11:
			part.head.header.protocol = 2;
			break;
		}
		REQUIRE_EQUAL(ipc_send(fd, &part.head.header, &file, file >= 0 ? 1 : 0, 0), 0);
		raw_ended(fd);
		WAIT_UNTIL(raw_status(&served).loads == 0);
	}
	REQUIRE_EQUAL(raw_status(&served).dimensions, 0);
	require_healthy(open_files);
}

static int memfd(size_t bytes, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	REQUIRE(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	REQUIRE(fcntl(fd, F_ADD_SEALS, seals) == 0);
	return fd;
}

/* What fails in a load ends it, once, with its sentence; the connection is as before. */
static void load_failures(void **state)
{
	const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	unsigned open_files = support_open_files();
	(void)state;
	for (int i = 0; i < 7; i++) {
		int fd = begin_load("victim"), file = -1;
		uint32_t sequence = 3;
		bool stream = i < 3;
		if (stream) {
			struct part part =
				make_part(IPC_LOAD_STREAM_BEGIN, sequence++, "layer", "");
			part.head.flags = IPC_QUIET;
			raw_send(fd, &part.head.header);
		}
		struct part part = make_part(stream ? IPC_LOAD_STREAM_APPEND : IPC_LOAD_FILE,
			sequence, stream ? "" : "l", "");
		part.head.flags = i % 2 ? IPC_QUIET : 0;
		part.head.file_bytes = 4096;
		if (i == 0)
			file = memfd(4096, F_SEAL_SHRINK); /* could be written */
		else if (i == 1)
			file = memfd(4095, sealed); /* not what was said */
		else if (i == 2)
			file = memfd((part.head.file_bytes = IPC_CHUNK_MAX_BYTES + 1), sealed);
		else if (i == 3)
			file = memfd(4096, sealed); /* another time */
		else if (i == 4)
			file = open(served.folder, O_RDONLY | O_CLOEXEC);
		else if (i == 5)
			file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
		else
			file = open("/dev/null", O_PATH | O_CLOEXEC);
		REQUIRE_EQUAL(ipc_send(fd, &part.head.header, &file, 1, 0), 0);
		close(file);
		REQUIRE_EQUAL(raw_answered(fd, sequence), i == 3 ? RGM_ECHANGED : -EINVAL);

		struct part next = make_part(IPC_LOAD_BYTES, 10, "later", "content");
		next.head.flags = IPC_QUIET; /* dropped in silence */
		raw_send(fd, &next.head.header);
		next = make_part(IPC_LOAD_BYTES, 11, "later", "content");
		raw_send(fd, &next.head.header);
		REQUIRE_EQUAL(raw_answered(fd, 11), i == 3 ? RGM_ECHANGED : -EINVAL);
		raw_request(fd, i % 2 ? IPC_LOAD_COMMIT : IPC_LOAD_ABORT, 12);
		REQUIRE_EQUAL(raw_answered(fd, 12), i % 2 == 0 ? 0
						    : i == 3   ? RGM_ECHANGED
							       : -EINVAL);
		raw_request(fd, IPC_STATUS, 13);
		REQUIRE_EQUAL(raw_answered(fd, 13), 0);
		close(fd);
	}
	REQUIRE_EQUAL(raw_status(&served).dimensions, 0);
	require_healthy(open_files);
}

static void load_published(void **state)
{
	static union raw_answer answer;
	(void)state;
	int fd = begin_load("real");
	for (uint32_t i = 0; i < 2 * IPC_LOAD_BATCH; i++) {
		char name[16];
		snprintf(name, sizeof name, "layer%u", i);
		struct part part = make_part(IPC_LOAD_BYTES, 3 + i, name, "content");
		part.head.flags = i == 20 ? 0 : IPC_QUIET;
		raw_send(fd, &part.head.header);
	}
	raw_request(fd, IPC_LOAD_COMMIT, 100);
	REQUIRE_EQUAL(raw_answered(fd, 23), 0);
	REQUIRE_EQUAL(raw_receive(fd, &answer), 0);
	REQUIRE_EQUAL(answer.header.sequence, 100);
	REQUIRE_EQUAL(answer.commit.layers_put, 2 * IPC_LOAD_BATCH);
	REQUIRE_EQUAL(answer.commit.bytes, 7 * 2 * IPC_LOAD_BATCH);
	REQUIRE_EQUAL(raw_status(&served).version, answer.commit.version);
	REQUIRE_EQUAL(raw_status(&served).content_bytes, answer.commit.bytes);

	/* A check may be given up, or be done already; either way there is one answer. */
	struct ipc_named check;
	name_request(&check, IPC_CHECK, "real", 101);
	raw_send(fd, &check.header);
	raw_request(fd, IPC_CANCEL, 101);
	int rc = raw_answered(fd, 101);
	REQUIRE(rc == 0 || rc == -ECANCELED);
	raw_request(fd, IPC_STATUS, 102);
	REQUIRE_EQUAL(raw_answered(fd, 102), 0);
	name_request(&check, IPC_DROP, "real", 103);
	raw_send(fd, &check.header);
	REQUIRE_EQUAL(raw_answered(fd, 103), 0);
	close(fd);
}

/* --- chance ----------------------------------------------------------------------------------- */

#define FUZZ_MESSAGES 20000

/* A request that may be right: of a known type and size, with bytes that mean something. */
static size_t fuzz_template(uint64_t *random, char *bytes)
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
		bytes[sizeof(struct ipc_header)] = (char)('a' + support_below(random, 3));
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
		name_request(&drop, IPC_DROP, "", 3 + i);
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
	const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	unsigned open_files = support_open_files();
	uint64_t random = support_seed();
	int files[] = {open("/dev/null", O_RDWR | O_CLOEXEC), memfd(8, 0), memfd(8, sealed),
		open(served.folder, O_RDONLY | O_CLOEXEC),
		open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
	const size_t file_count = sizeof files / sizeof *files;
	int healthy = raw_client(&served), fd = -1;
	(void)state;
	for (uint32_t i = 0; i < FUZZ_MESSAGES; i++) {
		if (fd < 0)
			fd = support_below(&random, 16) ? raw_client(&served)
			                                : raw_connect(&served);
		size_t size = fuzz_template(&random, bytes);
		if (support_below(&random, 3) == 0)
			size = fuzz_change(&random, bytes, size, sizeof bytes);
		const int *file = support_below(&random, 4) == 0
		                          ? &files[support_below(&random, file_count)]
		                          : NULL;
		bool open_still = fuzz_send(fd, bytes, size, file);
		fuzz_drain(fd);
		if (!open_still || support_below(&random, 200) == 0) {
			close(fd);
			fd = -1;
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
	WAIT_UNTIL(counter("clients") == 1);
	WAIT_UNTIL(raw_status(&served).readers == 0);
	drop_all();
	require_healthy(open_files);
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
		cmocka_unit_test(client_limit),
		cmocka_unit_test(descriptor_limit),
		cmocka_unit_test(sessions),
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(hostile_names),
		cmocka_unit_test(load_limit),
		cmocka_unit_test(load_violations),
		cmocka_unit_test(load_failures),
		cmocka_unit_test(load_published),
		cmocka_unit_test(late_hello),
		cmocka_unit_test(fuzz),
		cmocka_unit_test(stop_under_way),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
