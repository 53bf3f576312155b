"""A row of the table, and how its attack is written. To add one: a line in a module of inputs/, as (what, attack, wanted outcome).

An attack is a function of the Target that gives an Answer, or the outcome as text. An outcome is told as ``422 field, field``: status, and
the fields that a refusal names; of a run that was allowed to begin as ``failed broken_file``: its status and its error's kind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from security.target import Answer, Header, Target

Attack = Callable[[Target], Answer | str]
MOST_TOLD = 3
A_RUN = frozenset({"runs", "run_history", "run_state", "run_logs", "events", "event_sequence", "event_cursors"})
"""Tables that a run which fails writes to: no version, promotion, prediction or data set among them."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """``may_change``: the tables that the attack may leave changed; None: any, the row looks for itself."""

    category: str
    what: str
    attack: Attack
    wanted: str
    may_change: frozenset[str] | None = frozenset()

    def __str__(self) -> str:
        return f"{self.category}: {self.what}"


def rows(category: str, *given: tuple[str, Attack, str], may_change: frozenset[str] | None = frozenset()) -> list[Row]:
    return [Row(category=category, what=what, attack=attack, wanted=wanted, may_change=may_change) for what, attack, wanted in given]


def ask(method: str, path: str, body: Any = None, **headers: Header) -> Attack:
    """A request of JSON by an admin. ``$NAME`` in any text is filled in; a header Content-Type is written Content_Type, None for none."""
    return lambda target: target.ask(method, target.filled(path), target.filled(body), **target.filled(headers))


def get(path: str, **headers: Header) -> Attack:
    return ask("GET", path, **headers)


def post(path: str, body: Any = None, **headers: Header) -> Attack:
    return ask("POST", path, body, **headers)


def send(method: str, path: str | bytes, body: bytes | None = None, **headers: Header) -> Attack:
    """Bytes as they are."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda target: target.send(method, target.filled(path), body, given)


def ended(attack: Attack) -> Attack:
    """A job that is allowed to begin, to its end."""

    def to_its_end(target: Target) -> Answer | str:
        answer = attack(target)
        if isinstance(answer, str) or answer.status not in (200, 202):
            return answer
        run = target.ended(answer.json["id"])
        return f"{run['status']} {(run['error'] or {}).get('kind', '')}".strip()

    return to_its_end


def outcome(found: Answer | str) -> str:
    if isinstance(found, str):
        return found
    fields = sorted(found.problem.get("errors", ()))
    return f"{found.status} {', '.join(fields) if len(fields) <= MOST_TOLD else f'{len(fields)} fields'}".strip()


def trouble(found: Answer | str) -> str | None:
    """What is wrong with a refusal as an answer of this API; None: nothing."""
    if isinstance(found, str) or found.status < 400 or found.method == "HEAD":
        return None
    if not {"type", "title", "status", "detail", "request_id"} <= set(found.problem) or found.problem["status"] != found.status:
        return f"the refusal is no problem but {found.headers.get('content-type')} {found.data[:60]!r}"
    return next((f"the refusal tells {word!r}" for word in ("Traceback", 'File "', "psycopg2", "sqlalchemy") if word in found.text), None)
