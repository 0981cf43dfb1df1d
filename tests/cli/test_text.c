/* SPDX-License-Identifier: Apache-2.0 */
/* Units, distances, escapes: the small parts of the command line. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "regionmgr/cli/args.h"
#include "regionmgr/cli/fail.h"
#include "regionmgr/cli/json.h"
#include "regionmgr/cli/nearest.h"
#include "regionmgr/cli/text.h"
#include "regionmgr/cli/units.h"

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"4096", 4096},
		{"1B", 1},
		{"64K", 65536},
		{"64k", 65536},
		{"64M", 64u << 20},
		{"64MiB", 64u << 20},
		{"64MB", 64000000},
		{"1GiB", 1u << 30},
		{"1.5G", 1610612736},
		{"0.5K", 512},
		{"16GiB", 16ull << 30},
		{"1T", 1ull << 40},
		{"15E", 15ull << 60},
		{"18446744073709551615", UINT64_MAX},
	};
	static const char *const bad[] = {"", "K", "-1", "1.5", "1..5K", "1KK", "1KiBs", "16E",
		"18446744073709551616", "0x10", "1 K", " 1", "1e3", "."};
	uint64_t bytes;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		bytes = 77;
		assert_true(units_size(good[i].text, &bytes));
		assert_true(bytes == good[i].bytes);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		bytes = 77;
		assert_false(units_size(bad[i], &bytes));
		assert_true(bytes == 77);
	}
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {{"1", 1000}, {"1s", 1000}, {"500ms", 500}, {"0.5s", 500}, {"2m", 120000},
		{"1.5h", 5400000}, {"0.001", 1}};
	static const char *const bad[] = {"", "s", "1x", "-1s", "1 s", "0.5ms"};
	uint64_t ms = 0;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_true(units_duration(good[i].text, &ms));
		assert_true(ms == good[i].ms);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(units_duration(bad[i], &ms));
}

static void test_principals(void **state)
{
	struct rgm_principal who = {0, 0};
	struct rgm_error error;

	(void)state;
	assert_int_equal(units_principal("user:root", &who, &error), 0);
	assert_true(who.type == 'u' && who.id == 0);
	assert_int_equal(units_principal("group:1234", &who, &error), 0);
	assert_true(who.type == 'g' && who.id == 1234);
	assert_int_equal(units_principal("root", &who, &error), CLI_USAGE);
	assert_int_equal(units_principal("user:", &who, &error), CLI_USAGE);
	assert_int_equal(units_principal("user:no-such-user-here", &who, &error), CLI_USAGE);
	assert_non_null(strstr(error.message, "no-such-user-here"));
	assert_int_equal(units_principal("user:4294967295", &who, &error), CLI_USAGE);
	assert_true(who.type == 'g' && who.id == 1234);
}

static void test_distance(void **state)
{
	static const struct {
		const char *a, *b;
		size_t distance;
	} pairs[] = {
		{"list", "list", 0},
		{"lst", "list", 1},
		{"lits", "list", 1},
		{"lisst", "list", 1},
		{"lict", "list", 1},
		{"tsil", "list", 3},
		{"flihgts", "flights", 1},
		{"ca", "abc", 3},
		{"abcd", "badc", 2},
		{"", "ab", 2},
		{"", "abc", 3},
		{"status", "stats", 1},
		{"kitten", "sitting", 3},
	};
	char huge[300];

	(void)state;
	for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
		assert_int_equal(nearest_distance(pairs[i].a, pairs[i].b), pairs[i].distance);
		assert_int_equal(nearest_distance(pairs[i].b, pairs[i].a), pairs[i].distance);
	}
	memset(huge, 'x', sizeof huge - 1);
	huge[sizeof huge - 1] = '\0';
	assert_int_equal(nearest_distance(huge, huge), NEAREST_LIMIT + 1);
}

static void test_nearest(void **state)
{
	struct nearest nearest;

	(void)state;
	nearest_begin(&nearest, "staus");
	nearest_offer(&nearest, "stats");
	nearest_offer(&nearest, "status");
	nearest_offer(&nearest, "list");
	assert_true(nearest_found(&nearest));
	assert_string_equal(nearest.best, "stats");
	nearest_begin(&nearest, "zz");
	nearest_offer(&nearest, "ab");
	assert_false(nearest_found(&nearest));
}

static void check_escape(const char *text, size_t length, enum text_form form, const char *expected)
{
	char escaped[256];

	assert_int_equal(
		text_escape(escaped, sizeof escaped, text, length, form), strlen(expected));
	assert_string_equal(escaped, expected);
}

static void test_escape(void **state)
{
	(void)state;
	check_escape("plain", 5, TEXT_TTY, "plain");
	check_escape("a\033[2Jb", 6, TEXT_TTY, "a\\x1b[2Jb");
	check_escape("a\033[2Jb", 6, TEXT_PIPE, "a\\x1b[2Jb");
	check_escape("t\tn\nb\\", 6, TEXT_PIPE, "t\\tn\\nb\\\\");
	check_escape("t\tn\nb\\", 6, TEXT_TTY, "t\\x09n\\x0ab\\");
	check_escape("\xc3\xa4\xff", 3, TEXT_TTY, "\xc3\xa4\\xff");
	check_escape("\xc3\xa4\xff", 3, TEXT_PIPE, "\xc3\xa4\xff");
	/* a control character of two bytes, and one that turns the direction of what follows */
	check_escape("\xc2\x9b", 2, TEXT_TTY, "\\u{9b}");
	check_escape("\xe2\x80\xae", 3, TEXT_TTY, "\\u{202e}");
	/* overlong, surrogate, cut short */
	check_escape("\xc0\xaf", 2, TEXT_TTY, "\\xc0\\xaf");
	check_escape("\xed\xa0\x80", 3, TEXT_TTY, "\\xed\\xa0\\x80");
	check_escape("\xe2\x80", 2, TEXT_TTY, "\\xe2\\x80");
}

