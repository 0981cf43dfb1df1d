/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and replacing the catalog file. See catalog.h. */
#include "regionmgr/manager/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/socket.h"
#include "pool/crc32c.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/manager/open.h"
#include "regionmgr/manager/table.h"

#define CATALOG_NEW ".catalog.new"

void catalog_free(struct catalog *catalog)
{
	free(catalog->records);
	*catalog = (struct catalog){0};
}

void catalog_region_name(uint64_t id, char *ret_name)
{
	snprintf(ret_name, 32, "%016" PRIx64 ".region", id);
}

uint64_t catalog_region_id(const char *name)
{
	if (strlen(name) != 23 || strcmp(name + 16, ".region") != 0 ||
		strspn(name, "0123456789abcdef") != 16)
		return 0;
	return strtoull(name, NULL, 16);
}

static uint32_t checksum(struct catalog_header header, const struct catalog_record *records)
{
	header.crc32c = 0;
	uint32_t crc = pool_crc32c(0, &header, sizeof header);
	return pool_crc32c(crc, records, header.count * sizeof *records);
}

static int check_record(const struct catalog_record *record, struct rgm_error *error)
{
	char name[RGM_NAME_MAX + 1] = {0};
	if (record->name_length > RGM_NAME_MAX || record->access_count > MANAGER_ACCESS_MAX)
		return pool_fail(error, RGM_ECORRUPT, "catalog: a record's counts are too large");
	memcpy(name, record->name, record->name_length);
	if (strlen(name) != record->name_length || ipc_check_name("dimension", name, NULL))
		return pool_fail(error, RGM_ECORRUPT, "catalog: a record's name breaks the rules");
	if (record->id == 0 || record->max_bytes == 0 ||
		record->max_bytes > POOL_MAX_REGION_BYTES || record->max_bytes % POOL_EXTENT_BYTES)
		return pool_fail(error, RGM_ECORRUPT, "catalog: the record of '%s' is wrong", name);
	if (!dim_kind_by_number(record->kind))
		return pool_fail(error, RGM_EFORMAT,
			"catalog: '%s' is of kind %u, which this program does not know", name,
			record->kind);
	return 0;
}

static int check(const struct catalog *catalog, uint64_t file_bytes, struct rgm_error *error)
{
	const struct catalog_header *header = &catalog->header;
	if (header->magic != CATALOG_MAGIC)
		return pool_fail(error, RGM_ECORRUPT, "catalog: it is not a regionmgr catalog");
	if (header->format_version != CATALOG_VERSION || header->byte_order != POOL_BYTE_ORDER)
		return pool_fail(error, RGM_EFORMAT,
			"catalog: format version %u is not the %u that this program reads",
			header->format_version, CATALOG_VERSION);
	if (file_bytes != sizeof *header + header->count * sizeof *catalog->records)
		return pool_fail(error, RGM_ECORRUPT,
			"catalog: %" PRIu64 " bytes do not hold %u records", file_bytes,
			header->count);
	if (checksum(*header, catalog->records) != header->crc32c)
		return pool_fail(error, RGM_ECORRUPT, "catalog: its checksum is wrong");
	for (uint32_t i = 0; i < header->count; i++) {
		int rc = check_record(&catalog->records[i], error);
		if (rc)
			return rc;
	}
	return 0;
}

int catalog_read(int folder, struct catalog *ret_catalog, struct rgm_error *error)
{
	struct catalog catalog = {0};
	struct stat status;
	int file, rc = folder_open_file(folder, CATALOG_FILE, O_RDONLY, &file, error);
	if (rc)
		return rc;
	if (fstat(file, &status)) {
		rc = pool_fail_errno(error, "catalog");
		goto out;
	}
	uint64_t bytes = (uint64_t)status.st_size;
	if (bytes < sizeof catalog.header ||
		bytes > sizeof catalog.header + IPC_MAX_DIMENSIONS * sizeof *catalog.records) {
		rc = pool_fail(
			error, RGM_ECORRUPT, "catalog: %" PRIu64 " bytes are not its size", bytes);
		goto out;
	}
	size_t record_bytes = bytes - sizeof catalog.header;
	catalog.records = calloc(1, record_bytes ? record_bytes : 1);
	rc = catalog.records ? os_read_all(file, &catalog.header, sizeof catalog.header, 0)
	                     : -ENOMEM;
	if (rc == 0)
		rc = os_read_all(file, catalog.records, record_bytes, sizeof catalog.header);
	rc = rc ? pool_fail(error, rc, "catalog: %s", strerror(-rc))
	        : check(&catalog, bytes, error);
out:
	close(file);
	if (rc)
		catalog_free(&catalog);
	else
		*ret_catalog = catalog;
	return rc;
}

