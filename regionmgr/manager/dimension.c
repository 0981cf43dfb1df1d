/* SPDX-License-Identifier: Apache-2.0 */
/* The registry: dimensions by name and by id, found without a lock. See dimension.h. */
#include "regionmgr/manager/dimension.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <urcu/compiler.h>

#include "regionmgr/manager/files.h"

#define REGISTRY_BUCKETS 4096u

struct registry {
	struct cds_lfht *by_name; /* struct dim_state */
	struct cds_lfht *by_id;   /* struct dimension */
};

static unsigned long hash_name(const char *name)
{
	return (unsigned long)ipc_name_hash(name, strlen(name)) >> 32;
}

static unsigned long hash_id(uint64_t id)
{
	return (unsigned long)(id * 0x9e3779b97f4a7c15ull) >> 32;
}

static int match_name(struct cds_lfht_node *node, const void *key)
{
	return strcmp(caa_container_of(node, struct dim_state, by_name)->name, key) == 0;
}

static int match_id(struct cds_lfht_node *node, const void *key)
{
	return caa_container_of(node, struct dimension, by_id)->id == *(const uint64_t *)key;
}

int registry_create(struct rgm_manager *manager, struct registry **ret_registry)
{
	(void)manager;
	struct registry *registry = calloc(1, sizeof *registry);
	if (!registry)
		return -ENOMEM;
	/* Start liburcu's thread for deferred work here: not to take the application's signals. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	urcu_bp_get_default_call_rcu_data();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	/* A fixed size: resizing needs a thread of liburcu's own. */
	registry->by_name = cds_lfht_new_flavor(
		REGISTRY_BUCKETS, REGISTRY_BUCKETS, 0, 0, &urcu_bp_flavor, NULL);
	registry->by_id = cds_lfht_new_flavor(
		REGISTRY_BUCKETS, REGISTRY_BUCKETS, 0, 0, &urcu_bp_flavor, NULL);
	if (!registry->by_name || !registry->by_id) {
		if (registry->by_name)
			cds_lfht_destroy(registry->by_name, NULL);
		if (registry->by_id)
			cds_lfht_destroy(registry->by_id, NULL);
		free(registry);
		return -ENOMEM;
	}
	*ret_registry = registry;
	return 0;
}

void dimension_close_region(struct pool_region *region)
{
	if (!region)
		return;
	/* liburcu frees in a forked child what it had to free when that was forked. */
	if (!files_forget(pool_region_file(region)))
		pool_region_lose_file(region);
	pool_region_close(region);
}

static void free_state(struct rcu_head *head)
{
	free(caa_container_of(head, struct dim_state, rcu));
}

static void free_figure(struct urcu_ref *references)
{
	free(caa_container_of(references, struct map_figure, references));
}

void map_figure_put(struct map_figure *figure)
{
	urcu_ref_put(&figure->references, free_figure);
}

static void free_dimension(struct rcu_head *head)
{
	struct dimension *dimension = caa_container_of(head, struct dimension, rcu);
	dimension_close_region(dimension->region);
	free(dimension->state);
	map_figure_put(dimension->mapped);
	free(dimension);
}

static void release(struct urcu_ref *references)
{
	struct dimension *dimension = caa_container_of(references, struct dimension, references);
	/* Its region is closed behind the grace period, too: who looks without a reference sees it. */
	urcu_bp_call_rcu(&dimension->rcu, free_dimension);
}

void registry_destroy(struct rgm_manager *manager)
{
	struct registry *registry = manager->registry;
	if (!registry)
		return;
	struct cds_lfht_iter iterator;
	struct dimension *dimension;
	urcu_bp_read_lock();
	cds_lfht_for_each_entry(registry->by_id, &iterator, dimension, by_id)
	{
		cds_lfht_del(registry->by_id, &dimension->by_id);
		cds_lfht_del(registry->by_name, &dimension->state->by_name);
		dimension_put(dimension);
	}
	urcu_bp_read_unlock();
	urcu_bp_barrier(); /* frees what the put left to call_rcu; the tables' nodes are gone then */
	cds_lfht_destroy(registry->by_name, NULL);
	cds_lfht_destroy(registry->by_id, NULL);
	free(registry);
	manager->registry = NULL;
}

struct dimension *dimension_create(struct rgm_manager *manager, uint64_t id)
{
	struct dimension *dimension = calloc(1, sizeof *dimension);
	struct map_figure *figure = calloc(1, sizeof *figure);
	if (!dimension || !figure) {
		free(dimension);
		free(figure);
		return NULL;
	}
	urcu_ref_init(&figure->references);
	dimension->mapped = figure;
	dimension->manager = manager;
	dimension->id = id;
	urcu_ref_init(&dimension->references);
	return dimension;
}

struct dim_state *dim_state_create(struct dimension *dimension, const char *name)
{
	struct dim_state *state = calloc(1, sizeof *state);
	if (!state)
		return NULL;
	state->dimension = dimension;
	memcpy(state->name, name, strnlen(name, RGM_NAME_MAX));
	return state;
}

