/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing and hashing the input; see sources.h. */
#include "sources.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc.h"

#define CANDIDATES_MAX 200000u
#define FOLDER_SMALL   4000u /* files looked at in each folder of a small run */
#define HASH_BYTES     (1u << 20)

/* --- which files -------------------------------------------------------------------------------- */

/* Folders that do not exist are skipped; if the first ones are small, the next ones help out. */
struct recipe {
	const char *label;
	const char *folders[5];
	uint64_t early_bytes[2]; /* of the first load: small, full */
	uint64_t bytes[2];       /* in all */
	uint64_t largest_file[2];
};

static const struct recipe recipes[FAMILIES] = {
	[FAMILY_LIBS] = {"libs", {"/usr/lib", "/usr/bin", "/usr/share", "/usr/sbin"},
		{10u << 20, 284000000u}, {18u << 20, 545000000u}, {1u << 20, 24u << 20}},
	[FAMILY_SHARE] = {"share", {"/usr/share", "/usr/lib"}, {4u << 20, 40000000u},
		{4u << 20, 40000000u}, {256u << 10, 4u << 20}},
	[FAMILY_TOOLS] = {"tools", {"/usr/bin", "/usr/sbin", "/usr/lib"}, {4u << 20, 40000000u},
		{4u << 20, 40000000u}, {1u << 20, 8u << 20}},
	[FAMILY_INCLUDE] = {"include", {"/usr/include", "/usr/share"}, {2u << 20, 20000000u},
		{2u << 20, 20000000u}, {256u << 10, 2u << 20}},
	[FAMILY_EXTRA] = {"extra", {"/usr/sbin", "/usr/share", "/usr/bin", "/usr/lib"},
		{3u << 20, 30000000u}, {3u << 20, 30000000u}, {512u << 10, 4u << 20}},
};

const char *family_label(enum family family)
{
	return recipes[family].label;
}

struct candidate {
	char *path;
	uint64_t size;
	uint64_t time_ns;
	uint64_t changed_ns;
	uint32_t rank; /* folder of the recipe first, then a hash of the path */
	uint32_t folder;
	uint32_t content;
};

/* nftw() has no context argument; one walk at a time */
static struct candidate *candidates;
static uint32_t candidate_count;
static uint64_t walk_largest;
static uint32_t walk_folder;
static uint32_t walk_limit; /* of candidate_count */

static uint32_t hash_path(const char *path)
{
	uint32_t hash = 2166136261u;

	for (; *path != '\0'; path++)
		hash = (hash ^ (unsigned char)*path) * 16777619u;
	return hash ^ hash >> 15;
}

static uint64_t nanoseconds(const struct timespec *time)
{
	return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_nsec;
}

static int visit(const char *path, const struct stat *facts, int type, struct FTW *place)
{
	struct candidate *at = &candidates[candidate_count];

	(void)place;
	if (type != FTW_F || !S_ISREG(facts->st_mode) || (uint64_t)facts->st_size > walk_largest)
		return 0;
	if (candidate_count == walk_limit)
		return 1;
	if (strlen(path) > 1000)
		return 0;
	at->path = strdup(path);
	if (at->path == NULL)
		return -1;
	at->size = (uint64_t)facts->st_size;
	at->time_ns = nanoseconds(&facts->st_mtim);
	at->changed_ns = nanoseconds(&facts->st_ctim);
	at->rank = hash_path(path);
	at->folder = walk_folder;
	candidate_count++;
	return 0;
}

static int by_rank(const void *left, const void *right)
{
	const struct candidate *a = left, *b = right;

	if (a->folder != b->folder)
		return a->folder < b->folder ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return strcmp(a->path, b->path);
}

static int by_path(const void *left, const void *right)
{
	const struct candidate *a = left, *b = right;

	return strcmp(a->path, b->path);
}

/* Take it if the pages stay within 5 % of the bytes; what has no pages is taken as it is. */
static bool fits(uint64_t bytes, uint64_t pages, uint64_t size)
{
	bytes += size;
	pages += truth_page_bytes(size);
	return pages * 20 <= bytes * 21;
}

