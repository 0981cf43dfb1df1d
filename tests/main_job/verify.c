/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing a view with the truth; see verify.h. */
#include "verify.h"

#include <stdio.h>
#include <string.h>

#include "crc.h"
#include "random.h"

const char *verify_media_type(uint32_t content)
{
	return content % 3 == 0 ? "application/x-main-job" : NULL;
}

static void tell(const struct verify *verify, const char *layer, const char *what,
	unsigned long long is, unsigned long long must)
{
	const struct truth *truth = &verify->job->truth;

	job_tell(verify->job,
		"'%s' at version %llu (commit %u), layer '%.120s': %s is %llx, must be %llx",
		truth_name_at(truth, verify->dimension, verify->commit),
		(unsigned long long)verify->version, verify->commit, layer, what, is, must);
}

static bool same_media_type(const char *is, const char *must)
{
	return is == must || (is != NULL && must != NULL && strcmp(is, must) == 0);
}

/* What the directory says of a layer. */
static bool same_facts(const struct verify *verify, const struct rgm_layer *layer,
	const struct truth_name *name, const struct truth_change *change)
{
	const struct truth *truth = &verify->job->truth;
	const struct truth_content *content = &truth->content[change->content];
	const char *text = truth->text + name->text;
	uint64_t born =
		atomic_load_explicit(&truth->version_of[change->commit], memory_order_relaxed);

	if (layer->name_length != name->length || strcmp(layer->name, text) != 0) {
		job_tell(verify->job,
			"'%s' at version %llu (commit %u) has layer '%.120s' where '%.120s' must "
			"be",
			truth_name_at(truth, verify->dimension, verify->commit),
			(unsigned long long)verify->version, verify->commit, layer->name, text);
		return false;
	}
	if (layer->data.size != content->size)
		tell(verify, text, "the size", layer->data.size, content->size);
	else if (layer->crc32c != content->crc)
		tell(verify, text, "the checksum told", layer->crc32c, content->crc);
	else if (layer->version != born)
		tell(verify, text, "the version of the bytes", layer->version, born);
	else if (layer->time_ns != content->time_ns)
		tell(verify, text, "the time", layer->time_ns, content->time_ns);
	else if (!same_media_type(layer->media_type, verify_media_type(change->content)))
		tell(verify, text, "whether the media type is right", 0, 1);
	else if ((uintptr_t)layer->data.data % RGM_PAGE_BYTES != 0)
		tell(verify, text, "the address", (uintptr_t)layer->data.data, 0);
	else
		return true;
	return false;
}

static bool same_bytes(const struct verify *verify, const struct rgm_layer *layer,
	const struct truth_change *change)
{
	const struct truth_content *content = &verify->job->truth.content[change->content];
	uint32_t crc = crc_fast(0, layer->data.data, layer->data.size);

	atomic_fetch_add_explicit(&verify->mark->bytes, layer->data.size, memory_order_relaxed);
	if (crc == content->crc)
		return true;
	tell(verify, layer->name, "the checksum of the bytes", crc, content->crc);
	return false;
}

/* Look one name up, there or not. */
static void compare_lookup(const struct verify *verify, const struct rgm_layers *layers)
{
	const struct truth *truth = &verify->job->truth;
	uint32_t at = random_below(verify->random, truth_name_count(truth, verify->dimension));
	const struct truth_name *name = truth_name(truth, verify->dimension, at);
	const struct truth_change *change =
		truth_layer_at(truth, verify->dimension, at, verify->commit);
	struct rgm_layer layer;
	int rc = rgm_layers_get(layers, truth->text + name->text, &layer);

	if (rc != (change != NULL ? 0 : RGM_ENOLAYER))
		job_tell(verify->job,
			"'%s' at version %llu, layer '%.120s' must%s be there: got %s",
			truth_name_at(truth, verify->dimension, verify->commit),
			(unsigned long long)verify->version, truth->text + name->text,
			change != NULL ? "" : " not", rgm_error_name(rc));
	else if (rc == 0)
		same_facts(verify, &layer, name, change);
}

/* Step through the layers of one folder: as many as the truth has. */
static void compare_prefix(const struct verify *verify, struct rgm_layers *layers)
{
	const struct truth *truth = &verify->job->truth;
	uint32_t count = truth_name_count(truth, verify->dimension), shown = 0, must = 0;
	const char *text =
		truth->text +
		truth_name(truth, verify->dimension, random_below(verify->random, count))->text;
	const char *slash = strrchr(text, '/');
	char prefix[1200];
	struct rgm_layer layer;

	snprintf(prefix, sizeof(prefix), "%.*s", slash != NULL ? (int)(slash - text) + 1 : 1, text);
	rgm_layers_seek(layers, prefix);
	while (rgm_layers_next_layer(layers, &layer))
		shown++;
	for (uint32_t i = 0; i < count; i++)
		if (strncmp(truth->text + truth_name(truth, verify->dimension, i)->text, prefix,
			    strlen(prefix)) == 0)
			must += truth_layer_at(truth, verify->dimension, i, verify->commit) != NULL;
	if (shown != must)
		job_tell(verify->job, "'%s' at version %llu has %u layers under '%s', must have %u",
			truth_name_at(truth, verify->dimension, verify->commit),
			(unsigned long long)verify->version, shown, prefix, must);
	rgm_layers_seek(layers, NULL);
}

/* All layers in their order. False when it ended early. */
static bool compare_all(const struct verify *verify, struct rgm_layers *layers, uint64_t *ret_bytes)
{
	const struct truth *truth = &verify->job->truth;
	uint32_t count = truth_name_count(truth, verify->dimension);
	struct rgm_layer layer;
	uint64_t compared = 0;
	bool good = true;

	*ret_bytes = 0;
	for (uint32_t i = 0; i < count && good; i++) {
		const struct truth_name *name = truth_name(truth, verify->dimension, i);
		const struct truth_change *change =
			truth_layer_at(truth, verify->dimension, i, verify->commit);

		if (change == NULL)
			continue;
		if (!rgm_layers_next_layer(layers, &layer)) {
			tell(verify, truth->text + name->text, "being there", 0, 1);
			good = false;
			break;
		}
		good = same_facts(verify, &layer, name, change);
		if (good && random_below(verify->random, verify->one_in) == 0)
			good = same_bytes(verify, &layer, change);
		*ret_bytes += layer.data.size;
		compared++;
		if (atomic_load_explicit(&verify->job->stop, memory_order_relaxed) == 1)
			good = false;
	}
	atomic_fetch_add_explicit(&verify->mark->layers, compared, memory_order_relaxed);
	if (good && rgm_layers_next_layer(layers, &layer)) {
		tell(verify, layer.name, "being there", 1, 0);
		good = false;
	}
	return good;
}

void verify_view(const struct verify *verify, struct rgm_layers *layers)
{
	uint64_t bytes;

	if (rgm_layers_version(layers) != verify->version)
		tell(verify, "", "the view's version", rgm_layers_version(layers), verify->version);
	if (!compare_all(verify, layers, &bytes))
		return;
	if (bytes != rgm_layers_bytes(layers))
		tell(verify, "", "the sum of sizes", rgm_layers_bytes(layers), bytes);
	compare_lookup(verify, layers);
	compare_prefix(verify, layers);
}
