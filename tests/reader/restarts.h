/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGKILL and restart of regionmgrd under readers that scan and hold, while a client changes things and
 * readers die, stop, fork and come. What has to hold: no call of a reader fails but for the manager's
 * absence, where it says so; no byte is wrong; sections and holds see what they saw; sessions go on with
 * each new manager; restarts_writer.h knows what has to be there. At the end nothing is left.
 */
#ifndef TESTS_READER_RESTARTS_H
#define TESTS_READER_RESTARTS_H

#include "tests/reader/restarts_writer.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESTARTS_PROCESSES 16u
#define RESTARTS_THREADS   4u

struct restarts {
	struct instance *instance;
	unsigned rounds;
	uint64_t seed;
	bool revokes; /* the manager's policy is `limit` */
	struct writer writer;
	/* Shared with all processes. */
	struct restarts_board {
		struct writer_board writer;
		uint64_t looks, revoked, resumed, forks; /* atomic, relaxed */
	} * board;
};

/* --- A reader process --------------------------------------------------------------------------- */

struct restarts_process {
	struct restarts *restarts;
	uint64_t number;
};

struct restarts_thread {
	struct restarts *restarts;
	struct rgm_session *session;
	uint64_t random;
};

static inline uint64_t restarts_see(struct rgm_slot *slot, const struct content *content)
{
	struct rgm_layers view;
	return rgm_layers_open(slot, content->dimension, &view, NULL)
	               ? 0
	               : view_generation(&view, content);
}

/* The end of a section or a hold: what was seen counts. */
static inline bool restarts_ended(struct restarts *restarts, int rc)
{
	REQUIRE(rc == 0 || (restarts->revokes && rc == RGM_EREVOKED));
	if (rc)
		writer_count(&restarts->board->revoked);
	return rc == 0;
}

static inline struct rgm_hold *restarts_hold(struct restarts_thread *thread, struct rgm_slot *slot)
{
	struct rgm_dimension dimension;
	struct rgm_hold *hold = NULL;
	struct rgm_error error;
	int rc = rgm_find(slot, "beta", &dimension, &error);
	if (rc == 0)
		rc = rgm_hold_take(slot, &dimension, &hold, &error);
	REQUIRE(rc == 0 || thread->restarts->revokes);
	return hold;
}

/* A section that may outlive a manager or two, with a hold that outlives it. */
static inline void restarts_look(struct restarts_thread *thread, struct rgm_slot *slot)
{
	struct restarts *restarts = thread->restarts;
	struct rgm_hold *hold = NULL;
	must(rgm_pin(slot), NULL);
	uint64_t a = restarts_see(slot, &restarts_a), again = a;
	uint64_t b = restarts_see(slot, &restarts_b);
	if (support_below(&thread->random, 3) == 0)
		hold = restarts_hold(thread, slot);
	if (support_below(&thread->random, 4) == 0) {
		support_sleep_ms((unsigned)support_below(&thread->random, 60));
		again = restarts_see(slot, &restarts_a);
	}
	if (restarts_ended(restarts, rgm_unpin(slot))) {
		/* a is replaced first. */
		REQUIRE(a != 0 && b != 0 && (a == b || a == b + 1));
		REQUIRE_EQUAL(again, a);
	} else {
		b = 0;
	}
	if (hold) {
		support_sleep_ms((unsigned)support_below(&thread->random, 40));
		uint64_t held = hold_generation(hold, &restarts_b);
		if (restarts_ended(restarts, rgm_hold_release(hold)) && b)
			REQUIRE_EQUAL(held, b);
	}
	writer_count(&restarts->board->looks);
}

static inline void *restarts_thread(void *argument)
{
	struct restarts_thread *thread = argument;
	struct rgm_slot *slot;
	struct rgm_error error;
	must(rgm_slot_open(thread->session, &slot, &error), &error);
	for (;;) {
		restarts_look(thread, slot);
		support_sleep_ms(2 + (unsigned)support_below(&thread->random, 20));
	}
	return NULL;
}

