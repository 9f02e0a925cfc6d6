"""Answers to be judged, and a judge behind a real endpoint who reads what is quoted to it."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from arbitrage.contracts.workers import Inputs
from arbitrage.judging.sides import Match
from arbitrage.records import Candidate, Prompt, Verdict
from arbitrage.tables import to_table
from tests.support.mock_endpoint import Handler, answer
from tests.support.scoring import a_candidate, a_prompt

QUOTED = re.compile(r"\[answer (\d) ([0-9a-f]{8})\]\n(.*?)\n\[end of answer \1 \2\]", re.DOTALL)

CODE = re.compile(r"^(Verdict|Score) ([a-z]{8}): <[^>]*>$", re.MULTILINE)
"""How a question says which words begin the line of the verdict."""

_SHORT = re.compile(r"\s*\[\[([^\[\]]*)\]\]$")

Preference = Callable[[str, str], str]
"""What a judge says of the first and the second answer; `[[1]]` at the end stands for the line of a verdict."""


def marked(text: str, question: str) -> str:
    """Return a reply whose `[[…]]` at the end has become the last line that the question wants."""
    [(word, code)] = CODE.findall(question)
    return _SHORT.sub(lambda found: f"\n{word} {code}: {found[1]}", text)


def a_match(a: str, b: str, question: str = "Why?", language: str = "en", **fields: Any) -> Match:
    """Return a match of two texts."""
    prompt = a_prompt(question, language, **fields)
    return Match(prompt, a_candidate(prompt, a, teacher="a"), a_candidate(prompt, b, teacher="b"))


def match_inputs(matches: Sequence[Match], **roles: Any) -> Inputs:
    """Return a shard of matches; further roles as (rows, record)."""
    tables = {
        "prompts": (to_table([m.prompt for m in matches], Prompt),),
        "a": (to_table([m.a for m in matches], Candidate),),
        "b": (to_table([m.b for m in matches], Candidate),),
    }
    return Inputs(tables | {role: (to_table(rows, record),) for role, (rows, record) in roles.items()})


def a_verdict(number: int, winner: str = "a", how: str = "consistent", **fields: Any) -> Verdict:
    """Return a verdict; prompts of one number are translations of each other."""
    values = {
        "match_id": f"m{number}{fields.get('language', 'en')}",
        "prompt_id": f"p{number}{fields.get('language', 'en')}",
        "source_id": f"s{number}",
        "language": "en",
        "judge": "j",
        "a_id": f"a{number}",
        "b_id": f"b{number}",
        "a_characters": 10,
        "b_characters": 10,
        "winner": winner,
        "how": how,
    }
    if how == "consistent":
        values |= {"a_first": winner, "b_first": winner}
    return Verdict(**(values | fields))


def judge_behind(preference: Preference) -> Handler:
    """Return an endpoint that reads both answers out of what it is asked."""

    async def behave(body: dict[str, Any], _: int) -> web.Response:
        question = body["messages"][-1]["content"]
        found = {number: text for number, _, text in QUOTED.findall(question)}
        return answer(marked(preference(found["1"], found["2"]), question))

    return behave


def prefers(good: Callable[[str], bool]) -> Preference:
    """Return a judge without prejudice."""

    def say(first: str, second: str) -> str:
        if good(first) == good(second):
            return "Both are alike. [[tie]]"
        return f"I see. [[{1 if good(first) else 2}]]"

    return say


def write_pool(path: Path, url: str, *names: str) -> Path:
    """Write a pool of judges behind one endpoint."""
    engine = {"kind": "openai", "base_url": url}
    teachers = [{"name": n, "model": "m", "languages": ["en", "de"], "engine": engine, "family": n} for n in names]
    path.write_text(yaml.safe_dump({"teachers": teachers}))
    return path
