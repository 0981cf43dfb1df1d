/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting, sending and receiving the messages of message.h, and the names of things. */
#ifndef IPC_SOCKET_H
#define IPC_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/message.h"
#include <regionmgr/error.h>

/* 0 or RGM_ENAME with the rule that is broken: names of instances and dimensions. */
int ipc_check_name(const char *what, const char *name, struct rgm_error *error);

/* The instance that NULL means: $REGIONMGR_INSTANCE, else "default". */
const char *ipc_instance_name(const char *instance);

/* Where an instance lives; see control.h. */
int ipc_folder_path(const char *instance, char *ret_path, size_t path_bytes, struct rgm_error *error);
int ipc_socket_path(const char *instance, const char *folder, char *ret_path, size_t path_bytes,
	struct rgm_error *error);

/* Names in /dev/shm. ret_name has IPC_SHM_NAME_BYTES. */
#define IPC_SHM_NAME_BYTES 80u
void ipc_table_name(const uint8_t *instance_id, char *ret_name);
void ipc_segment_name(const uint8_t *instance_id, uint64_t session, char *ret_name);

/* A listening socket, close-on-exec, non-blocking. Replaces a stale one: the caller holds the
 * instance's lock. */
int ipc_listen(const char *path, uint32_t mode, int *ret_socket, struct rgm_error *error);
/* Connect at once or fail: RGM_ENOMANAGER, RGM_EREFUSED. */
int ipc_connect(const char *path, int *ret_socket, struct rgm_error *error);

/* Fill in a header. */
void ipc_header_init(struct ipc_header *header, enum ipc_type type, uint32_t sequence, size_t bytes);

/*
 * Send one message with files (not closed here). timeout_ms 0: not at all blocking. -EAGAIN or
 * -ETIMEDOUT: the other side does not read; -EPIPE: it is gone.
 */
int ipc_send(int socket, const struct ipc_header *message, const int *files, size_t file_count,
	int64_t timeout_ms);

/*
 * Receive one message of at most `capacity` bytes into `message` and up to *file_count files, whose
 * number is stored there; they are close-on-exec. The header is checked (magic, size as received).
 * -ETIMEDOUT, -EAGAIN (timeout 0), -EPIPE (closed by the other side), -EPROTO (not a message; every
 * file received is closed).
 */
int ipc_receive(int socket, void *message, size_t capacity, int *files, size_t *file_count,
	int64_t timeout_ms);

/*
 * Send a request and receive its answer into `reply`. IPC_ERROR becomes the return value and *error;
 * IPC_PROGRESS is given to `progress` (may be NULL). `socket_name` is for the sentence.
 */
struct ipc_call {
	int socket;
	uint32_t *sequence;
	uint32_t timeout_ms;
	const char *socket_name;
	void (*progress)(void *context, const struct ipc_header *message);
	void *progress_context;
};
int ipc_call(const struct ipc_call *call, struct ipc_header *request, const int *files,
	size_t file_count, void *reply, size_t reply_capacity, size_t reply_least, int *ret_files,
	size_t *ret_file_count, struct rgm_error *error);

#endif
