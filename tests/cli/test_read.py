# SPDX-License-Identifier: Apache-2.0
"""Reading: get, scan, show against the source, an independent checksum and the kernel."""

import os
import random
import signal
import stat
import subprocess
import time

import harness
from harness import CORRUPT, DONE, FAILED, NO_NAME, Case, program

SEED = int(os.environ.get("RGM_TEST_SEED", "20261122"))


class Reading(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        print("seed", SEED)
        chance = random.Random(SEED)
        case = cls()
        cls.trees = {
            "one": {"f%03d" % i: chance.randbytes(chance.randrange(20000)) for i in range(60)},
            # beyond one piece of the scan, on and around its border
            "two": {"big": chance.randbytes((9 << 20) + 1), "exact": chance.randbytes(4 << 20),
                    "sub/none": b"", "sub/one": b"1"},
            "empty": {},
        }
        for name, files in cls.trees.items():
            case.ctl("load", name, case.make_tree(name, files))
        cls.sums = {name: harness.crc32c(b"".join(files[key] for key in sorted(files)))
                    for name, files in cls.trees.items()}

    # --- scan ------------------------------------------------------------------------------------

    def check_rows(self, rows, names):
        self.assertEqual([row["name"] for row in rows], names)
        self.assertEqual(len({row["version"] for row in rows}), 1)
        for row in rows:
            files = self.trees[row["name"]]
            self.assertEqual(row["layers"], len(files))
            self.assertEqual(row["bytes"], sum(map(len, files.values())))
            self.assertEqual(row["crc32c"], "%08x" % self.sums[row["name"]])

    def test_checksum(self):
        for threads, processes, loops in ((1, 1, 1), (3, 1, 1), (1, 4, 1), (4, 3, 2), (16, 2, 5)):
            with self.subTest(threads=threads, processes=processes, loops=loops):
                document = self.ctl("scan", "two", "one", "--json", "--threads", str(threads),
                                    "--processes", str(processes), "--loops", str(loops)).json()
                self.check_rows(document["dimensions"], ["two", "one"])
                self.assertEqual((document["threads"], document["processes"], document["loops"]),
                                 (threads, processes, loops))
                total = document["total"]
                self.assertEqual(total["bytes"], sum(row["bytes"] for row in document["dimensions"]))
                files = self.trees["one"]
                both = harness.crc32c(b"".join(files[key] for key in sorted(files)),
                                      self.sums["two"])
                self.assertEqual(total["crc32c"], "%08x" % both)

    def test_text(self):
        rows = self.ctl("scan", "one", "empty").rows()
        self.assertEqual([row[0] for row in rows], ["one", "empty", "total"])
        self.assertEqual(rows[0][4], "%08x" % self.sums["one"])
        self.assertEqual(rows[1][3:5], ["0", "00000000"])

    def test_names(self):
        self.fails(NO_NAME, "scan", "one", "missing")

    def test_it_is_a_reader(self):
        process = subprocess.Popen(
            [program("regionctl"), "scan", "one", "two", "--loops", "100000000", "--processes", "2",
             "--threads", "1"], env=self.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + harness.PATIENCE
            children = []
            while len(children) < 2 and time.monotonic() < deadline:
                with open("/proc/%d/task/%d/children" % (process.pid, process.pid),
                          encoding="ascii") as file:
                    children = file.read().split()
                rows = self.ctl("readers", "--json").json()
            row = [row for row in rows if row["pid"] == process.pid][0]
            self.assertEqual((row["holds"], row["sections"], row["uid"]), (2, 0, os.getuid()))
            # what it holds is not reused, and replacing goes on
            self.ctl("load", "one", self.path("two"))
            self.ctl("load", "one", self.path("one"))
            row = [row for row in self.ctl("readers", "--json").json()
                   if row["pid"] == process.pid][0]
            self.assertGreater(row["kept_bytes"], 0)
            # a process of it dies: told, exit 1
            os.kill(int(children[0]), signal.SIGKILL)
            os.kill(int(children[1]), signal.SIGKILL)
            _, err = process.communicate(timeout=harness.PATIENCE)
            self.assertEqual(process.returncode, FAILED)
            self.assertIn(b"died of signal 9", err)
        finally:
            process.kill()
            process.communicate()
        deadline = time.monotonic() + harness.PATIENCE
        while self.ctl("readers").out and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(self.ctl("readers").out, b"")

    # --- get -------------------------------------------------------------------------------------

    def test_get(self):
        for name, files in self.trees.items():
            for layer, data in files.items():
                if layer.endswith(("0", "big", "none", "exact")):
                    self.assertEqual(self.ctl("get", name, layer).out, data)
        self.fails(NO_NAME, "get", "one", "missing")
        self.fails(NO_NAME, "get", "missing", "one")

    def test_get_to_a_file(self):
        where = self.path("out")
        self.ctl("get", "two", "big", "-o", where)
        with open(where, "rb") as file:
            self.assertEqual(file.read(), self.trees["two"]["big"])
        self.assertEqual(stat.S_IMODE(os.stat(where).st_mode) & 0o111, 0)
        os.symlink("out", self.path("link"))
        self.ctl("get", "two", "sub/one", "--output", self.path("link"))
        with open(where, "rb") as file:
            self.assertEqual(file.read(), b"1")
        self.assertTrue(os.path.islink(self.path("link")))
        # into what is no regular file: written, not replaced (never tried on a real device: a test
        # that fails must not take one away)
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        with subprocess.Popen(["timeout", "60", "cat", fifo], stdout=subprocess.PIPE) as process:
            self.ctl("get", "two", "sub/one", "-o", fifo)
            self.assertEqual(process.stdout.read(), b"1")
        self.assertTrue(stat.S_ISFIFO(os.stat(fifo).st_mode))
        self.fails(FAILED, "get", "two", "big", "-o", self.path("no", "such"))
        self.fails(FAILED, "get", "two", "big", "-o", self.folder)
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("out.")], [])

    def test_no_half_file(self):
        where = self.path("kept")
        with open(where, "wb") as file:
            file.write(b"before")
        result = self.fails(FAILED, "get", "two", "big", "-o", where,
                            prefix=("bash", "-c", "trap '' XFSZ; ulimit -f 100; exec \"$@\"", "bash"))
        self.assertIn("File too large", result.message)
        with open(where, "rb") as file:
            self.assertEqual(file.read(), b"before")
        self.assertEqual([name for name in os.listdir(self.folder) if name.startswith("kept.")], [])

    def test_get_to_a_full_device(self):
        with open("/dev/full", "wb") as full:
            result = self.run_ctl("get", "two", "big", stdout=full)
        self.assertEqual(result.code, FAILED)

    # --- show ------------------------------------------------------------------------------------

    def test_show_agrees_with_the_kernel(self):
        self.ctl("scan", "two")
        row = self.ctl("show", "two", "--json").json()
        path = os.path.join(self.manager.dir, row["file"])
        facts = os.stat(path)
        self.assertEqual(row["block_bytes"], facts.st_blocks * 512)
        self.assertEqual(row["region_bytes"], facts.st_size)
        found = subprocess.run(["fincore", "--bytes", "--noheadings", "--output", "RES", path],
                               stdout=subprocess.PIPE, check=True)
        self.assertEqual(row["resident_bytes"], int(found.stdout))
        self.assertEqual(row["allocated_pages"], row["live_pages"] + row["retired_pages"])

    def test_check(self):
        rows = self.ctl("check", "all", "--json").json()
        self.assertEqual({row["name"]: (row["result"], row["bytes"]) for row in rows},
                         {name: ("sound", sum(map(len, files.values())))
                          for name, files in self.trees.items()})
        self.fails(NO_NAME, "check", "one", "missing")


