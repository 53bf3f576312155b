"""Talks to a running mlsys over HTTP. Imports nothing of the server."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Protocol
from urllib.parse import urlencode

import urllib3

TERMINAL = frozenset({"succeeded", "failed", "crashed", "cancelled", "skipped"})


class ClientError(Exception):
    """The server refused, or could not be reached. ``problem`` is its problem+json (empty when unreachable)."""

    def __init__(self, message: str, *, status: int = 0, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = dict(problem or {})


Progress = Callable[[int], None]
UPLOAD_SECONDS = 3600.0
PART = 2**18


class Api(Protocol):
    def call(self, method: str, path: str, *, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None) -> Any: ...

    def send(self, path: str, body: IO[bytes], type: str, *, on_progress: Progress) -> Any:
        """POSTs a file as it is; returns the JSON answered."""
        ...

    def fetch(self, path: str, type: str, *, query: Mapping[str, Any]) -> Iterator[bytes]:
        """GETs bytes of that type, in parts."""
        ...


class Client:
    """One server. ``call`` returns its JSON; raises ClientError for an answer of 400 and above.

    ``token``: an access token, where the server wants one; default: that of the environment variable MLSYS_TOKEN.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_seconds: float = 90.0, agent: str = "mlsys-client") -> None:
        self._url = url.rstrip("/")
        token = os.environ.get("MLSYS_TOKEN") if token is None else token
        who = {"Authorization": f"Bearer {token.strip()}"} if token else {}
        self._http = urllib3.PoolManager(
            headers={"User-Agent": agent, **who}, retries=urllib3.Retry(3, backoff_factor=0.2), timeout=timeout_seconds
        )

    def call(self, method: str, path: str, *, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None) -> Any:
        try:
            response = self._http.request(method, self._url + address(path, query), json=body)
        except urllib3.exceptions.HTTPError as error:
            raise ClientError(f"No mlsys answers at {self._url} ({type(error).__name__}). Start one with: mlsys serve") from None
        return answer(response.status, response.data)

    def send(self, path: str, body: IO[bytes], type: str, *, on_progress: Progress) -> Any:
        size = os.fstat(body.fileno()).st_size
        headers = {"Content-Type": type, "Content-Length": str(size)}
        response = self._raw("POST", path, headers=headers, body=Told(body, on_progress))
        return answer(response.status, response.read())

    def fetch(self, path: str, type: str, *, query: Mapping[str, Any]) -> Iterator[bytes]:
        response = self._raw("GET", address(path, query), headers={"Accept": type})
        if response.status >= 400:
            answer(response.status, response.read())
        yield from response.stream(PART)

    def _raw(self, method: str, path: str, *, headers: Mapping[str, str], body: Any = None) -> urllib3.BaseHTTPResponse:
        """Once only, and with the patience that much data needs."""
        every = {**self._http.headers, **headers}
        try:
            return self._http.request(
                method, self._url + path, body=body, headers=every, retries=False, preload_content=False, timeout=UPLOAD_SECONDS
            )
        except urllib3.exceptions.HTTPError as error:
            raise ClientError(f"No mlsys answers at {self._url} ({type(error).__name__}). Start one with: mlsys serve") from None


class Told:
    """A file that tells how much of it has been read."""

    def __init__(self, file: IO[bytes], on_progress: Progress) -> None:
        self._file = file
        self._on_progress = on_progress

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._on_progress(len(data))
        return data

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)


def address(path: str, query: Mapping[str, Any] | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def answer(status: int, data: bytes) -> Any:
    """The JSON of an answer (None: it has none); a refusal becomes a ClientError with the server's own words."""
    if status == 204:
        return None
    try:
        value = json.loads(data)
    except ValueError:
        raise ClientError(f"The server answered {status} with something that is not JSON.", status=status) from None
    if status >= 400 and "checks" not in value:
        fields = "".join(f"\n  {name}: {' '.join(texts)}" for name, texts in value.get("errors", {}).items())
        raise ClientError(f"{value.get('detail', 'Refused.')}{fields}", status=status, problem=value)
    return value


def follow(api: Api, run: Mapping[str, Any], *, on_change: Callable[[Mapping[str, Any]], None], interval: float = 0.2) -> Any:
    """Polls a run until it has ended, telling of each look; returns the ended run."""
    while run["status"] not in TERMINAL:
        time.sleep(interval)
        run = api.call("GET", f"/runs/{run['id']}")
        on_change(run)
    return run
