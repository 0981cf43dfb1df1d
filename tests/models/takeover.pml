/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takeover: the manager dies at any store of a publish, of a reclaim or of an attach, and the next one
 * goes on under readers that never hear of it.
 *
 * Modelled. What is in shared memory and stays: `current`, the ring (RING entries: version and what it
 * leads to, two words), the bitmap of allocated blocks (`marked`), the blocks, the segments and their
 * names. What is lost: who is listed, what is retired and since when, when blocks were born, which ring
 * entries are free. One manager at a time (the instance's lock), one thread of it: sections.pml has
 * commits beside scans. A publish marks, writes, stores the ring entry's words, then current, then
 * retires; its number is the next one whose entry is free. A reclaim (M2 to M6) clears marks, then
 * overwrites. Reader 0 has sections and a hold, and may be killed; reader 1 is attached at some time,
 * and has sections. A killed manager's stores are in memory before its lock is free.
 *
 * The next manager
 *   lists every session that it finds by name, and drops those whose lock is free;
 *   then only reuses anything. Free by the bitmap is free at once.
 *   Reachable from current: `vague`, since it does not know when it was born: any older word or hold
 *   keeps it once it is retired.
 *   Marked and not reachable (retired by the last one, or of a publish that was cut short): `unknown`:
 *   any word or hold older than the first version that this manager publishes keeps it.
 *   Ring entries but current's are taken for busy until a scan finds no word that lies in them.
 *
 * Versions are numbers; what a version leads to is a content, counted by `attempt`, since a number whose
 * publish was cut short is given again. Content k is a leaf of its own, a block shared with its
 * successor, and the one shared with its predecessor.
 *
 * Left out. A hold is one cell; slots_used; forks: holds.pml, sessions.pml.
 *
 * Asserted: who reads in a section finds his version's ring entry and its blocks; who reads under a hold
 * finds its blocks.
 */
#ifndef READERS
#define READERS 1
#endif
#ifndef RING
#define RING 3
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 4 /* publishes, those that are cut short included, and the first content; at most 5 */
#endif
#ifndef DEPTH
#define DEPTH 2
#endif
#define CELLS (FIRST_FREE + 1)
#include "versions.pml"

#define HELD FIRST_FREE
#define LEAF(k) B((k) - 1)
#define PAIR(k) B((k) + 4)

short reach[ATTEMPTS + 1]; /* of a content */
byte content_of[VERSIONS + 1];
byte attempt = 1;

/* In shared memory, beside `cell`. */
byte ring_version[RING], ring_content[RING];
short marked;
byte named = B(0); /* sessions whose name exists */

/* The kernel's. */
byte handed = B(0); /* sessions whose handles left */
bool dead, killed;  /* reader 0; the manager */
byte deaths;

#define READS_SECTION(v) (ring_version[(v) % RING] == (v) && READS(ring_content[(v) % RING]))
#define READS(k) ((reach[k] & freed) == 0 && (reach[k] & written) == reach[k])

inline enter(r)
{
	v = cell[CURRENT]; /* R1 */
	do
	:: STORE(r, WORD(r), v); /* R2 */
	   READER_BARRIER(r);    /* R3 */
	   atomic {
		w = cell[CURRENT]; /* R4 */
		if
		:: w == v -> w = 0; break
		:: else -> v = w; w = 0 /* R5 */
		fi
	   }
	od
}

proctype holder()
{
	byte v, w, held;
	{
		do
		:: enter(0);
		   do
		   :: assert(READS_SECTION(v))
#ifdef HOLDS
		   :: held == 0 ->
			STORE(0, HELD, v);
			held = ring_content[v % RING]
#endif
		   :: break
		   od;
		   STORE(0, WORD(0), 0); /* R6 */
		   v = 0
#ifdef HOLDS
		:: held != 0 -> assert(READS(held))
		:: atomic { held != 0 -> held = 0 };
		   STORE(0, HELD, 0)
#endif
		od
	} unless { dead };
	atomic { v = 0; w = 0; held = 0 }
}

#if READERS > 1
proctype visitor()
{
	byte v, w;
	HAS(handed, 1);
	do
	:: enter(1);
	   do
	   :: assert(READS_SECTION(v))
	   :: break
	   od;
	   STORE(1, WORD(1), 0); /* R6 */
	   v = 0
	od
}
#endif

proctype killer()
{
end:
	do
	:: !dead -> dead = true
	:: deaths < DEATHS && !killed -> killed = true
	od
}

/* --- What a manager knows, lost with it ------------------------------------------------------- */

byte c;      /* the version that it published last, or found */
byte first;  /* the first that it published; 0: none */
byte listed; /* sessions */
byte busy;   /* ring entries */
short known, vague, unknown;
short retired_by[VERSIONS + 1]; /* by each version, as far as it knows */

#define FREE_ENTRY(n) ((n) <= VERSIONS && !HAS(busy, (n) % RING))

inline publish()
{
	atomic {
		attempt < ATTEMPTS && (FREE_ENTRY(c + 1) || FREE_ENTRY(c + 2)) ->
		n = (FREE_ENTRY(c + 1) -> c + 1 : c + 2);
		attempt++;
		k = attempt
	};
#ifndef MARKED_LATE
	marked = marked | LEAF(k) | PAIR(k);
#endif
#ifdef CURRENT_BEFORE_RING
	atomic { manager_buffer!CURRENT, n -> content_of[n] = k };
#endif
	/* Blocks of the version that it follows are shared, so what the new one reaches is known. */
	d_step {
		reach[k] = LEAF(k) | PAIR(k) | PAIR(content_of[c]);
		written = written | LEAF(k) | PAIR(k)
	};
	ring_version[n % RING] = n;
	ring_content[n % RING] = k;
#ifndef CURRENT_BEFORE_RING
	atomic { manager_buffer!CURRENT, n -> content_of[n] = k }; /* M1 */
#endif
#ifdef MARKED_LATE
	marked = marked | LEAF(k) | PAIR(k);
#endif
	atomic {
		retired_by[n] = retired_by[c] | (reach[content_of[c]] & ~reach[k]);
#ifdef CLEARED_EARLY
		marked = marked & ~retired_by[n];
#endif
		known = known | LEAF(k) | PAIR(k);
		busy = busy | B(n % RING);
		first = (first == 0 -> n : first);
		c = n;
		n = 0;
		k = 0
	}
}

#define SEES(set, v) (HAS(set, v) -> reach[content_of[v]] : 0)
#define SEEN_BY(set) (SEES(set, 1) | SEES(set, 2) | SEES(set, 3) | SEES(set, 4))
#define LOWEST(set) (HAS(set, 1) -> 1 : (HAS(set, 2) -> 2 : (HAS(set, 3) -> 3 : (HAS(set, 4) -> 4 : 0))))
#if VERSIONS > 4
#error "more versions than SEEN_BY knows"
#endif
/* A word that lies in ring entry e. */
#define LIES_IN(set, e) ((HAS(set, 1) && 1 % RING == e) || (HAS(set, 2) && 2 % RING == e) || \
	(HAS(set, 3) && 3 % RING == e) || (HAS(set, 4) && 4 % RING == e))

