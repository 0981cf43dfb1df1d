/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard input as a source: a tar stream, plain or compressed, recognised by libarchive; or one
 * layer. What is read while guessing is kept, so that input which turns out not to be tar is stored
 * byte for byte as it came.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "regionmgr/cli/source.h"

#define READ_BYTES  (256u << 10)
#define PIECE_BYTES (1u << 20)
/* Most that is kept while guessing: more than any compressor needs to show its first 512 bytes. */
#define KEEP_BYTES (32u << 20)

/* After so long without input the manager is told that the load goes on. */
#define QUIET_MS 15000

struct input {
	struct rgm_load *load;
	char buffer[READ_BYTES];
	char *kept;
	size_t kept_bytes, kept_capacity;
	bool keeping;
	bool too_long; /* to be kept */
	bool ended;
	int failed; /* errno of a read, or 0 */
};

/* Wait for input as long as it takes. What becomes of the sign of life is seen by the next part. */
static void wait_for_input(struct input *input)
{
	struct pollfd look = {.fd = STDIN_FILENO, .events = POLLIN};

	while (poll(&look, 1, QUIET_MS) == 0)
		if (rgm_load_alive(input->load, NULL) != 0)
			return;
}

static ssize_t read_some(struct input *input)
{
	ssize_t got;

	wait_for_input(input);
	do
		got = read(STDIN_FILENO, input->buffer, sizeof input->buffer);
	while (got < 0 && errno == EINTR);
	input->ended = got == 0;
	return got;
}

/* Without memory, or beyond the limit, the input can still be tar but not be had back. */
static void keep(struct input *input, size_t bytes)
{
	if (input->kept_bytes + bytes > input->kept_capacity) {
		size_t capacity = (input->kept_bytes + bytes) * 2;
		char *kept = capacity > KEEP_BYTES ? NULL : realloc(input->kept, capacity);

		if (kept == NULL) {
			input->keeping = false;
			input->too_long = true;
			return;
		}
		input->kept = kept;
		input->kept_capacity = capacity;
	}
	memcpy(input->kept + input->kept_bytes, input->buffer, bytes);
	input->kept_bytes += bytes;
}

static la_ssize_t on_read(struct archive *archive, void *context, const void **ret_data)
{
	struct input *input = context;
	ssize_t got = read_some(input);

	if (got < 0) {
		input->failed = errno;
		archive_set_error(archive, errno, "%s", strerror(errno));
		return ARCHIVE_FATAL;
	}
	if (input->keeping && got > 0)
		keep(input, (size_t)got);
	*ret_data = input->buffer;
	return got;
}

static int bad_archive(struct archive *archive, const char *member, struct rgm_error *error)
{
	const char *why = archive_error_string(archive);

	pool_fail(error, CLI_SOURCE, "the tar stream on standard input%s%s%s: %s",
		*member != '\0' ? ", at '" : "", member, *member != '\0' ? "'" : "",
		why != NULL ? why : "it is damaged");
	return CLI_SOURCE;
}

/* The member's name as a layer's: "./a/b" is "a/b". NULL when it has none. */
static const char *member_name(struct archive_entry *entry)
{
	const char *name = archive_entry_pathname(entry);

	if (name == NULL)
		name = archive_entry_pathname_utf8(entry);
	while (name != NULL && name[0] == '.' && name[1] == '/') {
		name += 2;
		name += strspn(name, "/");
	}
	return name;
}