/* A child of the reader's own looks through a hold that it inherited, and ends. */
static inline void restarts_fork(struct reader *reader, struct restarts *restarts)
{
	struct rgm_hold *hold = reader_take(reader, "beta");
	uint64_t held = hold_generation(hold, &restarts_b);
	pid_t pid = fork();
	REQUIRE(pid >= 0);
	if (pid == 0) {
		REQUIRE_EQUAL(rgm_pin(reader->slot), RGM_EFORKED);
		support_sleep_ms(5);
		/* Revoked meanwhile it may be anything. */
		REQUIRE(hold_generation(hold, &restarts_b) == held || restarts->revokes);
		_exit(0);
	}
	int status = -1;
	REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
	REQUIRE_EQUAL(status, 0);
	restarts_ended(restarts, rgm_hold_release(hold));
	writer_count(&restarts->board->forks);
}

/* Its main thread speaks with whatever manager there is: the session goes on under the same number. */
static inline void restarts_process(struct child *parent, void *context)
{
	const struct restarts_process *process = context;
	struct restarts *restarts = process->restarts;
	struct rgm_attach_options options = {.size = sizeof options,
		.barrier = process->number % 2 ? RGM_BARRIER_FENCE : RGM_BARRIER_MEMBARRIER};
	struct restarts_thread threads[RESTARTS_THREADS];
	uint64_t random = restarts->seed + process->number * 1000;
	struct reader reader = {0};
	pthread_t id;
	(void)parent;
	restarts_attach(&reader, restarts->instance, &options);
	REQUIRE(restarts_map(&reader, "alpha") && restarts_map(&reader, "beta"));
	for (unsigned i = 0; i < RESTARTS_THREADS; i++) {
		threads[i] = (struct restarts_thread){restarts, reader.session, random + i};
		REQUIRE_EQUAL(pthread_create(&id, NULL, restarts_thread, &threads[i]), 0);
	}
	for (;;) {
		struct rgm_session_info info = {.size = sizeof info};
		struct rgm_error error;
		char name[8];
		support_sleep_ms(20 + (unsigned)support_below(&random, 60));
		snprintf(name, sizeof name, "%c%u", support_below(&random, 2) ? 'x' : 'y',
			(unsigned)support_below(&random, EXTRAS));
		restarts_map(&reader, name);
		must(rgm_session_info(reader.session, &info, &error), &error);
		REQUIRE_EQUAL(info.number, reader.number);
		if (!info.manager_alive)
			writer_count(&restarts->board->resumed);
		if (support_below(&random, 8) == 0)
			restarts_fork(&reader, restarts);
	}
}

/* --- The test's own process ----------------------------------------------------------------------- */

struct restarts_crew {
	struct child children[RESTARTS_PROCESSES];
	struct restarts_process processes[RESTARTS_PROCESSES];
	uint64_t number;
	unsigned killed, stopped, double_kills;
	unsigned takeovers, most_takeovers; /* since nothing was retired */
};

/* A process that ended by itself found something wrong, and has said what. */
static inline void restarts_watch(const struct child *child)
{
	int status;
	if (child->pid && waitpid(child->pid, &status, WNOHANG) == child->pid) {
		support_forget(child->pid);
		support_fail(__FILE__, __LINE__, "process %d ended with status 0x%x",
			(int)child->pid, status);
	}
}

static inline void restarts_start(
	struct restarts *restarts, struct restarts_crew *crew, unsigned which)
{
	crew->processes[which] = (struct restarts_process){restarts, crew->number++};
	crew->children[which] = child_start(restarts_process, &crew->processes[which]);
}

static inline void restarts_wake(struct restarts_crew *crew)
{
	for (unsigned i = 0; i < RESTARTS_PROCESSES; i++)
		child_signal(&crew->children[i], SIGCONT);
}

