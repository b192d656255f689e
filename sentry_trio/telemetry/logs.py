"""Logging: structlog, configured once per process, writing the lines that Dapr's operators know.

Modules write `log = get_logger("dapr.sentry.server")` at their top and then, say,
`log.debug("healthz targets are not ready", targets=["sentry-server"])` or `log.error("reload failed", exc_info=error)`.
"""

import os
import threading
from collections.abc import Callable, Mapping, MutableMapping
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, TextIO, cast

import structlog

from sentry_trio.telemetry.render import Record, Renderer, coloured, json_text, text

_LEVELS: Final = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "fatal": 50}

# structlog's word for the highest level is Python's; `fatal` is Go's and the operators'.
_SPELLING: Final = {"critical": "fatal"}

# Names that the record itself has. Dapr's logger moves a field of such a name aside in the same way.
_TAKEN: Final = frozenset({"time", "level", "msg", "instance", "type", "ver"})


class LogFileError(OSError):
    """The log file cannot be opened; the text names it."""


class Logger(Protocol):
    """What get_logger returns: five levels, each taking a message and named fields.

    A log call never raises, whatever the fields hold and whatever state the stream is in. `exc_info` (an exception, or
    True for the one being handled) becomes one field `exception` that holds the traceback. `fatal` only logs;
    exiting is the caller's business.
    """

    def debug(self, event: str, **fields: object) -> object:
        """Log what only someone who searches for a fault wants to see."""

    def info(self, event: str, **fields: object) -> object:
        """Log a landmark of normal operation."""

    def warning(self, event: str, **fields: object) -> object:
        """Log what needs an operator's eye, but not at once."""

    def error(self, event: str, **fields: object) -> object:
        """Log what failed."""

    def exception(self, event: str, **fields: object) -> object:
        """Log what failed, as error, with the exception that is being handled."""

    def fatal(self, event: str, **fields: object) -> object:
        """Log what ends the process."""


def get_logger(scope: str) -> Logger:
    """A logger whose lines carry `scope`; may be called before logging is configured, e.g. when a module is imported.

    Each line is made and filtered as configured when the line is logged.
    """
    return cast("Logger", structlog.get_logger(scope=scope))


def configure_logging(
    *,
    level: str,
    as_json: bool,
    stream: TextIO,
    instance: str,
    version: str,
    now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
) -> None:
    """Send every logger's lines to `stream`, from now on.

    The form is JSON if `as_json`, else the coloured short form if `stream` is a terminal, else text. Each record is one
    line and one write, flushed. A stream that fails (closed pipe, full disk) loses lines, and nothing else happens.

    Args:
        level: the lowest level that is written: debug, info, warn (or warning), error, fatal, in any case.
        as_json: whether to write JSON.
        stream: where to; it stays the caller's, who closes it after the last line.
        instance: this machine's name, in every line.
        version: in every line as `ver`.
        now: the clock; aware, in the zone that the lines shall show.

    Raises:
        ValueError: there is no such level.
    """
    threshold = _LEVELS.get(level.lower())
    if threshold is None:
        raise ValueError(f"no such log level: {level}")
    sink = _Sink(stream)
    structlog.configure(
        processors=[
            structlog.processors.format_exc_info,
            _Lines(_renderer(as_json=as_json, stream=stream, now=now), instance, version, now),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )


def open_log(path: Path) -> TextIO:
    """Open a log file to append to, line buffered, in UTF-8; created with mode 0644 if it is not there.

    Raises:
        LogFileError: with Dapr Sentry's text, `failed to open log file "<path>": <reason>`.
    """
    try:
        return open(path, "a", buffering=1, encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o644))
    except OSError as error:
        raise LogFileError(f'failed to open log file "{path}": {error.strerror or error}') from error


def _renderer(*, as_json: bool, stream: TextIO, now: Callable[[], datetime]) -> Renderer:
    if as_json:
        return json_text
    return coloured(since=now()) if stream.isatty() else text


class _Lines:
    """The last processor: makes the line."""

    def __init__(self, render: Renderer, instance: str, version: str, now: Callable[[], datetime]) -> None:
        self._render = render
        self._constant: Mapping[str, object] = {"instance": instance, "type": "log", "ver": version}
        self._now = now

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, object]) -> str:
        message = event.pop("event", "")
        fields = {f"fields.{name}" if name in _TAKEN else name: value for name, value in event.items()}
        record = Record(
            time=self._now(),
            level=_SPELLING.get(method, method),
            message=message if isinstance(message, str) else str(message),
            fields={**fields, **self._constant},
        )
        return self._render(record)


class _Sink:
    """Where the lines go. Worker threads log too, hence the lock."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def debug(self, line: str) -> None:
        with self._lock:
            # ValueError is how Python says that a stream is closed. Nobody is left who could be told of either.
            try:
                self._stream.write(_encodable(line, self._stream.encoding) + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                return

    info = warning = error = critical = debug


def _encodable(line: str, encoding: str | None) -> str:
    """`line`, with what the stream's encoding lacks (a terminal in the C locale, say) written as escapes."""
    if encoding is None or encoding.lower() == "utf-8":
        return line
    return line.encode(encoding, "backslashreplace").decode(encoding)
