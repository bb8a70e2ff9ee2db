#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Files that are not what they should be: one sentence that names the file and the place, exit
code 2, no crash."""
import json
import os
import random
import shutil
import struct
from pathlib import Path

import command
import gguf_bytes
from command import CliTest, inlay


def make_mixture(g, experts=3, used=2):
    """The llama becomes a qwen3moe: each expert is the feed-forward that was there."""
    g.keys = {name.replace("llama.", "qwen3moe.") if name.startswith("llama.") else name: value
              for name, value in g.keys.items()}
    g.keys["general.architecture"] = (gguf_bytes.STRING, "qwen3moe")
    for name, value in (("expert_count", experts), ("expert_used_count", used),
                        ("expert_feed_forward_length", 64)):
        g.keys["qwen3moe." + name] = (gguf_bytes.U32, value)
    for name in [n for n in g.tensors if ".ffn_" in n and "norm" not in n]:
        t = g.tensors.pop(name)
        g.tensors[name.replace(".weight", "_exps.weight")] = gguf_bytes.Tensor(
            [*t.shape, experts], t.values * experts)
    for layer in range(2):
        for name in ("attn_q_norm", "attn_k_norm"):
            g.add_vector(f"blk.{layer}.{name}", 8)
        g.add_matrix(f"blk.{layer}.ffn_gate_inp", experts, 32, 1.0)


class Models(CliTest):
    def refuse_model(self, path, *says):
        self.refuse(2, [str(path), *says], "info", path)

    def refuse_changed(self, change, *says):
        path = self.write_model("changed.gguf", change)
        self.refuse_model(path, *says)
        return path

    def test_truncated(self):
        data = Path(self.model).read_bytes()
        rng = random.Random(7)
        lengths = sorted({0, 1, 3, 4, 8, 16, 23, 24, 25, 100, len(data) - 1, len(data) - 32,
                          *(rng.randrange(len(data)) for _ in range(40))})
        for length in lengths:
            with self.subTest(length=length):
                path = self.write("cut.gguf", data[:length])
                result = inlay("info", path)
                self.check_refused(result, 2, path)

    def test_flipped(self):
        """Any byte of the header may lie: it is refused, or it did not matter."""
        data = bytearray(Path(self.model).read_bytes())
        header = data.index(b"blk.1.ffn_down.weight") + 60
        rng = random.Random(8)
        for _ in range(60):
            at, bit = rng.randrange(header), 1 << rng.randrange(8)
            data[at] ^= bit
            with self.subTest(seed=8, at=at, bit=bit):
                result = inlay("info", self.write("flipped.gguf", bytes(data)))
                self.assertIn(result.code, (0, 2), result)
                self.assertEqual(len(result.errors), result.code // 2, result)
            data[at] ^= bit

    def test_no_model(self):
        for content in (b"", b"GGUF", b"text", b"\x7fELF" + bytes(100), bytes(1000)):
            self.refuse_model(self.write("none.gguf", content))
        self.refuse(2, ["nowhere", "No such file"], "info", "nowhere")
        for words in (("tokenize", "-m"), ("eval", "-d", self.text, "-m"),
                      ("generate", "-p", "", "-m")):
            self.refuse(2, [self.folder, "config.json"], *words, self.folder)

    def test_header(self):
        def set_field(name, value):
            return lambda g: setattr(g, name, value)
        self.refuse_changed(set_field("magic", b"FUGG"), "GGUF")
        self.refuse_changed(set_field("version", 1), "version 1")
        self.refuse_changed(set_field("version", 4), "version 4")
        self.refuse_changed(set_field("version", 0x03000000), "endian")
        for huge in (10**6, 2**32, 2**63, 2**64 - 1):
            self.refuse_changed(set_field("key_count", huge))
            self.refuse_changed(set_field("tensor_count", huge))

    def test_keys(self):
        def set_key(name, kind, value):
            return lambda g: g.keys.update({name: (kind, value)})

        def drop(name):
            return lambda g: g.keys.pop(name)
        self.refuse_changed(set_key("general.architecture", gguf_bytes.STRING, "gpt5"), "gpt5")
        self.refuse_changed(drop("general.architecture"), "general.architecture")
        for name, value in (("embedding_length", 33), ("embedding_length", 0),
                            ("block_count", 3), ("block_count", 2**31),
                            ("attention.head_count", 0), ("attention.head_count", 5),
                            ("attention.head_count_kv", 3), ("feed_forward_length", 65)):
            with self.subTest(name=name, value=value):
                self.refuse_changed(set_key("llama." + name, gguf_bytes.U32, value))
        for name in ("llama.embedding_length", "llama.block_count", "llama.attention.head_count",
                     "tokenizer.ggml.tokens"):
            self.refuse_changed(drop(name), name)
        self.refuse_changed(set_key("llama.block_count", gguf_bytes.STRING, "2"),
                            "llama.block_count")

    def test_tensors(self):
        name = "blk.1.attn_q.weight"

        def set_tensor(field, value):
            return lambda g: setattr(g.tensors[name], field, value)
        self.refuse_changed(set_tensor("kind", 999), name, "999")
        for offset in (32 * 10**6, 2**64 - 32, 7):
            self.refuse_changed(set_tensor("offset", offset), name)
        for shape in ([32, 2**40], [2**32, 2**32], [2**63, 2], [32, 31], [32], [0, 32],
                      [32, 32, 2], [32, 1, 1, 1, 1]):
            with self.subTest(shape=shape):
                self.refuse_changed(set_tensor("shape", shape), name)
        self.refuse_changed(lambda g: g.tensors.pop(name), name)
        self.refuse_changed(lambda g: g.tensors.pop("token_embd.weight"), "token_embd.weight")
        self.refuse_changed(lambda g: g.tensors.pop("output_norm.weight"), "output_norm.weight")

    def test_experts(self):
        name, router = "blk.1.ffn_up_exps.weight", "blk.1.ffn_gate_inp.weight"

        def mixture(change):
            def both(g):
                make_mixture(g)
                change(g)
            return both

        def set_key(name, kind, value):
            return mixture(lambda g: g.keys.update({"qwen3moe." + name: (kind, value)}))
        path = self.write_model("mixture.gguf", make_mixture)
        self.assertEqual(inlay("info", path).code, 0)
        out = self.fresh()
        for words in (("--use-dora",), ("--init-lora-weights", "pissa")):
            train = ("train", "-m", path, "-d", self.text, "-o", out, "--max-length", 16, *words)
            self.refuse(2, "experts", *train)
            self.assertFalse(out.exists())
            self.assertEqual(inlay(*train, "--dry-run", "--lora-target-modules", "q_proj").code, 0)
        for key, value, says in (("expert_count", 0, "expert_count"),
                                 ("expert_count", 4, "32 x 64 x 3"),
                                 ("expert_count", 2**24, "16777216 experts"),
                                 ("expert_used_count", 0, "expert_used_count"),
                                 ("expert_used_count", 4, "4 of 3 experts"),
                                 ("expert_feed_forward_length", 63, "x 63 x"),
                                 ("expert_gating_func", 2, "softmax"),
                                 ("expert_shared_count", 1, "share")):
            with self.subTest(key=key, value=value):
                self.refuse_changed(set_key(key, gguf_bytes.U32, value), says)
        self.refuse_changed(set_key("expert_weights_scale", gguf_bytes.F32, 2.5), "softmax")
        self.refuse_changed(set_key("expert_weights_norm", gguf_bytes.U32, 1), "not true or false")
        for key in ("expert_count", "expert_used_count"):
            self.refuse_changed(mixture(lambda g, key=key: g.keys.pop("qwen3moe." + key)), key)
        for shape in ([32, 64], [32, 64, 2], [64, 32, 3], [32, 64, 3, 2], [32, 192]):
            with self.subTest(shape=shape):
                self.refuse_changed(
                    mixture(lambda g, s=shape: setattr(g.tensors[name], "shape", s)), name)
        for gone in (name, router, "blk.0.attn_k_norm.weight"):
            self.refuse_changed(mixture(lambda g, t=gone: g.tensors.pop(t)), gone)

    def test_tensors_that_nothing_reads(self):
        """Passing one over would compute another model; a vision part is left out and said."""
        def add(name):
            return lambda g: g.add_vector(name.removesuffix(".weight"), 32)
        for name in ("output.weight.weight", "blk.0.attn_sinks.weight", "blk.2.attn_q.weight",
                     "blk.0.attn_qkv.weight", "position_embd.weight"):
            self.refuse_changed(add(name), name, "llama")
        for name in ("output.bias", "blk.0.attn_norm.bias"):
            self.refuse_changed(lambda g, name=name: g.tensors.update(
                {name: gguf_bytes.Tensor([32], [0.0] * 32)}), name)

        def fuse(g):
            for part in "qkv":
                del g.tensors[f"blk.1.attn_{part}.weight"]
            g.add_matrix("blk.1.attn_qkv", 64, 32, 0.1)
        self.refuse_changed(fuse, "blk.1.attn_q.weight")
        for name in ("v.patch_embd.weight", "mm.0.weight", "rope_freqs.weight"):
            path = self.write_model("more.gguf", lambda g, name=name: g.add_vector(
                name.removesuffix(".weight"), 4 if "rope" in name else 32))
            result = self.succeed("info", path)
            self.assertEqual("vision" in result.err, "rope" not in name, result)

    def test_heads_that_differ_by_layer(self):
        for values, ok in (([4, 4], True), ([4, 2], False), ([], False)):
            path = self.write_model("heads.gguf", lambda g, values=values: g.keys.update(
                {"llama.attention.head_count": ((gguf_bytes.ARRAY, gguf_bytes.I32), values)}))
            if ok:
                self.succeed("info", path)
            else:
                self.refuse_model(path, "llama.attention.head_count", "layer")

    def test_weights_that_are_no_numbers(self):
        for value in (float("nan"), float("inf"), float("-inf")):
            def spoil(g, value=value):
                g.tensors["blk.1.ffn_up.weight"].values[77] = value
            path = self.write_model("nan.gguf", spoil)
            for words in (("eval", "-d", self.text), ("generate", "-p", "ab", "-n", 2),
                          ("train", "-d", self.text, "-o", self.fresh())):
                self.refuse(2, [path, "blk.1.ffn_up.weight"], *words, "-m", path)

    def test_every_command(self):
        path = self.write("cut.gguf", Path(self.model).read_bytes()[:5000])
        out = self.fresh()
        self.refuse(2, path, "train", "-m", path, "-d", self.text, "-o", out)
        self.refuse(2, path, "eval", "-m", path, "-d", self.text)
        self.refuse(2, path, "generate", "-m", path, "-p", "ab")
        self.refuse(2, path, "tokenize", "-m", path)
        self.assertFalse(out.exists())


class Data(CliTest):
    def refuse_data(self, name, content, *says):
        path = self.write(name, content)
        out = self.fresh()
        self.refuse(2, [path, *says], "train", "-m", self.model, "-d", path, "-o", out)
        self.assertFalse(out.exists())
        self.refuse(2, [path, *says], "eval", "-m", self.model, "-d", path)

    def refuse_line(self, line, *says):
        """The third line, the second that is not empty."""
        with self.subTest(line=line[:40]):
            good = json.dumps({"prompt": "a", "completion": "b"})
            text = good.encode() + b"\n\n" + (line if isinstance(line, bytes) else line.encode())
            self.refuse_data("bad.jsonl", text + b"\n" + good.encode() + b"\n", "line 3",
                             *says)

    def test_empty(self):
        self.refuse_data("empty.txt", "")
        self.refuse_data("empty.jsonl", "")
        self.refuse_data("blank.jsonl", "\n\n \n")

    def test_no_file(self):
        for path in ("nowhere.txt", "nowhere.jsonl"):
            self.refuse(2, [path, "No such file"], "eval", "-m", self.model, "-d", path)
        self.refuse(2, [self.folder], "eval", "-m", self.model, "-d", self.folder)

    def test_unknown_kind(self):
        self.refuse_data("data.tsv", "a\tb\n", ".jsonl")

    def test_lines(self):
        for line in ("{", '{"prompt": "a", "completion": "b"', '{"prompt": "a" "completion": "b"}',
                     "text", "{'prompt': 'a'}", '{"prompt": "a", "completion": "\\ud800"}',
                     '{"prompt": "a", "completion": "b"} x', "\x00",
                     b'{"prompt": "a", "completion": "\xff"}', '{"prompt": "a\nb"}'):
            self.refuse_line(line)
        self.refuse_line('{"prompt": "a"}', "completion")
        self.refuse_line('{"completion": "a"}', "prompt")
        self.refuse_line('{"prompt": 1, "completion": "b"}', "prompt")
        self.refuse_line('{"prompt": "a", "completion": ["b"]}', "completion")
        self.refuse_line('{"prompt": "a", "completion": null}', "completion")
        self.refuse_line('["prompt", "completion"]')
        self.refuse_line("{}")
        self.refuse_line('"text"')
        self.refuse_line("[" * 100000)

    def test_messages(self):
        good = {"messages": [{"role": "user", "content": "a"},
                             {"role": "assistant", "content": "b"}]}
        for bad in ({"messages": []}, {"messages": "a"}, {"messages": [{"role": "user"}]},
                    {"messages": [{"content": "a"}]}, {"messages": [1]},
                    {"messages": [{"role": "user", "content": 1}]},
                    {"messages": [{"role": "wizard", "content": "a"}]}):
            with self.subTest(bad=bad):
                path = self.write("m.jsonl", json.dumps(good) + "\n" + json.dumps(bad) + "\n")
                self.refuse(2, [path, "line 2"], "eval", "-m", self.model, "-d", path,
                            "--chat-template", "chatml")
        path = self.write("m.jsonl", json.dumps(good) + "\n")
        self.refuse(2, "chatnl", "eval", "-m", self.model, "-d", path, "--chat-template", "chatnl")
        self.refuse(2, "template", "eval", "-m", self.model, "-d", path)

    def test_nothing_to_learn(self):
        path = self.write("empty.jsonl", '{"prompt": "", "completion": ""}\n')
        result = inlay("train", "-m", self.model, "-d", path, "-o", self.fresh(), "--no-eos")
        self.check_refused(result, 2, path)

    def test_long_records_are_counted(self):
        path = self.write("long.jsonl", "".join(json.dumps({"text": "x" * n}) + "\n"
                                                for n in (10, 50, 5, 40)))
        result = self.succeed("train", "-m", self.model, "-d", path, "--dry-run",
                              "--max-length", 32)
        self.assertIn("2 of 4", result.err)
        self.assertIn("warning", result.err)

    def test_line_ends_and_marks(self):
        lines = [json.dumps({"text": "ab"}), json.dumps({"text": "ba"})]
        losses = set()
        for text in ("\n".join(lines), "\r\n".join(lines) + "\r\n", "\ufeff" + "\n".join(lines)):
            path = self.write("ends.jsonl", text)
            losses.add(self.succeed("eval", "-m", self.model, "-d", path, "--json").out)
        self.assertEqual(len(losses), 1)


class Adapters(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.adapter = cls.folder / "adapter"
        done = inlay("train", *cls.train_words(cls, cls.adapter, "--max-steps", 0))
        assert done.code == 0, done

    def copy(self):
        path = self.fresh()
        shutil.copytree(self.adapter, path)
        return path

    def refuse_adapter(self, path, *says, model=None):
        for words in (("eval", "-d", self.text), ("generate", "-p", "ab"),
                      ("train", "-d", self.text, "-o", self.folder / "never")):
            self.refuse(2, says, *words, "-m", model or self.model, "-a", path)
        self.assertFalse((self.folder / "never").exists())

    def test_of_another_model(self):
        wide = self.write_model("wide.gguf", dim=64, ffn=96)
        self.refuse_adapter(self.adapter, "64", "32", "layers.0", model=wide)
        self.refuse_adapter(self.adapter / "adapter.gguf", "64", "32", "blk.0", model=wide)
        flat = self.write_model("flat.gguf", layers=1)
        self.refuse_adapter(self.adapter, "layers.1", model=flat)
        self.refuse_adapter(self.adapter / "adapter.gguf", "blk.1", model=flat)

    def test_not_a_number(self):
        path = self.copy()
        file = path / "adapter_model.safetensors"
        data = bytearray(file.read_bytes())
        data[-4:] = struct.pack("<f", float("nan"))
        file.write_bytes(data)
        self.refuse_adapter(path, file, "layers.1")
        file = path / "adapter.gguf"
        data = bytearray(file.read_bytes())
        data[-36:] = struct.pack("<f", float("nan")) * 9
        file.write_bytes(data)
        self.refuse_adapter(file, file, "blk.1")

    def test_missing_files(self):
        path = self.copy()
        (path / "adapter_config.json").unlink()
        self.refuse_adapter(path, path, "adapter_config.json")
        path = self.fresh("tensors")
        shutil.copytree(self.adapter, path)
        (path / "adapter_model.safetensors").unlink()
        self.refuse_adapter(path, path, "adapter_model.safetensors")
        (path / "adapter_model.bin").write_bytes(b"PK")
        self.refuse_adapter(path, path, "adapter_model.bin, a pickle", "save it anew")
        self.refuse_adapter("nowhere", "nowhere")
        self.refuse_adapter(self.model, self.model)
        self.refuse_adapter(self.text, self.text)

    def test_config(self):
        path = self.copy()
        file = path / "adapter_config.json"
        good = json.loads(file.read_text())
        for change, says in (({"peft_type": "IA3"}, "peft_type"), ({"r": 0}, '"r"'),
                             ({"r": "four"}, '"r"'), ({"lora_alpha": "x"}, "lora_alpha"),
                             ({"use_dora": True}, "use_dora"), ({"bias": "all"}, "bias"),
                             ({"r": 5}, "4")):
            with self.subTest(change=change):
                file.write_text(json.dumps({**good, **change}))
                self.refuse(2, [path, says], "info", path) if change != {"r": 5} else \
                    self.refuse(2, [path, says], "generate", "-m", self.model, "-p", "a", "-a",
                                path)
        for text in ("", "{", "[]", json.dumps(good)[:-1]):
            file.write_text(text)
            self.refuse(2, str(file), "info", path)

    def test_truncated(self):
        path = self.copy()
        for name in ("adapter_model.safetensors", "adapter.gguf"):
            data = (path / name).read_bytes()
            for length in (0, 4, 7, 8, 9, 100, 1000, len(data) // 2, len(data) - 33):
                with self.subTest(name=name, length=length):
                    (path / name).write_bytes(data[:length])
                    if name == "adapter.gguf" and length < 1000:
                        self.refuse(2, name, "info", path / name)
                    else:
                        self.refuse_once(path if "model" in name else path / name, name)
            (path / name).write_bytes(data)

    def refuse_once(self, path, *says):
        self.refuse(2, says, "generate", "-m", self.model, "-p", "a", "-a", path)


class Permissions(CliTest):
    def test_unreadable(self):
        user = self.nobody()
        os.chmod(self.folder, 0o755)
        secret = self.write("secret.gguf", b"x")
        os.chmod(secret, 0)
        self.refuse(2, [secret, "Permission denied"], "info", secret, **user)
        text = self.write("secret.txt", b"x")
        os.chmod(text, 0)
        self.refuse(2, [text, "Permission denied"], "eval", "-m", self.model, "-d", text, **user)


if __name__ == "__main__":
    command.main()
