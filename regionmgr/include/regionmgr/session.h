/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file session.h
 * Reading: attach a process, open a slot per thread, and read inside sections or under holds.
 *
 * A **session** is one attached process; it owns one small segment of shared memory, the only
 * shared bytes this process can write. A **slot** is one thread of it. A **section**, from
 * rgm_pin() to rgm_unpin(), fixes the version of every dimension at once: what the thread sees
 * stands still and costs about a nanosecond. A **hold** keeps one dimension at one version beyond
 * the section. None of it ever blocks a writer; memory that a section or a hold can see is not
 * reused meanwhile, and nothing else is kept.
 *
 * Thread-safety: a session may be used by all threads of the process; a slot belongs to the thread
 * that opened it. rgm_pin(), rgm_unpin() and the hold functions are not async-signal-safe: a signal
 * handler that reads needs a slot of its own, opened beforehand.
 *
 * fork(): a section does not cross a fork: rgm_pin() in the child returns #RGM_EFORKED until the
 * child attaches anew. Holds do cross it: what a hold taken before the fork keeps stays readable in
 * the child through the inherited mapping, until the parent has released the hold and the child
 * (with its own children) has ended or called exec.
 */
#ifndef REGIONMGR_SESSION_H
#define REGIONMGR_SESSION_H

#include <regionmgr/error.h>
#include <regionmgr/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rgm_session;
struct rgm_slot;
struct rgm_hold;

/** Which full barrier rgm_pin() of this process uses. */
enum rgm_barrier {
	/** membarrier(2) when the process has one thread at attach and the manager offers it, else a
	 * fence: registering a process that already has threads takes the kernel about 10 ms. */
	RGM_BARRIER_AUTO = 0,
	RGM_BARRIER_FENCE = 1,      /**< a fence instruction in each rgm_pin(), about 1.3 ns */
	RGM_BARRIER_MEMBARRIER = 2, /**< no fence; register even if there are threads */
};

/** Flags of rgm_session_attach(). */
enum rgm_attach_flags {
	/** Install a process-wide SIGBUS handler (chained to the one before): damage to a region from
	 * outside (a truncated file, a bad disk) then ends the section with #RGM_EIO at rgm_unpin()
	 * instead of killing the process. */
	RGM_ATTACH_GUARD_SIGBUS = 1,
};

/** Options of rgm_session_attach(); zero means the default. */
struct rgm_attach_options {
	size_t size;        /**< sizeof(struct rgm_attach_options) */
	const char *socket; /**< path of the socket; NULL: from the instance's name */
	uint32_t slots;     /**< most threads with a slot at once, ≤ 4096; default 128 */
	uint32_t holds;     /**< most holds at once, ≤ 65536; default 256 */
	enum rgm_barrier barrier;
	uint32_t flags;      /**< of enum rgm_attach_flags */
	uint32_t timeout_ms; /**< for each answer of the manager; default 5000 */
	const char *label;   /**< shown by `regionctl readers`; default the process's name */
};

/**
 * Attach this process to an instance.
 *
 * @param instance  its name; NULL means $REGIONMGR_INSTANCE, else "default"
 * @param options   NULL for defaults
 * Errors: #RGM_ENOMANAGER (nobody listens), #RGM_EREFUSED (credentials), #RGM_EPROTOCOL (another
 * protocol version), #RGM_ELIMIT, -EMFILE, -ENOMEM, -ETIMEDOUT.
 * Cost: about 100 us, whatever the number and size of dimensions. Thread-safe.
 *
 * The session outlives a manager that was killed: the next one takes it over, and calls that need a manager
 * go on there. After a clean stop what is mapped stays readable, and one attaches again for more.
 */
RGM_API int rgm_session_attach(const char *instance, const struct rgm_attach_options *options,
	struct rgm_session **ret_session, struct rgm_error *error);

/**
 * Detach: close the slots that are still open, release the holds, unmap everything, free the
 * session. NULL is allowed. Spans and holds of the session end here; holds that a forked child may
 * still read through stay in force until that child ends. Call it when no thread is inside a
 * section. In a forked child it only ends the use of the session there: inherited mappings, and a little
 * memory, stay until the child ends.
 */
RGM_API void rgm_session_detach(struct rgm_session *session);

/** Facts about a session. */
struct rgm_session_info {
	size_t size;            /**< sizeof(struct rgm_session_info), set by the caller */
	uint64_t number;        /**< as in `regionctl readers` */
	uint64_t version;       /**< the current version, now */
	uint32_t mapped;        /**< dimensions mapped in this process */
	uint32_t dimensions;    /**< dimensions in the current version */
	uint32_t membarrier;    /**< 1: pins need no fence */
	uint32_t manager_alive; /**< 0: there is no manager now that knows the session */
	char instance_id[33];   /**< 32 hexadecimal digits and NUL */
};
RGM_API int rgm_session_info(
	struct rgm_session *session, struct rgm_session_info *ret_info, struct rgm_error *error);

