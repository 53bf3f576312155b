"""Opens the home of a command. A mistyped one is refused: only commands that begin something make a home."""

from typing import TYPE_CHECKING

import click
import sqlalchemy as sa

from mlsys import errors
from mlsys.config import Config

if TYPE_CHECKING:
    from mlsys.system import System

_FOUNDING = frozenset({"train", "backtest", "token create", "db upgrade", "datasets create", "schedules create", "webhooks add"})
"""Those that make sense before anything is there, beside ``serve``, ``demo`` and ``restore``."""


def opened(config: Config) -> "System":
    """A built system, not yet started. Raises ConfigError for a home that is not there, unless the command may begin one."""
    from mlsys import bootstrap

    words = click.get_current_context().command_path.split()[1:]
    if " ".join(words) not in _FOUNDING and not _there(config):
        raise errors.ConfigError(f"Nothing is there: no mlsys was ever at work in {named(config)}. {REMEDY}")
    return bootstrap.build(config)


def named(config: Config) -> str:
    """Home and database for people; never a password."""
    if not config.database.url:
        return f"the home {config.home.absolute()} (database embedded)"
    url = sa.make_url(config.database.url).set(password=None, query={})
    return f"the home {config.home.absolute()} (database {url.render_as_string()})"


REMEDY = "Check --home (MLSYS_HOME) and database.url (MLSYS_DATABASE__URL)."


def _there(config: Config) -> bool:
    return config.home.is_dir() if config.database.url else (config.home / "database").is_dir()
