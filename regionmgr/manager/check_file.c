/* SPDX-License-Identifier: Apache-2.0 */
/* Checking a region file that no manager serves. Reads only; needs no instance. */
#include <stdio.h>
#include <string.h>

#include "dimensions/kind.h"
#include "pool/error.h"
#include <regionmgr/manager.h>

static int check_region(struct pool_region *region, const char *path, rgm_progress progress,
	void *context, struct rgm_check_report *report, struct rgm_error *error)
{
	struct pool_region_info info;
	pool_region_info(region, &info);
	if (info.dirty) {
		report->problems = 1;
		snprintf(report->first_problem, sizeof report->first_problem,
			"it was not closed cleanly");
		pool_fail(error, RGM_EDIRTY,
			"region file '%s' was not closed cleanly, and this version has no recovery",
			path);
		return RGM_EDIRTY;
	}
	const struct dim_kind *kind = dim_kind_by_number(info.kind);
	if (!kind)
		return pool_fail(error, RGM_EFORMAT,
			"region file '%s' is of kind %u, which this program does not know", path,
			info.kind);
	int rc = dim_check(region, &info.root, NULL, progress, context, report, error);
	if (rc == 0 && report->problems)
		rc = pool_fail(
			error, RGM_ECORRUPT, "region file '%s': %s", path, report->first_problem);
	return rc;
}

int rgm_manager_check_file(const char *path, rgm_progress progress, void *context,
	struct rgm_check_report *ret_report, struct rgm_error *error)
{
	struct rgm_check_report report = {0};
	struct pool_region *region;
	int rc = pool_region_open_check(path, &region, error);
	if (rc)
		return rc;
	rc = check_region(region, path, progress, context, &report, error);
	pool_region_close(region);
	if (ret_report)
		*ret_report = report;
	return rc;
}
