/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peers, each behind a few plain functions; where one is not installed its functions say so by
 * returning false or NULL, and its rows say "absent".
 */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include "harness.h"

/* --- LMDB: an environment in a folder, keys of 8 bytes in order --------------------------------- */

struct lmdb;

bool lmdb_installed(void);
/* The values of instance.h, which stand one behind another in `values`, appended in one transaction;
 * NULL on failure. With `sync` the file is synced before it returns. */
struct lmdb *lmdb_load(const char *folder, const void *values, uint64_t bytes, bool sync);
/* `count` keys with values of 8 bytes. */
struct lmdb *lmdb_make_small(const char *folder, uint64_t count);
/* Open what was made, as a reader does: environment and one read transaction. */
struct lmdb *lmdb_attach(const char *folder);
void lmdb_close(struct lmdb *lmdb);
/* Replace the values of `count` keys in one transaction: each by as many bytes from `values` as it had.
 * For who got it from lmdb_load(), once it has stopped reading. */
void lmdb_stop_reading(struct lmdb *lmdb);
bool lmdb_overwrite(struct lmdb *lmdb, const uint64_t *keys, size_t count, const void *values);
/* Size of its file. */
uint64_t lmdb_file_bytes(const char *folder);

/* In a read transaction that is kept: renew and reset, `count` times; with get() of keys below
 * `keys` in between when it is not 0. */
void lmdb_sections(struct lmdb *lmdb, uint64_t count, uint64_t keys);
/* Sum of all values by a cursor. */
uint64_t lmdb_scan(struct lmdb *lmdb);

/* --- SQLite: one table of blobs ----------------------------------------------------------------- */

struct sqlite;

bool sqlite_installed(void);
struct sqlite *sqlite_load(const char *folder, const void *values, uint64_t bytes);
uint64_t sqlite_scan(struct sqlite *sqlite);
void sqlite_close(struct sqlite *sqlite);

#endif
