"""Check ``schema``: does the source hold columns that the model in use does not know? They are left out; a missing one is an error."""

import pandas as pd

from mlsys.pipelines import base
from mlsys.records import Verdict


class Schema(base.DataCheck):
    """No options. A warning."""

    def check(self, frame: pd.DataFrame, context: base.CheckContext) -> Verdict:
        names = context.dropped
        told = (
            f"new, and not used: {', '.join(names)}; name them in `exogenous` to train on them" if names else "the columns that are known"
        )
        return Verdict(name="schema", passed=not names, value=len(names), threshold=0, detail=told, blocking=False)
