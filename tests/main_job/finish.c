/* SPDX-License-Identifier: Apache-2.0 */
/* The assertions beside the workers' own; see finish.h. */
#include "finish.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define RECLAIM_LIMIT_MS 60000u
#define LOOK_MS          10u

/* The rows of all dimensions, with the kernel's counts if asked for; freed by free(). */
static bool rows_of(struct job *job, struct channel *channel, bool show,
	struct rgm_dimension_row **ret_rows, size_t *ret_count)
{
	struct rgm_dimension_row *rows = NULL;
	struct rgm_error error;
	size_t count = 0;
	int rc = rgm_control_list(channel->control, &rows, &count, &error);

	for (size_t i = 0; rc == 0 && show && i < count; i++)
		rc = rgm_control_show(channel->control, rows[i].name, &rows[i], &error);
	if (rc != 0) {
		job_tell(job, "cannot list dimensions: %s", error.message);
		free(rows);
		return false;
	}
	*ret_rows = rows;
	*ret_count = count;
	return true;
}

static bool open_channel(struct job *job, const struct instance *instance, struct channel *channel)
{
	struct rgm_error error;

	if (channel_open(channel, instance, &error) == 0)
		return true;
	job_tell(job, "cannot open a control connection: %s", error.message);
	return false;
}

bool finish_blocks(struct job *job, const struct instance *instance, struct figures *figures)
{
	uint64_t slack = strcmp(figures->scale, "full") == 0 ? 0 : 2 * RGM_EXTENT_BYTES;
	struct rgm_dimension_row *rows;
	struct channel channel;
	size_t count;
	bool good = open_channel(job, instance, &channel);

	if (!good)
		return false;
	good = rows_of(job, &channel, true, &rows, &count);
	channel_close(&channel);
	if (!good)
		return false;
	figures->blocks_bytes = figures->loaded_bytes = figures->loaded_layers = 0;
	for (size_t i = 0; i < count; i++) {
		figures->blocks_bytes += rows[i].block_bytes;
		figures->loaded_bytes += rows[i].bytes;
		figures->loaded_layers += rows[i].layers;
		if (strcmp(rows[i].name, "libs") == 0)
			figures->libs_from_bytes = rows[i].bytes;
	}
	good = figures->blocks_bytes * 10 <= figures->loaded_bytes * 11 + slack * count * 10;
	for (size_t i = 0; !good && i < count; i++)
		job_tell(job,
			"'%s': %llu bytes of content, %llu live pages, %llu free ones, take %llu "
			"bytes of "
			"blocks on the disk, more than 1.1x in all dimensions together",
			rows[i].name, (unsigned long long)rows[i].bytes,
			(unsigned long long)rows[i].live_pages,
			(unsigned long long)rows[i].free_pages,
			(unsigned long long)rows[i].block_bytes);
	free(rows);
	return good;
}

/* Is everything retired free again, and nothing else allocated? Tells the worst if `tell`. */
static bool is_reclaimed(struct job *job, const struct rgm_dimension_row *rows, size_t count,
	struct figures *figures, bool tell)
{
	bool good = true;

	figures->worst_ratio = 1;
	for (size_t i = 0; i < count; i++) {
		const struct rgm_dimension_row *row = &rows[i];
		double ratio = row->live_pages == 0
		                       ? (row->allocated_pages == 0 ? 1 : 2)
		                       : (double)row->allocated_pages / (double)row->live_pages;
		bool sound = row->retired_pages == 0 &&
		             row->allocated_pages * 100 <= row->live_pages * 101;

		if (ratio > figures->worst_ratio)
			figures->worst_ratio = ratio;
		good &= sound;
		if (tell && !sound)
			job_tell(job, "'%s' has %llu pages live, %llu allocated, %llu retired",
				row->name, (unsigned long long)row->live_pages,
				(unsigned long long)row->allocated_pages,
				(unsigned long long)row->retired_pages);
	}
	return good;
}

bool finish_reclaimed(struct job *job, const struct instance *instance, struct figures *figures)
{
	struct rgm_dimension_row *rows;
	struct channel channel;
	bool good = false;
	size_t count;

	if (!open_channel(job, instance, &channel))
		return false;
	for (uint32_t waited = 0; !good && waited <= RECLAIM_LIMIT_MS; waited += LOOK_MS) {
		if (!rows_of(job, &channel, false, &rows, &count))
			break;
		good = is_reclaimed(job, rows, count, figures, waited + LOOK_MS > RECLAIM_LIMIT_MS);
		free(rows);
		if (!good)
			job_sleep_ms(LOOK_MS);
	}
	channel_close(&channel);
	return good;
}

