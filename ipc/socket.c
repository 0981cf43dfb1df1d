/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: listening, connecting, and whole messages in and out. EINTR and waiting end
 * here; the clock is CLOCK_MONOTONIC. Sockets are used without blocking whatever their mode is:
 * waiting is done in ipc_wait() alone, so that each deadline holds.
 */
#include "ipc/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "pool/error.h"
#include "pool/os.h"

#define LISTEN_QUEUE       4096 /* the kernel lowers it to net.core.somaxconn */
#define CONNECT_TIMEOUT_MS 5000

static int fill_address(const char *path, const char *suffix, struct sockaddr_un *ret_address,
	struct rgm_error *error)
{
	int rc = ipc_check_socket_path(path, error);
	if (rc != 0)
		return rc;
	size_t length = strlen(path);
	static_assert(IPC_SOCKET_PATH_MAX + sizeof ".new" <= sizeof ret_address->sun_path,
		"the longest path fits");
	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret_address->sun_path, path, length);
	memcpy(ret_address->sun_path + length, suffix, strlen(suffix));
	return 0;
}

/* --- the folder ------------------------------------------------------------------------------- */

/* Others who could replace what lies in the folder could pose as the manager. */
static int check_folder(const char *path, struct rgm_error *error)
{
	struct stat status;
	if (lstat(path, &status) != 0)
		return pool_fail_errno(error, "folder '%s'", path);
	if (S_ISLNK(status.st_mode))
		return pool_fail(error, RGM_EREFUSED, "folder '%s' is a symlink", path);
	if (!S_ISDIR(status.st_mode))
		return pool_fail(error, -ENOTDIR, "'%s' is not a folder", path);
	if (status.st_uid != geteuid() && status.st_uid != 0)
		return pool_fail(error, RGM_EREFUSED, "folder '%s' belongs to user %u", path,
			(unsigned)status.st_uid);
	if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (status.st_mode & S_ISVTX) == 0) {
		pool_fail(error, RGM_EREFUSED, "folder '%s' may be written by others (mode %04o)",
			path, (unsigned)status.st_mode & 07777);
		pool_hint(error, "chmod go-w '%s'", path);
		return RGM_EREFUSED;
	}
	return 0;
}

int ipc_make_folder(const char *path, mode_t mode, struct rgm_error *error)
{
	char parent[PATH_MAX];
	size_t length = strnlen(path, sizeof parent);
	if (length == 0 || length == sizeof parent)
		return pool_fail(error, -ENAMETOOLONG, "the folder's path is empty or too long");
	memcpy(parent, path, length + 1);
	while (length > 1 && parent[length - 1] == '/')
		parent[--length] = '\0';

	for (size_t i = 1; i < length; i++) {
		if (parent[i] != '/' || parent[i - 1] == '/')
			continue;
		parent[i] = '\0';
		if (mkdir(parent, 0755) != 0 && errno != EEXIST)
			return pool_fail_errno(error, "making folder '%s'", parent);
		parent[i] = '/';
	}
	if (mkdir(parent, 0700) == 0) {
		if (chmod(parent, mode) != 0)
			return pool_fail_errno(error, "setting the mode of folder '%s'", parent);
	} else if (errno != EEXIST) {
		return pool_fail_errno(error, "making folder '%s'", parent);
	}
	return check_folder(parent, error);
}

static int check_folder_of(const char *path, struct rgm_error *error)
{
	char folder[sizeof((struct sockaddr_un *)NULL)->sun_path];
	const char *slash = strrchr(path, '/');
	if (slash == NULL)
		return check_folder(".", error);
	size_t length = slash == path ? 1 : (size_t)(slash - path);
	memcpy(folder, path, length);
	folder[length] = '\0';
	return check_folder(folder, error);
}

/* --- listening and connecting ----------------------------------------------------------------- */

static int new_socket(struct rgm_error *error)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return fd >= 0 ? fd : pool_fail_errno(error, "making a socket");
}

