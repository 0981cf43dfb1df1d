/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket's connections: who may connect, how many, for how long without a word, and what
 * follows when one ends.
 *
 * Promises
 *  1. The event thread never blocks on a client: it receives what is there, and a client that lets its
 *     answers pile up is dropped. Work that may take time has threads of its own (jobs.c).
 *  2. A client is known by the kernel's word alone: SO_PEERCRED and its kin, taken when it connects.
 *  3. Every limit is answered with a sentence before the connection is closed; without a free
 *     descriptor, too: one is kept in reserve for that.
 *  4. One message of a client is handled, then the other clients have their turn.
 *  5. A hang-up or a proven death is passed on to its session at once; what is pending there is
 *     looked at again from every 5 to every 200 ms until nothing is.
 */
#include "regionmgr/manager/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/socket.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/files.h"
#include "regionmgr/manager/sessions.h"

#define EVENTS_MAX         64
#define MS                 1000000ull /* in ns */
#define LISTEN_PAUSE_NS    (100 * MS)
#define SWEEP_FIRST_NS     (5 * MS)
#define SWEEP_LAST_NS      (200 * MS)
#define COMPLAINT_PAUSE_NS (1000 * MS)

/* --- complaints ------------------------------------------------------------------------------- */

void server_complain(struct manager_server *server, const char *event, const struct peer *peer,
	const char *format, ...)
{
	uint64_t now = os_now_ns();
	if (server->complaint_ns != 0 && now - server->complaint_ns < COMPLAINT_PAUSE_NS) {
		server->complaints++;
		return;
	}
	char text[512];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	manager_log(server->manager, RGM_LOG_WARNING, event,
		MANAGER_FIELDS({"pid", NULL, (uint64_t)peer->pid}, {"user", NULL, peer->uid},
			{"unlogged", NULL, server->complaints}),
		"%s (process %d, user %u)", text, (int)peer->pid, (unsigned)peer->uid);
	server->complaint_ns = now;
	server->complaints = 0;
}

/* --- clients ---------------------------------------------------------------------------------- */

/* Fails only without memory in the kernel, or at fs.epoll.max_user_watches. */
static bool watch_add(struct manager_server *server, int file, struct watch *watch)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};
	if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, file, &event) == 0)
		return true;
	manager_log(server->manager, RGM_LOG_ERROR, "watch", NULL,
		"a connection cannot be watched: %s", rgm_error_text(-errno));
	return false;
}

static void watch_remove(struct manager_server *server, int file)
{
	epoll_ctl(server->epoll, EPOLL_CTL_DEL, file, NULL);
}

static void sweep_soon(struct manager_server *server)
{
	server->sweep_interval_ns = SWEEP_FIRST_NS;
	server->sweep_ns = os_now_ns();
}

static void forget_session(struct manager_server *server, struct client *client)
{
	if (!client->session)
		return;
	int pidfd = session_pidfd(client->session);
	if (pidfd >= 0)
		watch_remove(server, pidfd);
	sessions_hangup(server->manager, client->session);
	client->session = NULL;
	sweep_soon(server);
}

void client_end(struct manager_server *server, struct client *client)
{
	if (client->ended)
		return;
	forget_session(server, client);
	/* The other side hears of it even if a forked process still has a copy of the socket. A job's
	 * thread learns it from the socket too; its client ends when it is back. */
	shutdown(client->socket, SHUT_RDWR);
	if (client->job)
		return;
	client->ended = true;
	/* Closing it does not end its watch while a forked process has a copy. */
	watch_remove(server, client->socket);
	files_close(client->socket);
	client->socket = -1;
	cds_list_del(&client->waiting);
	cds_list_move(&client->all, &server->ended);
	atomic_fetch_sub_explicit(&server->client_count, 1, memory_order_relaxed);
	server->other_count -= !client->owner;
}

void client_violation(struct manager_server *server, struct client *client, const char *what)
{
	manager_count(server->manager, COUNTER_bad_messages, 1);
	server_complain(server, "bad_message", &client->peer, "a connection was ended: %s", what);
	client_end(server, client);
}

