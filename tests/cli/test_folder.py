#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Models as Hugging Face folders: every command takes them; files that are missing, cut, or that
contradict each other are one sentence with the file, exit code 2."""
import json
import math
import re
import shutil
import struct
import time
from pathlib import Path

import command
import hf_folder
from command import CliTest, inlay

INDEX = "model.safetensors.index.json"
SECOND = "model-00002-of-00003.safetensors"


class Folders(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.hf = hf_folder.Folder().write(cls.folder / "hf")

    def fresh_folder(self, change=None, shards=1, index=True):
        path = self.folder / "changed"
        shutil.rmtree(path, ignore_errors=True)
        made = hf_folder.Folder()
        if change:
            change(made)
        return made.write(path, shards, index)

    def refuse_folder(self, path, *says):
        return self.refuse(2, [str(path), *says], "info", path)


def make_mixture(f, fused=False):
    """The llama becomes a mixture of 3 experts, each the feed-forward part that was there."""
    f.config.update(architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", num_experts=3,
                    num_experts_per_tok=2, moe_intermediate_size=64, norm_topk_prob=True,
                    head_dim=8)
    for layer in range(2):
        path = f"model.layers.{layer}."
        part = {name: f.tensors.pop(f"{path}mlp.{name}.weight")
                for name in ("gate_proj", "up_proj", "down_proj")}
        f.tensors[path + "mlp.gate.weight"] = ("F32", (3, 32), part["up_proj"][2][:3 * 32 * 4])
        for name in ("q_norm", "k_norm"):
            ones = struct.pack("<8f", *[1] * 8)
            f.tensors[f"{path}self_attn.{name}.weight"] = ("F32", (8,), ones)
        if fused:
            f.tensors[path + "mlp.experts.gate_up_proj"] = (
                "F32", (3, 128, 32), (part["gate_proj"][2] + part["up_proj"][2]) * 3)
            f.tensors[path + "mlp.experts.down_proj"] = ("F32", (3, 32, 64),
                                                         part["down_proj"][2] * 3)
            continue
        for expert in range(3):
            for name, tensor in part.items():
                f.tensors[f"{path}mlp.experts.{expert}.{name}.weight"] = tensor


class Commands(Folders):
    def loss(self, *words):
        return self.succeed("eval", "-d", self.text, "--max-length", 32, "--json",
                            *words).json()["loss"]

    def test_read_only(self):
        info = self.succeed("info", self.hf, "--json").json()
        self.assertEqual(info["architecture"], "llama")
        for words in (("tokenize", "-m", self.hf), ("data", "-m", self.hf, "-d", self.text),
                      ("generate", "-m", self.hf, "-p", "ab", "-n", 3),
                      ("train", "-m", self.hf, "-d", self.text, "-o", "x", "--dry-run")):
            self.assertTrue(self.succeed(*words, stdin="ab a").out)

    def test_shards(self):
        whole = self.loss("-m", self.hf)
        for index in (True, False):
            self.assertEqual(self.loss("-m", self.fresh_folder(shards=3, index=index)), whole)

    def test_more_tokens_than_rows(self):
        """As Gemma 3's small models have them, for pictures."""
        path = self.fresh_folder()
        made = json.loads((path / "tokenizer.json").read_text())
        made["added_tokens"].append({**made["added_tokens"][2], "id": 264, "content": "<picture>"})
        (path / "tokenizer.json").write_text(json.dumps(made))
        self.assertEqual(self.loss("-m", path), self.loss("-m", self.hf))
        self.assertIn("cannot be used", self.succeed("info", path).err)
        data = self.write("picture.jsonl", json.dumps({"input_ids": [1, 70, 264, 71]}))
        for words in (("eval", "-d", data), ("data", "-d", data)):
            self.refuse(2, [data, "264"], *words, "-m", path)
        self.check_refused(inlay("generate", "-p", "<picture>", "-m", path), 1, "264")

    def test_train_and_adapters(self):
        """B of q and k is in Hugging Face's order in memory, in GGUF's in adapter.gguf."""
        out = self.fresh()
        self.succeed("train", "-m", self.hf, "-d", self.text, "-o", out, "--max-length", 32,
                     "--lora-r", 4, "--max-steps", 3, "--learning-rate", 0.05)
        trained = self.loss("-m", self.hf, "-a", out)
        self.assertLess(trained, self.loss("-m", self.hf))
        self.assertEqual(self.loss("-m", self.hf, "-a", out / "adapter.gguf"), trained)
        self.assert_no_scraps(out)

    def test_ends(self):
        """Generation stops at each token that generation_config.json names."""
        path = self.fresh_folder()
        words = ("generate", "-m", path, "-n", 4, "-p")
        prompt, text = next((p, text) for p in "abcdefghijklmnopqrstuvwxyz"
                            if (text := self.succeed(*words, p).out.removeprefix(p).strip("\n"))
                            and text.isascii() and text[0].isalnum())
        (path / "generation_config.json").write_text(
            json.dumps({"eos_token_id": [2, 3 + ord(text[0])]}))
        self.assertEqual(self.succeed(*words, prompt).out.removeprefix(prompt).strip("\n"), "")

    def test_experts(self):
        one_by_one = self.loss("-m", self.fresh_folder(make_mixture, shards=3))
        fused = self.fresh_folder(lambda f: make_mixture(f, True))
        self.assertEqual(self.loss("-m", fused), one_by_one)
        self.assertNotEqual(self.loss("-m", self.hf), one_by_one)  # the norms of heads

    def test_quantized(self):
        plain = self.loss("-m", self.hf)
        for kind in ("nf4", "q8_0", "q4_0"):
            loss = self.loss("-m", self.hf, "--quantize", kind)
            self.assertNotEqual(loss, plain)
            self.assertLess(abs(loss - plain), 0.5)

    def test_quantized_where_rows_are_undivided(self):
        done = inlay("eval", "-m", self.hf, "-d", self.text, "--quantize", "q4_k")
        self.assertEqual((done.code, done.err.count("matrices that keep")), (0, 1), done)
        self.assertIn("layers.0.self_attn.q_proj", done.err)

    def test_quantized_to_what_does_not_hold_it(self):
        name = "model.layers.0.mlp.up_proj.weight"

        def enlarge(folder):
            dtype, shape, data = folder.tensors[name]
            self.assertEqual(dtype, "F32")
            folder.tensors[name] = (dtype, shape, struct.pack("<f", 1e6) + data[4:])
        path = self.fresh_folder(enlarge)
        self.succeed("generate", "-m", path, "-p", "a", "-n", 1)
        self.refuse(1, [name, "do not fit F16"], "generate", "-m", path, "-p", "a", "-n", 1,
                    "--quantize", "F16")


