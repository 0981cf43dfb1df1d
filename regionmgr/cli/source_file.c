/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/source.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int source_open_file(const char *path, int *ret_file, uint64_t *ret_bytes, struct rgm_error *error)
{
	/* O_NONBLOCK: a pipe without a writer must not keep us waiting for ever */
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat facts;

	if (file < 0)
		return pool_fail_errno(error, "'%s' cannot be read", path);
	if (fstat(file, &facts) != 0) {
		int rc = pool_fail_errno(error, "'%s' cannot be read", path);

		close(file);
		return rc;
	}
	if (!S_ISREG(facts.st_mode)) {
		close(file);
		pool_fail(error, CLI_SOURCE, "'%s' is %s", path,
			S_ISDIR(facts.st_mode) ? "a folder, not a regular file"
					       : "neither a regular file nor a folder");
		if (!S_ISDIR(facts.st_mode))
			cli_hint(error, "to read a pipe or device: regionctl ... - < %s", path);
		return CLI_SOURCE;
	}
	*ret_file = file;
	*ret_bytes = (uint64_t)facts.st_size;
	return 0;
}

int source_file(struct source *source, const char *path, int file, const char *layer,
	struct rgm_error *error)
{
	struct rgm_layer_options options = {
		.size = sizeof options, .media_type = source->media_type};
	struct stat facts;
	int rc;

	if (fstat(file, &facts) != 0)
		return pool_fail_errno(error, "'%s' cannot be read", path);
	rc = rgm_load_file(source->load, layer, file, &options, error);
	if (rc != 0)
		return rc;
	source->counts.layers++;
	source->counts.bytes += (uint64_t)facts.st_size;
	progress_set(source->progress, source->counts.bytes, source->total_bytes);
	return 0;
}
