/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regionmgr/manager/lag.c and sessions_lag.c: who lags, what a policy does about it, that a revoked
 * session's claims and no other's count no more, and that the ring of versions cannot be blocked.
 */
#define _GNU_SOURCE 1

#include "tests/manager/bare.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "regionmgr/manager/lag.h"
#include <regionmgr/session.h>

static uint64_t try_publish(struct rgm_manager *manager, int *ret_rc)
{
	struct ipc_dimension entry = {
		.id = 1, .kind = RGM_KIND_LAYERS, .name_length = 1, .name = "a"};
	struct table_change change = {.index = 0, .entry = entry};
	struct table_draft *draft;
	struct rgm_error error;
	uint64_t version = 0;
	pthread_mutex_lock(&manager->commit);
	*ret_rc = table_next_version(manager->table, &version, &error);
	if (*ret_rc == 0) {
		must(table_draft(manager->table, version, &change, 1, &draft, &error), &error);
		table_publish(manager->table, draft, false);
	}
	pthread_mutex_unlock(&manager->commit);
	return version;
}

static uint64_t publish(struct rgm_manager *manager)
{
	int rc;
	uint64_t version = try_publish(manager, &rc);
	REQUIRE_EQUAL(rc, 0);
	return version;
}

static struct rgm_manager *open_with(enum rgm_lag_policy policy, uint64_t bytes, uint32_t ms)
{
	struct rgm_manager *manager = bare_open(64, 1);
	manager->lag_policy = policy;
	manager->lag_bytes = bytes;
	manager->warn_section_ms = ms;
	return manager;
}

static uint64_t counted(const struct rgm_manager *manager, enum counter counter)
{
	return atomic_load(&manager->counters[counter]);
}

/* What the reader would compare with. */
static uint64_t revoked_word(const struct rgm_manager *manager, const struct bare_reader *reader)
{
	const struct ipc_table *header = table_header(manager->table);
	const uint64_t *words = (const void *)((const char *)header + header->revoked_offset);
	return load64_acquire(&words[session_place(reader->session)]);
}

/* A reader at a version that was replaced: it sees two pages of the table, its top and its leaf. */
#define SEEN 8192u

static uint64_t lag_behind(struct rgm_manager *manager, struct bare_reader *reader, uint32_t slot)
{
	uint64_t version = bare_pin(manager, reader, slot);
	publish(manager);
	support_sleep_ms(2);
	return version;
}

/* --- Who lags ---------------------------------------------------------------------------------- */

static void test_warn_alone(void **state)
{
	(void)state;
	struct rgm_manager *manager = open_with(RGM_LAG_WARN, 1, 0);
	struct bare_reader reader = bare_attach(manager, 2, 2);
	struct rgm_reader_row row;
	publish(manager);
	lag_behind(manager, &reader, 1);
	for (int i = 0; i < 3; i++) {
		lag_look(manager);
		REQUIRE_EQUAL(counted(manager, COUNTER_readers_warned), 1);
		REQUIRE_EQUAL(info_readers(manager, 0, &row, 1), 1);
		REQUIRE(strcmp(row.lag, "lagging") == 0);
		REQUIRE_EQUAL(row.kept_bytes, SEEN);
		REQUIRE_EQUAL(row.revoked_version, 0);
	}
	/* Once again for what it does next. */
	bare_unpin(&reader, 1);
	WAIT_UNTIL(reclaim_retired_bytes(manager->reclaim) == 0);
	REQUIRE_EQUAL(info_readers(manager, 0, &row, 1), 1);
	REQUIRE(strcmp(row.lag, "ok") == 0);
	lag_look(manager);
	lag_behind(manager, &reader, 1);
	lag_look(manager);
	REQUIRE_EQUAL(counted(manager, COUNTER_readers_warned), 2);
	REQUIRE_EQUAL(counted(manager, COUNTER_readers_revoked), 0);
	REQUIRE_EQUAL(revoked_word(manager, &reader), 1);
	bare_unpin(&reader, 1);
	bare_detach(manager, &reader);
	bare_close(manager);
}

