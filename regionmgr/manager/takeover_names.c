/* SPDX-License-Identifier: Apache-2.0 */
/* Names of an instance in shared memory that nobody needs any more. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/socket.h"
#include "pool/os.h"
#include "regionmgr/manager/dimension.h"
#include "regionmgr/manager/takeover.h"

/* Remove those that begin with `prefix`, and that `goes` says yes to (NULL: all). */
static void remove_if(const struct rgm_manager *manager, const char *prefix,
	bool (*goes)(const struct rgm_manager *manager, const char *rest))
{
	char name[IPC_SHM_NAME_BYTES];
	size_t length = strlen(prefix);
	DIR *folder = opendir("/dev/shm");
	if (!folder)
		return; /* a name that is in the way fails what needs it, with a sentence */
	for (struct dirent *entry; (entry = readdir(folder));) {
		snprintf(name, sizeof name, "/%.*s", (int)sizeof name - 2, entry->d_name);
		if (strncmp(name, prefix, length) == 0 && (!goes || goes(manager, name + length)))
			os_shm_unlink(name);
	}
	closedir(folder);
}

void takeover_remove_names(const struct rgm_manager *manager)
{
	char prefix[IPC_SHM_NAME_BYTES];
	ipc_name_prefix(manager->instance_id, prefix);
	remove_if(manager, prefix, NULL);
}

static bool is_nobodys(const struct rgm_manager *manager, const char *number)
{
	char *end;
	uint64_t id = strtoull(number, &end, 10);
	struct dimension *owner = dimension_find_id((struct rgm_manager *)(uintptr_t)manager, id);
	dimension_put(owner);
	return !owner && end != number && *end == 0;
}

void takeover_remove_strays(const struct rgm_manager *manager)
{
	char prefix[IPC_SHM_NAME_BYTES];
	ipc_live_name(manager->instance_id, 0, prefix);
	prefix[strlen(prefix) - 1] = 0; /* all but the number */
	remove_if(manager, prefix, is_nobodys);
}
