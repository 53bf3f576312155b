"""``mlsys backtest``: what a model would have forecast over a range of the past, followed to its end. Exit 1 when the run failed."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from mlsys import client, logs
from mlsys.cli import figures, tables
from mlsys.cli.connection import connected
from mlsys.cli.options import as_json, configured, read_config
from mlsys.client import Api

PARQUET = "application/vnd.apache.parquet"


@click.command(help="Forecast a range of the past from rolling origins, each from what was known then, and score it beside baselines.")
@click.argument("model_name", metavar="MODEL")
@click.option("--start", "--start-date", "start_date", required=True, help="First day, or an instant: the first origin.")
@click.option("--end", "--end-date", "end_date", required=True, help="Last day (included), or an instant (excluded).")
@click.option("--step", help="From one origin to the next, for example P1D (default: the horizon).")
@click.option("--refit", help="never (default), or after how many steps the model is fit anew.")
@click.option("--window", help="Length of the training data, for example P365D (default), or expanding: all there is.")
@click.option("--horizon", help="How far each forecast reaches (default: the model's).")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Also write the rows, as parquet, to this file.")
@as_json
@configured
def backtest(config_file: Path | None, home: Path | None, json_: bool, model_name: str, output: Path | None, **asked: Any) -> None:
    config = read_config(config_file, home)
    logs.configure(config, quiet=True)
    with connected(config) as api:
        run = api.call("POST", f"/models/{model_name}/backtest", body={name: value for name, value in asked.items() if value is not None})
        with tables.progress(run, quiet=json_) as show:
            run = client.follow(api, run, on_change=show)
        if output is not None and run["status"] == "succeeded":
            _write(api, run, output)
    if json_:
        click.echo(json.dumps(run, indent=2))
    else:
        tables.show_run(run)
        if run["result"]:
            figures.show_backtest(run["result"])
    if run["status"] != "succeeded":
        sys.exit(1)


def _write(api: Api, run: Any, output: Path) -> None:
    parts = api.fetch(f"/models/{run['model_name']}/predictions", PARQUET, query={"run_id": run["id"]})
    try:
        with output.open("wb") as file:
            file.writelines(parts)
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written ({error.strerror}).") from None
