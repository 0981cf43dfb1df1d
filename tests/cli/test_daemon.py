# SPDX-License-Identifier: Apache-2.0
"""regionmgrd: start, second manager, signals, logs, settings, who may do what, limits."""

import json
import os
import re
import signal
import socket
import subprocess
import time

import harness
from harness import BUSY, CORRUPT, DONE, FAILED, NO_MANAGER, NO_NAME, USAGE, Case, Manager, program


class Daemon(Case):
    manager_options = None

    def setUp(self):
        self.managers = []

    def tearDown(self):
        for manager in self.managers:
            manager.stop()

    def start(self, *options, **more):
        more.setdefault("name", self.id().rsplit("_", 1)[-1][:20])
        manager = Manager(self.folder, *options, **more)
        self.managers.append(manager)
        return manager

    def run_daemon(self, *words, env=None, prefix=()):
        run = subprocess.run([*prefix, program("regionmgrd"), *words], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                             env=self.env(REGIONMGR_SOCKET="", **(env or {})),
                             timeout=harness.PATIENCE)
        return harness.Result(run.returncode, run.stdout, run.stderr)

    def at(self, manager, **more):
        return dict(REGIONMGR_SOCKET=manager.socket, **more)

    def test_last_line_says_what_to_type(self):
        manager = self.start()
        line = manager.log().splitlines()[-1]
        self.assertIn(manager.socket, line)
        command = line.split("next: ")[1]
        self.assertEqual(command, "regionctl --socket %s load NAME PATH" % manager.socket)
        words = command.replace("NAME", "data").replace("PATH", "/etc/hostname").split()[1:]
        self.ctl(*words, env={"REGIONMGR_SOCKET": ""})

    def test_default_places(self):
        runtime = self.path("run")
        os.mkdir(runtime, 0o700)
        env = {"XDG_RUNTIME_DIR": runtime, "XDG_STATE_HOME": self.path("state"),
               "REGIONMGR_DIR": self.path("elsewhere"), "REGIONMGR_INSTANCE": "other",
               "REGIONMGR_SOCKET": ""}
        with subprocess.Popen([program("regionmgrd")], env=self.env(**env), stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            try:
                line = b""
                while b"next:" not in line:
                    line = process.stderr.readline()
                    self.assertTrue(line, "it ended")
                self.assertIn(b"serving 'other'", line)
                # the same environment finds it
                self.assertEqual(self.ctl("status", "--json", env=env).json()["folder"],
                                 self.path("elsewhere"))
            finally:
                process.terminate()
                process.stderr.read()
                self.assertEqual(process.wait(), DONE)

    def test_second_manager(self):
        manager = self.start()
        self.ctl("create", "data", env=self.at(manager))
        before = sorted(os.listdir(manager.dir))
        log = manager.log()
        best = None
        for _ in range(5):
            began = time.monotonic()
            result = self.run_daemon("--dir", manager.dir, "--socket", manager.socket)
            took = time.monotonic() - began
            best = took if best is None else min(best, took)
            self.assertEqual(result.code, BUSY, result.err)
            self.assertIn("process %d" % manager.process.pid, result.message)
            self.assertLessEqual(len(result.message.splitlines()), 2)
        if not harness.SANITIZED:
            # promised within 100 ms; the best of five, for a busy machine
            self.assertLess(best, 0.1)
        # another socket, same folder: the same
        self.assertEqual(self.run_daemon("--dir", manager.dir, "--socket",
                                         self.path("o.sock")).code, BUSY)
        self.assertFalse(os.path.exists(self.path("o.sock")))
        self.assertEqual(sorted(os.listdir(manager.dir)), before)
        self.assertEqual(manager.log(), log)
        self.assertEqual(self.ctl("list", env=self.at(manager)).rows()[0][0], "data")

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            manager = self.start(name="s%d" % number)
            self.ctl("load", "data", "/etc/hostname", env=self.at(manager))
            manager.process.send_signal(signal.SIGHUP)
            self.ctl("status", env=self.at(manager))
            self.assertIsNone(manager.process.poll())
            # more of them do not cut the save short
            for _ in range(3):
                manager.process.send_signal(number)
            self.assertEqual(manager.process.wait(harness.PATIENCE), DONE, manager.log())
            self.assertIn("SIGHUP is ignored", manager.log())
            self.assertFalse(os.path.exists(manager.socket))
            self.fails(NO_MANAGER, "list", env=self.at(manager))
            manager.start()
            row = self.ctl("list", "--json", env=self.at(manager)).json()[0]
            self.assertEqual((row["state"], row["layers"]), ("serving", 1))
            self.ctl("check", "all", env=self.at(manager))

    def test_killed_is_taken_over(self):
        manager = self.start()
        self.ctl("load", "data", "/etc/hostname", env=self.at(manager))
        before = self.ctl("get", "data", "hostname", env=self.at(manager)).out
        manager.process.kill()
        manager.process.wait()
        manager.start()
        self.assertIn("taken over", manager.log())
        self.assertEqual(self.ctl("get", "data", "hostname", env=self.at(manager)).out, before)
        self.ctl("check", "data", env=self.at(manager))

    def test_killed_is_refused(self):
        manager = self.start()
        self.ctl("load", "data", "/etc/hostname", env=self.at(manager))
        identity = self.ctl("status", "--json", env=self.at(manager)).json()["instance_id"]
        manager.process.kill()
        manager.process.wait()
        for name in os.listdir("/dev/shm"):
            if name.startswith("regionmgr.%s." % identity):
                os.unlink("/dev/shm/" + name)
        result = self.fails(NO_MANAGER, "list", env=self.at(manager))
        manager.start()
        row = self.ctl("list", "--json", env=self.at(manager)).json()[0]
        self.assertEqual(row["state"], "refused")
        self.assertTrue(row["reason"])
        for words in (["get", "data", "hostname"], ["scan", "data"], ["check", "data"]):
            result = self.run_ctl(*words, env=self.at(manager))
            self.assertEqual(result.code, CORRUPT, (words, result.err))
        doctor = self.run_ctl("doctor", "--json", env=self.at(manager))
        self.assertEqual(doctor.code, FAILED)
        found = [row for row in doctor.json() if row["check"] == "dimensions"][0]
        self.assertEqual(found["result"], "fail")
        self.assertIn("regionctl check --file", found["remedy"])
        self.ctl("drop", "data", "--yes", env=self.at(manager))
        self.ctl("load", "data", "/etc/hostname", env=self.at(manager))

    def test_log_lines(self):
        manager = self.start("--log-level", "debug")
        self.ctl("load", "data", "/etc/hostname", env=self.at(manager))
        self.ctl("scan", "data", env=self.at(manager))
        manager.stop()
        for line in manager.log().splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warn|info|debug) "
                                   r"[a-z_]+ \S")
        self.assertRegex(manager.log(), r" info attach ")

    def test_log_json(self):
        manager = self.start("--log-json")
        self.ctl("load", "data", "/etc/hostname", env=self.at(manager))
        self.ctl("scan", "data", env=self.at(manager))
        manager.stop()
        events = [json.loads(line) for line in manager.log().splitlines()]
        for event in events:
            self.assertEqual(list(event)[:4], ["time", "level", "event", "message"])
        names = [event["event"] for event in events]
        for name in ("ready", "attach", "stopping"):
            self.assertIn(name, names)
        ready = events[names.index("ready")]
        self.assertEqual((ready["socket"], ready["folder"], ready["pid"]),
                         (manager.socket, manager.dir, manager.process.pid))

    def test_log_level(self):
        manager = self.start("--log-level", "error")
        self.ctl("load", "data", "/etc/hostname", env=self.at(manager))
        manager.stop()
        self.assertEqual(len(manager.log().splitlines()), 1)
        self.assertIn("next: regionctl", manager.log())

    def test_log_that_cannot_be_written(self):
        folder, where = self.path("unlogged"), self.path("unlogged.sock")
        with open("/dev/full", "wb") as full:
            process = subprocess.Popen([program("regionmgrd"), "--dir", folder, "--socket", where],
                                       stdin=subprocess.DEVNULL, stdout=full, stderr=full,
                                       env=self.env(REGIONMGR_SOCKET=""))
        try:
            deadline = time.monotonic() + harness.PATIENCE
            while self.run_ctl("status", "--socket", where).code != DONE:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.01)
            self.ctl("load", "data", "/etc/hostname", "--socket", where)
        finally:
            process.terminate()
            self.assertEqual(process.wait(), DONE)

    def test_log_reader_that_leaves(self):
        folder, where = self.path("left"), self.path("left.sock")
        with subprocess.Popen([program("regionmgrd"), "--dir", folder, "--socket", where],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, env=self.env(REGIONMGR_SOCKET="")) as process:
            while b"next:" not in process.stderr.readline():
                self.assertIsNone(process.poll())
            process.stderr.close()
            self.ctl("load", "data", "/etc/hostname", "--socket", where)
            self.ctl("scan", "data", "--socket", where)
            process.terminate()
            self.assertEqual(process.wait(), DONE)

    def test_settings(self):
        with open(self.path("conf"), "w", encoding="utf-8") as file:
            file.write("# limits\nmax-dimensions = 3   # few\nmax-bytes = 1GiB\nlog-level=warn\n")
        manager = self.start("--config", self.path("conf"), name="c1")
        status = self.ctl("status", "--json", env=self.at(manager)).json()
        self.assertEqual(status["max_dimensions"], 3)
        self.ctl("create", "a", env=self.at(manager))
        self.assertEqual(self.ctl("show", "a", "--json", env=self.at(manager)).json()["max_bytes"],
                         1 << 30)
        rows = self.ctl("status", "--config", "--json", env=self.at(manager)).json()
        self.assertIn({"program": "regionmgrd", "setting": "max-dimensions", "value": "3",
                       "source": "running manager"}, rows)
        manager = self.start("--config", self.path("conf"), "--max-dimensions", "2", name="c2")
        self.ctl("create", "a", env=self.at(manager))
        self.ctl("create", "b", env=self.at(manager))
        self.assertIn("max", self.fails(FAILED, "create", "c", env=self.at(manager)).message)

    def test_bad_settings(self):
        for words, said in ((["--max-reader", "3"], "--max-readers"), (["serve"], "serve"),
                            (["--lag-policy", "shout"], "--lag-policy"),
                            (["--lag-bytes", "x"], "--lag-bytes"),
                            (["--max-readers", "0"], "--max-readers"), (["--dir"], "--dir"),
                            (["--log-level", "inf"], "info"), (["--max-bytes", "x"], "size"),
                            (["--allow", "everyone"], "everyone"), (["--instance", "a/b"], "a/b"),
                            (["--max-readers", "99999999999"], "max-readers"),
                            (["--config", self.path("none")], "none")):
            with self.subTest(words=words):
                result = self.run_daemon("--dir", self.path("bad"), *words)
                self.assertIn(result.code, (USAGE, FAILED), result.err)
                self.assertLessEqual(len(result.message.splitlines()), 2, result.message)
                self.assertIn(said, result.message)
        with open(self.path("conf"), "w", encoding="utf-8") as file:
            file.write("instance = x\nmax_readers = 3\n")
        result = self.run_daemon("--config", self.path("conf"))
        self.assertEqual(result.code, USAGE)
        self.assertIn("conf:2: there is no setting 'max_readers'", result.message)
        self.assertIn("max-readers", result.message)
        self.assertFalse(os.path.exists(self.path("bad")))

    def test_help_and_version(self):
        self.assertRegex(self.run_daemon("--version").text, r"^regionmgrd \d+\.\d+\.\d+\n$")
        text = self.run_daemon("--help").text
        for option in ("--dir", "--allow", "--max-readers", "--log-json", "--config", "SIGTERM"):
            self.assertIn(option, text)
        with open("/dev/full", "wb") as full:
            run = subprocess.run([program("regionmgrd"), "--help"], stdout=full,
                                 stderr=subprocess.PIPE, env=self.env(), check=False)
        self.assertEqual(run.returncode, FAILED)

    def test_places_that_do_not_work(self):
        with open(self.path("file"), "wb"):
            pass
        self.assertEqual(self.run_daemon("--dir", self.path("file")).code, FAILED)
        os.makedirs(self.path("open"), mode=0o777)
        os.chmod(self.path("open"), 0o777)
        result = self.run_daemon("--dir", self.path("open"))
        self.assertEqual(result.code, FAILED)
        self.assertIn("chmod", result.message)
        result = self.run_daemon("--dir", self.path("deep"), "--socket", self.path("s" * 120))
        self.assertEqual(result.code, FAILED)

    def test_other_user(self):
        prefix, reason = harness.nobody()
        if reason:
            harness.skip(self, "another user", reason)
        os.mkdir(self.path("public"), 0o755)
        manager = self.start("--allow", "user:nobody", name="public/m")
        os.chmod(self.path("public", "m"), 0o700)
        self.ctl("load", "open", "/etc/hostname", env=self.at(manager))
        self.ctl("load", "own", "/etc/hostname", "--allow", "user:1234", env=self.at(manager))
        names = [row["name"] for row in self.ctl("list", "--json", prefix=prefix,
                                                 env=self.at(manager)).json()]
        self.assertEqual(names, ["open"])
        if os.environ.get("RGM_TEST_RACE_BUILD") != "1":
            # (a race build maps regions writable, which another user may not)
            with open("/etc/hostname", "rb") as file:
                self.assertEqual(self.ctl("get", "open", "hostname", prefix=prefix,
                                          env=self.at(manager)).out, file.read())
            self.ctl("scan", "open", prefix=prefix, env=self.at(manager))
        for words in (["load", "x", "/etc/hostname"], ["create", "x"], ["drop", "open", "--yes"],
                      ["rename", "open", "x"], ["delete", "open", "hostname"],
                      ["put", "open", "x", "/etc/hostname"], ["get", "own", "hostname"],
                      ["scan", "own"], ["show", "own"]):
            with self.subTest(words=words):
                result = self.run_ctl(*words, prefix=prefix, env=self.at(manager))
                self.assertIn(result.code, (FAILED, NO_NAME), (words, result.err))
                self.assertLessEqual(len(result.message.splitlines()), 2)
        self.assertEqual(len(self.ctl("list", env=self.at(manager)).rows()), 2)
        # and without being allowed, not even a look
        manager = self.start(name="public/p")
        result = self.run_ctl("list", prefix=prefix, env=self.at(manager))
        self.assertEqual(result.code, FAILED, result.err)
        self.assertNotIn("Traceback", result.message)

    def test_silent_manager(self):
        """What listens is not a manager, or a manager that is stopped: said, never for ever."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.path("mute.sock"))
            listener.listen()
            result = self.fails(FAILED, "status", "--timeout", "300ms",
                                env={"REGIONMGR_SOCKET": self.path("mute.sock")})
            self.assertIn("mute.sock", result.message)
        manager = self.start()
        manager.process.send_signal(signal.SIGSTOP)
        try:
            self.fails(FAILED, "status", "--timeout", "300ms", env=self.at(manager))
        finally:
            manager.process.send_signal(signal.SIGCONT)
        self.ctl("status", env=self.at(manager))


if __name__ == "__main__":
    harness.main()
