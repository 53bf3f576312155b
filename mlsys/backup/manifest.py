"""What an archive holds, told by its first member: the revision, the tables, the files, the blobs, each with its size and sha256."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlsys import errors

FORMAT = 1
STORES = ("artifacts", "datasets")
_RULES = {
    "table": re.compile(r"[a-z][a-z0-9_]{0,62}"),
    "column": re.compile(r"[a-z][a-z0-9_]{0,62}"),
    "file": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"),
    "sha256": re.compile(r"[0-9a-f]{64}"),
    "text": re.compile(r"[\x20-\x7e]{1,100}"),
}


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file of the archive: ``size`` in bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TableDump:
    """The rows of a table in COPY's text format, one line a row, its columns in this order."""

    name: str
    columns: tuple[str, ...]
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SequenceDump:
    """Where the numbers of an identity column go on."""

    table: str
    column: str
    value: int
    called: bool


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """``tables`` in an order in which each row finds those it refers to; ``files`` of the home; ``blobs`` by store, each (sha256, size)."""

    mlsys: str
    created_at: str
    revision: str
    tables: tuple[TableDump, ...]
    sequences: tuple[SequenceDump, ...]
    files: tuple[Member, ...]
    blobs: Mapping[str, tuple[tuple[str, int], ...]]

    def members(self) -> Iterator[Member]:
        """All that follows the manifest, in the order of the archive."""
        yield from (Member(name=f"tables/{one.name}.copy", size=one.size, sha256=one.sha256) for one in self.tables)
        yield from (Member(name=f"home/{one.name}", size=one.size, sha256=one.sha256) for one in self.files)
        for store in STORES:
            yield from (Member(name=f"{store}/{sha256}", size=size, sha256=sha256) for sha256, size in self.blobs[store])

    @property
    def size(self) -> int:
        """Bytes of all members."""
        return sum(member.size for member in self.members())

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    def to_bytes(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode()


def from_bytes(data: bytes) -> Manifest:
    """Raises BadArchive for anything but a manifest that this release can read."""
    try:
        found = json.loads(data)
        if found.pop("format") != FORMAT:
            raise errors.BadArchive(f"It is of another format than {FORMAT}: a newer mlsys made it. Install that one.")
        return _checked(_read(found))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise errors.BadArchive("Its manifest cannot be read.") from None


def _read(found: dict[str, Any]) -> Manifest:
    told: dict[str, Any] = {
        "tables": tuple(TableDump(**one | {"columns": tuple(one["columns"])}) for one in found.pop("tables")),
        "sequences": tuple(SequenceDump(**one) for one in found.pop("sequences")),
        "files": tuple(Member(**one) for one in found.pop("files")),
        "blobs": {store: tuple((sha256, size) for sha256, size in many) for store, many in found.pop("blobs").items()},
    }
    return Manifest(**told, **found)


def _checked(manifest: Manifest) -> Manifest:
    """Raises ValueError where a name or number is none."""
    _fit("text", manifest.mlsys, manifest.created_at, manifest.revision)
    _fit("table", *(one.name for one in manifest.tables), *(one.table for one in manifest.sequences))
    _fit("column", *(name for one in manifest.tables for name in one.columns), *(one.column for one in manifest.sequences))
    _fit("file", *(one.name for one in manifest.files))
    if set(manifest.blobs) != set(STORES):
        raise ValueError
    members = list(manifest.members())
    _fit("sha256", *(one.sha256 for one in members))
    numbers = [*(one.size for one in members), *(one.rows for one in manifest.tables), *(one.value for one in manifest.sequences)]
    if any(type(number) is not int or not 0 <= number < 2**62 for number in numbers):
        raise ValueError
    if any(count > 1 for count in Counter(one.name for one in members).values()):
        raise errors.BadArchive("Its manifest names a file twice.")
    return manifest


def _fit(rule: str, *texts: Any) -> None:
    if not all(isinstance(text, str) and _RULES[rule].fullmatch(text) for text in texts):
        raise ValueError
