#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print the number of files below FOLDER, their bytes, and the CRC-32C of these one after the other
in the byte order of their paths: what a layers dimension loaded from it has to have.

usage: content.py FOLDER
"""
import os
import sys


def table_of(polynomial):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (polynomial if byte & 1 else 0)
        table.append(byte)
    return table


def main():
    top = os.fsencode(sys.argv[1])
    paths = sorted(os.path.relpath(os.path.join(base, name), top)
                   for base, _, names in os.walk(top) for name in names)
    table = table_of(0x82F63B78)
    crc, size = 0xFFFFFFFF, 0
    for path in paths:
        with open(os.path.join(top, path), "rb") as file:
            data = file.read()
        size += len(data)
        for byte in data:
            crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    print("%d\t%d\t%08x" % (len(paths), size, crc ^ 0xFFFFFFFF))
    return 0


if __name__ == "__main__":
    sys.exit(main())
