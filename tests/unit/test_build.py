"""Components are found by entry point, built by type name, and wrong options are named. Real installed metadata, no list of names."""

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest

from mlsys import errors
from mlsys.pipelines import build, definition
from mlsys.pipelines.base import BlobStore, DataSource, Destination, Ports, Reporter
from mlsys.pipelines.files import DataRoots

PLUGIN = """
from collections.abc import Mapping, Sequence
from typing import Literal
import pandas as pd
from mlsys import errors
from mlsys.pipelines.base import DataSource, Model

class Given(DataSource):
    def __init__(self, *, url: str, retries: int = 3, wait: float = 1.0, cached: bool = False, headers: Mapping[str, str] | None = None,
                 parts: Sequence[int] = (), mode: Literal["fast", "slow"] = "fast") -> None:
        if url == "value": raise ValueError("no such address")
        if url == "field": raise errors.Invalid({"url": "It is empty.", "file_path": "Not there."})
        self.options = dict(url=url, retries=retries, wait=wait, cached=cached, headers=headers, parts=parts, mode=mode)
    def get_dataframe(self): return pd.DataFrame()

class Loose(DataSource):
    def __init__(self, threads=1, **rest): self.options = {"threads": threads, **rest}
    def get_dataframe(self): return pd.DataFrame()

class Plain(Model):
    def __init__(self, *, params: Mapping[str, float] | None = None) -> None: pass
    def fit(self, features, target, *, reporter, threads=1): pass
    def load(self, data): pass

class Unfinished(DataSource): pass
class Stranger: pass
"""
ENTRIES = """
[mlsys.components]
source.given = plugin_of_test:Given
loose = plugin_of_test:Loose
source.unfinished = plugin_of_test:Unfinished
source.stranger = plugin_of_test:Stranger
model.plain = plugin_of_test:Plain
source.broken = plugin_that_breaks:Source
source.gone = plugin_of_test:Gone
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Lay down a package as pip would: modules, and a .dist-info that declares entry points."""

    def lay(name: str, entries: str, **modules: str) -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(entries))
        for module, text in modules.items():
            (tmp_path / f"{module}.py").write_text(text)
        build.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    yield lay
    for module in ("plugin_of_test", "plugin_that_breaks"):
        sys.modules.pop(module, None)
    build.cache_clear()


@pytest.fixture
def plugin(install: Callable[..., None]) -> None:
    install("wave-plugin", ENTRIES, plugin_of_test=PLUGIN, plugin_that_breaks="import package_that_is_not_there\n")


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    nothing: Any = None
    return Ports(blobs=cast(BlobStore, nothing), files=DataRoots([tmp_path]), outputs=tmp_path, reporter=cast(Reporter, nothing))


def fields(spec: Any, ports: Ports) -> Mapping[str, Sequence[str]]:
    with pytest.raises(errors.Invalid) as refused:
        build.build(DataSource, spec, ports=ports, field="models.m.source")
    return refused.value.fields


@pytest.mark.usefixtures("plugin")
def test_build__passes_options_and_takes_defaults(ports: Ports) -> None:
    built: Any = build.build(DataSource, {"type": "given", "url": "x", "wait": 2, "parts": [1, 2]}, ports=ports, field="source")
    assert built.options == {"url": "x", "retries": 3, "wait": 2, "cached": False, "headers": None, "parts": [1, 2], "mode": "fast"}


@pytest.mark.usefixtures("plugin")
def test_definition__a_model_that_forecasts_no_quantiles_says_so() -> None:
    usual = {"source": {"type": "parquet", "path": "x.pq"}, "timestamp": "time", "target": "power"}
    assert definition.normalise({**usual, "model": {"type": "plain"}})["model"] == {"type": "plain", "params": {}, "quantiles": []}
    with pytest.raises(errors.Invalid) as refused:
        definition.normalise({**usual, "model": {"type": "plain", "quantiles": [0.1, 0.9]}})
    assert refused.value.fields == {
        "model.quantiles": ["The model 'plain' forecasts no quantiles: leave the list empty ([]), or take another model."]
    }


@pytest.mark.usefixtures("plugin")
def test_build__finds_plain_names_by_their_class(ports: Ports) -> None:
    built: Any = build.build(DataSource, {"type": "loose", "threads": 4, "more": 1}, ports=ports, field="source")
    assert built.options == {"threads": 4, "more": 1}
    with pytest.raises(errors.Invalid, match="There is no destination 'loose'"):
        build.build(Destination, {"type": "loose"}, ports=ports, field="destination")


