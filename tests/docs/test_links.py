#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The documents name what is there: each relative link of each *.md leads to a file or folder of the
tree, each anchor to a heading or an id, and each `path/in/the/tree` or `test_name` in code spans exists.
"""
import os
import re
import sys

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
FOLDERS = ("pool/", "ipc/", "dimensions/", "regionmgr/", "tests/", "bench/", "docs/", "scripts/",
           "cmake/", "examples/")
SKIP = {".git", "build", "__pycache__"}


def anchors_of(text):
    """As the common renderers make them: lower case, punctuation gone, blanks to hyphens."""
    found = set(re.findall(r'\bid="([^"]+)"', text))
    for heading in re.findall(r"^#+ +(.*?) *#*$", FENCE.sub("", text), re.M):
        heading = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-"))
    return found


def tree(root):
    files, folders = set(), {""}
    for base, names, leaves in os.walk(root):
        if base == root:
            names[:] = set(names) - SKIP
        here = os.path.relpath(base, root)
        here = "" if here == "." else here + "/"
        files.update(here + leaf for leaf in leaves)
        folders.update(here + name + "/" for name in names)
    return files, folders


def tests_of(files):
    names = set()
    for path in files:
        match = re.match(r"tests/([^/]+)/test_([^/.]+)\.(c|sh|py)$", path)
        if match:
            names.add("test_%s_%s" % match.group(1, 2))
    return names


def problems_of(root, path, files, folders, tests):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        text = file.read()
    prose = FENCE.sub("", text)
    for target in LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        there = os.path.normpath(os.path.join(os.path.dirname(path), place)) if place else path
        if there not in files and there + "/" not in folders:
            yield "a link leads nowhere: " + target
        elif anchor and there in files:
            with open(os.path.join(root, there), encoding="utf-8") as file:
                if anchor not in anchors_of(file.read()):
                    yield "a link names no heading: " + target
    for span in SPAN.findall(prose):
        if re.fullmatch(r"test_[a-z]+_[a-z0-9_]+", span) and span not in tests:
            yield "there is no test " + span
        if not span.startswith(FOLDERS) or re.search(r"[ <>*…{}()$|,]", span):
            continue
        place = re.sub(r":\d+$", "", span)
        if place not in files and place.rstrip("/") + "/" not in folders:
            yield "there is no " + span


def main():
    root = os.environ.get("RGM_TEST_SOURCE_DIR") or os.path.join(os.path.dirname(__file__), "../..")
    root = os.path.abspath(root)
    files, folders = tree(root)
    tests = tests_of(files)
    count = failures = 0
    for path in sorted(files):
        if not path.endswith(".md"):
            continue
        count += 1
        for words in problems_of(root, path, files, folders, tests):
            failures += 1
            print("%s: %s" % (path, words))
    print("%d documents, %d problems" % (count, failures))
    return 1 if failures or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
