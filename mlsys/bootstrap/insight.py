"""What is known of forecasts after they were issued: rows, accuracy, explanations, and the watch over them. Opens nothing."""

from dataclasses import dataclass

from mlsys.bootstrap.ground import Ground
from mlsys.monitoring.accuracy import Accuracy
from mlsys.monitoring.actuals import Actuals
from mlsys.monitoring.degradation import Degradation
from mlsys.monitoring.explanations import Explainer
from mlsys.monitoring.latest import Latest
from mlsys.monitoring.watch import Watch
from mlsys.timetravel.predictions import PredictionReader


@dataclass(frozen=True, kw_only=True)
class Insight:
    predictions: PredictionReader
    accuracy: Accuracy
    explainer: Explainer
    latest: Latest
    watch: Watch


def build(ground: Ground) -> Insight:
    units = ground.units
    predictions = PredictionReader(units=units, blobs=ground.blobs, engine=ground.data.engine)
    accuracy = Accuracy(units=units, predictions=predictions, actuals=Actuals(units=units, ports=ground.quiet))
    latest = Latest(units=units, accuracy=accuracy)
    return Insight(
        predictions=predictions,
        accuracy=accuracy,
        explainer=Explainer(units=units, ports=ground.quiet),
        latest=latest,
        watch=Watch(degradation=Degradation(units=units, accuracy=accuracy), latest=latest, signals=ground.signals),
    )
