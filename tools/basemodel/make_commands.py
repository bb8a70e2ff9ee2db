#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the fine-tuning task: a player's sentence in, a JSON command out.

usage: make_commands.py [--seed N] [--train N] [--heldout N] [--out DIR]

Every sentence is written once; the held-out file shares none with the
training file, so a right answer there was worked out and not remembered.
"""

import argparse
import json
import os
import random

import world
from world import cap, pick_alias, pick_count, pick_goods

ALIAS = 0.25        # how often a player uses another word for a thing

# Frames around an order to a group: {u} is the group, {v} the rest.
UNIT_FRAMES = [
    "tell the {u} to {v}",
    "ask the {u} to {v}",
    "order the {u} to {v}",
    "have the {u} {v}",
    "make the {u} {v}",
    "let the {u} {v}",
    "get the {u} to {v}",
    "{u}, {v}",
    "{u}, {v}!",
    "{u}, please {v}",
    "the {u} should {v}",
    "the {u} must {v} now",
    "i want the {u} to {v}",
    "i need the {u} to {v}",
    "can the {u} {v}?",
    "could the {u} please {v}?",
    "would you have the {u} {v}?",
    "please tell the {u} to {v}",
    "quick, have the {u} {v}",
    "{v} with the {u}",
    "use the {u} to {v}",
    "send the {u} to {v}",
    "it is time for the {u} to {v}",
]

# Frames around an order to nobody in particular.
PLAIN_FRAMES = [
    "{v}",
    "{v}!",
    "{v} now",
    "{v}, please",
    "please {v}",
    "quick, {v}",
    "we must {v}",
    "we should {v}",
    "let us {v}",
    "i want you to {v}",
    "i need you to {v}",
    "can you {v}?",
    "could you please {v}?",
    "would you {v}?",
    "it is time to {v}",
    "go and {v}",
]


def frame_unit(rng, rest):
    unit, said = pick_alias(rng, world.UNITS, ALIAS)
    frame = rng.choice(UNIT_FRAMES)
    return frame.format(u=said, v=rest), unit


def frame_plain(rng, rest):
    return rng.choice(PLAIN_FRAMES).format(v=rest)


def at_place(rng, action):
    """hold, move and scout: a group and a place."""
    place, said = pick_alias(rng, world.PLACES, ALIAS)
    verb = rng.choice(world.VERBS[action])
    text, unit = frame_unit(rng, f"{verb} the {said}")
    return text, {"action": action, "unit": unit, "place": place}


def attack(rng):
    foe, said = pick_alias(rng, world.FOES, ALIAS)
    rest = f"{rng.choice(world.VERBS['attack'])} the {said}"
    place = None
    if rng.random() < 0.5:
        place, where = pick_alias(rng, world.PLACES, ALIAS)
        rest += f" {rng.choice(['at', 'near', 'by'])} the {where}"
    text, unit = frame_unit(rng, rest)
    command = {"action": "attack", "unit": unit, "target": foe}
    if place:
        command["place"] = place
    return text, command


def build(rng):
    thing, said = pick_alias(rng, world.STRUCTURES, ALIAS)
    place, where = pick_alias(rng, world.PLACES, ALIAS)
    near = rng.choice(["at", "near", "by", "beside", "next to"])
    verb = rng.choice(world.VERBS["build"])
    rest = f"{verb} {world.article(said)} {near} the {where}"
    return frame_plain(rng, rest), \
        {"action": "build", "item": thing, "place": place}


def gather(rng):
    n, many = pick_count(rng)
    item, said = pick_goods(rng, ALIAS)
    verb = rng.choice(world.VERBS["gather"])
    text, unit = frame_unit(rng, f"{verb} {many} {said}")
    return text, {"action": "gather", "unit": unit, "count": n, "item": item}


def give(rng):
    n, many = pick_count(rng)
    item, goods = pick_goods(rng, ALIAS)
    unit, said = pick_alias(rng, world.UNITS, ALIAS)
    verb = rng.choice(world.VERBS["give"])
    if verb in ("give", "hand", "send", "pass") and rng.random() < 0.5:
        rest = f"{verb} the {said} {many} {goods}"
    else:
        rest = f"{verb} {many} {goods} to the {said}"
    return frame_plain(rng, rest), \
        {"action": "give", "unit": unit, "count": n, "item": item}


def recruit(rng):
    n, many = pick_count(rng)
    unit, said = pick_alias(rng, world.UNITS, ALIAS)
    more = rng.choice(["", "", "more ", "new "])
    rest = f"{rng.choice(world.VERBS['recruit'])} {many} {more}{said}"
    if many.endswith(" of"):
        rest = rest.replace(" more ", " ")
    return frame_plain(rng, rest), \
        {"action": "recruit", "unit": unit, "count": n}


MAKERS = {
    "hold": lambda rng: at_place(rng, "hold"),
    "move": lambda rng: at_place(rng, "move"),
    "scout": lambda rng: at_place(rng, "scout"),
    "attack": attack,
    "build": build,
    "gather": gather,
    "give": give,
    "recruit": recruit,
}


def spell(rng, text):
    """Players type in lower case, or like a book, or drop the stop."""
    style = rng.random()
    if style < 0.5:
        return text
    text = text.replace(" i ", " I ")
    text = cap(text)
    if style < 0.75 and text[-1].isalnum():
        text += "."
    return text


def normal(text):
    """A sentence without its spelling: case and stops do not make it new."""
    kept = "".join(c for c in text.lower() if c.isalnum() or c in " -")
    return " ".join(kept.split())


def make_records(rng, count):
    """Distinct sentences, the actions taking turns."""
    seen, records = set(), []
    actions = list(MAKERS)
    while len(records) < count:
        text, command = MAKERS[actions[len(records) % len(actions)]](rng)
        # Two spellings of one sentence would leak across the split.
        if normal(text) in seen:
            continue
        seen.add(normal(text))
        reply = json.dumps(command, separators=(",", ":"))
        records.append({"prompt": f"Player: {spell(rng, text)}\nCommand:",
                        "completion": " " + reply})
    return records


def write_jsonl(path, records):
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        for record in records:
            out.write(json.dumps(record) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--train", type=int, default=3200)
    parser.add_argument("--heldout", type=int, default=200)
    parser.add_argument("--out", default=os.path.dirname(__file__) or ".")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    records = make_records(rng, args.train + args.heldout)
    rng.shuffle(records)
    heldout, train = records[:args.heldout], records[args.heldout:]
    known = {normal(r["prompt"]) for r in train}
    assert not any(normal(r["prompt"]) in known for r in heldout)
    write_jsonl(os.path.join(args.out, "commands-train.jsonl"), train)
    write_jsonl(os.path.join(args.out, "commands-heldout.jsonl"), heldout)
    print(f"{len(train)} training records, {len(heldout)} held out")


if __name__ == "__main__":
    main()
