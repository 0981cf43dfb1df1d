/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: attach, registration, death, forks; what the manager may conclude from what it is told.
 *
 * Modelled. The manager lists a session, then sends its handles. The reader maps them, registers for
 * membarrier and sets its bit, or decides for fences; raises slots_used; then enters sections, takes
 * and releases a hold, forks once at any time, detaches, and may be killed before any of its steps. The
 * child reads through the hold that was alive at the fork, and ends. `mappings` counts who maps the
 * segment (handles on their way count too): the lock is free when it is 0. The kernel takes a killed
 * process's mappings away first and tells by the pidfd then; the words that it stored are in memory by
 * then. A hang-up comes at any time and means nothing. The manager's event thread proves death by the
 * pidfd, from where on the session's words count no more, and ends the session when the lock is free.
 * Its call of membarrier may fail.
 *
 * A release of a hold that a child may use leaves the words standing until the child is gone
 * (docs/architecture.md, Forks).
 *
 * Left out. A hold's two words are one cell here, HELD, the version (holds.pml has both). One session:
 * a segment is never given to another one. Threads of the reader: sections.pml. sessions.lock is
 * `scanning`: the list does not change during a scan.
 *
 * Asserted: what a section reads stands; what parent and child read under the hold stands.
 */
#define READERS 1
#define CELLS (FIRST_FREE + 2)
#define FENCED 0 /* told by `fenced` */
#define REGISTERED 0
#ifndef VERSIONS
#define VERSIONS 3
#endif
#include "versions.pml"

#define HELD FIRST_FREE
#define BIT (FIRST_FREE + 1)

#define STANDS_HELD(v) ((REACHES(v) & freed_held) == 0)

short freed_held; /* blocks of the dimension that the hold is on; `freed`: what sections alone keep */
byte published = 1;

/* The kernel's. */
byte mappings;
bool registered, killed, gone;
/* Between the manager's threads. */
bool listed, alive, sent, scanning;
/* The reader's. */
bool fenced, child_lives;
byte child_held;

inline enter()
{
	v = cell[CURRENT]; /* R1 */
	do
	:: STORE(0, WORD(0), v);  /* R2 */
	   (!fenced || DRAINED(0)); /* R3 */
	   atomic {
		w = cell[CURRENT]; /* R4 */
		if
		:: w == v -> w = 0; break
		:: else -> v = w; w = 0 /* R5 */
		fi
	   }
	od
}

inline set_up()
{
	if
	:: atomic { registered = true };
#ifndef BIT_MISSING
	   STORE(0, BIT, 1);
#endif
#ifndef BIT_UNFENCED
	   DRAINED(0)
#endif
	:: fenced = true
	fi;
	STORE(0, USED(0), 1)
}

inline fork()
{
	atomic {
		!forked -> forked = true;
		child_lives = true;
		child_held = held;
		mappings++;
#ifdef CHILD_PINS
		run child(v)
#else
		run child(0)
#endif
	}
}

/* The hold's words go, unless a child of a fork at which it was alive may read through it. */
inline release()
{
#ifdef RELEASE_FORGETS_CHILD
	atomic { held != 0 -> held = 0 };
	STORE(0, HELD, 0)
#else
	atomic {
		held != 0 ->
		if
		:: child_lives && child_held == held -> standing = true
		:: else
		fi;
		held = 0
	};
	if
	:: standing
	:: !standing -> STORE(0, HELD, 0)
	fi
#endif
}

proctype child(byte section)
{
	do
	:: child_held != 0 -> assert(STANDS_HELD(child_held))
#ifdef CHILD_PINS
	:: section != 0 -> assert(STANDS(section))
#endif
	:: break
	od;
	section = 0;
	mappings--;
	child_held = 0;
	child_lives = false
}

proctype reader()
{
	byte v, w, held;
	bool forked, standing;
	sent;
	{
		set_up();
		do
		:: enter();
		   do
		   :: assert(STANDS(v) && STANDS_HELD(v))
		   :: held == 0 && !standing -> STORE(0, HELD, v); held = v
		   :: fork()
		   :: break
		   od;
		   STORE(0, WORD(0), 0); /* R6 */
		   v = 0
		:: held != 0 -> assert(STANDS_HELD(held))
		:: release()
		:: standing && !child_lives ->
			standing = false;
			STORE(0, HELD, 0)
		:: fork()
		:: held == 0 -> killed = true; break /* detach */
		od
	} unless { killed };
	atomic { v = 0; w = 0; held = 0; forked = false; standing = false };
	mappings--;
	DRAINED(0);
	gone = true
}

proctype killer()
{
end:
	sent && !killed -> killed = true
}

proctype events()
{
	/* Attach. */
#ifdef HANDLES_FIRST
	d_step { mappings = 1; sent = true };
	d_step { !scanning -> listed = true; alive = true };
#else
	d_step { !scanning -> listed = true; alive = true };
	d_step { mappings = 1; sent = true };
#endif
end:
	do
	:: d_step { !scanning && alive && gone -> alive = false }
	:: d_step { !scanning && listed && mappings == 0 -> listed = false }
#ifdef TIMEOUT_IS_DEATH
	:: d_step { !scanning && alive -> alive = false }
#endif
#ifdef HANGUP_IS_END
	:: d_step { !scanning && listed -> listed = false }
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

proctype reclaimer()
{
	byte c, x;
	short seen, seen_held;
	do
	:: atomic {
		if
		:: c = cell[CURRENT] /* M2 */
		:: c = published
		fi
	   };
	   scanning = true;
	   MANAGER_FENCE; /* M3 */
	   if
	   :: (!registered || DRAINED(0))
	   :: true -> /* the call failed */
#ifndef FAILURE_IGNORED
		atomic {
			if
			:: listed && cell[BIT] == 1 -> c = 0
			:: else
			fi
		}
#endif
	   fi;
	   if
	   :: listed && alive -> /* M4 */
		x = cell[USED(0)];
		atomic {
			if
			:: x == 0
			:: else -> x = cell[WORD(0)]; seen = REACHES(x)
			fi;
			x = 0
		}
	   :: else
	   fi;
	   atomic {
		if
#ifdef HOLDS_DIE
		:: listed && alive -> seen_held = REACHES(cell[HELD])
#else
		:: listed -> seen_held = REACHES(cell[HELD]) /* M5 */
#endif
		:: else
		fi
	   };
	   scanning = false;
	   atomic { /* M6 */
		freed = freed | (RETIRED_BY(c) & ~seen);
		freed_held = freed_held | (RETIRED_BY(c) & ~(seen | seen_held));
		c = 0;
		seen = 0;
		seen_held = 0
	   }
	od
}

init
{
	atomic {
		cell[CURRENT] = 1;
		run publisher();
		run reclaimer();
		run events();
		run reader();
		run killer()
	}
}
