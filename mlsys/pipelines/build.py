"""From ``{type: NAME, option: value}`` to a component. Built-in and foreign components are found alike, by entry point.

Must not hold: the name of any component. What may be built is what is installed in the group ``mlsys.components``.
"""

import inspect
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib import metadata
from typing import Any, TypeVar, get_type_hints

from mlsys import errors
from mlsys.pipelines import options
from mlsys.pipelines.base import Component, Ports

GROUP = "mlsys.components"
PORTS = frozenset(field.name for field in fields(Ports)) | {"ports"}
C = TypeVar("C", bound=Component)


def build(kind: type[C], spec: Mapping[str, Any], *, ports: Ports, field: str) -> C:
    """The component that ``spec`` describes; ``field`` is the spec's own dotted name, for messages.

    Raises Invalid naming ``field.option`` for an unknown type and for an unknown, missing or wrongly typed option;
    ConfigError for a plugin that cannot be imported.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("type"), str):
        raise errors.Invalid({f"{field}.type": f"Say which {kind.kind} to use: {{type: NAME}}, one of {options.listing(available(kind))}."})
    chosen = component_class(kind, spec["type"], field=field)
    given = {name: value for name, value in spec.items() if name != "type"}
    known = option_parameters(chosen)
    options.check(given, known, hints=_hints(chosen), field=field)
    try:
        return chosen.create(given, ports=ports)
    except errors.Invalid as error:
        raise errors.Invalid(
            {f"{field}.{n}" if n.partition(".")[0] in known else n: texts for n, texts in error.fields.items()}, error.message
        ) from None
    except (TypeError, ValueError) as error:
        raise errors.Invalid({field: f"The {kind.kind} '{spec['type']}' refuses its options: {error}"}) from error


def component_class(kind: type[C], type_name: str, *, field: str) -> type[C]:
    """The class that is installed under ``type_name``; raises Invalid for an unknown one, ConfigError for one that cannot be imported."""
    entry = _entries().get(f"{kind.kind}.{type_name}")
    found = _load(entry) if entry else _plain(kind, type_name)
    if found is None:
        text = f"There is no {kind.kind} '{type_name}'; {options.nearest(type_name, available(kind))}."
        raise errors.Invalid({f"{field}.type": text})
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise errors.ConfigError(f"{_origin(entry)} declares '{type_name}' as a {kind.kind}, but it is no subclass of {kind.__name__}.")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise errors.ConfigError(f"The {kind.kind} '{type_name}' cannot be built: it does not define {missing}.")
    return found


def available(kind: type[Component]) -> list[str]:
    """Type names of a kind, sorted. A plainly named plugin must be imported to know its kind; one that cannot be is left out."""
    prefix = f"{kind.kind}."
    plain = [name for name, entry in _entries().items() if "." not in name and _is(kind, entry)]
    return sorted({name.removeprefix(prefix) for name in _entries() if name.startswith(prefix)} | set(plain))


def option_parameters(cls: type[Component]) -> dict[str, inspect.Parameter]:
    """The options a component takes: the parameters of its constructor, without those that its own create() fills from the ports."""
    parameters = inspect.signature(cls).parameters
    own = needs_ports(cls)
    return {name: parameter for name, parameter in parameters.items() if not (own and name in PORTS)}


def needs_ports(cls: type[Component]) -> bool:
    """Whether a component has a factory of its own, which may take something from the ports."""
    return vars(Component)["create"].__func__ is not getattr(cls.create, "__func__", None)


def cache_clear() -> None:
    """Forget which plugins are installed (scanning is slow, so it is done once in a process)."""
    _entries.cache_clear()


@cache
def _entries() -> dict[str, metadata.EntryPoint]:
    found: dict[str, metadata.EntryPoint] = {}
    for entry in metadata.entry_points(group=GROUP):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            both = f"{_origin(other)} and {_origin(entry).lower()}"
            raise errors.ConfigError(f"{both} both declare the component '{entry.name}'; uninstall one of them.")
    return found


def _plain(kind: type[Component], type_name: str) -> object | None:
    entry = _entries().get(type_name) if "." not in type_name else None
    if entry is None:
        return None
    found = _load(entry)
    return found if isinstance(found, type) and issubclass(found, kind) else None


def _is(kind: type[Component], entry: metadata.EntryPoint) -> bool:
    try:
        found = _load(entry)
    except errors.ConfigError:
        return False
    return isinstance(found, type) and issubclass(found, kind)


def _load(entry: metadata.EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:  # a plugin may fail in any way while it is imported
        text = f"{_origin(entry)} cannot be imported for the component '{entry.name}' ({entry.value}): {type(error).__name__}: {error}."
        raise errors.ConfigError(f"{text} Repair or uninstall that package.") from error


def _origin(entry: metadata.EntryPoint | None) -> str:
    return f"The package '{entry.dist.name}'" if entry and entry.dist else "An installed package"


def _hints(cls: type[Component]) -> dict[str, Any]:
    try:
        return get_type_hints(cls.__init__)
    except (NameError, TypeError):  # annotations that only a type checker can resolve: such options are not checked
        return {}
