/* SPDX-License-Identifier: Apache-2.0 */
/* What the checks of all kinds share. */
#ifndef DIMENSIONS_CHECK_H
#define DIMENSIONS_CHECK_H

#include "dimensions/kind.h"

/* Count a problem; the first one's sentence is kept. */
__attribute__((format(printf, 2, 3))) void dim_report_problem(
	struct rgm_check_report *report, const char *format, ...);

#endif
