/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting, sending and receiving the messages of message.h (socket.c), a client's calls
 * (client.c), and the names of things (names.c).
 */
#ifndef IPC_SOCKET_H
#define IPC_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/message.h"
#include <regionmgr/error.h>

/* --- names.c ---------------------------------------------------------------------------------- */

/* 0 or RGM_ENAME with the rule that is broken: names of instances and dimensions. */
int ipc_check_name(const char *what, const char *name, struct rgm_error *error);

/* The instance that NULL means: $REGIONMGR_INSTANCE, else "default". */
const char *ipc_instance_name(const char *instance);

/* Where an instance lives; see control.h. */
int ipc_folder_path(
	const char *instance, char *ret_path, size_t path_bytes, struct rgm_error *error);
int ipc_socket_path(const char *instance, const char *folder, char *ret_path, size_t path_bytes,
	struct rgm_error *error);

/* The longest path of a socket, without its NUL: what fits an address, less the ".new" under which
 * ipc_listen() prepares it. */
#define IPC_SOCKET_PATH_MAX 103u
int ipc_check_socket_path(const char *path, struct rgm_error *error);

/* Names in /dev/shm. ret_name has IPC_SHM_NAME_BYTES. */
#define IPC_SHM_NAME_BYTES 80u
void ipc_table_name(const uint8_t *instance_id, char *ret_name);
void ipc_segment_name(const uint8_t *instance_id, uint64_t session, char *ret_name);
void ipc_book_name(const uint8_t *instance_id, char *ret_name);
/* Of a region's live allocation. */
void ipc_live_name(const uint8_t *instance_id, uint64_t dimension, char *ret_name);
/* What all of an instance's names begin with. Returns its length. */
size_t ipc_name_prefix(const uint8_t *instance_id, char *ret_name);

/* Texts of fixed size in messages: padded with zeros, no NUL when full. What is too long is cut. */
void ipc_text_put(char *field, size_t field_bytes, const char *text);
void ipc_text_get(char *ret_text, size_t text_bytes, const char *field, size_t field_bytes);

/* --- socket.c --------------------------------------------------------------------------------- */

/*
 * Make a folder with `mode`, and its missing parents (0755, less the umask); one that is there keeps
 * its mode. Then, and at every ipc_listen(): it has to be a folder, not a symlink, of this user or
 * root, and not writable by others unless sticky (RGM_EREFUSED).
 */
int ipc_make_folder(const char *path, mode_t mode, struct rgm_error *error);

/*
 * A listening socket, close-on-exec, non-blocking, of file mode `mode`, in a folder that exists.
 * Replaces a stale one by rename: there is no moment without a socket. The caller holds the
 * instance's lock; RGM_EINUSE if somebody listens there all the same, -EEXIST if it is no socket.
 */
int ipc_listen(const char *path, uint32_t mode, int *ret_socket, struct rgm_error *error);
/* Connect at once or fail: RGM_ENOMANAGER, RGM_EREFUSED. A manager whose queue of connections is
 * full is waited for, 5 s at most: -ETIMEDOUT. */
int ipc_connect(const char *path, int *ret_socket, struct rgm_error *error);

/* Fill in a header. */
void ipc_header_init(
	struct ipc_header *header, enum ipc_type type, uint32_t sequence, size_t bytes);

/*
 * Send one message with files (not closed here). timeout_ms 0: not at all blocking; negative: for
 * ever. -EAGAIN or -ETIMEDOUT: the other side does not read; -EPIPE: it is gone.
 */
int ipc_send(int socket, const struct ipc_header *message, const int *files, size_t file_count,
	int64_t timeout_ms);
/* Two of them, without descriptors, in one call where the socket has room. */
int ipc_send_both(int socket, const struct ipc_header *first, const struct ipc_header *second,
	int64_t timeout_ms);

