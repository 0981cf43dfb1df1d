/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's inside: shared by server.c (connections), admit.c (who may connect), requests.c (what
 * is answered at once), jobs.c (what takes time) and jobs_load.c (loads), and by nobody else.
 *
 * One event thread owns every client. While a client has a job, the job's thread alone sends to and
 * receives from its socket (progress excepted) and reads peer and owner, which never change; all else
 * stays with the event thread, also then. It closes a socket only when no job has it.
 */
#ifndef MANAGER_SERVER_H
#define MANAGER_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <urcu/list.h>
#include <urcu/wfcqueue.h>

#include "ipc/message_rows.h"
#include "regionmgr/manager/manager.h"

struct client;
struct job;

/* What an epoll event leads to. */
struct watch {
	void (*ready)(struct manager_server *server, struct watch *watch);
};

struct client {
	struct cds_list_head all;     /* in server->clients, or server->ended */
	struct cds_list_head waiting; /* in server->greeting until its hello */
	struct watch socket_watch;
	struct watch death_watch; /* its process's pidfd, once it has a session */
	int socket;
	struct peer peer;
	bool owner; /* the manager's user, or root */
	bool greeted;
	bool ended;
	uint64_t hello_deadline_ns;
	struct session *session;
	struct job *job;
};

/* Requests that the event thread receives; parts of loads are received by their jobs. */
union request {
	struct ipc_header header;
	struct ipc_hello hello;
	struct ipc_attach attach;
	struct ipc_resume resume;
	struct ipc_map map;
	struct ipc_page page;
	struct ipc_named named;
	struct ipc_rename rename;
	struct ipc_create create;
	struct ipc_load_begin load_begin;
};

/* An answer in the making, with the descriptors that go with it. */
struct answer {
	union {
		struct ipc_header header;
		struct ipc_hello_reply hello;
		struct ipc_attach_reply attach;
		struct ipc_map_reply map;
		struct ipc_status_reply status;
		struct ipc_page_reply page;
		struct ipc_error error;
		char bytes[IPC_MESSAGE_MAX_BYTES];
	};
	int files[IPC_MESSAGE_MAX_FILES];
	size_t file_count;
};

struct manager_server {
	struct rgm_manager *manager;
	pthread_t thread;
	int epoll;
	int listener;
	int wake;    /* eventfd: to stop, and when a job is done */
	int reserve; /* given up for a moment to refuse a client when no descriptor is free; or -1 */
	dev_t socket_device; /* of the socket's file: only ours is unlinked */
	ino_t socket_inode;
	atomic_bool stopping;     /* stored by server_stop(); relaxed: `wake` orders it */
	atomic_uint client_count; /* stored by the event thread; relaxed: a figure */

	/* of the event thread alone */
	struct watch listener_watch, wake_watch;
	struct cds_list_head clients, greeting, ended;
	uint32_t other_count;     /* clients that are not owners */
	uint64_t listen_again_ns; /* 0: listening; else nothing is accepted before */
	uint64_t sweep_ns;        /* 0: no session is pending */
	uint64_t sweep_interval_ns;
	uint64_t complaint_ns; /* when the last complaint was logged */
	uint64_t complaints;   /* not logged since then */
	union request request;
	struct answer answer;

	/* jobs.c */
	struct __cds_wfcq_head done_head;
	struct cds_wfcq_tail done_tail;
	struct cds_list_head jobs;        /* with a thread */
	struct cds_list_head queued;      /* that wait for one to end */
	uint32_t load_count, short_count; /* with a thread */
	uint64_t tick_ns;
};

/* --- server.c --------------------------------------------------------------------------------- */

/* End a connection: at once, or when its job comes back, which is told to give up. */
void client_end(struct manager_server *server, struct client *client);
/* The same, because of what it sent; counted and logged. */
void client_violation(struct manager_server *server, struct client *client, const char *what);
/* Take a client's socket out of, and back into, what the event thread listens to. */
void client_disarm(struct manager_server *server, struct client *client);
void client_arm(struct manager_server *server, struct client *client);
/* Watch for the death of the process that owns client->session. */
void client_watch_death(struct manager_server *server, struct client *client);
/* Log what somebody did wrong, unless such lines come too fast. */
__attribute__((format(printf, 4, 5))) void server_complain(struct manager_server *server,
	const char *event, const struct peer *peer, const char *format, ...);

/* --- admit.c ---------------------------------------------------------------------------------- */

/* Look at who connected and whether that is allowed; if not, it was told and the socket is closed. */
int admit_peer(struct manager_server *server, int socket, struct peer *ret_peer);
/* Say why in a message about the connection itself, and close it. Counted and logged. */
void admit_refuse(struct manager_server *server, int socket, const struct rgm_error *error);
bool peer_is_owner(const struct peer *peer); /* the manager's user, or root */

/* --- requests.c ------------------------------------------------------------------------------- */

/* Answer server->request, or hand it to a job. */
void request_handle(struct manager_server *server, struct client *client);

/* --- jobs.c ----------------------------------------------------------------------------------- */

struct job {
	struct cds_wfcq_node done; /* once the thread has nothing more to do */
	struct cds_list_head entry;
	struct manager_server *server;
	struct client *client;
	pthread_t thread;
	bool load;
	union request request;

	/* The job's thread stores, the event thread loads to send progress; relaxed: figures. */
	atomic_uint_least32_t working; /* sequence of the request under way; 0: none */
	atomic_uint_least64_t done_bytes, total_bytes;

	/* Out, read after the thread was joined. */
	bool end;              /* the connection is of no more use */
	const char *violation; /* what the client sent against the rules, or NULL */
};

void jobs_init(struct manager_server *server);
/* Begin a job for server->request, or queue it; a load above the limit is answered RGM_EBUSY. */
void jobs_submit(struct manager_server *server, struct client *client);
/* Take back the clients of jobs that are done; begin queued ones. */
void jobs_collect(struct manager_server *server);
/* Tell the clients of jobs that the manager is alive. */
void jobs_tick(struct manager_server *server);
/* Make them all give up, and wait. */
void jobs_stop(struct manager_server *server);

/* For the job's thread: answer the request under way, IPC_ERROR if code is negative. */
void job_answer(struct job *job, struct ipc_header *reply);
void job_fail(struct job *job, uint32_t sequence, int code, const struct rgm_error *error);
static inline bool job_stopping(const struct job *job)
{
	return atomic_load_explicit(&job->server->stopping, memory_order_relaxed);
}

/* --- jobs_load.c ------------------------------------------------------------------------------ */

/* The whole conversation of a load; job->request is its IPC_LOAD_BEGIN. */
void load_run(struct job *job);

#endif
