# SPDX-License-Identifier: Apache-2.0
"""watch: what it tells of each change, to whom, and how it ends."""

import json
import os
import re
import select
import signal
import subprocess
import time

import harness
from harness import DONE, FAILED, NO_MANAGER, NO_NAME, USAGE, Case, Manager, program

KEYS = ["time", "version", "name", "what", "bytes", "layers", "region_bytes", "was", "id",
        "generation"]
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"


class Watching:
    """`regionctl watch` in a pipe, attached and past its first look."""

    def __init__(self, case, *words, json=True, stdout=subprocess.PIPE):
        self.case = case
        before = {row["pid"] for row in case.ctl("readers", "--json").json()}
        self.process = subprocess.Popen(
            [program("regionctl"), "watch", *words, *(["--json"] if json else [])],
            env=case.env(), stdout=stdout, stderr=subprocess.PIPE)
        self.json = json
        self.rest = b""
        deadline = time.monotonic() + harness.PATIENCE
        while time.monotonic() < deadline:
            # asleep after the first look: nothing else makes it sleep once it is attached
            rows = {row["pid"] for row in case.ctl("readers", "--json").json()} - before
            if self.process.pid in rows and self.asleep():
                return
            if self.process.poll() is not None:
                return
            time.sleep(0.01)
        raise AssertionError("watch did not begin")

    def asleep(self):
        with open("/proc/%d/wchan" % self.process.pid, encoding="ascii") as file:
            where = file.read()
        with open("/proc/%d/stat" % self.process.pid, encoding="ascii") as file:
            state = file.read().rsplit(")", 1)[1].split()[0]
        return state == "S" and ("futex" in where or where in ("", "0"))

    def line(self):
        """The next line, waited for."""
        deadline = time.monotonic() + harness.PATIENCE
        while b"\n" not in self.rest:
            if not select.select([self.process.stdout], [], [], 1)[0]:
                if time.monotonic() > deadline:
                    raise AssertionError("no line came")
                continue
            got = os.read(self.process.stdout.fileno(), 65536)
            if not got:
                raise AssertionError("watch ended: %r" % self.process.stderr.read())
            self.rest += got
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line) if self.json else line.decode().split("\t")

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None and number:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=harness.PATIENCE)
        return self.process.returncode, self.rest + (out or b""), err


