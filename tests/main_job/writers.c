/* SPDX-License-Identifier: Apache-2.0 */
/* What the writers do; see writers.h. */
#include "writers.h"

#include <stdio.h>
#include <stdlib.h>

#include "random.h"

#define EDITS_MAX 64u

static bool over(const struct writers *writers)
{
	return atomic_load(&writers->stop) != 0 || job_failed(writers->changes.job);
}

static const struct truth *truth_of(const struct writers *writers)
{
	return &writers->changes.job->truth;
}

static uint64_t size_of(const struct writers *writers, uint32_t content)
{
	return truth_of(writers)->content[content].size;
}

/* --- small changes ------------------------------------------------------------------------------ */

/* A layer that is there now; TRUTH_NONE if the dice find none. */
static uint32_t pick_present(struct editor *editor, uint32_t dimension)
{
	uint32_t count = truth_name_count(&editor->changes->job->truth, dimension);

	for (int i = 0; i < 64; i++) {
		uint32_t name = random_below(&editor->random, count);

		if (change_current(editor->changes, dimension, name) != TRUTH_NONE)
			return name;
	}
	return TRUTH_NONE;
}

/* Two layers exchange their contents in one version. */
static bool swap_two(struct editor *editor, uint32_t dimension)
{
	uint32_t a = pick_present(editor, dimension), b = pick_present(editor, dimension);
	struct edit edits[2];

	if (a == TRUTH_NONE || b == TRUTH_NONE || a == b)
		return true;
	edits[0] = (struct edit){a, change_current(editor->changes, dimension, b)};
	edits[1] = (struct edit){b, change_current(editor->changes, dimension, a)};
	if (edits[0].content == TRUTH_NONE || edits[1].content == TRUTH_NONE)
		return true;
	return change_layers(editor, dimension, edits, 2, false);
}

/* Another content of about the same size, so that the dimension's size stays what it is. */
static bool replace_one(struct writers *writers, struct editor *editor, uint32_t dimension)
{
	const struct truth *truth = truth_of(writers);
	uint32_t name = pick_present(editor, dimension);
	uint32_t count = truth_name_count(truth, dimension);
	uint64_t size;

	if (name == TRUTH_NONE)
		return true;
	size = size_of(writers, change_current(editor->changes, dimension, name));
	for (int i = 0; i < 32; i++) {
		uint32_t content =
			truth_name(truth, dimension, random_below(&editor->random, count))->content;
		uint64_t other = size_of(writers, content);

		if (other <= size + size / 4 && size <= other + other / 4) {
			struct edit edit = {name, content};

			return change_layers(editor, dimension, &edit, 1, false);
		}
	}
	return swap_two(editor, dimension);
}

/* Remove a few small layers in one version. */
static bool remove_some(struct writers *writers, struct editor *editor, uint32_t dimension)
{
	struct edit edits[8];
	uint32_t count = 0;

	for (uint32_t i = 0; i < 8; i++) {
		uint32_t name = pick_present(editor, dimension);
		bool twice = name == TRUTH_NONE ||
		             size_of(writers, change_current(editor->changes, dimension, name)) >
		                     256u << 10;

		for (uint32_t k = 0; k < count; k++)
			twice |= edits[k].name == name;
		if (!twice)
			edits[count++] = (struct edit){name, TRUTH_NONE};
	}
	return count == 0 || change_layers(editor, dimension, edits, count, false);
}

/* Bring back what was removed. Names that have never been there are left to the growth. */
static bool bring_back(struct writers *writers, struct editor *editor, uint32_t dimension)
{
	const struct truth *truth = truth_of(writers);
	const struct truth_dimension *at = &truth->dimension[dimension];
	uint32_t count = truth_name_count(truth, dimension), found = 0;
	struct edit edits[EDITS_MAX];

	for (uint32_t i = 0; i < count && found < EDITS_MAX; i++)
		if (change_current(editor->changes, dimension, i) == TRUTH_NONE &&
			atomic_load(&truth->head[at->heads + i]) != 0)
			edits[found++] = (struct edit){i, truth_name(truth, dimension, i)->content};
	return found == 0 || change_layers(editor, dimension, edits, found, false);
}

static bool small_change(struct writers *writers, struct editor *editor)
{
	static const uint32_t changing[] = {FAMILY_LIBS, FAMILY_LIBS, FAMILY_TOOLS, FAMILY_INCLUDE};
	uint32_t dimension = writers->dimension[changing[random_below(&editor->random, 4)]];
	uint32_t dice = random_below(&editor->random, 100);

	if (dice < 60)
		return replace_one(writers, editor, dimension);
	if (dice < 85)
		return swap_two(editor, dimension);
	if (dice < 93)
		return remove_some(writers, editor, dimension);
	return bring_back(writers, editor, dimension);
}

