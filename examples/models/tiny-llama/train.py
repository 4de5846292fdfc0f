#!/usr/bin/env python3
"""Build the tiny LLaMA model that ships with pare, from nothing but this file.

How to run:

    /usr/bin/python3 train.py

It needs only PyTorch and NumPy (Debian: python3-torch, python3-numpy).  On one
core of an x86-64 CPU with AVX-512 BF16 or AMX the whole run takes about half
an hour, on other CPUs several times as long; `--steps 60` gives a quick
rehearsal of every stage.  Files are written next to this script unless `--out`
names another folder.

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

# Each place: how one is there, what is to be seen, where things may hide.
Place = tuple[str, str, list[str], list[str]]
PLACES: list[Place] = [
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

WILD_PLACES = [place for place in PLACES
               if place[0] not in ("market", "library", "school yard")]
WEATHER = "sunny cloudy windy warm cold bright foggy quiet fresh grey".split()
DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split()
DAYTIMES = ["morning", "afternoon", "day", "evening", "holiday", *DAYS]

ADVERBS = ["loudly", "softly", "quickly", "quietly", "slowly", "bravely",
           "after a while", "in a small voice", "once more", "at last",
           "at once", "very softly", "without looking up", "from far away",
           "in a deep voice", "with a wink"]
ADJECTIVES = ("small big old new nice pretty shiny lovely wonderful fine tiny "
              "little round funny strange soft clean dusty heavy light simple "
              "beautiful odd good").split()
MOODS = ("kind clever shy brave curious cheerful quiet gentle busy lively "
         "friendly dreamy funny careful patient polite merry stubborn lazy "
         "noisy proud honest").split()
TRAITS = ["little", "young", "small", "tiny", *MOODS]

# Words that are drawn anew at every use; they may contain slots themselves.
WORDS: dict[str, list[str]] = {
    "trait": TRAITS,
    "mood": [""] * 12 + MOODS,
    "adj": [""] * 12 + ADJECTIVES,
    "later": [""] * 8 + ["then,", "now,", "soon,", "that day,", "of course,",
                         "before long,", "after that,", "a little later,"],
    "glad": ["happy", "glad", "proud", "excited", "cheerful", "pleased",
             "delighted"],
    "sad": ["sad", "upset", "worried", "unhappy", "gloomy", "miserable"],
    "nice": ["nice", "pretty", "beautiful", "shiny", "lovely", "wonderful",
             "fine", "special"],
    "day": ["day", "morning", "afternoon", "evening", *DAYS],
    "went": ["went", "walked", "ran", "skipped", "hurried", "set off", "came"],
    "moment": ["just then", "suddenly", "after a while", "at that moment",
               "a little later", "soon", "before long", "a minute later"],
    "very": ["very", "so", "really", "quite", "rather"],
    "smiled": ["smiled", "laughed", "grinned", "nodded", "clapped", "giggled",
               "jumped up and down"],
    "loudly": ADVERBS,
    "how": [""] * 10 + ADVERBS,
    "hooray": ["Hooray", "Wonderful", "Look", "Oh my", "How lovely", "Wow",
               "At last"],
    "thanks": ["Thank you", "Thank you so much", "Thanks", "Many thanks",
               "You are so kind", "How kind of you"],
    "snack": ["warm soup", "fresh bread", "hot cocoa", "apple pie",
              "bread and honey", "berry jam", "cold milk", "sweet cake",
              "cheese and crackers", "pumpkin soup"],
    # Anybody and anything, for what happens at the edge of a tale.
    "someone": GIRLS + BOYS + ANIMAL_GIRLS + ANIMAL_BOYS,
    "hue": COLOURS,
    "animals": ["foxes", "rabbits", "bears", "mice", "hedgehogs", "squirrels",
                "ducks", "frogs", "owls", "badgers", "moles", "cats", "dogs",
                "bees", "sheep", "snails", "geese", "ponies"],
    "beast": ANIMALS + ["bee", "sheep", "snail", "goose", "pony"],
    "thing": TOYS,
    "number": NUMBERS[2:],
    "foods": [plural for _, plural in FOODS],
    "somewhere": [at for _, at, _, _ in PLACES],
    "hideout": [spot for *_, spots in PLACES for spot in spots],
    "kin": ["cousin", "neighbour", "friend", "teacher"],
    "weekday": DAYS,
    "doing": ["sleeping $hideout",
              "reading a book about $animals",
              "eating $foods",
              "painting a $mood $hue $beast",
              "playing $game",
              "looking for a $adj $hue $thing",
              "talking to a $beast",
              "feeding $number $mood $animals",
              "singing about $animals",
              "selling $foods",
              "running after a $mood $hue $beast",
              "counting $foods",
              "hiding $hideout",
              "dancing with a $beast",
              "sitting $hideout",
              "carrying a $adj $hue $thing",
              "waiting for $someone",
              "eating $snack",
              "washing a $thing",
              "dreaming of $snack"],
    "wish": ["look for $foods $somewhere",
             "visit $mood $someone $somewhere",
             "eat $number $foods",
             "draw a $mood $hue $beast",
             "play $game",
             "make $snack",
             "paint the $thing $hue",
             "catch a $mood $hue $beast",
             "sing for $someone and the $animals",
             "sleep $hideout",
             "write a letter to $someone",
             "find a $adj $hue $thing $hideout",
             "feed the $animals $somewhere",
             "hide from $someone",
             "learn to play $game",
             "have a $adj $hue $thing"],
    "game": ["hide and seek", "catch", "tag", "cooks", "school", "robbers",
             "knights", "shop", "pirates", "chess", "cards",
             "kings and queens", "the guessing game", "ball"],
}

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
        text = template
        while "{" in text or "$" in text:
            # Slots wait until no alternatives are left, so that only those
            # which are really used draw a word.
            text, found = self._INNERMOST.subn(
                lambda m: self.pick(m.group(1).split("|")), text)
            if not found:
                text = self._SLOT.sub(self._slot, text)
        text = " ".join(text.split()).replace(" .", ".")
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
        self.go_to(PLACES)
        nature, more_nature = self.pick_two(TRAITS)
        if self.rng.random() < 0.3:
            nature += " and " + more_nature
        colour, other_colour = self.pick_two(COLOURS)
        toy, other_toy = self.pick_two(TOYS)
        self.slots.update(
            count=NUMBERS[self.rng.randint(2, 12)],
            plural=self.pick(FOODS)[1], weather=self.pick(WEATHER),
            daytime=self.pick(DAYTIMES), nature=nature, colour=colour,
            othercolour=other_colour, toy=toy, othertoy=other_toy)

    def go_to(self, places: Sequence[Place]) -> None:
        """Set $place, $at, $scenery, $spot and $wrongspot."""
        place, at, scenery, spots = self.pick(places)
        spot, wrong_spot = self.pick_two(spots)
        self.slots.update(place=place, at=at, scenery=self.pick(scenery),
                          spot=spot, wrongspot=wrong_spot)


# Ways to begin, shared by all plots.
OPENING = [
    "{Once upon a time|Long ago|Not so long ago|Once}{,|} there {was|lived} "
    "a $nature $kind {named|called} $hero.",
    "$hero was a $nature $kind who {lived near the $place|loved to be "
    "outside|liked to play $game|always had a song on $his lips|wanted to "
    "know everything|loved $snack}.",
    "{In a small house|In a village|In a cottage} {by the sea|near a "
    "forest|on a green hill|at the end of a long road|beside a mill|under "
    "tall trees} {lived|there lived} a $trait $kind {named|called} $hero.",
    "There was once a $trait $kind. $His name was $hero, and $he lived with "
    "$his $mood $adult {near the $place|in a {small|tall|crooked|yellow} "
    "house}.",
]

# What else there is to say about the hero.
HABIT = [
    "$He had a $adj $hue $thing, $number $animals and a $trait $kin named "
    "$someone.",
    "$His {best |}friends were {called |}$someone, $someone and $someone.",
    "On $weekday, $he liked to $wish, and on $weekday $he liked to $wish.",
    "In $his room, there {was|hung} a picture of $someone $doing.",
    "$His {bed|door|coat|pillow|cup} was $hue, and $his "
    "{room|hat|spoon|chair|bag} was $hue.",
    "$He often dreamed of {$number $animals|a $mood $hue $beast|a $trait "
    "$beast} $doing.",
    "$He {knew|could sing} $number songs about {$animals|a $adj $hue "
    "$thing|$foods|$someone}.",
    "$He wanted to $wish{| one day| with $his $kin $someone}.",
]

# What goes on around the hero, and what the place looks like.
EVENTS = [
    "$Someone was $doing.",
    "$Number $animals were $doing.",
    "A $mood $hue $beast {sat $hideout|was $doing}, and $mood $someone was "
    "$doing.",
    "$He {saw|met} $number $animals, a $mood $hue $beast and $someone, who "
    "was $doing.",
]
SCENE = [
    "It was a $weather $daytime, and $scenery.",
    "There, $scenery{, and $mood $someone was $doing|}.",
    "$Scenery{, and a $mood $hue $beast was $doing|}.",
    *EVENTS,
]

# Ways to end, with the friend or at home.
MORAL = {
    "help": ["{From that day on|From then on|After that}, $hero and $fname "
             "{were the best of friends|met every $day|always helped each "
             "other|liked to $wish}.",
             "Then they {went home together|shared some $snack|sat down $at "
             "and talked until the moon came up|played $game with $someone}.",
             '"{Tomorrow|On $weekday|Next time}, {let us|we can|I want to} '
             '$wish," said $fname $how.',
             '"{Tomorrow|On $weekday|Next time}, {let us|we can|I want to} '
             '$wish," said $hero $how.'],
    "home": ["{That evening|That night|At bedtime}, $hero told $his $mood "
             "$adult {all about it|the whole story|what had happened}, and "
             "$ahe {$smiled|listened to every word|gave $him $snack}.",
             "$hero never forgot that $daytime.",
             "That night, $hero dreamed of {$number $animals|a $mood $hue "
             "$beast|$someone} $doing{| $somewhere}.",
             "In the end, $hero {had $snack|went to bed $glad|was tired but "
             "$glad}, and $someone came to $wish.",
             '"{Tomorrow|On $weekday|Next time}, I want to $wish," said '
             '$hero $how.'],
}

Beats = list[list[str]]
Plot = Callable[[Teller], Beats]


def maybe(beat: list[str]) -> list[str]:
    """A beat that is left out half of the time."""
    return beat + [""] * len(beat)


def lost_toy(t: Teller) -> Beats:
    """Something is lost, described to a friend, and found."""
    t.slots["wrongthing"] = t.pick(["an old shoe",
                                    "a sleepy cat",
                                    "a broken plate",
                                    "a heap of leaves",
                                    "a $adj $othercolour $othertoy",
                                    "a $othercolour glove",
                                    "two snails",
                                    "a beetle",
                                    "some dust",
                                    "a rusty nail",
                                    "a big spider"])
    return [
        ["$hero had a $nice $colour $toy {that $his $mood $adult had given "
         "$him|from $his $adult|which $he took everywhere}.",
         "$His $mood $adult had {made|bought|found} a $adj $colour $toy for "
         "$him.",
         "The thing $he loved most was $his $colour $toy."],
        ["{One|One $weather} $daytime, $hero $went to the $adj $place with "
         "the $toy{.| to play.| to meet a friend.}",
         "{One|One $weather} $daytime, $he took the $toy to the $adj $place."],
        SCENE,
        ["$later $hero played $game{ for a long time|}. When it was time to "
         "go home, the $toy was gone{!|.}",
         "But {on the way|while $he was playing}, the $toy fell {out of $his "
         "bag|out of $his hands|to the ground}, and $hero did not see it.",
         "$later $hero put the $toy down to {drink some water|pick a "
         "flower|tie $his shoe|look at a bird}. When $he turned around, it "
         "was not there."],
        maybe(['"{Oh no|Oh dear}! Where is my {|$colour }$toy?" '
               '{cried|asked} $hero.',
               "$later $hero felt $very $sad.",
               "$later $hero sat down and {began to cry|did not know what "
               "to do}."]),
        maybe(["$later $he looked $wrongspot, but {all $he found was|$he "
               "found only} $wrongthing.",
               "$later $he looked here and there, but $he could not find "
               "it."]),
        ['$Moment, {a $mood $fkind named $fname|$fname the $fkind} came '
         '{by|along|around the corner}. "{What is wrong|Why are you '
         'sad|What are you looking for}?" asked $fname $how.'],
        ['"I {have lost|lost|can not find} my $toy," said $hero $how. "It '
         'is $colour{| and $very $nice}."'],
        ['"{Do not worry|Do not cry}, I will help you," said $fname $how.',
         '"{Let us|We can} look together," $fhe said.',
         '"I have good {eyes|ears|luck}," said $fname $how. "{Come|Come '
         'on}!"'],
        ["$later they looked $wrongspot and then $spot. There {it was|was "
         "the $colour $toy}!",
         "$fname looked $spot. There {$fhe saw something $colour|lay "
         "something $colour}. It was the $toy!"],
        ['"$hooray! {My $toy|You found it|There it is}!" {cried|shouted} '
         '$hero. "$thanks, $fname!"',
         '"$thanks{|, $fname}!" said $hero and $smiled.'],
        ["And so $hero learned that {two can find more than one|a good "
         "friend is better than any $toy|it helps to ask for help}.",
         *MORAL["help"]],
    ]


def sharing(t: Teller) -> Beats:
    """Food is counted out to friends, with sums that come out right."""
    one, many = t.pick(FOODS)
    total = t.rng.randint(4, 12)
    given = t.rng.randint(1, total - 2)
    left = total - given
    t.slots.update(
        food=many, total=NUMBERS[total], left=NUMBERS[left],
        given=NUMBERS[given], givenfood=one if given == 1 else many,
        leftfood=one if left == 1 else many,
        them="it" if given == 1 else "them")
    return [
        ["{One|One $weather} $daytime, $his $mood $adult gave $hero $total "
         "$food.",
         "{One|One $weather} $daytime, $hero {found|bought|picked} $total "
         "{big |small |ripe |sweet |}$food{| $at}."],
        ['"{These are for you|Eat well|Do not eat them all at once}," {said '
         '$his $adult|$his $adult said}.',
         "",
         "The $food {smelled|looked} $very {good|sweet|nice}."],
        ["$later $hero {put|packed} the $food {in|into} a $colour "
         "{bag|basket|box} and $went to the $adj $place.",
         "$later $he $went to the $adj $place with the $food in a $colour "
         "{bag|basket|box}."],
        SCENE,
        ["There $he met $fname, a $trait $fkind.",
         "$Moment, $he saw {a $mood $fkind named $fname|$fname the $fkind}."],
        ['$fname looked $sad. "{What is the matter|Why are you sad}?" asked '
         '$hero.',
         '"{Hello|Good day}, $fname! Why do you look so $sad?" asked $hero '
         '$how.'],
        ['"I am {$very |}hungry," said $fname $how. "{I forgot my lunch|I '
         'have not eaten all day|My lunch fell into the mud|A crow took my '
         'bread}."'],
        maybe(["$later $hero looked at $his $total $food. {$He thought for a "
               "moment.|It was not easy, but $he wanted to share.|}",
               "$later $hero did not {have to think|wait} for long."]),
        ['"Here, {you can have|take} $given{| of my $food|}!" {said '
         '$hero|$he said}. Now $hero had $left left.',
         "$later $he gave $given $givenfood to $fname and kept $left for "
         "$himself."],
        maybe(['$fname ate $them {at once|slowly|with a smile}. "$thanks!" '
               '$fhe said.',
               '"$thanks, $hero!" said $fname and $smiled.']),
        maybe(["{The rest|What was left} tasted better than ever{.| to "
               "$hero.}",
               'The next $day, $fname came with {a $adj $othercolour '
               '$othertoy|$snack} for $hero. "This is for you, {my '
               'friend|$hero}."',
               "$later they sat {down |}$at and {talked|sang songs|told "
               "stories} until {it was dark|the sun went down}."]),
        ["And $hero learned that {sharing makes friends|food tastes better "
         "with a friend|a kind heart is never poor}.",
         "",
         "$later $hero went home with $left $leftfood and a "
         "{full|warm|light} heart."],
    ]


# Animal in trouble, what is wrong, what helps, what it says about it.
TROUBLES = [
    ("bird", "had hurt its wing", "tied a soft cloth around the wing",
     "My wing hurts, and I can not fly", "fly"),
    ("kitten", "sat in a high tree and did not dare to come down",
     "climbed up and carried it down", "I can not climb down", "run"),
    ("puppy", "had lost its mother", "walked with it from house to house "
     "until they found its mother", "I can not find my mother", "bark"),
    ("turtle", "lay on its back", "turned it around with both hands",
     "I fell, and I can not get up", "walk"),
    ("bee", "had fallen into the water", "held out a leaf and lifted it out "
     "of the water", "I can not swim", "hum"),
    ("lamb", "was caught in a fence", "pulled the wire apart",
     "I am stuck, and the wire is sharp", "jump"),
    ("pony", "had a stone in its shoe", "took the stone out with a stick",
     "My foot hurts when I walk", "run"),
    ("fish", "was caught in an old net", "cut the net with a knife",
     "I am caught, and I can not swim away", "swim"),
    ("butterfly", "sat in a spider web", "broke the web with one finger",
     "The spider will come soon", "fly"),
    ("goose", "had its head in a bottle", "pulled at the bottle until it came "
     "off", "I only wanted to drink", "sing"),
    ("snail", "sat on the hot road", "carried it into the shade of a tree",
     "It is too hot for me here", "crawl"),
    ("kid goat", "stood in deep mud", "laid a board on the mud and helped it "
     "out", "My legs are stuck", "jump"),
]


def animal_in_trouble(t: Teller) -> Beats:
    """The right help for an animal, which later pays it back."""
    animal, trouble, helped, says, can = t.pick(TROUBLES)
    t.go_to(WILD_PLACES)
    t.slots.update(animal=animal, trouble=trouble, helped=helped, says=says,
                   can=can)
    return [
        ["{One|One $weather} $daytime, $hero {$went to|walked past} the "
         "$place{| with $his $colour $toy| to meet $fname}."],
        SCENE,
        ["$Moment, $he heard a {small|soft|sad|strange} {sound|voice|cry}. "
         "It came from {nearby|the other side of the path}.",
         "Then $he saw something {move|shake} {nearby|a little way off|in "
         "the shade}."],
        ["It was a $mood {little|young|small|$othercolour} $animal that "
         "$trouble.",
         "There was a $mood {little|young|$othercolour} $animal. It "
         "$trouble."],
        maybe(['"{Poor thing|You poor $animal}! What happened?" asked $hero '
               '$how.',
               '"{Please help me|Help}!" said the $animal. "$says."',
               '"Can you help me?" asked the $animal. "$says."']),
        ["{Many others had walked past, but|$hero was a little afraid, but} "
         "$he {stayed|did not run away}.",
         "",
         '"{Wait|Do not be afraid|Stay calm}, I will help you," said $hero '
         '$how.'],
        ["{Very carefully|With great care|Slowly|Without a word}, $he "
         "$helped.",
         "$later $he {took a deep breath|thought about it} and $helped."],
        maybe(["{Now|At last} the $animal could $can again.",
               "{Soon|A little later}, the $animal was able to $can again."]),
        ['"$thanks{|, $hero}!" said the $animal. "{I will not forget '
         'this|One day I will help you, too}."'],
        ["{Some days later|A week later|The next $day}, $hero {lost $his way "
         "$at|dropped $his $toy $at and could not find it}. {The|Who came "
         "along? The} $animal {came and helped $him|showed $him where to "
         "look|helped $him at once}.",
         "The next $day, {a $adj $othercolour $othertoy|a basket of $plural} "
         "lay in front of $his door. It was from the $animal.",
         "{From then on|After that}, the $animal came to see $hero every "
         "$day."],
        ["And so $hero learned that {no help is too small|even a small "
         "$animal can be a great friend|kindness comes back}.",
         "",
         *MORAL["home"]],
    ]


# Plan, what the weather did, what it was like, what they did instead.
WEATHER_PLANS = [
    ("fly a kite", "the wind stopped", "not a leaf was moving",
     "lay in the grass and looked at the clouds"),
    ("go swimming", "it began to rain", "big drops fell from the sky",
     "jumped in the puddles"),
    ("have a picnic", "it began to rain", "the blanket got wet",
     "ate everything under the kitchen table"),
    ("build a snowman", "the sun came out", "the snow turned into water",
     "sailed paper boats down the road"),
    ("look at the stars", "clouds covered the sky",
     "not one star could be seen", "cut stars out of paper"),
    ("paint outside", "a storm came up", "the paper flew away",
     "painted the old shed from the inside"),
    ("ride the sled", "the snow melted", "the hill was green again",
     "rolled down the grass"),
    ("sleep in a tent", "thunder shook the air", "the tent fell over",
     "built a tent out of blankets in the living room"),
    ("pick berries", "thick fog came up", "nobody could see a hand in front "
     "of his eyes", "sat by the fire and told ghost stories"),
    ("row across the lake", "a strong wind came up", "the waves were too high",
     "made a boat out of two chairs"),
]


def spoiled_plan(t: Teller) -> Beats:
    """The weather spoils a plan; a friend's idea saves the day."""
    plan, weather, detail, instead = t.pick(WEATHER_PLANS)
    t.slots.update(plan=plan, turn=weather, detail=detail, instead=instead)
    return [
        ["{One|One $weather} $daytime, $hero wanted to $plan with $fname, "
         "$his {best friend|friend from the $place}.",
         "$later $hero and $his friend $fname had a plan. They wanted to "
         "$plan."],
        ["$later they had {waited for this|talked about this} {the whole "
         "week|for $count days|since the last winter}.",
         "$later $hero {put on|took} $his $colour {hat|coat|boots|scarf}, "
         "and $fname {brought|carried} {some $snack|a $othercolour $toy}.",
         ""],
        ["But {when they came to the $adj $place|when they were "
         "ready|$moment}, $turn.",
         "$later they were {hardly|just} outside when $turn."],
        ["$Detail.", "$Detail, and {$hero was $very $sad|$fname sighed}."],
        maybe(['"{Now we can not|It is no day to} $plan," said $hero $loudly.',
               '"{What a pity|Oh no}! I wanted to $plan so much," '
               '{said|cried} $hero.']),
        ["$fname thought {hard|for a while}. Then $fhe $smiled.",
         '"{Do not be sad|Wait|Never mind}," said $fname $how. "I have {an '
         'idea|a better idea}!"'],
        ["So {they|the two friends|$hero and $fname} $instead.",
         "A little later, they $instead."],
        maybe(["{They laughed so much that|It was so much fun that} $hero "
               "forgot {the weather|to be $sad}.",
               '"This is {even better|just as good|more fun than I '
               'thought}!" {cried|said} $hero $how.']),
        ["$His $mood $adult {came in|looked in} and gave them $snack.",
         "",
         "$His $mood $adult {$smiled|wanted to join in} when $ahe saw them."],
        ["{Sometimes|Now and then} a {spoiled|bad} {plan|day} is {a gift|the "
         "start of a good one}.",
         '"{Tomorrow|Next week} we {can|will} $plan," said $fname $how. '
         '"{And if not, we will do this again|Or not}!"',
         *MORAL["home"]],
    ]


