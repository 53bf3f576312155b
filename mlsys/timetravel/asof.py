"""The question "what was known at D?" as one SQL statement over the files that can matter. Only text is made here; engine.py runs it.

Within a file each row says when it was superseded there, so a file shows one row per key at any D without a sort. Across files the large
ones, as long as no two overlap in time, are only asked "is there a newer row among the others?": a hash join against the few corrections,
where a window function over all rows takes five times as long.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from mlsys.records import DataFile, Dataset, Window
from mlsys.timetravel.engine import literal, quoted
from mlsys.timetravel.files import CREATED, FILE, SUPERSEDED

LEADS = "_mlsys_issues"  # the table of issue times (columns start, issue) that a statement with ``issued`` joins


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A line of the manifest and where its bytes lie."""

    file: DataFile
    path: Path


@dataclass(frozen=True, kw_only=True)
class Ask:
    """``columns`` may hold the data set's name of created_at. ``issued``: each row is cut at its own issue time as well: microseconds of
    lead, or True for the table LEADS. ``after``: only rows whose key comes after this one (timestamp first). ``newest``: only rows that
    arrived in the file of this id or before it."""

    columns: tuple[str, ...]
    window: Window | None = None
    known_at: datetime | None = None
    issued: int | bool = False
    ordered: bool = False
    after: tuple[datetime | str | int, ...] = ()
    limit: int | None = None
    newest: int | None = None


def statement(dataset: Dataset, stored: Sequence[Stored], ask: Ask) -> str:
    """One row per key: the newest created_at within the cut; of equal ones that of the file that arrived last."""
    base, rest = _split(stored, ask)
    asked = ask.columns
    if ask.ordered:
        ask = replace(ask, columns=(*dataset.keys, *asked))
    text = _pick(dataset, ask, base, rest) if rest else f"SELECT {_output(dataset, ask, 'b')} FROM ({_union(dataset, ask, base)}) AS b"
    if ask.ordered:
        text = f"SELECT {_listed(list(dict.fromkeys(asked)))} FROM ({text}) ORDER BY {_listed(dataset.keys)}"
    return text if ask.limit is None else f"{text} LIMIT {ask.limit}"


def versions(dataset: Dataset, columns: Sequence[str], stored: Sequence[Stored]) -> str:
    """Every row of these files with its created_at, file and successor among them, in the order of a compacted file."""
    parts = " UNION ALL ".join(_rows(dataset, columns, each) for each in stored)
    over = f"PARTITION BY {_listed(dataset.keys)} ORDER BY {CREATED}, {FILE}"
    selected = f"{_listed(columns)}, {CREATED}, lead({CREATED}) OVER ({over}) AS {SUPERSEDED}, {FILE}"
    return f"SELECT {selected} FROM ({parts}) ORDER BY {_listed(dataset.keys)}, {CREATED}, {FILE}"


def successors(dataset: Dataset, columns: Sequence[str], path: Path, *, given: bool) -> str:
    """The rows of a file in order; where they say their created_at (``given``), with its successor."""
    ours = f", {CREATED}, lead({CREATED}) OVER (PARTITION BY {_listed(dataset.keys)} ORDER BY {CREATED}) AS {SUPERSEDED}" if given else ""
    by = f"{_listed(dataset.keys)}{f', {CREATED}' if given else ''}"
    return f"SELECT {_listed(columns)}{ours} FROM read_parquet({literal(str(path))}) ORDER BY {by}"


def revised(dataset: Dataset, new: Path, old: Sequence[Stored], within: Window) -> str:
    """How many rows of ``new`` have a key that ``old`` files hold already, and the first and last timestamp of those (None for none)."""
    keys = _listed(dataset.keys)
    scans = " UNION ALL ".join(
        f"SELECT {keys} FROM read_parquet({literal(str(each.path))}) WHERE {_inside(dataset, within)}" for each in old
    )
    same = _same(dataset, "n", "o")
    at = f"n.{quoted(dataset.timestamp)}"
    found = f"FROM read_parquet({literal(str(new))}) AS n WHERE EXISTS (SELECT 1 FROM ({scans}) AS o WHERE {same})"
    return f"SELECT count(DISTINCT ({', '.join(f'n.{quoted(key)}' for key in dataset.keys)})), min({at}), max({at}) {found}"


def _split(stored: Sequence[Stored], ask: Ask) -> tuple[list[Stored], list[Stored]]:
    """The largest files of which no two overlap in time, and the others."""
    base: list[Stored] = []
    rest: list[Stored] = []
    for each in sorted(stored, key=lambda one: (-one.file.rows, one.file.id)):
        (rest if _blended(each, ask) or any(_overlap(each, other) for other in base) else base).append(each)
    return base, rest


def _blended(one: Stored, ask: Ask) -> bool:
    """Whether the file may hold rows that arrived too late to be asked for: then what it says of successors is not to be relied on."""
    return ask.newest is not None and one.file.id > ask.newest


def _overlap(one: Stored, other: Stored) -> bool:
    return one.file.first_timestamp <= other.file.last_timestamp and other.file.first_timestamp <= one.file.last_timestamp