class Damage(Case):
    def test_check_finds_a_flipped_bit(self):
        data = os.urandom(100000)
        self.ctl("load", "good", self.make_tree("good", {"g": b"good"}))
        self.ctl("load", "bad", self.make_tree("bad", {"a": b"1", "victim": data, "z": b"2"}))
        row = self.ctl("show", "bad", "--json").json()
        path = os.path.join(self.manager.dir, row["file"])
        with open(path, "r+b") as file:
            place = file.read().index(data[:4096])
            file.seek(place + 50000)
            byte = file.read(1)
            file.seek(place + 50000)
            file.write(bytes([byte[0] ^ 1]))
        result = self.run_ctl("check", "all", "--json")
        self.assertEqual(result.code, CORRUPT)
        self.assertEqual({row["name"]: row["result"] for row in result.json()},
                         {"good": "sound", "bad": "corrupt"})
        self.assertIn("victim", [row["first_problem"] for row in result.json()
                                 if row["name"] == "bad"][0])
        result = self.run_ctl("get", "bad", "victim")
        self.assertEqual(result.code, CORRUPT)
        result = self.run_ctl("get", "bad", "victim", "-o", self.path("copy"))
        self.assertEqual(result.code, CORRUPT)
        self.assertFalse(os.path.exists(self.path("copy")))
        result = self.fails(CORRUPT, "scan", "good", "bad")
        self.assertIn("victim", result.message)
        self.ctl("get", "bad", "z")
        # offline
        self.assertEqual(self.fails(harness.BUSY, "check", "--file", path).out, b"")
        self.assertEqual(self.manager.stop(), DONE)
        result = self.run_ctl("check", "--file", path)
        self.assertEqual(result.code, CORRUPT)
        self.assertIn("victim", result.message)
        good = [name for name in os.listdir(self.manager.dir)
                if name.endswith(os.path.splitext(path)[1]) and name != row["file"]]
        self.ctl("check", "--file", os.path.join(self.manager.dir, good[0]))
        self.fails(FAILED, "check", "--file", self.path("missing"))
        self.manager.start()


if __name__ == "__main__":
    harness.main()
