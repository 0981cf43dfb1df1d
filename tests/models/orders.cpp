/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The orders of ipc/slot.h in the C++11 memory model, by relacy: which of them are needed, and that
 * they are enough. The models in Promela know the reorderings of x86; this knows all that the language
 * allows, but takes samples of the executions.
 *
 * Modelled. Readers enter and leave sections, with one section in another; they take a hold, read under
 * it beyond the section, release it, and use its entry again. The manager publishes and scans, as two
 * threads or as one. Blocks are plain variables: reading one that is written without an order between
 * is a race, which relacy reports; reading one that was reused is an assertion.
 *
 * membarrier(2) is a fence that the manager asks for and waits for, and that a reader passes between any
 * two of its steps, and when its thread ends. So this is the form that shows what a reader's
 * own orders are needed for: with a fence in R3 much would hold without them.
 *
 * Revocation is a program of its own, since there a reader does read what is overwritten: blocks are
 * relaxed atomics, and what counts is that it does not believe them.
 *
 *   orders VARIANT [ITERATIONS [SEED]]      exit code 0: no error was found; 1: one was; 2: usage
 *   orders                                  prints the variants
 *
 * An iteration is determined by its number; SEED is the first one's.
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include <relacy/relacy.hpp>

using rl::memory_order;
using rl::mo_acquire;
using rl::mo_relaxed;
using rl::mo_release;
using rl::mo_seq_cst;

/* What the variants change. */
struct orders {
	memory_order r1 = mo_acquire, r2 = mo_release, r4 = mo_acquire, r6 = mo_release;
	bool reader_fence = true, membarrier = false, recheck = true;
	memory_order m1 = mo_release, m4 = mo_acquire, m5_dimension = mo_acquire,
		     m5_version = mo_acquire;
	bool manager_fence = true, holds_first = false, since = false;
	memory_order hold_version = mo_release, hold_dimension = mo_release,
		     hold_clear = mo_release;
	bool moved = false, outside = false;
	bool revoke_fence = true, check_fence = true, check_first = false;
};
static orders with;

static const unsigned newest = 3;

/* --- Sections and holds ------------------------------------------------------------------------- */

