/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may connect to the control socket, by the kernel's word on the process that did, and how many of
 * whom. Who may not is told why before the connection is closed.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/socket.h"
#include "pool/error.h"
#include "regionmgr/manager/server.h"
#include "regionmgr/manager/wire.h"

static int read_peer(int socket, struct peer *ret_peer)
{
	struct ucred credentials;
	socklen_t bytes = sizeof credentials;
	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0)
		return -errno;
	*ret_peer = (struct peer){
		.pid = credentials.pid,
		.uid = credentials.uid,
		.gid = credentials.gid,
		.pidfd = -1,
	};
	/* Without its groups, or with more than there is room for, it is judged by what is known. */
	bytes = sizeof ret_peer->groups;
	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, ret_peer->groups, &bytes) == 0)
		ret_peer->group_count = bytes / sizeof *ret_peer->groups;
	return 0;
}

bool peer_is_owner(const struct peer *peer)
{
	return peer->uid == 0 || peer->uid == geteuid();
}

static bool in_group(const struct peer *peer, gid_t gid)
{
	if (peer->gid == gid)
		return true;
	for (size_t i = 0; i < peer->group_count; i++)
		if (peer->groups[i] == gid)
			return true;
	return false;
}

static bool may_attach(const struct rgm_manager *manager, const struct peer *peer)
{
	if (peer_is_owner(peer))
		return true;
	for (size_t i = 0; i < manager->access_count; i++) {
		const struct rgm_principal *principal = &manager->access[i];
		if (principal->type == 'u' ? peer->uid == principal->id
					   : in_group(peer, principal->id))
			return true;
	}
	return false;
}

static uint32_t clients_of(struct manager_server *server, uid_t uid)
{
	uint32_t count = 0;
	struct client *client;
	cds_list_for_each_entry(client, &server->clients, all)
	{
		count += client->peer.uid == uid;
	}
	return count;
}

/* Others may take half of the connections each, three quarters together: the owner gets through. */
static int check_admission(
	struct manager_server *server, const struct peer *peer, struct rgm_error *error)
{
	uint32_t most = server->manager->max_clients;
	if (!may_attach(server->manager, peer))
		return pool_fail(error, RGM_EREFUSED, "user %u may not use instance '%s'",
			(unsigned)peer->uid, server->manager->instance);
	if (server_clients(server->manager) >= most)
		return pool_fail(error, RGM_ELIMIT,
			"instance '%s' has its limit of %u clients (max_clients)",
			server->manager->instance, most);
	if (peer_is_owner(peer))
		return 0;
	if (server->other_count >= most - most / 4)
		return pool_fail(error, RGM_ELIMIT,
			"instance '%s' has its limit of %u clients of other users (max_clients)",
			server->manager->instance, most - most / 4);
	if (clients_of(server, peer->uid) >= most - most / 2)
		return pool_fail(error, RGM_ELIMIT,
			"user %u has its limit of %u clients of instance '%s' (max_clients)",
			(unsigned)peer->uid, most - most / 2, server->manager->instance);
	return 0;
}

/* Counted and told before the answer leaves: who reads it finds both. */
void admit_refuse(struct manager_server *server, int socket, const struct rgm_error *error)
{
	struct ipc_error message;
	struct peer peer = {.pid = 0};
	read_peer(socket, &peer);
	manager_count(server->manager, COUNTER_refusals, 1);
	server_complain(server, "refusal", &peer, "a connection was refused: %s", error->message);
	wire_put_error(&message, 0, error->code, error);
	ipc_send(socket, &message.header, NULL, 0, 0);
	close(socket);
}

int admit_peer(struct manager_server *server, int socket, struct peer *ret_peer)
{
	struct rgm_error error;
	int rc = read_peer(socket, ret_peer);
	if (rc) {
		close(socket);
		return rc;
	}
	manager_count(server->manager, COUNTER_connections, 1);
	rc = check_admission(server, ret_peer, &error);
	if (rc)
		admit_refuse(server, socket, &error);
	return rc;
}
