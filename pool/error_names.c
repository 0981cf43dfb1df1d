/* SPDX-License-Identifier: Apache-2.0 */
/* Names and descriptions of error codes: one line in the table for each code of ours. */
#define _GNU_SOURCE 1 /* strerrorname_np, strerrordesc_np: static strings, unlike strerror() */

#include <string.h>

#include <regionmgr/error.h>

static const struct {
	int code;
	const char *name;
	const char *text;
} codes[] = {
	{0, "RGM_OK", "Success"},
	{RGM_ENAME, "RGM_ENAME", "Invalid name"},
	{RGM_ENODIM, "RGM_ENODIM", "No such dimension"},
	{RGM_ENOLAYER, "RGM_ENOLAYER", "No such layer"},
	{RGM_EDIMEXIST, "RGM_EDIMEXIST", "Dimension exists already"},
	{RGM_ENOMANAGER, "RGM_ENOMANAGER", "No manager is running"},
	{RGM_EPROTOCOL, "RGM_EPROTOCOL", "Protocol error"},
	{RGM_EFORKED, "RGM_EFORKED", "This process is a fork of the one that attached"},
	{RGM_EAGAIN, "RGM_EAGAIN", "Dimension is not mapped in this process"},
	{RGM_EGONE, "RGM_EGONE", "Version or manager is gone"},
	{RGM_EREVOKED, "RGM_EREVOKED", "Version was revoked; what was read is void"},
	{RGM_EIO, "RGM_EIO", "Data was damaged from outside while it was read"},
	{RGM_EBUSY, "RGM_EBUSY", "Busy; try again later"},
	{RGM_ECORRUPT, "RGM_ECORRUPT", "Data is corrupt"},
	{RGM_EDIRTY, "RGM_EDIRTY", "Region file was not closed cleanly"},
	{RGM_EKIND, "RGM_EKIND", "Dimension is of another kind"},
	{RGM_ELIMIT, "RGM_ELIMIT", "A configured limit was reached"},
	{RGM_ECHANGED, "RGM_ECHANGED", "Source changed while it was loaded"},
	{RGM_EREFUSED, "RGM_EREFUSED", "Refused"},
	{RGM_EINUSE, "RGM_EINUSE", "In use by another process"},
	{RGM_EFORMAT, "RGM_EFORMAT", "Unsupported file format"},
};

#define CODES (sizeof(codes) / sizeof(codes[0]))

const char *rgm_error_name(int code)
{
	const char *name = NULL;

	for (size_t i = 0; i < CODES; i++)
		if (codes[i].code == code)
			return codes[i].name;
	if (code < 0 && code > -4096)
		name = strerrorname_np(-code);
	return name != NULL ? name : "RGM_UNKNOWN";
}

const char *rgm_error_text(int code)
{
	const char *text = NULL;

	for (size_t i = 0; i < CODES; i++)
		if (codes[i].code == code)
			return codes[i].text;
	if (code < 0 && code > -4096)
		text = strerrordesc_np(-code);
	return text != NULL ? text : "Unknown error";
}
