/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of names and media types, and names in sentences. */
#ifndef DIMENSIONS_LAYERS_NAME_H
#define DIMENSIONS_LAYERS_NAME_H

#include <stdbool.h>
#include <stddef.h>

/* The rule that a name breaks, or NULL. */
const char *layers_name_fault(const char *name, size_t name_length);
bool layers_media_valid(const char *media, size_t media_length);

#define LAYERS_SHOWN_BYTES 132
/* A name as a sentence shows it: bytes beyond printable ASCII as \xNN, cut with "..." when long. */
const char *layers_name_shown(char shown[LAYERS_SHOWN_BYTES], const char *name, size_t name_length);

#endif
