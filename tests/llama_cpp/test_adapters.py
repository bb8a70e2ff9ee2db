# SPDX-License-Identifier: MIT
"""llama.cpp loads the adapters inlay writes and continues a prompt greedily as inlay does.

run.sh starts it; INLAY_BUILD names the build folder.
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import tokenizers
import torch
import transformers
from llama_cpp import Llama

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/parity"))
import to_gguf  # noqa: E402
import vocabularies  # noqa: E402

INLAY = Path(os.environ["INLAY_BUILD"]) / "tools/inlay"
DATA = os.environ.get("INLAY_TEST_DATA")
BASE = ROOT / "tools/basemodel/base.gguf"
TOKENS = 40
PROMPTS = ["Once upon a time", "The dog", "Lily and"]


def inlay(*words):
    done = subprocess.run([INLAY, *map(str, words)], capture_output=True, check=False)
    if done.returncode != 0:
        raise AssertionError(done.stderr.decode("utf-8", "replace"))
    return done.stdout


def llama_text(model, prompt, adapter=None):
    """What llama.cpp goes on with, as bytes."""
    more = {"lora_path": str(adapter)} if adapter else {}
    # Its cache holds half floats unless told otherwise: enough to lose a close race.
    llama = Llama(str(model), n_ctx=256, n_threads=1, n_threads_batch=1, verbose=False, type_k=0,
                  type_v=0, **more)
    ids = llama.tokenize(prompt.encode(), add_bos=True)
    new = []
    for token in llama.generate(ids, temp=0.0, repeat_penalty=1.0):
        if token == llama.token_eos() or len(new) == TOKENS:
            break
        new.append(token)
    return llama.detokenize(ids + new)[len(llama.detokenize(ids)):]


def inlay_text(model, prompt, adapter=None):
    more = ["-a", adapter] if adapter else []
    return inlay("generate", "-m", model, "-p", prompt, "-n", TOKENS, *more).removesuffix(b"\n")


def one_mark(text):
    """A random model's bytes are no UTF-8: how many marks stand for them is not the matter here."""
    return re.sub("\ufffd+", "\ufffd", text.decode("utf-8", "replace"))


def write_mixture(path):
    """A random mixture of experts."""
    config = transformers.Qwen3MoeConfig(
        vocab_size=259, hidden_size=64, intermediate_size=96, moe_intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        num_experts=6, num_experts_per_tok=2, norm_topk_prob=True, max_position_embeddings=256,
        tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    model = transformers.Qwen3MoeForCausalLM(config).to(torch.float32)
    rng = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng)
            p.copy_(1.0 + 0.2 * noise if "norm" in name else
                    noise if "embed" in name else noise * 1.5 / p.shape[-1] ** 0.5)
        model.lm_head.weight[:3] = 0.0  # bytes are written alike, specials are not
    to_gguf.write(path, model, vocabularies.bytes_alone)


SMALL = {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
         "max_position_embeddings": 256, "query_pre_attn_scalar": 16,
         "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": False}


def scatter(model):
    """Random weights under which a model's next token is not a close race."""
    rng = torch.Generator().manual_seed(12)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng)
            p.copy_(0.2 * noise if "norm" in name else
                    noise if "embed" in name else noise * 1.5 / p.shape[-1] ** 0.5)
            if "norm" in name and "gemma" not in model.config.model_type:
                p.add_(1.0)
        model.get_output_embeddings().weight[:3] = 0.0


