/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine offers: file systems, memory, limits, kernel features. */
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "regionmgr/cli/doctor.h"
#include "regionmgr/cli/text.h"

/* In no header of ours or the kernel's that is always there. */
#define MAGIC_XFS  0x58465342
#define MAGIC_FUSE 0x65735546
#define MAGIC_CIFS 0xff534d42u
#define MAGIC_SMB2 0xfe534d42u
#define MAGIC_ZFS  0x2fc12fc1

static const struct {
	unsigned long magic;
	const char *name;
	enum finding finding;
	const char *why;
} file_systems[] = {
	{EXT4_SUPER_MAGIC, "ext4", FINDING_OK, ""},
	{MAGIC_XFS, "xfs", FINDING_OK, ""},
	{BTRFS_SUPER_MAGIC, "btrfs", FINDING_WARN, ": copy on write scatters region files"},
	{TMPFS_MAGIC, "tmpfs", FINDING_WARN, ": its files are gone after a restart of the machine"},
	{OVERLAYFS_SUPER_MAGIC, "overlayfs", FINDING_WARN,
		": its files may be gone with the container"},
	{NFS_SUPER_MAGIC, "nfs", FINDING_WARN, ": a network file system"},
	{MAGIC_CIFS, "cifs", FINDING_WARN, ": a network file system"},
	{MAGIC_SMB2, "smb", FINDING_WARN, ": a network file system"},
	{V9FS_MAGIC, "9p", FINDING_WARN, ": a network file system"},
	{MAGIC_FUSE, "fuse", FINDING_WARN, ": a file system in user space"},
	{MAGIC_ZFS, "zfs", FINDING_WARN, ": not tested"},
};

/* The nearest folder that exists; the instance's own may not be made yet. */
static bool stat_folder(const struct doctor *doctor, struct statfs *ret_facts)
{
	char path[512];
	char *slash;

	(void)snprintf(path, sizeof path, "%s", doctor->folder);
	while (statfs(path, ret_facts) != 0) {
		slash = strrchr(path, '/');
		if (slash == NULL)
			return false;
		if (slash == path)
			return statfs("/", ret_facts) == 0;
		*slash = '\0';
	}
	return true;
}

void doctor_file_system(struct doctor *doctor)
{
	struct statfs facts;

	if (!stat_folder(doctor, &facts))
		return;
	for (size_t i = 0; i < sizeof file_systems / sizeof file_systems[0]; i++) {
		char remedy[600];

		if (((unsigned long)facts.f_type & 0xffffffffu) != file_systems[i].magic)
			continue;
		if (file_systems[i].magic == BTRFS_SUPER_MAGIC)
			(void)snprintf(remedy, sizeof remedy, "chattr +C '%s' before it has files",
				doctor->folder);
		else
			(void)snprintf(
				remedy, sizeof remedy, "regionmgrd --dir FOLDER on ext4 or xfs");
		doctor_find(doctor, "file-system", file_systems[i].finding,
			file_systems[i].finding == FINDING_OK ? NULL : remedy,
			"the folder is on %s%s", file_systems[i].name, file_systems[i].why);
		return;
	}
	doctor_find(doctor, "file-system", FINDING_WARN, "regionmgrd --dir FOLDER on ext4 or xfs",
		"the folder is on a file system that is not tested (type %lx)",
		(unsigned long)facts.f_type & 0xffffffffu);
}

static void find_space(struct doctor *doctor, const char *what, const char *name,
	const struct statfs *facts, uint64_t fail_below, uint64_t warn_below, const char *remedy)
{
	uint64_t free = (uint64_t)facts->f_bavail * (uint64_t)facts->f_bsize;
	uint64_t size = (uint64_t)facts->f_blocks * (uint64_t)facts->f_bsize;
	char have[TEXT_NUMBER_BYTES], all[TEXT_NUMBER_BYTES];
	enum finding finding = FINDING_OK;

	text_bytes(have, free);
	text_bytes(all, size);
	if (free < fail_below)
		finding = FINDING_FAIL;
	else if (free < warn_below)
		finding = FINDING_WARN;
	doctor_find(doctor, what, finding, finding == FINDING_OK ? NULL : remedy,
		"%s of %s are free %s", have, all, name);
}

void doctor_space(struct doctor *doctor)
{
	struct statfs facts;
	char remedy[600];

	if (!stat_folder(doctor, &facts))
		return;
	(void)snprintf(remedy, sizeof remedy,
		"df -h '%s'; regionctl list shows what could be dropped", doctor->folder);
	/* a region grows by 2 MB at a time; a twentieth left is little for a replacement */
	find_space(doctor, "space", "for region files", &facts, 64u << 20,
		(uint64_t)facts.f_blocks * (uint64_t)facts.f_bsize / 20, remedy);
}

