"""How others hear: the event log is numbered, sinks and listeners follow it, webhooks are delivered. Opens nothing."""

from dataclasses import dataclass
from datetime import timedelta

from mlsys import declarations
from mlsys.bootstrap.ground import Ground
from mlsys.bootstrap.work import Work
from mlsys.execution.leader import Leader
from mlsys.publishing import listeners
from mlsys.publishing.follower import Follower
from mlsys.publishing.listeners import Listeners
from mlsys.publishing.publisher import Publisher
from mlsys.webhooks.attempts import Attempter
from mlsys.webhooks.dispatcher import Dispatcher
from mlsys.webhooks.outbound import Outbound
from mlsys.webhooks.retries import Schedule
from mlsys.webhooks.sealing import Sealer
from mlsys.webhooks.subscriptions import Subscriptions


@dataclass(frozen=True, kw_only=True)
class Outward:
    publisher: Publisher
    follower: Follower
    listeners: Listeners
    dispatcher: Dispatcher
    subscriptions: Subscriptions
    sealer: Sealer


def build(ground: Ground, work: Work, leader: Leader) -> Outward:
    given, units, clock = ground.config.webhooks, ground.units, ground.clock
    outbound = Outbound(allowed_hosts=given.allowed_hosts, timeout_seconds=given.timeout_seconds)
    sealer = Sealer(folder=ground.config.home, key=given.secret_key)
    publisher = _publisher(ground, work, leader, outbound)
    dispatcher = _dispatcher(ground, outbound, sealer)
    publisher.growth.call(dispatcher.wake)
    return Outward(
        publisher=publisher,
        follower=Follower(units=units, growth=publisher.growth, limit=ground.config.server.max_followers),
        listeners=Listeners(signals=ground.signals, listeners=listeners.installed()),
        dispatcher=dispatcher,
        subscriptions=Subscriptions(
            units=units,
            clock=clock,
            outbound=outbound,
            sealer=sealer,
            overlap=timedelta(hours=given.rotation_hours),
            wake=dispatcher.wake,
        ),
        sealer=sealer,
    )


def _publisher(ground: Ground, work: Work, leader: Leader, outbound: Outbound) -> Publisher:
    return Publisher(
        engine=ground.engine,
        units=ground.units,
        signals=ground.signals,
        epoch=lambda: leader.epoch,
        clock=ground.clock,
        sinks=declarations.sinks(
            ground.config, engine=ground.engine, post=lambda url, body, headers: outbound.post(url, body, headers).status
        ),
        queued=work.runner.wake,
    )


def _dispatcher(ground: Ground, outbound: Outbound, sealer: Sealer) -> Dispatcher:
    given, clock = ground.config.webhooks, ground.clock
    return Dispatcher(
        units=ground.units,
        clock=clock,
        sealer=sealer,
        attempter=Attempter(
            clock=clock,
            outbound=outbound,
            sealer=sealer,
            schedule=Schedule(given.retry_schedule),
            tracer=ground.tracer,
            attempted=ground.instruments.attempt,
        ),
        owner=ground.presence.owner,
        alive=ground.presence.alive,
        threads=given.threads,
    )
