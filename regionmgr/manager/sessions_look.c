/* SPDX-License-Identifier: Apache-2.0 */
/* What sessions see: the scan of ipc/slot.h over all of them, and rows about each. */
#include <errno.h>
#include <stdlib.h>

#include "regionmgr/manager/sessions_internal.h"

void sessions_view_free(struct sessions_view *view)
{
	ipc_seen_free(&view->sections);
	free(view->holds);
	*view = (struct sessions_view){0};
}

/* A session's words and holds below its `revoked` are void: sessions_lag.c has the argument. They are
 * left out and counted. */
struct claims {
	uint64_t revoked;
	struct sessions_view *view;
	uint32_t voided;
};

static int add_sections(const struct session *session, struct claims *claims)
{
	struct ipc_seen *seen = &claims->view->sections;
	size_t kept = seen->count, i = kept;
	int rc = ipc_scan_slots(session->segment, session->slots, seen);
	for (; i < seen->count; i++) {
		if (seen->versions[i] < claims->revoked)
			claims->voided++;
		else
			seen->versions[kept++] = seen->versions[i];
	}
	seen->count = kept;
	return rc;
}

static int add_hold(void *context, const struct ipc_held *held)
{
	struct claims *claims = context;
	struct sessions_view *view = claims->view;
	if (held->version < claims->revoked) {
		claims->voided++;
		return 0;
	}
	if (view->hold_count == view->hold_capacity) {
		size_t capacity = view->hold_capacity ? view->hold_capacity * 2 : 64;
		struct ipc_held *holds = reallocarray(view->holds, capacity, sizeof *holds);
		if (!holds)
			return -ENOMEM;
		view->holds = holds;
		view->hold_capacity = capacity;
	}
	view->holds[view->hold_count++] = *held;
	return 0;
}

static int compare_holds(const void *left, const void *right)
{
	const struct ipc_held *a = left, *b = right;
	if (a->dimension != b->dimension)
		return a->dimension < b->dimension ? -1 : 1;
	return a->version < b->version ? -1 : a->version > b->version;
}

static void sort_view(struct sessions_view *view)
{
	ipc_seen_sort(&view->sections);
	if (view->hold_count > 1)
		qsort(view->holds, view->hold_count, sizeof *view->holds, compare_holds);
}

static void tell_damage(struct session *session)
{
	if (session->damage_told || !__atomic_load_n(&session->damage, __ATOMIC_RELAXED))
		return;
	session->damage_told = true;
	manager_count(session->manager, COUNTER_segment_faults, 1);
	manager_log(session->manager, RGM_LOG_WARNING, "segment",
		MANAGER_FIELDS({"reader", NULL, session->number},
			{"pid", NULL, (uint64_t)session->pid}, {"user", NULL, session->uid}),
		"reader %lu (process %d, user %u) cut off its own segment: what it sees is not "
		"kept any more",
		session->number, session->pid, session->uid);
}

int sessions_scan(struct sessions *sessions, struct sessions_view *view)
{
	view->sections.count = 0;
	view->hold_count = 0;
	pthread_mutex_lock(&sessions->lock);
	int rc = 0;
	if (ipc_manager_barrier(sessions->manager->membarrier)) /* M3 */
		for (struct session *s = sessions->first; s && rc == 0; s = s->next)
			if (load32_acquire(&s->segment->membarrier))
				rc = -EAGAIN;
	for (struct session *s = sessions->first; s && rc == 0; s = s->next) /* M4 */
		if (s->alive)
			rc = add_sections(s, &(struct claims){s->revoked, view, 0});
	for (struct session *s = sessions->first; s && rc == 0; s = s->next) { /* M5 */
		struct claims claims = {s->revoked, view, 0};
		rc = ipc_scan_holds(s->segment, s->slots, s->holds, add_hold, &claims);
		tell_damage(s);
	}
	pthread_mutex_unlock(&sessions->lock);
	sort_view(view);
	return rc;
}

uint32_t sessions_count(struct sessions *sessions)
{
	pthread_mutex_lock(&sessions->lock);
	uint32_t count = sessions->count;
	pthread_mutex_unlock(&sessions->lock);
	return count;
}

struct holds_on {
	uint64_t dimension;
	uint64_t revoked;
	uint32_t count;
};

static int count_hold(void *context, const struct ipc_held *held)
{
	struct holds_on *on = context;
	on->count += held->dimension == on->dimension && held->version >= on->revoked;
	return 0;
}

uint32_t sessions_holds_on(struct sessions *sessions, uint64_t dimension)
{
	struct holds_on on = {.dimension = dimension};
	pthread_mutex_lock(&sessions->lock);
	for (struct session *s = sessions->first; s; s = s->next) {
		on.revoked = s->revoked;
		ipc_scan_holds(s->segment, s->slots, s->holds, count_hold, &on);
	}
	pthread_mutex_unlock(&sessions->lock);
	return on.count;
}

static uint32_t mapped_now(const struct session *session)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < session->mapped_count; i++)
		count += !atomic_load_explicit(&session->mapped[i]->dropped, memory_order_relaxed);
	return count;
}

void sessions_each(struct sessions *sessions, uint64_t after, size_t most,
	void (*each)(void *context, struct session_look *look), void *context)
{
	struct sessions_view view = {0};
	pthread_mutex_lock(&sessions->lock);
	for (struct session *s = sessions->first; s && most; s = s->next) {
		if (s->number <= after)
			continue;
		view.sections.count = view.hold_count = 0;
		struct claims claims = {s->revoked, &view, 0};
		if (s->alive)
			add_sections(s, &claims);
		ipc_scan_holds(s->segment, s->slots, s->holds, add_hold, &claims);
		struct session_look look = {.number = s->number,
			.label = s->label,
			.pid = s->pid,
			.uid = s->uid,
			.gid = s->gid,
			.alive = s->alive,
			.membarrier = load32_acquire(&s->segment->membarrier) != 0,
			.mapped = mapped_now(s),
			.attached_ns = s->attached_ns,
			.sections = (uint32_t)view.sections.count,
			.voided = claims.voided,
			.revoked = s->revoked,
			.warned = s->warned,
			.killed_ns = s->killed_ns};
		tell_damage(s);
		sort_view(&view);
		look.view = view;
		each(context, &look);
		most--;
	}
	pthread_mutex_unlock(&sessions->lock);
	sessions_view_free(&view);
}
