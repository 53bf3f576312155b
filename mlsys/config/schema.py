"""Every setting: its name, default, meaning and allowed values, once. README, config.yaml and `check-config` are tested against this.

A key stands here only when something uses it: one that is accepted and does nothing would hide a typo. Nothing is read here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from mlsys.config import values
from mlsys.config.values import Given, Reader


class Rule(NamedTuple):
    """What is known about a key. ``default`` is written as in YAML.

    ``free``: the key is a mapping whose names the user chooses, and ``reader`` reads each of its values.
    """

    default: Any
    text: str
    reader: Reader
    secret: bool = False
    free: bool = False


def key(default: Any, text: str, reader: Reader, *, secret: bool = False, free: bool = False) -> Any:
    rule = Rule(default, text, reader, secret, free)
    return field(default_factory=lambda: {} if free else reader.read(Given(value=default)), metadata={"rule": rule})


@dataclass(frozen=True, kw_only=True, repr=False)
class Section:
    """Part of the configuration. Its repr masks secrets, so that a log line or a traceback cannot leak one."""

    def __repr__(self) -> str:
        shown = (f"{f.name}={_shown(getattr(self, f.name), f.metadata['rule'].secret)}" for f in fields(self))
        return f"{type(self).__name__}({', '.join(shown)})"


def _shown(value: Any, secret: bool) -> str:
    if not secret or not value:
        return repr(value)
    return repr(dict.fromkeys(value, "***")) if isinstance(value, Mapping) else "'***'"


@dataclass(frozen=True, kw_only=True, repr=False)
class Server(Section):
    host: str = key("127.0.0.1", "Address to listen on.", values.text("a host name or address", pattern=r"[^\s/]+"))
    port: int = key(5000, "Port to listen on; 0 takes a free one.", values.whole(0, 65535))
    threads: int = key(8, "Requests served at the same time.", values.whole(1, 256))
    max_followers: int = key(
        32, "Readers that wait for events at the same time, each in a thread of its own; more are answered 503.", values.whole(1, 1000)
    )
    max_body_bytes: int = key(1_048_576, "Largest request body; a larger one is answered 413.", values.whole(1024, 2**31))
    max_upload_bytes: int = key(4 * 2**30, "Largest body of rows for a data set; a larger one is answered 413.", values.whole(1024, 2**40))
    max_json_depth: int = key(32, "Deepest nesting of a JSON body; a deeper one is answered 400.", values.whole(2, 200))
    idempotency_hours: float = key(24, "How long an Idempotency-Key is remembered.", values.number(0.001, 87_600))
    allowed_hosts: tuple[str, ...] = key(
        [],
        "Host names that requests may be addressed to, besides loopback and the bound name.",
        values.several(values.text("a host name", pattern=r"[^\s/,]+"), separator=","),
    )
    trusted_proxy: str = key(
        "",
        "Address of a reverse proxy whose X-Forwarded-For, -Proto and -Host are believed; empty: nobody's.",
        values.text("an address, or empty", pattern=r"|[0-9a-fA-F.:]+"),
    )
    cors_origins: tuple[str, ...] = key(
        [],
        "Origins of other sites whose pages may call from a browser, with tokens, as https://app.example.org.",
        values.several(values.text("an origin like https://app.example.org", pattern=r"https?://[^\s/,*]+/?"), separator=","),
    )
    requests_per_minute: int = key(
        12_000,
        "Requests that one token, or an address without one, may make in a minute; more are answered 429. 0: any number.",
        values.whole(0, 10**7),
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Database(Section):
    url: str = key(
        "",
        "PostgreSQL to use, as postgresql+psycopg2://user:password@host/name; empty: an embedded server under home.",
        values.text("a URL like postgresql+psycopg2://user:password@host/name, or empty", pattern=r"|postgres(ql)?(\+[a-z0-9]+)?://\S+"),
        secret=True,
    )
    pool_size: int = key(10, "Connections kept open.", values.whole(1, 500))
    statement_timeout_seconds: float = key(30, "A database statement that takes longer is stopped.", values.number(0.1, 86_400))


@dataclass(frozen=True, kw_only=True, repr=False)
class Data(Section):
    roots: tuple[Path, ...] = key(
        ["/data", "./data"],
        "Folders that data files may be read from, searched in order; nothing outside them is ever opened.",
        values.several(values.path(), separator=":"),
    )
    connections: Mapping[str, str] = key(
        {},
        "Databases that sources and destinations name, as {name: URL}; the URLs stay out of every answer and log.",
        values.text("a database URL", pattern=r"[A-Za-z][A-Za-z0-9+.-]*://\S+"),
        secret=True,
        free=True,
    )
    max_rows: int = key(20_000_000, "Most rows that one append to a data set takes.", values.whole(1, 10**9))
    memory_mib: int = key(
        1024, "Memory that reads of data sets use together, in MiB; what needs more goes to disk.", values.whole(128, 2**20)
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Artifacts(Section):
    url: str = key("", "Folder that models and other blobs are kept in; empty: under home.", values.location())


@dataclass(frozen=True, kw_only=True, repr=False)
class Execution(Section):
    engine: str = key(
        "threads",
        "Where jobs run: threads of the server, or processes, whose crash ends the run and not the server.",
        values.choice("threads", "processes"),
    )
    memory_mib: int = key(0, "Memory that a job may take in MiB, with engine processes; 0: any.", values.whole(0, 2**20))
    workers: int = key(2, "Jobs run at the same time.", values.whole(1, 64))
    max_queued: int = key(10_000, "Runs that may wait; one more is answered 503. 0: any number.", values.whole(0, 10**7))
    max_attempts: int = key(
        3, "Times a run is tried in all when its process dies, or something fails that may pass (a source, the disk).", values.whole(1, 100)
    )
    retry_seconds: float = key(5, "Wait before the second try; it doubles with each one after.", values.number(0.01, 3600))
    timeouts: Mapping[str, float] = key(
        {}, "Longest time that a run may take, in seconds, as {kind or model: seconds}.", values.number(0.1, 10**7), free=True
    )
    concurrent_trainings: bool = key(False, "Whether two trainings of one model may run at the same time.", values.flag())
    lease_seconds: float = key(30, "Silence after which a process counts as dead, and others take its runs.", values.number(1, 3600))
    grace_seconds: float = key(10, "Time that running jobs get to end when the server is stopped.", values.number(0, 3600))
    cores: int = key(1, "Threads LightGBM uses in one job; on small data one is the fastest.", values.whole(1, 256))


@dataclass(frozen=True, kw_only=True, repr=False)
class Scheduling(Section):
    misfire_grace_seconds: float = key(
        60, "How late a firing may be; a later one was missed, and its schedule's misfire policy applies.", values.number(1, 86_400)
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Webhooks(Section):
    allowed_hosts: tuple[str, ...] = key(
        [],
        "Hosts that webhooks may call although their addresses are not public, as their URLs spell them.",
        values.several(values.text("a host name or address", pattern=r"[^\s/,]+"), separator=","),
    )
    retry_schedule: tuple[float, ...] = key(
        [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400],
        "Seconds between attempts, up to a fifth added by chance; when the last has failed as well, the webhook is disabled.",
        values.several(values.number(0, 2_592_000), separator=","),
    )
    timeout_seconds: float = key(15, "An attempt that takes longer has failed.", values.number(0.1, 300))
    threads: int = key(32, "Attempts made at the same time; no endpoint gets all of them.", values.whole(1, 256))
    rotation_hours: float = key(24, "How long a replaced secret still signs, beside the new one.", values.number(0, 8760))
    secret_key: str = key(
        "",
        "Key that encrypts secrets, 32 bytes in URL-safe base64; empty: webhooks.key under home. Processes with other homes need the same.",
        values.text("32 bytes in URL-safe base64, or empty", pattern=r"|[A-Za-z0-9_-]{43}="),
        secret=True,
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Events(Section):
    sinks: Mapping[str, Mapping[str, Any]] = key(
        {},
        "Where every event is sent besides webhooks, as {name: {type: redis, url: ..}}; types: redis, postgres_notify, and installed ones.",
        values.mapping(),
        secret=True,
        free=True,
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Retention(Section):
    deliveries_days: float = key(
        30, "How long delivered events stay in the log of deliveries; others stay until they are delivered.", values.number(0.001, 36_500)
    )
    run_logs_days: float = key(90, "How long log lines of runs are kept; the runs themselves stay.", values.number(0.001, 36_500))
    keep_versions: int = key(
        20,
        "Of each model so many of the newest versions keep their stored model; what was ever promoted always does.",
        values.whole(1, 10**6),
    )
    keep_version_days: float = key(90, "Younger versions keep their stored model as well.", values.number(0, 36_500))
    gc_hours: float = key(
        0, "How often a server frees the stored models of other versions by itself; 0: only `mlsys gc` does.", values.number(0, 8760)
    )
    leftover_hours: float = key(
        6, "How long stored bytes that nothing names are left alone, which a running job may be about to name.", values.number(0, 8760)
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Notifications(Section):
    base_url: str = key(
        "",
        "Where people reach this server, for the addresses in messages; empty: its own host and port.",
        values.text("a URL like https://mlsys.example.org, or empty", pattern=r"|https?://[^\s/]+(/\S*)?"),
    )
    targets: Mapping[str, Mapping[str, Any]] = key(
        {},
        "Who is told of what may need a person, as {name: {type: email or slack, events: [..], ..}}.",
        values.mapping(),
        secret=True,
        free=True,
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Auth(Section):
    required: str = key(
        "auto",
        "Who needs an access token: auto, everybody once one was made; always, everybody; never, nobody, and only this machine may call.",
        values.choice("auto", "always", "never"),
    )
    session_hours: float = key(12, "How long a browser stays logged in; never longer than its token lasts.", values.number(0.01, 8760))
    failed_logins_per_minute: int = key(
        20, "Failed logins of one address in a minute; after them it is answered 429. 0: any number.", values.whole(0, 10**6)
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Logging(Section):
    level: str = key(
        "info", "Least severe level that is logged: debug, info, warning or error.", values.choice("debug", "info", "warning", "error")
    )
    traces: str = key(
        "",
        "Where traces are sent by OTLP, as http://localhost:4318/v1/traces (extra mlsys[opentelemetry]); empty: nothing is traced.",
        values.text("a URL like http://localhost:4318/v1/traces, or empty", pattern=r"|https?://[^\s/]+(/\S*)?"),
        secret=True,
    )
    format: str = key("text", "How log lines are written: text for people, json for machines.", values.choice("text", "json"))


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole configuration. ``file`` is the one it was read from; model definitions are as written, checked by the pipelines."""

    file: Path | None = None
    home: Path = key(  # noqa: RUF009 (it makes a field)
        ".mlsys", "Where mlsys keeps its own state: the embedded database, models, predictions.", values.path()
    )
    server: Server = field(default_factory=Server)
    database: Database = field(default_factory=Database)
    data: Data = field(default_factory=Data)
    artifacts: Artifacts = field(default_factory=Artifacts)
    execution: Execution = field(default_factory=Execution)
    scheduling: Scheduling = field(default_factory=Scheduling)
    webhooks: Webhooks = field(default_factory=Webhooks)
    retention: Retention = field(default_factory=Retention)
    events: Events = field(default_factory=Events)
    notifications: Notifications = field(default_factory=Notifications)
    auth: Auth = field(default_factory=Auth)
    logging: Logging = field(default_factory=Logging)
    models: Mapping[str, Mapping[str, Any]] = key({}, "The models, as {name: definition}.", values.mapping(), free=True)
    schedules: Mapping[str, Mapping[str, Any]] = key({}, "What runs when, as {name: schedule}.", values.mapping(), free=True)


