"""Export a finished run to directories that trainers read."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from arbitrage.errors import ConservationError, EmptyDatasetError, UserError
from arbitrage.export import FORMATS
from arbitrage.export.card import CARD_FILE, card
from arbitrage.export.files import DataFile, DataWriter
from arbitrage.export.format import Format, ReasoningForm, Trainer
from arbitrage.export.names import require_name, require_no_link, require_tag
from arbitrage.export.provenance import PROVENANCE_FILE, provenance
from arbitrage.export.reading import CANDIDATES, ExportRow, ExportSource, open_source
from arbitrage.export.reasoning import ReasoningChoice
from arbitrage.export.summary import ExportSummary, ExportTally, SkipReason
from arbitrage.runs.paths import AnyPath, StorePath
from arbitrage.runs.run import Run, open_run
from arbitrage.runs.store import remove, storage_errors
from arbitrage.tables import arrow_schema, to_table

EXPORT_DIRECTORY = "export"
UPLOADING_FILE = "_uploading"


@dataclass(frozen=True, slots=True)
class ExportResult:
    """One exported data set.

    Attributes:
        num_reasoned: rows that have reasoning in the run.
        reasoning: the form in which the export has it; None: it was dropped, or there is none. The candidate table
            has it in a column of its own, which is called `column` here.
    """

    dataset: str
    trainer: Trainer
    path: AnyPath
    num_rows: int
    rows_by_language: Mapping[str, int]
    rows_by_split: Mapping[str, int]
    skipped: Mapping[str, int]  # reason → rows of the run that are not in the export
    files: tuple[DataFile, ...]
    num_reasoned: int = 0
    reasoning: ReasoningForm | Literal["column"] | None = None


@dataclass(frozen=True, slots=True)
class EmptyExport:
    """A data set without rows, and why. Nothing was written for it.

    Attributes:
        earlier: path of an earlier export with rows, which is still there; None if there is none.
    """

    dataset: str
    trainer: Trainer
    why: str
    earlier: AnyPath | None

    @property
    def sentence(self) -> str:
        """The result in words."""
        still = f"; the export in {self.earlier} is an earlier one" if self.earlier is not None else ""
        return f"data set '{self.dataset}' {self.why}{still}"


@dataclass(frozen=True, slots=True)
class Exported:
    """Results: data sets that were written, and those without rows."""

    results: tuple[ExportResult, ...]
    empty: tuple[EmptyExport, ...]


def export_run(
    run_dir: AnyPath,
    trainer: Trainer = "trl",
    datasets: Sequence[str] | None = None,
    out: AnyPath | None = None,
    *,
    test_fraction: float = 0.0,
    licences: Sequence[str] | None = None,
    reasoning: ReasoningChoice = "keep",
) -> list[ExportResult]:
    """Write data sets like `export_datasets`, but require all of them.

    Raises:
        EmptyDatasetError: a data set has no rows to export; the others are written first.
    """
    done = export_datasets(
        run_dir, trainer, datasets, out, test_fraction=test_fraction, licences=licences, reasoning=reasoning
    )
    if done.empty:
        raise EmptyDatasetError(f"{run_dir}: " + "; ".join(each.sentence for each in done.empty))
    return list(done.results)


def export_datasets(
    run_dir: AnyPath,
    trainer: Trainer = "trl",
    datasets: Sequence[str] | None = None,
    out: AnyPath | None = None,
    *,
    test_fraction: float = 0.0,
    licences: Sequence[str] | None = None,
    reasoning: ReasoningChoice = "keep",
) -> Exported:
    """Write data sets of a finished run as `<out>/<dataset>/` (TRL) or `<out>/<dataset>-<trainer>/`.

    Args:
        run_dir: the run.
        trainer: name of the format. The candidate table has one format for all.
        datasets: names; None for all data sets of the run's pipeline (`candidates` is written only if named).
        out: target directory (default: `<run_dir>/export`). An earlier export of the same name is replaced
            atomically.
        test_fraction: share of the prompts, 0 to 1, whose rows go to the split `test`: chosen by a hash of the prompt
            id, so the same in all data sets. Translations of one prompt are different prompts and may be in different
            splits.
        licences: keep only rows bound by these licences alone (of the prompt and the teachers; `unknown` if none was
            stated).
        reasoning: `keep` writes it as the trainer reads it, `drop` leaves it out; or one of the trainer's forms.

    Returns:
        The data sets that were written and those that are empty, each in the requested order.

    Raises:
        RunDirectoryError: no run, or one that has not finished.
        UserError: unknown trainer, data set or form of reasoning, or the target exists and is not an export.
        DataError: a name or a language cannot become the name of a file.
        StorageError: the disk refused.
    """
    run, format = open_run(run_dir), _format_for(trainer)
    if not 0 <= test_fraction < 1:
        raise UserError(f"test_fraction: {test_fraction} is not in [0, 1)")
    names = [require_name(n) for n in dict.fromkeys(sorted(run.plan.datasets) if datasets is None else datasets)]
    if reasoning not in get_args(ReasoningChoice):
        raise UserError(f"reasoning: '{reasoning}' is not one of {', '.join(get_args(ReasoningChoice))}")
    sources = {name: open_source(run, name, format, reasoning) for name in names}
    _ = run.manifest  # raises if the run has not finished
    allowed = None if licences is None else frozenset(licence.lower() for licence in licences)
    jobs = [Export(run, name, source, format, test_fraction, allowed, reasoning) for name, source in sources.items()]
    if out is None:
        require_no_link(run_dir / EXPORT_DIRECTORY)  # an untrusted run may contain a link here
    written = [job.write(out or run_dir / EXPORT_DIRECTORY) for job in jobs]
    return Exported(
        results=tuple(each for each in written if isinstance(each, ExportResult)),
        empty=tuple(each for each in written if isinstance(each, EmptyExport)),
    )


def _format_for(trainer: str) -> Format:
    if trainer not in FORMATS:
        raise UserError(f"there is no export for '{trainer}'; trainers: {', '.join(FORMATS)}")
    return FORMATS[trainer]


class Export:
    """One data set to be exported."""

    def __init__(
        self,
        run: Run,
        dataset: str,
        source: ExportSource,
        format: Format,
        test_fraction: float,
        allowed: frozenset[str] | None,
        reasoning: ReasoningChoice,
    ) -> None:
        self.run, self.dataset, self.source, self.format = run, dataset, source, format
        self.test_fraction, self.allowed, self.reasoning = test_fraction, allowed, reasoning
        self.tally = ExportTally()

    def write(self, out: AnyPath) -> ExportResult | EmptyExport:
        """Write the data set below `out`; write nothing if it has no rows."""
        plain = self.format.trainer == "trl" or self.dataset == CANDIDATES
        target = out / (self.dataset if plain else f"{self.dataset}-{self.format.trainer}")
        with replacing(target) as beside:
            files = self._write_data(beside)
            self._check(files)
            if not files:
                shutil.rmtree(beside)
                earlier = target if _is_export(target) else None
                return EmptyExport(self.dataset, self.format.trainer, self.why_empty(), earlier)
            self._write_words(beside, files)
        return ExportResult(
            dataset=self.dataset,
            trainer=self.format.trainer,
            path=target,
            num_rows=self.tally.num_rows,
            rows_by_language=self.tally.languages(),
            rows_by_split=self.tally.splits(),
            skipped=dict(sorted(self.tally.skipped.items())),
            files=files,
            num_reasoned=self.tally.num_reasoned,
            reasoning=self._form(),
        )

    def _form(self) -> ReasoningForm | Literal["column"] | None:
        if self.dataset == CANDIDATES:
            return None if self.reasoning == "drop" or not self.tally.num_reasoned else "column"
        return self.source.reasoning if self.tally.num_reasoned else None

    def why_empty(self) -> str:
        """Say why there is nothing to write."""
        if self.tally.skipped:
            lost = ", ".join(f"{reason} {count}" for reason, count in sorted(self.tally.skipped.items()))
            return f"has no rows left to export ({lost})"
        reports = {step.name: step for step in self.run.manifest.steps}
        for name in filter(None, (self.source.step, *self.run.plan.table.get("choices", ()))):
            if name in reports and (rejected := reports[name].rejected):
                lost = ", ".join(f"{reason} {n}" for reason, n in sorted(rejected.items()))
                return f"has no rows: {name} rejected all ({lost})"
        return "has no rows"

    def _write_data(self, directory: Path) -> tuple[DataFile, ...]:
        file_type = "parquet" if self.dataset == CANDIDATES else self.format.file_type
        writer = DataWriter(directory, arrow_schema(self.source.record), file_type)
        for shard in self.run.plan.shards:
            groups: dict[tuple[str, str], list[ExportRow]] = {}
            for entry in self._keep(self.source.read(shard)):
                language = require_tag(entry.language, entry.prompt_id)
                groups.setdefault((self._split_of(entry.prompt_id), language), []).append(entry)
            for (split, language), entries in sorted(groups.items()):
                writer.add(split, language, to_table([e.row for e in entries], self.source.record))
        return writer.close()

    def _keep(self, entries: Iterable[ExportRow]) -> Iterator[ExportRow]:
        for entry in entries:
            self.tally.num_read += 1
            reason = self._skip_reason(entry)
            if reason:
                self.tally.skipped[reason] += 1
                continue
            self.tally.count(entry, self._split_of(entry.prompt_id))
            yield entry

    def _skip_reason(self, entry: ExportRow) -> SkipReason | None:
        if self.allowed is not None and not self.allowed.issuperset(licence.lower() for licence in entry.licences):
            return "licence_not_allowed"
        return entry.reject_reason

    def _split_of(self, prompt_id: str) -> str:
        return "test" if is_held_out(prompt_id, self.test_fraction) else "train"

    def _check(self, files: Sequence[DataFile]) -> None:
        written, skipped = sum(f.num_rows for f in files), self.tally.skipped.total()
        if (written, written + skipped) != (self.tally.num_rows, self.tally.num_read):
            raise ConservationError(
                f"export {self.dataset}: {self.tally.num_read} rows in, {written} out and {skipped} skipped"
            )

    def _write_words(self, directory: Path, files: tuple[DataFile, ...]) -> None:
        summary = ExportSummary(
            run=self.run,
            dataset=self.dataset,
            source=self.source,
            format=self.format,
            files=files,
            tally=self.tally,
            test_fraction=self.test_fraction,
            allowed=self.allowed,
            reasoning=self.reasoning,
        )
        texts = {CARD_FILE: card(summary), PROVENANCE_FILE: provenance(summary)}
        if self.dataset != CANDIDATES:
            texts |= self.format.sidecars(summary.shape)
        for name, text in texts.items():
            with storage_errors(directory / name):
                (directory / name).write_text(text, encoding="utf-8")


def is_held_out(prompt_id: str, fraction: float) -> bool:
    """Tell whether a prompt's rows go to `test`: whether its hash is below the fraction."""
    digest = hashlib.blake2b(prompt_id.encode(), digest_size=8, person=b"held-out").digest()
    return int.from_bytes(digest, "big") < fraction * 2**64


