/* SPDX-License-Identifier: Apache-2.0 */
/* Progress and the closing table; see figures.h. */
#include "figures.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_CELLS  28
#define LINE_BYTES 256

static bool silent;
static char phase_now[32];
static int tenths_told = -1;

void progress_silence(void)
{
	silent = true;
}

/* One line, never wider than the terminal: one that wraps could not be drawn over. */
static void draw(const char *phase, double fraction, const char *note)
{
	char bar[BAR_CELLS + 1] = "";
	char line[LINE_BYTES];
	struct winsize size;

	for (int i = 0; i < BAR_CELLS; i++)
		bar[i] = i < (int)(fraction * BAR_CELLS) ? '#' : '.';
	snprintf(line, sizeof(line), "%-10s [%s] %3d %%  %s", phase, bar, (int)(fraction * 100),
		note);
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 &&
		size.ws_col <= LINE_BYTES)
		line[size.ws_col - 1] = '\0';
	fprintf(stderr, "\r\033[K%s", line);
	fflush(stderr);
}

void progress(const char *phase, double fraction, const char *note)
{
	if (silent)
		return;
	fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
	if (strcmp(phase, phase_now) != 0) {
		snprintf(phase_now, sizeof(phase_now), "%s", phase);
		tenths_told = -1;
	}
	if (isatty(STDERR_FILENO)) {
		draw(phase, fraction, note);
	} else if ((int)(fraction * 5) > tenths_told) {
		tenths_told = (int)(fraction * 5);
		fprintf(stderr, "%-10s %3d %%  %s\n", phase, (int)(fraction * 100), note);
	}
}

void progress_done(void)
{
	if (!silent && phase_now[0] != '\0' && isatty(STDERR_FILENO)) {
		fprintf(stderr, "\r\033[K");
		fflush(stderr);
	}
}

static double mib(uint64_t bytes)
{
	return (double)bytes / (1u << 20);
}

static double per_second(uint64_t bytes, double seconds)
{
	return seconds > 0 ? (double)bytes / seconds / 1e9 : 0;
}

static void print_load(const struct figures *f)
{
	printf("  content loaded           %10.1f MiB in %" PRIu64 " layers, 4 dimensions\n",
		mib(f->loaded_bytes), f->loaded_layers);
	printf("  load rate                %10.2f GB/s (%.2f s)\n",
		per_second(f->loaded_bytes, f->load_seconds), f->load_seconds);
	printf("  blocks on disk / content %10.3f\n",
		f->loaded_bytes > 0 ? (double)f->blocks_bytes / (double)f->loaded_bytes : 0);
}

static void print_storm(const struct figures *f)
{
	printf("  workers                  %10u %s of %u threads\n", f->workers,
		f->forked ? "processes" : "sessions", f->threads);
	printf("  sections                 %10" PRIu64 " in %.1f s, and %" PRIu64 " holds\n",
		f->sections, f->storm_seconds, f->holds);
	printf("  layers compared          %10" PRIu64 "\n", f->layers_compared);
	printf("  bytes scanned            %10.1f GiB, %.2f GB/s in total\n",
		(double)f->scanned_bytes / (1u << 30),
		per_second(f->scanned_bytes, f->storm_seconds));
	printf("  commits                  %10" PRIu64 ", %.1f MiB put, %" PRIu64
	       " loads given up\n",
		f->commits, mib(f->put_bytes), f->aborts);
	printf("  last version             %10" PRIu64 "\n", f->last_version);
	printf("  kills by SIGKILL         %10u, %u inside sections\n", f->kills, f->kills_inside);
	printf("  stops by SIGSTOP         %10u, %u inside sections\n", f->stops, f->stops_inside);
	printf("  fewest commits in a stop %10" PRIu64 "\n", f->fewest_commits);
	printf("  largest memory kept      %10.1f MiB by a stopped worker; compared %u times\n",
		mib(f->largest_kept), f->kept_compared);
	printf("  growth of libs           %10.1f MiB to %.1f MiB\n", mib(f->libs_from_bytes),
		mib(f->libs_to_bytes));
}

void figures_print(const struct figures *f)
{
	printf("main job (%s), manager: %s, seed %" PRIu64 "\n", f->scale, f->manager, f->seed);
	print_load(f);
	print_storm(f);
	printf("  reclaimed                %10.1f MiB\n", mib(f->reclaimed_bytes));
	printf("  allocated / live pages   %10.4f in the worst dimension\n", f->worst_ratio);
	printf("  region files             %10.1f MiB after one quiet cycle, %.1f after two\n",
		mib(f->region_bytes[0]), mib(f->region_bytes[1]));
	printf("  restart                  %10.1f MiB there again, byte for byte\n",
		mib(f->checked_bytes));
	printf("  errors                   %10u\n", f->failures);
	printf("%s in %.1f s\n", f->failures == 0 ? "passed" : "FAILED", f->seconds);
}

void figures_print_json(const struct figures *f)
{
	printf("{\"scale\":\"%s\",\"manager\":\"%s\",\"seed\":%" PRIu64 ",\"workers\":%u,"
	       "\"threads\":%u,\"processes\":%s,\"loaded_bytes\":%" PRIu64
	       ",\"loaded_layers\":%" PRIu64 ",\"load_seconds\":%.4f,\"block_bytes\":%" PRIu64 ",",
		f->scale, f->manager, f->seed, f->workers, f->threads, f->forked ? "true" : "false",
		f->loaded_bytes, f->loaded_layers, f->load_seconds, f->blocks_bytes);
	printf("\"storm_seconds\":%.3f,\"sections\":%" PRIu64 ",\"holds\":%" PRIu64
	       ",\"layers_compared\":%" PRIu64 ",\"scanned_bytes\":%" PRIu64 ",\"maps\":%" PRIu64
	       ",\"news\":%" PRIu64 ",\"commits\":%" PRIu64 ",\"put_bytes\":%" PRIu64
	       ",\"aborts\":%" PRIu64 ",\"last_version\":%" PRIu64 ",",
		f->storm_seconds, f->sections, f->holds, f->layers_compared, f->scanned_bytes,
		f->maps, f->news, f->commits, f->put_bytes, f->aborts, f->last_version);
	printf("\"kills\":%u,\"kills_inside\":%u,\"stops\":%u,\"stops_inside\":%u,"
	       "\"fewest_commits\":%" PRIu64 ",\"largest_kept_bytes\":%" PRIu64
	       ",\"kept_compared\":%u,\"libs_from_bytes\":%" PRIu64 ",\"libs_to_bytes\":%" PRIu64
	       ",",
		f->kills, f->kills_inside, f->stops, f->stops_inside, f->fewest_commits,
		f->largest_kept, f->kept_compared, f->libs_from_bytes, f->libs_to_bytes);
	printf("\"reclaimed_bytes\":%" PRIu64 ",\"worst_ratio\":%.5f,\"region_bytes\":[%" PRIu64
	       ",%" PRIu64 "],\"checked_bytes\":%" PRIu64 ",\"seconds\":%.2f,\"failures\":%u}\n",
		f->reclaimed_bytes, f->worst_ratio, f->region_bytes[0], f->region_bytes[1],
		f->checked_bytes, f->seconds, f->failures);
}