inline scan_word(r)
{
	atomic {
		x = cell[WORD(r)]; /* M4 */
		if
		:: HAS(listed, r) && !(r == 0 && dead) && x != 0 -> words = words | B(x)
		:: else
		fi;
		x = 0
	}
}

inline keep_busy(e)
{
	if
	:: HAS(busy, e) && e != c % RING && !LIES_IN(words, e) -> busy = busy & ~B(e)
	:: else
	fi
}

inline reclaim()
{
	MANAGER_FENCE; /* M2: c; M3 */
	MEMBARRIER(0);
	scan_word(0);
#if READERS > 1
	MEMBARRIER(1);
	scan_word(1);
#endif
#ifdef HOLDS
	atomic {
		x = cell[HELD]; /* M5 */
		if
		:: HAS(listed, 0) && !dead && x != 0 -> holds = B(x)
		:: else
		fi;
		x = 0
	};
#endif
	atomic { /* M6 */
		low = LOWEST(words | holds);
		gone = known & ~SEEN_BY(words | holds);
#ifdef BORN_AT_TAKEOVER
		gone = gone | (vague & ~SEEN_BY((words | holds) & ~(B(found) - 1)));
#else
		gone = gone | (vague & (low == 0 -> ~0 : retired_by[low]));
#endif
		gone = gone & retired_by[c];
#if defined(UNKNOWN_BY_INTERVAL)
		gone = gone | (first == 0 -> 0 : unknown & ~SEEN_BY((words | holds) & ~(B(first) - 1)));
#elif defined(UNKNOWN_BEFORE_FOUND)
		gone = gone | (low == 0 || low >= found -> unknown : 0);
#else
		gone = gone | (first != 0 && (low == 0 || low >= first) -> unknown : 0);
#endif
		gone = gone & marked;
		low = 0;
		keep_busy(0);
		keep_busy(1);
#if RING > 2
		keep_busy(2);
#endif
		words = 0;
		holds = 0
	};
	marked = marked & ~gone;
	atomic {
		freed = freed | gone;
		unknown = unknown & ~gone;
		gone = 0
	}
}

