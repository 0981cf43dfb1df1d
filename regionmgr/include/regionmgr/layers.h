/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file layers.h
 * The kind `layers`: named blobs, each at a page-aligned offset of the region with a crc32c, a size
 * and a time, in the byte order of their names. A view is a value on the caller's stack; opening,
 * looking up and stepping copy nothing, allocate nothing and make no system call.
 *
 * Checksums are CRC-32C (Castagnoli, polynomial 0x1EDC6F41, reflected, initial value and final xor
 * 0xFFFFFFFF), as in RFC 3720 appendix B.4.
 */
#ifndef REGIONMGR_LAYERS_H
#define REGIONMGR_LAYERS_H

#include <regionmgr/session.h>

#ifdef __cplusplus
extern "C" {
#else
#include <stdbool.h>
#endif

/** A view of a layers dimension at one version, with a position. Fields are private; this is part of
 * layout 1 (inline.h). All zeros is a view of nothing, which rgm_layers_refresh() says. */
struct rgm_layers {
	uint64_t version;
	const struct rgm_slot
		*slot;    /* it was opened with; NULL: not to be refreshed without a look-up */
	const void *leaf; /* the leaf block at the position; NULL: not looked at yet */
	uint32_t leaf_index;
	uint32_t entry;
	size_t prefix_length;
	const char *prefix; /* stays the caller's */
	const void *base;   /* the region's mapping */
	const void *root;   /* the directory's root block in it */
	uint64_t bytes;     /* the view does not lead beyond these */
	uint64_t dimension; /* its identity */
	uint32_t index;
	uint32_t reserved;
};

/** One layer as a view sees it. Pointers lead into the mapping and live as long as the view. */
struct rgm_layer {
	const char *name;     /**< NUL-terminated */
	size_t name_length;   /**< in bytes, without the NUL */
	struct rgm_span data; /**< the bytes; data is page-aligned; NULL when size is 0 */
	uint32_t crc32c;      /**< of the bytes */
	uint64_t time_ns;     /**< modification time of the source, ns since 1970, or of the load */
	uint64_t version;     /**< the version in which these bytes were published */
	const char *media_type; /**< NUL-terminated, or NULL */
};

/**
 * View a dimension inside a section. The view ends with the section. No byte of the region is touched
 * before the first step or look-up in the view.
 * Errors: #RGM_ENODIM, #RGM_EAGAIN (rgm_map() it first, outside the section), #RGM_EKIND, #RGM_EREVOKED
 * (the manager took the section's version back), #RGM_EIO (damaged, with #RGM_ATTACH_GUARD_SIGBUS),
 * #RGM_EFORKED, -EINVAL (outside a section).
 */
RGM_API int rgm_layers_open(struct rgm_slot *slot, const char *name, struct rgm_layers *ret_layers,
	struct rgm_error *error);

/** rgm_layers_open() by a cached identity: #RGM_ENODIM when it was dropped. */
RGM_API int rgm_layers_open_dimension(struct rgm_slot *slot, const struct rgm_dimension *dimension,
	struct rgm_layers *ret_layers, struct rgm_error *error);

/**
 * Make a view that was opened in an earlier section good in this one: the same dimension, from its first
 * layer, at the version that this section sees. While the version is the one of the view, as it is until
 * something is published, that costs two loads; otherwise it is rgm_layers_open_dimension(). The way to
 * look into a dimension again and again. `layers` was opened by any rgm_layers_open…() of this session;
 * on failure it stays as it was.
 * Errors: as rgm_layers_open_dimension().
 */
RGM_API int rgm_layers_refresh(
	struct rgm_slot *slot, struct rgm_layers *layers, struct rgm_error *error);

/** View what a hold keeps, inside or outside a section, from any thread, and in forked children. The
 * view ends with the hold. */
RGM_API int rgm_layers_open_hold(
	const struct rgm_hold *hold, struct rgm_layers *ret_layers, struct rgm_error *error);

/** Number of layers in the view. */
RGM_API uint64_t rgm_layers_count(const struct rgm_layers *layers);
/** Sum of the layers' sizes, in bytes. */
RGM_API uint64_t rgm_layers_bytes(const struct rgm_layers *layers);
/** The version the view shows. */
RGM_API uint64_t rgm_layers_version(const struct rgm_layers *layers);

/** Step to the next layer in name order: its name and bytes. False at the end. Cannot fail; of a section
 * that was revoked or met damage it may end early, or show what rgm_unpin() then says is void. */
RGM_API bool rgm_layers_next(
	struct rgm_layers *layers, const char **ret_name, struct rgm_span *ret_span);

/** As rgm_layers_next(), with everything known of the layer. */
RGM_API bool rgm_layers_next_layer(struct rgm_layers *layers, struct rgm_layer *ret_layer);

/**
 * Position before the first layer whose name begins with `prefix`, and step through those alone.
 * NULL or "" means all layers, from the first. The string must outlive the stepping.
 */
RGM_API void rgm_layers_seek(struct rgm_layers *layers, const char *prefix);

/**
 * Look one layer up by its whole name; the position does not move.
 * @return 0 or #RGM_ENOLAYER
 */
RGM_API int rgm_layers_get(
	const struct rgm_layers *layers, const char *name, struct rgm_layer *ret_layer);

/** CRC-32C of `bytes` bytes, continuing from `crc` (0 to start). Thread-safe, 20 GB/s and more. */
RGM_API uint32_t rgm_crc32c(uint32_t crc, const void *data, size_t bytes);

/** CRC-32C of A followed by B from the two checksums and B's length. Thread-safe. */
RGM_API uint32_t rgm_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b);

/** rgm_layers_refresh() as the library does it: see rgm_pin_called(). */
RGM_API RGM_UNUSUAL int rgm_layers_refresh_called(
	struct rgm_slot *slot, struct rgm_layers *layers, struct rgm_error *error);

#if defined(RGM_INLINE_BODIES)
RGM_INLINE int rgm_layers_refresh(
	struct rgm_slot *slot_, struct rgm_layers *layers_, struct rgm_error *error_)
{
	const struct rgm_slot_words *words_ = (const struct rgm_slot_words *)(const void *)slot_;

	if (__builtin_expect(words_->current == NULL || layers_->slot != slot_ ||
				     layers_->version !=
					     __atomic_load_n(rgm_word_(words_), __ATOMIC_RELAXED),
		    0))
		return rgm_layers_refresh_called(slot_, layers_, error_);
	layers_->leaf = NULL;
	layers_->leaf_index = 0;
	layers_->entry = 0;
	layers_->prefix_length = 0;
	return 0;
}
#endif

#ifdef __cplusplus
}
#endif
#endif