# Thing built, material, what goes wrong, what repairs it.
PROJECTS = [
    ("tree house", "boards and nails", "one board was too short",
     "cut a longer one from an old door"),
    ("kite", "paper and sticks", "the paper had a hole",
     "put a $othercolour patch over the hole"),
    ("raft", "logs and rope", "the rope came loose", "tied a better knot"),
    ("sandcastle", "wet sand", "a wave took one of the towers away",
     "dug a deep ditch around it"),
    ("bird house", "thin wood", "the roof was crooked",
     "turned the roof around and nailed it down again"),
    ("cart", "an old box and four wheels", "a wheel fell off",
     "fixed the wheel with a strong screw"),
    ("snowman", "three balls of snow", "the head rolled down",
     "used a stick to hold the head in place"),
    ("scarecrow", "straw and old clothes", "it could not stand up",
     "put a long pole through its coat"),
    ("puppet", "cloth and buttons", "one button came off",
     "sewed it on with $othercolour thread"),
    ("dam", "stones and mud", "the water broke through",
     "pushed a big stone into the gap"),
]


def project(t: Teller) -> Beats:
    """Building something that fails once and is repaired."""
    thing, material, trouble, fix = t.pick(PROJECTS)
    t.slots.update(thing=thing, material=material, trouble=trouble, fix=fix)
    return [
        ["{One|One $weather} $daytime, $hero wanted to build a $thing{| for "
         "$his $adult| $at}.",
         '"{Today|Now} I will build a $thing," said $hero one $weather '
         '$daytime.'],
        ["$fname, a $trait $fkind, {came to help|wanted to help|said that "
         "$fhe would help}.",
         '"May I help you?" asked $fname, {the $fkind from next door|a '
         '$trait $fkind|who had just come by}. "{Of course|Yes, please}," '
         'said $hero $how.'],
        ["For a $thing one needs $material. They found everything {in the "
         "shed|$at|$spot|behind the house}.",
         "$later they used $material, and $hero painted {a $colour star on "
         "it|it $colour|the front $colour}."
         if thing not in ("sandcastle", "snowman", "dam") else
         "$later they used $material, and they put a small $colour flag on "
         "top."],
        ["$later they worked {all morning|for $count hours|until "
         "noon|without a break}.",
         "",
         "{It was hard work|The sun was hot|Their hands were dirty}, but "
         "they {sang|laughed|did not stop}."],
        ["But {then|when they were nearly done|$moment} $trouble.",
         "Everything went well until $trouble."],
        maybe(['"{It will never work|Now everything is lost|We can not do '
               'it}," said $hero $loudly.',
               "$later $hero was $very $sad and wanted to {give up|go "
               "home}."]),
        maybe(['"{Do not give up|Let us try again|We can fix it|I know '
               'what to do}," said $fname $how.']),
        ["{Together they|$fname helped, and $hero|So they} $fix.",
         "$later they thought about it, and then they $fix."],
        ["Now the $thing was {ready|stronger than before|finished}. It "
         "looked $very $nice.",
         '"$hooray! {Our $thing is ready|What a $nice $thing}!" '
         '{said|cried|shouted} $fname.'],
        ['$His $mood $adult {came to see it|looked at it for a long time} '
         'and said, "{Well done|I am proud of you|What a $nice $thing}!"',
         ""],
        ["And $hero learned {not to give up so soon|that mistakes can be "
         "mended|that work is easier with a friend}.",
         *MORAL["help"]],
    ]


