"""A schedule as users write it (config.yaml, the API): checked, filled with defaults, and held against its model."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, get_args

from mlsys import errors
from mlsys.execution import backfill, backtest, requests
from mlsys.pipelines import definition as definitions
from mlsys.pipelines import durations, fields, options
from mlsys.records import Json, Misfire, Overlap, Schedule, ScheduleKind
from mlsys.scheduling import cron

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NEEDED = ("kind", "model_name", "cron", "window")
TAKEN = {"predict": (), "backfill": ("step",), "backtest": ("step", "refit", "window", "horizon")}
"""By kind: which parameters there are."""
LONGEST = timedelta(days=366 * 200)


def read(name: str, given: Mapping[str, Any]) -> Schedule:
    """The schedule, with defaults. Raises Invalid with every wrong field at once."""
    if not isinstance(given, Mapping):
        raise errors.Invalid({"": f"Write a mapping with {', '.join(NEEDED)}."})
    wrong: dict[str, Any] = {str(key): f"Unknown key; {options.nearest(str(key), _PARTS)}." for key in given if key not in _PARTS}
    wrong |= {key: "This is needed." for key in NEEDED if key not in given}
    if not NAME.fullmatch(name):
        wrong["name"] = "Write 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit."
    found: dict[str, Any] = {}
    for key, (reader, default) in _PARTS.items():
        try:
            found[key] = reader(given.get(key, default), key) if key not in wrong else None
        except errors.Invalid as error:
            wrong |= error.fields
    if not wrong:
        wrong |= _odd_params(found["kind"], found["params"])
    if wrong:
        raise errors.Invalid(wrong, "The schedule is not valid.")
    return Schedule(name=name, **found)


def check_model(schedule: Schedule, definition: Json | None) -> None:
    """Raises Invalid when the schedule's model is unknown, or cannot do what the schedule asks."""
    if definition is None:
        raise errors.Invalid({"model_name": f"There is no model {schedule.model_name!r}; models are defined in config.yaml."})
    if schedule.kind == "train":
        definitions.with_request(definition, params=schedule.params)
    step = definitions.layout(definition).frequency
    if schedule.kind == "backfill":
        _check_step(schedule.params["step"], step)
    start, end = (durations.parse_duration(schedule.window[name]) for name in ("start", "end"))
    if (end - start) / step > requests.MAX_STEPS:
        raise errors.Invalid({"window": f"The window holds more than {requests.MAX_STEPS:,} steps of {step}; write a shorter one."})


def _check_step(text: str, frequency: timedelta) -> None:
    try:
        backfill.check_step(text, frequency)
    except errors.Invalid as error:
        raise errors.Invalid({f"params.{name}": texts for name, texts in error.fields.items()}) from None


def _odd_params(kind: str, params: Json) -> dict[str, Any]:
    """Those of a training are its model's hyper-parameters, which check_model() holds against the model."""
    if kind == "train":
        return {}
    taken = TAKEN[kind]
    wrong: dict[str, Any] = {f"params.{name}": f"A {kind} takes {', '.join(taken) or 'none'}." for name in params if name not in taken}
    if kind == "backfill" and "step" not in params:
        wrong["params.step"] = "Say how far it is from one forecast to the next, for example P1D."
    try:
        backtest.check({} if wrong else params)
    except errors.Invalid as error:
        wrong |= {f"params.{name}": texts for name, texts in error.fields.items()}
    return wrong


def _one_of(kinds: Any) -> Any:
    def read(value: Any, field: str) -> str:
        if value not in get_args(kinds):
            raise errors.Invalid({field: f"Write one of {', '.join(get_args(kinds))}."})
        return str(value)

    return read


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > fields.LONGEST_NAME:
        raise errors.Invalid({field: "Write a name."})
    return value


def _cron(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise errors.Invalid({field: f"Write five fields as text, in quotes: {', '.join(cron.FIELDS)}."})
    return cron.check(value)


def _window(value: Any, field: str) -> dict[str, str]:
    if not isinstance(value, Mapping) or set(value) != {"start", "end"}:
        raise errors.Invalid({field: "Write {start: -P365D, end: PT0S}: both as ISO 8601 durations from the time it fires."})
    lengths = {}
    for name in ("start", "end"):
        try:
            lengths[name] = durations.parse_duration(value[name])
        except (ValueError, TypeError, AttributeError):
            trouble = "Write an ISO 8601 duration from the time it fires, such as -P365D, PT6H or PT0S."
            raise errors.Invalid({f"{field}.{name}": trouble}) from None
        if abs(lengths[name]) > LONGEST:
            raise errors.Invalid({f"{field}.{name}": "That lies more than 200 years away."})
    if lengths["end"] <= lengths["start"]:
        raise errors.Invalid({f"{field}.end": "The end must lie after the start."})
    return {name: durations.format_duration(length) for name, length in lengths.items()}


def _flag(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        raise errors.Invalid({field: "Write true or false."})
    return value


_PARTS: dict[str, tuple[Any, Any]] = {
    "kind": (_one_of(ScheduleKind), None),
    "model_name": (_text, None),
    "cron": (_cron, None),
    "timezone": (fields.timezone, "UTC"),
    "window": (_window, None),
    "params": (fields.mapping, {}),
    "misfire": (_one_of(Misfire), "run_once"),
    "overlap": (_one_of(Overlap), "skip"),
    "enabled": (_flag, True),
}
