/* SPDX-License-Identifier: Apache-2.0 */
/* label: long
 * A load from which nothing is heard is ended, and its client told why; signs of life keep one alive. */
#include <errno.h>
#include <poll.h>

#include "tests/manager/served.h"

static struct served served;

static int start(void **state)
{
	(void)state;
	served_start(&served, NULL);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	served_stop(&served);
	return 0;
}

static int begin_stream(const char *name)
{
	struct ipc_load_begin request = {.flags = RGM_LOAD_CREATE};
	struct {
		struct ipc_load_part head;
		char layer[8];
	} stream = {.head.name_bytes = 8, .layer = "streamed"};
	int fd = raw_client(&served);
	ipc_header_init(&request.header, IPC_LOAD_BEGIN, 2, sizeof request);
	ipc_text_put(request.name, sizeof request.name, name);
	raw_send(fd, &request.header);
	REQUIRE_EQUAL(raw_answered(fd, 2), 0);
	ipc_header_init(&stream.head.header, IPC_LOAD_STREAM_BEGIN, 3, sizeof stream);
	raw_send(fd, &stream.head.header);
	REQUIRE_EQUAL(raw_answered(fd, 3), 0);
	return fd;
}

static void silence(void **state)
{
	static union raw_answer answer;
	struct ipc_load_part alive = {0};
	uint32_t sequence = 4;
	(void)state;
	int silent = begin_stream("silent"), slow = begin_stream("slow");
	struct pollfd ended = {.fd = silent, .events = POLLIN};
	while (poll(&ended, 1, 10000) == 0) {
		ipc_header_init(&alive.header, IPC_LOAD_STREAM_APPEND, sequence, sizeof alive);
		raw_send(slow, &alive.header);
		REQUIRE_EQUAL(raw_answered(slow, sequence), 0);
		sequence++;
	}
	REQUIRE_EQUAL(raw_receive(silent, &answer), 0);
	REQUIRE_EQUAL(answer.header.type, IPC_ERROR);
	REQUIRE_EQUAL(answer.header.sequence, 0);
	REQUIRE_EQUAL(answer.error.code, -ETIMEDOUT);
	REQUIRE(strstr(answer.error.message, "nothing came for 60 s") != NULL);
	raw_ended(silent);
	REQUIRE_EQUAL(raw_status(&served).loads, 1);
	raw_request(slow, IPC_LOAD_ABORT, sequence);
	REQUIRE_EQUAL(raw_answered(slow, sequence), 0);
	close(slow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