/* More than the limit, to the byte. */
static void test_bytes(void **state)
{
	(void)state;
	for (uint64_t bytes = SEEN; bytes >= SEEN - 1; bytes--) {
		struct rgm_manager *manager = open_with(RGM_LAG_LIMIT, bytes, 0);
		struct bare_reader reader = bare_attach(manager, 2, 2);
		publish(manager);
		lag_behind(manager, &reader, 1);
		lag_look(manager);
		bool much = bytes < SEEN;
		REQUIRE_EQUAL(counted(manager, COUNTER_readers_warned), !much);
		REQUIRE_EQUAL(counted(manager, COUNTER_readers_revoked), much);
		REQUIRE_EQUAL(
			revoked_word(manager, &reader), much ? table_current(manager->table) : 1);
		bare_unpin(&reader, 1);
		bare_detach(manager, &reader);
		bare_close(manager);
	}
}

/* A reader that is never old is never touched, whatever it keeps. */
static void test_young(void **state)
{
	(void)state;
	struct rgm_manager *manager = open_with(RGM_LAG_LIMIT, 1, 3600000);
	struct bare_reader reader = bare_attach(manager, 8, 2);
	for (int i = 0; i < 400; i++) {
		uint32_t slot = 1 + (uint32_t)i % 8;
		bare_unpin(&reader, slot);
		bare_pin(manager, &reader, slot);
		publish(manager);
		lag_look(manager);
	}
	REQUIRE_EQUAL(counted(manager, COUNTER_readers_warned), 0);
	REQUIRE_EQUAL(counted(manager, COUNTER_readers_revoked), 0);
	for (uint32_t slot = 1; slot <= 8; slot++)
		bare_unpin(&reader, slot);
	bare_detach(manager, &reader);
	bare_close(manager);
}

/* --- What is void ------------------------------------------------------------------------------ */

/* Its claims below the version, no others of it, and nobody else's; again and again. */
static void test_revoked_claims(void **state)
{
	(void)state;
	struct rgm_manager *manager = open_with(RGM_LAG_WARN, 0, 3600000);
	struct bare_reader reader = bare_attach(manager, 4, 4), other = bare_attach(manager, 2, 2);
	uint64_t number = session_number(reader.session);
	struct rgm_reader_row rows[2];
	for (int round = 0; round < 5; round++) {
		uint64_t old = lag_behind(manager, &reader, 1);
		REQUIRE_EQUAL(bare_pin(manager, &other, 1), old + 1);
		ipc_hold_store(&reader.holds[0], 7, old);
		publish(manager);
		uint64_t current = bare_pin(manager, &reader, 2);
		ipc_hold_store(&reader.holds[1], 7, current);
		REQUIRE_EQUAL(sessions_holds_on(manager->sessions, 7), 2);
		REQUIRE_EQUAL(sessions_revoke(manager->sessions, number, current), 0);
		REQUIRE_EQUAL(revoked_word(manager, &reader), current);
		REQUIRE_EQUAL(revoked_word(manager, &other), 1);
		REQUIRE_EQUAL(sessions_holds_on(manager->sessions, 7), 1);
		REQUIRE_EQUAL(info_readers(manager, 0, rows, 2), 2);
		REQUIRE(strcmp(rows[0].lag, "revoked") == 0);
		REQUIRE_EQUAL(rows[0].revoked_version, current);
		REQUIRE_EQUAL(rows[0].sections, 1);
		REQUIRE_EQUAL(rows[0].holds, 1);
		REQUIRE_EQUAL(rows[0].oldest_version, current);
		REQUIRE(strcmp(rows[1].lag, "ok") == 0);
		REQUIRE_EQUAL(rows[1].oldest_version, old + 1);
		/* What the other one sees stays, and what this one sees of the current version. */
		publish(manager);
		WAIT_UNTIL(reclaim_retired_bytes(manager->reclaim) == 2 * SEEN);
		reclaim_run(manager->reclaim);
		REQUIRE_EQUAL(reclaim_retired_bytes(manager->reclaim), 2 * SEEN);
		/* An older version takes nothing more, and never gives anything back. */
		REQUIRE_EQUAL(sessions_revoke(manager->sessions, number, current - 1), 0);
		REQUIRE_EQUAL(revoked_word(manager, &reader), current);
		bare_unpin(&reader, 1);
		bare_unpin(&reader, 2);
		bare_unpin(&other, 1);
		ipc_hold_clear(&reader.holds[0]);
		ipc_hold_clear(&reader.holds[1]);
		REQUIRE_EQUAL(info_readers(manager, 0, rows, 1), 1);
		REQUIRE(strcmp(rows[0].lag, "ok") == 0);
		WAIT_UNTIL(reclaim_retired_bytes(manager->reclaim) == 0);
	}
	REQUIRE_EQUAL(sessions_revoke(manager->sessions, 99, 1), -ENOENT);
	/* The next one at this place starts anew. */
	uint32_t place = session_place(reader.session);
	bare_detach(manager, &reader);
	reader = bare_attach(manager, 2, 2);
	REQUIRE_EQUAL(session_place(reader.session), place);
	REQUIRE_EQUAL(revoked_word(manager, &reader), 1);
	uint64_t version = bare_pin(manager, &reader, 1);
	publish(manager);
	reclaim_run(manager->reclaim);
	REQUIRE_EQUAL(reclaim_retired_bytes(manager->reclaim), SEEN);
	REQUIRE(version < table_current(manager->table));
	bare_unpin(&reader, 1);
	bare_detach(manager, &reader);
	bare_detach(manager, &other);
	bare_close(manager);
}

