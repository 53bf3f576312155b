"""The overview at /, the page of the API at /docs, and their static files: what they show, and that nothing of a user's becomes markup."""

import hashlib
import re
import shutil
from pathlib import Path

import front
import pytest
from flask.testing import FlaskClient

from mlsys.application import make_app
from mlsys.pipelines import definition
from mlsys.web import pages

STATIC = Path(pages.__file__).parent / "static"
HOSTILE = "<script>alert('x')</script>\"&"
ADDRESS = re.compile(r"""(?:src|href|data-url)=["']?([^"'\s>]+)""")


@pytest.fixture
def browser(world: front.World) -> FlaskClient:
    return make_app(world.system.services).test_client()


def test_overview__with_no_model_says_what_to_do(database_url: str, tmp_path: Path) -> None:
    with front.started(tmp_path, database_url, {}) as world:
        answer = make_app(world.system.services).test_client().get("/")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert "No models yet" in answer.text
    assert "mlsys demo" in answer.text
    assert "Nothing has run yet." in answer.text


def test_overview__an_untrained_model_comes_with_the_command_that_trains_it(browser: FlaskClient) -> None:
    assert "mlsys train idle --start" in browser.get("/").text


def test_overview__shows_production_its_metrics_the_gate_and_the_forecast(browser: FlaskClient, world: front.World) -> None:
    trained = front.train(world.client)
    predicted = front.predict(world.client)
    page = browser.get("/").text
    version = world.client.get("/models/quick/production").json
    assert version is not None
    assert f"/models/quick/versions/{version['model_version_id']}" in page
    assert f">{pages.number(version['metrics']['mae'])}<" in page
    assert all(check["name"].replace("_", " ") in page for check in version["validation"]["checks"])
    assert f'href="/runs/{trained["id"]}"' in page
    assert f'href="/runs/{predicted["id"]}"' in page
    points = re.search(r'<polyline points="([^"]+)"', page)
    assert points is not None
    assert len(points[1].split()) == predicted["result"]["output"]["rows"] == 48
    assert len(page) < 200_000


def test_overview__says_when_the_file_of_a_forecast_is_gone_or_damaged(browser: FlaskClient, world: front.World) -> None:
    front.train(world.client)
    run = front.predict(world.client)
    file = world.home / "predictions" / "quick" / f"{run['id']}.parquet"
    file.write_bytes(file.read_bytes()[:100])
    assert "cannot be read as parquet" in browser.get("/").text
    shutil.rmtree(file.parent)
    page = browser.get("/").text
    assert "The file of this forecast is gone." in page
    assert "<polyline" not in page


def test_overview__a_failed_run_says_why(browser: FlaskClient, world: front.World) -> None:
    run = front.train(world.client, start_date="1999-01-01", end_date="1999-03-01")
    assert run["status"] == "failed"
    assert run["error"]["message"][:100] in browser.get("/").text


def test_overview__text_of_users_is_never_markup(browser: FlaskClient, world: front.World) -> None:
    with world.system.services.units() as unit:
        unit.models.define(HOSTILE, definition.normalise(front.definition(target=HOSTILE)))
        unit.runs.add(kind="train", model_name=HOSTILE, trigger={"type": "api"}, spec={})
        unit.commit()
    one, other = (front.train(world.client, promote="never")["result"]["model_version_id"] for _ in range(2))
    for version in (one, other):
        body = {"model_name": "quick", "model_version_id": version, "reason": HOSTILE}
        assert world.client.post("/model/promote", json=body).status_code == 200
    page = browser.get("/").text
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&amp;") >= 4  # heading, command, run, reason


def test_overview__loads_nothing_from_elsewhere_and_runs_no_script(browser: FlaskClient) -> None:
    answer = browser.get("/")
    assert all(address.startswith("/") for address in ADDRESS.findall(answer.text))
    assert not re.search(r"<script|\sstyle=|\son\w+=|javascript:", answer.text)


def test_docs__refers_to_nothing_outside_and_needs_no_inline_script(browser: FlaskClient) -> None:
    answer = browser.get("/docs")
    addresses = ADDRESS.findall(answer.text)
    assert {"/openapi.json", "/static/swagger-ui-bundle.js", "/static/docs.js"} <= set(addresses)
    assert all(address.startswith("/") and browser.get(address, buffered=True).status_code == 200 for address in addresses)
    assert not re.search(r"<script(?![^>]* src=)|\sstyle=|\son\w+=", answer.text)
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("swagger-ui-bundle.js", {"text/javascript", "application/javascript"}),
        ("docs.js", {"text/javascript", "application/javascript"}),
        ("swagger-ui.css", {"text/css"}),
        ("mlsys.css", {"text/css"}),
        ("icon.svg", {"image/svg+xml"}),
    ],
)
def test_static__files_have_their_type_and_are_confirmed_without_being_sent_again(browser: FlaskClient, name: str, kinds: set[str]) -> None:
    answer = browser.get(f"/static/{name}", buffered=True)
    assert answer.mimetype in kinds
    assert answer.data == (STATIC / name).read_bytes()
    assert answer.headers["Cache-Control"] == "no-cache"
    again = browser.get(f"/static/{name}", headers={"If-None-Match": answer.headers["ETag"]}, buffered=True)
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("path", ["/static/../pages.py", "/static/%2e%2e/pages.py", "/static/%2Fetc/passwd", "/static/no.css"])
def test_static__nothing_else_is_served(browser: FlaskClient, path: str) -> None:
    answer = browser.get(path, follow_redirects=True)
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


def test_static__every_file_is_named_in_the_readme_and_vendored_ones_are_unchanged() -> None:
    listed = re.findall(r"^\| `([^`]+)` \|.*\| (?:`([0-9a-f]{64})`)? ?\|$", (STATIC / "README.md").read_text(), re.MULTILINE)
    assert {name for name, _ in listed} == {file.name for file in STATIC.iterdir()}
    vendored = {name: digest for name, digest in listed if digest}
    assert {name for name in vendored if name.startswith("swagger")} == {file.name for file in STATIC.glob("swagger*")}
    assert {name: hashlib.sha256((STATIC / name).read_bytes()).hexdigest() for name in vendored} == vendored
