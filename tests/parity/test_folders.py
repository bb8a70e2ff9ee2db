# SPDX-License-Identifier: MIT
"""The forms in which the same model comes as a folder: half floats, the options as transformers 4
spelled them, a language model inside one that sees. test_architectures.py has the form that
transformers saves now."""
import json

import compare
import driver
import measured
import pytest
import reference
import torch
import transformers
import vocabularies
from safetensors.torch import load_file, save_file
from test_architectures import CASES, Case, random_model

BOUND = 1e-5
KINDS = {"f16": torch.float16, "bf16": torch.bfloat16}
BY_NAME = {case.name: (i, case) for i, case in enumerate(CASES)}


def saved(name, folder, dtype=torch.float32):
    seed, case = BY_NAME[name]
    model = random_model(case, 300 + seed).to(dtype)
    model.save_pretrained(folder)
    vocabularies.bytes_alone_folder(folder, model.config.vocab_size)
    return case


def logits(folder, out, case):
    return driver.run(out, model=folder, sequences=[list(s) for s in case.sequences]).logits()


def settings_of(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "gemma3", "phi3"])
def test_half(tmp_path, name, kind):
    case = saved(name, tmp_path / "saved", KINDS[kind])
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "saved", dtype=torch.float32, attn_implementation="eager").eval()
    want = reference.logits(model, [list(s) for s in case.sequences])
    for mine, theirs in zip(logits(tmp_path / "saved", tmp_path / "out", case), want, strict=True):
        measured.note(f"{name}, {kind}", "logits", compare.relative(mine, theirs))
    assert measured.ROWS[f"{name}, {kind}"]["logits"] < BOUND


def older(settings):
    """As transformers 4 wrote it."""
    rope = settings.pop("rope_parameters")
    if "sliding_attention" in rope:
        settings["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        settings["sliding_window_pattern"] = settings.pop("_sliding_window_pattern", 6)
        settings.pop("layer_types")
        rope = rope["full_attention"]
    settings["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        settings["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    settings["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    if rope["rope_type"] in ("linear", "longrope"):
        rope["type"] = rope.pop("rope_type")
    settings["torch_dtype"] = settings.pop("dtype")
    return settings


@pytest.mark.parametrize("name", ["llama", "llama, yarn", "mistral", "qwen3, linear", "gemma3",
                                  "phi4, longrope, long"])
def test_older_spelling(tmp_path, name):
    case = saved(name, tmp_path / "saved")
    want = logits(tmp_path / "saved", tmp_path / "new", case)
    settings = older(settings_of(tmp_path / "saved"))
    (tmp_path / "saved/config.json").write_text(json.dumps(settings))
    for mine, theirs in zip(logits(tmp_path / "saved", tmp_path / "old", case), want, strict=True):
        assert torch.equal(mine, theirs)


OPTIONS = [
    ("Qwen2", dict(use_sliding_window=True, sliding_window=5, max_window_layers=1)),
    ("Qwen3", dict(use_sliding_window=True, sliding_window=5, attention_bias=True,
                   layer_types=["full_attention", "sliding_attention", "full_attention"])),
    ("Llama", dict(attention_bias=True, mlp_bias=True, num_key_value_heads=4,
                   rope_parameters={"rope_type": "yarn", "rope_theta": 500.0, "factor": 8.0,
                                    "original_max_position_embeddings": 32, "beta_fast": 20.0,
                                    "beta_slow": 2.0, "mscale": 0.7, "mscale_all_dim": 0.5})),
    ("Llama", dict(rope_parameters={"rope_type": "yarn", "rope_theta": 500.0, "factor": 8.0,
                                    "original_max_position_embeddings": 32,
                                    "attention_factor": 1.5})),
    ("Mistral", dict(sliding_window=None)),
    ("Gemma2", dict(sliding_window=6, attn_logit_softcapping=None, final_logit_softcapping=None,
                    layer_types=["full_attention", "sliding_attention", "sliding_attention"])),
    ("Gemma3", dict(sliding_window=6, final_logit_softcapping=4.0, rope_parameters={
        "full_attention": {"rope_type": "default", "rope_theta": 5e5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 700.0}},
        layer_types=["sliding_attention", "full_attention", "sliding_attention"])),
    ("SmolLM3", dict(no_rope_layers=[1, 0, 1])),
    ("SmolLM3", dict(no_rope_layers=[1, 1, 1], use_sliding_window=True, sliding_window=7,
                     layer_types=["full_attention", "sliding_attention", "full_attention"])),
]


@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_options(tmp_path, number):
    """What no GGUF file says, or says otherwise."""
    model, more = OPTIONS[number]
    case = Case(f"{model}, options {number}", model, dict(num_hidden_layers=3, **more))
    made = random_model(case, 700 + number)
    made.save_pretrained(tmp_path / "saved")
    vocabularies.bytes_alone_folder(tmp_path / "saved", made.config.vocab_size)
    want = reference.logits(made, [list(s) for s in case.sequences])
    for mine, theirs in zip(logits(tmp_path / "saved", tmp_path / "out", case), want, strict=True):
        measured.note(case.name, "logits", compare.relative(mine, theirs))
    assert measured.ROWS[case.name]["logits"] < BOUND


@pytest.mark.parametrize("names", [("model.language_model.", "model.vision_tower."),
                                   ("language_model.model.", "vision_tower.")], ids=["5", "4"])
def test_model_that_sees(tmp_path, names):
    """A Gemma 3 with a picture's part, whose tensors are let lie."""
    case = saved("gemma3", tmp_path / "saved")
    want = logits(tmp_path / "saved", tmp_path / "new", case)
    file = tmp_path / "saved/model.safetensors"
    tensors = {name.replace("model.", names[0], 1): t for name, t in load_file(file).items()}
    tensors[names[1] + "encoder.weight"] = torch.zeros(3, 5, 2, 2, 1)
    save_file(tensors, file)
    text = settings_of(tmp_path / "saved")
    (tmp_path / "saved/config.json").write_text(json.dumps(
        {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
         "text_config": text, "vision_config": {"hidden_size": 5}}))
    for mine, theirs in zip(logits(tmp_path / "saved", tmp_path / "sees", case), want, strict=True):
        assert torch.equal(mine, theirs)


def test_class_not_named(tmp_path):
    """Where `architectures` lacks, `model_type` says what it is."""
    case = saved("qwen2", tmp_path / "saved")
    want = logits(tmp_path / "saved", tmp_path / "new", case)
    settings = settings_of(tmp_path / "saved")
    del settings["architectures"]
    (tmp_path / "saved/config.json").write_text(json.dumps(settings))
    assert torch.equal(logits(tmp_path / "saved", tmp_path / "out", case)[0], want[0])
