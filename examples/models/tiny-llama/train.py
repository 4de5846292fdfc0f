#!/usr/bin/env python3
"""Build the tiny LLaMA model that ships with pare, from nothing but this file.

How to run:

    /usr/bin/python3 train.py

It needs only PyTorch and NumPy (Debian: python3-torch, python3-numpy; install
libopenblas0 as well, the reference BLAS is about fifteen times slower).  With
OpenBLAS and one thread the whole run takes @MINUTES@; `--steps 60` gives
a quick rehearsal of every stage.  Files are written next to this script unless
`--out` names another folder.

The script

 1. writes short children's tales with a grammar of its own (no outside text),
 2. trains a byte-fallback BPE tokenizer on them and writes `tokenizer.json`,
 3. trains a small LLaMA model, computing exactly what the `LlamaForCausalLM`
    class of Hugging Face transformers computes,
 4. stores it as `config.json` and `model.safetensors` (F16), together with
    held-out text (`heldout.txt`) and values for tests (`reference.json`),
 5. prints the perplexity of the stored weights, a few samples, and the damage
    done by naive rounding to 2, 4 and 8 bits.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import math
import random
import re
import struct
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# --------------------------------------------------------------------------
# 1. The grammar
# --------------------------------------------------------------------------
#
# A tale is a list of "beats".  A beat is a list of templates of which one is
# chosen; an empty template leaves the beat out.  In a template
#
#     {a|b|c}   stands for one of the alternatives (they may be nested),
#     $slot     stands for a value fixed for the whole tale (a name, a colour),
#               or, if the tale has no such value, for a word drawn from WORDS,
#     $Slot     is the same with a capital letter.
#
# Everything that must be remembered across sentences (who, what, which colour,
# how many, why) lives in slots that are filled once per tale.

GIRLS = (
    "Anna Bella Clara Daisy Ella Emma Flora Grace Hanna Ivy Julia Kate Lily "
    "Lucy Maya Mia Nina Nora Poppy Rosa Ruby Sara Tessa Zoe"
).split()
BOYS = (
    "Adam Ben Carl Dan Eli Felix Finn George Hugo Ivan Jack Jonas Leo Luke "
    "Max Milo Noah Oscar Otto Paul Peter Sam Theo Tim Tom"
).split()
ANIMAL_GIRLS = "Dot Hazel Tilly Pepper Fern Pearl Minty Willow".split()
ANIMAL_BOYS = "Pip Rusty Bobo Bramble Moss Button Acorn Basil".split()
ANIMALS = (
    "fox rabbit bear mouse hedgehog squirrel duck frog owl badger mole cat dog"
).split()
COLOURS = (
    "red blue green yellow orange purple pink white black brown golden silver"
).split()
TOYS = (
    "ball kite scarf hat book drum boat doll key ring bell lantern umbrella "
    "bucket whistle blanket marble feather shell cup box basket ribbon robot "
    "train flute crown"
).split()
NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve"
).split()
# Singular and plural of things that can be counted out and eaten.
FOODS = [
    ("apple", "apples"), ("pear", "pears"), ("cookie", "cookies"),
    ("plum", "plums"), ("cherry", "cherries"), ("nut", "nuts"),
    ("pancake", "pancakes"), ("carrot", "carrots"), ("muffin", "muffins"),
    ("sandwich", "sandwiches"), ("peach", "peaches"),
    ("strawberry", "strawberries"), ("bun", "buns"), ("berry", "berries"),
]
# Word and whether that grown-up is a "she".
ADULTS = [
    ("mother", True), ("father", False), ("grandmother", True),
    ("grandfather", False), ("aunt", True), ("uncle", False),
    ("big sister", True), ("big brother", False),
]

# Words that are drawn anew at every use.
WORDS: dict[str, list[str]] = {
    "trait": "little young small kind clever shy brave curious cheerful quiet "
             "gentle busy lively tiny friendly dreamy".split(),
    "glad": ["happy", "glad", "proud", "excited", "very happy", "pleased",
             "delighted", "full of joy"],
    "sad": ["sad", "upset", "worried", "unhappy", "very sad", "gloomy",
            "close to tears"],
    "nice": "nice pretty beautiful shiny lovely wonderful fine special".split(),
    "weather": "sunny cloudy windy warm cold bright foggy quiet fresh "
               "golden".split(),
    "daytime": ["morning", "afternoon", "day", "evening", "Sunday", "Monday",
                "Saturday", "Friday", "spring morning", "summer day",
                "autumn afternoon", "winter morning"],
    "went": ["went", "walked", "ran", "skipped", "hurried", "set off", "came"],
    "moment": ["just then", "suddenly", "after a while", "at that moment",
               "a little later", "soon", "before long", "a minute later"],
    "very": ["very", "so", "really", "quite", "rather"],
    "smiled": ["smiled", "laughed", "grinned", "nodded", "clapped", "giggled",
               "jumped up and down"],
    "loudly": ["loudly", "softly", "quickly", "quietly", "slowly", "bravely",
               "kindly", "with a sigh", "in a small voice"],
    "hooray": ["Hooray", "Wonderful", "Look", "Oh my", "How lovely", "Wow",
               "At last"],
    "thanks": ["Thank you", "Thank you so much", "Thanks", "Many thanks",
               "You are so kind", "How kind of you"],
    "snack": ["warm soup", "fresh bread", "hot cocoa", "apple pie",
              "bread and honey", "berry jam", "cold milk", "sweet cake",
              "cheese and crackers", "pumpkin soup"],
    "game": ["hide and seek", "catch", "tag", "pirates", "chess", "cards",
             "kings and queens", "the guessing game", "ball"],
}

# Each place: how one is there, what is to be seen, where things may hide.
PLACES: list[tuple[str, str, list[str], list[str]]] = [
    ("park", "in the park",
     ["children were flying kites", "the fountain was splashing",
      "a man was selling balloons", "an old lady was feeding the birds"],
     ["under a bench", "behind the fountain", "beside the swings",
      "near the slide"]),
    ("garden", "in the garden",
     ["bees were humming around the flowers", "the roses were in bloom",
      "a snail was hiding under a leaf", "the grass smelled sweet"],
     ["under the roses", "behind the shed", "in the flower bed",
      "next to the well"]),
    ("forest", "in the forest",
     ["the trees whispered in the wind", "birds were singing in the branches",
      "the path was covered with leaves", "a deer stood among the trees"],
     ["behind a fallen log", "under a pile of leaves", "in a hollow tree",
      "between the roots of an oak"]),
    ("beach", "on the beach",
     ["the waves were rolling in", "the sand was warm and soft",
      "the gulls were calling", "a white ship sailed far away"],
     ["under a towel", "behind a rock", "beside a sandcastle",
      "in a pile of seaweed"]),
    ("river", "by the river",
     ["the water was sparkling", "the ducks were swimming in a row",
      "little fish were jumping", "a fisherman was sitting on the bank"],
     ["under the bridge", "among the reeds", "behind a big stone",
      "in an old boat"]),
    ("hill", "on the hill",
     ["the wind was strong", "the whole village could be seen",
      "the sheep were eating grass", "the clouds looked very near"],
     ["behind a bush", "in the tall grass", "under an apple tree",
      "next to a stone wall"]),
    ("farm", "on the farm",
     ["the cows were chewing hay", "the hens were looking for seeds",
      "the rooster was crowing", "the farmer was driving his tractor"],
     ["in the barn", "under the cart", "behind the haystack",
      "in the pig pen"]),
    ("market", "at the market",
     ["people were selling fruit and bread", "the air smelled of cheese",
      "a woman was playing the violin", "everybody was in a hurry"],
     ["under a table", "behind a barrel", "between two crates",
      "beside the bread stand"]),
    ("library", "in the library",
     ["it was very quiet", "the shelves were full of books",
      "an old clock was ticking", "a boy was reading to his sister"],
     ["behind a shelf", "under a chair", "between two big books",
      "on the window seat"]),
    ("meadow", "in the meadow",
     ["butterflies were dancing over the flowers", "the grass was high",
      "a horse was running in circles", "crickets were singing"],
     ["under a thistle", "behind a molehill", "in the long grass",
      "next to the old gate"]),
    ("lake", "at the lake",
     ["the water was as smooth as glass", "a swan was sleeping",
      "frogs were croaking", "two boys were throwing stones"],
     ["under the dock", "behind a willow", "among the lilies",
      "in a wet shoe"]),
    ("school yard", "in the school yard",
     ["the children were jumping rope", "the bell had just rung",
      "somebody had drawn a sun on the ground", "a ball was flying around"],
     ["under the stairs", "behind the gate", "in the sandbox",
      "near the big oak tree"]),
]

Slots = dict[str, str]


class Teller:
    """Fills templates for one tale, remembering the slots chosen so far."""

    _INNERMOST = re.compile(r"\{([^{}]*)\}")
    _SLOT = re.compile(r"\$([A-Za-z]\w*)")
    _ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])")

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.slots: Slots = {}

    def pick(self, options: Sequence[Any]) -> Any:
        """Return one of the options, all equally likely."""
        return options[self.rng.randrange(len(options))]

    def pick_two(self, options: Sequence[Any]) -> tuple[Any, Any]:
        """Return two different options."""
        first, second = self.rng.sample(range(len(options)), 2)
        return options[first], options[second]

    def _slot(self, match: re.Match[str]) -> str:
        name = match.group(1)
        key = name[0].lower() + name[1:]
        value = self.slots[key] if key in self.slots else self.pick(WORDS[key])
        return value[0].upper() + value[1:] if name[0].isupper() else value

    def fill(self, template: str) -> str:
        """Expand alternatives and slots, and mend articles and capitals."""
        text, found = template, 1
        while found:
            text, found = self._INNERMOST.subn(
                lambda m: self.pick(m.group(1).split("|")), text)
        while "$" in text:
            text = self._SLOT.sub(self._slot, text)
        text = " ".join(text.split())
        text = self._ARTICLE.sub(r"\1n ", text)
        first = 1 if text.startswith('"') else 0
        return text[:first] + text[first:first + 1].upper() + text[first + 1:]

    def cast(self, role: str, taken: str = "") -> None:
        """Invent a character: a child or a talking animal.

        The empty role is the hero ($hero, $he, $him, ...); the role "f" is
        the friend ($fname, $fhe, $fhim, ...).
        """
        female = self.rng.random() < 0.5
        if self.rng.random() < 0.6:
            kind, names = ("girl", GIRLS) if female else ("boy", BOYS)
        else:
            kind = self.pick(ANIMALS)
            names = ANIMAL_GIRLS if female else ANIMAL_BOYS
        name = self.pick([n for n in names if n != taken])
        self.slots[role + "kind"] = kind
        self.slots["fname" if role else "hero"] = name
        self.pronouns(role, female)

    def pronouns(self, role: str, female: bool) -> None:
        """Set $he, $him, $his, $himself for a role (as a prefix)."""
        forms = ("she her her herself" if female else "he him his himself")
        for key, form in zip(("he", "him", "his", "himself"), forms.split()):
            self.slots[role + key] = form

    def stage(self) -> None:
        """Choose what every tale has: hero, friend, grown-up, place, toy."""
        self.cast("")
        self.cast("f", taken=self.slots["hero"])
        adult, female = self.pick(ADULTS)
        self.slots["adult"] = adult
        self.pronouns("a", female)
        place, at, scenery, spots = self.pick(PLACES)
        spot, wrong_spot = self.pick_two(spots)
        colour, other_colour = self.pick_two(COLOURS)
        toy, other_toy = self.pick_two(TOYS)
        self.slots.update(
            place=place, at=at, scenery=self.pick(scenery), spot=spot,
            wrongspot=wrong_spot, colour=colour, othercolour=other_colour,
            toy=toy, othertoy=other_toy)


# Ways to begin, shared by all plots.
OPENING = [
    "{Once upon a time|Long ago|Not so long ago|Once}{,|} there {was|lived} a "
    "{$trait|$trait|$trait and $trait} $kind {named|called} $hero.",
    "$hero was a {$trait|$trait|$trait and $trait} $kind who "
    "{lived near the $place|loved to be outside|liked to play $game"
    "|always had a song on $his lips|wanted to know everything"
    "|loved to eat $snack}.",
    "{In a small house|In a village|In a cottage} {by the sea|near a forest"
    "|on a green hill|at the end of a long road|beside a mill|under tall trees}"
    " {lived|there lived} a $trait $kind {named|called} $hero.",
    "There was once a $trait $kind. $His name was $hero, and $he lived with "
    "$his $adult {near the $place|in a {small|tall|crooked|yellow} house}.",
]

SCENE = [
    "",
    "{It was a $weather $daytime and|It was a $weather $daytime, and} "
    "$scenery.",
    "There {|, } $scenery.".replace("{|, }", "").replace("  ", " "),
    "All around, $scenery.",
]

MORAL = {
    "help": [
        "{From that day on|From then on|After that}, $hero and $fname "
        "{were the best of friends|met every $daytime|always helped each other"
        "|played together $at}.",
        "And so $hero learned that {two can find more than one|a good friend "
        "is better than any $toy|it helps to ask for help}.",
        "Then they {went home together|shared some $snack|sat down $at and "
        "talked until the moon came up|played $game until it was dark}.",
        "That night, $hero {fell asleep with a smile|dreamed of $fname|slept "
        "very well}.",
    ],
    "home": [
        "{That evening|That night|At bedtime}, $hero told $his $adult {all "
        "about it|the whole story|what had happened}, and $ahe {$smiled"
        "|listened to every word|hugged $him}.",
        "In the end, $hero {went home and ate $snack|went to bed $glad|was "
        "tired but $glad}.",
        "$hero never forgot that $daytime.",
        "{And that was the end of a long day.|It had been a good day after "
        "all.|What a day it had been!}",
    ],
}

Beats = list[list[str]]
Plot = Callable[[Teller], Beats]