void client_arm(struct manager_server *server, struct client *client)
{
	if (!watch_add(server, client->socket, &client->socket_watch))
		client_end(server, client);
}

void client_disarm(struct manager_server *server, struct client *client)
{
	watch_remove(server, client->socket);
}

/* Events of one round may still name a client that ended in it: free it behind the round. */
static void free_ended(struct manager_server *server)
{
	struct client *client, *next;
	cds_list_for_each_entry_safe(client, next, &server->ended, all)
	{
		cds_list_del(&client->all);
		free(client);
	}
}

static void client_ready(struct manager_server *server, struct watch *watch)
{
	struct client *client = caa_container_of(watch, struct client, socket_watch);
	if (client->ended || client->job)
		return;
	int rc = ipc_receive(
		client->socket, &server->request, sizeof server->request, NULL, NULL, 0);
	if (rc == -EAGAIN)
		return;
	if (rc == -EPIPE)
		client_end(server, client);
	else if (rc)
		client_violation(server, client, "what it sent is not a message");
	else
		request_handle(server, client);
}

static void death_ready(struct manager_server *server, struct watch *watch)
{
	struct client *client = caa_container_of(watch, struct client, death_watch);
	if (client->ended || !client->session)
		return;
	sessions_died(server->manager, client->session);
	/* A child may have inherited the connection; nothing is to be asked through it. */
	client_end(server, client);
}

void client_watch_death(struct manager_server *server, struct client *client)
{
	int pidfd = session_pidfd(client->session);
	if (pidfd >= 0)
		watch_add(server, pidfd, &client->death_watch);
}

/* --- new clients ------------------------------------------------------------------------------ */

static struct client *client_create(
	struct manager_server *server, int socket, const struct peer *peer)
{
	struct client *client = calloc(1, sizeof *client);
	if (!client)
		return NULL;
	client->socket_watch.ready = client_ready;
	client->death_watch.ready = death_ready;
	client->socket = socket;
	client->peer = *peer;
	client->owner = peer_is_owner(peer);
	client->hello_deadline_ns = ipc_deadline(IPC_HELLO_MS);
	files_keep(socket);
	cds_list_add_tail(&client->all, &server->clients);
	cds_list_add_tail(&client->waiting, &server->greeting);
	atomic_fetch_add_explicit(&server->client_count, 1, memory_order_relaxed);
	server->other_count += !client->owner;
	return client;
}

static void admit(struct manager_server *server, int socket)
{
	struct rgm_error error;
	struct peer peer;
	if (admit_peer(server, socket, &peer) != 0)
		return;
	struct client *client = client_create(server, socket, &peer);
	if (client) {
		client_arm(server, client);
		return;
	}
	pool_fail(&error, -ENOMEM, "the manager has no memory for a client");
	admit_refuse(server, socket, &error);
}

static void listen_pause(struct manager_server *server)
{
	watch_remove(server, server->listener);
	server->listen_again_ns = os_now_ns() + LISTEN_PAUSE_NS;
}

/* No descriptor is free: use the reserve to say so. */
static void shed(struct manager_server *server)
{
	struct rgm_error error;
	if (server->reserve >= 0)
		close(server->reserve);
	int socket = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (socket >= 0) {
		pool_fail(&error, RGM_ELIMIT,
			"the manager of instance '%s' has its limit of open files (RLIMIT_NOFILE)",
			server->manager->instance);
		admit_refuse(server, socket, &error);
	}
	server->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (server->reserve < 0)
		listen_pause(server);
}

/* One each time: to be told that there is no other costs the kernel a socket, made and thrown away, while
 * epoll says for nothing that there is. */
static void listener_ready(struct manager_server *server, struct watch *watch)
{
	(void)watch;
	struct rgm_error error;
	int socket = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (socket >= 0 &&
		files_check_reserve(socket, FILES_RESERVE_CLIENT, "another client", &error))
		admit_refuse(server, socket, &error);
	else if (socket >= 0)
		admit(server, socket);
	else if (errno == EMFILE || errno == ENFILE)
		shed(server);
	else if (errno == ENOMEM || errno == ENOBUFS)
		listen_pause(server);
}

