# SPDX-License-Identifier: MIT
"""First values out of the base's weights: PiSSA and OLoRA against numpy and PEFT, and DoRA's.

PEFT takes B A away from W; inlay leaves W and adds a half that is frozen, as PEFT does when it
converts such an adapter to a plain one. Singular vectors and Q's columns have either sign.
"""
import dataclasses

import compare
import corpus
import driver
import llamas
import measured
import numpy as np
import pytest
import reference
import torch
import vocabularies
from peft import LoraConfig, get_peft_model

STEPS = 30
INIT = {True: 0, "gaussian": 1, "pissa": 2, "olora": 3}
BOUND = 1e-5  # of W's norm, or of a singular value's
SEQUENCES = [[1, 5, 77, 130, 200, 9], list(range(3, 103))]


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    init: object
    shape: dict = dataclasses.field(default_factory=dict)
    stored: str = "f32"
    quantize: str = None
    r: int = 5
    dora: bool = False
    rslora: bool = False
    train: dict = dataclasses.field(default_factory=dict)


# 168 by 300 is iterated on, smaller ones are taken as a whole.
CASES = [
    Case("pissa", "pissa", train=dict(weight_decay=0.1, batch_size=2, checkpointing=1)),
    Case("pissa, iterated", "pissa", dict(dim=168, ffn=300, layers=1, heads=6, kv_heads=2), r=8,
         rslora=True, train=dict(loraplus_lr_ratio=4.0)),
    Case("pissa with dora", "pissa", r=4, dora=True),
    Case("pissa on q8_0", "pissa", dict(dim=64, ffn=160), stored="q8_0", r=3),
    Case("olora", "olora", dict(dim=168, ffn=300, layers=1, heads=6, kv_heads=2), r=7),
    Case("olora on nf4, odd blocks", "olora", dict(dim=44, ffn=100, head_dim=12), quantize="nf4",
         r=3, train=dict(weight_decay=0.05)),
    Case("dora", True, dora=True),
]


class Result:
    def __init__(self, case, seed, folder):
        self.case, self.folder = case, folder
        model = llamas.random_llama(seed, **case.shape)
        file = folder / "model.gguf"
        weights = llamas.write(file, model, vocabularies.bytes_alone, case.stored)
        if case.quantize:
            weights = llamas.requantize(model.config, weights, case.quantize)
        self.base, self.weights = model, weights
        self.train = {"learning_rate": 1e-3, "max_grad_norm": 1.0, **case.train}
        self.inlay = driver.run(
            folder / "out", model=file, quantize=case.quantize, steps=STEPS,
            lora={"r": case.r, "alpha": 2 * case.r + 1, "init": INIT[case.init],
                  "dora": case.dora, "rslora": case.rslora, "targets": "all-linear", "seed": seed},
            train={"seed": seed, **self.train}, data=corpus.make(folder, "text", seed),
            max_length=61, sequences=SEQUENCES)
        self.scale = (2 * case.r + 1) / (case.r**0.5 if case.rslora else case.r)

    def fresh_model(self):
        model = type(self.base)(self.base.config).eval()
        llamas.load_weights(model, self.weights)
        return model

    def fresh_peft(self):
        config = LoraConfig(target_modules="all-linear", r=self.case.r,
                            lora_alpha=2 * self.case.r + 1, init_lora_weights=self.case.init,
                            use_dora=self.case.dora, use_rslora=self.case.rslora)
        return get_peft_model(self.fresh_model(), config)

    def modules(self):
        """name, its matrix, and A and B of it as inlay began."""
        tensors = self.inlay.tensors("initial")
        for name in tensors:
            if name.endswith(".lora_A.weight"):
                base = name.removesuffix(".lora_A.weight")
                yield (base, np.array(self.weights[base + ".weight"], dtype=np.float64),
                       tensors[name].double().numpy(),
                       tensors[base + ".lora_B.weight"].double().numpy())


@pytest.fixture(params=range(len(CASES)), ids=[c.name for c in CASES], scope="module")
def result(request, tmp_path_factory):
    return Result(CASES[request.param], 500 + request.param, tmp_path_factory.mktemp("init"))


def note(result, what, value):
    measured.note(result.case.name, what, value)
    assert value < BOUND, (what, value)


