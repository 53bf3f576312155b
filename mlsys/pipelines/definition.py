"""A model's definition (``models.<name>`` in config.yaml): checked, filled with defaults, and read as parts.

Must import fast: it is used by the API and the command line. Nothing here opens a source or knows a data frame.
"""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from mlsys import errors
from mlsys.pipelines import availability, base, build, durations, fields, names, options, parameters, settings
from mlsys.records import Layout

LAYOUT = ("timestamp", "target", "exogenous", "series_key", "frequency", "timezone", "horizon", "created_at", "issue")
RESERVED = (names.PREDICTION, names.QUALITY, names.ISSUED_AT, names.CREATED_AT, names.MODEL_VERSION, names.RUN)
SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", "": "parquet"}


def normalise(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The whole definition as JSON-able data, every default filled in; normalising it again changes nothing.

    Raises Invalid with every wrong field at once, named by its dotted path within the definition.
    """
    if not isinstance(definition, Mapping):
        raise errors.Invalid({"": "A model's definition must be a mapping with source, timestamp and target."})
    wrong = {str(name): f"Unknown key; {options.nearest(str(name), _PARTS)}." for name in definition if name not in _PARTS}
    wrong |= {name: "This is needed." for name in ("source", "timestamp", "target") if name not in definition}
    found: dict[str, Any] = {}
    texts: dict[str, Any] = dict(wrong)
    for name, (read, default) in _PARTS.items():
        try:
            found[name] = read(definition.get(name, default), name) if name not in wrong else None
        except errors.Invalid as error:
            texts |= error.fields
    if not texts:
        found["horizon"] = _horizon(found, given="horizon" in definition)
        texts = _contradictions(found)
    if texts:
        raise errors.Invalid(texts, "The model's definition is not valid.")
    return found


def layout(definition: Mapping[str, Any]) -> Layout:
    """What the columns mean, from a normalised definition (or from layout_data)."""
    exogenous = definition["exogenous"]
    return Layout(
        timestamp=definition["timestamp"],
        target=definition["target"],
        exogenous=None if exogenous is None else tuple(exogenous),
        series_key=tuple(definition["series_key"]),
        frequency=durations.parse_frequency(definition["frequency"]),
        timezone=definition["timezone"],
        horizon=durations.parse_duration(definition["horizon"]),
        created_at=definition["created_at"],
        issue=definition.get("issue"),  # absent from what earlier versions stored
    )


def layout_data(of: Layout) -> dict[str, Any]:
    """The inverse of layout(), as JSON-able data."""
    plain = {name: getattr(of, name) for name in LAYOUT}
    return plain | {
        "exogenous": None if of.exogenous is None else list(of.exogenous),
        "series_key": list(of.series_key),
        "frequency": durations.format_frequency(of.frequency),
        "horizon": durations.format_duration(of.horizon),
    }


def with_request(
    definition: Mapping[str, Any], *, file_path: str | None = None, dataset: str | None = None, params: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A normalised definition with a request's file or data set in place of its source and hyper-parameters over its own.

    Raises Invalid naming ``file_path``, ``dataset`` or ``params.<name>``. Whether the file may be read is not looked at here.
    """
    merged = dict(definition)
    if dataset is not None:
        if file_path is not None:
            raise errors.Invalid({"dataset": "Give either file_path or dataset."})
        merged["source"] = {"type": "dataset", "name": dataset}
    if file_path is not None:
        merged["source"] = _source_of_file(definition["source"], file_path)
    if params:
        chosen = build.component_class(base.Model, definition["model"]["type"], field="model")
        parameters.check(params, chosen.parameters, field="params")
        merged["model"] = {**definition["model"], "params": {**definition["model"]["params"], **params}}
    return merged


def features(definition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The features that are switched on, each with its options."""
    return {name: {} if chosen is True else dict(chosen) for name, chosen in definition["features"].items() if chosen is not False}


def checks(definition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The data checks that are switched on, each with its options."""
    return {name: {} if chosen is True else dict(chosen) for name, chosen in definition["checks"].items() if chosen is not False}


def _source_of_file(source: Mapping[str, Any], file_path: str) -> dict[str, Any]:
    if not isinstance(file_path, str) or not file_path.strip():
        raise errors.Invalid({"file_path": "This must be a path below a data root."})
    suffix = PurePosixPath(file_path).suffix.lower()
    wanted = SUFFIXES.get(suffix, "parquet")  # a folder may have a dot in its name
    fits = source["type"] == wanted or (not suffix and source["type"] == "csv")
    return {**source, "path": file_path} if fits else {"type": wanted, "path": file_path}


def _component(kind: type[base.Component]) -> Callable[[Any, str], dict[str, Any]]:
    def read(value: Any, field: str) -> dict[str, Any]:
        spec = {"type": value} if isinstance(value, str) else fields.mapping(value, field)
        if not isinstance(spec.get("type"), str):
            known = options.listing(build.available(kind))
            raise errors.Invalid({f"{field}.type": f"Say which {kind.kind} to use, one of {known}."})
        if spec["type"] not in build.available(kind):
            known = options.nearest(spec["type"], build.available(kind))
            raise errors.Invalid({f"{field}.type": f"There is no {kind.kind} '{spec['type']}'; {known}."})
        return spec

    return read


def _model(value: Any, field: str) -> dict[str, Any]:
    spec = {"type": "lightgbm", "params": {}, "quantiles": [], **fields.mapping(value, field)}
    unknown = {f"{field}.{n}": f"Unknown key; {options.nearest(n, _MODEL_KEYS)}." for n in spec if n not in _MODEL_KEYS}
    if unknown:
        raise errors.Invalid(unknown)
    if not isinstance(spec["type"], str):
        raise errors.Invalid({f"{field}.type": f"This must be one of {options.listing(build.available(base.Model))}."})
    chosen = build.component_class(base.Model, spec["type"], field=field)
    parameters.check(spec["params"], chosen.parameters, field=f"{field}.params")
    levels = fields.levels(spec["quantiles"], f"{field}.quantiles")
    if levels and "quantiles" not in build.option_parameters(chosen):
        text = f"The model '{spec['type']}' forecasts no quantiles: leave the list empty ([]), or take another model."
        raise errors.Invalid({f"{field}.quantiles": text})
    tuning = _tuning(spec["tuning"], chosen, f"{field}.tuning") if spec.get("tuning") is not None else {}
    return {"type": spec["type"], "params": dict(spec["params"]), "quantiles": levels, **tuning}


def _tuning(value: Any, chosen: type[base.Model], field: str) -> dict[str, Any]:
    """Off is left out: what earlier releases stored says nothing of it."""
    given = parameters.check(value, {"trials": base.Parameter(type=int, low=1, high=1000)}, field=field)
    if "trials" not in given:
        raise errors.Invalid({f"{field}.trials": "Say how many sets of parameters to try, such as 30."})
    if not chosen.search:
        raise errors.Invalid({field: "This model has no parameters to tune: leave it out."})
    if importlib.util.find_spec("optuna") is None:
        raise errors.Invalid({field: "Tuning needs a library that is not installed: pip install 'mlsys[tuning]'."})
    return {"tuning": given}


def _switches(kind: type[base.Component], defaults: Mapping[str, bool]) -> Callable[[Any, str], dict[str, Any]]:
    """Reads {name: true | false | {option: value}}; names left out keep their default."""

    def read(value: Any, field: str) -> dict[str, Any]:
        given = fields.mapping({} if value is None else value, field)
        texts: dict[str, Any] = {}
        for name, chosen in given.items():
            try:
                _switch(kind, name, chosen, f"{field}.{name}")
            except errors.Invalid as error:
                texts |= error.fields
        if texts:
            raise errors.Invalid(texts)
        return {**defaults, **{n: dict(chosen) if isinstance(chosen, Mapping) else chosen for n, chosen in given.items()}}

    return read


def _switch(kind: type[base.Component], name: str, chosen: Any, field: str) -> None:
    """A switch that is only true or false needs no look at the class: importing most features is slow."""
    if name not in build.available(kind):
        raise errors.Invalid({field: f"There is no {kind.kind} '{name}'; {options.nearest(name, build.available(kind))}."})
    if isinstance(chosen, bool) and (not chosen or name in settings.FEATURES or name in settings.CHECKS):
        return
    given = {} if chosen is True else fields.mapping(chosen, field) if isinstance(chosen, Mapping) else None
    if given is None:
        raise errors.Invalid({field: "This must be true, false, or a mapping of options."})
    found = build.component_class(kind, name, field=field)
    options.check(given, build.option_parameters(found), hints={}, field=field)
    ranges: Mapping[str, base.Parameter] = getattr(found, "parameters", {})
    parameters.check({n: option for n, option in given.items() if n in ranges}, ranges, field=field)


def _late(features: Mapping[str, Any], columns: Layout) -> dict[str, Any]:
    """Features whose options their own constructor refuses, or that are not known when a forecast is issued; without options all are."""
    texts: dict[str, Any] = {}
    for name, chosen in features.items():
        found = build.component_class(base.Feature, name, field=f"features.{name}") if isinstance(chosen, Mapping) else None
        if found is not None and not build.needs_ports(found):
            try:
                feature = build.build(base.Feature, {"type": name, **chosen}, ports=_NOTHING, field=f"features.{name}")
                availability.require(feature, columns, field=f"features.{name}")
            except errors.Invalid as error:
                texts |= error.fields
    return texts


def _validation(value: Any, field: str) -> dict[str, Any]:
    given = parameters.check({} if value is None else value, settings.gate_parameters(), field=field)
    return {**settings.gate_defaults(), **given}


def _accuracy(value: Any, field: str) -> dict[str, Any]:
    given = fields.mapping({} if value is None else value, field)
    known = {name: parameter for name, (_, parameter) in settings.ACCURACY.items()}
    meant = {name: chosen for name, chosen in given.items() if chosen is not None}  # null: none, as left out
    return {**no_limits(), **parameters.check(meant, known, field=field)}


def no_limits() -> dict[str, Any]:
    """The settings of a model whose accuracy nobody set a limit to."""
    return {name: default for name, (default, _) in settings.ACCURACY.items()}


def _horizon(found: Mapping[str, Any], *, given: bool) -> str:
    """Left out, a horizon is a day, or one step of a longer frequency."""
    frequency = durations.parse_frequency(found["frequency"])
    return str(found["horizon"]) if given else durations.format_duration(max(frequency, fields.DAY))


def _contradictions(found: Mapping[str, Any]) -> dict[str, str]:
    columns = layout(found)
    texts: dict[str, str] = {}
    used = [columns.timestamp]
    for name, mine in (("target", [columns.target]), ("series_key", columns.series_key), ("exogenous", columns.exogenous or ())):
        if twice := [column for column in mine if column in used]:
            texts[name] = f"The column '{twice[0]}' has two meanings; name it once."
        used += mine
    for name, mine in (("timestamp", [columns.timestamp]), ("series_key", columns.series_key)):
        if taken := [column for column in mine if column in RESERVED or column.startswith(names.QUANTILE)]:
            texts[name] = f"'{taken[0]}' is the name of a column that forecasts have; rename the source's."
    if columns.horizon < columns.frequency or columns.horizon % columns.frequency:
        texts["horizon"] = f"A horizon must be a multiple of the frequency ({found['frequency']})."
    if found["issue"] is not None and found["created_at"] is None and found["source"]["type"] != "dataset":
        texts["issue"] = "The cut at each row's issue time needs to know when a row became known: name that column as created_at."
    levels, metric = len(found["model"]["quantiles"]), found["accuracy"]["metric"]
    if levels < {"pinball": 1, "coverage": 2}.get(metric, 0):
        texts["accuracy.metric"] = (
            f"'{metric}' is a figure of quantiles: name them as model.quantiles, such as [0.1, 0.5, 0.9], or take mae."
        )
    needs = build.component_class(base.Model, found["model"]["type"], field="model").needs
    texts |= _late(found["features"], columns)
    texts |= {f"features.{n}": f"The model '{found['model']['type']}' needs it." for n in needs if found["features"].get(n) is False}
    if all(chosen is False for chosen in found["features"].values()):
        texts["features"] = "At least one feature is needed."
    return texts


_NOTHING: Any = None  # the ports of a component that takes none
_MODEL_KEYS = ("type", "params", "quantiles", "tuning")
_PARTS: Mapping[str, tuple[Callable[[Any, str], Any], Any]] = {
    "source": (_component(base.DataSource), None),
    "timestamp": (fields.column, None),
    "target": (fields.column, None),
    "exogenous": (fields.optional_columns, None),
    "series_key": (fields.columns, ()),
    "frequency": (fields.frequency, "15min"),
    "timezone": (fields.timezone, "UTC"),
    "horizon": (fields.horizon, "P1D"),
    "created_at": (fields.optional_column, None),
    "issue": (fields.issue, None),
    "features": (_switches(base.Feature, settings.FEATURES), None),
    "checks": (_switches(base.DataCheck, dict.fromkeys(settings.CHECKS, True)), None),
    "model": (_model, {}),
    "validation": (_validation, None),
    "accuracy": (_accuracy, None),
    "destination": (_component(base.Destination), {"type": "parquet"}),
}
