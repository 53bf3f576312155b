"""A package of a user's, as importlib.metadata finds it, without pip."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlsys.pipelines import build


def install(folder: Path, group: str, **points: str) -> Path:
    """A folder for sys.path whose package declares these entry points (name with _ for . -> module:attribute)."""
    info = folder / "plant-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plant\nVersion: 1.0\n")
    lines = [f"{name.replace('_', '.')} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    return folder


@contextmanager
def installed(folder: Path, group: str, **points: str) -> Iterator[Path]:
    """For this process and those that it starts, until the end; what was found before is looked for anew."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(install(folder, group, **points))
        build.cache_clear()
        yield folder
    build.cache_clear()
