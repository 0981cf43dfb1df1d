/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file manager.h
 * The manager as a library: open it inside a process, and other processes attach to it exactly as
 * to `regionmgrd`, which is this library and a main(). Link libregionmgr-manager.
 *
 * Opening starts threads of its own (all signals but SIGBUS blocked in them). It installs a chained
 * SIGBUS handler, since a reader may truncate the shared segment it was given. After a fork the
 * child's copy is dead: every call returns #RGM_EFORKED.
 */
#ifndef REGIONMGR_MANAGER_H
#define REGIONMGR_MANAGER_H

#include <regionmgr/control.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rgm_manager;
struct rgm_writer;

/** How bad a log event is. */
enum rgm_log_level {
	RGM_LOG_ERROR = 3,
	RGM_LOG_WARNING = 4,
	RGM_LOG_INFO = 6,
	RGM_LOG_DEBUG = 7
};

/** One fact of a log event; number is used when text is NULL. */
struct rgm_log_field {
	const char *key;
	const char *text;
	uint64_t number;
};
/** Receives one event. May be called from any of the manager's threads, one call at a time. */
typedef void (*rgm_log)(void *context, enum rgm_log_level level, const char *event,
	const char *sentence, const struct rgm_log_field *fields, size_t field_count);

/** Options of rgm_manager_open(); zero means the default. */
struct rgm_manager_options {
	size_t size;          /**< sizeof(struct rgm_manager_options) */
	const char *instance; /**< default $REGIONMGR_INSTANCE, else "default" */
	const char *dir; /**< folder of the region files; default: see rgm_control_folder_path() */
	const char *socket;         /**< default: see rgm_control_socket_path() */
	uint32_t max_dimensions;    /**< default 4096 */
	uint32_t max_readers;       /**< sessions; default 1024 */
	uint32_t max_clients;       /**< connections; default 2048 */
	uint32_t max_loads;         /**< changes under way at once; default 32 */
	uint64_t default_max_bytes; /**< of a dimension; default 16 GiB */
	uint32_t warn_section_ms;   /**< a reader that keeps memory for longer lags; 10000 */
	const struct rgm_principal *access; /**< who may attach beside this user and root */
	size_t access_count;                /**< ≤ 16 */
	uint32_t disable;                   /**< of enum rgm_disable: for tests of the fallbacks */
	rgm_log log;                        /**< default: nobody */
	void *log_context;
	uint32_t lag_policy; /**< of enum rgm_lag_policy: what becomes of a reader that lags */
	uint64_t lag_bytes;  /**< ... and keeps more than this; default 256 MiB */
};
/**
 * What the manager does about a reader that lags: one that keeps retired memory, by sections or holds on
 * a version that was replaced more than warn_section_ms ago. Each is logged, once.
 */
enum rgm_lag_policy {
	RGM_LAG_WARN = 0, /**< nothing else: what it sees is kept for as long as it looks */
	/** If it keeps more than lag_bytes: its sections and holds at versions before the current one
	 * are void, and the memory is used again. rgm_unpin() and rgm_hold_release() then return
	 * #RGM_EREVOKED. The session lives on: its next section is as good as any. */
	RGM_LAG_LIMIT = 1,
	/** If it keeps more than lag_bytes: SIGKILL to its process, by pidfd. Where there is none (Linux
	 * before 6.5), it is not permitted, or it is the manager's own: as RGM_LAG_LIMIT. */
	RGM_LAG_KILL = 2
};
/** Kernel features that can be declared absent, to run the fallback where they are present. */
enum rgm_disable {
	RGM_DISABLE_MEMBARRIER = 1,
	RGM_DISABLE_PEERPIDFD = 2
};

/**
 * Open the instance's folder, serve what is sound in it, listen on its socket.
 * Errors: #RGM_EINUSE within 100 ms, nothing touched, when another manager serves it; #RGM_ECORRUPT
 * (catalog), #RGM_EFORMAT, -EACCES, -ENOSPC, …
 */
RGM_API int rgm_manager_open(const struct rgm_manager_options *options,
	struct rgm_manager **ret_manager, struct rgm_error *error);

/**
 * Stop cleanly: no new clients, loads under way aborted, everything saved and synced, shared-memory
 * names removed. Readers still attached go on reading what they see. Frees the manager in any case;
 * on failure the dimension named in *error is refused at the next start.
 */
RGM_API int rgm_manager_close(struct rgm_manager *manager, struct rgm_error *error);

/** The socket's path; valid until close. */
RGM_API const char *rgm_manager_socket(const struct rgm_manager *manager);
/** The folder's path; valid until close. */
RGM_API const char *rgm_manager_folder(const struct rgm_manager *manager);

/** As the functions of the same names in control.h, without a socket. Thread-safe. */
RGM_API int rgm_manager_create(struct rgm_manager *manager, const char *name,
	const struct rgm_create_options *options, struct rgm_error *error);
RGM_API int rgm_manager_drop(struct rgm_manager *manager, const char *name, bool dry_run,
	struct rgm_drop_report *ret_report, struct rgm_error *error);
RGM_API int rgm_manager_rename(
	struct rgm_manager *manager, const char *from, const char *to, struct rgm_error *error);

/**
 * A change of one dimension from inside the manager's process: what struct rgm_load is for a client.
 * A writer is used by one thread at a time; writers of different threads run at the same time.
 */
RGM_API int rgm_writer_begin(struct rgm_manager *manager, const char *name,
	const struct rgm_load_options *options, struct rgm_writer **ret_writer,
	struct rgm_error *error);
RGM_API int rgm_writer_put(struct rgm_writer *writer, const char *layer, const void *data,
	size_t data_bytes, const struct rgm_layer_options *options, struct rgm_error *error);
/** Put the rest of a regular file from its beginning, by read(2). */
RGM_API int rgm_writer_put_file(struct rgm_writer *writer, const char *layer, int file,
	const struct rgm_layer_options *options, struct rgm_error *error);
RGM_API int rgm_writer_stream_begin(struct rgm_writer *writer, const char *layer,
	const struct rgm_layer_options *options, struct rgm_error *error);
RGM_API int rgm_writer_stream_append(
	struct rgm_writer *writer, const void *data, size_t data_bytes, struct rgm_error *error);
RGM_API int rgm_writer_stream_end(struct rgm_writer *writer, struct rgm_error *error);
RGM_API int rgm_writer_remove(
	struct rgm_writer *writer, const char *layer, struct rgm_error *error);
RGM_API int rgm_writer_commit(
	struct rgm_writer *writer, struct rgm_load_report *ret_report, struct rgm_error *error);
RGM_API void rgm_writer_abort(struct rgm_writer *writer);

/**
 * Verify a region file that no manager serves: superblocks, directory, allocation map, every layer.
 * Opens it read-only. #RGM_EINUSE if a manager has it open for serving.
 */
RGM_API int rgm_manager_check_file(const char *path, rgm_progress progress, void *context,
	struct rgm_check_report *ret_report, struct rgm_error *error);

#ifdef __cplusplus
}
#endif
#endif
