"""``mlsys serve``: starts the system and the HTTP server, and stops both in order."""

import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from mlsys import errors, logs
from mlsys.cli.connection import announced
from mlsys.cli.leaving import Leaving
from mlsys.cli.options import configured, listening, read_config
from mlsys.config import Config

_log = logging.getLogger(__name__)


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


def run(config: Config, *, ready: Callable[[str], contextlib.AbstractContextManager[None]]) -> None:
    """Serves until SIGTERM or SIGINT. ``ready`` gets the address once requests are taken; what it returns is left before anything stops."""
    leaving = Leaving()
    leaving.listen()
    refuse_open_address(config.server.host)
    from mlsys import bootstrap, declarations
    from mlsys.api import server as http
    from mlsys.application import make_app

    for field, text in bootstrap.check_parts(config, declarations.declared(config)).items():  # told now, not by the first job
        _log.warning("%s: %s", field, text)
    system = bootstrap.build(config)
    server = http.bind(
        make_app(system.services),
        host=config.server.host,
        port=config.server.port,
        threads=config.server.threads,
        max_body_bytes=config.server.max_body_bytes,
        max_upload_bytes=config.server.max_upload_bytes,
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
        system.stop()


def refuse_open_address(host: str) -> None:
    """Without tokens every caller holds all rights, so only this machine may call. Raises ConfigError for any other address."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError:
            raise errors.ConfigError(f"server.host: {host!r} is no address of this machine. Use 127.0.0.1.") from None
        loopback = all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)
    if not loopback:
        raise errors.ConfigError(
            f"server.host: mlsys has no access tokens yet and so binds to loopback only, not to {host!r}. "
            "Use 127.0.0.1, and let a reverse proxy on this machine check who may come in."
        )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _warm_up() -> None:
    """The first job should not pay for the imports."""
    import lightgbm  # noqa: F401
    import pandas  # noqa: F401
