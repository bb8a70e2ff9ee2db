#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A machine at its limits: full disks, folders that may not be written, too little memory; and
numbers that leave the range. One sentence each, and nothing half-written under its final name."""
import os
import re
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import command
from command import CliTest, Result, inlay, read_log

FILES = ("adapter_model.safetensors", "adapter_config.json", "adapter.gguf")


class LongContext(CliTest):
    """Attention keeps nothing of the square of the length."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.long = cls.folder / "long.txt"
        cls.long.write_text("".join(f"line {i} of many\n" for i in range(1500)))

    def words(self, length, *more):
        return ("train", "-m", self.model, "-d", self.long, "--max-length", length,
                "--batch-size", 1, "--max-steps", 1, *more)

    def test_memory_is_linear(self):
        plans = [self.succeed(*self.words(n, "--dry-run", "--json")).json()
                 for n in (2048, 4096, 8192)]
        self.assertEqual([p["tokens_per_step"] for p in plans], [2048, 4096, 8192])
        for kind in ("activations", "total"):
            two, four, eight = (p["memory_bytes"][kind] for p in plans)
            self.assertLess(abs((eight - four) / (four - two) - 2.0), 0.05, kind)

    def test_a_step_of_8192_tokens(self):
        out = self.fresh()
        result = self.succeed(*self.words(8192, "-o", out))
        log = read_log(out)
        self.assertEqual([step["tokens"] for step in log if "loss" in step][:1], [8192], result)
        self.assertTrue(0 < log[0]["loss"] < 50 and 0 < log[0]["grad_norm"] < 1e4, log)


class FullDisk(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.good = cls.folder / "good"
        done = inlay("train", *cls.train_words(cls, cls.good, "--max-steps", 4, "--save-steps", 2))
        assert done.code == 0, done

    def check_folder(self, out):
        """What stands under a final name is whole."""
        self.assert_no_scraps(out)
        read_log(out)
        for name in FILES:
            for path in out.rglob(name):
                same = self.good / path.relative_to(out)
                self.assertEqual(path.read_bytes(), same.read_bytes(), path)
        for path in out.glob("loss.png"):
            self.assertEqual(path.read_bytes()[-12:-4], b"\0\0\0\0IEND")
        for path in out.glob("checkpoint-*"):
            names = {p.name for p in (self.good / path.name).iterdir()}
            self.assertEqual({p.name for p in path.iterdir()}, names)

    def test_full(self):
        mount = self.fresh()
        mount.mkdir()
        for size in (8, 28, 120, 188, 220):
            made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", mount],
                                  capture_output=True, check=False)
            if made.returncode:
                self.skipTest(f"no small disk can be mounted: {made.stderr.decode().strip()}")
            try:
                with self.subTest(kibibytes=size):
                    self.train_into(mount / "out")
            finally:
                subprocess.run(["umount", mount], check=True)

    def train_into(self, out):
        result = inlay("train", *self.train_words(out, "--max-steps", 4, "--save-steps", 2))
        self.check_refused(result, 1, ["No space left", out])
        self.assertEqual(result.out, "")
        self.check_folder(out)

    def test_files_that_may_not_grow(self):
        """As with `ulimit -f`: each file that is too long is named."""
        def limit(size):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        out = self.fresh()
        words = ("train", *self.train_words(out, "--max-steps", 0))
        done = subprocess.run(command.words(words), capture_output=True, check=False,
                              env=command.environment(), timeout=command.TIME_LIMIT,
                              preexec_fn=lambda: limit(19000))
        result = Result(done.returncode, done.stdout, done.stderr)
        if "File too large" not in result.err and result.code == 1:
            self.skipTest("the driver itself needs larger files")
        self.check_refused(result, 1, ["adapter_model.safetensors", "File too large"])
        self.assert_no_scraps(out)


