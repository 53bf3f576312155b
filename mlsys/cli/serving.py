"""``mlsys serve``: starts the system and the HTTP server, and stops both in order."""

import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlsys import errors, logs
from mlsys.cli.connection import announced
from mlsys.cli.leaving import Leaving
from mlsys.cli.options import configured, listening, read_config
from mlsys.config import Config

if TYPE_CHECKING:
    from mlsys.system import System

_log = logging.getLogger(__name__)
Ready = Callable[[str], contextlib.AbstractContextManager[None]]


@click.command(help="Serve the HTTP API and work on the queue, until stopped.")
@listening
@configured
def serve(config_file: Path | None, home: Path | None, host: str | None, port: int | None) -> None:
    config = read_config(config_file, home, **{"server.host": host, "server.port": port})
    logs.configure(config)

    @contextlib.contextmanager
    def ready(url: str) -> Iterator[None]:
        told = f"mlsys serves at {url} (home {config.home}); stop with Ctrl-C"
        if config.logging.format == "json":
            _log.info("%s", told)  # whoever reads these lines by machine gets no other
        else:
            click.echo(told, err=True)
        yield

    run(config, ready=ready)


def run(config: Config, *, ready: Ready, tell_lacking: bool = True) -> None:
    """Serves until SIGTERM or SIGINT. ``ready`` gets the address once requests are taken; what it returns is left before anything stops.

    ``tell_lacking``: warn of models whose data file is not there yet.
    """
    leaving = Leaving()
    leaving.listen()
    open_to_others = not only_this_machine(config.server.host)
    if open_to_others and not config.database.url and not config.home.exists():
        raise _without_tokens(config.server.host)  # told at once: there can be none yet
    from mlsys import bootstrap, declarations

    lacking = bootstrap.check_parts(config, declarations.declared(config))
    for field, text in lacking.items() if tell_lacking else ():  # told now, not by the first job
        _log.warning("%s: %s", field, text)
    system = bootstrap.build(config)
    try:
        if open_to_others:
            system.start_database()
            refuse_without_tokens(system, config)
        _serve(system, config, ready, leaving)
    finally:
        system.stop()


def _serve(system: "System", config: Config, ready: Ready, leaving: Leaving) -> None:
    from mlsys.api import server as http
    from mlsys.application import make_app

    server = http.bind(
        make_app(system.services),
        host=config.server.host,
        port=config.server.port,
        threads=config.server.threads,
        max_body_bytes=config.server.max_body_bytes,
        max_upload_bytes=config.server.max_upload_bytes,
        trusted_proxy=config.server.trusted_proxy,
        farewell=system.services.follower.close,
    )
    try:
        system.start()
        url = f"http://{_shown(config.server.host)}:{server.effective_port}"
        with announced(config.home, url):
            threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()
            with ready(url):
                leaving.first = system.drain
                server.run()
    finally:
        server.close()


def only_this_machine(host: str) -> bool:
    """Whether none but callers of this machine reach that address. Raises ConfigError for what is no address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            raise errors.ConfigError(f"server.host: {host!r} is no address of this machine. Use 127.0.0.1.") from None
        return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)


def refuse_without_tokens(system: "System", config: Config) -> None:
    """Where no token is needed every caller holds all rights, so only this machine may call. Raises ConfigError."""
    host = config.server.host
    if config.auth.required == "never":
        raise errors.ConfigError(f"server.host: with auth.required: never mlsys binds to loopback only, not to {host!r}. Use 127.0.0.1.")
    if not system.services.tokens.usable():
        raise _without_tokens(host)


def _without_tokens(host: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"server.host: without an access token mlsys binds to loopback only, not to {host!r}. "
        "Make one first: mlsys token create NAME --scope admin. Or use 127.0.0.1."
    )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _warm_up() -> None:
    """The first job should not pay for the imports."""
    import lightgbm  # noqa: F401
    import pandas  # noqa: F401