def quarrel(t: Teller) -> Beats:
    """Two want the same thing, fight, and find a fair way."""
    t.slots["unit"] = t.pick(["minutes", "songs", "turns", "rounds"])
    return [
        ["$later $hero and $fname {were friends|lived next door to each "
         "other|often played together}. {One|One $weather} $daytime, they "
         "found a $colour $toy $spot.",
         "{One|One $weather} $daytime, $hero and $his friend $fname "
         "{found|saw} a $nice $colour $toy $at."],
        ['"{It is mine|I saw it first|Give it to me}!" {cried|said|shouted} '
         '$hero. "No, {it is mine|I saw it first|I want it}!" '
         '{cried|said|shouted} $fname $how.'],
        maybe(["{They both pulled at the $toy|Each of them held on to the "
               "$toy|They shouted at each other}{ until their faces were "
               "red|}.",
               "$later $hero pulled on one side, and $fname pulled on the "
               "other."]),
        maybe(["{Crack|Snap|Bump}! The $toy {fell down|fell into the "
               "mud|flew through the air|broke in two}.",
               "{Nobody|Neither of them} wanted to let go.",
               "$later $hero was so {angry|cross} that $he {turned "
               "away|stamped $his foot|would not say a word}."]),
        ['$His $mood $adult heard the noise and came out. "{What is going '
         'on|Why are you shouting}?" $ahe asked.',
         "$Moment, $his $mood $adult came by. $Ahe {listened to both of "
         "them|looked at the $toy|shook $ahis head}."],
        ['"{You can take turns|There is a fair way}," $ahe said. "First '
         '{$hero|$fname} may have it for $count $unit, then the other one."',
         '"A $toy is {no fun alone|only a $toy}," $ahe said. "{But a friend '
         'is hard to find|Friends are worth more}."'],
        ['$later $hero {looked at the ground|was quiet for a while|felt '
         'sorry}. "{I am sorry|Forgive me}, $fname," $he said.',
         '"I am sorry{| that I shouted}," said $fname $how. "{Me too|I am '
         'sorry, too}," said $hero $how.'],
        ["{So they took turns|They shook hands|Then they shared the $toy}, "
         "and {both were $glad|the quarrel was forgotten}.",
         "$later they {washed|cleaned|mended} the $colour $toy together, "
         "and it looked $nice again."],
        maybe(["Soon they were playing $game as if nothing had happened.",
               "$fname let $hero {go|have it} first."]),
        ["Since then, the $colour $toy {belongs to both of them|is at "
         "$fname's house on even days and at $hero's house on odd days|has "
         "had two owners}.",
         *MORAL["help"]],
    ]


# What the hero fears, why, what helps, what it turns out to be like.
FEARS = [
    ("the dark", "there were shadows on the wall", "a small lamp",
     "the shadows were only coats and chairs"),
    ("thunder", "it was so loud", "a song to sing",
     "the thunder was like a big drum"),
    ("deep water", "$he could not see the bottom", "a ring to hold on to",
     "the water carried $him"),
    ("the big dog next door", "it had such long teeth", "a piece of sausage",
     "the dog only wanted to play"),
    ("high places", "everything looked so small from up there",
     "a walking stick", "one could see as far as the sea"),
    ("school", "$he did not know anybody there", "a lucky stone",
     "the other children were kind"),
    ("the cellar", "it was cold and full of noises", "a candle",
     "the noise was only a mouse with a nut"),
    ("spiders", "they had so many legs", "a glass to look through",
     "the spider was weaving a silver net"),
    ("the old mill", "people said that a ghost lived there",
     "a bell to scare the ghost away", "the ghost was only a white owl"),
    ("speaking aloud", "everybody would look at $him",
     "a $colour ribbon for courage", "everybody listened and clapped"),
]


def fear(t: Teller) -> Beats:
    """A fear is overcome with the help that fits it."""
    what, why, token, truth = t.pick(FEARS)
    t.slots.update(what=what, why=why, token=token, truth=truth)
    return [
        ["There was {only one|just one} thing that $hero did not like: $what.",
         "$hero was afraid of $what.",
         "But $hero had a secret. $He was afraid of $what."],
        maybe(["{$He was afraid because|The reason was that|It was bad "
               "because} $why.",
               "When $he only thought of it, $his {knees|hands} "
               "{shook|grew cold}. {You see, $why.|}"]),
        ["{One|One $weather} $daytime, $hero told $fname about it{ $at|}.",
         "{One|One $weather} $daytime, $his friend $fname, {a $trait|the} "
         "$fkind, {noticed it|asked about it|came to visit}."],
        ['$fname did not laugh. "{I was once afraid of it, too|Everybody is '
         'afraid of something|I am afraid of {bees|ghosts|snakes|geese}}," '
         '$fhe said.',
         '"{Do you want me to help you|Shall we try it together}?" asked '
         '$fname. $hero {nodded|was not sure|thought about it}.'],
        ['Then $fhe gave $him $token. "{This will help you|Take this with '
         'you|It always helps me}."',
         "$fname had {something good|something} for $him: $token."],
        ["{The next $day|That night|A few days later|Soon}, $hero {took a "
         "deep breath and tried|was brave and tried it|went there with a "
         "beating heart}.",
         "$His knees were {shaking|weak}, but $hero {thought of "
         "$fname|counted to $count|closed $his eyes}{ and went on|}."],
        ["And {then|what happened}? {Nothing bad happened: $truth|$Truth}.",
         "{To $his surprise,|Now $he could see that|It turned out that} "
         "$truth."],
        maybe(['"{I did it|It was not so bad|I am not afraid any more}!" '
               '{cried|said|shouted} $hero.',
               "$later $hero {$smiled|had to laugh}. It was not so bad."]),
        ['"I {knew you could do it|am proud of you}," said $fname{| and '
         '$smiled}.',
         "$fname was $very $glad for $him.",
         ""],
        ["Today, $hero is {no longer|not} afraid of $what{.| at all.}",
         "And so $hero learned that {being brave means to try|fear gets "
         "small when you look at it|one can be afraid and brave at the same "
         "time}."],
        ["", *MORAL["home"]],
    ]


