"""Reading a dataset's single files; one that is damaged is an error which names it and the mend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from neon_sim.errors import DatasetError


def to_numpy(path: Path, key: str, table: pa.Table) -> np.ndarray:
    """A column as (L,), or (L, K) where it holds lists of K.

    Raises:
        DatasetError: its lists differ in length, or a value is missing.
    """
    array = table[key].combine_chunks()
    lists = pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type)
    if array.null_count or (lists and array.flatten().null_count):
        raise damaged(path, f"values of {key} are missing")
    if pa.types.is_fixed_size_list(array.type):
        rows: np.ndarray = array.flatten().to_numpy().reshape(-1, array.type.list_size)
        return rows
    if pa.types.is_list(array.type):  # written by other tools
        widths = np.diff(array.offsets.to_numpy())
        if len(set(widths.tolist())) > 1:
            raise damaged(path, f"rows of {key} differ in length")
        rows = array.flatten().to_numpy().reshape(len(array), -1)
        return rows
    column: np.ndarray = array.to_numpy(zero_copy_only=False)
    return column


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
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, _first_line(error)) from error


def column_names(path: Path) -> list[str]:
    """Columns of a parquet file."""
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
