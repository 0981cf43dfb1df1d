/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forks of a process that reads.
 *
 * Sections: slots, and the word `here` of a session, stand in cells (cells.c): memory that the kernel
 * gives to a forked child as zeros, also to one that no handler saw. That tells every call, the inlined
 * ones included, that this is not the process that attached. Where the kernel refuses to wipe pages, the
 * fork handler does it.
 *
 * Holds: they stay in force for the children. Before a fork, a session with holds alive opens a new
 * description of its *token*, a memory object of one page, locks it (OFD, shared), maps it and closes
 * it; the child inherits the mapping and with it the lock; the parent unmaps it after the fork. So the
 * lock lives exactly as long as some process that descends from that fork and has not called exec, and
 * the parent asks with a description of its own whether anybody has it. Closing descriptors in the
 * child changes nothing. One token serves all forks between which no hold was taken, and none that it
 * serves was released; each hold knows the first and the last token of its life.
 *
 * A raw clone(2) runs no handler: holds then last until the parent's release. Where a token can't be
 * made, the holds alive stand until the session ends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include "ipc/guard.h"
#include "pool/error.h"
#include "pool/os.h"
#include "regionmgr/reader/reader.h"

#define TOKEN_BYTES 4096u

struct token {
	struct token *next;
	uint64_t number;
	int file;      /* to probe with; has no lock */
	void *mapping; /* between prepare and parent, in the parent; for good in the child */
};

pthread_mutex_t sessions_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rgm_session *sessions; /* under sessions_lock */

int reader_fail_forked(struct rgm_error *error)
{
	pool_fail(error, RGM_EFORKED,
		"this process is a fork of the one that attached, and sections do not cross a "
		"fork");
	pool_hint(error, "call rgm_session_attach() in the child; holds taken before the fork stay "
			 "readable");
	return RGM_EFORKED;
}

/* --- Tokens ----------------------------------------------------------------------------------- */

static bool any_hold(const struct rgm_session *session)
{
	for (uint32_t i = 0; i < HOLD_BUCKETS; i++)
		if (session->buckets[i])
			return true;
	return false;
}

static void mark(struct rgm_hold *hold, const struct token *token)
{
	for (; hold; hold = hold->next) {
		if (!token) {
			hold->for_ever = true;
			continue;
		}
		if (!hold->first_token)
			hold->first_token = token->number;
		hold->last_token = token->number;
	}
}

static struct token *token_create(struct rgm_session *session)
{
	struct token *token = calloc(1, sizeof *token);
	if (!token)
		return NULL;
	if (os_memory_file("regionmgr-token", TOKEN_BYTES, &token->file)) {
		free(token);
		return NULL;
	}
	token->number = ++session->next_token;
	token->next = session->tokens;
	session->tokens = token;
	session->token_spent = false;
	return token;
}

/* A description of its own, locked and mapped. */
static int token_map(struct token *token)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", token->file);
	int file = open(path, O_RDWR | O_CLOEXEC);
	if (file < 0)
		return -errno;
	int rc = os_lock_shared(file);
	if (rc == 0)
		rc = os_map_alone(file, TOKEN_BYTES, &token->mapping);
	close(file);
	return rc;
}

bool reader_tokens_alive(struct rgm_session *session, uint64_t first, uint64_t last)
{
	for (const struct token *token = session->tokens; token; token = token->next) {
		bool held = true;
		if (token->number < first || token->number > last)
			continue;
		/* Not knowing counts as alive. */
		if (os_lock_held(token->file, &held) || held)
			return true;
	}
	return false;
}

/* Close the probes that no hold needs any more. Under session.lock. */
static void drop_tokens(struct rgm_session *session)
{
	struct token **place = &session->tokens;
	while (*place) {
		struct token *token = *place;
		bool held = true;
		if (token != session->tokens && os_lock_held(token->file, &held) == 0 && !held) {
			*place = token->next;
			close(token->file);
			free(token);
		} else {
			place = &token->next;
		}
	}
}

void reader_free_tokens(struct rgm_session *session)
{
	while (session->tokens) {
		struct token *token = session->tokens;
		session->tokens = token->next;
		close(token->file);
		free(token);
	}
}

/* --- Handlers --------------------------------------------------------------------------------- */

static void follow(struct rgm_session *session)
{
	if (!any_hold(session))
		return;
	struct token *token = session->tokens;
	if (!token || session->token_spent) {
		drop_tokens(session);
		token = token_create(session);
	}
	if (token && token_map(token))
		token = NULL;
	for (uint32_t i = 0; i < HOLD_BUCKETS; i++)
		mark(session->buckets[i], token);
}

/* The locks are held over the fork, so that the child gets the lists whole. */
static void before_fork(void)
{
	pthread_mutex_lock(&sessions_lock);
	for (struct rgm_session *session = sessions; session; session = session->next) {
		pthread_mutex_lock(&session->lock);
		if (!reader_forked(session->here))
			follow(session);
	}
	guard_before_fork();
	urcu_bp_call_rcu_before_fork();
	urcu_bp_before_fork();
}

static void after_fork_parent(void)
{
	urcu_bp_after_fork_parent();
	urcu_bp_call_rcu_after_fork_parent();
	guard_after_fork();
	for (struct rgm_session *session = sessions; session; session = session->next) {
		struct token *token = session->tokens;
		/* In a child that forks again, the inherited sessions keep theirs. */
		if (!reader_forked(session->here) && token && token->mapping) {
			os_release(token->mapping, TOKEN_BYTES);
			token->mapping = NULL;
		}
		pthread_mutex_unlock(&session->lock);
	}
	pthread_mutex_unlock(&sessions_lock);
}

/* The child keeps every mapping, tokens included, and closes the connections: they are the parent's,
 * and its death must be seen. */
static void after_fork_child(void)
{
	urcu_bp_after_fork_child();
	urcu_bp_call_rcu_after_fork_child();
	guard_after_fork();
	reader_cells_clear();
	for (struct rgm_session *session = sessions; session; session = session->next) {
		if (session->socket >= 0)
			close(session->socket);
		session->socket = -1;
		pthread_mutex_unlock(&session->lock);
	}
	pthread_mutex_unlock(&sessions_lock);
}

static pthread_once_t watch_once = PTHREAD_ONCE_INIT;
static int watch_rc;

static void watch(void)
{
	watch_rc = -pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

int rgm_watch_forks(void)
{
	pthread_once(&watch_once, watch);
	return watch_rc;
}

void reader_add_session(struct rgm_session *session)
{
	pthread_mutex_lock(&sessions_lock);
	session->next = sessions;
	sessions = session;
	pthread_mutex_unlock(&sessions_lock);
}

/* Called with sessions_lock held. */
void reader_remove_session(struct rgm_session *session)
{
	for (struct rgm_session **place = &sessions; *place; place = &(*place)->next) {
		if (*place == session) {
			*place = session->next;
			break;
		}
	}
}