def train_tokenizer(size):
    """Byte-level, as SmolLM's."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Digits(True),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.decoder = tokenizers.decoders.ByteLevel()
    made.train_from_iterator(PROMPTS * 9 + ["The dog sat by a wall and sang"] * 9,
                             tokenizers.trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())))
    return made


class Adapters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="inlay-llama-cpp-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.data = cls.folder / "data.txt"
        cls.data.write_text("The dog sat by a wall and sang of a blue lamp to a cat.\n" * 60)

    def check(self, model, *options):
        """Base, adapter and their sum, each as llama.cpp has it; and that the adapter matters."""
        out = Path(tempfile.mkdtemp(dir=self.folder)) / "run"
        inlay("train", "-m", model, "-d", self.data, "-o", out, "--max-length", 64,
              "--max-steps", 12, "--learning-rate", 5e-3, "-q", *options)
        differ, merged = 0, out.with_suffix(".gguf")
        inlay("merge", "-m", model, "-a", out, "-o", merged)
        for prompt in PROMPTS:
            base = inlay_text(model, prompt)
            self.assertEqual(one_mark(llama_text(model, prompt)), one_mark(base))
            adapted = inlay_text(model, prompt, out)
            self.assertEqual(one_mark(llama_text(model, prompt, out / "adapter.gguf")),
                             one_mark(adapted))
            self.assertEqual(one_mark(llama_text(merged, prompt)), one_mark(adapted))
            differ += base != adapted
        self.assertGreater(differ, 0)
        return out

    @unittest.skipUnless(DATA, "skipped: stories260K: INLAY_TEST_DATA is not set")
    def test_stories260k(self):
        model = Path(DATA) / "model/stories260K.gguf"
        out = self.check(model, "--lora-r", 8)
        back = self.folder / "converted"
        inlay("convert", "-m", model, "-a", out / "adapter.gguf", "-o", back)
        inlay("convert", "-m", model, "-a", back, "-o", self.folder / "again.gguf")
        self.assertEqual((self.folder / "again.gguf").read_bytes(),
                         (out / "adapter.gguf").read_bytes())
        for prompt in PROMPTS:
            self.assertEqual(llama_text(model, prompt, self.folder / "again.gguf"),
                             inlay_text(model, prompt, back))

    @unittest.skipUnless(DATA, "skipped: stories260K: INLAY_TEST_DATA is not set")
    def test_rslora(self):
        self.check(Path(DATA) / "model/stories260K.gguf", "--lora-r", 5, "--lora-alpha", 7,
                   "--use-rslora", "--lora-target-modules", "q_proj,k_proj,down_proj")

    def test_experts(self):
        model = self.folder / "mixture.gguf"
        write_mixture(model)
        out = self.check(model, "--lora-r", 4)
        back, again = self.folder / "experts", self.folder / "experts.gguf"
        inlay("convert", "-m", model, "-a", out / "adapter.gguf", "-o", back)
        inlay("convert", "-m", model, "-a", back, "-o", again)
        self.assertEqual(again.read_bytes(), (out / "adapter.gguf").read_bytes())
        self.check(model, "--lora-r", 3, "--lora-target-modules", "q_proj,gate,down_proj")

    def test_folders(self):
        """A folder and an adapter become one file for llama.cpp, and text becomes the same ids."""
        for name in ("Llama", "Qwen3", "Gemma3Text", "SmolLM3"):
            with self.subTest(name):
                self.check_folder(name)

    def check_folder(self, name):
        config = getattr(transformers, f"{name}Config")(**SMALL)
        model = transformers.AutoModelForCausalLM.from_config(config).to(torch.float32)
        scatter(model)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        base, run, merged = (folder / n for n in ("hf", "run", "merged.gguf"))
        tokenizer = train_tokenizer(config.vocab_size)
        model.save_pretrained(base)
        tokenizer.save(str(base / "tokenizer.json"))
        (base / "tokenizer_config.json").write_text(
            '{"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true}')
        inlay("train", "-m", base, "-d", self.data, "-o", run, "-q", "--max-length", 64,
              "--max-steps", 6, "--learning-rate", 5e-3)
        inlay("merge", "-m", base, "-a", run, "-o", merged)
        llama = Llama(str(merged), vocab_only=True, verbose=False)
        for prompt in PROMPTS:
            self.assertEqual(llama.tokenize(prompt.encode(), add_bos=False),
                             tokenizer.encode(prompt, add_special_tokens=False).ids)
            self.assertEqual(one_mark(llama_text(merged, prompt)),
                             one_mark(inlay_text(base, prompt, run)))


if __name__ == "__main__":
    program = unittest.main(exit=False)
    for test, why in program.result.skipped:
        print(why)
    ran = program.result.testsRun - len(program.result.skipped)
    sys.exit(1 if not program.result.wasSuccessful() else 0 if ran else 77)
