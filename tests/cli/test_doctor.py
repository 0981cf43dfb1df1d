# SPDX-License-Identifier: Apache-2.0
"""doctor finds what was planted, names it, and says the command that mends it."""

import mmap
import os
import secrets
import signal
import subprocess
import time

import harness
from harness import DONE, FAILED, Case, program


class Doctor(Case):
    def findings(self, *words, code=None, env=None):
        result = self.run_ctl("doctor", "--json", *words, env=env)
        rows = result.json()
        failed = any(row["result"] == "fail" for row in rows)
        self.assertEqual(result.code, FAILED if failed else DONE, rows)
        if code is not None:
            self.assertEqual(result.code, code, rows)
        return rows

    def one(self, rows, check, result):
        found = [row for row in rows if row["check"] == check and row["result"] == result]
        self.assertEqual(len(found), 1, rows)
        return found[0]

    def test_healthy(self):
        rows = self.findings(code=DONE)
        checks = {row["check"] for row in rows}
        self.assertGreaterEqual(checks, {
            "manager", "folder", "socket", "file-system", "space", "shared-memory", "leftovers",
            "membarrier", "descriptors", "locked-memory", "huge-pages", "dimensions", "readers"})
        for row in rows:
            self.assertIn(row["result"], ("ok", "warn"))
            self.assertEqual(row["result"] == "ok" and row["remedy"] is not None, False)
        self.assertIn("pid %d" % self.manager.process.pid, self.one(rows, "manager", "ok")["fact"])

    def test_lines(self):
        for line in self.ctl("doctor").text.splitlines():
            self.assertRegex(line, r"^\[(ok|warn|fail)\] \S")

    def test_no_manager(self):
        rows = self.findings(code=FAILED, env={"REGIONMGR_SOCKET": self.path("nobody.sock")})
        self.assertIn("regionmgrd", self.one(rows, "manager", "fail")["remedy"])

    def test_open_folder(self):
        for mode, result in ((0o755, "warn"), (0o777, "fail"), (0o700, "ok")):
            os.chmod(self.manager.dir, mode)
            row = self.one(self.findings(), "folder", result)
            if result != "ok":
                self.assertEqual(row["remedy"], "chmod 700 '%s'" % self.manager.dir)

    def test_remedy_mends(self):
        os.chmod(self.manager.dir, 0o777)
        row = self.one(self.findings(code=FAILED), "folder", "fail")
        subprocess.run(["sh", "-c", row["remedy"]], check=True)
        self.one(self.findings(), "folder", "ok")

    def test_leftover_shared_memory(self):
        name = "/dev/shm/regionmgr.%s.table" % secrets.token_hex(16)
        file = os.open(name, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            os.ftruncate(file, 4096)
            rows = self.findings()
            found = [row for row in rows if row["check"] == "leftovers"
                     and name[:-5] in (row["remedy"] or "")]
            self.assertEqual(len(found), 1, rows)
            # mapped by somebody: not a leftover
            with mmap.mmap(file, 4096):
                rows = self.findings()
                self.assertFalse([row for row in rows if name[:-5] in (row["remedy"] or "")])
            subprocess.run(["sh", "-c", found[0]["remedy"]], check=True)
            self.assertFalse(os.path.exists(name))
        finally:
            os.close(file)
            if os.path.exists(name):
                os.remove(name)

    def test_few_descriptors(self):
        subprocess.run(["prlimit", "--pid", str(self.manager.process.pid), "--nofile=200"], check=True)
        row = self.one(self.findings(), "descriptors", "warn")
        self.assertIn("prlimit --pid %d" % self.manager.process.pid, row["remedy"])

    def test_stale_socket(self):
        own = harness.Manager(self.folder, name="killed")
        own.process.kill()
        own.process.wait()
        rows = self.findings(env={"REGIONMGR_SOCKET": own.socket}, code=FAILED)
        self.assertIn("left behind", self.one(rows, "socket", "warn")["fact"])
        self.assertTrue([row for row in rows if row["check"] == "leftovers"
                         and row["result"] == "warn"])
        own.start()
        self.assertEqual(own.stop(), DONE)


if __name__ == "__main__":
    harness.main()
