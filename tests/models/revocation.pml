/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Revocation, policy `limit`: the manager takes back what a lagging reader sees, and the reader is told.
 *
 * Modelled. A word R of the session in the read-only table. The manager decides between M5 and M6 of
 * any scan: it stores R = r (release), with r <= c, passes a full barrier, and from then on ignores the
 * session's words and holds below r; then it reuses, in the same scan. The reader reads in sections and
 * under a hold, whenever it likes, and does not know what it read. At the outermost unpin and at a
 * release it loads R after its reads (an acquire fence stands between); the result is void if its
 * version is below R. It does so before or after it gives the word back.
 *
 * The manager's stores of R leave it later than its writes into blocks unless a barrier stands between:
 * weaker than TSO, so that the barrier has its work here too (orders.cpp has the reader's side of it).
 *
 * An inner section's unpin gives no verdict: the outermost one does, for all that was read.
 *
 * Left out. A hold is one cell (holds.pml has both words); when to revoke, and of whom: at any time.
 *
 * Asserted: no section and no release succeeds if a block that was reused was read in it; the reader
 * that was not revoked never reads one.
 */
#define READERS 1
#define CELLS (FIRST_FREE + 1)
#ifndef VERSIONS
#define VERSIONS 3
#endif
#include "versions.pml"

#define HELD FIRST_FREE
#define STANDS_HELD(v) ((REACHES(v) & freed_held) == 0)

short freed_held;
byte published = 1;
byte revoked = 1; /* R */
chan revoked_buffer = [1] of { byte };

active proctype revoked_memory()
{
	byte what;
end:
	do
	:: d_step { revoked_buffer?what -> revoked = what; what = 0 }
	od
}

/* A read: what it saw is not known to who reads. */
#define READ_SECTION spoilt = spoilt || !STANDS(v)
#define READ_HELD spoilt_held = spoilt_held || !STANDS_HELD(held)

inline enter()
{
	v = cell[CURRENT]; /* R1 */
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
	od
}

/* The end of a section or a hold: its verdict. */
#ifdef VERDICT_WITHOUT_R
#define VERDICT(version, spoilt) assert(!spoilt)
#else
#define VERDICT(version, spoilt) assert(version < revoked || !spoilt)
#endif

proctype reader()
{
	byte v, w, held;
	bool spoilt, spoilt_held;
#ifdef CHECKED_FIRST
	bool good;
#endif
	do
	:: enter();
#ifdef CHECKED_FIRST
	   good = v >= revoked;
#endif
	   do
	   :: atomic { !spoilt -> READ_SECTION }
	   :: atomic { held != 0 && !spoilt_held -> READ_HELD }
	   :: held == 0 ->
		STORE(0, HELD, v);
		held = v
#ifdef INNER_VERDICT
	   :: assert(!spoilt) /* an inner unpin that says 0 without a look at R */
#endif
	   :: break
	   od;
#ifdef CHECKED_FIRST
	   assert(!good || !spoilt);
	   STORE(0, WORD(0), 0);
#else
	   if
	   :: atomic { VERDICT(v, spoilt); spoilt = false };
	      STORE(0, WORD(0), 0) /* R6 */
	   :: STORE(0, WORD(0), 0); /* R6 */
	      VERDICT(v, spoilt)
	   fi;
#endif
	   atomic { v = 0; spoilt = false }
	:: atomic { held != 0 && !spoilt_held -> READ_HELD }
	:: held != 0 ->
		if
		:: atomic { VERDICT(held, spoilt_held); spoilt_held = false };
		   STORE(0, HELD, 0)
		:: STORE(0, HELD, 0);
		   VERDICT(held, spoilt_held)
		fi;
		atomic { held = 0; spoilt_held = false }
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
#ifdef PLACE_GIVEN_EARLY
	/* Another session is given the place while this reader lives, or a new manager clears R. */
	:: revoked > 1 -> revoked_buffer!1
#endif
	od
}

/* What a word or hold that was read keeps. */
#define KEEPS(version) (version < limit -> 0 : REACHES(version))

proctype reclaimer()
{
	byte c, limit = 1, word, held;
	do
	:: atomic {
		if
		:: c = cell[CURRENT] /* M2 */
		:: c = published
		fi
	   };
	   MANAGER_FENCE; /* M3 */
	   MEMBARRIER(0);
	   word = cell[WORD(0)]; /* M4 */
	   held = cell[HELD];    /* M5 */
	   if
	   :: true
	   :: limit < c ->
		if
		:: limit = limit + 1
		:: limit = c
		fi;
#ifndef NOT_TOLD
		revoked_buffer!limit;
#endif
#ifndef NO_REVOCATION_BARRIER
		len(revoked_buffer) == 0;
		MEMBARRIER(0);
#endif
	   fi;
	   atomic { /* M6 */
		freed = freed | (RETIRED_BY(c) & ~KEEPS(word));
		freed_held = freed_held | (RETIRED_BY(c) & ~(KEEPS(word) | KEEPS(held)));
		c = 0;
		word = 0;
		held = 0
	   }
	od
}

init
{
	atomic {
		cell[CURRENT] = 1;
		run publisher();
		run reclaimer();
		run reader()
	}
}
