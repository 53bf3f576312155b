"""Is what a feature looks at known when a forecast is issued? Asked when a model is defined, and again where its columns are found.

A forecast reaches one horizon past its issue, so what becomes known later than a horizon before its row is the future to some rows: it is
there in training and absent in use, and every error measured on the past is too small. Imports fast.
"""

from collections.abc import Mapping
from datetime import timedelta

from mlsys import errors
from mlsys.pipelines import base, durations
from mlsys.records import Layout


def require(feature: base.Feature, layout: Layout, *, field: str) -> None:
    """Raises Invalid naming ``field`` and the part of the feature that is late."""
    reach = durations.format_duration(layout.horizon)
    late = {name: lead for name, lead in _known(feature, layout, field).items() if lead < layout.horizon}
    if late:
        texts = {f"{field}.{name}": _text(durations.format_duration(lead), reach) for name, lead in late.items()}
        raise errors.Invalid(texts, next(iter(texts.values())))


def _known(feature: base.Feature, layout: Layout, field: str) -> Mapping[str, timedelta]:
    try:
        return feature.known(layout)
    except errors.Invalid as error:
        raise errors.Invalid({f"{field}.{name}": texts for name, texts in error.fields.items()}, error.message) from None


def _text(lead: str, reach: str) -> str:
    return f"This is known {lead} before a row, but forecasts reach {reach} past their issue: leave it out, or choose a shorter horizon."
