#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare what the public headers declare, the version maps list and the libraries export.

usage: check_symbols.py ROOT LIB_DIR

Each RGM_API function of a public header stands in the map of its library and is exported by it, and
nothing else is. manager.h belongs to libregionmgr-manager, all other headers to libregionmgr. Only
public functions may carry the prefix's visibility, so a new one is added in three places on purpose.
"""
import glob
import os
import re
import subprocess
import sys

LIBRARIES = {"libregionmgr.so": "regionmgr.map", "libregionmgr-manager.so": "regionmgr-manager.map"}


def declared(header):
    """Names of the functions that a header declares with RGM_API."""
    with open(header, encoding="utf-8") as file:
        text = file.read()
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"^[ \t]*#.*$", " ", text, flags=re.M)
    return set(re.findall(r"\bRGM_API\b[^;(]*?\b(\w+)\s*\(", text))


def mapped(path):
    """Names that a version map makes global."""
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", " ", file.read(), flags=re.S)
    names = set()
    for part in re.findall(r"global:(.*?)(?:local:|\})", text, flags=re.S):
        names.update(name.strip() for name in part.split(";") if name.strip())
    return names


def exported(library):
    """Names that a library defines for others, without the version."""
    out = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True,
                         text=True).stdout
    rows = [line.split() for line in out.splitlines()]
    return {row[-1].split("@")[0] for row in rows if row[-2] != "A"}


def compare(library, what, names, others_what, others):
    """Print the difference of two sets; the number of differences."""
    for name in sorted(names - others):
        print("%s: %s is %s and not %s" % (library, name, what, others_what))
    for name in sorted(others - names):
        print("%s: %s is %s and not %s" % (library, name, others_what, what))
    return len(names ^ others)


def main():
    root, libraries = sys.argv[1:3]
    headers = glob.glob(os.path.join(root, "regionmgr/include/regionmgr/*.h"))
    failures = 0
    for library, map_name in LIBRARIES.items():
        is_manager = "manager" in library
        names = set()
        for header in headers:
            if (os.path.basename(header) == "manager.h") == is_manager:
                names |= declared(header)
        listed = mapped(os.path.join(root, "cmake", map_name))
        failures += compare(library, "declared", names, "in " + map_name, listed)
        failures += compare(library, "in " + map_name, listed, "exported",
                            exported(os.path.join(libraries, library)))
        print("%s: %d functions" % (library, len(names)))
        failures += not names
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
