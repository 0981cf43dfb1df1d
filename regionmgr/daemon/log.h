/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's events on standard error: one line each, for people or as JSON. */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include <stdbool.h>

#include <regionmgr/manager.h>

struct daemon_log {
	bool json;
	enum rgm_log_level least; /* events less important than this are left out */
};

/*
 * An rgm_log: context is a struct daemon_log. One write(2) a line, so that lines of several processes
 * on one file do not mix. A log that cannot be written is no reason to stop serving.
 *
 *   2026-11-22T14:00:00.123Z info attach reader 3 (pid 12, user 0) attached
 *   {"time":"…","level":"info","event":"attach","message":"…","number":3,"pid":12}
 */
void daemon_log(void *context, enum rgm_log_level level, const char *event, const char *sentence,
	const struct rgm_log_field *fields, size_t field_count);

/* "error", "warn", "info", "debug"; anything else is RGM_LOG_INFO. */
enum rgm_log_level daemon_log_level(const char *name);

#endif
