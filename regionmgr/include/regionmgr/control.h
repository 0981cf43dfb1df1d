/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file control.h
 * Operating an instance from any process: the client of the manager's control socket, which is all
 * that `regionctl` uses. Changes need the manager's own user or root; looking is allowed to everyone
 * who may attach.
 *
 * Thread-safety: a struct rgm_control is used by one thread at a time; open several for several.
 * A call that fails leaves everything as it was. After -ETIMEDOUT, #RGM_EPROTOCOL and #RGM_EGONE the
 * connection has ended: open another.
 */
#ifndef REGIONMGR_CONTROL_H
#define REGIONMGR_CONTROL_H

#include <regionmgr/error.h>
#include <regionmgr/types.h>

#ifdef __cplusplus
extern "C" {
#else
#include <stdbool.h>
#endif

struct rgm_control;

/** Options of rgm_control_open(); zero means the default. */
struct rgm_control_options {
	size_t size;         /**< sizeof(struct rgm_control_options) */
	const char *socket;  /**< path of the socket; NULL: from the instance's name */
	uint32_t timeout_ms; /**< for each answer; default 5000; long work sends news meanwhile */
};

/**
 * Connect to an instance's manager.
 * @param instance  NULL means $REGIONMGR_INSTANCE, else "default"
 * Errors: #RGM_ENOMANAGER at once when nobody listens, #RGM_EREFUSED, #RGM_EPROTOCOL, #RGM_ENAME.
 */
RGM_API int rgm_control_open(const char *instance, const struct rgm_control_options *options,
	struct rgm_control **ret_control, struct rgm_error *error);
RGM_API void rgm_control_close(struct rgm_control *control);

/**
 * Where an instance lives: writes the socket's path for `instance` (and for `dir`, if not NULL: the
 * folder given to the manager by --dir). Needs no manager.
 */
RGM_API int rgm_control_socket_path(const char *instance, const char *dir, char *ret_path,
	size_t path_bytes, struct rgm_error *error);
/** The folder with the region files, as the manager would choose it. Needs no manager. */
RGM_API int rgm_control_folder_path(
	const char *instance, char *ret_path, size_t path_bytes, struct rgm_error *error);

/** The instance as a whole. */
struct rgm_status {
	char instance[RGM_NAME_MAX + 1];
	char instance_id[33];
	char version_text[16]; /* the manager's program version */
	char folder[512];
	char socket[128];
	uint32_t pid; /* the manager's process; 0 when in another pid namespace */
	uint32_t uid;
	uint64_t started_ns; /* CLOCK_REALTIME */
	uint64_t uptime_ns;
	uint64_t version; /* current version */
	uint32_t dimensions;
	uint32_t refused;         /* region files that are not served */
	uint32_t readers;         /* sessions */
	uint32_t loads;           /* loads under way */
	uint64_t content_bytes;   /* sum over dimensions */
	uint64_t region_bytes;    /* size of the region files */
	uint64_t allocated_bytes; /* pages in use, retired ones included */
	uint64_t retired_bytes;   /* waiting until nobody sees them */
	uint32_t membarrier;      /* 1 if the manager issues it before every scan */
	uint32_t max_dimensions;
};
RGM_API int rgm_control_status(
	struct rgm_control *control, struct rgm_status *ret_status, struct rgm_error *error);

/** One dimension. */
struct rgm_dimension_row {
	char name[RGM_NAME_MAX + 1];
	char kind[16];    /* "layers" */
	char state[16];   /* "serving" or "refused" */
	char mode[16];    /* "memory" */
	char backing[16]; /* "file" */
	char file[64];    /* name within the folder */
	char reason[256]; /* why it is refused, or empty */
	uint64_t id;
	uint64_t generation;
	uint64_t version;    /* of its last change */
	uint64_t changed_ns; /* CLOCK_REALTIME of its last change; 0 before any in this run */
	uint64_t bytes;      /* content */
	uint64_t layers;
	uint64_t region_bytes; /* published size of the region file */
	uint64_t max_bytes;
	uint64_t live_pages;      /* reachable from the current version */
	uint64_t allocated_pages; /* live + retired + not yet published */
	uint64_t retired_pages;
	uint64_t free_pages;
	/* filled by rgm_control_show() alone: */
	uint64_t block_bytes;        /* what the file system has allocated: st_blocks * 512 */
	uint64_t resident_bytes;     /* in memory, by the kernel's count */
	uint64_t largest_free_pages; /* longest free run */
	uint32_t readers;            /* sessions that have mapped it */
	uint32_t holds;
	uint64_t access_count; /* entries in access, of uids and gids that may read it */
	struct rgm_principal {
		uint32_t type; /* 'u' or 'g' */
		uint32_t id;
	} access[16];
};

/** All dimensions, by name. *ret_rows is freed with free(). */
RGM_API int rgm_control_list(struct rgm_control *control, struct rgm_dimension_row **ret_rows,
	size_t *ret_count, struct rgm_error *error);
/** One dimension, with the kernel's counts. #RGM_ENODIM if there is none. */
RGM_API int rgm_control_show(struct rgm_control *control, const char *name,
	struct rgm_dimension_row *ret_row, struct rgm_error *error);

/** Options of rgm_control_create() and of a load that creates; zero means the default. */
struct rgm_create_options {
	size_t size;        /**< sizeof(struct rgm_create_options) */
	enum rgm_kind kind; /**< default layers */
	uint64_t max_bytes; /**< most it may grow to; default 16 GiB */
	const struct rgm_principal
		*access;     /**< who may read beside the owner; default: as the instance */
	size_t access_count; /**< ≤ 16 */
};
/** Create an empty dimension. #RGM_EDIMEXIST, #RGM_ENAME, #RGM_ELIMIT, -ENOSPC, … */
RGM_API int rgm_control_create(struct rgm_control *control, const char *name,
	const struct rgm_create_options *options, struct rgm_error *error);

/** What a destructive verb would touch. */
struct rgm_drop_report {
	uint64_t bytes;
	uint64_t layers;
	uint32_t readers;
	uint32_t holds;
};
/** Drop a dimension; with dry_run only report. ret_report may be NULL. A refused one can be dropped
 * too. Readers that see it go on seeing it. */
RGM_API int rgm_control_drop(struct rgm_control *control, const char *name, bool dry_run,
	struct rgm_drop_report *ret_report, struct rgm_error *error);
/** Rename a dimension. Readers that cached its identity keep it. */
RGM_API int rgm_control_rename(
	struct rgm_control *control, const char *from, const char *to, struct rgm_error *error);

/** One attached session. */
struct rgm_reader_row {
	uint64_t number;
	char label[32];
	uint32_t pid; /* as seen by the manager; 0 if in another pid namespace */
	uint32_t uid;
	uint32_t gid;
	uint32_t alive;      /* 0: proven dead, waiting for its lock (a child lives on) */
	uint32_t membarrier; /* 1: registered */
	uint32_t sections;   /* slots inside a section */
	uint32_t holds;
	uint32_t mapped;         /* regions given to it */
	uint64_t oldest_version; /* in view; 0: none */
	uint64_t newest_version;
	uint64_t age_ns; /* since the oldest version in view was replaced; 0: current or none */
	uint64_t attached_ns; /* since it attached */
	uint64_t kept_bytes;  /* retired bytes that it sees */
	/* "ok"; "lagging": it was logged for keeping memory for long; "revoked": it has sections or
	 * holds that are void, which the figures above leave out; "killed" */
	char lag[16];
	uint64_t revoked_version; /* what it saw of versions below is void; 0: nothing ever was */
};
/** All sessions, by number. *ret_rows is freed with free(). */
RGM_API int rgm_control_readers(struct rgm_control *control, struct rgm_reader_row **ret_rows,
	size_t *ret_count, struct rgm_error *error);

/** One counter. */
struct rgm_counter {
	char name[40];
	char description[88];
	uint64_t value;
	uint32_t gauge; /* 1: goes up and down; 0: only grows */
	uint32_t bytes; /* 1: the value is in bytes */
};
RGM_API int rgm_control_stats(struct rgm_control *control, struct rgm_counter **ret_counters,
	size_t *ret_count, struct rgm_error *error);

/** Called during long work, from the calling thread; total 0 means unknown. Nonzero cancels. */
typedef int (*rgm_progress)(void *context, uint64_t done_bytes, uint64_t total_bytes);

/** What a check found. */
struct rgm_check_report {
	uint64_t layers;
	uint64_t bytes;      /* content whose checksum was verified */
	uint64_t pages_used; /* reached from the root, and by the allocation map */
	uint64_t problems;   /* 0: sound */
	char first_problem[512];
};
/**
 * Verify every checksum and the allocation of one dimension while it is served.
 * @return 0 when sound; #RGM_ECORRUPT with the first problem named in *error and in *ret_report
 */
RGM_API int rgm_control_check(struct rgm_control *control, const char *name, rgm_progress progress,
	void *context, struct rgm_check_report *ret_report, struct rgm_error *error);

/**
 * A change of one layers dimension, published as one version by rgm_load_commit(): layers put and
 * removed by name or, with RGM_LOAD_REPLACE, the whole content replaced.
 *
 * Parts are sent ahead of the manager's work, so that thousands of small layers do not wait for as many
 * answers. What is wrong with a call itself (#RGM_ENAME, -EINVAL) is told at once and leaves the load as
 * it was. Any other failure ends it: nothing of it will be published, that call or a later one returns
 * the failure with a sentence that names the layer, and so do all that follow; commit or abort frees it.
 *
 * The manager ends a load from which it hears nothing for 60 s. Who waits longer for the next bytes (of
 * a slow pipe, say) sends a sign of life by rgm_load_alive().
 */
struct rgm_load;

/** Flags of rgm_load_begin(). */
enum rgm_load_flags {
	RGM_LOAD_CREATE = 1,    /**< create the dimension with the commit if there is none */
	RGM_LOAD_REPLACE = 2,   /**< layers not put in this load are gone after it */
	RGM_LOAD_EXCLUSIVE = 4, /**< with CREATE: #RGM_EDIMEXIST if there is one already */
};
/** Options of rgm_load_begin(); zero means the default. */
struct rgm_load_options {
	size_t size;                      /**< sizeof(struct rgm_load_options) */
	uint32_t flags;                   /**< of enum rgm_load_flags */
	uint64_t expected_bytes;          /**< of content, if known: space is laid out better */
	struct rgm_create_options create; /**< for RGM_LOAD_CREATE */
};
/** Begin a load. Until the commit nobody sees anything of it. One load at a time on a connection;
 * several loads on one dimension may overlap, the later commit sees the earlier one's layers. */
RGM_API int rgm_load_begin(struct rgm_control *control, const char *name,
	const struct rgm_load_options *options, struct rgm_load **ret_load,
	struct rgm_error *error);

/** What is told of a layer when it is put; zero means the default. */
struct rgm_layer_options {
	size_t size;            /**< sizeof(struct rgm_layer_options) */
	uint64_t time_ns;       /**< default: the file's modification time, else now */
	const char *media_type; /**< default: none */
};
/** Put the whole of a regular file. The manager reads it through this descriptor, which may be closed
 * here as soon as the call returned; the file has to stay as it is until the commit: #RGM_ECHANGED if
 * its size or times change. */
RGM_API int rgm_load_file(struct rgm_load *load, const char *layer, int file,
	const struct rgm_layer_options *options, struct rgm_error *error);
/** Put bytes from memory. */
RGM_API int rgm_load_bytes(struct rgm_load *load, const char *layer, const void *data,
	size_t data_bytes, const struct rgm_layer_options *options, struct rgm_error *error);
/** Put a layer piece by piece, its size not known beforehand: begin, any number of appends, end. */
RGM_API int rgm_load_stream_begin(struct rgm_load *load, const char *layer,
	const struct rgm_layer_options *options, struct rgm_error *error);
RGM_API int rgm_load_stream_append(
	struct rgm_load *load, const void *data, size_t data_bytes, struct rgm_error *error);
RGM_API int rgm_load_stream_end(struct rgm_load *load, struct rgm_error *error);
/** A sign of life, at any time between begin and commit: see above. Changes nothing. */
RGM_API int rgm_load_alive(struct rgm_load *load, struct rgm_error *error);
/** Remove a layer; #RGM_ENOLAYER at the commit if it is not there. */
RGM_API int rgm_load_remove(struct rgm_load *load, const char *layer, struct rgm_error *error);

/** What a commit did. */
struct rgm_load_report {
	uint64_t version;
	uint64_t layers_put;
	uint64_t layers_removed;
	uint64_t bytes;
};
/** Publish: when this returns 0, every rgm_pin() that begins afterwards sees the new version. Frees the
 * load, also on failure, when nothing has changed; only where the manager did not answer in time or
 * died meanwhile (-ETIMEDOUT, #RGM_EGONE) that is not known, and the sentence says so. ret_report may be
 * NULL. */
RGM_API int rgm_load_commit(
	struct rgm_load *load, struct rgm_load_report *ret_report, struct rgm_error *error);
/** Forget the load; all its space is free again. NULL is allowed. Takes no longer than the timeout: a
 * manager that has not answered by then hears of it by the end of the connection. */
RGM_API void rgm_load_abort(struct rgm_load *load);

#ifdef __cplusplus
}
#endif
#endif
