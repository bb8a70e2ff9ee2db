# SPDX-License-Identifier: MIT
"""Files of Python's json and csv in unusual but legal forms: the tokens that transformers gives.

And what is none of them: one sentence with the file and the record, and exit 2.
"""
import csv
import io
import json
import struct
import subprocess

import driver
import pytest
from test_chat import TALKS, TOOL, Dressed, say
from transformers import LlamaConfig, LlamaForCausalLM

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n" \
           "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TEXTS = ["plain", "é ü 日本 🦙", "tab\tnl\ncr\r\nq\"uote\\ /slash", "\u2028 \u2029 \u0085 x",
         "\x7f\x01\x1f", "  lead and trail  ", "\ufeffmark inside", "e\u0301", "\U0010ffff"]
RENDERED = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes <|im_end|>x</s>"
PAIRS = [("Q: a\n", "b"), ("é ", "日本 🦙"), ("p", ""), ("a, \"b\"", "\r\nc")]


class World:
    def __init__(self, folder):
        self.folder = folder
        self.model = folder / "model"
        self.dressed = Dressed(TEMPLATE, folder)
        LlamaForCausalLM(LlamaConfig(
            vocab_size=self.dressed.bare.get_vocab_size(), hidden_size=32, intermediate_size=32,
            num_hidden_layers=1, num_attention_heads=2)).save_pretrained(self.model)
        self.dressed.full.save_pretrained(self.model)

    def ids(self, text):
        return self.dressed.full.encode(text, add_special_tokens=False)

    def show(self, name, data):
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        shown = json.loads(driver.command("data", "-m", self.model, "-d", path, "--json", "--show",
                                          100, "--max-length", 60000))["shown"]
        return ([s["input_ids"] for s in shown],
                [[i for i, yes in zip(s["input_ids"], s["supervised"]) if yes] for s in shown])

    def refuse(self, name, data):
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        done = subprocess.run([f"{driver.BUILD}/tools/inlay", "data", "-q", "-m", self.model, "-d",
                               path], capture_output=True, text=True)
        errors = [line for line in done.stderr.splitlines() if "warning" not in line]
        assert done.returncode == 2 and len(errors) == 1 and name in errors[0], (name, done)
        return errors[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("data"))


def lines(records, **options):
    return "".join(json.dumps(r, **options) + "\n" for r in records)


def table(rows, head, **options):
    out = io.StringIO(newline="")
    csv.writer(out, **options).writerows([head, *rows])
    return out.getvalue()


def frame(data):
    """A zstd frame of one block that is not packed."""
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(data)) + \
        struct.pack("<I", len(data) << 3 | 1)[:3] + data


def test_texts(world):
    records = [{"text": t} for t in TEXTS]
    plain = lines(records)
    packed = plain.encode()
    files = {
        "a.jsonl": plain, "raw.jsonl": lines(records, ensure_ascii=False),
        "crlf.jsonl": plain.replace("\n", "\r\n"), "no end.jsonl": plain[:-1],
        "blank.jsonl": "\n \n" + plain.replace("\n", "\n\n \t\n"), "bom.jsonl": "\ufeff" + plain,
        "upper.jsonl": plain.replace("\\ud83e\\udd99", "\\uD83E\\uDD99"),
        "slash.jsonl": plain.replace("/", "\\/"), "indent.json": json.dumps(records, indent=2),
        "bom.json": "\ufeff" + json.dumps(records), "rows.json": lines(records, indent=1),
        "crlf.json": json.dumps(records, indent=2).replace("\n", "\r\n"),
        "more.jsonl": lines([{"id": 10**30, "n": None, "m": {"a": [1]}, **r} for r in records]),
        "frames.jsonl.zst": frame(packed[:37]) + frame(b"") + frame(packed[37:]),
        "skipped.json.zst":
            b"\x50\x2a\x4d\x18\x05\0\0\0hello" + frame(json.dumps(records).encode()),
        "a.csv": table([[t] for t in TEXTS], ["text"]),
        "unix.csv": table([[t] for t in TEXTS], ["text"], dialect="unix"),
        "bom.csv": "\ufeff" + table([[t] for t in TEXTS], ["text"], quoting=csv.QUOTE_ALL),
        "more.csv": table([[i, t, None] for i, t in enumerate(TEXTS)], ["id", "text", "x,y"])}
    want = [world.ids(t) + [1] for t in TEXTS]
    for name, data in files.items():
        assert world.show(name, data)[0] == want, name
    assert world.show("rendered.jsonl", lines([{"text": RENDERED}]))[0] == [world.ids(RENDERED)]
    prompt, completion = RENDERED.split("yes")
    pair = lines([{"prompt": prompt, "completion": "yes" + completion}])
    assert world.show("pair.jsonl", pair)[0] == [world.ids(RENDERED)]
    assert world.show("one.jsonl", lines(records[:1]))[0] == want[:1]
    assert world.show("huge.jsonl", lines([{"text": "word " * 9000, "junk": "y" * 10**6}]))[0] == \
        [world.ids("word " * 9000) + [1]]
    assert world.show("nul.jsonl", lines([{"text": "a\0b"}]))[0] == [world.ids("a\0b") + [1]]


