"""Statements that the server plans once per connection and not once per call: for the few that every run needs.

For those, planning took longer than what was planned. PostgreSQL plans anew by itself when a table or its statistics have changed.
"""

import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

_NAMED = re.compile(r"(?<!:):([a-z_]+)")


class Prepared:
    """``sql`` names its parameters as ``:name``; ``types``: the SQL type of each. A name stands for one statement in all of mlsys."""

    def __init__(self, name: str, sql: str, /, **types: str) -> None:
        places = {parameter: f"${place}" for place, parameter in enumerate(types, 1)}
        body = _NAMED.sub(lambda found: places[found[1]], sql)
        self._name = name
        self._prepare = f"PREPARE {name} ({', '.join(types.values())}) AS {body}"
        self._execute = f"EXECUTE {name} ({', '.join(f'%({parameter})s' for parameter in types)})"

    def execute(self, connection: sa.Connection, values: Mapping[str, Any], *, after: str = "") -> sa.CursorResult[Any]:
        """``after``: commands that go ahead of it in the same round trip, each ended by a semicolon; settings of the transaction, say."""
        known = connection.info.setdefault("prepared", set())
        if self._name not in known:
            connection.exec_driver_sql(self._prepare)
            known.add(self._name)
        return connection.exec_driver_sql(after + self._execute, dict(values))
