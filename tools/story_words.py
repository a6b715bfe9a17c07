"""The people, animals and places of the stories: who may live where, and what is near.

This file makes no choices: story_grammar.py does. story_plots.toml describes what happens.
"""

GIRLS = (
    "Lily",
    "Mia",
    "Anna",
    "Rosa",
    "Nora",
    "Clara",
    "Ella",
    "Ruby",
    "Maya",
    "Ida",
    "Lucy",
    "Tess",
)
BOYS = ("Tom", "Ben", "Leo", "Max", "Sam", "Finn", "Otto", "Jack", "Hugo", "Paul", "Noah", "Tim")
ANIMAL_GIRLS = ("Hazel", "Poppy", "Tilly", "Luna", "Dotty", "Willow", "Daisy", "Mimi")
ANIMAL_BOYS = ("Pip", "Bramble", "Rusty", "Toby", "Moss", "Nibbles", "Oscar", "Bruno")

PRONOUNS = {
    "she": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
    "he": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
}

CHILD_NOUNS = {"she": "girl", "he": "boy"}

# One world per story. "senses" are whole sentences that are true there on any dry day;
# "spots" must read well after "to" and after "near".
WORLDS = (
    {
        "name": "sea",
        "child_homes": (
            "in a small village by the sea",
            "in a white house near the harbour",
            "in a fishing town where the gulls cried all day",
        ),
        "animals": (),
        "animal_homes": (),
        "spots": (
            "the beach",
            "the harbour",
            "the lighthouse",
            "the rock pools",
            "the fish market",
        ),
        "senses": (
            "the air smelled of salt.",
            "the waves whispered on the sand.",
            "white gulls sailed over the roofs.",
        ),
    },
    {
        "name": "farm",
        "child_homes": (
            "on a farm at the foot of a green hill",
            "in a red farmhouse with a crooked chimney",
            "on a little farm far from any town",
        ),
        "animals": ("mouse", "duck", "goat", "lamb", "pig", "goose"),
        "animal_homes": (
            "in a cosy barn on a quiet farm",
            "behind the stable on a big farm",
            "on a farm at the foot of a green hill",
        ),
        "spots": ("the barn", "the orchard", "the old well", "the duck pond", "the hay field"),
        "senses": (
            "the air smelled of fresh hay.",
            "the hens were clucking in the yard.",
            "dew was shining on the grass.",
        ),
    },
    {
        "name": "forest",
        "child_homes": (
            "in a little house at the edge of the forest",
            "in a log cabin among tall trees",
            "in a village in the middle of the woods",
        ),
        "animals": ("fox", "rabbit", "hedgehog", "squirrel", "badger", "bear", "mouse", "deer"),
        "animal_homes": (
            "under an old oak tree",
            "in a mossy hollow deep in the forest",
            "at the edge of a green forest",
        ),
        "spots": (
            "the old oak tree",
            "the stream",
            "the blackberry bushes",
            "the clearing",
            "the hollow log",
        ),
        "senses": (
            "the forest smelled of moss and pine.",
            "sunlight fell through the leaves.",
            "a cuckoo was calling far away.",
        ),
    },
    {
        "name": "town",
        "child_homes": (
            "in a busy town with a tall clock tower",
            "in a narrow house above a bakery",
            "in a small town with crooked streets",
        ),
        "animals": (),
        "animal_homes": (),
        "spots": (
            "the market square",
            "the park",
            "the stone bridge",
            "the fountain",
            "the clock tower",
        ),
        "senses": (
            "the street smelled of warm bread.",
            "bells were ringing over the roofs.",
            "pigeons were cooing on the window sill.",
        ),
    },
    {
        "name": "mountain",
        "child_homes": (
            "in a village high in the mountains",
            "in a wooden hut on a mountain",
            "in a valley between two mountains",
        ),
        "animals": ("goat", "hare", "bear", "fox", "marmot"),
        "animal_homes": (
            "in a warm den high on a mountain",
            "between two big rocks on a mountain",
            "in a valley between two mountains",
        ),
        "spots": (
            "the waterfall",
            "the pine wood",
            "the mountain lake",
            "the goat path",
            "the great rock",
        ),
        "senses": (
            "the air was cool and clear.",
            "small blue flowers were opening between the stones.",
            "an eagle was turning slowly in the sky.",
        ),
    },
    {
        "name": "river",
        "child_homes": (
            "in a cottage beside a slow river",
            "in a mill by the river",
            "in a village where two rivers met",
        ),
        "animals": ("otter", "duck", "frog", "beaver", "mouse", "turtle"),
        "animal_homes": (
            "among the reeds of a slow river",
            "beside a river where the willows grow",
            "under a wooden bridge",
        ),
        "spots": (
            "the old mill",
            "the willow trees",
            "the boat landing",
            "the reeds",
            "the river bend",
        ),
        "senses": (
            "mist was rising from the water.",
            "dragonflies were dancing over the river.",
            "the river was humming its slow song.",
        ),
    },
)

# (noun phrase, pronoun); "{his}" is the hero's.
KIN = (
    ("{his} grandmother", "she"),
    ("{his} grandfather", "he"),
    ("{his} mother", "she"),
    ("{his} father", "he"),
    ("{his} aunt", "she"),
    ("{his} uncle", "he"),
)
WISE_ANIMALS = (("the old owl", "she"), ("the old raven", "he"), ("the old toad", "he"))

SIZES = ("small", "little", "young")
TRAITS = (
    "curious",
    "kind",
    "cheerful",
    "gentle",
    "clever",
    "quiet",
    "friendly",
    "lively",
    "patient",
)
