/* SPDX-License-Identifier: Apache-2.0 */
/* The shared memory of the job; see job.h. */
#include "job.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

struct job *job_create(void)
{
	/* most of it is room for a long history and is never touched */
	void *memory = mmap(NULL, sizeof(struct job), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

void job_destroy(struct job *job)
{
	if (job != NULL)
		munmap(job, sizeof(*job));
}

void job_tell(struct job *job, const char *sentence, ...)
{
	uint32_t at = atomic_fetch_add(&job->failures, 1);
	va_list arguments;

	if (at < JOB_FAILURES_MAX) {
		va_start(arguments, sentence);
		vsnprintf(job->failure[at], sizeof(job->failure[at]), sentence, arguments);
		va_end(arguments);
	}
}

bool job_failed(const struct job *job)
{
	return atomic_load_explicit(&job->failures, memory_order_relaxed) != 0;
}

uint32_t job_print_failures(const struct job *job)
{
	uint32_t count = atomic_load(&job->failures);

	for (uint32_t i = 0; i < count && i < JOB_FAILURES_MAX; i++)
		fprintf(stderr, "main_job: FAILED: %s\n", job->failure[i]);
	if (count > JOB_FAILURES_MAX)
		fprintf(stderr, "main_job: and %u more failures\n", count - JOB_FAILURES_MAX);
	return count;
}

uint64_t job_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void job_sleep_ms(uint32_t ms)
{
	struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&pause, NULL);
}