/* Move the chosen candidates to the front, the early ones first; returns how many. */
static uint32_t choose(const struct recipe *recipe, int full, struct truth_family *family)
{
	uint64_t bytes = 0, pages = 0;
	uint32_t taken = 0;

	qsort(candidates, candidate_count, sizeof(*candidates), by_rank);
	family->early_count = 0;
	for (uint32_t i = 0; i < candidate_count && bytes < recipe->bytes[full]; i++) {
		struct candidate one = candidates[i];

		if (!fits(bytes, pages, one.size) || access(one.path, R_OK) != 0)
			continue;
		bytes += one.size;
		pages += truth_page_bytes(one.size);
		candidates[i] = candidates[taken];
		candidates[taken++] = one;
		if (family->early_count == 0 && bytes >= recipe->early_bytes[full]) {
			family->early_count = taken;
			family->early_bytes = bytes;
		}
	}
	family->bytes = bytes;
	return taken;
}

static bool add_content(struct truth *truth, struct candidate *from)
{
	struct truth_content *content = &truth->content[truth->contents];

	if (truth->contents == TRUTH_CONTENTS)
		return false;
	content->size = from->size;
	content->time_ns = from->time_ns;
	content->changed_ns = from->changed_ns;
	content->path = truth_text(truth, from->path);
	from->content = truth->contents++;
	return content->path != TRUTH_NONE;
}

static bool add_name(
	struct truth *truth, struct truth_family *family, const char *text, uint32_t content)
{
	struct truth_name *name = &truth->name[truth->names];

	if (truth->names == TRUTH_NAMES)
		return false;
	name->text = truth_text(truth, text);
	name->length = (uint32_t)strlen(text);
	name->content = content;
	truth->names++;
	family->count++;
	return name->text != TRUTH_NONE;
}

/*
 * Names are paths without the leading slash, in byte order. If the folders hold too little for the
 * growth, the same files come again under "~2/…", "~3/…": '~' sorts behind every name of ours.
 */
static bool add_family(struct truth *truth, const struct recipe *recipe, int full,
	struct truth_family *family, uint32_t taken)
{
	char again[1100];
	uint32_t early = family->early_count;

	/* candidates[] is re-sorted: remember in `rank` who came early */
	for (uint32_t i = 0; i < taken; i++)
		candidates[i].rank = i < early;
	qsort(candidates, taken, sizeof(*candidates), by_path);
	for (uint32_t i = 0; i < taken; i++) {
		truth->early[truth->names] = (uint8_t)candidates[i].rank;
		if (!add_content(truth, &candidates[i]) ||
			!add_name(truth, family, candidates[i].path + 1, candidates[i].content))
			return false;
	}
	for (int copy = 2; family->bytes < recipe->bytes[full] && copy <= 9; copy++)
		for (uint32_t i = 0; i < taken && family->bytes < recipe->bytes[full]; i++) {
			snprintf(again, sizeof(again), "~%d%s", copy, candidates[i].path);
			if (!add_name(truth, family, again, candidates[i].content))
				return false;
			family->bytes += candidates[i].size;
		}
	return true;
}

/* Walk one folder of a recipe. */
static void walk(const struct recipe *recipe, int full, uint32_t folder)
{
	uint32_t room = CANDIDATES_MAX - candidate_count;

	walk_folder = folder;
	walk_largest = recipe->largest_file[full];
	walk_limit = candidate_count + (full || room < FOLDER_SMALL ? room : FOLDER_SMALL);
	nftw(recipe->folders[folder], visit, 32, FTW_PHYS | FTW_MOUNT);
}

