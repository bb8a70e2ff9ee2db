# SPDX-License-Identifier: MIT
"""Adapters of a language model that is a part of a multimodal one: transformers' own Gemma 3 with a
vision tower, as a folder and as the GGUF file of its text model."""
import json
import subprocess
import warnings

import compare
import corpus
import driver
import measured
import pytest
import reference
import to_gguf
import torch
import transformers
import vocabularies
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

BOUND = 1e-5
SEQUENCES = [[1, 5, 77, 130, 200, 9], list(range(3, 60))]
TEXT = dict(hidden_size=48, intermediate_size=76, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, head_dim=16, vocab_size=262, max_position_embeddings=256,
            sliding_window=9, query_pre_attn_scalar=16, bos_token_id=1, eos_token_id=2,
            pad_token_id=0, layer_types=["sliding_attention"] * 3,
            rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0,
                                                "rope_theta": 1e6},
                             "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}})
VISION = dict(hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
              image_size=28, patch_size=14)
TOWER = "model.vision_tower."
PATTERNS = dict(rank_pattern={"language_model.layers.1.self_attn.q_proj": 5, "down_proj": 2},
                alpha_pattern={r"model\.language_model\.layers\.[02]\..*v_proj": 3})


def multimodal(seed):
    config = transformers.Gemma3Config(
        text_config=TEXT, vision_config=VISION, mm_tokens_per_image=4, image_token_index=261,
        boi_token_index=259, eoi_token_index=260, tie_word_embeddings=True)
    config._attn_implementation = "eager"
    model = transformers.Gemma3ForConditionalGeneration(config).to(torch.float32).eval()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=rng)
            p.copy_(0.2 * noise if p.dim() == 1 else
                    0.3 * noise if "embed" in name else noise * 1.2 / p.shape[1] ** 0.5)
    return model


class World:
    def __init__(self, folder):
        self.made, self.bases = folder, {"folder": folder / "saved", "gguf": folder / "text.gguf"}
        self.model = multimodal(11)
        self.model.save_pretrained(self.bases["folder"])
        vocabularies.bytes_alone_folder(self.bases["folder"], TEXT["vocab_size"])
        text = transformers.Gemma3ForCausalLM(self.model.config.text_config).eval()
        text.model.load_state_dict(self.model.model.language_model.state_dict())
        to_gguf.write(self.bases["gguf"], text, vocabularies.bytes_alone)
        self.data = corpus.make(folder, "text", 1)

    def fresh(self):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            self.bases["folder"], dtype=torch.float32, attn_implementation="eager")
        assert type(model) is type(self.model)
        return model.eval()

    def peft(self, name, seed=5, **more):
        """An adapter as PEFT draws and saves it, and its logits."""
        torch.manual_seed(seed)
        adapted = get_peft_model(self.fresh(), LoraConfig(
            r=3, lora_alpha=7, init_lora_weights=False, **more))
        adapted.save_pretrained(self.made / name)
        return self.made / name, reference.logits(adapted, SEQUENCES)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("multimodal"))


def ours(world, base, adapter, out):
    return driver.run(out, model=world.bases[base], adapter=adapter, sequences=SEQUENCES).logits()


def check(case, got, want, bound=BOUND):
    for mine, theirs in zip(got, want, strict=True):
        measured.note(case, "logits", compare.relative(mine, theirs))
    assert measured.ROWS[case]["logits"] < bound


def load_in_peft(world, folder):
    """Every tensor of the file goes somewhere, and nothing else waits for one."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        adapted = PeftModel.from_pretrained(world.fresh(), folder)
    assert not [w for w in said if "adapter keys" in str(w.message)]
    parts = {name for name in adapted.state_dict() if ".lora_A." in name}
    assert len(parts) == sum(".lora_A." in name for name
                             in load_file(folder / "adapter_model.safetensors"))
    assert not any("vision" in name for name in parts)
    return adapted


def trained(world, name, targets, base="folder"):
    out = world.made / name
    driver.command("train", "-m", world.bases[base], "-d", world.data, "-o", out, "--max-steps", 2,
                   "--lora-r", 4, "--learning-rate", 2e-2, "--lora-target-modules", targets)
    return out


@pytest.mark.parametrize("targets", ["q_proj,v_proj", "all-linear",
                                     r".*language_model.*\.q_proj"])
def test_peft_loads_ours(world, tmp_path, targets):
    adapter = trained(world, f"ours-{len(targets)}", targets)
    names = load_file(adapter / "adapter_model.safetensors")
    assert all(n.startswith("base_model.model.model.language_model.layers.") for n in names)
    assert len(names) == 2 * 3 * (7 if targets == "all-linear" else targets.count("_proj"))
    got = ours(world, "folder", adapter, tmp_path / "out")
    check(f"ours, {targets}", got, reference.logits(load_in_peft(world, adapter), SEQUENCES))
    assert compare.relative(got[0], reference.logits(world.model, SEQUENCES)[0]) > 0.01


def test_patterns_of_ours(world, tmp_path):
    """A sum's ranks differ from module to module: PEFT finds them under the names it has."""
    adapters = [trained(world, "sum-1", "q_proj,v_proj"), trained(world, "sum-2", "q_proj,o_proj")]
    out = tmp_path / "sum"
    driver.command("convert", "-m", world.bases["folder"], "-o", out,
                   *(word for a in adapters for word in ("-a", f"{a}:0.7")))
    assert json.loads((out / "adapter_config.json").read_text())["rank_pattern"]
    check("ours, a sum", ours(world, "folder", out, tmp_path / "out"),
          reference.logits(load_in_peft(world, out), SEQUENCES))


