/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard output, which can fail. Everything that is data goes through here; the first failure is
 * remembered, what follows is dropped, and out_close() tells it, so that no verb exits 0 with half of
 * its output. A reader who has left (`| head -1`) ends the program quietly, as SIGPIPE does.
 */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include <stdbool.h>
#include <stddef.h>

#include <regionmgr/error.h>

void out_write(const void *data, size_t bytes);
void out_text(const char *text);
__attribute__((format(printf, 1, 2))) void out_printf(const char *format, ...);

/* End the program as SIGPIPE does if nobody reads standard output any more: for who waits between lines. */
void out_check_reader(void);

/* Hand what is buffered to the system. 0, or the error remembered. */
int out_flush(struct rgm_error *error);
/* Flush and close; nothing can be written afterwards. */
int out_close(struct rgm_error *error);

/* Standard descriptors that were closed at the start become /dev/null opened the wrong way round:
 * writing to them fails, and no other file gets their number. */
void out_guard_descriptors(void);

#endif
