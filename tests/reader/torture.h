/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers in processes and threads against a writer at full speed, with kills, stops and hostile
 * segments at random. Each version replaces every layer of two dimensions with bytes that say which
 * generation they are, so a section that sees a block reused too early, or two versions at once, shows.
 *
 * What is proven: ipc/slot.h's promise for sections and holds, through the whole stack, for the figures
 * at the end too: nothing stays allocated that nobody sees.
 *
 * With a policy that revokes, a section or a hold may end in RGM_EREVOKED: what it read is ignored then,
 * whatever it was, and everything that ends in 0 has to be whole.
 */
#ifndef TESTS_READER_TORTURE_H
#define TESTS_READER_TORTURE_H

#include "tests/support/instance.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct torture {
	struct instance *instance;
	unsigned processes, threads;
	uint64_t ms;
	uint64_t seed;
	bool chaos;   /* SIGKILL, SIGSTOP, SIGCONT */
	bool revokes; /* the manager's policy is `limit` */
};

static const struct content torture_a = {"alpha", 9, 64 * 160, 1000};
static const struct content torture_b = {"beta", 5, 64 * 1000, 2000};

struct torture_thread {
	struct rgm_session *session;
	uint64_t random;
	bool holds;
	bool *stop;      /* atomic; NULL: never */
	uint64_t *looks; /* atomic; behind it the number of those that were revoked */
	bool revokes;
};

/* What a section sees of a dimension, 0 if it is not whole: for a section that may be void, in which a
 * look-up may fail as well. */
static inline uint64_t torture_generation(struct rgm_slot *slot, const struct content *content)
{
	struct rgm_layers view;
	struct rgm_error error;
	return rgm_layers_open(slot, content->dimension, &view, &error)
	               ? 0
	               : view_generation(&view, content);
}

/* A hold, or NULL where a section that may be void finds nothing to hold. */
static inline struct rgm_hold *torture_hold(struct torture_thread *thread, struct reader *reader)
{
	struct rgm_dimension dimension;
	struct rgm_error error;
	struct rgm_hold *hold = NULL;
	int rc = rgm_find(reader->slot, "beta", &dimension, &error);
	if (rc == 0)
		rc = rgm_hold_take(reader->slot, &dimension, &hold, &error);
	REQUIRE(rc == 0 || thread->revokes);
	return hold;
}

/* The end of a section or a hold: did it end well? */
static inline bool torture_ended(struct torture_thread *thread, int rc)
{
	REQUIRE(rc == 0 || (thread->revokes && rc == RGM_EREVOKED));
	if (rc)
		__atomic_fetch_add(&thread->looks[1], 1, __ATOMIC_RELAXED);
	return rc == 0;
}

/* One section: both dimensions, a hold now and then, and the same bytes a second time. */
static inline void torture_look(struct torture_thread *thread, struct reader *reader)
{
	struct rgm_hold *hold = NULL;
	must(rgm_pin(reader->slot), NULL);
	uint64_t a = torture_generation(reader->slot, &torture_a), again = a;
	uint64_t b = torture_generation(reader->slot, &torture_b);
	if (thread->holds && support_below(&thread->random, 3) == 0)
		hold = torture_hold(thread, reader);
	if (support_below(&thread->random, 4) == 0) {
		support_sleep_ms((unsigned)support_below(&thread->random, 4));
		again = torture_generation(reader->slot, &torture_a);
	}
	if (torture_ended(thread, rgm_unpin(reader->slot))) {
		/* They change one after the other: a is replaced first. */
		REQUIRE(a != 0 && b != 0 && (a == b || a == b + 1));
		REQUIRE_EQUAL(again, a);
	} else {
		b = 0;
	}
	if (hold) {
		support_sleep_ms((unsigned)support_below(&thread->random, 3));
		uint64_t held = hold_generation(hold, &torture_b);
		if (torture_ended(thread, rgm_hold_release(hold)))
			REQUIRE_EQUAL(held, b);
	}
	__atomic_fetch_add(thread->looks, 1, __ATOMIC_RELAXED);
}

static inline void *torture_thread(void *argument)
{
	struct torture_thread *thread = argument;
	struct reader reader = {.session = thread->session};
	struct rgm_error error;
	must(rgm_slot_open(reader.session, &reader.slot, &error), &error);
	while (!thread->stop || !__atomic_load_n(thread->stop, __ATOMIC_ACQUIRE))
		torture_look(thread, &reader);
	rgm_slot_close(reader.slot);
	return NULL;
}

/* One reader process, for ever. Its looks are counted in memory that it shares with the test. */
struct torture_process {
	struct torture *torture;
	uint64_t number;
	uint64_t *looks;
};

static inline void torture_process(struct child *parent, void *context)
{
	const struct torture_process *process = context;
	const struct torture *torture = process->torture;
	struct rgm_attach_options options = {.size = sizeof options,
		.barrier = process->number % 2 ? RGM_BARRIER_FENCE : RGM_BARRIER_MEMBARRIER};
	struct torture_thread threads[16];
	pthread_t ids[16];
	struct reader reader;
	(void)parent;
	reader_open(&reader, torture->instance, &options);
	reader_map(&reader, "alpha");
	reader_map(&reader, "beta");
	for (unsigned i = 0; i < torture->threads; i++) {
		threads[i] = (struct torture_thread){reader.session,
			torture->seed + process->number * 100 + i, i % 2 == 0, NULL, process->looks,
			torture->revokes};
		REQUIRE_EQUAL(pthread_create(&ids[i], NULL, torture_thread, &threads[i]), 0);
	}
	for (unsigned i = 0; i < torture->threads; i++)
		pthread_join(ids[i], NULL);
}

