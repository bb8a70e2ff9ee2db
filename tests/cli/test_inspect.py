#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""inlay devices, info and tokenize, and every command where there is no Vulkan driver."""
import unittest
from pathlib import Path

import command
import gguf_bytes
from command import CliTest, DATA


class Devices(CliTest):
    def test_json(self):
        devices = self.succeed("devices", "--json").json()["devices"]
        self.assertTrue(any(d["usable"] for d in devices))
        for i, d in enumerate(devices):
            self.assertEqual(d["index"], i)
            for key in ("name", "vendor", "type", "driver", "driver_info", "api_version"):
                self.assertIsInstance(d[key], str)
                self.assertTrue(d[key], key)
            self.assertGreater(d["memory_bytes"], 0)
            self.assertGreaterEqual(d["memory_bytes"], d["budget_bytes"])
            self.assertEqual(d["usable"], d["unusable_reason"] is None)
            self.assertIn("f32", [p["name"] for p in d["paths"]])
            for path in d["paths"]:
                self.assertEqual(path["available"], path["reason"] is None)

    def test_text_tells_the_same(self):
        out = self.succeed("devices").out
        for d in self.succeed("devices", "--json").json()["devices"]:
            for word in (d["name"], d["driver"], d["type"], *(p["name"] for p in d["paths"])):
                self.assertIn(word, out)

    def test_choice(self):
        evaluation = ("eval", "-m", self.model, "-d", self.text, "--max-length", 32, "--json")
        devices = self.succeed("devices", "--json").json()["devices"]
        usable = next(d for d in devices if d["usable"])
        by_number = self.succeed(*evaluation, "--device", usable["index"])
        by_name = self.succeed(*evaluation, "--device", usable["name"].split()[0].upper())
        self.assertEqual(by_number.out, by_name.out)
        self.refuse(1, "999", *evaluation, "--device", 999)
        self.refuse(1, "no such card", *evaluation, "--device", "no such card")

    def test_paths(self):
        evaluation = ("eval", "-m", self.model, "-d", self.text, "--max-length", 32, "--json")
        loss = self.succeed(*evaluation).json()["loss"]
        plain = self.succeed(*evaluation, "--paths=-simd,-f16,-dot8,-matrix").json()["loss"]
        self.assertAlmostEqual(plain, loss, delta=1e-3)
        self.refuse(1, "tensor", *evaluation, "--paths", "+tensor")
        self.refuse(1, "f32", *evaluation, "--paths=-f32")


class NoDriver(CliTest):
    def refuse_driver(self, *args):
        return self.refuse(1, "Vulkan", *args, env=command.no_driver())

    def test_commands_that_need_a_device(self):
        out = self.fresh()
        self.refuse_driver("devices")
        self.refuse_driver("eval", "-m", self.model, "-d", self.text)
        self.refuse_driver("generate", "-m", self.model, "-p", "ab", "-n", 3)
        self.refuse_driver("train", *self.train_words(out))
        self.refuse_driver("train", *self.train_words(out, "--dry-run"))
        self.assertFalse(out.exists())

    def test_devices_json_is_an_empty_list(self):
        result = command.inlay("devices", "--json", env=command.no_driver())
        self.check_refused(result, 1, "no Vulkan device")
        self.assertEqual(result.json(), {"devices": []})

    def test_commands_that_need_none(self):
        self.succeed("info", self.model, env=command.no_driver())
        self.succeed("tokenize", "-m", self.model, stdin="ab", env=command.no_driver())

    def test_bad_input_is_found_first(self):
        self.refuse(2, "nowhere", "eval", "-m", "nowhere", "-d", self.text,
                    env=command.no_driver())


