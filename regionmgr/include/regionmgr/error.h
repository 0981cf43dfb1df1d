/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file error.h
 * How failures are told: a code to branch on, a sentence to show, a hint what to do.
 *
 * A code is 0, a negative errno (-ENOSPC, -EACCES, …) or one of enum rgm_error_code. The sentence
 * is written once, where the facts are known, and names what, where and why.
 */
#ifndef REGIONMGR_ERROR_H
#define REGIONMGR_ERROR_H

#include <regionmgr/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Codes of our own; none collides with an errno. Numbers are never reused. */
enum rgm_error_code {
	RGM_ENAME = -5001,      /**< a name breaks the rules of types.h */
	RGM_ENODIM = -5002,     /**< no dimension of that name */
	RGM_ENOLAYER = -5003,   /**< no layer of that name in the dimension */
	RGM_EDIMEXIST = -5004,  /**< a dimension of that name exists already */
	RGM_ENOMANAGER = -5005, /**< no manager answers at the socket */
	RGM_EPROTOCOL = -5006,  /**< the other side speaks another protocol or sent nonsense */
	RGM_EFORKED = -5007,    /**< this process is a fork of the one that attached: attach anew */
	RGM_EAGAIN = -5008,     /**< the dimension is not mapped in this process: rgm_map() first */
	RGM_EGONE = -5009,      /**< the version or the manager is gone */
	RGM_EREVOKED = -5010,   /**< the manager took the version back; what was read is void */
	RGM_EIO = -5011,        /**< the bytes were damaged from outside while they were read */
	RGM_EBUSY = -5012,      /**< a limit or another operation is in the way; try later */
	RGM_ECORRUPT = -5013,   /**< a checksum or a structure is wrong */
	RGM_EDIRTY = -5014,     /**< a region file was not closed cleanly and is not served */
	RGM_EKIND = -5015,      /**< the dimension is of another kind */
	RGM_ELIMIT = -5016,     /**< a limit with a name was met */
	RGM_ECHANGED = -5017,   /**< the source changed while it was loaded */
	RGM_EREFUSED = -5018,   /**< the credentials do not permit it */
	RGM_EINUSE = -5019,     /**< another manager, or a reader of an earlier one, uses it */
	RGM_EFORMAT = -5020,    /**< a file of another format version, page size or byte order */
};

/** Where a failing call says what happened. Caller-owned; filled on failure alone. */
struct rgm_error {
	int code;          /**< what the call returned */
	char message[512]; /**< one sentence without a full stop: what, name, why */
	char hint[256];    /**< what to do about it, or empty */
};

/** The fixed name of a code, e.g. "RGM_ENODIM" or "ENOSPC"; "RGM_OK" for 0. Static storage. */
RGM_API const char *rgm_error_name(int code);

/** A short description of a code in English, for callers without a struct rgm_error. Static
 * storage; thread-safe. */
RGM_API const char *rgm_error_text(int code);

#ifdef __cplusplus
}
#endif
#endif
