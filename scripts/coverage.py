#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print the lines that tests executed, per file, after `./check.sh coverage`.

usage: coverage.py [BUILD_DIR]     default build/coverage
"""
import collections
import gzip
import json
import os
import subprocess
import sys
import tempfile

FOLDERS = ("pool/", "ipc/", "dimensions/", "regionmgr/")


def main():
    build = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/coverage")
    lines = collections.defaultdict(dict)
    for base, _, names in os.walk(build):
        counts = [os.path.join(base, name) for name in names if name.endswith(".gcda")]
        if not counts:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            subprocess.run(["gcov", "--json-format"] + counts, cwd=scratch, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for name in os.listdir(scratch):
                with gzip.open(os.path.join(scratch, name)) as file:
                    report = json.load(file)
                for source in report["files"]:
                    if source["file"].startswith(FOLDERS):
                        seen = lines[source["file"]]
                        for line in source["lines"]:
                            number = line["line_number"]
                            seen[number] = seen.get(number, 0) + line["count"]
    if not lines:
        print("no counts under %s: run ./check.sh coverage first" % build)
        return 1
    total = covered = 0
    for path in sorted(lines):
        hit = sum(1 for count in lines[path].values() if count)
        total += len(lines[path])
        covered += hit
        print("%6.1f %%  %5d of %5d  %s" % (100.0 * hit / len(lines[path]), hit,
                                           len(lines[path]), path))
    print("%6.1f %%  %5d of %5d  in all" % (100.0 * covered / total, covered, total))
    return 0


if __name__ == "__main__":
    sys.exit(main())
