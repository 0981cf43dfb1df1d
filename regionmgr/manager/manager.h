/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the manager. Nouns:
 *
 *   dimension   one named data set: its region, its current root, who may read it (dimension.c)
 *   catalog     which dimensions there are, on the disk (catalog.c)
 *   table       the region table in shared memory: building and publishing versions (table.c)
 *   session     one attached reader: its segment, its lock, its death (sessions.c)
 *   lag         what a reader that keeps memory for long is dealt (lag.c, sessions_lag.c)
 *   reclaim     retired blocks, and when they are free again (reclaim.c)
 *   writer      one change of one dimension (writer.c)
 *   server      the socket: who connects, what they ask (server.c, requests.c, jobs.c)
 *
 * Locks, in the order in which they may be taken (a lower one is never held while taking a higher):
 *   1. manager.commit    one commit at a time: the catalog file, roots, the table, the version counter
 *   2. reclaim.lock      the retired blocks, and scanning
 *   3. sessions.lock     the list of sessions
 *   4. inside pool_region
 * The server's event thread takes 3 alone (and 2 for IPC_READERS): a slow commit delays no attach.
 * Dimensions are found without a lock (cds_lfht, read side of liburcu-bp) and kept by a reference.
 */
#ifndef MANAGER_MANAGER_H
#define MANAGER_MANAGER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "dimensions/kind.h"
#include "ipc/format.h"
#include <regionmgr/manager.h>

#define MANAGER_ACCESS_MAX 16u

struct manager_server; /* server.c */
struct sessions;       /* sessions.c */
struct session;        /* sessions.c */
struct reclaim;        /* reclaim.c */
struct table;          /* table.c */
struct registry;       /* dimension.c */

/* Counters of `regionctl stats`: one line in counters.def each. Relaxed: they order nothing. */
enum counter {
#define COUNTER(name, gauge, bytes, description) COUNTER_##name,
#include "regionmgr/manager/counters.def"
#undef COUNTER
	COUNTER_COUNT
};

struct rgm_manager {
	/* set at open, constant afterwards */
	char instance[RGM_NAME_MAX + 1];
	char folder_path[512];
	char socket_path[108];
	int folder;    /* descriptor */
	int lock_file; /* OFD lock: one manager an instance */
	uint8_t instance_id[16];
	uint8_t incarnation[16];
	uint64_t started_ns; /* CLOCK_REALTIME */
	uint64_t started_monotonic_ns;
	uint64_t start_version; /* the version counter goes on from here */
	uint32_t max_dimensions, max_readers, max_clients, max_loads;
	uint64_t default_max_bytes;
	uint32_t warn_section_ms;
	enum rgm_lag_policy lag_policy; /* of readers that lag: lag.h */
	uint64_t lag_bytes;
	uint32_t disable; /* enum rgm_disable */
	bool membarrier;  /* issued before every scan */
	struct rgm_principal access[MANAGER_ACCESS_MAX];
	size_t access_count;
	pid_t pid; /* a fork is told by it; libraries only compare it to getpid() */

	pthread_mutex_t log_lock; /* one event at a time */
	rgm_log log;
	void *log_context;

	pthread_mutex_t commit;     /* guards what stands under lock 1 above */
	uint64_t next_dimension_id; /* under commit */
	uint64_t catalog_version;   /* under commit: the version in the catalog on the disk */
	bool stopping;              /* under commit: no change begins any more */
	bool has_names;   /* while opening and closing: there may be some in shared memory */
	bool leave_names; /* while opening: names in shared memory stay when that fails */

	struct registry *registry;
	struct table *table;
	struct sessions *sessions;
	struct reclaim *reclaim;
	struct manager_server *server;

	atomic_uint loads; /* under way; relaxed: only counted */
	atomic_size_t
		in_use; /* dimensions that wait for readers of an earlier manager; relaxed: a prompt */
	atomic_uint_least64_t counters[COUNTER_COUNT];
};

static inline void manager_count(struct rgm_manager *manager, enum counter counter, uint64_t by)
{
	atomic_fetch_add_explicit(&manager->counters[counter], by, memory_order_relaxed);
}

/* --- log.c ------------------------------------------------------------------------------------ */

/* Tell one event. Fields: { key, text, number }, ended by a NULL key. */
__attribute__((format(printf, 5, 6))) void manager_log(struct rgm_manager *manager,
	enum rgm_log_level level, const char *event, const struct rgm_log_field *fields,
	const char *sentence, ...);
#define MANAGER_FIELDS(...) ((const struct rgm_log_field[]){__VA_ARGS__, {NULL, NULL, 0}})

/* --- open.c ----------------------------------------------------------------------------------- */

/* Start one of the manager's threads: all signals blocked in it but SIGBUS. 0 or -errno. */
int manager_thread(pthread_t *ret_thread, void *(*run)(void *argument), void *argument);

/* --- dimension.c ------------------------------------------------------------------------------ */

struct dimension;

