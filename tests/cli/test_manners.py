# SPDX-License-Identifier: Apache-2.0
# serial: no
"""The manners of regionctl that docs/cli.md promises: errors, exit codes, typos, what a pipe, a
terminal and --json get, full outputs, destructive verbs."""

import json
import os
import re
import subprocess
import time

import harness
from harness import BUSY, CORRUPT, DONE, FAILED, NO_MANAGER, NO_NAME, USAGE, Case, program

NAMES = {b"plain.txt": b"hello\n", b"sub/deep.bin": bytes(range(256)) * 40, b"empty": b"",
         b"bad\xff\xfename": b"x", b"esc\x1b[2J": b"y", b"tab\there": b"z"}

# Every verb that only looks, with arguments that succeed.
LOOKS = [["status"], ["status", "--config"], ["list"], ["show", "data"], ["show"],
         ["show", "data", "--layers"], ["get", "data", "plain.txt"], ["scan", "data"], ["readers"],
         ["stats"], ["check", "data"], ["check", "all"], ["help"], ["help", "load"], ["version"],
         ["drop", "data", "--dry-run"], ["delete", "data", "plain.txt", "--dry-run"]]
# Changes, which say nothing on standard output but with --json.
CHANGES = [["create", "made"], ["rename", "made", "named"], ["drop", "named", "--yes"],
           ["put", "data", "more", "-"], ["delete", "data", "more"]]

ROW_KEYS = ["name", "kind", "state", "version", "layers", "bytes", "region_bytes", "retired_pages",
            "changed_ns", "id", "generation", "mode", "backing", "file", "max_bytes", "live_pages",
            "allocated_pages", "free_pages", "reason"]
GOLDEN = {
    "status": ["instance", "instance_id", "manager_version", "pid", "uid", "folder", "socket",
               "started_ns", "uptime_ns", "version", "dimensions", "max_dimensions", "refused",
               "readers", "loads", "content_bytes", "region_bytes", "allocated_bytes",
               "retired_bytes", "membarrier"],
    "status --config": ["program", "setting", "value", "source"],
    "list": ROW_KEYS,
    "show data": ["name", "kind", "state", "reason", "mode", "backing", "file", "id", "generation",
                  "version", "changed_ns", "layers", "bytes", "region_bytes", "max_bytes",
                  "block_bytes", "resident_bytes", "live_pages", "allocated_pages",
                  "retired_pages", "free_pages", "largest_free_pages", "readers", "holds",
                  "access"],
    "show data --layers": ["layer", "bytes", "crc32c", "version", "time_ns", "media_type"],
    "scan data": ["dimensions", "total", "processes", "threads", "loops"],
    "readers": ["number", "label", "state", "pid", "uid", "gid", "sections", "holds", "mapped",
                "oldest_version", "newest_version", "age_ns", "attached_ns", "kept_bytes",
                "membarrier", "lag", "revoked_version"],
    "stats": ["counter", "value", "rate", "gauge", "unit", "description"],
    "check data": ["name", "result", "layers", "bytes", "pages_used", "problems", "first_problem"],
    "doctor": ["result", "check", "fact", "remedy"],
    "version": ["program", "version"],
    "help": ["program", "version", "options", "verbs", "exit_codes"],
    "drop data --dry-run": ["name", "bytes", "layers", "readers", "holds", "dropped"],
    "delete data empty --dry-run": ["layer", "bytes"],
    "create golden": ["name", "done"],
    "rename golden gilded": ["name", "done"],
    "drop gilded --yes": ["name", "bytes", "layers", "readers", "holds", "dropped"],
    "load tree %(tree)s": ["name", "version", "layers", "removed", "bytes", "skipped",
                           "duration_ns"],
    "put tree extra %(file)s": ["name", "version", "layers", "removed", "bytes"],
    "delete tree extra": ["name", "version", "layers", "removed", "bytes"],
}
SCAN_KEYS = ["name", "version", "layers", "bytes", "crc32c", "seconds", "gb_per_s"]


