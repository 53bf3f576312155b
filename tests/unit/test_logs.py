"""Log lines by machine and by eye: none can be forged, no control character passes, no secret is shown."""

import json
import logging
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from structlog import contextvars

from mlsys import config, declarations, logs
from mlsys.execution.engines import Processes
from mlsys.pipelines.base import Ports
from mlsys.plain import escaped
from mlsys.redaction import Redactor

HOSTILE = "evil\n2026-01-01T00:00:00.000Z info    mlsys: forged\r\x1b[31m\x9b2J\u202e\x00\u2028"
SECRETS = {
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": "whsec_***",
    "mlsys_ab12_0123456789abcdefghijklmnop": "mlsys_ab12_***",
    "postgresql+psycopg2://mlsys:hunter2@db/name": "postgresql+psycopg2://mlsys:***@db/name",
    "redis://:hunter2@127.0.0.1:6379/0": "redis://:***@127.0.0.1:6379/0",
    "Authorization: Bearer abcdefgh12345": "Authorization: Bearer ***",
    "Email(password='hunter2', host=x)": "Email(password='***', host=x)",
    "dsn: host=db password=hunter2 user=x": "dsn: host=db password=*** user=x",
    "the configured one is known": "the *** is known",
}


def line(format: str, message: str = "%s", *arguments: Any, error: Exception | None = None, **extra: Any) -> str:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("mlsys.test", logging.ERROR, __file__, 1, message, arguments, info)
    record.__dict__.update(extra)
    return logs.formatter(format, Redactor(["configured one"])).format(record)


def raised(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_text__nothing_of_others_begins_a_line_or_moves_the_cursor() -> None:
    found = line("text", "model %s", HOSTILE, error=raised(HOSTILE), **{"route": f"/a {HOSTILE}"})
    assert all(text.isprintable() for text in found.split("\n"))
    first, *others = found.split("\n")
    assert "model evil\\n2026" in first
    assert "route='/a evil\\n2026" in first
    assert others
    assert all(text.startswith("  | ") for text in others), others


def test_json__is_one_object_a_line_and_says_it_all() -> None:
    found = line("json", "model %s", HOSTILE, error=raised(HOSTILE), **{"route": HOSTILE, "status": 200})
    assert found.isascii()
    assert found.isprintable()
    told = json.loads(found)
    assert (told["message"], told["route"], told["status"]) == (f"model {HOSTILE}", HOSTILE, 200)
    assert (told["level"], told["logger"]) == ("error", "mlsys.test")
    assert told["exception"].startswith("Traceback")
    assert "ValueError" in told["exception"]


@pytest.mark.parametrize("format", ["text", "json"])
def test_line__tells_what_its_thread_works_on(format: str) -> None:
    with contextvars.bound_contextvars(run_id="r1abc", action="train", note=HOSTILE):
        found = line(format, "fitted %d trees", 10)
    assert "run_id" in found
    assert "train" in found
    assert "fitted 10 trees" in found
    assert found.isprintable()
    assert "run_id" not in line(format, "fitted")
    with contextvars.bound_contextvars(run_id="r1abc"):
        assert "run_id" not in line("text", "run %s ended", "r1abc"), "what the message says is not repeated"


@pytest.mark.parametrize(("text", "shown"), SECRETS.items())
@pytest.mark.parametrize("format", ["text", "json"])
def test_line__shows_no_secret_wherever_it_stands(format: str, text: str, shown: str) -> None:
    found = line(format, "said %s", text, error=raised(text), **{"given": {"deep": [text]}})
    assert text not in found
    assert not {"hunter2", "abcdefgh12345", "configured one"} & set(re.findall(r"hunter2|abcdefgh12345|configured one", found))
    assert found.count("***") >= 3
    assert Redactor(["configured one"])(text) == shown


def test_redactor__leaves_other_text_alone() -> None:
    for text in (
        "GET /models/mlsys_events 200",
        "http://127.0.0.1:5000/docs",
        "see http://[::1]:5000/a@b",
        "mlsys.execution.runner",
        "token: expected",
    ):
        assert Redactor([""])(text) == text


def test_known_secrets__are_those_of_the_configuration(tmp_path: Path) -> None:
    targets = "{chat: {type: slack, url: 'https://chat.example.org/SECRETPATH'}, mail: {type: email, password: pa55word, host: mailhost}}"
    given = {
        "MLSYS_DATABASE__URL": "postgresql+psycopg2://me:p%40ssw0rd@db/name",
        "MLSYS_NOTIFICATIONS__TARGETS": targets,
        "MLSYS_DATA__CONNECTIONS__PLANT": "mysql://x:otherpass@h/d",
    }
    found = set(config.known_secrets(config.load(None, environ=given)))
    assert found >= {"p%40ssw0rd", "p@ssw0rd", "pa55word", "https://chat.example.org/SECRETPATH", "otherpass"}
    assert not found & {"slack", "email", "mailhost"}


def test_escaped__shows_what_it_keeps_out() -> None:
    assert escaped("a\x1b[0m\nb", keep="\n") == "a\\x1b[0m\nb"
    assert escaped("Zürich, 東京") == "Zürich, 東京"


def _warns(spec: str, ports: Ports) -> str:
    """Runs in a job's process."""
    logging.getLogger("some.library").error("it says %s", spec)
    warnings.warn("it warns", stacklevel=1)
    return spec


def test_processes__what_libraries_log_there_is_logged_here_with_the_run() -> None:
    engine = Processes(workers=1, memory_mib=0)
    found: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(logs.formatter("json", Redactor()).format(record))

    handler = Kept()
    logging.getLogger().addHandler(handler)
    try:
        with contextvars.bound_contextvars(run_id="r7"):
            nothing: Any = None
            ports = Ports(
                blobs=nothing, files=nothing, outputs=Path(), reporter=declarations.Silent(), connections={}, threads=1, datasets=None
            )
            assert engine.run(_warns, HOSTILE, ports) == HOSTILE
    finally:
        logging.getLogger().removeHandler(handler)
        engine.stop()
    said = [json.loads(text) for text in found]
    told = {one["logger"]: one for one in said}
    assert told["some.library"] | {"at": ""} == {
        "at": "",
        "level": "error",
        "logger": "some.library",
        "message": f"it says {HOSTILE}",
        "run_id": "r7",
    }
    assert "it warns" in told["py.warnings"]["message"]
    assert told["py.warnings"]["run_id"] == "r7"
