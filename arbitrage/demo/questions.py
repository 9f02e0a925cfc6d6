"""Every question of the demo world in one language, family by family, with the instance it is a wording of."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from arbitrage.demo.lexicons import Cycle, Lexicon

MAX_TERM = 6
"""Maximum of the terms of sums and the results of differences."""

COUNTS = range(2, 7)

COUNTED_WORDS = 3
"""Number of words of each category in counting questions."""


@dataclass(frozen=True, slots=True)
class Question:
    """One wording of one instance.

    `template` is set where held-out means an unseen wording of a known fact (its index among the family's
    templates); it is None where held-out means an unseen instance in any wording.
    """

    instance: str
    text: str
    answer: str
    template: int | None = None
    num_templates: int = 1
    group: str = ""
    """Key of questions that are held out together; the instance itself if empty."""


def _arithmetic(lexicon: Lexicon) -> Iterator[Question]:
    for a in range(1, MAX_TERM + 1):
        for b in range(1, MAX_TERM + 1):
            for template in lexicon.arithmetic.plus:
                yield Question(f"{a}+{b}", template.format(a=a, b=b), str(a + b))
            for template in lexicon.arithmetic.minus:
                yield Question(f"{a + b}-{b}", template.format(a=a + b, b=b), str(a))


def _numbers(lexicon: Lexicon) -> Iterator[Question]:
    templates = lexicon.numbers.templates
    for number, word in enumerate(lexicon.numbers.words):
        for index, template in enumerate(templates):
            yield Question(str(number), template.format(number=number), word, index, len(templates))


def _counting(lexicon: Lexicon) -> Iterator[Question]:
    for label, words in lexicon.categories.words.items():
        for index, word in enumerate(words[:COUNTED_WORDS]):
            for count in COUNTS:
                text = lexicon.counting.separator.join([word] * count)
                for template in lexicon.counting.templates:
                    yield Question(f"{label}{index}*{count}", template.format(words=text), str(count))


def _opposites(lexicon: Lexicon) -> Iterator[Question]:
    templates = lexicon.opposites.templates
    for key, (first, second) in lexicon.opposites.pairs.items():
        for side, (word, answer) in enumerate(((first, second), (second, first))):
            for index, template in enumerate(templates):
                yield Question(f"{key}/{side}", template.format(word=word), answer, index, len(templates))


def _colours(lexicon: Lexicon) -> Iterator[Question]:
    templates = lexicon.colours.templates
    for key, thing in lexicon.colours.things.items():
        for index, template in enumerate(templates):
            yield Question(key, template.format(**thing.forms), thing.answer, index, len(templates))


def _cycle(cycle: Cycle) -> Iterator[Question]:
    length = len(cycle.names)
    directions = ((1, cycle.after, cycle.when_after), (-1, cycle.before, cycle.when_before))
    for start, name in enumerate(cycle.names):
        for step, templates, whens in directions:
            answer = cycle.names[(start + step) % length]
            wordings = [template.format(name=name, when=when) for template in templates for when in whens]
            for index, wording in enumerate(wordings):
                yield Question(f"{start}{step:+d}", wording, answer, index, len(wordings))


def _weekdays(lexicon: Lexicon) -> Iterator[Question]:
    return _cycle(lexicon.weekdays)


def _months(lexicon: Lexicon) -> Iterator[Question]:
    return _cycle(lexicon.months)


def _comparisons(lexicon: Lexicon) -> Iterator[Question]:
    ranked = list(lexicon.comparisons.animals.items())
    kinds = (("bigger", lexicon.comparisons.bigger), ("smaller", lexicon.comparisons.smaller))
    for rank_a, (key_a, a) in enumerate(ranked):
        for rank_b, (key_b, b) in enumerate(ranked):
            if rank_a == rank_b:
                continue
            for kind, templates in kinds:
                answer = a if (rank_a > rank_b) == (kind == "bigger") else b
                for template in templates:
                    text = template.format(a=a.forms, b=b.forms)
                    # A pair is held out in both orders and both directions: otherwise one answer reveals the other.
                    pair = "|".join(sorted((key_a, key_b)))
                    yield Question(f"{kind}({key_a},{key_b})", text, answer.answer, group=pair)


def _categories(lexicon: Lexicon) -> Iterator[Question]:
    templates = lexicon.categories.templates
    for label, words in lexicon.categories.words.items():
        for position, word in enumerate(words):
            for index, template in enumerate(templates):
                answer = lexicon.categories.labels[label]
                yield Question(f"{label}{position}", template.format(word=word), answer, index, len(templates))


QUESTIONS: dict[str, Callable[[Lexicon], Iterator[Question]]] = {
    "arithmetic": _arithmetic,
    "numbers": _numbers,
    "counting": _counting,
    "opposites": _opposites,
    "colours": _colours,
    "weekdays": _weekdays,
    "months": _months,
    "comparisons": _comparisons,
    "categories": _categories,
}
"""Task family → the generator of all its questions in one language."""
