/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `regionctl doctor` looks at. An examination is a function that adds findings: a fact, how bad
 * it is, and the command that mends it. It looks only; it changes nothing and needs no manager unless
 * it says so.
 */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "regionmgr/cli/cli.h"

enum finding {
	FINDING_OK,
	FINDING_WARN,
	FINDING_FAIL
};

struct doctor {
	struct cli *cli;
	struct table *table;
	bool reached; /* is there a manager? status is valid then */
	struct rgm_status status;
	char folder[512]; /* of the region files */
	size_t counts[3]; /* of findings, by enum finding */
};

/* `remedy` may be NULL. */
__attribute__((format(printf, 5, 6))) void doctor_find(struct doctor *doctor, const char *what,
	enum finding finding, const char *remedy, const char *format, ...);

/* doctor_system.c: what the machine offers */
void doctor_file_system(struct doctor *doctor);
void doctor_space(struct doctor *doctor);
void doctor_shared_memory(struct doctor *doctor);
void doctor_descriptors(struct doctor *doctor);
void doctor_locked_memory(struct doctor *doctor);
void doctor_huge_pages(struct doctor *doctor);
void doctor_membarrier(struct doctor *doctor);

/* doctor_leftovers.c: shared memory of managers that are gone */
void doctor_leftovers(struct doctor *doctor);

#endif