static bool add_recipe(struct truth *truth, const struct recipe *recipe, int full)
{
	struct truth_family *family = &truth->family[truth->families];
	uint32_t taken = 0;
	bool good;

	candidate_count = 0;
	memset(family, 0, sizeof(*family));
	family->first_name = truth->names;
	for (uint32_t i = 0; i < 5 && recipe->folders[i] && family->bytes < recipe->bytes[full];
		i++) {
		walk(recipe, full, i);
		taken = choose(recipe, full, family);
	}
	if (family->early_count == 0 && recipe == &recipes[FAMILY_LIBS]) {
		fprintf(stderr, "main_job: only %llu bytes of files found for '%s', needs %llu\n",
			(unsigned long long)family->bytes, recipe->label,
			(unsigned long long)recipe->early_bytes[full]);
		good = false;
	} else {
		if (family->early_count == 0) {
			family->early_count = taken;
			family->early_bytes = family->bytes;
		}
		good = taken > 0 && add_family(truth, recipe, full, family, taken);
		truth->families++;
	}
	for (uint32_t i = 0; i < candidate_count; i++)
		free(candidates[i].path);
	return good;
}

bool sources_choose(struct truth *truth, const char *scale)
{
	int full = strcmp(scale, "full") == 0;
	bool good = true;

	candidates = calloc(CANDIDATES_MAX + 1, sizeof(*candidates));
	if (candidates == NULL)
		return false;
	for (size_t i = 0; good && i < FAMILIES; i++)
		good = add_recipe(truth, &recipes[i], full);
	free(candidates);
	candidates = NULL;
	return good;
}

/* --- what they hold ----------------------------------------------------------------------------- */

int sources_open(const struct truth *truth, uint32_t content)
{
	const struct truth_content *at = &truth->content[content];
	int file = open(truth->text + at->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat facts;

	if (file < 0)
		return -1;
	if (fstat(file, &facts) == 0 && (uint64_t)facts.st_size == at->size &&
		nanoseconds(&facts.st_mtim) == at->time_ns &&
		nanoseconds(&facts.st_ctim) == at->changed_ns)
		return file;
	close(file);
	errno = ESTALE;
	return -1;
}

struct hashing {
	struct truth *truth;
	atomic_uint next;
	atomic_uint skipped;
	atomic_uint_least64_t *done;
};

static bool hash_one(
	struct truth *truth, uint32_t index, unsigned char *buffer, atomic_uint_least64_t *done)
{
	struct truth_content *content = &truth->content[index];
	int file = sources_open(truth, index);
	uint64_t size = 0;
	ssize_t got;

	if (file < 0)
		return false;
	content->crc = 0;
	while ((got = read(file, buffer, HASH_BYTES)) > 0) {
		content->crc = crc_by_table(content->crc, buffer, (size_t)got);
		size += (uint64_t)got;
		atomic_fetch_add_explicit(done, (uint64_t)got, memory_order_relaxed);
	}
	close(file);
	return got == 0 && size == content->size;
}

static void *hash_some(void *context)
{
	struct hashing *work = context;
	unsigned char *buffer = malloc(HASH_BYTES);
	uint32_t index;

	while ((index = atomic_fetch_add_explicit(&work->next, 1, memory_order_relaxed)) <
		work->truth->contents)
		if (buffer == NULL || !hash_one(work->truth, index, buffer, work->done)) {
			work->truth->content[index].path = TRUTH_NONE;
			atomic_fetch_add_explicit(&work->skipped, 1, memory_order_relaxed);
		}
	free(buffer);
	return NULL;
}

/* A name whose file could not be read, or changed meanwhile, gets the next file's content. */
static void replace_skipped(struct truth *truth)
{
	for (uint32_t i = 0; i < truth->names; i++)
		while (truth->content[truth->name[i].content].path == TRUTH_NONE)
			truth->name[i].content = (truth->name[i].content + 1) % truth->contents;
}

bool sources_hash(struct truth *truth, uint32_t threads, atomic_uint_least64_t *done)
{
	struct hashing work = {.truth = truth, .done = done};
	pthread_t thread[64];
	uint32_t started = 0, skipped;

	if (threads > 64)
		threads = 64;
	while (started < threads && pthread_create(&thread[started], NULL, hash_some, &work) == 0)
		started++;
	if (started == 0)
		hash_some(&work);
	for (uint32_t i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	skipped = atomic_load(&work.skipped);
	if (skipped > truth->contents / 50) {
		fprintf(stderr, "main_job: %u of %u source files cannot be read or change\n",
			skipped, truth->contents);
		return false;
	}
	replace_skipped(truth);
	return true;
}