class Watch(Case):
    def setUp(self):
        for row in self.ctl("list", "--json").json():
            self.ctl("drop", row["name"], "--yes", "-q")
        self.running = []

    def tearDown(self):
        for watching in self.running:
            if watching.process.poll() is None:
                watching.process.kill()
            watching.process.communicate()

    def watch(self, *words, **more):
        watching = Watching(self, *words, **more)
        self.running.append(watching)
        return watching

    def put(self, name, layer="one", data=b"12345"):
        return self.ctl("load", name, "-", "--raw", "--merge", "--layer", layer, "--json",
                        data=data).json()

    def row(self, name):
        return self.ctl("show", name, "--json").json()

    # --- what is told ----------------------------------------------------------------------------

    def test_each_kind_of_change(self):
        watching = self.watch()
        self.put("data")
        line = watching.line()
        self.assertEqual(list(line), KEYS)
        self.assertRegex(line["time"], TIME)
        shown = self.row("data")
        self.assertEqual({key: line[key] for key in KEYS[1:]},
                         {"version": shown["version"], "name": "data", "what": "created",
                          "bytes": 5, "layers": 1, "region_bytes": shown["region_bytes"],
                          "was": None, "id": shown["id"], "generation": 1})
        self.put("data", "two")
        line = watching.line()
        self.assertEqual([line["what"], line["bytes"], line["layers"], line["generation"]],
                         ["changed", 10, 2, 2])
        self.assertEqual(line["version"], self.row("data")["version"])
        self.put("data", "large", b"x" * (5 << 20))
        lines = [watching.line(), watching.line()]
        self.assertEqual([line["what"] for line in lines], ["changed", "grown"])
        self.assertEqual(lines[1]["region_bytes"], self.row("data")["region_bytes"])
        self.assertEqual(lines[1]["bytes"], 10 + (5 << 20))
        self.ctl("rename", "data", "moved")
        line = watching.line()
        self.assertEqual([line["what"], line["name"], line["was"], line["layers"]],
                         ["renamed", "moved", "data", 3])
        self.ctl("drop", "moved", "--yes")
        line = watching.line()
        self.assertEqual([line["what"], line["name"], line["bytes"], line["layers"]],
                         ["dropped", "moved", None, None])
        self.ctl("create", "empty")
        line = watching.line()
        self.assertEqual([line["what"], line["bytes"], line["layers"]], ["created", 0, 0])
        self.assertEqual(watching.end()[1:], (b"", b""))

    def test_names(self):
        self.put("data")
        self.put("other")
        watching = self.watch("data")
        self.put("other")
        self.put("third")
        self.put("data", "two")
        line = watching.line()
        self.assertEqual([line["name"], line["what"]], ["data", "changed"])
        # followed through a rename, until another one has the name
        self.ctl("rename", "data", "moved")
        self.assertEqual(watching.line()["was"], "data")
        self.put("moved", "three")
        line = watching.line()
        self.assertEqual([line["name"], line["what"]], ["moved", "changed"])
        self.put("data")
        line = watching.line()
        self.assertEqual([line["name"], line["what"]], ["data", "created"])
        self.put("moved", "four")
        self.ctl("drop", "data", "--yes")
        line = watching.line()
        self.assertEqual([line["name"], line["what"]], ["data", "dropped"])
        # it stays on watch for the name
        self.put("data")
        self.assertEqual(watching.line()["what"], "created")
        watching = self.watch("other", "third")
        self.put("data", "two")
        self.put("third", "two")
        self.put("other", "two")
        self.assertEqual([watching.line()["name"] for _ in range(2)], ["third", "other"])

    def test_from(self):
        old = self.put("data")["version"]
        self.put("other")
        self.put("data", "two")
        lines = self.ctl("watch", "--from", str(old), "--json", "--count", "2").out.splitlines()
        self.assertEqual([(line["name"], line["what"], line["layers"])
                          for line in map(json.loads, lines)],
                         [("data", "changed", 2), ("other", "created", 1)])
        now = self.row("data")["version"]
        self.assertEqual(self.ctl("watch", "--from", str(now), "--for", "50ms").out, b"")
        # a version yet to come: nothing up to it is told
        watching = self.watch("data", "--from", str(now + 1))
        self.put("data", "three")
        self.put("data", "four")
        line = watching.line()
        self.assertGreater(line["version"], now + 1)
        self.assertEqual(line["layers"], 4)

    # --- how it ends -----------------------------------------------------------------------------

    def test_count_and_time(self):
        self.put("data")
        watching = self.watch("data", "--count", "2")
        self.put("data", "two")
        watching.line()
        self.put("data", "three")
        watching.line()
        self.assertEqual(watching.end(None), (DONE, b"", b""))
        self.assertEqual(self.ctl("watch", "--for", "50ms").out, b"")
        result = self.fails(FAILED, "watch", "data", "-n", "1", "--for", "50ms")
        self.assertIn("0 of 1 changes within 50ms", result.message)
        self.assertEqual(result.out, b"")

    def test_usage_and_names(self):
        self.put("flights")
        result = self.fails(NO_NAME, "watch", "flihgts")
        self.assertIn("did you mean 'flights'?", result.message)
        result = self.fails(NO_NAME, "watch", "flights", "nothing", "--from", "1")
        self.assertEqual(result.out, b"")
        self.fails(USAGE, "watch", "a/b")
        self.fails(USAGE, "watch", "a/b", "--await")
        self.fails(USAGE, "watch", "--from", "x")
        self.fails(USAGE, "watch", "--count", "0")
        error = json.loads(self.run_ctl("watch", "nothing", "--json").err)
        self.assertEqual(error["error"]["name"], "RGM_ENODIM")

    def test_await(self):
        watching = self.watch("later", "--await", "--count", "1")
        self.put("data")
        self.put("later")
        line = watching.line()
        self.assertEqual([line["name"], line["what"]], ["later", "created"])
        self.assertEqual(watching.end(None)[0], DONE)

    def test_interrupted(self):
        watching = self.watch()
        self.assertEqual(watching.end(signal.SIGINT), (-signal.SIGINT, b"", b""))

    def test_manager_ends(self):
        for number, words in ((signal.SIGTERM, []), (signal.SIGKILL, ["data"])):
            own = Manager(self.folder, name="own")
            mine, self.__class__.manager = self.manager, own
            try:
                self.put("data")
                watching = self.watch(*words, json=False)
                own.stop(number)
                code, out, err = watching.end(None)
            finally:
                self.__class__.manager = mine
            self.assertEqual((code, out), (NO_MANAGER, b""))
            self.assertRegex(err.decode(), r"^regionctl: the manager at '.*' has stopped\n"
                             r"hint: start one: regionmgrd")
        # what the killed one left in shared memory goes with the next one's clean end
        own.start()
        self.assertEqual(own.stop(), 0)
        result = self.fails(NO_MANAGER, "watch", env={"REGIONMGR_SOCKET": self.path("none.sock")})
        self.assertIn("hint: start one: regionmgrd", result.message)

    # --- who reads it ----------------------------------------------------------------------------

    def test_pipe(self):
        watching = self.watch(json=False)
        self.put("data")
        cells = watching.line()
        shown = self.row("data")
        self.assertRegex(cells[0], TIME)
        self.assertEqual(cells[1:], [str(shown["version"]), "data", "created", "5", "1",
                                     str(shown["region_bytes"]), ""])
        self.ctl("drop", "data", "--yes")
        self.assertEqual(watching.line()[3:6], ["dropped", "", ""])

    def test_reader_that_leaves(self):
        self.put("data")
        for words in ([], ["--json"]):
            # it had its line; no other change comes, and watch ends all the same
            run = subprocess.run(
                ["bash", "-c", "\"$@\" | head -1; exit ${PIPESTATUS[0]}", "bash",
                 program("regionctl"), "watch", "--from", "1", *words], env=self.env(),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                timeout=harness.PATIENCE)
            self.assertEqual((run.returncode, run.stderr), (141, b""))
            self.assertEqual(len(run.stdout.splitlines()), 1)

    def test_full_output(self):
        self.put("data")
        for words in ([], ["--json"]):
            with open("/dev/full", "wb") as full:
                result = self.run_ctl("watch", "--from", "1", *words, stdout=full)
            self.assertEqual(result.code, FAILED)
            self.assertIn(b"No space left on device", result.err)
            self.assertLessEqual(len(result.err.splitlines()), 2)

    def test_terminal(self):
        self.put("data")
        for env, colored in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
            shown, code = self.on_terminal("watch", "--from", "1", "--count", "1", env=env)
            self.assertEqual(code, DONE, shown)
            self.assertEqual(b"\x1b[1mtime" in shown, colored)
            plain = re.sub(rb"\x1b\[[0-9;]*m", b"", shown).decode().splitlines()
            self.assertNotIn("\x1b", "".join(plain))
            self.assertEqual(len(plain), 2)
            for title, cell in (("name", "data"), ("what", "created")):
                self.assertEqual(plain[0].index(title), plain[1].index(cell))
            self.assertIn("5 B", plain[1])
            self.assertIn("MiB", plain[1])
        shown, code = self.on_terminal("watch", until=b"region")
        self.assertEqual(code, -signal.SIGINT)
        shown, code = self.on_terminal("watch", "dat")
        self.assertEqual(code, NO_NAME)
        self.assertNotIn(b"version", shown)


if __name__ == "__main__":
    harness.main()
