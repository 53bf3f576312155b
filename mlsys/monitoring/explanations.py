"""Explains model versions. Importances are computed when they are first asked for, not at training, which they would slow by 3 to 5 %.

They are kept with the version from then on; while the data that it was judged on cannot be read, only what the trees tell is given.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlsys import errors
from mlsys.execution import handlers, sources
from mlsys.pipelines.base import Ports
from mlsys.records import Explained, Json, ModelVersion, Run, Window
from mlsys.registry import production
from mlsys.registry.unit_of_work import Units

if TYPE_CHECKING:
    from mlsys.pipelines.explaining import ExplainSpec

UNREADABLE = (errors.BadData, errors.Invalid, errors.NotFound, errors.DamagedArtifact, errors.ConfigError)


class Explainer:
    def __init__(self, *, units: Units, ports: Callable[[], Ports]) -> None:
        self._units = units
        self._ports = ports

    def importances(self, version: ModelVersion) -> Explained:
        """Raises DamagedArtifact, Freed."""
        with self._units() as unit:
            found, run = unit.importances.find(version.model_version_id), unit.runs.get(version.run_id)
        if found is None:
            production.refuse_freed(version)
            found = self._computed(version, run)
            if found["permutation"] is not None:
                with self._units() as unit:
                    unit.importances.add(version.model_version_id, found)
                    unit.commit()
        return Explained(version=version, **found)

    def prediction(self, version: ModelVersion, at: datetime, series: tuple[Any, ...], *, known_at: datetime | None) -> Json:
        """What adds up to the forecast of ``at`` by the data known at ``known_at`` (None: now).

        Raises Invalid({"timestamp"|"series"|"data_at": ...}), Freed, BadData's kin.
        """
        from mlsys.pipelines import artifact, explaining

        production.refuse_freed(version)
        ports = self._ports()
        with self._units() as unit:
            definition = sources.settled(unit, version.spec["definition"])
        if known_at is not None and definition["created_at"] is None:
            text = "The version's data source has no created_at, so it cannot tell what was known then; leave this out."
            raise errors.Invalid({"data_at": text})
        spec = explaining.ExplainSpec(definition=definition, known_at=known_at)
        model = artifact.from_bytes(ports.blobs.get(version.artifact.sha256), ports=ports)
        return explaining.contributions(model, at, series, spec, ports)

    def _computed(self, version: ModelVersion, run: Run) -> dict[str, Any]:
        from mlsys.pipelines import artifact, explaining

        ports = handlers.as_it_stood(self._ports(), (run.result or {}).get("newest_file"))
        measured, note = None, ""
        model = artifact.from_bytes(ports.blobs.get(version.artifact.sha256), ports=ports)
        try:
            twin = artifact.from_bytes(ports.blobs.get(version.twin.sha256), ports=ports)
            measured = explaining.permuted(twin, _holdout(version), _spec(version, run), ports)
        except UNREADABLE as error:
            note = f"There is no importance by permutation: {error}"
        return explaining.told(model, measured) | {"note": note}


def _holdout(version: ModelVersion) -> Window:
    return Window(start=version.twin_cutoff, end=datetime.fromisoformat(version.spec["end_date"]))


def _spec(version: ModelVersion, run: Run) -> "ExplainSpec":
    """The data as the training read it."""
    from mlsys.pipelines import explaining

    cut = (run.result or {}).get("known_at") or version.spec["known_at"]
    return explaining.ExplainSpec(definition=version.spec["definition"], known_at=datetime.fromisoformat(cut) if cut else None)
