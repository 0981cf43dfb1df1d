/* SPDX-License-Identifier: Apache-2.0 */
/* ipc/socket.c, client.c: whole messages or none, no descriptor lost, one clear sentence. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/socket.h"
#include "tests/support/support.h"

static char folder[64];

static const char *in_folder(const char *name)
{
	static char paths[4][256];
	static unsigned next;
	char *path = paths[next++ % 4];
	snprintf(path, sizeof paths[0], "%s/%s", folder, name);
	return path;
}

static int make_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/rgm-test-socket-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

static void pair(int ends[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

static void long_path(void **state)
{
	char deep[IPC_SOCKET_PATH_MAX + 2] = {0}, path[512];
	struct rgm_error error;
	int fd = -1;
	(void)state;
	memset(deep, 'd', IPC_SOCKET_PATH_MAX + 1);
	deep[0] = '/';
	assert_int_equal(ipc_connect(deep, &fd, &error), -ENAMETOOLONG);
	assert_non_null(strstr(error.message, "at most 103 fit"));
	assert_non_null(strstr(error.hint, "--socket"));
	assert_int_equal(ipc_listen(deep, 0600, &fd, &error), -ENAMETOOLONG);
	assert_int_equal(ipc_socket_path("x", deep, path, sizeof path, &error), -ENAMETOOLONG);
	deep[IPC_SOCKET_PATH_MAX] = '\0';
	assert_int_equal(ipc_connect(deep, &fd, &error), RGM_ENOMANAGER);
	assert_int_equal(fd, -1);
}

/* --- listening and connecting ----------------------------------------------------------------- */

static void listen_and_connect(void **state)
{
	const char *path = in_folder("s");
	struct rgm_error error;
	struct stat status;
	int listener, client, second = -1;
	(void)state;
	assert_int_equal(ipc_connect(path, &client, &error), RGM_ENOMANAGER);
	assert_non_null(strstr(error.message, path));
	assert_non_null(strstr(error.hint, "regionmgrd"));

	assert_int_equal(ipc_listen(path, 0600, &listener, &error), 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	assert_int_equal(fcntl(listener, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(ipc_connect(path, &client, &error), 0);
	assert_int_equal(ipc_peer_pid(client), getpid());
	close(client);
	assert_int_equal(ipc_listen(path, 0600, &second, &error), RGM_EINUSE);
	assert_int_equal(second, -1);

	/* Nobody listens any more: the name stays, and is replaced. */
	close(listener);
	assert_int_equal(ipc_connect(path, &client, &error), RGM_ENOMANAGER);
	assert_int_equal(ipc_listen(path, 0666, &listener, &error), 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0666);
	assert_int_equal(ipc_connect(path, &client, &error), 0);
	close(client);
	close(listener);
	unlink(path);
}

static void no_socket_there(void **state)
{
	const char *path = in_folder("file"), *aside = in_folder("file.new");
	struct rgm_error error;
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), listener = -1;
	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(ipc_listen(path, 0600, &listener, &error), -EEXIST);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(ipc_connect(path, &listener, &error), RGM_ENOMANAGER);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(ipc_listen(path, 0600, &listener, &error), -EEXIST);
	assert_int_equal(access(aside, F_OK), 0);
	unlink(aside);

	/* Somebody else's service. */
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(ipc_connect(path, &listener, &error), RGM_EPROTOCOL);
	assert_int_equal(ipc_listen(path, 0600, &listener, &error), RGM_EINUSE);
	assert_int_equal(listener, -1);
	close(fd);
	unlink(path);
}

static void folders(void **state)
{
	char base[256], path[300];
	struct rgm_error error;
	struct stat status;
	int listener = -1;
	(void)state;
	strcpy(base, in_folder("a"));
	snprintf(path, sizeof path, "%s/b/c/", base);
	assert_int_equal(ipc_make_folder(path, 0711, &error), 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0711);
	assert_int_equal(ipc_make_folder(path, 0700, &error), 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0711); /* as it was */

	path[strlen(path) - 1] = '\0';
	assert_int_equal(chmod(path, 0777), 0);
	assert_int_equal(ipc_make_folder(path, 0700, &error), RGM_EREFUSED);
	strcat(path, "/s");
	assert_int_equal(ipc_listen(path, 0600, &listener, &error), RGM_EREFUSED);
	assert_non_null(strstr(error.message, "0777"));
	path[strlen(path) - 2] = '\0';
	assert_int_equal(chmod(path, 01777), 0);
	assert_int_equal(ipc_make_folder(path, 0700, &error), 0);

	char link[300];
	snprintf(link, sizeof link, "%s/link", base);
	assert_int_equal(symlink("b", link), 0);
	assert_int_equal(ipc_make_folder(link, 0700, &error), RGM_EREFUSED);
	assert_non_null(strstr(error.message, "symlink"));
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 65534, 65534), 0);
		assert_int_equal(ipc_make_folder(path, 0700, &error), RGM_EREFUSED);
		assert_non_null(strstr(error.message, "belongs to user 65534"));
	}
	unlink(link);
	rmdir(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	assert_int_equal(rmdir(base), 0);
}

