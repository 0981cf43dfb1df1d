/* SPDX-License-Identifier: Apache-2.0 */
/* doctor: the manager, its places and its readers; runs the other examinations. */
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "regionmgr/cli/doctor.h"
#include "regionmgr/cli/out.h"
#include "regionmgr/cli/text.h"
#include "regionmgr/cli/verbs.h"

static const struct column doctor_columns[] = {
	{"result", NULL, COLUMN_TEXT, COLUMN_STATE},
	{"check", NULL, COLUMN_TEXT, 0},
	{"fact", NULL, COLUMN_TEXT, 0},
	{"remedy", NULL, COLUMN_TEXT, 0},
	{NULL, NULL, COLUMN_TEXT, 0},
};

static const char *const words[] = {"ok", "warn", "fail"};
static const char *const colors[] = {"\033[32m", "\033[33m", "\033[31m"};

void doctor_find(struct doctor *doctor, const char *what, enum finding finding, const char *remedy,
	const char *format, ...)
{
	char fact[768];
	va_list list;

	va_start(list, format);
	(void)vsnprintf(fact, sizeof fact, format, list);
	va_end(list);
	doctor->counts[finding]++;
	table_row(doctor->table);
	table_text(doctor->table, words[finding]);
	table_text(doctor->table, what);
	table_text(doctor->table, fact);
	if (remedy != NULL)
		table_text(doctor->table, remedy);
	else
		table_null(doctor->table);
}

static void examine_manager(struct doctor *doctor)
{
	struct rgm_error error = {0};
	struct cli *cli = doctor->cli;
	char start[256], uptime[TEXT_NUMBER_BYTES];
	int rc = cli_control(cli, &error);

	if (rc == 0)
		rc = rgm_control_status(cli->control, &doctor->status, &error);
	doctor->reached = rc == 0;
	cli_start_command(cli, start, sizeof start);
	if (rc != 0) {
		doctor_find(doctor, "manager", FINDING_FAIL,
			rc == RGM_ENOMANAGER ? start : error.hint, "%s", error.message);
		return;
	}
	text_duration(uptime, doctor->status.uptime_ns);
	doctor_find(doctor, "manager", FINDING_OK, NULL, "manager %s serves '%s' (pid %u, up %s)",
		doctor->status.version_text, doctor->status.instance, doctor->status.pid, uptime);
	if (strcmp(doctor->status.version_text, rgm_version()) != 0)
		doctor_find(doctor, "version", FINDING_WARN,
			"restart regionmgrd with the version installed",
			"the manager is version %s, this program %s", doctor->status.version_text,
			rgm_version());
}

static void find_folder(struct doctor *doctor)
{
	const char *given = settings_text(&doctor->cli->settings, "dir");

	if (doctor->reached)
		(void)snprintf(doctor->folder, sizeof doctor->folder, "%s", doctor->status.folder);
	else if (given != NULL)
		(void)snprintf(doctor->folder, sizeof doctor->folder, "%s", given);
	else if (rgm_control_folder_path(
			 doctor->cli->instance, doctor->folder, sizeof doctor->folder, NULL) != 0)
		doctor->folder[0] = '\0';
}

static void examine_folder(struct doctor *doctor)
{
	struct stat facts;
	char remedy[600];

	if (stat(doctor->folder, &facts) != 0) {
		if (errno == ENOENT && !doctor->reached)
			doctor_find(doctor, "folder", FINDING_OK, NULL,
				"folder '%s' will be made by the first manager", doctor->folder);
		else
			doctor_find(doctor, "folder", FINDING_WARN, NULL, "folder '%s': %s",
				doctor->folder, strerror(errno));
		return;
	}
	(void)snprintf(remedy, sizeof remedy, "chmod 700 '%s'", doctor->folder);
	if ((facts.st_mode & 022) != 0)
		doctor_find(doctor, "folder", FINDING_FAIL, remedy,
			"folder '%s' may be written by others (mode %03o)", doctor->folder,
			facts.st_mode & 0777);
	else if ((facts.st_mode & 077) != 0)
		doctor_find(doctor, "folder", FINDING_WARN, remedy,
			"folder '%s' may be read by others (mode %03o)", doctor->folder,
			facts.st_mode & 0777);
	else
		doctor_find(doctor, "folder", FINDING_OK, NULL,
			"folder '%s' is private (mode %03o)", doctor->folder, facts.st_mode & 0777);
}

