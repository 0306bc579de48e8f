#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The grammar of the demo model's little stories: a generator and a parser for the same rules.

usage: grammar.py [SEED [COUNT]]     prints stories, and checks that the parser accepts each

A rule is a list of alternatives. In an alternative `{x}` is another rule, a word list (any word), a variable (the
first use draws a word from its list, later uses repeat it; two variables of one list differ), or a pronoun of the
hero. A story is sound if the parser accepts it, so hero and friend keep their names, the hero keeps its sex, and the lost thing is the one found.
"""
import random
import re
import sys

BOYS = "Tom Ben Max Leo Sam Jack Oscar Hugo Paul Otto".split()
GIRLS = "Lily Mia Anna Rosa Ella Emma Lucy Nora Ida Clara".split()
FRIENDS = "Finn Toby Milo Kurt Theo Henry Bruno Anton Simon Greta Frida Paula Tilda Vera Hanna Daisy Marta Olga Zoe Molly".split()

LISTS = {
    "name": BOYS + GIRLS,
    "friend_name": FRIENDS,
    "kind": ("fox bear rabbit hedgehog cat dog duck turtle badger pony beaver mole swan lion puppy sparrow donkey pig "
             "hen").split(),
    "thing": ["red ball", "golden key", "silver bell", "tiny boat", "warm scarf", "magic lantern", "paper kite",
              "wooden drum", "shiny stone", "blue feather", "honey cake", "story book", "green hat", "glass marble",
              "little flute", "brass whistle", "pink shell", "round mirror", "soft blanket", "toy train"],
    "place": ["the dark forest", "a quiet village", "the green valley", "a cave by the sea", "the high mountains",
              "a little town", "the old garden", "a house on the hill", "the deep woods", "a mill by the river",
              "the snowy north", "a tree near the lake", "the warm south", "a castle of stone", "the big meadow",
              "a harbor with white ships"],
    "spot": ["under a mossy stone", "behind the old mill", "in a hollow tree", "beside the well", "near the bridge",
             "under the apple tree", "in the tall grass", "on top of the hill", "at the edge of the pond",
             "inside a rabbit hole", "next to the garden gate", "between two rocks"],
    "adjective": "small brave kind clever shy happy curious gentle quiet funny lonely proud young lazy grumpy hungry".split(),
    "mood": "sad tired cold lost worried afraid".split(),
    "play": ["sing songs", "pick berries", "swim in the lake", "count the stars", "climb trees", "bake bread",
             "paint pictures", "watch the clouds", "dance in the rain", "read old maps", "plant flowers",
             "chase butterflies"],
    "skill": ["fly", "whistle", "skate", "read", "juggle", "play the fiddle", "cook soup", "tie knots", "sail a boat",
              "dance", "swim", "ride a bicycle"],
    "number": "two three four five six seven eight nine ten".split(),
    "day": ["One day", "One morning", "One evening", "One sunny day", "One rainy afternoon", "One winter day", "One night"],
    "storm": ["storm", "flood", "thick fog", "snow storm", "cold wind"],
    "treat": ["warm soup", "fresh bread", "sweet pears", "hot cocoa", "ripe plums", "cheese and apples", "berry pie"],
}

VARIABLES = {"hero": "name", "pal": "friend_name", "animal": "kind", "object": "thing", "feeling": "mood"}

PRONOUNS = {"he": ("he", "she"), "He": ("He", "She"), "his": ("his", "her"), "His": ("His", "Her"),
            "him": ("him", "her")}

RULES = {
    "story": ["{opening} {habit} {lost}", "{opening} {lost}", "{opening} {habit} {found}", "{opening} {found}",
              "{opening} {habit} {meeting}", "{opening} {meeting}", "{opening} {habit} {learning}",
              "{opening} {habit} {danger}", "{opening} {danger}"],
    "opening": ["Once upon a time there was a {adjective} {animal} named {hero}.",
                "Once upon a time, in {place}, there lived a {adjective} {animal} named {hero}.",
                "Long ago, a {animal} named {hero} lived in {place}.",
                "There once was a {adjective} {animal} named {hero} who lived in {place}.",
                "{hero} was a {adjective} {animal} who lived in {place}.",
                "In {place} lived a {animal} named {hero}, who was very {adjective}."],
    "habit": ["{He} loved to {play}.", "{He} liked to {play} and {play}.", "Every day {he} would {play}.",
              "Nobody could {play} like {hero}.", "When the sun was up, {he} liked to {play}.",
              "{His} neighbors said that {hero} was {adjective} and {adjective}."],
    # The hero loses something and a friend helps to find it.
    "lost": ["{day} {hero} lost {his} {object}. {search} {helper} {refound} {joy} {end_help}"],
    "search": ["{He} looked {spot} and {spot}, but the {object} was not there.",
               "{He} searched for {number} hours, but the {object} was gone.",
               "{He} looked {spot}, but found only a {thing}.",
               "\"Where is my {object}?\" cried {hero}. {He} looked {spot}, but it was not there."],
    "helper": ["Then a {kind} named {pal} came by. \"{offer}\" said {pal}.",
               "A {kind} named {pal} heard {him} cry. \"{offer}\" asked {pal}.",
               "{pal} the {kind} saw that {hero} was {mood}. \"{offer}\" said {pal}.",
               "So {he} went to {his} friend, a {kind} named {pal}. \"{offer}\" said {pal}."],
    "offer": ["Shall we look together?", "May I help you?", "Do not worry, I will help you!", "Let us look {spot}!",
              "Two can see more than one!"],
    "refound": ["Together they found the {object} {spot}.", "They looked {spot}, and there was the {object}!",
                "After {number} hours they saw the {object} {spot}.",
                "{pal} looked {spot} and held up the {object}. \"Here it is!\" said {pal}."],
    # The hero finds something that belongs to somebody else.
    "found": ["{day} {hero} found a {object} {spot}. {wonder} {owner} {giveback} {joy} {end_honest}"],
    "wonder": ["\"Whose {object} is this?\" asked {hero}.", "{hero} wanted to keep the {object}, for it was very pretty.",
               "It was the finest {object} that {he} had ever seen.",
               "{He} took the {object} home and looked at it for {number} days."],
    "owner": ["But then {he} saw a {kind} named {pal}, who was {mood}. \"I have lost my {object},\" said {pal}.",
              "Then {pal} the {kind} came by and said, \"Have you seen my {object}?\"",
              "Soon {he} heard that {pal} the {kind} had lost a {object}."],
    "giveback": ["{hero} gave the {object} back to {pal} at once.", "\"Here it is,\" said {hero}, and gave the {object} to {pal}.",
                 "So {hero} went to {pal} and gave back the {object}. \"Thank you!\" said {pal}."],
    # The hero meets somebody who needs help.
    "meeting": ["{day} {hero} met a {kind} named {pal} {spot}. {trouble} {gift} {joy} {end_kind}"],
    "trouble": ["{pal} was {feeling}. \"Why are you {feeling}?\" asked {hero}. \"{reason},\" said {pal}.",
                "\"{reason},\" said {pal}. {hero} saw that {pal} was {mood}.",
                "{pal} looked {mood} and did not speak. At last {pal} said, \"{reason}.\""],
    "reason": ["I have no friends", "I cannot find my way home", "I have nothing to eat", "I lost my {thing}",
               "Nobody wants to {play} with me"],
    "gift": ["So {hero} gave {pal} a {object}, and they shared {treat}.",
             "{hero} took {pal} home and cooked {treat}. Then {he} gave {pal} a {object}.",
             "\"You can have my {object},\" said {hero}. {pal} took the {object} and smiled.",
             "\"Come with me,\" said {hero}. They ate {treat} and played with a {object}."],
    # The hero learns something hard.
    "learning": ["{hero} wanted to {skill}, but {he} did not know how. {tries} {teacher} {success} {joy} {end_learn}"],
    "tries": ["{He} tried once, and {he} fell {spot}.", "{He} tried for {number} days, but it did not work.",
              "All the others laughed when {he} tried.", "\"I will never learn it,\" said {hero}."],
    "teacher": ["Then a {kind} named {pal} said, \"{advice}.\"", "{pal} the {kind} gave {him} a {object} and said, \"{advice}.\"",
                "So {he} asked a {kind} named {pal}. \"{advice},\" said {pal}."],
    "advice": ["Try again, a little every day", "Go slowly and do not give up", "I will show you how it is done",
               "I could not do it at first"],
    "success": ["After {number} weeks {hero} could do it better than {pal}.", "{number_up} days later {hero} could do it at last.",
                "{He} tried again and again, and then {he} could do it!"],
    "number_up": ["Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten"],
    # Bad weather comes, and the hero saves a friend with the help of a thing.
    "danger": ["{day} a {storm} came. {alarm} {rescue} {joy} {end_brave}"],
    "alarm": ["{pal} the {kind} was out {spot} and could not get home.",
              "\"Help!\" cried a {kind} named {pal}, who sat {spot}.",
              "{hero} heard a voice {spot}. It was a {kind} named {pal}."],
    "rescue": ["{hero} took {his} {object} and ran out. With the {object} {he} showed {pal} the way home.",
               "{hero} was {mood}, but {he} went out with {his} {object} and brought {pal} home.",
               "\"Hold on to my {object}!\" cried {hero}. {pal} held the {object} and was safe."],
    "joy": ["They were so happy that they ate {treat} until evening.", "{hero} and {pal} danced {spot}.",
            "From then on {hero} and {pal} liked to {play} together.", "{pal} smiled, and {hero} smiled too.",
            "That evening they ate {treat} and told stories.", "\"What a day!\" said {pal}."],
    "end_help": ["And so {hero} learned that {moral_help}.", "{hero} never forgot that {moral_help}."],
    "moral_help": ["friends find what one alone cannot", "it is good to ask for help", "help is often near"],
    "end_honest": ["And so {hero} learned that {moral_honest}.", "{hero} never forgot that {moral_honest}."],
    "moral_honest": ["it is best to be honest", "giving back makes two people happy", "a friend is worth more than a {object}"],
    "end_kind": ["And so {hero} learned that {moral_kind}.", "{hero} never forgot that {moral_kind}."],
    "moral_kind": ["a kind word makes a friend", "those who share have more", "nobody should be alone"],
    "end_learn": ["And so {hero} learned that {moral_learn}.", "{hero} never forgot that {moral_learn}."],
    "moral_learn": ["practice makes things easy", "nobody can do everything at first", "you must not give up too soon"],
    "end_brave": ["And so {hero} learned that {moral_brave}.", "{hero} never forgot that {moral_brave}."],
    "moral_brave": ["even the {adjective} can be brave", "friends come out in any weather", "being brave means going all the same"],
}

PARTS = re.compile(r"\{(\w+)\}")


def held_out(hero, animal):
    """True for the pairs of hero and kind that never stand together in the training text (about one in ten)."""
    return (LISTS["name"].index(hero) * 7 + LISTS["kind"].index(animal) * 3) % 10 == 0


def pronoun(word, hero):
    return PRONOUNS[word][0 if hero in BOYS else 1]


# ---- generator

def expand(text, bound, rng):
    """The text with every {x} filled in; variables are bound in `bound` from left to right."""
    return PARTS.sub(lambda m: fill(m.group(1), bound, rng), text)


def fill(x, bound, rng):
    if x in RULES:
        return expand(rng.choice(RULES[x]), bound, rng)
    if x in PRONOUNS:
        return pronoun(x, bound["hero"])
    if x in LISTS:
        return rng.choice(LISTS[x])
    if x not in bound:
        taken = [w for v, w in bound.items() if VARIABLES[v] == VARIABLES[x]]
        bound[x] = rng.choice([w for w in LISTS[VARIABLES[x]] if w not in taken])
    return bound[x]


def new_hero(rng, held):
    """Variables of a story to be: a hero whose pair is held out, or not."""
    while True:
        hero, animal = rng.choice(LISTS["name"]), rng.choice(LISTS["kind"])
        if held_out(hero, animal) == held:
            return {"hero": hero, "animal": animal}


def story(rng, held=False):
    """-> (text, the words of its variables)"""
    bound = new_hero(rng, held)
    return expand("{story}", bound, rng), bound


# ---- parser

def match(text, at, pattern, bound):
    """All ways to read `pattern` at text[at:]: yields (end, bound)."""
    m = PARTS.search(pattern)
    if m is None:
        if text.startswith(pattern, at):
            yield at + len(pattern), bound
        return
    head, x, rest = pattern[:m.start()], m.group(1), pattern[m.end():]
    if not text.startswith(head, at):
        return
    for end, b in match_part(text, at + len(head), x, bound):
        yield from match(text, end, rest, b)


def match_part(text, at, x, bound):
    if x in RULES:
        for alternative in RULES[x]:
            yield from match(text, at, alternative, bound)
        return
    if x in PRONOUNS:
        words = [pronoun(x, bound["hero"])] if "hero" in bound else []
    elif x in LISTS:
        words = LISTS[x]
    elif x in bound:
        words = [bound[x]]
    else:
        taken = [w for v, w in bound.items() if VARIABLES[v] == VARIABLES[x]]
        words = [w for w in LISTS[VARIABLES[x]] if w not in taken]
    for w in words:
        if text.startswith(w, at):
            yield at + len(w), bound if x not in VARIABLES else {**bound, x: w}


def parses(text):
    """True if the text is exactly one sound story."""
    return any(end == len(text) for end, _ in match(text, 0, "{story}", {}))


def main():
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    rng = random.Random(seed)
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 5):
        text, _ = story(rng)
        print(text, "\n" if parses(text) else "\n(does not parse)\n")


if __name__ == "__main__":
    main()