/* Find by name or id, without a lock, and take a reference; NULL if there is none. */
struct dimension *dimension_find(struct rgm_manager *manager, const char *name);
struct dimension *dimension_find_id(struct rgm_manager *manager, uint64_t id);
/* Give a reference back. */
void dimension_put(struct dimension *dimension);
/* May who has these credentials read it? The owner, root, and who is on its list (or, without one,
 * on the instance's). */
bool dimension_permits(struct rgm_manager *manager, const struct dimension *dimension, uid_t uid,
	gid_t gid, const gid_t *groups, size_t group_count);

/* --- sessions.c ------------------------------------------------------------------------------- */

/* Who is on the other side of a socket, by the kernel's word. */
struct peer {
	pid_t pid; /* 0: in another pid namespace */
	uid_t uid;
	gid_t gid;
	gid_t groups[64];
	size_t group_count;
	int pidfd; /* -1: the kernel has no SO_PEERPIDFD, or it is disabled */
};

/*
 * Register a session before its handles leave: a scan that begins afterwards sees it. The two
 * descriptors are the reader's own descriptions (table read-only; segment read-write, locked) and
 * are closed by the caller once sent. Takes over peer->pidfd on success.
 */
int sessions_attach(struct rgm_manager *manager, const struct peer *peer, const char *label,
	uint32_t slots, uint32_t holds, struct session **ret_session, int *ret_table,
	int *ret_segment, struct rgm_error *error);
/* A reader goes on with its session at this manager. RGM_EGONE: it is not one of ours; RGM_EREFUSED:
 * the token or the user is another. Takes over peer->pidfd on success. */
int sessions_resume(struct rgm_manager *manager, const struct peer *peer, uint64_t number,
	const uint8_t token[16], struct session **ret_session, struct rgm_error *error);
/* What can wait until its handles are on their way: log it, and prepare for the next one. */
void session_settle(const struct session *session);
uint64_t session_number(const struct session *session);
int session_pidfd(const struct session *session); /* -1: none; owned by the session */
uint64_t session_table_bytes(const struct rgm_manager *manager);
uint64_t session_segment_bytes(const struct session *session);
uint32_t session_place(const struct session *session); /* of its revoked word in the table */
/* Slots and holds that the segment has room for: what the reader is told. */
void session_capacity(const struct session *session, uint32_t *ret_slots, uint32_t *ret_holds);
/* A region for a session: read-only, a description of its own with its lock; permission checked. */
int sessions_map(struct rgm_manager *manager, struct session *session, uint64_t dimension_id,
	int *ret_region, uint64_t *ret_window_bytes, struct rgm_error *error);
/* The process that attached is proven dead (its pidfd is readable): its slot words count no more. The
 * server hangs up on it as well: a child may have inherited the socket. */
void sessions_died(struct rgm_manager *manager, struct session *session);
/* Its connection ended: the server forgets the session, which may be freed from now on; its lock
 * decides when. */
void sessions_hangup(struct rgm_manager *manager, struct session *session);
/* End every session whose connection is gone and whose lock is free. Called by the server at hang-ups
 * and while some are pending. Returns how many are still pending. */
size_t sessions_sweep(struct rgm_manager *manager);

/* --- info.c, readers.c: what is told. Rows are by value; each call is a consistent look, not a lock. ----- */

void info_status(struct rgm_manager *manager, struct rgm_status *ret_status);
/* Up to `capacity` rows in name order, beginning behind `after` ("": from the start). Only what the
 * credentials may read, unless all is true. */
int info_list(struct rgm_manager *manager, const char *after, struct rgm_dimension_row *rows,
	size_t capacity, size_t *ret_count, struct rgm_error *error);
int info_show(struct rgm_manager *manager, const char *name, struct rgm_dimension_row *ret_row,
	struct rgm_error *error);
/* Rows by number, beginning behind `after`. */
size_t info_readers(
	struct rgm_manager *manager, uint64_t after, struct rgm_reader_row *rows, size_t capacity);
/* The counters from index `from` on. */
size_t info_stats(
	struct rgm_manager *manager, size_t from, struct rgm_counter *rows, size_t capacity);
/* rgm_control_check() on the served region, under a hold of the manager's own. */
int info_check(struct rgm_manager *manager, const char *name, rgm_progress progress, void *context,
	struct rgm_check_report *ret_report, struct rgm_error *error);

/* --- server.c --------------------------------------------------------------------------------- */

/* Bind, listen, start the event thread. */
int server_start(struct rgm_manager *manager, struct rgm_error *error);
/* Refuse new clients and requests, let jobs end (loads are aborted), join the threads, unlink the
 * socket. Idempotent; NULL server is allowed. */
void server_stop(struct rgm_manager *manager);
/* Clients connected, for status. */
uint32_t server_clients(struct rgm_manager *manager);

/* Is a fork's copy: every public call asks this first. */
static inline bool manager_forked(const struct rgm_manager *manager, pid_t now)
{
	return manager->pid != now;
}

#endif