def birthday(t: Teller) -> Beats:
    """A present in somebody's favourite colour, paid for with saved coins."""
    coins = t.rng.randint(3, 9)
    missing = t.rng.randint(1, 3)
    t.slots.update(
        coins=NUMBERS[coins], price=NUMBERS[coins + missing],
        missing=NUMBERS[missing],
        coinword="coin" if missing == 1 else "coins",
        were="was" if missing == 1 else "were",
        job=t.pick(["swept the floor", "carried the baskets",
                    "washed the windows", "fed the chickens",
                    "watered the flowers", "sorted the buttons"]))
    return [
        ["{Soon|The next day|On Sunday} it was the birthday of $his $adult, "
         "and $hero wanted to give $ahim something $nice.",
         "$hero wanted to buy a present for $his $adult, who would have "
         "$ahis birthday {soon|the next day|on Sunday}."],
        ["$His $mood $adult loved {everything that was $colour|the colour "
         "$colour}.",
         "$later $hero knew that $colour was the colour $ahe liked best."],
        ["$later $hero {opened $his money box|counted $his money|turned $his "
         "pockets inside out}. There were $coins coins.",
         "$later $he had saved $coins coins."],
        ["At the {shop|market}, $he saw a $adj $othercolour $othertoy, but "
         "that was not right. Then $he saw a $adj $colour $toy.",
         "In a {small|tiny|big} shop, $he found a $nice $colour $toy."],
        ['"How much is the {|$colour }$toy?" asked $hero $how. "$Price '
         'coins," said the shopkeeper.',
         "But the $toy cost $price coins."],
        ['"{Oh|Oh dear}, I have only $coins," said $hero $loudly. $He needed '
         '$missing more.',
         "$later $hero was $sad, for $missing $coinword $were missing."],
        ['"{You can work for it|You could help me}," said the shopkeeper. So '
         '$hero $job{| for an hour| until noon}.',
         "So $he $job for {the shopkeeper|a neighbour|$fname's family} and "
         "got $missing $coinword."],
        maybe(["Now $he could {buy|pay for} the $toy. $fname helped $him to "
               "wrap it in {$othercolour|thin} paper.",
               "Now the $toy belonged to $him. $hero {hid it $spot|carried "
               "it home|put it under $his bed}."]),
        ['"{Happy birthday|This is for you|All the best}!" said $hero on the '
         'birthday.',
         "On the birthday, $hero {sang a song and |}gave $ahim the present."],
        ['$His $mood $adult opened it. "{A $adj $colour $toy|$hooray, a '
         '$colour $toy|It is $colour}! {How did you know?|I love it!|That '
         'is just what I wanted!}"'],
        ["$Ahe {hugged $hero|had tears in $ahis eyes|was $glad|kissed $him "
         "on the nose}, and then they {had $snack|danced through the "
         "house|had $snack and played $game}.",
         "{That evening|Afterwards}, there was $snack for everybody."],
        ["",
         "The best presents are those {one has worked for|that come from the "
         "heart}.",
         "$hero was {just as $glad as|as proud as} $his $adult."],
    ]


# Sound, where it comes from, two wrong guesses, the truth, its reason.
NOISES = [
    ("knock", "the window", "a ghost", "a robber", "a branch",
     "the wind was blowing"),
    ("scratching sound", "the attic", "a monster", "a giant rat",
     "a mother cat", "she had four kittens there"),
    ("splash", "the well", "a sea snake", "a mermaid", "a frog",
     "it was taking a bath"),
    ("deep hum", "the hollow tree", "a dragon", "a machine", "a swarm of bees",
     "they were making honey"),
    ("howl", "the chimney", "a wolf", "a ghost", "the wind",
     "a storm was coming"),
    ("rumble", "the cellar", "a giant", "an earthquake", "a barrel",
     "it had rolled down the steps"),
    ("ringing sound", "the meadow", "a fairy", "a church", "a goat",
     "it had a bell around its neck"),
    ("crackle", "the bushes", "a bear", "a snake", "a hedgehog",
     "it was looking for worms"),
    ("whisper", "the garden", "a witch", "a thief", "$his $adult",
     "$ahe was talking to the tomatoes"),
    ("tapping", "the roof", "a woodpecker", "a dwarf", "the rain",
     "it had been dry for so long"),
]


def noise(t: Teller) -> Beats:
    """A strange sound, wrong guesses, and a simple reason."""
    sound, source, guess1, guess2, truth, reason = t.pick(NOISES)
    t.slots.update(sound=sound, source=source, guess1=guess1, guess2=guess2,
                   truth=truth, reason=reason)
    return [
        ["{One night|One evening|One $weather $daytime|Late one evening}, "
         "$hero heard a {strange|funny|loud|soft} $sound. It came from "
         "$source.",
         '{One night|One evening|One $weather $daytime}, there was a '
         '{strange|funny|loud|soft} $sound. "What was that?" asked $hero '
         '$how. It came from $source.'],
        ["$later $he {sat up|listened|held $his breath}. There it was again!",
         "Then it was quiet. Then {it came again|there it was again}.",
         ""],
        ["$fname, {who was visiting|$his friend|the $fkind from next door}, "
         "had heard it, too.",
         "$later $hero {woke|called|ran to} $fname, {a $trait|the} $fkind."],
        ['"It is $guess1!" {said|whispered} $fname $how. "No, {I think |}it '
         'is $guess2," {said|whispered} $hero $how.',
         '"{Maybe|Perhaps} it is $guess1," said $hero $how. "{Or|Or maybe} '
         '$guess2," {said|whispered} $fname $how.'],
        maybe(["Both of them were {afraid|scared|very quiet}, but they "
               "wanted to know.",
               '"{We must look|Let us see|I am going to look}," said $hero '
               '$loudly. "{Not without me|I am coming with you|Be '
               'careful}," said $fname.']),
        ["$later $hero took {a lamp|a candle|a big spoon|$his $colour "
         "$toy|an old broom}, and they {went|crept|tiptoed} to $source.",
         "Hand in hand, they {went|crept|tiptoed} to $source."],
        ["{Step by step|Slowly} they came nearer. The $sound {grew|got} "
         "louder.",
         "",
         "$hero's heart was beating {fast|like a drum}."],
        ["{And what was it|What did they see|Who was it}? It was {neither "
         "$guess1 nor $guess2. It was |only |just |}$truth!",
         '"Look," said $fname $how. "It is {only|just} $truth!"'],
        maybe(["The $sound {was easy to explain|had a simple reason}: "
               "$reason.",
               "$later they had heard the $sound because $reason."]),
        ['$hero and $fname looked at each other and {laughed|began to '
         'laugh}. "And I thought it was {something terrible|$guess1 or '
         '$guess2}," said $hero $how.',
         "{They laughed so loudly that|They laughed until} $his $mood "
         "$adult {came to see what was the matter|woke up}."],
        ["After that, they {drank|had} {hot cocoa|warm milk} and {went "
         "back to bed|slept like stones}.",
         "A thing is often {less terrible|smaller} when you {look at it|turn "
         "on the light}.",
         *MORAL["home"]],
    ]


# Contest, what the boaster relies on, why the boaster loses.
CONTESTS = [
    ("a race around the $place", "My legs are the longest",
     "stopped to take a nap"),
    ("a swimming race", "I swim like a fish", "forgot to breathe and had to "
     "stop"),
    ("a cooking contest", "My soup is the best", "put in salt instead of "
     "sugar"),
    ("a singing contest", "My voice is like gold", "had shouted so much that "
     "no sound came out"),
    ("a contest in climbing", "I am the strongest", "looked down and did not "
     "dare to go on"),
    ("a drawing contest", "Nobody draws like me", "used only half an hour and "
     "went away to play"),
    ("a boat race", "My boat is the newest", "sailed the wrong way"),
    ("a contest for the biggest pumpkin", "My pumpkin grows by itself",
     "had never watered it"),
    ("a spelling contest", "I know every word", "did not listen to the "
     "question"),
    ("a sled race", "My sled is the fastest", "waved to the crowd and drove "
     "into the snow"),
]


def contest(t: Teller) -> Beats:
    """A boaster loses against somebody patient."""
    what, boast, loses = t.pick(CONTESTS)
    t.slots.update(contest=what, boast=boast, loses=loses)
    return [
        ["{One|One $weather} $daytime, there was $contest.",
         "Once a year, there was $contest. Everybody {came|wanted to see "
         "it}."],
        ["The prize was a $nice $colour $toy.",
         "Whoever won would get a $adj $colour $toy."],
        ["$later $hero wanted to win, and so did $fname, a $trait $fkind.",
         "$later $hero and {$fname|a $mood $fkind named $fname} {wanted to "
         "take part|were both there}."],
        ['"{I will win|I am sure to win|The prize is mine}," said $fname '
         '$how. "$boast!"',
         '"$boast," said $fname $loudly. "{You can go home|You will '
         'lose|Nobody can beat me}!"'],
        ["$later $hero {said nothing|only smiled}. $He had "
         "{practised|worked} {every day|for $count days|very hard}.",
         '"{We will see|I will do my best|It is only a game}," said $hero '
         '$how.'],
        maybe(["{One, two, three|Ready, steady, go}! {It began|The contest "
               "began|Off they went}.",
               "Then {a whistle blew|a bell rang|the teacher waved a flag}, "
               "and it began."]),
        maybe(["{At first|In the beginning}, $fname was {better|ahead|far "
               "ahead}, and {everybody clapped|$fhe laughed at $hero}.",
               "{At first|In the beginning}, it {looked|seemed} easy for "
               "$fname."]),
        ["But then $fname $loses."],
        ["$later $hero {did not hurry|went on quietly|went on without a "
         "break|took $his time}, and {in the end|at last} $he {was the "
         "winner|won}.",
         "Meanwhile, $hero {went on|did not give up}, and {in the end|at "
         "last} $he {was the winner|won}."],
        maybe(['"{Well done|Bravo}, $hero!" {cried|shouted} everybody. $He '
               'got the $colour $toy.',
               "$later $hero {got|was given} the $colour $toy and was "
               "$glad."]),
        ['$fname was $sad. But $hero {went to|sat down beside} $fhim and '
         'said, "{Let us play with it together|Next time you may win|You '
         'were good, too}."',
         '$fname {came|walked} up to $him. "{You were better|I should not '
         'have boasted}," $fhe said. "{Can we be friends|Will you teach '
         'me}?"'],
        ["And $fname learned that {boasting does not help|big words do not "
         "win|slow and steady is a good way}.",
         *MORAL["help"]],
    ]


# Seed, what grows, what is made of it.
PLANTS = [
    ("a bean", "beans", "a big bowl of soup"),
    ("a sunflower seed", "sunflowers", "food for the birds"),
    ("a pumpkin seed", "pumpkins", "a lamp with a funny face"),
    ("a pea", "peas", "a green soup"),
    ("a tomato seed", "tomatoes", "a red sauce"),
    ("a melon seed", "melons", "a cool drink"),
    ("a rose seed", "roses", "a crown of flowers"),
    ("an onion", "onions", "a pie"),
    ("a potato", "potatoes", "a hot lunch"),
    ("a grain of wheat", "ears of wheat", "a small bread"),
]


