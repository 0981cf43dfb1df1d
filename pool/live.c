/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/live.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/bitmap.h"
#include "pool/os.h"

static size_t bits_bytes(uint64_t pages)
{
	return (size_t)((pages / BITMAP_WORD_BITS + 1) * sizeof(uint64_t));
}

static size_t object_bytes(uint64_t max_pages)
{
	return (sizeof(struct live) + bits_bytes(max_pages) + 4095) & ~(size_t)4095;
}

int live_create(const char *name, const struct live_identity *identity, struct live **ret_live)
{
	size_t bytes = object_bytes(identity->max_pages);
	struct live *live;
	void *base = NULL;
	int file, rc;

	rc = os_shm_create(name, bytes, sizeof(*live), &file);
	if (rc == -EEXIST) {
		os_shm_unlink(name);
		rc = os_shm_create(name, bytes, sizeof(*live), &file);
	}
	if (rc != 0)
		return rc;
	rc = os_map(file, bytes, true, &base);
	close(file);
	if (rc != 0) {
		os_shm_unlink(name);
		return rc;
	}
	live = base;
	live->version = LIVE_VERSION;
	memcpy(live->incarnation, identity->incarnation, sizeof(live->incarnation));
	live->dimension_id = identity->dimension_id;
	live->max_pages = identity->max_pages;
	__atomic_store_n(&live->magic, LIVE_MAGIC, __ATOMIC_RELEASE);
	*ret_live = live;
	return 0;
}

static bool is_right(const struct live *live, const struct live_identity *identity)
{
	return live->magic == LIVE_MAGIC && live->version == LIVE_VERSION &&
	       memcmp(live->incarnation, identity->incarnation, sizeof(live->incarnation)) == 0 &&
	       live->dimension_id == identity->dimension_id &&
	       live->max_pages == identity->max_pages && live->pages <= live->max_pages &&
	       __atomic_load_n(&live->pages, __ATOMIC_ACQUIRE) != 0;
}

int live_open(const char *name, const struct live_identity *identity, struct live **ret_live)
{
	size_t bytes = object_bytes(identity->max_pages);
	struct stat st;
	void *base = NULL;
	int file, rc;

	rc = os_shm_open(name, true, &file);
	if (rc != 0)
		return rc;
	rc = fstat(file, &st) == 0 && (uint64_t)st.st_size == bytes ? 0 : -ESTALE;
	if (rc == 0)
		rc = os_map(file, bytes, true, &base);
	close(file);
	if (rc != 0)
		return rc;
	if (!is_right(base, identity)) {
		os_unmap(base, bytes);
		return -ESTALE;
	}
	*ret_live = base;
	return 0;
}

void live_close(struct live *live)
{
	if (live != NULL)
		os_unmap(live, object_bytes(live->max_pages));
}

int live_reserve(struct live *live, uint64_t pages)
{
	int rc = os_populate(live_bits(live), bits_bytes(pages));

	/* They are zero, unless somebody else wrote there. */
	if (rc == 0 && pages > live->pages)
		bitmap_clear(live_bits(live), live->pages, pages);
	return rc;
}

void live_set_pages(struct live *live, uint64_t pages)
{
	__atomic_store_n(&live->pages, pages, __ATOMIC_RELEASE);
}

void live_set_map(struct live *live, uint64_t page, uint64_t count)
{
	__atomic_store_n(&live->map_count, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&live->map_page, page, __ATOMIC_RELEASE);
	__atomic_store_n(&live->map_count, count, __ATOMIC_RELEASE);
}
