"""``mlsys demo``: serves like ``mlsys serve``, and meanwhile tells a story over its own HTTP API. What is told stands in demo_story."""

import contextlib
import dataclasses
import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click

from mlsys import logs, sample
from mlsys.cli import serving
from mlsys.cli.options import configured, listening, read_config
from mlsys.config import Config


@click.command(help="Train, promote, retrain and predict on real sample data, then keep serving.")
@click.option("--exit", "exit_", is_flag=True, help="Stop when everything has been shown; exit code 1 if a step failed.")
@listening
@configured
def demo(config_file: Path | None, home: Path | None, host: str | None, port: int | None, exit_: bool) -> None:
    started = time.monotonic()
    config = _with_sample(read_config(config_file, home, **{"server.host": host, "server.port": port}))
    if port is None and "MLSYS_SERVER__PORT" not in os.environ:
        config = _on_a_free_port(config)
    logs.configure(config, quiet=True)
    logging.getLogger("mlsys.execution.reporter").setLevel(logging.CRITICAL)  # what the jobs say is part of the story
    teller = _Teller(started=started, stop_when_told=exit_)
    try:
        serving.run(config, ready=teller.telling, tell_lacking=False)  # its own data comes with the package
    finally:
        if teller.failed:
            sys.exit(1)


def _with_sample(config: Config) -> Config:
    from mlsys.config import document

    declared = document.read(sample.FOLDER / "model.yaml").data["models"]
    return dataclasses.replace(config, models={**config.models, **declared})


def _on_a_free_port(config: Config) -> Config:
    """The port of the configuration, or any free one when that is taken: a first try must not end on that."""
    host, port = config.server.host, config.server.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:  # anything else is told by the server itself
            click.echo(f"Port {port} is taken: the demo takes a free one.", err=True)
            return dataclasses.replace(config, server=dataclasses.replace(config.server, port=0))
    return config


class _Teller:
    """Tells the story in a thread of its own: the main one serves, and is where signals arrive. ``failed``: a step went wrong."""

    def __init__(self, *, started: float, stop_when_told: bool) -> None:
        self.failed = False
        self._started = started
        self._stop_when_told = stop_when_told
        self._told = False
        self._leaving = threading.Event()

    @contextlib.contextmanager
    def telling(self, url: str) -> Iterator[None]:
        """Begins the story, and ends it when the serving ends, be it in the middle of a step."""
        thread = threading.Thread(target=self._tell, args=(url,), name="demo", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._leaving.set()
            click.echo("Stopped serving." if self._told else "Stopping; a job at work gets up to ten seconds.", err=True)
            thread.join(timeout=2)

    def _tell(self, url: str) -> None:
        from mlsys.cli import demo_story
        from mlsys.client import ClientError

        try:
            demo_story.tell(url, started=self._started, leaving=self._leaving)
        except demo_story.Left:
            return
        except (ClientError, demo_story.StepFailed) as error:
            self.failed = not self._leaving.is_set()
            if self.failed:
                click.secho(f"The demo stopped here: {error}", fg="red", err=True)
        except Exception:
            self.failed = True
            logging.getLogger(__name__).exception("the demo failed unexpectedly")
        self._told = True
        if self._stop_when_told:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        elif not self._leaving.is_set():
            click.echo(f"mlsys goes on serving at {url}; stop with Ctrl-C.", err=True)