/* What stands where the socket is to be: nothing, or a socket on which nobody listens. */
static int check_stale(const struct sockaddr_un *address, struct rgm_error *error)
{
	struct stat status;
	const char *path = address->sun_path;
	if (lstat(path, &status) != 0)
		return errno == ENOENT ? 0 : pool_fail_errno(error, "socket '%s'", path);
	if (!S_ISSOCK(status.st_mode))
		return pool_fail(error, -EEXIST, "'%s' exists and is not a socket", path);

	int probe = new_socket(error);
	if (probe < 0)
		return probe;
	int rc = connect(probe, (const struct sockaddr *)address, sizeof *address);
	bool lives = rc == 0 || errno == EAGAIN || errno == EPROTOTYPE;
	close(probe);
	return lives ? pool_fail(error, RGM_EINUSE, "somebody else listens on socket '%s'", path)
	             : 0;
}

/* Bind under the temporary name; the file has its mode before anybody can connect. */
static int bind_aside(int fd, const struct sockaddr_un *aside, mode_t mode, struct rgm_error *error)
{
	struct stat status;
	const char *path = aside->sun_path;
	if (lstat(path, &status) == 0) {
		if (!S_ISSOCK(status.st_mode))
			return pool_fail(error, -EEXIST, "'%s' exists and is not a socket", path);
		if (unlink(path) != 0)
			return pool_fail_errno(error, "removing '%s'", path);
	}
	if (bind(fd, (const struct sockaddr *)aside, sizeof *aside) != 0)
		return pool_fail_errno(error, "making socket '%s'", path);
	if (chmod(path, mode) != 0 || listen(fd, LISTEN_QUEUE) != 0) {
		int rc = pool_fail_errno(error, "listening on socket '%s'", path);
		unlink(path);
		return rc;
	}
	return 0;
}

int ipc_listen(const char *path, uint32_t mode, int *ret_socket, struct rgm_error *error)
{
	struct sockaddr_un address, aside;
	int rc = fill_address(path, "", &address, error);
	if (rc == 0)
		rc = fill_address(path, ".new", &aside, error);
	if (rc == 0)
		rc = check_folder_of(path, error);
	if (rc == 0)
		rc = check_stale(&address, error);
	if (rc != 0)
		return rc;

	int fd = new_socket(error);
	if (fd < 0)
		return fd;
	rc = bind_aside(fd, &aside, mode, error);
	if (rc == 0 && rename(aside.sun_path, path) != 0) {
		rc = pool_fail_errno(error, "making socket '%s'", path);
		unlink(aside.sun_path);
	}
	if (rc != 0) {
		close(fd);
		return rc;
	}
	*ret_socket = fd;
	return 0;
}

static int connect_failed(const char *path, struct rgm_error *error)
{
	int reason = errno;
	switch (reason) {
	case ENOENT:
	case ENOTDIR:
	case ECONNREFUSED:
		pool_fail(error, RGM_ENOMANAGER, "no manager answers at '%s'", path);
		pool_hint(error, "start one with 'regionmgrd'");
		return RGM_ENOMANAGER;
	case EACCES:
	case EPERM:
		return pool_fail(error, RGM_EREFUSED, "user %u may not use the socket '%s'",
			(unsigned)geteuid(), path);
	case EPROTOTYPE:
		return pool_fail(
			error, RGM_EPROTOCOL, "what listens at '%s' is not a manager", path);
	case EAGAIN:
		return pool_fail(error, -ETIMEDOUT,
			"the manager at '%s' did not accept a connection within %d s", path,
			CONNECT_TIMEOUT_MS / 1000);
	default:
		errno = reason;
		return pool_fail_errno(error, "connecting to '%s'", path);
	}
}

