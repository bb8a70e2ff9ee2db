# SPDX-License-Identifier: MIT
"""Files that llama.cpp's own converters write of transformers' models and PEFT's adapters: inlay
has the logits of transformers and PEFT from them; and llama.cpp, with the adapter that inlay
writes, goes on greedily as inlay does.

run.sh starts it; INLAY_BUILD names the build folder.
"""
import dataclasses
import re
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/parity"))
import converter  # noqa: E402
import compare  # noqa: E402
import corpus  # noqa: E402
import driver  # noqa: E402
import gguf  # noqa: E402
import numpy as np  # noqa: E402
import reference  # noqa: E402
import torch  # noqa: E402
from llama_cpp import Llama  # noqa: E402
from test_architectures import CASES, YARN, Case, adapt, random_model  # noqa: E402

BOUND = 1e-5  # of the logits' norm
SIZE, USED = 340, 320  # of the vocabulary
TEXTS = [" ".join(corpus.WORDS[i:i + 9]) for i in range(len(corpus.WORDS))] + ["six 12 of\n\nstone"]
PROMPTS = ["ore lamp", "six of a"]
TOKENS = 24
SENTENCEPIECE = ("Mistral", "Gemma", "Gemma2", "Gemma3", "Phi3")

# What the converter leaves out, or llama.cpp does not read of its file: which then is of the model
# with these instead.
LEFT_OUT = {
    "mistral": dict(sliding_window=None),
    "smollm3, window": dict(use_sliding_window=False, sliding_window=None, layer_types=None),
    "gemma2, its own query scale": dict(query_pre_attn_scalar=12),
    "qwen3moe, plain weights": dict(norm_topk_prob=True),
    "qwen2, window": dict(use_sliding_window=False, layer_types=None),
    "yarn, attention factor": dict(rope_parameters=YARN),
    "gemma3, layers of its own": dict(layer_types=None),
    "qwen2, layers of its own": dict(use_sliding_window=False, layer_types=None),
    "qwen3, layers of its own": dict(use_sliding_window=False, layer_types=None),
    "smollm3, layers of its own": dict(use_sliding_window=False, sliding_window=None,
                                       layer_types=None, no_rope_layers=None),
}
REFUSED = ("qwen3moe, dense layers", "qwen3moe, every second")  # by the converter
MORE = [
    Case("smollm3, window", "SmolLM3", dict(num_hidden_layers=4, use_sliding_window=True,
                                            sliding_window=7)),
    Case("qwen2, window", "Qwen2", dict(use_sliding_window=True, sliding_window=5,
                                        max_window_layers=1)),
    Case("yarn, attention factor", "Llama", dict(rope_parameters={**YARN,
                                                                  "attention_factor": 1.5})),
    Case("yarn, its own betas", "Llama", dict(rope_parameters={**YARN, "beta_fast": 20.0,
                                                               "beta_slow": 2.0})),
]
GREEDY = {"llama": {}, "mistral": dict(sliding_window=None), "qwen2": {}, "qwen3": {}, "gemma": {},
          "gemma2": {}, "gemma3": {}, "phi3": dict(sliding_window=None),  # llama.cpp leaves it out
          "smollm3": {}, "qwen3moe": {}}


def with_vocabulary(case, **more):
    return dataclasses.replace(case, more={**case.more, "vocab_size": SIZE, **more})


