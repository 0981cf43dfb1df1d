# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share: a temporary instance, running regionctl in a pipe or on a
pseudo-terminal, an independent crc32c. Everything lives in one temporary folder per test class and is
removed; only processes that were started here are signalled."""

import ctypes
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

BIN = os.environ.get("RGM_BIN_DIR") or os.environ.get("RGM_TEST_BIN_DIR")
SOURCE = os.environ.get("RGM_TEST_SOURCE_DIR") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAME = os.environ.get("RGM_TEST_NAME", os.path.basename(sys.argv[0]))
SANITIZED = bool(os.environ.get("RGM_TEST_SANITIZE"))
# A deadline for what must happen at all; no test asserts a speed by it.
PATIENCE = 120

DONE, FAILED, USAGE, NO_NAME, NO_MANAGER, BUSY, CORRUPT = range(7)


def program(name):
    return os.path.join(BIN, name)


def environment(folder, **more):
    """A clean one: nothing of the caller's settings, no colour wishes, sanitizer options kept."""
    env = {key: value for key, value in os.environ.items()
           if not key.startswith("REGIONMGR_") and key not in ("NO_COLOR", "XDG_CONFIG_HOME")}
    env.update(HOME=folder, XDG_CONFIG_HOME=os.path.join(folder, "config"), TERM="xterm", LC_ALL="C")
    env.update(more)
    return env


def end_with_parent():
    """In a child: SIGTERM when the test is killed, so that no manager outlives it."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def text(self):
        return self.out.decode()

    @property
    def message(self):
        return self.err.decode()

    def json(self):
        return json.loads(self.out)

    def rows(self):
        return [line.split("\t") for line in self.text.splitlines()]

    def fields(self):
        return dict(line.split("\t", 1) for line in self.text.splitlines())


class Manager:
    """A regionmgrd of its own, serving a folder below `folder`."""

    def __init__(self, folder, *options, name="m", prefix=()):
        self.dir = os.path.join(folder, name)
        self.socket = os.path.join(folder, name + ".sock")
        self.log_path = os.path.join(folder, name + ".log")
        self.folder = folder
        self.options = options
        self.prefix = prefix
        self.process = None
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            before = log.tell()
            self.process = subprocess.Popen(
                [*self.prefix, program("regionmgrd"), "--dir", self.dir, "--socket", self.socket,
                 *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(self.folder),
                preexec_fn=end_with_parent)
        deadline = time.monotonic() + PATIENCE
        while "next:" not in self.log()[before:]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("regionmgrd did not start: " + self.log())
            time.sleep(0.01)

    def log(self):
        with open(self.log_path, encoding="utf-8") as log:
            return log.read()

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        return code


class Case(unittest.TestCase):
    """A temporary folder and, unless `manager_options` is None, a manager for the whole class."""

    manager_options = ()

    @classmethod
    def setUpClass(cls):
        # short: a socket's path must fit in 107 bytes
        cls.folder = tempfile.mkdtemp(prefix="rgm-", dir="/tmp")
        os.chmod(cls.folder, 0o755)
        cls.manager = None
        if cls.manager_options is not None:
            try:
                cls.manager = Manager(cls.folder, *cls.manager_options)
            except BaseException:
                shutil.rmtree(cls.folder)
                raise

    @classmethod
    def tearDownClass(cls):
        code = cls.manager.stop() if cls.manager else 0
        log = cls.manager.log() if cls.manager else ""
        shutil.rmtree(cls.folder, ignore_errors=True)
        if code != 0:
            raise AssertionError("regionmgrd ended with %d: %s" % (code, log))

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def env(self, **more):
        more.setdefault("REGIONMGR_SOCKET", self.manager.socket if self.manager
                        else self.path("nobody.sock"))
        return environment(self.folder, **more)

    def run_ctl(self, *words, data=None, env=None, stdout=subprocess.PIPE, prefix=(), stdin=None):
        """regionctl in a pipe."""
        run = subprocess.run(
            [*prefix, program("regionctl"), *words], env=self.env(**(env or {})), stdout=stdout,
            stderr=subprocess.PIPE, timeout=PATIENCE, check=False,
            **({"input": data} if data is not None else {"stdin": stdin or subprocess.DEVNULL}))
        return Result(run.returncode, run.stdout, run.stderr)

    def ctl(self, *words, **more):
        """regionctl in a pipe; it must succeed."""
        result = self.run_ctl(*words, **more)
        self.assertEqual(result.code, DONE, "regionctl %r: %s" % (words, result.err))
        return result

    def fails(self, code, *words, **more):
        """It must fail with this code, one sentence, at most one hint, nothing on standard output."""
        result = self.run_ctl(*words, **more)
        self.assertEqual(result.code, code, (words, result.out, result.err))
        lines = result.message.splitlines()
        self.assertIn(len(lines), (1, 2), result.message)
        self.assertTrue(lines[0].startswith("regionctl: "), result.message)
        self.assertFalse(lines[0].endswith("."), result.message)
        if len(lines) == 2:
            self.assertTrue(lines[1].startswith("hint: "), result.message)
        return result

    def on_terminal(self, *words, typed=None, env=None, width=120, seconds=None, until=None):
        """regionctl with standard streams on a pseudo-terminal; what it showed, and its code. With
        `until` it is interrupted once that text was seen."""
        pid, master = pty.fork()
        if pid == 0:
            try:
                os.execve(program("regionctl"), ["regionctl", *words], self.env(**(env or {})))
            finally:
                os._exit(127)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        shown, deadline = b"", time.monotonic() + (seconds or PATIENCE)
        interrupted = False
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.1)[0]:
                continue
            try:
                got = os.read(master, 65536)
            except OSError:
                break
            if not got:
                break
            shown += got
            if typed and typed[0] in shown:
                os.write(master, typed[1])
                typed = None
            if until and until in shown and not interrupted:
                os.kill(pid, signal.SIGINT)
                interrupted = True
        else:
            os.kill(pid, signal.SIGKILL)
        os.close(master)
        return shown, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def make_tree(self, name, files):
        """A folder of files: {relative path: bytes}."""
        root = self.path(name)
        os.makedirs(root, exist_ok=True)
        for path, data in files.items():
            where = os.path.join(os.fsencode(root), os.fsencode(path))
            os.makedirs(os.path.dirname(where), exist_ok=True)
            with open(where, "wb") as file:
                file.write(data)
        return root

    def layers(self, name):
        """Names of a dimension's layers, as bytes."""
        return [os.fsencode(row["layer"]) for row in self.ctl("show", name, "--layers", "--json").json()]


ESCAPE = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


def nobody():
    """(prefix command, reason it cannot be used or None): run as another user."""
    if os.geteuid() != 0:
        return (), "needs root to become another user"
    if shutil.which("setpriv") is None:
        return (), "setpriv (util-linux) is not installed"
    return ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"), None


def skip(case, part, reason):
    print("SKIP %s/%s: %s" % (NAME, part.replace(" ", "_"), reason), flush=True)
    case.skipTest(reason)


def _crc_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _crc_table()


def crc32c(data, crc=0):
    """CRC-32C by the textbook, for comparing with."""
    crc ^= 0xFFFFFFFF
    table = _TABLE
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def main():
    if not BIN:
        sys.exit("set RGM_BIN_DIR to the folder of regionctl and regionmgrd")
    unittest.main(verbosity=1)