class Settings(Folders):
    def refuse_config(self, change, *says):
        path = self.fresh_folder(lambda f: change(f.config))
        self.refuse_folder(path, *says)

    def set(self, key, value, *says):
        with self.subTest(key=key, value=value):
            self.refuse_config(lambda c: c.update({key: value}), *says)

    def test_no_config(self):
        path = self.fresh_folder()
        (path / "config.json").unlink()
        self.refuse(2, [path, "config.json"], "generate", "-m", path, "-p", "")

    def test_text(self):
        path = self.fresh_folder()
        text = (path / "config.json").read_text()
        for wrong in ("", "[]", "3", text[:-1], text[:40], text + "x", "[" * 100000,
                      '{"a": ' * 5000 + "1" + "}" * 5000, '{"a": 1, "a": 2}', "\xff\xfe{}"):
            with self.subTest(text=wrong[:20]):
                (path / "config.json").write_text(wrong, encoding="latin-1")
                self.refuse_folder(path, "config.json")

    def test_architecture(self):
        self.set("architectures", ["GPT2LMHeadModel"], "GPT2LMHeadModel", "LlamaForCausalLM",
                 "Qwen3ForCausalLM")
        for wrong in ([], "LlamaForCausalLM", [3], {"a": 1}):
            self.set("architectures", wrong, "architectures")
        for wrong, says in (("gpt2", "gpt2"), (None, "architectures"), (3, "model_type")):
            with self.subTest(model_type=wrong):
                self.refuse_config(lambda c, w=wrong: c.update(architectures=None, model_type=w),
                                   says)

    def test_sizes(self):
        for key in ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads",
                    "vocab_size"):
            for wrong in (0, -1, 2**24 + 1, 2**40, 2.5, "64", [64], True):
                self.set(key, wrong, key)
            with self.subTest(key=key, missing=True):
                self.refuse_config(lambda c, key=key: c.pop(key), key, "missing")

    def test_options(self):
        self.set("hidden_act", "relu", "hidden_act", "relu")
        self.set("rms_norm_eps", "small", "rms_norm_eps")
        self.set("tie_word_embeddings", 1, "tie_word_embeddings")
        self.set("quantization_config", {"quant_method": "gptq"}, "gptq")
        self.set("quantization_config", {"bits": 4}, "names no quant_method")
        self.set("quantization_config", {"load_in_8bit": True}, "does not have load_in_4bit")
        self.set("quantization_config", 4, "quantization_config")
        self.set("num_key_value_heads", 3, "4 query heads")
        self.set("vocab_size", 100, "model.embed_tokens.weight", "264", "vocab_size")
        self.set("num_hidden_layers", 3, "model.layers.2.input_layernorm.weight")
        self.set("num_hidden_layers", 1, "model.layers.1.")

    def test_rope(self):
        for scaling, says in (({"rope_type": "spiral"}, "spiral"), ("linear", "rope_scaling"),
                              ({"rope_type": "linear"}, "factor"), ({"type": 3}, "type"),
                              ({"type": "linear", "factor": -2.0}, "factor"),
                              ({"type": "linear", "factor": "4"}, "factor"),
                              ({"rope_type": "llama3", "factor": 8.0}, "low_freq_factor"),
                              ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
                                "high_freq_factor": 1.0}, "high_freq_factor"),
                              ({"rope_type": "longrope", "long_factor": [1.0]}, "long_factor"),
                              ({"rope_type": "longrope", "long_factor": ["a", 1, 1, 1]},
                               "long_factor")):
            self.set("rope_scaling", scaling, says)
        self.set("rope_theta", 0, "rope_theta")
        self.set("rope_theta", "10000", "rope_theta")

    def test_whole_numbers_beyond_64_bits(self):
        path = self.fresh_folder(lambda f: f.config.update(limit=int(1e30), least=-2**64))
        self.succeed("info", path)


