"""Source ``{type: dataset, name: ...}``: an append-only data set of this system. Window, columns and cuts are pushed down to it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pandas as pd
import pyarrow as pa

from mlsys import errors
from mlsys.pipelines import columns, frames
from mlsys.pipelines.base import DataSets, DataSource, Ports, Query
from mlsys.records import Layout


class DatasetSource(DataSource):
    """``name``: of the data set. Its rows always say when they became known."""

    cuts: ClassVar[bool] = True

    def __init__(self, *, name: str, datasets: DataSets) -> None:
        self._name = name
        self._datasets = datasets

    @classmethod
    def create(cls, options: Mapping[str, Any], *, ports: Ports) -> Self:
        if ports.datasets is None:
            raise errors.Invalid({"type": "There are no data sets here: they belong to a running system."})
        return cls(**options, datasets=ports.datasets)

    def get_dataframe(self) -> pd.DataFrame:
        names = tuple(self.schema().names)
        return frames.to_pandas(self._datasets.read(self._name, Query(layout=Layout(timestamp="", target=""), columns=names)))

    def schema(self) -> pa.Schema:
        return self._datasets.schema(self._name)

    def read(self, query: Query) -> pa.Table:
        asked = [name for name in query.columns or () if name != query.layout.created_at]
        columns.require(self.schema().names, [*asked, query.layout.timestamp])
        return self._datasets.read(self._name, query)
