/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads over the control socket, spoken by the byte: what breaks the rules ends the connection and the
 * load with it, what merely fails is told once, and nothing of either is published.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

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
	for (int i = 0; i < 13; i++) {
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
			part.head.header.protocol = IPC_PROTOCOL + 1;
			break;
		case 12: /* a descriptor in a stream */
			part = make_part(IPC_LOAD_STREAM_BEGIN, 2, "layer", "");
			part.head.flags = IPC_QUIET;
			raw_send(fd, &part.head.header);
			part = make_part(IPC_LOAD_STREAM_APPEND, 3, "", "");
			file = 0;
			break;
		}
		REQUIRE_EQUAL(ipc_send(fd, &part.head.header, &file, file >= 0 ? 1 : 0, 0), 0);
		raw_ended(fd);
		WAIT_UNTIL(raw_status(&served).loads == 0);
	}
	REQUIRE_EQUAL(raw_status(&served).dimensions, 0);
	raw_healthy(&served, open_files);
}

/* A descriptor that cannot be a layer, with what is said of it. */
static int bad_file(int which, struct ipc_load_part *part)
{
	char path[128];
	struct stat status = {0};
	int file = -1;
	snprintf(path, sizeof path, "%s/bad", served.folder);
	if (which == 0)
		file = open(served.folder, O_RDONLY | O_CLOEXEC);
	else if (which == 1)
		file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	else if (which == 2)
		file = open("/dev/null", O_PATH | O_CLOEXEC);
	else
		file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	REQUIRE(file >= 0);
	unlink(path);
	if (which >= 3)
		REQUIRE(ftruncate(file, 4096) == 0);
	REQUIRE(fstat(file, &status) == 0);
	part->file_bytes = (uint64_t)status.st_size + (which == 3); /* another size */
	part->file_time_ns = (uint64_t)status.st_mtim.tv_sec * 1000000000u +
	                     (uint64_t)status.st_mtim.tv_nsec + (which == 4); /* another time */
	return file; /* 5: cannot be read */
}

/* What fails in a load ends it, once, with its sentence; the connection is as before. */
static void load_failures(void **state)
{
	static const int codes[] = {-EINVAL, -EINVAL, -EINVAL, RGM_ECHANGED, RGM_ECHANGED, -EBADF};
	unsigned open_files = support_open_files();
	(void)state;
	for (int i = 0; i < 6; i++) {
		int fd = begin_load("victim");
		struct part part = make_part(IPC_LOAD_FILE, 3, "layer", "");
		int file = bad_file(i, &part.head);
		part.head.flags = i % 2 ? IPC_QUIET : 0;
		REQUIRE_EQUAL(ipc_send(fd, &part.head.header, &file, 1, 0), 0);
		close(file);
		REQUIRE_EQUAL(raw_answered(fd, 3), codes[i]);

		struct part next = make_part(IPC_LOAD_BYTES, 10, "later", "content");
		next.head.flags = IPC_QUIET; /* dropped in silence */
		raw_send(fd, &next.head.header);
		next.head.flags = 0;
		next.head.header.sequence = 11;
		raw_send(fd, &next.head.header);
		REQUIRE_EQUAL(raw_answered(fd, 11), codes[i]);
		raw_request(fd, i % 2 ? IPC_LOAD_COMMIT : IPC_LOAD_ABORT, 12);
		REQUIRE_EQUAL(raw_answered(fd, 12), i % 2 ? codes[i] : 0);
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
