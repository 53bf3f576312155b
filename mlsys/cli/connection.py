"""Whom a command talks to: the server at MLSYS_URL, else the one running on this home, else a system in this process, for one command."""

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import mlsys
from mlsys.cli import homes
from mlsys.client import Api, Client, Told, address, answer
from mlsys.config import Config

if TYPE_CHECKING:
    from flask import Flask

AGENT = f"mlsys-cli/{mlsys.__version__}"


class LocalApi:
    """The API of a system in this process, without a socket."""

    def __init__(self, app: "Flask") -> None:
        from mlsys.api import callers

        self._client = app.test_client()
        self._client.environ_base |= {callers.IN_PROCESS: "yes"}

    def call(self, method: str, path: str, *, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None) -> Any:
        response = self._client.open(address(path, query), method=method, json=body, headers={"User-Agent": AGENT})
        return answer(response.status_code, response.data)

    def send(self, path: str, body: IO[bytes], type: str, *, on_progress: Callable[[int], None]) -> Any:
        given: Any = Told(body, on_progress)
        headers = {"User-Agent": AGENT}
        response = self._client.post(path, input_stream=given, content_type=type, headers=headers)
        return answer(response.status_code, response.data)

    def fetch(self, path: str, type: str, *, query: Mapping[str, Any]) -> Iterator[bytes]:
        response = self._client.get(address(path, query), headers={"User-Agent": AGENT, "Accept": type}, buffered=False)
        if response.status_code >= 400:
            answer(response.status_code, response.data)
        with response:
            yield from response.iter_encoded()


@contextmanager
def connected(config: Config) -> Iterator[Api]:
    url = os.environ.get("MLSYS_URL") or running_url(config.home)
    if url:
        yield Client(url, agent=AGENT)
        return
    from mlsys.api.app import create_app

    system = homes.opened(config)
    system.start(recover=False)
    try:
        yield LocalApi(create_app(system.services))
    finally:
        system.stop()


@contextmanager
def announced(home: Path, url: str) -> Iterator[None]:
    """Lets other commands on this home find this server. The lock, not the file, says that it lives: a kill -9 leaves no false trace."""
    folder = home / "servers"
    folder.mkdir(exist_ok=True)
    path = folder / f"{secrets.token_hex(8)}.json"  # no process id: two containers on one home have the same ones
    hidden = path.with_suffix(".new")
    with hidden.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump({"url": url}, file)
        file.flush()
        hidden.rename(path)  # seen only whole and locked
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def running_url(home: Path) -> str | None:
    """The address of a server that runs on this home."""
    for path in sorted((home / "servers").glob("*.json")):
        with path.open() as file:
            if _locked(file):
                return str(json.load(file)["url"])
        path.unlink(missing_ok=True)
    return None


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
