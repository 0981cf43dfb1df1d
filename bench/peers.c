/* SPDX-License-Identifier: Apache-2.0 */
/* LMDB and SQLite in the settings that are good for them; see peers.h. */
#include "peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "instance.h"

uint64_t lmdb_file_bytes(const char *folder)
{
	char path[400];
	struct stat status;

	snprintf(path, sizeof(path), "%s/data.mdb", folder);
	return stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}

#if defined(HAVE_LMDB)

#include <lmdb.h>

#define LMDB_MAP_BYTES ((size_t)4 << 30)

struct lmdb {
	MDB_env *env;
	MDB_txn *txn; /* for reading; NULL while loading */
	MDB_dbi table;
};

bool lmdb_installed(void)
{
	return true;
}

static struct lmdb *lmdb_open(const char *folder, unsigned flags)
{
	struct lmdb *lmdb = calloc(1, sizeof(*lmdb));

	if (lmdb == NULL)
		return NULL;
	if (mdb_env_create(&lmdb->env) == 0 &&
		mdb_env_set_mapsize(lmdb->env, LMDB_MAP_BYTES) == 0 &&
		mdb_env_open(lmdb->env, folder, flags, 0600) == 0)
		return lmdb;
	lmdb_close(lmdb);
	return NULL;
}

void lmdb_close(struct lmdb *lmdb)
{
	if (lmdb == NULL)
		return;
	if (lmdb->txn != NULL)
		mdb_txn_abort(lmdb->txn);
	if (lmdb->env != NULL)
		mdb_env_close(lmdb->env);
	free(lmdb);
}

static bool begin_reading(struct lmdb *lmdb)
{
	return mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &lmdb->txn) == 0 &&
	       mdb_dbi_open(lmdb->txn, NULL, 0, &lmdb->table) == 0;
}

static int put_one(MDB_txn *txn, MDB_dbi table, uint64_t index, const void *value, size_t bytes)
{
	uint64_t name = __builtin_bswap64(index);
	MDB_val key = {sizeof(name), &name}, data = {bytes, (void *)(uintptr_t)value};

	return mdb_put(txn, table, &key, &data, MDB_APPEND);
}

/* One transaction of `count` values: of 8 bytes each if `values` is NULL. */
static struct lmdb *lmdb_fill(
	const char *folder, uint64_t count, const char *values, uint64_t bytes, bool sync)
{
	struct lmdb *lmdb = lmdb_open(folder, MDB_NOSYNC);
	MDB_txn *txn = NULL;
	MDB_dbi table = 0;
	uint64_t done = 0;
	int rc;

	if (lmdb == NULL)
		return NULL;
	rc = mdb_txn_begin(lmdb->env, NULL, 0, &txn);
	if (rc == 0)
		rc = mdb_dbi_open(txn, NULL, 0, &table);
	for (uint64_t i = 0; rc == 0 && i < count; i++) {
		size_t size = values == NULL ? sizeof(i) : bench_value_bytes(i);

		if (values != NULL && size > bytes - done)
			size = bytes - done;
		rc = values == NULL ? put_one(txn, table, i, &i, size)
		                    : put_one(txn, table, i, values + done, size);
		done += size;
	}
	if (rc == 0)
		rc = mdb_txn_commit(txn);
	if (rc == 0 && sync)
		rc = mdb_env_sync(lmdb->env, 1);
	if (rc == 0 && begin_reading(lmdb))
		return lmdb;
	lmdb_close(lmdb);
	return NULL;
}

struct lmdb *lmdb_load(const char *folder, const void *values, uint64_t bytes, bool sync)
{
	return lmdb_fill(folder, bench_value_count(bytes), values, bytes, sync);
}

struct lmdb *lmdb_make_small(const char *folder, uint64_t count)
{
	return lmdb_fill(folder, count, NULL, 0, false);
}

struct lmdb *lmdb_attach(const char *folder)
{
	struct lmdb *lmdb = lmdb_open(folder, MDB_RDONLY);

	if (lmdb != NULL && begin_reading(lmdb))
		return lmdb;
	lmdb_close(lmdb);
	return NULL;
}

void lmdb_stop_reading(struct lmdb *lmdb)
{
	mdb_txn_abort(lmdb->txn);
	lmdb->txn = NULL;
}

bool lmdb_overwrite(struct lmdb *lmdb, const uint64_t *keys, size_t count, const void *values)
{
	MDB_txn *txn;

	if (mdb_txn_begin(lmdb->env, NULL, 0, &txn) != 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		uint64_t name = __builtin_bswap64(keys[i]);
		MDB_val key = {sizeof(name), &name};
		MDB_val data = {bench_value_bytes(keys[i]), (void *)(uintptr_t)values};

		if (mdb_put(txn, lmdb->table, &key, &data, 0) != 0) {
			mdb_txn_abort(txn);
			return false;
		}
	}
	return mdb_txn_commit(txn) == 0;
}

void lmdb_sections(struct lmdb *lmdb, uint64_t count, uint64_t keys)
{
	uint64_t state = 1, sum = 0;

	mdb_txn_reset(lmdb->txn);
	for (uint64_t i = 0; i < count; i++) {
		mdb_txn_renew(lmdb->txn);
		if (keys != 0) {
			uint64_t name = __builtin_bswap64(bench_random(&state) % keys);
			MDB_val key = {sizeof(name), &name}, data;

			if (mdb_get(lmdb->txn, lmdb->table, &key, &data) == 0)
				sum += data.mv_size;
		}
		mdb_txn_reset(lmdb->txn);
	}
	bench_use(sum);
	mdb_txn_renew(lmdb->txn);
}

