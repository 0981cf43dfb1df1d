/* SPDX-License-Identifier: Apache-2.0 */
/* Options, clock, comparison and printing; see harness.h. */
#include "harness.h"

#include <dlfcn.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <regionmgr/types.h>

static double last_median; /* of ours, in the last row printed */

/* --- the start ---------------------------------------------------------------------------------- */

static const char *fault_build(void)
{
#if !defined(__OPTIMIZE__)
	return "built without optimisation";
#elif !defined(NDEBUG)
	return "built with asserts (use the preset release)";
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return "built with a sanitizer";
#else
	/* the libraries come from elsewhere, maybe */
	if (dlsym(RTLD_DEFAULT, "__asan_init") != NULL ||
		dlsym(RTLD_DEFAULT, "__tsan_init") != NULL ||
		dlsym(RTLD_DEFAULT, "__ubsan_handle_add_overflow_abort") != NULL)
		return "linked with a library that was built with a sanitizer";
	if (dlsym(RTLD_DEFAULT, "__gcov_dump") != NULL)
		return "linked with a library that counts lines";
	return NULL;
#endif
}

static void read_processor(char *ret_name, size_t bytes)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(ret_name, bytes, "unknown");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		char *colon = strstr(line, ": ");

		if (strncmp(line, "model name", 10) != 0 || colon == NULL)
			continue;
		colon[strcspn(colon, "\n\"\\")] = '\0';
		snprintf(ret_name, bytes, "%s", colon + 2);
		break;
	}
	if (file != NULL)
		fclose(file);
}

static const char *file_system(const char *dir)
{
	static const struct {
		unsigned long magic;
		const char *name;
	} known[] = {{0xef53, "ext4"}, {0x58465342, "xfs"}, {0x9123683e, "btrfs"},
		{0x01021994, "tmpfs"}, {0x794c7630, "overlay"}};
	struct statfs facts;

	if (statfs(dir, &facts) == 0)
		for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
			if ((unsigned long)facts.f_type == known[i].magic)
				return known[i].name;
	return "other";
}

static void print_header(const struct bench *bench)
{
	char processor[128], date[32];
	time_t now = time(NULL);
	struct utsname system;
	struct tm when;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);

	uname(&system);
	read_processor(processor, sizeof(processor));
	gmtime_r(&now, &when);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &when);
	if (bench->json)
		printf("{\"bench\":\"%s\",\"date\":\"%s\",\"processor\":\"%s\",\"processors\":%ld,"
		       "\"memory_gib\":%.1f,\"machine\":\"%s\",\"kernel\":\"%s %s\","
		       "\"file_system\":\"%s\",\"compiler\":\"%s\",\"library\":\"%s\","
		       "\"quick\":%s,\"seed\":%" PRIu64 "}\n",
			bench->name, date, processor, processors, memory / (1u << 30),
			system.machine, system.sysname, system.release, file_system(bench->dir),
			__VERSION__, rgm_version(), bench->quick ? "true" : "false", bench->seed);
	else
		printf("bench_%s on %s, %ld processors, %.1f GiB, %s %s, %s; gcc %s; "
		       "regionmgr %s; seed %" PRIu64 "%s\n",
			bench->name, processor, processors, memory / (1u << 30), system.sysname,
			system.release, file_system(bench->dir), __VERSION__, rgm_version(),
			bench->seed, bench->quick ? "; quick" : "");
	fflush(stdout);
}

