"""What a result depends on beside code and data: library versions, threads, number type, seeds. Recorded with every run, for replays."""

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import mlsys

LIBRARIES = ("mlsys", "numpy", "pandas", "pyarrow", "duckdb", "scipy", "lightgbm", "optuna", "holidays")


def describe(*, threads: int, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """``recipe``: the definition's ``model`` mapping, seeds among its params; what a model chose by itself is in its artifact."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
        "code": _code(),
        "machine": platform.machine(),
        "threads": threads,
        "dtype": "float64",
        "model": dict(recipe),
    }


@cache
def _code() -> str:
    """First 16 digits of the sha256 over our own source files: a version number alone does not tell two states of a source tree apart."""
    digest = hashlib.sha256()
    root = Path(mlsys.__file__).parent
    for path in sorted(root.rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:16]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return None