#if !SUPPORT_RACE_BUILD
/* From now on membarrier(2) fails in this thread. */
static void forbid_membarrier(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof code / sizeof code[0], code};
	REQUIRE_EQUAL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	REQUIRE_EQUAL(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* Without the barrier nothing is taken back of a session that relies on it, and of any other it is. */
static void without_barrier(struct child *parent, void *context)
{
	(void)parent;
	(void)context;
	struct rgm_manager *manager = open_with(RGM_LAG_LIMIT, 1, 3600000);
	struct bare_reader relies = bare_attach(manager, 2, 2), fences = bare_attach(manager, 2, 2);
	store32_release(&relies.segment->membarrier, 1);
	manager->membarrier = true;
	lag_behind(manager, &relies, 1);
	lag_behind(manager, &fences, 1);
	forbid_membarrier();
	uint64_t current = table_current(manager->table);
	REQUIRE_EQUAL(sessions_revoke(manager->sessions, session_number(relies.session), current),
		-EAGAIN);
	REQUIRE_EQUAL(
		sessions_revoke(manager->sessions, session_number(fences.session), current), 0);
	struct rgm_reader_row rows[2];
	REQUIRE_EQUAL(info_readers(manager, 0, rows, 2), 2);
	REQUIRE_EQUAL(rows[0].sections, 1);
	REQUIRE_EQUAL(rows[0].revoked_version, 0);
	REQUIRE_EQUAL(rows[1].sections, 0);
	REQUIRE_EQUAL(rows[1].revoked_version, current);
	/* The attempt is repeated, and good once the bit is gone. */
	store32_release(&relies.segment->membarrier, 0);
	REQUIRE_EQUAL(
		sessions_revoke(manager->sessions, session_number(relies.session), current), 0);
	bare_detach(manager, &relies);
	bare_detach(manager, &fences);
	bare_close(manager);
}

static void test_barrier_fails(void **state)
{
	(void)state;
	struct child child = child_start(without_barrier, NULL);
	child_join(&child);
}
#endif

/* --- The ring ---------------------------------------------------------------------------------- */

/* One session in 4,095 versions of the ring: `limit` and `kill` take them back when a commit needs one,
 * young as they are. */
static void ring_of_one(enum rgm_lag_policy policy)
{
	struct rgm_manager *manager = open_with(policy, UINT64_MAX, 3600000);
	struct bare_reader reader = bare_attach(manager, IPC_MAX_SLOTS, 1),
			   other = bare_attach(manager, 2, 2);
	for (uint32_t i = 1; i < IPC_RING_ENTRIES; i++) {
		publish(manager);
		bare_pin(manager, &reader, i);
	}
	uint64_t last = publish(manager);
	REQUIRE_EQUAL(bare_pin(manager, &other, 1), last);
	for (uint32_t i = 0; i < 2 * IPC_RING_ENTRIES; i++)
		REQUIRE(publish(manager) > last);
	REQUIRE_EQUAL(counted(manager, COUNTER_readers_revoked), 1);
	REQUIRE_EQUAL(counted(manager, COUNTER_readers_killed), 0);
	REQUIRE_EQUAL(revoked_word(manager, &reader), last);
	REQUIRE_EQUAL(revoked_word(manager, &other), 1);
	/* Its words stand, and keep nothing: what is left is what the other one sees. */
	WAIT_UNTIL(reclaim_retired_bytes(manager->reclaim) == SEEN);
	/* It may begin again, and is then protected as ever. */
	uint64_t version = bare_pin(manager, &reader, 5);
	for (uint32_t i = 0; i < 2 * IPC_RING_ENTRIES; i++)
		REQUIRE(publish(manager) % IPC_RING_ENTRIES != version % IPC_RING_ENTRIES);
	WAIT_UNTIL(reclaim_retired_bytes(manager->reclaim) == 2 * SEEN);
	REQUIRE_EQUAL(counted(manager, COUNTER_readers_revoked), 1);
	bare_detach(manager, &reader);
	bare_detach(manager, &other);
	bare_close(manager);
}

static void test_ring_limit(void **state)
{
	(void)state;
	ring_of_one(RGM_LAG_LIMIT);
}

static void test_ring_kill(void **state)
{
	(void)state;
	ring_of_one(RGM_LAG_KILL);
}

/* Several that together see all of it: those of the oldest version go, one after the other as commits
 * need them; who sees none of the oldest stays. */
static void test_ring_of_several(void **state)
{
	(void)state;
	enum {
		SESSIONS = 33,
		SLOTS = 128
	};
	struct rgm_manager *manager = open_with(RGM_LAG_LIMIT, UINT64_MAX, 3600000);
	struct bare_reader readers[SESSIONS];
	uint64_t last[SESSIONS] = {0};
	for (uint32_t i = 0; i < SESSIONS; i++)
		readers[i] = bare_attach(manager, SLOTS, 1);
	/* Session 0 sees the oldest 128 together with session 1, session 2 the next ones, … */
	uint32_t session = 1, slot = 1;
	for (uint32_t i = 1; i < IPC_RING_ENTRIES; i++) {
		uint64_t version = publish(manager);
		if (session == 1)
			REQUIRE_EQUAL(bare_pin(manager, &readers[0], slot), version);
		last[session] = bare_pin(manager, &readers[session], slot);
		if (++slot > SLOTS) {
			slot = 1;
			session++;
		}
	}
	publish(manager);
	uint64_t before = table_current(manager->table);
	publish(manager);
	REQUIRE_EQUAL(counted(manager, COUNTER_readers_revoked), 2);
	REQUIRE_EQUAL(revoked_word(manager, &readers[0]), before);
	REQUIRE_EQUAL(revoked_word(manager, &readers[1]), before);
	for (uint32_t i = 2; i < SESSIONS; i++)
		REQUIRE_EQUAL(revoked_word(manager, &readers[i]), 1);
	/* 128 entries are free: as many versions, then the ring turns in what these leave. */
	for (uint32_t i = 0; i < 3 * IPC_RING_ENTRIES; i++)
		publish(manager);
	REQUIRE_EQUAL(counted(manager, COUNTER_readers_revoked), 2);
	REQUIRE(last[SESSIONS - 1] != 0);
	for (uint32_t i = 0; i < SESSIONS; i++)
		bare_detach(manager, &readers[i]);
	bare_close(manager);
}

/* A session that claims every version, and one whose words say anything: neither blocks a commit, nor
 * costs an honest reader its section. */
static void test_ring_hostile(void **state)
{
	(void)state;
	struct rgm_manager *manager = open_with(RGM_LAG_LIMIT, UINT64_MAX, 3600000);
	uint64_t random = support_seed();
	struct bare_reader greedy = bare_attach(manager, IPC_MAX_SLOTS, 1),
			   liar = bare_attach(manager, IPC_MAX_SLOTS, 1),
			   honest = bare_attach(manager, 2, 2);
	for (uint32_t i = 0; i < 3 * IPC_RING_ENTRIES; i++) {
		uint32_t slot = 1 + i % IPC_MAX_SLOTS;
		uint64_t version = bare_pin(manager, &honest, 1);
		store64_release(&greedy.slots[slot].word, version);
		store64_release(&liar.slots[slot].word,
			support_below(&random, 2) ? version - support_below(&random, 9000)
						  : support_random(&random));
		publish(manager);
		bare_unpin(&honest, 1);
	}
	REQUIRE(revoked_word(manager, &greedy) > 1);
	REQUIRE_EQUAL(revoked_word(manager, &honest), 1);
	bare_detach(manager, &greedy);
	bare_detach(manager, &liar);
	bare_detach(manager, &honest);
	bare_close(manager);
}

int main(void)
{
	/* One test's manager lives in a child. */
	REQUIRE_EQUAL(rgm_watch_forks(), 0);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_warn_alone),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_young),
		cmocka_unit_test(test_revoked_claims),
#if !SUPPORT_RACE_BUILD
		cmocka_unit_test(test_barrier_fails),
#endif
		cmocka_unit_test(test_ring_limit),
		cmocka_unit_test(test_ring_kill),
		cmocka_unit_test(test_ring_of_several),
		cmocka_unit_test(test_ring_hostile),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
