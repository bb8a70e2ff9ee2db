#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Adapters that no command may take, and merging: what it refuses, what it leaves behind."""
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import time

import command
import hf_folder
from command import CliTest, inlay

NAN, INF = struct.pack("<f", float("nan")), struct.pack("<f", float("-inf"))


def read_tensors(path):
    """{name: (dtype, shape, bytes)} of a safetensors file."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + size + t["data_offsets"][0]:
                                                 8 + size + t["data_offsets"][1]])
            for name, t in header.items()}


def write_tensors(path, tensors):
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(
        data for _, _, data in tensors.values()))


class Adapters(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.adapter = cls.folder / "adapter"
        done = inlay("train", *cls.train_words(cls, cls.adapter, "--max-steps", 2))
        assert done.code == 0, done
        cls.tensors = read_tensors(cls.adapter / "adapter_model.safetensors")
        cls.name = next(n for n in cls.tensors if "layers.1" in n and "v_proj.lora_B" in n)

    def with_tensors(self, name, tensors):
        path = self.fresh(name)
        shutil.copytree(self.adapter, path)
        write_tensors(path / "adapter_model.safetensors", tensors)
        return path

    def changed(self, label, dtype, element):
        """The adapter's tensors in `dtype`, the last element of one of them another."""
        _, shape, data = self.tensors[self.name]
        keep = data if dtype == "F32" else b"\0\0" * (len(data) // 4)
        return self.with_tensors(label, {**self.tensors, self.name: (
            dtype, shape, keep[:len(keep) - len(element)] + element)})

    def refuse_everywhere(self, path, *says):
        out = self.fresh("written")
        for words in (("info", path), ("train", "-m", self.model, "-d", self.text, "-o", out,
                                       "--adapter", path),
                      ("eval", "-m", self.model, "-d", self.text, "-a", path),
                      ("generate", "-m", self.model, "-p", "ab", "-a", path),
                      ("convert", "-m", self.model, "-a", path, "-o", out),
                      ("merge", "-m", self.model, "-a", path, "-o", f"{out}.gguf")):
            with self.subTest(command=words[0]):
                self.refuse(2, says, *words)
        self.assertFalse(out.exists() or out.with_suffix(".gguf").exists())

    def test_nan(self):
        self.refuse_everywhere(self.changed("nan", "F32", NAN), self.name, "NaN")

    def test_infinity_in_f16(self):
        self.refuse_everywhere(self.changed("inf", "F16", b"\x00\x7c"), self.name, "infinity")

    def test_nan_in_bf16(self):
        self.refuse_everywhere(self.changed("nan16", "BF16", b"\xc1\x7f"), self.name, "NaN")

    def test_nan_in_gguf(self):
        data = bytearray((self.adapter / "adapter.gguf").read_bytes())
        data[-36:] = NAN * 9
        path = self.folder / "nan.gguf"
        path.write_bytes(data)
        self.refuse_everywhere(path, path, "blk.1", "NaN")

    def test_nan_in_what_is_ignored(self):
        name = "base_model.model.lm_head.base_layer.weight"
        path = self.with_tensors("base", {**self.tensors, name: ("F32", [2, 1], INF + NAN)})
        self.refuse_everywhere(path, name, "NaN or infinity")

    def test_truncated(self):
        """Cut anywhere in the header, and in the data."""
        for file in ("adapter_model.safetensors", "adapter.gguf", "adapter_config.json"):
            path = self.fresh(file)
            shutil.copytree(self.adapter, path)
            data = (path / file).read_bytes()
            named = path / file if file.endswith("gguf") else path
            for length in sorted({*range(0, 64), *range(64, len(data) - 3, len(data) // 40)}):
                (path / file).write_bytes(data[:length])
                self.refuse(2, str(path / file), "info", named)

    def test_shapes(self):
        a = self.name.replace("lora_B", "lora_A")
        _, (out, rank), data = self.tensors[self.name]
        for label, tensors, says in (
                ("alone", {n: t for n, t in self.tensors.items() if n != a}, [self.name, "no"]),
                ("rank 0", {**self.tensors, self.name: ("F32", [out, 0], b"")}, ["no pair"]),
                ("another rank", {**self.tensors, self.name: ("F32", [out * rank, 1], data)},
                 [self.name, "no pair"]),
                ("flat", {**self.tensors, self.name: ("F32", [out * rank], data)},
                 [self.name, "dimensions"]),
                ("unknown", {n.replace("v_proj", "w_proj"): t for n, t in self.tensors.items()},
                 ["w_proj", "does not have"]),
                ("twice", {**self.tensors, self.name.removeprefix("base_model.model."):
                           self.tensors[self.name]}, [self.name])):
            with self.subTest(label):
                path = self.with_tensors(label.replace(" ", "-"), tensors)
                self.refuse(2, [path, *says], "generate", "-m", self.model, "-p", "a", "-a", path)

    def test_what_gguf_cannot_hold(self):
        """It says so, and offers the merge, which works."""
        tied = self.write_model("tied.gguf", lambda g: g.tensors.pop("output.weight"))
        for label, model, more in (("head", tied, ("--lora-target-modules", "q_proj,lm_head")),
                                   ("dora", self.model, ("--use-dora",))):
            with self.subTest(label):
                path = self.fresh(label)
                done = self.succeed("train", "-m", model, "-d", self.text, "-o", path,
                                    "--max-length", 32, "--max-steps", 1, *more)
                self.assertIn("no adapter.gguf", done.err)
                self.assertFalse((path / "adapter.gguf").exists())
                out = self.fresh(f"{label}.gguf")
                self.refuse(2, [out, "merge"], "convert", "-m", model, "-a", path, "-o", out)
                self.succeed("merge", "-m", model, "-a", path, "-o", out)
                losses = [json.loads(self.succeed("eval", "-d", self.text, "--json", *words).out)
                          ["loss"] for words in (("-m", out), ("-m", model, "-a", path))]
                self.assertAlmostEqual(losses[0] / losses[1], 1.0, delta=1e-5)

    # ---- several, merging

    def test_scales(self):
        """Twice a half is one; a path with a colon is a path."""
        colon = self.folder / "name:2"
        shutil.copytree(self.adapter, colon)

        def loss(*adapters):
            words = [w for a in adapters for w in ("-a", a)]
            return json.loads(self.succeed("eval", "-m", self.model, "-d", self.text, "--json",
                                           *words).out)["loss"]

        whole, base = loss(self.adapter), loss()
        self.assertEqual(loss(colon), whole)
        self.assertNotEqual(whole, base)
        self.assertAlmostEqual(loss(f"{self.adapter}:0.5", f"{colon}:0.5"), whole, delta=1e-6)
        self.assertAlmostEqual(loss(f"{self.adapter}:0"), base, delta=1e-6)
        self.refuse(2, "adapter:x", "eval", "-m", self.model, "-d", self.text, "-a",
                    f"{self.adapter}:x")

    def test_merge_refusals(self):
        words = ("merge", "-m", self.model, "-a", self.adapter)
        out = self.fresh("out.gguf")
        self.refuse(2, ["q9_9", "Q8_0", "Q4_K"], *words, "-o", out, "--type", "q9_9")
        self.refuse(2, "NF4".lower(), *words, "-o", out, "--type", "nf4")
        self.refuse(2, self.model, *words, "-o", self.model)
        here = f"{os.path.dirname(self.model)}/./{os.path.basename(self.model)}"
        self.refuse(2, here, *words, "-o", here)
        self.refuse(2, "nowhere", "merge", "-m", self.model, "-a", "nowhere", "-o", out)
        self.refuse(1, "nowhere", *words, "-o", self.folder / "nowhere" / "out.gguf")
        self.assertFalse(out.exists())

    def test_merge_of_nothing(self):
        """A model without an adapter: its values, in another type if one is asked for."""
        out, again = self.fresh("out.gguf"), self.fresh("again.gguf")
        self.succeed("merge", "-m", self.model, "-o", out)
        self.succeed("merge", "-m", out, "-o", again)
        self.assertEqual(out.read_bytes(), again.read_bytes())
        self.succeed("merge", "-m", out, "-o", again, "--type", "q8_0")
        self.assertLess(again.stat().st_size, out.stat().st_size)

    def test_merge_on_a_full_disk(self):
        """Nothing of it stays, and what was there does."""
        out = self.fresh("out.gguf")
        out.write_bytes(b"older")
        for size in (20, 5000, 40000):
            done = inlay("merge", "-m", self.model, "-a", self.adapter, "-o", out,
                         restore_signals=False,  # Python ignores SIGXFSZ
                         preexec_fn=lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                                         (size, size)))
            self.check_refused(done, 1, str(out))
            self.assertEqual(out.read_bytes(), b"older")
        self.assert_no_scraps(self.folder)
        self.succeed("merge", "-m", self.model, "-a", self.adapter, "-o", out)
        self.assertEqual(out.read_bytes()[:4], b"GGUF")

    def test_stopped_merge(self):
        """Ctrl-C leaves no part of a file or a folder, whenever it comes."""
        model = self.write_model("large.gguf", dim=256, ffn=1024, layers=8, fast=True)
        for out in (self.fresh("out.gguf"), self.fresh("out")):
            process = subprocess.Popen(command.words(("merge", "-m", model, "-o", out)),
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       env=command.environment(), preexec_fn=lambda: signal.signal(
                                           signal.SIGINT, signal.SIG_DFL))
            made = out.with_name(f"{out.name}.tmp-{process.pid}")
            while not made.exists() and process.poll() is None:
                time.sleep(0.001)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=command.TIME_LIMIT)
            self.assertEqual(process.returncode, 1, said)
            self.assertIn(b"stopped", said)
            self.assertFalse(out.exists())
        self.assert_no_scraps(self.folder)

    def test_merge_of_folders(self):
        hf = hf_folder.Folder().write(self.folder / "hf")
        out = self.fresh()
        words = ("merge", "-m", hf, "-a", self.adapter)
        # Its merges are not what makes its tokens.
        self.refuse(2, [hf, "merge into a folder instead"], *words, "-o", f"{out}.gguf")
        self.assertFalse(out.with_name(f"{out.name}.gguf").exists())
        self.refuse(2, [out, "Q8_0", "BF16", ".gguf"], *words, "-o", out, "--type", "q8_0")
        self.refuse(2, hf, *words, "-o", f"{hf}/")
        text = self.folder / "text.txt"
        text.write_text("words")
        self.refuse(2, hf, "train", "-m", hf, "-d", text, "-o", f"{hf}/.")
        self.assertFalse((hf / "adapter_config.json").exists())
        self.assertFalse(out.exists())
        done = inlay(*words, "-o", out, restore_signals=False, preexec_fn=lambda:
                     resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)))
        self.check_refused(done, 1, str(out))
        self.assertFalse(out.exists())
        out.mkdir()
        (out / "mine").write_text("kept")
        self.refuse(2, [out, "empty"], *words, "-o", out)
        self.assertEqual([p.name for p in out.iterdir()], ["mine"])
        (out / "mine").unlink()
        self.succeed(*words, "-o", f"{out}/")
        self.assertTrue((out / "config.json").exists() and (out / "tokenizer.json").exists())
        self.assert_no_scraps(self.folder)


if __name__ == "__main__":
    command.main()