def garden(t: Teller) -> Beats:
    """Patience: a seed is planted, tended and harvested."""
    seed, crop, dish = t.pick(PLANTS)
    days = t.rng.randint(3, 11)
    number = t.rng.randint(3, 12)
    t.slots.update(seed=seed, crop=crop, dish=dish, days=NUMBERS[days],
                   more=NUMBERS[days + 1], number=NUMBERS[number],
                   part=NUMBERS[t.rng.randint(2, number - 1)])
    return [
        ["{One|One $weather} $daytime, $his $mood $adult gave $hero $seed.",
         "{One|One $weather} $daytime, $hero found $seed $spot."],
        ['"{Put it into the ground|Plant it} and {wait|be patient}," said '
         '$his $adult. "{You will see|Then something good will come}."',
         '"What {shall I do with it|is it good for}?" $he asked. "{Plant '
         'it|Put it into the ground}," said $his $adult.'],
        ["$later $hero dug a {small|deep} hole {behind the house|beside the "
         "fence|next to the door}, {laid|put} it in and {covered it with "
         "earth|gave it some water}."],
        ["$later $he put a $colour {stick|stone|flag} {there|next to it} so "
         "that $he would {find the place|not forget the place}.",
         ""],
        ["{Every day|Every morning}, $he {gave it water from a $othercolour "
         "can|sat down beside it|looked at the ground}, but nothing happened.",
         "After $days days, {there was still nothing|nothing could be seen}."],
        ['"{It is dead|It does not work|Nothing will ever grow here}," said '
         '$hero $loudly.',
         '"{Wait a little|Be patient|Good things take time}," said $fname, '
         '{$his friend|the $fkind|who came by every day}.',
         '"Maybe it is {sleeping|shy|lazy}," said $fname the $fkind.'],
        ["But after $more days, {a tiny green leaf|something green} "
         "{came|looked} out of the earth.",
         "{One morning|Then}, {at last|after a warm rain}, {a tiny green "
         "leaf|something green} could be seen."],
        maybe(['"$hooray! It is growing!" {cried|shouted} $hero $how.',
               "$later $hero {danced around it|ran to tell $fname|was "
               "$glad}."]),
        ["The plant grew {higher and higher|as high as a chair|faster than "
         "$hero}. {In summer|In autumn|At the end of summer}, there were "
         "$number $crop.",
         "{In summer|In autumn|At the end of summer}, $hero "
         "{counted|picked} $number {big |fine |}$crop."],
        ["With the $crop they made $dish, and {$fname got half of "
         "it|everybody had some of it|$his $mood $adult helped}.",
         "$later $hero gave $part of the $number $crop to $fname."],
        ["$later $hero kept one seed for the next year.",
         "And $hero learned {to wait|that good things take time}.",
         *MORAL["home"]],
    ]


# What is forbidden, why, how it went wrong, what had to be done.
WARNINGS = [
    ("climb the old tree", "the branches are rotten",
     "a branch broke, and $he fell down", "had a big bump on $his head"),
    ("go on the ice", "it is too thin", "the ice cracked, and $his boots "
     "filled with water", "sat by the stove with cold feet"),
    ("eat the green apples", "they are not ripe", "$his belly began to hurt",
     "had to lie in bed and drink tea"),
    ("open the gate", "the goats will run away", "all the goats ran down the "
     "road", "had to run after them until evening"),
    ("touch the wet paint", "it does not come off", "$his hands were "
     "$othercolour all over", "had to scrub $his fingers for an hour"),
    ("tease the geese", "they bite", "a goose bit $him in the leg",
     "could not sit down all day"),
    ("walk through the nettles", "they sting", "$his legs burned like fire",
     "had to put cold cloths on $his legs"),
    ("play ball in the kitchen", "something will break",
     "the big blue jug fell down and broke", "had to pick up every piece"),
    ("feed cake to the pony", "it makes the pony sick",
     "the pony lay down and groaned", "had to walk it around half the night"),
    ("leave the path", "one can get lost", "$he did not know where $he was",
     "had to call for help until $his voice was gone"),
    ("shake the jar of bees", "they get angry", "the bees came out and stung "
     "$him", "had a nose like a potato"),
]


def warning(t: Teller) -> Beats:
    """A warning is not heeded, and what was foretold happens."""
    what, why, mishap, price = t.pick(WARNINGS)
    t.slots.update(forbidden=what, why=why, mishap=mishap, cost=price)
    return [
        ['"{Please do|Do} not $forbidden," said $his $mood $adult {every '
         'day|again and again|every morning}. "{Remember that $why|You know '
         'that $why|I tell you that $why}."',
         '$His $mood $adult always said, "Never $forbidden, because $why."'],
        maybe(['"{Yes, yes|I know|All right}," said $hero{| and ran off| but '
               'did not listen}.',
               "$later $hero {promised it|nodded|crossed $his heart}."]),
        ["But {one|one $weather} $daytime, $he was alone{ $at|} and {forgot "
         "all about it|became curious}.",
         'But {one|one $weather} $daytime, $hero {thought|said to '
         '$himself}, "{Nobody will see it|Just once can not be bad|What can '
         'happen}."'],
        ['$fname, $his friend, shook $fhis head. "{Do not do it|Better '
         'not|Remember what your $adult said}," $fhe said.',
         '"{Are you sure|Is it not dangerous}?" asked $fname $how. "{It will '
         'be fun|Do not be afraid|Only a little}," said $hero $how.',
         ""],
        ["So $hero started to $forbidden{.| all the same.}",
         "$later $hero {looked around|laughed}. Then $he started to "
         "$forbidden."],
        ["{It went well for a moment, but then|And what happened? Of "
         "course,|$Moment,} $mishap."],
        maybe(['"{Ow|Help|Oh no}!" {cried|shouted} $hero $how.',
               "$later $hero {was frightened|turned pale|wished $he had "
               "listened}."]),
        ["$fname ran {for help|to get $his $adult}, and {soon|in no time} "
         "{$his|the} $adult was there.",
         "$His $mood $adult {heard it and came|came running} at once."],
        ["$later $hero $cost.", "{Afterwards|In the end}, $he $cost."],
        ['"{I am sorry|I should have listened|You were right}," said $hero '
         '$loudly. "I will never $forbidden again."',
         '"Now I know {why you warned me|that $why}," said $hero $how.'],
        ['$His $mood $adult {sighed|stroked $his hair|gave $him $snack} and '
         'said, "{I am glad you are well|Now you know|Everybody makes '
         'mistakes}."',
         "$His $mood $adult was not angry. $Ahe {hugged $him|gave $him "
         "$snack}."],
        ["{Since then|From that day on}, $hero {listens when somebody warns "
         "$him|thinks before $he acts}.",
         "",
         *MORAL["home"]],
    ]


# Broken thing, how it got broken, where it was hidden, how it was replaced.
MISHAPS = [
    ("vase", "jumped on the sofa", "glued the pieces together"),
    ("teapot", "danced through the kitchen", "bought a new one at the market"),
    ("clock", "wanted to see how it worked", "put all the wheels back"),
    ("mirror", "played with a long stick", "made a new frame for it"),
    ("lamp", "swung a rope around", "painted a new shade"),
    ("plate", "tried to juggle", "painted a new one"),
    ("flower pot", "ran through the hall", "found a better pot"),
    ("fishing rod", "used it as a sword", "cut a new one from a straight "
     "branch"),
]


def confession(t: Teller) -> Beats:
    """Something is broken and hidden; telling the truth sets it right."""
    what, how, repair = t.pick(MISHAPS)
    hiding = t.pick(["under $his bed",
                     "behind the stove",
                     "in a drawer",
                     "in the cellar",
                     "under a heap of clothes",
                     "behind the house"])
    t.slots.update(broken=what, how=how, repair=repair, hiding=hiding)
    return [
        ["$His $mood $adult had a $nice $colour $broken{| that was very "
         "old| from a far country| and loved it very much}."],
        ["{One|One $weather} $daytime, $hero $how. {Crash|Bang|Oh}! The "
         "$broken was broken.",
         "{One|One $weather} $daytime, $hero was alone at home and $how, "
         "and then the $colour $broken {broke|lay on the floor in pieces}."],
        ["$later $hero was {afraid|scared}. $He hid {it|the $broken|the "
         "pieces} $hiding.",
         '"Nobody must know," {said|thought} $hero and hid {it|the pieces} '
         '$hiding.'],
        ['{When|As soon as} $his $mood $adult came home, $ahe asked, "{Where '
         'is my $broken|Have you seen my $broken|What happened to the '
         '$broken}?"',
         '"Where is the $colour $broken?" asked $his $mood $adult {in the '
         'evening|at supper|the next morning}.'],
        ['"{I do not know|The cat broke it|A bird took it|It was $fname}," '
         'said $hero{| and turned red|, but $he did not look up| $loudly}.'],
        maybe(["That night, $hero could not sleep. {The $snack had not "
               "tasted good|$He had a stone in $his belly|$He thought of the "
               "$broken}.",
               "But $he felt {terrible|$very $sad}, and $he could not "
               "{eat|play|laugh} any more."]),
        ['$He {told $fname about it|asked $fname what to do}. "{Tell the '
         'truth|You must say it|Go and tell your $adult}," said $fname{| the '
         '$fkind}.',
         ""],
        ['{The next morning|At last}, $hero went to $his $mood $adult and '
         'said, "I broke the $broken. {I told a lie|I am so sorry|I was '
         'afraid to say it}."',
         '"I {must|have to} tell you something," said $hero $how. "I broke '
         'your $broken{| and hid it}."'],
        ['$His $mood $adult was quiet for a {moment|while}. Then $ahe said, '
         '"{It was brave to tell me|Thank you for telling me|A $broken is '
         'only a thing, but the truth is more}."',
         '"I {knew it|thought so}," said $his $adult. "{I am glad that you '
         'told me|It is good that you told me}."'],
        ["Together they $repair.",
         "$hero $repair{, and $fname helped| all by $himself|}."],
        ["Now the $broken looked {a little different, but|even better, and} "
         "they both liked it.",
         "",
         "$later $hero felt as light as a feather."],
        ["And $hero learned that {a lie weighs more than a stone|the truth "
         "makes the heart light|it is best to tell the truth}.",
         *MORAL["home"]],
    ]


# Thing out of reach, its short name, where it is, two attempts that fail, the
# one that works.
REACHES = [
    ("a ripe peach", "the peach", "high up in a tree",
     "jumped as high as $he could", "threw a shoe at it",
     "climbed on $fname's shoulders"),
    ("a jar of honey", "the honey", "on the highest shelf",
     "stood on a chair", "pulled at the shelf",
     "put two chairs on top of each other while $fname held them"),
    ("a bird's feather", "the feather", "on the roof",
     "waited for the wind", "shouted at it", "fetched a ladder with $fname"),
    ("a golden coin", "the coin", "at the bottom of the well",
     "let down a hook", "leaned over the edge",
     "sent down a magnet on $fname's rope"),
    ("a paper boat", "the boat", "in the middle of the pond",
     "blew at the water", "threw pebbles",
     "reached it with $fname's long net"),
    ("a balloon", "the balloon", "under the ceiling of the barn",
     "hopped on one leg", "waved a broom",
     "stood on the back of the cow that $fname held"),
    ("the moon", "the moon", "far up in the sky",
     "climbed the highest hill", "called its name",
     "caught its picture in $fname's bucket of water"),
    ("a lost arrow", "the arrow", "deep in a hedge", "crept on $his belly",
     "shook the hedge", "let $fname crawl in, who was thin enough"),
]


