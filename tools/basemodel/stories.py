# SPDX-License-Identifier: MIT
"""Stories, descriptions, talks and questions about the small game world.

A story keeps track of who is where with what, so that later sentences and
answers can be worked out from the earlier ones.
"""

import world
from world import cap, pick_alias, pick_count, pick_goods


class Scene:
    """The people, places and things that one story is about."""

    def __init__(self, rng):
        self.rng = rng
        self.hero, self.friend = rng.sample(world.NAMES, 2)
        self.home, self.goal, self.other = rng.sample(list(world.PLACES), 3)
        self.keepsake = rng.choice(world.KEEPSAKES)
        self.color = rng.choice(world.COLORS)
        self.foe = rng.choice(list(world.FOES))
        self.unit = rng.choice(list(world.UNITS))
        self.animal = rng.choice(world.ANIMALS)
        self.mood = rng.choice(world.MOODS)
        self.weather = rng.choice(world.WEATHER)
        self.time = rng.choice(world.TIMES)
        self.n, self.many = pick_count(rng, 0.2)
        self.item, self.goods = pick_goods(rng)
        female = self.hero in world.SHE
        self.he = "she" if female else "he"
        self.his = "her" if female else "his"
        self.him = "her" if female else "him"

    def say(self, *forms):
        return cap(self.rng.choice(forms).format(**vars(self)))


def opening(s):
    return s.say(
        "{hero} lived near the {home} with {his} {color} {animal}.",
        "There once was a {mood} child called {hero} at the {home}.",
        "{time} {hero} woke up in the {home}. It was a {weather} day.",
        "It was {weather} at the {home}, and {hero} felt {mood}.",
        "{hero} had worked at the {home} for {n} years.",
        "Nobody at the {home} knew where the {color} {keepsake} was.",
        "Long ago, {hero} kept a {color} {keepsake} in the {home}.")


def wish(s):
    return s.say(
        "{he} wanted to see the {goal}, so {he} took the {keepsake} and left.",
        "One day {friend} asked {him} to bring {many} {goods} to the {goal}.",
        "{his} friend {friend} had gone to the {goal} and not come back.",
        "\"I need {many} {goods},\" said {hero}, and {he} set out for the "
        "{goal}.",
        "{he} had lost the {color} {keepsake} and thought it was at the "
        "{goal}.",
        "The {unit} said that the {foe} were near the {goal}.")


def road(s):
    return s.say(
        "On the way {he} passed the {other} and saw a {color} {animal}.",
        "{he} walked past the {other} and did not stop.",
        "The road to the {goal} was long, and it grew {weather}.",
        "At the {other} {he} met the {unit}, who gave {him} {many} {goods}.",
        "{friend} came along as far as the {other}.",
        "{he} slept at the {other} and went on {time}.")


def trouble(s):
    return s.say(
        "At the {goal} the {foe} were waiting.",
        "Then the {foe} came out of the {goal}, and {hero} hid behind the "
        "{animal}.",
        "But the {goal} was empty, and the {keepsake} was gone.",
        "The gate of the {goal} was shut, and {hero} felt {mood}.",
        "The {foe} had taken the {color} {keepsake} from the {goal}.",
        "\"Who goes there?\" cried the {unit} at the {goal}.")


def help_comes(s):
    return s.say(
        "{friend} called the {unit}, and together they drove off the {foe}.",
        "{hero} gave the {unit} {many} {goods}, and they let {him} in.",
        "The {color} {animal} found the {keepsake} under a stone.",
        "\"I am {hero} from the {home},\" {he} said, and they smiled.",
        "{friend} lit a lamp, and the {foe} ran back to the {other}.",
        "The {unit} helped {him} to look, and they found the {keepsake}.")


def ending(s):
    return s.say(
        "{hero} went home to the {home} and was not {mood} any more.",
        "{time} {hero} and {friend} came back to the {home}.",
        "From then on the {color} {keepsake} hung in the {home}.",
        "{he} gave {friend} the {keepsake} and thanked the {unit}.",
        "And the {foe} never came back to the {goal}.",
        "That is how {hero} brought {many} {goods} to the {home}.")


def story(rng):
    s = Scene(rng)
    parts = [opening(s), wish(s)]
    if rng.random() < 0.7:
        parts.append(road(s))
    parts.append(trouble(s))
    parts.append(help_comes(s))
    if rng.random() < 0.8:
        parts.append(ending(s))
    join = "\n\n" if rng.random() < 0.1 else " "
    return join.join(parts)