int ipc_connect(const char *path, int *ret_socket, struct rgm_error *error)
{
	struct sockaddr_un address;
	int rc = fill_address(path, "", &address, error);
	if (rc != 0)
		return rc;
	int fd = new_socket(error);
	if (fd < 0)
		return fd;

	/* A unix socket connects at once, or not at all while the queue of connections is full; nothing
	 * tells when there is room, so this is a retry. */
	uint64_t deadline = ipc_deadline(CONNECT_TIMEOUT_MS);
	while ((rc = connect(fd, (const struct sockaddr *)&address, sizeof address)) != 0 &&
		(errno == EINTR || (errno == EAGAIN && os_now_ns() < deadline))) {
		const struct timespec pause = {.tv_nsec = 1000000};
		nanosleep(&pause, NULL);
		errno = EAGAIN;
	}
	if (rc != 0) {
		rc = connect_failed(path, error);
		close(fd);
		return rc;
	}
	*ret_socket = fd;
	return 0;
}

pid_t ipc_peer_pid(int socket)
{
	struct ucred peer;
	socklen_t bytes = sizeof peer;
	return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 ? peer.pid : 0;
}

/* --- messages --------------------------------------------------------------------------------- */

void ipc_header_init(struct ipc_header *header, enum ipc_type type, uint32_t sequence, size_t bytes)
{
	*header = (struct ipc_header){
		.magic = IPC_MESSAGE_MAGIC,
		.protocol = IPC_PROTOCOL,
		.type = (uint16_t)type,
		.sequence = sequence,
		.bytes = (uint32_t)bytes,
	};
}

uint64_t ipc_deadline(int64_t timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : os_now_ns() + (uint64_t)timeout_ms * 1000000u;
}

int ipc_wait(int socket, bool read, bool write, uint64_t deadline_ns)
{
	short events = (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0));
	for (;;) {
		struct pollfd entry = {.fd = socket, .events = events};
		struct timespec left = {0}, *timeout = NULL;
		if (deadline_ns != UINT64_MAX) {
			uint64_t now = os_now_ns();
			uint64_t ns = now < deadline_ns ? deadline_ns - now : 0;
			left.tv_sec = (time_t)(ns / 1000000000u);
			left.tv_nsec = (long)(ns % 1000000000u);
			timeout = &left;
		}
		int ready = ppoll(&entry, 1, timeout, NULL);
		if (ready > 0)
			return 0;
		if (ready == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

/* Room for the descriptors of one message, aligned as a control header has to be. */
union file_room {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(IPC_MESSAGE_MAX_FILES * sizeof(int))];
};

static void put_files(struct msghdr *packet, union file_room *room, const int *files, size_t count)
{
	if (count == 0)
		return;
	memset(room, 0, sizeof *room);
	packet->msg_control = room;
	packet->msg_controllen = CMSG_SPACE(count * sizeof *files);
	struct cmsghdr *control = CMSG_FIRSTHDR(packet);
	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(count * sizeof *files);
	memcpy(CMSG_DATA(control), files, count * sizeof *files);
}

/* ETOOMANYREFS: this user has too many descriptors under way; nothing tells when it is better. */
static int wait_to_send(int socket, int reason, uint64_t deadline)
{
	if (reason != ETOOMANYREFS)
		return ipc_wait(socket, false, true, deadline);
	if (os_now_ns() >= deadline)
		return -ETIMEDOUT;
	const struct timespec pause = {.tv_nsec = 1000000};
	nanosleep(&pause, NULL);
	return 0;
}

int ipc_send(int socket, const struct ipc_header *message, const int *files, size_t file_count,
	int64_t timeout_ms)
{
	if (message->bytes > IPC_MESSAGE_MAX_BYTES || file_count > IPC_MESSAGE_MAX_FILES)
		return -EMSGSIZE;
	union file_room room;
	struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = message->bytes};
	struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};
	put_files(&packet, &room, files, file_count);

	uint64_t deadline = 0;
	for (;;) {
		if (sendmsg(socket, &packet, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
			return -EPIPE;
		if (errno != EAGAIN && errno != ENOBUFS && errno != ETOOMANYREFS)
			return -errno;
		if (timeout_ms == 0)
			return -EAGAIN;
		if (deadline == 0)
			deadline = ipc_deadline(timeout_ms);
		int rc = wait_to_send(socket, errno, deadline);
		if (rc != 0)
			return rc;
	}
}

int ipc_send_both(int socket, const struct ipc_header *first, const struct ipc_header *second,
	int64_t timeout_ms)
{
	struct iovec parts[2] = {{.iov_base = (void *)(uintptr_t)first, .iov_len = first->bytes},
		{.iov_base = (void *)(uintptr_t)second, .iov_len = second->bytes}};
	struct mmsghdr packets[2] = {{.msg_hdr = {.msg_iov = &parts[0], .msg_iovlen = 1}},
		{.msg_hdr = {.msg_iov = &parts[1], .msg_iovlen = 1}}};
	int sent = sendmmsg(socket, packets, 2, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent == 2)
		return 0;
	/* The rest goes the way that waits, and that says what is wrong. */
	int rc = sent < 1 ? ipc_send(socket, first, NULL, 0, timeout_ms) : 0;
	return rc != 0 ? rc : ipc_send(socket, second, NULL, 0, timeout_ms);
}

/* Take the descriptors out of a packet; more than there is room for were closed by the kernel. */
static size_t take_files(struct msghdr *packet, int *files, size_t capacity)
{
	size_t count = 0;
	for (struct cmsghdr *control = CMSG_FIRSTHDR(packet); control != NULL;
		control = CMSG_NXTHDR(packet, control)) {
		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
			continue;
		size_t in = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < in; i++) {
			int file;
			memcpy(&file, CMSG_DATA(control) + i * sizeof file, sizeof file);
			if (count < capacity)
				files[count++] = file;
			else
				close(file);
		}
	}
	return count;
}

