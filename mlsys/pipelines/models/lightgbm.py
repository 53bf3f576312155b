"""Model ``lightgbm``: gradient-boosted trees that learn the level, the change since the last comparable day, or both; seeds averaged.

lightgbm is imported only when a model is fitted or loaded: definitions are checked against this class by processes that never train.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mlsys import errors
from mlsys.pipelines import base, forms
from mlsys.pipelines.names import PREDICTION, REFERENCE, quantile

if TYPE_CHECKING:
    import pandas as pd

    from mlsys.pipelines.quantile_trees import QuantileTrees

SMALL = 60  # min_child_samples, lowered where there are fewer than a hundred times as many rows
ALIASES = {"n_estimators": "num_iterations"}
DEFAULTS: Mapping[str, Any] = {
    "objective": "l1", "num_iterations": 300, "learning_rate": 0.05, "num_leaves": 31, "max_depth": -1, "max_bin": 127,
    "feature_fraction": 0.6, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l1": 0.0, "lambda_l2": 5.0, "min_gain_to_split": 0.0,
    "form": "auto", "seed": 0, "seeds": 3,
}  # fmt: skip
OURS = ("form", "seed", "seeds")  # parameters that LightGBM does not know


class LightGBM(base.Model):
    """``params``: see ``parameters``; the defaults are a good recipe for series of a few hundred rows and more.

    ``form``: what the trees learn (forms.py); ``auto`` decides it on the training rows. ``quantiles``: levels to forecast beside the point.
    """

    parameters: ClassVar[Mapping[str, base.Parameter]] = {
        "objective": base.Parameter(type=str, choices=("l1", "l2", "huber")),
        "form": base.Parameter(type=str, choices=("auto", forms.LEVEL, forms.DIFFERENCE, forms.BOTH)),
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

    search: ClassVar[Mapping[str, base.Parameter]] = {
        "learning_rate": base.Parameter(type=float, low=0.02, high=0.15, log=True),
        "num_leaves": base.Parameter(type=int, low=8, high=96, log=True),
        "min_child_samples": base.Parameter(type=int, low=5, high=200, log=True),
        "feature_fraction": base.Parameter(type=float, low=0.3, high=1),
        "bagging_fraction": base.Parameter(type=float, low=0.4, high=1),
        "lambda_l2": base.Parameter(type=float, low=0.1, high=50, log=True),
    }

    def __init__(self, *, params: Mapping[str, Any] | None = None, quantiles: Sequence[float] = ()) -> None:
        self._params = {**DEFAULTS, **{ALIASES.get(name, name): value for name, value in (params or {}).items()}}
        self._levels = tuple(quantiles)

    def settle(self, features: "pd.DataFrame", target: "pd.Series[float]", *, reporter: base.Reporter, threads: int = 1) -> dict[str, Any]:
        return {"form": self._form(features, target, threads)} if self._params["form"] == "auto" else {}

    def fit(self, features: "pd.DataFrame", target: "pd.Series[float]", *, reporter: base.Reporter, threads: int = 1) -> "FittedLightGBM":
        import numpy as np
        import pandas as pd

        from mlsys.pipelines import boosting, calendar, conformal, quantile_trees

        form, settings = self._form(features, target, threads), self._settings(len(features))
        learnt = forms.members(form, self._params["seeds"])
        levels = [level for level in self._levels if level != 0.5 or self._params["objective"] != "l1"]  # which is the median
        rounds = len(learnt) * settings["num_iterations"]
        rounds += len(levels) * conformal.FOLDS * quantile_trees.smaller(settings)["num_iterations"]
        rows, categorical = boosting.matrix(features)
        progress = boosting.Progress(reporter=reporter, total=rounds)
        booster = boosting.Booster.of(rows, categorical, settings=settings, threads=threads, progress=progress)
        labels = np.asarray(target, dtype=np.float64)
        otherwise = float(np.median(labels))
        start, seed = forms.base(features, otherwise), self._params["seed"]
        trees: dict[str, list[Any]] = {forms.LEVEL: [], forms.DIFFERENCE: []}
        for i, member in enumerate(learnt):
            trees[member].append(booster.fit(labels if member == forms.LEVEL else labels - start, seed=seed + i))
        quantiles = None
        if levels:
            instants = calendar.instants(pd.DatetimeIndex(features.index))
            quantiles = quantile_trees.fit(booster, rows, labels, start, instants=instants, levels=levels, form=form, seed=seed)
        recorded = settings | {"form": form, "seed": seed, "seeds": self._params["seeds"]}
        return FittedLightGBM(
            trees=trees, otherwise=otherwise, quantiles=quantiles, levels=self._levels, columns=list(features.columns), params=recorded
        )

    def load(self, data: Mapping[str, Any]) -> "FittedLightGBM":
        return FittedLightGBM.from_data(data)

    def _settings(self, rows: int) -> dict[str, Any]:
        automatic = {"min_child_samples": max(5, min(SMALL, rows // 100))}
        return automatic | {name: value for name, value in self._params.items() if name not in OURS}

    def _form(self, features: "pd.DataFrame", target: "pd.Series[float]", threads: int) -> str:
        import numpy as np

        if self._params["form"] != "auto":
            return str(self._params["form"])
        labels = np.asarray(target, dtype=np.float64)
        return forms.choose(features, labels, settings=self._settings(len(labels)), threads=threads, seed=self._params["seed"])


class FittedLightGBM(base.FittedModel):
    """``trees``: by what they learnt; the forecast is the mean of those kinds, each the mean of its trees. ``otherwise``: what changes
    count from where there is no last value. ``params`` are those that were used, the automatic ones included."""

    def __init__(
        self,
        *,
        trees: Mapping[str, Sequence[Any]],
        otherwise: float,
        quantiles: "QuantileTrees | None",
        levels: Sequence[float],
        columns: Sequence[str],
        params: Mapping[str, Any],
    ) -> None:
        self._trees = {form: list(boosters) for form, boosters in trees.items() if boosters}
        self._otherwise, self._quantiles, self._levels = otherwise, quantiles, tuple(levels)
        self._columns, self._params = list(columns), dict(params)

    @property
    def extrapolates(self) -> bool:
        return forms.LEVEL not in self._trees

    def predict(self, features: "pd.DataFrame") -> "pd.DataFrame":
        import numpy as np
        import pandas as pd

        from mlsys.pipelines import boosting

        if list(features.columns) != self._columns:
            raise errors.BadData("The features of the data are not those the model was trained on.")
        rows, _ = boosting.matrix(features)
        start = forms.base(features, self._otherwise)
        kinds = [boosting.mean(trees, rows) + (0.0 if form == forms.LEVEL else start) for form, trees in self._trees.items()]
        point = np.mean(kinds, axis=0)
        found = {PREDICTION: point, **{quantile(level): point for level in self._levels}}
        if self._quantiles is not None:
            shifted = self._quantiles.predict(rows, start)
            found |= {quantile(level): shifted[:, i] for i, level in enumerate(self._quantiles.levels)}
        return pd.DataFrame(found, index=features.index)

    def gain(self) -> "pd.Series[float]":
        """The mean over all sets of trees."""
        import numpy as np
        import pandas as pd

        every = [booster for boosters in self._trees.values() for booster in boosters]
        found = np.mean([booster.feature_importance("gain") for booster in every], axis=0)
        gain: pd.Series[float] = pd.Series(np.asarray(found, dtype=np.float64), index=self._columns)
        return gain

    def contributions(self, features: "pd.DataFrame") -> "pd.DataFrame":
        """LightGBM's own (Tree SHAP, Lundberg et al. 2020), the mean over the kinds; what a change counts from is the last value's part."""
        import numpy as np
        import pandas as pd

        from mlsys.pipelines import boosting

        rows, _ = boosting.matrix(features)
        kinds = [np.mean([one.predict(rows, pred_contrib=True, num_threads=1) for one in trees], axis=0) for trees in self._trees.values()]
        found = pd.DataFrame(np.mean(kinds, axis=0), index=features.index, columns=[*self._columns, base.BASE])
        if forms.DIFFERENCE in self._trees:
            found[base.BASE] += self._otherwise / len(kinds)
            if REFERENCE in found:
                found[REFERENCE] += (forms.base(features, self._otherwise) - self._otherwise) / len(kinds)
        return found

    def to_data(self) -> dict[str, Any]:
        from mlsys.pipelines import boosting

        data: dict[str, Any] = {
            "trees": boosting.to_texts(self._trees.get(forms.LEVEL, [])),
            "columns": self._columns,
            "params": self._params,
        }
        if forms.DIFFERENCE in self._trees:
            data |= {"difference": boosting.to_texts(self._trees[forms.DIFFERENCE]), "otherwise": self._otherwise}
        if self._levels:
            data |= {"levels": list(self._levels), "quantiles": self._quantiles.to_data() if self._quantiles else None}
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "FittedLightGBM":
        """Only for bytes whose hash is known: LightGBM can end the whole process on a damaged text."""
        from mlsys.pipelines import boosting, quantile_trees

        trees = {forms.LEVEL: boosting.from_texts(data["trees"]), forms.DIFFERENCE: boosting.from_texts(data.get("difference", []))}
        if not any(trees.values()):
            raise errors.DamagedArtifact("The stored model holds no trees.")
        return cls(
            trees=trees,
            otherwise=data.get("otherwise", 0.0),
            quantiles=quantile_trees.from_data(data["quantiles"]) if data.get("quantiles") else None,
            levels=data.get("levels", ()),
            columns=data["columns"],
            params=data["params"],
        )
