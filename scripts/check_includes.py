#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Read every #include of the tree and fail on one that points up.

usage: check_includes.py [ROOT]

Tiers, low to high; a folder includes itself and what stands here under its name:

    regionmgr/include    nothing of ours but other public headers
    pool                 public headers
    ipc, dimensions      pool (but not each other)
    regionmgr/reader     pool, ipc, dimensions
    regionmgr/manager    pool, ipc, dimensions
    regionmgr/cli        pool, ipc, dimensions; reader and manager through public headers alone
    regionmgr/daemon     as regionmgr/cli, and from it what two programs share: settings, words
    tests, bench         anything, what stands beside the file included
    examples             public headers

Public headers are included as <regionmgr/x.h>, internal ones as "folder/x.h" from the root. A few
headers of the system belong to one file each: the doors of the architecture.
"""
import os
import re
import sys

LOW = ("pool", "ipc", "dimensions")
ALLOWED = {
    "regionmgr/include": (),
    "pool": ("pool",),
    "ipc": ("ipc", "pool"),
    "dimensions": ("dimensions", "pool"),
    "regionmgr/reader": ("regionmgr/reader",) + LOW,
    "regionmgr/manager": ("regionmgr/manager",) + LOW,
    "regionmgr/daemon": ("regionmgr/daemon", "regionmgr/cli") + LOW,
    "regionmgr/cli": ("regionmgr/cli",) + LOW,
    "tests": None,
    "bench": None,
    "examples": (),
}
# Who alone may include a header of the system, below tests and bench.
DOORS = {
    r"sys/mman\.h": r"pool/os[a-z_]*\.c|regionmgr/cli/.*",
    r"numa(if)?\.h": r"pool/numa\.c",
    r"urcu.*": r"regionmgr/(reader|manager)/.*",
    r"(cjson/)?cJSON\.h|archive(_entry)?\.h": r"regionmgr/(cli|daemon)/.*",
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
SOURCES = (".c", ".h", ".def", ".inc")


def folder_of(path):
    """The tier folder that a path stands in, or None."""
    return max((f for f in ALLOWED if path.startswith(f + "/")), key=len, default=None)


def problems_of(root, path):
    """Each include of one file that breaks a rule, as (line, header, why)."""
    own = folder_of(path)
    allowed = ALLOWED[own]
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        text = file.read()
    for match in INCLUDE.finditer(text):
        quote, header = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        if quote == "<":
            if header.startswith("regionmgr/"):
                if not os.path.exists(os.path.join(root, "regionmgr/include", header)):
                    yield line, header, "there is no such public header"
                continue
            if folder_of(header):
                yield line, header, 'internal headers are included as "folder/x.h"'
            if allowed is None:
                continue
            for names, who in DOORS.items():
                if re.fullmatch(names, header) and not re.fullmatch(who, path):
                    yield line, header, "only %s includes it" % who
            continue
        if allowed is None and os.path.exists(os.path.join(root, os.path.dirname(path), header)):
            continue
        target = folder_of(header)
        if not os.path.exists(os.path.join(root, header)):
            yield line, header, "is not named from the root, or does not exist"
        elif target == "regionmgr/include" or target is None:
            yield line, header, "public headers are included as <regionmgr/x.h>"
        elif allowed is not None and target not in allowed:
            yield line, header, "%s may not know %s" % (own, target)


def main():
    root = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else ".")
    files = failures = 0
    for folder in ("pool", "ipc", "dimensions", "regionmgr", "tests", "bench", "examples"):
        for base, _, names in sorted(os.walk(os.path.join(root, folder))):
            for name in sorted(names):
                path = os.path.relpath(os.path.join(base, name), root)
                if not name.endswith(SOURCES) or folder_of(path) is None:
                    continue
                files += 1
                for line, header, why in problems_of(root, path):
                    failures += 1
                    print("%s:%d: %s: %s" % (path, line, header, why))
    if files == 0:
        print("no sources under %s" % root)
        return 1
    print("%d files, %d includes against the tiers" % (files, failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
