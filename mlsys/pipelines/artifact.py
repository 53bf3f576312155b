"""A forecaster as bytes and back: canonical JSON, trees as text, no pickle. Equal models have equal bytes.

No id, clock time or path goes in (a training range is data): the sha256 of the bytes is the model's identity. Load only bytes whose hash is
known to the registry: LightGBM does not survive every damaged text.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlsys import errors
from mlsys.pipelines import base, build, calendar, definition, featurise
from mlsys.pipelines import profile as profiles
from mlsys.pipelines.forecaster import Forecaster
from mlsys.pipelines.scaling import Scaling

FORMAT, VERSION = "mlsys-forecaster", 1


def to_bytes(forecaster: Forecaster, *, seen: profiles.Profile | None = None) -> bytes:
    """Canonical JSON: sorted keys, UTF-8, no spaces, floats in their shortest exact form. ``seen``: the days it was trained on."""
    setup, (start, end, rows) = forecaster.setup, forecaster.trained
    content = {
        "format": FORMAT,
        "version": VERSION,
        "layout": definition.layout_data(setup.layout),
        "features": setup.features,
        "moving": setup.moving,
        "categories": setup.categories,
        "beat": setup.beat,
        "columns": forecaster.columns,
        "model": forecaster.model,
        "fitted": forecaster.fitted.to_data(),
        "clip": forecaster.clip,
        "reach": forecaster.reach,
        "sizes": [[*key, size] for key, size in sorted(forecaster.scaling.sizes.items())],
        "trained": {"start": start.isoformat(), "end": end.isoformat(), "rows": rows},
        **({} if seen is None else {"seen": profiles.to_data(seen)}),
    }
    return json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def from_bytes(data: bytes, *, ports: base.Ports) -> Forecaster:
    """Raises DamagedArtifact for anything but a whole artifact of this version."""
    try:
        content = json.loads(data)
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise errors.DamagedArtifact("The stored model has a format that this release does not read; train a new version.")
        return _forecaster(content, ports)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise errors.DamagedArtifact("The stored model is damaged; promote another version or train a new one.") from error


def profile(data: bytes) -> profiles.Profile | None:
    """The days that this model was trained on; None where it does not tell (a twin, an older release). Raises DamagedArtifact."""
    try:
        seen = json.loads(data).get("seen")
        return None if seen is None else profiles.from_data(seen)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise errors.DamagedArtifact("The stored model is damaged; what it was trained on cannot be read.") from error


def build_model(recipe: Mapping[str, Any], ports: base.Ports) -> base.Model:
    """The model component of a definition's ``model`` mapping. One that forecasts no quantiles has no such option."""
    given = {name: value for name, value in recipe.items() if name != "tuning" and (name != "quantiles" or value)}
    return build.build(base.Model, given, ports=ports, field="model")


def _forecaster(content: Mapping[str, Any], ports: base.Ports) -> Forecaster:
    features, trained = content["features"], content["trained"]
    setup = featurise.Setup(
        layout=definition.layout(content["layout"]),
        features=features,
        moving={name: (float(low), float(high)) for name, (low, high) in content["moving"].items()},
        categories=content["categories"],
        beat=calendar.Beat(int(content["beat"][0]), bool(content["beat"][1])),
        components=featurise.components(features, ports),
    )
    low, high = content["clip"]
    reach = content.get("reach")  # this and sizes are absent from what earlier versions stored
    sizes = {tuple(key): float(size) for *key, size in content.get("sizes", [])}
    return Forecaster(
        setup=setup,
        model=content["model"],
        fitted=build_model(content["model"], ports).load(content["fitted"]),
        columns=tuple(content["columns"]),
        clip=(float(low), float(high)),
        trained=(datetime.fromisoformat(trained["start"]), datetime.fromisoformat(trained["end"]), int(trained["rows"])),
        reach=(float(reach[0]), float(reach[1])) if reach else None,
        scaling=Scaling(sizes=sizes),
    )
