"""Stored models and data files that were tampered with, and files that are something else than their name says."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import front

from security.inputs.uploads import Evil
from security.table import A_RUN, Attack, ended, post, rows
from security.target import Answer, Target

MARK = Path("/tmp/mlsys-unpickled")


def predict(**changes: object) -> Attack:
    return ended(post("/job/predict", front.PREDICT | changes, Prefer="wait=60"))


def tampered(change: Callable[[bytes], bytes]) -> Attack:
    """The bytes of the version in production changed where they are stored, a prediction, and the bytes put back."""

    def attack(target: Target) -> Answer | str:
        sha256 = target.ask("GET", "/models/quick/production").json["artifact"]["sha256"]
        found = target.served.home / "artifacts" / sha256[:2] / sha256[2:]
        good = found.read_bytes()
        found.unlink()
        found.write_bytes(change(good))
        try:
            outcome = predict()(target)
        finally:
            found.write_bytes(good)
        return f"{outcome}, and something ran" if MARK.exists() else outcome

    return attack


def trees(change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    """Changes LightGBM's own text within the artifact."""

    def changed(data: bytes) -> bytes:
        text = data.decode()
        assert change(text) != text
        return change(text).encode()

    return changed


def file(name: str, data: bytes) -> Attack:
    """A file of the data root that is not what its name says."""

    def attack(target: Target) -> Answer | str:
        path = target.data / name
        path.write_bytes(data)
        try:
            outcome = ended(post("/job/train", front.TRAIN | {"file_path": name, "promote": "never"}, Prefer="wait=60"))(target)
        finally:
            path.unlink()
        return f"{outcome}, and something ran" if MARK.exists() else outcome

    return attack


ROWS = rows(
    "stored models",
    ("half", tampered(lambda data: data[: len(data) // 2]), "failed damaged_artifact"),
    ("nothing", tampered(lambda data: b""), "failed damaged_artifact"),
    ("one digit", tampered(trees(lambda text: text.replace("leaf_value=", "leaf_value=1", 1))), "failed damaged_artifact"),
    ("a cycle in a tree", tampered(trees(lambda text: text.replace("left_child=1", "left_child=0", 1))), "failed damaged_artifact"),
    (
        "a child that is not there",
        tampered(trees(lambda text: text.replace("left_child=1", "left_child=999999", 1))),
        "failed damaged_artifact",
    ),
    ("more leaves than told", tampered(trees(lambda text: text.replace("num_leaves=", "num_leaves=9", 1))), "failed damaged_artifact"),
    ("pickle", tampered(lambda data: pickle.dumps(Evil())), "failed damaged_artifact"),
    ("100,000 brackets", tampered(lambda data: b"[" * 100_000), "failed damaged_artifact"),
    (
        "another model's parts",
        tampered(lambda data: json.dumps({"format": "mlsys-forecaster", "version": 1}).encode()),
        "failed damaged_artifact",
    ),
    ("pickle that calls itself parquet", file("evil.parquet", pickle.dumps(Evil())), "failed bad_data"),
    ("pickle that calls itself CSV", file("evil.csv", pickle.dumps(Evil())), "failed bad_data"),
    ("parquet that ends too soon", file("cut.parquet", b"PAR1" + b"\xff" * 4000 + b"PAR1"), "failed bad_data"),
    may_change=A_RUN,
)
