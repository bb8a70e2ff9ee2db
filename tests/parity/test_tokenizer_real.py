# SPDX-License-Identifier: MIT
"""Real vocabularies, where INLAY_TEST_DATA names them: ids of 2 MB in many scripts and of the texts
there, against tokenizers and SentencePiece; and how fast they are.

The time is the processor time of encoding alone, as the program itself counts it, so that other
work on the machine costs it little; the best of five runs counts.
"""
import os
import pathlib
import struct

import gguf
import pytest
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
from test_tokenizer_files import theirs, write
from test_tokenizer_json import driver, encode, many_scripts

DATA = os.environ.get("INLAY_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="INLAY_TEST_DATA is not set")
SLOWEST = 5e6   # bytes of a second, half of what a slow core of 2020 does or less


def real(name):
    path = pathlib.Path(DATA) / name
    if not path.exists():
        pytest.skip(f"{path} is missing")
    return path


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen2.5")
    for name in ("vocab.json", "merges.txt"):
        (folder / name).symlink_to(real(f"tokenizer/qwen2.5/{name}"))
    write(folder, tokenizer_config={"tokenizer_class": "Qwen2Tokenizer"})
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """llama.cpp's vocabulary as the tokenizer.model that it came from."""
    fields = gguf.GGUFReader(real("tokenizer/ggml-vocab-llama-spm.gguf")).fields
    model = sentencepiece_model_pb2.ModelProto()
    values = [fields[f"tokenizer.ggml.{key}"].contents() for key in
              ("tokens", "scores", "token_type")]
    for text, score, kind in zip(*values, strict=True):
        model.pieces.add(piece=text, score=score, type=kind)
    model.trainer_spec.model_type = 2
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.remove_extra_whitespaces = False
    folder = tmp_path_factory.mktemp("llama")
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    return folder


def samples():
    texts = [real(f"text/{name}").read_text() for name in
             ("shakespeare-300k.txt", "instructions-1100.json")]
    return many_scripts(2_000_000) + texts + [t[i:i + 997] for t in texts
                                              for i in range(0, len(t), 997)]


def compare(folder, want):
    texts = samples()
    got = [ids for ids, _ in encode(folder, [t.encode() for t in texts], False)]
    wrong = [(t, g, w) for t, g, w in zip(texts, got, want(texts), strict=True) if g != w]
    assert not wrong, (len(wrong), ascii(min(wrong, key=lambda w: len(w[0])))[:2000])


def test_qwen(qwen):
    tokenizer = theirs(qwen)
    compare(qwen, lambda texts: [e.ids for e in
                                 tokenizer.encode_batch_fast(texts, add_special_tokens=False)])


def test_llama(llama):
    processor = SentencePieceProcessor(model_file=str(llama / "tokenizer.model"))
    compare(llama, processor.encode)


def fixtures(name):
    cases = real(f"tokenizer/{name}.inp").read_bytes().split(b"\n__ggml_vocab_test__\n")
    lines = real(f"tokenizer/{name}.out").read_text().splitlines()
    return [(c, [int(i) for i in line.split()]) for c, line in zip(cases, lines, strict=False)]


@pytest.mark.parametrize("name", ["qwen2", "llama-spm"])
def test_llama_cpp(name, qwen, llama):
    """llama.cpp's own cases have the same ids from these files."""
    cases = fixtures(f"ggml-vocab-{name}.gguf")
    got = encode(qwen if name == "qwen2" else llama, [c for c, _ in cases], False)
    assert len(cases) > 40
    assert [ids for ids, _ in got] == [want for _, want in cases]


@pytest.mark.parametrize("name", ["qwen", "llama"])
def test_speed(name, request):
    folder = request.getfixturevalue(name)
    english = real("text/shakespeare-300k.txt").read_bytes()
    for texts in ([english] * 8, [t.encode() for t in many_scripts(2_000_000)]):
        data = b"".join(struct.pack("<I", len(t)) + t for t in texts)
        runs = [driver(folder, "text", data) for _ in range(5)]
        assert all(r.returncode == 0 for r in runs)
        rate = sum(map(len, texts)) / min(float(r.stderr.split()[-2]) for r in runs)
        print(f"{name}: {rate / 1e6:.1f} MB/s")
        assert rate >= SLOWEST, f"{rate / 1e6:.1f} MB/s"
