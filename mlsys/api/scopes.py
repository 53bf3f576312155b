"""What each call needs: the one table of every route and method. The application refuses to start with a route that is not in it.

A read shows what there is. A run makes work, rows and schedules. A promotion decides by hand what is in production. Admin is whatever
reaches beyond: the schema, and addresses outside that events are sent to.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from flask import Flask
from werkzeug.routing import Rule

from mlsys.registry.tokens import Scope

Need = Literal["public"] | Scope

NEEDS: Mapping[Need, tuple[str, ...]] = {
    "public": (
        "GET /health/",  # without a token it tells only what is well and what is not
        "GET /login",
        "POST /login",
        "POST /logout",
        "GET /static/<path:filename>",  # the same in every installation
    ),
    "read": (
        "GET /",
        "GET /docs",
        "GET /openapi.json",
        "GET /runs",
        "GET /runs/<id>",
        "GET /runs/<id>/logs",
        "GET /runs/<id>/history",
        "GET /models",
        "GET /models/<name>",
        "GET /models/<name>/versions",
        "GET /models/<name>/versions/<model_version_id>",
        "GET /models/<name>/versions/<model_version_id>/explanation",
        "GET /models/<name>/production",
        "GET /models/<name>/promotions",
        "GET /models/<name>/predictions",
        "GET /models/<name>/accuracy",
        "GET /datasets",
        "GET /datasets/<name>",
        "GET /datasets/<name>/rows",
        "GET /schedules",
        "GET /schedules/<name>",
        "GET /webhooks",
        "GET /webhooks/<id>",
        "GET /webhooks/<id>/deliveries",
        "GET /events",
        "GET /events/stream",
        "GET /metrics",
    ),
    "run": (
        "POST /job/train",
        "POST /job/predict",
        "POST /runs/<id>/cancel",
        "POST /runs/<id>/retry",
        "POST /runs/<id>/replay",
        "POST /models/<name>/backfill",
        "POST /models/<name>/backtest",
        "POST /datasets",
        "POST /datasets/<name>/rows",  # rows that say themselves when they became known need admin: they rewrite the past
        "POST /schedules",
        "PUT /schedules/<name>",
        "DELETE /schedules/<name>",
        "POST /schedules/<name>/pause",
        "POST /schedules/<name>/resume",
        "POST /schedules/<name>/trigger",
    ),
    "promote": (
        "POST /model/promote",
        "POST /model/demote",
        "GET /model/demote",
    ),
    "admin": (
        "GET /migrate/",
        "POST /webhooks",
        "PATCH /webhooks/<id>",
        "DELETE /webhooks/<id>",
        "POST /webhooks/<id>/test",
        "POST /webhooks/<id>/rotate",
        "POST /webhooks/<id>/replay",
        "POST /deliveries/<id>/redeliver",
    ),
}
_NEED = {call: need for need, calls in NEEDS.items() for call in calls}
_SCHEMES: Mapping[str, dict[str, str]] = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "mlsys_<id>_<secret>"},
    "session": {"type": "apiKey", "in": "cookie", "name": "mlsys_session", "description": "Of a browser that logged in at /login."},
}
_METHODS = ("get", "put", "post", "delete", "patch")
_FREE = ("HEAD", "OPTIONS")  # of each rule: what GET needs, and to be anybody


def check(app: Flask) -> None:
    """Raises RuntimeError naming the routes that say not what they need."""
    unsaid = [call for rule in app.url_map.iter_rules() for call in _calls(rule) if call not in _NEED]
    if unsaid:
        raise RuntimeError(f"No scope is declared in {__name__} for: {', '.join(sorted(unsaid))}.")


def needed(rule: Rule | None, method: str) -> Need:
    """Of a call; of an address that is none, or a method that it does not take: read, so that nobody maps the routes from outside."""
    return "read" if rule is None else need_of(rule.rule, "GET" if method == "HEAD" else method)


def need_of(path: str, method: str) -> Need:
    if method == "OPTIONS":
        return "public" if _NEED.get(f"GET {path}") == "public" else "read"
    return _NEED.get(f"{method} {path}", "admin")


def document(api: Any) -> None:
    """The two ways to say who calls, and for each operation the scope it needs (in 3.1 the list beside a scheme names roles)."""
    for name, scheme in _SCHEMES.items():
        api.spec.components.security_scheme(name, scheme)
    for path, operations in api.spec.to_dict()["paths"].items():
        for method, operation in operations.items():
            if method in _METHODS:
                _describe(operation, need_of(re.sub(r"{(\w+)}", r"<\1>", path), method.upper()))


def _describe(operation: dict[str, Any], need: Need) -> None:
    operation["security"] = [] if need == "public" else [{name: [need]} for name in _SCHEMES]
    told = "Needs no token." if need == "public" else f"Needs scope `{need}`."
    operation["description"] = "\n\n".join(filter(None, (operation.get("description", ""), told)))


def _calls(rule: Rule) -> Iterable[str]:
    return (f"{method} {rule.rule}" for method in (rule.methods or ()) if method not in _FREE)
