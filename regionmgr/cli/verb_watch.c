/* SPDX-License-Identifier: Apache-2.0 */
/* watch: sleep as a reader does, and write a line for each change. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "regionmgr/cli/json.h"
#include "regionmgr/cli/out.h"
#include "regionmgr/cli/text.h"
#include "regionmgr/cli/verbs.h"
#include "regionmgr/cli/watch.h"

/* How often it looks whether somebody still reads what it writes. */
#define LOOK_MS 500

#define ALL_EVENTS                                                                                 \
	(RGM_NEWS_CREATED | RGM_NEWS_CHANGED | RGM_NEWS_GROWN | RGM_NEWS_RENAMED | RGM_NEWS_DROPPED)

static const struct column columns[] = {
	{"time", NULL, COLUMN_TEXT, 0},
	{"version", NULL, COLUMN_NUMBER, 0},
	{"name", NULL, COLUMN_TEXT, 0},
	{"what", NULL, COLUMN_TEXT, 0},
	{"bytes", NULL, COLUMN_BYTES, 0},
	{"layers", NULL, COLUMN_NUMBER, 0},
	{"region_bytes", "region", COLUMN_BYTES, 0},
	{"was", NULL, COLUMN_TEXT, 0},
	{"id", NULL, COLUMN_NUMBER, COLUMN_JSON},
	{"generation", NULL, COLUMN_NUMBER, COLUMN_JSON},
	{NULL, NULL, COLUMN_TEXT, 0},
};
/* On a terminal; negative: to the left. What is wider moves its line alone. */
static const int widths[] = {-19, 9, -20, -7, 10, 8, 10, 0};

struct stream {
	struct cli *cli;
	struct watch watch;
	struct rgm_news news;        /* of the one NAME, where there is one */
	uint64_t from, count, lines; /* --from, --count (0: none), written */
	uint64_t until_ms;           /* CLOCK_MONOTONIC; 0: for ever */
	int rc;
	struct rgm_error *error; /* of rc */
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- lines -------------------------------------------------------------------------------------- */

static void put_cell(const char *text, int width, bool last)
{
	if (last)
		out_printf("%s\n", text);
	else
		out_printf("%*s  ", width, text);
}

static void header(const struct cli *cli)
{
	out_text(cli->view.color ? "\033[1m" : "");
	for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
		const char *title = columns[i].title != NULL ? columns[i].title : columns[i].key;

		if (i + 1 < sizeof widths / sizeof widths[0])
			put_cell(title, widths[i], false);
		else
			out_text(title);
	}
	out_printf("%s\n", cli->view.color ? "\033[0m" : "");
}

static int put_json(const struct table *table, struct rgm_error *error)
{
	cJSON *object = table_json(table);
	char *text = object != NULL ? cJSON_PrintUnformatted(object) : NULL;

	cJSON_Delete(object);
	if (text == NULL)
		return pool_fail(error, -ENOMEM, "no memory for the JSON document");
	out_printf("%s\n", text);
	free(text);
	return 0;
}

static int put_text(const struct cli *cli, const struct table *table, struct rgm_error *error)
{
	const size_t shown = sizeof widths / sizeof widths[0];

	for (size_t i = 0; i < shown; i++) {
		bool last = i + 1 == shown;
		char *text =
			table_cell_text(&columns[i], table_cell(table, 0, i), cli->view.terminal);

		if (text == NULL)
			return pool_fail(error, -ENOMEM, "no memory for the output");
		if (cli->view.terminal)
			put_cell(text, widths[i], last);
		else
			out_printf("%s%s", text, last ? "\n" : "\t");
		free(text);
	}
	return 0;
}

static void fill(struct table *table, bool terminal, enum watch_what what, uint64_t version,
	const struct watch_row *row, const struct watch_row *was)
{
	char time[TEXT_NUMBER_BYTES];
	bool counted = row->counted && what != WATCH_DROPPED;

	(terminal ? text_time : text_time_utc)(time, clock_ns(CLOCK_REALTIME));
	table_row(table);
	table_text(table, time);
	table_number(table, version);
	table_text(table, row->name);
	table_text(table, watch_word(what));
	if (counted) {
		table_number(table, row->bytes);
		table_number(table, row->layers);
	} else {
		table_null(table);
		table_null(table);
	}
	table_number(table, row->region_bytes);
	if (what == WATCH_RENAMED)
		table_text(table, was->name);
	else
		table_null(table);
	table_number(table, row->dimension.id);
	table_number(table, row->generation);
}

static void tell(void *context, enum watch_what what, uint64_t version, const struct watch_row *row,
	const struct watch_row *was)
{
	struct stream *stream = context;
	struct cli *cli = stream->cli;
	struct table table;

	if (stream->rc != 0 || version <= stream->from ||
		(stream->count != 0 && stream->lines == stream->count))
		return;
	table_begin(&table, columns, TABLE_RECORD);
	fill(&table, cli->view.terminal && !cli->json, what, version, row, was);
	if (table.failed)
		stream->rc = pool_fail(stream->error, -ENOMEM, "no memory for the output");
	else if (cli->json)
		stream->rc = put_json(&table, stream->error);
	else
		stream->rc = put_text(cli, &table, stream->error);
	table_free(&table);
	stream->lines++;
	/* at once: who reads it waits for it */
	if (stream->rc == 0)
		stream->rc = out_flush(stream->error);
}