class Shards(Folders):
    def test_experts(self):
        def mixture(change, fused=False):
            def both(f):
                make_mixture(f, fused)
                change(f)
            return self.fresh_folder(both)

        def put(name, value, fused=True):
            path = "model.layers.1.mlp.experts."
            return mixture(lambda f: f.tensors.update({path + name: value}), fused)
        for key, value, says in (("decoder_sparse_step", 0, "decoder_sparse_step"),
                                 ("decoder_sparse_step", 2, "model.layers.0.mlp."),
                                 ("mlp_only_layers", ["1"], "mlp_only_layers"),
                                 ("mlp_only_layers", [1], "model.layers.1.mlp."),
                                 ("num_experts_per_tok", 4, "num_experts_per_tok"),
                                 ("num_experts", 0, "num_experts")):
            with self.subTest(key=key, value=value):
                self.refuse_folder(mixture(lambda f, k=key, v=value: f.config.update({k: v})), says)
        self.refuse_folder(mixture(lambda f: f.config.update(num_experts=4)),
                           "model.layers.0.mlp.experts has 9 matrices", "of 4 experts")
        self.refuse_folder(mixture(lambda f: f.config.update(num_experts=2)), "mlp.experts.2.")
        for name in ("mlp.experts.1.up_proj.weight", "mlp.gate.weight"):
            self.refuse_folder(mixture(lambda f, n=name: f.tensors.pop("model.layers.1." + n)),
                               "model.layers.1.mlp.")
        zeros = bytes(4 * 3 * 128 * 32)
        for shape in ((2, 128, 48), (3, 127, 32), (384, 32), (1, 3, 128, 32)):
            with self.subTest(shape=shape):
                values = zeros[:4 * math.prod(shape)]
                self.refuse_folder(put("gate_up_proj", ("F32", shape, values)), "gate_up_proj")
        self.refuse_folder(put("gate_up_proj", ("I32", (3, 128, 32), zeros)), "gate_up_proj", "I32")
        self.refuse_folder(put("gate_up_proj", ("F32", (3, 128, 32), zeros), False),
                           "15 matrices")  # both ways of saving them

    def test_missing(self):
        path = self.fresh_folder()
        (path / "model.safetensors").unlink()
        self.refuse_folder(path, "model.safetensors")
        (path / "pytorch_model.bin").write_bytes(b"PK")
        self.refuse_folder(path, "pytorch_model.bin")
        for index in (True, False):
            path = self.fresh_folder(shards=3, index=index)
            (path / SECOND).unlink()
            self.refuse_folder(path, SECOND)

    def test_two_sets(self):
        path = self.fresh_folder(shards=3, index=False)
        shutil.copy(path / SECOND, path / "model-00001-of-00002.safetensors")
        self.refuse_folder(path, "2", "3", INDEX)

    def test_twice(self):
        path = self.fresh_folder(shards=3, index=False)
        shutil.copy(path / SECOND, path / "model-00003-of-00003.safetensors")
        self.refuse_folder(path, "model-00003-of", SECOND, "model.norm.weight")

    def test_index(self):
        path = self.fresh_folder(shards=3)
        good = json.loads((path / INDEX).read_text())
        name = "model.norm.weight"
        for wrong, says in (({}, "weight_map"), ({"weight_map": 3}, "weight_map"),
                            ({"weight_map": {}}, "weight_map"), ({"weight_map": {name: 3}}, name),
                            ({"weight_map": {name: "/etc/passwd"}}, name),
                            ({"weight_map": {name: "../a.safetensors"}}, name),
                            ({"weight_map": {name: "gone.safetensors"}}, "gone.safetensors"),
                            ({"weight_map": {"more": SECOND}}, "more"),
                            ({"weight_map": {**good["weight_map"], "x": SECOND}}, "x")):
            with self.subTest(wrong=str(wrong)[:60]):
                (path / INDEX).write_text(json.dumps(wrong))
                self.refuse_folder(path, says)
        (path / INDEX).write_text(json.dumps({"weight_map": {
            n: f for n, f in good["weight_map"].items() if f != SECOND}}))
        self.refuse_folder(path, "there is no tensor")


