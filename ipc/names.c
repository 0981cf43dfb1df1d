/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of things: which are allowed, where an instance lives, what its shared memory is called,
 * and texts of fixed size in messages. Nothing here asks a manager or makes anything.
 */
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/socket.h"
#include "pool/error.h"

#define SOCKET_FILE "control.sock"

static bool name_byte(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
	       (byte >= '0' && byte <= '9') || byte == '.' || byte == '_' || byte == '-';
}

int ipc_check_name(const char *what, const char *name, struct rgm_error *error)
{
	if (name == NULL || name[0] == '\0')
		return pool_fail(error, RGM_ENAME, "%s name is empty", what);
	size_t length = strnlen(name, 4096);
	if (length > RGM_NAME_MAX)
		return pool_fail(error, RGM_ENAME,
			"%s name '%.16s...' is too long: at most %d bytes", what, name,
			RGM_NAME_MAX);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return pool_fail(error, RGM_ENAME, "%s name '%s' means a folder", what, name);
	for (size_t i = 0; i < length; i++)
		if (!name_byte(name[i]))
			return pool_fail(error, RGM_ENAME,
				"%s name '%s': only letters, digits, '.', '_' and '-' are allowed",
				what, name);
	return 0;
}

const char *ipc_instance_name(const char *instance)
{
	if (instance != NULL)
		return instance;
	const char *named = getenv("REGIONMGR_INSTANCE");
	return named != NULL && named[0] != '\0' ? named : "default";
}

/* A variable that holds an absolute path; others are ignored, as the XDG specification demands. */
static const char *absolute_variable(const char *name)
{
	const char *value = getenv(name);
	return value != NULL && value[0] == '/' ? value : NULL;
}

/* $REGIONMGR_DIR; NULL if it is not set. */
static const char *folder_variable(void)
{
	const char *folder = getenv("REGIONMGR_DIR");
	return folder != NULL && folder[0] != '\0' ? folder : NULL;
}

__attribute__((format(printf, 4, 5))) static int put_path(
	char *ret_path, size_t path_bytes, struct rgm_error *error, const char *format, ...)
{
	char path[4096];
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(path, sizeof path, format, arguments);
	va_end(arguments);
	if (length < 0 || (size_t)length >= sizeof path || (size_t)length >= path_bytes)
		return pool_fail(error, -ENAMETOOLONG,
			"path '%.60s...' is too long: at most %zu bytes", path, path_bytes - 1);
	memcpy(ret_path, path, (size_t)length + 1);
	return 0;
}

/* ${XDG_STATE_HOME:-~/.local/state}/regionmgr/<instance> */
static int user_folder(
	const char *instance, char *ret_path, size_t path_bytes, struct rgm_error *error)
{
	const char *state = absolute_variable("XDG_STATE_HOME");
	if (state != NULL)
		return put_path(ret_path, path_bytes, error, "%s/regionmgr/%s", state, instance);

	char buffer[4096];
	struct passwd entry, *found = NULL;
	const char *home = absolute_variable("HOME");
	if (home == NULL && getpwuid_r(geteuid(), &entry, buffer, sizeof buffer, &found) == 0 &&
		found != NULL && found->pw_dir[0] == '/')
		home = found->pw_dir;
	if (home == NULL) {
		int rc = pool_fail(error, -ENOENT,
			"no folder for instance '%s': HOME is not set and user %u has no home "
			"folder",
			instance, (unsigned)geteuid());
		pool_hint(error, "name one with --dir or REGIONMGR_DIR");
		return rc;
	}
	return put_path(
		ret_path, path_bytes, error, "%s/.local/state/regionmgr/%s", home, instance);
}

int ipc_folder_path(
	const char *instance, char *ret_path, size_t path_bytes, struct rgm_error *error)
{
	instance = ipc_instance_name(instance);
	int rc = ipc_check_name("instance", instance, error);
	if (rc != 0)
		return rc;
	const char *folder = folder_variable();
	if (folder != NULL)
		return put_path(ret_path, path_bytes, error, "%s", folder);
	if (geteuid() == 0)
		return put_path(ret_path, path_bytes, error, "/var/lib/regionmgr/%s", instance);
	return user_folder(instance, ret_path, path_bytes, error);
}

