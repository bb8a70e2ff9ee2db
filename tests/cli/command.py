# SPDX-License-Identifier: MIT
"""The inlay command as scripts run it, and a test case with the models and data they would have.

Each suite is run as: test_NAME.py BUILD [unittest's arguments].
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import gguf_bytes

ROOT = Path(__file__).resolve().parents[2]
TIME_LIMIT = 180  # seconds; a loaded machine's CPU driver takes its time
BASE_MODEL = ROOT / "tools/basemodel/base.gguf"
DATA = os.environ.get("INLAY_TEST_DATA")  # a folder of real models; None: not there
TEXT = "".join(f"ab line {i} ba\n" for i in range(40))
MESSAGE = "inlay: error: "
build = None  # the build folder, set by main


def environment(**changes):
    """Ours with changes; None takes a variable away."""
    cache = build / "cli-cache"
    env = {**os.environ, "XDG_CACHE_HOME": str(cache), "MESA_SHADER_CACHE_DIR": str(cache),
           "MESA_GLSL_CACHE_DIR": str(cache), **changes}
    return {name: value for name, value in env.items() if value is not None}


def no_driver():
    return environment(VK_DRIVER_FILES="/nonexistent.json", VK_ICD_FILENAMES="/nonexistent.json")


def words(args):
    return [str(build / "tools/inlay"), *map(str, args)]


class Result:
    def __init__(self, code, out, err):
        self.code, self.raw, self.raw_err = code, out or b"", err or b""
        self.out = self.raw.decode("utf-8", "replace")
        self.err = self.raw_err.decode("utf-8", "replace")
        self.errors = [line for line in self.err.splitlines() if line.startswith(MESSAGE)]

    def json(self):
        return json.loads(self.raw.decode("utf-8"))

    def __repr__(self):
        return f"exit {self.code}\n-- stdout\n{self.out}\n-- stderr\n{self.err}"


def inlay(*args, stdin=b"", env=None, stdout=subprocess.PIPE, **more):
    stdin = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(words(args), input=stdin, stdout=stdout, stderr=subprocess.PIPE,
                          env=env or environment(), timeout=TIME_LIMIT, check=False, **more)
    return Result(done.returncode, done.stdout, done.stderr)


def start(*args, **more):
    """A command that is still running, for signals and for reading as it comes."""
    return subprocess.Popen(words(args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=environment(), **more)


class CliTest(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="inlay-cli-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.model = cls.write_model("model.gguf")
        cls.text = cls.write("data.txt", TEXT)

    @classmethod
    def write_model(cls, name, change=None, **shape):
        llama = gguf_bytes.Llama(**shape)
        if change:
            change(llama)
        return llama.write(cls.folder / name)

    @classmethod
    def write(cls, name, content):
        path = cls.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def fresh(self, name="out"):
        """The path of a folder that is not there yet, one a test."""
        path = self.folder / f"{self.id().rsplit('.', 1)[-1]}-{name}"
        self.assertFalse(path.exists())
        return path

    def succeed(self, *args, **more):
        result = inlay(*args, **more)
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.errors, [], result)
        return result

    def refuse(self, code, says, *args, **more):
        """One sentence that holds each of the words, nothing on stdout."""
        result = inlay(*args, **more)
        self.check_refused(result, code, says)
        self.assertEqual(result.out, "", result)
        return result

    def check_refused(self, result, code, says):
        self.assertEqual(result.code, code, result)
        self.assertEqual(len(result.errors), 1, result)
        sentence = self.unmarked(result.errors[0])
        for word in says if isinstance(says, (list, tuple)) else [says]:
            self.assertIn(self.unmarked(word), sentence)

    def unmarked(self, text):
        """Without the random letters of our folder, in which a word might be by chance."""
        return str(text).replace(self.folder.name, "FOLDER")

    def train(self, out, *more, **options):
        return self.succeed("train", *self.train_words(out, *more), **options)

    def train_words(self, out, *more):
        return ("-m", self.model, "-d", self.text, "-o", out, "--max-length", 32, "--lora-r", 4,
                "--logging-steps", 1, *more)

    def nobody(self):
        """Options of inlay() that run it as somebody whom file modes bind."""
        if os.geteuid() != 0:
            return {}
        somebody = {"user": 65534, "group": 65534, "extra_groups": []}
        try:
            subprocess.run(words(["--version"]), check=True, capture_output=True, **somebody)
        except (PermissionError, subprocess.CalledProcessError):
            self.skipTest("the build folder is root's alone")
        return somebody

    def assert_no_scraps(self, folder):
        """Nothing under a temporary name."""
        scraps = [p.name for p in Path(folder).rglob("*") if "tmp" in p.name or ".new" in p.name]
        self.assertEqual(scraps, [])


def read_log(folder):
    return [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]


def name_of(number):
    return signal.Signals(number).name


def main():
    global build
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} BUILD [unittest's arguments]")
    build = Path(sys.argv.pop(1)).resolve()
    program = unittest.main(module="__main__", exit=False, verbosity=1)
    for test, why in program.result.skipped:
        print(f"skipped: {test.id()}: {why}")
    ran = program.result.testsRun - len(program.result.skipped)
    sys.exit(1 if not program.result.wasSuccessful() else 0 if ran else 77)
