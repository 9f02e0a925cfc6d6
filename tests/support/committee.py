"""A committee of reviewers behind a real endpoint, and what it is asked."""

import re
from pathlib import Path
from typing import Any

import yaml

from arbitrage.config import parse
from arbitrage.contracts.rewards import Scorable
from arbitrage.judging.committee import CommitteeConfig
from arbitrage.judging.review import DEFAULT_CRITERIA, Review, question_of
from arbitrage.records import Candidate, FinishReason
from tests.support.pipelines import QUESTIONS, write_pipeline
from tests.support.scoring import a_candidate, a_pair

ANSWER = re.compile(r"\[answer ([0-9a-f]{8})\]\n(.*?)\n\[end of answer \1\]", re.DOTALL)
"""How a question quotes the answer it is about."""


def a_committee(**values: Any) -> CommitteeConfig:
    """Return a committee of three reviewers and an adjudicator."""
    return parse({"reviewers": ["r1", "r2", "r3"], "adjudicators": ["judge"]} | values, CommitteeConfig, "test")


def a_reply(about: str, reviewer: str, text: str, cut: bool = False) -> Candidate:
    """Return what a reviewer replied to the question `about`."""
    finish = FinishReason.LENGTH if cut else FinishReason.STOP
    item = a_pair(f"{about}{reviewer}")
    reply = a_candidate(item.prompt, text or " ", finish, teacher=reviewer)
    return reply.model_copy(update={"prompt_id": about, "text": text})


def question(item: Scorable, *reviews: Review) -> str:
    """Return the question a reviewer gets about an answer."""
    return question_of(item, DEFAULT_CRITERIA, with_reference=False, reviews=reviews)


def committee_pipeline(directory: Path, url: str, **changes: Any) -> Path:
    """Write the small pipeline with three reviewers and an adjudicator behind an endpoint."""
    path = write_pipeline(directory, rewards=[], committee=None)
    pool = directory / "teachers.yaml"
    teachers = yaml.safe_load(pool.read_text())["teachers"]
    for name in ("r1", "r2", "r3", "judge"):
        engine = {"kind": "openai", "base_url": url}
        teachers.append({"name": name, "model": name, "family": name, "languages": list(QUESTIONS), "engine": engine})
    pool.write_text(yaml.safe_dump({"teachers": teachers}))
    members = {"reviewers": ["r1", "r2", "r3"], "adjudicators": ["judge"]}
    config = yaml.safe_load(path.read_text()) | {"committee": members, "pool": ["ant", "bee", "cow"]} | changes
    path.write_text(yaml.safe_dump(config, allow_unicode=True))
    return path


def by_length(text: str) -> int:
    """Return the score that a reviewer gives a text."""
    return 9 if len(text) % 3 else 2


def pipeline_with_two_words(directory: Path, url: str, **members: Any) -> Path:
    """Write a pipeline whose teacher ant answers in two words, and a committee that rejects nothing."""
    path = committee_pipeline(directory, url, committee={"reviewers": ["r1", "r2"], "accept": None} | members)
    pool = yaml.safe_load((directory / "teachers.yaml").read_text())
    for teacher in pool["teachers"]:
        if teacher["name"] in ("ant", "bee", "cow"):
            teacher["engine"] = {"kind": "fake", "num_words": 2 if teacher["name"] == "ant" else 12}
    (directory / "teachers.yaml").write_text(yaml.safe_dump(pool))
    return path
