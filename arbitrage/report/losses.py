"""Rejects and notes of a run, step by step, so that nothing is dropped silently."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from arbitrage.inputs.notes import note_text
from arbitrage.runs.manifest import Manifest, StepReport


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a step counted, without rejecting a row.

    Attributes:
        key: as the step wrote it; details follow the first ':'.
        count: how often.
        sentence: the note in words.
    """

    step: str
    key: str
    count: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Loss:
    """Rows rejected at a step: how many of how many, and why."""

    step: str
    num_in: int
    num_rejected: int
    reasons: dict[str, int]  # most first
    verb: str  # of the step

    @property
    def sentence(self) -> str:
        """The loss in words: '12 of 480 rejected (timeout 10, too_long 2)'."""
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.items())
        return f"{self.num_rejected:,} of {self.num_in:,} rejected ({reasons})"


def notes_of(manifest: Manifest) -> tuple[Note, ...]:
    """List what the steps of a run counted, in the order of the plan."""
    return tuple(
        Note(report.name, key, count, describe_note(key, count))
        for report in manifest.steps
        for key, count in report.notes.items()
        if count
    )


def losses_of(manifest: Manifest) -> tuple[Loss, ...]:
    """List the steps of a run that rejected rows, in the order of the plan."""
    facts = manifest.plan.facts
    return tuple(_loss(report, facts[report.name].verb) for report in manifest.steps if report.num_rejected)


def describe_note(key: str, count: int) -> str:
    """Return a note in words; an unknown key is shown unchanged."""
    words = note_text(key)
    return f"{key}: {count:,}" if words == key else f"{count:,} {words}"


MAX_NOTES = 4
"""Maximum number of notes of one kind and step, and of losses of one verb, with their own lines; the report has
all."""


def loss_lines(losses: Sequence[Loss], notes: tuple[Note, ...]) -> list[str]:
    """Return rejects and notes as lines for a terminal."""
    return [*shorter_losses(losses, MAX_NOTES), *(f"note: {line}" for line in shorter_notes(notes, MAX_NOTES))]


def shorter_losses(losses: Sequence[Loss], most: int) -> list[str]:
    """Return the losses as lines for a terminal; more than `most` steps of one verb are summed in one line."""
    grouped: dict[str, list[Loss]] = defaultdict(list)
    for loss in losses:
        grouped[loss.verb].append(loss)
    lines = []
    for verb, found in grouped.items():
        if len(found) <= most:
            lines += [f"{loss.step}: {loss.sentence}" for loss in found]
            continue
        reasons = sum((Counter(loss.reasons) for loss in found), Counter[str]())
        num_in, num_rejected = sum(loss.num_in for loss in found), sum(loss.num_rejected for loss in found)
        whole = Loss(verb, num_in, num_rejected, dict(reasons.most_common()), verb)
        worst = max(found, key=lambda loss: loss.num_rejected)
        lines.append(f"{verb}, {len(found)} steps: {whole.sentence}; most at {worst.step}: {worst.num_rejected:,}")
    return lines


def shorter_notes(notes: tuple[Note, ...], most: int) -> list[str]:
    """Return the notes as lines for a terminal: one for each step and kind with its examples, at most `most`."""
    grouped: dict[tuple[str, str], list[Note]] = defaultdict(list)
    for note in notes:
        grouped[note.step, note.key.partition(":")[0]].append(note)
    lines = []
    for (step, _), found in grouped.items():
        found.sort(key=lambda note: -note.count)
        left = len(found) - most
        rest = f"; and {left:,} more kinds: {sum(n.count for n in found[most:]):,}" if left > 0 else ""
        lines.append(f"{step}: " + "; ".join(note.sentence for note in found[:most]) + rest)
    return lines


def _loss(report: StepReport, verb: str) -> Loss:
    reasons = dict(Counter(report.rejected).most_common())
    return Loss(report.name, report.num_in, report.num_rejected, reasons, verb)
