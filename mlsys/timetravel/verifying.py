"""Whether what is stored is still what was stored: promotion chains, and the bytes of models, data files, predictions. Changes nothing.

A fault is something lost or altered. Bytes that no row names are a warning: a killed writer may have left them, or one is at work now.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlsys import errors
from mlsys.registry.inventory import Named
from mlsys.registry.promotions import digest
from mlsys.registry.unit_of_work import Units
from mlsys.storage.artifacts import FolderBlobs

OnProgress = Callable[[int, int], None]
"""Called with the bytes looked at since the last call, and the bytes there are in all."""
CHAINS, DATA = "promotions", "data files"
PARTS = (CHAINS, "artifacts", DATA, "predictions")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """``part``: one of PARTS; ``name``: the entry or file; ``detail``: what is wrong with it."""

    part: str
    name: str
    detail: str


@dataclass(kw_only=True)
class Report:
    """``checked``: how many entries or files, by part."""

    checked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    faults: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)


class Verifier:
    """``blobs`` hold models and predictions, ``data`` the files of data sets."""

    def __init__(self, *, units: Units, blobs: FolderBlobs, data: FolderBlobs) -> None:
        self._units = units
        self._blobs = blobs
        self._data = data

    def __call__(self, on_progress: OnProgress = lambda done, total: None) -> Report:
        """Reads every stored byte once."""
        report = Report()
        self._chains(report)
        held = {store.folder: set(store.stored()) for store in (self._blobs, self._data)}  # before the rows, which may only get more
        named = self._named()
        total = sum({one.sha256: one.size for files in named.values() for one in files}.values())
        for part, files in named.items():
            self._files(report, part, files, lambda done: on_progress(done, total))
        self._orphans(report, held, named)
        return report

    def _chains(self, report: Report) -> None:
        with self._units() as unit:
            told = {(model, sequence): hash for model, sequence, hash in unit.inventory.promotion_events()}
            entries = list(broken(unit.inventory.promotions(), told, counted=report.checked))
        report.faults += entries

    def _named(self) -> dict[str, list[Named]]:
        with self._units() as unit:
            found = unit.inventory
            return {"artifacts": found.artifacts(), DATA: found.data_files(), "predictions": found.predictions()}

    def _files(self, report: Report, part: str, files: Iterable[Named], on_progress: Callable[[int], None]) -> None:
        store = self._data if part == DATA else self._blobs
        owners: dict[tuple[str, int], list[str]] = defaultdict(list)
        for one in files:
            owners[one.sha256, one.size].append(one.owner)
        for (sha256, size), names in owners.items():
            report.checked[part] += 1
            detail = _damage(store, sha256)
            if detail and not (part == DATA and self._gone_since(sha256)):
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                report.faults.append(Finding(part=part, name=sha256, detail=f"{detail} It is the {names[0]}{more}."))
            on_progress(size)

    def _gone_since(self, sha256: str) -> bool:
        """A data file that compaction replaced and removed while we looked is no loss."""
        with self._units() as unit:
            return sha256 not in unit.datasets.referenced([sha256])

    def _orphans(self, report: Report, held: Mapping[Any, set[str]], named: Mapping[str, list[Named]]) -> None:
        for store in (self._blobs, self._data):
            known = {one.sha256 for part, files in named.items() for one in files if (part == DATA) == (store is self._data)}
            part = DATA if store is self._data else "artifacts"
            detail = "No row names this stored file."
            report.warnings += [Finding(part=part, name=sha256, detail=detail) for sha256 in sorted(held[store.folder] - known)]


def broken(entries: Iterable[Any], told: Mapping[tuple[str, int], str], *, counted: dict[str, int]) -> Iterator[Finding]:
    """Faults of promotion logs, whose entries come by model and in order. ``told``: hashes by (model, sequence) from the event log."""
    untold = dict(told)
    before: Any = None
    for entry in entries:
        counted[CHAINS] += 1
        first = before is None or before["model_name"] != entry["model_name"]
        for detail in _wrong(entry, None if first else before, untold.pop((entry["model_name"], entry["sequence"]), None)):
            yield Finding(part=CHAINS, name=f"{entry['model_name']} {entry['sequence']}", detail=detail)
        before = entry
    for model, sequence in untold:
        yield Finding(part=CHAINS, name=f"{model} {sequence}", detail="The event log tells of this entry, but it is not there.")


def _wrong(entry: Any, before: Any, told: str | None) -> Iterator[str]:
    expected, hash = (before["sequence"] + 1, before["hash"]) if before is not None else (1, None)
    if entry["sequence"] != expected:
        yield f"Entry {expected} was expected here: one is missing."
    elif entry["previous_hash"] != hash:
        yield "It does not follow the entry before it: the hash of that one is another."
    if digest(entry) != entry["hash"]:
        yield "Its content was altered: the hash does not match."
    elif told is not None and told != entry["hash"]:
        yield "The event log tells of another entry under this number."


def _damage(store: FolderBlobs, sha256: str) -> str | None:
    try:
        store.verify(sha256)
    except errors.DamagedArtifact as error:
        return error.message
    return None