void dimension_get(struct dimension *dimension)
{
	urcu_ref_get(&dimension->references);
}

void dimension_put(struct dimension *dimension)
{
	if (dimension)
		urcu_ref_put(&dimension->references, release);
}

struct dimension *dimension_find(struct rgm_manager *manager, const char *name)
{
	struct dimension *found = NULL;
	struct cds_lfht_iter iterator;
	urcu_bp_read_lock();
	cds_lfht_lookup(manager->registry->by_name, hash_name(name), match_name, name, &iterator);
	struct cds_lfht_node *node = cds_lfht_iter_get_node(&iterator);
	if (node) {
		found = caa_container_of(node, struct dim_state, by_name)->dimension;
		if (!urcu_ref_get_unless_zero(&found->references))
			found = NULL;
	}
	urcu_bp_read_unlock();
	return found;
}

struct dimension *dimension_find_id(struct rgm_manager *manager, uint64_t id)
{
	struct dimension *found = NULL;
	struct cds_lfht_iter iterator;
	urcu_bp_read_lock();
	cds_lfht_lookup(manager->registry->by_id, hash_id(id), match_id, &id, &iterator);
	struct cds_lfht_node *node = cds_lfht_iter_get_node(&iterator);
	if (node) {
		found = caa_container_of(node, struct dimension, by_id);
		if (!urcu_ref_get_unless_zero(&found->references))
			found = NULL;
	}
	urcu_bp_read_unlock();
	return found;
}

void registry_add(struct rgm_manager *manager, struct dimension *dimension, struct dim_state *state)
{
	dimension_get(dimension);
	if (dimension->state != state)
		free(dimension->state); /* nobody has seen it */
	dimension->state = state;
	urcu_bp_read_lock();
	cds_lfht_add(manager->registry->by_id, hash_id(dimension->id), &dimension->by_id);
	cds_lfht_add(manager->registry->by_name, hash_name(state->name), &state->by_name);
	urcu_bp_read_unlock();
}

void registry_update(struct dimension *dimension, struct dim_state *state)
{
	struct cds_lfht *by_name = dimension->manager->registry->by_name;
	struct dim_state *old = dimension->state;
	rcu_assign_pointer(dimension->state, state);
	urcu_bp_read_lock();
	if (strcmp(old->name, state->name) == 0) {
		struct cds_lfht_iter iterator;
		unsigned long hash = hash_name(state->name);
		cds_lfht_lookup(by_name, hash, match_name, state->name, &iterator);
		cds_lfht_replace(
			by_name, &iterator, hash, match_name, state->name, &state->by_name);
	} else {
		cds_lfht_add(by_name, hash_name(state->name), &state->by_name);
		cds_lfht_del(by_name, &old->by_name);
	}
	urcu_bp_read_unlock();
	urcu_bp_call_rcu(&old->rcu, free_state);
}

void registry_remove(struct dimension *dimension)
{
	struct registry *registry = dimension->manager->registry;
	urcu_bp_read_lock();
	cds_lfht_del(registry->by_name, &dimension->state->by_name);
	cds_lfht_del(registry->by_id, &dimension->by_id);
	urcu_bp_read_unlock();
	dimension->dropped = true;
	atomic_store_explicit(&dimension->mapped->dropped, true, memory_order_relaxed);
	dimension_put(dimension);
}

int registry_each(struct rgm_manager *manager,
	int (*each)(void *context, struct dimension *dimension, const struct dim_state *state),
	void *context)
{
	struct cds_lfht_iter iterator;
	struct dimension *dimension;
	int rc = 0;
	urcu_bp_read_lock();
	cds_lfht_for_each_entry(manager->registry->by_id, &iterator, dimension, by_id)
	{
		rc = each(context, dimension, rcu_dereference(dimension->state));
		if (rc)
			break;
	}
	urcu_bp_read_unlock();
	return rc;
}

static bool listed(const struct rgm_principal *access, size_t count, uid_t uid, gid_t gid,
	const gid_t *groups, size_t group_count)
{
	for (size_t i = 0; i < count; i++) {
		if (access[i].type == 'u' && access[i].id == uid)
			return true;
		if (access[i].type != 'g')
			continue;
		if (access[i].id == gid)
			return true;
		for (size_t g = 0; g < group_count; g++)
			if (access[i].id == groups[g])
				return true;
	}
	return false;
}

bool dimension_permits(struct rgm_manager *manager, const struct dimension *dimension, uid_t uid,
	gid_t gid, const gid_t *groups, size_t group_count)
{
	if (uid == 0 || uid == geteuid())
		return true;
	if (dimension->access_count)
		return listed(
			dimension->access, dimension->access_count, uid, gid, groups, group_count);
	return listed(manager->access, manager->access_count, uid, gid, groups, group_count);
}