def in_force(config: Config) -> dict[str, Any]:
    """Every key but the models and schedules by its dotted name, in force and JSON-able, secrets masked."""
    shown = {}
    for name, rule in rules().items():
        title, _, last = name.rpartition(".")
        value = getattr(getattr(config, title) if title else config, last)
        if rule.secret and value:
            value = dict.fromkeys(value, "***") if isinstance(value, Mapping) else "***"
        shown[name] = [str(item) for item in value] if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    del shown["models"], shown["schedules"]
    return shown


def sections() -> dict[str, type[Section]]:
    return {f.name: f.type for f in fields(Config) if isinstance(f.type, type) and issubclass(f.type, Section)}


def _rules(owner: Any, prefix: str = "") -> Iterator[tuple[str, Rule]]:
    return ((prefix + f.name, f.metadata["rule"]) for f in fields(owner) if "rule" in f.metadata)


def rules() -> dict[str, Rule]:
    """Every key by its dotted name, top-level ones first."""
    return dict(_rules(Config)) | {name: rule for title, owner in sections().items() for name, rule in _rules(owner, f"{title}.")}


class Described(NamedTuple):
    key: str
    type: str
    default: Any
    text: str


def describe() -> list[Described]:
    """Key, what it takes (in words), default (as in YAML) and meaning, for documentation and its tests."""
    return [
        Described(name, f"names, for each {rule.reader.expected}" if rule.free else rule.reader.expected, rule.default, rule.text)
        for name, rule in rules().items()
    ]
