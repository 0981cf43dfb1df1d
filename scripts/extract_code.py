#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the code blocks of a document to files, so that a test can build and run what it shows.

usage: extract_code.py DOCUMENT FOLDER

A fenced block right behind a line `<!-- file: NAME -->` becomes FOLDER/NAME. The names are printed.
"""
import os
import re
import sys

BLOCK = re.compile(r"^<!-- file: (\S+) -->\n+```[^\n]*\n(.*?)^```$", re.M | re.S)


def main():
    document, folder = sys.argv[1:3]
    with open(document, encoding="utf-8") as file:
        text = file.read()
    blocks = BLOCK.findall(text)
    if len(blocks) != text.count("<!-- file: "):
        print("%s: a file comment without a code block behind it" % document)
        return 1
    for name, body in blocks:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(body)
        print(name)
    return 0 if blocks else 1


if __name__ == "__main__":
    sys.exit(main())
