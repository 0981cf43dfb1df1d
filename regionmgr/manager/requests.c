/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the event thread answers: a table of requests, each with its size and who may send it. What may
 * take time goes to a job. A request of a wrong size or an unknown type ends the connection.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/socket.h"
#include "pool/error.h"
#include "regionmgr/manager/server.h"
#include "regionmgr/manager/wire.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5; younger than the C library's headers */
#endif

#define PAGE_ROWS 64u /* looked at for one reply: bounds the time away from other clients */

/* Fills in the answer and returns 0, or a code with its sentence. */
typedef int request_answer(
	struct manager_server *server, struct client *client, struct rgm_error *error);

struct request_rule {
	enum ipc_type type;
	uint32_t bytes;
	bool owner;             /* for the owner and root alone */
	request_answer *answer; /* NULL: a job */
};

/* Begin a reply of so many bytes, zeros behind its header. */
static void begin_reply(struct manager_server *server, size_t bytes)
{
	struct answer *answer = &server->answer;
	memset(answer->bytes, 0, bytes);
	ipc_header_init(&answer->header, IPC_OK, server->request.header.sequence, bytes);
	answer->file_count = 0;
}

/* --- hello ------------------------------------------------------------------------------------ */

static int answer_hello(
	struct manager_server *server, struct client *client, struct rgm_error *error)
{
	struct rgm_manager *manager = server->manager;
	const struct ipc_hello *hello = &server->request.hello;
	if (hello->protocol_min > IPC_PROTOCOL || hello->protocol_max < IPC_PROTOCOL) {
		pool_fail(error, RGM_EPROTOCOL,
			"the client speaks protocols %u to %u, the manager of instance '%s' %u",
			hello->protocol_min, hello->protocol_max, manager->instance, IPC_PROTOCOL);
		pool_hint(error, "use the same version of regionmgr on both sides");
		return RGM_EPROTOCOL;
	}
	client->greeted = true;
	cds_list_del_init(&client->waiting);
	begin_reply(server, sizeof(struct ipc_hello_reply));
	struct ipc_hello_reply *reply = &server->answer.hello;
	reply->protocol = IPC_PROTOCOL;
	reply->pid = (uint32_t)manager->pid;
	ipc_text_put(reply->version, sizeof reply->version, RGM_VERSION);
	ipc_text_put(reply->instance, sizeof reply->instance, manager->instance);
	memcpy(reply->instance_id, manager->instance_id, sizeof reply->instance_id);
	return 0;
}

/* --- sessions --------------------------------------------------------------------------------- */

/* A pidfd of the process that connected, by the kernel's word; -1 where there is none. */
static int peer_pidfd(const struct manager_server *server, int socket)
{
	int pidfd;
	socklen_t bytes = sizeof pidfd;
	if ((server->manager->disable & RGM_DISABLE_PEERPIDFD) != 0 ||
		getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &bytes) != 0)
		return -1;
	return pidfd;
}

