"""Logging: the standard library's, configured once per process, in the format of Dapr's log lines.

Modules write `log = get_logger("dapr.sentry.server")` at their top and then, say,
`log.debug("healthz targets are not ready", targets=["sentry-server"])` or `log.error("reload failed", exc_info=error)`.

A library that binds fields would save a few lines here; the usual one, structlog, imports asyncio, and rich where that
is installed, which is a seventh of what the whole process takes in memory and of what its start takes in time.
"""

import logging
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO, TypeAlias

from sentry_trio.telemetry.log_format import Record, Renderer, coloured, json_text, text
from sentry_trio.telemetry.log_writer import LogFileError, LogWriter, open_append

_LEVELS: Final = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "fatal": 50}

# Level names as Go's logger writes them.
_SPELLINGS: Final = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "fatal"}

# Names of members of each line. Dapr's logger renames a field of such a name in the same way.
_TAKEN: Final = frozenset({"time", "level", "msg", "instance", "type", "ver"})

# The first word of every scope: the logger that is configured.
_ROOT: Final = "dapr"
_FIELDS: Final = "fields"
_MAX_WARNINGS: Final = 100  # different texts of warnings that are logged

LineStream: TypeAlias = TextIO | LogWriter


class Logger:
    """Logger with five levels, each taking a message and named fields.

    A log call never raises, for any fields and any state of the stream. An exception in
    `exc_info` becomes one field `exception` that holds the traceback. `fatal` only logs; exiting is the caller's
    business.

    Args:
        scope: name of the standard library's logger behind it; in every line.
    """

    __slots__ = ("_behind",)

    def __init__(self, scope: str) -> None:
        self._behind = logging.getLogger(scope)

    def debug(self, event: str, /, **fields: object) -> None:
        """Log a detail that helps to find a fault."""
        self._log(10, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Log a landmark of normal operation."""
        self._log(20, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Log a problem that an operator should look at, but not at once."""
        self._log(30, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Log a failure."""
        self._log(40, event, fields)

    def fatal(self, event: str, /, **fields: object) -> None:
        """Log a failure that ends the process."""
        self._log(50, event, fields)

    def _log(self, level: int, event: str, fields: dict[str, object]) -> None:
        behind = self._behind
        if behind.isEnabledFor(level):
            exc_info = fields.pop("exc_info", None)
            known = exc_info if isinstance(exc_info, BaseException) else None
            behind.log(level, event, exc_info=known, extra={_FIELDS: fields})


def shown_time(moment: datetime) -> str:
    """Returns a time as Go's `time.Time.String` formats it in UTC, as in Dapr's lines."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} +0000 UTC"


def get_logger(scope: str) -> Logger:
    """Returns a logger whose lines carry `scope`.

    It may be called before logging is configured, e.g. when a module is imported.

    Lines are formatted and filtered by the configuration at the time of the call. Without `configure_logging`, as in a
    program that embeds this one, lines go where the standard library's logging sends them.

    Args:
        scope: `dapr.` and more.
    """
    return Logger(scope)


def instance_of(environ: Mapping[str, str]) -> str:
    """Returns the name of this machine, in Kubernetes that of the pod."""
    return environ.get("HOSTNAME") or socket.gethostname()


def configure_logging(
    *,
    level: str,
    as_json: bool,
    stream: LineStream,
    instance: str,
    version: str,
    now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
) -> None:
    """Send every logger's lines to `stream`, from now on.

    The form is JSON if `as_json`, else the coloured short form if `stream` is a terminal, else text. Each record is one
    line and one write, flushed. A stream that fails (closed pipe, full disk) loses lines, and nothing else happens.

    Args:
        level: the lowest level that is written: debug, info, warn (or warning), error, fatal, in any case.
        as_json: true to write JSON.
        stream: receives the lines; the caller closes it after the last one. With a `LogWriter` no log call
            waits for the stream.
        instance: this machine's name, in every line.
        version: in every line as `ver`.
        now: the clock; aware, in the time zone of the lines.

    Raises:
        ValueError: there is no such level.
    """
    threshold = _LEVELS.get(level.lower())
    if threshold is None:
        raise ValueError(f"no such log level: {level}")
    root = logging.getLogger(_ROOT)
    for former in list(root.handlers):
        root.removeHandler(former)
    root.addHandler(_Lines(_renderer(as_json=as_json, stream=stream, now=now), stream, instance, version, now))
    root.setLevel(threshold)
    root.propagate = False


@contextmanager
def held_back() -> Iterator[None]:
    """Holds log lines back during the block, for code that writes to the same stream directly.

    With a `LogWriter` log calls do not wait meanwhile.
    """
    with ExitStack() as held:
        for handler in logging.getLogger(_ROOT).handlers:
            if isinstance(handler, _Lines) and isinstance(handler.stream, LogWriter):
                held.enter_context(handler.stream.alone)
            elif handler.lock is not None:
                held.enter_context(handler.lock)
        yield


def dropped_lines() -> int:
    """Returns the number of lines dropped since logging was configured, because they could not be written in time."""
    handlers = logging.getLogger(_ROOT).handlers
    streams = [handler.stream for handler in handlers if isinstance(handler, _Lines)]
    return sum(stream.dropped for stream in streams if isinstance(stream, LogWriter))


def open_log(path: Path | None) -> LogWriter:
    """Opens the log of the process: a file, created with mode 0644 if absent, or standard output.

    Raises:
        LogFileError: with Dapr Sentry's text, `failed to open log file "<path>": <reason>`.
    """
    return LogWriter(
        sys.stdout.fileno() if path is None else open_append(path),
        encoding=sys.stdout.encoding if path is None else "utf-8",
        path=path,
        on_dropped=_report_dropped,
        on_reopen_failed=_report_reopen_failed,
    )


def _report_dropped(lines: int) -> None:
    get_logger("dapr.sentry.logs").warning(
        f"{lines} log lines were dropped: the log could not be written, or was read too slowly"
    )


def _report_reopen_failed(error: LogFileError) -> None:
    get_logger("dapr.sentry.logs").error(f"{error}; logging continues in the previous file")


def capture_warnings() -> None:
    """Logs Python's warnings from now on, each text once.

    Libraries' warnings of certificates and of deprecations are logged at debug, programming errors at warning.
    """
    known: set[str] = set()
    log = get_logger("dapr.sentry.warnings")

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object, **__: object
    ) -> None:
        text = str(message)
        if text in known or len(known) >= _MAX_WARNINGS:
            return
        known.add(text)
        is_remark = issubclass(category, UserWarning | DeprecationWarning | FutureWarning)
        (log.debug if is_remark else log.warning)(f"{category.__name__}: {text}", source=f"{filename}:{lineno}")

    warnings.showwarning = show


def _renderer(*, as_json: bool, stream: LineStream, now: Callable[[], datetime]) -> Renderer:
    if as_json:
        return json_text
    return coloured(since=now()) if stream.isatty() else text


class _Lines(logging.Handler):
    """Formats lines and writes them. Worker threads log too: the handler's lock is held meanwhile."""

    def __init__(
        self, render: Renderer, stream: LineStream, instance: str, version: str, now: Callable[[], datetime]
    ) -> None:
        super().__init__()
        self.stream = stream
        self._render = render
        self._constant: Mapping[str, object] = {"instance": instance, "type": "log", "ver": version}
        self._now = now

    def emit(self, record: logging.LogRecord) -> None:
        line = self._render(
            Record(
                time=self._now(),
                level=_SPELLINGS[max(10, min(record.levelno // 10 * 10, 50))],
                message=record.getMessage(),
                fields={**_fields(record), "scope": record.name, **self._constant},
            )
        )
        # Python raises ValueError if a stream is closed. Neither can be reported anywhere.
        try:
            self.stream.write(_encodable(line, self.stream.encoding) + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            return


def _fields(record: logging.LogRecord) -> dict[str, object]:
    given: Mapping[str, object] = getattr(record, _FIELDS, {})
    fields = {f"fields.{name}" if name in _TAKEN else name: value for name, value in given.items()}
    if record.exc_info and record.exc_info[1]:
        fields["exception"] = "".join(traceback.format_exception(record.exc_info[1])).removesuffix("\n")
    return fields


def _encodable(line: str, encoding: str | None) -> str:
    """`line`, with escapes for characters that the stream's encoding lacks (a terminal in the C locale, say)."""
    if encoding is None or encoding.lower() == "utf-8":
        return line
    return line.encode(encoding, "backslashreplace").decode(encoding)
