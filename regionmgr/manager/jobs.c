/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that may take time, each in a thread of its own: the event thread hands the connection over
 * and gets it back, with the finished thread, through a wait-free queue.
 *
 * Bounds: at most max_loads loads; one more is refused at once, since a load may last. At most
 * SHORT_MAX other requests; more wait in a queue that max_clients bounds, since these end soon.
 *
 * Order: the job's thread enqueues its job (cds_wfcq_enqueue: release) as its last act on it and then
 * writes `wake`; the event thread dequeues, joins the thread, and only then reads what the job left.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/sockios.h>

#include "ipc/socket.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/server.h"
#include "regionmgr/manager/wire.h"

#define SHORT_MAX      16u
#define TICK_NS        200000000u /* between two messages of progress */
#define ANSWER_MS      5000       /* a client may take so long to read an answer */
#define UNREAD_BYTES   16384      /* a client gets no news while so much is unread */
#define CANCEL_LOOK_NS 50000000u  /* between two looks for IPC_CANCEL */

/* --- what a job's thread does ----------------------------------------------------------------- */

void job_answer(struct job *job, struct ipc_header *reply)
{
	atomic_store_explicit(&job->working, 0, memory_order_relaxed);
	int rc = ipc_send(job->client->socket, reply, NULL, 0, ANSWER_MS);
	if (rc == 0)
		return;
	job->end = true;
	if (rc == -ETIMEDOUT)
		job->violation = "it does not read its answers";
}

void job_fail(struct job *job, uint32_t sequence, int code, const struct rgm_error *error)
{
	struct ipc_error message;
	wire_put_error(&message, sequence, code, error);
	job_answer(job, &message.header);
}

static void get_name(char name[RGM_NAME_MAX + 1], const char field[RGM_NAME_MAX])
{
	ipc_text_get(name, RGM_NAME_MAX + 1, field, RGM_NAME_MAX);
}

/* Each fills in the reply behind its header and returns 0, or a code with its sentence. */
union reply {
	struct ipc_header header;
	struct ipc_show_reply show;
	struct ipc_drop_reply drop;
	struct ipc_check_reply check;
};

static int run_create(struct job *job, union reply *reply, struct rgm_error *error)
{
	const struct ipc_create *request = &job->request.create;
	struct rgm_principal access[IPC_ACCESS_MAX];
	struct rgm_create_options options;
	char name[RGM_NAME_MAX + 1];
	(void)reply;
	get_name(name, request->name);
	int rc = wire_get_create(&request->options, access, &options, error);
	return rc ? rc : rgm_manager_create(job->server->manager, name, &options, error);
}

static int run_drop(struct job *job, union reply *reply, struct rgm_error *error)
{
	const struct ipc_named *request = &job->request.named;
	struct rgm_drop_report report;
	char name[RGM_NAME_MAX + 1];
	get_name(name, request->name);
	int rc =
		rgm_manager_drop(job->server->manager, name, request->dry_run != 0, &report, error);
	if (rc)
		return rc;
	reply->drop.bytes = report.bytes;
	reply->drop.layers = report.layers;
	reply->drop.readers = report.readers;
	reply->drop.holds = report.holds;
	return 0;
}

static int run_rename(struct job *job, union reply *reply, struct rgm_error *error)
{
	char from[RGM_NAME_MAX + 1], to[RGM_NAME_MAX + 1];
	(void)reply;
	get_name(from, job->request.rename.from);
	get_name(to, job->request.rename.to);
	return rgm_manager_rename(job->server->manager, from, to, error);
}

/* Others hear of what they may read, and not whether there is more. */
static int run_show(struct job *job, union reply *reply, struct rgm_error *error)
{
	struct rgm_manager *manager = job->server->manager;
	const struct client *client = job->client;
	const struct peer *peer = &client->peer;
	struct rgm_dimension_row row;
	char name[RGM_NAME_MAX + 1];
	get_name(name, job->request.named.name);
	int rc = info_show(manager, name, &row, error);
	if (!client->owner && (rc == 0 || rc == RGM_ENODIM)) {
		struct dimension *dimension = rc == 0 ? dimension_find_id(manager, row.id) : NULL;
		bool may = dimension && dimension_permits(manager, dimension, peer->uid, peer->gid,
						peer->groups, peer->group_count);
		dimension_put(dimension);
		if (!may)
			rc = pool_fail(error, RGM_ENODIM,
				"there is no dimension '%s' that user %u may read", name,
				(unsigned)peer->uid);
	}
	if (rc == 0)
		wire_put_dimension(&reply->show.row, &row);
	return rc;
}

