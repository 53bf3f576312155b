"""What a data file holds: Arrow types of a data set's columns, the names of our own columns beside them, the order of rows."""

from typing import TYPE_CHECKING

from mlsys.records import DataColumn, Dataset

if TYPE_CHECKING:
    import pyarrow as pa

RESERVED = "_mlsys_"
CREATED = "_mlsys_created_at"  # when the row became known; absent where the manifest says it for the whole file
SUPERSEDED = "_mlsys_superseded_at"  # created_at of the next row with this key in this file; missing: none
FILE = "_mlsys_file"  # id of the file that the row arrived in; absent in files that arrived themselves
TYPES = ("timestamp", "number", "integer", "text", "boolean")
ROW_GROUP = 122_880


def arrow_type(type: str) -> "pa.DataType":
    import pyarrow as pa

    types = {"timestamp": instant(), "number": pa.float64(), "integer": pa.int64(), "text": pa.string(), "boolean": pa.bool_()}
    return types[type]


def instant() -> "pa.DataType":
    import pyarrow as pa

    return pa.timestamp("us", tz="UTC")


def schema(columns: tuple[DataColumn, ...], *extra: str) -> "pa.Schema":
    """Of a file: the data set's columns, then ours."""
    import pyarrow as pa

    ours = {CREATED: instant(), SUPERSEDED: instant(), FILE: pa.int64()}
    return pa.schema([(column.name, arrow_type(column.type)) for column in columns] + [(name, ours.get(name, instant())) for name in extra])


def columns_of(dataset: Dataset) -> tuple[DataColumn, ...]:
    """The columns of a data set that has some. None yet: those that every row has."""
    if dataset.columns is not None:
        return dataset.columns
    return (DataColumn(name=dataset.timestamp, type="timestamp"), *(DataColumn(name=name, type="text") for name in dataset.series_key))
