/* SPDX-License-Identifier: Apache-2.0 */
/* Between the public structs of control.h and their form in messages, on the manager's side. */
#ifndef MANAGER_WIRE_H
#define MANAGER_WIRE_H

#include "ipc/message_rows.h"
#include <regionmgr/control.h>

void wire_put_error(
	struct ipc_error *ret_message, uint32_t sequence, int code, const struct rgm_error *error);
void wire_put_status(struct ipc_status_reply *reply, const struct rgm_status *status);
void wire_put_dimension(struct ipc_dimension_row *row, const struct rgm_dimension_row *dimension);
void wire_put_reader(struct ipc_reader_row *row, const struct rgm_reader_row *reader);
void wire_put_counter(struct ipc_counter_row *row, const struct rgm_counter *counter);

/* `access` has room for IPC_ACCESS_MAX and is what ret_options->access will point to. -EINVAL. */
int wire_get_create(const struct ipc_create_options *message, struct rgm_principal *access,
	struct rgm_create_options *ret_options, struct rgm_error *error);

#endif
