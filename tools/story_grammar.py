"""From a seed to a short story, and how surprising each choice on the way was.

story_words.py lists people and places, story_plots.toml what can happen; this file chooses.

    python tools/story_grammar.py --seed 7
"""

import argparse
import math
import random
import re
import tomllib
from pathlib import Path

from story_words import (
    ANIMAL_BOYS,
    ANIMAL_GIRLS,
    BOYS,
    CHILD_NOUNS,
    GIRLS,
    KIN,
    PRONOUNS,
    SIZES,
    TRAITS,
    WISE_ANIMALS,
    WORLDS,
)

OTHER = {"she": "he", "he": "she"}

HABIT = "[{He} was {trait}, and everyone liked {him}.|Everyone knew how {trait} {he} was.|]"
HABIT_AND_WISH = HABIT + " {wants}"

# {wants} is the wish as a sentence without its subject; {sense} is a whole sentence.
OPENINGS = (
    "Once upon a time, there was {a_hero}. {hero} lived {home}. " + HABIT_AND_WISH,
    "Once upon a time, there was {a_hero} who lived {home}. " + HABIT_AND_WISH,
    "Once upon a time there lived {a_hero}, {home}. " + HABIT_AND_WISH,
    "Once upon a time, {home}, there lived {a_hero}. " + HABIT_AND_WISH,
    "There was once {a_hero} who lived {home}. " + HABIT_AND_WISH,
    "{home} lived {a_hero}. " + HABIT_AND_WISH,
    "Long ago, {home}, there was {a_hero}. " + HABIT_AND_WISH,
    "{hero} wanted {wish}. {He} was {a_kind}, and {he} lived {home}. " + HABIT,
    "{hero} was {a_kind} who lived {home}. " + HABIT_AND_WISH,
)
OPENINGS_ON_A_DAY = (
    "One [sunny|bright|fine|quiet] morning, {a_hero} [woke up early|opened {his} eyes]. {sense} "
    "{He} lived {home}. {wants}",
    "One day[,|] {a_hero} sat near {spot}[, deep in thought| and looked up at the sky]. "
    "{He} lived {home}. {wants}",
    "It was a [sunny|bright|fine|quiet] morning {home}. {sense} "
    "{a_hero} [was already awake|came outside]. {wants}",
    '"[Good morning|Hello], sun!" said {a_hero}. {He} lived {home}. {sense} {wants}',
)
WANTS = (
    "{hero} wanted {wish}.",
    "More than anything, {hero} wanted {wish}.",
    "There was only one thing {hero} wanted: {wish}.",
    "{hero} had one great wish: {wish}.",
)


def read_plots(path):
    """The plots of a file like story_plots.toml, a list of dicts; a line break becomes a space."""

    def flatten(value):
        if isinstance(value, dict):
            return {name: flatten(part) for name, part in value.items()}
        if isinstance(value, list):
            return [flatten(part) for part in value]
        return value.strip().replace("\n", " ")

    return flatten(tomllib.loads(path.read_text(encoding="utf-8")))["plot"]


PLOTS = read_plots(Path(__file__).with_name("story_plots.toml"))


class Chooser:
    """A seeded source of choices that adds up how surprising they were.

    nats is the sum of -log p over the choices so far; Story saves and restores it.
    """

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.nats = 0.0

    def pick(self, options):
        """One of the options, each equally likely; one that is there twice is twice as likely."""
        option = options[self.random.randrange(len(options))]
        self.nats += math.log(len(options) / options.count(option))
        return option


