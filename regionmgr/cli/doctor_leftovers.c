/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared memory that a manager left in /dev/shm when it was killed. An object is taken for a
 * leftover only if it is not of the instance that answers, no process that can be seen maps it, and
 * none of that instance's objects is locked; processes of other containers are not seen, so the
 * remedy is for a person to judge.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "regionmgr/cli/doctor.h"

#define ID_LENGTH     32u
#define INSTANCES_MAX 64u

struct leftovers {
	struct {
		char id[ID_LENGTH + 1];
		size_t objects;
		bool used;
	} instances[INSTANCES_MAX];
	size_t count;
};

/* The instance id of "regionmgr.<id>.…"; false for any other name. */
static bool id_of(const char *name, char ret_id[ID_LENGTH + 1])
{
	static const char start[] = "regionmgr.";
	size_t length = sizeof start - 1;

	if (strncmp(name, start, length) != 0 ||
		strspn(name + length, "0123456789abcdef") != ID_LENGTH ||
		name[length + ID_LENGTH] != '.')
		return false;
	memcpy(ret_id, name + length, ID_LENGTH);
	ret_id[ID_LENGTH] = '\0';
	return true;
}

static bool is_locked(int folder, const char *name)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool locked = true; /* what cannot be looked at is left alone */

	if (file < 0)
		return locked;
	if (fcntl(file, F_OFD_GETLK, &lock) == 0)
		locked = lock.l_type != F_UNLCK;
	close(file);
	return locked;
}

static void add(struct leftovers *leftovers, const char *id, bool locked)
{
	size_t i = 0;

	while (i < leftovers->count && strcmp(leftovers->instances[i].id, id) != 0)
		i++;
	if (i == INSTANCES_MAX)
		return;
	if (i == leftovers->count) {
		leftovers->count++;
		memcpy(leftovers->instances[i].id, id, ID_LENGTH + 1);
	}
	leftovers->instances[i].objects++;
	leftovers->instances[i].used = leftovers->instances[i].used || locked;
}

static void list(const struct doctor *doctor, struct leftovers *leftovers)
{
	DIR *stream = opendir("/dev/shm");
	const struct dirent *entry;
	char id[ID_LENGTH + 1];

	while (stream != NULL && (entry = readdir(stream)) != NULL) {
		if (id_of(entry->d_name, id) &&
			!(doctor->reached && strcmp(doctor->status.instance_id, id) == 0))
			add(leftovers, id, is_locked(dirfd(stream), entry->d_name));
	}
	if (stream != NULL)
		closedir(stream);
}

/* Mark the instances whose objects this process maps. */
static void look_at_process(struct leftovers *leftovers, const char *pid)
{
	static const char start[] = "/dev/shm/";
	char path[64], id[ID_LENGTH + 1], *line = NULL;
	size_t capacity = 0;
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%.20s/maps", pid);
	file = fopen(path, "re");
	while (file != NULL && getline(&line, &capacity, file) > 0) {
		const char *name = strstr(line, start);

		if (name == NULL || !id_of(name + sizeof start - 1, id))
			continue;
		for (size_t i = 0; i < leftovers->count; i++) {
			if (strcmp(leftovers->instances[i].id, id) == 0)
				leftovers->instances[i].used = true;
		}
	}
	free(line);
	if (file != NULL)
		fclose(file);
}

static void look_at_processes(struct leftovers *leftovers)
{
	DIR *stream = opendir("/proc");
	const struct dirent *entry;

	while (stream != NULL && (entry = readdir(stream)) != NULL) {
		if (entry->d_name[strspn(entry->d_name, "0123456789")] == '\0')
			look_at_process(leftovers, entry->d_name);
	}
	if (stream != NULL)
		closedir(stream);
}

void doctor_leftovers(struct doctor *doctor)
{
	struct leftovers leftovers = {.count = 0};
	size_t found = 0;

	list(doctor, &leftovers);
	if (leftovers.count > 0)
		look_at_processes(&leftovers);
	for (size_t i = 0; i < leftovers.count; i++) {
		char remedy[96];

		if (leftovers.instances[i].used)
			continue;
		found++;
		(void)snprintf(remedy, sizeof remedy, "rm /dev/shm/regionmgr.%s.*",
			leftovers.instances[i].id);
		doctor_find(doctor, "leftovers", FINDING_WARN, remedy,
			"a manager that is gone left %zu %s in /dev/shm, which nobody here maps",
			leftovers.instances[i].objects,
			leftovers.instances[i].objects == 1 ? "object" : "objects");
	}
	if (found == 0)
		doctor_find(doctor, "leftovers", FINDING_OK, NULL,
			"no shared memory was left behind by another manager");
}
