#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What every command has in common: help, names, values, exit codes, stdout and stderr."""
import os
import subprocess

import command
from command import CliTest, inlay

COMMANDS = ("train", "eval", "generate", "tokenize", "info", "devices")


class Help(CliTest):
    def test_program(self):
        for words in (["--help"], ["-h"], ["help"]):
            out = self.succeed(*words).out
            for name in COMMANDS:
                self.assertIn(f"\n  {name} ", out)

    def test_version(self):
        self.assertRegex(self.succeed("--version").out, r"\Ainlay \d+\.\d+\.\d+ \(API \d+\)\n\Z")

    def test_commands(self):
        for name in COMMANDS:
            for option in ("--help", "-h"):
                result = self.succeed(name, option)
                self.assertTrue(result.out.startswith(f"usage: inlay {name}"), result)
                self.assertEqual(result.err, "")
                self.assertIn("--quiet", result.out)

    def test_help_goes_before_what_is_missing(self):
        self.succeed("train", "-m", "nowhere", "--help")

    def test_train_names(self):
        """The names that the documentation of others' tools taught people."""
        out = self.succeed("train", "--help").out
        for name in ("lora-r", "lora-alpha", "lora-dropout", "use-rslora", "lora-target-modules",
                     "init-lora-weights", "loraplus-lr-ratio",
                     "learning-rate", "lr-scheduler-type", "warmup-steps", "warmup-ratio",
                     "weight-decay", "max-grad-norm", "adam-beta1", "adam-beta2", "max-steps",
                     "num-train-epochs", "max-length", "batch-size",
                     "gradient-accumulation-steps", "gradient-checkpointing", "eval-data",
                     "eval-split", "eval-steps", "save-steps", "save-total-limit",
                     "logging-steps", "resume-from-checkpoint", "seed", "device", "quantize",
                     "config", "dry-run", "json", "memory-budget", "overwrite-output-dir"):
            self.assertRegex(out, rf"--{name}\b")


class Wrong(CliTest):
    def test_command(self):
        self.refuse(2, "command is missing")
        self.refuse(2, ['"trian"', '"train"'], "trian")
        self.refuse(2, "--help lists", "xyzzyxyzzy")

    def test_option_names_the_nearest(self):
        self.refuse(2, ["--lora-rr", "--lora-r?"], "train", "--lora-rr", "8")
        self.refuse(2, ["--learning-rte", "--learning-rate?"], "train", "--learning-rte=1")
        self.refuse(2, ["--tempature", "--temperature?"], "generate", "--tempature", "1")
        self.refuse(2, ["--jsn", "--json?"], "devices", "--jsn")
        self.refuse(2, "--help lists", "info", "--" + "x" * 300)
        self.refuse(2, "-Z", "info", "-Z")

    def test_underscores_and_equals(self):
        self.refuse(2, "--lora-r must be", "train", "--lora_r=none")

    def test_missing(self):
        self.refuse(2, "MODEL is missing", "train")
        self.refuse(2, "DATA is missing", "train", "-m", self.model)
        self.refuse(2, "OUTDIR is missing", "train", "-m", self.model, "-d", self.text)
        self.refuse(2, "DATA is missing", "eval", "-m", self.model)
        self.refuse(2, "PROMPT is missing", "generate", "-m", self.model)
        self.refuse(2, "MODEL is missing", "tokenize")
        self.refuse(2, "FILE is missing", "info")
        for name in ("train", "eval", "generate", "tokenize"):
            self.refuse(2, "--model needs a value", name, "-m")
            self.refuse(2, "--model is empty", name, "-m", "")

    def test_surplus(self):
        self.refuse(2, '"more"', "devices", "more")
        self.refuse(2, '"b"', "info", "a", "b")
        self.refuse(2, "--json takes no value", "info", "--json=yes", self.model)

    def test_numbers(self):
        for option, values in (
                ("--lora-r", ("0", "-1", "4.5", "four", "", "4097", "99999999999999999999", "0x8")),
                ("--learning-rate", ("0", "-1e-4", "nan", "inf", "1e", "0x1p3", "1,5", "1e-60")),
                ("--lora-dropout", ("1", "-0.1", "2", "0.99999999999")),
                ("--lora-alpha", ("0", "1e-60")),
                ("--adam-epsilon", ("0", "1e-60")),
                ("--adam-beta2", ("1", "0", "0.999999999999")),
                ("--max-steps", ("-1", "1e3", "4000000000000")),
                ("--num-train-epochs", ("0", "-1", "nan")),
                ("--max-length", ("0", "1")),
                ("--batch-size", ("0",)),
                ("--logging-steps", ("0",)),
                ("--warmup-ratio", ("1.5", "-0.1")),
                ("--eval-split", ("1", "-1")),
                ("--seed", ("-1", "4294967296")),
                ("--gradient-checkpointing", ("some", "-1", "", "1.5")),
                ("--memory-budget", ("0", "-1G", "6X", "lots", "", "nan", "1e99")),
                ("--max-submit-ms", ("0", "60001"))):
            for value in values:
                with self.subTest(option=option, value=value):
                    self.refuse(2, [option, f'"{value}"'], "train", f"{option}={value}")
        for option, value in (("--top-p", "0"), ("--top-p", "1.1"), ("--temperature", "-1"),
                              ("--top-k", "-1"), ("-n", "many")):
            with self.subTest(option=option, value=value):
                self.refuse(2, f'"{value}"', "generate", option, value)

    def test_choices(self):
        self.refuse(2, ["NF4, F32, F16", "quantized to q5"], "generate", "--quantize", "q5", "-m",
                    command.BASE_MODEL, "-p", "a")
        self.refuse(2, ["linear, cosine", '"cosin"'], "train", "--lr-scheduler-type", "cosin")

    def test_exclusive(self):
        self.refuse(2, ["--eval-data", "--eval-split"],
                    *("train", *self.train_words(self.fresh())), "--eval-data", self.text,
                    "--eval-split", "0.1")
        self.refuse(2, ["--lora-r", "--adapter"],
                    *("train", *self.train_words(self.fresh())), "-a", "somewhere")


