/* SPDX-License-Identifier: Apache-2.0 */
#include "regionmgr/manager/book.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/atomic.h"
#include "ipc/socket.h"
#include "pool/os.h"

static size_t book_bytes(uint32_t places)
{
	return sizeof(struct book) + (size_t)places * sizeof(struct book_row);
}

int book_create(const struct rgm_manager *manager, struct book **ret_book)
{
	char name[IPC_SHM_NAME_BYTES];
	size_t bytes = book_bytes(manager->max_readers);
	void *base = NULL;
	int file;
	ipc_book_name(manager->instance_id, name);
	int rc = os_shm_create(name, bytes, bytes, &file);
	if (rc)
		return rc;
	rc = os_map(file, bytes, true, &base);
	close(file);
	if (rc) {
		os_shm_unlink(name);
		return rc;
	}
	struct book *book = base;
	book->version = BOOK_VERSION;
	book->places = manager->max_readers;
	memcpy(book->incarnation, manager->incarnation, sizeof book->incarnation);
	book->next_number = 1;
	store64_release(&book->magic, BOOK_MAGIC);
	*ret_book = book;
	return 0;
}

int book_open(const struct rgm_manager *manager, struct book **ret_book)
{
	char name[IPC_SHM_NAME_BYTES];
	size_t bytes = book_bytes(manager->max_readers);
	struct stat status;
	void *base = NULL;
	int file;
	ipc_book_name(manager->instance_id, name);
	int rc = os_shm_open(name, true, &file);
	if (rc)
		return rc;
	if (fstat(file, &status) || (uint64_t)status.st_size != bytes)
		rc = -ESTALE;
	if (rc == 0)
		rc = os_map(file, bytes, true, &base);
	close(file);
	if (rc)
		return rc;
	struct book *book = base;
	if (book->magic != BOOK_MAGIC || book->version != BOOK_VERSION ||
		book->places != manager->max_readers ||
		memcmp(book->incarnation, manager->incarnation, sizeof book->incarnation) != 0) {
		os_unmap(base, bytes);
		return -ESTALE;
	}
	*ret_book = book;
	return 0;
}

void book_destroy(const struct rgm_manager *manager, struct book *book)
{
	char name[IPC_SHM_NAME_BYTES];
	os_unmap(book, book_bytes(book->places));
	ipc_book_name(manager->instance_id, name);
	if (!manager->leave_names)
		os_shm_unlink(name);
}

void book_enter(struct book *book, uint32_t place, const struct book_row *row)
{
	struct book_row *own = &book->rows[place];
	struct book_row filled = *row;
	filled.number = 0; /* as the free place has it */
	*own = filled;
	store64_release(&own->number, row->number);
}

void book_clear(struct book *book, uint32_t place)
{
	store64_release(&book->rows[place].number, 0);
}