class NoManager(Case):
    manager_options = None

    def test_exits_4_at_once(self):
        for words in (["status"], ["list"], ["show", "x"], ["get", "x", "y"], ["scan", "x"],
                      ["readers"], ["stats"], ["watch"], ["load", "x", "/etc"],
                      ["put", "x", "y", "/etc/passwd"],
                      ["delete", "x", "y"], ["create", "x"], ["rename", "x", "y"],
                      ["drop", "x", "--yes"], ["check", "all"]):
            began = time.monotonic()
            result = self.fails(NO_MANAGER, *words)
            if not harness.SANITIZED:
                # no retries: far below any timeout of ours
                self.assertLess(time.monotonic() - began, 2)
            self.assertIn(self.path("nobody.sock"), result.message)
            self.assertRegex(result.message, r"hint: start one: regionmgrd")

    def test_command_that_starts_one(self):
        result = self.fails(NO_MANAGER, "status", "--instance", "other", "--dir", "/tmp/a b",
                            env={"REGIONMGR_SOCKET": ""})
        self.assertIn("hint: start one: regionmgrd --instance other --dir '/tmp/a b'",
                      result.message)

    def test_json_error(self):
        result = self.run_ctl("list", "--json")
        self.assertEqual(result.code, NO_MANAGER)
        self.assertEqual(result.out, b"")
        error = json.loads(result.err)
        self.assertEqual(list(error), ["error"])
        self.assertEqual(list(error["error"]), ["code", "name", "message", "hint"])
        self.assertEqual(error["error"]["name"], "RGM_ENOMANAGER")
        self.assertEqual(error["error"]["code"], -5005)

    def test_a_read_creates_nothing(self):
        before = sorted(os.listdir(self.folder))
        for words in (["status"], ["list"], ["doctor"], ["status", "--config"]):
            self.run_ctl(*words)
        self.assertEqual(sorted(os.listdir(self.folder)), before)

    def test_config_needs_none(self):
        os.makedirs(self.path("config", "regionmgr"), exist_ok=True)
        with open(self.path("config", "regionmgr", "config"), "w", encoding="utf-8") as file:
            file.write("# ours\ninstance = from-file\ntimeout = 7s\nmax-readers = 9\n")
        result = self.ctl("status", "--config", "--json", "--timeout", "250ms",
                          env={"REGIONMGR_COLOR": "never"})
        found = {row["setting"]: (row["value"], row["source"]) for row in result.json()}
        self.assertEqual(found["instance"], ("from-file",
                                             self.path("config/regionmgr/config") + ":2"))
        self.assertEqual(found["timeout"], ("250ms", "option --timeout"))
        self.assertEqual(found["color"], ("never", "environment REGIONMGR_COLOR"))
        self.assertEqual(found["socket"][1], "environment REGIONMGR_SOCKET")
        self.assertEqual(found["dir"][1], "default")
        # option over environment over file
        for options, env, expected in ((["--instance", "a"], {"REGIONMGR_INSTANCE": "b"}, "a"),
                                       ([], {"REGIONMGR_INSTANCE": "b"}, "b"),
                                       ([], {}, "from-file"),
                                       ([], {"XDG_CONFIG_HOME": self.path("none")}, "default")):
            rows = self.ctl("status", "--config", "--json", *options, env=env).json()
            self.assertEqual([row["value"] for row in rows if row["setting"] == "instance"],
                             [expected])
        with open(self.path("config", "regionmgr", "config"), "w", encoding="utf-8") as file:
            file.write("\ninstanze = x\n")
        result = self.fails(USAGE, "list")
        self.assertIn("config:2: there is no setting 'instanze'", result.message)
        self.assertIn("did you mean 'instance'?", result.message)
        os.remove(self.path("config", "regionmgr", "config"))

    def test_overview(self):
        for words in ([], ["help"], ["--help"], ["-h"]):
            result = self.ctl(*words)
            lines = result.text.splitlines()
            self.assertLessEqual(len(lines), 30)
            for word in ("look", "change", "repair", "examples"):
                self.assertIn(word, lines)
            self.assertIn("6 corrupt", lines[-1])
            examples = lines[lines.index("examples") + 1:-1]
            self.assertEqual(len(examples), 3)

    def test_help_of_each_verb(self):
        document = self.ctl("help", "--json").json()
        self.assertGreaterEqual({verb["name"] for verb in document["verbs"]},
                                {"status", "list", "show", "create", "load", "get", "put", "delete",
                                 "scan", "drop", "rename", "readers", "stats", "check", "doctor",
                                 "help"})
        for verb in document["verbs"]:
            text = self.ctl("help", verb["name"]).text
            self.assertEqual(text, self.ctl(verb["name"], "--help").text)
            self.assertLess(text.index(verb["examples"][0]["command"]), text.index("usage"))
            for option in verb["options"]:
                self.assertIn("--" + option["name"], text)

    def test_markdown_is_the_document(self):
        with open(os.path.join(harness.SOURCE, "docs", "cli.md"), encoding="utf-8") as file:
            self.assertEqual(file.read(), self.ctl("help", "--markdown").text,
                             "regionctl help --markdown > docs/cli.md")

    def test_global_options_before_and_after(self):
        for words in (["--json", "version"], ["version", "--json"]):
            self.assertEqual(self.ctl(*words).json()["program"], "regionctl")
        self.assertEqual(self.ctl("--version").text, self.ctl("version").text)
        self.fails(NO_MANAGER, "--timeout", "1s", "list", "--quiet")

    def test_closed_standard_output(self):
        result = subprocess.run(["sh", "-c", "exec \"$0\" version >&-", program("regionctl")],
                                stderr=subprocess.PIPE, env=self.env(), check=False)
        self.assertEqual(result.returncode, FAILED)
        self.assertIn(b"writing standard output", result.stderr)


