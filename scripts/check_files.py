#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Read every text file of the tree for what no compiler minds.

usage: check_files.py [ROOT]

 - a source, script or build file names its licence in its first three lines;
 - none is longer than 600 lines;
 - no path of one machine: a home, the folder of this checkout, a root folder no system has;
 - no tab in Python, YAML or JSON; no line of C or shell indented by eight spaces;
 - no trailing blanks, no CR, a newline at the end;
 - nothing marked as unfinished;
 - a script that is run is executable, parses, and says by which interpreter.
"""
import os
import re
import subprocess
import sys

LICENCE = "SPDX-License-Identifier: Apache-2.0"
LICENSED = (".c", ".h", ".cpp", ".pml", ".def", ".inc", ".py", ".sh", ".cmake", ".map", ".supp", "CMakeLists.txt")
TEXT = LICENSED + (".md", ".txt", ".json", ".yml", ".yaml", ".in", ".html", "Doxyfile",
                   ".clang-format", ".clang-tidy", ".gitignore", ".ci/run")
CODE_LINES = 600
SKIP = {".git", "build", "__pycache__"}
SYSTEM = ("bin boot dev etc home lib lib64 media mnt opt proc root run sbin srv sys tmp usr "
          "var").split()
ABSOLUTE = re.compile(r"(?<![\w.$/:~*}{)\]>\"'%<\\+-])/([a-z][a-z0-9_-]*)/[\w.]")
HOME = re.compile(r"/(home|root|Users)/[a-z]")
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
# Files made by programs, or kept as they were: results of benches, golden files.
DATA = re.compile(r"^(bench/results/|tests/[^/]+/golden/|LICENSE$)")


def problems_of(root, path):
    """Each problem of one file, as (line, words)."""
    full = os.path.join(root, path)
    with open(full, "rb") as file:
        data = file.read()
    if b"\r" in data:
        yield 0, "has a carriage return"
    if data and not data.endswith(b"\n"):
        yield 0, "does not end with a newline"
    lines = data.decode("utf-8", errors="replace").splitlines()
    script = path.endswith((".sh", ".py")) or (lines and lines[0].startswith("#!"))
    if (path.endswith(LICENSED) or script) and not any(LICENCE in line for line in lines[:3]):
        yield 1, "does not say %s in its first lines" % LICENCE
    if path.endswith(LICENSED) and len(lines) > CODE_LINES:
        yield len(lines), "is longer than %d lines" % CODE_LINES
    parent = os.path.dirname(root)
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield number, "has blanks at its end"
        if "\t" in line and path.endswith((".py", ".yml", ".yaml", ".json")):
            yield number, "has a tab"
        if line.startswith(" " * 8) and path.endswith((".c", ".h", ".sh")):
            yield number, "is indented by spaces"
        if UNFINISHED.search(line):
            yield number, "is marked as unfinished"
        if root in line or (parent.count("/") > 1 and parent + "/" in line) or HOME.search(line):
            yield number, "names a path of one machine"
        elif not path.startswith("tests/"):
            for match in ABSOLUTE.finditer(line):
                if match.group(1) not in SYSTEM:
                    yield number, "names a path of one machine: " + match.group(0)
    if script and lines[0].startswith("#!"):
        if not os.access(full, os.X_OK):
            yield 1, "has a #! line and is not executable"
        if lines[0].endswith("bash"):
            done = subprocess.run(["bash", "-n", full], capture_output=True, text=True)
            if done.returncode != 0:
                yield 1, done.stderr.strip()
    if path.endswith(".py"):
        try:
            compile(data, path, "exec")
        except SyntaxError as error:
            yield error.lineno or 0, str(error)


def main():
    root = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else ".")
    files = failures = 0
    for base, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - SKIP)
        for name in sorted(names):
            path = os.path.relpath(os.path.join(base, name), root)
            if DATA.match(path) or not path.endswith(TEXT):
                continue
            files += 1
            for line, words in problems_of(root, path):
                failures += 1
                print("%s:%d: %s" % (path, line, words))
    print("%d files, %d problems" % (files, failures))
    return 1 if failures or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
