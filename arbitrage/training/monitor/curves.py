"""The six curves: one line of JSON for each check and language, beside the checkpoints they describe."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pydantic import TypeAdapter, ValidationError

from arbitrage.errors import DataError
from arbitrage.runs.store import commit_bytes

CURVES_FILE = "monitor.jsonl"
OVERALL = "all"
"""Key of the mean over languages, with equal weights; for confusion, the share over all responses."""


@dataclass(frozen=True, slots=True)
class Check:
    """Measurements of a model on the probe set of a language at one step.

    Attributes:
        step: optimiser steps taken.
        language: BCP-47, or `all`.
        num_rows: number of probe rows.
        chosen, rejected: mean over rows of an answer's log-likelihood, nats, ≤ 0.
        margin: chosen − rejected.
        entropy: of the ten likeliest tokens, bits; mean over the tokens of a chosen answer, then over rows.
        mass: probability of the ten likeliest tokens, 0..1; likewise.
        confusion: share of the sampled responses that are not in their prompt's language, 0..1; None if there is no
            judgeable one.
        num_judged: number of sampled responses whose language could be judged.
        model: the measured model, if it is not the model in training.
    """

    step: int
    language: str
    num_rows: int
    chosen: float
    rejected: float
    margin: float
    entropy: float
    mass: float
    confusion: float | None
    num_judged: int
    model: str | None = None


CURVES = ("chosen", "rejected", "margin", "entropy", "mass", "confusion")
_CHECK = TypeAdapter(Check)


def overall(checks: Sequence[Check]) -> Check:
    """Return the mean over languages of the checks of one step."""
    num_judged = sum(check.num_judged for check in checks)
    num_confused = sum(check.num_judged * (check.confusion or 0.0) for check in checks)
    return Check(
        step=checks[0].step,
        language=OVERALL,
        num_rows=sum(check.num_rows for check in checks),
        **{name: fmean(getattr(check, name) for check in checks) for name in CURVES if name != "confusion"},
        confusion=num_confused / num_judged if num_judged else None,
        num_judged=num_judged,
        model=checks[0].model,
    )


def by_language(checks: Iterable[Check]) -> dict[str, list[Check]]:
    """Return language → its checks by step, `all` first."""
    found: dict[str, list[Check]] = {}
    for check in sorted(checks, key=lambda c: (c.language != OVERALL, c.language, c.step)):
        found.setdefault(check.language, []).append(check)
    return found


def write_checks(path: Path, checks: Iterable[Check]) -> None:
    """Write checks to a file, replacing it, one JSON object per line. Raises StorageError."""
    commit_bytes(path, b"".join(_CHECK.dump_json(check) + b"\n" for check in checks))


def read_checks(path: Path) -> list[Check]:
    """Read checks; empty if there is no file.

    Raises:
        DataError: the file is not a monitor's.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [_CHECK.validate_json(line) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(f"{path}: is not a file of a monitor's checks") from error