template <int readers, bool threads_of_manager>
struct sections
    : rl::test_suite<sections<readers, threads_of_manager>, readers + 1 + threads_of_manager> {
	static const unsigned entries = 2;

	rl::atomic<unsigned> current, word[readers], dimension[entries], version[entries];
	/* By version: what sections alone keep, and what a hold keeps too. */
	rl::var<unsigned> top[newest + 1], leaf[newest + 1];
	unsigned retired = 0; /* manager: blocks of versions up to this one are reused */
	bool top_reused[newest + 1], leaf_reused[newest + 1];
	/* The kernel's part of membarrier: no atomics of the model. */
	bool asked[readers], ended[readers];

	void before()
	{
		for (int i = 0; i < readers; i++)
			asked[i] = ended[i] = false;
		current($) = 1;
		for (int i = 0; i < readers; i++)
			word[i]($) = 0;
		for (unsigned i = 0; i < entries; i++) {
			dimension[i]($) = 0;
			version[i]($) = 0;
		}
		for (unsigned v = 1; v <= newest; v++) {
			top[v]($) = v == 1 ? v : 0;
			leaf[v]($) = v == 1 ? v : 0;
			top_reused[v] = leaf_reused[v] = false;
		}
	}

	/* Between any two steps of a reader. */
	void step(int index)
	{
		if (asked[index]) {
			rl::atomic_thread_fence(mo_seq_cst, $);
			asked[index] = false;
		}
	}

	void membarrier()
	{
		for (int i = 0; i < readers; i++)
			asked[i] = !ended[i];
		for (int i = 0; i < readers; i++)
			while (asked[i] && !ended[i])
				rl::yield(1, $);
	}

	unsigned enter(int index)
	{
		rl::atomic<unsigned> &slot = word[index];
		step(index);
		unsigned v = current($).load(with.r1);
		for (;;) {
			step(index);
			slot($).store(v, with.r2);
			if (with.reader_fence)
				rl::atomic_thread_fence(mo_seq_cst, $);
			if (!with.recheck)
				return v;
			step(index);
			unsigned w = current($).load(with.r4);
			if (w == v)
				return v;
			v = w;
		}
	}

	void read(int index, unsigned v)
	{
		step(index);
		RL_ASSERT(top[v]($) == v);
		RL_ASSERT(leaf[v]($) == v);
	}

	void store_hold(int index, unsigned entry, unsigned v)
	{
		step(index);
		version[entry]($).store(v, with.hold_version);
		step(index);
		dimension[entry]($).store(1, with.hold_dimension);
	}

	void clear_hold(int index, unsigned entry)
	{
		step(index);
		dimension[entry]($).store(0, with.hold_clear);
	}

	void reader(int index)
	{
		for (int round = 0; round < 2; round++) {
			unsigned v = enter(index);
			read(index, v);
			bool holds = index == 0;
			unsigned entry = with.moved ? 1 : 0;
			if (holds && !with.outside)
				store_hold(index, entry, v);
			read(index, v); /* also what an inner section does */
			step(index);
			word[index]($).store(0, with.r6);
			if (!holds)
				continue;
			if (with.outside)
				store_hold(index, entry, v);
			if (with.moved) {
				store_hold(index, 0, v);
				clear_hold(index, 1);
				entry = 0;
			}
			step(index);
			RL_ASSERT(leaf[v]($) == v);
			clear_hold(index, entry);
		}
		rl::atomic_thread_fence(
			mo_seq_cst, $); /* the kernel's, in the switch to another thread */
		ended[index] = true;
	}

	void publish(unsigned v)
	{
		top[v]($) = v;
		leaf[v]($) = v;
		current($).store(v, with.m1);
	}

	void scan_holds(bool *held)
	{
		for (unsigned i = 0; i < entries; i++)
			if (dimension[i]($).load(with.m5_dimension))
				held[version[i]($).load(with.m5_version)] = true;
	}

	void scan()
	{
		bool seen[newest + 1] = {}, held[newest + 1] = {};
		unsigned c = current($).load(mo_acquire);
		if (with.manager_fence)
			rl::atomic_thread_fence(mo_seq_cst, $);
		if (with.membarrier) {
			membarrier();
			rl::atomic_thread_fence(mo_seq_cst, $);
		}
		if (with.holds_first)
			scan_holds(held);
		for (int i = 0; i < readers; i++)
			seen[word[i]($).load(with.m4)] = true;
		if (!with.holds_first)
			scan_holds(held);
		if (with.since)
			c = current($).load(mo_acquire);
		for (unsigned v = 1; v < c; v++) {
			if (!seen[v] && !top_reused[v]) {
				top_reused[v] = true;
				top[v]($) = 100;
			}
			if (!seen[v] && !held[v] && !leaf_reused[v]) {
				leaf_reused[v] = true;
				leaf[v]($) = 100;
			}
		}
	}

	void thread(unsigned index)
	{
		if (index < readers)
			return reader((int)index);
		for (unsigned v = 2; v <= newest; v++) {
			bool scanner = threads_of_manager && index == readers + 1;
			if (!scanner)
				publish(v);
			if (scanner || !threads_of_manager)
				scan();
		}
	}
};

/* --- Revocation --------------------------------------------------------------------------------- */

struct revocation : rl::test_suite<revocation, 2> {
	rl::atomic<unsigned> current, revoked, word, leaf;

	void before()
	{
		current($) = 1;
		revoked($) = 1;
		word($) = 0;
		leaf($) = 1; /* of version 1 */
	}

	void thread(unsigned index)
	{
		if (index == 0) {
			current($).store(2, with.m1);
			/* The word of version 1 is not looked at: it is below what is revoked. */
			revoked($).store(2, mo_release);
			if (with.revoke_fence)
				rl::atomic_thread_fence(mo_seq_cst, $);
			leaf($).store(100, mo_relaxed);
			return;
		}
		word($).store(1, mo_release);
		rl::atomic_thread_fence(mo_seq_cst, $);
		if (current($).load(mo_acquire) != 1)
			return;
		unsigned limit = with.check_first ? revoked($).load(mo_relaxed) : 0;
		unsigned got = leaf($).load(mo_relaxed);
		if (with.check_fence)
			rl::atomic_thread_fence(mo_acquire, $);
		if (!with.check_first)
			limit = revoked($).load(mo_relaxed);
		word($).store(0, mo_release);
		RL_ASSERT(1 < limit || got == 1);
	}
};

/* --- Variants ----------------------------------------------------------------------------------- */

