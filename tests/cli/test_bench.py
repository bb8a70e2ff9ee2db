#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""inlay bench: its rows, its formats, its report in a browser, and what it refuses."""
import csv
import io
import json
import shutil
import sqlite3
import struct
import subprocess

import command
from command import CliTest, inlay

TINY = ("-m", "toy", "--max-length", 16, "--lora-r", 4, "--warmup", 1, "--repeats", 2,
        "--seconds", 0, "-n", 8)


class Bench(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.path = cls.folder / "all.jsonl"
        cls.all = inlay("bench", "--suite", "peak,kernels,train,generate", *TINY, "--quantize",
                        "q8_0,nf4", "-o", cls.path)
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

    def test_kernels(self):
        rows = self.rows("kernels", whole=False)
        names = [r["test"].split()[0] for r in rows if r["quantization"] == "q8_0"]
        self.assertEqual(names, ["gemm", "gemm_dx"] * 5 + ["attention", "attention_bwd",
                                                           "rmsnorm", "glu"])
        for r in rows:
            self.assertGreater(r["kernel_ms"], 0)
            self.assertGreater(r["gb_per_s"], 0)
            if "gemm" in r["test"]:
                self.assertGreater(r["tflops"], 0)

    def test_loss(self):
        """The device's, and that of double precision on the CPU."""
        for r in self.rows("train"):
            self.assertEqual(r["loss_step"], 2)
            self.assertAlmostEqual(r["loss"], r["loss_reference"], delta=1e-4)

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


class Compare(CliTest):
    """A page of two devices, as a browser shows it on a phone and on a desk, light and dark."""

    NAMES = ('Evil <script>alert("1")</script> & Sons', "The other one")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.files = []
        path = cls.folder / "run.jsonl"
        inlay("bench", "--suite", "peak,kernels,train", *TINY, "--quantize", "q8_0", "-o", path)
        records = [json.loads(line) for line in path.read_text().splitlines()]
        for i, name in enumerate(cls.NAMES):
            lines = [json.dumps({**r, "device": name}) for r in records]
            cls.files.append(cls.write(f"device{i}.jsonl", "\n".join(lines) + "\n"))
        cls.page = cls.folder / "report.html"
        cls.result = inlay("bench", "--compare", *cls.files, "-o", cls.page)

    def test_page(self):
        self.assertEqual(self.result.code, 0, self.result)
        text = self.page.read_text()
        self.assertNotIn("<script", text)
        self.assertNotIn("http://", text.replace("http://www.w3.org/", ""))
        self.assertIn("Evil &lt;script&gt;", text)
        self.assertIn("prefers-color-scheme", text)
        for words in ("Roofline", "Time by kernel", "products, backward", "Training"):
            self.assertIn(words, text)

    def browse(self, *more, page=None):
        browser = shutil.which("chromium")
        if not browser:
            self.skipTest("chromium is not installed: the report was not looked at in a browser")
        words = [browser, "--headless", "--no-sandbox", "--disable-gpu",
                 f"--user-data-dir={self.folder}/browser", *more, (page or self.page).as_uri()]
        done = subprocess.run(words, capture_output=True, timeout=120, check=True)
        return done.stdout.decode("utf-8", "replace")

    def test_browser(self):
        """Pictures of both widths: something is in them, in other colours where it is dark."""
        corners = set()
        for width, height, scheme in ((390, 844, 1), (1280, 800, 1), (390, 844, 0)):
            shot = self.folder / f"shot-{width}-{scheme}.png"
            self.browse("--hide-scrollbars", f"--window-size={width},{height}",
                        f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={shot}")
            data = shot.read_bytes()
            self.assertEqual(struct.unpack(">II", data[16:24]), (width, height))
            self.assertGreater(len(data), 10000)
            corners.add(data[-2000:-20])
        self.assertEqual(len(corners), 3)

    def test_no_wider_than_a_phone(self):
        """In a frame of 390 pixels the page, with a script for the purpose, says that it fits."""
        probe, frame = self.folder / "probe.html", self.folder / "frame.html"
        probe.write_text(self.page.read_text().replace(
            "</body>", "<script>const e = document.documentElement; parent.postMessage("
            "e.scrollWidth > e.clientWidth ? 'too wide' : 'fits', '*')</script></body>"))
        frame.write_text(f"<script>onmessage = e => document.title = e.data</script>"
                         f"<iframe width=390 height=844 src='{probe.as_uri()}'></iframe>")
        dom = self.browse("--virtual-time-budget=5000", "--dump-dom", page=frame)
        self.assertIn("<title>fits</title>", dom[:200])

    def test_picture(self):
        path = self.folder / "report.png"
        self.succeed("bench", "--compare", *self.files, "-o", path)
        self.assertTrue(path.read_bytes().startswith(b"\x89PNG"))

    def test_bad_records(self):
        bad = self.write("bad.jsonl", "{}\n{\n")
        self.refuse(2, ["bad.jsonl"], "bench", "--compare", bad, "-o", self.folder / "x.html")
        self.refuse(2, ["nowhere"], "bench", "--compare", self.files[0], "nowhere", "-o",
                    self.folder / "x.html")
        self.refuse(2, "-o REPORT", "bench", "--compare", *self.files)
        self.refuse(2, ".png", "bench", "--compare", *self.files, "-o", "x.pdf")


class Formats(CliTest):
    def test_csv(self):
        """Of a file its name says the format, and stdout has the table."""
        path = self.folder / "peak.csv"
        out = self.succeed("bench", "--suite", "peak", "-o", path).out
        self.assertIn("What the device can do", out)
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        self.assertEqual((rows[0]["test"], rows[-1]["test"]), ("fp32", "copy"))
        self.assertGreater(float(rows[-1]["gb_per_s"]), 0)

    def test_sql(self):
        with sqlite3.connect(":memory:") as db:
            db.executescript(self.succeed("bench", "--suite", "peak", "--format", "sql").out)
            rows = db.execute("select test, schema, tflops, model from inlay_bench").fetchall()
        self.assertEqual((rows[0][0], rows[-1][0]), ("fp32", "copy"))
        self.assertEqual(rows[0][1:2] + rows[0][3:], (1, None))

    def test_memory(self):
        """Models of billions of weights, of which nothing is held."""
        out = self.succeed("bench", "--suite", "memory", "--format", "jsonl").out
        rows = [json.loads(line) for line in out.splitlines()]
        totals = {(r["model"], r["test"]): r for r in rows if r["kernel"] is None}
        self.assertEqual(len(totals), 9)
        for key, total in totals.items():
            parts = [r["peak_bytes"] for r in rows if r["kernel"] and
                     (r["model"], r["test"]) == key]
            self.assertEqual(sum(parts), total["peak_bytes"])
            self.assertGreater(total["flops"],
                               4 * .8 * total["parameters"] * total["row_tokens"])


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
