"""A trained router as a small table: how it travels from the step that trains it to the steps that route by it.

Arrays are written from numpy directly, without a Python object for each number.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arbitrage.records import RouterPart
from arbitrage.tables import arrow_schema, require_schema
from routers.learning.artifact import Artifact, read_written, written

TEXT: Final = ""
"""Name of the part that holds the JSON; no array has this name."""


def pack(artifact: Artifact) -> pa.Table:
    """Return a router as RouterPart rows, sorted by name; equal routers give equal tables."""
    arrays, text = written(artifact)
    names = sorted(arrays)
    whole = [arrays[name] for name in names]
    floats = [np.empty(0), *(a.ravel() if a.dtype.kind == "f" else np.empty(0) for a in whole)]
    integers = [np.empty(0, np.int64), *(a.ravel() if a.dtype.kind != "f" else np.empty(0, int) for a in whole)]
    schema = arrow_schema(RouterPart)
    columns = [
        pa.array([TEXT, *names], pa.string()),
        pa.array(["", *(a.dtype.str for a in whole)], pa.string()),
        pa.array([[], *(list(a.shape) for a in whole)], schema.field("shape").type),
        _lists(floats, np.float64, schema.field("floats").type),
        _lists(integers, np.int64, schema.field("integers").type),
        pa.array([text, *(None for _ in names)], pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def unpack(table: pa.Table, where: str) -> Artifact:
    """Return the router that was packed.

    Raises:
        DataError: the table does not hold one; `where` names it.
    """
    require_schema(table.schema, RouterPart)
    names, dtypes, shapes = (table[column].to_pylist() for column in ("name", "dtype", "shape"))
    texts = dict(zip(names, table["text"].to_pylist(), strict=True))
    floats, integers = table["floats"].combine_chunks(), table["integers"].combine_chunks()
    arrays: dict[str, NDArray[Any]] = {}
    for row, (name, dtype, shape) in enumerate(zip(names, dtypes, shapes, strict=True)):
        if name != TEXT:
            values = (floats if np.dtype(dtype).kind == "f" else integers)[row].values
            arrays[name] = values.to_numpy(zero_copy_only=False).astype(dtype).reshape(shape)
    return read_written(arrays, texts.get(TEXT) or "", where)


def _lists(parts: list[NDArray[Any]], dtype: type, kind: pa.DataType) -> pa.Array:
    ends = np.cumsum([0, *(len(part) for part in parts)])
    values = np.concatenate([part.astype(dtype) for part in parts])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values), type=kind)
