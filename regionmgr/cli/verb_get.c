/* SPDX-License-Identifier: Apache-2.0 */
/*
 * get: one layer's bytes, written from the mapping under a hold. The checksum is computed on the way:
 * a file gets its name only when it is whole and right, and a pipe that got wrong bytes is followed
 * by an error.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "regionmgr/cli/out.h"
#include "regionmgr/cli/progress.h"
#include "regionmgr/cli/reader.h"
#include "regionmgr/cli/text.h"
#include "regionmgr/cli/verbs.h"

#define PIECE_BYTES (1u << 20)

/* Removed by a signal that ends the program while a file is being written. */
static char temporary[PATH_MAX];
static volatile sig_atomic_t has_temporary;

static void on_signal(int number)
{
	if (has_temporary)
		(void)unlink(temporary);
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}

static void remove_on_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal}, before;

	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		/* what the caller ignores, as nohup does, stays ignored */
		if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			(void)sigaction(numbers[i], &action, NULL);
	}
}

/* Control characters but the usual ones, or bytes that are not UTF-8, in the first of it. */
static bool is_binary(const struct rgm_span *data)
{
	size_t length = data->size < 4096 ? data->size : 4096;
	const char *text = data->data;

	while (length > 0) {
		uint32_t point = 0;
		size_t have = text_utf8(text, length, &point);

		if (have == 0)
			return length >= 4; /* a character may be cut where we stop looking */
		if ((point < 0x20 && strchr("\t\n\r\f", (int)point) == NULL) || point == 0 ||
			(point >= 0x7f && point < 0xa0))
			return true;
		text += have;
		length -= have;
	}
	return false;
}

/* Everything to a descriptor, and the checksum of what went. -errno. */
static int copy(int file, const struct rgm_span *data, struct progress *progress, uint32_t *ret_crc)
{
	const char *at = data->data;
	size_t left = data->size;
	uint32_t crc = 0;

	while (left > 0) {
		size_t piece = left < PIECE_BYTES ? left : PIECE_BYTES;
		ssize_t wrote = write(file, at, piece);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return -errno;
		crc = rgm_crc32c(crc, at, (size_t)wrote);
		at += wrote;
		left -= (size_t)wrote;
		progress_set(progress, data->size - left, data->size);
	}
	*ret_crc = crc;
	return 0;
}

static int verify(
	const struct rgm_layer *layer, const char *name, uint32_t crc, struct rgm_error *error)
{
	if (crc == layer->crc32c)
		return 0;
	pool_fail(error, RGM_ECORRUPT,
		"layer '%s' of '%s' is damaged: its checksum is %08x, not %08x", layer->name, name,
		crc, layer->crc32c);
	return cli_hint(error, "regionctl check %s", name);
}

static int to_stdout(struct cli *cli, const struct rgm_layer *layer, struct progress *progress,
	uint32_t *ret_crc, struct rgm_error *error)
{
	int rc;

	if (cli->view.terminal && !args_flag(&cli->args, "force") && is_binary(&layer->data)) {
		pool_fail(error, CLI_USAGE,
			"layer '%s' is binary, and standard output is a terminal", layer->name);
		return cli_hint(error, "write it to a file with -o FILE, or use --force");
	}
	rc = copy(STDOUT_FILENO, &layer->data, progress, ret_crc);
	if (rc == -EPIPE) {
		/* as if SIGPIPE had not been ignored for us */
		(void)signal(SIGPIPE, SIG_DFL);
		(void)raise(SIGPIPE);
	}
	errno = -rc;
	return rc != 0 ? pool_fail_errno(error, "writing standard output") : 0;
}

/* Into a new file beside the final one, which it replaces when it is whole. */
static int to_new_file(const struct rgm_layer *layer, const char *name, const char *path,
	struct progress *progress, struct rgm_error *error)
{
	mode_t mask = umask(0);
	uint32_t crc = 0;
	int file, rc;

	(void)umask(mask);
	if ((size_t)snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= sizeof temporary)
		return pool_fail(error, -ENAMETOOLONG, "'%s' is too long a path", path);
	file = mkostemp(temporary, O_CLOEXEC);
	if (file < 0)
		return pool_fail_errno(error, "a file beside '%s' cannot be made", path);
	has_temporary = 1;
	rc = copy(file, &layer->data, progress, &crc);
	if (rc == 0 && (fchmod(file, 0666 & ~mask) != 0 || fsync(file) != 0))
		rc = -errno;
	if (close(file) != 0 && rc == 0)
		rc = -errno;
	errno = -rc;
	if (rc != 0)
		rc = pool_fail_errno(error, "writing '%s'", path);
	if (rc == 0)
		rc = verify(layer, name, crc, error);
	if (rc == 0 && rename(temporary, path) != 0)
		rc = pool_fail_errno(error, "'%s' cannot be replaced", path);
	if (rc != 0)
		(void)unlink(temporary);
	has_temporary = 0;
	return rc;
}

/* A device or a pipe is written to, never replaced. */
static int to_device(const struct rgm_layer *layer, const char *name, const char *path,
	struct progress *progress, struct rgm_error *error)
{
	int file = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY), rc;
	uint32_t crc = 0;

	if (file < 0)
		return pool_fail_errno(error, "'%s' cannot be written", path);
	rc = copy(file, &layer->data, progress, &crc);
	if (close(file) != 0 && rc == 0)
		rc = -errno;
	errno = -rc;
	return rc != 0 ? pool_fail_errno(error, "writing '%s'", path)
	               : verify(layer, name, crc, error);
}

static int to_file(const struct rgm_layer *layer, const char *name, const char *path,
	struct progress *progress, struct rgm_error *error)
{
	char *target;
	struct stat facts;
	int rc;

	if (stat(path, &facts) != 0)
		return to_new_file(layer, name, path, progress, error);
	if (S_ISDIR(facts.st_mode))
		return pool_fail(error, -EISDIR, "'%s' is a folder", path);
	if (!S_ISREG(facts.st_mode))
		return to_device(layer, name, path, progress, error);
	/* a link keeps pointing to what it names */
	target = realpath(path, NULL);
	if (target == NULL)
		return pool_fail_errno(error, "'%s' cannot be replaced", path);
	rc = to_new_file(layer, name, target, progress, error);
	free(target);
	return rc;
}

int verb_get(struct cli *cli, struct rgm_error *error)
{
	const char *name = cli->args.words[0], *path = args_text(&cli->args, "output");
	struct progress progress;
	struct rgm_layer layer;
	struct reader reader;
	uint32_t crc = 0;
	int rc = reader_open(cli, &name, 1, &reader, error);

	if (rc != 0)
		return rc;
	rc = reader_layer(&reader, 0, name, cli->args.words[1], &layer, error);
	if (rc == 0) {
		progress_begin(&progress, cli, "get", layer.data.size, NULL);
		remove_on_signals();
		if (path != NULL && strcmp(path, "-") != 0)
			rc = to_file(&layer, name, path, &progress, error);
		else
			rc = to_stdout(cli, &layer, &progress, &crc, error);
		if (rc == 0 && (path == NULL || strcmp(path, "-") == 0))
			rc = verify(&layer, name, crc, error);
		(void)progress_end(&progress);
	}
	return reader_end(&reader, rc, error);
}
