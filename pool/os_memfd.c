/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is passed to another process by descriptor. See os.h. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "pool/os.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u /* Linux 6.3; younger than the C library's headers */
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

int os_memfd_create(const char *label, int *ret_file)
{
	const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int file = memfd_create(label, flags | MFD_NOEXEC_SEAL);
	if (file < 0 && errno == EINVAL)
		file = memfd_create(label, flags);
	if (file < 0)
		return -errno;
	*ret_file = file;
	return 0;
}

int os_memfd_seal(int file)
{
	return fcntl(file, F_ADD_SEALS, SEALS | F_SEAL_SEAL) < 0 ? -errno : 0;
}

bool os_memfd_sealed(int file)
{
	int seals = fcntl(file, F_GET_SEALS);
	return seals >= 0 && (seals & SEALS) == SEALS;
}
