/* SPDX-License-Identifier: Apache-2.0 */
/* label: slow */
/* serial: yes */
/*
 * The protocol of ipc/slot.h by the code that keeps it, and nothing around it: table, sessions and reclaim
 * of a manager publish as fast as they can, while threads of other processes look, hold, fork, are stopped
 * and killed. What a version reaches are blocks: pages of shared memory that say which dimension and which
 * version they are of. A block is poisoned when reclaim has freed it, and used again at once, so one that is
 * freed too early shows in the next look, as do two versions in one section.
 *
 * RGM_TEST_SECONDS (6) in each of two cases: readers with membarrier, readers with a fence.
 */
#define _GNU_SOURCE 1

#include "tests/manager/bare.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define DIMENSIONS 4u
#define PAGES      4096u /* of a region, and blocks of each dimension */
#define WORDS      16u   /* of a block, in a page's first two cache lines */
#define PROCESSES  6u
#define THREADS    3u
#define SLOTS      THREADS
#define HOLDS      THREADS
#define POISON     0xdeaddeaddeaddeadull

struct block {
	uint64_t words[WORDS];
};

/* Shared by all processes. */
struct arena {
	uint64_t looks, holds, forks; /* atomic, relaxed */
	bool stop;                    /* atomic */
	struct block blocks[DIMENSIONS][PAGES];
};

struct fixture {
	struct rgm_manager *manager;
	char folder[64];
	struct dimension *dimensions[DIMENSIONS];
	struct ipc_dimension entries[DIMENSIONS]; /* as published last */
	struct arena *arena;
	uint64_t random;
	bool membarrier;
	uint64_t versions, poisoned;
	uint8_t mine[DIMENSIONS][PAGES]; /* a block of this test that was not seen to be free */
};

/* --- Blocks ------------------------------------------------------------------------------------- */

static uint64_t stamp(uint64_t dimension, uint64_t version, unsigned word)
{
	return (dimension << 56 ^ version) * 0x9e3779b97f4a7c15ull + word;
}

static void write_block(struct block *block, uint64_t dimension, uint64_t version)
{
	for (unsigned i = 0; i < WORDS; i++)
		__atomic_store_n(&block->words[i], stamp(dimension, version, i), __ATOMIC_RELAXED);
}

static bool is_block(const struct block *block, uint64_t dimension, uint64_t version)
{
	bool right = true;
	for (unsigned i = 0; i < WORDS; i++)
		right &= __atomic_load_n(&block->words[i], __ATOMIC_RELAXED) ==
		         stamp(dimension, version, i);
	return right;
}

/* --- A reader ------------------------------------------------------------------------------------- */

struct looker {
	const struct ipc_table *table;
	const struct arena *arena;
	struct arena *counters;
	struct ipc_slot *slot;
	struct ipc_hold *hold;
	bool membarrier;
	uint64_t random;
};

/* What a section at a version sees of a dimension, whole; returns its block. */
static const struct block *look_at(const struct looker *looker, const struct ipc_index *index,
	uint32_t at, uint64_t version, uint64_t *ret_changed)
{
	const struct ipc_dimension *entry = ipc_index_at(index, at);
	REQUIRE(entry && entry->id == at + 1 && entry->changed <= version);
	uint64_t page = entry->root_offset / 4096;
	REQUIRE(page < PAGES);
	const struct block *block = &looker->arena->blocks[at][page];
	REQUIRE(is_block(block, at + 1, entry->changed));
	*ret_changed = entry->changed;
	return block;
}

/* The first two change together: a cut that is none shows there. */
static void look_at_all(const struct looker *looker, uint64_t version, uint64_t changed[DIMENSIONS])
{
	struct ipc_index index = ipc_index_open(looker->table, version);
	for (uint32_t at = 0; at < DIMENSIONS; at++)
		look_at(looker, &index, at, version, &changed[at]);
	REQUIRE_EQUAL(changed[0], changed[1]);
}

/* The process forks in the middle: the child has the blocks, and no section of its own. */
static void fork_inside(
	struct looker *looker, const struct block *block, uint64_t at, uint64_t changed)
{
	int status = -1;
	pid_t pid = fork();
	REQUIRE(pid >= 0);
	if (pid == 0)
		_exit(is_block(block, at + 1, changed) ? 0 : 1);
	REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
	REQUIRE_EQUAL(status, 0);
	__atomic_fetch_add(&looker->counters->forks, 1, __ATOMIC_RELAXED);
}