/* --- waiting ------------------------------------------------------------------------------------ */

/* Sleep until something may have changed. One NAME is waited for by name: the changes of others do not
 * even wake this process's only thread for more than a look. */
static int sleep_once(struct stream *stream, int64_t ms, struct rgm_error *error)
{
	struct rgm_wait_options options = {.size = sizeof options};
	uint64_t version;

	if (stream->watch.name_count != 1)
		return rgm_wait(
			stream->watch.session, stream->watch.before.version, ms, &version, error);
	options.events = ALL_EVENTS;
	options.name = stream->watch.names[0];
	options.seen = &stream->news;
	options.timeout_ms = ms;
	return rgm_wait_for(stream->watch.session, &options, &stream->news, error);
}

/* 0: look again; 1: the time is over. */
static int sleep_until(struct stream *stream, struct rgm_error *error)
{
	for (;;) {
		uint64_t now_ms = clock_ns(CLOCK_MONOTONIC) / 1000000u;
		int64_t left_ms = LOOK_MS;
		int rc;

		if (stream->until_ms != 0 && now_ms >= stream->until_ms)
			return 1;
		if (stream->until_ms != 0 && stream->until_ms - now_ms < LOOK_MS)
			left_ms = (int64_t)(stream->until_ms - now_ms);
		out_check_reader();
		rc = sleep_once(stream, left_ms, error);
		if (rc == RGM_EGONE) {
			pool_fail(error, RGM_ENOMANAGER, "the manager at '%s' has stopped",
				stream->cli->socket);
			return cli_explain(stream->cli, NULL, error);
		}
		if (rc != -ETIMEDOUT && rc != -EINTR)
			return rc;
	}
}

static int run(struct stream *stream, struct rgm_error *error)
{
	int rc = 0;

	while (rc == 0 && (stream->count == 0 || stream->lines < stream->count)) {
		rc = sleep_until(stream, error);
		if (rc == 0)
			rc = watch_again(&stream->watch, tell, stream, error);
		if (rc == 0)
			rc = stream->rc;
	}
	if (rc <= 0)
		return rc;
	if (stream->count == 0)
		return 0;
	return pool_fail(error, -ETIMEDOUT, "%llu of %llu changes within %s",
		(unsigned long long)stream->lines, (unsigned long long)stream->count,
		args_text(&stream->cli->args, "for"));
}

/* --- the verb ----------------------------------------------------------------------------------- */

/* What each NAME is before the first look: what changes after it ends the first sleep. RGM_ENAME. */
static int check_names(struct stream *stream, struct rgm_error *error)
{
	struct rgm_news nothing = {.size = sizeof nothing};
	struct rgm_wait_options options = {.size = sizeof options};
	int rc = 0;

	stream->news.size = sizeof stream->news;
	options.events = RGM_NEWS_VERSION;
	options.seen = &nothing;
	for (size_t i = 0; i < stream->watch.name_count && rc == 0; i++) {
		options.name = stream->watch.names[i];
		rc = rgm_wait_for(stream->watch.session, &options, &stream->news, error);
	}
	return rc;
}

static int check_present(struct stream *stream, struct rgm_error *error)
{
	for (size_t i = 0; i < stream->watch.name_count; i++) {
		const char *name = stream->watch.names[i];

		if (!watch_has(&stream->watch, i)) {
			pool_fail(error, RGM_ENODIM, "there is no dimension '%s'", name);
			return cli_explain(stream->cli, name, error);
		}
	}
	return 0;
}

static int attach(struct cli *cli, struct watch *watch, struct rgm_error *error)
{
	struct rgm_attach_options options = {.size = sizeof options};
	int rc;

	options.socket = cli->socket;
	options.slots = 1;
	options.timeout_ms = (uint32_t)settings_number(&cli->settings, "timeout");
	rc = rgm_session_attach(cli->instance, &options, &watch->session, error);
	if (rc != 0)
		return cli_explain(cli, NULL, error);
	return rgm_slot_open(watch->session, &watch->slot, error);
}

int verb_watch(struct cli *cli, struct rgm_error *error)
{
	const struct option_value *from = args_option(&cli->args, "from");
	const struct option_value *limit = args_option(&cli->args, "for");
	struct stream stream = {.cli = cli, .error = error};
	int rc;

	stream.watch.names = cli->args.words;
	stream.watch.name_count = cli->args.word_count;
	stream.from = from->number;
	stream.count = args_option(&cli->args, "count")->number;
	if (limit->given)
		stream.until_ms = clock_ns(CLOCK_MONOTONIC) / 1000000u + limit->number;
	rc = attach(cli, &stream.watch, error);
	if (rc == 0)
		rc = check_names(&stream, error);
	if (rc == 0)
		rc = watch_begin(&stream.watch, from->given ? stream.from : UINT64_MAX, error);
	if (rc == 0 && !args_flag(&cli->args, "await"))
		rc = check_present(&stream, error);
	if (rc == 0 && cli->view.terminal && !cli->json)
		header(cli);
	if (rc == 0 && from->given)
		watch_since(&stream.watch, stream.from, tell, &stream);
	if (rc == 0)
		rc = stream.rc != 0 ? stream.rc : out_flush(error);
	if (rc == 0)
		rc = run(&stream, error);
	watch_look_free(&stream.watch.before);
	rgm_slot_close(stream.watch.slot);
	rgm_session_detach(stream.watch.session);
	return rc;
}
