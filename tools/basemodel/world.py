# SPDX-License-Identifier: MIT
"""Words of the small game world, shared by the text and the command generators.

Both generators must spell the world the same way: the base model reads these
words in make_text.py's output and has to copy them in make_commands.py's task.
"""

NAMES = (
    "Mara Tobin Elsa Joren Nima Oskar Pella Rurik Sanna Tilda Ulric Vera "
    "Wend Yara Bram Corin Dalla Edda Finn Greta Hal Ivo Jana Kell Lena Milo "
    "Nora Otto Petra Quill Rosa Sven Tova Una Vidar Wilma"
).split()

SHE = set("Mara Elsa Nima Pella Sanna Tilda Vera Yara Dalla Edda Greta Jana "
          "Lena Nora Petra Rosa Tova Una Wilma".split())

# Groups of people a player can command; other words for the same group.
UNITS = {
    "archers": ["bowmen"],
    "riders": ["horsemen", "cavalry"],
    "spearmen": ["pikemen"],
    "knights": [],
    "guards": ["sentries", "watchmen"],
    "scouts": ["rangers"],
    "miners": ["diggers"],
    "farmers": ["field hands"],
    "builders": ["masons"],
    "healers": ["medics"],
    "hunters": ["trappers"],
    "sailors": ["boatmen"],
    "woodcutters": ["lumberjacks"],
    "smiths": ["blacksmiths"],
    "traders": ["merchants"],
    "fishers": ["fishermen"],
    "squires": [],
    "cooks": [],
    "carters": ["drivers"],
    "wizards": ["mages"],
}

PLACES = {
    "north gate": ["northern gate"],
    "south gate": ["southern gate"],
    "east gate": ["eastern gate"],
    "west gate": ["western gate"],
    "old mill": ["ancient mill"],
    "stone bridge": ["bridge of stone"],
    "river ford": ["ford"],
    "market square": ["market"],
    "harbor": ["docks", "port"],
    "watchtower": ["lookout tower"],
    "iron mine": ["mine"],
    "pine forest": ["pine woods"],
    "wheat field": [],
    "castle": ["fortress"],
    "village": ["hamlet"],
    "chapel": [],
    "quarry": ["stone pit"],
    "lake shore": ["shore of the lake"],
    "hill fort": [],
    "mountain pass": ["pass"],
    "great hall": [],
    "barn": [],
    "stables": [],
    "swamp": ["marsh"],
    "crossroads": ["crossing"],
    "lighthouse": [],
    "dark cave": ["cave"],
    "apple orchard": ["orchard"],
}

# Things that are counted by a measure word ("three sacks of wheat").
BULK = {
    "wood": (["loads", "piles", "carts"], ["timber", "lumber"]),
    "stone": (["loads", "blocks", "carts"], ["rock"]),
    "iron": (["bars", "crates"], []),
    "wheat": (["sacks", "bags"], ["grain"]),
    "gold": (["bags", "chests"], []),
    "salt": (["bags", "barrels"], []),
    "fish": (["baskets", "barrels"], []),
    "water": (["barrels", "buckets"], []),
    "coal": (["carts", "sacks"], []),
    "clay": (["buckets", "carts"], []),
    "honey": (["jars", "pots"], []),
    "wool": (["bundles", "bags"], ["fleece"]),
}

# Things that are counted one by one ("three swords").
PIECES = {
    "swords": ["blades"],
    "arrows": [],
    "shields": [],
    "bows": [],
    "torches": [],
    "apples": [],
    "horses": ["steeds"],
    "ropes": [],
    "blankets": [],
    "herbs": ["healing herbs"],
    "loaves": [],
    "tools": [],
}

FOES = {
    "goblins": [],
    "wolves": ["wolf pack"],
    "bandits": ["robbers", "outlaws"],
    "trolls": [],
    "raiders": [],
    "pirates": [],
    "skeletons": [],
    "orcs": [],
    "giant spiders": ["spiders"],
    "dragon": [],
    "ogres": [],
    "rebels": [],
}

