#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the base model's pre-training text: documents from a small game world.

usage: make_text.py [--seed N] [--chars N] --out FILE

Documents are separated by one line holding only "<|endoftext|>". A document
is a story, a description, a talk, questions with answers, an inventory, a
log of records or a copying exercise. The records have shapes and keys of
their own: the fine-tuning task's prompt and reply appear nowhere in here.
"""

import argparse
import json
import random

import records
import stories
import world
from world import cap, pick_alias, pick_count, pick_goods

END = "<|endoftext|>"
SYLLABLES = ("ba be bo da del dor el fa fen gar gil hu il ka kel lo lin ma "
             "mor na nim or pa quen ra rus sa sil ta tor ul va vel wy za zu "
             "ash eth ith ond um").split()


def made_up(rng):
    """A word nobody has seen: it can be copied but not remembered."""
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3)))


def some_word(rng):
    pool = rng.random()
    if pool < 0.3:
        return made_up(rng)
    if pool < 0.45:
        return rng.choice(world.TERMS)
    tables = [world.UNITS, world.PLACES, world.FOES, world.STRUCTURES,
              world.ITEMS, world.KEEPSAKES, world.ANIMALS, world.COLORS,
              world.NAMES, world.NAMES]
    return rng.choice(list(rng.choice(tables)))


def some_thing(rng):
    if rng.random() < 0.5:
        return rng.choice(world.COLORS) + " " + rng.choice(world.KEEPSAKES)
    return some_word(rng)


def copy_lines(rng):
    """The same words again, in one dress or another."""
    style = rng.choice(["again", "quote", "list", "upper", "upper"])
    lines = []
    for _ in range(rng.randint(2, 4)):
        words = [some_thing(rng) for _ in range(rng.randint(1, 4))]
        if style == "upper" and rng.random() < 0.6:
            words = rng.sample(world.TERMS, len(words))
        if style == "again":
            line = ", ".join(words)
            lines.append(f"say: {line}\necho: {line}")
        elif style == "quote":
            lines.append(", ".join(words) + " = " +
                         " ".join(f'"{w}"' for w in words))
        elif style == "list":
            lines.append(", ".join(words) + " -> " +
                         json.dumps(words, separators=(",", ":")))
        else:
            lines.append(", ".join(words) + " / " +
                         " ".join(f'"{cap(w)}"' for w in words))
    return "\n".join(lines)


def lookup(rng):
    """A table of keys and values, then questions about it."""
    keys = list({some_word(rng) for _ in range(rng.randint(3, 6))})
    keys.sort()
    rng.shuffle(keys)
    values = [rng.choice([some_thing(rng), str(rng.randint(2, 99))])
              for _ in keys]
    join, ask = rng.choice([(" = ", "{}? {}"), (": ", "get {}: {}"),
                            (" is ", "What is {}? {}."), (" -> ", "{} -> {}")])
    lines = [k + join + v for k, v in zip(keys, values)]
    for i in rng.sample(range(len(keys)), min(3, len(keys))):
        lines.append(ask.format(keys[i], values[i]))
    return "\n".join(lines)


def lookup_json(rng):
    """The same with a small object, and single fields read out of it."""
    keys = {some_word(rng).replace(" ", "_") for _ in range(5)}
    keys = sorted(keys - set(world.TERMS))
    rng.shuffle(keys)
    table = {k: rng.choice([some_thing(rng), rng.randint(2, 99)])
             for k in keys}
    lines = [json.dumps(table, separators=(",", ":"))]
    for k in rng.sample(keys, min(2, len(keys))):
        lines.append(f"{k}: {table[k]}")
    return "\n".join(lines)


def numbers(rng):
    """Number words and digits, both ways."""
    way = rng.random()
    lines = []
    for _ in range(rng.randint(3, 6)):
        n = rng.choice(list(world.COUNT_WORDS))
        word = rng.choice(world.COUNT_WORDS[n])
        goods = pick_goods(rng)[1]
        if way < 0.4:
            lines.append(f"{word} {goods}: {n}")
        elif way < 0.7:
            lines.append(f"{word} {goods} means {n} {goods}.")
        else:
            lines.append(f"{n} is {word.removesuffix(' of')}.")
    return "\n".join(lines)


def dictionary(rng):
    """Which words mean the same in this world."""
    forms = ["{b} means {a}.", "{b}: {a}", "Another word for {b} is {a}.",
             "To say {b} is to say {a}.", "{b} = {a}", "{b} (see {a})"]
    form = rng.choice(forms)
    lines = []
    for _ in range(rng.randint(3, 6)):
        if rng.random() < 0.6:
            plain = rng.choice(list(world.VERBS))
            other = rng.choice(world.VERBS[plain][1:])
        else:
            table = rng.choice([world.UNITS, world.PLACES, world.FOES,
                                world.STRUCTURES])
            plain, other = pick_alias(rng, table, 1.0)
            if plain == other:
                continue
        lines.append(form.format(a=plain, b=other))
    return "\n".join(lines) or "hold means hold."


def deed(rng):
    """Something a group can do: (plain verb, said object, plain object)."""
    plain = rng.choice(["hold", "move", "scout", "attack", "build", "gather",
                        "recruit", "give"])
    verb = rng.choice(world.VERBS[plain])
    if plain in ("hold", "move", "scout"):
        thing, said = pick_alias(rng, world.PLACES, 0.4)
        return plain, f"{verb} the {said}", f"the {thing}"
    if plain == "attack":
        thing, said = pick_alias(rng, world.FOES, 0.4)
        return plain, f"{verb} the {said}", f"the {thing}"
    if plain == "build":
        thing, said = pick_alias(rng, world.STRUCTURES, 0.4)
        return plain, f"{verb} {world.article(said)}", world.article(thing)
    n, many = pick_count(rng, 0.3)
    if plain == "recruit":
        thing, said = pick_alias(rng, world.UNITS, 0.4)
    else:
        thing, said = pick_goods(rng)
    return plain, f"{verb} {many} {said}", f"{n} {thing}"


PLAIN_PAST = {"hold": "held", "move": "moved to", "scout": "scouted",
              "attack": "attacked", "build": "built", "gather": "gathered",
              "recruit": "recruited", "give": "gave"}


def orders(rng):
    """An order in many words, then the plain story of it."""
    lines = []
    for _ in range(rng.randint(1, 3)):
        unit, said = pick_alias(rng, world.UNITS, 0.4)
        plain, long, thing = deed(rng)
        who = rng.choice(world.NAMES)
        speech = rng.choice([
            f"Tell the {said} to {long}", f"Let the {said} {long}",
            f"Would the {said} {long}?", f"I want the {said} to {long}",
            f"{cap(said)}, {long}!", f"Have the {said} {long}",
            f"{cap(long)} with the {said}", f"The {said} should {long}"])
        stop = "" if speech[-1] in "?!" else ","
        lines.append(f'"{speech}{stop}" said {who}. ' + rng.choice([
            f"So the {unit} {PLAIN_PAST[plain]} {thing}.",
            f"And the {unit} {PLAIN_PAST[plain]} {thing} as told.",
            f"In short: {unit}, {plain}, {thing}.",
            f"The {unit} were happy to {plain} {thing}."
            if plain != "move" else f"The {unit} moved to {thing}."]))
    return "\n".join(lines)


def stores(rng):
    """What lies in a place, in prose or in a list, and how much of it."""
    place = rng.choice(list(world.PLACES))
    goods = rng.sample(world.ITEMS, rng.randint(3, 5))
    counts = [rng.choice(list(world.COUNT_WORDS)) for _ in goods]
    said = [f"{rng.choice([str(n), world.COUNT_WORDS[n][0]])} {g}"
            for n, g in zip(counts, goods)]
    head = rng.choice([
        f"In the {place} there are {', '.join(said[:-1])} and {said[-1]}.",
        f"Stores of the {place}:\n- " + "\n- ".join(said)])
    style = rng.random()
    if style < 0.4:
        tail = json.dumps({"stores": place, **dict(zip(goods, counts))},
                          separators=(",", ":"))
    elif style < 0.7:
        tail = "\n".join(f"{g}: {n}" for g, n in zip(goods, counts))
    else:
        i, j = rng.sample(range(len(goods)), 2)
        tail = "\n".join(f"Q: How many {goods[k]} are in the {place}?\n"
                         f"A: {counts[k]}" for k in (i, j))
    return head + "\n" + tail


KINDS = [
    (stories.story, 10), (stories.description, 4), (stories.talk, 8),
    (stories.questions, 14), (orders, 18), (stores, 6), (records.log, 40),
    (copy_lines, 14), (lookup, 5), (lookup_json, 3), (numbers, 5),
    (dictionary, 4),
]


def documents(rng, chars):
    makers = [maker for maker, _ in KINDS]
    weights = [weight for _, weight in KINDS]
    written = 0
    while written < chars:
        text = rng.choices(makers, weights)[0](rng)
        written += len(text)
        yield text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chars", type=int, default=30_000_000)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with open(args.out, "w", encoding="utf-8", newline="\n") as out:
        for text in documents(rng, args.chars):
            out.write(text + "\n" + END + "\n")


if __name__ == "__main__":
    main()
