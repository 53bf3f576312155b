"""The built wheel, installed elsewhere: migrations, sample, pages and entry points travel with it."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; the libraries it needs are those of the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "benchmarks"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", folder, tree], check=True, capture_output=True, cwd=folder)
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (wheel,) = folder.glob("mlsys-*.whl")
    install = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True, cwd=folder)
    (site / "libraries.pth").write_text(sysconfig.get_paths()["purelib"])
    return environment / "bin" / "mlsys"


def run(command: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MLSYS_", "PYTHON"))}
    return subprocess.run([command, *arguments], capture_output=True, text=True, cwd=cwd, env=environ, timeout=120)


def test_wheel__migrates_an_embedded_database(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "db", "upgrade", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"from": null' in done.stdout
    where = subprocess.run(
        [installed.parent / "python", "-c", "import mlsys.migrations as m; print(m.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert str(installed.parents[1]) in where.stdout  # not the tree that the tests run from


def test_wheel__trains_on_its_own_sample(installed: Path, tmp_path: Path) -> None:
    quick = "params: {num_iterations: 5, seeds: 1}"
    model = f"source: {{type: parquet, path: pv_power.parquet}}, timestamp: timestamp, target: power, model: {{type: lightgbm, {quick}}}"
    (tmp_path / "config.yaml").write_text(f"models: {{quick: {{{model}}}}}\n")
    done = run(installed, "train", "quick", "--start", "2012-01-01", "--end", "2012-03-31", cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "better_than_naive" in done.stdout
