/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: attach to an instance, read every layer of one dimension in place, print a checksum.
 *
 * usage: worker INSTANCE DIMENSION
 */
#include <inttypes.h>
#include <stdio.h>

#include <regionmgr/layers.h>

/* Add up all layers as this thread sees them now. 0, or a negative code with *error filled. */
static int sum_layers(struct rgm_slot *slot, const char *name, struct rgm_error *error)
{
	struct rgm_layers layers;
	struct rgm_span span;
	const char *layer;
	uint64_t count = 0, bytes = 0, version = 0;
	uint32_t crc = 0;
	int rc, end;

	rc = rgm_pin(slot); /* this thread's view stands still from here on */
	if (rc != 0) {
		(void)snprintf(error->message, sizeof(error->message), "cannot pin: %s",
			rgm_error_text(rc));
		return rc;
	}
	rc = rgm_layers_open(slot, name, &layers, error);
	if (rc == 0) {
		version = rgm_layers_version(&layers);
		while (rgm_layers_next(&layers, &layer, &span)) { /* nothing is copied */
			crc = rgm_crc32c(crc, span.data, span.size);
			bytes += span.size;
			count++;
		}
	}
	end = rgm_unpin(slot); /* the spans end here */
	if (rc == 0 && end != 0) {
		/* Damaged or taken back meanwhile: what was read is void. */
		(void)snprintf(error->message, sizeof(error->message), "what was read is void: %s",
			rgm_error_text(end));
		rc = end;
	}
	if (rc == 0)
		printf("%s: version %" PRIu64 ", %" PRIu64 " layers, %" PRIu64
		       " bytes, crc32c %08" PRIx32 "\n",
			name, version, count, bytes, crc);
	return rc;
}

int main(int argc, char **argv)
{
	struct rgm_session *session = NULL;
	struct rgm_slot *slot = NULL;
	struct rgm_error error;
	int rc;

	if (argc != 3) {
		fprintf(stderr, "usage: worker INSTANCE DIMENSION\n");
		return 2;
	}
	rc = rgm_session_attach(argv[1], NULL, &session, &error); /* once a process */
	if (rc == 0)
		rc = rgm_map(session, argv[2], &error); /* once a dimension: may ask the manager */
	if (rc == 0)
		rc = rgm_slot_open(session, &slot, &error); /* once a thread */
	if (rc == 0)
		rc = sum_layers(slot, argv[2], &error);
	if (rc != 0)
		fprintf(stderr, "worker: %s: %s\n", rgm_error_name(rc), error.message);
	rgm_slot_close(slot);
	rgm_session_detach(session);
	return rc == 0 ? 0 : 1;
}
