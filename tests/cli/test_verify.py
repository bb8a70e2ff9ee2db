#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""inlay verify: its lines, its reports, its exit codes, and that it finds what is wrong.

The last by tests/verify/plant.c: the same command, on a driver that is made to be wrong.
"""
import json
import os
import pty
import re
import subprocess
import unittest

import command
from command import CliTest

LINE = re.compile(r"^(\w+ .*?) +(?:(\S+ of 1e-\d+)|exact|) +(ok|FAILED|skipped) +([\d.]+) ms"
                  r"(?:  \((.+)\))?$")
SUMMARY = re.compile(r"(\d+) checks of (some|\d+ of \d+) kernels on .+: (\d+) ok, (\d+) failed, "
                     r"(\d+) skipped, [\d.]+ s(; ended early: .+)?$")
LIMIT = 60.0  # seconds that it may take anyone, where nothing else runs
command.TIME_LIMIT = 900


class Whole(CliTest):
    """One run of everything, looked at from all sides."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.report = cls.folder / "report.json"
        # With the driver's own cache, which the tests of kernels fill and use.
        env = command.environment(MESA_SHADER_CACHE_DIR=None, MESA_GLSL_CACHE_DIR=None)
        cls.result = command.inlay("verify", "-o", cls.report, "--seed", 7, env=env)
        cls.json = json.loads(cls.report.read_text())

    def test_passes(self):
        self.assertEqual(self.result.code, 0, self.result)
        self.assertEqual(self.result.errors, [])

    def test_lines(self):
        *lines, last = self.result.out.splitlines()
        found = [LINE.match(line) for line in lines]
        self.assertEqual([line for line, match in zip(lines, found) if not match], [])
        self.assertEqual([m[1] for m in found], [c["name"] for c in self.json["checks"]])
        self.assertEqual([m[3] for m in found], [c["outcome"] for c in self.json["checks"]])
        total, _, ok, failed, skipped, early = SUMMARY.match(last).groups()
        self.assertEqual([int(total), int(failed), early], [len(lines), 0, None])
        self.assertEqual(int(ok) + int(skipped), len(lines))
        self.assertEqual(len({m[1] for m in found}), len(lines), "two checks have one name")

    def test_covers_what_the_device_gets(self):
        self.assertEqual([c["name"] for c in self.json["checks"] if c["family"] == "coverage"], [])
        s = self.json["summary"]
        self.assertEqual(s["kernels"], s["kernels_run"])
        self.assertGreater(s["kernels"], 50)
        run = set(" ".join(c["kernels"] for c in self.json["checks"]).split())
        self.assertEqual(len(run), s["kernels"])

    def test_both_directions_of_every_family(self):
        names = " ".join(c["name"] for c in self.json["checks"])
        for words in ("gemm Q4_0", "gemm_dx Q4_0", "gemm NF4", "gemm_dx Q6_K", "embed F16",
                      "lora_down ", "lora_up_bwd", "lora_down_bwd", "rmsnorm ", "rmsnorm_bwd",
                      "rope", "swiglu", "geglu", "attention T", "attention_bwd", "over a cache",
                      "loss", "softcap", "grad_norm", "adamw", "route", "route_bwd", "dora",
                      "dora_norms", "encode Q8_0", "encode NF4"):
            self.assertIn(words, names)

    def test_report(self):
        self.assertEqual(self.json["seed"], 7)
        self.assertFalse(self.json["thorough"])
        self.assertRegex(self.json["inlay"], r"^\d+\.\d+\.\d+$")
        self.assertRegex(self.json["date"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertTrue(self.json["system"])
        devices = self.succeed("devices", "--json").json()["devices"]
        for key in ("name", "driver", "driver_info", "driver_version", "vendor_id", "device_id"):
            self.assertIn(self.json["device"][key], [d[key] for d in devices])
        for check in self.json["checks"]:
            self.assertLessEqual(check["error"], check["bound"])
            self.assertGreaterEqual(check["seconds"], 0.0)
            self.assertIn(f"--only '{check['name']}' --seed 7", check["rerun"])
            self.assertEqual(check["wrong"], [])

    def test_is_quick(self):
        self.assertLess(self.json["summary"]["seconds"], command.TIME_LIMIT)
        if os.environ.get("INLAY_TEST_TIMING"):
            self.assertLess(self.json["summary"]["seconds"], LIMIT)


class Options(CliTest):
    some = "matmul gemm Q4_0 T1 "

    def test_one_line_again(self):
        name = f"{self.some}N172 K160 plain"
        first = self.succeed("verify", "--only", name, "--seed", 5)
        lines = first.out.splitlines()
        self.assertEqual(len(lines), 2, first)
        self.assertEqual(LINE.match(lines[0])[1], name)
        again = self.succeed("verify", "--only", name, "--seed", 5)
        other = self.succeed("verify", "--only", name, "--seed", 6)
        error = [LINE.match(r.out.splitlines()[0])[2] for r in (first, again, other)]
        self.assertEqual(error[0], error[1])

    def test_text_report(self):
        path = self.folder / "report.txt"
        result = self.succeed("verify", "--only", self.some, "-o", path)
        text = path.read_text()
        self.assertRegex(text, r"^inlay verify, inlay \d+\.\d+\.\d+ \(API \d+\), \d{4}-\S+Z, \S+ ")
        for word in ("driver ", "vendor 0x", "subgroup", *result.out.splitlines()[:-1]):
            self.assertIn(word, text)
        self.assertNotIn("\033", text)

    def test_nothing_to_check(self):
        self.refuse(2, "no such thing", "verify", "--only", "no such thing")

    def test_usage(self):
        help_text = self.succeed("verify", "--help").out
        for option in ("--device", "--only", "--seed", "--thorough", "--output", "-o"):
            self.assertIn(option, help_text)
        self.refuse(2, "--seed", "verify", "--seed", "x")
        self.refuse(2, "--onyl", "verify", "--onyl", "x")
        self.refuse(2, "stray", "verify", "stray")

    def test_device(self):
        self.refuse(1, "no such card", "verify", "--device", "no such card")
        self.refuse(1, "Vulkan", "verify", env=command.no_driver())
        result = self.succeed("verify", "--device", "0", "--only", self.some)
        self.assertEqual(len(result.out.splitlines()), 2)

    def test_report_that_cannot_be_written(self):
        result = command.inlay("verify", "--only", self.some, "-o", self.folder / "none" / "r.txt")
        self.check_refused(result, 1, "none")

    def test_colours_are_a_terminals(self):
        main, side = pty.openpty()
        args = command.words(["verify", "--only", self.some])
        process = subprocess.Popen(args, stdout=side, stderr=side, env=command.environment())
        os.close(side)
        out = b""
        while True:
            try:
                more = os.read(main, 4096)
            except OSError:
                break
            if not more:
                break
            out += more
        os.close(main)
        self.assertEqual(process.wait(), 0)
        self.assertIn(b"\033[32mok", out)
        self.assertNotIn("\033", self.succeed("verify", "--only", self.some).out)


class Planted(CliTest):
    """The kernels of Q4_0's products, by the name they have on this device."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        program = command.build / "tests/inlay_planted"
        if not program.exists():
            raise unittest.SkipTest("this build has no tests/inlay_planted")
        cls.program = str(program)
        cls.kernel = cls.find("matmul gemm Q4_0 T1 ").split()[0]

    @classmethod
    def find(cls, only):
        path = cls.folder / "find.json"
        done = command.inlay("verify", "--only", only, "-o", path)
        assert done.code == 0, done
        return json.loads(path.read_text())["checks"][0]["kernels"]

    def plant(self, what, only="Q4_0"):
        path = self.folder / "planted.json"
        path.unlink(missing_ok=True)
        done = subprocess.run([self.program, "verify", "--only", only, "-o", str(path)],
                              env=command.environment(PLANT=what), capture_output=True,
                              timeout=command.TIME_LIMIT, check=False)
        result = command.Result(done.returncode, done.stdout, done.stderr)
        return result, json.loads(path.read_text())

    def check_found(self, what, kernel, only="Q4_0"):
        """Every check of that kernel fails, with names and values, and no other one does."""
        result, report = self.plant(f"{what}:{kernel}", only)
        self.assertEqual(result.code, 1, result)
        failed = [c for c in report["checks"] if c["outcome"] == "FAILED"]
        self.assertTrue(failed, result)
        for check in failed:
            self.assertIn(kernel, check["kernels"].split(), check)
            self.assertIn(f"again: {check['rerun']}\n", result.out)
            self.assertIn(check["message"], result.out)
        self.assertEqual(report["summary"]["failed"], len(failed))
        return result, report, failed

    def test_nothing_planted(self):
        result, report = self.plant("nothing")
        self.assertEqual(result.code, 0, result)
        self.assertEqual(report["summary"]["failed"], 0)

    def test_wrong_sums(self):
        result, report, failed = self.check_found("sums", self.kernel)
        whole = [c["name"] for c in report["checks"] if self.kernel in c["kernels"].split()]
        self.assertEqual([c["name"] for c in failed], whole)
        for check in failed:
            self.assertTrue(check["wrong"], check)
            for w in check["wrong"]:
                self.assertNotEqual(w["got"], w["expected"])
                self.assertIn(f"{w['tensor']}[{w['row']}, {w['column']}] is ", result.out)

    def test_wrong_sums_of_other_kernels(self):
        for only in ("attention attention_bwd T33", "rmsnorm_bwd T33", "lora_down T33",
                     "grad_norm of 4100"):
            kernel = self.find(only).split()[-1]
            with self.subTest(kernel=kernel):
                self.check_found("sums", kernel, only)

    def test_bounds(self):
        """What is written outside is caught and named, or shows as a wrong value."""
        kernel = self.find("geglu T8").split()[0]
        said = self.check_found("bounds", kernel, "geglu T8")[0].out
        self.assertIn("guarded) was changed from 0x", said)
        self.check_found("bounds", self.kernel, self.some_gemm())

    def test_driver(self):
        """What a driver does not do as it says."""
        said = self.check_found("subgroups", "driver_subgroup", "driver subgroups")[0].out
        self.assertRegex(said, r"thread \d+: the sum over its subgroup is \S+, not")
        self.check_found("barriers", "driver_shared", "driver 4000 bytes")

    def test_unstable(self):
        result, _ = self.plant(f"unstable:{self.kernel}", self.some_gemm())
        self.assertEqual(result.code, 1)
        self.assertIn("a second run gave other bits", result.out)

    def test_lost_device(self):
        result, report = self.plant(f"lost:{self.kernel}")
        self.assertEqual(result.code, 1)
        self.assertIn("device lost", result.out)
        self.assertEqual(report["summary"]["outcome"], "device lost")
        self.assertEqual(report["summary"]["failed"], 1)

    @staticmethod
    def some_gemm():
        return "matmul gemm Q4_0 T1 "


if __name__ == "__main__":
    command.main()