static void look(struct looker *looker)
{
	uint64_t changed[DIMENSIONS], again[DIMENSIONS];
	uint64_t version = ipc_section_enter(looker->table, looker->slot, looker->membarrier);
	look_at_all(looker, version, changed);
	uint32_t at = (uint32_t)support_below(&looker->random, DIMENSIONS);
	bool holds = support_below(&looker->random, 8) == 0;
	struct ipc_index index = ipc_index_open(looker->table, version);
	const struct block *block = look_at(looker, &index, at, version, &changed[at]);
	if (holds)
		ipc_hold_store(looker->hold, at + 1, version);
	if (support_below(&looker->random, 64) == 0)
		support_sleep_ms(1);
	if (support_below(&looker->random, 20000) == 0)
		fork_inside(looker, block, at, changed[at]);
	look_at_all(looker, version, again);
	REQUIRE(memcmp(changed, again, sizeof again) == 0);
	ipc_section_exit(looker->slot);
	if (holds) {
		if (support_below(&looker->random, 16) == 0)
			support_sleep_ms(1);
		REQUIRE(is_block(block, at + 1, changed[at]));
		ipc_hold_clear(looker->hold);
		__atomic_fetch_add(&looker->counters->holds, 1, __ATOMIC_RELAXED);
	}
	__atomic_fetch_add(&looker->counters->looks, 1, __ATOMIC_RELAXED);
}

static void *look_for_ever(void *argument)
{
	struct looker *looker = argument;
	while (!__atomic_load_n(&looker->arena->stop, __ATOMIC_RELAXED))
		look(looker);
	return NULL;
}

