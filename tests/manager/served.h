/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manager of this process with a folder of its own, and raw conversations with it: what a client
 * sends can be wrong in any way.
 */
#ifndef TESTS_MANAGER_SERVED_H
#define TESTS_MANAGER_SERVED_H

#include <errno.h>
#include <ftw.h>
#include <unistd.h>

#include "ipc/message_rows.h"
#include "ipc/socket.h"
#include "tests/support/support.h"
#include <regionmgr/manager.h>

struct served {
	char folder[64];
	struct rgm_manager *manager;
};

static inline int served_remove(
	const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)status;
	(void)kind;
	(void)place;
	return remove(path);
}

/* `options` may be NULL; instance and folder are set here. */
static inline void served_start(struct served *served, const struct rgm_manager_options *options)
{
	struct rgm_manager_options own = {0};
	struct rgm_error error;
	strcpy(served->folder, "/tmp/rgm-test-served-XXXXXX");
	REQUIRE(mkdtemp(served->folder) != NULL);
	if (options)
		own = *options;
	own.size = sizeof own;
	own.instance = "test";
	own.dir = served->folder;
	must(rgm_manager_open(&own, &served->manager, &error), &error);
}

static inline void served_stop(struct served *served)
{
	struct rgm_error error;
	must(rgm_manager_close(served->manager, &error), &error);
	REQUIRE(nftw(served->folder, served_remove, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

static inline int raw_connect(const struct served *served)
{
	struct rgm_error error;
	int fd = -1;
	must(ipc_connect(rgm_manager_socket(served->manager), &fd, &error), &error);
	return fd;
}

static inline void raw_send(int fd, const struct ipc_header *message)
{
	REQUIRE_EQUAL(ipc_send(fd, message, NULL, 0, SUPPORT_LIMIT_MS), 0);
}

/* Large enough for any answer. */
union raw_answer {
	struct ipc_header header;
	struct ipc_error error;
	struct ipc_hello_reply hello;
	struct ipc_status_reply status;
	struct ipc_page_reply page;
	struct ipc_commit_reply commit;
	char bytes[IPC_MESSAGE_MAX_BYTES];
};

/* The next message that is not news; 0 or a code of ipc_receive(). */
static inline int raw_receive(int fd, union raw_answer *ret_answer)
{
	int rc;
	do {
		rc = ipc_receive(fd, ret_answer, sizeof *ret_answer, NULL, NULL, SUPPORT_LIMIT_MS);
	} while (rc == 0 && ret_answer->header.type == IPC_PROGRESS);
	return rc;
}

/* The code of the next answer: 0 for IPC_OK. */
static inline int raw_answered(int fd, uint32_t sequence)
{
	static union raw_answer answer;
	REQUIRE_EQUAL(raw_receive(fd, &answer), 0);
	REQUIRE_EQUAL(answer.header.sequence, sequence);
	if (answer.header.type == IPC_OK)
		return 0;
	REQUIRE_EQUAL(answer.header.type, IPC_ERROR);
	REQUIRE(answer.error.code < 0);
	REQUIRE(answer.error.message[0] != '\0');
	return answer.error.code;
}

/* The manager has ended the connection, with nothing more to say. */
static inline void raw_ended(int fd)
{
	static union raw_answer answer;
	REQUIRE_EQUAL(raw_receive(fd, &answer), -EPIPE);
	close(fd);
}

static inline struct ipc_hello raw_hello_message(void)
{
	struct ipc_hello hello = {.protocol_min = IPC_PROTOCOL, .protocol_max = IPC_PROTOCOL};
	ipc_header_init(&hello.header, IPC_HELLO, 1, sizeof hello);
	return hello;
}

/* A connection that has said hello. */
static inline int raw_client(const struct served *served)
{
	struct ipc_hello hello = raw_hello_message();
	int fd = raw_connect(served);
	raw_send(fd, &hello.header);
	REQUIRE_EQUAL(raw_answered(fd, 1), 0);
	return fd;
}

/* A request without a body. */
static inline void raw_request(int fd, enum ipc_type type, uint32_t sequence)
{
	struct ipc_header request;
	ipc_header_init(&request, type, sequence, sizeof request);
	raw_send(fd, &request);
}

/* What the manager tells of itself to a client of good manners. */
static inline struct ipc_status_reply raw_status(const struct served *served)
{
	static union raw_answer answer;
	int fd = raw_client(served);
	raw_request(fd, IPC_STATUS, 2);
	REQUIRE_EQUAL(raw_receive(fd, &answer), 0);
	REQUIRE_EQUAL(answer.header.type, IPC_OK);
	REQUIRE_EQUAL(answer.header.bytes, sizeof answer.status);
	close(fd);
	return answer.status;
}

/* A request that names a dimension. */
static inline void raw_named(
	struct ipc_named *request, enum ipc_type type, const char *name, uint32_t sequence)
{
	*request = (struct ipc_named){0};
	ipc_header_init(&request->header, type, sequence, sizeof *request);
	ipc_text_put(request->name, sizeof request->name, name);
}

/* A counter of `stats`. */
static inline uint64_t raw_counter(const struct served *served, const char *name)
{
	static union raw_answer answer;
	struct ipc_page request = {0};
	int fd = raw_client(served);
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

/* The manager goes on, and has closed what it took. */
static inline void raw_healthy(const struct served *served, unsigned open_files)
{
	REQUIRE_EQUAL(raw_status(served).header.type, IPC_OK);
	WAIT_UNTIL(support_open_files() <= open_files);
}

#endif
