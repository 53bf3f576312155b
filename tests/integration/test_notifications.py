"""What a person is told, through the front: of a rejected model, and how the call in the message puts it into production."""

import json
import shlex
import smtplib
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import front
import pytest
from aiosmtpd.smtp import AuthResult
from certificates import self_signed
from holding import held_by_a_dead_process, run_of
from serving import until
from sinking import mail_server

from mlsys.events import types
from mlsys.events.types import SequencedEvent
from mlsys.publishing.notifications import texts
from mlsys.publishing.notifications.base import USUAL
from mlsys.publishing.notifications.email import Email

BASE = "http://mlsys.example:5000"


@pytest.fixture
def url(embedded_server: Any) -> Iterator[str]:
    found = embedded_server.clone()
    yield found
    embedded_server.drop(found)


def test_notification__of_a_rejected_model_tells_why_and_how_to_promote_it_by_hand(tmp_path: Path, url: str) -> None:
    strict = front.definition(validation={"min_skill_first": 0.999})
    with mail_server() as box:
        mail = {"type": "email", "host": "127.0.0.1", "port": box.port, "security": "none"}
        mail |= {"sender": "mlsys@example.org", "recipients": ["ops@example.org"]}
        given = {"notifications.targets": {"ops": mail}, "notifications.base_url": BASE + "/"}
        with front.started(tmp_path, url, {"quick": strict}, **given) as world:
            version = front.train(world.client)["result"]["model_version_id"]
            (letter,) = until(lambda: box.letters)
            text = letter.get_content()
            assert letter["Subject"] == f"mlsys: version 1 ({version}) of quick was rejected"
            assert "FAILED  better_than_naive" in text
            assert "(bound 0.999)" in text
            assert f"{BASE}/models/quick/versions/{version}" in text
            words = shlex.split(next(line for line in text.splitlines() if "curl" in line))
            assert words[:4] == ["curl", "-X", "POST", f"{BASE}/model/promote"]
            answer = world.client.post("/model/promote", json=json.loads(words[-1]))
            assert (answer.status_code, answer.json["model_version_id"]) == (200, version)  # type: ignore[index]
            failed = front.ended(
                world.client.post(
                    "/job/train", json=front.TRAIN | {"start_date": "2031-01-01", "end_date": "2031-02-01"}, headers=front.WAIT
                )
            )
            until(lambda: len(box.letters) == 2)
            text = box.letters[1].get_content()
            assert failed["error"]["message"] in text
            assert f"curl -X POST {BASE}/runs/{failed['id']}/retry" in text
            assert world.client.get("/health/").json["checks"]["events"]["sinks"]["notification:ops"]["status"] == "ok"  # type: ignore[index]


def test_notification__of_a_run_that_crashed_comes_once_when_it_is_not_tried_again(tmp_path: Path, url: str) -> None:
    with mail_server() as box:
        mail = {"type": "email", "host": "127.0.0.1", "port": box.port, "security": "none"}
        mail |= {"sender": "mlsys@example.org", "recipients": ["ops@example.org"]}
        given = {"notifications.targets": {"ops": mail}, "execution.max_attempts": 2}
        with front.started(tmp_path, url, {"quick": front.definition()}, **given) as world:
            id = held_by_a_dead_process(world)
            world.system.recovery.sweep()
            assert run_of(world, id).attempt == 2
            with world.system.services.units() as unit:
                unit.runs.claim(owner=1, among=[id])
                unit.commit()
            world.system.recovery.sweep()
            assert run_of(world, id).status == "crashed"
            events = until(lambda: (found := crashes(world)) and len(found) == 2 and found)
            assert [(event["data"]["attempt"], event["data"]["final"]) for event in events] == [(1, False), (2, True)]
            until(lambda: behind(world) == 0)
        (letter,) = box.letters
        assert letter["Subject"] == f"mlsys: train run {id} of quick crashed (attempt 2, the last)"
        assert f"/runs/{id}/retry" in letter.get_content()


def crashes(world: front.World) -> list[Any]:
    items: list[Any] = world.client.get("/events?type=run.crashed").json["items"]  # type: ignore[index]
    return items


def behind(world: front.World) -> int:
    """Events that the target has not taken."""
    events = world.client.get("/health/").json["checks"]["events"]  # type: ignore[index]
    return int(events["sinks"]["notification:ops"]["behind"])


