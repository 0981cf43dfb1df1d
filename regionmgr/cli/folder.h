/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names in a folder, as source_folder.c loads and compares them. Files are opened by name only
 * below a folder that is open, and no link in the tree is followed, so whoever may write in it cannot
 * lead the walk out of it. At most three descriptors are open at once, whatever the depth.
 */
#ifndef CLI_FOLDER_H
#define CLI_FOLDER_H

#include <sys/stat.h>

#include "regionmgr/cli/source.h"

enum entry_type {
	ENTRY_FILE,
	ENTRY_FOLDER,
	ENTRY_SYMLINK,
	ENTRY_SPECIAL,
	ENTRY_UNREADABLE
};

struct identity {
	uint64_t device, inode, size;
	int64_t changed_s, modified_s;
	int64_t changed_ns, modified_ns;
};

/* One name in the tree; path is relative to the root, "" for the root itself. */
struct entry {
	char *path;
	size_t base;   /* where its last part begins */
	size_t folder; /* the entry it lies in */
	enum entry_type type;
	struct identity identity;
};

struct listing {
	struct entry *entries;
	size_t count, capacity;
	uint64_t bytes; /* of its files */
};

struct folder {
	char *path;
	int root;
	bool skip_unreadable;
	struct listing listing;
};

struct identity identity_of(const struct stat *facts);
bool identity_same(const struct identity *a, const struct identity *b);

/* List the whole tree: folders are entries too, before what lies in them; names of a folder are
 * sorted. The listing must be empty; it is freed by the caller, also after a failure. */
int listing_fill(const struct folder *folder, struct listing *listing, struct rgm_error *error);
void listing_free(struct listing *listing);
/* The first path that is not the same in both; NULL when all are. */
const char *listing_difference(const struct listing *a, const struct listing *b);

/* Open a folder of the tree part by part, so that no part of its path can be a link. -1 and errno. */
int folder_open_below(int root, const char *path);
/* Sentences about a path below the folder: RGM_ECHANGED, or -errno. */
int folder_changed(const struct folder *folder, const char *path, struct rgm_error *error);
int folder_unreadable(const struct folder *folder, const char *path, struct rgm_error *error);
/* By errno: what vanished, or is a link now, has changed; anything else is unreadable. */
int folder_gone(const struct folder *folder, const char *path, struct rgm_error *error);
/* By errno: may not be read, and is to be skipped then. */
bool folder_forbidden(const struct folder *folder);

#endif