class Story:
    """Fields that stay the same through the whole story, and the templates that use them."""

    def __init__(self, chooser):
        self.chooser = chooser
        self.fields = {}
        self.late = {}
        self.shown = []  # names of the fields that the text being expanded holds
        self.hidden = {}  # name -> (surprise of its own choices, names of the fields it holds)

    def later(self, names, define_them):
        """Call define_them() when one of the fields in names (separated by spaces) is first needed.

        A choice that no sentence needs is then never made.
        """
        self.late.update(dict.fromkeys(names.split(), define_them))

    def define(self, **templates):
        """Expand each template once and keep the result, and its surprise, under its name."""
        for name, template in templates.items():
            before, outer_shown = self.chooser.nats, self.shown
            self.shown = []
            self.fields[name] = self.expand(template)
            self.hidden[name] = (self.chooser.nats - before, self.shown)
            self.chooser.nats, self.shown = before, outer_shown

    def expand(self, template):
        """The template with fields filled in and one part of every [a|b] chosen."""
        pieces = []
        at = 0
        while at < len(template):
            if template[at] == "[":
                parts, at = split_choice(template, at)
                pieces.append(self.expand(self.chooser.pick(parts)))
            elif template[at] == "{":
                end = template.index("}", at)
                pieces.append(self.field(template[at + 1 : end]))
                at = end + 1
            else:
                pieces.append(template[at])
                at += 1
        return "".join(pieces)

    def field(self, name):
        """The value of a field; if the name begins with a capital, the value does too."""
        name_lower = name.lower()
        if name_lower not in self.fields:
            self.late[name_lower]()
        self.shown.append(name_lower)
        value = self.fields[name_lower]
        return value[0].upper() + value[1:] if name[0].isupper() else value

    def nats(self):
        """The surprise of all choices, except those in fields that the story never showed."""
        nats, waiting, hidden = self.chooser.nats, list(self.shown), dict(self.hidden)
        while waiting:
            own_nats, holds = hidden.pop(waiting.pop(), (0.0, ()))
            nats += own_nats
            waiting.extend(holds)
        return nats


def split_choice(template, start):
    """The parts of the choice whose "[" is at start, and the position after its "]"."""
    depth, parts, begin = 0, [], start + 1
    for at in range(start, len(template)):
        if template[at] == "[":
            depth += 1
        elif template[at] == "]":
            depth -= 1
            if depth == 0:
                return [*parts, template[begin:at]], at + 1
        elif template[at] == "|" and depth == 1:
            parts.append(template[begin:at])
            begin = at + 1
    raise ValueError(f"template: '[' at {start} is never closed: {template!r}")


def polish(text):
    """Single spaces, "an" before a vowel, and a capital at the start of every sentence."""
    text = re.sub(r" +", " ", text).strip()
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return re.sub(r"(^|[.!?] |\.\" |[^,] \")([a-z])", lambda m: m[1] + m[2].upper(), text)


def cast_hero(story, world, kind):
    """Define the hero: an unnamed or named animal, or a child.

    Returns:
        (pronoun, species): species is None for a child.
    """
    pick = story.chooser.pick
    pronoun = pick(("she", "he"))
    story.define(**PRONOUNS[pronoun])
    if kind == "child":
        noun = CHILD_NOUNS[pronoun]
        name = pick(GIRLS if pronoun == "she" else BOYS)
        story.define(hero=name, call=name, a_kind=f"a [|little ]{noun}")
        story.define(a_hero="{a_kind} [named|called] {hero}")
        return pronoun, None
    species = pick(world["animals"])
    size = pick(SIZES)
    story.define(a_kind=f"a {size} {species}")
    if pick(("named", "named", "unnamed")) == "unnamed":
        story.define(hero=f"the {species}", call=f"[little|dear] {species}", a_hero="{a_kind}")
    else:
        name = pick(ANIMAL_GIRLS if pronoun == "she" else ANIMAL_BOYS)
        story.define(hero=name, call=name, a_hero="{a_kind} [named|called] {hero}")
    return pronoun, species