class Folders(CliTest):
    def test_a_file_in_the_way(self):
        path = self.write("taken", "x")
        for out in (path, path + "/below"):
            self.refuse(1, out, "train", *self.train_words(out, "--max-steps", 1))
        self.assertEqual(Path(path).read_bytes(), b"x")

    def test_a_folder_in_the_way_of_a_file(self):
        for name in FILES + ("log.jsonl", "loss.png"):
            with self.subTest(name=name):
                out = self.fresh(name)
                (out / name / "full").mkdir(parents=True)
                self.refuse(1, [out, name], "train", *self.train_words(out, "--max-steps", 1))
                self.assert_no_scraps(out)

    def test_not_writable(self):
        os.chmod(self.folder, 0o755)
        out = self.fresh()
        out.mkdir(mode=0o555)
        for path in (out, out / "below"):
            words = self.train_words(path, "--max-steps", 1)
            self.refuse(1, [path, "Permission denied"], "train", *words, **self.nobody())
        self.assertEqual(list(out.iterdir()), [])

    def test_no_place_for_the_cache(self):
        """Compiled kernels are not kept then, without a word."""
        for place in ("/proc/nowhere", "relative"):
            result = inlay("eval", "-m", self.model, "-d", self.text, "-q",
                           env=command.environment(XDG_CACHE_HOME=place, HOME=None))
            self.assertEqual((result.code, result.err), (0, ""), result)
        self.succeed("eval", "-m", self.model, "-d", self.text,
                     env=command.environment(XDG_CACHE_HOME=None, HOME=None))

    def test_a_spoiled_cache(self):
        cache = self.fresh("cache")
        env = command.environment(XDG_CACHE_HOME=str(cache))
        words = ("eval", "-m", self.model, "-d", self.text, "--json")
        expected = self.succeed(*words, env=env).out
        for path in [p for p in cache.rglob("*") if p.is_file()]:
            data = path.read_bytes()
            for spoiled in (b"", data[:len(data) // 2], data[::-1]):
                path.write_bytes(spoiled)
                self.assertEqual(self.succeed(*words, env=env).out, expected)


class Memory(CliTest):
    def test_too_little(self):
        out = self.fresh()
        for words in (("train", *self.train_words(out)),
                      ("eval", "-m", self.model, "-d", self.text),
                      ("generate", "-m", self.model, "-p", "ab")):
            result = self.refuse(1, "1.0 MiB", *words, "--memory-budget", "1M")
            sizes = re.findall(r"[\d.]+ [KMG]iB", result.errors[0])
            self.assertGreaterEqual(len(set(sizes)), 2, result)
        self.assertFalse((out / FILES[0]).exists())

    def test_what_would_fit_is_said(self):
        """The suggestion taken, it fits."""
        long = self.write("long.txt", command.TEXT * 30)
        words = ("train", "-m", self.model, "-d", long, "--max-length", 256, "--batch-size", 8,
                 "--gradient-checkpointing", "none")
        plan = self.succeed(*words, "--dry-run", "--json").json()
        for share in (0.55, 0.7, 0.95):
            budget = ("--memory-budget", int(plan["memory_bytes"]["total"] * share))
            with self.subTest(share=share):
                result = self.refuse(1, "--", *words, "-o", self.folder / "out", *budget)
                advice = re.findall(r"--(?:gradient-checkpointing|max-length|batch-size) \w+",
                                    result.errors[0])
                self.assertTrue(advice, result)
                taken = " ".join(advice).split()
                plan2 = self.succeed(*words, "--dry-run", "--json", *budget, *taken).json()
                self.assertTrue(plan2["fits"], (result, plan2))

    def test_dry_run_says_that_it_does_not_fit(self):
        result = inlay("train", "-m", self.model, "-d", self.text, "--dry-run", "--json",
                       "--memory-budget", "1M")
        self.assertIn(result.code, (0, 1))
        self.assertIs(result.json()["fits"], False)


class Numbers(CliTest):
    def test_leaving_the_range(self):
        out = self.fresh()
        result = inlay("train", *self.train_words(out, "--max-steps", 50, "--learning-rate",
                                                  "1e30", "--lr-scheduler-type", "constant"))
        self.check_refused(result, 1, ["step"])
        self.assertRegex(result.errors[0], r"NaN|[Ii]nfinit|Inf\b|not finite")
        self.assertEqual(result.out, "")
        self.assertFalse((out / FILES[0]).exists())
        kept = sorted(out.glob("checkpoint-*"))
        self.assertEqual(len(kept), 1, result)
        self.succeed("info", kept[0])
        step = int(kept[0].name.split("-")[1])
        self.assertEqual([l["step"] for l in read_log(out)], list(range(1, step + 1)))
        self.assert_no_scraps(out)
        shutil.rmtree(out)


if __name__ == "__main__":
    command.main()
