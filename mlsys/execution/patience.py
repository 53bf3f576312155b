"""Tries again what a run cannot do without, while the database is away. What succeeds at once, as nearly all does, pays nothing for it."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import tenacity

from mlsys import errors

P = ParamSpec("P")
T = TypeVar("T")
_again = tenacity.retry(
    retry=tenacity.retry_if_exception_type(errors.DatabaseUnavailable),
    wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=5),
    stop=tenacity.stop_after_delay(120),
    reraise=True,
)


def patient(call: Callable[P, T]) -> Callable[P, T]:
    """Raises DatabaseUnavailable after two minutes. What is called may have taken effect although it raised that."""
    again = _again(call)

    @functools.wraps(call)
    def first(*args: P.args, **given: P.kwargs) -> T:
        try:
            return call(*args, **given)
        except errors.DatabaseUnavailable:
            return again(*args, **given)

    return first
