"""Figures of forecasts (errors, skill, coverage) as tables in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlsys.cli import tables


def show(title: str, column: str, items: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """``items``: (label, figures). Columns that hold nothing in any row are left out."""
    baselines = list(dict.fromkeys(name for _, one in items for name in one["baselines"]))
    columns = ["rows", "mae", "rmse", "bias", "skill", *(f"{name} mae" for name in baselines), "coverage", "pinball"]
    rows = [
        [one["rows"], one["mae"], one["rmse"], one["bias"], one["skill"], *_of(one, baselines), one["coverage"], one["pinball"]]
        for _, one in items
    ]
    filled = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    cells = [[label, *(row[i] for i in filled)] for (label, _), row in zip(items, rows, strict=True)]
    tables.show_table(title, [column, *(columns[i] for i in filled)], cells, empty=f"{title}: no row could be scored.")


def show_backtest(result: Mapping[str, Any]) -> None:
    tables.say("")
    show("All rows", "", [("", result["overall"])])
    for title, part, name in (("By lead time", "by_lead_time", "lead_time"), ("By month", "by_month", "month")):
        tables.say("")
        show(title, name.replace("_", " "), [(one[name], one) for one in result[part]])


def _of(one: Mapping[str, Any], baselines: Sequence[str]) -> list[Any]:
    return [one["baselines"].get(name, {}).get("mae") for name in baselines]
