"""The models, schedules and event sinks that config.yaml declares, held against the code before anything starts.

Reads no data, knows no registry.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlsys import errors
from mlsys.config import Config
from mlsys.events.sinks import EventSink, SinkPorts
from mlsys.pipelines import base, build, definition, options
from mlsys.pipelines.base import Ports, Query
from mlsys.publishing import building
from mlsys.publishing.notifications.base import Notification
from mlsys.records import Schedule
from mlsys.scheduling import declaring

if TYPE_CHECKING:
    import pyarrow as pa


def declared(config: Config) -> dict[str, dict[str, Any]]:
    """The normalised definitions of all configured models. Raises Invalid naming ``models.<name>.<key>``."""
    found: dict[str, dict[str, Any]] = {}
    wrong: dict[str, list[str]] = {}
    for name, raw in config.models.items():
        try:
            found[name] = definition.normalise(raw)
        except errors.Invalid as error:
            wrong |= {f"models.{name}.{key}": texts for key, texts in error.fields.items()}
    if wrong:
        raise errors.Invalid(wrong, "The configuration is not valid.")
    return found


def scheduled(config: Config, models: Mapping[str, dict[str, Any]]) -> dict[str, Schedule]:
    """All configured schedules, each of a configured model. Raises Invalid naming ``schedules.<name>.<key>``."""
    found: dict[str, Schedule] = {}
    wrong: dict[str, list[str]] = {}
    for name, raw in config.schedules.items():
        try:
            found[name] = declaring.read(name, raw)
            declaring.check_model(found[name], models.get(found[name].model_name))
        except errors.Invalid as error:
            wrong |= {f"schedules.{name}.{key}": texts for key, texts in error.fields.items()}
    if wrong:
        raise errors.Invalid(wrong, "The configuration is not valid.")
    return found


def check_parts(models: Mapping[str, dict[str, Any]], *, ports: Ports) -> dict[str, str]:
    """Builds the source and destination of every model, which takes the imports of a job, and reads no data.

    Raises Invalid for options that cannot work. Returns what only lacks its data file yet, which may still come: field -> text.
    """
    wrong: dict[str, list[str]] = {}
    lacking: dict[str, str] = {}
    for name, declaration in models.items():
        for part, kind in (("source", base.DataSource), ("destination", base.Destination)):
            try:
                build.build(kind, declaration[part], ports=ports, field=part)
            except errors.Invalid as error:
                lacking |= {f"models.{name}.{part}.path": " ".join(texts) for key, texts in error.fields.items() if key == "file_path"}
                wrong |= {f"models.{name}.{key}": texts for key, texts in error.fields.items() if key != "file_path"}
    if wrong:
        raise errors.Invalid(wrong, "The configuration is not valid.")
    return lacking


def check_columns(models: Mapping[str, dict[str, Any]], *, ports: Ports) -> dict[str, str]:
    """Holds the columns that each model names against those that its source has now; reads no rows but what a database needs to tell them.

    Raises Invalid for columns that are not there. Returns what could not be looked at: field -> text. Data sets are left to their jobs.
    """
    wrong: dict[str, list[str]] = {}
    unseen: dict[str, str] = {}
    for name, declaration in models.items():
        if declaration["source"]["type"] == "dataset":
            continue
        try:
            present = build.build(base.DataSource, declaration["source"], ports=ports, field="source").schema().names
        except errors.Invalid:  # check_parts() tells
            continue
        except errors.MlsysError as error:
            unseen[f"models.{name}.source"] = f"Its columns cannot be looked at: {error}"
            continue
        for key, column in _columns(declaration, ports):
            if column not in present:
                wrong[f"models.{name}.{key}"] = [f"The source has no column '{column}'; {options.nearest(column, present)}."]
    if wrong:
        raise errors.Invalid(wrong, "The configuration does not fit the data.")
    return unseen


def _columns(declaration: Mapping[str, Any], ports: Ports) -> Iterator[tuple[str, str]]:
    """Every column that a definition names, by the key that does."""
    for key in ("timestamp", "target", "created_at"):
        if declaration[key] is not None:
            yield key, declaration[key]
    for key in ("series_key", "exogenous"):
        yield from ((f"{key}.{number}", column) for number, column in enumerate(declaration[key] or ()))
    for name, feature in _features(declaration, ports).items():
        yield from ((f"features.{name}.{option}", column) for option, column in feature.columns().items())


def _features(declaration: Mapping[str, Any], ports: Ports) -> dict[str, base.Feature]:
    from mlsys.pipelines import featurise  # pandas

    return featurise.components(definition.features(declaration), ports)


class Silent:
    """A reporter for parts that are only built."""

    def progress(self, step: str, done: int, total: int) -> None: ...
    def log(self, message: str, *, level: str = "info") -> None: ...


class Unopened:
    """Stands for the data sets of a system that has not been started: a source of them is built, not read."""

    def schema(self, name: str) -> "pa.Schema":
        raise errors.Unavailable("Data sets can be read once the system has started.")

    def read(self, name: str, query: Query) -> "pa.Table":
        raise errors.Unavailable("Data sets can be read once the system has started.")

    def until(self, newest: int) -> "Unopened":
        return self


def sinks(config: Config, *, engine: sa.Engine, post: Callable[[str, bytes, Mapping[str, str]], int]) -> dict[str, EventSink]:
    """The event sinks and the notifications, by the names of their cursors; opens nothing. Raises Invalid and ConfigError."""
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    base_url = config.notifications.base_url.rstrip("/") or f"http://{host}:{config.server.port}"
    ports = SinkPorts(engine=engine, post=post, base_url=base_url)
    found = building.build_all(EventSink, config.events.sinks, ports=ports, section="events.sinks")
    people = building.build_all(Notification, config.notifications.targets, ports=ports, section="notifications.targets")
    return {f"sink:{name}": sink for name, sink in found.items()} | {f"notification:{name}": sink for name, sink in people.items()}
