"""What a model of trees learns: the level, the change since the last comparable day, or both. Imports fast.

Trees cannot forecast beyond what they saw. Where a series has a trend they had better learn the change; where it has none the level is the
safer; the mean of the two was the best on most series tried (benchmarks/quality.py), so one alone must show that it is better.
"""

from typing import TYPE_CHECKING, Any

from mlsys.pipelines.names import REFERENCE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

BOTH, LEVEL, DIFFERENCE = "level+difference", "level", "difference"
TRIAL = {"num_iterations": 100, "learning_rate": 0.1}
MOST_ROWS, SHARE = 6000, 0.7
GAIN = 0.05  # the trial itself varies by 2 to 3 % from sample to sample


def members(form: str, count: int) -> list[str]:
    """What each of ``count`` sets of trees learns: both in turn (then at least two)."""
    return [(LEVEL, DIFFERENCE)[i % 2] for i in range(max(count, 2))] if form == BOTH else [form] * count


def base(features: "pd.DataFrame", otherwise: float) -> "npt.NDArray[np.float64]":
    """What a change counts from: the last value at the row's time of day; ``otherwise`` where there is none, or no such feature."""
    import numpy as np

    if REFERENCE not in features:
        return np.full(len(features), otherwise)
    last = features[REFERENCE].to_numpy(dtype=np.float64)
    return np.where(np.isnan(last), otherwise, last)


def choose(features: "pd.DataFrame", labels: "npt.NDArray[np.float64]", *, settings: dict[str, Any], threads: int, seed: int) -> str:
    """By a small trial: fitted to the first part of (a sample of) the rows, scored on the rest. The same rows give the same answer."""
    import numpy as np
    import pandas as pd

    from mlsys.pipelines import boosting, calendar

    if REFERENCE not in features:
        return LEVEL
    instants = calendar.instants(pd.DatetimeIndex(features.index))
    order = np.argsort(instants, kind="stable")
    order = order[:: -(-len(order) // MOST_ROWS)]
    cut = int(np.searchsorted(instants[order], instants[order[int(len(order) * SHARE)]]))
    early, late = order[:cut], order[cut:]
    rows, categorical = boosting.matrix(features)
    start = base(features, float(np.median(labels)))
    quiet = boosting.Progress(reporter=None, total=0)
    trees = boosting.Booster.of(rows[early], categorical, settings={**settings, **TRIAL}, threads=threads, progress=quiet)
    level = trees.fit(labels[early], seed=seed).predict(rows[late], num_threads=1)
    change = trees.fit((labels - start)[early], seed=seed).predict(rows[late], num_threads=1) + start[late]
    level = np.clip(level, labels[early].min(), labels[early].max())
    tried = {BOTH: (level + change) / 2, LEVEL: level, DIFFERENCE: change}
    error = {form: float(np.mean(np.abs(forecast - labels[late]))) for form, forecast in tried.items()}
    best = min(error, key=lambda form: error[form])
    return best if error[best] < (1 - GAIN) * error[BOTH] else BOTH
