/* SPDX-License-Identifier: Apache-2.0 */
/* rgm_wait_for(): what counts as news of a dimension, and what does not. */
#define _GNU_SOURCE 1

#include "tests/support/instance.h"

#include <errno.h>

#define ALL                                                                                        \
	(RGM_NEWS_CREATED | RGM_NEWS_CHANGED | RGM_NEWS_GROWN | RGM_NEWS_RENAMED | RGM_NEWS_DROPPED)
#define NEW (RGM_NEWS_CREATED | RGM_NEWS_CHANGED | RGM_NEWS_GROWN)

static const struct content data = {"data", 1, 4096, 71};
static const struct content other = {"other", 1, 4096, 72};
static const struct content large = {"data", 40, 65536, 73};

static int wait_ms(struct reader *reader, const char *name, uint32_t events,
	const struct rgm_news *seen, int64_t timeout_ms, struct rgm_news *ret_news,
	struct rgm_error *error)
{
	struct rgm_wait_options options = {.size = sizeof options,
		.events = events,
		.name = name,
		.seen = seen,
		.timeout_ms = timeout_ms};
	return rgm_wait_for(reader->session, &options, ret_news, error);
}

/* There is news at once: which. */
static struct rgm_news look(
	struct reader *reader, const char *name, uint32_t events, const struct rgm_news *seen)
{
	struct rgm_news news = {.size = sizeof news};
	struct rgm_error error;
	must(wait_ms(reader, name, events, seen, 0, &news, &error), &error);
	REQUIRE(news.events != 0 && (news.events & ~events) == 0);
	REQUIRE_EQUAL(news.version, rgm_current_version(reader->session));
	return news;
}

/* There is none: this code. */
static void no_news(struct reader *reader, const char *name, uint32_t events,
	const struct rgm_news *seen, int code)
{
	struct rgm_news news = {.size = sizeof news, .version = 77, .events = 78};
	struct rgm_error error;
	REQUIRE_ERROR(wait_ms(reader, name, events, seen, 0, &news, &error), code, &error);
	REQUIRE(news.version == 77 && news.events == 78);
}

static const struct rgm_news nothing = {.size = sizeof nothing};

static void test_created(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	reader_open(&reader, instance, NULL);
	no_news(&reader, "data", RGM_NEWS_CREATED, &nothing, -ETIMEDOUT);
	no_news(&reader, "data", RGM_NEWS_CREATED, NULL, -ETIMEDOUT);
	no_news(&reader, "data", ALL, &nothing, -ETIMEDOUT);
	no_news(&reader, "data", RGM_NEWS_CHANGED, &nothing, RGM_ENODIM);
	no_news(&reader, "data", ALL & ~RGM_NEWS_CREATED, NULL, RGM_ENODIM);
	struct rgm_news news = look(&reader, "data", RGM_NEWS_VERSION, &nothing);
	REQUIRE_EQUAL(news.present, 0);
	no_news(&reader, "data", RGM_NEWS_VERSION, &news, -ETIMEDOUT);

	uint64_t version = instance_put(instance, &data, 1);
	news = look(&reader, "data", ALL, &news);
	REQUIRE_EQUAL(news.events, NEW);
	REQUIRE(news.present == 1 && news.dimension.id > 0);
	REQUIRE_EQUAL(news.dimension.kind, RGM_KIND_LAYERS);
	REQUIRE_EQUAL(strcmp(news.name, "data"), 0);
	REQUIRE(news.changed == version && news.version == version && news.generation == 1);
	struct rgm_dimension_row row;
	instance_show(instance, "data", &row);
	REQUIRE(news.dimension.id == row.id && news.region_bytes == row.region_bytes);
	no_news(&reader, "data", ALL | RGM_NEWS_VERSION, &news, -ETIMEDOUT);
	no_news(&reader, "data", ALL, NULL, -ETIMEDOUT);
	reader_close(&reader);
}

