/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/cli/units.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <strings.h>

#include "regionmgr/cli/fail.h"

/* Digits with at most one point, as a whole number of `unit`s: 1.5 with unit 1024 is 1536. Exact, and
 * false when it overflows or digits remain below one. */
static bool scaled(const char *text, size_t length, uint64_t unit, uint64_t *ret_number)
{
	uint64_t whole = 0, part = 0, scale = 1;
	size_t i, digits = 0;
	bool point = false;

	for (i = 0; i < length; i++) {
		uint64_t digit = (uint64_t)(text[i] - '0');

		if (text[i] == '.' && !point) {
			point = true;
			continue;
		}
		if (text[i] < '0' || text[i] > '9')
			return false;
		digits++;
		if (!point) {
			if (__builtin_mul_overflow(whole, 10u, &whole) ||
				__builtin_add_overflow(whole, digit, &whole))
				return false;
		} else {
			if (scale >= 1000000)
				return false;
			scale *= 10;
			part = part * 10 + digit;
		}
	}
	if (digits == 0 || __builtin_mul_overflow(whole, unit, &whole))
		return false;
	if (part != 0 && unit == 1)
		return false;
	part = (uint64_t)((unsigned __int128)part * unit / scale);
	if (__builtin_add_overflow(whole, part, &whole))
		return false;
	*ret_number = whole;
	return true;
}

static size_t number_length(const char *text)
{
	return strspn(text, "0123456789.");
}

bool units_size(const char *text, uint64_t *ret_bytes)
{
	static const char letters[] = "KMGTPE";
	size_t length = number_length(text), power;
	const char *unit = text + length;
	uint64_t base = 1024, factor = 1;
	const char *at;

	if (*unit == '\0' || strcasecmp(unit, "B") == 0)
		return scaled(text, length, 1, ret_bytes);
	at = strchr(letters, toupper((unsigned char)*unit));
	if (at == NULL)
		return false;
	if (strcasecmp(unit + 1, "B") == 0)
		base = 1000;
	else if (unit[1] != '\0' && strcasecmp(unit + 1, "iB") != 0 &&
		 strcasecmp(unit + 1, "i") != 0)
		return false;
	for (power = 0; power <= (size_t)(at - letters); power++)
		factor *= base;
	return scaled(text, length, factor, ret_bytes);
}

bool units_count(const char *text, uint64_t *ret_count)
{
	return strchr(text, '.') == NULL && scaled(text, strlen(text), 1, ret_count);
}

bool units_duration(const char *text, uint64_t *ret_ms)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {
		{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60000}, {"min", 60000}, {"h", 3600000}};
	size_t length = number_length(text), i;

	for (i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (strcmp(text + length, units[i].name) == 0)
			return scaled(text, length, units[i].ms, ret_ms);
	}
	return false;
}

int units_principal(const char *text, struct rgm_principal *ret_principal, struct rgm_error *error)
{
	bool user = strncmp(text, "user:", 5) == 0, group = strncmp(text, "group:", 6) == 0;
	const char *name = strchr(text, ':');
	uint64_t id = 0;

	if ((!user && !group) || name[1] == '\0') {
		pool_fail(error, CLI_USAGE, "'%s' is neither user:NAME nor group:NAME", text);
		return cli_hint(error, "for example --allow user:www-data");
	}
	name++;
	if (!units_count(name, &id)) {
		struct passwd *entry = user ? getpwnam(name) : NULL;
		struct group *member = group ? getgrnam(name) : NULL;

		if (entry == NULL && member == NULL)
			return pool_fail(error, CLI_USAGE, "there is no %s '%s' on this system",
				user ? "user" : "group", name);
		id = entry != NULL ? entry->pw_uid : member->gr_gid;
	}
	if (id >= UINT32_MAX)
		return pool_fail(
			error, CLI_USAGE, "'%s' is not a %s id", name, user ? "user" : "group");
	ret_principal->type = user ? 'u' : 'g';
	ret_principal->id = (uint32_t)id;
	return 0;
}
