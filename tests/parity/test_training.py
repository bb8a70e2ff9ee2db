# SPDX-License-Identifier: MIT
"""Same weights, first adapter and order of data: gradients, 50 losses, the trained adapter."""
import dataclasses

import compare
import corpus
import driver
import llamas
import pytest
import reference
import torch
import vocabularies
from peft import LoraConfig, get_peft_model

STEPS = 50
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0}


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    shape: dict = dataclasses.field(default_factory=dict)
    stored: str = "f32"
    quantize: str = None
    lora: dict = dataclasses.field(default_factory=dict)
    train: dict = dataclasses.field(default_factory=dict)
    data: str = "text"
    max_length: int = 61
    no_packing: bool = False
    steps: int = STEPS


ROUND = dict(dim=64, ffn=160)
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
CASES = [
    Case("plain", data="text", lora=dict(r=8)),
    Case("tied, stream", dict(tie_word_embeddings=True), data="txt", max_length=47,
         train=dict(batch_size=2, weight_decay=0.1, schedule=1, warmup_steps=5)),
    Case("biases, rank 5, rslora", dict(attention_bias=True, mlp_bias=True, heads=3, kv_heads=3),
         lora=dict(r=5, use_rslora=True, lora_alpha=7), data="prompts",
         train=dict(max_grad_norm=0.5, accumulation=3, schedule=3, warmup_steps=7)),
    Case("llama3 rope, q and v, rank 1", dict(rope_parameters=LLAMA3, heads=4, kv_heads=1),
         lora=dict(r=1, target_modules=["q_proj", "v_proj"]), data="text", no_packing=True,
         train=dict(batch_size=3, checkpointing=1)),
    Case("linear rope, head too", dict(rope_parameters=LINEAR, head_dim=20, vocab=262),
         lora=dict(r=4, target_modules=EVERY), data="prompts",
         train=dict(batch_size=2, accumulation=2, max_grad_norm=1.0, weight_decay=0.01, schedule=1,
                    beta2=0.95)),
    Case("tied head, head alone", dict(tie_word_embeddings=True, layers=1),
         lora=dict(r=3, target_modules=["lm_head"]), data="text"),
    Case("one layer of two", dict(kv_heads=1),
         lora=dict(r=2, target_modules=r".*\.1\.mlp\.(up|down)_proj"), data="txt"),
    Case("ranks and alphas by module", dict(heads=6, kv_heads=3, head_dim=8), data="text",
         lora=dict(r=4, rank_pattern={"q_proj": 3, r"1\.mlp\.down_proj": 9},
                   alpha_pattern={"up_proj": 3, "k_proj": 64})),
    Case("several tiles", dict(dim=168, ffn=300, layers=1, heads=6, kv_heads=2, vocab=411),
         data="txt", max_length=150, train=dict(batch_size=2), steps=10),
    Case("lora plus", lora=dict(r=6), data="text",
         train=dict(loraplus_lr_ratio=12.0, learning_rate=1e-3, weight_decay=0.1, schedule=1,
                    max_grad_norm=1.0)),
    Case("dora", dict(attention_bias=True, heads=3, kv_heads=3), lora=dict(r=5, use_dora=True),
         data="prompts",
         train=dict(batch_size=2, accumulation=2, weight_decay=0.05, checkpointing=1,
                    max_grad_norm=1.0, loraplus_lr_ratio=4.0)),
    Case("dora, head too", dict(vocab=262, head_dim=20), data="text",
         lora=dict(r=4, use_dora=True, use_rslora=True, target_modules=EVERY)),
    Case("dora on nf4, odd blocks", dict(dim=44, ffn=100, head_dim=12), quantize="nf4", data="text",
         lora=dict(r=3, use_dora=True)),
    Case("dora on q8_0", ROUND, stored="q8_0", data="text", lora=dict(r=8, use_dora=True)),
    Case("f16", ROUND, stored="f16", data="text", train=dict(checkpointing=2)),
    Case("bf16", ROUND, stored="bf16", data="prompts"),
    Case("q8_0", dict(ROUND, attention_bias=True), stored="q8_0", data="text"),
    Case("q4_0", dict(ROUND, tie_word_embeddings=True), stored="q4_0", data="text"),
    *(Case(f"mix {mix}", dict(dim=256, ffn=256, layers=layers), stored=mix, data="text", steps=8,
           train=dict(learning_rate=1e-2))
      for mix, layers in (("q4_k_m", 2), ("q5_k_m", 1), ("q2_k", 1), ("iq4", 1), ("of 32", 1))),
    Case("q8_0 and f16 mixed", dict(dim=64, ffn=172), stored="q8_0", data="prompts"),
    Case("nf4", dict(dim=96, ffn=260, head_dim=20), quantize="nf4", data="text"),
    Case("nf4 of f16, odd blocks", dict(dim=44, ffn=100, head_dim=12), stored="f16", quantize="nf4",
         data="text"),
    Case("requantized to q8_0", dict(ROUND), stored="bf16", quantize="q8_0", data="text"),
    Case("requantized to q4_0", dict(ROUND), quantize="q4_0", data="prompts"),
    Case("requantized to q5_1", dict(ROUND), quantize="q5_1", data="text"),
    Case("requantized to q6_k", dict(dim=256, ffn=512), stored="f16", quantize="q6_k", data="text"),
]