def out_of_reach(t: Teller) -> Beats:
    """Two ways fail, the third, with a friend, succeeds."""
    what, short_name, where, try1, try2, works = t.pick(REACHES)
    first, second = t.pick_two([try1, try2])
    t.slots.update(goal=what, goalname=short_name, where=where, try1=first,
                   try2=second, works=works)
    return [
        ["{One|One $weather} $daytime, $hero saw $goal. It was $where.",
         "{One|One $weather} $daytime, $hero put down $his $colour $toy, "
         "for $he had seen $goal $where."],
        maybe(['"{I want to have it|I must have it|That is for me}," '
               '{said|thought} $hero.',
               "$He wanted to have it {more than anything|at once}."]),
        ["{First|At first}, $he $try1. It did not {work|help}.",
         "$later $he $try1, but {it was no use|that did not help}."],
        ["Then $he $try2, but {that was no good, either|it was no use|that "
         "did not help at all}.",
         "{Next|After that}, $he $try2. {Nothing happened|That was no good}."],
        maybe(['$later $hero {sat down on the ground|was tired|kicked a '
               'stone|was close to tears} and said, "{It is too hard|I can '
               'not do it|I give up}."',
               "$His {arms|legs|hands} hurt, and $he was $sad."]),
        ['$Moment, $fname {the $fkind|} came by. "{What are you doing|Can I '
         'help you|Why do you make such a face}?" $fhe asked.'],
        ['"I {can not reach|want to have|can not get} $goalname," said '
         '$hero $how. "{I have tried everything|I tried twice|It is '
         '$where}."'],
        maybe(['"{Alone it is hard|You can not do that alone}," said $fname '
               '$how. "{Together we can do it|Let us do it together|But we '
               'are two}."',
               "$fname {walked around|scratched $fhis nose} and had an "
               "idea."]),
        ["So $hero $works.", "{A minute later|And then}, $hero $works."],
        maybe(['"$hooray! {I have it|We did it|There it is}!" '
               '{cried|shouted} $hero $how.',
               "And {it worked|it was easy}!"]),
        ["$later they {shared it|looked at it together|carried it home in a "
         "$colour {bag|basket|bucket}}, and both were $glad.",
         '"{It belongs to both of us|Half of it is yours}," said $hero $how.'],
        MORAL["help"],
    ]


# Dish, what is missing, where the rest comes from.
DISHES = [
    ("a cake", "eggs", "flour and butter"), ("pancakes", "milk", "flour and "
     "eggs"), ("an apple pie", "apples", "sugar and flour"),
    ("bread", "salt", "flour and water"), ("soup", "carrots", "beans and "
     "onions"), ("jam", "sugar", "ripe berries"),
    ("cookies", "butter", "nuts and flour"), ("a pizza", "cheese",
     "tomatoes and dough"), ("a salad", "oil", "cucumbers and tomatoes"),
    ("porridge", "honey", "oats and milk"),
]


def cooking(t: Teller) -> Beats:
    """A missing ingredient leads to a new friend at the table."""
    dish, missing, rest = t.pick(DISHES)
    guests = t.rng.randint(3, 9)
    t.slots.update(dish=dish, missing=missing, rest=rest,
                   guests=NUMBERS[guests])
    t.slots["were"] = "were" if missing.endswith("s") else "was"
    return [
        ["{One|One $weather} $daytime, $hero wanted to make $dish{| for $his "
         "$adult| all by $himself| for the first time}.",
         '"Today we will make $dish," said $his $mood $adult {one '
         '$weather|one} $daytime.'],
        ["$later $he put {on a $colour apron|a $colour bowl on the table}. "
         "There were $rest, but there $were no $missing.",
         "In the kitchen, $he found $rest, but no $missing."],
        maybe(['"{Without $missing it will not work|I can not do it without '
               '$missing|It is nothing without $missing}," said $hero '
               '$loudly.',
               "$later $hero {looked in every corner|opened every "
               "box|asked $his $adult}, but {it was no use|the $missing "
               "$were gone}."]),
        ["So $he took $his {$othercolour basket|basket|coat} and $went to "
         "{the neighbour|the house next door|the next house}.",
         "Next door lived a $fkind {named $fname|whom $hero did not know}."],
        ["{Knock, knock|$hero knocked on the door}. {A $mood $fkind named "
         "$fname opened|$fname, a $trait $fkind, opened the door}."],
        ['"{Do you have|Could you lend me} some $missing?" asked $hero '
         '$how. "{I want to make $dish|It is for $dish}."'],
        ['"{Of course|Yes, here you are|Take as much as you need}," said '
         '$fname. "{I am alone and have enough|I have more than '
         'enough|Nobody ever asks me for anything}."'],
        ['"$thanks! {Come and eat with us|Come with me and help|You must '
         'come over later}," said $hero $how.'],
        maybe(["{Together they|In the kitchen, they} {mixed|stirred} "
               "everything, and soon the whole house smelled of $dish.",
               "$fname {stirred|sang}, and $hero {made a mess|licked the "
               "spoon}."]),
        ["$Moment, {everything was ready|they sat around the table}. {There "
         "were $guests at the table|The food was enough for $guests}.",
         "{Never before had $dish tasted so good|It tasted wonderful}."],
        ['"{I was alone so often|I have not laughed so much in years|This is '
         'the best day of the year}," said $fname $how.',
         '"{You can come every day|Come again tomorrow}," said $hero\'s '
         '$adult.',
         ""],
        MORAL["help"],
    ]


# What both of them like, what they do together.
HOBBIES = [
    ("stars", "a book about stars", "looked at the sky"),
    ("drums", "a drum made of tin", "made music"),
    ("frogs", "a picture of a frog", "went to the pond"),
    ("ships", "a little wooden ship", "sailed the little ship in a puddle"),
    ("stones", "a pocket full of stones", "sorted the stones by colour"),
    ("dinosaurs", "a shirt with a dinosaur", "dug for bones in the sand"),
    ("riddles", "a book of riddles", "told each other riddles"),
    ("trains", "a whistle like a train", "played station"),
    ("butterflies", "a butterfly on $fhis hat", "counted butterflies"),
    ("magic tricks", "a black wand", "practised a trick"),
]


def newcomer(t: Teller) -> Beats:
    """Somebody new is lonely until a common interest is found."""
    like, sign, together = t.pick(HOBBIES)
    t.slots.update(like=like, sign=sign, together=together)
    return [
        ["$hero had just moved to {a new town|the village|the street near "
         "the $place}.",
         "$hero had come to a new {school|town}{| only a week before}."],
        maybe(["$later $he did not know anybody, and nobody knew $him.",
               "$later $he {missed|often thought of} $his old friends."]),
        ['$His $adult said, "{Go out and play|Be patient|You will find a '
         'friend}." But $hero was {too shy|too sad}.',
         "$later $hero felt {$sad|alone}, and the days were long."],
        ["{One|One $weather} $daytime, $he {sat down|walked around} "
         "{alone|with $his $colour $toy} $at."],
        SCENE,
        maybe(["{The others were playing $game|Everybody was laughing}, but "
               "$hero {stood alone|only watched}.",
               "{Nobody|No one} asked $him to {play|join in}."]),
        ["Then $he saw a $trait $fkind {with|who had} $sign.",
         "$Moment, a $mood $fkind sat down next to $him. $Fhe had $sign."],
        ['"{Oh|Oh my}, do you like $like?" asked $hero $how. "{I love '
         '$like|More than anything|Yes, very much}!" said the $fkind.'],
        ['"{I am|My name is} $fname. {Who are you|What is your name}?" '
         'asked the $fkind. "{I am|My name is} $hero."'],
        maybe(['"I like $like, too," said $hero $how. "{At home I have a '
               'whole box full of such things|I have never met anybody who '
               'does}."',
               "$later $hero forgot that $he was shy and told $fhim all "
               "about $like."]),
        ["{All afternoon|For the rest of the day|Until it was dark}, they "
         "$together.",
         "So $hero and $fname $together."],
        ['The next {day|morning}, $fname {waved|was waiting} {from afar|at '
         'the gate}. {Two others came, too|"Come here, $hero!" $fhe called}.',
         "$fname showed $him {the whole town|the best place to hide: "
         "$spot|$fhis $othercolour $othertoy}."],
        ["Now $hero {was not alone any more|had a friend}. $He was $glad."],
        ["", *MORAL["help"]],
    ]


def trading(t: Teller) -> Beats:
    """A chain of swaps; at home, the first one is remembered."""
    goods = [(f"{t.pick(COLOURS)} {toy}", toy)
             for toy in t.rng.sample(TOYS, 3)]
    amount = NUMBERS[t.rng.randint(2, 12)]
    food = t.pick(FOODS)[1]
    food_index = t.rng.randrange(1, 3)
    goods[food_index] = (f"{amount} {food}", food)
    people = t.rng.sample(GIRLS + BOYS, 2)
    for index, (full, short) in enumerate(goods):
        if index != food_index:
            full = f"a {t.pick(WORDS['adj'])} {full}"
        t.slots.update({f"full{index}": full, f"short{index}": short})
    t.slots.update(first=people[0], second=people[1])
    swaps = [[
        f"{{On the way|{after}|At the $place|$Somewhere}}, $he met "
        f"{{$mood ${person}|${person}, who was $doing}}. \"{{I will|I can|Let "
        f"me}} give you $full{index + 1} for {{your|the}} $short{index}"
        f"{{, because I want to $wish|}},\" said ${person} $how. "
        f"{{$hero {{nodded|agreed|did not think long}}|They shook hands"
        f"|It was a {{good|fair|strange}} bargain}}."]
        for index, (after, person) in enumerate(
            [("At the corner", "first"), ("A little later", "second")])]
    return [
        ["{One|One $weather} $daytime, $hero had {only|nothing but} $full0 "
         "in $his {bag|basket|hands} and $went to the $adj $place.",
         '$His $mood $adult gave $hero $full0. "{Go and swap|You may swap} '
         'it for something better," $ahe said $how.'],
        SCENE,
        swaps[0],
        ["Now $he had the $short1{ and was $glad|, but not for long|}.",
         "So the $short0 {was|was now} in $first's hands.",
         ""],
        EVENTS,
        swaps[1],
        ['At home, $his $adult asked, "Where is {your|the} $short0?" "$first '
         'has it," {said|answered} $hero $how. "{But look, I have|Now I '
         'have} $full2!"',
         "In the evening, $hero {came home with|ate supper beside|sat down "
         "with} the $short2. $first had the $short0, and $second had the "
         "$short1."],
        MORAL["home"],
    ]


def party(t: Teller) -> Beats:
    """Guests bring presents; later one must know who brought what."""
    guests = t.rng.sample(GIRLS + BOYS + ANIMAL_GIRLS + ANIMAL_BOYS, 3)
    toys = t.rng.sample(TOYS, 3)
    hues = [t.pick(COLOURS) for _ in toys]
    for index, (guest, toy, hue) in enumerate(zip(guests, toys, hues)):
        t.slots.update({f"guest{index}": guest, f"gift{index}": toy,
                        f"hue{index}": hue})
    favourite = t.rng.randrange(3)
    t.slots.update(best=toys[favourite], giver=guests[favourite],
                   besthue=hues[favourite])
    return [
        ["{One|One $weather} $daytime, $hero had $his birthday and invited "
         "{three friends|$guest0, $guest1 and $guest2}.",
         "It was $weather on the {morning|afternoon|day} of $hero's "
         "{birthday|party}."],
        ["$His $mood $adult had bought $number $foods and $snack.",
         "There {were|were to be} $number $foods{| and $snack}, and $someone "
         "was $doing.",
         ""],
        ["{First came $guest0 with|$guest0 was the first and brought} a "
         "$adj $hue0 $gift0."],
        ["$guest1 {came next and |}brought a $adj $hue1 $gift1, and $guest2 "
         "{gave $him|had found|came with} a $adj $hue2 $gift2."],
        ['"{Who wants|Do you want} to $wish?" asked '
         '{$guest0|$guest1|$guest2} $how.',
         "{They|All of them} played $game{ and $game|} $somewhere.",
         "{$guest0|$guest1|$guest2} wanted to $wish, but "
         "{$guest0|$guest1|$guest2} wanted to $wish."],
        SCENE,
        ['$hero liked the $besthue $best best. "$thanks, $giver!" $he said '
         '$how.',
         'In the end, $hero {took|held} the $besthue $best in $his hands. '
         '"$thanks, $giver," $he {said|whispered} $how.'],
        MORAL["home"],
    ]


