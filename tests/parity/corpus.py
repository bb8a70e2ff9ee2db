# SPDX-License-Identifier: MIT
"""Data files of random words: what a tiny model sees, in each format and many lengths."""
import json
import random

WORDS = ["ore", "lamp", "to", "a", "river", "bright", "six", "of", "stone", "é", "über", "x", "日本",
         "kept", "under", "oak", "🦙", "no", "further", "than"]


def words(rng, count):
    return " ".join(rng.choice(WORDS) for _ in range(count))


def text(path, seed, count=400):
    rng = random.Random(seed)
    path.write_text("\n".join(words(rng, rng.randint(2, 9)) for _ in range(count // 6)),
                    encoding="utf-8")


def texts(path, seed, count=24):
    rng = random.Random(seed)
    write(path, [{"text": words(rng, rng.randint(1, 8))} for _ in range(count)])


def prompts(path, seed, count=24):
    rng = random.Random(seed)
    write(path, [{"prompt": words(rng, rng.randint(0, 5)),
                  "completion": " " + words(rng, rng.randint(1, 4))}
                 for _ in range(count)])


def write(path, records):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records),
                    encoding="utf-8")


FORMATS = {"txt": (".txt", text), "text": (".jsonl", texts), "prompts": (".jsonl", prompts)}


def make(folder, kind, seed):
    suffix, fill = FORMATS[kind]
    path = folder / ("data" + suffix)
    fill(path, seed)
    return path
