"""One model for several series: each is learnt in its own unit, the mean size of its target in training, so that the small ones count too.

Without it the largest series decides every split, and a small one is forecast with errors of the size of the large.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mlsys.pipelines import names
from mlsys.pipelines.featurise import Features, Floats, Key


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """``sizes``: by series; empty: the data is one series, and taken as it is."""

    sizes: Mapping[Key, float]

    def of(self, keys: pd.DataFrame) -> Floats:
        """The size of each row's series; of one that training did not see, the usual size."""
        if not self.sizes or not len(keys):
            return np.ones(len(keys))
        code, series = pd.factorize(pd.MultiIndex.from_frame(keys.astype(str)))
        usual = float(np.median(list(self.sizes.values())))
        return np.array([self.sizes.get(_key(one), usual) for one in series])[code]

    def frame(self, frame: pd.DataFrame, size: Floats) -> pd.DataFrame:
        """Features in the series' own unit: the columns that are values of the target."""
        if not self.sizes:
            return frame
        return frame.assign(**{str(name): frame[name] / size for name in frame if str(name).startswith(names.TARGET)})

    def apply(self, features: Features) -> Features:
        """Features, target and naive forecast in the series' own unit."""
        if not self.sizes:
            return features
        size = self.of(features.keys)
        frame = self.frame(features.frame, size)
        return replace(features, frame=frame, target=features.target / size, reference=features.reference / size)


AS_IT_IS = Scaling(sizes={})


def learn(features: Features) -> Scaling:
    """From the rows that are fitted to. A series that is always 0 keeps its unit."""
    if not len(features.keys.columns):
        return AS_IT_IS
    code, series = pd.factorize(pd.MultiIndex.from_frame(features.keys.astype(str)))
    mean = np.bincount(code, weights=np.abs(features.target)) / np.bincount(code)
    return Scaling(sizes={_key(one): float(size) if size > 0 else 1.0 for one, size in zip(series, mean, strict=True)})


def _key(one: object) -> Key:
    return tuple(one) if isinstance(one, tuple) else (one,)
