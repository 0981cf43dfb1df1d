/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "regionmgr/cli/json.h"
#include "regionmgr/cli/scan.h"
#include "regionmgr/cli/verbs.h"

#define PROCESSES_MAX 1024u
#define THREADS_MAX   1024u

static uint64_t processors(void)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof set, &set) == 0)
		return (uint64_t)CPU_COUNT(&set);
	return online > 0 ? (uint64_t)online : 1;
}

static int number(struct cli *cli, const char *name, uint64_t fallback, uint64_t most,
	uint64_t *ret_number, struct rgm_error *error)
{
	const struct option_value *value = args_option(&cli->args, name);

	if (value->given && value->number > most)
		return pool_fail(error, CLI_USAGE, "scan: --%s is at most %llu", name,
			(unsigned long long)most);
	*ret_number = value->given ? value->number : fallback;
	return 0;
}

static const struct column scan_columns[] = {
	{"name", NULL, COLUMN_TEXT, 0},
	{"version", NULL, COLUMN_NUMBER, 0},
	{"layers", NULL, COLUMN_NUMBER, 0},
	{"bytes", NULL, COLUMN_BYTES, 0},
	{"crc32c", NULL, COLUMN_CRC, 0},
	{"seconds", NULL, COLUMN_REAL, 0},
	{"gb_per_s", "GB/s", COLUMN_REAL, 0},
	{NULL, NULL, COLUMN_TEXT, 0},
};

static double speed(uint64_t bytes, uint64_t loops, uint64_t duration_ns)
{
	return duration_ns == 0 ? 0.0 : (double)bytes * (double)loops / (double)duration_ns;
}

static void add_row(struct table *table, const char *name, uint64_t version, uint64_t layers,
	uint64_t bytes, uint32_t crc, uint64_t duration_ns, uint64_t loops)
{
	table_row(table);
	table_text(table, name);
	table_number(table, version);
	table_number(table, layers);
	table_number(table, bytes);
	table_number(table, crc);
	table_real(table, (double)duration_ns / 1e9);
	table_real(table, speed(bytes, loops, duration_ns));
}

static void fill(const struct scan *scan, bool total, struct table *table)
{
	uint64_t layers = 0;
	uint32_t crc = 0;

	for (size_t i = 0; i < scan->part_count; i++) {
		const struct scan_part *part = &scan->parts[i];

		add_row(table, part->name, part->version, part->layer_count, part->bytes,
			part->crc32c, part->duration_ns, scan->loops);
		layers += part->layer_count;
		crc = rgm_crc32c_combine(crc, part->crc32c, part->bytes);
	}
	if (total)
		add_row(table, "total", scan->parts[0].version, layers, scan->bytes, crc,
			scan->duration_ns, scan->loops);
}

/* {"dimensions":[…],"total":{…},"processes":…,"threads":…,"loops":…} */
static int show_json(struct cli *cli, const struct scan *scan, struct rgm_error *error)
{
	cJSON *document = cJSON_CreateObject(), *rows, *total;
	struct table table;

	table_begin(&table, scan_columns, TABLE_ROWS);
	fill(scan, true, &table);
	rows = table_json(&table);
	total = cJSON_DetachItemFromArray(rows, (int)scan->part_count);
	cJSON_DeleteItemFromObject(total, "name");
	cJSON_AddItemToObject(document, "dimensions", rows);
	cJSON_AddItemToObject(document, "total", total);
	json_unsigned(document, "processes", scan->processes);
	json_unsigned(document, "threads", scan->threads);
	json_unsigned(document, "loops", scan->loops);
	table_free(&table);
	return view_json(cli, document, error);
}

static int show(struct cli *cli, const struct scan *scan, struct rgm_error *error)
{
	struct table table;
	int rc;

	if (cli->json)
		return show_json(cli, scan, error);
	table_begin(&table, scan_columns, TABLE_ROWS);
	fill(scan, true, &table);
	rc = view_table(cli, &table, error);
	table_free(&table);
	return rc;
}

int verb_scan(struct cli *cli, struct rgm_error *error)
{
	struct scan scan = {0};
	struct reader reader;
	int rc = number(cli, "threads", processors(), THREADS_MAX, &scan.threads, error);

	if (rc == 0)
		rc = number(cli, "processes", 1, PROCESSES_MAX, &scan.processes, error);
	if (rc == 0)
		rc = number(cli, "loops", 1, UINT32_MAX, &scan.loops, error);
	if (rc == 0)
		rc = reader_open(cli, cli->args.words, cli->args.word_count, &reader, error);
	if (rc != 0)
		return rc;
	rc = scan_prepare(&scan, &reader, cli->args.words, error);
	if (rc == 0)
		rc = scan_run(&scan, cli, error);
	if (rc == 0)
		rc = scan_finish(&scan, error);
	rc = reader_end(&reader, rc, error);
	if (rc == 0)
		rc = show(cli, &scan, error);
	scan_free(&scan);
	return rc;
}