static void test_escape_fits(void **state)
{
	char small[5];

	(void)state;
	assert_int_equal(text_escape(small, sizeof small, "ab\033", 3, TEXT_TTY), 2);
	assert_string_equal(small, "ab");
}

static void test_json_strings(void **state)
{
	static const struct {
		const char *text, *json;
	} cases[] = {
		{"plain", "\"plain\""},
		{"q\"b\\", "\"q\\\"b\\\\\""},
		{"\033\n", "\"\\u001b\\u000a\""},
		{"\xc3\xa4", "\"\xc3\xa4\""},
		{"\xff\x80", "\"\\udcff\\udc80\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		cJSON *item = json_string(cases[i].text, strlen(cases[i].text));
		char *text = cJSON_PrintUnformatted(item);

		assert_string_equal(text, cases[i].json);
		free(text);
		cJSON_Delete(item);
	}
}

static void test_json_numbers(void **state)
{
	cJSON *object = cJSON_CreateObject();
	char *text;

	(void)state;
	json_unsigned(object, "u", UINT64_MAX);
	json_number(object, "s", INT64_MIN);
	text = cJSON_PrintUnformatted(object);
	assert_string_equal(text, "{\"u\":18446744073709551615,\"s\":-9223372036854775808}");
	free(text);
	cJSON_Delete(object);
}

static void test_numbers_for_people(void **state)
{
	char text[TEXT_NUMBER_BYTES];

	(void)state;
	text_bytes(text, 0);
	assert_string_equal(text, "0 B");
	text_bytes(text, 1023);
	assert_string_equal(text, "1023 B");
	text_bytes(text, 1048575);
	assert_string_equal(text, "1.0 MiB");
	text_bytes(text, UINT64_MAX);
	assert_string_equal(text, "16.0 EiB");
	text_duration(text, 999);
	assert_string_equal(text, "999 ns");
	text_duration(text, 192u * 1000000000ull);
	assert_string_equal(text, "3m12s");
	text_duration(text, 100ull * 3600 * 1000000000ull);
	assert_string_equal(text, "4d04h");
	text_time_utc(text, 1795357200123000000ull);
	assert_string_equal(text, "2026-11-22T14:20:00.123Z");
}

static const struct option_spec specs[] = {
	{"output", "FILE", "", OPTION_TEXT, 'o'},
	{"max", "SIZE", "", OPTION_SIZE, 0},
	{"watch", "TIME", "", OPTION_EVERY, 0},
	{"allow", "WHO", "", OPTION_LIST, 0},
	{"quiet", NULL, "", OPTION_FLAG, 'q'},
	{"kind", "red|green", "", OPTION_CHOICE, 0},
	{NULL, NULL, NULL, OPTION_FLAG, 0},
};

/* Reads a line of words; the last argument is NULL. */
static int read_line(struct args *args, const char **words, struct rgm_error *error, ...)
{
	char *argv[16] = {NULL};
	int argc = 1, next = 0;
	va_list list;

	va_start(list, error);
	while ((argv[argc] = va_arg(list, char *)) != NULL)
		argc++;
	va_end(list);
	memset(args, 0, sizeof *args);
	args->program = "tool";
	args->globals.specs = specs;
	args->words = words;
	return args_read(args, argc, argv, 1, false, &next, error);
}

static void test_args(void **state)
{
	const char *words[16];
	struct rgm_error error;
	struct args args;

	(void)state;
	assert_int_equal(read_line(&args, words, &error, "a", "--max", "1K", "-ox", "--", "--max",
				 "-", "--allow", NULL),
		0);
	assert_int_equal(args.word_count, 4);
	assert_string_equal(words[0], "a");
	assert_string_equal(words[1], "--max");
	assert_string_equal(words[2], "-");
	assert_true(args_global(&args, "max")->number == 1024);
	assert_string_equal(args_global(&args, "output")->text, "x");
	assert_int_equal(read_line(&args, words, &error, "--watch", "5", "--allow=a", "--allow",
				 "b", "-q", NULL),
		0);
	assert_true(args_global(&args, "watch")->number == 1000);
	assert_int_equal(args.word_count, 1);
	assert_int_equal(args_global(&args, "allow")->list_count, 2);
	assert_true(args_global(&args, "quiet")->given);
	assert_int_equal(read_line(&args, words, &error, "--watch=250ms", NULL), 0);
	assert_true(args_global(&args, "watch")->number == 250);
}

static void test_bad_args(void **state)
{
	const char *words[16];
	struct rgm_error error;
	struct args args;

	(void)state;
	assert_int_equal(read_line(&args, words, &error, "--mxa", "1", NULL), CLI_USAGE);
	assert_string_equal(error.hint, "did you mean '--max'?");
	assert_int_equal(read_line(&args, words, &error, "--max", NULL), CLI_USAGE);
	assert_int_equal(read_line(&args, words, &error, "--max", "much", NULL), CLI_USAGE);
	assert_int_equal(read_line(&args, words, &error, "--quiet=yes", NULL), CLI_USAGE);
	assert_int_equal(read_line(&args, words, &error, "--kind", "gren", NULL), CLI_USAGE);
	assert_string_equal(error.hint, "did you mean 'green'?");
	assert_int_equal(read_line(&args, words, &error, "--kind", "re", NULL), CLI_USAGE);
	assert_int_equal(read_line(&args, words, &error, "--kind", "red|green", NULL), CLI_USAGE);
	assert_int_equal(read_line(&args, words, &error, "--q", NULL), CLI_USAGE);
	assert_int_equal(read_line(&args, words, &error, "-x", NULL), CLI_USAGE);
	assert_int_equal(read_line(&args, words, &error, "--watch=0", NULL), CLI_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_principals),
		cmocka_unit_test(test_distance),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_escape_fits),
		cmocka_unit_test(test_json_strings),
		cmocka_unit_test(test_json_numbers),
		cmocka_unit_test(test_numbers_for_people),
		cmocka_unit_test(test_args),
		cmocka_unit_test(test_bad_args),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
