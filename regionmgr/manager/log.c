/* SPDX-License-Identifier: Apache-2.0 */
/* Telling the embedding program what happens, one event at a time. */
#include <stdarg.h>
#include <stdio.h>

#include "regionmgr/manager/manager.h"

void manager_log(struct rgm_manager *manager, enum rgm_log_level level, const char *event,
	const struct rgm_log_field *fields, const char *sentence, ...)
{
	if (!manager->log)
		return;
	char text[1024];
	va_list arguments;
	va_start(arguments, sentence);
	vsnprintf(text, sizeof text, sentence, arguments);
	va_end(arguments);
	size_t count = 0;
	while (fields && fields[count].key)
		count++;
	pthread_mutex_lock(&manager->log_lock);
	manager->log(manager->log_context, level, event, text, fields, count);
	pthread_mutex_unlock(&manager->log_lock);
}
