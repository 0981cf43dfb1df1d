#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/faults.md names tests that exist: each row of its tables names at least one, each is in the list
of tests of this build, and each case behind a slash is one that its source runs.
"""
import json
import os
import re
import subprocess
import sys

NAME = re.compile(r"`(test_[a-z]+_[a-z0-9_]+)(?:/([a-z0-9_]+))?`")


def rows_of(text):
    """The cells of each row of each table that has three columns, without head and line."""
    for line in text.splitlines():
        if not line.startswith("|") or re.match(r"\|[-| ]+\|$", line):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[-1] != "tried by":
            yield cells


def tests_of(build):
    """Names of the build's tests, without its prefix, as in `asan.test_…`."""
    ctest = os.path.join(os.path.dirname(os.environ.get("RGM_TEST_CMAKE", "")), "ctest")
    shown = subprocess.run([ctest, "--test-dir", build, "--show-only=json-v1"], check=True,
                           stdout=subprocess.PIPE)
    return {re.sub(r"^.*\.(?=test_)", "", test["name"]) for test in json.loads(shown.stdout)["tests"]}


def source_of(root, name):
    area, stem = re.match(r"test_([a-z]+)_(.*)$", name).groups()
    for ending in ("c", "py", "sh"):
        path = os.path.join(root, "tests", area, "test_%s.%s" % (stem, ending))
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                return file.read()
    return ""


def has_case(source, case):
    """As cmocka's lists and unittest name them."""
    return re.search(r"(?:TEST|cmocka_unit_test\w*)\(\s*%s\b" % case, source) or \
        re.search(r"^ +def %s\(self" % case, source, re.M)


def problems_of(text, root, tests):
    for cells in rows_of(text):
        named = NAME.findall(cells[-1]) if len(cells) == 3 else []
        if not named:
            yield "no test is named for: " + cells[0]
        for name, case in named:
            if name not in tests:
                yield "the build has no test " + name
            elif case and not has_case(source_of(root, name), case):
                yield "%s has no case %s" % (name, case)


def main():
    root = os.environ.get("RGM_TEST_SOURCE_DIR") or os.path.join(os.path.dirname(__file__), "../..")
    build = os.environ.get("RGM_TEST_BUILD_DIR")
    if not build:
        sys.exit("set RGM_TEST_BUILD_DIR to the folder of a build")
    with open(os.path.join(root, "docs/faults.md"), encoding="utf-8") as file:
        text = file.read()
    tests = tests_of(build)
    # A check that finds nothing has to find what is planted.
    planted = "| x | y | `test_no_such` |\n| x | y | z |\n| x | y | `test_ipc_slot/no_case` |\n"
    if len(list(problems_of(planted, root, tests))) != 3:
        print("the check does not see what is planted")
        return 1
    problems = list(problems_of(text, root, tests))
    for words in problems:
        print("docs/faults.md: " + words)
    print("%d rows, %d tests, %d problems" % (len(list(rows_of(text))), len(NAME.findall(text)),
                                              len(problems)))
    return 1 if problems or not NAME.findall(text) else 0


if __name__ == "__main__":
    sys.exit(main())
