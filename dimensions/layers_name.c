/* SPDX-License-Identifier: Apache-2.0 */
#include "dimensions/layers_name.h"

#include <stdio.h>
#include <string.h>

#include "dimensions/layers.h"
#include "pool/error.h"

const char *layers_name_fault(const char *name, size_t name_length)
{
	const char *end = name + name_length;

	if (name_length == 0)
		return "it is empty";
	if (name_length > RGM_LAYER_NAME_MAX)
		return "it is longer than 4095 bytes";
	if (memchr(name, '\0', name_length))
		return "it contains a NUL byte";
	if (name[0] == '/')
		return "it begins with '/'";
	for (const char *part = name;;) {
		const char *slash = memchr(part, '/', (size_t)(end - part));
		size_t length = (size_t)((slash ? slash : end) - part);

		if (length == 0)
			return "it has an empty part";
		if (part[0] == '.' && (length == 1 || (length == 2 && part[1] == '.')))
			return "it has a '.' or '..' part";
		if (!slash)
			return NULL;
		part = slash + 1;
	}
}

bool layers_media_valid(const char *media, size_t media_length)
{
	return media_length > 0 && media_length <= RGM_MEDIA_TYPE_MAX &&
	       !memchr(media, '\0', media_length);
}

const char *layers_name_shown(char shown[LAYERS_SHOWN_BYTES], const char *name, size_t name_length)
{
	size_t used = 0;

	for (size_t i = 0; i < name_length; i++) {
		unsigned char byte = (unsigned char)name[i];
		bool plain = byte >= ' ' && byte < 127;

		/* Room for this byte, and for the dots and the NUL behind it. */
		if (used + (plain ? 1 : 4) + 4 > LAYERS_SHOWN_BYTES) {
			memcpy(shown + used, "...", 3);
			used += 3;
			break;
		}
		if (plain)
			shown[used++] = (char)byte;
		else
			used += (size_t)snprintf(
				shown + used, LAYERS_SHOWN_BYTES - used, "\\x%02x", byte);
	}
	shown[used] = '\0';
	return shown;
}

int layers_check_name(const char *name, size_t name_length, struct rgm_error *error)
{
	char shown[LAYERS_SHOWN_BYTES];
	const char *fault = layers_name_fault(name, name_length);

	if (!fault)
		return 0;
	return pool_fail(error, RGM_ENAME, "layer name '%s' is not allowed: %s",
		layers_name_shown(shown, name, name_length), fault);
}
