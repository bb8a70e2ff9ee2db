# SPDX-License-Identifier: MIT
"""Training with dropout against PEFT: its dropout layers get inlay's random numbers, so that where
they stand in LoRA and in DoRA is compared, and not by averages."""
import compare
import corpus
import driver
import llamas
import numpy as np
import pytest
import reference
import torch
import vocabularies
from peft import LoraConfig, get_peft_model

STEPS, SEED, RATE = 12, 11, 0.2
ROLES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
STEP_STREAM = 0x64726F70  # of the seeds of steps


def mixed(x):
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def random_u32(seed, stream, counter):
    """runtime/base/rng.h, over an array of counters."""
    with np.errstate(over="ignore"):
        counter = np.atleast_1d(np.asarray(counter, dtype=np.uint32))
        state = mixed(np.array([seed], dtype=np.uint32) ^ np.uint32(0x9E3779B9))
        return mixed(mixed(state + np.uint32(stream)) + counter)


class Dropout(torch.nn.Module):
    """Each call is the next step; a row is a token's place in the only sequence of its row."""

    def __init__(self, seed, stream):
        super().__init__()
        self.seed, self.stream, self.calls = seed, stream, 0

    def forward(self, x):
        assert x.shape[0] == 1
        seed = random_u32(self.seed, STEP_STREAM, self.calls)[0]
        self.calls += 1
        bits = random_u32(seed, self.stream, np.arange(x[0].numel())) >> np.uint32(8)
        dropped = bits.astype(np.float32) * np.float32(2.0**-24) < np.float32(RATE)
        mask = np.where(dropped, np.float32(0.0), np.float32(1.0) / np.float32(1.0 - RATE))
        return x * torch.from_numpy(mask).view_as(x[0])


def with_masks(model, seed):
    layers = {name.split("base_model.model.")[1]: module for name, module in model.named_modules()
              if hasattr(module, "lora_dropout")}
    for name, module in layers.items():
        parts = name.split(".")
        stream = int(parts[2]) * len(ROLES) + ROLES.index(parts[-1])
        module.lora_dropout["default"] = Dropout(seed, stream)
    assert layers
    return model.train()


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_dropout(dora, tmp_path):
    case = "dora with dropout" if dora else "lora with dropout"
    model = llamas.random_llama(77, attention_bias=True)
    weights = llamas.write(tmp_path / "model.gguf", model, vocabularies.bytes_alone)
    torch.manual_seed(5)
    made = get_peft_model(model, LoraConfig(r=4, lora_alpha=9, lora_dropout=RATE, use_dora=dora,
                                            target_modules=["q_proj", "v_proj", "o_proj", "up_proj",
                                                            "down_proj"]))
    with torch.no_grad():
        for name, p in reference.named(made).items():
            if "lora_B" in name:
                p.normal_(0.0, 0.1)
    made.save_pretrained(tmp_path / "made")
    train = {"learning_rate": 2e-3}
    inlay = driver.run(tmp_path / "out", model=tmp_path / "model.gguf", adapter=tmp_path / "made",
                       steps=STEPS, train={"seed": SEED, **train}, max_length=61, no_packing=True,
                       data=corpus.make(tmp_path, "text", 3), sequences=[[1, 5, 77]])

    def fresh():
        base = type(model)(model.config).eval()
        llamas.load_weights(base, weights)
        return reference.load_adapter(base, inlay.folder / "initial", trainable=True)

    assert all(len(set(row["starts"])) == 1 for row in inlay.report["rows"])
    compare.gradients(case, inlay, with_masks(fresh(), 0), 1)
    compare.training(case, inlay.report["steps"], inlay.report, with_masks(fresh(), SEED), train)