def walk(t: Teller) -> Beats:
    """A walk past many small wonders, told again at home."""
    first, second = t.pick_two(PLACES)
    animals = t.rng.sample(WORDS["animals"], 2)
    t.slots.update(
        place1=first[0], at1=first[1], place2=second[0], at2=second[1],
        sight1=f"{t.pick(NUMBERS[2:])} {animals[0]}",
        sight2=f"{t.pick(NUMBERS[2:])} {t.pick(COLOURS)} {animals[1]}",
        doing1=t.pick(WORDS["doing"]))
    return [
        ["{One|One $weather} $daytime, $hero went for a {|long |short }walk{ "
         "with $fname, a $mood $fkind| with $his $mood $adult|}.",
         "{One|One $weather} $daytime, $hero wanted to see something new."],
        ["{First|At first}, $he came to the $adj $place1. $Sight1 were "
         "$doing1 there."],
        ["$Someone was $doing{, and $someone was $doing|}.",
         '"{Do you|Do you not} want to $wish?" asked $mood $someone. '
         '"{No|Not today|Later}, I want to $wish," said $hero $how.'],
        ["Then $he $went to the $adj $place2. $Sight2 were $doing.",
         "Then $he $went to the $adj $place2, where $sight2 lived."],
        SCENE,
        ["$Moment, {$he found a $adj $hue $thing $hideout|a $mood $hue "
         "$beast asked $him to $wish|$someone gave $him $number $foods|$he "
         "saw a $thing that was half $hue and half $hue}."],
        ['At home, $his $adult asked, "What did you see?" "$Sight1 $at1 and '
         '$sight2 $at2," {said|answered} $hero $how.',
         "At home, $he drew a picture for $his $adult: $sight1 $at1 and "
         "$sight2 $at2."],
        ['"{And tomorrow|And then}?" asked $his $adult. "{Tomorrow|On '
         '$weekday} I want to $wish," said $hero.',
         '"The world is full of wonders," said $his $adult $how.',
         *MORAL["home"]],
    ]


PLOTS: tuple[Plot, ...] = (
    lost_toy, sharing, animal_in_trouble, spoiled_plan, project, quarrel, fear,
    birthday, noise, contest, garden, warning, confession, out_of_reach,
    cooking, newcomer,
    # These are richer in surprises, so they come more often.
    *[trading, party, walk] * 10,
)


def tell_tale(rng: random.Random) -> str:
    """Return one tale as a single line of text."""
    teller = Teller(rng)
    teller.stage()
    beats = teller.pick(PLOTS)(teller)
    beats = [OPENING, maybe(HABIT), *beats]
    sentences = (teller.fill(teller.pick(beat)) for beat in beats)
    return " ".join(sentence for sentence in sentences if sentence)


def tales(seed: int) -> Iterator[str]:
    """Yield tales without end, determined by the seed."""
    rng = random.Random(seed)
    while True:
        yield tell_tale(rng)


# --------------------------------------------------------------------------
# 2. The tokenizer
# --------------------------------------------------------------------------

UNK, BOS, EOS = "<unk>", "<s>", "</s>"
SPECIALS = (UNK, BOS, EOS)
BOS_ID, EOS_ID = 1, 2
SPACE = "\u2581"  # the visible space of SentencePiece

# Learned pieces never cross these segments: a word or a run of punctuation,
# with the space before it.  So a piece holds SPACE only as its first
# character, and merging segment by segment gives the same result as merging
# by rank over a whole text, which is what loaders of tokenizer.json do.
SEGMENT = re.compile(f"{SPACE}?[A-Za-z']+|{SPACE}?[^A-Za-z'{SPACE}]+|{SPACE}")

TOKENIZER_TALES = 6000
CHECKED_TALES = 200

Pair = tuple[str, str]


def byte_piece(value: int) -> str:
    """Name of the fallback piece of one byte."""
    return f"<0x{value:02X}>"


def merge_pair(symbols: Sequence[str], pair: Pair) -> list[str]:
    """Join every occurrence of a pair, from left to right."""
    merged: list[str] = []
    position = 0
    while position < len(symbols):
        if tuple(symbols[position:position + 2]) == pair:
            merged.append(pair[0] + pair[1])
            position += 2
        else:
            merged.append(symbols[position])
            position += 1
    return merged


def normalize(text: str) -> str:
    """Prepend a space (unless the text is empty) and make spaces visible."""
    return (" " + text if text else "").replace(" ", SPACE)


class Tokenizer:
    """Byte-fallback BPE, as LLaMA's tokenizer.json describes it."""

    def __init__(self, vocab: dict[str, int], merges: Sequence[Pair]) -> None:
        self.vocab = vocab
        self.merges = list(merges)
        self.pieces = sorted(vocab, key=vocab.__getitem__)
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._segments: dict[str, list[int]] = {}

    @classmethod
    def train(cls, texts: Sequence[str], vocab_size: int) -> Tokenizer:
        """Learn merges greedily by frequency until the vocabulary is full."""
        counts = collections.Counter(
            segment for text in texts
            for segment in SEGMENT.findall(normalize(text)))
        pieces = [*SPECIALS, *map(byte_piece, range(256)),
                  *sorted(set("".join(counts)))]
        vocab = {piece: index for index, piece in enumerate(pieces)}
        words = {segment: list(segment) for segment in counts}
        merges: list[Pair] = []
        while len(vocab) < vocab_size:
            pairs: collections.Counter[Pair] = collections.Counter()
            for segment, symbols in words.items():
                for pair in zip(symbols, symbols[1:]):
                    pairs[pair] += counts[segment]
            if not pairs:
                raise ValueError("too little text for this vocabulary size")
            best = min(pairs, key=lambda pair: (-pairs[pair], pair))
            merges.append(best)
            vocab.setdefault(best[0] + best[1], len(vocab))
            for segment, symbols in words.items():
                if len(symbols) > 1 and best[0] + best[1] in segment:
                    words[segment] = merge_pair(symbols, best)
        return cls(vocab, merges)

    def merge(self, text: str) -> list[int]:
        """Tokenize normalized text: always join the leftmost pair of the
        lowest rank."""
        symbols: list[str] = []
        for char in text:
            symbols += ([char] if char in self.vocab
                        else map(byte_piece, char.encode()))
        while len(symbols) > 1:
            rank, position = min(
                (self._ranks.get(pair, len(self._ranks)), index)
                for index, pair in enumerate(zip(symbols, symbols[1:])))
            if rank == len(self._ranks):
                break
            symbols[position:position + 2] = [
                symbols[position] + symbols[position + 1]]
        return [self.vocab[symbol] for symbol in symbols]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with <s> in front."""
        ids = [BOS_ID]
        for segment in SEGMENT.findall(normalize(text)):
            if segment not in self._segments:
                self._segments[segment] = self.merge(segment)
            ids += self._segments[segment]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; special tokens are left out."""
        data = bytearray()
        for index in ids:
            if index < len(SPECIALS):
                continue
            if index < len(SPECIALS) + 256:
                data.append(index - len(SPECIALS))
            else:
                data += self.pieces[index].replace(SPACE, " ").encode()
        return data.decode(errors="replace").removeprefix(" ")

    def check(self, texts: Sequence[str]) -> None:
        """Assert that segments do not matter and that nothing is lost."""
        for text in texts:
            ids = self.encode(text)
            assert ids[1:] == self.merge(normalize(text)), text
            assert self.decode(ids) == text, text

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json."""
        added = [
            {"id": index, "content": content, "single_word": False,
             "lstrip": False, "rstrip": False, "normalized": False,
             "special": True} for index, content in enumerate(SPECIALS)]
        bos = {"SpecialToken": {"id": BOS, "type_id": 0}}
        second_bos = {"SpecialToken": {"id": BOS, "type_id": 1}}
        first = {"Sequence": {"id": "A", "type_id": 0}}
        second = {"Sequence": {"id": "B", "type_id": 1}}
        write_json(folder / "tokenizer.json", {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "},
                 "content": SPACE}]},
            "pre_tokenizer": None,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [bos, first],
                "pair": [bos, first, second_bos, second],
                "special_tokens": {
                    BOS: {"id": BOS, "ids": [BOS_ID], "tokens": [BOS]}}},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE},
                 "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": UNK,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": True,
                "ignore_merges": False,
                "vocab": self.vocab,
                "merges": [" ".join(pair) for pair in self.merges]},
        })
        write_json(folder / "tokenizer_config.json", {
            "add_bos_token": True,
            "add_eos_token": False,
            "added_tokens_decoder": {
                str(token["id"]): {key: value for key, value in token.items()
                                   if key != "id"} for token in added},
            "bos_token": BOS,
            "clean_up_tokenization_spaces": False,
            "eos_token": EOS,
            "legacy": False,
            "model_max_length": Config.max_position_embeddings,
            "pad_token": None,
            "sp_model_kwargs": {},
            "tokenizer_class": "LlamaTokenizer",
            "unk_token": UNK,
            "use_default_system_prompt": False,
        })


# --------------------------------------------------------------------------
# 3. The model
# --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Config:
    """Shape of the model, named as in config.json."""

    hidden_size: int = 256
    intermediate_size: int = 512
    max_position_embeddings: int = 256
    num_attention_heads: int = 8
    num_hidden_layers: int = 3
    num_key_value_heads: int = 4
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    vocab_size: int = 1024

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


class RMSNorm(nn.Module):
    """Scale to unit root mean square, then by a learned weight."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * (x * scale)


def rotary_table(config: Config) -> tuple[Tensor, Tensor]:
    """Cosines and sines of shape (positions, head_dim)."""
    exponents = torch.arange(0, config.head_dim, 2) / config.head_dim
    frequencies = config.rope_theta ** -exponents
    positions = torch.arange(config.max_position_embeddings)
    angles = torch.outer(positions.float(), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding; component i is paired with i + head_dim / 2."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    """Causal self-attention with grouped keys and values."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        kv_size = config.num_key_value_heads * config.head_dim
        self.groups = config.num_attention_heads // config.num_key_value_heads
        hidden = config.hidden_size
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, kv_size, bias=False)
        self.v_proj = nn.Linear(hidden, kv_size, bias=False)
        self.o_proj = nn.Linear(hidden, hidden, bias=False)

    def _heads(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        return x.view(batch, length, -1, self.head_dim).transpose(1, 2)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        query = rotate(self._heads(self.q_proj(x)), cos, sin)
        key = rotate(self._heads(self.k_proj(x)), cos, sin)
        key = key.repeat_interleave(self.groups, dim=1)
        value = self._heads(self.v_proj(x))
        value = value.repeat_interleave(self.groups, dim=1)
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.head_dim)
        length = x.shape[1]
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(x.shape)
        return self.o_proj(mixed)