class Converted:
    """A random model, what transformers saves of it, and the converter's file of that."""

    def __init__(self, case, seed, folder):
        self.case, self.folder, self.file = case, folder / "saved", folder / "model.gguf"
        self.model = random_model(case, seed)
        with torch.no_grad():  # a token's own embedding would drown what the layers say of it
            if case.model.startswith("Gemma"):
                self.model.lm_head.weight /= 10.0
            self.model.lm_head.weight[:3] = 0.0  # bytes are written alike, specials are not
            self.model.lm_head.weight[USED:] = 0.0  # nor what is not used
        self.model.save_pretrained(self.folder)
        if case.model in SENTENCEPIECE and not case.name.startswith("phi4"):
            prefix = case.model in ("Mistral", "Phi3")
            self.ids = converter.write_sentencepiece(self.folder, TEXTS, USED, prefix)
        else:
            kind = "GPT2Tokenizer" if case.model == "Phi3" else "PreTrainedTokenizerFast"
            self.ids = converter.write_byte_level(self.folder, TEXTS, USED, kind)
        converter.model(self.folder, self.file)

    def run(self, **job):
        return driver.run(self.folder.parent / "out", model=self.file, texts=TEXTS,
                          sequences=[list(s) for s in self.case.sequences], **job)

    def continued(self, prompt, adapter=None):
        more = ["-a", adapter] if adapter else []
        return driver.command("generate", "-m", self.file, "-p", prompt, "-n", TOKENS,
                              *more).removesuffix("\n")

    def continued_by_llama_cpp(self, prompt, adapter=None):
        more = {"lora_path": str(adapter)} if adapter else {}
        llama = Llama(str(self.file), n_ctx=256, n_threads=1, n_threads_batch=1, verbose=False,
                      **more)
        ids, new = llama.tokenize(prompt.encode(), add_bos=True), []
        for token in llama.generate(ids, temp=0.0, repeat_penalty=1.0):
            if token == llama.token_eos() or len(new) == TOKENS:
                break
            new.append(token)
        return llama.detokenize(ids + new)[len(llama.detokenize(ids)):].decode("utf-8", "replace")


def contents(path):
    """An adapter's scale and tensors."""
    reader = gguf.GGUFReader(path)
    return (reader.fields["adapter.lora.alpha"].contents(),
            {t.name: np.array(t.data) for t in reader.tensors})


def one_mark(text):
    """A random model's bytes are no UTF-8: how many marks stand for them is not the matter here."""
    return re.sub("\ufffd+", "\ufffd", text)


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="inlay-converter-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def near(self, got, want):
        for mine, theirs in zip(got, want, strict=True):
            self.assertLess(compare.relative(mine, theirs), BOUND)

    def wanted(self, model, case):
        return reference.logits(model, [list(s) for s in case.sequences])

    def test_models(self):
        cases = [c for c in CASES + MORE if not c.dora and c.name not in REFUSED]
        for seed, case in enumerate(cases, 500):
            with self.subTest(case.name):
                made = Converted(with_vocabulary(case), seed, self.folder / str(seed))
                run, want = made.run(), self.wanted(made.model, case)
                self.assertEqual(run.report["ids"], [made.ids(text) for text in TEXTS])
                if case.name in LEFT_OUT:
                    self.assertGreater(compare.relative(run.logits()[2], want[2]), 100 * BOUND)
                    other = random_model(with_vocabulary(case, **LEFT_OUT[case.name]), seed)
                    other.load_state_dict(made.model.state_dict())
                    want = self.wanted(other, case)
                self.near(run.logits(), want)

    def test_adapters(self):
        """PEFT's, converted by llama.cpp and by inlay; and what llama.cpp makes of inlay's."""
        for seed, case in enumerate([c for c in CASES if c.name in GREEDY], 600):
            with self.subTest(case.name):
                folder = self.folder / str(seed)
                made = Converted(with_vocabulary(case, **GREEDY[case.name]), seed, folder)
                adapted = adapt(case, made.model, seed, folder / "made")
                theirs, ours = folder / "theirs.gguf", folder / "ours.gguf"
                converter.adapter(folder / "made", made.folder, theirs)
                driver.command("convert", "-m", made.file, "-a", folder / "made", "-o", ours)
                self.same_tensors(contents(ours), contents(theirs))
                self.near(made.run(adapter=theirs).logits(), self.wanted(adapted, case))
                self.continues_alike(made, ours)

    def same_tensors(self, ours, theirs):
        self.assertEqual(ours[0], theirs[0])
        self.assertEqual(ours[1].keys(), theirs[1].keys())
        for name, values in theirs[1].items():
            np.testing.assert_array_equal(ours[1][name], values, name)

    def continues_alike(self, made, adapter):
        differ = 0
        for prompt in PROMPTS:
            base, adapted = made.continued(prompt), made.continued(prompt, adapter)
            self.assertEqual(one_mark(made.continued_by_llama_cpp(prompt)), one_mark(base))
            self.assertEqual(one_mark(made.continued_by_llama_cpp(prompt, adapter)),
                             one_mark(adapted))
            differ += base != adapted
        self.assertGreater(differ, 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    unittest.main()
