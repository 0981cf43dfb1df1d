/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads over the control socket, spoken by the byte: what breaks the rules ends the connection and the
 * load with it, what merely fails is told once, and nothing of either is published.
 */
#include <errno.h>
#include <fcntl.h>

#include "tests/manager/served.h"

static struct served served;

static int start(void **state)
{
	const struct rgm_manager_options options = {.max_loads = 2};
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
	snprintf(part.bytes, sizeof part.bytes, "%s%s", name, content);
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
	raw_healthy(&served, open_files);
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
			file = raw_memfd(4096, F_SEAL_SHRINK); /* could be written */
		else if (i == 1)
			file = raw_memfd(4095, sealed); /* not what was said */
		else if (i == 2)
			file = raw_memfd((part.head.file_bytes = IPC_CHUNK_MAX_BYTES + 1), sealed);
		else if (i == 3)
			file = raw_memfd(4096, sealed); /* another time */
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
	raw_healthy(&served, open_files);
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
	raw_named(&check, IPC_CHECK, "real", 101);
	raw_send(fd, &check.header);
	raw_request(fd, IPC_CANCEL, 101);
	int rc = raw_answered(fd, 101);
	REQUIRE(rc == 0 || rc == -ECANCELED);
	raw_request(fd, IPC_STATUS, 102);
	REQUIRE_EQUAL(raw_answered(fd, 102), 0);
	raw_named(&check, IPC_DROP, "real", 103);
	raw_send(fd, &check.header);
	REQUIRE_EQUAL(raw_answered(fd, 103), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(load_limit),
		cmocka_unit_test(load_violations),
		cmocka_unit_test(load_failures),
		cmocka_unit_test(load_published),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
