#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs that are stopped: signals, kill -9, what is kept, and going on; and the progress bar that a
terminal sees."""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import command
from command import CliTest, Result, read_log

ADAPTER = "adapter_model.safetensors"


def default_signals():
    """A shell's background jobs ignore SIGINT, and so would what they start."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait_for(condition, process):
    end = time.monotonic() + command.TIME_LIMIT
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


class Stopped(CliTest):
    LONG = 150  # steps: not done before a signal comes

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.whole = cls.folder / "whole"
        done = command.inlay("train", *cls.train_words(cls, cls.whole, "--max-steps", 20,
                                                       "--save-steps", 5, "--lora-dropout", 0.1))
        assert done.code == 0, done

    def begin(self, out, *more):
        return command.start("train", *self.train_words(out, "--lora-dropout", 0.1, *more),
                             preexec_fn=default_signals)

    def logged(self, out):
        path = out / "log.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def end(self, process):
        out, err = process.communicate(timeout=command.TIME_LIMIT)
        return Result(process.returncode, out, err)

    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(signal=command.name_of(number)):
                out, step = self.stop_by(number)
        again = self.train(out, "--lora-dropout", 0.1, "--max-steps", self.LONG,
                           "--resume-from-checkpoint", "auto", "--save-steps", 0)
        self.assertIn(f"at step {step}", again.err)
        self.assertEqual([l["step"] for l in read_log(out)], list(range(1, self.LONG + 1)))

    def stop_by(self, number):
        out = self.fresh(command.name_of(number))
        process = self.begin(out, "--max-steps", self.LONG, "--save-steps", 0)
        wait_for(lambda: self.logged(out) >= 2, process)
        process.send_signal(number)
        result = self.end(process)
        self.check_refused(result, 1, ["stopped by " + command.name_of(number),
                                       "--resume-from-checkpoint auto"])
        self.assertEqual(result.out, "")
        step = read_log(out)[-1]["step"]
        self.assertIn(f"after step {step} of {self.LONG}", result.err)
        self.assertEqual([p.name for p in out.glob("checkpoint-*")], [f"checkpoint-{step}"])
        self.assertFalse((out / ADAPTER).exists())
        self.assert_no_scraps(out)
        return out, step

    def test_signal_before_the_first_step(self):
        """A data file that never comes."""
        fifo = self.folder / "fifo.txt"
        os.mkfifo(fifo)
        out = self.fresh()
        for words in (("train", "-m", self.model, "-d", fifo, "-o", out),
                      ("tokenize", "-m", self.model)):
            read, write = os.pipe()
            process = subprocess.Popen(command.words(words), stdin=read, stderr=subprocess.PIPE,
                                       stdout=subprocess.PIPE, env=command.environment(),
                                       preexec_fn=default_signals)
            time.sleep(0.3)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                self.check_refused(self.end(process), 1, "stopped by SIGTERM")
            else:  # it would not wait for a pipe, and says so
                self.check_refused(self.end(process), 2, str(fifo))
            os.close(read)
            os.close(write)
        self.assertFalse(out.exists())

    def test_ignored_signals_stay_ignored(self):
        out = self.fresh()
        process = command.start("train", *self.train_words(out, "--max-steps", 6),
                                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        wait_for(lambda: self.logged(out) >= 1, process)
        process.send_signal(signal.SIGHUP)
        self.assertEqual(self.end(process).code, 0)
        self.assertEqual(self.logged(out), 6)

    def test_killed(self):
        """The end of a run that was killed and resumed is the end of one that was not."""
        out = self.fresh()
        process = self.begin(out, "--max-steps", 20, "--save-steps", 5)
        wait_for(lambda: (out / "checkpoint-10").exists() and self.logged(out) >= 12, process)
        process.kill()
        self.end(process)
        self.train(out, "--lora-dropout", 0.1, "--max-steps", 20, "--save-steps", 5,
                   "--resume-from-checkpoint", "auto")
        self.check_same(out)
        self.assert_no_scraps(out)

    def test_what_a_killed_run_left(self):
        out = self.fresh()
        left = ("checkpoint-7.tmp-99999999", "checkpoint-3.removed")
        kept = (f"checkpoint-8.tmp-{os.getpid()}", "checkpoint-9.tmp-notes", "notes.tmp-99999999")
        for name in left + kept:
            (out / name).mkdir(parents=True)
            (out / name / ADAPTER).write_bytes(b"half")
        self.train(out, "--max-steps", 0)
        self.assertEqual([name for name in left if (out / name).exists()], [])
        self.assertEqual([name for name in kept if not (out / name / ADAPTER).exists()], [])

    def check_same(self, out):
        self.assertEqual((out / ADAPTER).read_bytes(), (self.whole / ADAPTER).read_bytes())
        for key in ("step", "loss", "learning_rate", "grad_norm", "tokens"):
            self.assertEqual([l[key] for l in read_log(out)],
                             [l[key] for l in read_log(self.whole)], key)

    def test_from_a_named_checkpoint(self):
        out = self.fresh()
        shutil.copytree(self.whole, out)
        (out / ADAPTER).unlink()
        self.train(out, "--lora-dropout", 0.1, "--max-steps", 20, "--save-steps", 5,
                   "--resume-from-checkpoint", self.whole / "checkpoint-15")
        self.check_same(out)

    def test_an_incomplete_checkpoint_is_passed_over(self):
        out = self.fresh()
        shutil.copytree(self.whole, out)
        (out / "checkpoint-20" / ADAPTER).unlink()
        result = self.train(out, "--lora-dropout", 0.1, "--max-steps", 20,
                            "--resume-from-checkpoint", "auto", "--save-steps", 0)
        self.assertIn("at step 15", result.err)
        self.check_same(out)

    def test_nothing_to_resume(self):
        out = self.fresh()
        result = self.train(out, "--max-steps", 1, "--resume-from-checkpoint", "auto")
        self.assertIn("no checkpoint", result.err)
        self.refuse(2, "nowhere", "train",
                    *self.train_words(out, "--resume-from-checkpoint", "nowhere"))

    def test_the_end_again(self):
        """A run that is complete is written again, not trained on."""
        out = self.fresh()
        shutil.copytree(self.whole, out)
        result = self.train(out, "--lora-dropout", 0.1, "--max-steps", 20, "--save-steps", 5,
                            "--resume-from-checkpoint", "auto", "--json").json()
        self.assertEqual((result["steps"], result["tokens_per_second"]), (20, None))
        self.assertEqual(result["loss"], read_log(self.whole)[-1]["loss"])
        self.check_same(out)

    def test_other_data_or_options_are_not_resumed(self):
        other = self.write("other.txt", command.TEXT.replace("line", "lime"))
        words = self.train_words(self.fresh(), "--max-steps", 20, "--lora-dropout", 0.1,
                                 "--resume-from-checkpoint", self.whole / "checkpoint-5")
        self.refuse(2, "another dataset", "train", *words, "-d", other)
        self.refuse(2, "another learning_rate", "train", *words, "--learning-rate", 1)
        self.refuse(2, "another rank", "train", *words, "--lora-r", 8)

    def test_another_number_of_steps_is_said_once(self):
        out = self.fresh()
        shutil.copytree(self.whole, out)
        words = ("--lora-dropout", 0.1, "--save-steps", 0, "--resume-from-checkpoint", "auto")
        result = self.train(out, *words, "--max-steps", 22)
        self.assertEqual(result.err.count("of a run of 20 steps, this one is of 22"), 1)
        self.assertEqual(result.err.count("warning"), 1, result)
        self.assertEqual(read_log(out)[-1]["step"], 22)
        result = self.train(out, *words, "--max-steps", 10)  # fewer than are done
        self.assertIn("at step 20", result.err)

    def test_a_refused_run_leaves_no_folder(self):
        out = self.fresh()
        words = self.train_words(out, "--max-steps", 20, "--resume-from-checkpoint",
                                 self.whole / "checkpoint-5")
        self.refuse(2, "dropout", "train", *words)
        self.assertFalse(out.exists())
        out.mkdir()
        self.refuse(2, "dropout", "train", *words)
        self.assertTrue(out.exists())  # it was there before

    def test_signal_in_an_evaluation(self):
        data = self.write("long.txt", command.TEXT * 400)
        out = self.fresh()
        process = self.begin(out, "--max-steps", 5, "--save-steps", 0, "--eval-data", data,
                             "--eval-steps", 1, "--max-length", 16)
        wait_for(lambda: self.logged(out) >= 1, process)  # the step is; its evaluation runs
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        result = self.end(process)
        self.assertLess(time.monotonic() - begun, 20)
        self.check_refused(result, 1, ["stopped by SIGTERM after step 1 of 5"])
        self.assertEqual([p.name for p in out.glob("checkpoint-*")], ["checkpoint-1"])
        self.assertEqual([list(l)[0] for l in read_log(out)], ["step"])
        self.assertFalse(any("eval_loss" in l for l in read_log(out)))

    def test_the_newest_are_kept(self):
        out = self.fresh()
        self.train(out, "--max-steps", 5, "--save-steps", 1, "--save-total-limit", 2)
        self.assertEqual(sorted(p.name for p in out.glob("checkpoint-*")),
                         ["checkpoint-4", "checkpoint-5"])

    def test_generate(self):
        process = command.start("generate", "-m", self.model, "-p", "ab", "-n", 100000, "-q",
                                preexec_fn=default_signals)
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        self.check_refused(self.end(process), 1, "stopped by SIGINT")


class Terminal(CliTest):
    def run_on_terminal(self, args):
        """Output and messages as a terminal of 80 columns gets them."""
        master, slave = pty.openpty()
        process = subprocess.Popen(command.words(args), stdin=slave, stdout=slave, stderr=slave,
                                   env=command.environment())
        os.close(slave)
        text = b""
        end = time.monotonic() + command.TIME_LIMIT
        while time.monotonic() < end and select.select([master], [], [], command.TIME_LIMIT)[0]:
            try:
                more = os.read(master, 65536)
            except OSError:  # the other end is gone
                break
            text += more
        os.close(master)
        self.assertEqual(process.wait(timeout=command.TIME_LIMIT), 0, text)
        return text.decode()

    def screen(self, text):
        """What stands there in the end: \\r goes to the line's start, ESC [ K clears its rest."""
        lines = [""]
        for line in text.replace("\r\n", "\n").split("\n"):
            shown = ""
            for part in line.split("\r"):
                cleared = part.endswith("\x1b[K")
                part = part.replace("\x1b[K", "")
                shown = part if cleared or len(part) >= len(shown) else part + shown[len(part):]
                shown = part if part == "" and cleared else shown
            lines.append(shown)
        return lines

    def test_progress(self):
        text = self.run_on_terminal(["train", *self.train_words(self.fresh(), "--max-steps", 4)])
        self.assertRegex(text, r"\rstep \d/4 \[[=> ]+\]  loss \d")
        self.assertNotIn("step 1/4  lr", text)
        bars = re.findall(r"\r(step [^\r\n\x1b]*)", text)
        self.assertTrue(all(len(bar) < 80 for bar in bars), bars)
        lines = self.screen(text)
        self.assertFalse(any("step 4/4" in line for line in lines), lines)
        self.assertTrue(any(line.startswith("trained") for line in lines), lines)
        self.assertNotIn("\x1b", "".join(lines))

    def test_quiet(self):
        text = self.run_on_terminal(["train", *self.train_words(self.fresh(), "--max-steps", 1),
                                     "--quiet"])
        self.assertNotIn("\x1b", text)
        self.assertTrue(text.startswith("trained"), text)


if __name__ == "__main__":
    command.main()
