/* SPDX-License-Identifier: Apache-2.0 */
/* The parent of the workers; see spawner.h. */
#include "spawner.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker.h"

#define LOOK_MS     200 /* between two looks for workers that ended by themselves */
#define WORKER_NICE 10

enum order {
	ORDER_START,
	ORDER_KILL,
	ORDER_STOP,
	ORDER_CONTINUE,
	ORDER_WAIT_ALL,
	ORDER_END
};

struct request {
	enum order order;
	uint32_t worker;
};

struct thread_worker {
	struct job *job;
	uint32_t index;
	uint32_t generation;
	bool started;
	pthread_t thread;
};

struct spawner {
	struct job *job;
	pid_t pid;
	int socket;
	struct thread_worker threads[JOB_WORKERS_MAX];
};

/* --- inside the spawner's process --------------------------------------------------------------- */

struct nursery {
	struct job *job;
	pid_t pid[JOB_WORKERS_MAX]; /* 0: none */
	uint32_t generation[JOB_WORKERS_MAX];
};

/* Damage to mapped bytes is a finding, not a crash. */
static struct job *bus_job;

static void on_bus(int signal_number, siginfo_t *info, void *context)
{
	(void)signal_number;
	(void)context;
	/* the process ends here; that snprintf is not async-signal-safe in theory is of no matter */
	job_tell(bus_job, "SIGBUS at address %p in process %d", info->si_addr, (int)getpid());
	_exit(3);
}

static void become_worker(struct nursery *nursery, uint32_t index)
{
	struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "main_job_worker");
	/* a hundred busy threads on a few processors: let those who write be heard among them */
	setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + WORKER_NICE);
	bus_job = nursery->job;
	sigaction(SIGBUS, &action, NULL);
	worker_run(nursery->job, index, nursery->generation[index]);
	exit(0);
}

static void forget(struct nursery *nursery, uint32_t index, int status, bool expected)
{
	nursery->pid[index] = 0;
	if (expected || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
		return;
	if (WIFSIGNALED(status))
		job_tell(nursery->job, "worker %u was ended by signal %d", index, WTERMSIG(status));
	else
		job_tell(
			nursery->job, "worker %u ended with status %d", index, WEXITSTATUS(status));
}

/* Workers that ended by themselves. */
static void look(struct nursery *nursery)
{
	int status;

	for (uint32_t i = 0; i < nursery->job->workers; i++)
		if (nursery->pid[i] > 0 && waitpid(nursery->pid[i], &status, WNOHANG) > 0)
			forget(nursery, i, status, false);
}

static bool start(struct nursery *nursery, uint32_t index)
{
	pid_t pid;

	for (uint32_t i = 0; i < nursery->job->threads; i++) {
		atomic_store(&nursery->job->mark[index][i].state, MARK_OUTSIDE);
		atomic_store(&nursery->job->mark[index][i].holding, 0);
	}
	pid = fork();
	if (pid == 0)
		become_worker(nursery, index);
	if (pid < 0) {
		job_tell(nursery->job, "cannot fork a worker: %s", strerror(errno));
		return false;
	}
	nursery->pid[index] = pid;
	atomic_store(&nursery->job->pid[index], pid);
	nursery->generation[index]++;
	return true;
}

static bool obey(struct nursery *nursery, const struct request *request)
{
	pid_t pid = nursery->pid[request->worker];
	int status;

	if (request->order == ORDER_START)
		return start(nursery, request->worker);
	if (pid == 0)
		return false;
	if (request->order == ORDER_CONTINUE)
		return kill(pid, SIGCONT) == 0;
	if (kill(pid, request->order == ORDER_KILL ? SIGKILL : SIGSTOP) != 0 ||
		waitpid(pid, &status, WUNTRACED) != pid)
		return false;
	if (request->order == ORDER_STOP && WIFSTOPPED(status))
		return true;
	forget(nursery, request->worker, status, request->order == ORDER_KILL);
	return request->order == ORDER_KILL;
}

static bool wait_all(struct nursery *nursery)
{
	int status;

	for (uint32_t i = 0; i < nursery->job->workers; i++)
		if (nursery->pid[i] > 0 && waitpid(nursery->pid[i], &status, 0) > 0)
			forget(nursery, i, status, false);
	return true;
}

_Noreturn static void nursery_main(struct job *job, int socket)
{
	struct nursery nursery = {.job = job};
	struct pollfd wait = {.fd = socket, .events = POLLIN};
	struct request request;
	char good;

	/* the driver's death ends this process, and this one's ends the workers */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "main_job_spawn");
	for (;;) {
		if (poll(&wait, 1, LOOK_MS) <= 0) {
			look(&nursery);
			continue;
		}
		if (read(socket, &request, sizeof(request)) != sizeof(request) ||
			request.order == ORDER_END)
			break;
		look(&nursery);
		good = request.order == ORDER_WAIT_ALL ? wait_all(&nursery)
		                                       : obey(&nursery, &request);
		if (write(socket, &good, 1) != 1)
			break;
	}
	for (uint32_t i = 0; i < job->workers; i++)
		if (nursery.pid[i] > 0) {
			kill(nursery.pid[i], SIGKILL);
			waitpid(nursery.pid[i], NULL, 0);
		}
	_exit(0);
}