static int check_packet(
	const struct msghdr *packet, size_t bytes, const struct ipc_header *header, bool files_fit)
{
	if ((packet->msg_flags & MSG_CTRUNC) != 0)
		return files_fit ? -EMFILE : -EPROTO;
	if ((packet->msg_flags & MSG_TRUNC) != 0 || bytes < sizeof *header)
		return -EPROTO;
	return header->magic == IPC_MESSAGE_MAGIC && header->bytes == bytes ? 0 : -EPROTO;
}

/* One packet, or -EAGAIN. */
static int receive_now(int socket, void *message, size_t capacity, int *files, size_t *file_count)
{
	union file_room room;
	size_t files_most = file_count != NULL ? *file_count : 0;
	if (files_most > IPC_MESSAGE_MAX_FILES)
		files_most = IPC_MESSAGE_MAX_FILES;
	struct iovec part = {.iov_base = message, .iov_len = capacity};
	struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t bytes;
	bool reset = false, ended = false;
	do {
		/* Anew each time: the call says here what came. */
		packet.msg_control = files_most > 0 ? &room : NULL;
		packet.msg_controllen = files_most > 0 ? CMSG_LEN(files_most * sizeof *files) : 0;
		bytes = recvmsg(socket, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		/* A side that closes with messages unread resets the connection; what it sent before
		 * that can still be read. And where it sends and closes while this call finds nothing,
		 * the call tells the end, in front of the message. */
	} while ((bytes < 0 &&
			 (errno == EINTR || (errno == ECONNRESET && !reset && (reset = true)))) ||
		 (bytes == 0 && !ended && (ended = true)));
	if (bytes < 0)
		return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;

	size_t count = files_most > 0 ? take_files(&packet, files, files_most) : 0;
	if (bytes == 0 && count == 0)
		return -EPIPE;
	int rc = check_packet(&packet, (size_t)bytes, message, count < files_most);
	if (rc != 0) {
		while (count > 0)
			close(files[--count]);
		return rc;
	}
	if (file_count != NULL)
		*file_count = count;
	return 0;
}

int ipc_receive(int socket, void *message, size_t capacity, int *files, size_t *file_count,
	int64_t timeout_ms)
{
	uint64_t deadline = 0;
	for (;;) {
		int rc = receive_now(socket, message, capacity, files, file_count);
		if (rc != -EAGAIN || timeout_ms == 0)
			return rc;
		if (deadline == 0)
			deadline = ipc_deadline(timeout_ms);
		rc = ipc_wait(socket, true, false, deadline);
		if (rc != 0)
			return rc;
	}
}