def respelled(folder, out):
    """As PEFT saved it with transformers before 4.52."""
    out.mkdir()
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({n.replace("model.model.language_model.", "model.language_model.model."): t
               for n, t in tensors.items()}, out / "adapter_model.safetensors")
    config = (folder / "adapter_config.json").read_text()
    (out / "adapter_config.json").write_text(
        config.replace("language_model.layers.1", "language_model.model.layers.1")
        .replace(r"model\\.language_model\\.layers", r"language_model\\.model\\.layers"))
    return out


@pytest.fixture(scope="module")
def theirs(world):
    adapter, want = world.peft("theirs", target_modules="all-linear",
                               exclude_modules=r".*vision_tower.*|lm_head", **PATTERNS)
    return {"now": adapter, "before": respelled(adapter, world.made / "theirs-before")}, want


@pytest.mark.parametrize("spelling", ["now", "before"])
@pytest.mark.parametrize("base", ["folder", "gguf"])
def test_we_load_theirs(world, theirs, tmp_path, base, spelling):
    check(f"PEFT's, {base}", ours(world, base, theirs[0][spelling], tmp_path / "out"), theirs[1])


@pytest.mark.parametrize("base", ["folder", "gguf"])
def test_converted(world, theirs, tmp_path, base):
    """To what llama.cpp loads and back to PEFT's names, from either base."""
    files = [tmp_path / f"{s}.gguf" for s in theirs[0]]
    for file, adapter in zip(files, theirs[0].values()):
        driver.command("convert", "-m", world.bases[base], "-a", adapter, "-o", file)
    assert files[0].read_bytes() == files[1].read_bytes()
    driver.command("convert", "-m", world.bases["folder"], "-a", files[0], "-o", tmp_path / "back")
    check("converted and back", reference.logits(load_in_peft(world, tmp_path / "back"), SEQUENCES),
          theirs[1])


def test_merged(world, theirs, tmp_path):
    driver.command("merge", "-m", world.bases["folder"], "-a", theirs[0]["now"], "-o",
                   tmp_path / "merged")
    merged = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "merged", dtype=torch.float32, attn_implementation="eager").eval()
    check("merged", reference.logits(merged, SEQUENCES), theirs[1])
    tower, before = (load_file(folder / "model.safetensors")
                     for folder in (tmp_path / "merged", world.bases["folder"]))
    assert tower.keys() == before.keys()
    assert all(torch.equal(tower[n], before[n]) for n in before if n.startswith(TOWER))


def test_merged_into_gguf(world, theirs, tmp_path):
    driver.command("merge", "-m", world.bases["gguf"], "-a", theirs[0]["before"], "-o",
                   tmp_path / "merged.gguf")
    got = driver.run(tmp_path / "out", model=tmp_path / "merged.gguf", sequences=SEQUENCES).logits()
    check("merged into GGUF", got, theirs[1])


def test_base_without_its_vision_part(world):
    done = subprocess.run([f"{driver.BUILD}/tools/inlay", "info", world.bases["folder"]],
                          capture_output=True, text=True)
    count = sum("vision_tower" in n or "multi_modal" in n
                for n in load_file(world.bases["folder"] / "model.safetensors"))
    assert f"{count} tensors of a vision part are left out" in done.stderr


def test_vision_part_is_said(world, tmp_path):
    """target_modules of names alone reach the tower too; text does not go through it."""
    adapter, want = world.peft("wide", target_modules=["q_proj", "v_proj"])
    count = sum("vision_tower" in n for n in load_file(adapter / "adapter_model.safetensors"))
    assert count == 2 * 2 * 2
    for base in world.bases.values():
        done = subprocess.run([f"{driver.BUILD}/tools/inlay", "convert", "-m", base, "-a", adapter,
                               "-o", tmp_path / "wide.gguf"], capture_output=True, text=True)
        assert done.returncode == 0
        assert f"{count} tensors of a vision part are left out" in done.stderr
    check("wide", ours(world, "folder", adapter, tmp_path / "out"), want)
    only, _ = world.peft("tower", target_modules=r".*vision_tower.*q_proj")
    done = subprocess.run([f"{driver.BUILD}/tools/inlay", "convert", "-m", world.bases["folder"],
                           "-a", only, "-o", tmp_path / "none.gguf"], capture_output=True,
                          text=True)
    assert done.returncode == 2 and "no tensors but those of a vision part" in done.stderr


def test_head_of_ours(world, tmp_path):
    """A head of its own, where it shared the embedding's matrix: adapted and merged."""
    adapter = trained(world, "head", "lm_head,q_proj")
    got = ours(world, "folder", adapter, tmp_path / "out")
    check("head", got, reference.logits(load_in_peft(world, adapter), SEQUENCES))
    driver.command("merge", "-m", world.bases["folder"], "-a", adapter, "-o", tmp_path / "merged")
    check("head, merged", driver.run(tmp_path / "read", model=tmp_path / "merged",
                                     sequences=SEQUENCES).logits(), got)
    merged = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "merged", dtype=torch.float32, attn_implementation="eager").eval()
    check("head, merged", reference.logits(merged, SEQUENCES), got)