struct check {
	struct job *job;
	uint64_t looked_ns;
};

/* Nonzero gives up: the client asked for it, is gone, or breaks the rules. */
static int check_progress(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
	struct check *check = context;
	struct job *job = check->job;
	atomic_store_explicit(&job->total_bytes, total_bytes, memory_order_relaxed);
	atomic_store_explicit(&job->done_bytes, done_bytes, memory_order_relaxed);
	if (job_stopping(job))
		return 1;
	uint64_t now = os_now_ns();
	if (now - check->looked_ns < CANCEL_LOOK_NS)
		return 0;
	check->looked_ns = now;

	struct ipc_header message;
	int rc = ipc_receive(job->client->socket, &message, sizeof message, NULL, NULL, 0);
	if (rc == -EAGAIN)
		return 0;
	if (rc || message.type != IPC_CANCEL) {
		job->end = true;
		job->violation = rc == -EPIPE ? NULL : "a request before the last was answered";
	}
	return 1;
}

static int run_check(struct job *job, union reply *reply, struct rgm_error *error)
{
	struct check check = {.job = job, .looked_ns = os_now_ns()};
	struct ipc_check_reply *to = &reply->check;
	struct rgm_check_report report = {0};
	char name[RGM_NAME_MAX + 1];
	get_name(name, job->request.named.name);
	int rc = info_check(job->server->manager, name, check_progress, &check, &report, error);
	if (rc && rc != RGM_ECORRUPT)
		return rc;
	to->code = rc;
	to->layers = report.layers;
	to->bytes = report.bytes;
	to->pages_used = report.pages_used;
	to->problems = report.problems;
	ipc_text_put(to->first_problem, sizeof to->first_problem, report.first_problem);
	if (rc) {
		ipc_text_put(to->message, sizeof to->message, error->message);
		ipc_text_put(to->hint, sizeof to->hint, error->hint);
	}
	return 0;
}

static const struct job_rule {
	enum ipc_type type;
	size_t reply_bytes;
	int (*run)(struct job *job, union reply *reply, struct rgm_error *error);
} rules[] = {
	{IPC_CREATE, sizeof(struct ipc_header), run_create},
	{IPC_DROP, sizeof(struct ipc_drop_reply), run_drop},
	{IPC_RENAME, sizeof(struct ipc_header), run_rename},
	{IPC_SHOW, sizeof(struct ipc_show_reply), run_show},
	{IPC_CHECK, sizeof(struct ipc_check_reply), run_check},
};

static void short_run(struct job *job)
{
	const struct job_rule *rule = rules;
	while (job->request.header.type != (uint16_t)rule->type)
		rule++;
	uint32_t sequence = job->request.header.sequence;
	struct rgm_error error = {0};
	union reply reply = {0};
	ipc_header_init(&reply.header, IPC_OK, sequence, rule->reply_bytes);
	int rc = rule->run(job, &reply, &error);
	if (rc)
		job_fail(job, sequence, rc, &error);
	else
		job_answer(job, &reply.header);
}

static void *job_thread(void *argument)
{
	struct job *job = argument;
	struct manager_server *server = job->server;
	if (job->load)
		load_run(job);
	else
		short_run(job);
	cds_wfcq_node_init(&job->done);
	cds_wfcq_enqueue(&server->done_head, &server->done_tail, &job->done);
	eventfd_write(server->wake, 1);
	return NULL;
}

/* --- what the event thread does --------------------------------------------------------------- */

void jobs_init(struct manager_server *server)
{
	__cds_wfcq_init(&server->done_head, &server->done_tail);
	CDS_INIT_LIST_HEAD(&server->jobs);
	CDS_INIT_LIST_HEAD(&server->queued);
}

static uint32_t *threads_of(struct manager_server *server, const struct job *job)
{
	return job->load ? &server->load_count : &server->short_count;
}

/* The client is the event thread's again. */
static void give_back(struct manager_server *server, struct job *job)
{
	struct client *client = job->client;
	cds_list_del(&job->entry);
	client->job = NULL;
	if (job->violation)
		client_violation(server, client, job->violation);
	else if (job->end)
		client_end(server, client);
	else
		client_arm(server, client);
	free(job);
}

static void refuse(struct manager_server *server, struct client *client, uint32_t sequence,
	int code, const struct rgm_error *error)
{
	struct ipc_error message;
	wire_put_error(&message, sequence, code, error);
	if (ipc_send(client->socket, &message.header, NULL, 0, 0) != 0)
		client_end(server, client);
}

