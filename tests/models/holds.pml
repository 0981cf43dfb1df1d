/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds: claims on (dimension, version) that outlive their section; ipc/slot.h, M5 and "Holds".
 *
 * Modelled. Blocks of two dimensions; a version reaches the same blocks of both, and what is freed is
 * counted for each. A reader enters sections, takes holds in them, leaves, reads under its holds inside
 * and outside of sections, and releases them at any time. There are two entries; one that was
 * released is used again, also by the other dimension. holds_used is raised before the first store into
 * an entry, and bounds M5. M5 loads an entry's dimension first and its version then, as two loads.
 * Blocks that only sections keep (pages of the table, ring entries) are a third set, counted as
 * dimension 0: what was copied at the take must be enough for a hold.
 *
 * Left out. The count by which views of one process share a hold: it is private, and one process stores
 * the words of a hold once. What a forked child reads through a hold: sessions.pml.
 *
 * Asserted: what is read in a section stands, of all dimensions; what is read under a hold stands, of
 * its dimension.
 *
 * MOVED moves a hold to a free entry before it (as a table that is kept dense would).
 */
#ifndef ENTRIES
#define ENTRIES 1
#endif
#ifndef DIMENSIONS
#define DIMENSIONS 2
#endif
#define READERS 1
#define CELLS (FIRST_FREE + 5)
#include "versions.pml"

#define HOLDS_USED FIRST_FREE
#define DIMENSION(e) (FIRST_FREE + 1 + 2 * (e))
#define VERSION(e) (FIRST_FREE + 2 + 2 * (e))

/* `freed` of versions.pml is of what sections alone keep. */
short freed_of[3]; /* by dimension, from 1 */
byte published = 1;

/* What the process itself knows of its holds: dimension or 0, and version. */
byte held[2], held_version[2];
byte raised; /* its own copy of holds_used */

#define STANDS_OF(d, v) ((REACHES(v) & freed_of[d]) == 0)
#define HELD_STANDS(e) (held[e] == 0 || STANDS_OF(held[e], held_version[e]))
#ifdef HOLD_READS_TABLE
#define HELD_READS(e) (HELD_STANDS(e) && (held[e] == 0 || STANDS(held_version[e])))
#else
#define HELD_READS(e) HELD_STANDS(e)
#endif

inline store_hold(e, d, v)
{
#ifdef DIMENSION_FIRST
	STORE(0, DIMENSION(e), d);
	STORE(0, VERSION(e), v);
#else
	STORE(0, VERSION(e), v);
	STORE(0, DIMENSION(e), d);
#endif
}

inline raise(e)
{
	if
	:: raised > e
	:: else -> STORE(0, HOLDS_USED, e + 1); raised = e + 1
	fi
}

inline take(e, v)
{
	if
	:: d = 1
#if DIMENSIONS > 1
	:: d = 2
#endif
	fi;
#ifdef HOLDS_USED_LATE
	store_hold(e, d, v);
	late = e + 1;
#else
	raise(e);
	store_hold(e, d, v);
#endif
	d_step { held[e] = d; held_version[e] = v; d = 0 }
}

inline release(e)
{
	atomic { held[e] != 0 -> held[e] = 0; held_version[e] = 0 };
#ifdef VERSION_CLEARED_FIRST
	STORE(0, VERSION(e), 0);
#endif
	STORE(0, DIMENSION(e), 0)
}

proctype holder()
{
	byte v, w, d;
#ifdef HOLDS_USED_LATE
	byte late;
#endif
	do
	:: v = cell[CURRENT]; /* R1 */
	   do
	   :: STORE(0, WORD(0), v); /* R2 */
	      READER_BARRIER(0);    /* R3 */
	      atomic {
		w = cell[CURRENT]; /* R4 */
		if
		:: w == v -> w = 0; break
		:: else -> v = w; w = 0 /* R5 */
		fi
	      }
	   od;
	   do
	   :: assert(STANDS(v) && STANDS_OF(1, v) && STANDS_OF(2, v))
	   :: assert(HELD_READS(0) && HELD_READS(1))
#ifndef TAKEN_OUTSIDE
	   :: held[0] == 0 -> take(0, v)
#if ENTRIES > 1
	   :: held[1] == 0 -> take(1, v)
	   :: release(1)
#endif
#endif
	   :: release(0)
	   :: break
	   od;
	   STORE(0, WORD(0), 0); /* R6 */
#ifdef TAKEN_OUTSIDE
	   if
	   :: held[0] == 0 -> take(0, v)
	   :: true
	   fi;
#endif
#ifdef HOLDS_USED_LATE
	   atomic {
		if
		:: late > raised -> STORE(0, HOLDS_USED, late); raised = late
		:: else
		fi
	   };
#endif
	   v = 0
	:: assert(HELD_READS(0) && HELD_READS(1))
	:: release(0)
#if ENTRIES > 1
	:: release(1)
#endif
#ifdef MOVED
	:: held[0] == 0 && held[1] != 0 ->
	   raise(0);
	   store_hold(0, held[1], held_version[1]);
	   d_step {
		held[0] = held[1];
		held_version[0] = held_version[1];
		held[1] = 0;
		held_version[1] = 0
	   };
	   STORE(0, DIMENSION(1), 0)
#endif
	od
}

proctype publisher()
{
end:
	do
	:: published < VERSIONS ->
		atomic {
			written = written | REACHES(published + 1);
			manager_buffer!CURRENT, published + 1 -> published++ /* M1 */
		}
	od
}

/* M4. */
inline scan_word()
{
	atomic { x = cell[WORD(0)]; seen = seen | REACHES(x); x = 0 }
}

/* M5. */
inline scan_holds()
{
	used = cell[HOLDS_USED];
	do
	:: e < used ->
		x = cell[DIMENSION(e)];
		atomic {
			if
			:: x == 0
			:: else -> seen_of[x] = seen_of[x] | REACHES(cell[VERSION(e)])
			fi;
			x = 0;
			e++
		}
	:: else -> atomic { used = 0; e = 0; break }
	od
}

proctype reclaimer()
{
	byte c, x, e, used;
	short seen, seen_of[3];
	do
	:: atomic {
		if
		:: c = cell[CURRENT] /* M2 */
		:: c = published
		fi
	   };
	   MANAGER_FENCE; /* M3 */
	   MEMBARRIER(0);
#ifdef HOLDS_FIRST
	   scan_holds();
	   scan_word();
#else
	   scan_word();
	   scan_holds();
#endif
	   atomic { /* M6 */
		freed = freed | (RETIRED_BY(c) & ~seen);
		freed_of[1] = freed_of[1] | (RETIRED_BY(c) & ~(seen | seen_of[1]));
		freed_of[2] = freed_of[2] | (RETIRED_BY(c) & ~(seen | seen_of[2]));
		c = 0;
		seen = 0;
		seen_of[1] = 0;
		seen_of[2] = 0
	   }
	od
}

init
{
	atomic {
		cell[CURRENT] = 1;
		run publisher();
		run reclaimer();
		run holder()
	}
}