uint64_t lmdb_scan(struct lmdb *lmdb)
{
	MDB_cursor *cursor;
	MDB_val key, data;
	uint64_t sum = 0;

	if (mdb_cursor_open(lmdb->txn, lmdb->table, &cursor) != 0)
		return 0;
	while (mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0)
		sum += bench_sum(data.mv_data, data.mv_size);
	mdb_cursor_close(cursor);
	return sum;
}

#else

bool lmdb_installed(void)
{
	return false;
}

struct lmdb *lmdb_load(const char *folder, const void *values, uint64_t bytes, bool sync)
{
	(void)folder;
	(void)values;
	(void)bytes;
	(void)sync;
	return NULL;
}

struct lmdb *lmdb_make_small(const char *folder, uint64_t count)
{
	(void)folder;
	(void)count;
	return NULL;
}

struct lmdb *lmdb_attach(const char *folder)
{
	(void)folder;
	return NULL;
}

void lmdb_close(struct lmdb *lmdb)
{
	(void)lmdb;
}

void lmdb_sections(struct lmdb *lmdb, uint64_t count, uint64_t keys)
{
	(void)lmdb;
	(void)count;
	(void)keys;
}

uint64_t lmdb_scan(struct lmdb *lmdb)
{
	(void)lmdb;
	return 0;
}

void lmdb_stop_reading(struct lmdb *lmdb)
{
	(void)lmdb;
}

bool lmdb_overwrite(struct lmdb *lmdb, const uint64_t *keys, size_t count, const void *values)
{
	(void)lmdb;
	(void)keys;
	(void)count;
	(void)values;
	return false;
}

#endif

#if defined(HAVE_SQLITE)

#include <sqlite3.h>

struct sqlite {
	sqlite3 *base;
	sqlite3_stmt *scan;
};

bool sqlite_installed(void)
{
	return true;
}

void sqlite_close(struct sqlite *sqlite)
{
	if (sqlite == NULL)
		return;
	sqlite3_finalize(sqlite->scan);
	sqlite3_close(sqlite->base);
	free(sqlite);
}

static bool insert_values(struct sqlite *sqlite, const char *values, uint64_t bytes)
{
	sqlite3_stmt *insert = NULL;
	uint64_t done = 0;
	int rc = sqlite3_prepare_v2(sqlite->base, "insert into v values (?, ?)", -1, &insert, NULL);

	for (int64_t i = 0; rc == SQLITE_OK && done < bytes; i++) {
		size_t size = bench_value_bytes((uint64_t)i);

		if (size > bytes - done)
			size = bytes - done;
		sqlite3_bind_int64(insert, 1, i);
		sqlite3_bind_blob(insert, 2, values + done, (int)size, SQLITE_STATIC);
		rc = sqlite3_step(insert) == SQLITE_DONE ? sqlite3_reset(insert) : SQLITE_ERROR;
		done += size;
	}
	sqlite3_finalize(insert);
	return rc == SQLITE_OK;
}

struct sqlite *sqlite_load(const char *folder, const void *values, uint64_t bytes)
{
	struct sqlite *sqlite = calloc(1, sizeof(*sqlite));
	char path[400];

	if (sqlite == NULL)
		return NULL;
	snprintf(path, sizeof(path), "%s/sqlite", folder);
	/* everything mapped, as its scan is fastest */
	if (sqlite3_open(path, &sqlite->base) == SQLITE_OK &&
		sqlite3_exec(sqlite->base,
			"pragma journal_mode=wal; pragma synchronous=off; pragma "
			"mmap_size=1073741824;"
			"create table v (k integer primary key, b blob); begin",
			NULL, NULL, NULL) == SQLITE_OK &&
		insert_values(sqlite, values, bytes) &&
		sqlite3_exec(sqlite->base, "commit; pragma wal_checkpoint(truncate)", NULL, NULL,
			NULL) == SQLITE_OK &&
		sqlite3_prepare_v2(sqlite->base, "select b from v", -1, &sqlite->scan, NULL) ==
			SQLITE_OK)
		return sqlite;
	sqlite_close(sqlite);
	return NULL;
}

uint64_t sqlite_scan(struct sqlite *sqlite)
{
	uint64_t sum = 0;

	while (sqlite3_step(sqlite->scan) == SQLITE_ROW)
		sum += bench_sum(sqlite3_column_blob(sqlite->scan, 0),
			(size_t)sqlite3_column_bytes(sqlite->scan, 0));
	sqlite3_reset(sqlite->scan);
	return sum;
}

#else

bool sqlite_installed(void)
{
	return false;
}

struct sqlite *sqlite_load(const char *folder, const void *values, uint64_t bytes)
{
	(void)folder;
	(void)values;
	(void)bytes;
	return NULL;
}

uint64_t sqlite_scan(struct sqlite *sqlite)
{
	(void)sqlite;
	return 0;
}

void sqlite_close(struct sqlite *sqlite)
{
	(void)sqlite;
}

#endif
