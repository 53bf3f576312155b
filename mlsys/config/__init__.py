"""The configuration: read once at start from file, environment and command line, into frozen values.

`load` is the only way in. Only bootstrap, the command line and testing may hold a Config; parts are given plain values. Models and
schedules pass through unread (their own layers check them). Importing this opens nothing, and imports neither yaml nor any large library.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlsys import errors
from mlsys.config import layers, schema
from mlsys.config.hidden import known_secrets
from mlsys.config.schema import (
    Artifacts,
    Auth,
    Config,
    Data,
    Database,
    Described,
    Execution,
    Logging,
    Retention,
    Scheduling,
    Server,
    Webhooks,
    describe,
    in_force,
)
from mlsys.config.values import Given, UnfitError

__all__ = [
    "Artifacts",
    "Auth",
    "Config",
    "Data",
    "Database",
    "Described",
    "Execution",
    "Logging",
    "Retention",
    "Scheduling",
    "Server",
    "Webhooks",
    "describe",
    "in_force",
    "known_secrets",
    "load",
]

FILE = Path("config.yaml")
MISSING = object()
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"


def load(path: Path | None, *, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Config:
    """``path``, else ./config.yaml, else defaults; over it the variables MLSYS_<SECTION>__<KEY>, then ``overrides`` (dotted key -> value).

    Raises ConfigError, whose message lists everything that is wrong, one line each.
    """
    file = path if path is not None else FILE if os.path.lexists(FILE) else None
    given = layers.Layers(cwd=Path.cwd())
    if file is not None:
        given.add_file(file)
    given.add_environment(environ)
    given.add_overrides(overrides or {})
    values = _values(given)
    if given.problems:
        raise errors.ConfigError("\n".join(["The configuration is not valid:", *(f"- {problem}" for problem in given.problems)]))
    return _assemble(values, file)


def _values(given: layers.Layers) -> dict[str, Any]:
    """Every key's value by dotted name; what does not fit goes to ``given.problems``."""
    _refuse_unknown(given)
    return {name: _value(name, rule, given) for name, rule in schema.rules().items()}


def _refuse_unknown(given: layers.Layers) -> None:
    sections, keys = schema.sections(), schema.rules()
    all_names = ", ".join(["home", *sections, "models", "schedules"])
    for name, value in given.tree.items():
        if name not in sections and name not in keys:
            near = layers.nearest(name, [*sections, *keys])
            given.problems.append(
                f"{name} ({given.origin((name,)).where}): there is no such section. The nearest is {near} of {all_names}."
            )
        elif name in sections and value is not None:
            _refuse_unknown_keys(name, value, given)


def _refuse_unknown_keys(section: str, value: Any, given: layers.Layers) -> None:
    if not isinstance(value, dict):
        example = next(key for key in schema.rules() if key.startswith(f"{section}."))
        where = given.origin((section,)).where
        given.problems.append(f"{section} ({where}): expected a mapping with keys such as {example}.")  # the value may be a secret
        return
    for key in value:
        name = f"{section}.{key}"
        if name not in schema.rules():
            where = given.origin((section, key)).where
            given.problems.append(f"{name} ({where}): there is no such key. The nearest is {layers.nearest(name)}.")


def _value(name: str, rule: schema.Rule, given: layers.Layers) -> Any:
    """The value, or None after noting why there is none."""
    names = tuple(name.split("."))
    inside: Any = given.tree
    for part in names:
        if not isinstance(inside, dict) or part not in inside:
            inside = MISSING
            break
        inside = inside[part]
    if rule.free:
        return _entries(names, {} if inside is MISSING or inside is None else inside, rule, given)
    if inside is MISSING:
        return rule.reader.read(Given(value=rule.default, base=given.cwd))
    return _read(names, inside, rule, given)


def _entries(names: tuple[str, ...], entries: Any, rule: schema.Rule, given: layers.Layers) -> dict[str, Any]:
    if not isinstance(entries, dict):
        where = given.origin(names).where
        given.problems.append(f"{'.'.join(names)} ({where}): expected a mapping of names, each with {rule.reader.expected}.")
        return {}
    for name in entries:
        if not NAME.fullmatch(name):
            where = given.origin((*names, name)).where
            given.problems.append(f"{'.'.join(names)} ({where}): {name[:80]!r} is no name: {NAME_RULE}.")
    return {name: _read((*names, name), value, rule, given) for name, value in entries.items()}


def _read(names: tuple[str, ...], value: Any, rule: schema.Rule, given: layers.Layers) -> Any:
    origin = given.origin(names)
    try:
        return rule.reader.read(Given(value=value, text=origin.text, base=origin.base))
    except UnfitError as error:
        shown = "; it is empty" if value in (None, "") else "" if rule.secret else f", not {repr(value)[:80]}"
        given.problems.append(f"{'.'.join(names)} ({origin.where}): {str(error) or f'expected {rule.reader.expected}{shown}'}.")
        return None


def _assemble(values: Mapping[str, Any], file: Path | None) -> Config:
    parts: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for title, section in schema.sections().items():
        prefix = f"{title}."
        parts[title] = section(**{name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)})
    return Config(file=file, **parts)
