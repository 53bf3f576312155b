"""The dashboard and the alert rules in deploy/ ask for what /metrics tells, and the page explains all of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import front
import hooking
import pytest
import yaml
from front import World
from prometheus_client.parser import text_string_to_metric_families
from receivers import receiving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "monitoring.md").read_text()
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "mlsys.json").read_text())
OURS = {"job", "instance", "le"}
"""Labels that Prometheus adds, and that of the buckets."""


@pytest.fixture(scope="module")
def world(embedded_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url, settings = embedded_server.clone(), hooking.ALLOWED | {"events.sinks.local": {"type": "postgres_notify"}}
    bands = front.definition(model={"type": "lightgbm", "params": front.QUICK, "quantiles": [0.1, 0.5, 0.9]})
    with front.started(tmp_path_factory.mktemp("watched"), url, {"quick": bands}, **settings) as found:
        yield found
    embedded_server.drop(url)


@pytest.fixture(scope="module")
def told(world: World) -> dict[str, set[str]]:
    """Every series there can be, and its labels: after some of everything has happened. ``up`` is Prometheus' own."""
    front.train(world.client)
    front.predict(world.client)
    with receiving() as receiver:
        hooking.subscribe(world.client, receiver.url, "data.*")
        hooking.emit(hooking.units_of(world.system))
        hooking.until(lambda: receiver.got)
    world.system.watch._latest.renew(every_seconds=0)
    found: dict[str, set[str]] = {"up": set()}
    for family in text_string_to_metric_families(world.client.get("/metrics").text):
        found.setdefault(family.name + ("_total" if family.type == "counter" else ""), set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def asked(expression: str) -> dict[str, set[str]]:
    """The series of an expression, each with the labels that it is chosen by."""
    plain = re.sub(r'"(\\.|[^"\\])*"', '""', expression)
    names = re.findall(r"\b((?:mlsys|process|python)_\w+|up)\b(?:\{([^}]*)\})?", re.sub(r"\bby \([^)]*\)", "", plain))
    return {name: set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)", inside)) for name, inside in names}


def test_asked__reads_expressions() -> None:
    found = asked('sum by (job, route) (rate(mlsys_a_total{job="$job",route!~"/x{id}.*"}[5m])) / max(up) > 0')
    assert found == {"mlsys_a_total": {"job", "route"}, "up": set()}


def test_expressions__ask_for_series_that_there_are(told: dict[str, set[str]]) -> None:
    for where, expression in expressions():
        found = asked(expression)
        assert found, where
        for name, labels in found.items():
            assert name in told, f"{where}: there is no {name}"
            assert labels <= told[name] | OURS, f"{where}: {name} has no {labels - told[name] - OURS}"
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        assert grouped <= set.union(*(told[name] for name in found), OURS), where


def test_rules__say_what_is_wrong_and_the_page_what_to_do() -> None:
    for rule in RULES:
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert f"`{rule['alert']}`" in PAGE, rule["alert"]
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 10
    assert set(re.findall(r"`(Mlsys\w+)`", PAGE)) == {rule["alert"] for rule in RULES}


def test_page__explains_every_metric_and_no_other(told: dict[str, set[str]]) -> None:
    ours = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in told if name.startswith("mlsys_")}
    ours = {name for name in ours if f"{name}_total" not in ours}
    explained = {name for row in re.findall(r"^\| (`mlsys_.*?) \|", PAGE, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert explained == ours
    for row in re.findall(r"^\| `mlsys_.*", PAGE, re.M):
        first, labels = (set(re.findall(r"`(\w+)`", cell)) for cell in row.split(" | ")[:2])
        for name in first:
            assert (told.get(name) or told.get(f"{name}_count") or set()) == labels, name


def test_dashboard__has_panels_that_grafana_can_place() -> None:
    ids: list[int] = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place: Any = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
