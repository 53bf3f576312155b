"""What a run leaves behind to be repeated and explained by: cut, champion, files read, environment. No database here."""

import hashlib
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from mlsys.clock import rfc3339
from mlsys.pipelines.base import BlobStore, DataFiles
from mlsys.records import Blob, Champion, DataUsed, Json, Known, PredictOutcome, PredictSpec, TrainOutcome, TrainSpec

NO_LIBRARY = ("threads", "dtype", "model")  # of an environment: what was chosen, not what was installed
MOST = 200  # files that a run's result names


class Witness:
    """Implements base.DataFiles over another, and remembers which files were opened and how they looked."""

    def __init__(self, files: DataFiles) -> None:
        self._files = files
        self._seen: dict[Path, dict[str, Any]] = {}

    def resolve(self, path: str) -> list[Path]:
        return self._files.resolve(path)

    def open_file(self, path: Path) -> IO[bytes]:
        file = self._files.open_file(path)
        found = os.fstat(file.fileno())
        self._seen[path] = {"name": path.name, "size": found.st_size, "modified_ns": str(found.st_mtime_ns)}
        return file

    def absorb(self, other: "Witness") -> None:
        """What another saw in the place of this one."""
        self._seen.update(other._seen)

    def seen(self) -> list[dict[str, Any]]:
        """The first MOST by path. Names without folders, which are nobody's business."""
        return [self._seen[path] for path in sorted(self._seen)[:MOST]]


class Aside:
    """Implements base.BlobStore: reads what is stored, and stores nothing, but remembers what it was given."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._given: dict[str, bytes] = {}

    def put(self, data: bytes) -> Blob:
        blob = Blob(sha256=hashlib.sha256(data).hexdigest(), size=len(data), uri="memory:")
        self._given[blob.sha256] = data
        return blob

    def absorb(self, other: "Aside") -> None:
        """What another was given in the place of this one."""
        self._given.update(other._given)

    def get(self, sha256: str) -> bytes:
        return self._given[sha256] if sha256 in self._given else self._blobs.get(sha256)


def told(
    spec: TrainSpec | PredictSpec, outcome: TrainOutcome | PredictOutcome, witness: Witness, *, newest_file: int | None
) -> dict[str, Any]:
    """Members of a run's result. ``known_at``: the cut that was in force; ``read``: all rows read, those around the window included.

    ``newest_file``: the data set's newest file then. History that is imported later says that it was known before: it arrived after it.
    """
    return {
        "known_at": rfc3339(spec.known_at) if spec.known_at else None,
        "newest_file": newest_file,
        "environment": dict(outcome.environment),
        "read": data_json(outcome.read) if outcome.read else None,
        "files": witness.seen(),
        **(_earlier_json(spec) if isinstance(spec, TrainSpec) else {}),
    }


def _earlier_json(spec: TrainSpec) -> dict[str, Any]:
    champions = [{**vars(one), "twin_cutoff": rfc3339(one.twin_cutoff)} for one in spec.champions]
    return {"champion": champions[0] if champions else None, "champions": champions, "known": [dict(vars(one)) for one in spec.known]}


def champions_of(result: Json) -> tuple[Champion, ...]:
    """The champions that a training was compared with, as told(); a run of an older release tells the present one only."""
    found = result.get("champions")
    if found is None:
        found = [result["champion"]] if result.get("champion") else []
    return tuple(Champion(**{**one, "twin_cutoff": datetime.fromisoformat(one["twin_cutoff"])}) for one in found)


def known_of(result: Json) -> tuple[Known, ...]:
    """The versions that a training's data was held against, as told()."""
    return tuple(Known(**one) for one in result.get("known") or ())


def data_json(data: DataUsed) -> dict[str, Any]:
    start, end = (rfc3339(instant) if instant else None for instant in (data.start, data.end))
    return {"rows": data.rows, "start": start, "end": end, "sha256": data.sha256}


def libraries_changed(recorded: Json, present: Json) -> list[dict[str, Any]]:
    """Causes of a difference: what is installed now in another version than was recorded."""
    named = [name for name in recorded if name not in NO_LIBRARY and recorded[name] != present.get(name)]
    return [{"cause": "library_changed", "name": name, "recorded": recorded[name], "present": present.get(name)} for name in named]


def data_changed(recorded: Json, present: Mapping[str, Any], files: list[str]) -> list[dict[str, Any]]:
    """``recorded`` and ``present``: DataUsed as JSON; ``files``: names of those that could be why."""
    if recorded["sha256"] == present["sha256"]:
        return []
    return [{"cause": "data_changed", "files": files, "recorded": dict(recorded), "present": dict(present)}]


def files_changed(recorded: list[dict[str, Any]], present: list[dict[str, Any]]) -> list[str]:
    """Names of files that look otherwise than they did, are new, or are gone; all of them where none does."""
    known, now = ({(one["name"], one["size"], one["modified_ns"]) for one in files} for files in (recorded, present))
    return sorted({name for name, _, _ in known ^ now} or {name for name, _, _ in now})