def test_email__is_sent_over_starttls_with_a_password_and_only_to_a_server_whose_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path, "localhost")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)

    def known(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        return AuthResult(success=(given.login, given.password) == (b"mlsys", b"hunter2"), handled=False)

    with mail_server(tls_context=tls, require_starttls=True, auth_required=True, authenticator=known) as box:
        given = {"base_url": BASE, "host": "localhost", "port": box.port, "sender": "mlsys@example.org", "recipients": ["ops@example.org"]}
        mail = Email(**given, username="mlsys", password="hunter2")
        with pytest.raises(ssl.SSLCertVerificationError):
            mail.deliver("subject", "text")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        mail.deliver("subject", "text")
        for other, error in ((Email(**given, username="mlsys", password="wrong"), "535"), (Email(**given), "530")):
            with pytest.raises(smtplib.SMTPResponseException, match=error):
                other.deliver("subject", "text")
    (letter,) = box.letters
    assert (letter["Subject"], letter.get_content().strip()) == ("subject", "text")


RUN = {"run_id": "r1", "kind": "train", "model_name": "m", "attempt": 2, "status": "crashed"}
MODEL = {"model_name": "m", "model_version_id": "v1", "version": 3, "run_id": "r1"}
CHECKS = [
    {"name": "good", "passed": True, "value": 1.0, "threshold": 0.5},
    {"name": "bad", "passed": False, "value": None, "detail": "no unseen day"},
]
DAY = {"day": "2020-01-02", "value": 2.34567, "bound": 2.0}
MISSED = {"schedule": "weekly", "kind": "train", "model_name": "m", "count": 2, "message": "nobody was there"}
TOLD: dict[str, tuple[dict[str, Any], list[str]]] = {
    types.MODEL_REJECTED: (MODEL | {"validation": {"checks": CHECKS}}, ["was rejected", "FAILED  bad: no unseen day", "/model/promote"]),
    types.MODEL_NOT_JUDGED: (
        MODEL | {"validation": {"checks": CHECKS}},
        ["could not be judged", "passed  good 1 (bound 0.5)", "/model/promote"],
    ),
    types.RUN_FAILED: (RUN | {"error": {"kind": "no_target", "message": "empty"}}, ["failed", "Why: empty (no_target)", "/runs/r1/retry"]),
    types.RUN_CRASHED: (
        RUN | {"error": {"kind": "crashed", "message": "it died"}},
        ["crashed (attempt 2, the last)", "it died", "/runs/r1/retry"],
    ),
    types.ACCURACY_DEGRADED: (
        {"model_name": "m", "metric": "mae", "first_day": "2020-01-01", "last_day": "2020-01-02", "values": [DAY]},
        ["degraded from 2020-01-01 to 2020-01-02", "2020-01-02  mae 2.346 (bound 2)", "/models/m/accuracy", "/model/demote"],
    ),
    types.SCHEDULE_MISSED: (
        MISSED | {"first_fire_time": "2020-01-01T00:00:00Z", "last_fire_time": "2020-01-08T00:00:00Z"},
        ["missed 2 firings", "nobody was there", "From 2020-01-01T00:00:00Z", "/schedules/weekly/trigger"],
    ),
    types.WEBHOOK_DISABLED: ({"webhook_id": "w1", "reason": "410 Gone"}, ["w1 was disabled", "410 Gone", "PATCH", '{"enabled": true}']),
    types.DATA_APPENDED: ({"dataset": "site", "rows": 3}, ["data.appended", '"rows": 3']),
}


def event(type: str, data: dict[str, Any], sequence: int = 7) -> SequencedEvent:
    return SequencedEvent(type=type, timestamp=datetime(2020, 1, 1, tzinfo=UTC), data=data, sequence=sequence)


@pytest.mark.parametrize("type", TOLD)
def test_text__tells_what_why_the_numbers_and_the_call(type: str) -> None:
    data, words = TOLD[type]
    subject, text = texts.message([event(type, data)], base_url=BASE)
    assert "\n" not in subject
    for word in (*words, f"{type}, event 7 of 2020-01-01T00:00:00Z"):
        assert word in text, text
    for line in text.splitlines():
        if "curl" in line:
            call = shlex.split(line)
            assert call[3].startswith(BASE)
            assert "-d" not in call or json.loads(call[-1])


def test_text__of_each_usual_event_is_looked_at_here() -> None:
    assert set(USUAL) <= set(TOLD)


def test_text__names_of_users_cannot_break_the_call_or_the_subject() -> None:
    name = "it's; rm -rf $(HOME)\nBcc: all@example.org"
    subject, text = texts.message([event(types.MODEL_REJECTED, MODEL | {"model_name": name, "validation": {"checks": []}})], base_url=BASE)
    assert "\n" not in subject
    call = shlex.split(text[text.index("curl") : text.rindex("model.rejected,")])
    assert json.loads(call[-1])["model_name"] == name
