/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each version must contain, kept outside regionmgr: in anonymous shared memory that the driver
 * writes and forked workers read. Nouns:
 *
 *   content     the bytes of one source file: size and crc32c, computed here from the file
 *   family      a fixed list of layer names in byte order, with the content each begins with
 *   dimension   one life of a dimension, from its creation to its drop; it has a family
 *   commit      one change of the instance; they are numbered 1, 2, … in the order of publication
 *   change      "from this commit on, this layer has this content (or is not there)"
 *
 * The order that makes it free of races. The driver, under its own lock:
 *   1. writes the changes of commit k                   (newest first in a chain for each layer)
 *   2. planned = k                                      (release)
 *   3. asks the manager to commit and learns the version that it published
 *   4. version_of[k] = that version; recorded = k       (release)
 * A worker in a section that sees version v loads planned (acquire) as p. Each commit whose version
 * is <= v was planned before it was published, and so before our section began: its number is <= p.
 * It then waits until recorded >= p, or until a recorded version is >= v, and takes the last commit
 * whose version is <= v: that one is exactly what the section must show. The wait is as long as one
 * commit call, and bounded.
 *
 * Entries are written once, before the release store that lets others reach them, and never again.
 */
#ifndef MAIN_JOB_TRUTH_H
#define MAIN_JOB_TRUTH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <regionmgr/types.h>

#define TRUTH_NONE       UINT32_MAX /* no content: the layer is not there */
#define TRUTH_NEVER      UINT32_MAX /* no commit */
#define TRUTH_TEXT_BYTES (64u << 20)
#define TRUTH_CONTENTS   (1u << 16)
#define TRUTH_NAMES      (1u << 17)
#define TRUTH_FAMILIES   8u
#define TRUTH_DIMENSIONS (1u << 14)
#define TRUTH_RENAMES    4u
#define TRUTH_COMMITS    (1u << 22)
#define TRUTH_CHANGES    (1u << 26)
#define TRUTH_HEADS      (1u << 24)

struct truth_content {
	uint64_t size;
	uint64_t time_ns;    /* modification time of the source */
	uint64_t changed_ns; /* inode change time: tells whether it changed since it was hashed */
	uint32_t crc;
	uint32_t path; /* offset in text */
};

struct truth_name {
	uint32_t text; /* offset in text */
	uint32_t length;
	uint32_t content; /* what it begins with */
};

struct truth_family {
	uint32_t first_name; /* in names */
	uint32_t count;
	uint64_t bytes;       /* of all initial contents */
	uint32_t early_count; /* names of the first load; the others come by growth */
	uint64_t early_bytes;
};

struct truth_change {
	uint32_t commit;
	uint32_t content; /* or TRUTH_NONE */
	uint32_t older;   /* in changes; 0: the layer was not there before */
};

struct truth_label {
	uint32_t commit; /* from this commit on it has this name */
	char name[RGM_NAME_MAX + 1];
};

struct truth_dimension {
	uint32_t family;
	uint32_t heads;      /* in heads: one for each name of the family */
	uint32_t born;       /* commit */
	atomic_uint dropped; /* commit; TRUTH_NEVER while it lives */
	atomic_uint labels;
	struct truth_label label[TRUTH_RENAMES];
};

struct truth {
	/* written before the workers start */
	uint32_t contents;
	uint32_t names;
	uint32_t families;
	uint32_t text_bytes;

	/* written by the driver under its lock, read by workers */
	atomic_uint dimensions;
	atomic_uint planned;
	atomic_uint recorded;
	uint32_t changes;    /* driver only; entry 0 is unused */
	uint32_t used_heads; /* driver only */

	struct truth_family family[TRUTH_FAMILIES];
	struct truth_dimension dimension[TRUTH_DIMENSIONS];
	struct truth_content content[TRUTH_CONTENTS];
	struct truth_name name[TRUTH_NAMES];
	atomic_uint_least64_t version_of[TRUTH_COMMITS];
	struct truth_change change[TRUTH_CHANGES];
	atomic_uint head[TRUTH_HEADS];
	/* for the first load: a name of a family comes early (1) or by growth (0) */
	uint8_t early[TRUTH_NAMES];
	char text[TRUTH_TEXT_BYTES];
};

/* --- the driver's side: one caller at a time -------------------------------------------------- */

/* Copy a string into text; its offset, or TRUTH_NONE when full. */
uint32_t truth_text(struct truth *truth, const char *string);

/* Begin to plan; the number that the commit will have. TRUTH_NEVER: the history is full. */
uint32_t truth_plan(struct truth *truth);
/* A new dimension without layers; its index, or TRUTH_NONE when full. */
uint32_t truth_plan_create(struct truth *truth, uint32_t commit, uint32_t family, const char *name);
bool truth_plan_rename(struct truth *truth, uint32_t commit, uint32_t dimension, const char *name);
void truth_plan_drop(struct truth *truth, uint32_t commit, uint32_t dimension);
/* content TRUTH_NONE: removed. False when the history is full. */
bool truth_plan_layer(
	struct truth *truth, uint32_t commit, uint32_t dimension, uint32_t name, uint32_t content);
/* Everything is planned: from now on workers may meet it. */
void truth_planned(struct truth *truth, uint32_t commit);
/* It was published as `version`. */
void truth_record(struct truth *truth, uint32_t commit, uint64_t version);

/* --- everybody's side ------------------------------------------------------------------------- */

/* The commit that a section which sees `version` must show. False if the driver did not record it
 * within a minute, or *stop became nonzero meanwhile. Call it inside the section. */
bool truth_commit_at(
	const struct truth *truth, uint64_t version, const atomic_uint *stop, uint32_t *ret_commit);

/* The change that is in force for a layer at a commit; NULL if it is not there. `name` counts from
 * 0 within the family. */
const struct truth_change *truth_layer_at(
	const struct truth *truth, uint32_t dimension, uint32_t name, uint32_t commit);

bool truth_lives(const struct truth *truth, uint32_t dimension, uint32_t commit);
/* Its name at a commit at which it lives. */
const char *truth_name_at(const struct truth *truth, uint32_t dimension, uint32_t commit);
/* The dimension of that name at a commit; TRUTH_NONE if there is none. */
uint32_t truth_find(const struct truth *truth, const char *name, uint32_t commit);

static inline const struct truth_name *truth_name(
	const struct truth *truth, uint32_t dimension, uint32_t name)
{
	const struct truth_family *family = &truth->family[truth->dimension[dimension].family];

	return &truth->name[family->first_name + name];
}

static inline uint32_t truth_name_count(const struct truth *truth, uint32_t dimension)
{
	return truth->family[truth->dimension[dimension].family].count;
}

static inline uint64_t truth_page_bytes(uint64_t bytes)
{
	return (bytes + RGM_PAGE_BYTES - 1) / RGM_PAGE_BYTES * RGM_PAGE_BYTES;
}

#endif