class Tensors(Folders):
    def refuse_tensors(self, change, *says):
        self.refuse_folder(self.fresh_folder(lambda f: change(f.tensors)), *says)

    def test_truncated(self):
        path = self.fresh_folder()
        file = path / "model.safetensors"
        data = file.read_bytes()
        header = 8 + struct.unpack("<Q", data[:8])[0]
        for length in (0, 1, 7, 8, 9, 100, header - 1, header, header + 1, len(data) - 1):
            with self.subTest(length=length):
                file.write_bytes(data[:length])
                self.refuse_folder(path, "model.safetensors")
        for claimed in (2**63, 2**64 - 1, header + 8, len(data), 100000001):
            with self.subTest(claimed=claimed):
                file.write_bytes(struct.pack("<Q", claimed) + data[8:])
                self.refuse_folder(path, "model.safetensors")

    def test_header(self):
        path = self.fresh_folder()
        name = "model.layers.1.mlp.up_proj.weight"
        good = hf_folder.Folder().tensors
        for field, wrong in (("dtype", "F33"), ("dtype", 3), ("dtype", None), ("shape", None),
                             ("shape", [2**32, 2**32]), ("shape", [-1, 2]), ("shape", "x"),
                             ("shape", [32, 63]), ("shape", [1] * 9), ("data_offsets", [0]),
                             ("data_offsets", [8, 4]), ("data_offsets", [0, 2**60]),
                             ("data_offsets", [0.5, 4])):
            with self.subTest(field=field, wrong=wrong):
                (path / "model.safetensors").write_bytes(hf_folder.safetensors_bytes(
                    good, lambda h, f=field, w=wrong: h[name].update({f: w})))
                self.refuse_folder(path, "model.safetensors")

    def test_missing_and_unknown(self):
        made = hf_folder.Folder()
        for name in made.tensors:
            if ".layers.1." not in name:
                self.refuse_tensors(lambda t, name=name: t.pop(name), "there is no tensor " + name)
        for name in ("model.layers.2.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.extra",
                     "model.layers.00.mlp.up_proj.weight", "model.layers.0.self_attn.q_norm.weight",
                     "model.layers.0.post_feedforward_layernorm.weight", "something", ""):
            with self.subTest(name=name):
                self.refuse_tensors(lambda t, name=name: t.update({name: ("F32", [1], bytes(4))}),
                                    "none that a LlamaForCausalLM")

    def test_shapes_and_types(self):
        name = "model.layers.1.mlp.up_proj.weight"
        for shape in ([32, 64], [64 * 32], [64, 32, 1], [1, 64, 32], []):
            count = 1
            for n in shape:
                count *= n
            with self.subTest(shape=shape):
                self.refuse_tensors(lambda t, s=shape, c=count: t.update(
                    {name: ("F32", s, bytes(4 * c))}), name)
        self.refuse_tensors(lambda t: t.update({name: ("F32", [0, 32], b"")}), name)
        for kind, size in (("I64", 8), ("F8_E4M3", 1), ("F64", 8)):
            self.refuse_tensors(lambda t, k=kind, s=size: t.update(
                {name: (k, [64, 32], bytes(s * 64 * 32))}), name, kind)

    def test_not_finite(self):
        name = "model.layers.1.mlp.up_proj.weight"
        values = struct.pack("<f", float("nan")) + bytes(4 * (64 * 32 - 1))
        path = self.fresh_folder(lambda f: f.tensors.update({name: ("F32", [64, 32], values)}))
        self.refuse(2, [path, "NaN"], "generate", "-m", path, "-p", "")


