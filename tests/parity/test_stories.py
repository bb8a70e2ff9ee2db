# SPDX-License-Identifier: MIT
"""A model that others trained, read by transformers out of the same GGUF file: stories260K."""
import os
import pathlib

import compare
import driver
import llamas
import pytest
import reference

STEPS = 50
TRAIN = {"learning_rate": 1e-3, "schedule": 1, "warmup_steps": 5, "max_grad_norm": 1.0,
         "batch_size": 2, "seed": 3}

if not os.environ.get("INLAY_TEST_DATA"):
    pytest.skip("skipped: stories260K: INLAY_TEST_DATA is not set", allow_module_level=True)
DATA = pathlib.Path(os.environ["INLAY_TEST_DATA"])
FILE = DATA / "model" / "stories260K.gguf"


@pytest.fixture(scope="module")
def sequences():
    text = (DATA / "model" / "stories260K.greedy200.txt").read_bytes().decode()
    return text


@pytest.fixture(scope="module")
def run(tmp_path_factory, sequences):
    folder = tmp_path_factory.mktemp("stories")
    text = (DATA / "text" / "shakespeare-300k.txt").read_text(encoding="utf-8")[:9000]
    (folder / "data.txt").write_text(text, encoding="utf-8")
    ids = driver.run(folder / "ids", model=FILE, texts=[sequences]).report["ids"]
    ids = [[1] + ids[0]]
    base = driver.run(folder / "base", model=FILE, sequences=ids)
    trained = driver.run(folder / "trained", model=FILE, data=folder / "data.txt", max_length=128,
                         lora={"r": 8, "alpha": 16, "seed": 5}, train=TRAIN, steps=STEPS,
                         sequences=ids)
    return base, trained, ids


def test_base_logits(run):
    base, _, ids = run
    assert len(ids[0]) > 150
    compare.logits("stories260K, base", base.logits(), llamas.from_gguf(FILE), ids)


def adapted(run, name, trainable=False):
    return reference.load_adapter(llamas.from_gguf(FILE), run[1].folder / name, trainable)


def test_gradients(run):
    compare.gradients("stories260K", run[1], adapted(run, "initial", trainable=True),
                      TRAIN["batch_size"])


def test_losses(run):
    compare.training("stories260K", run[1].report["steps"], run[1].report,
                     adapted(run, "initial", trainable=True), TRAIN)


def test_trained_adapter(run):
    compare.logits("stories260K", run[1].logits(), adapted(run, "trained"), run[2])
