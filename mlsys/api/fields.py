"""marshmallow fields of the contract: instants, plain dates, and strings as users may write them."""

import re
from datetime import UTC, date, datetime
from typing import Any

import marshmallow as ma

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
# in a query an unescaped + arrives as a space
_INSTANT = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)(?:[Zz]|([+ -])(\d{2}:\d{2}))", re.ASCII)


class Instant(ma.fields.Field[datetime]):
    """Out: in UTC; app.py writes it as RFC 3339."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC)


class Object(ma.fields.Dict):
    """Out: a JSON object as it is, StoredJson too; marshmallow would look into it to copy it."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return value


class Day(ma.fields.Field[date | datetime]):
    """In: a plain date, or an RFC 3339 instant with its offset."""

    default_error_messages = {
        "invalid": "Write a date (2017-01-31) or an instant with its offset (2017-01-31T06:00:00Z).",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> date | datetime:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        try:
            if _DATE.fullmatch(value):
                return date.fromisoformat(value)
            if found := _INSTANT.fullmatch(value):
                day, time, sign, offset = found.groups()
                return datetime.fromisoformat(f"{day}T{time}{(sign or '+').replace(' ', '+')}{offset or '00:00'}")
        except ValueError:  # the 31st of February
            pass
        raise self.make_error("invalid")


class Flag(ma.fields.Field[bool]):
    """In: true, false, and the same as text (today's users send "true")."""

    default_error_messages = {"invalid": "Write true or false."}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise self.make_error("invalid")


def priority() -> ma.fields.Integer:
    text = "The higher, the sooner among those that wait. Default: predictions before trainings before backfills."
    return ma.fields.Integer(strict=True, validate=ma.validate.Range(0, 100), metadata={"description": text})


def name(**kwargs: Any) -> ma.fields.String:
    """A short text that names something."""
    return ma.fields.String(validate=ma.validate.Length(min=1, max=200), **kwargs)
