"""From ``{type: NAME, option: value}`` to an event sink or notification, built-in or foreign: the entry points of ``mlsys.sinks``."""

import inspect
from collections.abc import Mapping
from dataclasses import fields
from importlib import metadata
from typing import Any, TypeVar, get_type_hints

from mlsys import errors
from mlsys.events.sinks import EventSink, SinkPorts
from mlsys.pipelines import options

GROUP = "mlsys.sinks"
_PORTS = frozenset(field.name for field in fields(SinkPorts))
S = TypeVar("S", bound=EventSink)


def build_all(kind: type[S], specs: Mapping[str, Any], *, ports: SinkPorts, section: str) -> dict[str, S]:
    """Raises Invalid that names all that is wrong as ``section.name.option``, ConfigError for what cannot be imported."""
    found: dict[str, S] = {}
    wrong: dict[str, list[str]] = {}
    for name, spec in specs.items():
        try:
            found[name] = _build(kind, spec, ports=ports, field=f"{section}.{name}")
        except errors.Invalid as error:
            wrong |= error.fields
    if wrong:
        raise errors.Invalid(wrong, "The configuration is not valid.")
    return found


def _build(kind: type[S], spec: Mapping[str, Any], *, ports: SinkPorts, field: str) -> S:
    chosen = _class(kind, spec.get("type"), field=field)
    given = {name: value for name, value in spec.items() if name != "type"}
    parameters = inspect.signature(chosen).parameters
    known = {name: parameter for name, parameter in parameters.items() if name not in _PORTS}
    options.check(given, known, hints=get_type_hints(chosen.__init__), field=field)
    try:
        return chosen(**given, **{name: getattr(ports, name) for name in parameters if name in _PORTS})
    except errors.Invalid as error:
        raise errors.Invalid({f"{field}.{name}": texts for name, texts in error.fields.items()}) from None


def _class(kind: type[S], type_name: Any, *, field: str) -> type[S]:
    entries = {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
    loaded = _load(entries[type_name]) if type_name in entries else None
    if isinstance(loaded, type) and issubclass(loaded, kind):
        return loaded
    others = sorted(name for name in entries if name != type_name)
    raise errors.Invalid({f"{field}.type": f"{type_name!r} does not fit here; {options.nearest(str(type_name), others)}."})


def _load(entry: metadata.EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:  # a plugin may fail in any way while it is imported
        origin = f"The package '{entry.dist.name}'" if entry.dist else "An installed package"
        text = f"{origin} cannot be imported for '{entry.name}' ({entry.value}): {type(error).__name__}: {error}."
        raise errors.ConfigError(f"{text} Repair or uninstall that package.") from error