int bench_begin(struct bench *bench, const char *name, int argc, char **argv)
{
	static const struct option options[] = {{"quick", 0, NULL, 'q'}, {"json", 0, NULL, 'j'},
		{"seed", 1, NULL, 's'}, {"dir", 1, NULL, 'd'}, {NULL, 0, NULL, 0}};
	const char *fault = fault_build();
	int option;

	*bench = (struct bench){.name = name, .seed = 1};
	bench->dir = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/var/tmp";
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'q':
			bench->quick = true;
			break;
		case 'j':
			bench->json = true;
			break;
		case 's':
			bench->seed = strtoull(optarg, NULL, 10);
			break;
		case 'd':
			bench->dir = optarg;
			break;
		default:
			optind = argc + 1;
		}
	if (optind != argc) {
		fprintf(stderr, "Usage: bench_%s [--quick] [--json] [--seed N] [--dir DIR]\n",
			name);
		return 2;
	}
	if (fault != NULL) {
		fprintf(stderr, "bench_%s: refused: %s\n", name, fault);
		return 2;
	}
	print_header(bench);
	return 0;
}

/* --- comparing ---------------------------------------------------------------------------------- */

static int by_value(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return a < b ? -1 : a > b;
}

static double median_of(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), by_value);
	return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void print_subject(const struct bench *bench, const char *row, const char *unit,
	const char *subject, const double *values, unsigned runs, bool ours)
{
	double sorted[BENCH_RUNS_MAX], median;

	if (isnan(values[0])) {
		if (bench->json)
			printf("{\"bench\":\"%s\",\"row\":\"%s\",\"subject\":\"%s\","
			       "\"absent\":true}\n",
				bench->name, row, subject);
		else
			printf("  %-32s absent\n", subject);
		return;
	}
	memcpy(sorted, values, runs * sizeof(*values));
	median = median_of(sorted, runs);
	if (ours)
		last_median = median;
	if (bench->json)
		printf("{\"bench\":\"%s\",\"row\":\"%s\",\"subject\":\"%s\",\"unit\":\"%s\","
		       "\"min\":%.5g,\"median\":%.5g,\"max\":%.5g,\"runs\":%u}\n",
			bench->name, row, subject, unit, sorted[0], median, sorted[runs - 1], runs);
	else
		printf("  %-32s %12.5g %12.5g %12.5g %s", subject, sorted[0], median,
			sorted[runs - 1], unit);
}

static void print_ratio(const struct bench *bench, const char *row, const char *against,
	enum bench_better better, const double *ours, const double *peer, unsigned runs)
{
	double ratios[BENCH_RUNS_MAX], ratio;

	for (unsigned i = 0; i < runs; i++)
		ratios[i] = ours[i] / peer[i];
	ratio = median_of(ratios, runs);
	if (bench->json)
		printf("{\"bench\":\"%s\",\"row\":\"%s\",\"ratio\":%.4g,\"against\":\"%s\","
		       "\"better\":\"%s\"}\n",
			bench->name, row, ratio, against,
			better == BENCH_LOWER ? "lower" : "higher");
	else
		printf("   ours is %.3f of it", ratio);
}

void bench_print(const struct bench *bench, const char *row, const char *unit,
	enum bench_better better, const char *const *names, double (*values)[BENCH_RUNS_MAX],
	size_t count, unsigned runs)
{
	if (!bench->json)
		printf("\n%s  (%s is better; %u runs: min, median, max)\n", row,
			better == BENCH_LOWER ? "lower" : "higher", runs);
	for (size_t i = 0; i < count; i++) {
		print_subject(bench, row, unit, names[i], values[i], runs, i == 0);
		if (bench->json || isnan(values[i][0]))
			continue;
		if (i > 0 && !isnan(values[0][0]))
			print_ratio(bench, row, names[i], better, values[0], values[i], runs);
		printf("\n");
	}
	for (size_t i = 1; bench->json && i < count; i++)
		if (!isnan(values[i][0]) && !isnan(values[0][0]))
			print_ratio(bench, row, names[i], better, values[0], values[i], runs);
	fflush(stdout);
}

unsigned bench_runs(const struct bench *bench, unsigned runs)
{
	if (bench->quick)
		runs = runs / 4 < 3 ? 3 : runs / 4;
	return runs > BENCH_RUNS_MAX ? BENCH_RUNS_MAX : runs;
}

