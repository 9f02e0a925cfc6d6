"""`arbitrage verify`: check every file of a run directory for damage, and set damaged files aside.

They are moved below `<run>/_damaged/`, never deleted, and the next run makes them again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel

from arbitrage.contracts.steps import Scope
from arbitrage.errors import StorageError
from arbitrage.runs.journal import count_lines
from arbitrage.runs.layout import journal_directory, numbered, rejects_path, shard_path, stats_path
from arbitrage.runs.manifest import LIVE_FILE, FileMark, Manifest, Notes, RunPlan, ShardStats
from arbitrage.runs.paths import AnyPath, StorePath, for_each, names_in, read_bytes, require_no_links
from arbitrage.runs.run import MANIFEST_FILE, NOTES_FILE, PLAN_FILE, REPORT_FILE
from arbitrage.runs.sealed import UnsealedError, unseal
from arbitrage.runs.store import TEMPORARY, storage_errors
from arbitrage.runs.verified import difference

DAMAGED = "_damaged"


def set_aside(run_dir: AnyPath, path: AnyPath) -> str:
    """Move a file of a run aside; return its new name below the run directory.

    Raises:
        StorageError: it cannot be moved.
    """
    below = str(path).removeprefix(str(run_dir)).lstrip("/")
    if isinstance(path, StorePath):
        return _copy_aside(run_dir, path, below)
    assert isinstance(run_dir, Path)
    require_no_links(run_dir, [DAMAGED, *below.split("/")[:-1]])
    with storage_errors(path):
        target = _free(run_dir / DAMAGED / below)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    return str(target.relative_to(run_dir))


def _copy_aside(run_dir: AnyPath, path: StorePath, below: str) -> str:
    """Copy and then remove, because a store cannot move objects."""
    assert isinstance(run_dir, StorePath)
    target, number = run_dir / DAMAGED / below, 1
    while target.exists():
        number += 1
        target = run_dir / DAMAGED / f"{below}.{number}"
    target.write_bytes(path.read_bytes())
    path.unlink()
    return str(target).removeprefix(f"{run_dir}/")


def _free(path: Path) -> Path:
    """Return an unused name, so that earlier files stay."""
    target, number = path, 1
    while target.exists() or target.is_symlink():
        number += 1
        target = path.with_name(f"{path.name}.{number}")
    return target


EXPORTS = "export"
KNOWN = {PLAN_FILE, MANIFEST_FILE, NOTES_FILE, REPORT_FILE, LIVE_FILE, "_lock", DAMAGED, EXPORTS}
PARTS = {"_rejects", "_stats", "_journal"}

Kind = Literal["damaged", "missing", "dropped lines", "export", "stray"]
"""`stray`: a file that the run neither wrote nor reads; the others are damage. `export`: a file of an export."""

_STEP = re.compile(r".+-[0-9a-f]{12}")


M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Finding:
    """One file that is damaged, missing or unknown."""

    path: str  # below the run directory
    kind: Kind
    what: str

    @property
    def is_damage(self) -> bool:
        """Whether the file is damaged or missing."""
        return self.kind != "stray"


@dataclass
class Audit:
    """The result of an audit.

    Attributes:
        num_files: number of files read.
        num_bytes: their size.
        findings: in the order of the directory.
        set_aside: old name → new name of the files that a repair moved, both below the run directory.
    """

    num_files: int = 0
    num_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    set_aside: dict[str, str] = field(default_factory=dict)

    @property
    def damage(self) -> list[Finding]:
        """The findings that a repair is needed for."""
        return [finding for finding in self.findings if finding.is_damage]


def is_run_directory(place: AnyPath) -> bool:
    """Whether a directory is, or was, a run directory: also if its `run.json` is lost."""
    names = names_in(place)
    return PLAN_FILE in names or MANIFEST_FILE in names or any(_STEP.fullmatch(name) for name in names)


def audit(run_dir: AnyPath) -> Audit:
    """Read every file of a run and compare it with its digest or checksum. Changes nothing."""
    return _Auditor(run_dir).run()


def repair(run_dir: AnyPath, found: Audit) -> None:
    """Set damaged files aside, so that the next run makes them again; the caller must hold the run lock.

    Without one of its shards a run is not complete, so its manifest is removed as well.
    """
    names = [finding.path for finding in found.damage if finding.kind == "damaged"]
    if any(
        "/" in each.path and each.kind in ("damaged", "missing") for each in found.damage
    ) and MANIFEST_FILE in names_in(run_dir):
        names.append(MANIFEST_FILE)
    for name in dict.fromkeys(names):
        place = run_dir
        for part in name.split("/"):
            place = place / part
        found.set_aside[name] = set_aside(run_dir, place)


class _Auditor:
    def __init__(self, run_dir: AnyPath) -> None:
        self._run_dir, self._audit = run_dir, Audit()

    def run(self) -> Audit:
        names = names_in(self._run_dir)
        plan = self._sealed(PLAN_FILE, RunPlan)
        if plan is None and PLAN_FILE not in names:
            self._find(PLAN_FILE, "missing", "is missing; the next run writes it again")
        is_finished = MANIFEST_FILE in names
        self._sealed(MANIFEST_FILE, Manifest)
        self._sealed(NOTES_FILE, Notes)
        planned = {step.directory: _wanted(plan, step.scope, step.shards) for step in plan.steps} if plan else {}
        for name in sorted({*names, *planned}):
            if name in planned or (_STEP.fullmatch(name) and self._is_directory(self._run_dir / name)):
                self._step(name, planned.get(name, ()) if is_finished else ())
            elif name not in KNOWN:
                is_ours = name.startswith(TEMPORARY)
                self._find(name, "stray", "a killed process left it" if is_ours else "is not a file of a run")
            elif self._is_link(self._run_dir / name):
                self._find(name, "damaged", "is a link, and links in a run directory are not followed")
        return self._audit

    def _step(self, name: str, wanted: Sequence[int]) -> None:
        directory = self._run_dir / name
        if self._is_link(directory):
            self._find(name, "damaged", "is a link, and links in a run directory are not followed")
            return
        names = names_in(directory)
        shards = numbered(names, ".parquet")
        for other in names:
            if other not in PARTS and other not in shards.values():
                what = "a killed process left it" if other.startswith(TEMPORARY) else "is not a file of a step"
                self._find(f"{name}/{other}", "stray", what)
            elif other in PARTS and self._is_link(directory / other):
                self._find(f"{name}/{other}", "damaged", "is a link, and links in a run directory are not followed")
                return
        rejects = numbered(names_in(directory / "_rejects"), ".parquet")
        for_each(
            directory,
            lambda k: self._shard(name, k, k in shards, k in rejects, k in wanted),
            sorted({*shards, *rejects, *wanted}),
        )
        for shard in numbered(names_in(directory / "_journal"), ""):
            num_lines, num_damaged = count_lines(journal_directory(directory, shard))
            if num_damaged:
                self._find(
                    f"{name}/_journal/shard-{shard:05d}",
                    "dropped lines",
                    f"{num_damaged} of {num_lines} lines are damaged; the next run generates their items again",
                )

    def _shard(self, step: str, shard: int, is_there: bool, has_rejects: bool, is_wanted: bool) -> None:
        directory = self._run_dir / step
        if not is_there:
            if is_wanted:
                self._find(f"{step}/shard-{shard:05d}.parquet", "missing", "is missing, though the run has finished")
            else:
                self._find(f"{step}/_rejects/shard-{shard:05d}.parquet", "stray", "its shard is not there")
            return
        stats = self._stats(directory, step, shard)
        if stats is None:
            return
        self._file(shard_path(directory, shard), FileMark(size_bytes=stats.size_bytes, digest=stats.digest))
        if stats.rejects is not None and has_rejects:
            self._file(rejects_path(directory, shard), stats.rejects)
        elif stats.rejects is not None:
            self._find(f"{step}/_rejects/shard-{shard:05d}.parquet", "missing", "is missing: its shard has rejects")
        elif has_rejects:
            self._find(f"{step}/_rejects/shard-{shard:05d}.parquet", "stray", "its shard has no rejects")

    def _stats(self, directory: AnyPath, step: str, shard: int) -> ShardStats | None:
        name = f"{step}/_stats/shard-{shard:05d}.json"
        try:
            return unseal(self._read(stats_path(directory, shard)), ShardStats)
        except UnsealedError as error:
            self._find(name, "damaged", f"{error}; the next run reads its counts from the shard itself")
        except FileNotFoundError:
            self._find(name, "missing", "is missing; the next run reads its counts from the shard itself")
        except StorageError as error:
            self._find(name, "damaged", str(error))
        return None

    def _file(self, path: AnyPath, mark: FileMark) -> None:
        try:
            problem = difference(self._read(path), mark)
        except (FileNotFoundError, StorageError) as error:
            problem = str(error)
        if problem:
            self._find(self._below(path), "damaged", problem)

    def _sealed(self, name: str, model: type[M]) -> M | None:
        path = self._run_dir / name
        try:
            data = self._read(path)
        except FileNotFoundError:
            return None
        except StorageError as error:
            self._find(name, "damaged", str(error))
            return None
        try:
            return unseal(data, model)
        except UnsealedError as error:
            self._find(name, "damaged", str(error))
            return None

    def _read(self, path: AnyPath) -> bytes:
        data = read_bytes(path)
        self._audit.num_files += 1
        self._audit.num_bytes += len(data)
        return data

    def _find(self, path: str, kind: Kind, what: str) -> None:
        self._audit.findings.append(Finding(path, kind, what))

    def _below(self, path: AnyPath) -> str:
        return str(path).removeprefix(f"{self._run_dir}/")

    def _is_link(self, place: AnyPath) -> bool:
        return isinstance(place, Path) and place.is_symlink()

    def _is_directory(self, place: AnyPath) -> bool:
        return isinstance(place, StorePath) or place.is_dir()


def _wanted(plan: RunPlan, scope: Scope, shards: tuple[int, ...] | None) -> tuple[int, ...]:
    if scope == "corpus":
        return (0,)
    return plan.shards if shards is None else shards