/* What happens to a process at random; true if it has to be started anew. */
static inline bool torture_hit(struct torture *torture, struct child *child, bool *stopped)
{
	switch (support_below(&torture->seed, 5)) {
	case 0:
		child_kill(child);
		*stopped = false;
		return true;
	case 1:
		child_signal(child, SIGSTOP);
		*stopped = true;
		return false;
	default:
		if (*stopped)
			child_signal(child, SIGCONT);
		*stopped = false;
		return false;
	}
}

/* A process that ended by itself found something wrong, and has said what. */
static inline void torture_watch(const struct child *child)
{
	int status;
	if (waitpid(child->pid, &status, WNOHANG) == child->pid) {
		support_forget(child->pid);
		support_fail(__FILE__, __LINE__, "reader process %d ended with status 0x%x",
			(int)child->pid, status);
	}
}

static inline void torture_write(struct instance *instance, uint64_t *generation)
{
	instance_put(instance, &torture_a, ++*generation);
	instance_put(instance, &torture_b, *generation);
}

/* At the end: what is allocated is live, and nobody is left. */
static inline void torture_settle(struct instance *instance)
{
	struct rgm_status status;
	struct rgm_dimension_row row;
	instance_wait_readers(instance, 0);
	WAIT_UNTIL((instance_status(instance, &status), status.retired_bytes == 0));
	instance_show(instance, "alpha", &row);
	REQUIRE_EQUAL(row.allocated_pages, row.live_pages);
	instance_show(instance, "beta", &row);
	REQUIRE_EQUAL(row.allocated_pages, row.live_pages);
	WAIT_UNTIL(instance_segments(instance) == 0);
}

static inline void torture_processes(struct torture *torture)
{
	struct child children[16];
	struct torture_process processes[16];
	bool stopped[16] = {false};
	uint64_t generation = 0, number = 0;
	uint64_t *looks =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(looks != MAP_FAILED);
	torture_write(torture->instance, &generation);
	for (unsigned i = 0; i < torture->processes; i++) {
		processes[i] = (struct torture_process){torture, number++, looks};
		children[i] = child_start(torture_process, &processes[i]);
	}
	uint64_t until = support_now_ms() + torture->ms, next = 0;
	while (support_now_ms() < until || __atomic_load_n(looks, __ATOMIC_RELAXED) < 100) {
		torture_write(torture->instance, &generation);
		if (support_now_ms() < next)
			continue;
		next = support_now_ms() + 20;
		for (unsigned i = 0; i < torture->processes; i++)
			torture_watch(&children[i]);
		unsigned which = (unsigned)support_below(&torture->seed, torture->processes);
		if (torture->chaos && torture_hit(torture, &children[which], &stopped[which])) {
			processes[which].number = number++;
			children[which] = child_start(torture_process, &processes[which]);
		}
	}
	for (unsigned i = 0; i < torture->processes; i++) {
		torture_watch(&children[i]);
		child_kill(&children[i]);
	}
	print_message("%llu generations, %llu looks (%llu void), %llu processes\n",
		(unsigned long long)generation,
		(unsigned long long)__atomic_load_n(looks, __ATOMIC_RELAXED),
		(unsigned long long)__atomic_load_n(&looks[1], __ATOMIC_RELAXED),
		(unsigned long long)number);
	REQUIRE(!torture->revokes || instance_counter(torture->instance, "readers_revoked") > 0);
	munmap(looks, 4096);
	torture_settle(torture->instance);
}

/* The same with threads of this process alone, which a race build can watch. */
static inline void torture_threads(struct torture *torture)
{
	struct torture_thread threads[16];
	pthread_t ids[16];
	struct reader readers[2];
	bool stop = false;
	uint64_t generation = 0, looks[2] = {0};
	torture_write(torture->instance, &generation);
	for (unsigned i = 0; i < 2; i++) {
		struct rgm_attach_options options = {.size = sizeof options,
			.barrier = i ? RGM_BARRIER_FENCE : RGM_BARRIER_MEMBARRIER};
		reader_open(&readers[i], torture->instance, &options);
		reader_map(&readers[i], "alpha");
		reader_map(&readers[i], "beta");
	}
	for (unsigned i = 0; i < torture->threads; i++) {
		threads[i] = (struct torture_thread){
			readers[i % 2].session, torture->seed + i, i % 3 == 0, &stop, looks, false};
		REQUIRE_EQUAL(pthread_create(&ids[i], NULL, torture_thread, &threads[i]), 0);
	}
	uint64_t until = support_now_ms() + torture->ms;
	while (support_now_ms() < until || __atomic_load_n(looks, __ATOMIC_RELAXED) < 100)
		torture_write(torture->instance, &generation);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < torture->threads; i++)
		pthread_join(ids[i], NULL);
	reader_close(&readers[0]);
	reader_close(&readers[1]);
	torture_settle(torture->instance);
}

#endif
