# SPDX-License-Identifier: MIT
"""Every architecture, from a GGUF file and from the folder that transformers saves: logits,
gradients and greedy text against transformers.

The models are tiny and random, but with what tells the architecture from others: odd numbers of
heads, head sizes of their own, windows shorter than the sequences, each kind of layer.
"""
import dataclasses
import json
import re

import compare
import corpus
import driver
import experts
import measured
import pytest
import reference
import to_gguf
import torch
import transformers
import vocabularies
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

PROMPT = "ore lamp"
BOUND = 1e-5  # of a tensor's norm
SEQUENCES = [[1, 5, 77, 130, 200, 9], [40], list(range(3, 103))]
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0,
        "original_max_position_embeddings": 32}
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 64,
            "short_factor": [1.0, 1.1, 1.3, 1.2, 1.4, 1.7], "long_factor": [1.0, 2, 3, 5, 9, 17]}
LOCAL = {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}


def flags(letters, marked):
    return [letter == marked for letter in letters]


def kinds(letters):
    return [{"F": "full_attention", "S": "sliding_attention"}[letter] for letter in letters]


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    model: str  # of transformers' classes
    more: dict = dataclasses.field(default_factory=dict)
    extra: tuple = ()  # metadata that llama.cpp's converter does not write
    targets: object = "all-linear"
    dora: bool = False
    sequences: tuple = tuple(map(tuple, SEQUENCES))
    router: bool = False  # of a mixture of experts: adapted too


CASES = [
    Case("llama", "Llama", dict(rope_parameters=LLAMA3, head_dim=20, num_attention_heads=3,
                                num_key_value_heads=1)),
    Case("llama, yarn", "Llama", dict(rope_parameters=YARN)),
    Case("mistral", "Mistral", dict(sliding_window=7, head_dim=16),
         extra=(("attention.sliding_window", 7),)),
    Case("qwen2", "Qwen2", dict(hidden_size=60, num_attention_heads=5, num_key_value_heads=1,
                                tie_word_embeddings=True)),
    Case("qwen3", "Qwen3", dict(head_dim=20, num_attention_heads=3, num_key_value_heads=3)),
    Case("qwen3, linear", "Qwen3", dict(head_dim=16, rope_parameters={
        "rope_type": "linear", "rope_theta": 5000.0, "factor": 3.0})),
    Case("gemma", "Gemma", dict(head_dim=20, num_attention_heads=3, num_key_value_heads=1)),
    Case("gemma2", "Gemma2", dict(head_dim=16, sliding_window=9, query_pre_attn_scalar=16,
                                  num_hidden_layers=3, attn_logit_softcapping=3.0,
                                  final_logit_softcapping=5.0)),
    Case("gemma2, its own query scale", "Gemma2",
         dict(head_dim=12, sliding_window=5, query_pre_attn_scalar=40, num_hidden_layers=2),
         extra=(("attention.scale", 40.0 ** -0.5),)),
    Case("gemma3", "Gemma3", dict(head_dim=20, sliding_window=9, query_pre_attn_scalar=20,
                                  num_hidden_layers=7, num_attention_heads=3,
                                  num_key_value_heads=1, rope_parameters={
                                      "full_attention": {"rope_type": "linear", "factor": 8.0,
                                                         "rope_theta": 1000000.0}, **LOCAL})),
    Case("phi3", "Phi3", dict(sliding_window=11, num_attention_heads=3, num_key_value_heads=1)),
    Case("phi4, longrope, short", "Phi3",
         dict(rope_parameters=LONGROPE, original_max_position_embeddings=64),
         sequences=((1, 5, 77, 130, 200, 9), tuple(range(3, 60)))),
    Case("phi4, longrope, long", "Phi3",
         dict(rope_parameters=LONGROPE, original_max_position_embeddings=64),
         sequences=(tuple(range(3, 103)),)),
    Case("qwen3moe", "Qwen3Moe", dict(head_dim=20, num_attention_heads=3, num_key_value_heads=1,
                                      num_experts=6, num_experts_per_tok=2, norm_topk_prob=True,
                                      moe_intermediate_size=44)),
    Case("qwen3moe, plain weights", "Qwen3Moe",
         dict(head_dim=16, num_experts=5, num_experts_per_tok=1, norm_topk_prob=False,
              moe_intermediate_size=40, num_hidden_layers=3),
         extra=(("expert_weights_norm", False),), router=True),
    Case("qwen3moe, all experts", "Qwen3Moe",
         dict(head_dim=16, num_experts=3, num_experts_per_tok=3, norm_topk_prob=True,
              moe_intermediate_size=24)),
    Case("qwen2, dora", "Qwen2", dict(hidden_size=60, num_attention_heads=5,
                                      num_key_value_heads=1), dora=True),
    Case("qwen3, dora", "Qwen3", dict(head_dim=20, num_attention_heads=3, num_key_value_heads=3),
         dora=True),
    Case("gemma2, dora", "Gemma2", dict(head_dim=16, sliding_window=9, query_pre_attn_scalar=16,
                                        attn_logit_softcapping=3.0, final_logit_softcapping=5.0),
         dora=True),
    Case("phi3, dora", "Phi3", dict(sliding_window=11, num_attention_heads=3,
                                    num_key_value_heads=1), dora=True),
    Case("smollm3", "SmolLM3", dict(num_hidden_layers=5, num_attention_heads=3,
                                    num_key_value_heads=1, tie_word_embeddings=True)),
    # Layers that differ without a period.
    Case("gemma3, layers of its own", "Gemma3",
         dict(head_dim=20, sliding_window=9, query_pre_attn_scalar=20, num_hidden_layers=5,
              num_attention_heads=3, num_key_value_heads=1, layer_types=kinds("FSSFS"),
              rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 1e6},
                               **LOCAL}),
         extra=(("attention.sliding_window_pattern", flags("FSSFS", "S")),)),
    Case("qwen2, layers of its own", "Qwen2",
         dict(num_hidden_layers=4, sliding_window=7, use_sliding_window=True,
              layer_types=kinds("SFFS")),
         extra=(("attention.sliding_window", 7),
                ("attention.sliding_window_pattern", flags("SFFS", "S")))),
    Case("qwen3, layers of its own", "Qwen3",
         dict(head_dim=16, num_hidden_layers=4, sliding_window=6, use_sliding_window=True,
              layer_types=kinds("FSFF")),
         extra=(("attention.sliding_window", 6),
                ("attention.sliding_window_pattern", flags("FSFF", "S")))),
    Case("smollm3, layers of its own", "SmolLM3",
         dict(num_hidden_layers=5, sliding_window=8, use_sliding_window=True,
              no_rope_layers=[0, 1, 1, 0, 1], layer_types=kinds("FSFSS")),
         extra=(("rope.layers", flags("01101", "1")), ("attention.sliding_window", 8),
                ("attention.sliding_window_pattern", flags("FSFSS", "S")))),
    Case("qwen3moe, dense layers", "Qwen3Moe",
         dict(head_dim=16, num_experts=4, num_experts_per_tok=2, norm_topk_prob=True,
              moe_intermediate_size=28, num_hidden_layers=4, mlp_only_layers=[0, 2]),
         router=True),
    Case("qwen3moe, every second", "Qwen3Moe",
         dict(head_dim=16, num_experts=4, num_experts_per_tok=2, norm_topk_prob=True,
              moe_intermediate_size=28, num_hidden_layers=4, mlp_only_layers=[3],
              decoder_sparse_step=2, sliding_window=9, use_sliding_window=True),
         extra=(("attention.sliding_window", 9),)),
]