bool bench_row(const struct bench *bench, const char *row, const char *unit,
	enum bench_better better, const struct bench_subject *subjects, size_t count, unsigned runs)
{
	static double values[BENCH_SUBJECTS_MAX][BENCH_RUNS_MAX];
	const char *names[BENCH_SUBJECTS_MAX];

	runs = bench_runs(bench, runs);
	for (size_t i = 0; i < count; i++) {
		names[i] = subjects[i].name;
		values[i][0] = NAN;
	}
	/* run -1 warms up and is not counted */
	for (unsigned run = 0; run < runs + 1; run++)
		for (size_t i = 0; i < count; i++) {
			const struct bench_subject *subject = &subjects[(i + run) % count];
			double value;

			if (subject->run == NULL)
				continue;
			value = subject->run(subject->context);
			if (isnan(value)) {
				fprintf(stderr, "bench_%s: %s: %s failed\n", bench->name, row,
					subject->name);
				return false;
			}
			values[subject - subjects][run == 0 ? 0 : run - 1] = value;
		}
	bench_print(bench, row, unit, better, names, values, count, runs);
	return true;
}

/* --- slopes and notes --------------------------------------------------------------------------- */

void bench_slope_add(struct bench_slope *slope, double size, double per)
{
	if (slope->count == 16)
		return;
	slope->size[slope->count] = size;
	slope->median[slope->count++] = last_median / per;
}

void bench_slope_print(const struct bench *bench, const char *row, const char *unit,
	const char *size_name, const struct bench_slope *slope)
{
	double sx = 0, sy = 0, sxx = 0, sxy = 0, n = (double)slope->count, each;

	if (slope->count < 2)
		return;
	for (size_t i = 0; i < slope->count; i++) {
		double x = log2(slope->size[i]);

		sx += x;
		sy += slope->median[i];
		sxx += x * x;
		sxy += x * slope->median[i];
	}
	each = (n * sxy - sx * sy) / (n * sxx - sx * sx);
	if (bench->json)
		printf("{\"bench\":\"%s\",\"row\":\"%s\",\"slope\":%.4g,\"unit\":\"%s per "
		       "doubling\","
		       "\"of\":\"%s\",\"from\":%g,\"to\":%g,\"last_to_first\":%.4g}\n",
			bench->name, row, each, unit, size_name, slope->size[0],
			slope->size[slope->count - 1],
			slope->median[slope->count - 1] / slope->median[0]);
	else
		printf("  slope: %+.4g %s for each doubling of %s from %g to %g; last / first "
		       "%.3f\n",
			each, unit, size_name, slope->size[0], slope->size[slope->count - 1],
			slope->median[slope->count - 1] / slope->median[0]);
	fflush(stdout);
}

void bench_note(const struct bench *bench, const char *row, const char *note)
{
	if (bench->json)
		printf("{\"bench\":\"%s\",\"row\":\"%s\",\"note\":\"%s\"}\n", bench->name, row,
			note);
	else
		printf("\n%s: %s\n", row, note);
}

/* --- small things ------------------------------------------------------------------------------- */

uint64_t bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t bench_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#endif
uint64_t
bench_sum(const void *data, size_t bytes)
{
	const unsigned char *at = data;
	uint64_t sum = 0, words[8];
	uint64_t lanes[8] = {0};

	for (; bytes >= sizeof(words); bytes -= sizeof(words), at += sizeof(words)) {
		memcpy(words, at, sizeof(words));
		for (int i = 0; i < 8; i++)
			lanes[i] += words[i];
	}
	for (int i = 0; i < 8; i++)
		sum += lanes[i];
	for (; bytes >= 8; bytes -= 8, at += 8) {
		memcpy(words, at, 8);
		sum += words[0];
	}
	for (; bytes > 0; bytes--, at++)
		sum += *at;
	return sum;
}

void bench_use(uint64_t value)
{
	__asm__ volatile("" : : "r"(value) : "memory");
}
