"""Every error a user can meet, its exit code, and whether trying again can help."""

import difflib
from collections.abc import Iterable
from typing import ClassVar


def closest(found: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that a wrong one is most like; None where none is like it."""
    return next(iter(difflib.get_close_matches(found, list(allowed), n=1)), None)


def did_you_mean(name: str | None) -> str:
    """Return the end of an error message that suggests a name; empty for None."""
    return f" (did you mean '{name}'?)" if name else ""


class ArbitrageError(Exception):
    """Root of all errors raised on purpose; anything else that escapes is a bug."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False


class UserError(ArbitrageError):
    """The config or the command line requests something that cannot be done."""

    exit_code = 2


class ConfigError(UserError):
    """A config file or override does not validate: names file, key, value found and values allowed."""


class RunDirectoryError(UserError):
    """The run directory cannot be used: unwritable, or it holds a run of something else."""


class MissingDependencyError(UserError):
    """An optional package is needed and is absent, or its version does not fit."""


class DataError(ArbitrageError):
    """The data is unusable as a whole (a single bad row is a Reject, not an error)."""

    exit_code = 3


class DamagedFileError(DataError):
    """A file of a run is not what was written: names it, what was expected and found, and what makes it again.

    Attributes:
        path: the file; a run that meets it sets it aside and makes it again.
    """

    def __init__(self, message: str, path: object = None) -> None:
        super().__init__(message)
        self.path = path


class EmptyDatasetError(DataError):
    """A data set was to be written and has no rows."""


class RejectBudgetError(DataError):
    """More rows were rejected than the run's budget allows."""


class ConservationError(ArbitrageError):
    """Rows in ≠ rows out + rejected: a bug in a step, never the user's fault."""


class TeacherError(ArbitrageError):
    """A teacher or reward engine cannot serve."""

    exit_code = 4


class TeacherAccessError(TeacherError):
    """The endpoint refuses us for good: missing or wrong key, no permission, no such model."""


class TeacherUnreachableError(TeacherError):
    """No endpoint answers."""

    retryable = True


class TeacherBusyError(TeacherUnreachableError):
    """The endpoint requests a longer pause than the config allows: a retry would not help."""

    retryable = False


class EngineStartError(TeacherError):
    """The engine could not load its model."""


class EngineDiedError(TeacherError):
    """The engine process died while it was serving; a restarted one may continue."""

    retryable = True


class InterruptedRunError(ArbitrageError):
    """The user pressed Ctrl-C, or the process got SIGTERM. Finished work is kept."""

    exit_code = 130


class DrainedError(InterruptedRunError):
    """A shard was stopped: requests in flight have been answered and journaled, the rest is open."""


class ExecutionError(ArbitrageError):
    """The backend could not finish: no resources, a lost worker, a full disk."""

    exit_code = 4


class OvertakenError(ExecutionError):
    """Another attempt at a shard has begun after this one, which was thought dead; or has finished the shard."""

    retryable = True


class PlacementError(ExecutionError):
    """A step needs more than the cluster has; names the resources needed and present."""


class StalledError(ExecutionError):
    """Nothing has moved for too long; says what was under way and where it stood."""


class StorageError(ExecutionError):
    """The disk or the object store refused a read or a write."""