/* --- messages --------------------------------------------------------------------------------- */

static void round_trip(void **state)
{
	char *big = malloc(IPC_MESSAGE_MAX_BYTES), *back = malloc(IPC_MESSAGE_MAX_BYTES);
	int ends[2];
	(void)state;
	pair(ends);
	for (size_t bytes = sizeof(struct ipc_header); bytes <= IPC_MESSAGE_MAX_BYTES;
		bytes += 8176) {
		memset(big, (int)(bytes & 255), bytes);
		ipc_header_init((struct ipc_header *)(void *)big, IPC_OK, 7, bytes);
		assert_int_equal(
			ipc_send(ends[0], (struct ipc_header *)(void *)big, NULL, 0, 0), 0);
		assert_int_equal(
			ipc_receive(ends[1], back, IPC_MESSAGE_MAX_BYTES, NULL, NULL, 0), 0);
		assert_memory_equal(big, back, bytes);
	}
	assert_int_equal(ipc_receive(ends[1], back, IPC_MESSAGE_MAX_BYTES, NULL, NULL, 0), -EAGAIN);
	assert_int_equal(
		ipc_receive(ends[1], back, IPC_MESSAGE_MAX_BYTES, NULL, NULL, 1), -ETIMEDOUT);
	((struct ipc_header *)(void *)big)->bytes = IPC_MESSAGE_MAX_BYTES + 1;
	assert_int_equal(
		ipc_send(ends[0], (struct ipc_header *)(void *)big, NULL, 0, 0), -EMSGSIZE);
	close(ends[0]);
	assert_int_equal(ipc_receive(ends[1], back, IPC_MESSAGE_MAX_BYTES, NULL, NULL, -1), -EPIPE);
	((struct ipc_header *)(void *)big)->bytes = sizeof(struct ipc_header);
	assert_int_equal(ipc_send(ends[1], (struct ipc_header *)(void *)big, NULL, 0, 0), -EPIPE);
	close(ends[1]);
	free(big);
	free(back);
}