/* What relacy itself prints goes to stdout; streams that allocate do not get along with its allocator. */
static bool run(const char *program, unsigned long iterations, unsigned long seed)
{
	rl::test_params params;
	char state[24];
	snprintf(state, sizeof state, "%lu", seed);
	params.initial_state = state;
	params.iteration_count = seed + iterations;
	params.search_type = rl::random_scheduler_type;
	bool good = false;
	if (strcmp(program, "one_reader") == 0)
		good = rl::simulate<sections<1, false>>(params);
	else if (strcmp(program, "two_readers") == 0)
		good = rl::simulate<sections<2, false>>(params);
	else if (strcmp(program, "two_threads") == 0)
		good = rl::simulate<sections<1, true>>(params);
	else
		good = rl::simulate<revocation>(params);
	std::cout.flush();
	printf("%s in %s, after iteration %lu, %lu at most from %lu on\n",
		good ? "no error" : rl::test_result_str(params.test_result), program,
		(unsigned long)params.stop_iteration, iterations, seed);
	return good;
}

static void by_membarrier()
{
	with.reader_fence = false;
	with.membarrier = true;
}

struct variant {
	const char *name;
	const char *program;
	void (*change)();
};

static const variant variants[] = {
	{"one_reader", "one_reader", [] {}},
	{"two_readers", "two_readers", [] {}},
	{"two_threads", "two_threads", [] {}},
	{"one_reader_membarrier", "one_reader", by_membarrier},
	{"two_readers_membarrier", "two_readers", by_membarrier},
	{"two_threads_membarrier", "two_threads", by_membarrier},
	{"revocation", "revocation", [] {}},
	{"r1_relaxed", "two_threads",
		[] {
			by_membarrier();
			with.r1 = mo_relaxed;
		}},
	{"r2_relaxed", "one_reader",
		[] {
			by_membarrier();
			with.r2 = mo_relaxed;
		}},
	{"r4_relaxed", "two_threads",
		[] {
			by_membarrier();
			with.r4 = mo_relaxed;
		}},
	{"r4_relaxed_with_a_fence", "two_threads", [] { with.r4 = mo_relaxed; }},
	{"r6_relaxed", "one_reader", [] { with.r6 = mo_relaxed; }},
	{"m1_relaxed", "one_reader", [] { with.m1 = mo_relaxed; }},
	{"m4_relaxed", "one_reader", [] { with.m4 = mo_relaxed; }},
	{"m5_dimension_relaxed", "one_reader", [] { with.m5_dimension = mo_relaxed; }},
	{"m5_version_relaxed", "one_reader", [] { with.m5_version = mo_relaxed; }},
	{"hold_version_relaxed", "one_reader",
		[] {
			by_membarrier();
			with.hold_version = mo_relaxed;
		}},
	{"hold_dimension_relaxed", "one_reader",
		[] {
			by_membarrier();
			with.hold_dimension = mo_relaxed;
		}},
	{"hold_clear_relaxed", "one_reader", [] { with.hold_clear = mo_relaxed; }},
	{"no_reader_fence", "one_reader", [] { with.reader_fence = false; }},
	{"no_manager_fence", "one_reader", [] { with.manager_fence = false; }},
	{"no_recheck", "one_reader", [] { with.recheck = false; }},
	{"no_recheck_membarrier", "one_reader",
		[] {
			by_membarrier();
			with.recheck = false;
		}},
	{"holds_before_words", "one_reader", [] { with.holds_first = true; }},
	{"moved", "one_reader", [] { with.moved = true; }},
	{"taken_outside", "one_reader", [] { with.outside = true; }},
	{"retired_since", "two_threads", [] { with.since = true; }},
	{"no_revocation_fence", "revocation", [] { with.revoke_fence = false; }},
	{"no_check_fence", "revocation", [] { with.check_fence = false; }},
	{"checked_before_reads", "revocation", [] { with.check_first = true; }},
};

int main(int argc, char **argv)
{
	if (argc < 2) {
		for (const variant &each : variants)
			printf("%s\n", each.name);
		return 0;
	}
	unsigned long iterations = argc > 2 ? strtoul(argv[2], nullptr, 10) : 100000;
	for (const variant &each : variants) {
		if (strcmp(each.name, argv[1]) != 0)
			continue;
		each.change();
		return run(each.program, iterations, argc > 3 ? strtoul(argv[3], nullptr, 10) : 1)
		               ? 0
		               : 1;
	}
	fprintf(stderr, "there is no variant '%s'\n", argv[1]);
	return 2;
}
