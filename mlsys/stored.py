"""JSON objects of the database, read only where somebody looks inside: most are handed on to a client as they are."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import orjson


class StoredJson(Mapping[str, Any]):
    """The object that ``text`` writes. To decode what is only passed on, and to write it anew, took a quarter of a page's time."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def _value(self) -> dict[str, Any]:
        value: dict[str, Any] = orjson.loads(self.text)
        return value

    def __getitem__(self, name: str) -> Any:
        return self._value[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return f"StoredJson({self.text!r})"
