"""Every error mlsys raises on purpose, named by meaning. How each is shown (HTTP status, exit code) lives with the shower."""

from collections.abc import Mapping, Sequence


class MlsysError(Exception):
    """Root of all expected errors: the message is fit to be shown to a user and holds no secret, path of ours or traceback."""

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else self.kind

    @property
    def kind(self) -> str:
        """Stable snake_case name, as stored in a run's ``error.kind``."""
        name = type(self).__name__
        return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


class Malformed(MlsysError):
    """The request cannot be read at all: broken JSON, nesting too deep, bad header."""


class UnsupportedType(MlsysError):
    """The body is of a type that is not taken here."""


class Invalid(MlsysError):
    """Well-formed input with a wrong value. ``fields`` maps dotted field names to messages that name the remedy."""

    def __init__(self, fields: Mapping[str, str | Sequence[str]], message: str = "The input is not valid.") -> None:
        super().__init__(message)
        self.fields = {name: [text] if isinstance(text, str) else list(text) for name, text in fields.items()}

    def __reduce__(self) -> tuple[type["Invalid"], tuple[Mapping[str, Sequence[str]], str]]:
        return type(self), (self.fields, self.message)

    def __str__(self) -> str:
        return " ".join([self.message, *(f"{name}: {' '.join(texts)}" for name, texts in self.fields.items())])


class Unauthorized(MlsysError):
    """Nobody knows who calls. ``shown``: a token or session was shown, but is not valid."""

    def __init__(self, message: str, *, shown: bool = True) -> None:
        super().__init__(message)
        self.shown = shown


class Forbidden(MlsysError):
    """The caller may not do this."""


class InsufficientScope(Forbidden):
    """The caller's token does not reach far enough: ``scope`` is needed."""

    def __init__(self, message: str, *, scope: str = "admin") -> None:
        super().__init__(message)
        self.scope = scope


class NotFound(MlsysError):
    """The named thing does not exist."""


class Conflict(MlsysError):
    """The thing's present state does not allow this."""


class Repeated(Conflict):
    """The same request has been carried out already."""


class StalePrecondition(MlsysError):
    """The caller's idea of the present state is out of date."""


class TooLarge(MlsysError):
    """The body or the result is larger than a configured limit."""


class Unavailable(MlsysError):
    """Cannot be served now; the same call may succeed after ``retry_after`` seconds."""

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ConfigError(MlsysError):
    """config.yaml, an environment override or a component's options are wrong."""


class TooMany(Unavailable):
    """One client asks more often than it may."""


class DatabaseUnavailable(Unavailable):
    """No database can be reached or started."""


class Fenced(Unavailable):
    """A leader's write came after another had taken over; what it did is undone."""


class Unanswered(MlsysError):
    """A server that a user named gave no answer, or none that could be read."""


class RefusedAddress(Unanswered):
    """A host leads to an address that mlsys does not call."""


class LostKey(Conflict):
    """A stored secret was encrypted by a key that this process does not have."""


class Freed(Conflict):
    """Stored bytes were given up by the rules of retention; the registry still tells what they were."""


class BadArchive(MlsysError):
    """A file is no whole backup that this mlsys can restore; nothing of it was used."""


class NothingMade(MlsysError):
    """A run had steps to do, and none of them can be done."""


class BadData(MlsysError):
    """The data of a run is not fit for it. Never retried: the same data would fail again."""


class EmptyWindow(BadData):
    """No usable row in the window asked for."""


class MissingColumn(BadData):
    """A column that the model needs is not in the data."""


class WrongType(BadData):
    """A column cannot be read as the type it must have."""


class DuplicateTimestamps(BadData):
    """One series holds two rows for the same timestamp."""


class NoTarget(BadData):
    """The target column holds no number in the window."""


class TooFewRows(BadData):
    """There are rows, but not enough to fit or judge a model."""


class DamagedArtifact(MlsysError):
    """Stored bytes are missing or do not match their recorded sha256; they are never loaded."""


class Timeout(MlsysError):
    """The run took longer than it may."""


class OutOfMemory(MlsysError):
    """The run needed more memory than it may take."""


class Died(MlsysError):
    """The process that did the work of a run died. The run counts as crashed."""


class Cancelled(MlsysError):
    """The run was asked to stop and did."""
