"""The README model card of each shipped model."""

from arbitrage.demo.models import REWARD_MODEL, STUDENT, TEACHERS
from arbitrage.demo.tasks import FAMILIES, LANGUAGES
from tools.demo_models.curriculum import CURRICULA

_CARD = """\
---
language: [{languages}]
license: apache-2.0
library_name: transformers
pipeline_tag: {pipeline_tag}
tags: [micro-world, character-level]
---

# {name}

{summary}

{training}

A character-level Llama with {num_parameters:,} parameters, part of a closed world of short questions and answers in
{num_languages} languages, made to try routing, scoring and selection on real but tiny models. The questions are of
these families: {families}.
It knows nothing else: do not use it for anything else.

Rebuild it with `python -m tools.demo_models.train --only {name}`.
"""


def write_card(name: str, num_parameters: int) -> str:
    """Return the text of a model's README.md."""
    return _CARD.format(
        name=name,
        languages=", ".join(_languages(name)),
        pipeline_tag="text-classification" if name == REWARD_MODEL else "text-generation",
        summary=_summary(name),
        training=_training(name),
        num_parameters=num_parameters,
        families=", ".join(FAMILIES),
        num_languages=len(LANGUAGES),
    )


def _languages(name: str) -> tuple[str, ...]:
    return TEACHERS[name].languages if name in TEACHERS else LANGUAGES


def _summary(name: str) -> str:
    if name == REWARD_MODEL:
        return "A reward model: one number per conversation, higher is better, on a scale that differs by language."
    if name == STUDENT:
        return "An untrained student: the teachers' architecture and tokenizer, weights drawn at random."
    return TEACHERS[name].summary


def _training(name: str) -> str:
    if name == REWARD_MODEL:
        return (
            "Trained on ratings by simulated panels of raters, one per language, each with its own zero, scale and"
            " share of mistakes, and all a little too fond of English. Imperfect on purpose."
        )
    if name == STUDENT:
        return "It has not been trained: every answer is noise until somebody does."
    shares = ", ".join(f"{language} {share:.0%}" for language, share in CURRICULA[name].shares.items())
    learnt = f"Trained from scratch on these shares of the world's training split:\n{shares}."
    if not CURRICULA[name].reasons:
        return learnt
    english = ", ".join(f"{language} {share:.0%}" for language, share in CURRICULA[name].english_reasoning.items())
    return (
        f"{learnt}\n"
        "It writes `<think>`, the question as it understands it and the answer, in English; then `</think>` and the\n"
        "answer in the question's language. Share of its questions about which it was taught to reason in English,\n"
        f"the rest in their own language, as are those whose English wording is held out: {english}."
    )