/* A text of the client's, for logs and terminals: printable ASCII and what is beyond. */
static void get_label(char *ret_label, size_t label_bytes, const struct ipc_attach *attach)
{
	ipc_text_get(ret_label, label_bytes, attach->label, sizeof attach->label);
	for (char *at = ret_label; *at != '\0'; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
}

static int answer_attach(
	struct manager_server *server, struct client *client, struct rgm_error *error)
{
	struct rgm_manager *manager = server->manager;
	const struct ipc_attach *attach = &server->request.attach;
	char label[sizeof attach->label];
	int files[2];
	if (client->session)
		return pool_fail(error, RGM_EBUSY, "this connection has a session already");
	get_label(label, sizeof label, attach);
	client->peer.pidfd = peer_pidfd(server, client->socket);
	int rc = sessions_attach(manager, &client->peer, label, attach->slots, attach->holds,
		&client->session, &files[0], &files[1], error);
	if (rc) {
		if (client->peer.pidfd >= 0)
			close(client->peer.pidfd);
		if (rc == RGM_ELIMIT || rc == RGM_EREFUSED) {
			manager_count(manager, COUNTER_refusals, 1);
			server_complain(server, "refusal", &client->peer,
				"an attach was refused: %s", error->message);
		}
	}
	client->peer.pidfd = -1;
	if (rc)
		return rc;

	begin_reply(server, sizeof(struct ipc_attach_reply));
	struct ipc_attach_reply *reply = &server->answer.attach;
	reply->session = session_number(client->session);
	reply->table_bytes = session_table_bytes(manager);
	reply->segment_bytes = session_segment_bytes(client->session);
	session_capacity(client->session, &reply->slots, &reply->holds);
	reply->place = session_place(client->session);
	memcpy(server->answer.files, files, sizeof files);
	server->answer.file_count = 2;
	return 0;
}

static int answer_resume(
	struct manager_server *server, struct client *client, struct rgm_error *error)
{
	const struct ipc_resume *resume = &server->request.resume;
	if (client->session)
		return pool_fail(error, RGM_EBUSY, "this connection has a session already");
	client->peer.pidfd = peer_pidfd(server, client->socket);
	int rc = sessions_resume(server->manager, &client->peer, resume->session, resume->token,
		&client->session, error);
	if (rc && client->peer.pidfd >= 0)
		close(client->peer.pidfd);
	client->peer.pidfd = -1;
	if (rc)
		return rc;
	client_watch_death(server, client);
	begin_reply(server, sizeof(struct ipc_header));
	return 0;
}

/* What the reader need not wait for. Its session is there, also if its connection ended meanwhile. */
static void after_attach(
	struct manager_server *server, struct client *client, const struct session *session)
{
	session_settle(session);
	if (client->session)
		client_watch_death(server, client);
}

static int answer_map(struct manager_server *server, struct client *client, struct rgm_error *error)
{
	uint64_t dimension = server->request.map.dimension, window_bytes;
	int region;
	if (!client->session)
		return pool_fail(error, -EINVAL, "this connection has no session to map for");
	int rc = sessions_map(
		server->manager, client->session, dimension, &region, &window_bytes, error);
	if (rc)
		return rc;
	begin_reply(server, sizeof(struct ipc_map_reply));
	server->answer.map.dimension = dimension;
	server->answer.map.window_bytes = window_bytes;
	server->answer.files[0] = region;
	server->answer.file_count = 1;
	return 0;
}

/* --- looking ---------------------------------------------------------------------------------- */

static int answer_status(
	struct manager_server *server, struct client *client, struct rgm_error *error)
{
	struct rgm_status status;
	(void)client;
	(void)error;
	info_status(server->manager, &status);
	begin_reply(server, sizeof(struct ipc_status_reply));
	wire_put_status(&server->answer.status, &status);
	return 0;
}

static bool may_read(struct rgm_manager *manager, const struct client *client, uint64_t id)
{
	const struct peer *peer = &client->peer;
	if (client->owner)
		return true;
	struct dimension *dimension = dimension_find_id(manager, id);
	bool may = dimension && dimension_permits(manager, dimension, peer->uid, peer->gid,
					peer->groups, peer->group_count);
	dimension_put(dimension);
	return may;
}

/* The page's rows follow it; there are `rows` of them. */
static void finish_page(struct manager_server *server, uint32_t rows, size_t row_bytes, bool more)
{
	struct ipc_page_reply *page = &server->answer.page;
	page->row_count = rows;
	page->more = more;
	page->header.bytes = (uint32_t)(sizeof *page + rows * row_bytes);
}

static_assert(PAGE_ROWS <= IPC_ROWS(struct ipc_dimension_row), "a page fits a message");
static_assert(PAGE_ROWS <= IPC_ROWS(struct ipc_reader_row), "a page fits a message");
static_assert(PAGE_ROWS <= IPC_ROWS(struct ipc_counter_row), "a page fits a message");

static void *page_row(struct manager_server *server, uint32_t index, size_t row_bytes)
{
	return server->answer.bytes + sizeof(struct ipc_page_reply) + index * row_bytes;
}

static int answer_list(
	struct manager_server *server, struct client *client, struct rgm_error *error)
{
	const struct ipc_page *page = &server->request.page;
	struct rgm_dimension_row rows[PAGE_ROWS];
	char after[RGM_NAME_MAX + 1];
	size_t count;
	ipc_text_get(after, sizeof after, page->after_name, sizeof page->after_name);
	int rc = info_list(server->manager, after, rows, PAGE_ROWS, &count, error);
	if (rc)
		return rc;
	begin_reply(server, sizeof(struct ipc_page_reply));
	uint32_t told = 0;
	for (size_t i = 0; i < count; i++)
		if (may_read(server->manager, client, rows[i].id))
			wire_put_dimension(
				page_row(server, told++, sizeof(struct ipc_dimension_row)),
				&rows[i]);
	if (count > 0)
		ipc_text_put(server->answer.page.after_name, sizeof server->answer.page.after_name,
			rows[count - 1].name);
	finish_page(server, told, sizeof(struct ipc_dimension_row), count == PAGE_ROWS);
	return 0;
}

static int answer_readers(
	struct manager_server *server, struct client *client, struct rgm_error *error)
{
	struct rgm_reader_row rows[PAGE_ROWS];
	(void)client;
	(void)error;
	size_t count =
		info_readers(server->manager, server->request.page.after_number, rows, PAGE_ROWS);
	begin_reply(server, sizeof(struct ipc_page_reply));
	for (uint32_t i = 0; i < count; i++)
		wire_put_reader(page_row(server, i, sizeof(struct ipc_reader_row)), &rows[i]);
	if (count > 0)
		server->answer.page.after_number = rows[count - 1].number;
	finish_page(server, (uint32_t)count, sizeof(struct ipc_reader_row), count == PAGE_ROWS);
	return 0;
}

static int answer_stats(
	struct manager_server *server, struct client *client, struct rgm_error *error)
{
	struct rgm_counter rows[PAGE_ROWS];
	uint64_t from = server->request.page.after_number;
	(void)client;
	(void)error;
	size_t count =
		from < SIZE_MAX ? info_stats(server->manager, (size_t)from, rows, PAGE_ROWS) : 0;
	begin_reply(server, sizeof(struct ipc_page_reply));
	for (uint32_t i = 0; i < count; i++)
		wire_put_counter(page_row(server, i, sizeof(struct ipc_counter_row)), &rows[i]);
	server->answer.page.after_number = from + count;
	finish_page(server, (uint32_t)count, sizeof(struct ipc_counter_row), count == PAGE_ROWS);
	return 0;
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct request_rule rules[] = {
	{IPC_HELLO, sizeof(struct ipc_hello), false, answer_hello},
	{IPC_ATTACH, sizeof(struct ipc_attach), false, answer_attach},
	{IPC_RESUME, sizeof(struct ipc_resume), false, answer_resume},
	{IPC_MAP, sizeof(struct ipc_map), false, answer_map},
	{IPC_STATUS, sizeof(struct ipc_header), false, answer_status},
	{IPC_LIST, sizeof(struct ipc_page), false, answer_list},
	{IPC_SHOW, sizeof(struct ipc_named), false, NULL},
	{IPC_READERS, sizeof(struct ipc_page), false, answer_readers},
	{IPC_STATS, sizeof(struct ipc_page), false, answer_stats},
	{IPC_CREATE, sizeof(struct ipc_create), true, NULL},
	{IPC_DROP, sizeof(struct ipc_named), true, NULL},
	{IPC_RENAME, sizeof(struct ipc_rename), true, NULL},
	{IPC_CHECK, sizeof(struct ipc_named), true, NULL},
	{IPC_LOAD_BEGIN, sizeof(struct ipc_load_begin), true, NULL},
};

static const struct request_rule *find_rule(const struct ipc_header *header)
{
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
		if ((uint16_t)rules[i].type == header->type && rules[i].bytes == header->bytes)
			return &rules[i];
	return NULL;
}

static void send_answer(struct manager_server *server, struct client *client)
{
	struct answer *answer = &server->answer;
	int rc = ipc_send(client->socket, &answer->header, answer->files, answer->file_count, 0);
	while (answer->file_count > 0)
		close(answer->files[--answer->file_count]);
	if (rc == -EAGAIN)
		client_violation(server, client, "it does not read its answers");
	else if (rc)
		client_end(server, client);
}

void request_handle(struct manager_server *server, struct client *client)
{
	const struct ipc_header *header = &server->request.header;
	const struct request_rule *rule = find_rule(header);
	bool hello = header->type == IPC_HELLO;
	if (header->type == IPC_CANCEL && client->greeted && header->bytes == sizeof *header)
		return;
	if (!rule) {
		client_violation(server, client, "a request of no known type and size");
		return;
	}
	if (hello == client->greeted || header->sequence == 0 ||
		(!hello && header->protocol != IPC_PROTOCOL)) {
		client_violation(server, client, "a request out of turn");
		return;
	}

	struct rgm_error error;
	const struct session *before = client->session;
	int rc;
	if (rule->owner && !client->owner) {
		manager_count(server->manager, COUNTER_refusals, 1);
		rc = pool_fail(&error, RGM_EREFUSED,
			"user %u may not change instance '%s': only its owner and root may",
			(unsigned)client->peer.uid, server->manager->instance);
		server_complain(server, "refusal", &client->peer, "a request was refused: %s",
			error.message);
	} else if (!rule->answer) {
		jobs_submit(server, client);
		return;
	} else {
		rc = rule->answer(server, client, &error);
	}
	if (rc) {
		server->answer.file_count = 0;
		wire_put_error(&server->answer.error, header->sequence, rc, &error);
	}
	const struct session *session = client->session;
	send_answer(server, client);
	if (session != before)
		after_attach(server, client, session);
	if (hello && rc)
		client_end(server, client);
}