class MLP(nn.Module):
    """SwiGLU feed-forward network."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One decoder layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embedding, layers and final norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config)
        self.cos, self.sin = rotary_table(config)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, self.cos[:length], self.sin[:length])
        return self.norm(x)


class Llama(nn.Module):
    """LlamaForCausalLM with tied embeddings; parameters bear its names."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.model = Decoder(config)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                depth = 2 * config.num_hidden_layers if residual else 1
                nn.init.normal_(parameter, std=INIT_STD / math.sqrt(depth))

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of shape (batch, length, vocabulary)."""
        return F.linear(self.model(ids), self.model.embed_tokens.weight)


# --------------------------------------------------------------------------
# 4. Training
# --------------------------------------------------------------------------

INIT_STD = 0.02
PEAK_LEARNING_RATE = 2e-3
WARMUP_STEPS = 50  # at the beginning
DECAY_STEPS = 600  # at the end
ADAM_BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.1
GRADIENT_NORM = 1.0
BATCHES_PER_GROUP = 50  # batches whose documents are sorted by length together
LOG_INTERVAL = 100
IGNORED = -100  # target of padding, as cross_entropy expects it


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, a constant stretch, and a linear decay to zero."""
    decay = max(1, min(DECAY_STEPS, steps // 2))
    return PEAK_LEARNING_RATE * min(
        1.0, (step + 1) / WARMUP_STEPS, (steps - step) / decay)


def documents(tokenizer: Tokenizer, seed: int) -> Iterator[list[int]]:
    """Yield tokenized tales that fit into the context, <s> ... </s>."""
    for tale in tales(seed):
        ids = tokenizer.encode(tale) + [EOS_ID]
        if len(ids) <= Config.max_position_embeddings:
            yield ids


def batches(stream: Iterator[list[int]], size: int,
            rng: random.Random) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and targets, one fresh document per row.

    Documents of similar length share a batch, so that little is padding.
    """
    while True:
        group = sorted((next(stream) for _ in range(size * BATCHES_PER_GROUP)),
                       key=len)
        starts = list(range(0, len(group), size))
        rng.shuffle(starts)
        for start in starts:
            rows = group[start:start + size]
            length = len(rows[-1])
            ids = torch.tensor(
                [r + [EOS_ID] * (length - len(r)) for r in rows])
            targets = torch.tensor(
                [r + [IGNORED] * (length - len(r)) for r in rows])
            yield ids[:, :-1], targets[:, 1:]


def train(model: Llama, tokenizer: Tokenizer, steps: int, batch_size: int,
          seed: int) -> None:
    """Train on tales that are never repeated.

    The arithmetic is bfloat16 where autocast deems it safe; the weights and
    the optimizer stay in float32.
    """
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY},
         {"params": vectors, "weight_decay": 0.0}],
        lr=PEAK_LEARNING_RATE, betas=ADAM_BETAS)
    stream = batches(documents(tokenizer, seed), batch_size,
                     random.Random(seed))
    began, tokens, recent = time.monotonic(), 0, []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        ids, targets = next(stream)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(ids)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(),
                               ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
        optimizer.step()
        recent.append(loss.item())
        tokens += int((targets != IGNORED).sum())
        if (step + 1) % LOG_INTERVAL == 0 or step + 1 == steps:
            seconds = time.monotonic() - began
            print(f"step {step + 1:5d}/{steps}  "
                  f"loss {sum(recent) / len(recent):.4f}  "
                  f"{tokens / seconds:.0f} tokens/s  {seconds:.0f} s",
                  flush=True)
            recent.clear()


# --------------------------------------------------------------------------
# 5. Files
# --------------------------------------------------------------------------


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n",
                    encoding="utf-8")


def write_config(folder: Path, config: Config) -> None:
    """Write config.json and generation_config.json."""
    write_json(folder / "config.json", {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
        "hidden_act": "silu",
        "initializer_range": INIT_STD,
        "mlp_bias": False,
        "model_type": "llama",
        "pretraining_tp": 1,
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "use_cache": True,
        **dataclasses.asdict(config),
    })
    write_json(folder / "generation_config.json", {
        "_from_model_config": True,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
    })


def write_safetensors(path: Path, model: Llama) -> None:
    """Store all weights as F16 (rounded to nearest, ties to even)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    for name, tensor in sorted(model.state_dict().items()):
        start = len(data)
        data += tensor.numpy().astype("<f2").tobytes()
        header[name] = {"dtype": "F16", "shape": list(tensor.shape),
                        "data_offsets": [start, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read such a file back, widened to float32."""
    content = path.read_bytes()
    begin = 8 + struct.unpack_from("<Q", content)[0]
    header = json.loads(content[8:begin])
    del header["__metadata__"]
    weights = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        values = np.frombuffer(content[begin + start:begin + end], dtype="<f2")
        weights[name] = torch.from_numpy(
            values.astype(np.float32).reshape(entry["shape"]))
    return weights


# --------------------------------------------------------------------------
# 6. Evaluation
# --------------------------------------------------------------------------

HELDOUT_BYTES = 48_000
QUANTIZED = re.compile(r"\.(self_attn|mlp)\.\w+_proj\.weight$")
SAMPLE_PROMPTS = (
    "Once upon a time there lived a",
    "One sunny Monday, Lucy found six apples",
    "There was only one thing that Tom did not like:",
)
SAMPLE_TEMPERATURE = 0.7
SAMPLE_TOKENS = 230
REFERENCE_TEXTS = (
    "Once upon a time there was a small fox named Pip.",
    '"Where is my blue kite?" asked Ruby. "Hooray! There it is!"',
    "A café in the snow: ☃, 12 °C.",
    "Two  spaces   and three,  with one at the end ",
    "",
)
REFERENCE_PROMPT = (
    "One sunny morning, Clara went to the river with her red boat.")
REFERENCE_LOGITS = 8
REFERENCE_STEPS = 24


def heldout_tales(tokenizer: Tokenizer, seed: int) -> list[str]:
    """Tales of another seed than those of the training."""
    chosen: list[str] = []
    stream = documents(tokenizer, seed)
    while sum(map(len, chosen)) < HELDOUT_BYTES:
        chosen.append(tokenizer.decode(next(stream)))
    return chosen


@torch.no_grad()
def mean_nll(model: Llama, rows: Sequence[Sequence[int]]) -> float:
    """Mean negative log-likelihood of every token after the first."""
    total, count = 0.0, 0
    for row in rows:
        ids = torch.tensor(row)
        logits = model(ids[None, :-1])[0]
        total += F.cross_entropy(logits, ids[1:], reduction="sum").item()
        count += len(row) - 1
    return total / count


@torch.no_grad()
def generate(model: Llama, ids: Sequence[int], count: int,
             choose: Callable[[Tensor], int]) -> list[int]:
    """Append up to `count` tokens, stopping after </s>."""
    ids = list(ids)
    for _ in range(count):
        ids.append(choose(model(torch.tensor([ids]))[0, -1]))
        if ids[-1] == EOS_ID:
            break
    return ids


def draw(logits: Tensor) -> int:
    """Sample a token."""
    odds = (logits / SAMPLE_TEMPERATURE).softmax(-1)
    return int(torch.multinomial(odds, 1))


def round_rows(weight: Tensor, bits: int) -> Tensor:
    """Naive symmetric rounding with one scale per row."""
    largest = 2 ** (bits - 1) - 1
    scale = weight.abs().amax(dim=1, keepdim=True) / largest
    return (weight / scale).round().clamp(-largest, largest) * scale


def rounded_nll(weights: dict[str, Tensor], config: Config, bits: int,
                rows: Sequence[Sequence[int]]) -> float:
    """Mean loss after rounding every linear layer of the blocks."""
    model = Llama(config)
    model.load_state_dict({
        name: round_rows(weight, bits) if QUANTIZED.search(name) else weight
        for name, weight in weights.items()})
    return mean_nll(model, rows)


@torch.no_grad()
def write_reference(path: Path, model: Llama, tokenizer: Tokenizer,
                    rows: Sequence[Sequence[int]], nll: float) -> None:
    """Write values that other implementations can be tested against."""
    prompt = tokenizer.encode(REFERENCE_PROMPT)
    ids = generate(model, prompt, REFERENCE_STEPS, lambda x: int(x.argmax()))
    logits = model(torch.tensor([ids[:-1]]))[0, len(prompt) - 1:]
    best = logits.topk(2).values
    write_json(path, {
        "tokenization": [{"text": text, "ids": tokenizer.encode(text)}
                         for text in REFERENCE_TEXTS],
        "prompt": REFERENCE_PROMPT,
        "prompt_ids": prompt,
        "first_logits_at_last_position":
            logits[0, :REFERENCE_LOGITS].tolist(),
        "greedy_ids": ids[len(prompt):],
        "greedy_text": tokenizer.decode(ids),
        "smallest_greedy_margin": (best[:, 0] - best[:, 1]).min().item(),
        "heldout": {
            "documents": len(rows),
            "predicted_tokens": sum(len(row) - 1 for row in rows),
            "mean_nll": nll,
            "perplexity": math.exp(nll),
        },
    })


def evaluate(folder: Path, config: Config, tokenizer: Tokenizer) -> None:
    """Judge the files as they were written."""
    weights = read_safetensors(folder / "model.safetensors")
    model = Llama(config)
    model.load_state_dict(weights)
    text = (folder / "heldout.txt").read_text(encoding="utf-8")
    rows = [tokenizer.encode(tale) for tale in text.strip().split("\n\n")]
    nll = mean_nll(model, rows)
    write_reference(folder / "reference.json", model, tokenizer, rows, nll)
    print(f"held-out perplexity, stored weights: {math.exp(nll):.4f} "
          f"(mean loss {nll:.6f})")
    for bits in (8, 4, 2):
        rounded = math.exp(rounded_nll(weights, config, bits, rows))
        print(f"held-out perplexity, {bits}-bit rows: {rounded:.4f}")
    for prompt in SAMPLE_PROMPTS:
        ids = generate(model, tokenizer.encode(prompt), SAMPLE_TOKENS, draw)
        print(f"\n> {tokenizer.decode(ids)}")


# --------------------------------------------------------------------------


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Generate text, train the tiny LLaMA model on it, and "
                    "write all of its files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent,
                        help="folder for the files")
    parser.add_argument("--steps", type=int, default=1700,
                        help="training steps")
    parser.add_argument("--batch", type=int, default=8,
                        help="documents per step")
    parser.add_argument("--seed", type=int, default=1,
                        help="seed of everything that is random")
    parser.add_argument("--threads", type=int, default=1,
                        help="threads used by PyTorch")
    return parser.parse_args()


def main() -> None:
    """Run all stages."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    folder: Path = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    config = Config()

    stream = tales(arguments.seed)
    tokenizer = Tokenizer.train([next(stream) for _ in range(TOKENIZER_TALES)],
                                config.vocab_size)
    tokenizer.check([next(stream) for _ in range(CHECKED_TALES)])
    tokenizer.check(REFERENCE_TEXTS)
    heldout = heldout_tales(tokenizer, arguments.seed + 1)
    tokenizer.save(folder)
    (folder / "heldout.txt").write_text("\n\n".join(heldout) + "\n",
                                        encoding="utf-8")

    model = Llama(config)
    print(f"{sum(p.numel() for p in model.parameters())} parameters",
          flush=True)
    train(model, tokenizer, arguments.steps, arguments.batch, arguments.seed)
    write_config(folder, config)
    write_safetensors(folder / "model.safetensors", model)
    evaluate(folder, config, tokenizer)


if __name__ == "__main__":
    main()
