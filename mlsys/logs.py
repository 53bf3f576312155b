"""How log lines of the process look: readable text, or one JSON object a line. Control characters never reach the log."""

import json
import logging
import sys
from datetime import UTC, datetime

from mlsys.config import Logging

_QUIET = ("waitress.queue", "alembic")


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_at(record)} {record.levelname.lower():7} {record.name}: {_plain(record.getMessage())}"
        return line + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"at": _at(record), "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(settings: Logging, *, quiet: bool = False) -> None:
    """Logs to standard error. ``quiet`` keeps what is not a warning from a command's own output."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if settings.format == "json" else _Text())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING) if quiet else level, force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
