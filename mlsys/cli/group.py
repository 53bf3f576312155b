"""The ``mlsys`` command: names and one-line helps of all commands, and how expected errors leave the process."""

import importlib
import sys
from typing import Any

import click

import mlsys
from mlsys import errors
from mlsys.plain import escaped

COMMANDS = {
    "serve": ("serving", "Serve the HTTP API and work on the queue, until stopped."),
    "demo": ("demo", "Train, promote, retrain and predict on real sample data, then keep serving."),
    "train": ("jobs", "Train a model, check it, promote it if the gate accepts it."),
    "predict": ("jobs", "Predict with the version in production, or the one named."),
    "replay": ("replay", "Do an old run again and compare: identical, or what differs and why."),
    "runs": ("runs", "List runs, or show one with its log."),
    "models": ("models", "List models, or show one with its versions."),
    "promote": ("models", "Put a version into production by hand."),
    "demote": ("models", "Go back to the version in production before."),
    "backfill": ("backfill", "Forecasts of the past, as they would have been issued then."),
    "backtest": ("backtest", "Forecasts of the past from rolling origins, scored beside baselines."),
    "accuracy": ("accuracy", "Issued forecasts against the actuals known now."),
    "datasets": ("datasets", "Append-only data sets: list, create, show, append, rows."),
    "schedules": ("schedules", "What runs when: list, show, create, update, delete, pause, resume, trigger."),
    "events": ("events", "What happened, in order; --follow goes on with what happens."),
    "webhooks": ("webhooks", "Who is told of which events: list, add, show, change, test, rotate, replay, remove."),
    "verify": ("verify", "Check promotion chains and stored files against their hashes."),
    "token": ("tokens", "Access tokens: create, list, revoke; on the database itself, without a server."),
    "backup": ("backup", "Everything into one file, also while mlsys serves."),
    "restore": ("restore", "A home anew from a backup."),
    "gc": ("gc", "Free the stored models of old versions, and what else retention gives up."),
    "db": ("db", "Move the database's schema: upgrade, downgrade, current."),
    "check-config": ("check_config", "Check the configuration and print what is in force."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mlsys.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(mlsys.__version__, prog_name="mlsys")
def cli() -> None:
    """Forecasting models, trained, checked, promoted, used and explained, in one process.

    Exit codes: 0 done, 1 the job or the server failed, 2 wrong usage or input, an unknown name or token among it.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Runs a command and exits. Expected errors are told in one or a few lines on standard error."""
    from mlsys.client import ClientError

    try:
        cli.main(arguments, prog_name="mlsys", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except ClientError as error:
        _complain(str(error))
        sys.exit(2 if error.status in (400, 401, 403, 404, 422) else 1)
    except (errors.ConfigError, errors.Invalid, errors.NotFound) as error:
        _complain(_told(error))
        sys.exit(2)
    except errors.MlsysError as error:
        _complain(error.message)
        sys.exit(1)
    sys.exit(0)


def _complain(text: str) -> None:
    """Names and values of others are in it: as text, not as orders to the terminal."""
    click.echo(f"Error: {escaped(text, keep=chr(10))}", err=True)


def _told(error: errors.MlsysError) -> str:
    fields = error.fields if isinstance(error, errors.Invalid) else {}
    return error.message + "".join(f"\n  {name}: {' '.join(texts)}" for name, texts in fields.items())
