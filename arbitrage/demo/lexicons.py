"""The words and question templates of one language, read from `lexicon/<language>.yaml` and validated.

Lexicons are parallel: concept keys (`snow`, `good_bad`) are the same in every file, so that one instance of a task
exists in every language.
"""

from functools import cache
from importlib.resources import files
from string import Formatter
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Text = Annotated[str, StringConstraints(min_length=1, strict=True)]
Pair = Annotated[tuple[Text, ...], Field(min_length=2, max_length=2)]
Two = Annotated[tuple[Text, ...], Field(min_length=2, max_length=2)]
Four = Annotated[tuple[Text, ...], Field(min_length=4, max_length=4)]
Five = Annotated[tuple[Text, ...], Field(min_length=5, max_length=5)]


class Entry(BaseModel):
    """Base of every part of a lexicon: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Thing(Entry):
    """A word as an answer, and its inflected forms for templates."""

    answer: Text
    forms: dict[str, Text]


class Arithmetic(Entry):
    """Templates with `{a}` and `{b}`; the answer is in Western digits."""

    plus: Two
    minus: Two


class Numbers(Entry):
    """Templates with `{number}` in digits; the answer is its word, from zero on."""

    templates: Four
    words: Annotated[tuple[Text, ...], Field(min_length=13, max_length=13)]


class Counting(Entry):
    """Templates with `{words}`, one noun repeated; the answer is a Western digit."""

    templates: Two
    separator: Text


class Opposites(Entry):
    """Templates with `{word}`, and pairs of words of which each answers the other."""

    templates: Four
    pairs: dict[str, Pair]


class Colours(Entry):
    """Templates with the forms of a thing; the answer is its colour."""

    templates: Four
    things: dict[str, Thing]


class Cycle(Entry):
    """Names in a cyclic order; templates with `{name}` and `{when}`, one step away."""

    names: tuple[Text, ...]
    after: Two
    before: Two
    when_after: Two
    when_before: Two


class Comparisons(Entry):
    """Animals from the smallest to the largest; templates with `{a[form]}` and `{b[form]}`."""

    bigger: Two
    smaller: Two
    animals: dict[str, Thing]


class Categories(Entry):
    """Templates with `{word}`; the answer is the label of its group."""

    templates: Four
    labels: dict[str, Text]
    words: dict[str, Five]


class Lexicon(Entry):
    """All words and templates of one language."""

    language: Text
    arithmetic: Arithmetic
    numbers: Numbers
    counting: Counting
    opposites: Opposites
    colours: Colours
    weekdays: Cycle
    months: Cycle
    comparisons: Comparisons
    categories: Categories

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse wrong cycle lengths, missing labels and templates with unknown forms."""
        for cycle, length in ((self.weekdays, 7), (self.months, 12)):
            if len(set(cycle.names)) != length:
                raise ValueError(f"{self.language}: found {len(set(cycle.names))} distinct names, wanted {length}")
        if set(self.categories.labels) != set(self.categories.words):
            raise ValueError(f"{self.language}: categories.labels and categories.words name different groups")
        for template in self.colours.templates:
            for key, thing in self.colours.things.items():
                if missing := _fields(template) - set(thing.forms):
                    raise ValueError(f"{self.language}: colours.things.{key}: no form {sorted(missing)}")
        return self


@cache
def load_lexicon(language: str) -> Lexicon:
    """Read and validate the lexicon of a language.

    Raises:
        FileNotFoundError: the demo world has no such language.
        pydantic.ValidationError: the file is not a valid lexicon.
    """
    text = (files("arbitrage.demo") / "lexicon" / f"{language}.yaml").read_text(encoding="utf-8")
    return Lexicon.model_validate(yaml.safe_load(text))


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}