static void examine_socket(struct doctor *doctor)
{
	const char *path = doctor->cli->socket, *slash = strrchr(path, '/');
	char folder[512], remedy[600];
	struct stat facts;

	if (stat(path, &facts) != 0) {
		if (doctor->reached)
			doctor_find(doctor, "socket", FINDING_FAIL, NULL, "socket '%s': %s", path,
				strerror(errno));
		return;
	}
	(void)snprintf(folder, sizeof folder, "%.*s", slash == NULL ? 1 : (int)(slash - path),
		slash == NULL ? "." : path);
	if (!doctor->reached && S_ISSOCK(facts.st_mode)) {
		(void)snprintf(remedy, sizeof remedy, "start regionmgrd, which replaces it");
		doctor_find(doctor, "socket", FINDING_WARN, remedy,
			"socket '%s' was left behind: nobody listens on it", path);
	} else if (!S_ISSOCK(facts.st_mode)) {
		doctor_find(doctor, "socket", FINDING_FAIL, NULL, "'%s' is not a socket", path);
	} else if (stat(folder, &facts) == 0 && (facts.st_mode & 022) != 0 &&
		   (facts.st_mode & S_ISVTX) == 0) {
		(void)snprintf(remedy, sizeof remedy, "chmod go-w '%s'", folder);
		doctor_find(doctor, "socket", FINDING_FAIL, remedy,
			"the socket's folder '%s' may be written by others (mode %03o)", folder,
			facts.st_mode & 0777);
	} else {
		doctor_find(
			doctor, "socket", FINDING_OK, NULL, "socket '%s' is in its place", path);
	}
}

static void examine_refused(struct doctor *doctor)
{
	struct rgm_dimension_row *rows = NULL;
	size_t count = 0, refused = 0;

	if (!doctor->reached || rgm_control_list(doctor->cli->control, &rows, &count, NULL) != 0)
		return;
	for (size_t i = 0; i < count; i++) {
		char remedy[800];

		if (strcmp(rows[i].state, "refused") != 0)
			continue;
		refused++;
		(void)snprintf(remedy, sizeof remedy,
			"regionctl check --file '%s/%s'; then regionctl drop %s --yes and load it "
			"again",
			doctor->folder, rows[i].file, rows[i].name);
		doctor_find(doctor, "dimensions", FINDING_FAIL, remedy,
			"dimension '%s' is not served: %s", rows[i].name, rows[i].reason);
	}
	if (refused == 0)
		doctor_find(doctor, "dimensions", FINDING_OK, NULL, "all %zu dimensions are served",
			count);
	free(rows);
}

/* A process that is stopped (SIGSTOP, a debugger) goes on by SIGCONT; where /proc does not say so it is
 * taken for one that is busy. */
static bool stopped(uint32_t pid)
{
	char path[40], line[512] = "";
	const char *state;
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%u/stat", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	if (fgets(line, sizeof line, file) == NULL)
		line[0] = '\0';
	(void)fclose(file);
	/* "pid (name) state …", and a name may hold a parenthesis */
	state = strrchr(line, ')');
	return state != NULL && state[1] == ' ' && (state[2] == 'T' || state[2] == 't');
}

