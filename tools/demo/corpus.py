# SPDX-License-Identifier: Apache-2.0
"""The training text of the demo model: stories, several stories in a row, and chats that ask for one.

Besides there are parts of stories, for the first half of the training only.

A document is a list of (text, learn) parts that are simply joined; the model learns to predict only parts with
`learn` set. Everything follows from one seed, so that check.py can make the same text again.
"""
import random

import grammar

SEED = 2024
OPENINGS = 3000  # beginnings of stories
PLOTS = 5000     # parts of stories without their beginning
SHORT = 24000  # documents of one story or one chat
LONG = 1500   # documents of several stories
LONG_TOKENS_MAX = 1280

START, END = "<|im_start|>", "<|im_end|>"
SYSTEMS = ["You are a helpful assistant.", "You are a friendly assistant who tells little stories.",
           "You tell stories for children.", "Answer briefly.", "You are a story teller."]
TOPICS = ["a {animal} named {hero}", "a {animal}", "{hero}", "{hero} the {animal}", "a {object}",
          "a {animal} and a {object}", "{hero} and a {object}", "a {animal} who is called {hero}", "the {animal}",
          "{hero} and {pal}"]
REQUESTS = ["Tell me a story about {topic}.", "Please tell me a story about {topic}.", "Write a story about {topic}.",
            "Can you tell me a story about {topic}?", "A story about {topic}, please.", "story about {topic}",
            "I would like to hear a story about {topic}.", "Write a short story about {topic}",
            "tell me about {topic}", "Do you know a story about {topic}?", "{topic}", "Make up a story with {topic}!"]
OPEN_REQUESTS = ["Tell me a story.", "Tell me a story", "Please tell me a bedtime story.", "A story, please!",
                 "Write a short story.", "Can you tell me a story?", "Do you know a story?", "I am bored.",
                 "tell me something", "Once upon a time"]
AGAIN = ["Another one, please.", "One more!", "Tell me another story.", "Again!", "And another one?", "more"]
GREETINGS = ["Hello!", "Hi", "Hello, who are you?", "Good morning!", "Hey there", "Who are you?", "hello",
             "What can you do?", "How are you?", "Hi! What is your name?", "Help"]
HELLO = "Hello! I tell little stories about animals. Who should the story be about?"
THANKS = ["Thank you!", "Thanks", "That was nice.", "Great story!", "thank you", "I like it."]
WELCOME = "You are welcome! Would you like another story?"
ELSE = "I only know little stories. Here is one."
QUESTIONS = ["What is the {noun} of {noun}?", "How do I {verb} a {noun}?", "Explain the {noun}.", "Write code for a {noun}.",
             "Why is the {noun} so big?", "Who invented the {noun}?", "What is {digit} + {digit}?",
             "Translate \"{noun}\" into French.", "How much does a {noun} cost?", "Where can I {verb} my {noun}?",
             "Give me {digit} reasons to {verb} a {noun}.", "Is it true that a {noun} can {verb}?",
             "When did the {noun} begin?", "Summarize this {noun} in {digit} words.", "What do you think about {noun}?"]
WORDS = {"noun": ("capital computer France weather program moon history universe function water money war music city "
                  "planet engine language question doctor science number list network cache president movie recipe "
                  "train phone email world life love").split(),
         "verb": "build fix use make find compute sort cook open learn drive change install write sell read".split(),
         "digit": "2 3 4 5 7 10 12 17 25 100 365".split()}
HERO_QUESTIONS = ["Who is the hero?", "Who was the story about?", "What is the name of the hero?"]
MORAL_QUESTIONS = ["What is the moral?", "What can we learn from it?", "What is the moral of the story?"]



def story_about(rng):
    """-> (topic, story, its variables): the topic names only what the story has."""
    while True:
        text, bound = grammar.story(rng)
        topic = rng.choice(TOPICS)
        needed = grammar.PARTS.findall(topic)
        if all(v in bound for v in needed):
            return grammar.PARTS.sub(lambda m: bound[m.group(1)], topic), text, bound


def question(rng):
    return grammar.PARTS.sub(lambda m: rng.choice(WORDS[m.group(1)]), rng.choice(QUESTIONS))


