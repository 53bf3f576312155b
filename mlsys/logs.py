"""How log lines of the process look: readable text, or one JSON object a line, ours and those of libraries alike (structlog renders them).

A line tells what it belongs to (request_id, run_id, action, schedule, webhook_id ..): whoever begins such work binds it to its thread
with structlog.contextvars, and the call that logs need not know. Control characters and secrets never reach the log.
"""

import contextlib
import json
import logging
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from mlsys.config import Config, known_secrets
from mlsys.plain import escaped
from mlsys.redaction import Redactor

_log = logging.getLogger(__name__)
_QUIET = ("waitress.queue", "alembic")
_FIRST = ("at", "level", "logger", "message")
Line = MutableMapping[str, Any]


def configure(config: Config, *, quiet: bool = False) -> None:
    """Logs to standard error, warnings and exceptions that nobody caught too.

    ``quiet`` keeps what is not a warning from a command's own output.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(formatter(config.logging.format, Redactor(known_secrets(config))))
    level = logging.getLevelNamesMapping()[config.logging.level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING) if quiet else level, force=True)
    logging.captureWarnings(True)
    _take_structlog()
    threading.excepthook = _uncaught_in_thread
    sys.excepthook = _uncaught
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


def _take_structlog() -> None:
    """Components that log by structlog itself come the same way."""
    import structlog

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def formatter(format: str, redact: Redactor) -> logging.Formatter:
    """Of lines in ``format``: text or json."""
    import structlog  # takes a tenth of a second, which a command that only prints its help should not

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.contextvars.merge_contextvars],
        processors=[_headed, _Cleaned(redact), _as_json if format == "json" else _as_text],
    )


class _Handler(logging.StreamHandler[Any]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """logging would print the arguments of the call, whatever they hold."""
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more
            self.stream.write(f"A log line of {escaped(record.name)} could not be written ({record.filename}:{record.lineno}).\n")


def _headed(logger: Any, method: str, line: Line) -> Line:
    record: logging.LogRecord = line.pop("_record")
    del line["_from_structlog"]
    error = line.pop("exc_info", None)
    head = {"at": _at(record), "level": record.levelname.lower(), "logger": record.name, "message": line.pop("event")}
    told = {"exception": "".join(traceback.format_exception(*error)).rstrip()} if error and error[1] is not None else {}
    return {**head, **line, **told}


class _Cleaned:
    """Every text of a line without secrets. Numbers and the like stay what they are; anything else becomes text."""

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact

    def __call__(self, logger: Any, method: str, line: Line) -> Line:
        return {name: self._clean(value) for name, value in line.items()}

    def _clean(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {str(name): self._clean(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(part) for part in value]
        return self._redact(str(value))


def _as_json(logger: Any, method: str, line: Line) -> str:
    return json.dumps(line)


def _as_text(logger: Any, method: str, line: Line) -> str:
    """What the message says already is not repeated. Lines of a traceback are set in: none of them can pass for a line of the log."""
    message = escaped(line["message"])
    rest = {name: value for name, value in line.items() if name not in (*_FIRST, "exception", "stack_info") and value is not None}
    more = "".join(f" {escaped(name)}={_quoted(value)}" for name, value in rest.items() if not _said(value, message))
    trace = "".join(f"\n  | {escaped(part)}" for key in ("exception", "stack_info") for part in line.get(key, "").splitlines())
    return f"{line['at']} {line['level']:7} {line['logger']}: {message}{more}{trace}"


def _said(value: Any, message: str) -> bool:
    text = escaped(str(value))
    return len(text) > 2 and text in message


def _quoted(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return escaped(text) if text and not set(text) & set(" \"'=") else repr(text)


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("an exception that nobody caught", exc_info=(kind, error, trace))


def _uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_type is not SystemExit and told.exc_value is not None:
        name = told.thread.name if told.thread else "unknown"
        _log.critical("the thread %s died", name, exc_info=(told.exc_type, told.exc_value, told.exc_traceback))