int ipc_check_socket_path(const char *path, struct rgm_error *error)
{
	size_t length = strnlen(path, 4096);
	int rc = 0;
	if (length == 0)
		return pool_fail(error, -EINVAL, "the path of the socket is empty");
	if (length > IPC_SOCKET_PATH_MAX) {
		rc = pool_fail(error, -ENAMETOOLONG,
			"the socket's path '%.160s' has %zu bytes: at most %u fit into an address",
			path, length, IPC_SOCKET_PATH_MAX);
		pool_hint(error, "name a shorter one with --socket");
	}
	return rc;
}

int ipc_socket_path(const char *instance, const char *folder, char *ret_path, size_t path_bytes,
	struct rgm_error *error)
{
	instance = ipc_instance_name(instance);
	int rc = ipc_check_name("instance", instance, error);
	if (rc != 0)
		return rc;
	if (folder == NULL)
		folder = folder_variable();

	char path[4096], state[4096];
	const char *run = absolute_variable("XDG_RUNTIME_DIR");
	if (folder != NULL) {
		size_t length = strnlen(folder, sizeof path);
		const char *slash = length > 0 && folder[length - 1] == '/' ? "" : "/";
		rc = put_path(path, sizeof path, error, "%s%s" SOCKET_FILE, folder, slash);
	} else if (geteuid() == 0) {
		rc = put_path(path, sizeof path, error, "/run/regionmgr/%s/" SOCKET_FILE, instance);
	} else if (run != NULL) {
		rc = put_path(
			path, sizeof path, error, "%s/regionmgr/%s/" SOCKET_FILE, run, instance);
	} else {
		rc = user_folder(instance, state, sizeof state, error);
		if (rc == 0)
			rc = put_path(path, sizeof path, error, "%s/" SOCKET_FILE, state);
	}
	if (rc == 0)
		rc = ipc_check_socket_path(path, error);
	if (rc == 0)
		rc = put_path(ret_path, path_bytes, error, "%s", path);
	return rc;
}

/* "/regionmgr.", then the id in hexadecimal digits. Returns the length. */
static size_t instance_prefix(const uint8_t *instance_id, char *ret_name)
{
	static const char prefix[] = "/regionmgr.", digits[] = "0123456789abcdef";
	size_t length = sizeof prefix - 1;
	memcpy(ret_name, prefix, length);
	for (size_t i = 0; i < 16; i++) {
		ret_name[length++] = digits[instance_id[i] >> 4];
		ret_name[length++] = digits[instance_id[i] & 15];
	}
	return length;
}

void ipc_table_name(const uint8_t *instance_id, char *ret_name)
{
	size_t length = instance_prefix(instance_id, ret_name);
	memcpy(ret_name + length, ".table", sizeof ".table");
}

void ipc_segment_name(const uint8_t *instance_id, uint64_t session, char *ret_name)
{
	size_t length = instance_prefix(instance_id, ret_name);
	snprintf(ret_name + length, IPC_SHM_NAME_BYTES - length, ".s.%llu",
		(unsigned long long)session);
}

void ipc_book_name(const uint8_t *instance_id, char *ret_name)
{
	size_t length = instance_prefix(instance_id, ret_name);
	memcpy(ret_name + length, ".book", sizeof ".book");
}

void ipc_live_name(const uint8_t *instance_id, uint64_t dimension, char *ret_name)
{
	size_t length = instance_prefix(instance_id, ret_name);
	snprintf(ret_name + length, IPC_SHM_NAME_BYTES - length, ".r.%llu",
		(unsigned long long)dimension);
}

size_t ipc_name_prefix(const uint8_t *instance_id, char *ret_name)
{
	size_t length = instance_prefix(instance_id, ret_name);
	memcpy(ret_name + length, ".", sizeof ".");
	return length + 1;
}

void ipc_text_put(char *field, size_t field_bytes, const char *text)
{
	size_t length = text != NULL ? strnlen(text, field_bytes) : 0;
	memcpy(field, text != NULL ? text : "", length);
	memset(field + length, 0, field_bytes - length);
}

void ipc_text_get(char *ret_text, size_t text_bytes, const char *field, size_t field_bytes)
{
	size_t length = strnlen(field, field_bytes);
	if (length >= text_bytes)
		length = text_bytes - 1;
	memcpy(ret_text, field, length);
	ret_text[length] = '\0';
}