/* --- time ------------------------------------------------------------------------------------- */

static void end_silent(struct manager_server *server, uint64_t now)
{
	struct client *client, *next;
	cds_list_for_each_entry_safe(client, next, &server->greeting, waiting)
	{
		if (client->hello_deadline_ns > now)
			break;
		client_violation(server, client, "it said no hello in time");
	}
}

static void sweep(struct manager_server *server, uint64_t now)
{
	if (sessions_sweep(server->manager) == 0) {
		server->sweep_ns = 0;
		return;
	}
	server->sweep_ns = now + server->sweep_interval_ns;
	server->sweep_interval_ns *= 2;
	if (server->sweep_interval_ns > SWEEP_LAST_NS)
		server->sweep_interval_ns = SWEEP_LAST_NS;
}

static void run_timers(struct manager_server *server)
{
	uint64_t now = os_now_ns();
	end_silent(server, now);
	if (server->sweep_ns != 0 && server->sweep_ns <= now)
		sweep(server, now);
	if (server->tick_ns != 0 && server->tick_ns <= now)
		jobs_tick(server);
	if (server->listen_again_ns != 0 && server->listen_again_ns <= now) {
		server->listen_again_ns = 0;
		if (server->reserve < 0)
			server->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (!watch_add(server, server->listener, &server->listener_watch))
			server->listen_again_ns = now + LISTEN_PAUSE_NS;
	}
}

static void earlier(uint64_t *first_ns, uint64_t at_ns)
{
	if (at_ns != 0 && at_ns < *first_ns)
		*first_ns = at_ns;
}

/* How long epoll may wait, in ms, rounded up; -1: for ever. */
static int next_timeout(struct manager_server *server)
{
	uint64_t first = UINT64_MAX;
	if (!cds_list_empty(&server->greeting))
		earlier(&first, cds_list_first_entry(&server->greeting, struct client, waiting)
					->hello_deadline_ns);
	earlier(&first, server->sweep_ns);
	earlier(&first, server->tick_ns);
	earlier(&first, server->listen_again_ns);
	if (first == UINT64_MAX)
		return -1;
	uint64_t now = os_now_ns();
	return first <= now ? 0 : (int)((first - now + MS - 1) / MS);
}

/* --- the event thread ------------------------------------------------------------------------- */

static void wake_ready(struct manager_server *server, struct watch *watch)
{
	(void)watch;
	eventfd_t count;
	eventfd_read(server->wake, &count);
	jobs_collect(server);
}

static void end_all(struct manager_server *server)
{
	struct client *client, *next;
	jobs_stop(server);
	cds_list_for_each_entry_safe(client, next, &server->clients, all)
	{
		client_end(server, client);
	}
	free_ended(server);
}

static void *event_thread(void *argument)
{
	struct manager_server *server = argument;
	struct epoll_event events[EVENTS_MAX];
	while (!atomic_load_explicit(&server->stopping, memory_order_relaxed)) {
		int count = epoll_wait(server->epoll, events, EVENTS_MAX, next_timeout(server));
		for (int i = 0; i < count; i++) {
			struct watch *watch = events[i].data.ptr;
			watch->ready(server, watch);
		}
		run_timers(server);
		free_ended(server);
	}
	end_all(server);
	return NULL;
}

/* --- start and stop --------------------------------------------------------------------------- */

static void server_free(struct manager_server *server)
{
	int files[] = {server->epoll, server->wake, server->reserve};
	files_close(server->listener);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		if (files[i] >= 0)
			close(files[i]);
	free(server);
}

/* The folder of the socket. Others on the access list have to pass through it: one that is made here
 * lets them; where one that was there does not, that is told. */
