/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/daemon/log.h"

#include <cjson/cJSON.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "regionmgr/cli/json.h"
#include "regionmgr/cli/text.h"

#define SENTENCE_BYTES 1024u
#define LINE_BYTES     (4u * SENTENCE_BYTES + 192u)

static const struct {
	enum rgm_log_level level;
	const char *name;
} levels[] = {
	{RGM_LOG_ERROR, "error"},
	{RGM_LOG_WARNING, "warn"},
	{RGM_LOG_INFO, "info"},
	{RGM_LOG_DEBUG, "debug"},
};

static const char *level_name(enum rgm_log_level level)
{
	for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
		if (levels[i].level == level)
			return levels[i].name;
	}
	return "info";
}

enum rgm_log_level daemon_log_level(const char *name)
{
	for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
		if (strcmp(levels[i].name, name) == 0)
			return levels[i].level;
	}
	return RGM_LOG_INFO;
}

/* Lines that were not written since the last one that was. Relaxed: main() logs beside the library. */
static atomic_ulong dropped;

/* A reader of the log that has stopped must not stop the manager: a line is written where there is room
 * for it now (a pipe that is ready takes PIPE_BUF bytes without waiting), else dropped and counted. */
static void write_line(const char *line, size_t length)
{
	struct pollfd look = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (poll(&look, 1, 0) > 0 && (look.revents & POLLOUT) != 0 &&
		write(STDERR_FILENO, line, length) > 0)
		atomic_store_explicit(&dropped, 0, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
}

static void write_text(
	enum rgm_log_level level, const char *time, const char *event, const char *sentence)
{
	char line[LINE_BYTES];
	size_t length = strnlen(sentence, SENTENCE_BYTES), used;

	used = (size_t)snprintf(line, 96, "%s %s %.40s ", time, level_name(level), event);
	unsigned long missing = atomic_load_explicit(&dropped, memory_order_relaxed);
	if (missing > 0)
		used += (size_t)snprintf(line + used, 48, "(%lu lines were dropped) ", missing);
	used += text_escape(line + used, sizeof line - used - 1, sentence, length, TEXT_LINE);
	line[used++] = '\n';
	write_line(line, used);
}

static void write_json(enum rgm_log_level level, const char *time, const char *event,
	const char *sentence, const struct rgm_log_field *fields, size_t field_count)
{
	cJSON *object = cJSON_CreateObject();
	char *text, *line;

	json_text(object, "time", time);
	json_text(object, "level", level_name(level));
	json_text(object, "event", event);
	json_text(object, "message", sentence);
	unsigned long missing = atomic_load_explicit(&dropped, memory_order_relaxed);
	if (missing > 0)
		json_unsigned(object, "dropped", missing);
	for (size_t i = 0; i < field_count; i++) {
		if (fields[i].text != NULL)
			json_text(object, fields[i].key, fields[i].text);
		else
			json_unsigned(object, fields[i].key, fields[i].number);
	}
	text = cJSON_PrintUnformatted(object);
	cJSON_Delete(object);
	if (text == NULL)
		return;
	line = realloc(text, strlen(text) + 2);
	if (line != NULL) {
		size_t length = strlen(line);

		line[length] = '\n';
		write_line(line, length + 1);
		text = line;
	}
	free(text);
}

void daemon_log(void *context, enum rgm_log_level level, const char *event, const char *sentence,
	const struct rgm_log_field *fields, size_t field_count)
{
	const struct daemon_log *log = context;
	char time[TEXT_NUMBER_BYTES];
	struct timespec now;

	if (level > log->least)
		return;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	text_time_utc(time, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	if (log->json)
		write_json(level, time, event, sentence, fields, field_count);
	else
		write_text(level, time, event, sentence);
}
