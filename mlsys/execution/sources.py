"""Settles a definition whose source is a data set: it must exist and fit, and it says itself when its rows became known."""

from typing import Any

from mlsys import errors
from mlsys.records import Dataset, Json
from mlsys.registry.datasets import Standing, unknown
from mlsys.registry.unit_of_work import UnitOfWork


def settled(unit: UnitOfWork, definition: Json) -> dict[str, Any]:
    """The definition with the data set's created_at; any other source's as it is. Raises Invalid({"dataset": ...})."""
    source = definition["source"]
    if source["type"] != "dataset":
        return dict(definition)
    dataset = unit.datasets.find(str(source.get("name", "")))
    if dataset is None:
        raise errors.Invalid({"dataset": unknown(str(source.get("name", ""))).message})
    fault = _fault(dataset, definition)
    if fault:
        raise errors.Invalid({"dataset": f"The data set {dataset.name!r} does not fit the model: {fault}"})
    return {**definition, "created_at": dataset.created_at}


def standing(unit: UnitOfWork, name: str) -> Standing:
    """How a data set stands now: what arrives later is stamped later, and has a higher file id even where it is history imported late."""
    unit.datasets.lock(name, shared=True)
    return unit.datasets.standing(name)


def _fault(dataset: Dataset, definition: Json) -> str | None:
    if dataset.timestamp != definition["timestamp"]:
        return f"its timestamp is the column {dataset.timestamp!r}, the model's {definition['timestamp']!r}."
    if set(dataset.series_key) != set(definition["series_key"]):
        keys = [", ".join(names) or "none" for names in (dataset.series_key, definition["series_key"])]
        return f"it tells series apart by {keys[0]}, the model by {keys[1]}."
    if dataset.columns is None:
        return "it holds no rows yet; append some first."
    if definition["created_at"] not in (None, dataset.created_at):
        return f"its rows tell when they became known as {dataset.created_at!r}, the model expects {definition['created_at']!r}."
    return None