def place_line(s):
    return s.say(
        "The {goal} lies between the {home} and the {other}.",
        "The {unit} keep {many} {goods} in the {goal}.",
        "Most days it is {weather} there.",
        "A {color} {animal} sleeps by the door of the {goal}.",
        "{hero} works at the {goal} and {friend} comes to help {time}.",
        "The people of the {goal} are afraid of the {foe}.",
        "The old {keepsake} over the door is {color}.",
        "You can buy {goods} at the {goal}, but not {color} ones.",
        "From the {goal} you can see the {other} when it is {weather}.")


def unit_line(s):
    return s.say(
        "The {unit} are {mood} people from the {home}.",
        "They wear {color} cloaks and carry {goods}.",
        "The {unit} fear the {foe} more than the cold.",
        "{hero} leads the {unit}, and {friend} is the youngest of them.",
        "In {weather} weather the {unit} stay in the {home}.",
        "They have fought the {foe} at the {other} {n} times.",
        "Each of the {unit} owns a {color} {keepsake}.")


def description(rng):
    s = Scene(rng)
    line = rng.choice([place_line, unit_line])
    lines, tries = [], 0
    while len(lines) < rng.randint(3, 5) and tries < 20:
        tries += 1
        new = line(s)
        if new not in lines:
            lines.append(new)
    return " ".join(lines)


def exchange(s):
    """A line by one speaker and the other's answer to it."""
    return s.rng.choice([
        ("Where is the {color} {keepsake}?",
         "The {color} {keepsake} is in the {other}."),
        ("How many {item} do we have at the {home}?",
         "We have {n} {item} at the {home}."),
        ("Who holds the {goal}?", "The {unit} hold the {goal}."),
        ("Did you see the {foe}?", "Yes, the {foe} were near the {goal}."),
        ("I feel {mood} today.", "Why do you feel {mood}?"),
        ("Take {many} {goods} to the {goal}.",
         "I will take {n} {item} to the {goal}."),
        ("Is it {weather} at the {home}?", "Yes, it is {weather} there."),
        ("Whose {animal} is that?", "The {animal} belongs to {friend}."),
        ("Will you go to the {other} with me?",
         "I would rather go to the {goal}."),
        ("The {unit} need {goods}.", "Then give the {unit} {many} {goods}."),
    ])


def talk(rng):
    s = Scene(rng)
    prose = rng.random() < 0.3
    lines, seen = [], []
    for _ in range(rng.randint(2, 4)):
        pair = exchange(s)
        if pair in seen:
            continue
        seen.append(pair)
        for who, line in zip((s.hero, s.friend), pair):
            text = line.format(**vars(s))
            lines.append(f'"{text}" said {who}.'.replace('."', ',"')
                         if prose else f"{who}: {text}")
    return "\n".join(lines)


def fact(rng, s, who):
    """A sentence about somebody and a question that it answers."""
    place, where = pick_alias(rng, world.PLACES, 0.3)
    n, many = pick_count(rng, 0.3)
    item, goods = pick_goods(rng)
    unit, said = pick_alias(rng, world.UNITS, 0.3)
    foe, called = pick_alias(rng, world.FOES, 0.3)
    return rng.choice([
        (f"{who} is at the {where}.", f"Where is {who}?", place),
        (f"{who} has {many} {goods}.", f"What does {who} have?",
         f"{n} {item}"),
        (f"{who} has {many} {goods}.", f"How many {item} has {who}?", str(n)),
        (f"{who} leads the {said}.", f"Whom does {who} lead?", unit),
        (f"{who} fears the {called}.", f"What does {who} fear?", foe),
        (f"{who} went to the {where} with the {said}.",
         f"Who went with {who}?", unit),
        (f"{who} fought the {called} at the {where}.",
         f"Where did {who} fight?", place),
        (f"{who} fought the {called} at the {where}.",
         f"Whom did {who} fight?", foe),
    ])


def questions(rng):
    s = Scene(rng)
    people = rng.sample(world.NAMES, rng.randint(2, 4))
    facts = [fact(rng, s, who) for who in people]
    text = " ".join(f[0] for f in facts)
    rng.shuffle(facts)
    q, a = rng.choice([("Q: ", "A: "), ("Question: ", "Answer: "), ("", "")])
    lines = [f"{q}{f[1]}\n{a}{cap(f[2])}" for f in facts[:3]]
    return text + "\n" + "\n".join(lines)