bool finish_readers_gone(struct job *job, const struct instance *instance)
{
	struct rgm_reader_row *rows = NULL;
	struct channel channel;
	struct rgm_error error;
	size_t count = 1;

	if (!open_channel(job, instance, &channel))
		return false;
	for (uint32_t waited = 0; count > 0 && waited < RECLAIM_LIMIT_MS; waited += LOOK_MS) {
		if (rgm_control_readers(channel.control, &rows, &count, &error) != 0) {
			job_tell(job, "cannot list readers: %s", error.message);
			break;
		}
		free(rows);
		if (count > 0)
			job_sleep_ms(LOOK_MS);
	}
	channel_close(&channel);
	if (count > 0)
		job_tell(job, "%zu sessions are left although all workers have ended", count);
	return count == 0;
}

bool finish_region_bytes(struct job *job, const struct instance *instance, uint64_t *ret_bytes)
{
	struct rgm_dimension_row *rows;
	struct channel channel;
	uint64_t bytes = 0;
	size_t count;
	bool good = open_channel(job, instance, &channel);

	if (!good)
		return false;
	good = rows_of(job, &channel, false, &rows, &count);
	channel_close(&channel);
	if (!good)
		return false;
	for (size_t i = 0; i < count; i++)
		bytes += rows[i].region_bytes;
	free(rows);
	*ret_bytes = bytes;
	return true;
}

static bool check_one(struct job *job, struct channel *channel, const struct rgm_dimension_row *row,
	struct figures *figures)
{
	struct rgm_check_report report = {0};
	struct rgm_error error = {0};
	int rc = rgm_control_check(channel->control, row->name, NULL, NULL, &report, &error);

	if (rc != 0 || report.problems != 0)
		job_tell(job, "check of '%s': %s", row->name,
			rc != 0 ? error.message : report.first_problem);
	else if (report.bytes != row->bytes || report.layers != row->layers)
		job_tell(job, "check of '%s' verified %llu bytes of %llu", row->name,
			(unsigned long long)report.bytes, (unsigned long long)row->bytes);
	figures->checked_bytes += report.bytes;
	return !job_failed(job);
}

bool finish_check(struct job *job, const struct instance *instance, struct figures *figures)
{
	struct rgm_dimension_row *rows;
	struct channel channel;
	size_t count;
	bool good = open_channel(job, instance, &channel);

	if (!good)
		return false;
	good = rows_of(job, &channel, true, &rows, &count);
	if (good) {
		for (size_t i = 0; good && i < count; i++)
			good = check_one(job, &channel, &rows[i], figures);
		free(rows);
	}
	channel_close(&channel);
	return good;
}

bool finish_check_files(struct job *job, const struct instance *instance)
{
	DIR *folder = opendir(instance->dir);
	struct rgm_check_report report = {0};
	struct rgm_error error = {0};
	struct dirent *entry;
	struct stat facts;
	char path[600];
	uint32_t files = 0;
	int rc;

	while (folder != NULL && (entry = readdir(folder)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", instance->dir, entry->d_name);
		/* region files are the large ones: whole extents */
		if (stat(path, &facts) != 0 || !S_ISREG(facts.st_mode) ||
			facts.st_size < (off_t)RGM_EXTENT_BYTES)
			continue;
		files++;
		rc = rgm_manager_check_file(path, NULL, NULL, &report, &error);
		if (rc != 0)
			job_tell(job, "check of '%s': %s", path, error.message);
	}
	if (folder != NULL)
		closedir(folder);
	if (files < 4)
		job_tell(job, "only %u region files in '%s'", files, instance->dir);
	return !job_failed(job);
}

bool finish_no_names(struct job *job, const char *instance_id)
{
	DIR *folder = opendir("/dev/shm");
	char prefix[64];
	struct dirent *entry;

	snprintf(prefix, sizeof(prefix), "regionmgr.%s", instance_id);
	while (folder != NULL && (entry = readdir(folder)) != NULL)
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			job_tell(job, "/dev/shm/%s is left behind", entry->d_name);
	if (folder != NULL)
		closedir(folder);
	return !job_failed(job);
}