static int make_socket_folder(struct rgm_manager *manager, struct rgm_error *error)
{
	char folder[sizeof manager->socket_path];
	memcpy(folder, manager->socket_path, sizeof folder);
	char *slash = strrchr(folder, '/');
	if (!slash || slash == folder)
		return 0;
	*slash = '\0';
	mode_t mode = manager->access_count > 0 ? 0711 : 0700;
	int rc = ipc_make_folder(folder, mode, error);
	struct stat status;
	if (rc || manager->access_count == 0 || stat(folder, &status) != 0)
		return rc;
	if ((status.st_mode & S_IXOTH) == 0)
		manager_log(manager, RGM_LOG_WARNING, "access",
			MANAGER_FIELDS({"folder", folder, 0}),
			"others on the access list cannot pass through folder '%s' (mode %04o)",
			folder, (unsigned)status.st_mode & 07777);
	return 0;
}

static int open_socket(struct manager_server *server, struct rgm_error *error)
{
	struct rgm_manager *manager = server->manager;
	int rc = make_socket_folder(manager, error);
	if (rc == 0)
		rc = ipc_listen(manager->socket_path, manager->access_count > 0 ? 0666 : 0600,
			&server->listener, error);
	struct stat status;
	if (rc == 0)
		files_keep(server->listener);
	if (rc == 0 && lstat(manager->socket_path, &status) == 0) {
		server->socket_device = status.st_dev;
		server->socket_inode = status.st_ino;
	}
	return rc;
}

static int open_files(struct manager_server *server, struct rgm_error *error)
{
	server->epoll = epoll_create1(EPOLL_CLOEXEC);
	server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (server->epoll < 0 || server->wake < 0 || server->reserve < 0)
		return pool_fail_errno(error, "starting the server of the control socket");
	return open_socket(server, error);
}

static void unlink_socket(struct manager_server *server)
{
	struct stat status;
	const char *path = server->manager->socket_path;
	if (lstat(path, &status) == 0 && status.st_dev == server->socket_device &&
		status.st_ino == server->socket_inode)
		unlink(path);
}

static int start_thread(struct manager_server *server, struct rgm_error *error)
{
	int rc = manager_thread(&server->thread, event_thread, server);
	if (rc)
		return pool_fail_code(error, rc, "starting the thread of the control socket");
	pthread_setname_np(server->thread, "rgm-server");
	return 0;
}

int server_start(struct rgm_manager *manager, struct rgm_error *error)
{
	struct manager_server *server = calloc(1, sizeof *server);
	if (!server)
		return pool_fail(error, -ENOMEM, "no memory for the control socket's server");
	server->manager = manager;
	server->epoll = server->listener = server->wake = server->reserve = -1;
	server->listener_watch.ready = listener_ready;
	server->wake_watch.ready = wake_ready;
	CDS_INIT_LIST_HEAD(&server->clients);
	CDS_INIT_LIST_HEAD(&server->greeting);
	CDS_INIT_LIST_HEAD(&server->ended);
	jobs_init(server);

	int rc = open_files(server, error);
	if (rc) {
		server_free(server);
		return rc;
	}
	if (!watch_add(server, server->listener, &server->listener_watch) ||
		!watch_add(server, server->wake, &server->wake_watch))
		rc = pool_fail(error, -ENOMEM, "the control socket cannot be watched");
	manager->server = server;
	/* Those that were taken over have no connection yet: their locks are looked at. */
	if (sessions_count(manager->sessions) > 0)
		sweep_soon(server);
	if (rc == 0)
		rc = start_thread(server, error);
	if (rc) {
		manager->server = NULL;
		unlink_socket(server);
		server_free(server);
	}
	return rc;
}

void server_stop(struct rgm_manager *manager)
{
	struct manager_server *server = manager->server;
	if (!server)
		return;
	unlink_socket(server);
	atomic_store_explicit(&server->stopping, true, memory_order_relaxed);
	shutdown(server->listener, SHUT_RDWR);
	eventfd_write(server->wake, 1);
	pthread_join(server->thread, NULL);
	manager->server = NULL;
	server_free(server);
}

uint32_t server_clients(struct rgm_manager *manager)
{
	struct manager_server *server = manager->server;
	return server ? atomic_load_explicit(&server->client_count, memory_order_relaxed) : 0;
}
