#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""inlay bench: its rows, its formats, and what it refuses."""
import csv
import io
import json
import sqlite3

import command
from command import CliTest, inlay

TINY = ("-m", "toy", "--max-length", 16, "--lora-r", 4, "--warmup", 1, "--repeats", 2,
        "--seconds", 0, "-n", 8)


class Bench(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.path = cls.folder / "all.jsonl"
        cls.all = inlay("bench", "--suite", "peak,train,generate", *TINY, "--quantize", "q8_0,nf4",
                        "-o", cls.path)
        cls.records = [json.loads(line) for line in cls.path.read_text().splitlines()]

    def rows(self, suite, whole=True):
        return [r for r in self.records if r["suite"] == suite and
                (r["kernel"] is None) == whole]

    def test_table(self):
        self.assertEqual(self.all.code, 0, self.all)
        for words in ("What the device can do at best", "Training, whole steps", "Generation",
                      "tokens/s", "qlora4 sft16", "pp128", "tg8"):
            self.assertIn(words, self.all.out)

    def test_fields(self):
        keys = list(self.records[0])
        for r in self.records:
            self.assertEqual(list(r), keys)
            self.assertEqual(r["schema"], 1)
            for name in ("version", "commit", "date", "os", "kernel_release", "cpu", "device",
                         "driver_name", "driver_info", "api_version", "suite", "test"):
                self.assertTrue(r[name], name)

    def test_peak(self):
        rows = {r["test"]: r for r in self.rows("peak", whole=False)}
        self.assertGreater(rows["fp32"]["tflops"], 1e-4)
        self.assertGreater(rows["copy"]["gb_per_s"], 1e-2)

    def test_train(self):
        rows = self.rows("train")
        self.assertEqual([r["quantization"] for r in rows], ["q8_0", "nf4"])
        for r in rows:
            self.assertEqual((r["model"], r["architecture"], r["rank"], r["row_tokens"],
                              r["repeats"], r["warmup"]), ("toy", "llama", 4, 16, 2, 1))
            for name in ("tokens_per_s", "tokens_per_s_stddev", "step_ms", "host_ms", "flops",
                         "tflops", "peak_bytes", "rss_bytes", "trainable_parameters", "parameters",
                         "forward_ms", "backward_ms", "update_ms", "longest_submit_ms"):
                self.assertGreater(r[name], 0, name)
            self.assertAlmostEqual(r["tokens_per_s"] * r["step_ms"], 16e3, delta=1)
            self.assertLess(r["peak_share"], 1.0)

    def test_kernels_of_a_step(self):
        """Together they are the phases."""
        whole = self.rows("train")[0]
        kernels = [r for r in self.rows("train", whole=False) if r["quantization"] == "q8_0"]
        self.assertGreater(len(kernels), 10)
        sum_of_phases = whole["forward_ms"] + whole["backward_ms"] + whole["update_ms"]
        self.assertAlmostEqual(sum(r["kernel_ms"] for r in kernels) / sum_of_phases, 1.0, delta=.01)

    def test_generate(self):
        rows = self.rows("generate")
        self.assertEqual([(r["quantization"], r["test"]) for r in rows],
                         [("q8_0", "pp128"), ("q8_0", "tg8"), ("nf4", "pp128"), ("nf4", "tg8")])
        for r in rows:
            self.assertGreater(r["tokens_per_s"], 0)


class Formats(CliTest):
    def test_csv(self):
        """Of a file its name says the format, and stdout has the table."""
        path = self.folder / "peak.csv"
        out = self.succeed("bench", "--suite", "peak", "-o", path).out
        self.assertIn("What the device can do", out)
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        self.assertEqual([r["test"] for r in rows], ["fp32", "copy"])
        self.assertGreater(float(rows[1]["gb_per_s"]), 0)

    def test_sql(self):
        with sqlite3.connect(":memory:") as db:
            db.executescript(self.succeed("bench", "--suite", "peak", "--format", "sql").out)
            rows = db.execute("select test, schema, tflops, model from inlay_bench").fetchall()
        self.assertEqual([r[0] for r in rows], ["fp32", "copy"])
        self.assertEqual(rows[0][1:2] + rows[0][3:], (1, None))

    def test_memory(self):
        """Models of billions of weights, of which nothing is held."""
        out = self.succeed("bench", "--suite", "memory", "--format", "jsonl").out
        rows = [json.loads(line) for line in out.splitlines()]
        totals = {(r["model"], r["row_tokens"]): r for r in rows if r["kernel"] is None}
        self.assertEqual(len(totals), 6)
        for key, total in totals.items():
            parts = [r["peak_bytes"] for r in rows if r["kernel"] and
                     (r["model"], r["row_tokens"]) == key]
            self.assertEqual(sum(parts), total["peak_bytes"])
            self.assertGreater(total["flops"], 4 * .9 * total["parameters"] * key[1])


class Wrong(CliTest):
    def test_options(self):
        self.refuse(2, ["--suite", '"speed"'], "bench", "--suite", "speed")
        self.refuse(2, "--max-length", "bench", "--max-length", "1")
        self.refuse(2, "--lora-r", "bench", "--lora-r", "8,x")
        self.refuse(2, "--repeats", "bench", "--repeats", "0")
        self.refuse(2, "stdout", "bench", "--format", "table", "-o", "x.jsonl")

    def test_rows_are_left_out(self):
        """With the reason, and the exit code says so; the others are there."""
        result = inlay("bench", "--suite", "train", *TINY, "--quantize", "q8_0,q9_9", "--format",
                       "jsonl")
        self.assertEqual(result.code, 1)
        self.assertIn("q9_9", result.err)
        self.assertIn("1 rows were left out", result.err)
        self.assertIn("q8_0", result.out)

    def test_no_room(self):
        result = inlay("bench", "--suite", "train", *TINY, "-m", "135m", "--memory-budget", "64M",
                       "--quantize", "q8_0", "--format", "jsonl")
        self.assertEqual(result.code, 1)
        self.assertIn("device memory", result.err)
        self.assertIn('"model":"toy"', result.out)

    def test_no_device(self):
        self.refuse(1, "Vulkan", "bench", env=command.no_driver())


if __name__ == "__main__":
    command.main()