/* --- the driver's side -------------------------------------------------------------------------- */

struct spawner *spawner_create(struct job *job)
{
	struct spawner *spawner = calloc(1, sizeof(*spawner));
	int pair[2];

	if (spawner == NULL)
		return NULL;
	spawner->job = job;
	if (!job->forked)
		return spawner;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		perror("main_job: socketpair");
		free(spawner);
		return NULL;
	}
	fflush(NULL);
	spawner->pid = fork();
	if (spawner->pid == 0) {
		close(pair[0]);
		nursery_main(job, pair[1]);
	}
	close(pair[1]);
	spawner->socket = pair[0];
	if (spawner->pid > 0)
		return spawner;
	perror("main_job: fork");
	close(pair[0]);
	free(spawner);
	return NULL;
}

void spawner_destroy(struct spawner *spawner)
{
	struct request request = {ORDER_END, 0};

	if (spawner == NULL)
		return;
	if (spawner->pid > 0) {
		if (write(spawner->socket, &request, sizeof(request)) != sizeof(request))
			kill(spawner->pid, SIGKILL);
		close(spawner->socket);
		waitpid(spawner->pid, NULL, 0);
	}
	free(spawner);
}

static bool ask(struct spawner *spawner, enum order order, uint32_t worker)
{
	static const char *const names[] = {"start", "kill", "stop", "continue", "wait for"};
	struct request request = {order, worker};
	char good = 0;

	if (write(spawner->socket, &request, sizeof(request)) == sizeof(request) &&
		read(spawner->socket, &good, 1) == 1 && good)
		return true;
	job_tell(spawner->job, "could not %s worker %u", names[order], worker);
	return false;
}

static void *thread_worker_main(void *context)
{
	struct thread_worker *worker = context;

	worker_run(worker->job, worker->index, worker->generation);
	return NULL;
}

bool spawner_start(struct spawner *spawner, uint32_t worker)
{
	struct thread_worker *thread = &spawner->threads[worker];

	if (spawner->job->forked)
		return ask(spawner, ORDER_START, worker);
	thread->job = spawner->job;
	thread->index = worker;
	thread->generation++;
	thread->started = pthread_create(&thread->thread, NULL, thread_worker_main, thread) == 0;
	return thread->started;
}

bool spawner_kill(struct spawner *spawner, uint32_t worker)
{
	return ask(spawner, ORDER_KILL, worker);
}

bool spawner_stop(struct spawner *spawner, uint32_t worker)
{
	return ask(spawner, ORDER_STOP, worker);
}

bool spawner_continue(struct spawner *spawner, uint32_t worker)
{
	return ask(spawner, ORDER_CONTINUE, worker);
}

bool spawner_wait_all(struct spawner *spawner)
{
	if (spawner->job->forked)
		return ask(spawner, ORDER_WAIT_ALL, 0);
	for (uint32_t i = 0; i < spawner->job->workers; i++)
		if (spawner->threads[i].started) {
			pthread_join(spawner->threads[i].thread, NULL);
			spawner->threads[i].started = false;
		}
	return true;
}