def test_first_values(result):
    """The product is what numpy says it is, and the frozen half takes it away again."""
    case, r = result.case, result.case.r
    if case.init is True:
        assert not any(b.any() for _, _, _, b in result.modules())
        return
    for name, w, a, b in result.modules():
        assert a.shape == (2 * r, w.shape[1]) and b.shape == (w.shape[0], 2 * r), name
        assert np.array_equal(a[:r], a[r:]) and np.array_equal(b[:, :r], -b[:, r:]), name
        product = b[:, :r] @ a[:r]
        if case.init == "pissa":
            u, s, v = np.linalg.svd(w, full_matrices=False)
            product *= result.scale
            want = u[:, :r] * s[:r] @ v[:r]
            got = np.linalg.svd(product, compute_uv=False)[:r]
            note(result, "values", float(np.max(np.abs(got - s[:r]) / s[:r])))
            assert np.allclose(np.linalg.norm(a[:r], axis=1), np.linalg.norm(b[:, :r], axis=0),
                               rtol=1e-5), name  # the root of a value to either side
        else:
            q, upper = np.linalg.qr(w)
            want = q[:, :r] @ upper[:r]
            assert np.allclose(b[:, :r].T @ b[:, :r], np.eye(r), atol=1e-5), name
        note(result, "product", np.linalg.norm(product - want) / np.linalg.norm(w))


def test_first_values_against_peft(result):
    """Up to signs PEFT's own, and its magnitudes."""
    mine, theirs = result.inlay.tensors("initial"), reference.named(result.fresh_peft())
    assert mine.keys() == theirs.keys()
    for name, want in theirs.items():
        got, want, rank = mine[name], want.detach(), result.case.r
        if "magnitude" in name:
            note(result, "magnitude", compare.relative(got, want))
        elif result.case.init is not True:
            got = got[:rank] if "lora_A" in name else got[:, :rank]
            error = compare.relative(got.abs(), want.abs())
            note(result, "A, B by gap", error / conditioning(result, name))


def conditioning(result, name):
    """How much more uncertain a singular vector is than W: by its value's distance to the next."""
    if result.case.init != "pissa":
        return 1.0
    w = np.array(result.weights[name.split(".lora_")[0] + ".weight"], dtype=np.float64)
    s = np.linalg.svd(w, compute_uv=False)[:result.case.r + 1]
    return s[0] / np.min(s[:-1] - s[1:])


def test_first_logits(result):
    model = reference.load_adapter(result.fresh_model(), result.inlay.folder / "initial")
    want = reference.logits(result.fresh_model(), SEQUENCES)
    for got, base in zip(reference.logits(model, SEQUENCES), want, strict=True):
        note(result, "first logits", compare.relative(got, base))


def test_losses(result):
    """PEFT's own training from its own first values; A is drawn by neither as by the other."""
    if result.case.init is True:
        model = reference.load_adapter(result.fresh_model(), result.inlay.folder / "initial", True)
    else:
        model = result.fresh_peft()
    compare.training(result.case.name, result.inlay.report["steps"], result.inlay.report, model,
                     result.train)


def test_trained_adapter(result):
    """A plain adapter of the whole base, in PEFT."""
    model = reference.load_adapter(result.fresh_model(), result.inlay.folder / "trained")
    compare.logits(result.case.name, result.inlay.logits(), model, SEQUENCES)
    tensors = result.inlay.tensors("trained")
    begun = result.inlay.tensors("initial")
    for name in tensors:
        if result.case.init is not True and "lora_A" in name:
            r = result.case.r
            assert torch.equal(tensors[name][r:], begun[name][r:]), name
            assert not torch.equal(tensors[name][:r], begun[name][:r]), name
            name = name.replace("lora_A", "lora_B")
            assert torch.equal(tensors[name][:, r:], begun[name][:, r:]), name
            assert not torch.equal(tensors[name][:, :r], begun[name][:, :r]), name


@pytest.mark.parametrize("init", [True, "gaussian"])
def test_drawn_as_peft_draws(init, tmp_path):
    """The same distribution: the largest distance of the two empirical ones (Smirnov's test)."""
    model, r = llamas.random_llama(9, dim=64, ffn=160), 32
    llamas.write(tmp_path / "model.gguf", model, vocabularies.bytes_alone)
    driver.command("train", "-m", tmp_path / "model.gguf", "-d", corpus.make(tmp_path, "text", 1),
                   "-o", tmp_path / "out", "--max-steps", 0, "--lora-r", r, "--init-lora-weights",
                   "default" if init is True else init)
    torch.manual_seed(4)
    peft = get_peft_model(type(model)(model.config),
                          LoraConfig(target_modules="all-linear", r=r, init_lora_weights=init))
    mine = reference.load_adapter(type(model)(model.config), tmp_path / "out", True)
    samples = [torch.cat([p.detach().flatten() * p.shape[1]**0.5
                          for name, p in reference.named(m).items() if "lora_A" in name])
               .double().numpy() for m in (mine, peft)]
    count = len(samples[0])
    every = np.sort(np.concatenate(samples))
    ranks = [np.searchsorted(np.sort(s), every, side="right") / count for s in samples]
    distance = float(np.max(np.abs(ranks[0] - ranks[1])))
    measured.note(f"drawn, {init}", "distance", distance)
    assert count > 30000 and distance < 1.95 * (2 / count)**0.5  # once in a thousand by chance