def random_model(case, seed):
    dim = case.more.get("num_attention_heads", 4) * (14 if "head_dim" in case.more else 16)
    sizes = dict(hidden_size=dim, intermediate_size=76,
                 num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=262,
                 max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
                 attn_implementation="eager", tie_word_embeddings=case.model.startswith("Gemma"))
    prefix = case.model + ("Text" if case.model == "Gemma3" else "")
    config = getattr(transformers, prefix + "Config")(**{**sizes, **case.more})
    config._experts_implementation = "eager"  # others want sizes that are multiples of 4
    model = getattr(transformers, case.model + "ForCausalLM")(config).to(torch.float32).eval()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng)
            if "norm" in name:  # Gemma's are without their 1
                p.copy_((0.0 if case.model.startswith("Gemma") else 1.0) + 0.2 * noise)
            elif name.endswith("bias"):
                p.copy_(0.2 * noise)
            elif "embed_tokens" in name:
                p.copy_(noise * (0.3 if config.tie_word_embeddings else 1.0))
            else:
                p.copy_(noise * 1.2 / p.shape[1] ** 0.5)
    return model


def make_adapter(model, case, seed, folder):
    """PEFT's own, with B drawn too: zeros would hide A's gradients."""
    torch.manual_seed(seed)
    adapted = get_peft_model(model, LoraConfig(r=3, lora_alpha=7, target_modules=case.targets,
                                               use_dora=case.dora))
    with torch.no_grad():
        for name, p in reference.named(adapted).items():
            if "lora_B" in name:
                p.normal_(0.0, 0.1)
    adapted.save_pretrained(folder)
    return adapted


def adapt(case, model, seed, folder):
    if not hasattr(model.config, "num_experts"):
        return make_adapter(model, case, seed, folder)
    experts.write(folder, model.config, 3, 7, seed, case.router)
    return experts.load(model, folder)


