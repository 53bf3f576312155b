"""Check ``frozen_exogenous``: does an exogenous feed stand still for over 12 hours? A warning: cleaning takes such stretches as missing."""

import pandas as pd

from mlsys.pipelines import base, cleaning, featurise
from mlsys.records import Verdict


class FrozenExogenous(base.DataCheck):
    """No options."""

    def check(self, frame: pd.DataFrame, context: base.CheckContext) -> Verdict:
        layout = context.layout
        names = [name for name in layout.exogenous or () if name in frame]
        series = list(featurise.split(frame, layout).values()) if len(frame) and names else []
        moving = cleaning.learn(series, names, layout) if series else {}
        touched = sum(cleaning.clean(one, moving, layout)[1] for one in series)
        share = touched / len(frame) if len(frame) else 0.0
        days = touched * pd.Timedelta(layout.frequency) / pd.Timedelta(days=1)
        detail = f"{share:.1%} of the rows ({days:.1f} days) are frozen or all zero: taken as missing" if touched else "no dead stretch"
        return Verdict(name="frozen_exogenous", passed=touched == 0, value=round(share, 4), threshold=0.0, detail=detail, blocking=False)
