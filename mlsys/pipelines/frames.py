"""pandas to Arrow and back. Values are never changed here, only carried over; what a column means is decided in reading.py."""

from collections.abc import Iterable

import pandas as pd
import pyarrow as pa

from mlsys import errors


def flat(df: pd.DataFrame) -> pd.DataFrame:
    """The frame with its named index levels as columns and a plain index. A column of the same name wins over the index level."""
    levels = [name for name in df.index.names if name is not None]
    taken = [name for name in levels if name in df.columns]
    df = df.reset_index(level=taken, drop=True) if taken and len(taken) < df.index.nlevels else df
    named = [name for name in levels if name not in taken]
    return df.reset_index(level=named).reset_index(drop=True) if named else df.reset_index(drop=True)


def to_arrow(df: pd.DataFrame, columns: Iterable[str] | None = None) -> pa.Table:
    """The named columns (those that exist; all by default) as a table; NaN, NaT and None become null.

    Raises WrongType for a column that holds values of several types, and for a column name that appears twice.
    """
    df = flat(df)
    names = list(df.columns) if columns is None else [name for name in columns if name in df.columns]
    return pa.table([_array(df, name) for name in names], names=[str(name) for name in names])


def schema(df: pd.DataFrame) -> pa.Schema:
    """Column names and Arrow types of a frame; a column of mixed types, or one that appears twice, has the null type."""
    df = flat(df)
    return pa.schema([(str(name), _type(df, name)) for name in dict.fromkeys(df.columns)])


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Typed columns: text ``str``, instants ``datetime64[us, UTC]``, numbers as they are. A file's pandas metadata is not heeded."""
    try:
        frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    except (pa.ArrowInvalid, ValueError) as error:
        text = "The data holds values that a frame cannot, such as an unknown time zone or text that is not UTF-8; correct them."
        raise errors.WrongType(text) from error
    return frame


def _array(df: pd.DataFrame, name: str) -> pa.Array:
    times = list(df.columns).count(name)
    if times > 1:
        raise errors.WrongType(f"The column '{name}' appears {times} times; give each column a name of its own.")
    try:
        return pa.array(df[name], from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise errors.WrongType(f"The column '{name}' holds values of several types; store one type in a column.") from error


def _type(df: pd.DataFrame, name: str) -> pa.DataType:
    try:
        return _array(df, name).type
    except errors.WrongType:
        return pa.null()
