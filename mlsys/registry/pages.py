"""Pages of a list, newest first: an opaque cursor that names the last row seen, so that new rows never shift a page."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from mlsys import errors

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    items: Sequence[T]
    next_cursor: str | None


def encode(position: int, direction: str = "before") -> str:
    return base64.urlsafe_b64encode(f"{direction}:{position}".encode()).decode().rstrip("=")


def decode(cursor: str, direction: str = "before") -> int:
    """The position a cursor names. Raises Invalid for anything that encode() did not make."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        word, _, number = text.partition(":")
        position = int(number)
    except (binascii.Error, ValueError):
        word, position = "", 0
    if word != direction or not 0 < position < 2**63 or encode(position, direction) != cursor:
        raise errors.Invalid({"cursor": "This is not a cursor that an earlier page gave as next_cursor."})
    return position


def page(
    connection: sa.Connection, query: sa.Select[Any], *, by: sa.ColumnElement[int], limit: int, cursor: str | None
) -> tuple[list[sa.RowMapping], str | None]:
    """``limit`` rows of ``query`` with the greatest ``by`` first, after ``cursor``; ``by`` must be among its columns."""
    if cursor is not None:
        query = query.where(by < decode(cursor))
    rows = list(connection.execute(query.order_by(by.desc()).limit(limit + 1)).mappings())
    more = len(rows) > limit
    return rows[:limit], encode(rows[limit - 1][by.name]) if more else None