/* The rules of a layer's name, told here as a fault of the stream and not of the command line. */
static int check_name(const char *name, struct rgm_error *error)
{
	const char *why = NULL;

	if (name == NULL || *name == '\0')
		return pool_fail(error, CLI_SOURCE,
			"the tar stream on standard input has a file without a name");
	if (*name == '/')
		why = "it is absolute";
	if (strlen(name) > RGM_LAYER_NAME_MAX)
		why = "it is longer than 4095 bytes";
	for (const char *part = name; why == NULL && part != NULL;) {
		size_t length = strcspn(part, "/");

		if (length == 0)
			why = "it has an empty part";
		else if ((length == 1 && part[0] == '.') ||
			 (length == 2 && part[0] == '.' && part[1] == '.'))
			why = "'.' or '..' is a part of it";
		part = part[length] == '/' ? part + length + 1 : NULL;
	}
	if (why == NULL)
		return 0;
	return pool_fail(error, CLI_SOURCE,
		"the tar stream on standard input: '%.128s%s' cannot be a layer's name: %s", name,
		strlen(name) > 128 ? "..." : "", why);
}

static uint64_t member_time(struct archive_entry *entry)
{
	if (!archive_entry_mtime_is_set(entry) || archive_entry_mtime(entry) < 0)
		return 0;
	return (uint64_t)archive_entry_mtime(entry) * 1000000000u +
	       (uint64_t)archive_entry_mtime_nsec(entry);
}

/* Fill a buffer as far as the member goes. */
static int read_piece(struct archive *archive, const char *name, char *buffer, size_t capacity,
	size_t *ret_bytes, struct rgm_error *error)
{
	size_t used = 0;

	while (used < capacity) {
		la_ssize_t got = archive_read_data(archive, buffer + used, capacity - used);

		if (got < 0)
			return bad_archive(archive, name, error);
		if (got == 0)
			break;
		used += (size_t)got;
	}
	*ret_bytes = used;
	return 0;
}

static void advance(struct source *source, size_t bytes)
{
	source->counts.bytes += bytes;
	progress_set(source->progress, source->counts.bytes, 0);
}

/* Small members go in one message, others piece by piece. */
static int load_member(struct source *source, struct archive *archive, struct archive_entry *entry,
	const char *name, char *buffer, struct rgm_error *error)
{
	struct rgm_layer_options options = {.size = sizeof options,
		.media_type = source->media_type,
		.time_ns = member_time(entry)};
	size_t bytes = 0;
	int rc = read_piece(archive, name, buffer, PIECE_BYTES, &bytes, error);

	if (rc == 0 && bytes < PIECE_BYTES) {
		advance(source, bytes);
		return rgm_load_bytes(source->load, name, buffer, bytes, &options, error);
	}
	if (rc == 0)
		rc = rgm_load_stream_begin(source->load, name, &options, error);
	while (rc == 0 && bytes > 0) {
		rc = rgm_load_stream_append(source->load, buffer, bytes, error);
		advance(source, bytes);
		if (rc == 0)
			rc = read_piece(archive, name, buffer, PIECE_BYTES, &bytes, error);
	}
	return rc != 0 ? rc : rgm_load_stream_end(source->load, error);
}

static bool skipped(struct source_counts *counts, struct archive_entry *entry)
{
	if (archive_entry_hardlink(entry) != NULL) {
		counts->hard_links++;
		return true;
	}
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
		return false;
	case AE_IFDIR:
		return true;
	case AE_IFLNK:
		counts->symlinks++;
		return true;
	default:
		counts->special++;
		return true;
	}
}

/* All members, the first of whose headers has been read with result `status`. */
static int load_members(struct source *source, struct archive *archive, struct archive_entry *entry,
	int status, struct rgm_error *error)
{
	char *buffer = malloc(PIECE_BYTES);
	int rc = buffer != NULL ? 0 : pool_fail(error, -ENOMEM, "no memory to read a tar stream");

	while (rc == 0 && status != ARCHIVE_EOF) {
		if (status != ARCHIVE_OK && status != ARCHIVE_WARN) {
			rc = bad_archive(archive, "", error);
			break;
		}
		if (!skipped(&source->counts, entry)) {
			const char *name = member_name(entry);

			rc = check_name(name, error);
			if (rc == 0)
				rc = load_member(source, archive, entry, name, buffer, error);
			source->counts.layers++;
		}
		if (rc == 0)
			status = archive_read_next_header(archive, &entry);
	}
	free(buffer);
	return rc;
}