class Typos(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls()
        case.ctl("load", "flights", case.make_tree("t", {"carriers.csv": b"a", "delays.csv": b"b"}))

    def test_twenty(self):
        for code, words, hint in (
                (USAGE, ["lst"], "list"), (USAGE, ["sacn", "flights"], "scan"),
                (USAGE, ["statsu"], "status"), (USAGE, ["laod", "x", "y"], "load"),
                (USAGE, ["reanme", "a", "b"], "rename"), (USAGE, ["docter"], "doctor"),
                (USAGE, ["ls"], "list"), (USAGE, ["rm", "flights"], "drop"),
                (USAGE, ["list", "--jsno"], "--json"), (USAGE, ["--quite", "list"], "--quiet"),
                (USAGE, ["scan", "flights", "--thread", "2"], "--threads"),
                (USAGE, ["load", "x", "/etc", "--skip-unreadble"], "--skip-unreadable"),
                (USAGE, ["list", "--color", "alwys"], "always"),
                (USAGE, ["create", "x", "--kind", "layer"], "layers"),
                (USAGE, ["help", "shwo"], "show"),
                (NO_NAME, ["show", "flihgts"], "flights"), (NO_NAME, ["scan", "flight"], "flights"),
                (NO_NAME, ["get", "fligths", "x"], "flights"),
                (NO_NAME, ["check", "flightss"], "flights"),
                (NO_NAME, ["drop", "flghts", "--yes"], "flights"),
                (NO_NAME, ["rename", "fights", "x"], "flights"),
                (NO_NAME, ["put", "flyghts", "x", "/etc/passwd"], "flights"),
                (NO_NAME, ["get", "flights", "carrier.csv"], "carriers.csv"),
                (NO_NAME, ["delete", "flights", "delayz.csv"], "delays.csv"),
                (NO_NAME, ["stats", "comits"], "commits")):
            with self.subTest(words=words):
                result = self.fails(code, *words)
                self.assertIn("hint: did you mean '%s'?\n" % hint, result.message)

    def test_nothing_near(self):
        self.assertIn("'regionctl help' lists the verbs", self.fails(USAGE, "zebra").message)
        self.assertNotIn("did you mean", self.fails(NO_NAME, "show", "elephants").message)

    def test_usage(self):
        for words in (["show", "a", "b"], ["load", "x"], ["get", "x"], ["rename", "x"], ["drop"],
                      ["scan"], ["scan", "x", "--threads", "0"], ["scan", "x", "--threads", "-1"],
                      ["create", "x", "--max", "much"], ["list", "--timeout"],
                      ["list", "--timeout", "soon"], ["list", "--json=yes"], ["list", "-x"],
                      ["create", "x", "--allow", "root"], ["create", "x", "--allow", "user:nobody-here"],
                      ["load", "x", "/etc", "--tar"], ["load", "x", "/etc", "--layer", "y"],
                      ["load", "x", "-", "--tar", "--raw"], ["load", "x", "/etc", "--replace", "--merge"],
                      ["show", "flights", "--prefix", "c"], ["check"], ["check", "x", "--file", "y"]):
            with self.subTest(words=words):
                self.fails(USAGE, *words)

    def test_bad_names(self):
        for name in ("..", ".", "a/b", "a b", "x" * 65, "", "ä", "a@1"):
            for words in (["create", name], ["load", name, "/etc/hostname"], ["rename", "flights", name]):
                with self.subTest(words=words):
                    self.assertIn(self.run_ctl(*words).code, (USAGE, NO_NAME), words)
            with self.subTest(name=name):
                self.assertIn(self.run_ctl("show", name).code, (USAGE, NO_NAME))
        for layer in ("../x", "/x", "a//b", "", ".", "x" * 5000):
            with self.subTest(layer=layer):
                self.fails(USAGE, "put", "flights", layer, "/etc/hostname")
        self.assertEqual([row["name"] for row in self.ctl("list", "--json").json()], ["flights"])
        self.assertEqual(len(self.layers("flights")), 2)


class Output(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls()
        case.ctl("load", "data", case.make_tree("tree", NAMES))

    def test_pipe_has_no_escapes(self):
        for words in LOOKS + [["doctor"]]:
            for env in ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"}):
                with self.subTest(words=words, env=env):
                    result = self.run_ctl(*words, env=env)
                    self.assertIsNone(harness.ESCAPE.search(result.out.replace(b"\t", b"")))
                    self.assertIsNone(harness.ESCAPE.search(result.err))
                    self.assertTrue(result.out.endswith(b"\n") or words == ["readers"])

    def test_pipe_has_exact_numbers_and_no_header(self):
        rows = self.ctl("list").rows()
        self.assertEqual(len(rows), 1)
        row = self.ctl("list", "--json").json()[0]
        self.assertEqual(rows[0][:6], ["data", "layers", "serving", str(row["version"]), "6",
                                       str(sum(map(len, NAMES.values())))])
        fields = self.ctl("show", "data").fields()
        self.assertEqual(fields["bytes"], str(row["bytes"]))
        names = [line.split(b"\t")[0] for line in
                 self.ctl("show", "data", "--layers").out.splitlines()]
        self.assertEqual(names, [b"bad\xff\xfename", b"empty", b"esc\\x1b[2J", b"plain.txt",
                                 b"sub/deep.bin", b"tab\\there"])

    def test_json_keys(self):
        words = {"tree": self.path("tree"), "file": self.path("tree", "plain.txt")}
        for command, keys in GOLDEN.items():
            with self.subTest(command=command):
                result = self.run_ctl(*(command % words).split(), "--json")
                self.assertIn(result.code, (DONE, FAILED) if command == "doctor" else (DONE,),
                              result.err)
                document = result.json()
                self.assertTrue(isinstance(document, dict) or command == "readers" or document)
                for item in document if isinstance(document, list) else [document]:
                    self.assertEqual(list(item), keys)
        scan = self.ctl("scan", "data", "--json").json()
        self.assertEqual(list(scan["dimensions"][0]), SCAN_KEYS)
        self.assertEqual(list(scan["total"]), SCAN_KEYS[1:])
        self.ctl("drop", "tree", "--yes")

    def test_json_names_come_back(self):
        self.assertEqual(sorted(self.layers("data")), sorted(NAMES))

    def test_terminal(self):
        for words in LOOKS:
            for env, colored in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
                with self.subTest(words=words, env=env):
                    shown, code = self.on_terminal(*words, env=env)
                    self.assertEqual(code, DONE, shown)
                    # only colour, and never what a name brought
                    rest = re.sub(rb"\x1b\[[0-9;]*m", b"", shown)
                    self.assertNotIn(b"\x1b", rest)
                    if not colored:
                        self.assertNotIn(b"\x1b", shown)
        shown, _ = self.on_terminal("list")
        self.assertIn(b"\x1b[1mname", shown)
        self.assertIn(b"KiB", shown)
        shown, _ = self.on_terminal("list", "--color", "never")
        self.assertNotIn(b"\x1b", shown)
        self.assertIn(b"\x1b[", self.ctl("help", "--color", "always").out + self.run_ctl(
            "list", "--color=always", env={"NO_COLOR": "1"}).err + self.on_terminal(
                "list", "--color=always", env={"NO_COLOR": "1"})[0])
        shown, _ = self.on_terminal("show", "data", "--layers")
        self.assertIn(b"esc\\x1b[2J", shown)
        self.assertIn(b"bad\\xff\\xfename", shown)

    def test_terminal_is_aligned(self):
        shown, _ = self.on_terminal("stats", "--color", "never")
        lines = shown.decode().splitlines()
        place = lines[0].index("description")
        self.assertGreater(len(lines), 10)
        for line in lines[1:]:
            self.assertEqual(line[place - 2:place], "  ", line)
            self.assertNotEqual(line[place], " ", line)
        shown, _ = self.on_terminal("stats", "--color", "never", width=60)
        for line in shown.decode().splitlines():
            self.assertLessEqual(len(line), 60)

    def test_errors_on_a_terminal(self):
        shown, code = self.on_terminal("get", "data", "\x1b[31mred")
        self.assertEqual(code, NO_NAME)
        self.assertNotIn(b"\x1b[31mred", shown.replace(b"\x1b[1;31mregionctl", b""))
        shown, code = self.on_terminal("lst", env={"NO_COLOR": "1"})
        self.assertEqual(code, USAGE)
        self.assertNotIn(b"\x1b", shown)

    def test_binary_to_a_terminal(self):
        shown, code = self.on_terminal("get", "data", "sub/deep.bin")
        self.assertEqual(code, USAGE)
        self.assertIn(b"--force", shown)
        shown, code = self.on_terminal("get", "data", "sub/deep.bin", "--force")
        self.assertEqual(code, DONE)
        self.assertIn(b"\x02\x03\x04", shown)
        shown, code = self.on_terminal("get", "data", "plain.txt")
        self.assertEqual((shown, code), (b"hello\r\n", DONE))

    def test_full_output(self):
        for words in LOOKS:
            for form in ([], ["--json"]):
                # without readers nothing is written, and nothing can fail
                if words[0] in ("get", "readers") and (form or words == ["readers"]):
                    continue
                with self.subTest(words=words, form=form), open("/dev/full", "wb") as full:
                    result = self.run_ctl(*words, *form, stdout=full)
                    self.assertEqual(result.code, FAILED)
                    self.assertIn(b"No space left on device", result.err)
                    self.assertLessEqual(len(result.err.splitlines()), 2)
        for words in CHANGES:
            with self.subTest(words=words), open("/dev/full", "wb") as full:
                self.assertEqual(self.run_ctl(*words, "--json", stdout=full, data=b"x").code, FAILED)

    def test_reader_that_leaves(self):
        self.ctl("load", "many", self.make_tree("many", {"f%05d" % i: b"" for i in range(3000)}))
        for words in LOOKS + [["show", "many", "--layers"], ["show", "many", "--layers", "--json"]]:
            with self.subTest(words=words):
                run = subprocess.run(
                    ["bash", "-c", "\"$@\" | head -1; exit ${PIPESTATUS[0]}", "bash",
                     program("regionctl"), *words],
                    env=self.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
                self.assertEqual(run.stderr, b"")
                self.assertIn(run.returncode, (0, 141))
        self.ctl("drop", "many", "--yes")

    def test_change_says_one_line(self):
        for words, count in zip(CHANGES, (1, 1, 1, 1, 1)):
            result = self.ctl(*words, data=b"x")
            self.assertEqual(result.out, b"")
            self.assertEqual(len(result.err.splitlines()), count, result.err)
        for words in CHANGES:
            result = self.ctl(*words, "--quiet", data=b"x")
            self.assertEqual((result.out, result.err), (b"", b""))
        for words in CHANGES:
            result = self.ctl(*words, "--json", data=b"x")
            self.assertIsInstance(result.json(), dict)
            self.assertEqual(result.err, b"")


class Watch(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls().ctl("load", "data", cls().make_tree("tree", NAMES))

    def lines(self, *words, count=2, change=None):
        """The first `count` lines of something that goes on until it is ended."""
        process = subprocess.Popen([program("regionctl"), *words], env=self.env(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            found = [process.stdout.readline()]
            if change:
                change()
            while len(found) < count:
                found.append(process.stdout.readline())
        finally:
            process.terminate()
            process.communicate()
        return found

    def test_json_ticks(self):
        for words in (["status"], ["list"], ["show", "data"], ["readers"], ["stats"]):
            with self.subTest(words=words):
                plain = self.ctl(*words, "--json").json()
                first, second = map(json.loads, self.lines(*words, "--json", "--watch=100ms"))
                self.assertEqual(list(first), ["time", "elapsed_ns", "value", "delta"])
                self.assertIsNone(first["delta"])
                self.assertGreater(second["elapsed_ns"], 0)
                self.assertIs(type(second["value"]), type(plain))
                self.assertIsInstance(second["delta"], dict)

    def test_delta(self):
        seen = self.lines("show", "data", "--json", "--watch=200ms", count=8,
                          change=lambda: self.ctl("put", "data", "more", "-", data=b"12345"))
        gains = [json.loads(line)["delta"] for line in seen[1:]]
        self.assertEqual(sum(gain["layers"] for gain in gains), 1)
        self.assertEqual(sum(gain["bytes"] for gain in gains), 5)
        self.assertGreaterEqual(sum(gain["version"] for gain in gains), 1)
        self.ctl("delete", "data", "more")

    def test_lines(self):
        seen = self.lines("list", "--watch=100ms", count=3)
        plain = self.ctl("list").rows()[0]
        for line in seen:
            cells = line.decode().rstrip("\n").split("\t")
            self.assertRegex(cells[0], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            self.assertEqual(cells[1:1 + len(plain)], plain)
            self.assertEqual(cells[1 + len(plain):], ["+0"] * 5)

    def test_redraws_on_a_terminal(self):
        shown, code = self.on_terminal("list", "--watch=100ms", until=b"data")
        self.assertIn(b"\x1b[H\x1b[J", shown)
        self.assertIn(b"every 100.0 ms", shown)
        self.assertEqual(code, -2)
        shown, _ = self.on_terminal("list", "--watch=100ms", until=b"data", env={"TERM": "dumb"})
        self.assertNotIn(b"\x1b", shown)

    def test_only_where_it_fits(self):
        self.fails(USAGE, "scan", "data", "--watch")


class Destructive(Case):
    def setUp(self):
        self.ctl("load", "data", self.make_tree("tree", NAMES))

    def test_refused_in_a_pipe(self):
        before = self.ctl("list", "--json").json()
        result = self.fails(USAGE, "drop", "data")
        self.assertIn("--yes", result.message)
        self.assertEqual(self.ctl("list", "--json").json(), before)

    def test_dry_run_changes_nothing(self):
        before = self.ctl("list", "--json").json()
        version = self.ctl("status", "--json").json()["version"]
        report = self.ctl("drop", "data", "--dry-run", "--json").json()
        self.assertEqual(report["bytes"], sum(map(len, NAMES.values())))
        self.assertEqual(report["layers"], len(NAMES))
        self.assertIs(report["dropped"], False)
        rows = self.ctl("delete", "data", "plain.txt", "--dry-run", "--json").json()
        self.assertEqual(rows, [{"layer": "plain.txt", "bytes": 6}])
        self.fails(NO_NAME, "delete", "data", "plain.tx", "--dry-run")
        self.assertEqual(self.ctl("list", "--json").json(), before)
        self.assertEqual(self.ctl("status", "--json").json()["version"], version)

    def test_asked_on_a_terminal(self):
        shown, code = self.on_terminal("drop", "data", typed=(b"to go on", b"no\n"))
        self.assertEqual(code, FAILED)
        self.assertIn(b"nothing was changed", shown)
        self.assertEqual(len(self.ctl("list", "--json").json()), 1)
        shown, code = self.on_terminal("drop", "data", typed=(b"to go on", b"data\n"))
        self.assertEqual(code, DONE)
        self.assertEqual(self.ctl("list", "--json").json(), [])

    def test_yes(self):
        self.ctl("drop", "data", "--yes")
        self.fails(NO_NAME, "drop", "data", "--yes")
        self.assertEqual(self.ctl("list").out, b"")

    def test_conflicts(self):
        self.fails(BUSY, "create", "data")
        self.ctl("create", "other")
        self.fails(BUSY, "rename", "data", "other")
        self.ctl("drop", "other", "--yes")
        # all of them or none
        self.fails(NO_NAME, "delete", "data", "plain.txt", "no-such-layer")
        self.assertEqual(len(self.layers("data")), len(NAMES))


if __name__ == "__main__":
    harness.main()
