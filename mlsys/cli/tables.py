"""How answers of the API look in a terminal: tables, a progress bar, a run's result. Text of users is shown as text, never as markup."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from mlsys.plain import escaped

WIDE = 200  # where nobody says how wide: cells that break in the middle of a number cannot be searched for
_console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE)
_MARKS = {True: ("passed", "green"), False: ("failed", "red")}


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
    if not rows:
        say(empty)
        return
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(shown(cell)) for cell in row))
    _console.print(table)


def say(text: str) -> None:
    """Several lines where the text is ours; what is not printable in it shows as an escape."""
    _console.print(Text(escaped(text, keep="\n")))


def shown(value: Any) -> str:
    """A cell: numbers short, instants to the second, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = escaped(str(value))
    return text[:19].replace("T", " ") if len(text) > 19 and text[10:11] == "T" and text.endswith("Z") else text


@contextmanager
def progress(run: Mapping[str, Any], *, quiet: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A bar on standard error that follows a run; nothing at all when quiet."""
    if quiet:
        yield lambda _: None
        return
    with _bar() as bar:
        name = escaped(f"{run['kind']} {run['model_name']}")
        task = bar.add_task(f"{name}: {run['status']}", total=None)

        def show(now: Mapping[str, Any]) -> None:
            step = now["progress"] or {}
            said = escaped(step.get("step", now["status"]))
            bar.update(task, description=f"{name}: {said}", completed=step.get("done", 0), total=step.get("total"))

        yield show


@contextmanager
def counting(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, moved by (more done, total); nothing at all when quiet."""
    if quiet:
        yield lambda more, total: None
        return
    with _bar() as bar:
        task = bar.add_task(what, total=None)

        def show(more: int, total: int) -> None:
            bar.update(task, advance=more, total=total)

        yield show


@contextmanager
def sending(file: Path, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error for a file on its way: called with each number of bytes sent; nothing at all when quiet."""
    if quiet:
        yield lambda _: None
        return
    with _bar() as bar:
        task = bar.add_task(f"append {escaped(file.name)}", total=file.stat().st_size)
        yield lambda count: bar.advance(task, count)


def _bar() -> Progress:
    """On standard error, where that is a terminal; elsewhere it would be nothing but an empty line."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def show_run(run: Mapping[str, Any]) -> None:
    say(f"{run['kind']} {run['model_name']}: {run['status']} (run {run['id']})")
    if run["error"]:
        say(f"  {run['error']['kind']}: {run['error']['message']}")
    if run["result"]:
        _TOLD[run["kind"]](run["result"])


def _trained(result: Mapping[str, Any]) -> None:
    validation = result["validation"]
    say(f"  version {result['version']} ({result['model_version_id']}), trained on {result['data']['rows']} rows")
    show_metrics(result["metrics"])
    say(f"  the gate says: {validation['decision']}{_because(validation)}; {_became(result)}")
    show_checks(validation["checks"])


def _because(validation: Mapping[str, Any]) -> str:
    """The checks that decided, if they decided against it."""
    if validation["decision"] == "accepted":
        return ""
    ground = validation["decision"] == "cannot_judge"
    failed = [check for check in validation["checks"] if not check["passed"] and check["blocking"]]
    return f" because of {', '.join(check['name'] for check in failed if check.get('ground', False) == ground)}"


def _became(result: Mapping[str, Any]) -> str:
    if result["promoted"]:
        return "now in production"
    asked = result["validation"]["decision"] == "accepted"
    return (
        "production unchanged, as asked (with time travel it always is)" if asked else "production unchanged; mlsys promote does it by hand"
    )


def _predicted(result: Mapping[str, Any]) -> None:
    say(f"  {result['output']['rows']} rows by version {result['model_version_id']}")
    say(f"  written to {result['output']['uri']}")
    for check in result["checks"]:
        if not check["passed"]:
            say(f"  warning: {check['name']}: {check['detail']}")


def _replayed(result: Mapping[str, Any]) -> None:
    say(f"  the {result['original_kind']} run {result['original_run_id']} done again: {result['verdict']}")
    for line in replay_lines(result):
        say(f"  {line}")


def replay_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """What a replay found, and why."""
    if "reason" in result:
        yield result["reason"]
    if "max_difference" in result:
        yield f"The largest difference is {result['max_difference']:.3g}, in {result['column']}, row {result['row']}."
    if "first_difference" in result:
        first = result["first_difference"]
        yield f"First in {first['column']}, row {first['row']}: {shown(first['recorded'])}, now {shown(first['replayed'])}."
    for why in result.get("why", ()):
        if why["cause"] == "data_changed":
            yield f"The data changed: {', '.join(why['files']) or 'the source answers otherwise'}."
        else:
            yield f"Not the same {why['name']}: {shown(why['recorded'])}, now {shown(why['present'])}."


def show_metrics(metrics: Mapping[str, Any]) -> None:
    say("  " + ", ".join(f"{name} {shown(value)}" for name, value in metrics.items()))


def show_checks(checks: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for check in checks:
        word, style = _MARKS[check["passed"]] if check["blocking"] or check["passed"] else ("warning", "yellow")
        rows.append((check["name"], Text(word, style=style), check["value"], check["threshold"], check["detail"]))
    show_table("", ("check", "outcome", "value", "bound", "detail"), rows, empty="  no checks")


def _backfilled(result: Mapping[str, Any]) -> None:
    steps = result["steps"]
    made = f"{steps['made']} of {steps['total']} steps made ({result['rows']} rows)"
    say(f"  {made}, {steps['present']} were there, {steps['skipped']} skipped")
    for skipped in result["skipped"][:10]:
        say(f"  {shown(skipped['start'])}: {skipped['reason']}")


def _backtested(result: Mapping[str, Any]) -> None:
    steps = result["steps"]
    made = f"{steps['forecast']} of {steps['total']} steps forecast ({result['rows']} rows)"
    say(f"  {made}, {result['fits']} fits, horizon {result['horizon']}")
    if result["production"]["note"]:
        say(f"  {result['production']['note']}")
    for skipped in result["skipped"][:10]:
        say(f"  {shown(skipped['start'])}: {skipped['reason']}")
    say(f"  rows: {result['output']['uri']}")


_TOLD: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "train": _trained,
    "predict": _predicted,
    "backfill": _backfilled,
    "backtest": _backtested,
    "replay": _replayed,
}
