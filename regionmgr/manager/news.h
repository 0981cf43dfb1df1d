/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling sleeping readers that there is a new version, at a price for the commit that does not depend on
 * their number.
 *
 * Readers sleep by futex on the table's word `news`. A commit changes the word and wakes at most one of
 * them; the kernel's answer says whether there was one. If so there may be more, and the **news thread**
 * wakes these, a few at a time, while the next commit goes on. Nobody sleeping costs a commit one system
 * call that finds nobody.
 *
 *   reader                                        manager
 *   S1  n = news                   (acquire)      P1  current = v                        (release)
 *   S2  look: current, entries, state             P2  news += 2                          (release)
 *   S3  sleep if news is still n,                 P3  wake one sleeper, whatever its bit
 *       with the bit of n's phase                 P4  there was one: begin a round, or ask for
 *                                                     another one after that under way   (lock)
 *
 *                                                 a round, never two at a time:
 *                                                 T1  flip the phase in news             (release)
 *                                                 T2  wake up to STEP sleepers with the bit of the phase
 *                                                     before the flip; again while there were STEP
 *
 * T1 is the committing thread's when it begins the round, so that whom P3 woke finds the new phase when it
 * falls asleep again, and is not woken twice. T2 is the news thread's.
 *
 * Nobody is missed. Let a reader's look not find v. Then S1 loaded a value from before P2: by its acquire
 * it would have seen P1 otherwise. If P2 comes before the kernel's comparison in S3, the values differ and
 * the reader looks again. Else it is in the kernel's queue before P2, thus before P3. P3 wakes it, or
 * another one; then P4 leads to a round whose T1 comes after it. Let that T1 flip the phase from e. A
 * sleeper with e's bit is woken by its T2, which ends only when fewer than STEP were there. A sleeper with
 * the other bit compared in S3 with a value from before the flip to e; so it was in the queue when that
 * flip's round ended, which left none of its bit.
 *
 * A round ends: after T1 nobody falls asleep with the bit that T2 wakes, since the kernel compares the
 * whole word. Waking everybody without the bit would not: readers that look and sleep again at once would
 * be woken again and again. In one call for all of them the kernel would keep its queue locked, on which
 * the next commit's P3 would wait.
 *
 * A reader that is stopped is no sleeper. One that sleeps with another bit is woken late or in vain, and
 * with many threads that come back at once keeps the news thread busy for as long as it is busy itself;
 * the others are woken all the same, who slept longer first, and a commit wakes one and no more.
 *
 * P3 comes after the commit lock is released: a commit that loses its processor to whom it woke then holds
 * up no other. A manager that dies before P3 leaves sleepers to their look at the connection, or to the
 * next manager on the same table, whose news thread begins by waking everybody.
 *
 * What is not ordered: which sleepers run first.
 */
#ifndef MANAGER_NEWS_H
#define MANAGER_NEWS_H

#include "regionmgr/manager/manager.h"

struct news;

/* Start the thread, for the word `news` of a table. -errno. */
int news_create(struct rgm_manager *manager, uint32_t *word, struct news **ret_news);
/* End it. NULL is allowed. */
void news_destroy(struct news *news);
/* A version was published: P2, under the commit lock. It is followed by news_wake(), by the same thread. */
void news_change(struct news *news);
/* P3 and P4, with no lock held: who is woken may take this thread's processor. */
void news_wake(struct news *news);
/* Wake everybody here and now: the manager stops. */
void news_tell_all(struct news *news);

#endif
