"""Runs the data checks of a window and stops a run whose data is not fit for it. The checks themselves are components in ``checks/``."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mlsys.pipelines import base, build
from mlsys.records import Verdict


def run(frame: pd.DataFrame, context: base.CheckContext, checks: Mapping[str, Mapping[str, Any]], ports: base.Ports) -> tuple[Verdict, ...]:
    """Verdicts of all ``checks`` (name -> options), each told to the reporter when not passed. Raises the first blocking one's error."""
    found = []
    for name, options in sorted(checks.items()):
        check = build.build(base.DataCheck, {"type": name, **options}, ports=ports, field=f"checks.{name}")
        verdict = check.check(frame, context)
        found.append(verdict)
        if verdict.passed:
            continue
        if verdict.blocking:
            raise check.error(verdict.detail)
        ports.reporter.log(f"{verdict.name}: {verdict.detail}", level="warning")
    return tuple(found)
