"""Pages of other sites that may call from a browser: none, but for those whose origins server.cors_origins names. Never with a cookie."""

from collections.abc import Collection

from flask import Response, request

_TAKEN = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer"
_SHOWN = "Idempotent-Replayed, Location, Preference-Applied, Retry-After, WWW-Authenticate, X-Request-ID"


class Cors:
    """``origins``: as browsers write them, https://app.example.org."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    def allows(self) -> bool:
        """Whether the request comes from a page of such a site."""
        return request.headers.get("Origin", "").lower() in self._origins

    def preflight(self) -> Response | None:
        """The answer to a browser that asks before it asks; None for anything else."""
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers or not self.allows():
            return None
        told = {"Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE", "Access-Control-Allow-Headers": _TAKEN}
        return Response(status=204, headers=told | {"Access-Control-Max-Age": "600"})

    def finish(self, response: Response) -> None:
        if self._origins:
            response.vary.add("Origin")
        if self.allows():
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = _SHOWN
