"""Reads a YAML file that is not to be trusted to be well made: bounded in size, depth and expansion, no duplicate keys, plain data only.

Knows nothing of settings. Dates stay text (YAML would make objects of them that JSON cannot hold).
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mlsys import errors

MAX_BYTES = 1_048_576
MAX_DEPTH = 32
MAX_NODES = 50_000  # after aliases are expanded: a few lines of aliases to aliases would otherwise grow past any memory
CORE = "tag:yaml.org,2002:"
PLAIN = {CORE + name for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge")}


class _Loader(yaml.SafeLoader):
    """SafeLoader whose dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != CORE + "timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

Names = tuple[str, ...]


@dataclass(kw_only=True)
class Document:
    """``data``: what the file holds, plain and unshared. ``lines``: the line of each entry, by its path.

    ``problems``: faults that did not stop the reading, each with its line (then ``data`` is None).
    """

    data: Any = None
    lines: dict[Names, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    nodes: int = 0


def read(path: Path) -> Document:
    """A file whose top level is a mapping (or empty). Raises ConfigError when nothing can be made of it."""
    document = parse(_text(path), name=str(path))
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        raise errors.ConfigError(f"{path}: expected sections such as `server:` at the top level.")
    return document


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise errors.ConfigError(f"{path}: there is no such file." if not path.exists() else f"{path} is not a regular file.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise errors.ConfigError(f"{path} is larger than {MAX_BYTES} bytes: that is no configuration file.")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise errors.ConfigError(f"{path}, line {line}: not UTF-8. Save the file as UTF-8.") from None
    except (OSError, ValueError) as error:
        raise errors.ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def parse(text: str, *, name: str) -> Document:
    """Any YAML value; ``name`` says in messages where it stands."""
    document = Document()
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _visit(node, (), document, name)
            document.data = None if document.problems else _unshared(loader.construct_document(node))
    except yaml.YAMLError as error:
        raise errors.ConfigError(_syntax(error, name, text)) from None
    except RecursionError:
        raise errors.ConfigError(f"{name} is nested too deeply: at most {MAX_DEPTH} levels.") from None
    except (ValueError, OverflowError) as error:
        raise errors.ConfigError(f"{name} holds a value that cannot be read: {error}.") from None
    return document


def _unshared(value: Any) -> Any:
    """A copy in which aliases are values of their own, so that a change to one changes no other."""
    if isinstance(value, dict):
        return {key: _unshared(part) for key, part in value.items()}
    return [_unshared(part) for part in value] if isinstance(value, list) else value


def _visit(node: Any, path: Names, document: Document, name: str) -> None:
    document.nodes += 1
    if len(path) > MAX_DEPTH:
        raise errors.ConfigError(f"{name}, line {_line(node)}: nested too deeply, at most {MAX_DEPTH} levels.")
    if document.nodes > MAX_NODES:
        raise errors.ConfigError(f"{name}: its aliases expand to more than {MAX_NODES} values.")
    if node.tag not in PLAIN:
        document.problems.append(f"{name}, line {_line(node)}: the tag {node.tag.replace(CORE, '!!')} is not allowed; write plain values.")
    elif isinstance(node, yaml.MappingNode):
        _visit_mapping(node, path, document, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _visit(item, (*path, str(index)), document, name)


def _visit_mapping(node: yaml.MappingNode, path: Names, document: Document, name: str) -> None:
    seen: dict[Hashable, int] = {}
    for key, value in node.value:
        here = f"{name}, line {_line(key)}: "
        if key.tag == CORE + "merge":
            _visit(value, (*path, "<<"), document, name)
            continue
        if key.tag != CORE + "str":
            shown = getattr(key, "value", "") if isinstance(key, yaml.ScalarNode) else "..."
            document.problems.append(f"{here}the key {shown} is not text to YAML; put it in quotes.")
            continue
        if key.value in seen:
            document.problems.append(f"{here}{'.'.join((*path, key.value))} is given twice, first on line {seen[key.value]}; remove one.")
        seen.setdefault(key.value, _line(key))
        document.lines.setdefault((*path, key.value), _line(key))
        _visit(value, (*path, key.value), document, name)


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _syntax(error: yaml.YAMLError, name: str, text: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f"{name}, line {text.count(chr(10), 0, error.position) + 1}: a character that YAML does not allow (#x{error.character:04x})."
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or "not YAML"
    if mark is None:
        return f"{name}: {problem}."
    line = text.splitlines()[mark.line : mark.line + 1]
    tab = " Indent with spaces, not tabs." if line and line[0][: mark.column + 1].lstrip(" ").startswith("\t") else ""
    return f"{name}, line {mark.line + 1}, column {mark.column + 1}: {problem}.{tab}"