/* Everything is lost but shared memory; then what is in it is looked at. */
inline take_over()
{
	atomic {
		len(manager_buffer) == 0 -> deaths++;
		killed = false;
		first = 0;
		listed = 0;
		known = 0;
		retired_by[1] = 0; retired_by[2] = 0; retired_by[3] = 0; retired_by[4] = 0;
		n = 0; k = 0; x = 0; low = 0; words = 0; holds = 0; gone = 0;
		c = cell[CURRENT];
		found = c;
		vague = reach[ring_content[c % RING]];
		unknown = marked & ~vague;
#ifdef RING_FREE_AT_ONCE
		busy = B(c % RING);
#else
		busy = B(RING) - 1;
#endif
		/* Free by the bitmap: may be overwritten from now on. */
		freed = freed | (written & ~(marked | reach[ring_content[c % RING]]))
	}
}

inline adopt(r)
{
	atomic {
		if
		:: HAS(named, r) -> listed = listed | B(r)
#ifdef TIMEOUT_IS_DEATH
		:: true /* did not answer in time */
#endif
		:: !HAS(named, r)
		fi
	}
}

inline attach()
{
#ifdef HANDED_BEFORE_NAMED
	atomic { !HAS(handed, 1) -> handed = handed | B(1) };
	d_step { named = named | B(1); listed = listed | B(1) }
#else
	d_step { !HAS(named, 1) -> named = named | B(1); listed = listed | B(1) };
	handed = handed | B(1)
#endif
}

proctype manager()
{
	byte n, k, x, low, found;
	byte words, holds; /* sets of versions */
	short gone;
again:
	{
		if
		:: deaths == 0
		:: deaths > 0 ->
#ifdef REUSED_BEFORE_ADOPTION
			reclaim();
#endif
#if READERS > 1
			adopt(1);
#endif
			adopt(0)
		fi;
end:
		do
		:: publish()
		:: reclaim()
#if READERS > 1
		:: attach()
#endif
		od
	} unless { killed };
	take_over();
	goto again
}

init
{
	atomic {
		cell[CURRENT] = 1;
		c = 1;
		reach[1] = LEAF(1) | PAIR(1);
		content_of[1] = 1;
		ring_version[1] = 1;
		ring_content[1] = 1;
		written = reach[1];
		marked = reach[1];
		known = reach[1];
		listed = B(0);
		busy = B(1 % RING);
		run manager();
		run holder();
#if READERS > 1
		run visitor();
#endif
		run killer()
	}
}