class Info(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.adapter = cls.folder / "adapter"
        done = command.inlay("train", "-m", cls.model, "-d", cls.text, "-o", cls.adapter,
                             "--max-steps", 0, "--lora-r", 4, "--lora-alpha", 6,
                             "--lora-dropout", 0.25, "--use-rslora", "--lora-target-modules",
                             "q_proj,down_proj")
        assert done.code == 0, done

    def test_model(self):
        info = self.succeed("info", self.model, "--json").json()
        expected = {"kind": "model", "architecture": "llama", "name": None, "layers": 2,
                    "dim": 32, "ffn_dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 8,
                    "vocab": 264, "context_length": 256, "tied_head": False,
                    "file_bytes": Path(self.model).stat().st_size}
        self.assertEqual({key: info[key] for key in expected}, expected)
        self.assertEqual(info["tokenizer"]["model"], "llama")
        self.assertEqual((info["tokenizer"]["bos"], info["tokenizer"]["eos"]), (1, 2))
        self.assertAlmostEqual(info["norm_eps"], 1e-5, delta=1e-11)
        llama = gguf_bytes.Llama()
        self.assertEqual([(t["name"], t["shape"]) for t in info["tensors"]],
                         [(name, t.shape) for name, t in llama.tensors.items()])
        self.assertEqual(info["parameters"], sum(len(t.values) for t in llama.tensors.values()))
        self.assertEqual(info["types"], {"F32": {"tensors": len(info["tensors"]),
                                                 "bytes": 4 * info["parameters"]}})

    def test_model_as_text(self):
        out = self.succeed("info", self.model).out
        for word in ("llama", "2 layers", "dim 32", "F32", "bos 1"):
            self.assertIn(word, out)
        self.assertNotIn("blk.0.attn_q.weight", out)
        self.assertIn("blk.0.attn_q.weight", self.succeed("info", "--tensors", self.model).out)

    def check_adapter(self, path, form, names):
        info = self.succeed("info", path, "--json").json()
        self.assertEqual((info["kind"], info["format"], info["r"], info["alpha"]),
                         ("adapter", form, 4, 6.0))
        self.assertEqual({t["module"].split(".")[-1] for t in info["targets"]}, names)
        self.assertEqual(len(info["targets"]), 4)
        for t in info["targets"]:
            self.assertEqual((t["r"], t["out"]), (4, 32))
            self.assertEqual(t["in"], 64 if "down" in t["module"] else 32)
            self.assertAlmostEqual(t["scale"], 3.0, places=6)  # 6 / sqrt(4)
        self.assertEqual(info["parameters"], sum(t["r"] * (t["in"] + t["out"])
                                                 for t in info["targets"]))
        return info

    def test_adapters(self):
        peft = self.check_adapter(self.adapter, "peft", {"q_proj", "down_proj"})
        self.assertEqual((peft["use_rslora"], peft["dropout"]), (True, 0.25))

    def test_adapter_as_gguf(self):
        """llama.cpp scales by alpha / r alone, so alpha holds what makes the scale right."""
        info = self.succeed("info", self.adapter / "adapter.gguf", "--json").json()
        self.assertEqual((info["kind"], info["format"], info["architecture"], info["r"]),
                         ("adapter", "gguf", "llama", 4))
        self.assertAlmostEqual(info["scale"], 3.0, places=6)
        self.assertAlmostEqual(info["alpha"], 12.0, places=6)

    def test_adapter_as_text(self):
        for path in (self.adapter, self.adapter / "adapter.gguf"):
            self.assertIn("rank           4", self.succeed("info", path).out)
            self.assertIn("rank           4", self.succeed("info", "-a", path).out)

    def test_options_of_other_commands(self):
        self.assertEqual(self.succeed("info", "-m", self.model).out,
                         self.succeed("info", self.model).out)
        self.refuse(2, "one FILE at a time", "info", "-m", self.model, "-a", self.adapter)

    def test_wrong_files(self):
        self.refuse(2, ["nowhere.gguf", "No such file"], "info", "nowhere.gguf")
        self.refuse(2, [self.folder, "adapter_config.json"], "info", self.folder)
        self.refuse(2, [self.text, "no GGUF"], "info", self.text)
        self.refuse(2, "FILE is missing", "info", "")


class Tokenize(CliTest):
    def ids(self, text, *more, model=None):
        return self.succeed("tokenize", "-m", model or self.model, "--json", *more,
                            stdin=text).json()

    def test_text(self):
        self.assertEqual(self.ids("ab"), [263])
        self.assertEqual(self.ids("ab a"), [263, 259, 260])
        self.assertEqual(self.succeed("tokenize", "-m", self.model, stdin="ab a").out,
                         "263 259 260\n")

    def test_no_line_end_is_added_or_taken(self):
        self.assertEqual(self.ids("a\n"), [259, 260, 3 + ord("\n")])

    def test_empty(self):
        self.assertEqual(self.ids(""), [])
        self.assertEqual(self.succeed("tokenize", "-m", self.model, stdin="").out, "\n")
        self.assertEqual(self.ids("", "--add-special"), [1])

    def test_bytes(self):
        """Also those that are no UTF-8, and NUL."""
        every = bytes(b for b in range(256) if b not in b"ab ")
        self.assertEqual(self.ids(b"a" + every), [259, 260] + [3 + b for b in every])

    def test_special(self):
        self.assertEqual(self.ids("<s>ab</s>"), [1, 263, 2])
        self.assertEqual(self.ids("ab", "--add-special"), [1, 263])
        plain = self.ids("<s>ab</s>", "--no-parse-special")
        self.assertNotIn(1, plain)
        self.assertEqual(len(plain), len("<s>") + 1 + len("</s>") + 1)  # ab is one, U+2581 comes

    def test_much(self):
        self.assertEqual(len(self.ids("x" * 1000000)), 1000001)

    def test_weights_are_not_read(self):
        def spoil(llama):
            llama.tensors["output.weight"].values[5] = float("nan")
        self.assertEqual(self.ids("ab", model=self.write_model("nan.gguf", spoil)), [263])

    def test_shipped_model(self):
        """Byte-level BPE, whose end of text is its begin too."""
        self.assertEqual(self.ids("Player: go!<|endoftext|>", model=command.BASE_MODEL)[-1], 0)
        ids = self.ids("\u00e9\x00\n", model=command.BASE_MODEL)
        self.assertTrue(3 <= len(ids) <= 5 and max(ids) < 2048, ids)

    @unittest.skipUnless(DATA, "INLAY_TEST_DATA is not set")
    def test_published(self):
        """The story model's own text of 200 tokens."""
        folder = Path(DATA) / "model"
        text = (folder / "stories260K.greedy200.txt").read_bytes()
        ids = self.ids(text, model=folder / "stories260K.gguf")
        self.assertTrue(200 <= len(ids) + 1 <= 202, len(ids))
        self.assertLess(max(ids), 512)


if __name__ == "__main__":
    command.main()
