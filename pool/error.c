/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling a struct rgm_error: the sentence is composed aside and copied last, so that the old one
 * may be among the arguments.
 */
#include "pool/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Drop a last UTF-8 sequence that the end of the buffer cut short. */
static size_t whole_characters(const char *text, size_t length)
{
	size_t start = length;

	while (start > 0 && length - start < 4 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start > 0 && (unsigned char)text[start - 1] >= 0xc0)
		return start - 1;
	return length;
}

/* Make one line of at most `size` bytes, NUL included, of what vsnprintf() left in it. */
static void finish(char *text, size_t size, bool cut)
{
	static const char ellipsis[] = "...";

	if (cut)
		memcpy(text + whole_characters(text, size - sizeof(ellipsis)), ellipsis,
			sizeof(ellipsis));
	for (char *at = text; *at != '\0'; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
}

static void set(
	struct rgm_error *error, int code, const char *words, const char *format, va_list arguments)
{
	char text[sizeof(error->message)];
	int length = vsnprintf(text, sizeof(text), format, arguments);
	bool cut;

	if (length < 0) {
		text[0] = '\0';
		length = 0;
	}
	cut = (size_t)length >= sizeof(text);
	if (!cut && words != NULL) {
		int more = snprintf(text + length, sizeof(text) - (size_t)length, ": %s", words);

		cut = more < 0 || (size_t)length + (size_t)more >= sizeof(text);
	}
	finish(text, sizeof(text), cut);
	error->code = code;
	memcpy(error->message, text, sizeof(text));
	error->hint[0] = '\0';
}

int pool_fail(struct rgm_error *error, int code, const char *format, ...)
{
	va_list arguments;

	if (error == NULL)
		return code;
	va_start(arguments, format);
	set(error, code, NULL, format, arguments);
	va_end(arguments);
	return code;
}

int pool_fail_errno(struct rgm_error *error, const char *format, ...)
{
	/* A caller that fails with errno 0 has a bug; success is the one thing not to report. */
	int code = errno > 0 ? -errno : -EIO;
	va_list arguments;

	if (error == NULL)
		return code;
	va_start(arguments, format);
	set(error, code, rgm_error_text(code), format, arguments);
	va_end(arguments);
	return code;
}

int pool_fail_code(struct rgm_error *error, int code, const char *format, ...)
{
	va_list arguments;

	if (error == NULL)
		return code;
	va_start(arguments, format);
	set(error, code, rgm_error_text(code), format, arguments);
	va_end(arguments);
	return code;
}

void pool_hint(struct rgm_error *error, const char *format, ...)
{
	char text[sizeof(error->hint)];
	va_list arguments;
	int length;

	if (error == NULL)
		return;
	va_start(arguments, format);
	length = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (length < 0)
		text[0] = '\0';
	finish(text, sizeof(text), length >= 0 && (size_t)length >= sizeof(text));
	memcpy(error->hint, text, sizeof(text));
}

int pool_options(void *own, size_t own_bytes, const void *given, struct rgm_error *error)
{
	size_t size;

	if (!given)
		return 0;
	memcpy(&size, given, sizeof(size));
	if (size < sizeof(size))
		return pool_fail(
			error, -EINVAL, "the options' size is %zu: set it to their sizeof", size);
	memcpy(own, given, size < own_bytes ? size : own_bytes);
	return 0;
}

int pool_result(void *result, const void *own, size_t own_bytes, struct rgm_error *error)
{
	size_t size;

	memcpy(&size, result, sizeof(size));
	if (size < sizeof(size))
		return pool_fail(
			error, -EINVAL, "the result's size is %zu: set it to its sizeof", size);
	memcpy((char *)result + sizeof(size), (const char *)own + sizeof(size),
		(size < own_bytes ? size : own_bytes) - sizeof(size));
	return 0;
}