static void files_travel(void **state)
{
	struct ipc_header message, back;
	unsigned before = support_open_files();
	int ends[2], through[2], files[IPC_MESSAGE_MAX_FILES];
	size_t count = IPC_MESSAGE_MAX_FILES;
	char byte = 'x';
	(void)state;
	pair(ends);
	assert_int_equal(pipe2(through, O_CLOEXEC), 0);
	ipc_header_init(&message, IPC_OK, 1, sizeof message);
	assert_int_equal(ipc_send(ends[0], &message, through, 2, 0), 0);
	assert_int_equal(ipc_receive(ends[1], &back, sizeof back, files, &count, 0), 0);
	assert_int_equal(count, 2);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(fcntl(files[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(write(files[1], &byte, 1), 1);
	assert_int_equal(read(through[0], &byte, 1), 1);
	close(files[0]);
	close(files[1]);

	/* None where some could be. */
	count = 2;
	assert_int_equal(ipc_send(ends[0], &message, NULL, 0, 0), 0);
	assert_int_equal(ipc_receive(ends[1], &back, sizeof back, files, &count, 0), 0);
	assert_int_equal(count, 0);
	/* More than there is room for, and some where none are taken: nothing is left behind. */
	for (size_t room = 0; room < 3; room++) {
		int many[3] = {through[0], through[1], through[0]};
		unsigned open_before = support_open_files();
		assert_int_equal(ipc_send(ends[0], &message, many, 3, 0), 0);
		count = room;
		assert_int_equal(
			ipc_receive(ends[1], &back, sizeof back, files, &count, 0), -EPROTO);
		assert_int_equal(support_open_files(), open_before);
	}
	int five[5] = {0};
	assert_int_equal(ipc_send(ends[0], &message, five, 5, 0), -EMSGSIZE);
	close(through[0]);
	close(through[1]);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(support_open_files(), before);
}

static void no_descriptor_free(void **state)
{
	struct ipc_header message, back;
	int ends[2], fillers[256], file = -1;
	size_t filled = 0, count = 1;
	struct rlimit limit, low;
	(void)state;
	pair(ends);
	ipc_header_init(&message, IPC_OK, 1, sizeof message);
	assert_int_equal(ipc_send(ends[0], &message, &ends[0], 1, 0), 0);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = 128;
	setrlimit(RLIMIT_NOFILE, &low);
	while (filled < 256 && (fillers[filled] = dup(0)) >= 0)
		filled++;
	assert_int_equal(ipc_receive(ends[1], &back, sizeof back, &file, &count, 0), -EMFILE);
	assert_int_equal(file, -1);
	while (filled > 0)
		close(fillers[--filled]);
	setrlimit(RLIMIT_NOFILE, &limit);
	close(ends[0]);
	close(ends[1]);
}

static void not_a_message(void **state)
{
	struct ipc_header message, back;
	char large[64];
	int ends[2];
	(void)state;
	pair(ends);
	ipc_header_init(&message, IPC_OK, 1, sizeof message);

	assert_int_equal(send(ends[0], &message, sizeof message - 1, 0), sizeof message - 1);
	assert_int_equal(ipc_receive(ends[1], &back, sizeof back, NULL, NULL, 0), -EPROTO);
	message.magic++;
	assert_int_equal(send(ends[0], &message, sizeof message, 0), sizeof message);
	assert_int_equal(ipc_receive(ends[1], &back, sizeof back, NULL, NULL, 0), -EPROTO);
	message.magic--;
	message.bytes++;
	assert_int_equal(send(ends[0], &message, sizeof message, 0), sizeof message);
	assert_int_equal(ipc_receive(ends[1], &back, sizeof back, NULL, NULL, 0), -EPROTO);
	memset(large, 'x', sizeof large);
	ipc_header_init((struct ipc_header *)(void *)large, IPC_OK, 1, sizeof large);
	assert_int_equal(send(ends[0], large, sizeof large, 0), sizeof large);
	assert_int_equal(ipc_receive(ends[1], &back, sizeof back, NULL, NULL, 0), -EPROTO);
	close(ends[0]);
	close(ends[1]);
}

/* A side that does not read is told apart from one that is gone. */
static void never_reads(void **state)
{
	char message[32768] = {0};
	int ends[2], rc = 0;
	(void)state;
	pair(ends);
	ipc_header_init((struct ipc_header *)(void *)message, IPC_OK, 1, sizeof message);
	for (int i = 0; i < 1000 && rc == 0; i++)
		rc = ipc_send(ends[0], (struct ipc_header *)(void *)message, NULL, 0, 0);
	assert_int_equal(rc, -EAGAIN);
	assert_int_equal(
		ipc_send(ends[0], (struct ipc_header *)(void *)message, NULL, 0, 1), -ETIMEDOUT);
	close(ends[1]);
	assert_int_equal(
		ipc_send(ends[0], (struct ipc_header *)(void *)message, NULL, 0, 1), -EPIPE);
	close(ends[0]);
}

/* --- calls ------------------------------------------------------------------------------------ */

/* The other side of a call: answers are put into the socket beforehand. */
struct call_fixture {
	int ends[2];
	uint32_t sequence;
	struct ipc_call call;
	struct rgm_error error;
};

static void call_begin(struct call_fixture *fixture)
{
	*fixture = (struct call_fixture){.sequence = 0};
	pair(fixture->ends);
	fixture->call = (struct ipc_call){
		.socket = fixture->ends[0],
		.sequence = &fixture->sequence,
		.timeout_ms = 20,
		.socket_name = "/there",
	};
}

static void call_end(struct call_fixture *fixture)
{
	close(fixture->ends[0]);
	close(fixture->ends[1]);
}

static int call_once(struct call_fixture *fixture)
{
	struct ipc_header request;
	struct ipc_map_reply reply;
	ipc_header_init(&request, IPC_STATUS, 0, sizeof request);
	return ipc_call(&fixture->call, &request, NULL, 0, &reply, sizeof reply, sizeof reply, NULL,
		NULL, &fixture->error);
}

static void put_ok(struct call_fixture *fixture, uint32_t sequence, size_t bytes)
{
	char message[256] = {0};
	ipc_header_init((struct ipc_header *)(void *)message, IPC_OK, sequence, bytes);
	assert_int_equal(
		ipc_send(fixture->ends[1], (struct ipc_header *)(void *)message, NULL, 0, 0), 0);
}

static void put_error(struct call_fixture *fixture, uint32_t sequence, int32_t code)
{
	struct ipc_error message = {.code = code};
	ipc_header_init(&message.header, IPC_ERROR, sequence, sizeof message);
	memset(message.message, 'm', sizeof message.message);
	memset(message.hint, 'h', sizeof message.hint);
	assert_int_equal(ipc_send(fixture->ends[1], &message.header, NULL, 0, 0), 0);
}

static void answers(void **state)
{
	struct call_fixture fixture;
	struct ipc_progress progress = {0};
	(void)state;
	call_begin(&fixture);
	put_ok(&fixture, 1, sizeof(struct ipc_map_reply));
	assert_int_equal(call_once(&fixture), 0);
	/* News, also late ones of a request before, are no answer. */
	ipc_header_init(&progress.header, IPC_PROGRESS, 1, sizeof progress);
	assert_int_equal(ipc_send(fixture.ends[1], &progress.header, NULL, 0, 0), 0);
	put_ok(&fixture, 2, sizeof(struct ipc_map_reply));
	assert_int_equal(call_once(&fixture), 0);
	/* A refusal leaves the connection as it was; texts without an end are ended. */
	put_error(&fixture, 3, RGM_ENODIM);
	assert_int_equal(call_once(&fixture), RGM_ENODIM);
	assert_int_equal(strlen(fixture.error.message), sizeof fixture.error.message - 1);
	assert_int_equal(strlen(fixture.error.hint), sizeof fixture.error.hint - 1);
	put_ok(&fixture, 4, sizeof(struct ipc_map_reply));
	assert_int_equal(call_once(&fixture), 0);
	call_end(&fixture);
}

static void ended(struct call_fixture *fixture)
{
	assert_int_equal(fixture->sequence, IPC_SEQUENCE_ENDED);
	assert_int_equal(call_once(fixture), RGM_EGONE);
	assert_non_null(strstr(fixture->error.message, "has ended"));
	call_end(fixture);
}

static void wrong_answers(void **state)
{
	struct call_fixture fixture;
	(void)state;
	call_begin(&fixture);
	put_ok(&fixture, 2, sizeof(struct ipc_map_reply)); /* another sequence */
	assert_int_equal(call_once(&fixture), RGM_EPROTOCOL);
	ended(&fixture);
	call_begin(&fixture);
	put_ok(&fixture, 1, sizeof(struct ipc_map_reply) - 8); /* too short */
	assert_int_equal(call_once(&fixture), RGM_EPROTOCOL);
	ended(&fixture);
	call_begin(&fixture);
	put_ok(&fixture, 1, sizeof(struct ipc_map_reply) + 8); /* too long */
	assert_int_equal(call_once(&fixture), RGM_EPROTOCOL);
	ended(&fixture);
	call_begin(&fixture);
	put_error(&fixture, 1, 0); /* an error that is none */
	assert_int_equal(call_once(&fixture), RGM_EPROTOCOL);
	ended(&fixture);
	call_begin(&fixture);
	assert_int_equal(send(fixture.ends[1], "garbage", 7, 0), 7);
	assert_int_equal(call_once(&fixture), RGM_EPROTOCOL);
	ended(&fixture);
}

static void silence(void **state)
{
	struct call_fixture fixture;
	char expected[128];
	(void)state;
	call_begin(&fixture);
	assert_int_equal(call_once(&fixture), -ETIMEDOUT);
	snprintf(expected, sizeof expected,
		"the manager (pid %d) at '/there' did not answer within 20 ms", (int)getpid());
	assert_string_equal(fixture.error.message, expected);
	/* The late answer is nobody's. */
	ended(&fixture);
}

/* A manager that refuses a connection answers nothing and closes it; what it said is told, whether
 * the request was sent before or after. */
static void refused_connection(void **state)
{
	struct call_fixture fixture;
	(void)state;
	for (int i = 0; i < 2; i++) {
		call_begin(&fixture);
		if (i == 1) {
			struct ipc_header early;
			ipc_header_init(&early, IPC_STATUS, 9, sizeof early);
			assert_int_equal(ipc_send(fixture.ends[0], &early, NULL, 0, 0), 0);
		}
		put_error(&fixture, 0, RGM_ELIMIT);
		close(fixture.ends[1]);
		assert_int_equal(call_once(&fixture), RGM_ELIMIT);
		fixture.ends[1] = dup(0);
		ended(&fixture);
	}
	call_begin(&fixture);
	close(fixture.ends[1]);
	assert_int_equal(call_once(&fixture), RGM_EGONE);
	fixture.ends[1] = dup(0);
	ended(&fixture);
}

static int give_up(void *context, const struct ipc_progress *message)
{
	assert_int_equal(message->done_bytes, 5);
	++*(int *)context;
	return 1;
}

static void cancel(void **state)
{
	struct call_fixture fixture;
	struct ipc_progress progress = {.done_bytes = 5};
	struct ipc_header sent;
	int asked = 0;
	(void)state;
	call_begin(&fixture);
	fixture.call.progress = give_up;
	fixture.call.progress_context = &asked;
	ipc_header_init(&progress.header, IPC_PROGRESS, 1, sizeof progress);
	assert_int_equal(ipc_send(fixture.ends[1], &progress.header, NULL, 0, 0), 0);
	assert_int_equal(ipc_send(fixture.ends[1], &progress.header, NULL, 0, 0), 0);
	put_error(&fixture, 1, -ECANCELED);
	assert_int_equal(call_once(&fixture), -ECANCELED);
	assert_int_equal(asked, 1);
	assert_int_equal(ipc_receive(fixture.ends[1], &sent, sizeof sent, NULL, NULL, 0), 0);
	assert_int_equal(sent.type, IPC_STATUS);
	assert_int_equal(ipc_receive(fixture.ends[1], &sent, sizeof sent, NULL, NULL, 0), 0);
	assert_int_equal(sent.type, IPC_CANCEL);
	call_end(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_path),
		cmocka_unit_test(listen_and_connect),
		cmocka_unit_test(no_socket_there),
		cmocka_unit_test(folders),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(files_travel),
		cmocka_unit_test(no_descriptor_free),
		cmocka_unit_test(not_a_message),
		cmocka_unit_test(never_reads),
		cmocka_unit_test(answers),
		cmocka_unit_test(wrong_answers),
		cmocka_unit_test(silence),
		cmocka_unit_test(refused_connection),
		cmocka_unit_test(cancel),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