class Result:
    def __init__(self, case, seed, folder):
        self.case = case
        self.model = random_model(case, seed)
        self.file = folder / "model.gguf"
        to_gguf.write(self.file, self.model, vocabularies.bytes_alone, case.extra)
        self.text = self.greedy()
        self.sources = {"gguf": self.file, "folder": folder / "saved"}
        self.save(self.sources["folder"], "20KB" if seed % 2 else "1GB")
        self.adapted = adapt(case, self.model, seed, folder / "made")
        data = corpus.make(folder, "text", seed)
        self.runs = {kind: driver.run(folder / f"out-{kind}", model=source, data=data,
                                      adapter=folder / "made", steps=1, max_length=61,
                                      train={"seed": seed, "learning_rate": 1e-12},
                                      sequences=[list(s) for s in case.sequences])
                     for kind, source in self.sources.items()}

    def save(self, folder, shard):
        self.model.save_pretrained(folder, max_shard_size=shard)
        vocabularies.bytes_alone_folder(folder, self.model.config.vocab_size)

    @torch.no_grad()
    def greedy(self):
        ids = [1] + json.loads(driver.command("tokenize", "-m", self.file, "--json", stdin=PROMPT))
        first = len(ids)
        while len(ids) < first + 24:
            token = int(self.model(input_ids=torch.tensor([ids]), use_cache=False)
                        .logits[0, -1].argmax())
            if token == 2:
                break
            ids.append(token)
        pieces = [b"filler%d" % (i - 259) if i >= 259 else bytes([i - 3]) if i >= 3 else b""
                  for i in ids[first:]]
        return b"".join(pieces).decode("utf-8", "replace")


@pytest.fixture(params=range(len(CASES)), ids=[c.name for c in CASES], scope="module")
def result(request, tmp_path_factory):
    return Result(CASES[request.param], 300 + request.param, tmp_path_factory.mktemp("arch"))


@pytest.fixture(scope="module")
def wanted(result):
    """PyTorch's logits, and its gradients by PEFT's names."""
    case = result.case
    logits = reference.logits(result.adapted, [list(s) for s in case.sequences])
    result.adapted.train()
    gradients = reference.gradients(result.adapted, result.runs["gguf"].report["rows"][:1])
    if hasattr(result.model.config, "num_experts"):
        gradients = experts.unfused(gradients, result.model.config.num_experts)
    return logits, gradients


@pytest.mark.parametrize("source", ["gguf", "folder"])
def test_logits(result, wanted, source):
    name = f"{result.case.name}, {source}"
    for mine, theirs in zip(result.runs[source].logits(), wanted[0], strict=True):
        measured.note(name, "logits", compare.relative(mine, theirs))
    assert measured.ROWS[name]["logits"] < BOUND


@pytest.mark.parametrize("source", ["gguf", "folder"])
def test_gradients(result, wanted, source):
    want = wanted[1]
    assert result.runs[source].report["rows"] == result.runs["gguf"].report["rows"]
    got = result.runs[source].tensors("gradients")
    assert got.keys() == want.keys()
    errors = {name: compare.relative(got[name], w) for name, w in want.items()}
    measured.note(f"{result.case.name}, {source}", "gradient", max(errors.values()))
    zero = {name for name, w in want.items() if float(w.norm()) <= 1e-4}
    assert all(".experts." in name for name in zero)  # of one that no token went to
    assert len(zero) < len(want) / 4
    assert max(errors.values()) < BOUND, {n: e for n, e in errors.items() if e >= BOUND}


def one_mark(text):
    """How many marks stand for bytes that are no UTF-8 is test_command's business."""
    return re.sub("\ufffd+", "\ufffd", text)


@pytest.mark.parametrize("source", ["gguf", "folder"])
def test_greedy(result, source):
    got = driver.command("generate", "-m", result.sources[source], "-p", PROMPT, "-n", 24)
    assert one_mark(got) == one_mark(result.text + "\n") and result.text


def test_adapter_of_gguf(result, tmp_path):
    """What llama.cpp loads is the same whichever the base came from, and goes back to PEFT's."""
    adapter, files = result.sources["folder"].parent / "made", []
    for kind, source in result.sources.items():
        files.append(tmp_path / f"{kind}.gguf")
        words = "convert", "-m", source, "-a", adapter, "-o", files[-1]
        if result.case.dora:
            with pytest.raises(AssertionError, match="cannot hold DoRA"):
                driver.command(*words)
            return
        driver.command(*words)
    assert files[0].read_bytes() == files[1].read_bytes()
    driver.command("convert", "-m", result.sources["folder"], "-a", files[0], "-o",
                   tmp_path / "back")
    made, back = (load_file(folder / "adapter_model.safetensors")
                  for folder in (adapter, tmp_path / "back"))
    assert made.keys() == back.keys()
    assert all(torch.equal(made[name], back[name]) for name in made)
