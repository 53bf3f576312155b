"""A source that breaks its process, as a component with a fault in its native code does: no exception, no second chance."""

import ctypes
import os
import re
import signal
from pathlib import Path
from typing import Any

import front
import numpy as np

from mlsys.pipelines.base import DataSource

MIB = 2**20


class Breaking(DataSource):
    """``how``: null, lightgbm, or memory (takes 800 MiB, and is killed, if the file ``mark`` is there)."""

    def __init__(self, *, how: str, mark: str = "") -> None:
        self.how = how
        self.mark = mark

    def get_dataframe(self) -> Any:
        if self.how == "null":
            ctypes.string_at(0)
        elif self.how == "lightgbm":
            load_damaged()
        elif Path(self.mark).exists():
            Path(self.mark).unlink()
            taken = [np.ones(MIB) for _ in range(100)]
            os.kill(os.getpid(), len(taken) and signal.SIGKILL)  # where nothing limits it: the signal that the kernel sends
        return front.hourly().set_index("time")


def load_damaged() -> None:
    """A text model whose nodes point nowhere: LightGBM follows them."""
    import lightgbm as lgb

    x = np.random.default_rng(0).normal(size=(500, 3))
    text = lgb.train({"num_iterations": 2, "num_leaves": 4, "verbose": -1}, lgb.Dataset(x, x[:, 0])).model_to_string()
    text = re.sub(r"left_child=.*", "left_child=200000000 200000000 200000000", text)
    lgb.Booster(model_str=re.sub(r"tree_sizes=.*\n", "", text)).predict(x)
