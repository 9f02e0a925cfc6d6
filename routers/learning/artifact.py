"""A learned router on disk: `router.safetensors` holds its arrays, `router.json` the rest and its pool."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from arbitrage.errors import DataError, UserError
from routers.learning.blend import restore_blend
from routers.learning.clusters import restore_clusters
from routers.learning.consensus import restore_consensus
from routers.learning.descriptor import restore_descriptor
from routers.learning.encoder import restore_encoder
from routers.learning.knn import restore_knn
from routers.learning.learned import restore_learned
from routers.learning.learner import Predictor, Restore, State, restore_fixed
from routers.learning.ridge import restore_ridge
from routers.learning.soft_label import restore_soft_label
from routers.learning.table import restore_table

FORMAT: Final = 2
ARRAYS: Final = "router.safetensors"
VALUES: Final = "router.json"

RESTORE: Final[Mapping[str, Restore]] = {
    "best_single": restore_fixed,
    "language_table": restore_table,
    "knn": restore_knn,
    "clusters": restore_clusters,
    "ridge": restore_ridge,
    "learned": restore_learned,
    "soft_label": restore_soft_label,
    "descriptor": restore_descriptor,
    "encoder": restore_encoder,
    "blend": restore_blend,
    "consensus": restore_consensus,
}
"""Kind of learner → function that rebuilds its predictor from its state."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A predictor and how it was made.

    Attributes:
        kind: kind of the learner; `auto` writes the kind that it chose.
        teachers: T names, the columns of `predict`.
        about: how it was made (prompts, languages, figures), for people.
        digest: of both files; the identity of the router in fingerprints.
    """

    kind: str
    teachers: tuple[str, ...]
    predictor: Predictor
    about: Mapping[str, Any]
    digest: str = ""


def save_artifact(directory: Path, artifact: Artifact) -> None:
    """Write a router; equal routers give equal bytes."""
    from safetensors.numpy import save_file

    arrays, text = written(artifact)
    directory.mkdir(parents=True, exist_ok=True)
    save_file(arrays, directory / ARRAYS)
    (directory / VALUES).write_text(text, encoding="utf-8")


def written(artifact: Artifact) -> tuple[dict[str, NDArray[Any]], str]:
    """Return a router's arrays, by name, and the JSON beside them."""
    state = artifact.predictor.state()
    values = {
        "format": FORMAT,
        "kind": artifact.kind,
        "teachers": list(artifact.teachers),
        "about": dict(artifact.about),
        "values": dict(state.values),
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(state.arrays.items())}
    values["checksum"] = _checksum(values, arrays)
    return arrays, json.dumps(values, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def read_written(arrays: Mapping[str, NDArray[Any]], text: str, where: str, digest: str = "") -> Artifact:
    """Rebuild a router from the result of `written`.

    Raises:
        DataError: it is damaged, or of another format; `where` names it.
    """
    try:
        values = json.loads(text)
        found, kind = values["format"], values["kind"]
        if found != FORMAT or kind not in RESTORE:
            known = f"format {FORMAT} and the kinds {', '.join(RESTORE)}"
            raise DataError(
                f"{where}: format {found!r:.20}, kind {kind!r:.40}: this version reads {known}; train it again"
            )
        if values.pop("checksum", None) != _checksum(values, arrays):
            raise DataError(f"{where}: is damaged: its content does not fit its checksum; train it again")
        predictor = RESTORE[values["kind"]](State(arrays, values["values"]))
        return Artifact(values["kind"], tuple(values["teachers"]), predictor, values["about"], digest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where}: is damaged: {error!r:.200}") from error


def _checksum(values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return a digest of a router's values and arrays, 32 hex digits. It is the same however a file lays them out."""
    hashed = hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hashed.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode("utf-8", "backslashreplace"))
        hashed.update(array.data if array.size else b"")
    return hashed.hexdigest()


def load_artifact(directory: Path) -> Artifact:
    """Read a router.

    Raises:
        UserError: there is none.
        DataError: its files are damaged, or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (directory / VALUES).is_file() or not (directory / ARRAYS).is_file():
        raise UserError(f"{directory}: holds no learned router ({VALUES} and {ARRAYS}); `arbitrage router train`")
    try:
        text, arrays = (directory / VALUES).read_text(encoding="utf-8"), load_file(directory / ARRAYS)
    except (ValueError, SafetensorError) as error:
        raise DataError(f"{directory}: is damaged: {error!r:.200}") from error
    return read_written(arrays, text, str(directory), digest_of(directory))


def digest_of(directory: Path) -> str:
    """Return a digest of a router's files, 20 hex digits."""
    hashed = hashlib.blake2b(digest_size=10)
    for name in (VALUES, ARRAYS):
        hashed.update((directory / name).read_bytes())
    return hashed.hexdigest()


def require_pool(artifact: Artifact, pool: Sequence[str], where: str) -> None:
    """Refuse a pool that the router was not trained for.

    Raises:
        UserError: names the unknown and the missing teachers.
    """
    new, gone = sorted(set(pool) - set(artifact.teachers)), sorted(set(artifact.teachers) - set(pool))
    if not new and not gone:
        return
    parts = [f"it does not know {', '.join(new)}"] if new else []
    parts += [f"the pool lacks {', '.join(gone)}, which the router was trained for"] if gone else []
    hint = "; `arbitrage router add-teacher` lets a new one join" if new else ""
    raise UserError(f"{where}: the router was not trained for this pool: {'; '.join(parts)}{hint}")