def _pick(dataset: Dataset, ask: Ask, base: Sequence[Stored], rest: Sequence[Stored]) -> str:
    among = _union(dataset, ask, rest)
    if any(_blended(one, ask) for one in rest) or any(_overlap(one, other) for index, one in enumerate(rest) for other in rest[:index]):
        newest = f"row_number() OVER (PARTITION BY {_listed(dataset.keys)} ORDER BY {CREATED} DESC, {FILE} DESC) = 1"
        among = f"SELECT * FROM ({among}) QUALIFY {newest}"
    if not base:
        return f"SELECT {_output(dataset, ask, 'r')} FROM ({among}) AS r"
    pairs = [(one, other) for one in base for other in rest if _overlap(one, other)]
    always = all(one.file.last_created_at < other.file.first_created_at for one, other in pairs)
    newer = "" if always else f" AND {_newer('r', 'b')}"
    kept = f"SELECT {_output(dataset, ask, 'b')} FROM b WHERE NOT EXISTS (SELECT 1 FROM r WHERE {_same(dataset, 'r', 'b')}{newer})"
    beaten = f" WHERE NOT EXISTS (SELECT 1 FROM b WHERE {_same(dataset, 'r', 'b')} AND {_newer('b', 'r')})"
    added = f"SELECT {_output(dataset, ask, 'r')} FROM r{'' if always else beaten}"
    return f"WITH r AS MATERIALIZED ({among}), b AS ({_union(dataset, ask, base)}) {kept} UNION ALL {added}"


def _union(dataset: Dataset, ask: Ask, stored: Sequence[Stored]) -> str:
    return " UNION ALL ".join(_visible(dataset, ask, each) for each in stored)


def _visible(dataset: Dataset, ask: Ask, one: Stored) -> str:
    """The rows that a file shows: those known at the cut that nothing in the same file had superseded by then."""
    values = [name for name in ask.columns if name not in (*dataset.keys, dataset.created_at)]
    where = [_inside(dataset, ask.window)] if ask.window else []
    if ask.after:
        where.append(_after(dataset, ask.after))
    cut = _cut(dataset, ask)
    if cut and (ask.issued is not False or ask.known_at is None or one.file.last_created_at > ask.known_at):
        where.append(f"{CREATED} <= {cut}")
    if _blended(one, ask):
        where.append(f"{FILE} <= {ask.newest}")
    elif one.file.stamped_at is None:
        where.append(f"({SUPERSEDED} IS NULL{f' OR {SUPERSEDED} > {cut}' if cut else ''})")
    source = f"({_rows(dataset, [*dataset.keys, *values], one, superseded=True)})"
    if ask.issued is True:
        source = (
            f"(SELECT p.*, i.issue AS _mlsys_issue FROM {source} AS p ASOF JOIN {LEADS} AS i ON p.{quoted(dataset.timestamp)} >= i.start)"
        )
    chosen = f"SELECT {_listed([*dataset.keys, *values])}, {CREATED}, {FILE} FROM {source}"
    return f"{chosen} WHERE {' AND '.join(where)}" if where else chosen


def _rows(dataset: Dataset, columns: Sequence[str], one: Stored, *, superseded: bool = False) -> str:
    """All rows of a file, with created_at and file told where the file itself does not."""
    created = CREATED if one.file.stamped_at is None else f"{_at(one.file.stamped_at)} AS {CREATED}"
    file = FILE if one.file.kind == "compacted" else f"CAST({one.file.id} AS BIGINT) AS {FILE}"
    until = f", {SUPERSEDED}" if superseded and one.file.stamped_at is None else ""
    return f"SELECT {_listed(columns)}, {created}, {file}{until} FROM read_parquet({literal(str(one.path))})"


def _cut(dataset: Dataset, ask: Ask) -> str:
    """The instant up to which a row must have become known; empty: no cut."""
    known = _at(ask.known_at) if ask.known_at else ""
    if ask.issued is False:
        return known
    lead = f"make_timestamptz(epoch_us({quoted(dataset.timestamp)}) - {int(ask.issued)})"
    issue = "_mlsys_issue" if ask.issued is True else lead
    return f"least({issue}, {known})" if known else issue


def _output(dataset: Dataset, ask: Ask, table: str) -> str:
    told = {dataset.created_at: f"{table}.{CREATED} AS {quoted(dataset.created_at)}"}
    return ", ".join(told.get(name, f"{table}.{quoted(name)}") for name in dict.fromkeys(ask.columns))


def _inside(dataset: Dataset, window: Window) -> str:
    name = quoted(dataset.timestamp)
    return f"{name} >= {_at(window.start)} AND {name} < {_at(window.end)}"


def _after(dataset: Dataset, last: tuple[datetime | str | int, ...]) -> str:
    """Lexicographic: the timestamp is later, or equal and the next key greater, and so on; the first bound lets files be skipped."""
    values = [_at(value) if isinstance(value, datetime) else literal(value) if isinstance(value, str) else str(value) for value in last]
    names = [quoted(key) for key in dataset.keys]
    steps = [
        " AND ".join([*(f"{names[i]} = {values[i]}" for i in range(depth)), f"{names[depth]} > {values[depth]}"])
        for depth in range(len(names))
    ]
    return f"{names[0]} >= {values[0]} AND ({' OR '.join(f'({step})' for step in steps)})"


def _same(dataset: Dataset, one: str, other: str) -> str:
    return " AND ".join(f"{one}.{quoted(key)} = {other}.{quoted(key)}" for key in dataset.keys)


def _newer(one: str, other: str) -> str:
    return f"({one}.{CREATED} > {other}.{CREATED} OR ({one}.{CREATED} = {other}.{CREATED} AND {one}.{FILE} > {other}.{FILE}))"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(quoted(name) for name in names)


def _at(instant: datetime) -> str:
    return f"TIMESTAMPTZ '{instant.astimezone(UTC).isoformat(sep=' ')}'"
