#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""inlay eval and generate, on random models and on one that has learned a sentence by heart."""
import json
import math
import os
import shutil
import unittest
from pathlib import Path

import command
from command import CliTest, inlay

PROMPT, ANSWER = "a", "\u00e9\u65e5\u672c\U0001f600 b"  # 2, 3, 3 and 4 bytes, each a token


class Learned(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = cls.write("data.jsonl", json.dumps({"prompt": PROMPT, "completion": ANSWER},
                                                      ensure_ascii=False) + "\n")
        cls.adapter = cls.folder / "adapter"
        done = inlay("train", "-m", cls.model, "-d", cls.data, "-o", cls.adapter, "--max-length",
                     32, "--max-steps", 60, "--learning-rate", "2e-2", "--save-steps", 60, "-q")
        assert done.code == 0, done

    def generate(self, *more, prompt=PROMPT, adapter=None):
        result = self.succeed("generate", "-m", self.model, "-p", prompt, *more,
                              *(("-a", adapter) if adapter else ()))
        self.assertTrue(result.raw.endswith(b"\n"))
        return result.raw[:-1].decode("utf-8")  # always text

    # ---- generate

    def test_forms_of_an_adapter(self):
        peft = self.fresh("peft")
        peft.mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(self.adapter / name, peft)
        for path in (self.adapter, peft, self.adapter / "adapter.gguf",
                     self.adapter / "checkpoint-60"):
            self.assertEqual(self.generate(adapter=path), ANSWER, path)

    def test_a_limit_inside_a_character(self):
        for tokens, text in ((0, None), (1, "\ufffd"), (2, "\u00e9"), (4, "\u00e9\ufffd"),
                             (5, "\u00e9\u65e5")):
            with self.subTest(tokens=tokens):
                if text is not None:
                    self.assertEqual(self.generate("-n", tokens, adapter=self.adapter), text)

    def test_whole_characters_as_they_come(self):
        process = command.start("generate", "-m", self.model, "-a", self.adapter, "-p", PROMPT,
                                "-q", "-n", 50)
        chunks = []
        while chunk := os.read(process.stdout.fileno(), 4096):
            chunks.append(chunk.decode("utf-8"))
        _, err = process.communicate()
        self.assertEqual((process.returncode, err), (0, b""))
        self.assertEqual("".join(chunks), ANSWER + "\n")

    def test_greedy(self):
        greedy = self.generate("-n", 12)
        self.assertEqual(self.generate("-n", 12, "--temperature", 0, "--seed", 7), greedy)
        self.assertEqual(self.generate("-n", 12, "--temperature", 1, "--top-k", 1), greedy)
        self.assertEqual(self.generate("-n", 12, "--temperature", 1, "--top-p", 1e-6), greedy)
        self.assertNotEqual(self.generate("-n", 12, adapter=self.adapter), greedy)

    def test_seeds(self):
        draws = [self.generate("-n", 12, "--temperature", 1, "--seed", seed)
                 for seed in (1, 1, 2)]
        self.assertEqual(draws[0], draws[1])
        self.assertNotEqual(draws[0], draws[2])

    def test_no_tokens(self):
        self.assertEqual(self.succeed("generate", "-m", self.model, "-p", "a", "-n", 0).out, "")

    def test_empty_prompt(self):
        self.generate("-n", 2, prompt="")

    def test_beyond_the_context(self):
        result = self.succeed("generate", "-m", self.model, "-a", self.adapter, "-p", PROMPT,
                              "-n", 1000)
        self.assertIn("context of 256", result.err)

    def test_a_reader_that_leaves(self):
        """The end of a pipe like `| head -c 1`: it does not go on for a hundred thousand tokens."""
        process = command.start("generate", "-m", self.model, "-p", "ab", "-n", 100000, "-q")
        process.stdout.read(1)
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        result = command.Result(process.wait(command.TIME_LIMIT), b"", err)
        self.check_refused(result, 1, ["cannot write the results", "Broken pipe"])

    # ---- eval

    def evaluate(self, data, *more):
        result = self.succeed("eval", "-m", self.model, "-d", data, "--json", *more)
        loss = result.json()
        self.assertAlmostEqual(loss["perplexity"], math.exp(loss["loss"]),
                               delta=1e-9 * loss["perplexity"])
        return loss

    def test_text_in_rows(self):
        ids = self.succeed("tokenize", "-m", self.model, "--json", stdin=command.TEXT).json()
        stream = len(ids)
        for length in (7, 32, 4096):
            tokens = self.evaluate(self.text, "--max-length", length)["tokens"]
            rows = [math.ceil(n / length) for n in (stream, stream + 1)]
            self.assertIn(tokens, [n - r for n, r in zip((stream, stream + 1), rows)])

    def test_as_text(self):
        result = self.succeed("eval", "-m", self.model, "-d", self.data)
        fields = dict(line.split() for line in result.out.splitlines())
        loss = self.evaluate(self.data)
        self.assertAlmostEqual(float(fields["loss"]), loss["loss"], places=6)
        self.assertEqual(int(fields["tokens"]), loss["tokens"])
        self.assertEqual(set(fields), {"loss", "perplexity", "tokens"})

    def test_completions_alone_are_scored(self):
        loss = self.evaluate(self.data)
        self.assertEqual(loss["tokens"], len(ANSWER.encode()) + 1)  # and the end of the sequence

    def test_packing_changes_nothing(self):
        records = [{"prompt": "ab" * n, "completion": "ba" * (n % 3 + 1)} for n in range(9)]
        path = self.write("rows.jsonl", "".join(json.dumps(r) + "\n" for r in records))
        packed = self.evaluate(path, "--max-length", 64)
        alone = self.evaluate(path, "--max-length", 64, "--no-packing")
        self.assertEqual(packed["tokens"], alone["tokens"])
        self.assertAlmostEqual(packed["loss"], alone["loss"], places=5)

    def test_adapter_and_quantized_model(self):
        before = self.evaluate(self.data)["loss"]
        after = self.evaluate(self.data, "-a", self.adapter)["loss"]
        self.assertLess(after, before / 3)
        for kind in ("q8_0", "q4_0", "nf4", "Q5_1", "iq4_nl"):
            other = self.evaluate(self.data, "--quantize", kind)["loss"]
            self.assertNotEqual(other, before)
            self.assertLess(abs(other - before), 1.0)
        self.assertEqual(self.evaluate(self.data, "--quantize", "none")["loss"], before)

    def test_exact_match(self):
        result = self.evaluate(self.data, "--exact-match", "--show", 3, "-a", self.adapter)
        self.assertEqual((result["exact_match"], result["examples"]), (1.0, 1))
        self.assertEqual(result["shown"], [{"prompt": PROMPT, "answer": ANSWER,
                                            "expected": ANSWER}])
        result = self.evaluate(self.data, "--exact-match")
        self.assertEqual((result["exact_match"], result["shown"]), (0.0, []))
        text = self.succeed("eval", "-m", self.model, "-d", self.data, "-a", self.adapter,
                            "--exact-match").out
        self.assertIn("1 of 1 (100.0 %)", text)
        self.refuse(2, ["--exact-match", self.text], "eval", "-m", self.model, "-d", self.text,
                    "--exact-match")


@unittest.skipUnless(command.DATA, "INLAY_TEST_DATA is not set")
class Published(CliTest):
    def test_story(self):
        folder = Path(command.DATA) / "model"
        result = self.succeed("generate", "-m", folder / "stories260K.gguf", "-p", "", "-n", 200)
        self.assertEqual(result.raw, (folder / "stories260K.greedy200.txt").read_bytes())


if __name__ == "__main__":
    command.main()
