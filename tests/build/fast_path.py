#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Follow the fast path of functions in a disassembly, and say what is on it.

usage: fast_path.py FILE FUNCTION=MOST[,LOADS,STORES]…

Reads x86-64 code by objdump. From the function's first instruction both ways of every conditional jump are
followed. A way that calls, or jumps to another function, is not the fast path; every other one, up to its
ret, is. There has to be one; none may have a locked instruction, a fence, an xchg with memory, or more
instructions than MOST, nor may it come to an instruction twice. It may have at most LOADS and STORES;
the load of the address to return to is not counted.
"""
import re
import subprocess
import sys

LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*?)\s*$")
PADDING = ("nop", "nopl", "nopw", "cs", "data16", "endbr64")


def functions(path):
    """name -> list of (address, mnemonic, operands)"""
    out = subprocess.run(["objdump", "-dr", "--no-show-raw-insn", path], check=True,
                         capture_output=True, text=True).stdout
    found, body = {}, []
    for line in out.splitlines():
        head = re.match(r"^[0-9a-f]+ <([^>@]+)[^>]*>:$", line)
        if head:
            body = found.setdefault(head.group(1), [])
            continue
        match = LINE.match(line)
        if match and match.group(2).startswith("R_X86"):
            # In an object file: a jump with a relocation leaves the function.
            if body and body[-1][1].startswith("j"):
                body[-1] = (body[-1][0], body[-1][1], "elsewhere")
        elif match:
            body.append((int(match.group(1), 16), match.group(2), match.group(3)))
    return found


def forbidden(mnemonic, operands):
    """Why this must not stand on a fast path, or None."""
    if mnemonic == "lock" or operands.startswith("lock"):
        return "a locked instruction"
    if mnemonic in ("mfence", "lfence", "sfence", "serialize", "cpuid"):
        return "a fence"
    if mnemonic.startswith("xchg") and "(" in operands:
        return "an xchg with memory, which is locked"
    if mnemonic in ("syscall", "int", "rdtsc"):
        return "a " + mnemonic
    return None


def accesses(mnemonic, operands):
    """How many loads and how many stores an instruction makes: the last operand is the one written to."""
    if mnemonic in PADDING or mnemonic.startswith(("lea", "j", "call", "ret")):
        return 0, 0
    parts = re.findall(r"(?:[^,(]|\([^)]*\))+", operands)
    in_memory = ["(" in one or bool(re.match(r"(%[a-z]s:|0x|\d)", one.strip())) for one in parts]
    stack = (1 if mnemonic.startswith("pop") else 0, 1 if mnemonic.startswith("push") else 0)
    if not any(in_memory):
        return stack
    if not in_memory[-1]:
        return 1, 0
    if mnemonic.startswith("push"):
        return 1, 1
    if mnemonic.startswith(("mov", "vmov", "set")):
        return 0, 1
    if mnemonic.startswith(("cmp", "test", "bt", "mul", "imul", "div", "idiv")):
        return 1, 0
    return 1 + stack[0], 1


def ways(body, at=0, seen=()):
    """Every way from an index to a ret without a call, as lists of instructions."""
    taken = []
    while True:
        if at in seen:
            raise ValueError("the path has a loop")
        seen += (at,)
        address, mnemonic, operands = body[at]
        if mnemonic.startswith("call") or (mnemonic == "jmp" and operands == "elsewhere"):
            return []
        if mnemonic not in PADDING:
            taken.append((address, mnemonic, operands))
        if mnemonic.startswith("ret") or operands.startswith("ret"):
            return [taken]
        if mnemonic.startswith("j"):
            target = re.match(r"([0-9a-f]+)", operands)
            there = [i for i, one in enumerate(body) if target and one[0] == int(target.group(1), 16)]
            jumped = ways(body, there[0], seen) if there else []
            jumped = [taken + way for way in jumped]
            if mnemonic == "jmp":
                return jumped
            return jumped + [taken + way for way in ways(body, at + 1, seen)]
        at += 1


def main():
    path, failures = sys.argv[1], 0
    found = functions(path)
    for wanted in sys.argv[2:]:
        name, limits = wanted.split("=")
        most, *most_accesses = (int(number) for number in limits.split(","))
        fast = ways(found[name]) if found.get(name) else []
        if not fast:
            print("%s: no path without a call" % name)
            failures += 1
        for way in fast:
            counts = [sum(both) for both in zip(*(accesses(*one[1:]) for one in way))]
            print("%s: %d instructions, %d loads, %d stores" % (name, len(way), *counts))
            bad = [why for why in (forbidden(*one[1:]) for one in way) if why]
            if len(way) > most:
                bad.append("more than %s instructions" % most)
            for there, limit, what in zip(counts, most_accesses, ("loads", "stores")):
                if there > limit:
                    bad.append("more than %d %s" % (limit, what))
            for why in bad:
                print("%s: %s is on the fast path" % (name, why))
                failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