/* A process with the handles of a session, as a reader has them. */
_Noreturn static void be_reader(
	const struct fixture *fixture, int table, int segment, uint64_t bytes)
{
	struct looker lookers[THREADS];
	pthread_t ids[THREADS];
	void *base, *words;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	REQUIRE_EQUAL(os_map(table, table_bytes(fixture->manager->table), false, &base), 0);
	REQUIRE_EQUAL(os_map(segment, bytes, true, &words), 0);
	close(table);
	close(segment);
	struct ipc_segment *own = words;
	if (fixture->membarrier) {
		REQUIRE_EQUAL(os_membarrier_register(), 0);
		store32_release(&own->membarrier, 1);
	}
	store32_release(&own->slots_used, SLOTS + 1);
	store32_release(&own->holds_used, HOLDS);
	for (unsigned i = 0; i < THREADS; i++) {
		lookers[i] = (struct looker){.table = base,
			.arena = fixture->arena,
			.counters = fixture->arena,
			.slot = (struct ipc_slot *)((char *)words + ipc_slots_offset()) + i,
			.hold = (struct ipc_hold *)((char *)words + ipc_holds_offset(SLOTS + 1)) +
		                i,
			.membarrier = fixture->membarrier,
			.random = fixture->random + 1000 * (uint64_t)getpid() + i};
		REQUIRE_EQUAL(pthread_create(&ids[i], NULL, look_for_ever, &lookers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	_exit(0);
}

struct process {
	pid_t pid;
	struct session *session;
	bool stopped;
};

static void start(struct fixture *fixture, struct process *process)
{
	struct peer peer = {.pid = getpid(), .uid = geteuid(), .pidfd = -1};
	struct rgm_error error;
	int table, segment;
	must(sessions_attach(fixture->manager, &peer, "bare", SLOTS, HOLDS, &process->session,
		     &table, &segment, &error),
		&error);
	uint64_t bytes = session_segment_bytes(process->session);
	fflush(NULL);
	process->pid = fork();
	REQUIRE(process->pid >= 0);
	if (process->pid == 0)
		be_reader(fixture, table, segment, bytes);
	support_adopt(process->pid);
	close(table);
	close(segment);
	process->stopped = false;
}

/* Its death is proven by the wait, or left to be told by the lock. */
static void end(struct fixture *fixture, struct process *process, int expected)
{
	int status = -1;
	REQUIRE_EQUAL(waitpid(process->pid, &status, 0), process->pid);
	support_forget(process->pid);
	REQUIRE_EQUAL(status, expected);
	if (support_below(&fixture->random, 2))
		sessions_died(fixture->manager, process->session);
	sessions_hangup(fixture->manager, process->session);
	sessions_sweep(fixture->manager);
}

/* --- The manager ------------------------------------------------------------------------------------ */

/* Blocks that reclaim has freed since the last time. */
static void poison(struct fixture *fixture)
{
	for (uint32_t at = 0; at < DIMENSIONS; at++) {
		uint64_t cursor = 0, page, count, last = 0;
		bool more = true;
		while (more) {
			more = pool_region_next_used(
				fixture->dimensions[at]->region, &cursor, &page, &count);
			uint64_t end = more ? page : PAGES;
			for (; last < end; last++) {
				if (!fixture->mine[at][last])
					continue;
				fixture->mine[at][last] = 0;
				fixture->poisoned++;
				for (unsigned i = 0; i < WORDS; i++)
					__atomic_store_n(&fixture->arena->blocks[at][last].words[i],
						POISON, __ATOMIC_RELAXED);
			}
			last = more ? page + count : PAGES;
		}
	}
}

/* A block of a version to be, and its entry; the block before it is retired. */
static struct retired *change(
	struct fixture *fixture, uint32_t at, uint64_t version, struct table_change *ret_change)
{
	struct dimension *dimension = fixture->dimensions[at];
	struct ipc_dimension *entry = &fixture->entries[at];
	struct retired *retired = NULL;
	struct rgm_error error;
	uint64_t page;
	must(pool_region_allocate(dimension->region, 1, &page, &error), &error);
	REQUIRE(page < PAGES);
	fixture->mine[at][page] = 1;
	write_block(&fixture->arena->blocks[at][page], at + 1, version);
	if (entry->root_offset) {
		retired = retired_create(RETIRED_BLOCKS, dimension, 1);
		REQUIRE(retired);
		retired_add(retired, entry->root_offset / 4096, 1, entry->changed);
	}
	entry->root_offset = page * 4096;
	entry->changed = version;
	*ret_change = (struct table_change){.index = at, .entry = *entry};
	return retired;
}

/* The first two dimensions, or one of the others. */
static void publish(struct fixture *fixture, uint32_t first, uint32_t count)
{
	struct rgm_manager *manager = fixture->manager;
	struct table_change changes[DIMENSIONS];
	struct retired *retired[DIMENSIONS];
	struct table_draft *draft;
	struct rgm_error error;
	uint64_t version;
	pthread_mutex_lock(&manager->commit);
	must(table_next_version(manager->table, &version, &error), &error);
	for (uint32_t i = 0; i < count; i++)
		retired[i] = change(fixture, first + i, version, &changes[i]);
	must(table_draft(manager->table, version, changes, count, &draft, &error), &error);
	table_publish(manager->table, draft, false);
	for (uint32_t i = 0; i < count; i++)
		if (retired[i])
			reclaim_push(manager->reclaim, retired[i], version);
	pthread_mutex_unlock(&manager->commit);
	fixture->versions++;
}

static void publish_some(struct fixture *fixture, unsigned most)
{
	for (unsigned i = 0; i < most; i++) {
		uint32_t which = (uint32_t)support_below(&fixture->random, DIMENSIONS - 1);
		publish(fixture, which ? which + 1 : 0, which ? 1 : 2);
	}
	reclaim_run(fixture->manager->reclaim);
	poison(fixture);
}

/* --- The test ----------------------------------------------------------------------------------------- */

static int setup(void **state)
{
	static struct fixture fixture;
	struct rgm_error error;
	fixture = (struct fixture){.manager = bare_open(64, 1000)};
	strcpy(fixture.folder, "/tmp/regionmgr-test-XXXXXX");
	REQUIRE(mkdtemp(fixture.folder));
	fixture.manager->folder = open(fixture.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fixture.arena = mmap(NULL, sizeof *fixture.arena, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(fixture.arena != MAP_FAILED);
	for (uint32_t at = 0; at < DIMENSIONS; at++) {
		struct dimension *dimension = dimension_create(fixture.manager, at + 1);
		REQUIRE(dimension);
		struct pool_region_options options = {.id = at + 1,
			.kind = RGM_KIND_LAYERS,
			.max_bytes = PAGES * 4096,
			.instance_id = fixture.manager->instance_id,
			.incarnation = fixture.manager->incarnation};
		snprintf(dimension->file, sizeof dimension->file, "%u", at);
		must(pool_region_create(fixture.manager->folder, dimension->file, &options,
			     &dimension->region, &error),
			&error);
		fixture.dimensions[at] = dimension;
		fixture.entries[at] = (struct ipc_dimension){.id = at + 1, .name_length = 1};
		fixture.entries[at].name[0] = (char)('a' + at);
	}
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	support_end_children(0);
	for (uint32_t at = 0; at < DIMENSIONS; at++) {
		unlinkat(fixture->manager->folder, fixture->dimensions[at]->file, 0);
		dimension_put(fixture->dimensions[at]);
	}
	close(fixture->manager->folder);
	bare_close(fixture->manager);
	munmap(fixture->arena, sizeof *fixture->arena);
	return rmdir(fixture->folder);
}

/* Kill, stop or wake one. */
static void hit(
	struct fixture *fixture, struct process *processes, unsigned *killed, unsigned *stopped)
{
	struct process *process = &processes[support_below(&fixture->random, PROCESSES)];
	switch (support_below(&fixture->random, 4)) {
	case 0:
		REQUIRE_EQUAL(kill(process->pid, SIGKILL), 0);
		end(fixture, process, SIGKILL);
		start(fixture, process);
		++*killed;
		break;
	case 1:
		REQUIRE_EQUAL(kill(process->pid, SIGSTOP), 0);
		process->stopped = true;
		++*stopped;
		break;
	default:
		for (unsigned i = 0; i < PROCESSES; i++) {
			int status;
			REQUIRE_EQUAL(kill(processes[i].pid, SIGCONT), 0);
			if (waitpid(processes[i].pid, &status, WNOHANG) == 0)
				continue;
			support_forget(processes[i].pid);
			support_fail(
				__FILE__, __LINE__, "a reader saw what must not be (0x%x)", status);
		}
	}
}

static void run(struct fixture *fixture, bool membarrier)
{
	const char *wanted = getenv("RGM_TEST_SECONDS");
	uint64_t ms = 1000 * (wanted ? strtoull(wanted, NULL, 0) : 6);
	struct process processes[PROCESSES];
	unsigned killed = 0, stopped = 0;
	struct arena *arena = fixture->arena;
	fixture->random = support_seed();
	fixture->membarrier = membarrier;
	publish(fixture, 0, DIMENSIONS);
	for (unsigned i = 0; i < PROCESSES; i++)
		start(fixture, &processes[i]);
	uint64_t start_ms = support_now_ms(), next = start_ms + 20;
	while (support_now_ms() < start_ms + ms ||
		__atomic_load_n(&arena->looks, __ATOMIC_RELAXED) < 1000) {
		publish_some(fixture, 64);
		if (support_now_ms() < next)
			continue;
		next = support_now_ms() + 20;
		hit(fixture, processes, &killed, &stopped);
	}
	uint64_t took = support_now_ms() - start_ms;
	__atomic_store_n(&arena->stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < PROCESSES; i++) {
		REQUIRE_EQUAL(kill(processes[i].pid, SIGCONT), 0);
		end(fixture, &processes[i], 0);
	}
	print_message("%llu publishes in %llu ms, %llu a second; %llu blocks poisoned; %llu looks, "
		      "%llu holds, %llu forks; %u killed, %u stopped\n",
		(unsigned long long)fixture->versions, (unsigned long long)took,
		(unsigned long long)(fixture->versions * 1000 / took),
		(unsigned long long)fixture->poisoned, (unsigned long long)arena->looks,
		(unsigned long long)arena->holds, (unsigned long long)arena->forks, killed,
		stopped);
	/* With nobody left, a block is what each dimension has. */
	WAIT_UNTIL((reclaim_run(fixture->manager->reclaim),
		reclaim_retired_bytes(fixture->manager->reclaim) == 0));
	REQUIRE_EQUAL(sessions_count(fixture->manager->sessions), 0);
	for (uint32_t at = 0; at < DIMENSIONS; at++) {
		struct pool_region_info info;
		pool_region_info(fixture->dimensions[at]->region, &info);
		REQUIRE_EQUAL(info.used_pages, 1);
	}
	REQUIRE(fixture->poisoned > 0);
}

static void test_membarrier(void **state)
{
	if (!os_membarrier_usable()) {
		support_tell_skip("test_membarrier", "no membarrier(2) here");
		skip();
	}
	run(*state, true);
}

static void test_fence(void **state)
{
	run(*state, false);
}

int main(void)
{
	if (SUPPORT_RACE_BUILD)
		support_skip_all("the race build has manager and readers in one process");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_membarrier, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fence, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
