/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the models of this folder share: the machine, and what versions reach. README.md has the nouns.
 *
 * The machine. A store of a reader goes into a buffer of its own and reaches `cell` later, in order:
 * that is all that TSO (x86) adds to plain interleaving, since loads are not reordered with loads, nor
 * stores with stores. No model has a reader load what it has in its own buffer, so nothing is
 * forwarded. A full barrier waits until the buffer is empty. The manager's call of membarrier(2) makes
 * each registered process pass one: so it goes on at a moment at which that reader's buffer is empty.
 * For a process that is not registered it does nothing, and succeeds.
 *
 * The manager's stores of `current` go through a buffer too. What it writes into blocks is visible at
 * once: in order before `current`, and after the barrier where blocks are reused.
 *
 * Versions and blocks. Version v reaches the blocks REACHES(v), a set of bits:
 *
 *     version     1       2       3       4       5
 *     block     0 ====> 1 ====> 2 ====> 3 ====> 4 ==      one a version: a leaf, a ring entry
 *               5 ============> 6 ============> 7 ==      shared by two versions
 *               .       8 ============> 9 =========       likewise
 *
 * so "some v in view has born <= v < retired" is "the block is in REACHES of a version in view". A
 * block is freed once and never used again: reading what is freed is the error, at any time after it.
 * That covers each way of using it again. Freeing at once is the hardest case: who reads a block that
 * was freed later, reads one that was freed now.
 */
#ifndef VERSIONS
#define VERSIONS 4 /* the last one that is published */
#endif
#ifndef DEPTH
#define DEPTH 3 /* stores that a reader's buffer takes */
#endif
#ifndef READERS
#define READERS 2
#endif
#ifndef FENCED
#define FENCED 1 /* bit r: reader r has a fence in R3; without it nothing but compiler order */
#endif
#ifndef REGISTERED
#define REGISTERED 2 /* bit r: its process registered for membarrier */
#endif

#define B(n) (1 << (n))
#define HAS(set, n) (((set) >> (n)) & 1)

#define REACHES(v) ((v) == 1 -> B(0) + B(5) : ((v) == 2 -> B(1) + B(5) + B(8) : ((v) == 3 -> \
	B(2) + B(6) + B(8) : ((v) == 4 -> B(3) + B(6) + B(9) : ((v) == 5 -> B(4) + B(7) + B(9) : 0)))))
/* Reachable from a version before v and not from v on. */
#define RETIRED_BY(v) ((v) == 2 -> B(0) : ((v) == 3 -> B(0) + B(1) + B(5) : ((v) == 4 -> B(0) + B(1) + \
	B(2) + B(5) + B(8) : ((v) == 5 -> B(0) + B(1) + B(2) + B(3) + B(5) + B(6) + B(8) : 0))))

#define CURRENT 0 /* the version that is current */
#define WORD(r) (1 + (r))
#define USED(r) (1 + READERS + (r)) /* slots_used of the reader's segment */
#define FIRST_FREE (1 + 2 * READERS)
#ifndef CELLS
#define CELLS FIRST_FREE
#endif

byte cell[CELLS];
chan buffer[READERS] = [DEPTH] of { byte, byte };
chan manager_buffer = [2] of { byte, byte };

short written = REACHES(1); /* blocks whose content is complete */
short freed;                /* blocks that may hold anything by now */

/* What is read through version v is what was written for it. */
#define STANDS(v) ((REACHES(v) & freed) == 0 && (REACHES(v) & written) == REACHES(v))

#define STORE(r, where, what) buffer[r]!where, what
#define DRAINED(r) (len(buffer[r]) == 0)

/* R3. */
#define READER_BARRIER(r) (!HAS(FENCED, r) || DRAINED(r))
/* M3 is all of these, in any order. */
#define MANAGER_FENCE (len(manager_buffer) == 0)
#define MEMBARRIER(r) (!HAS(REGISTERED, r) || DRAINED(r))

active proctype memory()
{
	byte where, what;
end:
	do
	:: d_step { buffer[0]?where, what -> cell[where] = what; where = 0; what = 0 }
#if READERS > 1
	:: d_step { buffer[1]?where, what -> cell[where] = what; where = 0; what = 0 }
#endif
	:: d_step { manager_buffer?where, what -> cell[where] = what; where = 0; what = 0 }
	od
}
