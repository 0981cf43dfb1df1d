/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct identity identity_of(const struct stat *facts)
{
	struct identity identity = {
		.device = (uint64_t)facts->st_dev,
		.inode = (uint64_t)facts->st_ino,
		.size = (uint64_t)facts->st_size,
		.changed_s = facts->st_ctim.tv_sec,
		.modified_s = facts->st_mtim.tv_sec,
		.changed_ns = facts->st_ctim.tv_nsec,
		.modified_ns = facts->st_mtim.tv_nsec,
	};

	return identity;
}

bool identity_same(const struct identity *a, const struct identity *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->changed_s == b->changed_s && a->changed_ns == b->changed_ns &&
	       a->modified_s == b->modified_s && a->modified_ns == b->modified_ns;
}

int folder_changed(const struct folder *folder, const char *path, struct rgm_error *error)
{
	pool_fail(error, RGM_ECHANGED,
		"'%s%s%s' changed while it was loaded; nothing was published", folder->path,
		*path != '\0' ? "/" : "", path);
	return cli_hint(error, "load it again when nothing writes there, or load a copy");
}

int folder_unreadable(const struct folder *folder, const char *path, struct rgm_error *error)
{
	int rc = pool_fail_errno(
		error, "'%s%s%s' cannot be read", folder->path, *path != '\0' ? "/" : "", path);

	if (rc == -EACCES || rc == -EPERM)
		cli_hint(error, "--skip-unreadable leaves such files out and counts them");
	return rc;
}

bool folder_forbidden(const struct folder *folder)
{
	return folder->skip_unreadable && (errno == EACCES || errno == EPERM);
}

int folder_gone(const struct folder *folder, const char *path, struct rgm_error *error)
{
	if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
		return folder_changed(folder, path, error);
	return folder_unreadable(folder, path, error);
}

int folder_open_below(int root, const char *path)
{
	int at = openat(root, ".", OPEN_FOLDER);
	char part[NAME_MAX + 1];

	while (at >= 0 && *path != '\0') {
		size_t length = strcspn(path, "/");
		int next, saved;

		if (length >= sizeof part) {
			close(at);
			errno = ENAMETOOLONG;
			return -1;
		}
		memcpy(part, path, length);
		part[length] = '\0';
		next = openat(at, part, OPEN_FOLDER);
		saved = errno;
		close(at);
		errno = saved;
		at = next;
		path += length + (path[length] == '/' ? 1 : 0);
	}
	return at;
}

/* Append an entry; takes `path` over, also on failure. */
static int add(struct listing *listing, char *path, size_t base, size_t folder,
	enum entry_type type, const struct stat *facts, struct rgm_error *error)
{
	struct entry *entry;

	if (path != NULL && listing->count == listing->capacity) {
		size_t capacity = listing->capacity == 0 ? 256 : listing->capacity * 2;
		struct entry *entries = reallocarray(listing->entries, capacity, sizeof *entries);

		if (entries == NULL) {
			free(path);
			path = NULL;
		} else {
			listing->entries = entries;
			listing->capacity = capacity;
		}
	}
	if (path == NULL)
		return pool_fail(error, -ENOMEM, "no memory to list %zu files", listing->count);
	entry = &listing->entries[listing->count++];
	*entry = (struct entry){path, base, folder, type, identity_of(facts)};
	if (type == ENTRY_FILE)
		listing->bytes += (uint64_t)facts->st_size;
	return 0;
}

static char *join(const char *folder, const char *name)
{
	char *path = NULL;

	if (asprintf(&path, "%s%s%s", folder, *folder != '\0' ? "/" : "", name) < 0)
		return NULL;
	return path;
}

static enum entry_type type_of(const struct stat *facts)
{
	if (S_ISREG(facts->st_mode))
		return ENTRY_FILE;
	if (S_ISDIR(facts->st_mode))
		return ENTRY_FOLDER;
	return S_ISLNK(facts->st_mode) ? ENTRY_SYMLINK : ENTRY_SPECIAL;
}

static int list_name(const struct folder *folder, struct listing *listing, size_t parent, int at,
	const char *name, struct rgm_error *error)
{
	char *path = join(listing->entries[parent].path, name);
	struct stat facts = {0};
	enum entry_type type = ENTRY_UNREADABLE;

	if (path != NULL && strlen(path) > RGM_LAYER_NAME_MAX) {
		int rc = pool_fail(error, CLI_SOURCE,
			"'%s/%.64s...': a path of %zu bytes in it is longer than a layer's name "
			"may be, %d",
			folder->path, path, strlen(path), RGM_LAYER_NAME_MAX);

		free(path);
		return rc;
	}
	if (path != NULL && fstatat(at, name, &facts, AT_SYMLINK_NOFOLLOW) == 0) {
		type = type_of(&facts);
	} else if (path != NULL && !folder_forbidden(folder)) {
		int rc = folder_gone(folder, path, error);

		free(path);
		return rc;
	}
	return add(listing, path, path == NULL ? 0 : strlen(path) - strlen(name), parent, type,
		&facts, error);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

/* All names of one folder, sorted, behind those already listed. */
static int list_folder(const struct folder *folder, struct listing *listing, size_t parent,
	struct rgm_error *error)
{
	int at = folder_open_below(folder->root, listing->entries[parent].path), rc = 0;
	size_t first = listing->count;
	const struct dirent *entry;
	DIR *stream;

	if (at < 0 && folder_forbidden(folder)) {
		listing->entries[parent].type = ENTRY_UNREADABLE;
		return 0;
	}
	if (at < 0)
		return folder_gone(folder, listing->entries[parent].path, error);
	stream = fdopendir(at);
	if (stream == NULL) {
		close(at);
		return pool_fail(error, -ENOMEM, "no memory to read '%s'", folder->path);
	}
	while (rc == 0) {
		errno = 0;
		entry = readdir(stream);
		if (entry == NULL)
			break;
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = list_name(
				folder, listing, parent, dirfd(stream), entry->d_name, error);
	}
	if (rc == 0 && errno != 0)
		rc = folder_unreadable(folder, listing->entries[parent].path, error);
	closedir(stream);
	if (rc == 0 && listing->count > first)
		qsort(&listing->entries[first], listing->count - first, sizeof *listing->entries,
			by_path);
	return rc;
}

void listing_free(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++)
		free(listing->entries[i].path);
	free(listing->entries);
	memset(listing, 0, sizeof *listing);
}

int listing_fill(const struct folder *folder, struct listing *listing, struct rgm_error *error)
{
	struct stat facts;
	int rc;

	if (fstat(folder->root, &facts) != 0)
		return folder_unreadable(folder, "", error);
	rc = add(listing, strdup(""), 0, 0, ENTRY_FOLDER, &facts, error);
	for (size_t i = 0; i < listing->count && rc == 0; i++) {
		if (listing->entries[i].type == ENTRY_FOLDER)
			rc = list_folder(folder, listing, i, error);
	}
	return rc;
}

const char *listing_difference(const struct listing *a, const struct listing *b)
{
	for (size_t i = 0; i < a->count && i < b->count; i++) {
		const struct entry *x = &a->entries[i], *y = &b->entries[i];
		int order = strcmp(x->path, y->path);

		if (order != 0)
			return x->folder == y->folder && order > 0 ? y->path : x->path;
		if (x->type != y->type || !identity_same(&x->identity, &y->identity))
			return x->path;
	}
	if (a->count == b->count)
		return NULL;
	return a->count > b->count ? a->entries[b->count].path : b->entries[a->count].path;
}
