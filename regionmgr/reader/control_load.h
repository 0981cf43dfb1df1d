/* SPDX-License-Identifier: Apache-2.0 */
/* A client's load inside: shared by control_load.c and control_parts.c. */
#ifndef READER_CONTROL_LOAD_H
#define READER_CONTROL_LOAD_H

#include <stdbool.h>

#include "regionmgr/reader/control_client.h"

struct rgm_load {
	struct rgm_control *control; /* NULL: it was closed */
	int failed;                  /* code of the first failure, with its sentence */
	struct rgm_error error;
	bool lost;           /* no answer came: what the manager did is not known */
	uint32_t since_mark; /* quiet parts since the last that was not */
	uint32_t mark;       /* sequence of a part whose answer is to come; 0: none */

	bool streaming; /* between a stream's begin and end */

	union { /* the part in the making */
		struct ipc_load_part part;
		char bytes[IPC_MESSAGE_MAX_BYTES];
	} message;
};

/* The load is dead; its first failure is what every call tells. Both return its code. */
int load_fail(struct rgm_load *load, int code, struct rgm_error *error);
int load_tell(const struct rgm_load *load, struct rgm_error *ret_error);

/* Whether a part may follow, where the stream is open or not. Nothing is done where it may not. */
int load_check_turn(const struct rgm_load *load, bool streaming, struct rgm_error *error);

/* Send load->message, of which there are `bytes`, with a file unless that is -1. The last part of each
 * batch is answered, which bounds how far we are ahead. */
int load_send(struct rgm_load *load, enum ipc_type type, size_t bytes, int file);

#endif
