"""Destination ``{type: parquet, folder: ""}``: one file per run, ``<outputs>/<folder, or the model's name>/<run_id>.parquet``."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from mlsys import errors
from mlsys.pipelines.base import Destination, Ports
from mlsys.records import Output
from mlsys.storage import durable


class ParquetDestination(Destination):
    """``folder`` is relative to the outputs and stays inside. The sha256 is that of the file's bytes."""

    def __init__(self, *, outputs: Path, folder: str = "") -> None:
        inside = Path(folder)
        if inside.is_absolute() or ".." in inside.parts or "\0" in folder or "\\" in folder:
            raise errors.Invalid({"folder": "This must be a folder below the outputs, such as 'forecasts'; no '..' and no absolute path."})
        self._outputs = outputs
        self._folder = folder

    @classmethod
    def create(cls, options: Mapping[str, Any], *, ports: Ports) -> Self:
        return cls(**options, outputs=ports.outputs)

    def write(self, table: pa.Table, *, model_name: str, run_id: str) -> Output:
        """Replaces the run's file in one step: a reader sees the old file or the whole new one."""
        folder = self._outputs / (self._folder or _plain(model_name))
        target = folder / f"{_plain(run_id)}.parquet"
        if not target.resolve().is_relative_to(self._outputs.resolve()):
            raise errors.Invalid({"folder": "This leads out of the outputs by a link; name another folder."})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        data = sink.getvalue()
        durable.write(target, memoryview(data), what="The forecast")
        return Output(uri=target.resolve().as_uri(), rows=table.num_rows, sha256=hashlib.sha256(data).hexdigest())


def _plain(name: str) -> str:
    if not name or name.startswith(".") or any(character in name for character in "/\\\0"):
        raise errors.Invalid({"model_name": f"The name {name!r} cannot name a file; use letters, digits, '-' and '_'."})
    return name
