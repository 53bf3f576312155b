"""What stands before the API, made from the configuration: who may call, how often, with how much. Opens nothing."""

from datetime import timedelta

from mlsys.access.gate import Gate
from mlsys.access.rates import Rates
from mlsys.api.callers import Callers
from mlsys.api.services import Limits
from mlsys.clock import Clock
from mlsys.config import Config
from mlsys.registry.unit_of_work import Units


def callers(config: Config, *, units: Units, clock: Clock) -> Callers:
    life = timedelta(hours=config.auth.session_hours)
    return Callers(
        gate=Gate(units=units, clock=clock, required=config.auth.required, session_life=life),
        rates=Rates(per_minute=config.server.requests_per_minute, failed_logins_per_minute=config.auth.failed_logins_per_minute),
        max_depth=config.server.max_json_depth,
    )


def limits(config: Config) -> Limits:
    given = config.server
    return Limits(
        max_body_bytes=given.max_body_bytes,
        max_upload_bytes=given.max_upload_bytes,
        max_json_depth=given.max_json_depth,
        allowed_hosts=frozenset(name.lower() for name in (given.host, *given.allowed_hosts)),
        cors_origins=frozenset(given.cors_origins),
    )
