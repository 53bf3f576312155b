"""Lays file, environment and command line over one another, and remembers of each value where it came from.

Which names exist is asked of schema.py; whether a value fits is decided later, in __init__.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlsys import errors
from mlsys.config import schema

Names = tuple[str, ...]
PREFIX = "MLSYS_"
OTHERS = ("MLSYS_URL", "MLSYS_TOKEN", "MLSYS_POSTGRES_BIN", "MLSYS_CRASH_POINT")  # read elsewhere


@dataclass(frozen=True, kw_only=True)
class Origin:
    """``where`` as shown to the user; ``base``: folder of relative paths; ``text``: the value is an environment variable's."""

    where: str
    base: Path
    text: bool = False


@dataclass(kw_only=True)
class Layers:
    cwd: Path
    tree: dict[str, Any] = field(default_factory=dict)
    origins: dict[Names, Origin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def origin(self, names: Names) -> Origin:
        """Of the value itself or of the nearest thing around it."""
        for length in range(len(names), 0, -1):
            if found := self.origins.get(names[:length]):
                return found
        return Origin(where="default", base=self.cwd)

    def add_file(self, path: Path) -> None:
        from mlsys.config import document  # imports yaml: only where there is a file to read

        read = document.read(path)
        base = path.absolute().parent
        self.tree = read.data
        self.problems += read.problems
        self.origins = {names: Origin(where=f"{path}, line {line}", base=base) for names, line in read.lines.items()}

    def add_environment(self, environ: Mapping[str, str]) -> None:
        for name, value in sorted(environ.items()):
            if name == f"{PREFIX}HOME":
                self._put(("home",), value, Origin(where=name, base=self.cwd, text=True))
            elif name.startswith(PREFIX) and "__" in name:
                self._add_variable(name, value)
            elif name.startswith(PREFIX) and (meant := _meant(name)):
                self.problems.append(f"{name}: there is no such setting. Did you mean {meant}?")

    def _add_variable(self, name: str, value: str) -> None:
        names = self._as_written(tuple(part.lower() for part in name.removeprefix(PREFIX).split("__")))
        if not known(names):
            self.problems.append(f"{name}: there is no such setting. The nearest is {variable(nearest('.'.join(names)))}.")
        elif _holds_yaml(names):
            self._put(names, self._yaml(name, value), Origin(where=name, base=self.cwd))
        else:
            self._put(names, value, Origin(where=name, base=self.cwd, text=True))

    def _as_written(self, names: Names) -> Names:
        """An environment variable has neither lower case, '-' nor '.': a name the file already spells out is meant."""
        found: list[str] = []
        inside: Any = self.tree
        for name in names:
            candidates = inside if isinstance(inside, dict) else {}
            found.append(next((k for k in candidates if k.lower().replace("-", "_").replace(".", "_") == name), name))
            inside = candidates.get(found[-1])
        return tuple(found)

    def _yaml(self, name: str, value: str) -> Any:
        from mlsys.config import document

        try:
            read = document.parse(value, name=name)
        except errors.ConfigError as error:
            self.problems.append(error.message)
            return None
        self.problems += read.problems
        return read.data

    def add_overrides(self, overrides: Mapping[str, Any]) -> None:
        """Dotted keys with typed values; None means that the flag was not given."""
        for name, value in overrides.items():
            if value is None:
                continue
            if known(tuple(name.split("."))):
                self._put(tuple(name.split(".")), value, Origin(where="command line", base=self.cwd))
            else:
                self.problems.append(f"{name} (command line): there is no such setting. The nearest is {nearest(name)}.")

    def _put(self, names: Names, value: Any, origin: Origin) -> None:
        inside = self.tree
        for depth, name in enumerate(names[:-1], 1):
            if inside.get(name) is None:
                inside[name] = {}
            inside = inside[name]
            if not isinstance(inside, dict):
                self.problems.append(f"{origin.where}: {'.'.join(names[:depth])} ({self.origin(names[:depth]).where}) is not a mapping.")
                return
        inside[names[-1]] = value
        self.origins = {path: of for path, of in self.origins.items() if path[: len(names)] != names} | {names: origin}


def _meant(name: str) -> str | None:
    """The variable that a name without ``__`` is a slip of. MLSYS_SERVER_PORT and the like are left alone: Kubernetes sets such."""
    import difflib

    if name in OTHERS or name.endswith(("_HOST", "_PORT")):
        return None
    settings = {f"{PREFIX}HOME"} | {variable(key) for key in schema.rules() if "." in key}
    single = {setting.replace("__", "_"): setting for setting in settings}
    found = difflib.get_close_matches(name, [*single, *OTHERS], n=1, cutoff=0.9)
    return single.get(found[0], found[0]) if found else None


def known(names: Names) -> bool:
    """Whether a value may be put there: a key, or anything inside a key whose names the user chooses."""
    if not all(names):
        return False
    for name, rule in schema.rules().items():
        parts = tuple(name.split("."))
        if names == parts or (rule.free and names[: len(parts)] == parts and len(names) > len(parts)):
            return True
    return False


def _holds_yaml(names: Names) -> bool:
    """Whether it lies inside a key whose values are mappings of any depth."""
    rules = {tuple(name.split(".")): rule for name, rule in schema.rules().items()}
    found = next((rule for parts, rule in rules.items() if names[: len(parts)] == parts), None)
    return found is not None and found.free and found.reader.expected == "a mapping"


def nearest(name: str, among: Iterable[str] | None = None) -> str:
    """The known key that ``name`` most likely means; there always is one."""
    import difflib

    candidates = list(schema.rules() if among is None else among)
    last = name.rpartition(".")[2]
    same_section = [key for key in candidates if key.rpartition(".")[0] == name.rpartition(".")[0]]
    for pool in (same_section, candidates):
        if found := difflib.get_close_matches(name, pool, n=1, cutoff=0.75):
            return found[0]
    if found := difflib.get_close_matches(last, [key.rpartition(".")[2] for key in candidates], n=1, cutoff=0.75):
        return next(key for key in candidates if key.rpartition(".")[2] == found[0])
    return difflib.get_close_matches(name, same_section or candidates, n=1, cutoff=0)[0]


def variable(key: str) -> str:
    """The environment variable that sets a key."""
    return PREFIX + key.upper().replace(".", "__")
