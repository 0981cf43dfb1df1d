/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/progress.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "regionmgr/cli/text.h"

#define PATIENCE_NS 500000000u /* work shorter than this shows nothing */
#define EVERY_NS    100000000u
#define LINE_BYTES  320u

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void compose(struct progress *progress, char line[LINE_BYTES])
{
	const atomic_uint_least64_t *from =
		progress->from != NULL ? progress->from : &progress->done;
	uint64_t done = atomic_load_explicit(from, memory_order_relaxed);
	uint64_t total = atomic_load_explicit(&progress->total, memory_order_relaxed);
	double seconds = (double)(now_ns() - progress->started_ns) / 1e9;
	double speed = (double)done / seconds;
	char have[TEXT_NUMBER_BYTES], all[TEXT_NUMBER_BYTES], rate[TEXT_NUMBER_BYTES];
	char left[TEXT_NUMBER_BYTES] = "?";

	text_bytes(have, done);
	text_bytes(all, total);
	text_bytes(rate, (uint64_t)speed);
	if (total == 0) {
		(void)snprintf(line, LINE_BYTES, "%s  %s  %s/s", progress->what, have, rate);
		return;
	}
	if (done >= total) {
		/* everything has been handed over; its writing and the commit go on */
		(void)snprintf(line, LINE_BYTES, "%s  100%%  %s, finishing", progress->what, have);
		return;
	}
	if (done > 0)
		text_duration(left, (uint64_t)((double)(total - done) / speed * 1e9));
	(void)snprintf(line, LINE_BYTES, "%s  %3.0f%%  %s of %s  %s/s  %s left", progress->what,
		100.0 * (double)done / (double)total, have, all, rate, left);
}

/* Draw over what was drawn before; returns the width. */
static size_t draw(const char *text, size_t before)
{
	char line[LINE_BYTES];
	struct winsize size;
	size_t width;

	(void)snprintf(line, sizeof line, "%s", text);
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
		text_cut(line, size.ws_col - 1u);
	width = text_width(line);
	fprintf(stderr, "\r%s%*s\r", line, (int)(before > width ? before - width : 0), "");
	fflush(stderr);
	return width;
}

static void *run(void *argument)
{
	struct progress *progress = argument;
	uint64_t next = progress->started_ns + PATIENCE_NS;
	char line[LINE_BYTES];
	size_t width = 0;

	(void)pthread_mutex_lock(&progress->lock);
	while (!progress->stop) {
		struct timespec until = {(time_t)(next / 1000000000u), (long)(next % 1000000000u)};

		if (pthread_cond_timedwait(&progress->wake, &progress->lock, &until) != ETIMEDOUT)
			continue;
		compose(progress, line);
		width = draw(line, width);
		next += EVERY_NS;
	}
	(void)pthread_mutex_unlock(&progress->lock);
	if (width > 0)
		(void)draw("", width);
	return NULL;
}

void progress_begin(struct progress *progress, const struct cli *cli, const char *what,
	uint64_t total, const atomic_uint_least64_t *from)
{
	pthread_condattr_t attributes;
	sigset_t all, before;

	memset(progress, 0, sizeof *progress);
	atomic_store_explicit(&progress->total, total, memory_order_relaxed);
	(void)text_escape(progress->what, sizeof progress->what, what, strlen(what), TEXT_TTY);
	progress->from = from;
	progress->started_ns = now_ns();
	if (!cli->error_terminal || cli->quiet)
		return;
	(void)pthread_mutex_init(&progress->lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&progress->wake, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &before);
	/* without a thread there is no line; the work goes on */
	progress->drawing = pthread_create(&progress->thread, NULL, run, progress) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void progress_set(struct progress *progress, uint64_t done, uint64_t total)
{
	atomic_store_explicit(&progress->total, total, memory_order_relaxed);
	atomic_store_explicit(&progress->done, done, memory_order_relaxed);
}

int progress_callback(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
	progress_set(context, done_bytes, total_bytes);
	return 0;
}

uint64_t progress_end(struct progress *progress)
{
	uint64_t took = now_ns() - progress->started_ns;

	if (!progress->drawing)
		return took;
	(void)pthread_mutex_lock(&progress->lock);
	progress->stop = true;
	(void)pthread_cond_signal(&progress->wake);
	(void)pthread_mutex_unlock(&progress->lock);
	(void)pthread_join(progress->thread, NULL);
	(void)pthread_cond_destroy(&progress->wake);
	(void)pthread_mutex_destroy(&progress->lock);
	progress->drawing = false;
	return took;
}