def cast_friend(story, world, pronoun, species):
    """Define the friend, whose pronoun is never the hero's, so that "he" and "she" stay clear."""
    pick = story.chooser.pick
    pronoun = OTHER[pronoun]
    story.define(**{"f" + key: form for key, form in PRONOUNS[pronoun].items()})
    if species is None:
        name = pick(GIRLS if pronoun == "she" else BOYS)
        noun = CHILD_NOUNS[pronoun]
    else:
        name = pick(ANIMAL_GIRLS if pronoun == "she" else ANIMAL_BOYS)
        noun = "[" + "|".join(animal for animal in world["animals"] if animal != species) + "]"
    story.define(friend=name, a_friend=f"a {noun} [named|called] {name}")


def cast_elder(story, species):
    """Define the elder: kin, or for an animal perhaps one of the wise old animals."""
    elder, pronoun = story.chooser.pick(KIN if species is None else KIN[:4] + WISE_ANIMALS)
    story.define(elder=elder, elder_s=elder + "'s")
    story.define(**{"e" + key: form for key, form in PRONOUNS[pronoun].items()})


def rows_for(plot, species):
    """The rows of a plot that make sense for a child (species None) or for an animal."""
    kind = "child" if species is None else "animal"
    return [
        row
        for row in plot["row"]
        if row.get("only", kind) == kind and species not in row.get("not", ())
    ]


def tell(seed):
    """One story and the surprise of all choices made for it.

    Args:
        seed: int; the same seed always gives the same story.
    Returns:
        (text, nats): paragraphs joined by newlines; -log p of the choices that it shows.
    """
    chooser = Chooser(seed)
    story = Story(chooser)
    plot = chooser.pick(PLOTS)
    kind = chooser.pick(("child", "animal"))
    world = chooser.pick([world for world in WORLDS if kind == "child" or world["animals"]])
    pronoun, species = cast_hero(story, world, kind)

    def choose_spot():
        story.define(spot=chooser.pick(world["spots"]))

    def choose_spot2():
        first = story.field("spot")
        story.define(spot2=chooser.pick([spot for spot in world["spots"] if spot != first]))

    story.later("spot", choose_spot)
    story.later("spot2", choose_spot2)
    story.later(
        "friend a_friend fhe fhim fhis", lambda: cast_friend(story, world, pronoun, species)
    )
    story.later("elder elder_s ehe ehim ehis", lambda: cast_elder(story, species))
    story.later("trait", lambda: story.define(trait=chooser.pick(TRAITS)))
    story.later("sense", lambda: story.define(sense=chooser.pick(world["senses"])))
    story.later("wants", lambda: story.define(wants=chooser.pick(WANTS)))
    story.later("home", lambda: story.define(home=chooser.pick(world[kind + "_homes"])))

    on_a_day = chooser.pick((False, False, True))
    days = "that same day|a little later|that afternoon|soon after"
    if not on_a_day:
        days = "one day|one morning|one afternoon|one fine day"
    story.later("then", lambda: story.define(then=f"[{days}]"))
    row = chooser.pick(rows_for(plot, species))
    story.define(**{name: value for name, value in row.items() if name not in ("only", "not")})
    story.define(wish=plot["wish"])

    openings = OPENINGS_ON_A_DAY if on_a_day else OPENINGS
    if story.field("hero").startswith("the "):  # a hero without a name must first be introduced
        openings = [opening for opening in openings if not opening.startswith("{hero}")]
    opening = story.expand(chooser.pick(openings))
    paragraphs = [story.expand(part) for part in plot["body"]]
    paragraphs[0] = opening + " " + paragraphs[0]
    paragraphs[-1] += " " + story.expand(chooser.pick(plot["morals"]))
    return "\n".join(map(polish, paragraphs)), story.nats()


def main():
    parser = argparse.ArgumentParser(description="Print stories from the grammar.")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first story")
    parser.add_argument("--count", type=int, default=1)
    args = parser.parse_args()
    for seed in range(args.seed, args.seed + args.count):
        text, nats = tell(seed)
        print(f"--- seed {seed}, {nats:.1f} nats, {len(text.split())} words\n{text}\n")


if __name__ == "__main__":
    main()