static void remedy_for(const struct rgm_reader_row *row, char *remedy, size_t remedy_bytes)
{
	if (row->pid == 0)
		(void)snprintf(remedy, remedy_bytes, "regionctl readers");
	else if (stopped(row->pid))
		(void)snprintf(remedy, remedy_bytes, "kill -CONT %u", row->pid);
	else
		(void)snprintf(remedy, remedy_bytes, "kill %u", row->pid);
}

static void examine_readers(struct doctor *doctor)
{
	struct rgm_reader_row *rows = NULL;
	size_t count = 0, lagging = 0;

	if (!doctor->reached || rgm_control_readers(doctor->cli->control, &rows, &count, NULL) != 0)
		return;
	for (size_t i = 0; i < count; i++) {
		const struct rgm_reader_row *row = &rows[i];
		struct passwd *user = getpwuid(row->uid);
		const char *name = user != NULL ? user->pw_name : "?";
		char kept[TEXT_NUMBER_BYTES], age[TEXT_NUMBER_BYTES], remedy[64];

		if (strcmp(row->lag, "ok") == 0)
			continue;
		lagging++;
		text_bytes(kept, row->kept_bytes);
		text_duration(age, row->age_ns);
		remedy_for(row, remedy, sizeof remedy);
		if (strcmp(row->lag, "lagging") == 0)
			doctor_find(doctor, "readers", FINDING_WARN, remedy,
				"'%s' (pid %u, user %s) looks at version %llu, replaced %s ago, "
				"and keeps %s",
				row->label, row->pid, name, (unsigned long long)row->oldest_version,
				age, kept);
		else
			doctor_find(doctor, "readers", FINDING_WARN, remedy,
				"'%s' (pid %u, user %s) was %s for keeping memory, and has not %s",
				row->label, row->pid, name, row->lag,
				strcmp(row->lag, "killed") == 0 ? "ended" : "noticed");
	}
	if (lagging == 0)
		doctor_find(doctor, "readers", FINDING_OK, NULL,
			"none of %zu readers keeps old memory", count);
	free(rows);
}

static void print(const struct doctor *doctor, bool color)
{
	for (size_t row = 0; row < doctor->table->row_count; row++) {
		const struct cell *cells = table_cell(doctor->table, row, 0);
		char *fact = table_cell_text(&doctor_columns[2], &cells[2], true);
		char *remedy =
			cells[3].null ? NULL : table_cell_text(&doctor_columns[3], &cells[3], true);
		size_t word = FINDING_OK;

		while (word < FINDING_FAIL && strcmp(words[word], cells[0].text) != 0)
			word++;
		out_printf("%s[%s]%s %s%s%s\n", color ? colors[word] : "", words[word],
			color ? "\033[0m" : "", fact != NULL ? fact : "",
			remedy != NULL ? ": " : "", remedy != NULL ? remedy : "");
		free(fact);
		free(remedy);
	}
}

int verb_doctor(struct cli *cli, struct rgm_error *error)
{
	static void (*const examinations[])(struct doctor *) = {examine_folder, examine_socket,
		doctor_file_system, doctor_space, doctor_shared_memory, doctor_leftovers,
		doctor_membarrier, doctor_descriptors, doctor_locked_memory, doctor_huge_pages,
		examine_refused, examine_readers};
	struct table table;
	struct doctor doctor = {.cli = cli, .table = &table};
	int rc = 0;

	table_begin(&table, doctor_columns, TABLE_ROWS);
	examine_manager(&doctor);
	find_folder(&doctor);
	for (size_t i = 0; i < sizeof examinations / sizeof examinations[0]; i++)
		examinations[i](&doctor);
	if (table.failed)
		rc = pool_fail(error, -ENOMEM, "no memory for the findings");
	else if (cli->json)
		rc = view_table(cli, &table, error);
	else
		print(&doctor, cli->view.color);
	if (rc == 0 && doctor.counts[FINDING_FAIL] > 0)
		rc = pool_fail(error, CLI_TOLD, "%zu findings need attention",
			doctor.counts[FINDING_FAIL]);
	table_free(&table);
	return rc;
}
