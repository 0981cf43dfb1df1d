/* SPDX-License-Identifier: Apache-2.0 */
/* Making segments, and the thread that makes them ahead. See segments.h. */
#include "regionmgr/manager/segments.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>

#include "pool/os.h"
#include "regionmgr/manager/manager.h"

#define STOCK 8u /* made ahead */

struct segments {
	uint32_t slots, holds; /* of those made ahead; constant */

	pthread_mutex_t lock; /* guards the following; nothing is taken under it */
	pthread_cond_t wake;
	struct segment stock[STOCK];
	uint32_t count;
	bool stop;

	pthread_t thread;
	bool started;
};

static void segment_free(struct segment *segment)
{
	os_unmap(segment->base, segment->bytes);
	close(segment->file);
}

static int segment_make(uint32_t slots, uint32_t holds, struct segment *ret_segment)
{
	struct segment segment = {.bytes = ipc_segment_bytes(slots, holds)};
	struct ipc_segment header = {.magic = IPC_SEGMENT_MAGIC,
		.layout_version = IPC_LAYOUT_VERSION,
		.slots = slots,
		.holds = holds};
	int rc = os_random(segment.token, sizeof segment.token);
	if (rc == 0)
		rc = os_shm_create_unnamed(segment.bytes, segment.bytes, &segment.file);
	if (rc)
		return rc;
	memcpy(header.token, segment.token, sizeof header.token);
	void *base = NULL;
	rc = os_write_all(segment.file, &header, sizeof header, 0);
	if (rc == 0)
		rc = os_map(segment.file, segment.bytes, false, &base);
	if (rc) {
		close(segment.file);
		return rc;
	}
	segment.base = base;
	*ret_segment = segment;
	return 0;
}

/* --- The thread ------------------------------------------------------------------------------- */

/* Fill the stock. Where one cannot be made (no memory, no descriptor) it is left at that: the attach
 * that needs it tries for itself and says why it failed. Under lock, which is left for each one. */
static void fill(struct segments *segments)
{
	while (segments->count < STOCK && !segments->stop) {
		struct segment segment;
		pthread_mutex_unlock(&segments->lock);
		int rc = segment_make(segments->slots, segments->holds, &segment);
		pthread_mutex_lock(&segments->lock);
		if (rc)
			return;
		/* One thread adds at a time: there is room. */
		segments->stock[segments->count++] = segment;
	}
}

static void *run(void *argument)
{
	struct segments *segments = argument;
	pthread_mutex_lock(&segments->lock);
	while (!segments->stop) {
		fill(segments);
		if (!segments->stop)
			pthread_cond_wait(&segments->wake, &segments->lock);
	}
	pthread_mutex_unlock(&segments->lock);
	return NULL;
}

int segments_create(uint32_t slots, uint32_t holds, struct segments **ret_segments)
{
	struct segments *segments = calloc(1, sizeof *segments);
	if (!segments)
		return -ENOMEM;
	segments->slots = slots;
	segments->holds = holds;
	pthread_mutex_init(&segments->lock, NULL);
	pthread_cond_init(&segments->wake, NULL);
	/* The first ones here: the first attach finds them, and who counts descriptors, too. */
	pthread_mutex_lock(&segments->lock);
	fill(segments);
	pthread_mutex_unlock(&segments->lock);
	int rc = manager_thread(&segments->thread, run, segments);
	if (rc) {
		segments_destroy(segments);
		return rc;
	}
	segments->started = true;
	pthread_setname_np(segments->thread, "rgm-segments");
	*ret_segments = segments;
	return 0;
}

void segments_destroy(struct segments *segments)
{
	if (!segments)
		return;
	if (segments->started) {
		pthread_mutex_lock(&segments->lock);
		segments->stop = true;
		pthread_cond_signal(&segments->wake);
		pthread_mutex_unlock(&segments->lock);
		pthread_join(segments->thread, NULL);
	}
	while (segments->count)
		segment_free(&segments->stock[--segments->count]);
	pthread_cond_destroy(&segments->wake);
	pthread_mutex_destroy(&segments->lock);
	free(segments);
}

int segments_take(
	struct segments *segments, uint32_t slots, uint32_t holds, struct segment *ret_segment)
{
	bool taken = false;
	if (slots == segments->slots && holds == segments->holds) {
		pthread_mutex_lock(&segments->lock);
		taken = segments->count > 0;
		if (taken)
			*ret_segment = segments->stock[--segments->count];
		pthread_mutex_unlock(&segments->lock);
	}
	return taken ? 0 : segment_make(slots, holds, ret_segment);
}

void segments_refill(struct segments *segments)
{
	pthread_mutex_lock(&segments->lock);
	if (segments->count < STOCK)
		pthread_cond_signal(&segments->wake);
	pthread_mutex_unlock(&segments->lock);
}
