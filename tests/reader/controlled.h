/* SPDX-License-Identifier: Apache-2.0 */
/* A manager of this process and a client of it by <regionmgr/control.h>, the same in each test. */
#ifndef TESTS_READER_CONTROLLED_H
#define TESTS_READER_CONTROLLED_H

#include "tests/manager/served.h"
#include <regionmgr/control.h>

static struct served served;
static struct rgm_control *control;
static struct rgm_error error;

/* One more client. */
static inline struct rgm_control *open_control(uint32_t timeout_ms)
{
	struct rgm_control *opened;
	struct rgm_control_options options = {.size = sizeof options,
		.socket = rgm_manager_socket(served.manager),
		.timeout_ms = timeout_ms};
	must(rgm_control_open("test", &options, &opened, &error), &error);
	return opened;
}

static inline int start(void **state)
{
	(void)state;
	served_start(&served, &(struct rgm_manager_options){.max_loads = 3});
	control = open_control(SUPPORT_LIMIT_MS);
	return 0;
}

static inline int stop(void **state)
{
	(void)state;
	rgm_control_close(control);
	served_stop(&served);
	return 0;
}

static inline void drop(const char *name)
{
	must(rgm_control_drop(control, name, false, NULL, &error), &error);
}

#endif