@contextmanager
def replacing(target: AnyPath) -> Iterator[Path]:
    """Provide a directory to fill; on success, it replaces an earlier export. On an error nothing changes.

    Raises:
        UserError: the target exists and is not an export.
        StorageError: the disk or the store refused.
    """
    if isinstance(target, StorePath):
        with _replacing_in_store(target) as beside:
            yield beside
    else:
        with _replacing_on_disk(target) as beside:
            yield beside


@contextmanager
def _replacing_in_store(target: StorePath) -> Iterator[Path]:
    """Fill a local directory and upload it. `provenance.json` is removed first and uploaded last."""
    earlier = target.files()
    if earlier and target / PROVENANCE_FILE not in earlier and target / UPLOADING_FILE not in earlier:
        raise _not_ours(target)
    with storage_errors(target):
        beside = Path(tempfile.mkdtemp(prefix="arbitrage-"))
    try:
        yield beside
        if not beside.exists():
            return
        paths = {target / path.relative_to(beside).as_posix(): path for path in beside.rglob("*") if path.is_file()}
        last = target / PROVENANCE_FILE
        (target / UPLOADING_FILE).write_bytes(b"")  # if this process dies, the next export recognises the directory
        remove(last)
        for place in sorted(paths.keys() - {last}):
            place.upload(paths[place])
        for place in set(earlier) - paths.keys() - {target / UPLOADING_FILE}:
            remove(place)
        last.upload(paths[last])
        remove(target / UPLOADING_FILE)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _is_export(target: AnyPath) -> bool:
    return (target / PROVENANCE_FILE).exists()


def _not_ours(target: AnyPath) -> UserError:
    return UserError(f"{target}: exists and is not an export; move it away or choose another directory")


@contextmanager
def _replacing_on_disk(target: Path) -> Iterator[Path]:
    require_no_link(target)
    if target.exists() and not (target / PROVENANCE_FILE).is_file():
        raise _not_ours(target)
    beside, before = (target.with_name(f"_{word}-{os.getpid()}-{target.name}") for word in ("new", "old"))
    with storage_errors(target):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
    try:
        yield beside
        if beside.exists():
            with storage_errors(target):
                if target.exists():
                    target.rename(before)
                beside.rename(target)
    finally:
        if before.exists() and not target.exists():
            before.rename(target)
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)
