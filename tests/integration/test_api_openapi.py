"""/openapi.json agrees with what is answered."""

import re
from collections.abc import Mapping
from typing import Any

import front
import hooking
import pytest
import registries
from front import World

PAST = {"start_date": "2020-03-01", "end_date": "2020-03-02", "step": "P1D"}
SCHEDULE = {"kind": "train", "model_name": "quick", "cron": "@daily", "window": {"start": "-P30D", "end": "PT0S"}}
HOOK: Any = {"url": "http://127.0.0.1:1/", "events": ["data.*"]}
METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}


@pytest.fixture(scope="module")
def document(world: World) -> Any:
    answer = world.client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    return answer.json


def operations(document: Any) -> list[tuple[str, str, Any]]:
    return [
        (path, method, operation) for path, item in document["paths"].items() for method, operation in item.items() if method in METHODS
    ]


def references(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for inner in value.values() for found in references(inner)]
    return [found for inner in value for found in references(inner)] if isinstance(value, list) else []


def resolved(document: Any, value: Any) -> Any:
    while "$ref" in value:
        found = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def test_document__is_openapi_3_1_by_its_own_specification(document: Any) -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="openapi-spec-validator is not installed (extra: test)")
    validator.validate(document)


def test_document__has_the_parts_that_every_document_must_have(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "mlsys"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", document["info"]["version"])
    for reference in references(document):
        assert resolved(document, {"$ref": reference}) is not None
    for path, method, operation in operations(document):
        assert path.startswith("/"), path
        assert operation["responses"], (path, method)
        assert all(re.fullmatch(r"[1-5]\d\d|default", status) for status in operation["responses"])
        declared = {
            p["name"] for p in (*operation.get("parameters", ()), *document["paths"][path].get("parameters", ())) if p["in"] == "path"
        }
        assert declared == set(re.findall(r"{(\w+)}", path)), path
        assert "nullable" not in str(operation)
    assert "nullable" not in str(document["components"]), "3.1 says null in the type"


def test_document__names_every_route_and_no_other(world: World, document: Any) -> None:
    app = world.client.application
    served = set()
    for rule in app.url_map.iter_rules():
        view = getattr(app.view_functions[rule.endpoint], "view_class", None)
        if view is not None:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            served |= {(path, method.lower()) for method in view.methods}
    assert {(path, method) for path, method, _ in operations(document)} == served
    assert {"/job/train", "/job/predict", "/model/promote", "/model/demote", "/health/", "/migrate/", "/runs/{id}"} <= set(
        document["paths"]
    )


def test_document__says_that_errors_are_problems(document: Any) -> None:
    for path, method, operation in operations(document):
        default = resolved(document, operation["responses"]["default"])
        assert list(default["content"]) == ["application/problem+json"], (path, method)
        schema = resolved(document, default["content"]["application/problem+json"]["schema"])
        assert set(schema["properties"]) == {"type", "title", "status", "detail", "request_id", "errors"}


def fits(document: Any, schema: Any, value: Any, at: str = "") -> list[str]:
    """Where a value departs from a schema: keys that one of the two lacks, and types."""
    schema = resolved(document, schema)
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if any(fits(document, option, value) == [] for option in schema.get("anyOf", schema.get("oneOf", []))):
        return []
    if types and not any(_is(value, name) for name in types):
        return [f"{at}: {value!r} is no {types}"]
    if isinstance(value, dict) and "properties" in schema:
        odd = [f"{at}.{name}" for name in value.keys() ^ schema["properties"].keys()]
        return odd + [
            f
            for name in value.keys() & schema["properties"].keys()
            for f in fits(document, schema["properties"][name], value[name], f"{at}.{name}")
        ]
    if isinstance(value, list) and "items" in schema:
        return [found for inner in value for found in fits(document, schema["items"], inner, f"{at}[]")]
    return []


def _is(value: Any, name: str) -> bool:
    kinds: dict[str, tuple[type, ...]] = {"object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float)}
    return value is None if name == "null" else isinstance(value, bool) if name == "boolean" else isinstance(value, kinds[name])


def test_answers__have_the_shape_that_the_document_says(world: World, document: Any) -> None:
    run = front.train(world.client)
    version = run["result"]["model_version_id"]
    other = front.train(world.client, promote="never", end_date="2020-03-10")["result"]["model_version_id"]
    promote = {"model_name": "quick", "model_version_id": other}
    hook = hooking.subscribe(world.client, HOOK["url"])["id"]
    hooking.emit(world.system.services.units)
    delivery = hooking.until(lambda: [d for d in hooking.deliveries(world.client, hook) if d["attempts"]])[0]["id"]
    calls: list[tuple[str, str, str, Any]] = [
        ("post", "/job/train", "/job/train", front.TRAIN),
        ("post", "/job/predict", "/job/predict", front.PREDICT),
        ("get", "/runs", "/runs", None),
        ("get", "/runs/{id}", f"/runs/{run['id']}", None),
        ("get", "/runs/{id}/logs", f"/runs/{run['id']}/logs", None),
        ("get", "/runs/{id}/history", f"/runs/{run['id']}/history", None),
        ("post", "/runs/{id}/retry", f"/runs/{run['id']}/retry", {"promote": "never"}),
        ("post", "/runs/{id}/replay", f"/runs/{run['id']}/replay", None),
        ("post", "/runs/{id}/cancel", f"/runs/{registries.delayed(world.system.services.units)}/cancel", None),
        ("get", "/models", "/models", None),
        ("get", "/models/{name}", "/models/quick", None),
        ("get", "/models/{name}/versions", "/models/quick/versions", None),
        ("get", "/models/{name}/versions/{model_version_id}", f"/models/quick/versions/{version}", None),
        (
            "get",
            "/models/{name}/versions/{model_version_id}/explanation",
            f"/models/quick/versions/{version}/explanation?timestamp=2020-03-10T10:00:00Z",
            None,
        ),
        ("get", "/models/{name}/production", "/models/quick/production", None),
        ("get", "/models/{name}/predictions", "/models/quick/predictions", None),
        ("post", "/models/{name}/backfill", "/models/dated/backfill", {**PAST, "dry_run": True}),
        ("post", "/models/{name}/backfill", "/models/dated/backfill", PAST),
        ("get", "/models/{name}/accuracy", "/models/quick/accuracy", None),
        ("post", "/models/{name}/backtest", "/models/quick/backtest", PAST),
        ("get", "/models/{name}/promotions", "/models/quick/promotions", None),
        ("post", "/model/promote", "/model/promote", promote),
        ("get", "/model/demote", "/model/demote?model_name=quick", None),
        ("post", "/model/promote", "/model/promote", promote),
        ("post", "/model/demote", "/model/demote", {"model_name": "quick"}),
        ("get", "/health/", "/health/", None),
        ("get", "/migrate/", "/migrate/", None),
        ("get", "/metrics", "/metrics", None),
        ("post", "/datasets", "/datasets", {"name": "documented", "timestamp": "time"}),
        ("post", "/datasets/{name}/rows", "/datasets/documented/rows", [{"time": "2020-01-01T00:00:00Z", "power": 1.5}]),
        ("get", "/datasets/{name}/rows", "/datasets/documented/rows", None),
        ("get", "/datasets/{name}", "/datasets/documented", None),
        ("get", "/datasets", "/datasets", None),
        ("get", "/events", "/events?limit=3", None),
        ("get", "/events/stream", "/events/stream?after_sequence=never", None),  # a stream that is granted has no end
        ("post", "/schedules", "/schedules", {"name": "documented", **SCHEDULE}),
        ("get", "/schedules", "/schedules", None),
        ("get", "/schedules/{name}", "/schedules/documented", None),
        ("post", "/schedules/{name}/pause", "/schedules/documented/pause", None),
        ("post", "/schedules/{name}/resume", "/schedules/documented/resume", None),
        ("post", "/schedules/{name}/trigger", "/schedules/documented/trigger", None),
        ("put", "/schedules/{name}", "/schedules/documented", SCHEDULE),
        ("delete", "/schedules/{name}", "/schedules/documented", None),
        ("post", "/webhooks", "/webhooks", HOOK),
        ("get", "/webhooks", "/webhooks", None),
        ("get", "/webhooks/{id}", f"/webhooks/{hook}", None),
        ("patch", "/webhooks/{id}", f"/webhooks/{hook}", {"description": "documented"}),
        ("get", "/webhooks/{id}/deliveries", f"/webhooks/{hook}/deliveries", None),
        ("post", "/webhooks/{id}/test", f"/webhooks/{hook}/test", None),
        ("post", "/webhooks/{id}/replay", f"/webhooks/{hook}/replay?after_sequence=0", None),
        ("post", "/deliveries/{id}/redeliver", f"/deliveries/{delivery}/redeliver", None),
        ("post", "/webhooks/{id}/rotate", f"/webhooks/{hook}/rotate", None),
        ("delete", "/webhooks/{id}", f"/webhooks/{hook}", None),
    ]
    for method, path, address, body in calls:
        answer = world.client.open(address, method=method, json=body)
        documented = (
            document["paths"][path][method]["responses"].get(str(answer.status_code))
            or document["paths"][path][method]["responses"]["default"]
        )
        if answer.status_code == 204:
            assert ("content" in documented, answer.data) == (False, b"")
            continue
        schema = resolved(document, documented)["content"][answer.mimetype]["schema"]
        assert fits(document, schema, answer.json if answer.is_json else answer.text) == [], path
    assert {(method, path) for method, path, _, _ in calls} == {(method, path) for path, method, _ in operations(document)}


def test_bodies__documented_as_required_are_required(document: Any) -> None:
    body = document["paths"]["/job/train"]["post"]["requestBody"]
    assert body["required"] is True
    schema = resolved(document, body["content"]["application/json"]["schema"])
    assert sorted(schema["required"]) == ["end_date", "model_name", "start_date"]
    assert schema["additionalProperties"] is False
    assert document["paths"]["/model/demote"]["post"]["requestBody"]["required"] is False
