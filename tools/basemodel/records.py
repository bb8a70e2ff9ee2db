# SPDX-License-Identifier: MIT
"""Log entries: a sentence about what happened, then a record of it.

A log keeps one choice of keys and one arrow throughout, so that the second
entry onwards can be worked out from the first. The keys are chosen anew for
each log, and none of them is a key of the fine-tuning task.
"""

import json

import world
from world import cap, pick_alias, pick_count, pick_goods

# For each field the names that a log may give it.
KEYS = {
    "kind": ["kind", "event", "deed"],
    "who": ["who", "by"],
    "group": ["group", "team", "crew"],
    "spot": ["where", "spot", "site"],
    "from": ["from", "start", "left"],
    "to": ["to", "end", "goal"],
    "thing": ["thing", "goods"],
    "n": ["n", "amount"],
    "foe": ["foe", "enemy"],
    "day": ["day", "when"],
    "work": ["work", "built"],
    "color": ["color", "coat"],
    "animal": ["animal", "pet"],
    "sky": ["sky", "weather"],
    "price": ["price", "cost"],
}

PAST = {
    "hold": ["held", "guarded", "defended", "kept", "protected",
             "watched over", "stood watch at", "secured"],
    "move": ["moved to", "went to", "marched to", "headed to", "walked to",
             "travelled to", "set out for", "made for"],
    "attack": ["attacked", "struck", "charged", "fought", "struck down",
               "drove off", "went after", "hunted down"],
    "build": ["built", "raised", "put up", "constructed", "set up", "made"],
    "gather": ["gathered", "collected", "fetched", "brought in",
               "picked up", "found"],
    "give": ["gave", "handed", "sent", "delivered", "passed", "handed over"],
    "recruit": ["recruited", "trained", "hired", "called up", "mustered",
                "enlisted"],
    "scout": ["scouted", "explored", "searched", "spied on",
              "looked around", "surveyed"],
}

# A sentence may also tell of a plan; then the verb stands in its plain form.
PLANS = ["{s} will {v}", "{s} had to {v}", "{s} wanted to {v}",
         "{s} were asked to {v}", "{s} are going to {v}", "{s} must {v}",
         "{w} told {s} to {v}", "{w} sent {s} to {v}", "{w} let {s} {v}"]


def tell(rng, kind, subject, rest):
    """One sentence about a deed, told as done or as planned."""
    i = rng.randrange(len(world.VERBS[kind]))
    if rng.random() < 0.5:
        text = f"{subject} {PAST[kind][i]} {rest}"
    else:
        plan = rng.choice(PLANS)
        text = plan.format(s=subject, v=f"{world.VERBS[kind][i]} {rest}",
                           w=rng.choice(world.NAMES))
    return text


def with_day(rng, text, fields):
    if rng.random() < 0.3:
        fields["day"] = rng.choice(world.DAYS)
        text += f" on {fields['day']}"
    return text, fields


def place_deed(rng):
    kind = rng.choice(["hold", "move", "scout"])
    group, said = pick_alias(rng, world.UNITS, 0.35)
    spot, where = pick_alias(rng, world.PLACES, 0.35)
    text = tell(rng, kind, f"the {said}", f"the {where}")
    return with_day(rng, text, {"kind": kind, "group": group, "spot": spot})


def fight(rng):
    group, said = pick_alias(rng, world.UNITS, 0.35)
    foe, called = pick_alias(rng, world.FOES, 0.35)
    rest = f"the {called}"
    fields = {"kind": "attack", "group": group, "foe": foe}
    if rng.random() < 0.5:
        spot, where = pick_alias(rng, world.PLACES, 0.35)
        rest += f" {rng.choice(['at', 'near', 'by'])} the {where}"
        fields["spot"] = spot
    return tell(rng, "attack", f"the {said}", rest), fields


def building(rng):
    work, called = pick_alias(rng, world.STRUCTURES, 0.35)
    spot, where = pick_alias(rng, world.PLACES, 0.35)
    group, said = pick_alias(rng, world.UNITS, 0.35)
    near = rng.choice(["at", "near", "by", "beside", "next to"])
    text = tell(rng, "build", f"the {said}",
                f"{world.article(called)} {near} the {where}")
    return with_day(rng, text, {"kind": "build", "group": group,
                                "work": work, "spot": spot})


