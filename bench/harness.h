/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all benches share: options, clock, and the way two things are compared.
 *
 * A **row** is one piece of work; its **subjects** are ours, always called "regionmgr", and its
 * peers and limits. A row is measured in **runs**: in each, every subject once, one after another,
 * beginning with another one each time, so that what the machine does meanwhile hits all alike. A
 * ratio is ours / peer, taken pair by pair within a run; its median is what counts.
 *
 * A bench refuses to run when it, or the library it calls, was built for looking for faults.
 */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_RUNS_MAX     256u
#define BENCH_SUBJECTS_MAX 12u

struct bench {
	const char *name; /* "section" */
	const char *dir;  /* where files are made: --dir, $TMPDIR, or the usual place */
	bool quick;
	bool json;
	uint64_t seed;
};

/* Which way a figure is good. */
enum bench_better {
	BENCH_LOWER,
	BENCH_HIGHER
};

/* One subject of a row. `run` does the work once and returns the figure, in the row's unit; NAN means
 * that it failed. NULL: the peer is not installed, and the row says "absent". */
struct bench_subject {
	const char *name;
	double (*run)(void *context);
	void *context;
};

/* Parse the options, refuse a debug build, print the line about machine and build. Returns 0, or the
 * status to exit with. */
int bench_begin(struct bench *bench, const char *name, int argc, char **argv);

/* Measure one row and print it; subjects[0] is ours. `runs` is for a full bench, a quick one takes a
 * quarter of them. False when a subject failed, told on stderr. */
bool bench_row(const struct bench *bench, const char *row, const char *unit,
	enum bench_better better, const struct bench_subject *subjects, size_t count,
	unsigned runs);

/* Print figures that were taken elsewhere: `values[s][r]` of subject s in run r; NAN: absent. */
void bench_print(const struct bench *bench, const char *row, const char *unit,
	enum bench_better better, const char *const *names, double (*values)[BENCH_RUNS_MAX],
	size_t count, unsigned runs);

/* How a row's cost grows from one size to the next: call bench_slope_add() after each row, with the
 * size and what ours is to be divided by (1, or the work done, where that grows with the size), then
 * print. */
struct bench_slope {
	double size[16];
	double median[16];
	size_t count;
};
void bench_slope_add(struct bench_slope *slope, double size, double per);
/* Prints the least-squares change for each doubling of the size, and the last median / the first. */
void bench_slope_print(const struct bench *bench, const char *row, const char *unit,
	const char *size_name, const struct bench_slope *slope);

/* A word about a row that cannot be measured here. */
void bench_note(const struct bench *bench, const char *row, const char *note);

unsigned bench_runs(const struct bench *bench, unsigned runs);
uint64_t bench_now_ns(void); /* CLOCK_MONOTONIC: the same for all processes */
uint64_t bench_random(uint64_t *state);

/* The sum of `bytes` as 64-bit words, the rest byte by byte: the scan of every subject. Vectorised,
 * for the processor it runs on. */
uint64_t bench_sum(const void *data, size_t bytes);

/* In a loop that waits for another processor. */
static inline void bench_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Keep the compiler from dropping a result. */
void bench_use(uint64_t value);

#endif