class Result:
    """One case worked out on both sides."""

    def __init__(self, case, seed, folder):
        self.case, self.folder = case, folder
        self.model = llamas.random_llama(seed, **case.shape)
        file = self.folder / "model.gguf"
        weights = llamas.write(file, self.model, vocabularies.bytes_alone, case.stored)
        if case.quantize:
            weights = llamas.requantize(self.model.config, weights, case.quantize)
        llamas.load_weights(self.model, weights)
        self.weights = weights
        self.made = self.make_adapter(seed)
        self.train = {"learning_rate": 3e-3, **case.train}
        self.sequences = [[1, 5, 77, 130, 200, 9], [40], list(range(3, 203))]
        self.inlay = driver.run(
            self.folder / "out", model=file, adapter=self.folder / "made",
            quantize=case.quantize, steps=case.steps,
            train={"seed": seed, **self.train}, data=corpus.make(self.folder, case.data, seed),
            max_length=case.max_length, no_packing=case.no_packing, sequences=self.sequences)

    def make_adapter(self, seed):
        """PEFT's own, with B drawn too: zeros would hide A's gradients."""
        torch.manual_seed(seed)
        config = LoraConfig(**{"target_modules": "all-linear", "r": 8, "lora_alpha": 16,
                               **self.case.lora})
        model = get_peft_model(self.fresh_model(), config)
        with torch.no_grad():
            for name, p in reference.named(model).items():
                if "lora_B" in name:
                    p.normal_(0.0, 0.1)
        model.save_pretrained(self.folder / "made")
        return {name: p.detach().clone() for name, p in reference.named(model).items()}

    def fresh_model(self):
        model = type(self.model)(self.model.config).eval()
        llamas.load_weights(model, self.weights)
        return model

    def peft(self, name, trainable=False):
        return reference.load_adapter(self.fresh_model(), self.inlay.folder / name, trainable)


@pytest.fixture(params=range(len(CASES)), ids=[c.name for c in CASES], scope="module")
def result(request, tmp_path_factory):
    return Result(CASES[request.param], 100 + request.param, tmp_path_factory.mktemp("case"))


def test_adapter_passes_through(result):
    got = result.inlay.tensors("initial")
    assert got.keys() == result.made.keys()
    for name, tensor in got.items():
        assert torch.equal(tensor, result.made[name]), name


def test_gradients(result):
    compare.gradients(result.case.name, result.inlay, result.peft("initial", trainable=True),
                      result.train.get("batch_size", 1))


def test_losses(result):
    compare.training(result.case.name, result.inlay.report["steps"], result.inlay.report,
                     result.peft("initial", trainable=True), result.train)


def test_trained_adapter(result):
    compare.logits(result.case.name, result.inlay.logits(), result.peft("trained"),
                   result.sequences)
