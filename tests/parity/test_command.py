# SPDX-License-Identifier: MIT
"""The inlay command from end to end: train, then PEFT and transformers take over what it wrote."""
import json

import compare
import corpus
import driver
import gguf
import llamas
import measured
import numpy as np
import pytest
import reference
import torch
import vocabularies
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

END = "<|endoftext|>"
STEPS = 40
LORA = ["--lora-r", 4, "--lora-alpha", 10, "--use-rslora", "--seed", 7]
TRAIN = {"learning_rate": 4e-3, "schedule": 1, "warmup_steps": 3, "weight_decay": 0.05,
         "max_grad_norm": 1.0, "batch_size": 2, "accumulation": 2, "seed": 7}
OPTIONS = ["--learning-rate", 4e-3, "--lr-scheduler-type", "cosine", "--warmup-steps", 3,
           "--weight-decay", 0.05, "--batch-size", 2, "--gradient-accumulation-steps", 2,
           "--logging-steps", 1, "--max-length", 64]


class World:
    """A random model with a trained tokenizer, its data, and what the command makes of them."""

    def __init__(self, folder):
        self.folder, self.file = folder, folder / "model.gguf"
        self.data = corpus.make(folder, "prompts", 1)
        self.held_out = folder / "held_out.txt"
        corpus.text(self.held_out, 2)
        self.tokenizer = Tokenizer(models.BPE())
        self.tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.tokenizer.train_from_iterator([self.held_out.read_text("utf-8")], trainers.BpeTrainer(
            vocab_size=330, special_tokens=[END], show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
        self.model = llamas.random_llama(42, vocab=self.tokenizer.get_vocab_size())
        llamas.write(self.file, self.model, vocabularies.byte_level(self.tokenizer, "gpt-2", [END]))
        self.end = self.tokenizer.token_to_id(END)

    def train(self, name, steps):
        out = self.folder / name
        driver.command("train", "-m", self.file, "-d", self.data, "-o", out, "--max-steps", steps,
                       *LORA, *OPTIONS)
        return out

    def peft(self, out, trainable=False):
        model = type(self.model)(self.model.config).eval()
        model.load_state_dict(self.model.state_dict())
        return reference.load_adapter(model, out, trainable)

    def ids(self, text):
        return self.tokenizer.encode(text).ids


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("command"))


@pytest.fixture(scope="module")
def initial(world):
    return world.train("initial", 0)


@pytest.fixture(scope="module")
def trained(world):
    return world.train("trained", STEPS)


def records(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_first_adapter(world, initial):
    """B is zero, A uniform within 1 / sqrt(inputs)."""
    tensors = reference.named(world.peft(initial, trainable=True))
    assert len(tensors) == 2 * 7 * world.model.config.num_hidden_layers
    for name, p in tensors.items():
        if "lora_B" in name:
            assert not p.any(), name
        else:
            bound = p.shape[1] ** -0.5
            assert 0.9 * bound < float(p.abs().max()) <= bound, name
            assert abs(float(p.std()) - bound / 3 ** 0.5) < 0.1 * bound, name


def test_rows(world, trained):
    """Each record is there once, and only completion and end are learnt."""
    report = driver.run(world.folder / "rows", model=world.file, data=world.data, max_length=64,
                        adapter=trained, steps=1, train=TRAIN).report
    got = sorted((s for row in report["rows"] for s in reference.sequences_of(row)))
    want = []
    for r in records(world.data):
        tokens = world.ids(r["prompt"] + r["completion"]) + [world.end]
        first = len(world.ids(r["prompt"]))
        want.append((tokens, [t if i >= first else -1 for i, t in enumerate(tokens)][1:] + [-1]))
    assert got == sorted(want)


def test_training(world, initial, trained):
    report = driver.run(world.folder / "order", model=world.file, data=world.data, max_length=64,
                        adapter=initial, steps=STEPS, train=TRAIN).report
    steps = [r for r in records(trained / "log.jsonl") if "loss" in r]
    assert [r["step"] for r in steps] == list(range(1, STEPS + 1))
    compare.training("command", steps, report, world.peft(initial, trainable=True), TRAIN)


def stream_loss(model, ids, length):
    """Rows of `length`, each scored from its second token."""
    rows = [ids[i:i + length] for i in range(0, len(ids), length)]
    total = count = 0
    for row in (r for r in rows if len(r) > 1):
        loss, n = reference.sum_of_losses(model, [{"tokens": row, "starts": [0] * len(row),
                                                   "labels": row[1:] + [-1]}])
        total, count = total + float(loss), count + n
    return total / count, count


@torch.no_grad()
def test_eval(world, trained):
    text = world.held_out.read_text("utf-8")
    for adapter in (trained, trained / "adapter.gguf"):
        got = json.loads(driver.command("eval", "-m", world.file, "-a", adapter,
                                        "-d", world.held_out, "--max-length", 50, "--json"))
        want, tokens = stream_loss(world.peft(trained), world.ids(text), 50)
        assert got["tokens"] == tokens
        measured.note("command", "eval", abs(got["loss"] - want))
        assert abs(got["loss"] - want) < compare.EVAL_BOUND
        assert abs(got["perplexity"] / np.exp(want) - 1) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("adapted", [False, True])
def test_greedy(world, trained, adapted):
    model = world.peft(trained) if adapted else world.model
    options = ["-a", trained] if adapted else []
    lengths = []
    for prompt in ["bright lamp", "six of", "🦙 no", "x"]:
        got = driver.command("generate", "-m", world.file, "-p", prompt, "-n", 60, *options)
        ids = torch.tensor([world.ids(prompt)])
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=60,
                             do_sample=False, eos_token_id=world.end, pad_token_id=world.end)
        new = out[0, ids.shape[1]:].tolist()
        assert got == decode(world, new) + "\n"
        lengths.append(len(new))
    assert sum(lengths) > 30


def decode(world, ids):
    table = {c: b for b, c in bytes_of_characters()}
    text = "".join(world.tokenizer.id_to_token(i) for i in ids if i != world.end)
    return bytes(table[c] for c in text).decode("utf-8", "replace")


def bytes_of_characters():
    """The byte-level alphabet: printable bytes are themselves, the others follow from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [(b, chr(b)) for b in printable] + [(b, chr(256 + n)) for n, b in enumerate(others)]


def test_tokenize(world):
    text = "bright lamp 日本 12\n\n<|endoftext|>🦙  x\tno"
    got = json.loads(driver.command("tokenize", "-m", world.file, "--json", stdin=text))
    assert got == world.ids(text)


def test_gguf_adapter(world, trained):
    """By llama.cpp's rule, scale alpha / r on the file's order of rows, it is the PEFT adapter."""
    reader = gguf.GGUFReader(trained / "adapter.gguf")
    value = {key: field.contents() for key, field in reader.fields.items()}
    assert (value["general.type"], value["adapter.type"]) == ("adapter", "lora")
    assert value["general.architecture"] == "llama"
    tensors = {t.name: np.array(t.data) for t in reader.tensors}
    peft = load_file(trained / "adapter_model.safetensors")
    assert len(tensors) == len(peft)
    for name in (n for n in peft if "lora_A" in n):
        module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        a, b = peft[name].numpy(), peft[name.replace("lora_A", "lora_B")].numpy()
        base = llamas.gguf_name(module + ".weight")
        ga, gb = tensors[base + ".lora_a"], tensors[base + ".lora_b"]
        heads = llamas.head_counts(world.model.config, module + ".weight")
        want = 10 / 4 ** 0.5 * (llamas.interleave(b, heads) @ a)
        got = value["adapter.lora.alpha"] / gb.shape[1] * (gb @ ga)
        assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max(), name