class Streams(CliTest):
    """Which need no device, so that they tell what goes wrong with a stream alone."""

    def commands(self):
        return (("--help",), ("--version",), ("train", "--help"), ("info", self.model),
                ("info", self.model, "--json"), ("tokenize", "-m", self.model),
                ("tokenize", "-m", self.model, "--json"))

    def test_quiet(self):
        for args in self.commands():
            self.assertEqual(self.succeed(*args, stdin="abc").err, "")

    @classmethod
    def into(cls, args, *, closed=None, **more):
        before = (lambda: os.close(closed)) if closed is not None else None
        done = subprocess.run(command.words(args), input=b"text", stderr=subprocess.PIPE,
                              env=command.environment(), timeout=command.TIME_LIMIT, check=False,
                              preexec_fn=before, **more)
        return command.Result(done.returncode, done.stdout, done.stderr)

    def test_full(self):
        for args in self.commands():
            with self.subTest(args=args), open("/dev/full", "wb") as full:
                self.check_refused(self.into(args, stdout=full), 1,
                                   ["cannot write the results", "No space left"])

    def test_closed(self):
        for args in self.commands():
            with self.subTest(args=args):
                self.check_refused(self.into(args, closed=1), 1, "cannot write the results")

    def test_reader_gone(self):
        for args in self.commands():
            with self.subTest(args=args):
                read, write = os.pipe()
                os.close(read)
                result = self.into(args, stdout=write)
                os.close(write)
                self.check_refused(result, 1, ["cannot write the results", "Broken pipe"])

    def test_no_file_takes_the_place_of_a_closed_stream(self):
        """A number that is free is given to the next file that is opened."""
        result = self.into(["tokenize", "-m", self.model], closed=0, stdout=subprocess.PIPE)
        self.check_refused(result, 1, "cannot read stdin")
        out = self.fresh()
        result = self.into(["train", *self.train_words(out, "--max-steps", 0)], closed=1)
        self.check_refused(result, 1, "cannot write the results")
        for path in out.rglob("*"):
            self.assertNotIn(b"wrote", path.read_bytes(), path)
        result = self.into(["train", *self.train_words(self.fresh("2"), "--max-steps", 0)],
                           closed=2, stdout=subprocess.PIPE)
        self.assertEqual((result.code, result.err), (0, ""), result)

    def test_help_with_stderr_full(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(command.words(["nothing"]), stderr=full, check=False)
        self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    command.main()