/**
 * Follow the forks of this process from now on. rgm_session_attach() and rgm_manager_open() do it by
 * themselves; a program that calls it once at its start also has the forks followed that happen before.
 * Without it a child that is forked while another thread of regionmgr is at work may find a lock of
 * liburcu's locked for good. Thread-safe; a second call does nothing.
 * Errors: -ENOMEM.
 */
RGM_API int rgm_watch_forks(void);

/**
 * Map a dimension into this process, read-only, over a window as large as it may ever grow. Needed
 * once per dimension and process, outside sections; growth needs no further call. A dimension that
 * is mapped already costs a lookup. Thread-safe.
 * Errors: #RGM_ENODIM (also for a dimension that the manager refuses to serve), #RGM_EREFUSED,
 * #RGM_EGONE (no manager now, or one that does not know the session: then attach again), #RGM_EFORKED,
 * #RGM_ELIMIT, -ENOMEM.
 */
RGM_API int rgm_map(struct rgm_session *session, const char *name, struct rgm_error *error);

/** rgm_map() of every dimension of the current version that this process may read. */
RGM_API int rgm_map_all(struct rgm_session *session, struct rgm_error *error);

/**
 * Open a slot for the calling thread. The slot is closed by rgm_slot_close() or, when the thread
 * ends or is cancelled, by itself, an open section included.
 * Errors: #RGM_ELIMIT (all slots of the session are open), #RGM_EFORKED, -ENOMEM.
 */
RGM_API int rgm_slot_open(
	struct rgm_session *session, struct rgm_slot **ret_slot, struct rgm_error *error);

/** Close a slot, from its thread, outside a section. NULL is allowed. */
RGM_API void rgm_slot_close(struct rgm_slot *slot);

/**
 * Enter a section: this thread's view of all dimensions stands still at the current version.
 * Sections nest; an inner rgm_pin() keeps the outer version. No lock, no system call, and in membarrier
 * form no fence and no call: see inline.h.
 * @return 0; #RGM_EFORKED; -EINVAL when the session was detached
 */
RGM_API int rgm_pin(struct rgm_slot *slot);

/**
 * Leave the section. Spans obtained in it end with the outermost rgm_unpin(), which alone tells what
 * became of them.
 * @return 0; #RGM_EREVOKED (the manager took the version back) or #RGM_EIO (damage from outside): what was
 * read since rgm_pin() is void, and the section is over all the same; #RGM_EFORKED in a forked child, where
 * nothing is stored; -EINVAL outside a section.
 */
RGM_API int rgm_unpin(struct rgm_slot *slot);

/** The version that the slot's section sees; 0 outside a section. */
RGM_API uint64_t rgm_slot_version(const struct rgm_slot *slot);

/**
 * A dimension's identity, cached by the caller: faster than its name, and still the same dimension
 * after a rename. A dimension created anew under an old name is another one.
 */
struct rgm_dimension {
	uint64_t id;    /**< never reused within an instance */
	uint32_t index; /**< place in the region table */
	uint32_t kind;  /**< enum rgm_kind */
};

/**
 * Look a dimension up by name, inside a section.
 * Errors: #RGM_ENODIM, -EINVAL (outside a section).
 */
RGM_API int rgm_find(struct rgm_slot *slot, const char *name, struct rgm_dimension *ret_dimension,
	struct rgm_error *error);

/** What a section sees of a dimension's table entry. */
struct rgm_dimension_info {
	size_t size; /**< sizeof(struct rgm_dimension_info), set by the caller */
	struct rgm_dimension dimension;
	char name[RGM_NAME_MAX + 1];
	uint64_t generation;   /**< number of changes so far */
	uint64_t changed;      /**< version of the last change */
	uint64_t region_bytes; /**< published size of the region */
	uint64_t window_bytes; /**< most it may grow to without a new mapping */
	uint32_t mapped;       /**< 1 if mapped in this process */
};

/**
 * Step through the dimensions of the section's version, in no particular order.
 * @param cursor  starts at 0; opaque otherwise
 * @return 1 with *ret_info filled, 0 at the end, negative on error
 */
RGM_API int rgm_next_dimension(
	struct rgm_slot *slot, uint32_t *cursor, struct rgm_dimension_info *ret_info);

/**
 * Keep one dimension at the version of the current section, beyond that section. Taken inside a
 * section; may be released by any thread. Holds of one dimension at one version share one entry.
 * Errors: #RGM_ELIMIT (all holds of the session are in use), #RGM_EAGAIN (not mapped), #RGM_EGONE
 * (the dimension is not in this version), -EINVAL (outside a section).
 */
RGM_API int rgm_hold_take(struct rgm_slot *slot, const struct rgm_dimension *dimension,
	struct rgm_hold **ret_hold, struct rgm_error *error);

