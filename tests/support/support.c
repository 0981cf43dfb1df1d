/* SPDX-License-Identifier: Apache-2.0 */
/* Failing, waiting, chance, and looking at this process. See support.h. */
#define _GNU_SOURCE 1

#include "tests/support/support.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The thread and process that cmocka runs tests in. */
static pthread_t test_thread;
static pid_t test_process;

__attribute__((constructor)) static void remember(void)
{
	test_thread = pthread_self();
	test_process = getpid();
}

/* Without the prefix that tells builds apart. */
static const char *test_name(void)
{
	const char *name = getenv("RGM_TEST_NAME");
	const char *plain = name ? strstr(name, "test_") : NULL;
	return plain ? plain : program_invocation_short_name;
}

void support_fail(const char *file, int line, const char *format, ...)
{
	char text[1024];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (getpid() == test_process && pthread_equal(pthread_self(), test_thread)) {
		print_error("%s\n", text);
		_fail(file, line);
	}
	dprintf(STDERR_FILENO, "%s:%d: process %d: %s\n", file, line, (int)getpid(), text);
	_exit(99);
}

void support_equal(const char *file, int line, const char *left_text, long long left,
	const char *right_text, long long right)
{
	if (left != right)
		support_fail(
			file, line, "%s is %lld, %s is %lld", left_text, left, right_text, right);
}

void support_must(
	const char *file, int line, const char *text, int rc, const struct rgm_error *error)
{
	if (rc)
		support_fail(file, line, "%s: %s: %s", text, rgm_error_name(rc),
			error ? error->message : rgm_error_text(rc));
}

void support_error(const char *file, int line, const char *text, int rc, int expected,
	const struct rgm_error *error)
{
	if (rc != expected)
		support_fail(file, line, "%s: %s instead of %s", text, rgm_error_name(rc),
			rgm_error_name(expected));
	size_t length = strlen(error->message);
	if (error->code != expected || length == 0 || error->message[length - 1] == '.')
		support_fail(file, line, "%s: no good sentence: '%s'", text, error->message);
}

void support_tell_skip(const char *part, const char *reason)
{
	printf("SKIP %s%s%s: %s\n", test_name(), part ? "/" : "", part ? part : "", reason);
	fflush(stdout);
}

void support_skip_all(const char *reason)
{
	support_tell_skip(NULL, reason);
	exit(77);
}

/* --- Time and chance -------------------------------------------------------------------------- */

void support_sleep_ms(unsigned ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	while (nanosleep(&left, &left))
		;
}

uint64_t support_now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t support_seed(void)
{
	const char *text = getenv("RGM_TEST_SEED");
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t seed = text ? strtoull(text, NULL, 0)
	                     : (uint64_t)now.tv_nsec * 2654435761u ^ (uint64_t)getpid() << 32;
	if (seed == 0)
		seed = 1;
	printf("%s: RGM_TEST_SEED=%llu\n", test_name(), (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

/* splitmix64. */
uint64_t support_random(uint64_t *state)
{
	uint64_t mixed = *state += 0x9e3779b97f4a7c15ull;
	mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
	mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
	return mixed ^ (mixed >> 31);
}

uint64_t support_below(uint64_t *state, uint64_t limit)
{
	return (support_random(state) >> 8) % limit;
}

/* --- Looking at this process ------------------------------------------------------------------ */

unsigned support_open_files(void)
{
	unsigned count = 0;
	DIR *folder = opendir("/proc/self/fd");
	REQUIRE(folder);
	for (struct dirent *entry; (entry = readdir(folder));)
		count += entry->d_name[0] != '.';
	closedir(folder);
	return count - 1; /* the folder's own */
}

unsigned support_open_deleted(void)
{
	unsigned count = 0;
	char path[300], target[300];
	DIR *folder = opendir("/proc/self/fd");
	REQUIRE(folder);
	for (struct dirent *entry; (entry = readdir(folder));) {
		snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
		ssize_t length = readlink(path, target, sizeof target - 1);
		target[length > 0 ? length : 0] = 0;
		count += strstr(target, ".region (deleted)") != NULL;
	}
	closedir(folder);
	return count;
}

unsigned support_mappings(const char *text)
{
	char line[1024];
	unsigned count = 0;
	FILE *maps = fopen("/proc/self/maps", "re");
	REQUIRE(maps);
	while (fgets(line, sizeof line, maps))
		count += strstr(line, text) != NULL;
	fclose(maps);
	return count;
}

uint64_t support_wiped_kb(void)
{
	char line[1024];
	uint64_t kb = 0, sum = 0;
	FILE *maps = fopen("/proc/self/smaps", "re");
	REQUIRE(maps);
	while (fgets(line, sizeof line, maps)) {
		if (strncmp(line, "Size:", 5) == 0)
			kb = strtoull(line + 5, NULL, 10);
		if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " wf"))
			sum += kb;
	}
	fclose(maps);
	return sum;
}

bool support_has_peerpidfd(void)
{
	int pair[2], pidfd = -1;
	socklen_t bytes = sizeof pidfd;
	REQUIRE_EQUAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	bool has = getsockopt(pair[0], SOL_SOCKET, 77, &pidfd, &bytes) == 0;
	if (has)
		close(pidfd);
	close(pair[0]);
	close(pair[1]);
	return has;
}