class FourBits(Folders):
    name = "model.layers.1.mlp.up_proj.weight"

    def make(self, change=None, nested=True, state=()):
        def both(folder):
            folder.config["quantization_config"] = {"quant_method": "bitsandbytes",
                                                    "load_in_4bit": True}
            folder.tensors.update(hf_folder.four_bits(self.name, 64, 32, nested, state))
            if change:
                change(folder.tensors)
        return self.fresh_folder(both)

    def refuse_part(self, part, value, *says):
        with self.subTest(part=part, value=str(value)[:40]):
            self.refuse_folder(self.make(lambda t: t.update({self.name + part: value})),
                               self.name + part, *says)

    def test_good(self):
        for nested in (True, False):
            path = self.make(nested=nested)
            self.succeed("eval", "-m", path, "-d", self.text, "--max-length", 32)
            self.assertIn("NF4", self.succeed("info", path, "--tensors").out)

    def test_missing(self):
        parts = [n for n in hf_folder.four_bits(self.name, 64, 32, True) if n != self.name]
        for part in parts:
            with self.subTest(part=part):
                self.refuse_folder(self.make(lambda t, p=part: t.pop(p)), self.name)
        self.refuse_folder(self.make(lambda t: t.pop(self.name)), "no tensor " + self.name)

    def test_lengths(self):
        for part, count in (("", 1023), (".absmax", 31), (".absmax", 33)):
            self.refuse_part(part, ("U8", [count], bytes(count)), "length")
        for part, count in ((".quant_map", 15), (".nested_absmax", 2), (".nested_quant_map", 255)):
            self.refuse_part(part, hf_folder.floats([0.1] * count), "F32")
        self.refuse_part(".quant_map", hf_folder.floats([0.1] * 16), "NF4")
        self.refuse_part(".absmax", hf_folder.floats([0.1] * 31), "F32")
        self.refuse_part(".nested_absmax", hf_folder.floats([float("inf")]), "infinity")

    def test_state(self):
        for key, wrong in (("blocksize", 0), ("blocksize", 32), ("blocksize", 96), ("shape", 3),
                           ("blocksize", 2**40), ("blocksize", "64"), ("shape", [64]),
                           ("shape", [64, 2**40]), ("shape", [-64, 32]), ("shape", [2, 32]),
                           ("shape", [2**24, 2**24]), ("nested_blocksize", 0),
                           ("nested_offset", "x"), ("nested_offset", 1e300)):
            with self.subTest(key=key, wrong=wrong):
                self.refuse_folder(self.make(state=[(key, wrong)]), self.name)
        self.refuse_folder(self.make(state=[("shape", [32, 64])]), self.name)
        for text in (b"", b"{", b"[" * 4000, bytes(5000), b"\xff{}"):
            self.refuse_part(".quant_state.bitsandbytes__nf4", ("U8", [len(text)], text))

    def test_without_its_setting(self):
        """Not a quantized model by its config.json: the parts are tensors that nothing reads."""
        path = self.make()
        config = json.loads((path / "config.json").read_text())
        del config["quantization_config"]
        (path / "config.json").write_text(json.dumps(config))
        self.refuse_folder(path, self.name)


class Memory(Folders):
    """What a load takes, the files' mapped pages aside. The CPU driver's device memory is of it."""

    @staticmethod
    def peak(*words):
        """Anonymous memory in bytes, watched as the command runs."""
        most, program = 0, command.start(*words)
        while program.poll() is None:
            status = Path(f"/proc/{program.pid}/status").read_text()
            found = re.search(r"RssAnon:\s+(\d+) kB", status)
            most = max(most, 1024 * int(found.group(1)) if found else 0)
            time.sleep(0.002)
        program.communicate()
        assert program.returncode == 0
        return most

    def test_never_twice(self):
        shape = {"dim": 512, "heads": 8, "kv_heads": 8, "layers": 2}
        paths = [hf_folder.Folder(**shape, ffn=ffn, fast=True).write(self.folder / f"memory{ffn}")
                 for ffn in (512, 12288)]
        small, large = [(p / "model.safetensors").stat().st_size for p in paths]
        self.assertGreater(large - small, 140e6)
        for kind, bits in (("nf4", 4.13), ("q4_0", 4.5), ("q8_0", 8.5), (None, 32)):
            with self.subTest(kind=kind):
                words = ["-p", "a", "-n", 1] + (["--quantize", kind] if kind else [])
                base, peak = [self.peak("generate", "-m", p, *words) for p in paths]
                on_device = (large - small) * bits / 32
                more = peak - base - on_device
                print(f"{kind}: file {(large - small) / 1e6:.0f} MB, on the device "
                      f"{on_device / 1e6:.0f} MB, beside that {more / 1e6:.0f} MB")
                self.assertLess(more, 0.25 * (large - small))


if __name__ == "__main__":
    command.main()
