/* SPDX-License-Identifier: Apache-2.0 */
/* The client of the control socket inside: shared by control.c, control_lists.c and
 * control_load.c. */
#ifndef READER_CONTROL_CLIENT_H
#define READER_CONTROL_CLIENT_H

#include "ipc/message_rows.h"
#include "ipc/socket.h"
#include <regionmgr/control.h>

struct rgm_control {
	struct ipc_connection connection;
	uint32_t timeout_ms;
	struct rgm_load *load; /* under way on this connection, or NULL */
};

/* A text of fixed size in a message into an array of the caller's. */
#define GET_TEXT(to, from) ipc_text_get((to), sizeof(to), (from), sizeof(from))

struct ipc_call control_call(struct rgm_control *control);
/* 0, or RGM_EBUSY while a load has the connection. */
int control_idle(const struct rgm_control *control, struct rgm_error *error);

/* The caller's options over our defaults, as much as both know. -EINVAL if its size is not set. */
int control_options(void *ret_own, size_t own_bytes, const void *given, struct rgm_error *error);

/* Options of a dimension to be made, for a message. -EINVAL. */
int control_put_create(const struct rgm_create_options *options,
	struct ipc_create_options *ret_message, struct rgm_error *error);

/* A struct rgm_dimension_row from a struct ipc_dimension_row. */
void control_get_dimension(void *public, const void *wire);

/* The connection ends: a load that is still there can only be freed. */
void control_load_orphan(struct rgm_load *load);

#endif