static void *small_main(void *context)
{
	struct writers *writers = context;
	struct editor editor;

	if (!editor_open(&editor, &writers->changes, writers->changes.job->seed ^ 0x5ca1ab1e))
		return NULL;
	while (!over(writers) && small_change(writers, &editor))
		job_sleep_ms(random_below(&editor.random, writers->pause_ms + 1));
	editor_close(&editor);
	return NULL;
}

/* --- large changes ------------------------------------------------------------------------------ */

/* Every name of the dimension's family; name i gets what name i + shift begins with. With `early`
 * only the names of the first load. */
static bool replace_whole(
	struct writers *writers, struct editor *editor, uint32_t dimension, uint32_t shift)
{
	uint32_t count = truth_name_count(truth_of(writers), dimension);
	struct edit *edits = calloc(count, sizeof(*edits));
	bool good = edits != NULL;

	for (uint32_t i = 0; good && i < count; i++)
		edits[i] = (struct edit){
			i, truth_name(truth_of(writers), dimension, (i + shift) % count)->content};
	good = good && change_layers(editor, dimension, edits, count, true);
	free(edits);
	return good;
}

/* The growth's step `step` of GROWTH_STEPS: the next part of the names that did not come early. */
static bool grow(struct writers *writers, struct editor *editor, uint32_t step)
{
	const struct truth *truth = truth_of(writers);
	const struct truth_family *family = &truth->family[FAMILY_LIBS];
	uint32_t late = family->count - family->early_count;
	uint32_t from = late * step / GROWTH_STEPS, to = late * (step + 1) / GROWTH_STEPS;
	struct edit *edits = calloc(to - from + 1, sizeof(*edits));
	uint32_t count = 0, seen = 0;
	bool good = edits != NULL;

	for (uint32_t i = 0; good && i < family->count; i++) {
		if (truth->early[family->first_name + i])
			continue;
		if (seen >= from && seen < to)
			edits[count++] =
				(struct edit){i, truth->name[family->first_name + i].content};
		seen++;
	}
	if (good && count > 0)
		good = change_layers(editor, writers->dimension[FAMILY_LIBS], edits, count, false);
	free(edits);
	return good;
}

static void next_name(struct writers *writers, char name[RGM_NAME_MAX + 1])
{
	/* every second time a name that was used before */
	uint32_t number = writers->made++;

	snprintf(name, RGM_NAME_MAX + 1, "extra-%u", number % 2 == 0 ? 0 : number);
}

static bool load_extra(struct writers *writers, struct editor *editor, uint32_t *ret_dimension)
{
	const struct truth *truth = truth_of(writers);
	const struct truth_family *family = &truth->family[FAMILY_EXTRA];
	struct edit *edits = calloc(family->count, sizeof(*edits));
	char name[RGM_NAME_MAX + 1];
	bool good = edits != NULL;

	next_name(writers, name);
	for (uint32_t i = 0; good && i < family->count; i++)
		edits[i] = (struct edit){i, truth->name[family->first_name + i].content};
	good = good && change_load_new(editor, RGM_LOAD_CREATE | RGM_LOAD_EXCLUSIVE, FAMILY_EXTRA,
			       name, edits, family->count, ret_dimension);
	free(edits);
	return good;
}

/* Create it empty, then fill some of it: another life under an old name, maybe. */
static bool create_extra(struct writers *writers, struct editor *editor, uint32_t *ret_dimension)
{
	const struct truth *truth = truth_of(writers);
	const struct truth_family *family = &truth->family[FAMILY_EXTRA];
	struct edit edits[EDITS_MAX];
	char name[RGM_NAME_MAX + 1];
	uint32_t count = family->count < EDITS_MAX ? family->count : EDITS_MAX;

	next_name(writers, name);
	if (!change_create_empty(editor, FAMILY_EXTRA, name, ret_dimension))
		return false;
	for (uint32_t i = 0; i < count; i++)
		edits[i] = (struct edit){i, truth->name[family->first_name + i].content};
	return change_layers(editor, *ret_dimension, edits, count, false);
}

/* Begin to replace `share` and give it up half way. */
static bool give_up(struct writers *writers, struct editor *editor)
{
	uint32_t dimension = writers->dimension[FAMILY_SHARE];
	uint32_t count = truth_name_count(truth_of(writers), dimension) / 2;
	struct edit edits[EDITS_MAX];

	if (count > EDITS_MAX)
		count = EDITS_MAX;
	for (uint32_t i = 0; i < count; i++)
		edits[i] =
			(struct edit){i, truth_name(truth_of(writers), dimension, i + 1)->content};
	return change_nothing(editor, dimension, edits, count);
}