@pytest.mark.usefixtures("plugin")
def test_build__names_unknown_type_with_the_nearest(ports: Ports) -> None:
    (text,) = fields({"type": "givn"}, ports)["models.m.source.type"]
    assert "There is no source 'givn'; did you mean 'given'? known: " in text
    assert "loose" in text


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("spec", [{}, {"type": None}, {"type": 3}, "given", None, ["given"]])
def test_build__asks_for_a_type(ports: Ports, spec: object) -> None:
    (text,) = fields(spec, ports)["models.m.source.type"]
    assert "{type: NAME}" in text
    assert "given" in text


@pytest.mark.usefixtures("plugin")
def test_build__names_every_wrong_option_at_once(ports: Ports) -> None:
    spec = {
        "type": "given",
        "retires": 1,
        "wait": "long",
        "cached": "yes",
        "headers": [],
        "parts": [1, "b"],
        "mode": "warp",
        "retries": True,
    }
    found = {name.removeprefix("models.m.source."): texts[0] for name, texts in fields(spec, ports).items()}
    assert "did you mean 'retries'" in found.pop("retires")
    assert found == {
        "url": "This option is needed.",
        "wait": "This must be a number.",
        "cached": "This must be true or false.",
        "headers": "This must be a mapping or null.",
        "parts": "This must be a list (each item a whole number).",
        "mode": "This must be one of fast, slow.",
        "retries": "This must be a whole number.",
    }


@pytest.mark.usefixtures("plugin")
def test_build__wraps_what_a_component_says_of_its_options(ports: Ports) -> None:
    assert fields({"type": "given", "url": "field"}, ports) == {"models.m.source.url": ["It is empty."], "file_path": ["Not there."]}
    assert "no such address" in fields({"type": "given", "url": "value"}, ports)["models.m.source"][0]


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", r"package 'wave-plugin' cannot be imported.*No module named 'package_that_is_not_there'"),
        ("gone", r"package 'wave-plugin' cannot be imported.*Gone"),
        ("stranger", "package 'wave-plugin' declares 'stranger' as a source, but it is no subclass of DataSource"),
        ("unfinished", "'unfinished' cannot be built: it does not define get_dataframe"),
    ],
)
def test_build__names_the_package_of_a_broken_plugin(ports: Ports, name: str, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        build.build(DataSource, {"type": name}, ports=ports, field="source")


def test_build__refuses_two_packages_that_claim_one_name(install: Callable[..., None], ports: Ports) -> None:
    install("first", "[mlsys.components]\nsource.same = plugin_of_test:Given\n", plugin_of_test=PLUGIN)
    install("second", "[mlsys.components]\nsource.same = plugin_of_test:Loose\n")
    with pytest.raises(
        errors.ConfigError, match=r"'(first|second)' and the package '(first|second)' both declare the component 'source.same'"
    ):
        build.build(DataSource, {"type": "same"}, ports=ports, field="source")


def test_available__is_scanned_once_until_cleared(install: Callable[..., None]) -> None:
    before = build.available(DataSource)
    install("late", "[mlsys.components]\nsource.late = plugin_of_test:Given\n", plugin_of_test=PLUGIN)
    assert build.available(DataSource) == sorted([*before, "late"])


def test_available__leaves_out_plain_plugins_that_cannot_be_imported(install: Callable[..., None]) -> None:
    install("bad", "[mlsys.components]\nbroken = plugin_that_breaks:Source\n", plugin_that_breaks="1 / 0\n")
    assert "broken" not in build.available(DataSource)


def test_option_parameters__leaves_out_what_create_takes_from_the_ports() -> None:
    from mlsys.pipelines.destinations.sql_table import SqlTableDestination
    from mlsys.pipelines.sources.csv import CsvSource

    assert set(build.option_parameters(CsvSource)) == {"path", "delimiter", "decimal", "timestamp_format", "nulls"}
    assert set(build.option_parameters(SqlTableDestination)) == {"connection", "table"}


def test_option_parameters__takes_a_port_name_for_an_option_where_create_is_not_overridden() -> None:
    class Own(DataSource):
        def __init__(self, *, threads: int) -> None:
            self.threads = threads

        def get_dataframe(self) -> pd.DataFrame:
            return pd.DataFrame()

    assert list(build.option_parameters(Own)) == ["threads"]
