"""Text that means something elsewhere: to SQL, to templates, to a log, to a browser."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import front

from security.inputs.fields import dataset, schedule, train
from security.table import Attack, get, post, rows
from security.target import Answer, Target

STATEMENT = '"; DROP TABLE runs; --'
MARKUP = "<img src=x onerror=alert(1)>\"'&{{7*7}}"
SCHEME = "javascript:alert(1)"


def finds(path: str, holds: Callable[[Any], bool]) -> Attack:
    """A question that is allowed; the outcome is what it finds."""

    def attack(target: Target) -> Answer | str:
        answer = target.ask("GET", target.filled(path))
        return answer if answer.status != 200 else "finds nothing" if holds(answer.json) else f"finds {answer.text[:200]}"

    return attack


def nothing(path: str) -> Attack:
    return finds(path, lambda found: found["items"] == [])


def told(attack: Attack, *texts: str) -> Attack:
    """Refused, and what the refusal repeats is the text as it was sent: nothing in it was worked out."""

    def and_looked_at(target: Target) -> Answer | str:
        answer = attack(target)
        assert not isinstance(answer, str)
        worked = [text for text in texts if text in answer.text]
        return f"the answer tells {worked}" if worked else answer

    return and_looked_at


def shown(*stored: Attack, pages: tuple[str, ...]) -> Attack:
    """Text that is stored; each page that people look at shows it as text or not at all."""

    def attack(target: Target) -> Answer | str:
        for one in stored:
            answer = one(target)
            if not isinstance(answer, str) and answer.status >= 300:
                return answer
        for path in pages:
            page = target.ask("GET", target.filled(path))
            if page.headers.get("content-type", "").startswith("text/html") and (MARKUP in page.text or f'"{SCHEME}' in page.text):
                return f"markup at {path}"
            if "script-src" not in _policy(page) and "default-src 'self'" not in _policy(page):
                return f"no policy at {path}"
            if "unsafe-inline" in _policy(page) or page.headers.get("x-content-type-options") != "nosniff":
                return f"a weak policy at {path}"
        return "shown as text"

    return attack


def _policy(answer: Answer) -> str:
    return answer.headers.get("content-security-policy", "")


INJECTION = quote("' OR '1'='1")
ROWS = [
    *rows(
        "SQL",
        ("quote in a filter", nothing(f"/runs?model_name={INJECTION}"), "finds nothing"),
        ("union in a filter", nothing("/runs?model_name=" + quote("x' UNION SELECT * FROM pg_user--")), "finds nothing"),
        ("second statement", nothing("/runs?schedule=" + quote("x'; DROP TABLE runs; --")), "finds nothing"),
        ("sleep", nothing("/runs?model_name=" + quote("x' || pg_sleep(20) || '")), "finds nothing"),
        ("dollar quotes", nothing("/runs?model_name=" + quote("$$; SELECT 1; $$")), "finds nothing"),
        ("placeholder of the driver", nothing("/runs?model_name=" + quote("%(x)s %s :x")), "finds nothing"),
        ("pattern of LIKE", nothing("/events?model_name=%25"), "finds nothing"),
        ("event type with a quote", get("/events?type=" + quote("run.*' OR '1'='1")), "422 type"),
        ("status with a quote", get("/runs?status=" + quote("queued' OR '1'='1")), "422 status"),
        ("kind with a comment", get("/runs?kind=train/**/"), "422 kind"),
        ("name in the address", get("/models/" + quote("quick' OR '1'='1", safe="")), "404"),
        ("name of a data set in the address", get("/datasets/" + quote('site"; DROP TABLE runs; --', safe="")), "404"),
        ("order", get("/runs?order=1;select"), "422 order"),
        ("reason of a demotion", post("/model/demote", {"model_name": "x'; DELETE FROM promotions; --"}), "422 model_name"),
        ("data set", dataset(name="x'; DROP TABLE runs; --"), "422 name"),
        ("rows' window", get("/datasets/site/rows?start_date=" + quote("2020-01-01' OR 1=1")), "422 start_date"),
        ("view of DuckDB", get("/datasets/" + quote("read_csv('/etc/passwd')", safe="") + "/rows"), "404"),
        ("cursor of rows", get("/datasets/site/rows?cursor=" + quote("' OR 1=1")), "422 cursor"),
        ("revision of the schema", get("/migrate/?version=" + quote("000'; DROP TABLE runs")), "422 version"),
        ("revision that is a path", get("/migrate/?version=../../evil&direction=up"), "422 version"),
        ("revision of alembic's own", get("/migrate/?version=base&direction=down"), "422 version"),
    ),
    *rows(
        "templates",
        ("Jinja", told(train(model_name="{{12345*54321}}"), "670592745"), "422 model_name"),
        ("Jinja, through Python", told(train(model_name="{{config.__class__.__init__.__globals__}}"), "<module"), "422 model_name"),
        ("statement of Jinja", told(train(model_name="{% include '/etc/passwd' %}"), "root:"), "422 model_name"),
        ("format of Python", told(train(model_name="{0.__class__.__mro__}"), "<class"), "422 model_name"),
        ("percent format", told(train(model_name="%s %(x)s %n %x"), "<"), "422 model_name"),
        ("expression language", told(train(model_name="${12345*54321} #{12345*54321}"), "670592745"), "422 model_name"),
        ("look-up of a logger", told(train(model_name="${jndi:ldap://127.0.0.1:1/a}"), "<"), "422 model_name"),
        ("tag of YAML", told(train(model_name="!!python/object/apply:os.system ['id']"), "uid="), "422 model_name"),
    ),
    *rows(
        "log injection",
        ("line break in a name", train(model_name="x\nFORGED line"), "422 model_name"),
        ("carriage return in a name", train(model_name="x\r\nFORGED line"), "422 model_name"),
        ("escape codes in a name", train(model_name="\x1b[2J\x1b]0;owned\x07"), "422 model_name"),
        ("line separator of Unicode", train(model_name="x\u2028FORGED \u0085FORGED"), "422 model_name"),
        ("line break in an address", get("/runs/x%0d%0aFORGED%20line"), "404"),
        ("escape codes in an address", get("/runs/%1b[31mred"), "404"),
        ("line break in a query", get("/runs?model_name=x%0aFORGED&kind=none"), "422 kind"),
        ("escape codes in a method", lambda target: target.send("GET\x1b[2J", "/runs"), "400"),
        ("answer split by a header", get("/runs?cursor=x%0d%0aSet-Cookie:%20a=b"), "422 cursor"),
        ("name of who calls", lambda t: t.send("GET", "/nothing", headers={"User-Agent": "mlsys-cli/\x1b[2J"}), "400"),
    ),
    *rows(
        "markup",
        ("in an address that is not", get("/" + quote(MARKUP, safe="")), "404"),
        ("in the name of a model", train(model_name=MARKUP), "422 model_name"),
        ("in the name of a schedule", schedule(name=MARKUP), "422 name"),
        ("in the name of a data set", dataset(name=MARKUP), "422 name"),
        ("in a field's own name", train(**{MARKUP: 1}), f"422 {MARKUP}"),
    ),
    *rows(
        "markup",
        (
            "in the reason of a promotion",
            shown(
                post("/model/promote", {"model_name": "quick", "model_version_id": "$FIRST", "reason": MARKUP}),
                pages=("/", "/models/quick/promotions"),
            ),
            "shown as text",
        ),
        (
            "in the reason of a demotion",
            shown(post("/model/demote", {"model_name": "quick", "reason": MARKUP}), pages=("/",)),
            "shown as text",
        ),
        (
            "in the description of a webhook",
            shown(
                post("/webhooks", {"url": "http://127.0.0.1:1/", "events": ["webhook.*"], "enabled": False, "description": MARKUP}),
                pages=("/", "/webhooks"),
            ),
            "shown as text",
        ),
        (
            "in the columns of a data set",
            shown(dataset(name="markup", timestamp=MARKUP, columns={MARKUP + "2": "text"}), pages=("/", "/datasets", "/datasets/markup")),
            "shown as text",
        ),
        (
            "SQL in the columns of a data set",
            shown(
                dataset(name="quoted", timestamp="t" + STATEMENT, series_key=["k" + STATEMENT], columns={"v" + STATEMENT: "number"}),
                post("/datasets/quoted/rows", [{"t" + STATEMENT: "2020-01-01T00:00:00Z", "k" + STATEMENT: "' OR 1=1", "v" + STATEMENT: 1}]),
                pages=("/datasets/quoted/rows?start_date=2020-01-01", "/datasets/quoted/rows?limit=1"),
            ),
            "shown as text",
        ),
        (
            "in rows of a data set",
            shown(
                post("/datasets/site/rows", [{"time": "2020-01-01T00:00:00Z", "power": 1, "note": MARKUP}]), pages=("/datasets/site/rows",)
            ),
            "shown as text",
        ),
        (
            "in the error of a run",
            shown(
                post(
                    "/job/train",
                    front.TRAIN | {"file_path": "hourly.parquet", "start_date": "1999-01-01", "end_date": "1999-02-01"},
                    Prefer="wait=30",
                ),
                pages=("/", "/docs", "/runs"),
            ),
            "shown as text",
        ),
        may_change=None,
    ),
]
