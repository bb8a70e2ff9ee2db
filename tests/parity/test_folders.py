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
    ("Llama", dict(rope_parameters={"rope_type": "default", "rope_theta": 1e4,
                                    "partial_rotary_factor": 0.5})),
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


def changed(folder, **keys):
    """Keys of config.json set; None: taken away."""
    settings = settings_of(folder)
    for key, value in keys.items():
        settings.pop(key, None)
        if value is not None:
            settings[key] = value
    (folder / "config.json").write_text(json.dumps(settings))


# What each class makes of the keys about windows, with sequences that are longer.
WINDOWS = [
    ("Llama", dict(sliding_window=8)),
    ("Gemma", dict(sliding_window=8)),
    ("Llama", dict(sliding_window=8, use_sliding_window=True,
                   layer_types=["sliding_attention"] * 5)),
    ("Mistral", dict(sliding_window=8, use_sliding_window=False, max_window_layers=3)),
    ("Mistral", dict(sliding_window=8, layer_types=["full_attention"] * 5)),
    ("Phi3", dict(sliding_window=8, use_sliding_window=False)),
    ("Phi3", dict(sliding_window=8, layer_types=["full_attention"] * 5)),
    ("Qwen2", dict(sliding_window=8, use_sliding_window=False, max_window_layers=0)),
    ("Qwen2", dict(sliding_window=8, use_sliding_window=True, max_window_layers=2,
                   layer_types=None)),
    ("Qwen3", dict(sliding_window=8, use_sliding_window=True, max_window_layers=3,
                   layer_types=["sliding_attention"] * 2 + ["full_attention"] * 3)),
    ("Qwen3", dict(sliding_window=8, use_sliding_window=True, layer_types=None)),
    ("Qwen3Moe", dict(sliding_window=8, use_sliding_window=True, max_window_layers=3)),
    ("Qwen3Moe", dict(sliding_window=8, use_sliding_window=True,
                      layer_types=["full_attention"] * 5)),
    ("Gemma2", dict(sliding_window=8, layer_types=None)),
    ("Gemma2", dict(sliding_window=8, sliding_window_pattern=3, layer_types=None)),
    ("Gemma3", dict(sliding_window=8, sliding_window_pattern=3, layer_types=None)),
    ("Gemma3", dict(sliding_window=8, _sliding_window_pattern=3, layer_types=None)),
    ("SmolLM3", dict(sliding_window=8, use_sliding_window=True, layer_types=None)),
    ("SmolLM3", dict(sliding_window=8, use_sliding_window=True, layer_types=None,
                     no_rope_layers=None, no_rope_layer_interval=2)),
    ("SmolLM3", dict(sliding_window=8, use_sliding_window=False, layer_types=None)),
    ("SmolLM3", dict(sliding_window=8, use_sliding_window=False,
                     layer_types=["sliding_attention", "full_attention"] * 2
                     + ["sliding_attention"])),
]


@pytest.mark.parametrize("number", range(len(WINDOWS)))
def test_windows(tmp_path, number):
    model, keys = WINDOWS[number]
    sizes = dict(num_hidden_layers=5)
    if model == "Qwen3Moe":
        sizes.update(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=24)
    made = random_model(Case("", model, sizes), 800 + number)
    made.save_pretrained(tmp_path / "saved")
    vocabularies.bytes_alone_folder(tmp_path / "saved", made.config.vocab_size)
    changed(tmp_path / "saved", **keys)
    read = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "saved", dtype=torch.float32, attn_implementation="eager").eval()
    case = Case(f"{model}, windows {number}", model)
    want = reference.logits(read, [list(s) for s in case.sequences])
    for mine, theirs in zip(logits(tmp_path / "saved", tmp_path / "out", case), want, strict=True):
        measured.note(case.name, "logits", compare.relative(mine, theirs))
    assert measured.ROWS[case.name]["logits"] < BOUND


@pytest.mark.parametrize("name", ["qwen2", "gemma3"])
def test_saved_without_its_head(tmp_path, name):
    """By AutoModel: tensors without a prefix, another class; the head is the embedding's."""
    case = saved(name, tmp_path / "saved")
    want = logits(tmp_path / "saved", tmp_path / "new", case)
    transformers.AutoModel.from_pretrained(tmp_path / "saved").save_pretrained(tmp_path / "bare")
    names = load_file(tmp_path / "bare/model.safetensors")
    assert "embed_tokens.weight" in names and "lm_head.weight" not in names
    vocabularies.bytes_alone_folder(tmp_path / "bare", 262)
    for architectures in settings_of(tmp_path / "bare")["architectures"], None, [
            settings_of(tmp_path / "saved")["architectures"][0]]:
        changed(tmp_path / "bare", architectures=architectures)
        got = logits(tmp_path / "bare", tmp_path / "out", case)
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(got, want, strict=True))