def test_pairs(world):
    want = ([world.ids(p) + world.ids(c) + [1] for p, c in PAIRS],
            [world.ids(c) + [1] for _, c in PAIRS])
    assert world.show("p.jsonl", lines([{"prompt": p, "completion": c} for p, c in PAIRS])) == want
    assert world.show("p.csv", table([[c, p] for p, c in PAIRS], ["completion", "prompt"])) == want


def test_talks(world):
    talks = [[say("user", t), say("assistant", t)] for t in [*TEXTS, "a\0b"]] + \
        [TALKS["turns"], TALKS["system"]]
    end = world.dressed.bare.token_to_id("<|im_end|>")
    want = ([world.dressed.ids(m) for m in talks],
            [[i for m in talk if m["role"] == "assistant" for i in [*world.ids(m["content"]), end]]
             for talk in talks])
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    files = {
        "m.jsonl": lines([{"messages": m} for m in talks]),
        "m.json": json.dumps([{"messages": m} for m in talks], indent=1, ensure_ascii=False),
        "share.jsonl": lines([{"conversations": [
            {"from": names[m["role"]], "value": m["content"]} for m in talk]} for talk in talks]),
        "nulls.jsonl": lines([{"messages": [{**m, "name": None} for m in talk], "tools": None}
                              for talk in talks])}
    for name, data in files.items():
        assert world.show(name, data) == want, name
    asked = [talk[:2] for talk in talks[:-1]]
    assert world.show("alpaca.jsonl", lines(
        [{"instruction": q["content"], "input": None, "output": a["content"]}
         for q, a in asked]))[0] == [world.dressed.ids(talk) for talk in asked]


@pytest.mark.parametrize("good, bad", [
    ({"text": "a"}, [{"text": 5}, {"text": None}, {"prompt": "a", "completion": "b"}, [], "a", {}]),
    ({"messages": TALKS["answer"]},
     [{"messages": []}, {"messages": [1]}, {"messages": [{"role": "user"}]}, {"text": "a"},
      {"messages": [say("user", 5)]}, {"messages": TALKS["answer"], "tools": [5]},
      {"messages": TALKS["answer"], "chat_template_kwargs": [TOOL]}]),
    ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "r"}]},
     [{"conversations": [{"from": "x", "value": "y"}]}, {"conversations": [{"from": "human"}]}]),
    ({"prompt": "a", "completion": "b"}, [{"prompt": 1, "completion": "a"}, {"prompt": "a"}]),
    ({"instruction": "a", "output": "b"},
     [{"instruction": 1, "output": "b"}, {"instruction": "a", "output": "b", "history": 5}]),
    ({"input_ids": [3, 4]}, [{"input_ids": [10**9]}, {"input_ids": [1, "a"]}, {"input_ids": 5}]),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_record_57(world, good, bad):
    for i, record in enumerate(bad):
        records = [good] * 56 + [record, good]
        assert " line 57: " in world.refuse(f"{i}.jsonl", lines(records))
        assert " record 57: " in world.refuse(f"{i}.json", json.dumps(records, indent=1))


def test_no_such_file(world):
    text = lines([{"text": f"t{i}"} for i in range(60)])
    for i, line in enumerate(('{"text": "a"', "{'text': 'a'}", '{"text": "\\ud83e"}', "garbage",
                              '{"text": "a"},', '{"text": "a", "text": "b"}', "[" * 3000)):
        rows = text.split("\n")
        rows[56] = line
        assert " line 57: " in world.refuse(f"line {i}.jsonl", "\n".join(rows))
    whole = frame(text.encode())
    for size in (0, 1, 4, 8, len(whole) // 2, len(whole) - 1):
        assert f"ends early, at byte {size}" in world.refuse(f"{size}.jsonl.zst", whole[:size])
    world.refuse("behind.jsonl.zst", whole + b"garbage")
    world.refuse("no frame.jsonl.zst", text)
    for name, data in {"a.jsonl": "\n \n", "a.json": "[]", "b.json": '[{"text": "a"}',
                       "c.json": '[{"text": "a"},]', "a.csv": "text\r\n", "b.csv": "text\ra\r",
                       "c.csv": 'text\n"a', "d.csv": b"text\ncaf\xe9\n",
                       "b.jsonl": text.encode("utf-16")}.items():
        world.refuse(name, data)
