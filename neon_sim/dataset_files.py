"""Reading a dataset's single files; one that is damaged is an error which names it and the mend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from neon_sim.errors import DatasetError


def to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """A column as (L,), or (L, K) where it holds lists of K."""
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy().reshape(-1, array.type.list_size)
    if pa.types.is_list(array.type):  # written by other tools
        return np.stack(array.to_numpy(zero_copy_only=False))
    return array.to_numpy(zero_copy_only=False)


def damaged(path: Path, why: str) -> DatasetError:
    """The error for a file that is not whole."""
    return DatasetError(
        f"{path} is truncated or damaged ({why}); copy the dataset again or collect it again "
        "into a new folder"
    )


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A parquet file, or some columns of it."""
    try:
        return pq.read_table(path, columns=columns)
    except FileNotFoundError as error:
        raise damaged(path, "no such file") from error
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, str(error).splitlines()[0]) from error


def column_names(path: Path) -> list[str]:
    """Columns of a parquet file."""
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, str(error).splitlines()[0]) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise damaged(path, "no such file") from error
    except (ValueError, OSError) as error:
        raise damaged(path, str(error)) from error