/* One round of everything large; `*extra` is the dimension that comes and goes. */
static bool large_change(
	struct writers *writers, struct editor *editor, uint32_t turn, uint32_t *extra)
{
	char name[RGM_NAME_MAX + 1];

	switch (turn % 9) {
	case 0:
		return load_extra(writers, editor, extra);
	case 1:
		return replace_whole(writers, editor, writers->dimension[FAMILY_SHARE], turn);
	case 2:
		snprintf(name, sizeof(name), "renamed-%u", turn % 18);
		return change_rename(editor, *extra, name);
	case 3:
		return replace_whole(writers, editor, writers->dimension[FAMILY_TOOLS], turn);
	case 4:
		return change_drop(editor, *extra);
	case 5:
		return create_extra(writers, editor, extra);
	case 6:
		return replace_whole(writers, editor, writers->dimension[FAMILY_INCLUDE], turn);
	case 7:
		return give_up(writers, editor);
	default:
		return change_drop(editor, *extra);
	}
}

/* The growth fills the middle of the time: step i is due at 10 % + i * 60 % / steps. */
static bool growth_due(const struct writers *writers, uint32_t done)
{
	uint64_t elapsed = job_now_ns() - writers->started_ns;
	uint64_t due =
		writers->duration_ns / 10 + writers->duration_ns * 6 / 10 * done / GROWTH_STEPS;

	return done < GROWTH_STEPS && (elapsed > due || over(writers));
}

static void *large_main(void *context)
{
	struct writers *writers = context;
	uint32_t extra = TRUTH_NONE, turn = 0, grown = 0;
	struct editor editor;
	bool good;

	if (!editor_open(&editor, &writers->changes, writers->changes.job->seed ^ 0xb16))
		return NULL;
	for (good = true; good && !job_failed(writers->changes.job);) {
		if (growth_due(writers, grown)) {
			good = grow(writers, &editor, grown++);
			atomic_store(&writers->grown, grown);
		} else if (!over(writers) || turn % 9 != 0) {
			/* a round begun is a round ended: no extra dimension stays */
			good = large_change(writers, &editor, turn++, &extra);
			atomic_fetch_add(&writers->large, 1);
			job_sleep_ms(random_below(&editor.random, writers->pause_ms * 8 + 1));
		} else {
			break;
		}
	}
	editor_close(&editor);
	return NULL;
}

/* --- from outside ------------------------------------------------------------------------------- */

static bool load_early(struct writers *writers, struct editor *editor, uint32_t index)
{
	const struct truth *truth = truth_of(writers);
	const struct truth_family *family = &truth->family[index];
	struct edit *edits = calloc(family->count, sizeof(*edits));
	uint32_t count = 0;
	bool good = edits != NULL;

	for (uint32_t i = 0; good && i < family->count; i++)
		if (truth->early[family->first_name + i])
			edits[count++] =
				(struct edit){i, truth->name[family->first_name + i].content};
	good = good &&
	       change_load_new(editor, RGM_LOAD_CREATE, index, family_label((enum family)index),
		       edits, count, &writers->dimension[index]);
	free(edits);
	return good;
}

bool writers_load(struct writers *writers)
{
	struct editor editor;
	bool good = editor_open(&editor, &writers->changes, writers->changes.job->seed);

	editor.files_only = true;
	for (uint32_t i = 0; good && i < BASE_FAMILIES; i++)
		good = load_early(writers, &editor, i);
	editor_close(&editor);
	return good;
}

bool writers_start(struct writers *writers)
{
	if (pthread_create(&writers->thread[0], NULL, small_main, writers) != 0)
		return false;
	if (pthread_create(&writers->thread[1], NULL, large_main, writers) == 0) {
		writers->running = true;
		return true;
	}
	job_tell(writers->changes.job, "cannot start a writer");
	pthread_join(writers->thread[0], NULL);
	return false;
}

void writers_stop(struct writers *writers)
{
	atomic_store(&writers->stop, 1);
	if (!writers->running)
		return;
	pthread_join(writers->thread[0], NULL);
	pthread_join(writers->thread[1], NULL);
	writers->running = false;
}

bool writers_cycle(struct writers *writers, bool (*wait_reclaimed)(void *context), void *context)
{
	struct editor editor;
	uint32_t extra;
	bool good = editor_open(&editor, &writers->changes, writers->changes.job->seed);

	editor.files_only = true;
	good = good && load_extra(writers, &editor, &extra) && change_drop(&editor, extra);
	for (uint32_t shift = 0; good && shift < 2; shift++)
		for (uint32_t i = 0; good && i < BASE_FAMILIES; i++)
			good = replace_whole(writers, &editor, writers->dimension[i], shift) &&
			       wait_reclaimed(context);
	editor_close(&editor);
	return good;
}
