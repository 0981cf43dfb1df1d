/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections: R1 to R6 against M1 to M6 of ipc/slot.h, line by line.
 *
 * Modelled. READERS readers, each in a session and a slot of its own, enter and leave sections for
 * ever; inside they read and open inner sections. The publisher (a commit) and the reclaimer (a scan)
 * are threads of the manager and run beside each other; a commit that scans itself (it finds no free
 * ring entry) is the case in which M2 reads a version that is still in its own store buffer. slots_used
 * is raised before the first section, and bounds M4.
 *
 * Left out. Holds (holds.pml), attach, death, fork (sessions.pml), limits (revocation.pml), another
 * manager (takeover.pml). The number of slots of a session: words are independent of each other, and a
 * second reader has one more. What a version reaches does not change here: blocks are never written
 * again, so only "freed" and "complete" matter.
 *
 * Asserted: what a section reads at its version stands.
 *
 * Variants that must fail: see README.md. `SIGNAL` lets a handler that reads interrupt reader 0 between
 * any two steps, once: through the same slot (it must fail), or with SIGNAL_OWN_SLOT through one that
 * was opened for it (it must not).
 */
#ifdef SIGNAL_OWN_SLOT
#define SIGNAL
#define CELLS (FIRST_FREE + 1)
#endif
#include "versions.pml"

#define HANDLER_WORD FIRST_FREE

byte published = 1; /* newest version that the publisher stored, in its buffer or out of it */

#ifdef SIGNAL
/* As rgm_pin() and rgm_unpin() do it: whether the slot is in a section is told by `version`, which is
 * set after R5 and cleared before R6. */
bool handled;
byte version;

inline handler(r)
{
	atomic { r == 0 && !handled -> handled = true };
#ifdef SIGNAL_OWN_SLOT
	handler_section(r, HANDLER_WORD)
#else
	if
	:: version != 0 -> assert(STANDS(version)) /* nested */
	:: else -> handler_section(r, WORD(r))
	fi
#endif
}

inline handler_section(r, word)
{
	hv = cell[CURRENT];
	do
	:: STORE(r, word, hv);
	   READER_BARRIER(r);
	   atomic {
		hw = cell[CURRENT];
		if
		:: hw == hv -> hw = 0; break
		:: else -> hv = hw; hw = 0
		fi
	   }
	od;
	assert(STANDS(hv));
	STORE(r, word, 0);
	hv = 0
}
inline maybe_handler(r)
{
	if
	:: true
	:: handler(r)
	fi
}
#define INTERRUPT(r) maybe_handler(r)
#define ENTERED(v) version = (r == 0 -> v : version)
#else
#define INTERRUPT(r)
#define ENTERED(v)
#endif

inline enter(r, word, v, w)
{
	v = cell[CURRENT]; /* R1 */
	INTERRUPT(r);
	do
	:: STORE(r, word, v); /* R2 */
	   INTERRUPT(r);
	   READER_BARRIER(r); /* R3 */
	   INTERRUPT(r);
#ifdef NO_RECHECK
	   break
#endif
	   atomic {
		w = cell[CURRENT]; /* R4 */
		if
		:: w == v -> w = 0; break
		:: else -> v = w; w = 0 /* R5 */
		fi
	   }
	od
}

proctype reader(byte r)
{
	byte v, w, inner;
#ifdef SIGNAL
	byte hv, hw;
#endif
#ifndef USED_LATE
	STORE(r, USED(r), 1);
#endif
	do
	:: enter(r, WORD(r), v, w);
	   ENTERED(v);
	   do
	   :: assert(STANDS(v))
	   :: inner == 0 ->
		inner = 1;
#ifdef INNER_STORES
		atomic { w = cell[CURRENT]; STORE(r, WORD(r), w); w = 0 }
#endif
	   :: inner > 0 ->
		inner = 0;
#ifdef INNER_CLEARS
		STORE(r, WORD(r), 0)
#endif
	   :: inner == 0 -> break
#ifdef SIGNAL
	   :: handler(r)
#endif
	   od;
	   ENTERED(0);
	   INTERRUPT(r);
	   STORE(r, WORD(r), 0); /* R6 */
	   v = 0;
#ifdef USED_LATE
	   STORE(r, USED(r), 1);
#endif
	od
}

proctype publisher()
{
end:
	do
	:: published < VERSIONS ->
#if defined(RETIRED_EARLY)
		published++; /* M2 may take it for current */
		written = written | REACHES(published);
		manager_buffer!CURRENT, published
#elif defined(PUBLISHED_FIRST)
		atomic { manager_buffer!CURRENT, published + 1 -> published++ };
		written = written | REACHES(published)
#else
		written = written | REACHES(published + 1); /* M1: blocks … */
		atomic { manager_buffer!CURRENT, published + 1 -> published++ } /* … then current */
#endif
	od
}

proctype reclaimer()
{
	byte c, r, x;
	short seen;
	do
	:: atomic {
		if
		:: c = cell[CURRENT] /* M2 */
		:: c = published
		fi
	   };
#ifndef NO_MANAGER_FENCE
	   MANAGER_FENCE; /* M3 */
#endif
#ifndef NO_MEMBARRIER
	   MEMBARRIER(0);
#if READERS > 1
	   MEMBARRIER(1);
#endif
#endif
	   do
	   :: r < READERS ->
		x = cell[USED(r)];
		atomic {
			if
			:: x == 0
			:: else -> x = cell[WORD(r)]; seen = seen | REACHES(x) /* M4 */
			fi;
			x = 0;
			r++
		}
	   :: else -> break
	   od;
#ifdef SIGNAL_OWN_SLOT
	   atomic { x = cell[HANDLER_WORD]; seen = seen | REACHES(x); x = 0 }
#endif
	   atomic {
#ifdef RETIRED_SINCE
		c = cell[CURRENT];
#endif
		freed = freed | (RETIRED_BY(c) & ~seen); /* M6 */
		c = 0;
		r = 0;
		seen = 0
	   }
	od
}

init
{
	atomic {
		cell[CURRENT] = 1;
		run publisher();
		run reclaimer();
		run reader(0);
#if READERS > 1
		run reader(1)
#endif
	}
}
