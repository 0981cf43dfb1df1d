# SPDX-License-Identifier: Apache-2.0
# label: long
"""A layer of 5 GB from a sparse file: beyond 32 bits everywhere."""

import hashlib
import os
import subprocess

import harness
from harness import Case, program

SIZE = 5 * 10**9 + 7


class Large(Case):
    def test_five_gigabytes(self):
        path = self.path("sparse")
        with open(path, "wb") as file:
            file.truncate(SIZE)
            for place in (0, 2**31 - 3, 2**32 - 3, SIZE - 6):
                file.seek(place)
                file.write(b"marker")
        report = self.ctl("load", "big", path, "--json").json()
        self.assertEqual((report["layers"], report["bytes"]), (1, SIZE))
        row = self.ctl("show", "big", "--layers", "--json").json()[0]
        self.assertEqual(row["bytes"], SIZE)
        scan = self.ctl("scan", "big", "--json").json()
        self.assertEqual(scan["total"]["bytes"], SIZE)
        self.assertEqual(scan["total"]["crc32c"], row["crc32c"])
        self.assertEqual(self.digest(["cat", path]),
                         self.digest([program("regionctl"), "get", "big", "sparse"]))
        self.ctl("check", "big")
        # the same through a tar stream
        with subprocess.Popen(["tar", "cS", "-C", self.folder, "sparse"],
                              stdout=subprocess.PIPE) as tar:
            self.ctl("load", "tarred", "-", stdin=tar.stdout)
        self.assertEqual(self.ctl("show", "tarred", "--layers", "--json").json()[0]["crc32c"],
                         row["crc32c"])

    def digest(self, command):
        digest = hashlib.sha256()
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=self.env()) as process:
            for piece in iter(lambda: process.stdout.read(1 << 20), b""):
                digest.update(piece)
        self.assertEqual(process.returncode, 0)
        return digest.hexdigest()


if __name__ == "__main__":
    harness.main()