static void test_changed_and_grown(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	struct rgm_news first = look(&reader, "data", ALL, &nothing);

	uint64_t version = instance_put(instance, &data, 2);
	struct rgm_news news = look(&reader, "data", ALL, &first);
	REQUIRE_EQUAL(news.events, RGM_NEWS_CHANGED);
	REQUIRE(news.generation == 2 && news.changed == version);
	no_news(&reader, "data", ALL & ~RGM_NEWS_CHANGED, &first, -ETIMEDOUT);

	/* of another one: no news but of a version */
	instance_put(instance, &other, 1);
	instance_put(instance, &other, 2);
	no_news(&reader, "data", ALL, &news, -ETIMEDOUT);
	REQUIRE_EQUAL(
		look(&reader, "data", ALL | RGM_NEWS_VERSION, &news).events, RGM_NEWS_VERSION);

	version = instance_put(instance, &large, 3);
	struct rgm_news grown = look(&reader, "data", ALL, &news);
	REQUIRE_EQUAL(grown.events, RGM_NEWS_CHANGED | RGM_NEWS_GROWN);
	REQUIRE(grown.region_bytes > news.region_bytes && grown.changed == version);
	REQUIRE_EQUAL(look(&reader, "data", RGM_NEWS_GROWN, &first).events, RGM_NEWS_GROWN);
	/* it does not shrink, and there is room now */
	instance_put(instance, &data, 4);
	REQUIRE_EQUAL(look(&reader, "data", ALL, &grown).events, RGM_NEWS_CHANGED);
	/* what the caller knows it may have from its own sections */
	struct rgm_news by_hand = {.size = sizeof by_hand,
		.present = 1,
		.dimension = grown.dimension,
		.generation = grown.generation,
		.region_bytes = grown.region_bytes};
	REQUIRE_EQUAL(look(&reader, "data", ALL, &by_hand).events, RGM_NEWS_CHANGED);
	reader_close(&reader);
}

static void test_renamed(void **state)
{
	struct instance *instance = *state;
	const struct content moved = {"moved", 1, 4096, 71};
	struct reader reader;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	struct rgm_news first = look(&reader, "data", ALL, &nothing);
	instance_rename(instance, "data", "moved");
	struct rgm_news news = look(&reader, "data", ALL, &first);
	REQUIRE_EQUAL(news.events, RGM_NEWS_RENAMED);
	REQUIRE(news.present == 1 && news.dimension.id == first.dimension.id);
	REQUIRE_EQUAL(strcmp(news.name, "moved"), 0);
	/* told once; it is followed under its new name */
	no_news(&reader, "data", ALL, &news, -ETIMEDOUT);
	no_news(&reader, "data", RGM_NEWS_CHANGED, &first, -ETIMEDOUT);
	instance_put(instance, &moved, 2);
	struct rgm_news followed = look(&reader, "data", ALL, &news);
	REQUIRE_EQUAL(followed.events, RGM_NEWS_CHANGED);
	/* until another one has the name */
	instance_put(instance, &data, 1);
	struct rgm_news another = look(&reader, "data", ALL, &followed);
	REQUIRE_EQUAL(another.events, NEW);
	REQUIRE(another.dimension.id > first.dimension.id);
	REQUIRE_EQUAL(look(&reader, "data", ALL, &first).events, NEW | RGM_NEWS_RENAMED);
	instance_put(instance, &moved, 3);
	no_news(&reader, "data", ALL, &another, -ETIMEDOUT);
	/* who waited for the new name sees it created */
	REQUIRE_EQUAL(look(&reader, "moved", ALL, &nothing).events, NEW);
	reader_close(&reader);
}

static void test_dropped(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	struct rgm_news first = look(&reader, "data", ALL, &nothing);
	instance_drop(instance, "data");
	struct rgm_news news = look(&reader, "data", ALL, &first);
	REQUIRE_EQUAL(news.events, RGM_NEWS_DROPPED);
	REQUIRE(news.present == 0 && news.dimension.id == first.dimension.id);
	REQUIRE_EQUAL(news.generation, first.generation);
	/* nothing can come any more of what is asked for */
	no_news(&reader, "data", RGM_NEWS_CHANGED | RGM_NEWS_GROWN, &first, RGM_ENODIM);
	no_news(&reader, "data", RGM_NEWS_DROPPED, &news, RGM_ENODIM);
	no_news(&reader, "data", ALL, &news, -ETIMEDOUT);
	/* made anew under its place in the table: another one */
	instance_put(instance, &data, 1);
	struct rgm_news anew = look(&reader, "data", ALL, &news);
	REQUIRE_EQUAL(anew.events, NEW);
	REQUIRE(anew.dimension.id > first.dimension.id);
	REQUIRE_EQUAL(anew.dimension.index, first.dimension.index);
	REQUIRE_EQUAL(look(&reader, "data", ALL, &first).events, NEW | RGM_NEWS_DROPPED);
	REQUIRE_EQUAL(look(&reader, "data", RGM_NEWS_CHANGED, &first).events, RGM_NEWS_CHANGED);
	reader_close(&reader);
}

