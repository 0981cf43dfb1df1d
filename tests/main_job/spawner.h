/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting, stopping and killing workers. A process of its own, forked before anything else, is
 * their parent: it has one thread and no session, so its forks are clean whatever the driver has
 * open, an embedded manager included; and a child that was not waited for keeps its number, so a
 * signal never hits a stranger. Without processes (races are looked for) workers are threads of the
 * caller.
 *
 * Thread-safety: one caller at a time.
 */
#ifndef MAIN_JOB_SPAWNER_H
#define MAIN_JOB_SPAWNER_H

#include <sys/types.h>

#include "job.h"

struct spawner;

/* Fork the spawner (job->forked), while the caller has one thread. NULL with a sentence on stderr. */
struct spawner *spawner_create(struct job *job);
/* Kill what is still there and end. NULL is allowed. */
void spawner_destroy(struct spawner *spawner);

/* Each returns false, after job_tell(), if it could not be done. */
bool spawner_start(struct spawner *spawner, uint32_t worker);
/* By SIGKILL; it is gone when this returns. */
bool spawner_kill(struct spawner *spawner, uint32_t worker);
/* By SIGSTOP; no thread of it runs any more when this returns. */
bool spawner_stop(struct spawner *spawner, uint32_t worker);
bool spawner_continue(struct spawner *spawner, uint32_t worker);
/* Wait for every worker that was told by job->stop to end; job_tell() for one that ended badly. */
bool spawner_wait_all(struct spawner *spawner);

#endif