/* Formats and compressors, by name: "all" would also run programs that happen to be installed. */
static struct archive *new_archive(struct input *input)
{
	struct archive *archive = archive_read_new();

	if (archive == NULL)
		return NULL;
	archive_read_support_filter_gzip(archive);
	archive_read_support_filter_bzip2(archive);
	archive_read_support_filter_xz(archive);
	archive_read_support_filter_lzma(archive);
	archive_read_support_filter_zstd(archive);
	archive_read_support_filter_lz4(archive);
	archive_read_support_filter_compress(archive);
	archive_read_support_format_tar(archive);
	/* what it says is said again by the first header */
	(void)archive_read_open(archive, input, NULL, on_read, NULL);
	return archive;
}

static int load_plain(
	struct source *source, struct input *input, const char *layer, struct rgm_error *error)
{
	struct rgm_layer_options options = {
		.size = sizeof options, .media_type = source->media_type};
	int rc = rgm_load_stream_begin(source->load, layer, &options, error);

	if (rc == 0 && input->kept_bytes > 0) {
		rc = rgm_load_stream_append(source->load, input->kept, input->kept_bytes, error);
		advance(source, input->kept_bytes);
	}
	while (rc == 0 && !input->ended) {
		ssize_t got = read_some(input);

		if (got < 0)
			return pool_fail_errno(error, "standard input cannot be read");
		if (got > 0)
			rc = rgm_load_stream_append(
				source->load, input->buffer, (size_t)got, error);
		advance(source, (size_t)got);
	}
	if (rc == 0)
		rc = rgm_load_stream_end(source->load, error);
	source->counts.layers = 1;
	return rc;
}

static int load_tar_or_plain(struct source *source, struct input *input, enum stream_form form,
	const char *layer, struct rgm_error *error)
{
	struct archive_entry *entry = NULL;
	struct archive *archive;
	int status, rc;

	input->keeping = form == STREAM_GUESS;
	archive = new_archive(input);
	if (archive == NULL)
		return pool_fail(error, -ENOMEM, "no memory to read a tar stream");
	status = archive_read_next_header(archive, &entry);
	input->keeping = false;
	if (input->failed != 0) {
		(void)archive_read_free(archive);
		errno = input->failed;
		return pool_fail_errno(error, "standard input cannot be read");
	}
	if (form == STREAM_GUESS && status == ARCHIVE_FATAL && archive_format(archive) == 0) {
		(void)archive_read_free(archive);
		if (input->too_long)
			return pool_fail(error, CLI_SOURCE,
				"standard input could not be recognised within %u MiB; say --tar "
				"or --raw",
				KEEP_BYTES >> 20);
		source->counts.plain_input = true;
		return load_plain(source, input, layer, error);
	}
	rc = load_members(source, archive, entry, status, error);
	(void)archive_read_free(archive);
	/* what tar pads its last record with; its writer must not die of SIGPIPE */
	while (rc == 0 && !input->ended && read_some(input) > 0)
		continue;
	return rc;
}

int source_stream(
	struct source *source, enum stream_form form, const char *layer, struct rgm_error *error)
{
	struct input *input = calloc(1, sizeof *input);
	int rc;

	if (input == NULL)
		return pool_fail(error, -ENOMEM, "no memory to read standard input");
	input->load = source->load;
	if (form == STREAM_RAW) {
		rc = load_plain(source, input, layer, error);
	} else {
		rc = load_tar_or_plain(source, input, form, layer, error);
		/* more likely a command before the pipe that failed than a wish */
		if (rc == 0 && source->counts.plain_input && source->counts.bytes == 0) {
			rc = pool_fail(error, CLI_SOURCE, "standard input is empty");
			cli_hint(error, "--raw stores it as a layer of no bytes");
		}
	}
	free(input->kept);
	free(input);
	return rc;
}
