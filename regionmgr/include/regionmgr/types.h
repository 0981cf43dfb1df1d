/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file types.h
 * The few types and limits that every public header shares.
 *
 * All of regionmgr's public functions follow one shape: they return 0 or a negative code (see
 * error.h), results come last in parameters called `ret_…` that stay untouched on failure, and the
 * last parameter is an optional `struct rgm_error *`. Units end a name: `_bytes`, `_ms`, `_ns`.
 * The libraries never print, never exit, and never install a signal handler unless asked to.
 */
#ifndef REGIONMGR_TYPES_H
#define REGIONMGR_TYPES_H

#include <stddef.h>
#include <stdint.h>

#define RGM_VERSION_MAJOR 0
#define RGM_VERSION_MINOR 1
#define RGM_VERSION_PATCH 0
#define RGM_VERSION       "0.1.0"

#if defined(__GNUC__)
#define RGM_API __attribute__((visibility("default")))
#else
#define RGM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Longest name of an instance or a dimension, in bytes: `[A-Za-z0-9._-]{1,64}`, not `.` or `..`. */
#define RGM_NAME_MAX 64
/** Longest name of a layer, in bytes: relative, `/` allowed, no empty, `.` or `..` part, no NUL. */
#define RGM_LAYER_NAME_MAX 4095
/** Longest media type of a layer, in bytes. */
#define RGM_MEDIA_TYPE_MAX 255
/** The unit of space in a region, in bytes. Layers begin on such a boundary. */
#define RGM_PAGE_BYTES 4096
/** The unit by which a region file grows, in bytes. */
#define RGM_EXTENT_BYTES (2u << 20)

/** Kinds of dimension. The number is part of the file format. */
enum rgm_kind {
	RGM_KIND_LAYERS = 1, /**< named blobs, each replaced atomically: layers.h */
};

/**
 * Bytes in place: a pointer into the mapping and a size in bytes. Valid until the section it was
 * obtained in ends (rgm_unpin()) or, when obtained through a hold, until the hold is released.
 */
struct rgm_span {
	const void *data;
	size_t size;
};

/** The library's version, e.g. "0.1.0": the one that runs, not the one compiled against. */
RGM_API const char *rgm_version(void);

#ifdef __cplusplus
}
#endif
#endif
