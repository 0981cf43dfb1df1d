/* SPDX-License-Identifier: Apache-2.0 */
/* A parent that reads and holds, and children that look when asked: shared by the tests of forks. */
#ifndef TESTS_READER_PLAY_H
#define TESTS_READER_PLAY_H

#include "tests/support/instance.h"

#include <signal.h>
#include <unistd.h>

static const struct content data = {"data", 6, 16384, 41};

/* Every test runs in a reader process of its own, so that the manager's threads are elsewhere. */
struct play {
	struct instance *instance;
	struct reader reader;
	struct rgm_hold *hold;
	child_run *child;
	uint64_t generation; /* the newest */
};

static inline void replace_often(struct play *play)
{
	for (int i = 0; i < 12; i++)
		instance_put(play->instance, &data, ++play->generation);
}

static inline bool kept(struct play *play)
{
	support_sleep_ms(60); /* scans go by */
	return instance_retired(play->instance, "data") > 0;
}

static inline void attach(struct play *play, struct instance *instance)
{
	*play = (struct play){.instance = instance, .generation = 1};
	reader_open(&play->reader, instance, NULL);
	reader_map(&play->reader, "data");
}

static inline void begin(struct play *play, struct instance *instance)
{
	instance_put(instance, &data, 1);
	attach(play, instance);
}

static inline void take(struct play *play)
{
	play->hold = reader_take(&play->reader, "data");
	REQUIRE_EQUAL(hold_generation(play->hold, &data), play->generation);
}

/* A child that looks through the hold each time it is asked, until 'e'. */
static inline void look_when_asked(struct child *parent, void *context)
{
	struct play *play = context;
	uint64_t generation = play->generation;
	for (;;) {
		REQUIRE_EQUAL(hold_generation(play->hold, &data), generation);
		child_say(parent, 'l');
		if (child_hear(parent) != 'l')
			return;
	}
}

static inline void ask(struct child *child)
{
	child_say(child, 'l');
	child_expect(child, 'l');
}

static inline struct child fork_looker(struct play *play)
{
	struct child child = child_start(look_when_asked, play);
	child_expect(&child, 'l');
	return child;
}

static inline void let_go(struct child *child)
{
	child_say(child, 'e');
	child_join(child);
}

/* Ask for a reap of what the parent may forget now: any take or release does. */
static inline void reap(struct play *play)
{
	REQUIRE_EQUAL(rgm_hold_release(reader_take(&play->reader, "data")), 0);
}

#endif