STRUCTURES = {
    "wall": ["rampart"],
    "tower": [],
    "bridge": [],
    "farm": [],
    "forge": ["smithy"],
    "barracks": [],
    "well": [],
    "storehouse": ["warehouse"],
    "house": ["cottage"],
    "gatehouse": [],
    "palisade": ["wooden fence"],
    "shrine": [],
}

# Ways to say each order. "{u}" stands before the verb; the rest follows it.
# The first verb of each list is the plain one.
VERBS = {
    "hold": ["hold", "guard", "defend", "keep", "protect", "watch over",
             "stand watch at", "secure"],
    "move": ["move to", "go to", "march to", "head to", "walk to",
             "travel to", "set out for", "make for"],
    "attack": ["attack", "strike", "charge", "fight", "strike down",
               "drive off", "go after", "hunt down"],
    "build": ["build", "raise", "put up", "construct", "set up", "make"],
    "gather": ["gather", "collect", "fetch", "bring in", "pick up", "find"],
    "give": ["give", "hand", "send", "deliver", "pass", "hand over"],
    "recruit": ["recruit", "train", "hire", "call up", "muster", "enlist"],
    "scout": ["scout", "explore", "search", "spy on", "look around",
              "survey"],
}

COUNT_WORDS = {
    2: ["two", "a pair of", "a couple of"], 3: ["three"], 4: ["four"],
    5: ["five"], 6: ["six", "half a dozen"], 7: ["seven"], 8: ["eight"],
    9: ["nine"], 10: ["ten"], 11: ["eleven"], 12: ["twelve", "a dozen"],
    13: ["thirteen"], 14: ["fourteen"], 15: ["fifteen"], 16: ["sixteen"],
    18: ["eighteen"], 20: ["twenty", "a score of"], 25: ["twenty-five"],
    30: ["thirty"], 40: ["forty"], 50: ["fifty"], 60: ["sixty"],
    100: ["a hundred", "one hundred"],
}

COLORS = "red blue green white black grey brown golden silver yellow".split()
ANIMALS = "dog cat goat hen horse cow fox owl crow deer hare mule".split()
WEATHER = "clear cloudy rainy windy foggy snowy stormy bright cold warm".split()
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
        "Sunday"]
TIMES = ["at dawn", "at noon", "at dusk", "in the morning", "in the evening",
         "before sunrise", "after supper", "at midnight", "that day"]
MOODS = "glad tired proud afraid calm angry hungry curious brave sad".split()
KEEPSAKES = ["lamp", "key", "map", "ring", "coin", "bell", "book", "cup",
             "knife", "cloak", "horn", "letter", "drum", "basket", "mirror"]

# Words for speaking of a game. They stand in copying exercises, so that the
# vocabulary holds them whole; nothing there says what they are used for.
TERMS = ("action unit place target item count player command number answer "
         "reason level story turn score rule color name order guest").split()

ITEMS = list(BULK) + list(PIECES)


def pick_alias(rng, table, chance):
    """A canonical word and the word to say for it, often the same one."""
    plain = rng.choice(list(table))
    if table[plain] and rng.random() < chance:
        return plain, rng.choice(table[plain])
    return plain, plain


def pick_count(rng, digits=0.4):
    """A number and how to say it: half of the players type digits."""
    n = rng.choice(list(COUNT_WORDS))
    if rng.random() < digits:
        return n, str(n)
    return n, rng.choice(COUNT_WORDS[n])


def pick_goods(rng, chance=0.3, measure=0.6):
    """An item and how to say it behind a number."""
    item = rng.choice(ITEMS)
    if item in PIECES:
        names = PIECES[item]
        said = rng.choice(names) if names and rng.random() < chance else item
        return item, said
    measures, names = BULK[item]
    said = rng.choice(names) if names and rng.random() < chance else item
    if rng.random() < measure:
        said = rng.choice(measures) + " of " + said
    return item, said


def article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def cap(text):
    return text[0].upper() + text[1:]
