# SPDX-License-Identifier: Apache-2.0
# label: slow
"""Loading: files, folders, tar streams, standard input; and everything that must be refused with
nothing changed."""

import gzip
import io
import json
import os
import re
import signal
import socket
import stat
import subprocess
import tarfile
import threading
import time

import harness
from harness import BUSY, DONE, FAILED, NO_NAME, USAGE, Case, program

TREE = {"a.txt": b"alpha", "sub/b.bin": b"\x00\xff" * 5000, "sub/deeper/c": b"", "z": b"z" * 4096,
        b"caf\xc3\xa9": b"utf-8", b"odd\xff": b"not utf-8", "with space": b"s", ".hidden": b"h"}


def tar(members, form=tarfile.PAX_FORMAT, mode="w"):
    """A tar stream of pairs: a name, and bytes or (type,)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=form, encoding="utf-8",
                      errors="surrogateescape") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.mtime = 1700000000
            if isinstance(data, bytes):
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            else:
                info.type = data[0]
                info.linkname = "a.txt"
                archive.addfile(info)
    return out.getvalue()


class Loading(Case):
    def tearDown(self):
        for row in self.ctl("list", "--json").json():
            self.ctl("drop", row["name"], "--yes")

    def content(self, name):
        return {layer: self.ctl("get", name, layer).out for layer in self.layers(name)}

    def summary(self, *words, **more):
        return self.ctl("load", *words, "--json", **more).json()

    def unchanged_by(self, code, *words, **more):
        """The load fails with the code, and what is served stays as it was."""
        before = self.ctl("list", "--json").json()
        result = self.fails(code, "load", *words, **more)
        self.assertEqual(self.ctl("list", "--json").json(), before)
        return result

    # --- folders ---------------------------------------------------------------------------------

    def test_folder(self):
        root = self.make_tree("folder", TREE)
        os.symlink("a.txt", os.path.join(root, "link"))
        os.symlink("/etc", os.path.join(root, "sub", "away"))
        os.mkfifo(os.path.join(root, "pipe"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(root, "sock"))
        report = self.summary("d", root)
        self.assertEqual(report["skipped"],
                         {"symlinks": 2, "hard_links": 0, "special": 2, "unreadable": 0})
        self.assertEqual(report["layers"], len(TREE))
        self.assertEqual(report["bytes"], sum(map(len, TREE.values())))
        self.assertEqual(self.content("d"), {os.fsencode(name): data for name, data in TREE.items()})
        row = self.ctl("list", "--json").json()[0]
        self.assertEqual((row["version"], row["layers"]), (report["version"], len(TREE)))
        times = {row["layer"]: row["time_ns"]
                 for row in self.ctl("show", "d", "--layers", "--json").json()}
        self.assertEqual(times["a.txt"], os.stat(os.path.join(root, "a.txt")).st_mtime_ns)

    def test_symlinked_root(self):
        root = self.make_tree("real", {"x": b"1"})
        os.symlink(root, self.path("symlink"))
        self.assertEqual(self.summary("d", self.path("symlink"))["layers"], 1)
        self.assertEqual(self.layers("d"), [b"x"])
        self.assertEqual(self.summary("d", self.path("symlink") + "/")["layers"], 1)

    def test_empty_folder(self):
        os.mkdir(self.path("nothing"))
        self.assertEqual(self.summary("d", self.path("nothing"))["layers"], 0)
        self.assertEqual(self.layers("d"), [])

    def test_one_version(self):
        root = self.make_tree("versions", {"f%d" % i: b"x" for i in range(300)})
        version = self.ctl("status", "--json").json()["version"]
        report = self.summary("d", root)
        self.assertEqual(report["version"], version + 1)
        self.assertEqual({row["version"] for row in self.ctl("show", "d", "--layers", "--json").json()},
                         {version + 1})

    def test_replace_and_merge(self):
        first = self.make_tree("first", {"a": b"1", "b": b"2"})
        second = self.make_tree("second", {"b": b"3", "c": b"4"})
        self.summary("d", first)
        self.summary("d", second, "--merge")
        self.assertEqual(self.content("d"), {b"a": b"1", b"b": b"3", b"c": b"4"})
        report = self.summary("d", second)
        self.assertEqual(self.content("d"), {b"b": b"3", b"c": b"4"})
        self.assertEqual(report["layers"], 2)

    def test_deep_folder_with_few_descriptors(self):
        root = os.fsencode(self.path("deep"))
        path, at = root, os.open(self.folder, os.O_RDONLY)
        os.mkdir(root)
        for name in [b"deep"] + [b"d" * 20] * 150:
            if name != b"deep":
                os.mkdir(name, dir_fd=at)
                path += b"/" + name
            at, old = os.open(name, os.O_RDONLY, dir_fd=at), at
            os.close(old)
        with os.fdopen(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=at), "wb") as file:
            file.write(b"leaf")
        os.close(at)
        report = self.summary("d", os.fsdecode(root), prefix=("prlimit", "--nofile=24"))
        self.assertEqual(report["layers"], 1)
        self.assertEqual(len(self.layers("d")[0]), 150 * 21 + 4)

    def test_many_files_with_few_descriptors(self):
        root = self.make_tree("wide", {"%d/%d" % (i % 20, i): b"%d" % i for i in range(1000)})
        self.assertEqual(self.summary("d", root, prefix=("prlimit", "--nofile=24"))["layers"], 1000)

    def test_path_longer_than_a_name(self):
        at = os.open(self.folder, os.O_RDONLY)
        for name in ["long"] + ["e" * 200] * 21:
            os.mkdir(name, dir_fd=at)
            at, old = os.open(name, os.O_RDONLY, dir_fd=at), at
            os.close(old)
        with os.fdopen(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=at), "wb") as file:
            file.write(b"leaf")
        os.close(at)
        result = self.unchanged_by(FAILED, "d", self.path("long"))
        self.assertIn("longer than a layer's name", result.message)

    def test_unreadable(self):
        prefix, reason = harness.nobody()
        if reason:
            harness.skip(self, "unreadable files", reason)
        root = self.make_tree("secret", {"open": b"1", "closed": b"2", "dir/inner": b"3"})
        os.chmod(os.path.join(root, "closed"), 0)
        os.chmod(os.path.join(root, "dir"), 0)
        own = harness.Manager(self.make_nobody_folder(), name="n", prefix=prefix)
        env = {"REGIONMGR_SOCKET": own.socket}
        try:
            result = self.fails(FAILED, "load", "d", root, prefix=prefix, env=env)
            self.assertRegex(result.message, "(closed|dir)' cannot be read: Permission denied")
            self.assertIn("--skip-unreadable", result.message)
            self.assertEqual(self.ctl("list", prefix=prefix, env=env).out, b"")
            result = self.ctl("load", "d", root, "--skip-unreadable", prefix=prefix, env=env)
            self.assertEqual(len(re.findall("^warning: .*skipped", result.message, re.M)), 2)
            self.assertIn("1 layer,", result.message)
            self.assertIn("2 unreadable", result.message)
        finally:
            self.assertEqual(own.stop(), 0)

    def make_nobody_folder(self):
        path = self.path("nobody")
        os.mkdir(path)
        os.chown(path, 65534, 65534)
        return path

    def test_missing(self):
        self.assertIn("No such file", self.unchanged_by(FAILED, "d", self.path("missing")).message)
        self.unchanged_by(FAILED, "d", "/dev/null")
        os.mkfifo(self.path("fifo"))
        self.unchanged_by(FAILED, "d", self.path("fifo"))
        os.symlink("nowhere", self.path("dangling"))
        self.unchanged_by(FAILED, "d", self.path("dangling"))

    # --- folders that change ---------------------------------------------------------------------

    def load_while(self, change):
        """Load a folder, changing it when the load is certainly under way; the result."""
        for _ in range(20):
            root = self.make_tree("moving", {"%02d/%04d" % (i % 10, i): b"x" * 100
                                             for i in range(400)})
            # found first: it keeps the manager busy while we look
            with open(os.path.join(root, "00first"), "wb") as file:
                file.truncate(48 << 20)
            time.sleep(0.05)  # the clock of the file system must tell new from old
            process = subprocess.Popen([program("regionctl"), "load", "d", root], env=self.env(),
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            loads = 0
            while process.poll() is None and not loads:
                loads = self.ctl("status", "--json").json()["loads"]
            process.send_signal(signal.SIGSTOP)
            under_way = loads and self.ctl("status", "--json").json()["loads"]
            if under_way:
                change(root)
            process.send_signal(signal.SIGCONT)
            out, err = process.communicate(timeout=harness.PATIENCE)
            subprocess.run(["rm", "-rf", root, self.path("elsewhere")], check=True)
            if under_way:
                return harness.Result(process.returncode, out, err)
            if self.ctl("list").out:
                self.ctl("drop", "d", "--yes")
        self.fail("no load was ever seen under way")

    def test_changes_refuse(self):
        def grow(root):
            with open(os.path.join(root, "00", "0000"), "ab") as file:
                file.write(b"more")

        def rewrite(root):
            with open(os.path.join(root, "09", "0399"), "r+b") as file:
                file.write(b"y" * 100)

        def add(root):
            with open(os.path.join(root, "05", "new"), "wb"):
                pass

        def remove(root):
            os.remove(os.path.join(root, "07", "0007"))

        def swap_for_link(root):
            os.rename(os.path.join(root, "09"), os.path.join(root, "..", "elsewhere"))
            os.symlink("../elsewhere", os.path.join(root, "09"))

        def replace(root):
            path = os.path.join(root, "03", "0003")
            with open(path + ".new", "wb") as file:
                file.write(b"x" * 100)
            os.rename(path + ".new", path)

        for change in (grow, rewrite, add, remove, swap_for_link, replace):
            with self.subTest(change=change.__name__):
                result = self.load_while(change)
                self.assertEqual(result.code, BUSY, result.err)
                self.assertIn("changed while it was loaded", result.message)
                self.assertEqual(self.ctl("list").out, b"")
        result = self.load_while(lambda root: None)
        self.assertEqual(result.code, DONE, result.err)

    # --- single files ----------------------------------------------------------------------------

    def test_file(self):
        root = self.make_tree("files", {"prices.csv": b"1,2\n"})
        self.ctl("load", "d", root + "/prices.csv", "--media-type", "text/csv")
        self.assertEqual(self.content("d"), {b"prices.csv": b"1,2\n"})
        row = self.ctl("show", "d", "--layers", "--json").json()[0]
        self.assertEqual((row["media_type"], row["bytes"]), ("text/csv", 4))
        self.assertEqual(row["crc32c"], "%08x" % harness.crc32c(b"1,2\n"))
        self.ctl("load", "d", root + "/prices.csv", "--layer", "x/y", "--merge")
        self.assertEqual(sorted(self.content("d")), [b"prices.csv", b"x/y"])

    def test_put_and_delete(self):
        root = self.make_tree("single", {"f": b"one", "none": b""})
        self.ctl("create", "d")
        self.ctl("put", "d", "f", root + "/f")
        self.ctl("put", "d", "g", "-", data=b"two" * 500000)
        self.ctl("put", "d", "none", root + "/none")
        self.assertEqual(self.content("d"), {b"f": b"one", b"g": b"two" * 500000, b"none": b""})
        self.ctl("put", "d", "f", "-", data=b"")
        self.ctl("delete", "d", "g", "none")
        self.assertEqual(self.content("d"), {b"f": b""})
        self.fails(NO_NAME, "put", "e", "f", root + "/f")
        self.fails(FAILED, "put", "d", "f", root)

    def test_max(self):
        root = self.make_tree("big", {"f": os.urandom(9 << 20)})
        self.unchanged_by(FAILED, "d", root, "--max", "4M")
        self.ctl("load", "d", root, "--max", "64M")
        self.assertEqual(self.ctl("show", "d", "--json").json()["max_bytes"], 64 << 20)
        self.assertIn("warning: 'd' exists", self.ctl("load", "d", root, "--max", "1G").message)

    def test_allow(self):
        root = self.make_tree("allow", {"f": b"1"})
        self.ctl("load", "d", root, "--allow", "user:nobody", "--allow", "group:7777")
        self.assertEqual(self.ctl("show", "d", "--json").json()["access"], "user:nobody group:7777")

    # --- standard input --------------------------------------------------------------------------

    def test_tar(self):
        members = [("./", (tarfile.DIRTYPE,)), ("./a.txt", b"alpha"), ("sub", (tarfile.DIRTYPE,)),
                   ("sub/b", b"b" * (3 << 20)), ("hard", (tarfile.LNKTYPE,)), ("soft", (tarfile.SYMTYPE,)),
                   ("pipe", (tarfile.FIFOTYPE,)), ("null", (tarfile.CHRTYPE,)), ("empty", b""),
                   ("caf\u00e9", b"utf-8"), ("n" * 300, b"long name")]
        expected = {os.fsencode(name.replace("./", "")): data for name, data in members
                    if isinstance(data, bytes)}
        for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            for mode in ("w", "w:gz", "w:bz2", "w:xz"):
                for options in ([], ["--tar"]):
                    with self.subTest(form=form, mode=mode, options=options):
                        report = self.summary("d", "-", *options, data=tar(members, form, mode))
                        self.assertEqual(report["layers"], len(expected))
                        self.assertEqual(report["skipped"], {
                            "symlinks": 1, "hard_links": 1, "special": 2, "unreadable": 0})
                        self.assertEqual(self.content("d"), expected)
        row = self.ctl("show", "d", "--layers", "--prefix", "a.txt", "--json").json()[0]
        self.assertEqual(row["time_ns"], 1700000000 * 10**9)

    def test_tar_names_that_are_not_utf_8(self):
        self.summary("d", "-", data=tar([("odd\udcff", b"1")], tarfile.GNU_FORMAT))
        self.assertEqual(self.layers("d"), [b"odd\xff"])

    def test_tar_program(self):
        root = self.make_tree("program", TREE)
        with subprocess.Popen(["tar", "c", "-C", root, "."], stdout=subprocess.PIPE) as process:
            self.ctl("load", "d", "-", stdin=process.stdout)
            process.stdout.close()
            self.assertEqual(process.wait(), 0)
        self.assertEqual(self.content("d"), {os.fsencode(name): data for name, data in TREE.items()})

    def test_hostile_tar(self):
        for name in ("../x", "a/../../x", "/etc/passwd", "a//b", "x/./y", "..", "x" * 5000,
                     "/".join(["y" * 100] * 50)):
            with self.subTest(name=name[:20]):
                result = self.unchanged_by(
                    FAILED, "d", "-", data=tar([("good", b"1"), (name, b"2")]))
                self.assertIn("standard input", result.message)

    def test_broken_tar(self):
        whole = tar([("a", b"a" * 50000), ("b", b"b" * 50000)])
        self.unchanged_by(FAILED, "d", "-", data=whole[:60000])
        self.unchanged_by(FAILED, "d", "-", data=whole[:513])
        self.unchanged_by(FAILED, "d", "-", "--tar", data=gzip.compress(whole)[:90])
        damaged = bytearray(whole)
        damaged[512 + 50176 + 10] ^= 0xFF  # in the second header
        self.unchanged_by(FAILED, "d", "-", data=bytes(damaged))
        self.unchanged_by(FAILED, "d", "-", "--tar", data=b"no tar at all" * 100)
        self.unchanged_by(FAILED, "d", "-", "--tar", data=b"")

    def test_plain_input(self):
        for data in (b"hello\n", b"x" * (3 << 20), gzip.compress(b"hello"), os.urandom(700000)):
            result = self.ctl("load", "d", "-", data=data)
            self.assertIn("not a tar stream", result.message)
            self.assertEqual(self.content("d"), {b"stdin": data})
        archive = tar([("a", b"1")])
        self.ctl("load", "d", "-", "--raw", "--layer", "my.tar", data=archive)
        self.assertEqual(self.content("d"), {b"my.tar": archive})
        self.ctl("load", "d", "-", "--raw", data=b"")
        self.assertEqual(self.content("d"), {b"stdin": b""})
        self.assertIn("--raw", self.unchanged_by(FAILED, "d", "-", data=b"").message)
        self.ctl("load", "d", "-", "--tar", data=tar([]))
        self.assertEqual(self.content("d"), {})

    # --- what is said ----------------------------------------------------------------------------

    def test_summary(self):
        root = self.make_tree("said", {"a": b"12345"})
        result = self.ctl("load", "d", root)
        self.assertEqual(result.out, b"")
        self.assertRegex(result.message, r"^loaded 'd': 1 layer, 5 B, version \d+, in [\d.]+ \w+\n$")
        self.assertEqual(self.ctl("load", "d", root, "--quiet").err, b"")

    def test_progress_on_a_terminal(self):
        # through a pipe that takes its time, so that half a second passes
        reader, writer = os.pipe()

        def feed():
            with os.fdopen(writer, "wb") as out:
                for _ in range(12):
                    out.write(b"x" * 100000)
                    out.flush()
                    time.sleep(0.1)

        thread = threading.Thread(target=feed)
        thread.start()
        saved = os.dup(0)
        try:
            shown, code = self.on_terminal_reading(reader)
        finally:
            os.close(saved)
            thread.join()
            os.close(reader)
        self.assertEqual(code, DONE)
        self.assertRegex(shown, rb"\rload 'd'  [\d.]+ KiB  [\d.]+ KiB/s")
        self.assertIn(b"loaded 'd': 1 layer", shown)
        self.assertNotIn(b"\x1b", shown)

    def on_terminal_reading(self, reader):
        """load d - with only standard error on a terminal."""
        master, slave = os.openpty()
        process = subprocess.Popen([program("regionctl"), "load", "d", "-"], stdin=reader,
                                   stdout=subprocess.DEVNULL, stderr=slave, env=self.env())
        os.close(slave)
        shown = b""
        while True:
            try:
                got = os.read(master, 4096)
            except OSError:
                break
            if not got:
                break
            shown += got
        os.close(master)
        return shown, process.wait()

    def test_interrupted(self):
        reader, writer = os.pipe()
        process = subprocess.Popen([program("regionctl"), "load", "d", "-", "--raw"], stdin=reader,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env())
        os.close(reader)
        os.write(writer, b"x" * 60000)
        deadline = time.monotonic() + harness.PATIENCE
        while not self.ctl("status", "--json").json()["loads"]:
            self.assertLess(time.monotonic(), deadline)
        process.terminate()
        process.communicate()
        os.close(writer)
        while self.ctl("status", "--json").json()["loads"]:
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(self.ctl("list").out, b"")


if __name__ == "__main__":
    harness.main()
