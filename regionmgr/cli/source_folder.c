/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder as a source. It is listed, loaded, and listed again; the load is good only if both lists
 * are the same in every name, inode, size and time, links and special files included. (A change
 * within the granularity of the file system's clock that keeps the size and comes after the file was
 * read cannot be seen: it is as if it came after the load.)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "regionmgr/cli/folder.h"

#define OPEN_FILE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

int folder_open(
	const char *path, bool skip_unreadable, struct folder **ret_folder, struct rgm_error *error)
{
	struct folder *folder = calloc(1, sizeof *folder);
	size_t length;
	int rc;

	if (folder == NULL)
		return pool_fail(error, -ENOMEM, "no memory to list '%s'", path);
	folder->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	folder->path = strdup(path);
	folder->skip_unreadable = skip_unreadable;
	if (folder->root < 0)
		rc = pool_fail_errno(error, "'%s' cannot be read", path);
	else if (folder->path == NULL)
		rc = pool_fail(error, -ENOMEM, "no memory to list '%s'", path);
	else
		rc = 0;
	if (rc == 0) {
		/* sentences name files as path/name */
		for (length = strlen(path); length > 1 && folder->path[length - 1] == '/'; length--)
			folder->path[length - 1] = '\0';
		rc = listing_fill(folder, &folder->listing, error);
	}
	if (rc != 0) {
		folder_close(folder);
		return rc;
	}
	*ret_folder = folder;
	return 0;
}

uint64_t folder_bytes(const struct folder *folder)
{
	return folder->listing.bytes;
}

static int load_entry(const struct folder *folder, const struct entry *entry, int at,
	struct source *source, struct rgm_error *error)
{
	int file = openat(at, entry->path + entry->base, OPEN_FILE), rc;
	struct identity identity;
	struct stat facts;

	if (file < 0 && folder_forbidden(folder)) {
		source->counts.unreadable++;
		if (!source->quiet)
			cli_say("warning: '%s/%s' is skipped: %s", folder->path, entry->path,
				strerror(errno));
		return 0;
	}
	if (file < 0)
		return folder_gone(folder, entry->path, error);
	if (fstat(file, &facts) != 0) {
		rc = folder_unreadable(folder, entry->path, error);
	} else {
		identity = identity_of(&facts);
		if (identity_same(&identity, &entry->identity))
			rc = source_file(source, entry->path, file, entry->path, error);
		else
			rc = folder_changed(folder, entry->path, error);
	}
	close(file);
	return rc;
}

static void count_skipped(
	const struct folder *folder, const struct entry *entry, struct source *source)
{
	if (entry->type == ENTRY_SYMLINK)
		source->counts.symlinks++;
	else if (entry->type == ENTRY_SPECIAL)
		source->counts.special++;
	else if (entry->type == ENTRY_UNREADABLE) {
		source->counts.unreadable++;
		if (!source->quiet)
			cli_say("warning: '%s/%s' is skipped: it may not be read", folder->path,
				entry->path);
	}
}

int folder_load(struct folder *folder, struct source *source, struct rgm_error *error)
{
	const struct listing *listing = &folder->listing;
	size_t open_folder = 0;
	int at = -1, rc = 0;

	for (size_t i = 0; i < listing->count && rc == 0; i++) {
		const struct entry *entry = &listing->entries[i];

		if (entry->type != ENTRY_FILE) {
			count_skipped(folder, entry, source);
			continue;
		}
		if (at < 0 || entry->folder != open_folder) {
			if (at >= 0)
				close(at);
			open_folder = entry->folder;
			at = folder_open_below(folder->root, listing->entries[open_folder].path);
		}
		if (at < 0)
			rc = folder_gone(folder, entry->path, error);
		else
			rc = load_entry(folder, entry, at, source, error);
	}
	if (at >= 0)
		close(at);
	return rc;
}

int folder_compare(const struct folder *folder, struct rgm_error *error)
{
	struct folder again = *folder;
	const char *path;
	int rc;

	memset(&again.listing, 0, sizeof again.listing);
	/* by its path: a link to the root may lead elsewhere by now */
	again.root = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (again.root < 0)
		return folder_gone(folder, "", error);
	rc = listing_fill(&again, &again.listing, error);
	if (rc == 0) {
		path = listing_difference(&folder->listing, &again.listing);
		if (path != NULL)
			rc = folder_changed(folder, path, error);
	}
	listing_free(&again.listing);
	close(again.root);
	return rc;
}

void folder_close(struct folder *folder)
{
	if (folder == NULL)
		return;
	listing_free(&folder->listing);
	if (folder->root >= 0)
		close(folder->root);
	free(folder->path);
	free(folder);
}