static void start(struct manager_server *server, struct job *job)
{
	int rc = manager_thread(&job->thread, job_thread, job);
	if (rc) {
		struct rgm_error error;
		struct client *client = job->client;
		uint32_t sequence = job->request.header.sequence;
		pool_fail_code(&error, rc, "the manager cannot start a thread for the request");
		give_back(server, job);
		refuse(server, client, sequence, RGM_EBUSY, &error);
		return;
	}
	pthread_setname_np(job->thread, job->load ? "rgm-load" : "rgm-job");
	cds_list_move(&job->entry, &server->jobs);
	*threads_of(server, job) += 1;
}

void jobs_submit(struct manager_server *server, struct client *client)
{
	struct rgm_error error;
	uint32_t sequence = server->request.header.sequence;
	bool load = server->request.header.type == IPC_LOAD_BEGIN;
	uint32_t most = load ? server->manager->max_loads : SHORT_MAX;
	if (load && server->load_count >= most) {
		pool_fail(&error, RGM_EBUSY,
			"instance '%s' has its limit of %u loads under way (max_loads)",
			server->manager->instance, most);
		refuse(server, client, sequence, RGM_EBUSY, &error);
		return;
	}
	struct job *job = calloc(1, sizeof *job);
	if (!job) {
		pool_fail(&error, -ENOMEM, "the manager has no memory for the request");
		refuse(server, client, sequence, -ENOMEM, &error);
		return;
	}
	job->server = server;
	job->client = client;
	job->load = load;
	job->request = server->request;
	atomic_init(&job->working, sequence);
	client->job = job;
	client_disarm(server, client);
	cds_list_add_tail(&job->entry, &server->queued);
	if (server->tick_ns == 0)
		server->tick_ns = os_now_ns() + TICK_NS;
	if (*threads_of(server, job) < most)
		start(server, job);
}

static void start_queued(struct manager_server *server)
{
	while (server->short_count < SHORT_MAX && !cds_list_empty(&server->queued))
		start(server, cds_list_first_entry(&server->queued, struct job, entry));
}

/* The queue has one consumer, so dequeuing needs no lock. */
static struct job *next_done(struct manager_server *server)
{
	struct cds_wfcq_node *node =
		__cds_wfcq_dequeue_blocking(&server->done_head, &server->done_tail);
	return node ? caa_container_of(node, struct job, done) : NULL;
}

void jobs_collect(struct manager_server *server)
{
	for (struct job *job; (job = next_done(server)) != NULL;) {
		pthread_join(job->thread, NULL);
		*threads_of(server, job) -= 1;
		give_back(server, job);
	}
	if (!atomic_load_explicit(&server->stopping, memory_order_relaxed))
		start_queued(server);
}

static void tell(struct job *job)
{
	struct ipc_progress message = {0};
	uint32_t sequence = atomic_load_explicit(&job->working, memory_order_relaxed);
	int unread = 0;
	if (sequence == 0)
		return;
	/* News that nobody reads must not fill the socket: there has to be room for the answer. */
	if (ioctl(job->client->socket, SIOCOUTQ, &unread) != 0 || unread > UNREAD_BYTES)
		return;
	ipc_header_init(&message.header, IPC_PROGRESS, sequence, sizeof message);
	message.done_bytes = atomic_load_explicit(&job->done_bytes, memory_order_relaxed);
	message.total_bytes = atomic_load_explicit(&job->total_bytes, memory_order_relaxed);
	ipc_send(job->client->socket, &message.header, NULL, 0, 0);
}

void jobs_tick(struct manager_server *server)
{
	struct job *job;
	cds_list_for_each_entry(job, &server->jobs, entry)
	{
		tell(job);
	}
	cds_list_for_each_entry(job, &server->queued, entry)
	{
		tell(job);
	}
	bool idle = cds_list_empty(&server->jobs) && cds_list_empty(&server->queued);
	server->tick_ns = idle ? 0 : os_now_ns() + TICK_NS;
}

void jobs_stop(struct manager_server *server)
{
	struct job *job, *next;
	cds_list_for_each_entry_safe(job, next, &server->queued, entry)
	{
		job->end = true;
		give_back(server, job);
	}
	cds_list_for_each_entry(job, &server->jobs, entry)
	{
		shutdown(job->client->socket, SHUT_RDWR);
	}
	while (!cds_list_empty(&server->jobs)) {
		ipc_wait(server->wake, true, false, UINT64_MAX);
		eventfd_t count;
		eventfd_read(server->wake, &count);
		jobs_collect(server);
	}
}