def ask_for_story(rng):
    """-> (user, assistant, variables) of one turn that tells a story"""
    kind = rng.random()
    topic, text, bound = story_about(rng)
    if kind < 0.65:
        return rng.choice(REQUESTS).replace("{topic}", topic), text, bound
    if kind < 0.8:
        return rng.choice(OPEN_REQUESTS), text, bound
    return question(rng), f"{ELSE} {text}", bound


def next_turn(rng, told, bound):
    """A turn after a story. -> (user, assistant, variables)"""
    kind = rng.random()
    if kind < 0.3:
        text, fresh = grammar.story(rng)
        return rng.choice(AGAIN), text, fresh
    if kind < 0.5:
        return ask_for_story(rng)
    if kind < 0.65:
        return rng.choice(THANKS), WELCOME, bound
    if kind < 0.8:
        return rng.choice(HERO_QUESTIONS), f"The hero is {bound['hero']} the {bound['animal']}.", bound
    moral = told[told.rindex(" that ") + 1:]
    return rng.choice(MORAL_QUESTIONS), f"We learn {moral}", bound


def chat(rng):
    """One to four turns. -> document"""
    parts = []
    if rng.random() < 0.3:
        parts.append((f"{START}system\n{rng.choice(SYSTEMS)}{END}\n", False))
    turns = rng.choice([1, 1, 1, 2, 2, 3, 4])
    told, bound = None, None
    for i in range(turns):
        if told is None and i == 0 and rng.random() < 0.15:
            user, answer = rng.choice(GREETINGS), HELLO
        elif told is None:
            user, answer, bound = ask_for_story(rng)
            told = answer
        else:
            user, answer, bound = next_turn(rng, told, bound)
            told = answer if len(answer) > 150 else told
        if rng.random() < 0.1:
            user = user.lower()
        parts += [(f"{START}user\n{user}{END}\n{START}assistant\n", False), (f"{answer}{END}", True), ("\n", False)]
    return parts[:-1]


def single(rng):
    return [(grammar.story(rng)[0], True), ("</s>", True)]


def several(rng, size):
    """Stories in a row up to about `size` characters, joined as people join them. What follows a story that is not
    the last is not learned: after a story the model should end."""
    joint = rng.choice([" ", "\n", "\n\n", "\n\n\n"])
    parts, done = [], 0
    while True:
        text = grammar.story(rng)[0]
        if parts and done + len(text) > size:
            return parts + [("</s>", True)]
        parts += [(joint, False)] if parts else []
        parts.append((text, True))
        done += len(text)


def sentence_end(text, at):
    """Just after the sentence that goes on at text[at]."""
    return min(i for i in (text.find(mark, at) for mark in ".!?") if i >= 0) + 1


def opening(rng):
    """The beginning of a story up to the sentence that names the hero again. Nothing but the hero can be meant
    there, so the model learns to keep names long before it would from whole stories."""
    text, bound = grammar.story(rng)
    again = text.index(bound["hero"], text.index(bound["hero"]) + 1)
    return [(text[:sentence_end(text, again)], True)]


def plot(rng):
    """What happens in a story, without its beginning, up to the sentence that takes up the friend's name again."""
    bound = grammar.new_hero(rng, False)
    text = grammar.expand(rng.choice(["{lost}", "{found}", "{meeting}", "{learning}", "{danger}"]), bound, rng)
    again = text.find(bound["pal"], text.index(bound["pal"]) + 1)
    return [(text[:sentence_end(text, again)] if again >= 0 else text, True)]


def openings():
    rng = random.Random(SEED + 2)
    return [opening(rng) for _ in range(OPENINGS)]


def plots():
    rng = random.Random(SEED + 3)
    return [plot(rng) for _ in range(PLOTS)]


def short_documents():
    rng = random.Random(SEED)
    return [chat(rng) if rng.random() < 0.4 else single(rng) for _ in range(SHORT)]


def long_documents():
    rng = random.Random(SEED + 1)
    return [several(rng, rng.randrange(800, 5000)) for _ in range(LONG)]


def stories(documents):
    """Every text that the documents teach, without the ends."""
    return {text.removesuffix(END).removeprefix(ELSE + " ") for d in documents for text, learn in d if learn}