/* A death and a new process, or a stop; those that were stopped before go on. */
static inline void restarts_hit(struct restarts *restarts, struct restarts_crew *crew)
{
	unsigned which = (unsigned)support_below(&restarts->seed, RESTARTS_PROCESSES);
	struct child *child = &crew->children[which];
	switch (support_below(&restarts->seed, 4)) {
	case 0:
		child_kill(child);
		restarts_start(restarts, crew, which);
		crew->killed++;
		break;
	case 1:
		child_signal(child, SIGSTOP);
		crew->stopped++;
		break;
	default:
		restarts_wake(crew);
	}
}

/* Nobody serves: who comes is told so, at once. */
static inline void restarts_nobody(struct restarts *restarts)
{
	struct rgm_attach_options options = {
		.size = sizeof options, .socket = restarts->instance->socket};
	struct rgm_session *session;
	struct rgm_error error;
	REQUIRE_ERROR(rgm_session_attach(restarts->instance->name, &options, &session, &error),
		RGM_ENOMANAGER, &error);
}

static inline void restarts_round(struct restarts *restarts, struct restarts_crew *crew)
{
	struct instance *instance = restarts->instance;
	/* A manager looks for readers that lag twice a second. */
	bool patient = restarts->revokes && support_below(&restarts->seed, 4) == 0;
	support_sleep_ms((unsigned)support_below(&restarts->seed, patient ? 1200 : 40));
	restarts_hit(restarts, crew);
	instance_kill(instance);
	crew->takeovers++;
	restarts_nobody(restarts);
	restarts_hit(restarts, crew);
	/* Killed again before it serves, or while it takes over, or just afterwards. */
	while (support_below(&restarts->seed, 4) == 0) {
		instance_begin(instance);
		support_sleep_ms((unsigned)support_below(&restarts->seed, 12));
		instance_kill(instance);
		crew->takeovers++;
		crew->double_kills++;
	}
	instance_start(instance);
	for (unsigned i = 0; i < RESTARTS_PROCESSES; i++)
		restarts_watch(&crew->children[i]);
}

/* Nothing changes for a while, readers go on: what is retired is free then. */
static inline void restarts_rest(struct restarts *restarts, struct restarts_crew *crew)
{
	struct writer_board *board = &restarts->board->writer;
	struct rgm_status status;
	__atomic_store_n(&board->pause, 1, __ATOMIC_RELEASE);
	restarts_wake(crew);
	WAIT_UNTIL(__atomic_load_n(&board->paused, __ATOMIC_ACQUIRE) == 1);
	WAIT_UNTIL((instance_status(restarts->instance, &status), status.retired_bytes == 0));
	__atomic_store_n(&board->pause, 0, __ATOMIC_RELEASE);
	if (crew->takeovers > crew->most_takeovers)
		crew->most_takeovers = crew->takeovers;
	crew->takeovers = 0;
}

/* What is allocated is live, nobody is left, and no name that has no owner. */
static inline void restarts_settle(struct instance *instance, uint64_t *ret_bytes)
{
	struct rgm_status status;
	struct rgm_dimension_row row;
	static const char *const names[] = {"alpha", "beta"};
	instance_wait_readers(instance, 0);
	WAIT_UNTIL((instance_status(instance, &status), status.retired_bytes == 0));
	REQUIRE_EQUAL(status.refused, 0);
	*ret_bytes = 0;
	for (size_t i = 0; i < 2; i++) {
		instance_show(instance, names[i], &row);
		REQUIRE_EQUAL(row.allocated_pages, row.live_pages);
		*ret_bytes += row.region_bytes;
	}
	WAIT_UNTIL(instance_segments(instance) == 0);
	/* The table, the book, and a live allocation each. */
	REQUIRE(instance_shm_names(instance) <= 2 + status.dimensions);
}

/* Files have room for all that can be in view at once, and do not grow any more. What a load had set aside
 * (16 MiB, of which it used little) when its manager died is kept by whoever looks at anything older, under
 * the next manager too if that died before. */
