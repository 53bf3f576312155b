"""What a person is told of an event: what happened, why, the numbers, and the call to act with. Plain text, for mail and chat alike."""

import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlsys.clock import rfc3339
from mlsys.events import types
from mlsys.events.types import SequencedEvent
from mlsys.records import Json

_MOST_EVENTS = 20
_MOST_DETAIL = 1500
_MOST_SUBJECT = 150


def message(events: Sequence[SequencedEvent], *, base_url: str) -> tuple[str, str]:
    """Subject (one line) and text."""
    bodies = [_about(event, base_url) for event in events[:_MOST_EVENTS]]
    more = len(events) - len(bodies)
    if more:
        bodies.append(f"... and {more} more: GET {base_url}/events?after_sequence={events[_MOST_EVENTS - 1].sequence}")
    return _subject(events), "\n\n----\n\n".join(bodies)


def _subject(events: Sequence[SequencedEvent]) -> str:
    if len(events) == 1:
        return " ".join(f"mlsys: {_headline(events[0])}".split())[:_MOST_SUBJECT]
    counts = ", ".join(f"{count} {type}" for type, count in Counter(event.type for event in events).most_common())
    return f"mlsys: {len(events)} events ({counts})"[:_MOST_SUBJECT]


def _about(event: SequencedEvent, base_url: str) -> str:
    why, act = _TEXTS.get(event.type, (_data, _nothing))
    about = f"{event.type}, event {event.sequence} of {rfc3339(event.timestamp)}"
    return "\n\n".join(part for part in (_headline(event), why(event.data), act(event.data, base_url), about) if part)


def _headline(event: SequencedEvent) -> str:
    told = _HEADLINES.get(event.type)
    return told(event.data) if told else f"{event.type} {event.data.get('model_name') or ''}".strip()


def _version(data: Json) -> str:
    return f"version {data['version']} ({data['model_version_id']}) of {data['model_name']}"


def _run(data: Json) -> str:
    return f"{data['kind']} run {data['run_id']} of {data['model_name']}"


def _missed(data: Json) -> str:
    return f"schedule {data['schedule']} missed {data['count']} firing{'s' if data['count'] > 1 else ''}"


_HEADLINES: Mapping[str, Callable[[Json], str]] = {
    types.MODEL_REJECTED: lambda data: f"{_version(data)} was rejected",
    types.MODEL_NOT_JUDGED: lambda data: f"{_version(data)} could not be judged",
    types.RUN_FAILED: lambda data: f"{_run(data)} failed",
    types.RUN_CRASHED: lambda data: f"{_run(data)} crashed (attempt {data['attempt']}, the last)",
    types.ACCURACY_DEGRADED: lambda data: f"accuracy of {data['model_name']} degraded from {data['first_day']} to {data['last_day']}",
    types.SCHEDULE_MISSED: _missed,
    types.WEBHOOK_DISABLED: lambda data: f"webhook {data['webhook_id']} was disabled",
}


def _checks(data: Json) -> str:
    """The checks, those that failed first; each with its value beside its bound."""
    lines = [_check(check) for check in sorted(data["validation"]["checks"], key=lambda check: bool(check["passed"]))]
    return "\n".join(["The version in production stays in place. The checks:", *lines])


def _check(check: Mapping[str, Any]) -> str:
    numbers = f" {_number(check['value'])} (bound {_number(check['threshold'])})" if check.get("value") is not None else ""
    detail = f": {check['detail']}" if check.get("detail") else ""
    return f"  {'passed' if check['passed'] else 'FAILED'}  {check['name']}{numbers}{detail}"


def _error(data: Json) -> str:
    error = data.get("error") or {}
    return f"Why: {error.get('message') or 'not told'}" + (f" ({error['kind']})" if error.get("kind") else "")


def _days(data: Json) -> str:
    lines = [f"  {day['day']}  {data['metric']} {_number(day['value'])} (bound {_number(day['bound'])})" for day in data["values"]]
    return "\n".join([f"The {data['metric']} of issued forecasts against the actuals crossed its bound:", *lines])


def _reason(data: Json) -> str:
    span = f"\nFrom {data['first_fire_time']} to {data['last_fire_time']}." if "first_fire_time" in data else ""
    return f"Why: {data.get('message') or data.get('reason') or 'not told'}{span}"


def _data(data: Json) -> str:
    return json.dumps(data, indent=2)[:_MOST_DETAIL]


def _promote(data: Json, base_url: str) -> str:
    body = {"model_name": data["model_name"], "model_version_id": data["model_version_id"], "reason": "looked at by hand"}
    seen = f"See {base_url}/models/{data['model_name']}/versions/{data['model_version_id']}"
    return f"{seen}\nTo put it into production all the same:\n{_post(f'{base_url}/model/promote', body)}"


def _retry(data: Json, base_url: str) -> str:
    run = f"{base_url}/runs/{data['run_id']}"
    return f"See {run}/logs\nTo run it once more:\n{_post(f'{run}/retry', None)}"


def _look(data: Json, base_url: str) -> str:
    name = data["model_name"]
    demote = _post(f"{base_url}/model/demote", {"model_name": name, "reason": "accuracy degraded"})
    return f"See {base_url}/models/{name}/accuracy\nTo go back to the version in production before:\n{demote}"


def _trigger(data: Json, base_url: str) -> str:
    address = f"{base_url}/schedules/{data['schedule']}/trigger"
    return f"To run it now:\n{_post(address, None)}"


def _enable(data: Json, base_url: str) -> str:
    address = f"{base_url}/webhooks/{data['webhook_id']}"
    return f"See {address}/deliveries\nOnce its receiver works again:\n{_call('PATCH', address, {'enabled': True})}"


def _nothing(data: Json, base_url: str) -> str:
    return ""


_TEXTS: Mapping[str, tuple[Callable[[Json], str], Callable[[Json, str], str]]] = {
    types.MODEL_REJECTED: (_checks, _promote),
    types.MODEL_NOT_JUDGED: (_checks, _promote),
    types.RUN_FAILED: (_error, _retry),
    types.RUN_CRASHED: (_error, _retry),
    types.ACCURACY_DEGRADED: (_days, _look),
    types.SCHEDULE_MISSED: (_reason, _trigger),
    types.WEBHOOK_DISABLED: (_reason, _enable),
}


def _post(url: str, body: Json | None) -> str:
    return _call("POST", url, body)


def _call(method: str, url: str, body: Json | None) -> str:
    """A line for the shell, safe to paste whatever the names are."""
    given = "" if body is None else f" -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
    return f"  curl -X {method} {shlex.quote(url)}{given}"


def _number(value: Any) -> str:
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
