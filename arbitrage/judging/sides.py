"""The two sides of a comparison, and their responses to one prompt as a match.

A side is a teacher of the pool, a run (`runs/x#sft`), or files: all of their rows, or those of one teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from arbitrage.candidates.table import CandidateShard, JoinedCandidate
from arbitrage.contracts.steps import Step
from arbitrage.contracts.workers import Inputs, Item
from arbitrage.errors import UserError
from arbitrage.inputs.columns import ResponseColumns
from arbitrage.judging.answers import ResponseFiles
from arbitrage.records import Candidate, Prompt, content_id, nfc
from arbitrage.runs.layout import shard_path
from arbitrage.runs.run import PLAN_FILE, Run, open_run

PREFERRED = ("sft", "steered", "preference")
"""Default data set of a run: the first of these that exists."""


def data_side(given: str, label: str, columns: ResponseColumns) -> ResponseFiles | None:
    """Return the data set, or None if there is no such file or run.

    Args:
        given: the user's text.
        label: name in reports.
        columns: which column holds what.

    Raises:
        UserError: a run has no such part, or is not finished.
    """
    path, _, part = given.partition("#")
    if (Path(path) / PLAN_FILE).is_file():
        return _run_side(given, label, open_run(Path(path)), part, columns)
    if Path(given).exists():
        path, part = given, ""
    if not Path(path).exists() and not any(sign in path for sign in "*?["):
        return None
    return ResponseFiles(label=label, paths=(str(Path(path).absolute()),), teacher=part or None, columns=columns)


def _run_side(given: str, label: str, run: Run, part: str, columns: ResponseColumns) -> ResponseFiles:
    _ = run.manifest  # raises if the run has not finished
    paths = [path for step in _steps_of(given, run, part) for path in _shards(run, step)]
    [prompts] = run.plan.table["prompts"]
    return ResponseFiles(label=label, paths=tuple(paths), prompts=tuple(_shards(run, prompts)), columns=columns)


def _steps_of(given: str, run: Run, part: str) -> list[str]:
    """Return the steps of a run's part: a data set, or the candidates of one teacher."""
    parts = {name: [step] for name, step in run.plan.datasets.items()}
    for step in run.plan.table.get("candidates", ()):
        parts.setdefault(str(run.step(step).config["teacher"]["name"]), []).append(step)
    if fused := run.plan.table.get("fused"):
        parts["fused"] = list(fused)
    wanted = part or next((name for name in PREFERRED if name in parts), "")
    if wanted not in parts:
        raise UserError(f"{given}: the run has no part '{part}'; parts: {', '.join(parts) or 'none'}")
    return parts[wanted]


def _shards(run: Run, step: str) -> list[str]:
    run.require_sound(step)  # from here on the files are read by their paths
    paths = [shard_path(run.directory(step), shard) for shard in run.shards(step)]
    return [str(Path(str(path)).absolute()) for path in paths if path.exists()]


@dataclass(frozen=True, slots=True)
class Sides:
    """The steps to judge: prompts, and the responses of A and of B."""

    prompts: Step
    a: Step
    b: Step

    def inputs(self) -> dict[str, tuple[Step, ...]]:
        """Return the inputs of a step that reads matches."""
        return {"prompts": (self.prompts,), "a": (self.a,), "b": (self.b,)}


@dataclass(frozen=True)
class Match:
    """Two responses to one prompt."""

    prompt: Prompt
    a: Candidate
    b: Candidate

    @cached_property
    def match_id(self) -> str:
        """Hash of both responses' ids: the same for every judge."""
        return content_id("match", self.a.candidate_id, self.b.candidate_id)

    @property
    def is_identical(self) -> bool:
        """Tell whether both are equal, up to Unicode form and surrounding space: a tie without a call."""
        return nfc(self.a.shown).strip() == nfc(self.b.shown).strip()

    @property
    def item(self) -> Item:
        """Item key of the match: a step outputs exactly one row or reject for it."""
        return Item(self.match_id, self.prompt.language)


def matches(inputs: Inputs) -> list[Match]:
    """Join a shard's prompts with both sides' responses, the k-th of A with the k-th of B, in order of prompt id.

    A prompt without a response of one side makes no match; that side's step has counted the reason.
    """
    a, b = (CandidateShard(inputs, candidates_role=side, scores_role="").by_prompt() for side in ("a", "b"))
    return [
        Match(prompt, one, other)
        for (prompt, of_a), (_, of_b) in zip(a, b, strict=True)
        for one, other in zip(_by_sample(of_a), _by_sample(of_b), strict=False)
    ]


def _by_sample(rows: Sequence[JoinedCandidate]) -> list[Candidate]:
    return sorted((row.candidate for row in rows), key=lambda c: (c.sample_index, c.candidate_id))