/* --- Writing ---------------------------------------------------------------------------------- */

struct collect {
	struct catalog_record *records;
	uint32_t count, capacity;
	const struct catalog_change *change;
};

static void fill(struct catalog_record *record, const struct dimension *dimension, const char *name)
{
	*record = (struct catalog_record){.id = dimension->id,
		.kind = dimension->kind->number,
		.name_length = (uint32_t)strlen(name),
		.max_bytes = dimension->max_bytes,
		.access_count = (uint32_t)dimension->access_count};
	memcpy(record->name, name, record->name_length);
	memcpy(record->access, dimension->access,
		dimension->access_count * sizeof record->access[0]);
}

static int collect_one(void *context, struct dimension *dimension, const struct dim_state *state)
{
	struct collect *collect = context;
	const struct catalog_change *change = collect->change;
	if (change && (dimension == change->removed || dimension == change->added))
		return 0;
	if (collect->count == collect->capacity)
		return -ENOMEM;
	fill(&collect->records[collect->count++], dimension, state->name);
	return 0;
}

/* Write the new catalog beside the old one, durably. */
static int write_new(
	int folder, const struct catalog_header *header, const struct catalog_record *records)
{
	unlinkat(folder, CATALOG_NEW, 0);
	int file = openat(
		folder, CATALOG_NEW, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file < 0)
		return -errno;
	int rc = os_write_all(file, header, sizeof *header, 0);
	if (rc == 0)
		rc = os_write_all(file, records, header->count * sizeof *records, sizeof *header);
	if (rc == 0)
		rc = os_sync_data(file);
	if (close(file) && rc == 0)
		rc = -errno;
	return rc;
}

/* Exchange new and old, so that the old one can come back if the folder can't be synced: a change that
 * is told as failed must not be found after a restart. The first catalog has no old one. */
static int replace(
	int folder, const struct catalog_header *header, const struct catalog_record *records)
{
	int rc = write_new(folder, header, records);
	bool exchanged = false;
	if (rc == 0) {
		exchanged =
			renameat2(folder, CATALOG_NEW, folder, CATALOG_FILE, RENAME_EXCHANGE) == 0;
		if (!exchanged && renameat(folder, CATALOG_NEW, folder, CATALOG_FILE))
			rc = -errno;
	}
	if (rc == 0) {
		rc = os_sync_folder(folder);
		if (rc && exchanged)
			renameat2(folder, CATALOG_NEW, folder, CATALOG_FILE, RENAME_EXCHANGE);
	}
	if (rc || exchanged)
		unlinkat(folder, CATALOG_NEW, 0);
	return rc;
}

static int count_one(void *context, struct dimension *dimension, const struct dim_state *state)
{
	uint32_t *count = context;
	(void)dimension;
	(void)state;
	++*count;
	return 0;
}

int catalog_write(struct rgm_manager *manager, enum catalog_state state,
	const struct catalog_change *change, struct rgm_error *error)
{
	struct collect collect = {.capacity = 1, .change = change};
	registry_each(manager, count_one, &collect.capacity);
	collect.records = calloc(collect.capacity, sizeof *collect.records);
	int rc = collect.records ? registry_each(manager, collect_one, &collect) : -ENOMEM;
	if (rc == 0 && change && change->added)
		fill(&collect.records[collect.count++], change->added, change->added_name);
	/* Refused ones count, too: they are served again one day. */
	if (collect.count > manager->max_dimensions) {
		free(collect.records);
		return pool_fail(error, RGM_ELIMIT,
			"the instance has its limit of %u dimensions (max_dimensions)",
			manager->max_dimensions);
	}
	if (rc == 0) {
		struct catalog_header header = {.magic = CATALOG_MAGIC,
			.format_version = CATALOG_VERSION,
			.byte_order = POOL_BYTE_ORDER,
			.count = collect.count,
			.state = state,
			.next_dimension_id = manager->next_dimension_id,
			.version = manager->table ? table_current(manager->table)
		                                  : manager->start_version};
		memcpy(header.instance_id, manager->instance_id, sizeof header.instance_id);
		header.crc32c = checksum(header, collect.records);
		rc = replace(manager->folder, &header, collect.records);
		if (rc == 0)
			manager->catalog_version = header.version;
	}
	free(collect.records);
	if (rc)
		return pool_fail(error, rc, "the catalog in '%s' could not be written: %s",
			manager->folder_path, strerror(-rc));
	return 0;
}
