"""Model ``lightgbm``: gradient-boosted trees, several seeds averaged. The same rows give the same trees on any number of threads.

lightgbm is imported only when a model is fitted or loaded: definitions are checked against this class by processes that never train.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mlsys import errors
from mlsys.pipelines import base

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

END = "end of trees\n"
SMALL = 60  # min_child_samples, lowered where there are fewer than a hundred times as many rows
ALIASES = {"n_estimators": "num_iterations"}
DEFAULTS: Mapping[str, Any] = {
    "objective": "l1", "num_iterations": 300, "learning_rate": 0.05, "num_leaves": 31, "max_depth": -1, "max_bin": 127,
    "feature_fraction": 0.6, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l1": 0.0, "lambda_l2": 5.0, "min_gain_to_split": 0.0,
    "seed": 0, "seeds": 3,
}  # fmt: skip


class LightGBM(base.Model):
    """``params``: see ``parameters``; the defaults are a good recipe for series of a few thousand rows and more."""

    parameters: ClassVar[Mapping[str, base.Parameter]] = {
        "objective": base.Parameter(type=str, choices=("l1", "l2", "huber")),
        "num_iterations": base.Parameter(type=int, low=1, high=20_000),
        "n_estimators": base.Parameter(type=int, low=1, high=20_000),
        "learning_rate": base.Parameter(type=float, low=1e-4, high=1),
        "num_leaves": base.Parameter(type=int, low=2, high=4096),
        "max_depth": base.Parameter(type=int, low=-1, high=64),
        "max_bin": base.Parameter(type=int, low=7, high=1023),
        "min_child_samples": base.Parameter(type=int, low=1, high=100_000),
        "min_gain_to_split": base.Parameter(type=float, low=0, high=1e6),
        "feature_fraction": base.Parameter(type=float, low=0.01, high=1),
        "bagging_fraction": base.Parameter(type=float, low=0.01, high=1),
        "bagging_freq": base.Parameter(type=int, low=0, high=1000),
        "lambda_l1": base.Parameter(type=float, low=0, high=1e6),
        "lambda_l2": base.Parameter(type=float, low=0, high=1e6),
        "seed": base.Parameter(type=int, low=0, high=2**30),
        "seeds": base.Parameter(type=int, low=1, high=20),
    }

    def __init__(self, *, params: Mapping[str, Any] | None = None) -> None:
        self._params = {**DEFAULTS, **{ALIASES.get(name, name): value for name, value in (params or {}).items()}}

    def fit(self, features: "pd.DataFrame", target: "pd.Series[float]", *, reporter: base.Reporter, threads: int = 1) -> "FittedLightGBM":
        import lightgbm as lgb
        import numpy as np

        rows, categorical = matrix(features)
        settings = {name: value for name, value in self._params.items() if name not in ("seed", "seeds")}
        settings.setdefault("min_child_samples", max(5, min(SMALL, len(rows) // 100)))
        fixed = {"deterministic": True, "force_row_wise": True, "verbosity": -1, "num_threads": threads}
        labels = np.asarray(target, dtype=np.float64)  # labels from Arrow are read as float32, from NumPy as given
        data = lgb.Dataset(rows, labels, categorical_feature=categorical, params=settings | fixed)  # binned once for all seeds
        size, rounds = self._params["seeds"], settings["num_iterations"]
        boosters = [
            lgb.train(settings | fixed | _seeds(self._params["seed"] + i), data, callbacks=[_report(reporter, i * rounds, size * rounds)])
            for i in range(size)
        ]
        recorded = settings | {"seed": self._params["seed"], "seeds": size}
        return FittedLightGBM(boosters=boosters, columns=list(features.columns), params=recorded)

    def load(self, data: Mapping[str, Any]) -> "FittedLightGBM":
        return FittedLightGBM.from_data(data)


class FittedLightGBM(base.FittedModel):
    """The mean of ``boosters``. ``params`` are those that were used, the automatic ones included."""

    def __init__(self, *, boosters: Sequence[Any], columns: Sequence[str], params: Mapping[str, Any]) -> None:
        self._boosters, self._columns, self._params = boosters, list(columns), dict(params)

    def predict(self, features: "pd.DataFrame") -> "pd.DataFrame":
        import numpy as np
        import pandas as pd

        if list(features.columns) != self._columns:
            raise errors.BadData("The features of the data are not those the model was trained on.")
        rows, _ = matrix(features)
        total = np.zeros(len(rows))
        if len(rows):
            for booster in self._boosters:
                total += booster.predict(rows, num_threads=1)
        return pd.DataFrame({"prediction": total / len(self._boosters)}, index=features.index)

    def gain(self) -> "pd.Series[float]":
        """The mean over the boosters."""
        import numpy as np
        import pandas as pd

        found = np.mean([booster.feature_importance("gain") for booster in self._boosters], axis=0)
        gain: pd.Series[float] = pd.Series(np.asarray(found, dtype=np.float64), index=self._columns)
        return gain

    def contributions(self, features: "pd.DataFrame") -> "pd.DataFrame":
        """LightGBM's own (Tree SHAP, Lundberg et al. 2020), the mean over the boosters."""
        import numpy as np
        import pandas as pd

        rows, _ = matrix(features)
        found = np.mean([booster.predict(rows, pred_contrib=True, num_threads=1) for booster in self._boosters], axis=0)
        return pd.DataFrame(found, index=features.index, columns=[*self._columns, base.BASE])

    def to_data(self) -> dict[str, Any]:
        return {"trees": [trees(booster.model_to_string()) for booster in self._boosters], "columns": self._columns, "params": self._params}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "FittedLightGBM":
        """Only for bytes whose hash is known: LightGBM can end the whole process on a damaged text."""
        import lightgbm as lgb

        if not data["trees"] or not all(text.startswith("tree\n") and text.endswith(END) for text in data["trees"]):
            raise errors.DamagedArtifact("The stored model holds no trees.")
        boosters = [lgb.Booster(model_str=text) for text in data["trees"]]
        return cls(boosters=boosters, columns=data["columns"], params=data["params"])


def trees(text: str) -> str:
    """The trees alone of LightGBM's model text: what follows names the number of threads, and importances in an order of chance."""
    return text.partition(END)[0] + END


def matrix(features: "pd.DataFrame") -> "tuple[npt.NDArray[np.float64], list[int]]":
    """Features as float64 (rows x columns), categories as codes (-1: unknown, which LightGBM takes as missing), and which these are."""
    import numpy as np
    import pandas as pd

    categorical = [i for i, kind in enumerate(features.dtypes) if isinstance(kind, pd.CategoricalDtype)]
    if categorical:
        names = features.columns[categorical]
        features = features.assign(**{name: features[name].cat.codes.astype(np.float64) for name in names})
    return np.ascontiguousarray(features.to_numpy(dtype=np.float64)), categorical


def _seeds(seed: int) -> dict[str, int]:
    """Only the seeds that differ between members; ``data_random_seed`` belongs to the shared, binned data."""
    return {"bagging_seed": seed, "feature_fraction_seed": seed + 1, "extra_seed": seed + 2, "objective_seed": seed + 3}


def _report(reporter: base.Reporter, before: int, total: int) -> Callable[[Any], None]:
    """A callback that tells of every round (a reporter leaves most of them out by itself), and lets Cancelled end the training."""

    def tell(state: Any) -> None:
        reporter.progress("fit", before + state.iteration + 1, total)

    return tell
