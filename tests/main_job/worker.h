/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: a process that attaches and whose threads compare section after section with the truth.
 *
 * In each section: the version is not older than the last commit known before it began, nor than the
 * thread's last one; the dimensions are exactly those of that version, by name; and in the
 * dimensions chosen at random, every layer's name, order, size, time, media type, version and
 * checksum is that of this version, and the checksum of every byte scanned is that of the source.
 * Now and then a hold is taken and compared after its section has ended, a layer is looked up by
 * name, a prefix is stepped through, news are waited for.
 */
#ifndef MAIN_JOB_WORKER_H
#define MAIN_JOB_WORKER_H

#include "job.h"

/*
 * Be worker `index` until job->stop: attach, run job->threads threads, detach. What is wrong is told
 * by job_tell(). `generation` counts the workers that had this index before.
 */
void worker_run(struct job *job, uint32_t index, uint32_t generation);

#endif
