"""A server that knows many secrets, and meets much that goes wrong: none of them is seen afterwards, in whatever it wrote or answered."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import front
import pytest
import serving
import sqlalchemy as sa
from cryptography.fernet import Fernet
from proxy import Proxy
from serving import HTTP, Served

EVIL = "evil\n2026-01-01T00:00:00.000Z info    mlsys: forged \x1b[31m"
KEY = Fernet.generate_key().decode()
SECRETS = {
    "database": "dbPassw0rd-XyZ",
    "key": KEY,
    "connection": "plantPassw0rd-XyZ",
    "redis": "redisPassw0rd-XyZ",
    "mail": "mailPassw0rd-XyZ",
    "chat": "T00000-chatsecret-XyZ",
    "hook": "B00000-hooksecret-XyZ",
    "query": "querysecret-XyZ",
    "forged": "mlsys_abcdef_ForgedSecretForgedSecret00",
}


@dataclass
class Place:
    """A server that has been through it. ``seen``: all that anybody could read, by where."""

    served: Served
    proxy: Proxy
    token: str
    seen: dict[str, str]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        given = {"Authorization": f"Bearer {self.token}"} | headers
        answer = HTTP.request(method, self.served.url + path, json=body, headers=given)
        self.seen[f"{method} {path} {len(self.seen)}"] = f"{dict(answer.headers)} {answer.data.decode()}"
        return answer


def settings(proxy: Proxy) -> dict[str, str]:
    """The configuration of all of them, by environment."""
    url = sa.make_url(proxy.url).set(password=SECRETS["database"]).render_as_string(hide_password=False)
    closed = serving.free_port()
    mail = f"{{type: email, host: 127.0.0.1, port: {closed}, security: tls, username: u, password: {SECRETS['mail']}, "
    return {
        "MLSYS_DATABASE__URL": url,
        "MLSYS_WEBHOOKS__SECRET_KEY": KEY,
        "MLSYS_WEBHOOKS__ALLOWED_HOSTS": "127.0.0.1",
        "MLSYS_WEBHOOKS__RETRY_SCHEDULE": "0",
        "MLSYS_DATA__CONNECTIONS__PLANT": f"postgresql+psycopg2://me:{SECRETS['connection']}@127.0.0.1:{closed}/none",
        "MLSYS_EVENTS__SINKS__BROKER": f"{{type: redis, url: 'redis://:{SECRETS['redis']}@127.0.0.1:{closed}/0'}}",
        "MLSYS_NOTIFICATIONS__TARGETS__MAIL": mail + "sender: a@example.org, recipients: [b@example.org], events: ['*']}",
        "MLSYS_NOTIFICATIONS__TARGETS__CHAT": f"{{type: slack, url: 'http://127.0.0.1:{closed}/{SECRETS['chat']}', events: ['*']}}",
        "MLSYS_LOGGING__FORMAT": "json",
        "MLSYS_LOGGING__LEVEL": "debug",
        "MLSYS_EXECUTION__RETRY_SECONDS": "0.1",
        "MLSYS_EXECUTION__ENGINE": "processes",
    }


@pytest.fixture(scope="module")
def place(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("secrets")
    front.hourly().to_parquet(folder / "hourly.parquet")
    models = {"quick": front.definition(), "plant": front.definition(source={"type": "sql", "connection": "plant", "table": "t"})}
    paths: Any = {"home": folder / "home", "config": front.configure(folder, models), "data": folder}
    with Proxy(embedded_server.clone()) as proxy:
        given = settings(proxy)
        seen: dict[str, str] = {}

        def command(*words: str, code: int = 0) -> str:
            found = serving.cli(*words, **paths, **given)
            seen[" ".join(words)] = found.stdout * (words[:2] != ("token", "create")) + found.stderr
            assert found.returncode == code, found.stdout + found.stderr
            return found.stdout

        token = json.loads(command("token", "create", "robot", "--scope", "admin", "--json"))["token"]
        given["MLSYS_TOKEN"] = token
        command("serve", "--help")
        command("check-config")
        command("check-config", "--json")
        with serving.serve(**paths, **given) as served:
            found = Place(served=served, proxy=proxy, token=token, seen=seen)
            live_through(found)
            command("train", "quick", "--start", "2030-01-01", "--end", "2030-02-01", code=1)
            proxy.cut()
            command("db", "current", code=1)
            for path in ("/runs", "/health/", "/metrics"):
                found.ask("GET", path)
            proxy.mend()
            serving.until(lambda: found.ask("GET", "/runs").status == 200, 60)
            seen["database"] = dump(embedded_server, proxy)
            served.terminate()
            seen["log"] = served.log.read_text()
            yield found


def live_through(place: Place) -> None:
    """What works, and what fails in every way that a user can bring about."""
    hook = place.ask("POST", "/webhooks", {"url": f"http://127.0.0.1:1/{SECRETS['hook']}", "events": ["*"], "description": EVIL}).json()
    SECRETS["webhook"] = hook["secret"]
    rotated = place.ask("POST", f"/webhooks/{hook['id']}/rotate").json()
    SECRETS["rotated"] = rotated["secret"]
    for shown in [where for where, text in place.seen.items() if hook["secret"] in text or rotated["secret"] in text]:
        assert shown.startswith(("POST /webhooks ", f"POST /webhooks/{hook['id']}/rotate ")), "shown this once"
        del place.seen[shown]
    place.ask("POST", f"/webhooks/{hook['id']}/test")
    place.ask("GET", f"/webhooks/{hook['id']}/deliveries")
    assert place.ask("GET", "/runs", Authorization=f"Bearer {SECRETS['forged']}").status == 401
    place.ask("GET", f"/runs?token={SECRETS['query']}&password={SECRETS['query']}")
    assert place.ask("GET", "/no%0asuch%1b%5b31m/path", **{"X-Request-ID": EVIL.replace("\n", "").replace("\x1b", "")}).status == 404
    assert place.ask("GET", "/runs", **{"User-Agent": "evil\x1b[31m"}).status == 400, "no HTTP at all"
    place.ask("POST", "/job/train", {"model_name": EVIL, "start_date": "2020-01-01", "end_date": "2020-02-01"})
    for model, status in (("quick", "succeeded"), ("plant", "failed")):
        run = place.ask("POST", "/job/train", front.TRAIN | {"model_name": model}, Prefer="wait=60").json()
        assert run["status"] == status, run
        for part in ("", "/logs", "/history"):
            place.ask("GET", f"/runs/{run['id']}{part}")
    version = place.ask("GET", "/models/quick/versions").json()["items"][0]["model_version_id"]
    place.ask("POST", "/model/promote", {"model_name": "quick", "model_version_id": version, "reason": EVIL})
    serving.until(lambda: "webhook.disabled" in place.ask("GET", "/events?limit=200").data.decode(), 60)
    for path in ("/openapi.json", "/health/", "/metrics", "/models/quick", "/", "/docs", "/schedules", "/datasets"):
        assert place.ask("GET", path).status == 200, path
    serving.until(lambda: min(sink["failures"] for sink in place.ask("GET", "/health/").json()["checks"]["events"]["sinks"].values()), 60)


def dump(server: Any, proxy: Proxy) -> str:
    """Every row of every table, but for the addresses of webhooks, which are needed to call them."""
    name = sa.make_url(proxy.url).database
    engine = sa.create_engine(server.url.set(database=name), poolclass=sa.NullPool)
    with engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
        rows = {table: list(connection.execute(sa.text(f'SELECT CAST(t AS text) FROM "{table}" t')).scalars()) for table in tables}
    rows["webhooks"] = [row.replace(SECRETS["hook"], "") for row in rows["webhooks"]]
    assert rows["runs"]
    return json.dumps(rows)


def lines(place: Place) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in place.seen["log"].splitlines()]


def test_secrets__are_nowhere_to_be_seen(place: Place) -> None:
    for name, secret in (SECRETS | {"token": place.token}).items():
        allowed = r"(GET|POST) /webhooks" if name == "hook" else r"(GET|POST) /no"  # the owner is shown the address
        for where, text in place.seen.items():
            if secret in text and not re.match(allowed, where):
                at = text.index(secret)
                raise AssertionError(f"{name} is seen in {where}: {text[max(0, at - 200) : at + 80]}")


def test_log__is_json_line_by_line_and_none_is_forged(place: Place) -> None:
    assert all(text.isascii() and text.isprintable() for text in place.seen["log"].splitlines())
    for line in lines(place):
        assert {"at", "level", "logger", "message"} <= line.keys(), line
        assert not line["message"].startswith("2026-01-01T00:00:00.000Z"), line
    said = [line["message"] for line in lines(place)]
    assert any("ended after" in message for message in said)
    assert any("failed" in message and "sink" in message for message in said), "what failed has been told"


def test_log__has_a_line_for_each_request_and_leads_from_there_to_the_run(place: Place) -> None:
    found = lines(place)
    access = [line for line in found if line["logger"] == "mlsys.api.requestlog"]
    trained = next(line for line in access if line.get("route") == "/job/train" and line["status"] == 200)
    assert trained["client"] == "127.0.0.1"
    assert trained["actor"].startswith("robot (")
    assert trained["duration_ms"] > 0
    (queued,) = (line for line in found if line.get("request_id") == trained["request_id"] and "is queued" in line["message"])
    id = queued["message"].split()[1]
    of_run = [line for line in found if line.get("run_id") == id]
    assert {line["action"] for line in of_run} == {"train"}
    assert any(line["logger"] == "mlsys.execution.reporter" for line in of_run)
    refused = next(line for line in access if line["status"] == 404 and line["route"] == "(none)")
    assert (refused["level"], refused["path"]) == ("info", "/no\nsuch\x1b[31m/path")
    assert {line["level"] for line in access if line["method"] == "GET" and line["status"] == 200} == {"debug"}
    assert any(line.get("webhook_id") and line["action"] == "deliver" for line in found)


def test_terminal__shows_what_others_wrote_as_text(place: Place, tmp_path: Path) -> None:
    from mlsys.cli import tables

    assert tables.shown(EVIL) == EVIL.replace("\n", "\\n").replace("\x1b", "\\x1b")
