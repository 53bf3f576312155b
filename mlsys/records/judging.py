"""What a check found, and what was decided by it."""

from dataclasses import dataclass
from typing import Literal

from mlsys.records.data import Json

Decision = Literal["accepted", "rejected", "cannot_judge"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Outcome of one check: which value was held against which bound. ``blocking``: a failure stops the run or the promotion.

    ``ground``: a failure means that nothing can be judged; the run goes on, and the champion stays. ``data``: the rows that the value rests
    on, as {start, end (exclusive), days, rows}.
    """

    name: str
    passed: bool
    value: float | str | None = None
    threshold: float | str | None = None
    detail: str = ""
    blocking: bool = True
    ground: bool = False
    data: Json | None = None


@dataclass(frozen=True, kw_only=True)
class Validation:
    decision: Decision
    checks: tuple[Verdict, ...] = ()
