"""Files below the configured data roots: which file a path names, and how it is opened so that no other file can be reached.

Nothing here reads what is in a file. Messages never show a path of the server: they would tell a caller what lies outside the roots.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from mlsys import errors

GROUPS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}
LONGEST = 1024
REMEDY = "give a path relative to a data root, such as 'solar.parquet'"


class DataRoots:
    """Implements base.DataFiles. Roots are searched in order; one that does not exist (yet) is skipped."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = tuple(Path(os.path.abspath(root)) for root in roots)

    def resolve(self, path: str) -> list[Path]:
        """The real path of the regular file, or of the data files of the folder (sorted, sub-folders included), that ``path`` names.

        In a folder, names beginning with ``.`` or ``_`` and files that are neither parquet nor CSV are passed over; both kinds side by side
        are refused. Raises Invalid({"file_path": ...}). Nothing is opened.
        """
        try:
            found = self._find(_spelling(path))
            return _inside(found, self._real_roots()) if found.is_dir() else [_regular(found)]
        except (OSError, ValueError, RuntimeError):  # a name too long, not encodable, a loop of links, a folder that may not be listed
            raise _refusal(f"No such file; {REMEDY}.") from None

    def open_file(self, path: Path) -> IO[bytes]:
        """Open a path that resolve() returned. What was opened is checked, not what was named: a link swapped in since then is refused."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            raise _refusal(f"'{path.name}' cannot be opened; check that it exists and may be read.") from None
        try:
            self._check(descriptor, path)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise

    def _check(self, descriptor: int, path: Path) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _refusal(f"'{path.name}' is not a regular file; {REMEDY}.")
        if not _below(Path(os.path.realpath(f"/proc/self/fd/{descriptor}")), self._real_roots()):
            raise _refusal(f"'{path.name}' leads out of the data roots; {REMEDY}.")

    def _find(self, wanted: Path) -> Path:
        real_roots = self._real_roots()
        for candidate in self._candidates(wanted):
            try:
                real = Path(os.path.realpath(candidate, strict=True))
            except (FileNotFoundError, NotADirectoryError):
                continue
            if real in real_roots:
                raise _refusal("A data root itself cannot be read; name a file or a folder below it.")
            if not _below(real, real_roots):
                raise _refusal(f"The path leads out of the data roots; {REMEDY}.")
            return real
        raise _refusal(f"No such file; {REMEDY}.")

    def _candidates(self, wanted: Path) -> list[Path]:
        if not wanted.is_absolute():
            return [root / wanted for root in self._roots]
        if _below(wanted, [*self._roots, *self._real_roots()]) or wanted in self._roots:
            return [wanted]
        raise _refusal(f"The path is outside the data roots; {REMEDY}.")

    def _real_roots(self) -> list[Path]:
        return [Path(os.path.realpath(root)) for root in self._roots if os.path.isdir(root)]


def _spelling(path: object) -> Path:
    """Refuse by its letters alone what can never name a file below a root. Nothing is decoded or expanded."""
    if not isinstance(path, str) or not path.strip():
        raise _refusal(f"The path is empty; {REMEDY}.")
    if "\0" in path or len(path) > LONGEST:
        raise _refusal(f"The path is longer than {LONGEST} characters or holds a NUL byte; {REMEDY}.")
    if "://" in path or path.lower().startswith("file:"):
        raise _refusal(f"URLs are not read; {REMEDY}.")
    if ".." in Path(path).parts:
        raise _refusal(f"'..' is not allowed; {REMEDY}.")
    return Path(path)


def _inside(folder: Path, roots: Sequence[Path]) -> list[Path]:
    found: set[Path] = set()
    kinds: set[str] = set()
    for entry in _walk(folder):
        real = entry.resolve(strict=True)
        if not _below(real, roots):
            raise _refusal(f"The folder holds a link that leads out of the data roots: '{entry.name}'; remove it.")
        found.add(_regular(real))
        kinds.add(GROUPS[entry.suffix.lower()])
    if not found:
        raise _refusal("The folder holds no .parquet, .pq or .csv file; name another folder or a file.")
    if len(kinds) > 1:
        raise _refusal("The folder holds both parquet and CSV files; keep one kind in a folder, or name a file.")
    return sorted(found)


def _walk(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if name[0] not in "._")
        for name in folders:
            if os.path.islink(os.path.join(base, name)):
                raise _refusal(f"The folder holds a link to another folder: '{name}'; remove it, or name that folder itself.")
        yield from (Path(base, name) for name in names if name[0] not in "._" and Path(name).suffix.lower() in GROUPS)


def _raise(error: OSError) -> None:
    raise error


def _regular(real: Path) -> Path:
    if not stat.S_ISREG(real.stat().st_mode):
        raise _refusal(f"'{real.name}' is not a regular file; {REMEDY}.")
    return real


def _below(path: Path, roots: Sequence[Path]) -> bool:
    return any(path != root and path.is_relative_to(root) for root in roots)


def _refusal(text: str) -> errors.Invalid:
    return errors.Invalid({"file_path": text})