def gathering(rng):
    group, said = pick_alias(rng, world.UNITS, 0.35)
    n, many = pick_count(rng)
    thing, goods = pick_goods(rng)
    text = tell(rng, "gather", f"the {said}", f"{many} {goods}")
    return with_day(rng, text, {"kind": "gather", "group": group, "n": n,
                                "thing": thing})


def handing(rng):
    who = rng.choice(world.NAMES)
    group, said = pick_alias(rng, world.UNITS, 0.35)
    n, many = pick_count(rng)
    thing, goods = pick_goods(rng)
    i = rng.randrange(len(PAST["give"]))
    if i in (0, 1, 2, 4) and rng.random() < 0.5:
        text = f"{who} {PAST['give'][i]} the {said} {many} {goods}"
    else:
        text = f"{who} {PAST['give'][i]} {many} {goods} to the {said}"
    return text, {"kind": "give", "who": who, "group": group, "n": n,
                  "thing": thing}


def hiring(rng):
    who = rng.choice(world.NAMES)
    group, said = pick_alias(rng, world.UNITS, 0.35)
    n, many = pick_count(rng)
    text = tell(rng, "recruit", who, f"{many} {said}").replace(" were ",
                                                               " was ")
    return text, {"kind": "recruit", "who": who, "n": n, "group": group}


def trip(rng):
    who = rng.choice(world.NAMES)
    start, end = rng.sample(list(world.PLACES), 2)
    text = rng.choice([f"{who} went from the {start} to the {end}",
                       f"{who} left the {start} for the {end}",
                       f"{who} came to the {end} from the {start}"])
    return with_day(rng, text, {"kind": "trip", "who": who, "from": start,
                                "to": end})


def trade(rng):
    who = rng.choice(world.NAMES)
    n, many = pick_count(rng)
    thing, goods = pick_goods(rng)
    price = rng.randint(2, 60)
    text = rng.choice([
        f"{who} sold {many} {goods} for {price} coins",
        f"{many} {goods} were bought from {who} for {price} coins",
        f"for {price} coins {who} let {many} {goods} go"])
    return text, {"kind": "trade", "who": who, "n": n, "thing": thing,
                  "price": price}


def birth(rng):
    who = rng.choice(world.NAMES)
    color = rng.choice(world.COLORS)
    animal = rng.choice(world.ANIMALS)
    text = rng.choice([f"{who} has a {color} {animal}",
                       f"a {color} {animal} was born in the barn of {who}",
                       f"the {animal} of {who} is {color}"])
    return text, {"kind": "animal", "who": who, "animal": animal,
                  "color": color}


def sky(rng):
    spot, where = pick_alias(rng, world.PLACES, 0.35)
    weather = rng.choice(world.WEATHER)
    day = rng.choice(world.DAYS)
    text = rng.choice([f"on {day} it was {weather} at the {where}",
                       f"the {where} had a {weather} {day}"])
    return text, {"kind": "sky", "day": day, "spot": spot, "sky": weather}


EVENTS = [place_deed, place_deed, place_deed, fight, building, gathering,
          handing, hiring, trip, trade, birth, sky]


def write_record(fields, names, order, style):
    """The record as an object, with spaces or without, or as key=value."""
    left = [f for f in order if f in fields]
    named = {names[f]: fields[f] for f in left}
    if style == "tight":
        return json.dumps(named, separators=(",", ":"))
    if style == "loose":
        return json.dumps(named)
    return "; ".join(f"{k}={v}" for k, v in named.items())


def log(rng):
    """A few sentences of one or several kinds, each with its record."""
    names = {field: rng.choice(keys) for field, keys in KEYS.items()}
    order = list(KEYS)
    if rng.random() < 0.25:
        rng.shuffle(order)
    style = rng.choices(["tight", "loose", "pairs"], [7, 1, 2])[0]
    arrow = rng.choice([" -> ", "\n", "\n= ", " => ", "\nrecord: ",
                        "\nentry: ", " | "])
    drop_kind = rng.random() < 0.15
    kinds = rng.choice([EVENTS, [rng.choice(EVENTS)]])
    entries = []
    for _ in range(rng.choice([1, 1, 1, 2, 3, 4])):
        text, fields = rng.choice(kinds)(rng)
        if drop_kind:
            del fields["kind"]
        text = text if rng.random() < 0.4 else cap(text) + "."
        entries.append(text + arrow +
                       write_record(fields, names, order, style))
    return "\n".join(entries)