/*
 * Receive one message of at most `capacity` bytes into `message` and up to *file_count files, whose
 * number is stored there; they are close-on-exec. file_count NULL: none. The header is checked
 * (magic, size as received). -ETIMEDOUT, -EAGAIN (timeout 0), -EPIPE (closed by the other side),
 * -EMFILE (no descriptor free for what came), -EPROTO (not a message, or too many files). Files of a
 * message that is not returned are closed.
 */
int ipc_receive(int socket, void *message, size_t capacity, int *files, size_t *file_count,
	int64_t timeout_ms);

/* Wait until the socket can be read (or its other side is gone) or, if asked for, written. 0,
 * -ETIMEDOUT. `deadline_ns` is of CLOCK_MONOTONIC; UINT64_MAX: never. */
int ipc_wait(int socket, bool read, bool write, uint64_t deadline_ns);
uint64_t ipc_deadline(int64_t timeout_ms); /* negative: never */

/* --- client.c --------------------------------------------------------------------------------- */

/*
 * Send a request and receive its answer into `reply`. IPC_ERROR becomes the return value and *error;
 * IPC_PROGRESS is given to `progress` (may be NULL), whose nonzero return asks the manager to give up.
 * `timeout_ms` bounds the silence before the answer or the next progress. `socket_name` is for the
 * sentence. request->sequence is set here.
 *
 * After -ETIMEDOUT, RGM_EPROTOCOL or RGM_EGONE (the manager closed the connection) the socket is
 * shut down and *sequence is IPC_SEQUENCE_ENDED: later calls fail with RGM_EGONE at once.
 */
#define IPC_SEQUENCE_ENDED UINT32_MAX
struct ipc_call {
	int socket;
	uint32_t *sequence;
	uint32_t timeout_ms;
	uint32_t poll_us; /* an answer is polled for so long before this thread sleeps */
	const char *socket_name;
	int (*progress)(void *context, const struct ipc_progress *message);
	void *progress_context;
};
int ipc_call(const struct ipc_call *call, struct ipc_header *request, const int *files,
	size_t file_count, void *reply, size_t reply_capacity, size_t reply_least, int *ret_files,
	size_t *ret_file_count, struct rgm_error *error);

/* Its two halves, for who sends several requests before the first answer; answers come in order. */
int ipc_call_send(const struct ipc_call *call, struct ipc_header *request, const int *files,
	size_t file_count, struct rgm_error *error);
/* Two requests at once. */
int ipc_call_send_both(const struct ipc_call *call, struct ipc_header *first,
	struct ipc_header *second, struct rgm_error *error);
int ipc_call_receive(const struct ipc_call *call, const struct ipc_header *request, void *reply,
	size_t reply_capacity, size_t reply_least, int *ret_files, size_t *ret_file_count,
	struct rgm_error *error);

/* The parts of ipc_call(), for who sends ahead: the next sequence number, or RGM_EGONE; the failure
 * that a message of type IPC_ERROR tells; the failure that a code of ipc_send() or ipc_receive()
 * means, after which the connection is ended. */
int ipc_call_sequence(const struct ipc_call *call, uint32_t *ret_sequence, struct rgm_error *error);
int ipc_call_refused(
	const struct ipc_call *call, const struct ipc_error *message, struct rgm_error *error);
int ipc_call_failed(const struct ipc_call *call, int rc, struct rgm_error *error);

/* The manager's process by the kernel's word: 0 when it is in another pid namespace. */
pid_t ipc_peer_pid(int socket);

/*
 * Connect to an instance's manager and greet it. `socket_path` NULL: from the instance's name (NULL
 * too: ipc_instance_name()).
 */
struct ipc_connection {
	int socket;
	uint32_t sequence;
	char path[108];
	struct ipc_hello_reply hello;
};
int ipc_connection_open(const char *instance, const char *socket_path, uint32_t timeout_ms,
	struct ipc_connection *ret_connection, struct rgm_error *error);

#endif