/**
 * Release a hold: spans obtained through it end. NULL is allowed.
 * @return 0, or #RGM_EREVOKED / #RGM_EIO: what was read through it is void; in a forked child, where
 * nothing is stored, #RGM_EREVOKED likewise, else #RGM_EFORKED
 */
RGM_API int rgm_hold_release(struct rgm_hold *hold);

/** The version a hold keeps. */
RGM_API uint64_t rgm_hold_version(const struct rgm_hold *hold);

/** The current version, read outside a section: news, not a view. */
RGM_API uint64_t rgm_current_version(const struct rgm_session *session);

/**
 * Sleep until the current version is newer than `seen`, without polling. Thread-safe: any number of
 * threads may sleep, outside sections or inside.
 * @param timeout_ms  -1 waits for ever, 0 only looks
 * @return 0 with the current version; -ETIMEDOUT; #RGM_EGONE when the manager has stopped, or, within
 * half a second, was killed; -EINTR; #RGM_EFORKED
 */
RGM_API int rgm_wait(struct rgm_session *session, uint64_t seen, int64_t timeout_ms,
	uint64_t *ret_version, struct rgm_error *error);

/** What may be waited for: bits of rgm_wait_options.events and rgm_news.events. */
enum rgm_news_event {
	RGM_NEWS_VERSION = 1, /**< any newer version, whatever changed in it */
	/** A dimension has the name that is not the one seen: created, created anew, renamed to it. */
	RGM_NEWS_CREATED = 2,
	/** Its content is another than was seen; also of one that was created. Not of a rename. */
	RGM_NEWS_CHANGED = 4,
	/** Its region is larger than was seen; also of one that was created. */
	RGM_NEWS_GROWN = 8,
	RGM_NEWS_RENAMED = 16, /**< the one seen has another name now */
	RGM_NEWS_DROPPED =
		32, /**< the one seen is in no version any more: dropped, or retired by a load
				* that replaced it as a whole */
};

/**
 * What was found, and what the next wait goes on from (rgm_wait_options.seen). All zeros but `size` say
 * that nothing was seen yet: a dimension that is there then counts as created.
 */
struct rgm_news {
	size_t size;      /**< sizeof(struct rgm_news), set by the caller */
	uint64_t version; /**< the version that was looked at */
	uint32_t events;  /**< which of the awaited ones happened, of enum rgm_news_event */
	uint32_t
		present; /**< 1: the dimension is in that version; 0: what follows is what was seen last */
	struct rgm_dimension dimension;
	char name[RGM_NAME_MAX + 1]; /**< its name; another than was asked for after a rename */
	uint64_t generation;         /**< number of changes so far */
	uint64_t changed;            /**< version of the last change */
	uint64_t region_bytes;       /**< published size of the region */
	uint64_t newest;             /**< largest id of a dimension, where no name was given */
};

/** Options of rgm_wait_for(). */
struct rgm_wait_options {
	size_t size;      /**< sizeof(struct rgm_wait_options) */
	uint32_t events;  /**< of enum rgm_news_event, at least one */
	const char *name; /**< the dimension; NULL: any one, for all but growth and renames */
	/** What the caller knows; may be what ret_news points to. NULL: what is there at the call. */
	const struct rgm_news *seen;
	int64_t timeout_ms; /**< -1 waits for ever, 0 only looks */
};

/**
 * Sleep until something awaited has happened since `seen`. Changes of other dimensions do not end the
 * wait. Several that happened meanwhile are told at once; what came and went between two looks (a
 * generation, a dimension that was created and dropped) is not told. The one that was seen is followed by
 * its identity, through renames, until another one has the name.
 *
 * What is reloaded after the return is at least as new as *ret_news, so nothing is missed by
 *
 *     struct rgm_news news = {.size = sizeof news};
 *     struct rgm_wait_options options = {.size = sizeof options, .name = "libs", .seen = &news,
 *             .events = RGM_NEWS_CHANGED | RGM_NEWS_DROPPED, .timeout_ms = -1};
 *     while (rgm_wait_for(session, &options, &news, &error) == 0)
 *             reload();
 *
 * With a name a look costs as much as rgm_find(), without one it goes through all dimensions. Thread-safe;
 * the calling thread needs no slot. A cancelled thread ends within half a second.
 *
 * Errors: -ETIMEDOUT; #RGM_ENODIM (there is no such dimension, and neither its creation nor any version is
 * waited for); #RGM_EGONE (the manager has stopped, or, within half a second, was killed; what happened
 * before is told first); -EINTR (a signal handler ran); #RGM_EFORKED; -EINVAL (no events, unknown ones, or
 * growth or renames without a name); #RGM_ENAME. *ret_news is untouched on failure.
 */
RGM_API int rgm_wait_for(struct rgm_session *session, const struct rgm_wait_options *options,
	struct rgm_news *ret_news, struct rgm_error *error);

#ifdef __cplusplus
}
#endif

#include <regionmgr/inline.h> /* rgm_pin() and rgm_unpin() without a call */

#endif