static inline void restarts_bounds(
	struct restarts *restarts, const struct restarts_crew *crew, uint64_t bytes)
{
	struct instance *instance = restarts->instance;
	uint64_t one = restarts_a.layers * restarts_a.bytes + restarts_b.layers * restarts_b.bytes;
	uint64_t views = RESTARTS_PROCESSES * RESTARTS_THREADS * 2 + RESTARTS_PROCESSES + 4;
	uint64_t generation = restarts->writer.a, again;
	uint64_t arenas = (crew->most_takeovers + 4) * (16ull << 20);
	print_message("  region files: %llu KiB; at most %u takeovers in a row\n",
		(unsigned long long)bytes >> 10, crew->most_takeovers);
	REQUIRE(bytes <= one * views + arenas + arenas / 16 + 8 * (2 << 20));
	for (int i = 0; i < 10; i++) {
		instance_put(instance, &restarts_a, ++generation + 1000000);
		instance_put(instance, &restarts_b, generation + 1000000);
	}
	restarts_settle(instance, &again);
	REQUIRE_EQUAL(again, bytes);
}

static inline void restarts_run(struct restarts *restarts)
{
	struct instance *instance = restarts->instance;
	static struct restarts_crew crew;
	uint64_t bytes, start = support_now_ms();
	struct restarts_board *board =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(board != MAP_FAILED);
	crew = (struct restarts_crew){0};
	restarts->board = board;
	restarts->writer = (struct writer){.instance = instance,
		.random = restarts->seed ^ 77,
		.a = 1,
		.b = 1,
		.board = &board->writer};
	for (unsigned i = 0; i < EXTRAS; i++)
		restarts->writer.extras[i].letter = 'x';
	instance_put(instance, &restarts_a, 1);
	instance_put(instance, &restarts_b, 1);
	struct child writer = child_start(writer_run, &restarts->writer);
	for (unsigned i = 0; i < RESTARTS_PROCESSES; i++)
		restarts_start(restarts, &crew, i);
	/* All of them look before the first manager dies. */
	WAIT_UNTIL(__atomic_load_n(&board->looks, __ATOMIC_RELAXED) >
		   2 * RESTARTS_PROCESSES * RESTARTS_THREADS);
	for (unsigned round = 0; round < restarts->rounds; round++) {
		restarts_round(restarts, &crew);
		if (round % 10 == 9)
			restarts_rest(restarts, &crew);
		restarts_watch(&writer);
	}
	if (restarts->revokes)
		WAIT_UNTIL(__atomic_load_n(&board->revoked, __ATOMIC_RELAXED) > 0);
	restarts_rest(restarts, &crew);
	__atomic_store_n(&board->writer.stop, 1, __ATOMIC_RELEASE);
	child_expect(&writer, 's');
	for (unsigned i = 0; i < RESTARTS_PROCESSES; i++) {
		restarts_watch(&crew.children[i]);
		child_kill(&crew.children[i]);
	}
	child_say(&writer, 'c');
	child_join(&writer);
	print_message(
		"%u restarts (and %u deaths in takeovers) in %llu ms: %llu looks, %llu void; "
		"%llu changes, %llu cut short, of which %llu are there; %u readers killed, %u "
		"stopped, %llu forks\n",
		restarts->rounds, crew.double_kills, (unsigned long long)(support_now_ms() - start),
		(unsigned long long)board->looks, (unsigned long long)board->revoked,
		(unsigned long long)board->writer.acknowledged,
		(unsigned long long)board->writer.cut, (unsigned long long)board->writer.applied,
		crew.killed, crew.stopped, (unsigned long long)board->forks);
	REQUIRE(board->writer.acknowledged > 0 && board->writer.cut > 0);
	restarts_settle(instance, &bytes);
	restarts_bounds(restarts, &crew, bytes);
	munmap(board, 4096);
	/* And a clean end has it all on the disk. */
	instance_stop(instance);
	instance_start(instance);
	restarts_settle(instance, &bytes);
}

#endif
