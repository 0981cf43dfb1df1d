/* SPDX-License-Identifier: Apache-2.0 */
/* A change as a set of operations by name: begin, remove, and the ends of its life. */
#include "dimensions/layers_change.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dimensions/array.h"
#include "dimensions/layers_format.h"
#include "pool/crc32c.h"
#include "pool/error.h"

int layers_op_create(const char *name, uint64_t time_ns, const char *media_type,
	struct layers_op **ret_op, struct rgm_error *error)
{
	char shown[LAYERS_SHOWN_BYTES];
	size_t name_length = strnlen(name, RGM_LAYER_NAME_MAX + 1);
	size_t media_length = media_type ? strnlen(media_type, RGM_MEDIA_TYPE_MAX + 1) : 0;
	struct layers_op *op;
	int rc = layers_check_name(name, name_length, error);

	if (rc != 0)
		return rc;
	if (media_length > RGM_MEDIA_TYPE_MAX)
		return pool_fail(error, RGM_ELIMIT,
			"layer '%s': its media type is longer than %d bytes",
			layers_name_shown(shown, name, name_length), RGM_MEDIA_TYPE_MAX);
	op = calloc(1, sizeof(*op) + name_length + 1 + media_length + 1);
	if (!op)
		return pool_fail(error, -ENOMEM, "no memory for a layer's name");
	op->time_ns = time_ns;
	op->name_length = (uint32_t)name_length;
	op->media_length = (uint32_t)media_length;
	memcpy(op->strings, name, name_length);
	if (media_length > 0)
		memcpy(op->strings + name_length + 1, media_type, media_length);
	*ret_op = op;
	return 0;
}

/* The slot of a name: its own, or the empty one where it belongs. */
static uint32_t *find_slot(const struct layers_change *change, const char *name, size_t name_length)
{
	/* The high bits of a product with 2^64 / golden ratio spread a checksum well. */
	uint64_t hash = (uint64_t)pool_crc32c(0, name, name_length) * 0x9e3779b97f4a7c15u;
	size_t mask = ((size_t)1 << change->slot_bits) - 1;

	for (size_t i = (size_t)(hash >> (64 - change->slot_bits));; i = (i + 1) & mask) {
		const struct layers_op *op;

		if (change->slots[i] == 0)
			return &change->slots[i];
		op = change->ops[change->slots[i] - 1];
		if (op->name_length == name_length && memcmp(op->strings, name, name_length) == 0)
			return &change->slots[i];
	}
}

static int grow_slots(struct layers_change *change)
{
	unsigned bits = change->slot_bits ? change->slot_bits + 1 : 6;
	uint32_t *slots = calloc((size_t)1 << bits, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	free(change->slots);
	change->slots = slots;
	change->slot_bits = bits;
	for (size_t i = 0; i < change->op_count; i++) {
		const struct layers_op *op = change->ops[i];

		*find_slot(change, op->strings, op->name_length) = (uint32_t)(i + 1);
	}
	return 0;
}

static int no_memory(struct rgm_error *error)
{
	return pool_fail(error, -ENOMEM, "no memory for a change's layers");
}

int layers_change_prepare(struct layers_change *change, struct rgm_error *error)
{
	char shown[LAYERS_SHOWN_BYTES];
	struct layers_op **ops;

	if (change->stream)
		return pool_fail(error, -EINVAL, "layer '%s' is still being streamed",
			layers_name_shown(
				shown, change->stream->strings, change->stream->name_length));
	if (change->op_count >= LAYERS_MAX)
		return pool_fail(error, RGM_ELIMIT, "a change has at most %llu layers", LAYERS_MAX);
	if ((change->op_count + 1) * 2 > (size_t)1 << change->slot_bits && grow_slots(change) != 0)
		return no_memory(error);
	ops = dim_array_reserve(change->ops, &change->op_capacity, change->op_count + 1,
		sizeof(struct layers_op *));
	if (!ops)
		return no_memory(error);
	change->ops = ops;
	return 0;
}

void layers_change_add(struct layers_change *change, struct layers_op *op)
{
	uint32_t *slot = find_slot(change, op->strings, op->name_length);
	struct layers_op *before;

	free(change->sorted);
	change->sorted = NULL;
	if (*slot == 0) {
		change->ops[change->op_count++] = op;
		*slot = (uint32_t)change->op_count;
		return;
	}
	before = change->ops[*slot - 1];
	change->ops[*slot - 1] = op;
	op->may_be_absent = !before->remove || before->may_be_absent;
	layers_content_free(change, before->page, layers_pages(before->size));
	free(before);
}

static int compare_ops(const void *a, const void *b)
{
	const struct layers_op *x = *(struct layers_op *const *)a;
	const struct layers_op *y = *(struct layers_op *const *)b;

	return layers_compare(x->strings, x->name_length, y->strings, y->name_length);
}

int layers_change_sort(struct layers_change *change, struct rgm_error *error)
{
	size_t bytes = change->op_count * sizeof(struct layers_op *);

	if (change->sorted || change->op_count == 0)
		return 0;
	change->sorted = malloc(bytes);
	if (!change->sorted)
		return no_memory(error);
	memcpy(change->sorted, change->ops, bytes);
	qsort(change->sorted, change->op_count, sizeof(struct layers_op *), compare_ops);
	return 0;
}

int layers_change_begin(struct pool_region *region, uint64_t expected_bytes, bool replace,
	struct layers_change **ret_change, struct rgm_error *error)
{
	struct layers_change *change;
	struct pool_region_info info;
	int rc = pool_region_mark_dirty(region, error);

	if (rc != 0)
		return rc;
	change = calloc(1, sizeof(*change));
	if (!change)
		return pool_fail(error, -ENOMEM, "no memory for a change");
	pool_region_info(region, &info);
	change->region = region;
	change->writer.region = region;
	change->max_bytes = info.max_bytes;
	change->expected_bytes = expected_bytes;
	change->replace = replace;
	*ret_change = change;
	return 0;
}

int layers_change_remove(struct layers_change *change, const char *name, struct rgm_error *error)
{
	struct layers_op *op = NULL;
	int rc = layers_change_prepare(change, error);

	if (rc == 0)
		rc = layers_op_create(name, 0, NULL, &op, error);
	if (rc != 0)
		return rc;
	op->remove = true;
	layers_change_add(change, op);
	return 0;
}

static void forget(struct layers_change *change)
{
	layers_content_free(change, change->arena_page, change->arena_count);
	layers_writer_close(&change->writer);
	for (size_t i = 0; i < change->op_count; i++)
		free(change->ops[i]);
	free(change->ops);
	free(change->slots);
	free(change->sorted);
	free(change->stream);
	dim_blocks_free(&change->built);
	free(change);
}

void layers_change_published(struct layers_change *change)
{
	forget(change);
}

void layers_change_abort(struct layers_change *change)
{
	if (!change)
		return;
	/* Nothing may be written to pages that belong to others a moment later. */
	layers_writer_close(&change->writer);
	for (size_t i = 0; i < change->op_count; i++)
		layers_content_free(
			change, change->ops[i]->page, layers_pages(change->ops[i]->size));
	if (change->stream)
		layers_content_free(change, change->stream->page, change->stream_count);
	for (size_t i = 0; i < change->built.count; i++)
		layers_content_free(
			change, change->built.items[i].page, change->built.items[i].count);
	forget(change);
}
