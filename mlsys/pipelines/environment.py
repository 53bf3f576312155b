"""What a result depends on beside code and data: library versions, threads, number type, seeds. Recorded with every run, for replays."""

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

LIBRARIES = ("mlsys", "numpy", "pandas", "pyarrow", "lightgbm")


def describe(*, threads: int, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """``recipe``: the definition's ``model`` mapping, seeds among its params; what a model chose by itself is in its artifact."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
        "threads": threads,
        "dtype": "float64",
        "model": dict(recipe),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return None
