"""The use cases of production: promote, demote, and what the log says of it. Each is one unit of work."""

from dataclasses import asdict
from typing import Any

from mlsys import errors
from mlsys.clock import rfc3339
from mlsys.events import types
from mlsys.records import ModelVersion, Promotion, PromotionAction
from mlsys.registry.models import unknown
from mlsys.registry.unit_of_work import UnitOfWork, Units
from mlsys.storage.artifacts import FolderBlobs


class Production:
    def __init__(self, *, units: Units, blobs: FolderBlobs) -> None:
        self._units = units
        self._blobs = blobs

    def promote(
        self, model_name: str, version_id: str, *, actor: str, reason: str | None = None, expected_production: str | None = None
    ) -> Promotion:
        """Puts a version, accepted or not, into production by hand. Raises Invalid, StalePrecondition, DamagedArtifact."""
        with self._units() as unit:
            lock(unit, model_name)
            version = named(unit, version_id, model_name)
            current = _expect(unit, model_name, expected_production)
            if current is not None and current.model_version_id == version_id:
                return current
            self._blobs.get(version.artifact.sha256)  # never put into production what cannot be loaded
            promotion = enact(unit, model_name, version_id, action="promote", actor=actor, reason=reason)
            unit.commit()
            return promotion

    def demote(self, model_name: str, *, actor: str, reason: str | None = None, expected_production: str | None = None) -> Promotion:
        """Goes back to the version in production before the present one. Raises as promote(), and Conflict when there is none."""
        with self._units() as unit:
            lock(unit, model_name)
            _expect(unit, model_name, expected_production)
            promotion = unit.promotions.demote(model_name, actor=actor, reason=reason)
            self._blobs.get(unit.versions.get(promotion.model_version_id).artifact.sha256)
            unit.events.append(types.MODEL_DEMOTED, _told(promotion))
            unit.commit()
            return promotion


def lock(unit: UnitOfWork, model_name: str) -> None:
    """Serialises all that adds versions or promotions of one model. Raises Invalid for an unknown model."""
    if unit.models.definition(model_name) is None:
        raise errors.Invalid({"model_name": unknown(model_name).message})
    unit.lock_model(model_name)


def named(unit: UnitOfWork, version_id: str, model_name: str) -> ModelVersion:
    """The version that a request names. Raises Invalid when this model has no such version, Freed when it has no bytes any more.

    The caller holds the model's lock, shared will do, so that it has them until the transaction ends.
    """
    try:
        version = unit.versions.get(version_id, model_name=model_name)
    except errors.NotFound as error:
        raise errors.Invalid({"model_version_id": error.message}) from None
    refuse_freed(version)
    return version


def refuse_freed(version: ModelVersion) -> None:
    """Raises Freed for a version whose stored model was given up."""
    if version.freed is not None:
        raise errors.Freed(
            f"The stored model of version {version.model_version_id} was freed on {rfc3339(version.freed.at)} by the rules of retention: "
            f"{version.freed.policy}. What it was is still told; to use it, train it again (POST /runs/{version.run_id}/retry)."
        )


def enact(unit: UnitOfWork, model_name: str, version_id: str, *, action: PromotionAction, actor: str, reason: str | None) -> Promotion:
    """Appends a promotion and its event to a unit that holds the model's lock."""
    promotion = unit.promotions.promote(model_name, version_id, action=action, actor=actor, reason=reason)
    unit.events.append(types.MODEL_PROMOTED, _told(promotion))
    return promotion


def _expect(unit: UnitOfWork, model_name: str, expected: str | None) -> Promotion | None:
    current = unit.promotions.production(model_name)
    actual = current.model_version_id if current else None
    if expected is not None and expected != actual:
        raise errors.StalePrecondition(
            f"In production is {actual or 'no version'}, not {expected}. Look again, then repeat with the present one."
        )
    return current


def _told(promotion: Promotion) -> dict[str, Any]:
    return asdict(promotion) | {"created_at": rfc3339(promotion.created_at)}