static void test_any(void **state)
{
	struct instance *instance = *state;
	const uint32_t any = ALL & ~(RGM_NEWS_GROWN | RGM_NEWS_RENAMED);
	struct reader reader;
	reader_open(&reader, instance, NULL);
	no_news(&reader, NULL, any, &nothing, -ETIMEDOUT);
	no_news(&reader, NULL, RGM_NEWS_GROWN, &nothing, -EINVAL);
	no_news(&reader, NULL, RGM_NEWS_RENAMED | RGM_NEWS_CHANGED, &nothing, -EINVAL);
	instance_put(instance, &data, 1);
	struct rgm_news news = look(&reader, NULL, any, &nothing), next;
	REQUIRE_EQUAL(news.events, RGM_NEWS_CREATED | RGM_NEWS_CHANGED);
	REQUIRE(news.present == 0 && news.newest > 0);
	no_news(&reader, NULL, any, &news, -ETIMEDOUT);
	no_news(&reader, NULL, any, NULL, -ETIMEDOUT);
	instance_put(instance, &data, 2);
	next = look(&reader, NULL, any, &news);
	REQUIRE_EQUAL(next.events, RGM_NEWS_CHANGED);
	instance_create(instance, "other");
	news = look(&reader, NULL, any, &next);
	REQUIRE_EQUAL(news.events, RGM_NEWS_CREATED | RGM_NEWS_CHANGED);
	REQUIRE(news.newest > next.newest);
	instance_rename(instance, "other", "another");
	no_news(&reader, NULL, any, &news, -ETIMEDOUT);
	REQUIRE_EQUAL(look(&reader, NULL, RGM_NEWS_VERSION, &news).events, RGM_NEWS_VERSION);
	instance_drop(instance, "another");
	next = look(&reader, NULL, any, &news);
	REQUIRE_EQUAL(next.events, RGM_NEWS_DROPPED);
	no_news(&reader, NULL, any, &next, -ETIMEDOUT);
	reader_close(&reader);
}

static void test_arguments(void **state)
{
	struct instance *instance = *state;
	struct reader reader;
	struct rgm_error error;
	struct rgm_news bad = {0}, small = {0};
	instance_put(instance, &data, 1);
	reader_open(&reader, instance, NULL);
	no_news(&reader, "data", 0, &nothing, -EINVAL);
	no_news(&reader, "data", 64, &nothing, -EINVAL);
	no_news(&reader, "da/ta", ALL, &nothing, RGM_ENAME);
	no_news(&reader, "data", ALL, &bad, -EINVAL);
	REQUIRE_ERROR(wait_ms(&reader, "data", ALL, &nothing, 0, &bad, &error), -EINVAL, &error);
	struct rgm_wait_options options = {.events = ALL, .name = "data"};
	REQUIRE_ERROR(rgm_wait_for(reader.session, &options, &small, &error), -EINVAL, &error);
	/* of a caller that knows the first fields only */
	small.size = offsetof(struct rgm_news, dimension);
	must(wait_ms(&reader, "data", ALL, &small, 0, &small, &error), &error);
	REQUIRE(small.events == NEW && small.present == 1);
	REQUIRE(small.dimension.id == 0 && small.generation == 0 && small.name[0] == 0);
	/* a place in the table that was never there */
	struct rgm_news wild = {
		.size = sizeof wild, .present = 1, .dimension = {999, UINT32_MAX, 1}};
	REQUIRE_EQUAL(look(&reader, "data", ALL, &wild).events, NEW | RGM_NEWS_DROPPED);
	reader_close(&reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		INSTANCE_TEST(test_created),
		INSTANCE_TEST(test_changed_and_grown),
		INSTANCE_TEST(test_renamed),
		INSTANCE_TEST(test_dropped),
		INSTANCE_TEST(test_any),
		INSTANCE_TEST(test_arguments),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