void doctor_shared_memory(struct doctor *doctor)
{
	struct statfs facts;

	if (statfs("/dev/shm", &facts) != 0 || facts.f_type != TMPFS_MAGIC) {
		doctor_find(doctor, "shared-memory", FINDING_FAIL,
			"mount -t tmpfs -o mode=1777 tmpfs /dev/shm", "/dev/shm is not a tmpfs");
		return;
	}
	/* the region table and a segment a session; region files are elsewhere */
	find_space(doctor, "shared-memory", "in /dev/shm", &facts, 8u << 20, 32u << 20,
		"mount -o remount,size=256M /dev/shm (docker run --shm-size 256m)");
}

/* "Max open files   1024   4096   files" of the manager, if it may be read. */
static bool manager_limit(const struct doctor *doctor, uint64_t *ret_soft)
{
	static const char title[] = "Max open files";
	char path[64], line[256];
	bool found = false;
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%u/limits", doctor->status.pid);
	file = doctor->reached && doctor->status.pid != 0 ? fopen(path, "re") : NULL;
	while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
		found = strncmp(line, title, sizeof title - 1) == 0;
		if (found)
			*ret_soft = strtoull(line + sizeof title - 1, NULL, 10);
	}
	if (file != NULL)
		fclose(file);
	return found;
}

void doctor_descriptors(struct doctor *doctor)
{
	struct rlimit limit;
	uint64_t soft = 0, need = 256;
	char remedy[96];
	bool manager = manager_limit(doctor, &soft);

	if (!manager) {
		if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
			return;
		soft = limit.rlim_cur;
	}
	/* a region each, and segment, connection and pidfd of each reader; twice for growth */
	need += 2 * ((uint64_t)doctor->status.dimensions + 4 * (uint64_t)doctor->status.readers);
	if (manager)
		(void)snprintf(remedy, sizeof remedy, "prlimit --pid %u --nofile=65536",
			doctor->status.pid);
	else
		(void)snprintf(remedy, sizeof remedy, "ulimit -n 65536, then start regionmgrd");
	doctor_find(doctor, "descriptors", soft < need ? FINDING_WARN : FINDING_OK,
		soft < need ? remedy : NULL,
		"%s may open %" PRIu64 " files, %" PRIu64 " are in sight",
		manager ? "the manager" : "a manager started here", soft, need);
}

void doctor_locked_memory(struct doctor *doctor)
{
	struct rlimit limit;
	char text[TEXT_NUMBER_BYTES] = "unlimited";

	if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0)
		return;
	if (limit.rlim_cur != RLIM_INFINITY)
		text_bytes(text, limit.rlim_cur);
	doctor_find(doctor, "locked-memory", FINDING_OK, NULL,
		"locked memory is not needed (the limit is %s)", text);
}

/* The word in brackets of "always [madvise] never". */
static bool chosen_word(const char *path, char *ret_word, size_t bytes)
{
	char line[256] = "", *open, *close;
	FILE *file = fopen(path, "re");

	if (file == NULL)
		return false;
	if (fgets(line, sizeof line, file) == NULL)
		line[0] = '\0';
	fclose(file);
	open = strchr(line, '[');
	close = open == NULL ? NULL : strchr(open, ']');
	if (close == NULL)
		return false;
	*close = '\0';
	(void)snprintf(ret_word, bytes, "%s", open + 1);
	return true;
}

void doctor_huge_pages(struct doctor *doctor)
{
#define HUGE_PAGES "/sys/kernel/mm/transparent_hugepage/"
	char word[32] = "", shared[32] = "?";

	if (!chosen_word(HUGE_PAGES "enabled", word, sizeof word)) {
		doctor_find(doctor, "huge-pages", FINDING_WARN, NULL,
			"this kernel has no transparent huge pages: scans take more page faults");
		return;
	}
	(void)chosen_word(HUGE_PAGES "shmem_enabled", shared, sizeof shared);
	/* region files get large pages from their file system, whatever this says for shared memory */
	doctor_find(doctor, "huge-pages", strcmp(word, "never") == 0 ? FINDING_WARN : FINDING_OK,
		strcmp(word, "never") == 0 ? "echo madvise > " HUGE_PAGES "enabled" : NULL,
		"transparent huge pages: %s; for shared memory: %s", word, shared);
}

void doctor_membarrier(struct doctor *doctor)
{
	long supported = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	bool here = supported > 0 && (supported & MEMBARRIER_CMD_GLOBAL_EXPEDITED) != 0;
	bool used = doctor->reached ? doctor->status.membarrier != 0 : here;

	doctor_find(doctor, "membarrier", used ? FINDING_OK : FINDING_WARN,
		used ? NULL
		     : "allow membarrier(2) where the manager runs (a container's seccomp profile)",
		used ? "membarrier is used: entering a section needs no fence"
		     : "no membarrier: entering a section costs a fence");
}
