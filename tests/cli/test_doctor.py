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

    def lagging(self, manager):
        """A scan that goes on for ever, stopped, whose holds keep what was replaced."""
        env = self.env(REGIONMGR_SOCKET=manager.socket)
        tree = self.make_tree("tree", {"a": os.urandom(300000), "b": b"b" * 5000})
        self.ctl("load", "data", tree, env={"REGIONMGR_SOCKET": manager.socket})
        process = subprocess.Popen(
            [program("regionctl"), "scan", "data", "--loops", "100000000", "--threads", "1"],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.wait_row(manager, process.pid, lambda row: row["holds"] == 1)
        process.send_signal(signal.SIGSTOP)
        for _ in range(3):
            self.ctl("load", "data", tree, env={"REGIONMGR_SOCKET": manager.socket})
        return process

    def wait_row(self, manager, pid, wanted):
        deadline = time.monotonic() + harness.PATIENCE
        while time.monotonic() < deadline:
            rows = self.ctl("readers", "--json", env={"REGIONMGR_SOCKET": manager.socket}).json()
            rows = [row for row in rows if row["pid"] == pid]
            if rows and wanted(rows[0]):
                return rows[0]
            time.sleep(0.02)
        raise AssertionError("never so: %r" % rows)

    def own(self, name, *options):
        manager = harness.Manager(self.folder, "--warn-section", "100ms", *options, name=name)
        self.addCleanup(manager.stop)
        return manager

    def test_lagging_reader(self):
        manager = self.own("lag")
        process = self.lagging(manager)
        try:
            row = self.wait_row(manager, process.pid, lambda row: row["lag"] == "lagging")
            self.assertGreater(row["kept_bytes"], 300000)
            self.assertIsNone(row["revoked_version"])
            env = {"REGIONMGR_SOCKET": manager.socket}
            found = self.one(self.findings(env=env), "readers", "warn")
            self.assertIn("pid %d" % process.pid, found["fact"])
            self.assertEqual(found["remedy"], "kill -CONT %d" % process.pid)
            subprocess.run(["sh", "-c", found["remedy"]], check=True)
            found = self.one(self.findings(env=env), "readers", "warn")
            self.assertEqual(found["remedy"], "kill %d" % process.pid)
            subprocess.run(["sh", "-c", found["remedy"]], check=True)
            process.communicate(timeout=harness.PATIENCE)
        finally:
            process.kill()
            process.communicate()
        self.assertIn("keeps", manager.log())
        self.assertEqual(manager.log().count(" lagging "), 1)

    def test_revoked_reader(self):
        manager = self.own("limit", "--lag-policy", "limit", "--lag-bytes", "4K")
        process = self.lagging(manager)
        env = {"REGIONMGR_SOCKET": manager.socket}
        try:
            row = self.wait_row(manager, process.pid, lambda row: row["lag"] == "revoked")
            self.assertEqual((row["holds"], row["kept_bytes"]), (0, 0))
            self.assertGreater(row["revoked_version"], 0)
            found = self.one(self.findings(env=env), "readers", "warn")
            self.assertIn("was revoked", found["fact"])
            self.assertEqual(found["remedy"], "kill -CONT %d" % process.pid)
            counters = {row["counter"]: row["value"]
                        for row in self.ctl("stats", "--json", env=env).json()}
            self.assertEqual([counters["readers_" + what] for what in ("revoked", "killed")], [1, 0])
        finally:
            process.kill()
            process.communicate()
        self.assertIn("taken back (policy limit)", manager.log())

    def test_killed_reader(self):
        manager = self.own("kill", "--lag-policy", "kill", "--lag-bytes", "4K")
        process = self.lagging(manager)
        try:
            process.communicate(timeout=harness.PATIENCE)
            self.assertEqual(process.returncode, -signal.SIGKILL)
        finally:
            process.kill()
            process.communicate()
        self.assertIn("(policy kill)", manager.log())

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
